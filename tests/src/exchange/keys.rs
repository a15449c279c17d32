//! Certificates that are revoked, keys that roll over, registries that change: while the gateway runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use varco::http::exchange::BASE;
use varco::pki::upkeep;
use varco_core::hash::Sha256;
use varco_core::json as canonical;
use varco_core::registry::{Pin, Registry};
use varco_core::wire::Message;
use varco_jose::SealSigner;

use crate::process::{run, said};
use crate::world::asks::{COACH, Situation};
use crate::world::client::{Answer, Client, nothing};
use crate::world::desk::Desk;
use crate::world::{NOW, World, until};

const CPI: &str = "agencies/cpi-lucca";

/// Revokes a certificate of the world's folder and waits until the gateway has read the list.
async fn revoke(world: &World, certificate: &str) {
    let runs_out = world.app().seals.load_full();
    let generation = world.app().channel.status().generation;
    let list = upkeep::revoke(&world.folder.path("pki"), certificate.as_ref(), world.now()).unwrap();
    let channel = list.ends_with("channel.crl.pem");
    until("the list is read", async || {
        let seals = world.app().seals.load_full();
        if channel {
            world.app().channel.status().generation > generation
        } else {
            !std::sync::Arc::ptr_eq(&seals, &runs_out)
        }
    })
    .await;
}

#[tokio::test]
async fn a_revoked_agency_is_refused_at_its_next_request_on_a_live_connection() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut connection = anna.cpi.client.connect().await.unwrap();
    let status = format!("{BASE}/status");
    assert_eq!(connection.send("GET", &status, nothing()).await.unwrap().status, 200);
    revoke(&world, &format!("{CPI}/channel.pem")).await;
    let answer = connection.send("GET", &status, nothing()).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (403, "channel.certificate"));
    // The connection is over, and there is no new one, neither by a full handshake nor by a ticket.
    assert!(connection.send("GET", &status, nothing()).await.is_err());
    assert!(anna.cpi.client.get(&status).await.is_err());
    assert_eq!(anna.capannori.get(&format!("/cases/{}", anna.case)).await.status, 200);
}

#[tokio::test]
async fn a_revoked_seal_signs_nothing_any_more() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    revoke(&world, &format!("{CPI}/seal.pem")).await;
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(400, "wire.certificate");
}

#[tokio::test]
async fn a_provider_whose_seal_is_revoked_is_not_believed() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    revoke(&world, "agencies/comune-capannori/seal.pem").await;
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(502, "adapter.signature");
}

#[tokio::test]
async fn an_agency_rolls_its_keys_over_with_both_in_force_for_a_while() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let pki = world.folder.path("pki");
    upkeep::renew(&pki, &"cpi-lucca".parse().unwrap(), "next", world.now()).unwrap();
    let next = renewed(&world);

    // Version 2 pins the present keys: from now on certificates of our CA are not enough.
    let now = world.now();
    let registry = change(&world, |registry| pin(registry, &[(&pki, "", None)]));
    assert_eq!(propose(&world, &registry, &["cpi-dpo", "asl-dpo"]).await.status, 200);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    let refused = next.client.get(&format!("{BASE}/cases/{}", anna.case)).await.unwrap();
    assert_eq!(refused.code(), "wire.unknown-sender");

    // Version 3 announces the next ones; the present ones end in an hour.
    let end = now.plus(Duration::from_secs(3600));
    let registry = change(&world, |registry| pin(registry, &[(&pki, "", Some(end)), (&pki, ".next", None)]));
    assert_eq!(propose(&world, &registry, &["cpi-direzione", "capannori-dpo"]).await.status, 200);
    for desk in [&anna.cpi, &next] {
        assert_eq!(desk.post("/pulls", &anna.pull()).await.status, 200);
    }
    world.advance(Duration::from_secs(3600));
    let refused =
        anna.cpi.client.send("POST", &format!("{BASE}/pulls"), anna.cpi.signed(b"{}")).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (403, "wire.unknown-sender"));
    assert_eq!(next.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn the_registry_in_force_survives_a_restart() {
    let mut world = World::start().await;
    let registry = change(&world, |registry| registry.agencies[0].name = "Azienda sanitaria".to_owned());
    assert_eq!(propose(&world, &registry, &["cpi-dpo", "asl-dpo"]).await.status, 200);
    let before = world.app().in_force.load().sha256;
    assert_eq!(before, Sha256::of(registry.as_bytes()));
    world.stop_gateway().await;
    world.start_gateway().await;
    assert_eq!(world.app().in_force.load().sha256, before);
    assert_eq!(world.app().in_force.load().registry.version, 2);
}

#[tokio::test]
async fn a_registry_needs_officers_of_two_agencies() {
    let world = World::start().await;
    let before = world.log_size().await;
    let registry = change(&world, |registry| registry.agencies[0].name = "Un'altra".to_owned());
    let teams: [&[&str]; 4] = [
        &["cpi-dpo", "cpi-direzione"],
        &["cpi-dpo"],
        &["cpi-dpo", "piana-revisore"],
        &["cpi-dpo", "cpi-dpo"],
    ];
    for officers in teams {
        let answer = propose(&world, &registry, officers).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "registry.invalid"), "{officers:?}");
    }
    assert_eq!(world.app().in_force.load().registry.version, 1);
    assert_eq!(world.log_size().await, before);
}

#[tokio::test]
async fn a_signature_on_one_registry_is_worth_nothing_on_another() {
    let world = World::start().await;
    let registry = change(&world, |registry| registry.agencies[0].name = "Una".to_owned());
    let other = change(&world, |registry| registry.agencies[0].name = "Un'altra".to_owned());
    let mut proposal = proposal(&world, &registry, &["cpi-dpo", "asl-dpo"]);
    proposal["document"] = json!(other);
    let answer = bring(&world, &proposal).await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "registry.invalid"));
}

#[tokio::test]
async fn a_registry_version_is_applied_once_and_in_order() {
    let world = World::start().await;
    let registry = change(&world, |registry| registry.agencies[0].name = "Seconda".to_owned());
    let proposal = proposal(&world, &registry, &["cpi-dpo", "asl-dpo"]);
    assert_eq!(bring(&world, &proposal).await.status, 200);
    assert_eq!(bring(&world, &proposal).await.code(), "registry.invalid");
}

/// A desk with the keys that `varco pki renew` made.
fn renewed(world: &World) -> Desk {
    let file = |name: &str| world.folder.path("pki").join(CPI).join(name);
    let certificate = CertificateDer::from_pem_file(file("channel.next.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("channel.next.key.pem")).unwrap();
    let mut desk = world.desk("cpi-lucca", COACH);
    desk.client = Client::with(&world.ends(), Some((certificate, key)));
    let read = |name: &str| std::fs::read(file(name)).unwrap();
    desk.signer = SealSigner::from_pem(&read("seal.next.key.pem"), &read("seal.next.pem")).unwrap();
    desk
}

fn pin(registry: &mut Registry, keys: &[(&PathBuf, &str, Option<varco_core::time::Timestamp>)]) {
    let key = |pki: &Path, side: &str, suffix: &str| {
        let path = pki.join(CPI).join(format!("{side}{suffix}.pem"));
        let der = CertificateDer::from_pem_file(path).unwrap();
        varco_jose::certificate::identity(&der).unwrap().key
    };
    let pins = |side: &str| {
        let pins = keys.iter().map(|(pki, suffix, until)| Pin {
            key: key(pki, side, suffix),
            from: NOW,
            until: *until,
        });
        pins.collect::<Vec<_>>()
    };
    let cpi = registry.agencies.iter_mut().find(|agency| agency.id.as_str() == "cpi-lucca").unwrap();
    (cpi.channel_pins, cpi.seal_pins) = (pins("channel"), pins("seal"));
}

/// The next version of the registry in force, as a document.
fn change(world: &World, change: impl FnOnce(&mut Registry)) -> String {
    let in_force = world.app().in_force.load();
    let mut next = in_force.registry.clone();
    next.version += 1;
    next.previous = Some(in_force.sha256);
    change(&mut next);
    canonical::canonical_of(&next)
}

async fn propose(world: &World, registry: &str, officers: &[&str]) -> Answer {
    bring(world, &proposal(world, registry, officers)).await
}

/// Signed and put together with the commands that officers have.
fn proposal(world: &World, registry: &str, officers: &[&str]) -> Value {
    let document = world.folder.path("registry.json");
    std::fs::write(&document, registry).unwrap();
    let (folder, document) = (world.folder.path(""), document.display().to_string());
    let mut arguments = vec!["registry".to_owned(), "propose".to_owned(), document.clone()];
    for officer in officers {
        let key = world.folder.path(&format!("pki/officers/{officer}/key.pem")).display().to_string();
        let signed = run(&folder, &["registry", "sign", &document, "--key", &key]);
        assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
        let statement = world.folder.path(&format!("{officer}.jws"));
        std::fs::write(&statement, said(&signed)).unwrap();
        arguments.extend(["--statement".to_owned(), format!("{officer}={}", statement.display())]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let proposed = run(&folder, &arguments);
    assert!(proposed.status.success(), "{}", String::from_utf8_lossy(&proposed.stderr));
    serde_json::from_str(&said(&proposed)).unwrap()
}

async fn bring(world: &World, proposal: &Value) -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let message = Message { headers, body: canonical::canonical(proposal).into_bytes() };
    world.client("comune-lucca").send("POST", &format!("{BASE}/registry"), message).await.unwrap()
}

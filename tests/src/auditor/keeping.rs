//! What is kept, erased, held and pruned, and who must have ordered it; and a log that changes its key.

use serde_json::{Value, json};
use varco::config::Retention;
use varco::fetch::{Fetcher, Identity};
use varco::genesis::{ACT_REGISTRY, OfficerStatement, RegistryProposal};
use varco::orders::{ACT_ORDER, Act, Entries, Order, OrderProposal};
use varco::retention;
use varco::start::StartError;
use varco_core::hash::Sha256;
use varco_core::json as canonical;
use varco_core::log::entry::{Kind, Reason, SlotName};
use varco_core::log::note::VerifierKey;
use varco_core::log::proof::Receipt;
use varco_core::registry::{LogKey, Role};
use varco_core::wire::Statement;
use varco_jose::OfficerKey;

use std::time::Duration;

use super::reading::{officer, run, varco};
use super::world::{Deployed, World};

pub fn statement(world: &World, id: &str, act: &str, document: &str) -> OfficerStatement {
    let officer = world.deployed.kit.officers.iter().find(|officer| officer.id.as_str() == id).unwrap();
    let key = OfficerKey::from_pem(officer.key.serialize_pem().as_bytes()).unwrap();
    let sha256 = Sha256::of(document.as_bytes());
    let statement = Statement { act: act.to_owned(), sha256, at: world.running.app.now() };
    OfficerStatement { officer: officer.id.clone(), in_place_of: None, jws: key.sign(&statement).unwrap() }
}

/// One officer of each of so many agencies.
pub fn officers(world: &World, agencies: usize) -> Vec<String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for officer in world.deployed.kit.officers.iter().filter(|officer| officer.role == Role::Officer) {
        if !found.iter().any(|(agency, _)| agency == officer.agency.as_str()) {
            found.push((officer.agency.to_string(), officer.id.to_string()));
        }
    }
    found.into_iter().take(agencies).map(|(_, id)| id).collect()
}

fn order(world: &World, act: Act) -> String {
    let log = world.running.app.log.origin().to_owned();
    let authority = "Trib. Lucca, decreto 12/2026".to_owned();
    canonical::canonical_of(&Order { log, at: world.running.app.now(), authority, act })
}

pub async fn post(world: &World, path: &str, body: &str) -> (u16, Value) {
    let folder = world.path("pki/agencies/cpi-lucca");
    let (certificate, key) = (folder.join("channel.pem"), folder.join("channel.key.pem"));
    let identity = Identity { certificate: &certificate, key: &key };
    let fetcher = Fetcher::new(&[world.deployed.authority()], Some(&identity)).unwrap();
    let answer = fetcher.post(&format!("{}/{path}", world.exchange()), body.to_owned()).await.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

async fn bring(world: &World, document: &str, signers: usize) -> (u16, Value) {
    let statements =
        officers(world, signers).iter().map(|id| statement(world, id, ACT_ORDER, document)).collect();
    let proposal = OrderProposal { document: document.to_owned(), statements };
    post(world, "log/orders", &canonical::canonical_of(&proposal)).await
}

fn erase(first: u64, last: u64) -> Act {
    let entries = vec![Entries { first, last }];
    Act::Erase { entries, slots: vec![SlotName::Subject, SlotName::Operator], reason: Reason::Person }
}

async fn audit(world: &World, program: &std::path::Path) -> (bool, Value) {
    let ca = world.deployed.authority();
    let (url, key) = (format!("{}/log", world.exchange()), world.deployed.log_key());
    let auditor = officer(world, Role::Auditor);
    let (certificate, own) = (auditor.join("channel.pem"), auditor.join("key.pem"));
    let mut args =
        vec!["log", "verify", "--url", &url, "--ca", ca.to_str().unwrap(), "--key", &key, "--json"];
    args.extend(["--certificate", certificate.to_str().unwrap(), "--client-key", own.to_str().unwrap()]);
    let output = run(program, &args).await;
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_erased_by_order_of_two_agencies_and_not_while_they_are_held() {
    let varco = varco();
    let world = Deployed::new().start("", &[]).await;
    world.fill(20).await;
    let document = order(&world, erase(5, 9));
    let (status, told) = bring(&world, &document, 1).await;
    assert_eq!((status, &told["code"]), (422, &json!("log.order-invalid")), "{told}");
    // What was signed is exactly what counts.
    let other = document.replace("\"last\":9", "\"last\":8");
    let proposal = OrderProposal {
        document: other,
        statements: officers(&world, 2)
            .iter()
            .map(|id| statement(&world, id, ACT_ORDER, &document))
            .collect(),
    };
    let (status, _) = post(&world, "log/orders", &canonical::canonical_of(&proposal)).await;
    assert_eq!(status, 422);

    let held = Act::Hold { hold: "trib-12".to_owned(), entries: vec![Entries { first: 7, last: 7 }] };
    let hold = order(&world, held);
    assert_eq!(bring(&world, &hold, 1).await.0, 200);
    let (status, told) = bring(&world, &document, 2).await;
    assert_eq!((status, &told["code"]), (409, &json!("log.held")), "{told}");
    let lift = order(&world, Act::Lift { hold: "trib-12".to_owned() });
    assert_eq!(bring(&world, &lift, 1).await.0, 422);
    assert_eq!(bring(&world, &lift, 2).await.0, 200);
    let (status, told) = bring(&world, &document, 2).await;
    assert_eq!(status, 200, "{told}");
    let receipt = Receipt::parse(told["receipts"][0].as_str().unwrap().as_bytes()).unwrap();
    world.running.app.log.check(&receipt).unwrap();
    let erases = receipt.leaf.content().erases.clone().unwrap();
    assert_eq!((erases.first(), erases.last(), erases.reason()), (5, 9, Some(Reason::Person)));
    assert_eq!(erases.order(), Some(Sha256::of(document.as_bytes())));

    // Brought again, neither the order nor a hold that was lifted has a second effect.
    let size = world.running.app.store.checkpoint().head.size;
    assert_eq!(bring(&world, &document, 2).await, (200, told));
    assert_eq!(bring(&world, &hold, 1).await.0, 200);
    assert_eq!(world.running.app.store.checkpoint().head.size, size);
    assert!(world.running.app.store.read().holds().await.unwrap().is_empty());

    let slots = world.running.app.store.read().slots(6).await.unwrap();
    assert!(slots.subject.is_none() && slots.operator.is_none() && slots.decision.is_some());
    let (sound, report) = audit(&world, &varco).await;
    assert!(sound, "{report}");
    let finding = &report["findings"][0];
    assert_eq!((&finding["first"], &finding["last"]), (&json!(5), &json!(9)));
    assert_eq!(
        (&finding["verdict"], &finding["order"]),
        (&json!("erased-by-order"), &json!(receipt.leaf.index()))
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pruned_is_not_served_and_the_log_still_verifies() {
    let varco = varco();
    let world = Deployed::new().start("", &[]).await;
    let receipts = world.fill(600).await;
    assert_eq!(bring(&world, &order(&world, Act::Prune { minimum: 300 }), 2).await.0, 422);
    let (status, told) = bring(&world, &order(&world, Act::Prune { minimum: 256 }), 2).await;
    assert_eq!(status, 200, "{told}");
    let auditor = officer(&world, Role::Auditor);
    let (certificate, key) = (auditor.join("channel.pem"), auditor.join("key.pem"));
    let identity = Identity { certificate: &certificate, key: &key };
    let fetcher = Fetcher::new(&[world.deployed.authority()], Some(&identity)).unwrap();
    let status =
        async |path: &str| fetcher.get(&format!("{}/log/{path}", world.exchange())).await.unwrap().status;
    for path in ["tile/entries/000", "tile/entries/000.p/7", "bodies/000"] {
        assert_eq!(status(path).await, 410, "{path}");
    }
    for path in ["tile/entries/001", "bodies/001", "tile/0/000", "tile/0/001"] {
        assert_eq!(status(path).await, 200, "{path}");
    }
    let (sound, report) = audit(&world, &varco).await;
    assert!(sound, "{report}");
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["first"], &finding["last"], &finding["verdict"]),
        (&json!(0), &json!(255), &json!("pruned-by-order"))
    );
    world.running.app.log.check(&receipts[3]).unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_erases_what_is_over_and_destroys_its_keys_in_time() {
    let world = Deployed::new().start("", &[]).await;
    world.fill(30).await;
    let app = &world.running.app;
    let later = Duration::from_secs(86_400);
    let settings = Retention {
        every: later,
        system: later,
        detail: later,
        whole: later * 2,
        alerts: later,
        destroy_after: later,
    };
    assert_eq!(retention::round(app, &settings).await.unwrap(), retention::Round::default());
    // Nothing is old yet; without a period everything is.
    let hold = Act::Hold { hold: "h".to_owned(), entries: vec![Entries { first: 10, last: 11 }] };
    assert_eq!(bring(&world, &order(&world, hold), 1).await.0, 200);
    let settings = Retention { detail: Duration::ZERO, ..settings };
    let done = retention::round(app, &settings).await.unwrap();
    assert_eq!((done.orders, done.epoch), (2, None));
    let left =
        async |slot| app.store.read().bodies_left(0..31, slot, &[Kind::Denial, Kind::Disclosure]).await;
    assert_eq!(left(SlotName::Operator).await.unwrap(), Some((10, 11)));
    assert_eq!(left(SlotName::Subject).await.unwrap(), Some((1, 30)));
    let settings = Retention { destroy_after: Duration::ZERO, ..settings };
    assert_eq!(retention::round(app, &settings).await.unwrap().epoch, Some(2));
    assert_eq!(retention::round(app, &settings).await.unwrap(), retention::Round::default());
    let slots = app.store.read().slots(10).await.unwrap();
    assert!(SlotName::ALL.iter().all(|name| slots.slot(*name).is_some()));
    assert_eq!(left(SlotName::Decision).await.unwrap(), Some((1, 30)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_changes_its_key_when_two_agencies_have_signed_it() {
    let world = Deployed::new().start("", &[]).await;
    let old = world.fill(3).await;
    let World { deployed, running } = world;
    let new = varco::pki::dev::Kit::make(running.app.now(), |_| {}).unwrap();
    let new_pem = new.log_key.serialize_pem();
    let path = deployed.folder.join("pki/gateway/log.key.pem");
    let old_pem = std::fs::read(&path).unwrap();
    running.stop().await.unwrap();
    // Nobody changes the key alone.
    std::fs::write(&path, &new_pem).unwrap();
    assert!(matches!(deployed.restart().await, Err(StartError::LogKey)));
    std::fs::write(&path, &old_pem).unwrap();
    let world = World { running: deployed.restart().await.unwrap(), deployed };

    let in_force = world.running.app.in_force.load_full();
    let mut registry = in_force.registry.clone();
    registry.version += 1;
    registry.previous = Some(in_force.sha256);
    let verifier: VerifierKey = new.log_verifier().parse().unwrap();
    registry.log_keys.push(LogKey { verifier: verifier.to_string(), from: world.running.app.now() });
    let mut elsewhere = registry.clone();
    elsewhere.log_keys[1].verifier = elsewhere.log_keys[1].verifier.replacen("gateway", "gateaway", 1);
    for (registry, status) in [(elsewhere, 422), (registry, 200)] {
        let document = canonical::canonical_of(&registry);
        let signers = officers(&world, 2);
        let statements = signers.iter().map(|id| statement(&world, id, ACT_REGISTRY, &document)).collect();
        let proposal = RegistryProposal { statements, document };
        let told = post(&world, "registry", &canonical::canonical_of(&proposal)).await;
        assert_eq!(told.0, status, "{told:?}");
    }
    let World { deployed, running } = world;
    running.stop().await.unwrap();
    std::fs::write(&path, &new_pem).unwrap();
    let world = World { running: deployed.restart().await.unwrap(), deployed };
    let fresh = world.fill(2).await;
    let note = world.running.app.store.checkpoint().note;
    assert!(note.contains(&verifier.name().to_owned()));
    for receipt in old.iter().chain(&fresh) {
        world.running.app.log.check(receipt).unwrap();
    }
    // Who knows only the old key sees that the new checkpoints are not signed with it.
    let only_old = vec![std::sync::Arc::new(
        varco_jose::Ed25519NoteVerifier::from_text(&world.deployed.log_key()).unwrap(),
    ) as std::sync::Arc<dyn varco_core::log::note::NoteVerifier>];
    let origin = world.running.app.log.origin().to_owned();
    let only_old = varco_core::log::proof::LogVerifier::new(origin, only_old);
    only_old.check(&old[0]).unwrap();
    assert!(only_old.check(&fresh[0]).is_err());
    world.stop().await;
}

//! What follows the log beside the exchanges: alerts to a webhook, the stream to a SIEM, acts of administrators, inquiries.
//! Signatures are checked with software that is not ours.

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use varco::fetch::{Fetcher, Identity};
use varco_core::id::Pseudonym;
use varco_core::log::entry::{Draft, Kind, Slot, SlotName};
use varco_store::submission::Submission;

use super::receiver::{Answer, Receiver, acceptor};
use super::world::{Deployed, World};
use crate::world::until;

/// Denials about one person, as the gateway enters them.
async fn deny(world: &World, count: u8, person: &Pseudonym) {
    let app = &world.running.app;
    for n in 0..count {
        let mut draft = Draft::new(Kind::Denial, app.new_exchange(app.now()));
        draft.consumer = Some("cpi-lucca".parse().unwrap());
        draft.provider = Some("comune-capannori".parse().unwrap());
        draft.purpose = Some("F02".parse().unwrap());
        let operator =
            json!({ "agency": "cpi-lucca", "office": "servizi-lavoro", "operator": format!("op-{n}") });
        draft.slots.set(SlotName::Operator, Slot::new(app.random(), &operator));
        draft.slots.set(SlotName::Subject, Slot::new(app.random(), &json!({ "subject": person })));
        app.store
            .append(Submission { subjects: vec![person.clone()], ..Submission::new(draft) })
            .await
            .unwrap();
    }
}

fn person() -> Pseudonym {
    format!("s1.{}", "q".repeat(26)).parse().unwrap()
}

/// Verifies with josekit's OpenSSL, not with what signed.
fn opened(jws: &str) -> (Value, Value) {
    let parts: Vec<&str> = jws.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else { panic!("{jws}") };
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let certificate = STANDARD.decode(header["x5c"][0].as_str().unwrap()).unwrap();
    let spki = varco_jose::certificate::read(&certificate).unwrap().spki;
    let verifier = josekit::jws::ES256.verifier_from_der(&spki).unwrap();
    let signed = format!("{}.{payload}", parts[0]);
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    josekit::jws::JwsVerifier::verify(&verifier, signed.as_bytes(), &signature).unwrap();
    (header, serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_reaches_its_receiver_signed_and_is_sent_again_until_it_is_taken() {
    let deployed = Deployed::new();
    // It refuses twice.
    let answer: Answer = Arc::new(|count, _| (if count < 2 { 503 } else { 204 }, Vec::new()));
    let receiver = Receiver::start(Some(acceptor(&deployed.kit)), answer).await;
    let more = format!(
        "[alerts]\nevery = \"50ms\"\nauthorities = [\"{}\"]\n[alerts.webhooks.capannori]\n\
         url = \"https://localhost:{}/varco\"\nagency = \"comune-capannori\"\n",
        deployed.authority().display(),
        receiver.port
    );
    let world = deployed.start(&more, &[]).await;
    deny(&world, 7, &person()).await;
    let store = &world.running.app.store;
    let taken = async || {
        let told = store.read().alerts(None, varco_core::time::Timestamp::LAST, 10).await.unwrap();
        told.first().is_some_and(|told| told.deliveries.iter().any(|delivery| delivery.attempts > 0))
    };
    until("a first attempt", taken).await;
    // Attempts are five and ten seconds apart; a test does not wait for that.
    let told = store.read().alerts(None, varco_core::time::Timestamp::LAST, 10).await.unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    let alert = told[0].id;
    for _ in 0..2 {
        let attempts = async |count: u64| {
            let told = store.read().alerts(None, varco_core::time::Timestamp::LAST, 10).await.unwrap();
            told[0].deliveries[0].attempts >= count
        };
        let before = store.read().alerts(None, varco_core::time::Timestamp::LAST, 10).await.unwrap();
        let before = before[0].deliveries[0].attempts;
        let due = varco_store::kept::Record::Attempted {
            hook: "capannori".to_owned(),
            alert,
            due: varco_core::time::Timestamp::from_millis(0),
        };
        store.keep(vec![due]).await.unwrap();
        until("another attempt", async || attempts(before + 2).await).await;
    }
    let told =
        store.read().alerts(Some("comune-capannori"), varco_core::time::Timestamp::LAST, 10).await.unwrap();
    assert!(told[0].deliveries[0].delivered.is_some());
    assert!(
        store
            .read()
            .alerts(Some("comune-lucca"), varco_core::time::Timestamp::LAST, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let heard = receiver.heard();
    assert_eq!(heard.len(), 3);
    for (path, media, body) in &heard {
        assert_eq!((path.as_str(), media.as_str()), ("/varco", "application/jose"));
        let text = std::str::from_utf8(body).unwrap();
        let (header, claims) = opened(text);
        assert_eq!(header["typ"], "varco-alert+jwt");
        assert_eq!(
            (claims["aud"].as_str(), claims["jti"].as_str()),
            (Some("comune-capannori"), Some(alert.to_string().as_str()))
        );
        assert_eq!(claims["alert"]["about"], "repeated-denials");
        assert_eq!(claims["alert"]["entries"].as_array().unwrap().len(), 3);
        assert!(claims["alert"]["reason"]["it"].as_str().unwrap().contains("3 dinieghi"));
        assert!(!claims.to_string().contains(person().as_str()), "an alert names no person");
    }
    alerts_over_https(&world).await;
    world.stop().await;
}

/// An auditor sees all alerts, an agency its own, anybody else nothing.
async fn alerts_over_https(world: &World) {
    let seen = async |certificate: &Path, key: &Path| {
        let identity = Identity { certificate, key };
        let fetcher = Fetcher::new(&[world.deployed.authority()], Some(&identity)).unwrap();
        let found = fetcher.get(&format!("{}/log/alerts", world.exchange())).await.unwrap();
        let found: Value = serde_json::from_slice(&found.body).unwrap();
        found["alerts"].as_array().map_or(0, Vec::len)
    };
    let officers = world.path("pki/officers");
    let auditor =
        world.deployed.kit.officers.iter().find(|o| o.role == varco_core::registry::Role::Auditor).unwrap();
    let auditor = officers.join(auditor.id.as_str());
    assert_eq!(seen(&auditor.join("channel.pem"), &auditor.join("key.pem")).await, 1);
    for (agency, count) in [("comune-capannori", 1), ("cpi-lucca", 1), ("asl-toscana-nord-ovest", 0)] {
        let agency = world.path("pki/agencies").join(agency);
        assert_eq!(
            seen(&agency.join("channel.pem"), &agency.join("channel.key.pem")).await,
            count,
            "{agency:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_before_a_restart_is_not_told_again() {
    let world = Deployed::new().start("[alerts]\nevery = \"50ms\"\n", &[]).await;
    deny(&world, 7, &person()).await;
    let app = Arc::clone(&world.running.app);
    let count =
        async || app.store.read().alerts(None, varco_core::time::Timestamp::LAST, 10).await.unwrap().len();
    until("the alert", async || count().await == 1).await;
    let size = app.store.read().log().await.unwrap().unwrap().size;
    until("the end of the log", async || app.store.read().follower("alerts").await.unwrap() == Some(size))
        .await;
    // Two more make no second alert on this day, and neither does looking at everything again.
    deny(&world, 2, &person()).await;
    until("the end of the log", async || {
        app.store.read().follower("alerts").await.unwrap() == Some(size + 2)
    })
    .await;
    assert_eq!(count().await, 1);
    drop(app);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_siem_gets_every_entry_once_in_order_and_learns_neither_subject_nor_case() {
    let deployed = Deployed::new();
    let tls = acceptor(&deployed.kit);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (received, mut task) = (Arc::new(Mutex::new(Vec::new())), JoinSet::new());
    let kept = Arc::clone(&received);
    task.spawn(async move {
        // The first connection breaks off before anything is read.
        drop(listener.accept().await);
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = tls.accept(tcp).await else { continue };
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                kept.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        }
    });
    let more = format!(
        "[siem]\naddress = \"localhost:{port}\"\nauthorities = [\"{}\"]\nevery = \"50ms\"\n",
        deployed.authority().display()
    );
    let world = deployed.start(&more, &[]).await;
    world.fill(20).await;
    deny(&world, 2, &person()).await;
    let all = async || frames(&received.lock().unwrap()).len() >= 23;
    until("all events", all).await;
    let events = frames(&received.lock().unwrap());
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["metadata"]["sequence"], index, "{event}");
        assert_eq!(event["class_uid"], 6003);
    }
    let text = String::from_utf8(received.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("servizi-lavoro") && !text.contains(person().as_str()) && !text.contains("nobody-")
    );
    world.stop().await;
}

/// The messages of RFC 5424 in the octet counting of RFC 5425, whole ones only.
fn frames(mut bytes: &[u8]) -> Vec<Value> {
    let mut found = Vec::new();
    loop {
        let Some(space) = bytes.iter().position(|byte| *byte == b' ') else { return found };
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let Some(line) = bytes.get(space + 1..space + 1 + length) else { return found };
        let line = std::str::from_utf8(line).unwrap();
        let fields: Vec<&str> = line.splitn(8, ' ').collect();
        assert!(fields[0].starts_with("<1") && fields[0].ends_with(">1"), "{line}");
        found.push(serde_json::from_str(fields[7]).unwrap());
        bytes = &bytes[space + 1 + length..];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_of_an_administrator_past_the_gateway_becomes_an_entry() {
    let world = Deployed::new().start("", &[]).await;
    let app = &world.running.app;
    let url = format!("sqlite:{}", world.path("varco.db").display());
    varco::administration::note(&url, "log verify").await.unwrap();
    let entries = async || {
        let search = varco_store::search::Search { kind: Some(Kind::Admin), limit: 10, ..Default::default() };
        app.store.read().search(&search).await.unwrap().entries
    };
    // The gateway looks every ten seconds, and takes the note away after the entry is durable.
    let patience = std::time::Duration::from_secs(60);
    let waiting = || std::fs::read_dir(world.path("varco.db-acts")).unwrap().count();
    let taken = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        while waiting() > 0 {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(patience, taken).await.unwrap();
    let slots = app.store.read().slots(entries().await[0].index()).await.unwrap();
    assert!(slots.decision.unwrap().body.contains(r#""act":"database-opened""#));
    assert!(!varco::administration::Who::here().user.is_empty());
    assert!(slots.operator.unwrap().body.contains(&varco::administration::Who::here().user));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inquiry_takes_a_reason_is_entered_and_names_operators_only_with_their_agencys_word() {
    use varco_core::wire::Statement;
    let world = Deployed::new().start("", &[]).await;
    world.fill(20).await;
    let app = &world.running.app;
    let kit = &world.deployed.kit;
    let auditor = kit.officers.iter().find(|o| o.role == varco_core::registry::Role::Auditor).unwrap();
    let folder = world.path("pki/officers").join(auditor.id.as_str());
    let (certificate, key) = (folder.join("channel.pem"), folder.join("key.pem"));
    let fetcher =
        Fetcher::new(&[world.deployed.authority()], Some(&Identity { certificate: &certificate, key: &key }));
    let fetcher = fetcher.unwrap();
    let ask = async |body: Value| {
        let url = format!("{}/log/incidents", world.exchange());
        let answer = fetcher.post_as("application/json", &url, Bytes::from(body.to_string())).await.unwrap();
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let day = std::time::Duration::from_secs(86_400);
    let inquiry = json!({ "from": app.now().minus(day), "until": app.now().plus(day), "operator": "op-1" });
    assert_eq!(ask(json!({ "inquiry": inquiry, "reason": " " })).await.0, 422);
    let before = app.store.read().log().await.unwrap().unwrap().size;
    let (status, answer) = ask(json!({ "inquiry": inquiry, "reason": "violazione n. 3" })).await;
    assert_eq!(status, 200, "{answer}");
    // op-1 is every seventh; one of three is a denial.
    assert_eq!(answer["disclosures"], 3, "{answer}");
    assert_eq!(answer["names"], json!({}));
    let slots = app.store.read().slots(before).await.unwrap();
    let body = slots.decision.unwrap().body;
    assert!(body.contains("violazione n. 3") && body.contains(r#""read":"incident""#), "{body}");

    let document =
        varco_core::json::canonical(&json!({ "agency": "cpi-lucca", "operators": { "op-1": "Rossi" } }));
    let sign = |agency: &str| {
        let officer = kit
            .officers
            .iter()
            .find(|o| o.agency.as_str() == agency && o.role == varco_core::registry::Role::Officer);
        let key = varco_jose::OfficerKey::from_pem(officer.unwrap().key.serialize_pem().as_bytes()).unwrap();
        let sha256 = varco_core::hash::Sha256::of(document.as_bytes());
        key.sign(&Statement { act: "name-operators".to_owned(), sha256, at: app.now() }).unwrap()
    };
    let with = |statement: String| json!({ "inquiry": inquiry, "reason": "violazione n. 3", "names": [{ "document": document, "statement": statement }] });
    let (status, answer) = ask(with(sign("cpi-lucca"))).await;
    assert_eq!((status, answer["names"]["cpi-lucca"]["op-1"].as_str()), (200, Some("Rossi")));
    let (status, answer) = ask(with(sign("comune-capannori"))).await;
    assert_eq!(status, 422, "{answer}");
    world.stop().await;
}

//! Change signals: who may pull a record is told that it has changed, and stops being told at the instant it may not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use varco_core::exchange::Replayed;
use varco_core::log::entry::Kind;
use varco_core::signal::KEPT;

use super::rotation::rotate;
use crate::world::asks::{COACH, PURPOSE, RECORD_TYPE, Situation, add_member, anna, consent, withdrawal};
use crate::world::desk::{Desk, Told};
use crate::world::{Folder, PEOPLE, Setup, World, decision, policies};

fn subscription(case: &str) -> Value {
    json!({
        "record_type": RECORD_TYPE,
        "subject": anna(),
        "provider": "comune-capannori",
        "purpose": PURPOSE,
        "case": case,
    })
}

fn changed() -> Value {
    json!({ "record_type": RECORD_TYPE, "subject": anna(), "signal_type": "UPDATE" })
}

async fn subscribe(desk: &Desk, ask: &Value) -> Value {
    let told = desk.post("/subscriptions", ask).await;
    assert_eq!((told.status, told.signed), (201, true), "{:?}", told.body);
    told.body["subscription"].clone()
}

async fn signal(desk: &Desk, ask: &Value) -> Told {
    let told = desk.post("/signals", ask).await;
    assert_eq!((told.status, told.signed), (202, true), "{:?}", told.body);
    told
}

/// What waits, from the beginning.
async fn waiting(desk: &Desk) -> Vec<Value> {
    let told = desk.get("/signals").await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    told.body["signals"].as_array().unwrap().clone()
}

async fn standing(desk: &Desk) -> Value {
    let told = desk.get("/subscriptions").await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    told.body["subscriptions"][0]["standing"].clone()
}

#[tokio::test]
async fn a_subscriber_is_told_that_a_record_has_changed_and_neither_what_nor_of_whom() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.cpi.post("/subscriptions", &subscription(&anna.case)).await;
    assert_eq!((told.status, told.signed), (201, true), "{:?}", told.body);
    assert_eq!(told.receipt().leaf.kind(), Kind::Case);
    let opened = told.body["subscription"].clone();
    let object = opened["object_id"].as_str().unwrap();
    assert!(
        object.starts_with("p1.") && object.len() == 29,
        "a pseudonym of this pair of agencies: {object}"
    );
    assert!(waiting(&anna.cpi).await.is_empty());

    let sent = signal(&anna.capannori, &changed()).await;
    assert_eq!(sent.receipt().leaf.kind(), Kind::Delivery);
    assert_eq!(sent.receipt().leaf.content().consumer, None, "who signals receives nothing");
    let read = anna.cpi.get("/signals").await;
    let [one] = &read.body["signals"].as_array().unwrap()[..] else { panic!("{:?}", read.body) };
    assert_eq!((&one["object_id"], &one["subscription"]), (&opened["object_id"], &opened["id"]));
    assert_eq!((&one["signal_type"], &one["record_type"]), (&json!("UPDATE"), &json!(RECORD_TYPE)));
    assert_eq!((&one["provider"], &one["at"]), (&json!("comune-capannori"), &sent.body["accepted"]));
    assert_eq!(read.body["last"], one["signal_id"]);
    let text = Value::Object(read.body.clone()).to_string();
    assert!(!text.contains(PEOPLE.people()[0].code.expose()) && !text.contains("isee"), "{text}");

    // Its own entry, before the first byte; a reading of the log decides it again and no field left.
    let entries = world.entries_of(one["exchange"].as_str().unwrap()).await;
    let [(leaf, slots)] = &entries[..] else { panic!("not one entry") };
    assert_eq!(leaf.kind(), Kind::Delivery);
    assert_eq!(leaf.content().consumer.as_ref().unwrap().as_str(), "cpi-lucca");
    let said = decision(slots);
    assert_eq!((&said["signal"]["signal_id"], said.get("outcomes")), (&one["signal_id"], None));
    assert_eq!(world.replayed(leaf, &slots.decision.as_ref().unwrap().body), Replayed::Same);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200, "it pulls then");
    // The person learns of it from their own report.
    let report = anna.capannori.post("/subjects/report", &super::subject::asked(0, "self")).await;
    let lines = report.body["report"]["disclosures"].as_array().unwrap();
    assert_eq!(lines.iter().filter(|line| line["change_only"] == json!(true)).count(), 1, "{lines:?}");
    // Nobody else reads it, and it stays to be read again after a lost answer.
    for desk in [&anna.capannori, &world.desk("comune-porcari", "op-por-1")] {
        assert!(waiting(desk).await.is_empty());
        assert_eq!(desk.get("/subscriptions").await.body["subscriptions"], json!([]));
    }
    assert_eq!(waiting(&anna.cpi).await.len(), 1);
}

#[tokio::test]
async fn signals_come_in_the_order_of_their_numbers_page_by_page() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    subscribe(&anna.cpi, &subscription(&anna.case)).await;
    for kind in ["CREATE", "UPDATE", "UPDATE", "DELETE", "CREATE"] {
        let mut ask = changed();
        ask["signal_type"] = json!(kind);
        signal(&anna.capannori, &ask).await;
    }
    let (mut after, mut seen, mut kinds) = (json!(0), Vec::new(), Vec::new());
    for (status, count) in [(206, 2), (206, 2), (200, 1), (200, 0)] {
        let told = anna.cpi.get(&format!("/signals?after={after}&limit=2")).await;
        assert_eq!((told.status, told.signed), (status, true), "{:?}", told.body);
        let page = told.body["signals"].as_array().unwrap();
        assert_eq!(page.len(), count);
        seen.extend(page.iter().map(|one| one["signal_id"].as_u64().unwrap()));
        kinds.extend(page.iter().map(|one| one["signal_type"].as_str().unwrap().to_owned()));
        after = told.body["last"].clone();
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(kinds, ["CREATE", "UPDATE", "UPDATE", "DELETE", "CREATE"]);
    world.advance(KEPT + Duration::from_secs(1));
    assert!(waiting(&anna.cpi).await.is_empty(), "after thirty days nobody is told any more");
    for wrong in ["/signals?after=x", "/signals?person=1", "/subscriptions?after=x"] {
        let told = anna.cpi.get(wrong).await;
        assert_eq!((told.status, told.code()), (400, "http.bad-request"), "{wrong}");
    }
}

#[tokio::test]
async fn a_subscription_asked_for_again_is_the_same_one_and_its_agency_ends_it() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let first = subscribe(&anna.cpi, &subscription(&anna.case)).await;
    let again = anna.cpi.post("/subscriptions", &subscription(&anna.case)).await;
    assert_eq!((again.status, &again.body["subscription"]), (200, &first));
    assert_eq!(standing(&anna.cpi).await, json!(true));
    signal(&anna.capannori, &changed()).await;
    let end = format!("/subscriptions/{}/end", first["id"].as_str().unwrap());
    let other = world.desk("comune-porcari", "op-por-1");
    other.post(&end, &json!({})).await.assert_refused(404, "subscription.unknown");
    anna.capannori.post(&end, &json!({})).await.assert_refused(404, "subscription.unknown");
    for _ in 0..2 {
        let told = anna.cpi.post(&end, &json!({})).await;
        assert_eq!(told.status, 200, "{:?}", told.body);
        assert_eq!(told.receipt().leaf.kind(), Kind::Case);
    }
    assert!(waiting(&anna.cpi).await.is_empty(), "what waited went with it");
    signal(&anna.capannori, &changed()).await;
    assert!(waiting(&anna.cpi).await.is_empty());
    let renewed = subscribe(&anna.cpi, &subscription(&anna.case)).await;
    assert_ne!(renewed["id"], first["id"]);
    assert_eq!(renewed["object_id"], first["object_id"], "the person has one name towards an agency");
}

#[tokio::test]
async fn only_what_could_be_pulled_at_that_moment_is_subscribed_to() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let colleague = world.desk("cpi-lucca", "op-cpi-999");
    let told = colleague.post("/subscriptions", &subscription(&anna.case)).await;
    told.assert_refused(403, "exchange.not-allowed");
    assert_eq!(told.receipt().leaf.kind(), Kind::Denial);
    let mut other = subscription(&anna.case);
    other["provider"] = json!("nessuno");
    anna.cpi.post("/subscriptions", &other).await.assert_refused(403, "exchange.not-allowed");
    let mut urgent = subscription(&anna.case);
    urgent["purpose"] = json!("F14");
    anna.cpi.post("/subscriptions", &urgent).await.assert_refused(422, "emergency.undeclared");
    let mut health = subscription(&anna.case);
    health["record_type"] = json!("accertamento_disabilita");
    health["provider"] = json!("asl-toscana-nord-ovest");
    assert_eq!(anna.cpi.post("/subscriptions", &health).await.status, 403);
    anna.withdraw().await;
    let told = anna.cpi.post("/subscriptions", &subscription(&anna.case)).await;
    told.assert_refused(403, "exchange.denied");
    let pulled = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!(told.body["fields"], pulled.body["fields"], "one decision, one reason");
}

/// Ends a subscription in some way, with a signal made before that waits, and another one made after.
async fn ends(world: &World, anna: &Situation, how: impl AsyncFnOnce()) {
    subscribe(&anna.cpi, &subscription(&anna.case)).await;
    signal(&anna.capannori, &changed()).await;
    assert_eq!(waiting(&anna.cpi).await.len(), 1);
    how().await;
    let told = anna.cpi.get("/signals").await;
    assert_eq!((told.status, &told.body["signals"], &told.body["last"]), (200, &json!([]), &json!(0)));
    signal(&anna.capannori, &changed()).await;
    assert!(waiting(&anna.cpi).await.is_empty());
    let agency = "cpi-lucca".parse().unwrap();
    let since = world.now().minus(KEPT);
    let left = world.app().store.read().signals_for((&agency, None), since, 0, 10).await.unwrap();
    assert!(left.is_empty(), "what may not be told is not kept: {left:?}");
}

#[tokio::test]
async fn a_withdrawal_ends_the_subscription_and_another_consent_does_not_revive_it() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    ends(&world, &anna, async || anna.withdraw().await).await;
    assert_eq!(anna.capannori.post("/consents", &consent(world.now())).await.status, 201);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200, "a pull rests on the new one");
    signal(&anna.capannori, &changed()).await;
    assert!(waiting(&anna.cpi).await.is_empty());
    assert_eq!(standing(&anna.cpi).await, json!(false));
    // What the person has chosen now, the agency subscribes to now.
    subscribe(&anna.cpi, &subscription(&anna.case)).await;
    signal(&anna.capannori, &changed()).await;
    assert_eq!(waiting(&anna.cpi).await.len(), 1);
}

#[tokio::test]
async fn a_case_that_closes_ends_the_subscription() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let path = format!("/cases/{}/events", anna.case);
    let close =
        async || assert_eq!(anna.capannori.post(&path, &json!({ "change": "close" })).await.status, 200);
    ends(&world, &anna, close).await;
    assert_eq!(standing(&anna.cpi).await, json!(false));
}

#[tokio::test]
async fn whoever_leaves_the_equipe_is_told_no_more_not_even_after_coming_back() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let path = format!("/cases/{}/events", anna.case);
    let operator = json!({ "agency": "cpi-lucca", "operator": COACH });
    let leave = json!({ "change": "remove_member", "operator": operator });
    ends(&world, &anna, async || assert_eq!(anna.capannori.post(&path, &leave).await.status, 200)).await;
    world.advance(Duration::from_secs(1));
    assert_eq!(anna.capannori.post(&path, &add_member(COACH, world.now())).await.status, 200);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    signal(&anna.capannori, &changed()).await;
    assert!(waiting(&anna.cpi).await.is_empty());
    subscribe(&anna.cpi, &subscription(&anna.case)).await;
    signal(&anna.capannori, &changed()).await;
    assert_eq!(waiting(&anna.cpi).await.len(), 1);
}

/// The shipped bundle, under an agreement that ends within days.
fn ending_soon(folder: &Folder) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let bundle = folder.path("bundle");
    copy(&policies(), &bundle);
    let agreement = bundle.join("protocollo.txt");
    let text = std::fs::read_to_string(&agreement).unwrap();
    assert!(text.contains("al = 2029-02-28"));
    std::fs::write(&agreement, text.replace("al = 2029-02-28", "al = 2026-11-20")).unwrap();
    bundle
}

#[tokio::test]
async fn an_agreement_at_its_end_ends_the_subscription() {
    let world = World::of(Setup { policies: Some(ending_soon), ..Setup::default() }).await;
    let anna = Situation::of(&world).await;
    let opened = subscribe(&anna.cpi, &subscription(&anna.case)).await;
    let until = world.app().policy_at(world.now()).agreement.until;
    assert_eq!(opened["until"], json!(until), "it is told when it will end");
    signal(&anna.capannori, &changed()).await;
    assert_eq!(waiting(&anna.cpi).await.len(), 1);
    world.advance(until.since(world.now()));
    assert!(waiting(&anna.cpi).await.is_empty());
    anna.capannori.post("/signals", &changed()).await.assert_refused(403, "exchange.not-allowed");
}

fn conceal(extent: &Value) -> Value {
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    json!({ "subject": anna(), "ground": "concealment", "extent": extent, "word": word })
}

fn members(told: &Told) -> BTreeSet<String> {
    fn names(body: &Map<String, Value>, under: &str, found: &mut BTreeSet<String>) {
        for (name, value) in body {
            found.insert(format!("{under}.{name}"));
            if let Value::Object(inner) = value {
                names(inner, name, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    names(&told.body, "", &mut found);
    found
}

#[tokio::test]
async fn of_a_person_who_conceals_everything_nothing_is_told_and_nobody_can_tell() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let plain = anna.cpi.post("/subscriptions", &subscription(&anna.case)).await;
    let end = format!("/subscriptions/{}/end", plain.body["subscription"]["id"].as_str().unwrap());
    assert_eq!(anna.cpi.post(&end, &json!({})).await.status, 200);
    // As of somebody of whom the provider holds nothing: it was never asked, and never signals.
    let desk = world.desk("comune-porcari", "op-por-1");
    assert_eq!(desk.post("/restrictions", &conceal(&json!({}))).await.status, 201);
    let concealed = anna.cpi.post("/subscriptions", &subscription(&anna.case)).await;
    assert_eq!((concealed.status, members(&concealed)), (plain.status, members(&plain)));
    let leaf = |told: &Told| {
        let content = told.receipt().leaf.content().clone();
        (content.kind, content.consumer, content.provider, content.record_type, content.code)
    };
    assert_eq!(leaf(&concealed), leaf(&plain));
    assert_eq!(standing(&anna.cpi).await, json!(true), "it looks like any other");
    signal(&anna.capannori, &changed()).await;
    let told = anna.cpi.get("/signals").await;
    assert_eq!((told.status, &told.body["signals"], &told.body["last"]), (200, &json!([]), &json!(0)));
}

#[tokio::test]
async fn what_is_concealed_after_a_signal_was_made_is_not_told_and_moves_no_number() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    subscribe(&anna.cpi, &subscription(&anna.case)).await;
    let hidden = async || {
        let told = anna.capannori.post("/restrictions", &conceal(&json!({}))).await;
        assert_eq!(told.status, 201, "{:?}", told.body);
    };
    signal(&anna.capannori, &changed()).await;
    hidden().await;
    let told = anna.cpi.get("/signals?limit=1").await;
    assert_eq!((told.status, &told.body["signals"], &told.body["last"]), (200, &json!([]), &json!(0)));
    assert_eq!(told.receipt().leaf.kind(), Kind::Read);
}

#[tokio::test]
async fn of_a_protected_address_nothing_is_told_to_whoever_sees_nothing_else() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    anna.withdraw().await;
    let mut narrow = consent(world.now());
    let mut item = narrow["scope"][1].clone();
    item["fields"] = json!(["telefono"]);
    narrow["scope"] = json!([item]);
    assert_eq!(anna.capannori.post("/consents", &narrow).await.status, 201);
    let mut ask = subscription(&anna.case);
    ask["record_type"] = json!("anagrafica_nucleo");
    subscribe(&anna.cpi, &ask).await;
    let moved = |controls: Option<Value>| {
        let mut ask = changed();
        ask["record_type"] = json!("anagrafica_nucleo");
        if let Some(controls) = controls {
            ask["controls"] = controls;
        }
        ask
    };
    // What holds, and what the provider leaves unsaid.
    signal(&anna.capannori, &moved(Some(json!(["riservatezza_indirizzo"])))).await;
    signal(&anna.capannori, &moved(None)).await;
    assert!(waiting(&anna.cpi).await.is_empty());
    signal(&anna.capannori, &moved(Some(json!([])))).await;
    assert_eq!(waiting(&anna.cpi).await.len(), 1);
    let wrong = moved(Some(json!(["telefono"])));
    anna.capannori.post("/signals", &wrong).await.assert_refused(422, "request.invalid");
}

#[tokio::test]
async fn a_provider_learns_nothing_of_who_is_told_and_signals_each_change_once() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let alone = signal(&anna.capannori, &changed()).await;
    subscribe(&anna.cpi, &subscription(&anna.case)).await;
    let mut numbered = changed();
    numbered["sequence"] = json!(7);
    let heard = signal(&anna.capannori, &numbered).await;
    assert_eq!(members(&alone), members(&heard));
    let again = signal(&anna.capannori, &numbered).await;
    assert_eq!(
        (&again.body["signal"], &again.body["accepted"]),
        (&heard.body["signal"], &heard.body["accepted"])
    );
    assert_eq!(waiting(&anna.cpi).await.len(), 1, "one change, however often it was said");
    numbered["signal_type"] = json!("DELETE");
    anna.capannori.post("/signals", &numbered).await.assert_refused(409, "signal.conflict");
    // Another provider's numbers are its own, and nobody listens there.
    signal(&world.desk("comune-porcari", "op-por-1"), &numbered).await;
    assert_eq!(waiting(&anna.cpi).await.len(), 1);
    // Nobody signals what they do not own, nor in words that are no signal.
    let mut not_own = changed();
    not_own["record_type"] = json!("accertamento_disabilita");
    anna.capannori.post("/signals", &not_own).await.assert_refused(403, "exchange.not-allowed");
    for (member, value) in [
        ("signal_type", json!("SEEDUPDATE")),
        ("record_type", json!("nessuno")),
        ("sequence", json!(u64::MAX)),
    ] {
        let mut wrong = changed();
        wrong[member] = value;
        anna.capannori.post("/signals", &wrong).await.assert_refused(422, "request.invalid");
    }
}

#[tokio::test]
async fn a_withdrawal_between_the_decision_and_the_log_is_found_by_the_log() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    subscribe(&anna.cpi, &subscription(&anna.case)).await;
    signal(&anna.capannori, &changed()).await;
    let path = format!("/consents/{}/events", anna.consent);
    // Which comes first is chance; whichever it is, nothing is told after the withdrawal's index.
    let body = withdrawal();
    let (read, withdrawn) = tokio::join!(anna.cpi.get("/signals"), anna.capannori.post(&path, &body));
    assert_eq!((read.status, withdrawn.status), (200, 200));
    let at = withdrawn.receipt().leaf.index();
    for one in read.body["signals"].as_array().unwrap() {
        let entries = world.entries_of(one["exchange"].as_str().unwrap()).await;
        assert!(entries[0].0.index() < at, "told after the withdrawal");
    }
}

#[tokio::test]
async fn subscriptions_outlive_a_rotation_of_keys_and_what_is_concealed_under_the_new_one_counts() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let opened = subscribe(&anna.cpi, &subscription(&anna.case)).await;
    signal(&anna.capannori, &changed()).await;
    rotate(&world).await;
    signal(&anna.capannori, &changed()).await;
    let told = waiting(&anna.cpi).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|one| one["object_id"] == opened["object_id"]), "its name stays");
    let again = anna.cpi.post("/subscriptions", &subscription(&anna.case)).await;
    assert_eq!((again.status, &again.body["subscription"]["id"]), (200, &opened["id"]));
    assert_eq!(anna.capannori.post("/restrictions", &conceal(&json!({}))).await.status, 201);
    assert!(waiting(&anna.cpi).await.is_empty());
}

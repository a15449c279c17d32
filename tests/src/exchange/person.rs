//! What the person can do at any desk: take back, oppose, restrict, conceal. And who is told.

use serde_json::{Value, json};
use varco_core::log::entry::{Draft, Kind};
use varco_store::submission::{Change, StreamKind, Submission};

use crate::world::asks::{PURPOSE, RECORD_TYPE, Situation, anna, consent, withdrawal};
use crate::world::desk::Desk;
use crate::world::{PEOPLE, World};

fn taken_back(items: Option<Value>) -> Value {
    let mut body = json!({
        "subject": anna(), "capacity": "self", "method": "handwritten", "access_point": "urp"
    });
    if let Some(items) = items {
        body["items"] = items;
    }
    body
}

fn restriction(ground: &str, extent: &Value) -> Value {
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    json!({ "subject": anna(), "ground": ground, "extent": extent, "word": word })
}

fn stranger(world: &World) -> Desk {
    world.desk("comune-porcari", "op-por-001")
}

#[tokio::test]
async fn anna_withdraws_at_a_desk_that_knows_nothing_of_her() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    let told = stranger(&world).post("/consents/withdrawals", &taken_back(None)).await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    assert_eq!(told.receipt().leaf.kind(), Kind::Consent);
    assert_eq!(told.body["withdrawal"]["records"], json!([]));
    // Beside what goes on for everybody by law, nothing.
    let mut body = told.body.clone();
    body["withdrawal"].as_object_mut().unwrap().remove("continues");
    let said = serde_json::to_string(&body).unwrap();
    assert!(!said.contains(&anna.consent) && !said.contains("cpi-lucca") && !said.contains(RECORD_TYPE));
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.denied");
}

#[tokio::test]
async fn what_goes_on_by_law_is_told_when_she_agrees_and_when_she_takes_it_back() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let agreed = anna.capannori.post("/consents", &consent(world.now())).await;
    assert_eq!(agreed.status, 201, "{:?}", agreed.body);
    let id = agreed.body["consent"]["id"].as_str().unwrap();
    let changed = anna.capannori.post(&format!("/consents/{id}/events"), &withdrawal()).await;
    assert_eq!(changed.status, 200, "{:?}", changed.body);
    assert_eq!(changed.body["continues"], agreed.body["continues"]);
    let withdrawn = anna.capannori.post("/consents/withdrawals", &taken_back(None)).await;
    let told = &agreed.body["continues"];
    assert_eq!(*told, withdrawn.body["withdrawal"]["continues"]);
    let purposes: Vec<&str> =
        told.as_array().unwrap().iter().map(|one| one["purpose"].as_str().unwrap()).collect();
    assert!(purposes.contains(&"F01") && purposes.contains(&"F08"), "{purposes:?}");
    // What needs her word does not go on, and statistics are about nobody.
    assert!(!purposes.contains(&PURPOSE) && !purposes.contains(&"F10"), "{purposes:?}");
    for one in told.as_array().unwrap() {
        let is_told = |member: &str| !one[member].as_array().unwrap().is_empty();
        assert!(is_told("acts") && is_told("record_types"), "{one}");
    }
}

#[tokio::test]
async fn a_stranger_cannot_tell_whether_there_was_anything_to_withdraw() {
    let world = World::start().await;
    let _anna = Situation::of(&world).await;
    let desk = stranger(&world);
    let first = desk.post("/consents/withdrawals", &taken_back(None)).await;
    let mut nobody = taken_back(None);
    nobody["subject"] = json!({ "codice_fiscale": PEOPLE.people()[5].code.expose() });
    let second = desk.post("/consents/withdrawals", &nobody).await;
    let shape = |told: &crate::world::desk::Told| {
        let leaf = told.receipt().leaf;
        let content = leaf.content().clone();
        let names: Vec<String> = told.body.keys().cloned().collect();
        (told.status, names, content.kind, content.provider, content.purpose, content.record_type)
    };
    assert_eq!(shape(&first), shape(&second));
}

#[tokio::test]
async fn anna_takes_back_one_purpose_and_keeps_the_rest() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let items = json!([{ "purpose": PURPOSE, "record_type": "anagrafica_nucleo" }]);
    let told = anna.capannori.post("/consents/withdrawals", &taken_back(Some(items))).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    let states: Vec<&Value> = told.body["withdrawal"]["records"][0]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| &i["state"])
        .collect();
    assert_eq!(states, [&json!("given"), &json!("withdrawn")]);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn whoever_received_what_was_withdrawn_is_told_and_acknowledges() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let pulled = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!(stranger(&world).post("/consents/withdrawals", &taken_back(None)).await.status, 200);
    let told = anna.cpi.get("/notices").await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    let received = told.body["received"].as_array().unwrap();
    assert_eq!(received.len(), 1, "{received:?}");
    let notice = &received[0];
    assert_eq!((&notice["about"], &notice["provider"]), (&json!("withdrawal"), &json!("comune-capannori")));
    assert_eq!(notice["exchanges"], json!([pulled.exchange()]));
    let fields: Vec<&str> = notice["fields"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(fields.contains(&"isee_fascia") && !fields.contains(&"isee_valore"), "{fields:?}");
    let open = anna.capannori.get("/notices").await;
    assert_eq!(open.body["unacknowledged"][0]["to"], json!("cpi-lucca"));
    let path = format!("/notices/{}/ack", notice["id"].as_str().unwrap());
    anna.capannori.post(&path, &json!({})).await.assert_refused(404, "notice.unknown");
    let done = anna.cpi.post(&path, &json!({})).await;
    assert_eq!(done.status, 200, "{:?}", done.body);
    assert_eq!(anna.cpi.get("/notices").await.body["received"], json!([]));
    assert_eq!(anna.capannori.get("/notices").await.body["unacknowledged"], json!([]));
    anna.cpi.post(&path, &json!({})).await.assert_refused(409, "consent.conflict");
}

#[tokio::test]
async fn nobody_who_received_nothing_is_told() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    anna.withdraw().await;
    assert_eq!(anna.cpi.get("/notices").await.body["received"], json!([]));
}

#[tokio::test]
async fn an_opposition_closes_at_once_and_opens_again_where_it_was_recorded() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let desk = stranger(&world);
    let told =
        desk.post("/restrictions", &restriction("opposition", &json!({ "record_type": RECORD_TYPE }))).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let id = told.body["restriction"]["id"].as_str().unwrap().to_owned();
    let closed = anna.cpi.post("/pulls", &anna.pull()).await;
    closed.assert_refused(403, "exchange.denied");
    let said = serde_json::to_string(&closed.body).unwrap();
    assert!(
        !said.contains("opposed") && !said.contains("person"),
        "an opposition is itself concealed: {said}"
    );
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let lift = json!({ "subject": crate::world::asks::anna(), "state": "lifted", "word": word });
    let path = format!("/restrictions/{id}/events");
    anna.capannori.post(&path, &lift).await.assert_refused(404, "restriction.unknown");
    let found = desk.post("/restrictions/search", &json!({ "subject": crate::world::asks::anna() })).await;
    assert_eq!(found.body["items"][0]["id"], json!(id));
    let elsewhere =
        anna.capannori.post("/restrictions/search", &json!({ "subject": crate::world::asks::anna() })).await;
    assert_eq!(elsewhere.body["items"], json!([]));
    assert_eq!(desk.post(&path, &lift).await.status, 200);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn a_concealed_field_looks_as_if_the_source_held_nothing() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let extent = json!({ "record_type": RECORD_TYPE, "fields": ["isee_fascia"] });
    let told = stranger(&world).post("/restrictions", &restriction("concealment", &extent)).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!(told.status, 200);
    assert!(
        ["absent", "unavailable"].contains(&told.outcome("isee_fascia")),
        "{}",
        told.outcome("isee_fascia")
    );
    let said = serde_json::to_string(&told.body["fields"]).unwrap();
    assert!(!said.contains("opposed") && !said.contains("conceal"));
    assert_eq!(anna.cpi.get("/notices").await.body["received"], json!([]), "nobody is told");
}

#[tokio::test]
async fn of_a_restriction_past_recipients_are_told() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    let told = stranger(&world).post("/restrictions", &restriction("restriction", &json!({}))).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let notices = anna.cpi.get("/notices").await;
    assert_eq!(notices.body["received"][0]["about"], json!("restriction"));
}

#[tokio::test]
async fn a_new_record_takes_the_place_of_the_same_choice_in_an_old_one() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.capannori.post("/consents", &consent(world.now())).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let old = anna.capannori.get(&format!("/consents/{}", anna.consent)).await;
    let states: Vec<&Value> =
        old.body["consent"]["items"].as_array().unwrap().iter().map(|item| &item["state"]).collect();
    assert_eq!(states, [&json!("superseded"), &json!("superseded")]);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn a_representative_without_a_decree_withdraws_nothing() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut body = taken_back(None);
    body["capacity"] = json!("tutor");
    stranger(&world).post("/consents/withdrawals", &body).await.assert_refused(422, "request.invalid");
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn a_minors_record_must_end_on_the_eighteenth_birthday() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut body = consent(world.now());
    body["class"] = json!("minor");
    body["class_until"] = json!("2031-01-01T00:00:00Z");
    body["event"]["capacity"] = json!("parents_both");
    anna.capannori.post("/consents", &body).await.assert_refused(422, "request.invalid");
}

#[tokio::test]
async fn a_consent_that_cannot_be_read_counts_as_not_given_and_the_rest_still_flows() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut broken = Submission::new(Draft::new(Kind::Admin, world.app().new_exchange(world.now())));
    broken.changes = vec![Change {
        stream: anna.consent.clone(),
        kind: StreamKind::Consent,
        expected: 1,
        header: None,
        event: "{}".to_owned(),
        subjects: Vec::new(),
        waits_for: None,
    }];
    world.app().store.append(broken).await.unwrap();
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.denied");
    let mut by_law = anna.pull();
    by_law["purpose"] = json!("F01");
    by_law["record_type"] = json!("anagrafica_nucleo");
    by_law.as_object_mut().unwrap().remove("case");
    let told = anna.cpi.post("/pulls", &by_law).await;
    assert_eq!((told.status, told.outcome("cognome")), (200, "shown"), "{:?}", told.body);
}

//! A new epoch of the pseudonyms' keys, begun while the gateway runs: everything old is found, everything new is written
//! under the new key.

use serde_json::{Value, json};
use varco_core::id::Pseudonym;

use super::subject::asked;
use crate::world::asks::{RECORD_TYPE, Situation, anna, consent};
use crate::world::family::{ANNA, Family, MATTEO, SARA, person};
use crate::world::{PEOPLE, World, until};

const KEYS: &str = "pki/gateway/subject.keys";
const SECOND: &str = "2 1111111111111111111111111111111111111111111111111111111111111111\n";

fn write(world: &World, text: &str) {
    // As an operator does it: a new file in the old one's place, never half of one.
    let new = world.folder.path("subject.keys.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, world.folder.path(KEYS)).unwrap();
}

fn old(world: &World) -> String {
    std::fs::read_to_string(world.folder.path(KEYS)).unwrap()
}

fn epochs(world: &World) -> (u16, Vec<u16>) {
    world.app().keys.load().epochs()
}

/// Learns the second key first, then writes under it.
pub(super) async fn rotate(world: &World) {
    let first = old(world);
    write(world, &format!("current 1\n{first}{SECOND}"));
    until("the new key is known", async || epochs(world) == (1, vec![1, 2])).await;
    write(world, &format!("{first}{SECOND}"));
    until("the new key is current", async || epochs(world) == (2, vec![1, 2])).await;
}

fn pseudonyms(world: &World, place: usize) -> Vec<Pseudonym> {
    world.app().keys.load().all(&PEOPLE.people()[place].code)
}

#[tokio::test]
async fn a_new_epoch_begins_without_a_stop_and_what_was_recorded_before_still_counts() {
    let world = World::start().await;
    let situation = Situation::of(&world).await;
    assert_eq!(situation.cpi.post("/pulls", &situation.pull()).await.status, 200);
    rotate(&world).await;
    // Consent and case of the first epoch open a pull of the second.
    let told = situation.cpi.post("/pulls", &situation.pull()).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    let [(_, slots)] = &world.entries_of(told.exchange()).await[..] else { panic!("not one entry") };
    assert!(slots.subject.as_ref().unwrap().body.contains("\"s2."), "written under the new key");
    // The person's report and past span both.
    let report = situation.capannori.post("/subjects/report", &asked(ANNA, "self")).await;
    assert_eq!(report.body["report"]["disclosures"].as_array().unwrap().len(), 2);
    let found = situation.capannori.post("/consents/search", &json!({ "subject": anna() })).await;
    assert_eq!(found.body["items"].as_array().unwrap().len(), 1);
    // A withdrawal of the second epoch ends a consent of the first, and tells those who received in both.
    let word = json!({ "subject": anna(), "capacity": "self", "method": "cie", "access_point": "urp" });
    assert_eq!(situation.capannori.post("/consents/withdrawals", &word).await.status, 200);
    situation.cpi.post("/pulls", &situation.pull()).await.assert_refused(403, "exchange.denied");
    let notice = situation.cpi.get("/notices").await.body["received"][0].clone();
    assert_eq!(notice["exchanges"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_withdrawal_in_an_old_record_tells_whoever_received_under_the_new_key() {
    let world = World::start().await;
    let situation = Situation::of(&world).await;
    rotate(&world).await;
    let pulled = situation.cpi.post("/pulls", &situation.pull()).await;
    assert_eq!(pulled.status, 200, "{:?}", pulled.body);
    // The record is named, and not the person: only the old pseudonym is known.
    situation.withdraw().await;
    let notice = situation.cpi.get("/notices").await.body["received"][0].clone();
    assert_eq!(notice["exchanges"], json!([pulled.exchange()]));
}

#[tokio::test]
async fn new_records_are_found_by_the_new_key_alone() {
    let world = World::start().await;
    let situation = Situation::of(&world).await;
    rotate(&world).await;
    let told = situation.capannori.post("/consents", &consent(world.now())).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let [new, old] = &pseudonyms(&world, ANNA)[..] else { panic!("not two epochs") };
    let kind = varco_store::submission::StreamKind::Consent;
    let count = async |pseudonym: &Pseudonym| {
        world.app().store.read().streams_of(std::slice::from_ref(pseudonym), kind).await.unwrap().len()
    };
    assert_eq!((count(new).await, count(old).await), (1, 1));
    // The choice is open in one record only, across epochs.
    let path = format!("/consents/{}", situation.consent);
    let before = situation.capannori.get(&path).await;
    assert_eq!(before.body["consent"]["items"][0]["state"], json!("superseded"));
}

#[tokio::test]
async fn a_restriction_holds_across_epochs_and_is_lifted_in_the_next() {
    let world = World::start().await;
    let situation = Situation::of(&world).await;
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let extent = json!({ "record_type": RECORD_TYPE });
    let body = json!({ "subject": anna(), "ground": "restriction", "extent": extent, "word": word });
    let imposed = situation.capannori.post("/restrictions", &body).await;
    let id = imposed.body["restriction"]["id"].as_str().unwrap().to_owned();
    rotate(&world).await;
    situation.cpi.post("/pulls", &situation.pull()).await.assert_refused(403, "exchange.denied");
    let lift = json!({ "subject": anna(), "state": "lifted", "word": word });
    let told = situation.capannori.post(&format!("/restrictions/{id}/events"), &lift).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    assert_eq!(situation.cpi.post("/pulls", &situation.pull()).await.status, 200);
}

/// What Anna says of her own data, which closes what tells of everybody in her house.
async fn objects(family: &Family) -> String {
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let extent = json!({ "record_type": RECORD_TYPE });
    let body = json!({ "subject": anna(), "ground": "restriction", "extent": extent, "word": word });
    let told = family.capannori.post("/restrictions", &body).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    told.body["restriction"]["id"].as_str().unwrap().to_owned()
}

/// What becomes of the household's field, and of one about Matteo alone, when only he is asked about.
async fn of_matteo(family: &Family) -> (String, String) {
    let told = family.cpi.post("/pulls", &family.pull(MATTEO, RECORD_TYPE)).await;
    (told.outcome("isee_fascia").to_owned(), told.outcome("adi_sfl").to_owned())
}

fn outcomes(of_all: &str, own: &str) -> (String, String) {
    (of_all.to_owned(), own.to_owned())
}

#[tokio::test]
async fn a_household_is_found_whole_from_an_older_case_whatever_is_said_under_the_new_key() {
    let world = World::start().await;
    let family = Family::of(&world, &[ANNA, MATTEO, SARA]).await;
    rotate(&world).await;
    assert_eq!(of_matteo(&family).await, outcomes("shown", "absent"));
    let id = objects(&family).await;
    assert_eq!(of_matteo(&family).await, outcomes("withheld", "absent"));
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let lift = json!({ "subject": anna(), "state": "lifted", "word": word });
    assert_eq!(family.capannori.post(&format!("/restrictions/{id}/events"), &lift).await.status, 200);
    assert_eq!(of_matteo(&family).await, outcomes("shown", "absent"));
    // A consent that ends under the new key ends there too.
    let word = json!({ "subject": person(SARA), "capacity": "parent", "by": anna(), "method": "cie", "access_point": "urp" });
    assert_eq!(family.capannori.post("/consents/withdrawals", &word).await.status, 200);
    assert_eq!(of_matteo(&family).await, outcomes("withheld", "absent"));
}

#[tokio::test]
async fn a_case_opened_under_the_new_key_finds_what_was_said_before() {
    let world = World::start().await;
    let before = Family::of(&world, &[ANNA, MATTEO, SARA]).await;
    objects(&before).await;
    rotate(&world).await;
    let after = Family::of(&world, &[]).await;
    assert_eq!(of_matteo(&after).await, outcomes("withheld", "absent"));
    let path = format!("/cases/{}", after.case);
    let seen = Value::Object(after.capannori.get(&path).await.body).to_string();
    assert!(!seen.contains("lock") && !seen.contains("\"s2."), "{seen}");
}

#[tokio::test]
async fn a_person_is_in_a_case_once_whatever_the_epoch() {
    let world = World::start().await;
    let family = Family::of(&world, &[]).await;
    rotate(&world).await;
    let path = format!("/cases/{}/events", family.case);
    let again = json!({ "change": "add_subject", "subject": person(MATTEO) });
    family.capannori.post(&path, &again).await.assert_refused(409, "case.conflict");
    let leaves = json!({ "change": "remove_subject", "subject": person(MATTEO) });
    assert_eq!(family.capannori.post(&path, &leaves).await.status, 200);
    let told = family.cpi.post("/pulls", &family.pull(MATTEO, RECORD_TYPE)).await;
    told.assert_refused(403, "exchange.not-allowed");
}

#[tokio::test]
async fn a_file_that_would_lose_people_is_refused_and_told() {
    let world = World::start().await;
    let situation = Situation::of(&world).await;
    let first = old(&world);
    for wrong in [SECOND.to_owned(), "not a key\n".to_owned(), format!("current 9\n{first}")] {
        write(&world, &wrong);
        until("the file is refused", async || world.app().keys_refused.load().is_some()).await;
        assert_eq!(epochs(&world), (1, vec![1]), "the keys in use stay in use");
        assert_eq!(situation.cpi.post("/pulls", &situation.pull()).await.status, 200);
        let path = format!("{}/status", varco::http::exchange::BASE);
        let status = world.client("cpi-lucca").get(&path).await.unwrap().json();
        assert!(status["subject_keys"]["refused"].is_string() && !status.to_string().contains("1111"));
        write(&world, &first);
        until("the old file is taken", async || world.app().keys_refused.load().is_none()).await;
    }
    assert_eq!(Value::from(epochs(&world).0), json!(1));
}

//! A household asked for at once: each member an exchange of their own, and nobody speaks for the others.

use serde_json::{Value, json};
use varco_core::log::entry::Kind;
use varco_core::log::proof::Receipt;

use crate::world::desk::{Told, log_verifier};
use crate::world::family::{ANNA, Family, MATTEO, SARA, person};
use crate::world::provider::Play;
use crate::world::{KIT, PEOPLE, World, decision};

const REGISTRY: &str = "anagrafica_nucleo";
const ECONOMY: &str = "condizione_economica_prestazioni";
const ALL: [usize; 3] = [ANNA, MATTEO, SARA];

fn members(told: &Told) -> &Vec<Value> {
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    told.body["members"].as_array().unwrap()
}

fn outcome<'a>(member: &'a Value, field: &str) -> &'a str {
    let fields = member["fields"].as_array().unwrap();
    let found = fields.iter().find(|said| said["name"] == field);
    found.and_then(|said| said["outcome"].as_str()).unwrap_or("not mentioned")
}

fn outcomes(told: &Told) -> Vec<&str> {
    members(told).iter().map(|member| member["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn one_request_gives_each_member_an_exchange_and_an_entry_of_their_own() {
    let world = World::start().await;
    let family = Family::of(&world, &ALL).await;
    let before = world.log_size().await;
    let told = family.cpi.post("/pulls/household", &family.household(&ALL, REGISTRY)).await;
    assert_eq!(outcomes(&told), ["disclosed", "disclosed", "disclosed"]);
    let names: Vec<_> = members(&told).iter().map(|member| member["record"]["nome"].clone()).collect();
    assert_eq!(names, ["Anna", "Matteo", "Sara"], "in the order asked");
    assert_eq!(world.log_size().await, before + 4, "three members and the request");
    assert_eq!(told.receipt().leaf.kind(), Kind::Read);
    let mut exchanges = Vec::new();
    for member in members(&told) {
        let exchange = member["exchange"].as_str().unwrap();
        let [(leaf, slots)] = &world.entries_of(exchange).await[..] else { panic!("not one entry") };
        assert_eq!(leaf.kind(), Kind::Disclosure);
        assert_eq!(decision(slots)["household"], json!(told.exchange()));
        let receipt = Receipt::parse(member["receipt"].as_str().unwrap().as_bytes()).unwrap();
        log_verifier(&KIT).check(&receipt).unwrap();
        assert_eq!(receipt.leaf.content().id.as_str(), exchange);
        exchanges.push(exchange.to_owned());
    }
    let [(_, slots)] = &world.entries_of(told.exchange()).await[..] else { panic!("not one entry") };
    assert_eq!(decision(slots)["members"], json!(exchanges));
    assert!(slots.subject.as_ref().is_none_or(|slot| !slot.body.contains("s1.")), "the request names nobody");
}

#[tokio::test]
async fn whoever_is_left_out_is_left_out_without_a_reason() {
    let world = World::start().await;
    let family = Family::of(&world, &[ANNA]).await;
    // Matteo has not agreed, Bruno is not in the case, and somebody from elsewhere is neither.
    let stranger =
        PEOPLE.people().iter().position(|p| PEOPLE.comune(p).unwrap().agency != "comune-capannori");
    let told = family
        .cpi
        .post("/pulls/household", &family.household(&[MATTEO, 3, stranger.unwrap()], REGISTRY))
        .await;
    assert_eq!(outcomes(&told), ["left_out", "left_out", "left_out"]);
    let shape = |member: &Value| {
        let names: Vec<_> = member.as_object().unwrap().keys().cloned().collect();
        let receipt = Receipt::parse(member["receipt"].as_str().unwrap().as_bytes()).unwrap();
        let content = receipt.leaf.content().clone();
        (names, content.kind, content.code, content.provider, content.purpose, content.record_type)
    };
    let shapes: Vec<_> = members(&told).iter().map(shape).collect();
    assert!(shapes.windows(2).all(|pair| pair[0] == pair[1]), "{shapes:?}");
}

#[tokio::test]
async fn whom_the_provider_does_not_know_looks_like_whoever_did_not_agree() {
    let world = World::played(Play::Unknown).await;
    let family = Family::of(&world, &[ANNA]).await;
    let told = family.cpi.post("/pulls/household", &family.household(&[ANNA, MATTEO], REGISTRY)).await;
    assert_eq!(outcomes(&told), ["left_out", "left_out"]);
    let leaf = |member: &Value| {
        let receipt = Receipt::parse(member["receipt"].as_str().unwrap().as_bytes()).unwrap();
        (receipt.leaf.kind(), receipt.leaf.content().code.clone())
    };
    assert_eq!(leaf(&members(&told)[0]), leaf(&members(&told)[1]));
}

#[tokio::test]
async fn the_body_of_the_entry_keeps_the_reason_and_replays() {
    let world = World::start().await;
    let family = Family::of(&world, &[ANNA]).await;
    let told = family.cpi.post("/pulls/household", &family.household(&[ANNA, MATTEO, 3], REGISTRY)).await;
    let mut refused = Vec::new();
    for member in members(&told) {
        let [(leaf, slots)] = &world.entries_of(member["exchange"].as_str().unwrap()).await[..] else {
            panic!("not one entry")
        };
        let body = &slots.decision.as_ref().unwrap().body;
        assert_eq!(world.replayed(leaf, body), varco_core::exchange::Replayed::Same);
        refused.push(decision(slots)["refused"].clone());
    }
    assert_eq!(refused, [Value::Null, json!("exchange.denied"), json!("exchange.not-allowed")]);
}

#[tokio::test]
async fn a_field_about_all_of_them_needs_every_ones_agreement() {
    let world = World::start().await;
    let family = Family::of(&world, &[ANNA, MATTEO]).await;
    let told = family.cpi.post("/pulls", &family.pull(ANNA, ECONOMY)).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    assert_eq!(
        (told.outcome("isee_fascia"), told.outcome("adi_sfl")),
        ("withheld", "shown"),
        "Sara's is missing"
    );
    let whole = family.cpi.post("/pulls/household", &family.household(&[ANNA, MATTEO], ECONOMY)).await;
    assert_eq!(outcome(&members(&whole)[0], "isee_fascia"), "withheld", "leaving her out does not help");
    let sara = crate::world::family::agreed(SARA, world.now());
    assert_eq!(family.capannori.post("/consents", &sara).await.status, 201);
    let told = family.cpi.post("/pulls", &family.pull(ANNA, ECONOMY)).await;
    assert_eq!(told.outcome("isee_fascia"), "shown");
    assert!(
        !Value::Object(told.body.clone())
            .to_string()
            .contains(person(SARA)["codice_fiscale"].as_str().unwrap())
    );
}

#[tokio::test]
async fn a_withdrawal_of_one_tells_whoever_received_a_field_about_all() {
    let world = World::start().await;
    let family = Family::of(&world, &ALL).await;
    let pulled = family.cpi.post("/pulls", &family.pull(ANNA, ECONOMY)).await;
    assert_eq!(pulled.outcome("isee_fascia"), "shown");
    let path = format!("/consents/{}/events", family.consents[2]);
    let withdrawal = json!({
        "state": "withdrawn", "capacity": "parents_both", "method": "handwritten", "access_point": "urp"
    });
    assert_eq!(family.capannori.post(&path, &withdrawal).await.status, 200);
    let told = family.cpi.post("/pulls", &family.pull(ANNA, ECONOMY)).await;
    assert_eq!((told.outcome("isee_fascia"), told.outcome("adi_sfl")), ("withheld", "shown"));
    let notices = family.cpi.get("/notices").await.body["received"].clone();
    let [notice] = &notices.as_array().unwrap()[..] else { panic!("not one notice: {notices}") };
    assert_eq!(notice["exchanges"], json!([pulled.exchange()]));
    let fields = notice["fields"].as_array().unwrap();
    assert!(fields.contains(&json!("isee_fascia")) && !fields.contains(&json!("adi_sfl")), "{fields:?}");
    // Anna's exchange is told to Anna alone, and corrected and restricted as hers alone.
    let ask = super::subject::asked(SARA, "parent");
    let hers = family.capannori.post("/subjects/report", &ask).await;
    assert_eq!(hers.body["report"]["disclosures"], json!([]), "it was not about Sara");
    let body = json!({ "subject": person(SARA), "ground": "rectification", "record_type": ECONOMY });
    family.capannori.post("/corrections", &body).await.assert_refused(422, "request.invalid");
}

#[tokio::test]
async fn what_one_member_conceals_is_concealed_of_all() {
    let world = World::start().await;
    let family = Family::of(&world, &ALL).await;
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let extent = json!({ "record_type": REGISTRY, "fields": ["relazione_parentela"] });
    let body = json!({ "subject": person(MATTEO), "ground": "concealment", "extent": extent, "word": word });
    assert_eq!(family.capannori.post("/restrictions", &body).await.status, 201);
    let told = family.cpi.post("/pulls/household", &family.household(&ALL, REGISTRY)).await;
    for member in members(&told) {
        assert_eq!(outcome(member, "relazione_parentela"), "absent");
        assert_eq!(outcome(member, "cognome"), "shown");
    }
}

#[tokio::test]
async fn a_protected_address_closes_address_contacts_and_household_for_everyone() {
    let agency = "comune-capannori".parse().unwrap();
    let mut record = PEOPLE.record(&agency, &REGISTRY.parse().unwrap(), &PEOPLE.people()[SARA]).unwrap();
    record.insert("riservatezza_indirizzo".to_owned(), json!(true));
    // The system says so of Sara alone: its records of the others are as they were.
    let world = World::played(Play::RecordOf(PEOPLE.people()[SARA].code.clone(), record)).await;
    let family = Family::of(&world, &ALL).await;
    let told = family.cpi.post("/pulls/household", &family.household(&ALL, REGISTRY)).await;
    for member in members(&told) {
        assert_eq!(member["outcome"], "disclosed");
        for field in ["residenza_indirizzo", "residenza_comune", "telefono", "email", "componenti"] {
            assert_eq!(outcome(member, field), "unavailable", "{field}");
            assert!(member["record"].get(field).is_none());
        }
        assert_eq!(outcome(member, "nome"), "shown");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_member_by_member() {
    let world = World::played(Play::Status(500)).await;
    let family = Family::of(&world, &[ANNA]).await;
    let told = family.cpi.post("/pulls/household", &family.household(&[ANNA, MATTEO], REGISTRY)).await;
    assert_eq!(outcomes(&told), ["failed", "left_out"]);
    assert!(members(&told)[0]["code"].as_str().unwrap().starts_with("adapter."));
}

#[tokio::test]
async fn a_household_is_named_once_each_and_is_no_list_of_a_town() {
    let world = World::start().await;
    let family = Family::of(&world, &ALL).await;
    for places in [vec![], vec![ANNA, ANNA], (0..33).collect()] {
        let told = family.cpi.post("/pulls/household", &family.household(&places, REGISTRY)).await;
        told.assert_refused(422, "request.invalid");
    }
}

#[tokio::test]
async fn each_member_counts_against_the_operators_rate() {
    let setup =
        crate::world::Setup { config: |config| config.rates.operator.requests = 8, ..Default::default() };
    let world = World::of(setup).await;
    let family = Family::of(&world, &[]).await;
    let body = family.household(&[ANNA, MATTEO, SARA], REGISTRY);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(family.cpi.post("/pulls/household", &body).await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
}

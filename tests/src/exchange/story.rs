//! The story of one exchange, with everything that is true along the way.

use serde_json::json;
use varco_core::log::entry::Kind;
use varco_core::log::proof::Receipt;
use varco_core::wire::verify_record;

use crate::world::asks::{RECORD_TYPE, Situation};
use crate::world::desk::{log_verifier, seal_trust};
use crate::world::provider::Play;
use crate::world::{KIT, NOW, World, decision};

#[tokio::test]
async fn a_consented_pull_discloses_what_may_be_disclosed_and_proves_it() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    let record = told.record().unwrap();
    let shown = told.body["fields"].as_array().unwrap().iter().filter(|field| field["outcome"] == "shown");
    assert_eq!(shown.count(), record.len());
    assert_eq!(told.outcome("isee_fascia"), "shown");
    assert_eq!(told.outcome("isee_valore"), "withheld");
    assert_eq!(told.outcome("patrimonio_mobiliare"), "withheld");

    let receipt = told.receipt();
    assert_eq!(receipt.leaf.id().as_str(), told.exchange());
    let entries = world.entries_of(told.exchange()).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].0, receipt.leaf);
    let content = entries[0].0.content();
    assert_eq!(content.kind, Kind::Disclosure);
    assert_eq!(content.consumer.as_ref().unwrap().as_str(), "cpi-lucca");
    assert_eq!(content.provider.as_ref().unwrap().as_str(), "comune-capannori");
    assert_eq!(content.record_type.as_ref().unwrap().as_str(), RECORD_TYPE);
}

#[tokio::test]
async fn the_record_has_a_seal_of_its_own_that_outlives_the_answer() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    let seals = seal_trust(&KIT, NOW);
    let filed = told.text("record_jws");
    assert!(verify_record(filed, 1024 * 1024, &seals).is_ok());
    let (head, signature) = filed.rsplit_once('.').unwrap();
    let forged = format!("{}.{signature}", head.replace(".ey", ".eY"));
    assert!(verify_record(&forged, 1024 * 1024, &seals).is_err());
}

#[tokio::test]
async fn after_the_withdrawal_the_same_pull_is_refused_with_a_receipt() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    anna.withdraw().await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    told.assert_refused(403, "exchange.denied");
    assert!(told.signed);
    assert_eq!(told.receipt().leaf.kind(), Kind::Denial);
}

#[tokio::test]
async fn without_consent_the_provider_is_not_even_asked() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    anna.withdraw().await;
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.denied");
    assert!(world.provider.as_ref().unwrap().heard().is_empty());
}

#[tokio::test]
async fn a_consent_given_again_opens_the_pull_again() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    anna.withdraw().await;
    let told = anna.capannori.post("/consents", &crate::world::asks::consent(world.now())).await;
    assert_eq!(told.status, 201);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn only_the_fields_asked_for_are_fetched_and_answered() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let mut pull = anna.pull();
    pull["fields"] = json!(["isee_fascia"]);
    let told = anna.cpi.post("/pulls", &pull).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    assert_eq!(told.record().unwrap().keys().collect::<Vec<_>>(), ["isee_fascia"]);
    assert_eq!(told.outcome("adi_sfl"), "withheld");
    let heard = world.provider.as_ref().unwrap().heard();
    assert_eq!(heard[0]["fields"], json!(["isee_fascia"]));
}

#[tokio::test]
async fn a_provider_is_never_asked_for_a_field_that_may_not_leave() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    let heard = world.provider.as_ref().unwrap().heard();
    let asked: Vec<&str> = heard[0]["fields"].as_array().unwrap().iter().filter_map(|f| f.as_str()).collect();
    assert!(!asked.is_empty());
    for field in asked {
        assert_ne!(told.outcome(field), "withheld", "{field}");
    }
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_a_mistake_that_is_logged() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut pull = anna.pull();
    pull["fields"] = json!(["isee_fascia", "conto_corrente"]);
    let told = anna.cpi.post("/pulls", &pull).await;
    told.assert_refused(422, "request.invalid");
    assert!(told.receipt().leaf.kind() != Kind::Disclosure);
}

#[tokio::test]
async fn the_receipt_can_be_fetched_again_by_a_party_and_by_nobody_else() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    // More entries: the later receipt proves the same leaf in a larger tree.
    anna.withdraw().await;
    let path = format!("/rest/varco/v1/exchanges/{}/receipt", told.exchange());
    for (agency, status) in [("cpi-lucca", 200), ("comune-capannori", 200), ("comune-lucca", 404)] {
        let answer = world.client(agency).get(&path).await.unwrap();
        assert_eq!(answer.status, status, "{agency}");
        if status == 200 {
            let receipt = Receipt::parse(&answer.message.body).unwrap();
            log_verifier(&KIT).check(&receipt).unwrap();
            assert_eq!(receipt.leaf, told.receipt().leaf);
        }
    }
}

#[tokio::test]
async fn the_decision_in_the_log_names_its_facts_and_no_value() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    let (leaf, slots) = world.entries_of(told.exchange()).await.remove(0);
    let said = decision(&slots);
    assert_eq!(said["facts"]["consents"][0]["consent"], json!(anna.consent), "{said}");
    assert_eq!(said["facts"]["case"]["case"], json!(anna.case));
    assert!(said.get("source").is_some());
    let person = crate::world::asks::anna()["codice_fiscale"].as_str().unwrap().to_owned();
    for text in
        [leaf.as_str().to_owned(), format!("{:?}", slots.iter().map(|(_, s)| &s.body).collect::<Vec<_>>())]
    {
        assert!(!text.contains(&person));
    }
}

//! The story of one exchange, with everything that is true along the way.

use serde_json::json;
use varco_core::log::entry::Kind;

use crate::world::World;
use crate::world::asks::{RECORD_TYPE, Situation};

#[tokio::test]
async fn a_consented_pull_discloses_what_may_be_disclosed_and_proves_it() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    let record = told.record().unwrap();
    assert!(!record.is_empty());
    let shown = told.body["fields"].as_array().unwrap().iter().filter(|field| field["outcome"] == "shown");
    assert_eq!(shown.count(), record.len());
    assert_eq!(told.outcome("patrimonio_mobiliare"), "withheld");

    let receipt = told.receipt();
    assert_eq!(receipt.leaf.id().as_str(), told.exchange());
    assert_eq!(receipt.leaf.kind(), Kind::Disclosure);
    let entries = world.entries_of(told.exchange()).await;
    assert_eq!(entries.len(), 1);
    let content = entries[0].0.content();
    assert_eq!(content.consumer.as_ref().unwrap().as_str(), "cpi-lucca");
    assert_eq!(content.provider.as_ref().unwrap().as_str(), "comune-capannori");
    assert_eq!(content.record_type.as_ref().unwrap().as_str(), RECORD_TYPE);
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
async fn only_the_fields_asked_for_are_answered_and_fetched() {
    let world = World::played(crate::world::provider::Play::Honest).await;
    let anna = Situation::of(&world).await;
    let mut pull = anna.pull();
    pull["fields"] = json!(["isee_fascia"]);
    let told = anna.cpi.post("/pulls", &pull).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    println!("{:?} {:?}", told.body, world.provider.as_ref().unwrap().heard());
}

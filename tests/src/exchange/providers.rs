//! Whatever a provider does wrong has its own code, one entry of failure, and discloses nothing.

use std::time::Duration;

use serde_json::json;
use varco::config::Config;
use varco_core::log::entry::Kind;

use crate::world::asks::Situation;
use crate::world::provider::Play;
use crate::world::{Setup, World};

async fn check(play: Play, expected: (u16, &str)) {
    check_with(play, |_| (), expected).await;
}

async fn check_with(play: Play, config: fn(&mut Config), (status, code): (u16, &str)) {
    let world = World::of(Setup { play: Some(play), config, ..Setup::default() }).await;
    let anna = Situation::of(&world).await;
    let before = world.log_size().await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    told.assert_refused(status, code);
    assert!(told.signed);
    let receipt = told.receipt();
    assert_eq!((receipt.leaf.kind(), receipt.leaf.index()), (Kind::Failure, before));
    assert_eq!(receipt.leaf.content().code.as_ref().unwrap().as_str(), code);
    assert_eq!(world.log_size().await, before + 1);
    assert_eq!(world.entries_of(told.exchange()).await.len(), 1);
    // The agency's system comes to its senses, and so does the exchange.
    world.provider.as_ref().unwrap().play(Play::Honest);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn a_slow_provider_is_not_waited_for() {
    let soon = |config: &mut Config| {
        config.providers.values_mut().for_each(|provider| provider.timeout = Duration::from_millis(300));
    };
    check_with(Play::Silent, soon, (504, "adapter.timeout")).await;
}

#[tokio::test]
async fn an_answer_with_another_agencys_seal_is_not_believed() {
    check(Play::SealedBy("comune-lucca"), (502, "adapter.signature")).await;
}

#[tokio::test]
async fn an_answer_without_a_seal_is_not_believed() {
    check(Play::Unsigned, (502, "adapter.signature")).await;
}

#[tokio::test]
async fn an_answer_changed_after_signing_is_not_believed() {
    check(Play::ChangedAfterSigning, (502, "adapter.signature")).await;
}

#[tokio::test]
async fn a_record_of_another_schema_is_refused_whole() {
    let body = json!({ "record": { "isee_fascia": 3 } }).to_string();
    check(Play::Body(body.into_bytes()), (502, "adapter.mismatch")).await;
}

#[tokio::test]
async fn a_record_with_more_than_was_asked_is_refused_whole() {
    let body = json!({ "record": { "isee_fascia": "3", "patrimonio_mobiliare": "12000.00" } }).to_string();
    check(Play::Body(body.into_bytes()), (502, "adapter.mismatch")).await;
}

#[tokio::test]
async fn a_huge_answer_is_cut_off() {
    check(Play::Endless, (502, "adapter.too-large")).await;
}

#[tokio::test]
async fn a_truncated_answer_is_none() {
    check(Play::Truncated, (502, "adapter.truncated")).await;
}

#[tokio::test]
async fn hostile_json_is_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let twice = r#"{"record":{"isee_fascia":"3"},"record":{"isee_fascia":"1"}}"#;
    let number = r#"{"record":{"isee_fascia":1e999999}}"#;
    let text = b"{\"record\":{\"isee_fascia\":\"\xff\xfe\"}}".to_vec();
    let bodies = [deep.into_bytes(), twice.into(), number.into(), text, b"".to_vec(), b"null".to_vec()];
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    for body in bodies {
        let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        world.provider.as_ref().unwrap().play(Play::Body(body));
        let told = anna.cpi.post("/pulls", &anna.pull()).await;
        assert_eq!((told.status, told.code()), (502, "adapter.mismatch"), "{shown}");
        assert_eq!(told.receipt().leaf.kind(), Kind::Failure);
    }
}

#[tokio::test]
async fn a_provider_that_refuses_is_reported_as_refusing() {
    check(Play::Status(500), (502, "adapter.refused")).await;
}

#[tokio::test]
async fn a_provider_that_fails_again_and_again_is_left_alone() {
    let quick = |config: &mut Config| {
        config.providers.values_mut().for_each(|provider| provider.failures = 2);
    };
    let setup = Setup { play: Some(Play::Truncated), config: quick, ..Setup::default() };
    let world = World::of(setup).await;
    let anna = Situation::of(&world).await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(anna.cpi.post("/pulls", &anna.pull()).await.code().to_owned());
    }
    assert_eq!(codes, ["adapter.truncated", "adapter.truncated", "adapter.circuit-open"]);
    assert_eq!(world.provider.as_ref().unwrap().heard().len(), 2);
}

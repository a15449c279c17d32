//! Killed at any moment, the gateway loses no signal it accepted and tells none twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use varco_core::hash::Sha256;
use varco_core::json;

use super::Deployed;
use crate::world::asks::{RECORD_TYPE, Situation, anna, pull};
use crate::world::desk::Desk;
use crate::world::provider::Play;
use crate::world::until;

const ROUNDS: u64 = 3;
const CLIENTS: u64 = 4;
/// Of each client in a round: 48 in all, fewer than one subscription keeps.
const EACH: u64 = 4;

/// What the provider was told of each of its numbers.
type Accepted = Arc<Mutex<BTreeMap<u64, String>>>;

fn changed(sequence: u64) -> Value {
    json!({ "record_type": RECORD_TYPE, "subject": anna(), "signal_type": "UPDATE", "sequence": sequence })
}

/// Signals until the gateway is gone.
async fn work(desk: Desk, numbers: Vec<u64>, accepted: Accepted) {
    let Ok(mut connection) = desk.client.connect().await else { return };
    for number in numbers {
        let body = json::canonical(&changed(number)).into_bytes();
        let message = desk.signed(&body);
        let Ok(answer) = connection.send("POST", "/rest/varco/v1/signals", message).await else { return };
        let told = desk.check(&answer, &Sha256::of(&body));
        assert_eq!(told.status, 202, "{:?}", told.body);
        accepted.lock().unwrap().insert(number, told.text("signal").to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_the_gateway_loses_no_signal_and_tells_none_twice() {
    let mut deployed = Deployed::start(Play::Honest, "").await;
    let case = Situation::at(&deployed.ends()).await.case;
    let cpi = deployed.desk("cpi-lucca", crate::world::asks::COACH);
    assert_eq!(cpi.post("/subscriptions", &pull(&case)).await.status, 201);
    let accepted = Accepted::default();
    let (mut seen, mut after) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let numbers = |client: u64| {
            let first = (round * CLIENTS + client) * EACH;
            (first..first + EACH).collect::<Vec<_>>()
        };
        let before = accepted.lock().unwrap().len();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let desk = deployed.desk("comune-capannori", "op-cap-042");
            clients.spawn(work(desk, numbers(client), Arc::clone(&accepted)));
        }
        // The seeded moment: after so many answers, wherever the others are then.
        let moment = 1 + usize::from(Sha256::of(&round.to_be_bytes()).as_bytes()[0] % 8);
        until("enough answers", async || accepted.lock().unwrap().len() >= before + moment).await;
        deployed.kill();
        while clients.join_next().await.is_some() {}
        deployed.start_gateway();
        // As a provider does that got no answer: each number again. What was accepted is known again.
        let capannori = deployed.desk("comune-capannori", "op-cap-042");
        for number in (0..CLIENTS).flat_map(numbers) {
            let told = capannori.post("/signals", &changed(number)).await;
            assert_eq!(told.status, 202, "{:?}", told.body);
            let known = accepted.lock().unwrap().insert(number, told.text("signal").to_owned());
            assert!(known.is_none_or(|known| known == told.text("signal")), "number {number} became another");
        }
        let cpi = deployed.desk("cpi-lucca", crate::world::asks::COACH);
        loop {
            let told = cpi.get(&format!("/signals?after={after}&limit=32")).await;
            let page = told.body["signals"].as_array().unwrap();
            seen.extend(page.iter().map(|one| one["signal_id"].as_u64().unwrap()));
            after = told.body["last"].as_u64().unwrap();
            if told.status == 200 {
                break;
            }
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(seen.len() as u64, ROUNDS * CLIENTS * EACH, "each change is told, and once");
    deployed.verify_log();
}

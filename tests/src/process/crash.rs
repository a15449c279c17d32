//! What a crash and an orderly stop leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::sync::Semaphore;
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_store::read::Reader;

use super::Deployed;
use crate::world::asks::{COACH, Situation, pull};
use crate::world::desk::Desk;
use crate::world::provider::Play;
use crate::world::until;

/// How often the gateway is killed, and how many clients are at work then.
const ROUNDS: u64 = 6;
const CLIENTS: usize = 4;

/// What clients were told, over all rounds: the leaf of each acknowledged exchange.
#[derive(Default)]
struct Acknowledged {
    leaves: Mutex<Vec<Leaf>>,
    /// In this round.
    count: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_the_gateway_loses_no_exchange_it_acknowledged() {
    let mut deployed = Deployed::start(Play::Honest, "").await;
    let case = Situation::at(&deployed.ends()).await.case;
    let acknowledged = Arc::new(Acknowledged::default());
    let mut known_interrupted = 0;
    for round in 0..ROUNDS {
        acknowledged.count.store(0, Ordering::SeqCst);
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(work(deployed.desk("cpi-lucca", COACH), case.clone(), Arc::clone(&acknowledged)));
        }
        // The seeded moment: after so many answers, wherever the other clients' requests are then.
        let moment = 1 + usize::from(Sha256::of(&round.to_be_bytes()).as_bytes()[0] % 24);
        until("enough answers", async || acknowledged.count.load(Ordering::SeqCst) >= moment).await;
        if round % 2 == 1 {
            // And in every other round with exchanges that certainly wait for their provider.
            deployed.provider.play(Play::Silent);
            let before = deployed.provider.heard().len();
            until("requests that wait", async || deployed.provider.heard().len() > before + 1).await;
        }
        deployed.kill();
        while clients.join_next().await.is_some() {}
        deployed.provider.play(Play::Honest);
        deployed.start_gateway();
        let interrupted = check(&deployed, &acknowledged).await;
        assert!(
            interrupted > known_interrupted || round % 2 == 0,
            "what waited for its provider left no trace"
        );
        known_interrupted = interrupted;
    }
    deployed.verify_log();
    let told = deployed.desk("cpi-lucca", COACH).post("/pulls", &pull(&case)).await;
    assert_eq!(told.status, 200, "the gateway does not go on");
}

/// Pulls until the gateway is gone.
async fn work(desk: Desk, case: String, acknowledged: Arc<Acknowledged>) {
    let body = json::canonical(&pull(&case)).into_bytes();
    let Ok(mut connection) = desk.client.connect().await else { return };
    loop {
        let message = desk.signed(&body);
        let Ok(answer) = connection.send("POST", "/rest/varco/v1/pulls", message).await else { return };
        let told = desk.check(&answer, &Sha256::of(&body));
        assert_eq!(told.status, 200, "{:?}", told.body);
        acknowledged.leaves.lock().unwrap().push(told.receipt().leaf);
        acknowledged.count.fetch_add(1, Ordering::SeqCst);
    }
}

/// How many exchanges were ever interrupted.
async fn check(deployed: &Deployed, acknowledged: &Acknowledged) -> usize {
    let log = deployed.log().await;
    let entries = entries(&log).await;
    for leaf in acknowledged.leaves.lock().unwrap().iter() {
        assert_eq!(
            entries.get(leaf.id().as_str()),
            Some(&vec![leaf.clone()]),
            "an acknowledged exchange is lost"
        );
    }
    // Whatever reached the provider has one outcome, and if the crash cut it short the log says so.
    let mut interrupted = BTreeSet::new();
    for heard in deployed.provider.heard() {
        let exchange = heard["exchange"].as_str().unwrap();
        let found = entries.get(exchange).unwrap_or_else(|| panic!("{exchange} left no trace"));
        assert_eq!(found.len(), 1, "{exchange} has {} entries", found.len());
        let kind = found[0].kind();
        assert!(matches!(kind, Kind::Disclosure | Kind::Interrupted), "{exchange} ended as {kind:?}");
        if kind == Kind::Interrupted {
            interrupted.insert(exchange.to_owned());
        }
    }
    log.close().await;
    interrupted.len()
}

async fn entries(log: &Reader) -> BTreeMap<String, Vec<Leaf>> {
    let size = log.log().await.unwrap().unwrap().size;
    let mut found: BTreeMap<String, Vec<Leaf>> = BTreeMap::new();
    for from in (0..size).step_by(1024) {
        for leaf in log.leaves(from, size.min(from + 1024)).await.unwrap() {
            let leaf = Leaf::parse(&leaf).unwrap();
            found.entry(leaf.id().to_string()).or_default().push(leaf);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_cut_short_by_a_crash_shows_as_interrupted() {
    let mut deployed = Deployed::start(Play::Silent, "").await;
    let anna = Situation::at(&deployed.ends()).await;
    let message = anna.cpi.signed(json::canonical(&anna.pull()).as_bytes());
    let sending = anna.cpi.client.send("POST", "/rest/varco/v1/pulls", message.clone());
    let asked = async {
        deployed.provider.asked().await;
        deployed.gateway.as_mut().unwrap().child.kill().unwrap();
    };
    let (answer, ()) = tokio::join!(sending, asked);
    assert!(answer.is_err());
    deployed.kill();
    deployed.provider.play(Play::Honest);
    deployed.start_gateway();
    let exchange = deployed.provider.heard()[0]["exchange"].as_str().unwrap().to_owned();
    let log = deployed.log().await;
    let found = log.entries_of(&exchange.parse().unwrap()).await.unwrap();
    assert_eq!(found.iter().map(Leaf::kind).collect::<Vec<_>>(), [Kind::Interrupted]);
    assert_eq!(found[0].content().consumer.as_ref().unwrap().as_str(), "cpi-lucca");
    // The token was used, also if nobody got an answer to it.
    let desk = deployed.desk("cpi-lucca", COACH);
    desk.send("POST", "/pulls", message).await.assert_refused(409, "wire.replayed");
    deployed.verify_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_finishes_what_was_accepted() {
    let gate = Arc::new(Semaphore::new(0));
    let mut deployed = Deployed::start(Play::Held(Arc::clone(&gate)), "").await;
    let anna = Situation::at(&deployed.ends()).await;
    let body = json::canonical(&anna.pull()).into_bytes();
    let send = || anna.cpi.client.send("POST", "/rest/varco/v1/pulls", anna.cpi.signed(&body));
    let stop = async {
        for _ in 0..3 {
            deployed.provider.asked().await;
        }
        deployed.terminate();
        until("the listener closes", async || anna.cpi.client.connect().await.is_err()).await;
        gate.add_permits(3);
    };
    let (a, b, c, ()) = tokio::join!(send(), send(), send(), stop);
    let mut leaves = Vec::new();
    for answer in [a, b, c] {
        let told = anna.cpi.check(&answer.unwrap(), &Sha256::of(&body));
        assert_eq!(told.status, 200, "{:?}", told.body);
        leaves.push(told.receipt().leaf);
    }
    assert!(deployed.ended(), "the gateway did not end in order");
    let log = deployed.log().await;
    for leaf in leaves {
        assert_eq!(log.entries_of(leaf.id()).await.unwrap(), [leaf]);
    }
    log.close().await;
    deployed.verify_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_delivers_the_gateway_loses_no_push_and_duplicates_none() {
    let mut deployed = Deployed::start(Play::Silent, "deliveries = \"system\"\ntimeout = \"60s\"\n").await;
    let anna = Situation::at(&deployed.ends()).await;
    let now = varco::app::system_now();
    let mut agreed = crate::world::asks::consent(now);
    agreed["scope"][0]["record_type"] = json!("posizione_lavoro");
    agreed["scope"][0]["recipients"] = json!([{ "agency": "comune-capannori" }]);
    agreed["scope"] = json!([agreed["scope"][0]]);
    assert_eq!(anna.cpi.post("/consents", &agreed).await.status, 201);
    let mut exchanges = BTreeSet::new();
    let mut push = json!({
        "record_type": "posizione_lavoro",
        "subject": crate::world::asks::anna(),
        "purpose": "F02",
        "case": anna.case,
        "record": { "data_did": "2026-03-01" },
        "recipients": [{ "agency": "comune-capannori" }],
    });
    for n in 0..3 {
        push["key"] = json!(format!("consegna-{n}"));
        let told = deployed.desk("cpi-lucca", COACH).post("/pushes", &push).await;
        assert_eq!(told.status, 202, "{:?}", told.body);
        exchanges.insert(told.body["recipients"][0]["exchange"].as_str().unwrap().to_owned());
        // The gateway dies while it waits for the recipient's word.
        deployed.provider.asked().await;
        deployed.kill();
        deployed.start_gateway();
    }
    deployed.provider.play(Play::Honest);
    deployed.kill();
    deployed.start_gateway();
    let cpi = deployed.desk("cpi-lucca", COACH);
    // The last push again, as a sender does that got no answer: it is the same one.
    let told = cpi.post("/pushes", &push).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
    let log = deployed.log().await;
    until("everything is delivered", async || log.backlog().await.unwrap().waiting == 0).await;
    let heard: BTreeSet<String> =
        deployed.provider.heard().iter().map(|one| one["delivery"].as_str().unwrap().to_owned()).collect();
    assert_eq!(heard, exchanges, "each push is one delivery, however often it was sent");
    for exchange in &exchanges {
        let entries = log.entries_of(&exchange.parse().unwrap()).await.unwrap();
        assert_eq!(entries.iter().map(Leaf::kind).collect::<Vec<_>>(), [Kind::Disclosure, Kind::Delivery]);
    }
    log.close().await;
    deployed.verify_log();
}

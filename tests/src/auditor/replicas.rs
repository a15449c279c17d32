//! Two replicas of one gateway on one PostgreSQL.

use std::path::{Path, PathBuf};

use serde_json::json;
use varco::app::{system_clock, system_entropy};
use varco::genesis::{ACT_SUSPENSION, SuspensionProposal};
use varco::rules::FOLLOW_EVERY;
use varco::start::{self, Running, StartError};
use varco_core::json as canonical;

use super::keeping::{officers, post, statement};
use super::reading::{run, varco};
use super::world::{Deployed, World};
use crate::postgres::Postgres;
use crate::world::until;

/// The second replica, with the same keys and the same file of body keys.
async fn second(world: &World, database: &str) -> Result<Running, StartError> {
    std::fs::create_dir_all(world.path("anchor-b")).unwrap();
    let text = std::fs::read_to_string(world.path("varco.toml")).unwrap();
    let text = text
        .replace("anchor = \"anchor/checkpoint\"", "anchor = \"anchor-b/checkpoint\"\nreplica = \"b\"")
        .replace("[listen.exchange]", "body_keys = \"anchor/body-keys\"\n[listen.exchange]");
    assert!(text.contains(database));
    let path = world.path("varco-b.toml");
    std::fs::write(&path, text).unwrap();
    start::start(varco::config::load(&path).unwrap(), system_clock(), system_entropy()).await
}

async fn adopt(program: &Path, world: &World, database: &str) -> bool {
    let checkpoint: PathBuf = world.path("checkpoint.txt");
    std::fs::write(&checkpoint, world.running.app.store.checkpoint().note.as_bytes()).unwrap();
    let (anchor, key) = (world.path("anchor-b/checkpoint"), world.deployed.log_key());
    let args = [
        "log",
        "adopt",
        "--database",
        database,
        "--checkpoint",
        checkpoint.to_str().unwrap(),
        "--anchor",
        anchor.to_str().unwrap(),
        "--key",
        &key,
    ];
    run(program, &args).await.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_brought_to_one_replica_counts_at_the_other_within_seconds() {
    let Some(server) = Postgres::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let varco = varco();
    let database = server.url();
    let world = Deployed::new().start_on(&database, "", &[]).await;
    world.fill(5).await;
    // A replica without an anchor cannot know whether this is the newest database, until somebody's checkpoint says so.
    let refused = second(&world, &database).await.err().map(|fault| fault.to_string());
    assert!(refused.is_some_and(|why| why.contains("there is no anchor")));
    assert!(adopt(&varco, &world, &database).await);
    assert!(!adopt(&varco, &world, &database).await, "an anchor was replaced");
    let other = second(&world, &database).await.unwrap();
    world.fill(5).await;

    // Bodies sealed by one are read by the other.
    let slots = other.app.store.read().slots(8).await.unwrap();
    assert!(slots.operator.is_some());

    let from = world.running.app.now();
    let document = canonical::canonical(&json!({ "agency": "cpi-lucca", "operator": "op-9", "from": from }));
    let signer = world.deployed.kit.officers.iter().find(|officer| officer.agency.as_str() == "cpi-lucca");
    let signer = signer.map_or_else(|| officers(&world, 1)[0].clone(), |officer| officer.id.to_string());
    let mut statements = vec![statement(&world, &signer, ACT_SUSPENSION, &document)];
    for id in officers(&world, 2).into_iter().filter(|id| *id != signer) {
        statements.push(statement(&world, &id, ACT_SUSPENSION, &document));
    }
    let proposal = SuspensionProposal { document, statements };
    assert!(other.app.in_force.load().registry.suspensions.is_empty());
    let begun = std::time::Instant::now();
    let (status, told) = post(&world, "suspensions", &canonical::canonical_of(&proposal)).await;
    assert_eq!(status, 200, "{told}");
    until("the other replica knows", async || other.app.in_force.load().registry.suspensions.len() == 1)
        .await;
    assert!(begun.elapsed() < FOLLOW_EVERY * 5, "{:?}", begun.elapsed());
    other.stop().await.unwrap();
    world.stop().await;
}

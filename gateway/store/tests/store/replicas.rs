//! Several writers on one PostgreSQL, and a PostgreSQL that goes away.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_store::store::{MissingAnchor, Options, Store};
use varco_store::submission::{AppendError, Branch, ClaimError};

use crate::faults::until_open;
use crate::log::audit;
use crate::postgres::Stop;
use crate::world::*;

async fn replica(world: &World, name: &str) -> Store {
    let options = Options {
        replica: name.to_owned(),
        anchor: world.directory.join(name),
        missing_anchor: MissingAnchor::Adopt,
        ..world.options()
    };
    Store::open(options).await.unwrap()
}

#[tokio::test]
async fn replicas_write_one_log_without_gaps() {
    let Some(world) = World::postgres("replicas") else { return };
    let stores = [replica(&world, "a").await, replica(&world, "b").await, replica(&world, "c").await];
    let mut tasks = JoinSet::new();
    for (n, store) in (0..300_u64).zip(stores.iter().cycle().cloned()) {
        tasks.spawn(async move {
            store.claim(claim(n, &format!("jti-{n}"))).await.unwrap();
            store.append(closing(n)).await.unwrap().receipt
        });
    }
    let receipts = tasks.join_all().await;
    let indices: BTreeSet<u64> = receipts.iter().map(|receipt| receipt.proof.index).collect();
    assert_eq!(indices, (0..300).collect());
    let verifier = world.verifier();
    for receipt in &receipts {
        verifier.check(receipt).unwrap();
    }
    for store in &stores {
        for n in [0, 150, 299] {
            verifier.check(&store.receipt(&exchange(n)).await.unwrap().unwrap()).unwrap();
        }
        audit(store).await;
    }
}

#[tokio::test]
async fn a_token_used_at_one_replica_is_used_at_all() {
    let Some(world) = World::postgres("replay") else { return };
    let stores = [replica(&world, "a").await, replica(&world, "b").await];
    let mut tasks = JoinSet::new();
    for (n, store) in (0..60_u64).zip(stores.iter().cycle().cloned()) {
        // Twelve tokens, five times each, in different orders at the two replicas.
        let turn = n / 2 % 12;
        let jti = format!("jti-{}", if n % 2 == 0 { turn } else { 11 - turn });
        tasks.spawn(async move { store.claim(claim(n, &jti)).await });
    }
    let results = tasks.join_all().await;
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(ClaimError::Replayed))), "{results:?}");
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 12);
}

#[tokio::test]
async fn a_withdrawal_at_one_replica_stops_disclosures_at_the_other() {
    let Some(world) = World::postgres("withdrawal") else { return };
    let stores = [replica(&world, "a").await, replica(&world, "b").await];
    stores[0].append(consent(1000, "c", 0)).await.unwrap();
    let mut tasks = JoinSet::new();
    for (n, store) in (0..100_u64).zip(stores.iter().cycle().cloned()) {
        tasks.spawn(async move {
            if n == 40 {
                store.append(consent(2000, "c", 1)).await
            } else {
                store.append(guarded(n, "c", 1)).await
            }
        });
    }
    let committed: Vec<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    let withdrawal = committed.iter().find(|done| done.receipt.leaf.kind() == Kind::Consent).unwrap();
    for done in &committed {
        let before = done.receipt.leaf.index() <= withdrawal.receipt.leaf.index();
        assert_eq!(done.branch == Branch::Primary, before);
    }
}

#[tokio::test]
async fn a_restart_touches_only_the_claims_of_its_own_replica() {
    let Some(world) = World::postgres("owners") else { return };
    let (a, b) = (replica(&world, "a").await, replica(&world, "b").await);
    a.claim(claim(1, "jti-1")).await.unwrap();
    b.claim(claim(2, "jti-2")).await.unwrap();
    b.claim(claim(3, "jti-3")).await.unwrap();
    a.close().await;
    let a = replica(&world, "a").await;
    let kinds = |leaves: Vec<Leaf>| leaves.iter().map(Leaf::kind).collect::<Vec<_>>();
    assert_eq!(kinds(a.read().entries_of(&exchange(1)).await.unwrap()), [Kind::Interrupted]);
    b.append(closing(2)).await.unwrap();
    // Another replica may enter what is long dead; whoever held it for alive then gives no second outcome.
    world.set_clock(3600);
    a.tidy().await.unwrap();
    assert_eq!(kinds(a.read().entries_of(&exchange(3)).await.unwrap()), [Kind::Interrupted]);
    assert!(matches!(b.append(closing(3)).await, Err(AppendError::Unavailable(_))));
    until_open(&b).await;
    assert_eq!(b.append(closing(3)).await.unwrap_err(), AppendError::ClaimGone);
    assert_eq!(kinds(b.read().entries_of(&exchange(3)).await.unwrap()), [Kind::Interrupted]);
    audit(&b).await;
}

#[tokio::test]
async fn a_database_that_crashes_loses_no_acknowledged_entry() {
    let Some(mut world) = World::postgres("crash") else { return };
    let store = world.open().await;
    let mut acknowledged = Vec::new();
    for round in 0..3_u64 {
        let mut tasks = JoinSet::new();
        for n in round * 100..round * 100 + 40 {
            let store = store.clone();
            tasks.spawn(async move { store.append(disclosure(n)).await.ok().map(|_| n) });
        }
        // Some are done, some are under way, some wait.
        for _ in 0..10 {
            acknowledged.extend(tasks.join_next().await.unwrap().unwrap());
        }
        let server = world.postgres.as_mut().unwrap();
        server.stop(Stop::Immediate).unwrap();
        while let Some(done) = tasks.join_next().await {
            acknowledged.extend(done.unwrap());
        }
        assert!(matches!(store.append(disclosure(round * 100 + 99)).await, Err(AppendError::Unavailable(_))));
        world.postgres.as_mut().unwrap().start_again().unwrap();
        until_open(&store).await;
    }
    assert!(acknowledged.len() >= 10);
    store.append(disclosure(999)).await.unwrap();
    for n in acknowledged {
        assert!(store.read().entry(&exchange(n), Kind::Disclosure).await.unwrap().is_some());
    }
    audit(&store).await;
}

#[tokio::test]
async fn a_database_that_could_lose_entries_is_refused() {
    let Some(world) = World::postgres("settings") else { return };
    world.tamper("ALTER SYSTEM SET synchronous_commit = off").await.unwrap();
    world.tamper("SELECT pg_reload_conf()").await.unwrap();
    let fault = loop {
        // The server takes up its new settings in its own time.
        match world.try_open().await {
            Ok(store) => store.close().await,
            Err(fault) => break fault,
        }
    };
    assert!(fault.to_string().contains("synchronous_commit"), "{fault}");
}

#[tokio::test]
async fn a_failover_that_lost_commits_stops_every_replica_for_good() {
    let Some(mut world) = World::postgres("failover") else { return };
    let store = world.open().await;
    for n in 0..5 {
        store.append(disclosure(n)).await.unwrap();
    }
    store.close().await;
    let server = world.postgres.as_mut().unwrap();
    server.stop(Stop::Fast).unwrap();
    server.keep().unwrap();
    server.start_again().unwrap();
    let stores = [world.open().await, replica(&world, "b").await];
    for n in 5..8 {
        stores[0].append(disclosure(n)).await.unwrap();
    }
    stores[1].sign().await.unwrap();
    // The standby that takes over never had the last three.
    let server = world.postgres.as_mut().unwrap();
    server.stop(Stop::Immediate).unwrap();
    server.go_back().unwrap();
    server.start_again().unwrap();
    for store in &stores {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            assert!(std::time::Instant::now() < deadline, "{:?}", store.status());
            let refused = store.append(disclosure(90)).await;
            assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
            if format!("{:?}", store.status().health).contains("8 were signed for") {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(store.checkpoint().head.size, 8);
        store.close().await;
    }
    let fault = world.try_open().await.expect_err("a shorter history must not open");
    assert!(fault.is_final() && fault.to_string().contains("5 entries"), "{fault}");
}

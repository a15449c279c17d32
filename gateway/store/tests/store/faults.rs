//! What must be refused, and what must be survived.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, SqliteConnection};
use tokio::task::JoinSet;
use varco_core::log::entry::{Draft, Kind};
use varco_store::anchor::AnchorError;
use varco_store::fault::Forked;
use varco_store::recover::OpenError;
use varco_store::status::Health;
use varco_store::store::{Limits, MissingAnchor, Options, Store};
use varco_store::submission::{AppendError, ClaimError, Submission, Unavailable};

use crate::log::audit;
use crate::on_both;
use crate::world::*;

on_both! {
    a_clock_that_jumps_an_hour_closes_the_log_until_it_is_right
    a_changed_entry_is_found_before_anything_is_signed
    a_log_without_its_anchor_is_refused_unless_adopted
    a_signer_that_fails_leaves_entries_durable_and_unacknowledged
    another_log_is_refused
    two_processes_cannot_share_an_anchor
}

/// Waits until the writer has opened the log again by itself.
pub async fn until_open(store: &Store) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.status().health != Health::Healthy {
        assert!(Instant::now() < deadline, "{:?}", store.status());
        tokio::task::yield_now().await;
    }
}

/// Enters something as soon as the log takes it again, however slow the machine is.
async fn eventually(store: &Store, submission: Submission) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match store.append(submission.clone()).await {
            Ok(_) | Err(AppendError::Duplicate) => return,
            Err(fault) => assert!(Instant::now() < deadline, "{fault}"),
        }
    }
}

fn forked(result: Result<Store, OpenError>) -> Forked {
    let fault = result.expect_err("the log must not open");
    assert!(fault.is_final());
    fault.forked().unwrap_or_else(|| panic!("{fault}")).clone()
}

async fn a_signer_that_fails_leaves_entries_durable_and_unacknowledged(world: World) {
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    store.claim(claim(2, "jti-2")).await.unwrap();
    world.key.broken.store(true, Ordering::SeqCst);
    let result = store.append(closing(2)).await;
    assert!(matches!(result, Err(AppendError::Unavailable(Unavailable::Closed(_)))), "{result:?}");
    // Durable, but nobody was told so, and nothing more is accepted.
    assert!(store.read().entry(&exchange(2), Kind::Disclosure).await.unwrap().is_some());
    assert_eq!(store.checkpoint().head.size, 1);
    assert!(matches!(store.append(disclosure(3)).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(store.claim(claim(4, "jti-4")).await, Err(ClaimError::Unavailable(_))));
    assert!(matches!(store.status().health, Health::Closed(_)));
    world.key.broken.store(false, Ordering::SeqCst);
    until_open(&store).await;
    assert_eq!(store.append(closing(2)).await.unwrap_err(), AppendError::ClaimGone);
    store.append(disclosure(5)).await.unwrap();
    world.verifier().check(&store.receipt(&exchange(2)).await.unwrap().unwrap()).unwrap();
    audit(&store).await;
}

async fn a_changed_entry_is_found_before_anything_is_signed(world: World) {
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    // Committed, but not signed for: what a crash between commit and signature leaves behind.
    world.key.broken.store(true, Ordering::SeqCst);
    store.append(disclosure(2)).await.unwrap_err();
    store.close().await;
    world.key.broken.store(false, Ordering::SeqCst);
    let trigger = if world.postgres.is_some() {
        "DROP TRIGGER log_entry_is_never_changed ON log_entry"
    } else {
        "DROP TRIGGER log_entry_is_never_changed"
    };
    world.tamper(trigger).await.unwrap();
    world
        .tamper("UPDATE log_entry SET leaf = replace(leaf, 'cpi-lucca', 'cpi-pisa') WHERE idx = 1")
        .await
        .unwrap();
    assert_eq!(forked(world.try_open().await), Forked::RootDiffers(2));
    world
        .tamper("UPDATE log_entry SET leaf = replace(leaf, 'cpi-pisa', 'cpi-lucca') WHERE idx = 1")
        .await
        .unwrap();
    audit(&world.open().await).await;
}

async fn a_log_without_its_anchor_is_refused_unless_adopted(world: World) {
    let store = world.open().await;
    for n in 0..300 {
        if n % 100 == 0 {
            store.append(disclosure(n)).await.unwrap();
        } else {
            store.append(Submission::new(Draft::new(Kind::Read, exchange(n)))).await.unwrap();
        }
    }
    store.close().await;
    std::fs::remove_file(world.directory.join("anchor")).unwrap();
    assert!(matches!(world.try_open().await, Err(OpenError::AnchorMissing(300))));
    let adopting = Options { missing_anchor: MissingAnchor::Adopt, ..world.options() };
    let store = Store::open(adopting).await.unwrap();
    audit(&store).await;
    store.close().await;
    audit(&world.open().await).await;
}

async fn another_log_is_refused(world: World) {
    world.open().await.close().await;
    let other = Options {
        origin: "varco.test/another-log".to_owned(),
        anchor: world.directory.join("another-anchor"),
        ..world.options()
    };
    assert!(matches!(forked(Store::open(other).await), Forked::OtherLog(_)));
    let wrong_anchor = Options { origin: "varco.test/another-log".to_owned(), ..world.options() };
    assert!(matches!(Store::open(wrong_anchor).await, Err(OpenError::AnchorWrong(_))));
    let nameless = Options { replica: "a b".to_owned(), ..world.options() };
    assert!(matches!(Store::open(nameless).await, Err(OpenError::Name)));
}

async fn two_processes_cannot_share_an_anchor(world: World) {
    let store = world.open().await;
    assert!(matches!(world.try_open().await, Err(OpenError::Anchor(AnchorError::InUse))));
    store.close().await;
    world.open().await;
}

#[tokio::test]
async fn a_restored_backup_is_refused() {
    let world = World::sqlite("backup");
    let backup = directory("backup-copy");
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    store.close().await;
    copy(&world.directory, &backup);
    let store = world.open().await;
    store.append(disclosure(2)).await.unwrap();
    store.close().await;
    std::fs::remove_file(backup.join("anchor")).unwrap();
    for file in ["varco.db-wal", "varco.db-shm"] {
        let _ = std::fs::remove_file(world.directory.join(file));
    }
    copy(&backup, &world.directory);
    assert_eq!(forked(world.try_open().await), Forked::Behind { found: 1, signed: 2 });
    // Not even with the same number of entries, nor with more of them.
    let anchor = world.directory.join("anchor");
    std::fs::rename(&anchor, backup.join("kept")).unwrap();
    let adopting = || Options { missing_anchor: MissingAnchor::Adopt, ..world.options() };
    let store = Store::open(adopting()).await.unwrap();
    store.append(disclosure(3)).await.unwrap();
    store.close().await;
    std::fs::copy(backup.join("kept"), &anchor).unwrap();
    assert_eq!(forked(world.try_open().await), Forked::RootDiffers(2));
    std::fs::remove_file(&anchor).unwrap();
    let store = Store::open(adopting()).await.unwrap();
    store.append(disclosure(4)).await.unwrap();
    store.close().await;
    std::fs::copy(backup.join("kept"), &anchor).unwrap();
    assert_eq!(forked(world.try_open().await), Forked::RootDiffers(2));
    std::fs::remove_dir_all(backup).unwrap();
}

#[tokio::test]
async fn a_damaged_anchor_is_refused() {
    let world = World::sqlite("damaged");
    world.open().await.close().await;
    let mut bytes = std::fs::read(world.directory.join("anchor")).unwrap();
    bytes[20] ^= 1;
    std::fs::write(world.directory.join("anchor"), bytes).unwrap();
    assert!(matches!(world.try_open().await, Err(OpenError::Anchor(AnchorError::Damaged))));
}

/// Holds SQLite's only lock, as a slow disk or another process would.
async fn lock(world: &World) -> SqliteConnection {
    let mut other = SqliteConnection::connect(&world.url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    other
}

#[tokio::test]
async fn a_slow_commit_is_refused_and_may_still_come() {
    let world = World::sqlite("slow");
    // Longer than a commit takes on a machine that is busy with other tests.
    let limits = Limits { commit_wait: Duration::from_millis(500), ..Limits::default() };
    let store = Store::open(Options { limits, ..world.options() }).await.unwrap();
    store.append(disclosure(1)).await.unwrap();
    let other = lock(&world).await;
    assert_eq!(store.append(disclosure(2)).await.unwrap_err(), Unavailable::TooSlow.into());
    // By now the database may have been given up, which is no better news.
    let refused = store.claim(claim(3, "jti")).await.unwrap_err();
    assert!(matches!(refused, ClaimError::Unavailable(_)), "{refused}");
    other.close().await.unwrap();
    until_open(&store).await;
    store.close().await;
    let store = world.open().await;
    // The one that was under way may be there; the one that only waited was given up together with its caller.
    assert_eq!(store.claim(claim(4, "jti")).await, Ok(()));
    assert!(store.checkpoint().head.size <= 2);
    audit(&store).await;
}

#[tokio::test]
async fn a_database_that_stays_locked_closes_the_log_until_it_is_free() {
    let world = World::sqlite("locked");
    let store = world.open().await;
    let other = lock(&world).await;
    let result = store.append(disclosure(1)).await;
    assert!(matches!(result, Err(AppendError::Unavailable(_))), "{result:?}");
    other.close().await.unwrap();
    eventually(&store, disclosure(2)).await;
    audit(&store).await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let world = World::sqlite("full");
    let limits = Limits { queue: 4, commit_wait: Duration::from_millis(300) };
    let store = Store::open(Options { limits, ..world.options() }).await.unwrap();
    let other = lock(&world).await;
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        tasks.spawn(async move { store.append(disclosure(n)).await });
    }
    let results = tasks.join_all().await;
    let full = results
        .iter()
        .filter(|result| matches!(result, Err(AppendError::Unavailable(Unavailable::QueueFull))));
    assert!(full.count() >= 10, "{results:?}");
    assert!(results.iter().all(Result::is_err));
    other.close().await.unwrap();
    eventually(&store, disclosure(50)).await;
    audit(&store).await;
}

#[tokio::test]
async fn a_database_replaced_while_running_is_never_signed_for() {
    let world = World::sqlite("replaced");
    let store = world.open().await;
    for n in 0..3 {
        store.append(disclosure(n)).await.unwrap();
    }
    world.tamper("UPDATE log_state SET epoch = epoch + 1").await.unwrap();
    assert!(matches!(store.append(disclosure(9)).await, Err(AppendError::Unavailable(_))));
    let Health::Closed(why) = store.status().health else { panic!("the log must be closed") };
    assert!(why.contains("recovery"), "{why}");
    assert!(matches!(store.append(disclosure(10)).await, Err(AppendError::Unavailable(_))));
    assert_eq!(store.checkpoint().head.size, 3);
}

async fn a_clock_that_jumps_an_hour_closes_the_log_until_it_is_right(world: World) {
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    world.set_clock(-3600);
    assert!(matches!(store.append(disclosure(2)).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(store.status().health, Health::Closed(_)));
    world.set_clock(3600);
    eventually(&store, disclosure(3)).await;
    // Set right again it is an hour behind what was entered meanwhile: nothing is back-dated.
    world.set_clock(10);
    assert!(matches!(store.append(disclosure(4)).await, Err(AppendError::Unavailable(_))));
    world.set_clock(3590);
    eventually(&store, disclosure(5)).await;
    let (leaf, _) = store.read().entry(&exchange(5), Kind::Disclosure).await.unwrap().unwrap();
    assert_eq!(leaf.at().millis(), START + 3_600_000);
    audit(&store).await;
}

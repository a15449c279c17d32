//! Yearly shards: a year's log ends in an entry that names the next, which begins with one that says how it ended.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use varco_core::hash::Sha256;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::entry::{Erases, Kind, Reason, SlotName};
use varco_core::log::leaf::Leaf;
use varco_core::log::note::Note;
use varco_core::log::shard::Link;
use varco_store::fault::Forked;
use varco_store::store::{MissingAnchor, Options, Store};
use varco_store::submission::{AppendError, Submission};
use varco_store::trees::{Ending, Standing};

use crate::faults::until_open;
use crate::log::audit;
use crate::on_both;
use crate::world::*;

/// From where every clock begins to 2027-01-01T00:00:00Z.
pub const NEW_YEAR: i64 = 365 * 86_400 - 43_200;

const HOUR: i64 = 3600;

on_both! {
    a_clock_an_hour_off_opens_a_year_once_and_never_goes_back
    a_crash_after_the_turn_of_the_year_is_mended_at_start
    a_database_from_before_there_were_shards_goes_on
    a_log_that_stood_still_over_two_years_opens_one_shard
    each_year_is_a_tree_of_its_own_that_says_how_the_one_before_ended
    what_a_closed_year_holds_can_still_be_erased
    writers_killed_over_many_new_years_leave_a_whole_log
}

async fn entry(store: &Store, position: u64) -> Leaf {
    let leaves = store.read().leaves(position, position + 1).await.unwrap();
    Leaf::parse(leaves.first().unwrap()).unwrap()
}

async fn shards(store: &Store) -> Vec<Standing> {
    store.read().shards().await.unwrap()
}

/// The final checkpoint of a closed shard, as it is signed.
fn last(world: &World, standing: &Standing) -> Checkpoint {
    let Ending::Closed(Some(note)) = &standing.state else { panic!("{standing:?}") };
    let checkpoint = world.verifier().open(note.as_bytes()).unwrap();
    assert_eq!((checkpoint.head(), &checkpoint.origin), (standing.head, &standing.shard.origin));
    checkpoint
}

async fn each_year_is_a_tree_of_its_own_that_says_how_the_one_before_ended(world: World) {
    let store = world.open().await;
    let mut old = Vec::new();
    for n in 0..300 {
        old.push(store.append(disclosure(n)).await.unwrap().receipt);
    }
    world.set_clock(NEW_YEAR - 1);
    old.push(store.append(disclosure(300)).await.unwrap().receipt);
    assert_eq!(shards(&store).await.len(), 1);
    world.set_clock(NEW_YEAR);
    let mut new = Vec::new();
    for n in 301..700 {
        new.push(store.append(disclosure(n)).await.unwrap().receipt);
    }
    let found = shards(&store).await;
    let [one, two] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.shard.origin.as_str(), one.shard.first, one.head.size), (ORIGIN, 0, 302));
    assert_eq!((two.shard.origin.as_str(), two.shard.first), ("varco.test/access-log/2027", 302));
    assert_eq!((two.head.size, two.is_open()), (400, true));
    let (freeze, open) = (entry(&store, 301).await, entry(&store, 302).await);
    assert_eq!((freeze.kind(), open.kind()), (Kind::Freeze, Kind::Open));
    assert_eq!(freeze.content().link, Some(Link::to("varco.test/access-log/2027")));
    assert_eq!(open.content().link, Some(Link::after(&last(&world, one))));
    // A receipt names its shard and its place there; entries are counted on.
    let verifier = world.verifier();
    for (n, receipt) in (303..).zip(&new) {
        assert_eq!((receipt.leaf.index(), receipt.proof.index), (n, n - 302));
        assert!(receipt.proof.checkpoint.starts_with("varco.test/access-log/2027\n"));
        verifier.check(receipt).unwrap();
    }
    // Those of the old year hold as they were given, and are given again under its last checkpoint.
    for (n, receipt) in (0..).zip(&old) {
        verifier.check(receipt).unwrap();
        let again = store.receipt(&exchange(n)).await.unwrap().unwrap();
        assert_eq!((&again.leaf, again.proof.index), (&receipt.leaf, n));
        verifier.check(&again).unwrap();
        assert_eq!(verifier.open(again.proof.checkpoint.as_bytes()).unwrap().head(), one.head);
    }
    // The old tree's tiles stay, beside those of the new.
    let of = store.read().of(&one.shard);
    assert_eq!(of.tile(0, 0, 302).await.unwrap().unwrap().len(), 256);
    assert_eq!(of.tile(0, 1, 302).await.unwrap().unwrap()[45], freeze.hash());
    let tile = store.read().of(&two.shard).tile(0, 0, 400).await.unwrap().unwrap();
    assert_eq!((tile.len(), tile[0]), (256, open.hash()));
    audit(&store).await;
    // The same after a restart.
    store.close().await;
    let store = world.open().await;
    audit(&store).await;
    assert_eq!(shards(&store).await, found);
}

async fn a_clock_an_hour_off_opens_a_year_once_and_never_goes_back(world: World) {
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    // An hour ahead: the year ends early.
    world.set_clock(NEW_YEAR - HOUR / 2 + HOUR);
    store.append(disclosure(2)).await.unwrap();
    assert_eq!(shards(&store).await.len(), 2);
    // Set right, it is behind the last entry: nothing is entered until that instant comes again.
    world.set_clock(NEW_YEAR - HOUR / 2);
    assert!(matches!(store.append(disclosure(3)).await, Err(AppendError::Unavailable(_))));
    until_open(&store).await;
    assert!(matches!(store.append(disclosure(3)).await, Err(AppendError::Unavailable(_))));
    world.set_clock(NEW_YEAR + HOUR / 2);
    until_open(&store).await;
    store.append(disclosure(4)).await.unwrap();
    // An hour behind at the next New Year: the year ends late.
    world.set_clock(NEW_YEAR + 365 * 86_400 - HOUR / 2);
    store.append(disclosure(5)).await.unwrap();
    assert_eq!(shards(&store).await.len(), 2);
    world.set_clock(NEW_YEAR + 365 * 86_400);
    store.append(disclosure(6)).await.unwrap();
    let origins: Vec<String> = shards(&store).await.into_iter().map(|one| one.shard.origin).collect();
    assert_eq!(origins, [2026, 2027, 2028].map(|year| format!("varco.test/access-log/{year}")));
    audit(&store).await;
}

async fn a_log_that_stood_still_over_two_years_opens_one_shard(world: World) {
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    store.close().await;
    world.set_clock(NEW_YEAR + 800 * 86_400);
    let store = world.open().await;
    // Nothing is closed because time goes by: the first entry of a new year does it.
    assert_eq!(shards(&store).await.len(), 1);
    store.append(disclosure(2)).await.unwrap();
    let origins: Vec<String> = shards(&store).await.into_iter().map(|one| one.shard.origin).collect();
    assert_eq!(origins, [ORIGIN, "varco.test/access-log/2029"]);
    audit(&store).await;
}

async fn a_crash_after_the_turn_of_the_year_is_mended_at_start(world: World) {
    let store = world.open().await;
    let before = store.append(disclosure(1)).await.unwrap().receipt;
    world.set_clock(NEW_YEAR + 1);
    // Both entries are durable, and then nothing can be signed any more.
    world.key.broken.store(true, Ordering::SeqCst);
    assert!(matches!(store.append(disclosure(2)).await, Err(AppendError::Unavailable(_))));
    assert_eq!(shards(&store).await[0].state, Ending::Closed(None));
    store.close().await;
    assert!(world.try_open().await.is_err());
    world.key.broken.store(false, Ordering::SeqCst);
    let store = world.open().await;
    let found = shards(&store).await;
    assert_eq!(found.len(), 2);
    let open = entry(&store, found[1].shard.first).await;
    assert_eq!(open.content().link, Some(Link::after(&last(&world, &found[0]))));
    world.verifier().check(&before).unwrap();
    store.append(disclosure(3)).await.unwrap();
    audit(&store).await;
}

async fn what_a_closed_year_holds_can_still_be_erased(world: World) {
    let store = world.open().await;
    for n in 0..5 {
        store.append(disclosure(n)).await.unwrap();
    }
    world.set_clock(NEW_YEAR);
    store.append(disclosure(5)).await.unwrap();
    let mut order = draft(Kind::Erasure, 6);
    order.slots = varco_core::log::entry::Slots::default();
    order.erases = Erases::new(1, 2, &SlotName::ALL).map(|erases| erases.because(Reason::Retention));
    store.append(Submission::new(order)).await.unwrap();
    let left = store.read().slots_between(0, 8).await.unwrap();
    let left: BTreeSet<u64> = left.into_iter().map(|(position, _)| position).collect();
    assert_eq!(left, BTreeSet::from([0, 3, 4, 7]));
    let receipt = store.receipt(&exchange(1)).await.unwrap().unwrap();
    world.verifier().check(&receipt).unwrap();
    audit(&store).await;
}

/// Takes the schema back to where it was before shards, with the entries in it.
async fn a_database_from_before_there_were_shards_goes_on(world: World) {
    let store = world.open().await;
    for n in 0..300 {
        store.append(disclosure(n)).await.unwrap();
    }
    store.close().await;
    let back = if world.postgres.is_some() {
        "ALTER TABLE log_tile DROP CONSTRAINT log_tile_pkey; ALTER TABLE log_tile DROP COLUMN shard; \
         ALTER TABLE log_tile ADD PRIMARY KEY (level, n);"
    } else {
        "CREATE TABLE old (level INTEGER NOT NULL, n INTEGER NOT NULL, hashes BLOB NOT NULL, root BLOB NOT NULL, \
         PRIMARY KEY (level, n)) STRICT; \
         INSERT INTO old SELECT level, n, hashes, root FROM log_tile; DROP TABLE log_tile; \
         ALTER TABLE old RENAME TO log_tile;"
    };
    let rest = "DROP TABLE log_shard; ALTER TABLE log_state DROP COLUMN shard; ALTER TABLE log_state DROP COLUMN first; \
         DELETE FROM _sqlx_migrations WHERE version = 80;";
    world.tamper(&format!("{back} {rest}")).await.unwrap();
    let store = world.open().await;
    assert_eq!(store.read().tile(0, 0, 300).await.unwrap().unwrap().len(), 256);
    audit(&store).await;
    world.set_clock(NEW_YEAR);
    store.append(disclosure(300)).await.unwrap();
    assert_eq!(shards(&store).await.len(), 2);
    audit(&store).await;
}

async fn writers_killed_over_many_new_years_leave_a_whole_log(world: World) {
    let mut entered = BTreeSet::new();
    for round in 0..4 {
        for line in crate::kill::run_and_kill(&world, "years", (round + 1) << 32, 15 + round * 17) {
            if let Some(n) = line.strip_prefix("entered ").and_then(|n| n.parse::<u64>().ok()) {
                entered.insert(n);
            }
        }
        world.set_clock((i64::try_from(round).unwrap() * 40 + 70) * 365 * 86_400);
        let store = world.open().await;
        for n in &entered {
            let receipt = store.receipt(&exchange(*n)).await.unwrap().unwrap();
            world.verifier().check(&receipt).unwrap();
        }
        audit(&store).await;
        let found = shards(&store).await;
        found.iter().filter(|one| !one.is_open()).for_each(|one| drop(last(&world, one)));
        store.close().await;
    }
    let store = world.open().await;
    assert!(shards(&store).await.len() > 3, "no round passed a New Year");
}

#[tokio::test]
async fn a_database_of_the_old_year_is_refused_once_the_new_one_was_signed() {
    let world = World::sqlite("old-year");
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    store.close().await;
    let backup = world.directory.with_extension("backup");
    copy(&world.directory, &backup);
    world.set_clock(NEW_YEAR);
    let store = world.open().await;
    store.append(disclosure(2)).await.unwrap();
    store.close().await;
    std::fs::copy(backup.join("varco.db"), world.directory.join("varco.db")).unwrap();
    std::fs::remove_dir_all(&backup).unwrap();
    let refused = world.try_open().await.unwrap_err();
    assert!(matches!(refused.forked(), Some(Forked::Behind { .. })), "{refused}");
}

#[tokio::test]
async fn a_seam_that_was_changed_is_not_signed() {
    let world = World::sqlite("seam");
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    world.set_clock(NEW_YEAR);
    world.key.broken.store(true, Ordering::SeqCst);
    assert!(store.append(disclosure(2)).await.is_err());
    store.close().await;
    world.key.broken.store(false, Ordering::SeqCst);
    // Somebody says that the year ended otherwise.
    let wrong = Sha256::of(b"otherwise");
    let root: String = wrong.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    world
        .tamper(&format!(
            "DROP TRIGGER log_shard_keeps_how_it_ended; UPDATE log_shard SET root = x'{root}' WHERE number = 0"
        ))
        .await
        .unwrap();
    let refused = world.try_open().await.unwrap_err();
    assert!(matches!(refused.forked(), Some(Forked::RootDiffers(_))), "{refused}");
}

#[tokio::test]
async fn a_replica_follows_the_other_over_new_year_and_neither_opens_it_twice() {
    let Some(world) = World::postgres("years") else { return };
    let replica = async |name: &str| {
        let options = Options {
            replica: name.to_owned(),
            anchor: world.directory.join(name),
            missing_anchor: MissingAnchor::Adopt,
            ..world.options()
        };
        Store::open(options).await.unwrap()
    };
    let stores = [replica("a").await, replica("b").await];
    for (n, store) in stores.iter().enumerate() {
        store.append(disclosure(n as u64)).await.unwrap();
    }
    world.set_clock(NEW_YEAR);
    let mut tasks = JoinSet::new();
    for (n, store) in (10..60_u64).zip(stores.iter().cycle().cloned()) {
        tasks.spawn(async move { store.append(disclosure(n)).await.unwrap().receipt });
    }
    for receipt in tasks.join_all().await {
        world.verifier().check(&receipt).unwrap();
    }
    for store in &stores {
        assert_eq!(shards(store).await.len(), 2);
        audit(store).await;
        let receipt = store.receipt(&exchange(0)).await.unwrap().unwrap();
        assert!(Note::parse(receipt.proof.checkpoint.as_bytes()).unwrap().text().starts_with(ORIGIN));
    }
}

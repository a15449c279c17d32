//! Bodies that are sealed, erased, held, and unreadable in every copy once their epoch's key is destroyed.

use std::path::Path;
use std::sync::Arc;

use sqlx::{Connection as _, PgConnection, SqliteConnection};
use varco_core::log::entry::{Draft, Erases, Kind, Reason, Slot, SlotName};
use varco_core::log::leaf::INDEX_MAX;
use varco_core::log::sealing::{Part, Place};
use varco_store::keyring::{Keyring, KeyringError};
use varco_store::read::{ReadError, Reader};
use varco_store::recover::OpenError;
use varco_store::search::Search;
use varco_store::store::Store;
use varco_store::submission::{AppendError, Hold, Submission};

use crate::log::audit;
use crate::on_both;
use crate::world::*;

on_both! {
    a_body_is_nowhere_in_the_clear
    a_copy_made_before_an_epoch_ended_opens_no_body_any_more
    a_crash_during_a_renewal_is_made_good
    a_hold_stops_an_erasure_until_it_is_lifted
    a_log_whose_body_keys_are_gone_does_not_open
    an_interrupted_exchange_keeps_its_bodies_over_a_renewal
    erasing_by_kind_leaves_the_other_kinds
    what_is_pruned_raises_the_minimum_without_gaps
}

const CANARY: &str = "canary-8f14e45f";

/// An entry all of whose bodies hold the canary, about one person.
fn marked(n: u64) -> Submission {
    let mut submission = disclosure(n);
    for name in SlotName::ALL {
        let body = format!(r#"{{"office":"{CANARY}-{n}","operator":"{CANARY}-{n}","n":{n}}}"#);
        submission.draft.slots.set(name, Slot { salt: [n.to_le_bytes()[0]; 32], body });
    }
    submission
}

fn order(n: u64, kind: Kind, erases: Erases) -> Submission {
    let mut draft = Draft::new(kind, exchange(n));
    draft.erases = Some(erases);
    Submission::new(draft)
}

fn all_of(first: u64, last: u64) -> Erases {
    Erases::new(first, last, &SlotName::ALL).unwrap().because(Reason::Person)
}

fn files_with(directory: &Path, needle: &[u8]) -> Vec<String> {
    let holds = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    let mut found = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if holds(&path) {
            found.push(path.display().to_string());
        }
    }
    found
}

/// The sealed bodies and the terms of an entry, as the database holds them.
async fn stored(world: &World, index: i64) -> Vec<Vec<u8>> {
    let sql = "SELECT decision, operator, subject, about, who, office FROM log_body WHERE idx = $1";
    type Row =
        (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>, Option<String>, Option<String>);
    let row: Row = if world.postgres.is_some() {
        let mut at = PgConnection::connect(&world.url).await.unwrap();
        sqlx::query_as(sql).bind(index).fetch_one(&mut at).await.unwrap()
    } else {
        let mut at = SqliteConnection::connect(&world.url).await.unwrap();
        let row = sqlx::query_as(sql).bind(index).fetch_one(&mut at).await.unwrap();
        at.close().await.unwrap();
        row
    };
    let texts = [row.4, row.5].into_iter().flatten().map(String::into_bytes);
    [row.0, row.1, row.2, row.3].into_iter().flatten().chain(texts).collect()
}

async fn readable(store: &Store) -> Vec<(u64, Vec<SlotName>)> {
    let bodies = store.read().slots_between(0, 100).await.unwrap();
    bodies.iter().map(|(index, slots)| (*index, slots.iter().map(|(name, _)| name).collect())).collect()
}

async fn a_body_is_nowhere_in_the_clear(world: World) {
    let store = world.open().await;
    store.append(marked(1)).await.unwrap();
    let mut claimed = claim(2, "jti");
    claimed.interrupted.slots = marked(2).draft.slots;
    store.claim(claimed).await.unwrap();
    if let Some(server) = &world.postgres {
        world.tamper("CHECKPOINT").await.unwrap();
        assert_eq!(files_with(server.directory(), CANARY.as_bytes()), Vec::<String>::new());
        assert_eq!(files_with(server.directory(), person(1).as_str().as_bytes()), Vec::<String>::new());
    }
    assert_eq!(files_with(&world.directory, CANARY.as_bytes()), Vec::<String>::new());
    assert_eq!(files_with(&world.directory, person(1).as_str().as_bytes()), Vec::<String>::new());
    assert_eq!(store.read().slots(0).await.unwrap(), marked(1).draft.slots);
    let search = Search { operator: Some(format!("{CANARY}-1")), limit: 5, ..Search::default() };
    assert_eq!(store.read().search(&search).await.unwrap().entries.len(), 1);
    audit(&store).await;
}

#[tokio::test]
async fn not_even_the_sealed_bytes_of_an_erased_body_stay_in_the_files() {
    let world = World::sqlite("residue");
    let store = world.open().await;
    for n in 0..40 {
        store.append(marked(n)).await.unwrap();
    }
    store.tidy().await.unwrap();
    let pieces = stored(&world, 7).await;
    assert_eq!(pieces.len(), 6);
    // Any 16 bytes of what is sealed, because a page may hold only a part of it.
    let windows: Vec<&[u8]> = pieces.iter().flat_map(|piece| piece.chunks_exact(16)).collect();
    assert!(windows.iter().all(|window| !files_with(&world.directory, window).is_empty()));
    store.append(order(900, Kind::Erasure, all_of(7, 7))).await.unwrap();
    store.tidy().await.unwrap();
    for window in windows {
        assert_eq!(files_with(&world.directory, window), Vec::<String>::new());
    }
    assert_eq!(stored(&world, 7).await.len(), 0);
    assert_eq!(stored(&world, 8).await.len(), 6);
    assert!(readable(&store).await.iter().all(|(index, _)| *index != 7));
    world.verifier().check(&store.receipt(&exchange(7)).await.unwrap().unwrap()).unwrap();
    audit(&store).await;
}

async fn a_copy_made_before_an_epoch_ended_opens_no_body_any_more(world: World) {
    let store = world.open().await;
    // More than one page of rows.
    for n in 0..300 {
        store.append(marked(n)).await.unwrap();
    }
    let before = stored(&world, 7).await;
    let kept = world.keyring();
    assert_eq!(store.read().erased_at().await.unwrap(), None);
    store.append(order(900, Kind::Erasure, all_of(7, 7))).await.unwrap();
    assert!(store.read().erased_at().await.unwrap().is_some());
    assert_eq!(store.renew_keys().await.unwrap(), 2);
    assert_eq!(store.read().erased_at().await.unwrap(), None);
    // The key that a copy of the database would need is gone, for whoever reads the file from now on.
    let keys = world.keyring();
    assert_eq!(keys.epochs(), [2]);
    assert!(matches!(keys.key(1), Err(KeyringError::NoKey(1))));
    let opens = |keys: &Keyring, sealed: &[u8]| {
        let place = Place { index: 7, part: Part::Slot(SlotName::Decision) };
        keys.keys().iter().any(|key| keys.cipher().open(key, place, sealed).is_ok())
    };
    assert!(opens(&kept, &before[0]) && !opens(&keys, &before[0]));
    // Everything else reads on, and is found by what it was found by.
    assert_eq!(store.read().slots(8).await.unwrap(), marked(8).draft.slots);
    assert_eq!(store.read().slots(299).await.unwrap(), marked(299).draft.slots);
    let about = store.read().entries_about(&[person(1)], 0).await.unwrap();
    assert_eq!(about, (0..300).filter(|n| *n != 7).collect::<Vec<u64>>());
    let by = |n: u64| Search { operator: Some(format!("{CANARY}-{n}")), limit: 5, ..Search::default() };
    assert_eq!(store.read().search(&by(299)).await.unwrap().entries.len(), 1);
    assert!(store.read().search(&by(7)).await.unwrap().entries.is_empty());
    store.append(marked(901)).await.unwrap();
    store.close().await;
    let store = world.open().await;
    assert_eq!(store.read().slots(301).await.unwrap(), marked(901).draft.slots);
    audit(&store).await;
}

async fn a_crash_during_a_renewal_is_made_good(world: World) {
    let store = world.open().await;
    for n in 0..20 {
        store.append(marked(n)).await.unwrap();
    }
    store.close().await;
    // What a process leaves behind that died right after it had begun an epoch: both keys, every row under the old one.
    world.keyring().add(2).unwrap();
    let check = world.keyring().check_value(2).unwrap();
    let begun = format!("UPDATE log_state SET body_epoch = 2, body_check = '{check}'");
    world.tamper(&begun).await.unwrap();
    let store = world.open().await;
    assert_eq!(store.read().slots(3).await.unwrap(), marked(3).draft.slots);
    store.append(marked(50)).await.unwrap();
    store.tidy().await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while world.keyring().epochs() != [2] {
        assert!(std::time::Instant::now() < deadline, "{:?}", world.keyring());
        store.tidy().await.unwrap();
    }
    assert_eq!(store.read().slots(3).await.unwrap(), marked(3).draft.slots);
    assert_eq!(store.read().entries_about(&[person(1)], 0).await.unwrap().len(), 21);
    audit(&store).await;
}

async fn an_interrupted_exchange_keeps_its_bodies_over_a_renewal(world: World) {
    let store = world.open().await;
    store.claim(claim(1, "jti-1")).await.unwrap();
    // The old key stays until no claim needs it.
    let (renewed, closed) = tokio::join!(store.renew_keys(), async {
        while world.keyring().epochs() != [1, 2] {
            tokio::task::yield_now().await;
        }
        store.append(closing(1)).await.unwrap();
        store.tidy().await
    });
    closed.unwrap();
    assert_eq!(renewed, Ok(2));
    store.claim(claim(2, "jti-2")).await.unwrap();
    store.close().await;
    let store = world.open().await;
    let (_, slots) = store.read().entry(&exchange(2), Kind::Interrupted).await.unwrap().unwrap();
    assert_eq!(slots, claim(2, "jti-2").interrupted.slots);
    assert_eq!(world.keyring().epochs(), [2]);
}

async fn a_log_whose_body_keys_are_gone_does_not_open(world: World) {
    let store = world.open().await;
    store.append(marked(1)).await.unwrap();
    store.close().await;
    let path = Keyring::beside(&world.directory.join("anchor"));
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let fault = world.try_open().await.expect_err("the log must not open");
    assert!(matches!(fault, OpenError::Keyring(KeyringError::NoKey(1))) && fault.is_final(), "{fault}");
    // Another log's key opens nothing, and nobody takes that for an empty body.
    world.keyring().add(1).unwrap();
    let fault = world.try_open().await.expect_err("the log must not open");
    assert!(matches!(fault, OpenError::Keyring(KeyringError::OtherKey(1))) && fault.is_final(), "{fault}");
    let reader = Reader::open_with(&world.url, world.keyring()).await.unwrap();
    assert!(matches!(reader.slots(0).await, Err(ReadError::Damaged(_))));
    let reader = Reader::open(&world.url).await.unwrap();
    assert!(matches!(reader.slots(0).await, Err(ReadError::Sealed(0))));
    std::fs::write(&path, kept).unwrap();
    let reader = Reader::open_with(&world.url, Arc::clone(&world.keyring())).await.unwrap();
    assert_eq!(reader.slots(0).await.unwrap(), marked(1).draft.slots);
}

async fn a_hold_stops_an_erasure_until_it_is_lifted(world: World) {
    let store = world.open().await;
    for n in 0..10 {
        store.append(marked(n)).await.unwrap();
    }
    let hold = |n: u64, hold: Hold| Submission {
        hold: Some(hold),
        ..Submission::new(Draft::new(Kind::Admin, exchange(n)))
    };
    let place = |ranges: &[(u64, u64)]| Hold::Place { id: "trib-12".to_owned(), ranges: ranges.to_vec() };
    let lift = || Hold::Lift { id: "trib-12".to_owned() };
    let unknown = store.append(hold(100, lift())).await.unwrap_err();
    assert_eq!(unknown, AppendError::HoldUnknown("trib-12".to_owned()));
    store.append(hold(101, place(&[(3, 4), (8, INDEX_MAX)]))).await.unwrap();
    assert_eq!(store.append(hold(102, place(&[(0, 0)]))).await.unwrap_err(), AppendError::Duplicate);
    let held = AppendError::Held("trib-12".to_owned());
    for (n, (first, last)) in [(0, 3), (4, 6), (4, 4), (9, 9), (0, 9)].into_iter().enumerate() {
        let refused = store.append(order(200 + n as u64, Kind::Erasure, all_of(first, last))).await;
        assert_eq!(refused.unwrap_err(), held);
    }
    let pruned = store.append(order(300, Kind::Prune, all_of(0, 4))).await;
    assert_eq!(pruned.unwrap_err(), held);
    store.append(order(301, Kind::Erasure, all_of(5, 7))).await.unwrap();
    assert_eq!(store.read().holds().await.unwrap().len(), 2);
    store.append(hold(302, lift())).await.unwrap();
    assert!(store.read().holds().await.unwrap().is_empty());
    store.append(order(303, Kind::Erasure, all_of(0, 4))).await.unwrap();
    let left: Vec<u64> = readable(&store).await.into_iter().map(|(index, _)| index).collect();
    assert_eq!(left, [8, 9]);
    for ranges in [&[][..], &[(4, 3)], &[(5, 6), (6, 7)]] {
        let bad = store.append(hold(400, place(ranges))).await.unwrap_err();
        assert!(matches!(bad, AppendError::Invalid(_)), "{ranges:?}");
    }
    audit(&store).await;
}

async fn erasing_by_kind_leaves_the_other_kinds(world: World) {
    let store = world.open().await;
    for n in 0..10 {
        let mut submission = marked(n);
        submission.draft.kind = if n % 2 == 0 { Kind::Admin } else { Kind::Disclosure };
        store.append(submission).await.unwrap();
    }
    let mut rules = marked(10);
    rules.draft.kind = Kind::Policy;
    store.append(rules).await.unwrap();
    let erases = all_of(0, 9).of_kinds(&[Kind::Admin]).unwrap().because(Reason::Retention);
    store.append(order(900, Kind::Erasure, erases)).await.unwrap();
    let left: Vec<u64> = readable(&store).await.into_iter().map(|(index, _)| index).collect();
    assert_eq!(left, [1, 3, 5, 7, 9, 10]);
    assert_eq!(store.read().entries_about(&[person(1)], 0).await.unwrap(), [1, 3, 5, 7, 9]);
    let kinds = [Kind::Admin, Kind::Disclosure];
    let left =
        async |kinds: &[Kind]| store.read().bodies_left(0..20, SlotName::Operator, kinds).await.unwrap();
    assert_eq!(left(&kinds).await, Some((1, 9)));
    assert_eq!(left(&[Kind::Admin]).await, None);
    // What says how the rules came to be is not erased by anybody.
    store.append(order(901, Kind::Erasure, all_of(0, 10))).await.unwrap();
    let left: Vec<u64> = readable(&store).await.into_iter().map(|(index, _)| index).collect();
    assert_eq!(left, [10]);
    audit(&store).await;
}

async fn what_is_pruned_raises_the_minimum_without_gaps(world: World) {
    let store = world.open().await;
    for n in 0..10 {
        store.append(marked(n)).await.unwrap();
    }
    let minimum = async || store.read().minimum().await.unwrap();
    assert_eq!(minimum().await, 0);
    store.append(order(900, Kind::Prune, all_of(5, 6))).await.unwrap();
    assert_eq!(minimum().await, 0);
    store.append(order(901, Kind::Prune, all_of(0, 3))).await.unwrap();
    assert_eq!(minimum().await, 4);
    store.append(order(902, Kind::Prune, all_of(0, 1))).await.unwrap();
    assert_eq!(minimum().await, 4);
    store.append(order(903, Kind::Erasure, all_of(0, 7))).await.unwrap();
    assert_eq!(minimum().await, 4);
    // Leaves and proofs stay.
    world.verifier().check(&store.receipt(&exchange(2)).await.unwrap().unwrap()).unwrap();
    audit(&store).await;
}

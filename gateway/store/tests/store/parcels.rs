//! Copies that wait: kept, found, held by one replica, and gone with the entry that says so.

use std::time::Duration;

use tokio::task::JoinSet;
use varco_core::id::AgencyId;
use varco_core::log::entry::Kind;
use varco_core::parcel::{Custody, Locked, ParcelChange};
use varco_core::time::Timestamp;
use varco_store::parcels::Backlog;
use varco_store::submission::{AppendError, Branch, Change, Guard, StreamKind, Submission};

use crate::on_both;
use crate::world::*;

on_both! {
    a_group_of_entries_is_entered_whole_or_not_at_all
    a_copy_is_found_by_whoever_must_look_at_it
    a_withdrawal_while_it_waits_stops_every_hand_over_after_it
    of_two_attempts_at_one_parcel_one_is_refused
}

const NOW: Timestamp = Timestamp::from_millis(START);
const CANARY: &[u8] = b"xxcanarino-sotto-chiave-0583867530942";

fn recipient() -> AgencyId {
    "cpi-lucca".parse().unwrap()
}

fn event(n: u64, expected: u64) -> Change {
    Change {
        stream: exchange(n).to_string(),
        kind: StreamKind::Parcel,
        expected,
        header: (expected == 0).then(|| "{}".to_owned()),
        event: format!(r#"{{"event":{}}}"#, expected + 1),
        subjects: if expected == 0 { vec![person(1)] } else { Vec::new() },
        waits_for: (expected == 0).then(|| vec![recipient()]),
    }
}

fn custody(n: u64, custody: Custody) -> Vec<ParcelChange> {
    vec![ParcelChange { parcel: exchange(n), custody }]
}

/// Parcel `n`, accepted on the strength of a consent.
fn accepted(n: u64, consent: &str) -> Submission {
    let locked = Locked { key: b"key".to_vec(), copy: CANARY.to_vec() };
    let keep = Custody::Keep { recipient: recipient(), accepted: NOW, due: NOW, locked };
    Submission { changes: vec![event(n, 0)], parcels: custody(n, keep), ..guarded(n, consent, 1) }
}

/// An attempt to bring it, as entry `entry`.
fn attempt(entry: u64, n: u64, consent: &str) -> Submission {
    let hold = Custody::Hold { replica: "replica-1".to_owned(), until: NOW.plus(Duration::from_secs(120)) };
    let guard = Guard { epochs: vec![(consent.to_owned(), 1)], fallback: draft(Kind::Denial, entry) };
    Submission {
        guard: Some(guard),
        changes: vec![event(n, 1)],
        parcels: custody(n, hold),
        ..Submission::new(draft(Kind::Delivery, entry))
    }
}

async fn a_group_of_entries_is_entered_whole_or_not_at_all(world: World) {
    let store = world.open().await;
    store.append(consent(1, "c", 0)).await.unwrap();
    store.append(consent(2, "gone", 0)).await.unwrap();
    store.append(consent(3, "gone", 1)).await.unwrap();
    let push = Submission {
        also: vec![accepted(11, "c"), accepted(12, "gone"), accepted(13, "c")],
        ..Submission::new(draft(Kind::Delivery, 10))
    };
    let committed = store.append(push.clone()).await.unwrap();
    let kinds: Vec<Kind> = committed.also.iter().map(|receipt| receipt.leaf.kind()).collect();
    assert_eq!(kinds, [Kind::Disclosure, Kind::Denial, Kind::Disclosure]);
    let verifier = world.verifier();
    for receipt in committed.also.iter().chain([&committed.receipt]) {
        verifier.check(receipt).unwrap();
    }
    let waiting = store.read().parcels_after(None, 10).await.unwrap();
    assert_eq!(waiting, [exchange(11), exchange(13)], "what was overtaken keeps no copy");
    assert!(store.read().stream(exchange(12).as_str()).await.unwrap().is_none());

    // One of them is in the log already: none of the others is entered.
    let size = store.sign().await.unwrap().head.size;
    let again = Submission {
        also: vec![accepted(21, "c"), accepted(13, "c")],
        ..Submission::new(draft(Kind::Delivery, 20))
    };
    assert_eq!(store.append(again).await.unwrap_err(), AppendError::Duplicate);
    let twice = Submission {
        also: vec![accepted(22, "c"), accepted(22, "c")],
        ..Submission::new(draft(Kind::Delivery, 20))
    };
    assert!(store.append(twice).await.is_err());
    let nested = Submission { also: vec![push], ..Submission::new(draft(Kind::Delivery, 23)) };
    assert!(matches!(store.append(nested).await, Err(AppendError::Invalid(_))));
    assert_eq!(store.sign().await.unwrap().head.size, size);
    assert!(store.read().parcel(&exchange(21)).await.unwrap().is_none());
}

async fn a_copy_is_found_by_whoever_must_look_at_it(world: World) {
    let store = world.open().await;
    store.append(consent(1, "c", 0)).await.unwrap();
    store.append(accepted(2, "c")).await.unwrap();
    store.append(accepted(3, "c")).await.unwrap();
    let read = store.read();
    assert_eq!(read.parcel(&exchange(2)).await.unwrap().unwrap().copy, CANARY);
    assert_eq!(read.recipients_due(NOW).await.unwrap(), [recipient()]);
    assert!(read.recipients_due(NOW.minus(Duration::from_secs(1))).await.unwrap().is_empty());
    assert_eq!(read.parcels_due(&recipient(), NOW, 1).await.unwrap(), [exchange(2)]);
    assert_eq!(read.parcels_about(&[person(1)]).await.unwrap().len(), 2);
    assert!(read.parcels_about(&[person(9)]).await.unwrap().is_empty());
    let page = read.inbox(&recipient(), Some(&exchange(2)), 10).await.unwrap();
    assert_eq!(page.iter().map(|stream| stream.id.clone()).collect::<Vec<_>>(), [exchange(3).to_string()]);
    assert!(read.inbox(&"asl".parse().unwrap(), None, 10).await.unwrap().is_empty());
    assert_eq!(read.backlog().await.unwrap(), Backlog { waiting: 2, oldest: Some(NOW), dead: 0 });

    store.append(attempt(4, 2, "c")).await.unwrap();
    assert_eq!(read.parcels_held("replica-1").await.unwrap(), [exchange(2)]);
    assert_eq!(read.parcels_due(&recipient(), NOW, 10).await.unwrap(), [exchange(3)]);
    let delivered = Submission {
        changes: vec![Change { waits_for: Some(Vec::new()), ..event(2, 2) }],
        parcels: custody(2, Custody::Remove),
        ..Submission::new(draft(Kind::Delivery, 2))
    };
    store.append(delivered).await.unwrap();
    let dead = Submission {
        changes: vec![Change { waits_for: Some(Vec::new()), ..event(3, 1) }],
        parcels: custody(3, Custody::Bury),
        ..Submission::new(draft(Kind::Failure, 3))
    };
    store.append(dead).await.unwrap();
    for n in [2, 3] {
        assert!(read.parcel(&exchange(n)).await.unwrap().is_none());
    }
    assert!(read.inbox(&recipient(), None, 10).await.unwrap().is_empty());
    assert_eq!(read.backlog().await.unwrap(), Backlog { waiting: 0, oldest: None, dead: 1 });
    // The dead are counted for a month.
    world.set_clock(31 * 24 * 3600);
    store.tidy().await.unwrap();
    assert_eq!(read.backlog().await.unwrap(), Backlog::default());
}

#[tokio::test]
async fn not_even_the_locked_bytes_stay_in_database_or_wal_once_a_copy_is_gone() {
    let world = World::sqlite("parcel-canary");
    let store = world.open().await;
    store.append(consent(1, "c", 0)).await.unwrap();
    for n in 2..40 {
        store.append(accepted(n, "c")).await.unwrap();
    }
    assert!(holds_canary(&world), "the canary does not fly");
    for n in 2..40 {
        let custody = custody(n, if n % 2 == 0 { Custody::Remove } else { Custody::Bury });
        let gone = Submission { parcels: custody, ..Submission::new(draft(Kind::Denial, n + 100)) };
        store.append(gone).await.unwrap();
    }
    store.tidy().await.unwrap();
    assert!(!holds_canary(&world));
}

fn holds_canary(world: &World) -> bool {
    std::fs::read_dir(&world.directory).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(CANARY.len()).any(|window| window == CANARY)
    })
}

async fn of_two_attempts_at_one_parcel_one_is_refused(world: World) {
    let store = world.open().await;
    store.append(consent(1, "c", 0)).await.unwrap();
    store.append(accepted(2, "c")).await.unwrap();
    let mut attempts = JoinSet::new();
    for n in 10..30 {
        let store = store.clone();
        attempts.spawn(async move { store.append(attempt(n, 2, "c")).await });
    }
    let done = attempts.join_all().await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
    let conflict = AppendError::Conflict(StreamKind::Parcel);
    assert!(done.iter().all(|done| done.as_ref().err().is_none_or(|fault| *fault == conflict)));
}

/// Seeded by the order of the submissions: the withdrawal stands before, between or after the attempts, in one batch or
/// in several.
async fn a_withdrawal_while_it_waits_stops_every_hand_over_after_it(world: World) {
    const LIVES: u64 = 500;
    let store = world.open().await;
    let (mut before, mut after) = (0_u32, 0_u32);
    for life in 0..LIVES {
        let (base, own) = (1000 + life * 10, format!("consent-{life}"));
        store.append(consent(base, &own, 0)).await.unwrap();
        store.append(accepted(base + 1, &own)).await.unwrap();
        let mut works = JoinSet::new();
        let mut steps = [attempt(base + 2, base + 1, &own), consent(base + 3, &own, 1)];
        if life % 2 == 1 {
            steps.reverse();
        }
        for step in steps {
            let (store, closes) = (store.clone(), step.draft.kind == Kind::Consent);
            works.spawn(async move { (closes, store.append(step).await.unwrap()) });
            if life % 3 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let done = works.join_all().await;
        let index = |closes: bool| {
            let found = done.iter().find(|(is_close, _)| *is_close == closes).unwrap();
            (found.1.receipt.proof.index, found.1.branch)
        };
        let ((closed, _), (attempted, branch)) = (index(true), index(false));
        let expected = if attempted < closed { Branch::Primary } else { Branch::Fallback };
        assert_eq!(branch, expected, "life {life}");
        let held = store.read().parcels_held("replica-1").await.unwrap();
        assert_eq!(held.contains(&exchange(base + 1)), branch == Branch::Primary, "life {life}");
        if branch == Branch::Primary { before += 1 } else { after += 1 }
    }
    assert!(before > 50 && after > 50, "{before} before, {after} after");
}

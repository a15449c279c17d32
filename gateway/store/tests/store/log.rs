//! Claims, entries, guards and proofs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;
use varco_core::hash::Sha256;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::entry::{Erases, Kind, SlotName};
use varco_core::log::leaf::Leaf;
use varco_core::log::shard::Link;
use varco_core::log::tree::{Frontier, leaf_hash};
use varco_store::read::ReadError;
use varco_store::status::Health;
use varco_store::store::{OnCommit, Options, Store};
use varco_store::submission::{AppendError, Branch, ClaimError, Submission};

use crate::on_both;
use crate::world::*;

on_both! {
    a_token_is_good_for_one_exchange
    a_withdrawal_takes_effect_between_two_entries
    an_erased_body_is_gone_and_every_proof_stays
    an_entry_is_found_again_with_its_bodies
    an_exchange_left_open_becomes_interrupted
    an_exchange_without_outcome_is_interrupted_after_a_while
    entries_are_only_ever_added
    every_receipt_holds_at_every_size
    exchanges_under_way_share_commits_and_a_lone_one_waits_for_nobody
    the_same_entry_is_entered_once
    the_status_tells_where_the_log_stands
    time_in_the_log_never_goes_back
}

/// The bytes of all leaves.
pub async fn all_leaves(store: &Store) -> Vec<Vec<u8>> {
    let size = store.read().log().await.unwrap().unwrap().size;
    let mut leaves = Vec::new();
    for from in (0..size).step_by(1000) {
        leaves.extend(store.read().leaves(from, size.min(from + 1000)).await.unwrap());
    }
    leaves
}

/// Everything the database says of each year's tree is the same, each says how the one before ended, and the last one is
/// what was signed last.
pub async fn audit(store: &Store) {
    let signed = store.sign().await.unwrap();
    let head = store.read().log().await.unwrap().unwrap();
    let shards = store.read().shards().await.unwrap();
    let mut shard = shards.iter().peekable();
    let (mut frontier, mut before) = (Frontier::new(), None);
    for (index, leaf) in all_leaves(store).await.into_iter().enumerate() {
        let leaf = Leaf::parse(&leaf).unwrap();
        assert_eq!(leaf.index(), index as u64);
        if let Some(link) = before.take() {
            assert_eq!(leaf.content().link, Some(link), "entry {index} opens a year");
        }
        frontier.push(leaf.hash());
        let current = shard.peek().unwrap();
        if !current.is_open() && frontier.size() == current.head.size {
            assert_eq!((frontier.root(), leaf.kind()), (current.head.root, Kind::Freeze));
            let origin = current.shard.origin.clone();
            before = Some(Link::after(&Checkpoint { origin, size: frontier.size(), root: frontier.root() }));
            frontier = Frontier::new();
            shard.next();
        }
    }
    assert!(before.is_none() && shard.next().is_some_and(|last| last.shard == signed.shard));
    assert_eq!((frontier.size(), frontier.root()), (head.head().size, head.root));
    assert_eq!((frontier.size(), frontier.root()), (signed.head.size, signed.head.root));
}

async fn a_token_is_good_for_one_exchange(world: World) {
    let store = world.open().await;
    let mut tasks = JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        tasks.spawn(async move { store.claim(claim(n, "one-token")).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(ClaimError::Replayed))));

    let mut other_issuer = claim(30, "one-token");
    other_issuer.issuer_key = Sha256::of(b"another issuer");
    assert_eq!(store.claim(other_issuer).await, Ok(()));
    // A request has several tokens; none of them may have been used, alone or beside others.
    let several = |n, jtis: &[&str]| {
        let mut claim = claim(n, "x");
        claim.jtis = jtis.iter().map(|jti| jti.parse().unwrap()).collect();
        claim
    };
    assert_eq!(store.claim(several(40, &["a", "b", "c"])).await, Ok(()));
    assert_eq!(store.claim(several(41, &["d", "c"])).await, Err(ClaimError::Replayed));
    assert_eq!(store.claim(several(42, &["one-token", "e"])).await, Err(ClaimError::Replayed));
    assert_eq!(store.claim(several(43, &["f", "g"])).await, Ok(()));
    assert_eq!(store.claim(several(44, &[])).await, Err(ClaimError::Replayed));
    store.close().await;

    let store = world.open().await;
    assert_eq!(store.claim(claim(31, "one-token")).await, Err(ClaimError::Replayed));
    assert_eq!(store.claim(several(45, &["b", "h"])).await, Err(ClaimError::Replayed));
}

async fn exchange_of(store: &Store, n: u64) {
    store.claim(claim(n, &format!("jti-{n}"))).await.unwrap();
    store.append(closing(n)).await.unwrap();
}

async fn exchanges_under_way_share_commits_and_a_lone_one_waits_for_nobody(world: World) {
    let commits = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&commits);
    let on_commit: OnCommit = Arc::new(move |entries, _| told.lock().unwrap().push(entries));
    let store = Store::open(Options { on_commit, ..world.options() }).await.unwrap();
    for n in 0..10 {
        exchange_of(&store, n).await;
    }
    assert_eq!(std::mem::take(&mut *commits.lock().unwrap()), [0, 1].repeat(10), "each at once");
    let mut tasks = JoinSet::new();
    for lane in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..4 {
                exchange_of(&store, 100 + lane * 4 + n).await;
            }
        });
    }
    tasks.join_all().await;
    let commits = std::mem::take(&mut *commits.lock().unwrap());
    assert_eq!(commits.iter().sum::<usize>(), 256);
    assert!(commits.len() <= 64, "{} commits for 512 jobs, of which 64 at a time", commits.len());
    audit(&store).await;
}

async fn a_withdrawal_takes_effect_between_two_entries(world: World) {
    let store = world.open().await;
    store.append(consent(1000, "c", 0)).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            if n == 30 {
                store.append(consent(2000, "c", 1)).await
            } else {
                store.append(guarded(n, "c", 1)).await
            }
        });
    }
    let committed: Vec<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    let withdrawal = store.read().entry(&exchange(2000), Kind::Consent).await.unwrap().unwrap().0.index();
    for done in committed {
        let leaf = &done.receipt.leaf;
        let (kind, before) = (leaf.kind(), leaf.index() < withdrawal);
        assert!(
            leaf.index() == withdrawal
                || (kind == Kind::Disclosure && before && done.branch == Branch::Primary)
                || (kind == Kind::Denial && !before && done.branch == Branch::Fallback)
        );
    }
    let late = store.append(guarded(3000, "c", 1)).await.unwrap();
    assert_eq!((late.branch, late.receipt.leaf.kind()), (Branch::Fallback, Kind::Denial));
    audit(&store).await;
}

async fn an_erased_body_is_gone_and_every_proof_stays(world: World) {
    let store = world.open().await;
    let mut order = Submission::new(varco_core::log::entry::Draft::new(Kind::Erasure, exchange(900)));
    for n in 0..10 {
        store.append(disclosure(n)).await.unwrap();
    }
    order.draft.erases = Erases::new(2, 4, &[SlotName::Operator, SlotName::Subject]);
    store.append(order).await.unwrap();
    for (index, slots) in store.read().slots_between(0, 10).await.unwrap() {
        assert!(slots.decision.is_some());
        assert_eq!(slots.operator.is_none(), (2..=4).contains(&index));
        assert_eq!(slots.subject.is_none(), (2..=4).contains(&index));
    }
    let about = store.read().entries_about(&[person(1)], 0).await.unwrap();
    assert_eq!(about, [0, 1, 5, 6, 7, 8, 9]);
    world.verifier().check(&store.receipt(&exchange(3)).await.unwrap().unwrap()).unwrap();
    audit(&store).await;
}

async fn an_entry_is_found_again_with_its_bodies(world: World) {
    let store = world.open().await;
    let submission = Submission { subjects: vec![person(1), person(2)], ..disclosure(7) };
    let done = store.append(submission.clone()).await.unwrap();
    let read = store.read();
    let (leaf, slots) = read.entry(&exchange(7), Kind::Disclosure).await.unwrap().unwrap();
    assert_eq!((&leaf, &slots), (&done.receipt.leaf, &submission.draft.slots));
    assert_eq!(leaf.content().commitments, slots.commitments());
    assert_eq!(read.entry(&exchange(7), Kind::Denial).await.unwrap(), None);
    assert_eq!(read.entry(&exchange(8), Kind::Disclosure).await.unwrap(), None);
    assert_eq!(read.entries_of(&exchange(7)).await.unwrap(), std::slice::from_ref(&leaf));
    assert_eq!(read.slots(leaf.index()).await.unwrap(), slots);
    assert_eq!(read.slots(99).await.unwrap().iter().count(), 0);
    assert_eq!(read.leaves(0, 10).await.unwrap(), [leaf.as_bytes().to_vec()]);
    assert!(matches!(read.leaves(0, 2000).await, Err(ReadError::TooMuch)));
    store.append(disclosure(9)).await.unwrap();
    for (subjects, expected) in
        [(vec![person(2)], vec![0]), (vec![person(1), person(2), person(3)], vec![0, 1]), (vec![], vec![])]
    {
        assert_eq!(read.entries_about(&subjects, 0).await.unwrap(), expected);
    }
    assert_eq!(read.entries_about(&[person(1)], 1).await.unwrap(), [1]);
    assert_eq!(store.receipt(&exchange(8)).await.unwrap(), None);
}

async fn an_exchange_left_open_becomes_interrupted(world: World) {
    let store = world.open().await;
    for n in 0..4 {
        store.claim(claim(n, &format!("jti-{n}"))).await.unwrap();
    }
    store.append(closing(1)).await.unwrap();
    store.close().await;

    let store = world.open().await;
    for n in 0..4 {
        let entries = store.read().entries_of(&exchange(n)).await.unwrap();
        let expected = if n == 1 { Kind::Disclosure } else { Kind::Interrupted };
        assert_eq!(entries.iter().map(Leaf::kind).collect::<Vec<_>>(), [expected]);
        world.verifier().check(&store.receipt(&exchange(n)).await.unwrap().unwrap()).unwrap();
    }
    let (leaf, slots) = store.read().entry(&exchange(2), Kind::Interrupted).await.unwrap().unwrap();
    assert_eq!(slots, claim(2, "jti-2").interrupted.slots);
    assert_eq!(leaf.content().consumer, Some("cpi-lucca".parse().unwrap()));
    // Too late for any other outcome.
    assert_eq!(store.append(closing(2)).await.unwrap_err(), AppendError::ClaimGone);
    store.close().await;
    let size = world.open().await.checkpoint().head.size;
    assert_eq!(size, 4);
}

async fn an_exchange_without_outcome_is_interrupted_after_a_while(world: World) {
    let store = world.open().await;
    store.claim(claim(1, "jti-1")).await.unwrap();
    store.claim(claim(2, "jti-2")).await.unwrap();
    store.append(closing(2)).await.unwrap();
    world.set_clock(3600);
    store.tidy().await.unwrap();
    let kinds = store.read().entries_of(&exchange(1)).await.unwrap();
    assert_eq!(kinds.iter().map(Leaf::kind).collect::<Vec<_>>(), [Kind::Interrupted]);
    assert_eq!(store.append(closing(1)).await.unwrap_err(), AppendError::ClaimGone);
    // Their tokens have long expired and are forgotten: nothing accepts them any more.
    assert_eq!(store.claim(claim(3, "jti-1")).await, Ok(()));
    audit(&store).await;
}

async fn entries_are_only_ever_added(world: World) {
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    store.append(consent(2, "c", 0)).await.unwrap();
    for sql in [
        "UPDATE log_entry SET leaf = 'x' WHERE idx = 0",
        "DELETE FROM log_entry WHERE idx = 0",
        "UPDATE stream_event SET event = 'x'",
    ] {
        let fault = world.tamper(sql).await.unwrap_err().to_string();
        assert!(fault.contains("only ever added to"), "{sql}: {fault}");
    }
    audit(&store).await;
}

async fn every_receipt_holds_at_every_size(world: World) {
    let store = world.open().await;
    let mut receipts = Vec::new();
    for round in 0..12 {
        let mut tasks = JoinSet::new();
        for n in 0..50 {
            let store = store.clone();
            tasks.spawn(async move { store.append(disclosure(round * 50 + n)).await });
        }
        receipts.extend(tasks.join_all().await.into_iter().map(|done| done.unwrap().receipt));
        for n in [0, round * 25, round * 50] {
            world.verifier().check(&store.receipt(&exchange(n)).await.unwrap().unwrap()).unwrap();
        }
    }
    let verifier = world.verifier();
    let indices: BTreeSet<u64> = receipts.iter().map(|receipt| receipt.proof.index).collect();
    assert_eq!(indices, (0..600).collect());
    for receipt in &receipts {
        verifier.check(receipt).unwrap();
        assert!(receipt.to_text().len() <= 2048);
    }
    let leaves = all_leaves(&store).await;
    let hashes: Vec<Sha256> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let read = store.read();
    assert_eq!(read.tile(0, 1, 600).await.unwrap().unwrap(), hashes[256..512]);
    assert_eq!(read.tile(0, 2, 600).await.unwrap().unwrap(), hashes[512..600]);
    assert_eq!(read.tile(0, 2, 530).await.unwrap().unwrap(), hashes[512..530]);
    assert_eq!(read.tile(1, 0, 600).await.unwrap().unwrap().len(), 2);
    assert_eq!(read.tile(0, 3, 600).await.unwrap(), None);
    audit(&store).await;
}

async fn the_same_entry_is_entered_once(world: World) {
    let store = world.open().await;
    store.append(disclosure(1)).await.unwrap();
    assert_eq!(store.append(disclosure(1)).await.unwrap_err(), AppendError::Duplicate);
    store.append(Submission::new(draft(Kind::Delivery, 1))).await.unwrap();
    let kinds: Vec<Kind> =
        store.read().entries_of(&exchange(1)).await.unwrap().iter().map(Leaf::kind).collect();
    assert_eq!(kinds, [Kind::Disclosure, Kind::Delivery]);
    assert_eq!(store.append(closing(5)).await.unwrap_err(), AppendError::ClaimGone);
    audit(&store).await;
}

async fn the_status_tells_where_the_log_stands(world: World) {
    let store = world.open().await;
    let status = store.status();
    assert_eq!((status.head.size, status.last_commit, status.queue), (0, None, 0));
    world.set_clock(5);
    store.append(disclosure(1)).await.unwrap();
    let status = store.status();
    assert_eq!((status.head.size, status.health), (1, Health::Healthy));
    assert_eq!(status.last_commit.unwrap().millis(), START + 5000);
    let checkpoint = store.checkpoint();
    assert_eq!(world.verifier().open(checkpoint.note.as_bytes()).unwrap().head(), checkpoint.head);
    store.close().await;
    assert!(matches!(store.append(disclosure(2)).await, Err(AppendError::Unavailable(_))));
}

async fn time_in_the_log_never_goes_back(world: World) {
    let store = world.open().await;
    let mut times = Vec::new();
    for (n, seconds) in [(0, 10), (1, 20), (2, 5), (3, 21)] {
        world.set_clock(seconds);
        times.push((store.append(disclosure(n)).await.unwrap().receipt.leaf.at().millis() - START) / 1000);
    }
    assert_eq!(times, [10, 20, 20, 21]);
    // More than a minute is no longer two machines' difference.
    world.set_clock(-60);
    assert!(matches!(store.append(disclosure(9)).await, Err(AppendError::Unavailable(_))));
}

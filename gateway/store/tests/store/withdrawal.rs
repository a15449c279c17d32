//! Promise 5 as the log states it: after a withdrawal's index there is no disclosure that rests on what it closed.
//!
//! Ten thousand seeded interleavings on each database: exchanges read their epochs, then withdrawals and new restrictions
//! come between, then they commit, in any order and in one batch or several.

use std::collections::BTreeMap;

use varco_core::log::entry::Kind;
use varco_core::restriction::Restrictions;
use varco_store::store::Store;
use varco_store::submission::{Branch, Change, Guard, StreamKind, Submission};

use crate::on_both;
use crate::world::*;

on_both! {
    after_a_withdrawal_nothing_rests_on_the_consent_in_ten_thousand_interleavings
}

const INTERLEAVINGS: u64 = 10_000;
/// Interleavings that run together: each is one person's, and batches of the writer mix them.
const TOGETHER: u64 = 100;
/// Exchanges in flight when the person withdraws.
const IN_FLIGHT: u64 = 3;

/// A generator whose every number follows from the seed (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// What one person's interleaving has done so far.
struct Life {
    number: u64,
    consent: String,
    restrictions: String,
}

impl Life {
    fn id(&self, step: u64) -> u64 {
        self.number * 16 + step
    }

    /// An exchange that read consent and restrictions as they were at first: given once, restricted never.
    fn exchange(&self, step: u64) -> Submission {
        let epochs = vec![(self.consent.clone(), 1), (self.restrictions.clone(), 0)];
        let fallback = draft(Kind::Denial, self.id(step));
        Submission {
            guard: Some(Guard { epochs, fallback }),
            ..Submission::new(draft(Kind::Disclosure, self.id(step)))
        }
    }

    fn withdraws(&self, step: u64) -> Submission {
        consent(self.id(step), &self.consent, 1)
    }

    fn restricts(&self, step: u64) -> Submission {
        let change = Change {
            stream: self.restrictions.clone(),
            kind: StreamKind::Restriction,
            expected: 0,
            header: Some("{}".to_owned()),
            event: "{}".to_owned(),
            subjects: Vec::new(),
            waits_for: None,
        };
        Submission { changes: vec![change], ..Submission::new(draft(Kind::Consent, self.id(step))) }
    }
}

/// Runs one interleaving: (index, branch) of each exchange, and the index of what closed.
async fn live(store: Store, number: u64) -> (Vec<(u64, Branch)>, u64) {
    let mut chance = Chance(number + 0x9e37_79b9_7f4a_7c15);
    let person = varco_core::id::Pseudonym::new(1, u128::from(number).to_be_bytes());
    let consent_id = format!("consent-{number}");
    let life = Life { number, consent: consent_id, restrictions: Restrictions::stream_of(&person) };
    store.append(consent(life.id(0), &life.consent, 0)).await.unwrap();
    let closes_at = chance.below(IN_FLIGHT + 1);
    let closing = if chance.below(2) == 0 { life.withdraws(1) } else { life.restricts(1) };
    let (mut exchanges, mut closed) = (Vec::new(), None);
    for step in 0..=IN_FLIGHT {
        let is_close = step == closes_at;
        let submission = if is_close { closing.clone() } else { life.exchange(2 + step) };
        let store = store.clone();
        let task = begin(async move { store.append(submission).await });
        // Sometimes the next one is already on its way, and both stand in one batch.
        let committed = if chance.below(2) == 0 { Ok(task.await) } else { Err(task) };
        if is_close { closed = Some(committed) } else { exchanges.push(committed) }
    }
    let mut outcomes = Vec::new();
    for exchange in exchanges {
        let done = match exchange {
            Ok(done) => done,
            Err(task) => task.await,
        };
        let done = done.unwrap().unwrap();
        outcomes.push((done.receipt.proof.index, done.branch));
    }
    let closed = match closed.unwrap() {
        Ok(done) => done,
        Err(task) => task.await,
    };
    (outcomes, closed.unwrap().unwrap().receipt.proof.index)
}

/// Starts a task that the test itself awaits.
#[expect(
    clippy::disallowed_methods,
    reason = "the store knows no groups of tasks, and every one here is awaited"
)]
fn begin<F: Future<Output: Send + 'static> + Send + 'static>(work: F) -> tokio::task::JoinHandle<F::Output> {
    tokio::spawn(work)
}

async fn after_a_withdrawal_nothing_rests_on_the_consent_in_ten_thousand_interleavings(world: World) {
    let store = world.open().await;
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for first in (0..INTERLEAVINGS).step_by(usize::try_from(TOGETHER).unwrap()) {
        let lives: Vec<_> =
            (first..first + TOGETHER).map(|number| (number, begin(live(store.clone(), number)))).collect();
        for (number, life) in lives {
            let (exchanges, closed) = life.await.unwrap();
            for (index, branch) in exchanges {
                assert_ne!(index, closed, "seed {number}");
                let expected = if index < closed { Branch::Primary } else { Branch::Fallback };
                assert_eq!(branch, expected, "seed {number}: exchange at {index}, closed at {closed}");
                *seen.entry(if index < closed { "before" } else { "after" }).or_default() += 1;
            }
        }
    }
    // Both sides were really met, each thousands of times.
    assert!(seen.values().all(|times| *times > 1_000) && seen.len() == 2, "{seen:?}");
    let size = store.read().log().await.unwrap().unwrap().size;
    assert_eq!(size, INTERLEAVINGS * (2 + IN_FLIGHT));
}

//! Keeping bodies no longer than they may be kept, and destroying the keys of what was erased.
//!
//! Periods are in the configuration, between floors that the law sets and ceilings. What is over is erased by an entry of
//! the log that says so, as an order of officers would be; what is under a legal hold stays. Within a stated time after
//! the first erasure every remaining body is wrapped under a new key and the old key is destroyed, so that nothing erased
//! can be read from a backup either.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use varco_core::log::entry::{Draft, Erases, Kind, Reason, Slot, SlotName};
use varco_core::time::Timestamp;
use varco_store::kept::Record;
use varco_store::read::ReadError;
use varco_store::retention::WINDOW;
use varco_store::submission::{AppendError, Held, Keeping, Submission, Unavailable};

use crate::app::App;
use crate::config;
use crate::tasks::Stop;

/// Entries of one order: its transaction takes some 50 ms, which an exchange can wait.
const ORDER: u64 = 4096;

/// What is erased when.
struct Rule {
    name: &'static str,
    after: Duration,
    slots: &'static [SlotName],
    kinds: Vec<Kind>,
}

/// Why a round was broken off; the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Orders entered.
    pub orders: u64,
    /// The epoch of body keys that began.
    pub epoch: Option<u32>,
}

/// Goes round until told to stop.
pub async fn watch(app: Arc<App>, settings: config::Retention, mut stop: Stop) {
    let mut ticks = tokio::time::interval(settings.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = stop.called() => return,
            done = round(&app, &settings) => match done {
                Ok(round) if round == Round::default() => {}
                Ok(round) => tracing::info!(orders = round.orders, epoch = round.epoch, "retention"),
                Err(error) => tracing::error!(%error, "what is over could not be erased"),
            },
        }
    }
}

/// Erases what is over by now, and destroys keys that are due.
pub async fn round(app: &App, settings: &config::Retention) -> Result<Round, RoundError> {
    let now = app.now();
    let mut round = Round::default();
    for rule in rules(settings) {
        let end = app.store.read().first_at(now.minus(rule.after), app.store.checkpoint().end()).await?;
        for window in windows(end) {
            for slot in rule.slots {
                if let Some((first, last)) =
                    app.store.read().bodies_left(window.clone(), *slot, &rule.kinds).await?
                {
                    round.orders += erase(app, &rule, *slot, first..last + 1).await?;
                }
            }
        }
    }
    let before = now.minus(settings.alerts);
    if app.store.read().has_alerts_before(before).await? {
        app.store.keep(vec![Record::AlertsForgotten { before }]).await?;
    }
    let erased = app.store.read().erased_at().await?;
    if erased.is_some_and(|at| at.plus(settings.destroy_after) <= now) {
        round.epoch = Some(destroy(app, erased).await?);
    }
    Ok(round)
}

fn rules(settings: &config::Retention) -> [Rule; 3] {
    let erasable = |kind: &Kind| !kind.keeps_bodies();
    let personal: Vec<Kind> =
        Kind::ALL.into_iter().filter(erasable).filter(|kind| *kind != Kind::Admin).collect();
    [
        Rule { name: "system", after: settings.system, slots: &SlotName::ALL, kinds: vec![Kind::Admin] },
        // Who asked, from where, with which trace: the rest still answers who received what about whom.
        Rule {
            name: "detail",
            after: settings.detail,
            slots: &[SlotName::Operator],
            kinds: personal.clone(),
        },
        Rule { name: "whole", after: settings.whole, slots: &SlotName::ALL, kinds: personal },
    ]
}

fn windows(end: u64) -> impl Iterator<Item = Range<u64>> {
    (0..end)
        .step_by(usize::try_from(WINDOW).unwrap_or(usize::MAX))
        .map(move |first| first..first.saturating_add(WINDOW).min(end))
}

/// Enters the orders for a range, except what is held. Gives back how many.
async fn erase(app: &App, rule: &Rule, slot: SlotName, range: Range<u64>) -> Result<u64, RoundError> {
    let holds = app.store.read().holds().await?;
    let mut orders = 0;
    for free in free(&range, &holds) {
        for first in free.clone().step_by(usize::try_from(ORDER).unwrap_or(usize::MAX)) {
            let last = first.saturating_add(ORDER).min(free.end).saturating_sub(1);
            // Between two holds there may be nothing left to erase.
            let left = app.store.read().bodies_left(first..last + 1, slot, &rule.kinds).await?;
            let Some((first, last)) = left else { continue };
            let erases = Erases::new(first, last, &[slot]).and_then(|erases| erases.of_kinds(&rule.kinds));
            let Some(erases) = erases else { continue };
            match app.store.append(order(app, rule, erases.because(Reason::Retention))).await {
                Ok(_) => orders += 1,
                // Placed since we looked: the next round sees it.
                Err(AppendError::Held(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(orders)
}

fn order(app: &App, rule: &Rule, erases: Erases) -> Submission {
    let mut draft = Draft::new(Kind::Erasure, app.new_exchange(app.now()));
    draft.erases = Some(erases);
    let body = json!({
        "authority": "periods of retention in the gateway's configuration",
        "rule": rule.name,
        "period_days": rule.after.as_secs() / 86_400,
    });
    draft.slots.decision = Some(Slot::new(app.random(), &body));
    Submission::new(draft)
}

/// The parts of a range that no hold covers, in order.
fn free(range: &Range<u64>, holds: &[Held]) -> Vec<Range<u64>> {
    let mut holds: Vec<(u64, u64)> = holds.iter().map(|held| (held.first, held.last)).collect();
    holds.sort_unstable();
    let (mut free, mut next) = (Vec::new(), range.start);
    for (first, last) in holds {
        if first >= range.end {
            break;
        }
        if next < first {
            free.push(next..first);
        }
        next = next.max(last.saturating_add(1));
    }
    if next < range.end {
        free.push(next..range.end);
    }
    free
}

/// Begins a new epoch of body keys, and enters that the old keys are gone.
async fn destroy(app: &App, erased: Option<Timestamp>) -> Result<u32, RoundError> {
    let epoch = app.store.renew_keys().await?;
    let mut draft = Draft::new(Kind::Admin, app.new_exchange(app.now()));
    let body = json!({ "act": "body-keys-destroyed", "before_epoch": epoch, "first_erasure": erased });
    draft.slots.decision = Some(Slot::new(app.random(), &body));
    let submission = Submission { keeping: Some(Keeping::ForEver), ..Submission::new(draft) };
    app.store.append(submission).await?;
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_left_out_of_a_range() {
        let held = |first, last| Held { id: "h".to_owned(), first, last };
        assert_eq!(free(&(10..20), &[]).as_slice(), std::slice::from_ref(&(10..20)));
        assert_eq!(free(&(10..20), &[held(12, 13), held(30, 40)]), [10..12, 14..20]);
        let ends = free(&(10..20), &[held(18, 25), held(0, 10)]);
        assert_eq!(ends.as_slice(), std::slice::from_ref(&(11..18)));
        let rest = free(&(10..20), &[held(0, 15), held(5, 9), held(16, 16)]);
        assert_eq!(rest.as_slice(), std::slice::from_ref(&(17..20)));
        assert!(free(&(10..20), &[held(0, u64::MAX)]).is_empty());
    }

    #[test]
    fn windows_cover_every_entry_once() {
        assert_eq!(windows(0).count(), 0);
        let all: Vec<_> = windows(WINDOW * 2 + 5).collect();
        assert_eq!(all, [0..WINDOW, WINDOW..WINDOW * 2, WINDOW * 2..WINDOW * 2 + 5]);
    }
}

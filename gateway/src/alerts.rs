//! What people must look at: found by following the log, kept, and sent to whoever asked to be told until they have it.
//!
//! Finding is pure (`varco_core::log::alert`); here are the clock, the log and the network. Each receiver has a task of
//! its own, so that one that does not answer keeps nobody else waiting. Nothing here ever holds up an exchange.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use varco_core::hash::Sha256;
use varco_core::log::alert::{Alert, Detector, Standing, WINDOW, standing};
use varco_core::log::leaf::Leaf;
use varco_core::log::summary::Summary;
use varco_core::wire;
use varco_store::kept::{self, Due, Record};
use varco_store::read::{PAGE_MAX, ReadError, Reader};
use varco_store::submission::Unavailable;

use crate::app::App;
use crate::config::{self, Webhook};
use crate::fetch::Fetcher;
use crate::start::{StartError, fault};
use crate::tasks::Stop;

/// How far the search for alerts has come.
const FOLLOWER: &str = "alerts";

/// Their bodies take some 10 KiB each while they are open.
const OPENED_AT_ONCE: usize = 128;

/// Alerts sent to one receiver in one round.
const ROUND: u64 = 16;

/// Between two attempts: at first, and at most. An alert is tried until it is taken.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_LAST: Duration = Duration::from_secs(3600);

/// The settings, and the client that receivers are reached with.
pub struct Alerts {
    pub settings: config::Alerts,
    fetcher: Option<Fetcher>,
}

/// Why a round of looking could not be finished. The next one goes on from the same place.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error(transparent)]
    Keep(#[from] Unavailable),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Alerts {
    pub fn open(settings: &config::Alerts) -> Result<Self, StartError> {
        let path = settings.authorities.first().cloned().unwrap_or_default();
        let fetcher = match settings.webhooks.is_empty() {
            true => None,
            false => Some(Fetcher::new(&settings.authorities, None).map_err(fault(&path))?),
        };
        Ok(Self { settings: settings.clone(), fetcher })
    }

    /// The receivers of an alert: those of its agencies and those that get everything. What is about the gateway itself
    /// goes to the latter, or, where there are none, to all.
    fn hooks(&self, alert: &Alert) -> Vec<String> {
        let hooks = &self.settings.webhooks;
        let everything = hooks.values().any(|hook| hook.agency.is_none());
        let wants = |hook: &Webhook| match &hook.agency {
            None => true,
            Some(_) if alert.to.is_empty() => !everything,
            Some(agency) => alert.to.contains(agency),
        };
        hooks.iter().filter(|(_, hook)| wants(hook)).map(|(name, _)| name.clone()).collect()
    }

    fn record(&self, alert: &Alert) -> Record {
        Record::Alert(kept::Alert {
            id: alert.id,
            at: alert.at,
            about: serde_json::to_value(alert.about)
                .ok()
                .and_then(|v| Some(v.as_str()?.to_owned()))
                .unwrap_or_default(),
            body: varco_core::json::canonical(&alert.json()),
            to: alert.to.iter().map(ToString::to_string).collect(),
            hooks: self.hooks(alert),
        })
    }
}

/// Follows the log until told to stop.
pub async fn watch(app: Arc<App>, mut stop: Stop) {
    let mut ticks = tokio::time::interval(app.alerts.settings.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut look = None;
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        if look.is_none() {
            look = Look::begin(&app).await.inspect_err(told).ok();
        }
        if let Some(begun) = &mut look {
            let _ = begun.round(&app).await.inspect_err(told);
        }
    }
}

fn told(error: &LookError) {
    tracing::warn!(%error, "the log could not be looked through for alerts; it is tried again");
}

struct Look {
    detector: Detector,
    next: u64,
    /// What was told about how the gateway stands.
    standing: BTreeSet<Sha256>,
}

impl Look {
    /// Goes back two windows before the first entry not seen yet: one for what is counted, one for the day an alert
    /// belongs to. What is found there has been told.
    async fn begin(app: &App) -> Result<Self, LookError> {
        let log = app.store.read();
        let next = log.follower(FOLLOWER).await?.unwrap_or(0);
        let mut detector = Detector::new(app.alerts.settings.thresholds.clone());
        let last = match next.checked_sub(1) {
            Some(last) => log.leaves(last, next).await?.first().and_then(|leaf| Leaf::parse(leaf).ok()),
            None => None,
        };
        if let Some(last) = last {
            let first = log.first_at(last.at().minus(WINDOW * 2), next).await?;
            see(&mut detector, log, first..next).await?;
        }
        Ok(Self { detector, next, standing: BTreeSet::new() })
    }

    async fn round(&mut self, app: &App) -> Result<(), LookError> {
        let size = app.store.read().log().await?.map_or(0, |log| log.size);
        // An emergency's purpose has a review; which ones do is the agreement's to say, and a new one may come at any time.
        let policy = app.policy_at(app.now());
        let reviewed = policy.purposes.iter().filter(|purpose| purpose.review_hours.is_some());
        self.detector.also_break_glass(reviewed.map(|purpose| purpose.id.clone()));
        while self.next < size {
            let to = self.next.saturating_add(PAGE_MAX).min(size);
            // A copy, because what is found is told only once it is kept.
            let mut detector = self.detector.clone();
            let found = see(&mut detector, app.store.read(), self.next..to).await?;
            let mut records: Vec<Record> = found.iter().map(|alert| app.alerts.record(alert)).collect();
            records.push(Record::Followed { name: FOLLOWER, next: to });
            app.store.keep(records).await?;
            (self.detector, self.next) = (detector, to);
        }
        let now = app.now();
        let found = standing(&stands(app), &app.alerts.settings.thresholds, now);
        let new: Vec<Alert> = found.into_iter().filter(|alert| !self.standing.contains(&alert.id)).collect();
        if !new.is_empty() {
            app.store.keep(new.iter().map(|alert| app.alerts.record(alert)).collect()).await?;
            self.standing.extend(new.iter().map(|alert| alert.id));
        }
        Ok(())
    }
}

/// Shows entries to the detector, in order.
async fn see(detector: &mut Detector, log: &Reader, range: Range<u64>) -> Result<Vec<Alert>, ReadError> {
    let mut found = Vec::new();
    for from in range.clone().step_by(OPENED_AT_ONCE) {
        for entry in entries(log, from, from.saturating_add(OPENED_AT_ONCE as u64).min(range.end)).await? {
            found.extend(detector.see(&entry));
        }
    }
    Ok(found)
}

/// Entries opened, in order. At most a page.
pub async fn entries(log: &Reader, from: u64, to: u64) -> Result<Vec<Summary>, ReadError> {
    let leaves = log.leaves(from, to).await?;
    let bodies = log.bodies_between(from, to).await?;
    let mut bodies = bodies.into_iter().peekable();
    let mut found = Vec::with_capacity(leaves.len());
    for bytes in leaves {
        let leaf = Leaf::parse(&bytes)?;
        while bodies.next_if(|(index, _)| *index < leaf.index()).is_some() {}
        let own = bodies.next_if(|(index, _)| *index == leaf.index());
        found.push(Summary::of(&leaf, &own.map(|(_, bodies)| bodies.slots).unwrap_or_default()));
    }
    Ok(found)
}

/// How the gateway stands.
fn stands(app: &App) -> Standing {
    let now = app.now();
    let mut skews = app.stamps.as_ref().map(|stamps| stamps.skews()).unwrap_or_default();
    let quorum = app.witnesses.as_ref().map(|witnesses| witnesses.quorum(now));
    if let Some(quorum) = &quorum {
        skews.extend(quorum.parties.iter().filter_map(|party| Some((party.name.clone(), party.skew?))));
    }
    Standing {
        behind_log: app.store.status().last_commit.map_or(Duration::ZERO, |at| at.since(now)),
        other_clock: skews.into_iter().max_by_key(|(_, skew)| *skew),
        no_quorum_since: quorum.filter(|quorum| quorum.alarm).map(|quorum| quorum.reached),
        no_timestamp_since: app.stamps.as_ref().map(|stamps| stamps.late(now)).unwrap_or_default(),
        agreement_ends: Some(app.policy_at(now).agreement.until),
    }
}

/// Sends a receiver what is due, until told to stop.
pub async fn deliver(app: Arc<App>, name: String, mut stop: Stop) {
    let (Some(hook), Some(fetcher)) = (app.alerts.settings.webhooks.get(&name), &app.alerts.fetcher) else {
        return;
    };
    let mut ticks = tokio::time::interval(app.alerts.settings.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        let due = match app.store.read().due(&name, app.now(), ROUND).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "alerts that are due could not be read");
                continue;
            }
        };
        for due in due {
            if stop.is_called() {
                return;
            }
            let record = match send(&app, (name.as_str(), hook), fetcher, &due).await {
                Ok(()) => Record::Delivered { hook: name.clone(), alert: due.alert, at: app.now() },
                Err(error) => {
                    tracing::warn!(webhook = name, alert = %due.alert, error, "an alert was not taken; it is sent again");
                    let due_again = app.now().plus(pause(due.attempts, app.random()));
                    Record::Attempted { hook: name.clone(), alert: due.alert, due: due_again }
                }
            };
            // Not kept means sent again: at least once.
            if let Err(error) = app.store.keep(vec![record]).await {
                tracing::warn!(%error, "that an alert was sent could not be kept");
            }
        }
    }
}

async fn send(app: &App, (name, hook): (&str, &Webhook), fetcher: &Fetcher, due: &Due) -> Result<(), String> {
    let alert: Value = serde_json::from_str(&due.body).map_err(|error| error.to_string())?;
    let gateway = app.in_force.load().registry.gateway.clone();
    let audience = hook.agency.as_ref().map_or(name, |agency| agency.as_str());
    let signed = wire::alert_jws(&alert, (gateway.as_str(), audience), &*app.seal, app.now());
    let signed = signed.map_err(|error| error.to_string())?;
    let answer = fetcher.post_as("application/jose", &hook.url, Bytes::from(signed)).await;
    match answer.map_err(|error| error.to_string())?.status {
        200..=299 => Ok(()),
        status => Err(format!("answered {status}")),
    }
}

/// Twice as long each time, up to an hour, and up to a quarter more, so that receivers are not all asked at once.
fn pause(attempts: u64, [random]: [u8; 1]) -> Duration {
    let doubled = 2_u32.saturating_pow(u32::try_from(attempts).unwrap_or(u32::MAX));
    let pause = RETRY_FIRST.saturating_mul(doubled).min(RETRY_LAST);
    pause + pause.mul_f64(f64::from(random) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_apart_up_to_an_hour() {
        assert_eq!(pause(0, [0]), Duration::from_secs(5));
        assert_eq!(pause(3, [0]), Duration::from_secs(40));
        assert_eq!(pause(60, [0]), RETRY_LAST);
        assert!(pause(60, [255]) < RETRY_LAST.mul_f64(1.25));
        assert!(pause(u64::MAX, [1]) > RETRY_LAST);
    }
}

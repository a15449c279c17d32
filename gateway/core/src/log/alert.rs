//! What a person must look at: found in the entries as they come, and in how the gateway stands.
//!
//! Pure: entries and times are arguments, and what was seen is all that is remembered. An alert's identifier follows from
//! what it is about and the day, so that whoever looks at the same entries again finds the same alerts, each once.
//! An alert names no person: it names entries, and whoever may look finds the person there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::hash::Sha256;
use crate::id::{AgencyId, OperatorId, Pseudonym, PurposeId};
use crate::log::entry::Kind;
use crate::log::summary::Summary;
use crate::time::{Timestamp, rome};

mod standing;
mod words;

pub use standing::{Standing, standing};

/// What is counted is counted over so long.
pub const WINDOW: Duration = Duration::from_secs(86_400);

/// Entries an alert names: enough to look, few enough to send.
const ENTRIES_MAX: usize = 100;

/// People, operators and agencies counted at a time. Beyond it those that were quiet longest are forgotten: 65,536 keys
/// are some 10 MB, and a day of the whole country has fewer operators.
const KEYS_MAX: usize = 65_536;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// An agreement ends.
    AgreementEnds,
    /// A purpose that is for emergencies was used.
    BreakGlass,
    /// The gateway's clock cannot be right.
    Clock,
    /// One operator looked up many people.
    MassLookups,
    /// Exchanges ended without a receipt.
    MissingReceipts,
    /// The witnesses do not cosign.
    NoQuorum,
    /// The time stamping authorities give no stamp.
    NoTimestamp,
    /// One person is asked for again and again, and refused.
    RepeatedDenials,
    /// An operator asks at night or on a Sunday.
    UnusualHours,
}

/// From when on something is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Denials about one person asked by one agency, in a day.
    pub denials: usize,
    /// Different people one operator asks for, in a day.
    pub lookups: usize,
    /// Requests of one operator outside the hours, in a day.
    pub unusual: usize,
    /// The hours of Rome, from and until, at which people work. Sundays are outside.
    pub hours: (u8, u8),
    /// Exchanges of one agency that ended without a receipt, in a day.
    pub interrupted: usize,
    /// Purposes of which every use is told.
    pub break_glass: Vec<PurposeId>,
    /// How far two clocks may differ.
    pub clock: Duration,
}

impl Default for Thresholds {
    /// Three refusals about one person in a day are no mistake of typing. A case worker sees some thirty people a day; a hundred is
    /// a list. Ten requests outside the hours are a shift, not a forgotten window. A restart interrupts one or two.
    fn default() -> Self {
        Self {
            denials: 3,
            lookups: 100,
            unusual: 10,
            hours: (7, 20),
            interrupted: 3,
            break_glass: Vec::new(),
            clock: Duration::from_secs(60),
        }
    }
}

/// Something for a person to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The same for the same matter on the same day.
    pub id: Sha256,
    pub about: Subject,
    pub at: Timestamp,
    /// The agencies whose officers must know; empty: whoever runs the gateway.
    pub to: BTreeSet<AgencyId>,
    /// How many, and from how many on it is told.
    pub count: usize,
    pub threshold: usize,
    /// Whose doing it is, where it is somebody's.
    pub agency: Option<AgencyId>,
    pub operator: Option<OperatorId>,
    pub purpose: Option<PurposeId>,
    /// The entries to look at, at most a hundred, the last ones.
    pub entries: Vec<u64>,
    /// What there is to say in words beyond that.
    pub detail: String,
}

impl Alert {
    /// As it is sent and shown.
    pub fn json(&self) -> Value {
        json!({
            "alert": self.id,
            "about": self.about,
            "at": self.at,
            "to": self.to,
            "count": self.count,
            "threshold": self.threshold,
            "agency": self.agency,
            "operator": self.operator,
            "purpose": self.purpose,
            "entries": self.entries,
            "reason": { "it": words::italian(self), "en": words::english(self) },
        })
    }
}

/// What was counted of one matter: instants and entries, the oldest first.
#[derive(Clone, Debug, Default)]
struct Count {
    seen: VecDeque<(Timestamp, u64)>,
    /// Whose data it was.
    owners: BTreeSet<AgencyId>,
}

impl Count {
    fn add(&mut self, entry: &Summary) -> usize {
        self.seen.push_back((entry.at, entry.index));
        self.owners.extend(entry.provider.clone());
        forget(&mut self.seen, entry.at);
        self.seen.len()
    }

    fn entries(&self) -> Vec<u64> {
        let skip = self.seen.len().saturating_sub(ENTRIES_MAX);
        self.seen.iter().skip(skip).map(|(_, index)| *index).collect()
    }
}

/// Different people, each with when it was last asked for and by which entry.
#[derive(Clone, Debug, Default)]
struct People {
    last: BTreeMap<Pseudonym, (Timestamp, u64)>,
    owners: BTreeSet<AgencyId>,
}

fn forget(seen: &mut VecDeque<(Timestamp, u64)>, now: Timestamp) {
    while seen.front().is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
        seen.pop_front();
    }
}

type Person = (AgencyId, Pseudonym);
type Worker = (AgencyId, OperatorId);

/// Looks at entries in the order of the log.
#[derive(Clone, Debug)]
pub struct Detector {
    thresholds: Thresholds,
    denials: BTreeMap<Person, Count>,
    lookups: BTreeMap<Worker, People>,
    unusual: BTreeMap<Worker, Count>,
    interrupted: BTreeMap<AgencyId, Count>,
    /// What was told, and on which day.
    told: BTreeMap<Sha256, Timestamp>,
}

impl Detector {
    pub fn new(thresholds: Thresholds) -> Self {
        let (denials, lookups, unusual) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { thresholds, denials, lookups, unusual, interrupted: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Purposes that the agreement in force gives for emergencies, besides those that were configured.
    pub fn also_break_glass(&mut self, purposes: impl IntoIterator<Item = PurposeId>) {
        for purpose in purposes {
            if !self.thresholds.break_glass.contains(&purpose) {
                self.thresholds.break_glass.push(purpose);
            }
        }
    }

    /// Takes the next entry and gives back what there is to tell. To know what a new detector should, show it the
    /// entries of the [`WINDOW`] before.
    pub fn see(&mut self, entry: &Summary) -> Vec<Alert> {
        let mut alerts = Vec::new();
        alerts.extend(self.repeated_denials(entry));
        alerts.extend(self.mass_lookups(entry));
        alerts.extend(self.unusual_hours(entry));
        alerts.extend(self.missing_receipts(entry));
        alerts.extend(self.break_glass(entry));
        let told = &mut self.told;
        alerts.retain(|alert| told.insert(alert.id, alert.at).is_none());
        self.tidy(entry.at);
        alerts
    }

    fn repeated_denials(&mut self, entry: &Summary) -> Option<Alert> {
        let (consumer, subject) = (entry.consumer.clone()?, entry.whose.subject.clone()?);
        if entry.kind != Kind::Denial {
            return None;
        }
        let key = [consumer.as_str(), subject.as_str()].join(" ");
        let seen = self.denials.entry((consumer.clone(), subject)).or_default();
        let count = seen.add(entry);
        let threshold = self.thresholds.denials;
        (count >= threshold).then(|| {
            let mut to = seen.owners.clone();
            to.insert(consumer);
            let entries = seen.entries();
            Alert {
                to,
                entries,
                operator: None,
                ..about(Subject::RepeatedDenials, &key, entry, (count, threshold))
            }
        })
    }

    fn mass_lookups(&mut self, entry: &Summary) -> Option<Alert> {
        let (worker, subject) = (worker(entry)?, entry.whose.subject.clone()?);
        if !asks(entry.kind) {
            return None;
        }
        let key = [worker.0.as_str(), worker.1.as_str()].join(" ");
        let agency = worker.0.clone();
        let people = self.lookups.entry(worker).or_default();
        people.last.insert(subject, (entry.at, entry.index));
        people.owners.extend(entry.provider.clone());
        let threshold = self.thresholds.lookups;
        if people.last.len() < threshold {
            return None;
        }
        people.last.retain(|_, (at, _)| entry.at.since(*at) < WINDOW);
        let count = people.last.len();
        (count >= threshold).then(|| {
            let mut to = people.owners.clone();
            to.insert(agency);
            let mut entries: Vec<u64> = people.last.values().map(|(_, index)| *index).collect();
            entries.sort_unstable();
            let entries = entries.split_off(entries.len().saturating_sub(ENTRIES_MAX));
            Alert { to, entries, ..about(Subject::MassLookups, &key, entry, (count, threshold)) }
        })
    }

    fn unusual_hours(&mut self, entry: &Summary) -> Option<Alert> {
        let worker = worker(entry)?;
        if !asks(entry.kind) || is_usual(entry.at, self.thresholds.hours) {
            return None;
        }
        let key = [worker.0.as_str(), worker.1.as_str()].join(" ");
        let to = BTreeSet::from([worker.0.clone()]);
        let seen = self.unusual.entry(worker).or_default();
        let (count, threshold) = (seen.add(entry), self.thresholds.unusual);
        (count >= threshold).then(|| {
            let entries = seen.entries();
            Alert { to, entries, ..about(Subject::UnusualHours, &key, entry, (count, threshold)) }
        })
    }

    fn missing_receipts(&mut self, entry: &Summary) -> Option<Alert> {
        let consumer = entry.consumer.clone().filter(|_| entry.kind == Kind::Interrupted)?;
        let seen = self.interrupted.entry(consumer.clone()).or_default();
        let (count, threshold) = (seen.add(entry), self.thresholds.interrupted);
        (count >= threshold).then(|| {
            let (key, entries) = (consumer.to_string(), seen.entries());
            let to = BTreeSet::from([consumer]);
            let alert = about(Subject::MissingReceipts, &key, entry, (count, threshold));
            Alert { to, entries, operator: None, ..alert }
        })
    }

    fn break_glass(&self, entry: &Summary) -> Option<Alert> {
        let purpose = entry.purpose.as_ref()?;
        if !asks(entry.kind) || !self.thresholds.break_glass.contains(purpose) {
            return None;
        }
        let to = entry.provider.iter().chain(&entry.consumer).cloned().collect();
        let purpose = Some(purpose.clone());
        let key = entry.index.to_string();
        Some(Alert { to, purpose, ..about(Subject::BreakGlass, &key, entry, (1, 1)) })
    }

    /// Forgets what can no longer count.
    fn tidy(&mut self, now: Timestamp) {
        let quiet = |count: &Count| count.seen.back().is_none_or(|(at, _)| now.since(*at) >= WINDOW);
        if self.denials.len() > KEYS_MAX {
            self.denials.retain(|_, count| !quiet(count));
            while self.denials.len() > KEYS_MAX && self.denials.pop_first().is_some() {}
        }
        if self.unusual.len() > KEYS_MAX {
            self.unusual.retain(|_, count| !quiet(count));
            while self.unusual.len() > KEYS_MAX && self.unusual.pop_first().is_some() {}
        }
        if self.lookups.len() > KEYS_MAX {
            let active = |(at, _): &(Timestamp, u64)| now.since(*at) < WINDOW;
            self.lookups.retain(|_, people| people.last.values().any(active));
            while self.lookups.len() > KEYS_MAX && self.lookups.pop_first().is_some() {}
        }
        if self.told.len() > KEYS_MAX {
            self.told.retain(|_, at| now.since(*at) < WINDOW * 2);
            while self.told.len() > KEYS_MAX && self.told.pop_first().is_some() {}
        }
    }
}

/// Whether an entry of this kind tells that somebody asked for a record.
const fn asks(kind: Kind) -> bool {
    matches!(kind, Kind::Denial | Kind::Disclosure | Kind::Failure)
}

fn worker(entry: &Summary) -> Option<Worker> {
    Some((entry.who.agency.clone().or_else(|| entry.consumer.clone())?, entry.who.operator.clone()?))
}

/// Whether people work at that time in Rome.
pub fn is_usual(at: Timestamp, (from, until): (u8, u8)) -> bool {
    let there = rome(at);
    let hour = there.seconds().rem_euclid(86_400) / 3600;
    let sunday = there.date().weekday().number_days_from_sunday() == 0;
    !sunday && (i64::from(from)..i64::from(until)).contains(&hour)
}

/// An alert about one entry, to be completed.
fn about(subject: Subject, key: &str, entry: &Summary, (count, threshold): (usize, usize)) -> Alert {
    Alert {
        id: identifier(subject, key, entry.at),
        about: subject,
        at: entry.at,
        to: BTreeSet::new(),
        count,
        threshold,
        agency: entry.who.agency.clone().or_else(|| entry.consumer.clone()),
        operator: entry.who.operator.clone(),
        purpose: None,
        entries: vec![entry.index],
        detail: String::new(),
    }
}

/// The day is that of Rome: a matter that goes on is told again the next morning, not in the middle of the night.
fn identifier(subject: Subject, key: &str, at: Timestamp) -> Sha256 {
    let day = rome(at).date().to_string();
    let subject = json!(subject);
    let subject = subject.as_str().unwrap_or_default();
    Sha256::of_parts(&[b"varco/alert/v1\0", subject.as_bytes(), b"\0", key.as_bytes(), b"\0", day.as_bytes()])
}

#[cfg(test)]
mod tests;

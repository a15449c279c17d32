//! What a batch of submissions comes to, given what the database holds: decided here, purely, before anything is written.
//!
//! Submissions take effect in the order they came: a change made by one is seen by the guard of the next. Each stands
//! or falls alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, ExchangeId, Pseudonym};
use varco_core::log::entry::{Draft, Erases, Kind, Slots};
use varco_core::log::leaf::Leaf;
use varco_core::parcel::{Custody, ParcelChange};
use varco_core::signal::SignalChange;
use varco_core::time::Timestamp;

use crate::submission::{
    AppendError, Artifact, Branch, Change, Found, Guard, Held, Hold, Keeping, StreamEpoch, StreamKind,
    Submission, Wanted,
};

/// An order to erase covers at most as many entries as one bundle of tiles: the transaction stays under a second.
const ERASED_MAX: u64 = 65_536;

/// What the database holds of everything the batch names.
#[derive(Debug, Default)]
pub struct Known {
    /// Entries with an id of the batch.
    pub entries: HashSet<(String, String)>,
    /// Streams the batch names that exist.
    pub streams: HashMap<String, StreamHead>,
    /// What may not be erased, when the batch erases or changes that.
    pub holds: Vec<Held>,
    /// Of the people the batch asks about, the streams that decide about them.
    pub found: HashMap<String, Vec<StreamEpoch>>,
}

impl Known {
    /// What there is of what a claim wants.
    pub fn found(&self, wanted: &Wanted) -> Found {
        let of_people =
            wanted.subjects.iter().filter_map(|subject| self.found.get(subject.as_str())).flatten();
        let named = wanted.streams.iter().filter_map(|stream| {
            let head = self.streams.get(stream)?;
            Some(StreamEpoch { stream: stream.clone(), epoch: head.epoch })
        });
        let mut found = Found { of_subjects: of_people.cloned().collect(), named: named.collect() };
        found.of_subjects.sort_unstable();
        found.of_subjects.dedup();
        found
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHead {
    pub kind: StreamKind,
    pub epoch: u64,
}

/// What becomes of one submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The entry at this position of the batch.
    Entered {
        position: usize,
        branch: Branch,
        /// Where its further entries are.
        also: Vec<usize>,
    },
    Refused(AppendError),
}

/// An entry to write.
#[derive(Debug)]
pub struct Entry<'a> {
    pub leaf: Leaf,
    pub slots: &'a Slots,
    pub subjects: &'a [Pseudonym],
    pub keeping: Keeping,
}

/// A stream as it is after the batch.
#[derive(Debug)]
pub struct Changed<'a> {
    pub head: StreamHead,
    pub header: Option<&'a str>,
}

#[derive(Debug)]
pub struct Event<'a> {
    pub stream: &'a str,
    pub seq: u64,
    pub text: &'a str,
}

/// Everything a batch writes.
#[derive(Debug)]
pub struct Plan<'a> {
    first: u64,
    at: Timestamp,
    known: Known,
    open: &'a HashSet<ExchangeId>,
    pub entries: Vec<Entry<'a>>,
    pub streams: BTreeMap<&'a str, Changed<'a>>,
    pub events: Vec<Event<'a>>,
    /// Stream and the person it is found by.
    pub found_by: BTreeSet<(&'a Pseudonym, &'a str)>,
    /// Streams and the agencies they wait for from now on.
    pub waits: BTreeMap<&'a str, &'a [AgencyId]>,
    pub artifacts: BTreeMap<Sha256, &'a Artifact>,
    pub closes: BTreeSet<&'a ExchangeId>,
    /// What is ordered to be erased, and whether it is not served any more either.
    pub erases: Vec<(Kind, &'a Erases)>,
    pub holds: Vec<&'a Hold>,
    pub parcels: Vec<&'a ParcelChange>,
    pub signals: Vec<&'a SignalChange>,
}

impl<'a> Plan<'a> {
    /// A batch whose first entry has index `first` and all of whose entries have the time `at`. `open` are the claims
    /// without an outcome.
    pub const fn new(first: u64, at: Timestamp, known: Known, open: &'a HashSet<ExchangeId>) -> Self {
        Self {
            first,
            at,
            known,
            open,
            entries: Vec::new(),
            streams: BTreeMap::new(),
            events: Vec::new(),
            found_by: BTreeSet::new(),
            waits: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            closes: BTreeSet::new(),
            erases: Vec::new(),
            holds: Vec::new(),
            parcels: Vec::new(),
            signals: Vec::new(),
        }
    }

    /// The time of all its entries.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Takes one submission in with its further entries, or nothing of it.
    pub fn add(&mut self, submission: &'a Submission) -> Verdict {
        let mut names = HashSet::new();
        if let Err(fault) = submission.all().try_for_each(|one| self.admits(one, &mut names)) {
            return Verdict::Refused(fault);
        }
        let (position, branch) = self.take(submission);
        let also = submission.also.iter().map(|one| self.take(one).0).collect();
        Verdict::Entered { position, branch, also }
    }

    fn branch(&self, submission: &Submission) -> Branch {
        match &submission.guard {
            Some(guard) if !self.holds(guard) => Branch::Fallback,
            Some(_) | None => Branch::Primary,
        }
    }

    /// Everything that can refuse a submission. `names` are those of the entries before it in its group.
    fn admits(
        &self,
        submission: &'a Submission,
        names: &mut HashSet<(String, String)>,
    ) -> Result<(), AppendError> {
        let branch = self.branch(submission);
        let draft = drafted(submission, branch);
        if let Some(exchange) = &submission.closes
            && (!self.open.contains(exchange) || self.closes.contains(exchange))
        {
            return Err(AppendError::ClaimGone);
        }
        let name = name(draft);
        if self.known.entries.contains(&name) || !names.insert(name) {
            return Err(AppendError::Duplicate);
        }
        if let Some(erases) = &draft.erases {
            if erases.last().saturating_sub(erases.first()) >= ERASED_MAX {
                return Err(AppendError::Invalid("an order to erase covers too many entries"));
            }
            // What it erases must be there to be seen before the order is.
            if erases.last() >= self.next() {
                return Err(AppendError::Invalid("an order to erase must reach back only"));
            }
        }
        self.may(draft.erases.as_ref(), submission.hold.as_ref())?;
        if branch == Branch::Primary { self.fits(&submission.changes) } else { Ok(()) }
    }

    /// INVARIANT: it was admitted. Nothing fails here.
    fn take(&mut self, submission: &'a Submission) -> (usize, Branch) {
        let branch = self.branch(submission);
        let draft = drafted(submission, branch);
        let leaf = draft.leaf(self.next(), self.at);
        if branch == Branch::Primary {
            self.change(&submission.changes);
            self.artifacts.extend(submission.artifacts.iter().map(|artifact| (artifact.sha256(), artifact)));
            self.parcels.extend(&submission.parcels);
            self.signals.extend(&submission.signals);
        }
        self.known.entries.insert(name(draft));
        self.closes.extend(&submission.closes);
        self.erases.extend(draft.erases.as_ref().map(|erases| (draft.kind, erases)));
        self.hold(submission.hold.as_ref());
        let keeping = submission.keeping(draft.kind);
        self.entries.push(Entry { leaf, slots: &draft.slots, subjects: &submission.subjects, keeping });
        (self.entries.len() - 1, branch)
    }

    /// Whether bytes are deleted that may still be readable in SQLite's WAL.
    pub fn deletes(&self) -> bool {
        let goes = |change: &&ParcelChange| matches!(change.custody, Custody::Bury | Custody::Remove);
        let ends = |change: &&SignalChange| matches!(change, SignalChange::End { .. });
        !self.erases.is_empty() || self.parcels.iter().any(goes) || self.signals.iter().any(ends)
    }

    /// The index of the next entry.
    fn next(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.entries.len()).unwrap_or(u64::MAX))
    }

    /// Nothing under a hold is erased, and a hold is placed and lifted once.
    fn may(&self, erases: Option<&Erases>, hold: Option<&Hold>) -> Result<(), AppendError> {
        let holds = &self.known.holds;
        let held = |erases: &Erases| {
            let covers = |held: &&Held| held.first <= erases.last() && erases.first() <= held.last;
            holds.iter().find(covers)
        };
        if let Some(held) = erases.and_then(held) {
            return Err(AppendError::Held(held.id.clone()));
        }
        let is_placed = |id: &String| holds.iter().any(|held| held.id == *id);
        match hold {
            Some(Hold::Lift { id }) if !is_placed(id) => Err(AppendError::HoldUnknown(id.clone())),
            Some(Hold::Place { id, .. }) if is_placed(id) => Err(AppendError::Duplicate),
            Some(Hold::Lift { .. } | Hold::Place { .. }) | None => Ok(()),
        }
    }

    fn hold(&mut self, hold: Option<&'a Hold>) {
        match hold {
            Some(Hold::Lift { id }) => self.known.holds.retain(|held| held.id != *id),
            Some(Hold::Place { id, ranges }) => {
                let held = |(first, last): &(u64, u64)| Held { id: id.clone(), first: *first, last: *last };
                self.known.holds.extend(ranges.iter().map(held));
            }
            None => {}
        }
        self.holds.extend(hold);
    }

    fn holds(&self, guard: &Guard) -> bool {
        guard.epochs.iter().all(|(stream, epoch)| self.epoch(stream) == *epoch)
    }

    fn epoch(&self, stream: &str) -> u64 {
        self.known.streams.get(stream).map_or(0, |head| head.epoch)
    }

    /// Whether all changes of one submission can be made, one after the other.
    fn fits(&self, changes: &[Change]) -> Result<(), AppendError> {
        let mut after: HashMap<&str, u64> = HashMap::new();
        for change in changes {
            let id = change.stream.as_str();
            let same_kind = self.known.streams.get(id).is_none_or(|head| head.kind == change.kind);
            let epoch = after.get(id).copied().unwrap_or_else(|| self.epoch(id));
            if !same_kind || epoch != change.expected {
                return Err(AppendError::Conflict(change.kind));
            }
            after.insert(id, epoch + 1);
        }
        Ok(())
    }

    fn change(&mut self, changes: &'a [Change]) {
        for change in changes {
            let id = change.stream.as_str();
            let head = StreamHead { kind: change.kind, epoch: change.expected + 1 };
            self.known.streams.insert(id.to_owned(), head);
            let changed = self.streams.entry(id).or_insert(Changed { head, header: None });
            changed.head = head;
            changed.header = change.header.as_deref().or(changed.header);
            self.events.push(Event { stream: id, seq: head.epoch, text: &change.event });
            self.found_by.extend(change.subjects.iter().map(|subject| (subject, id)));
            self.waits.extend(change.waits_for.iter().map(|agencies| (id, agencies.as_slice())));
        }
    }
}

fn name(draft: &Draft) -> (String, String) {
    (draft.id.as_str().to_owned(), draft.kind.text().to_owned())
}

const fn drafted(submission: &Submission, branch: Branch) -> &Draft {
    match (&submission.guard, branch) {
        (Some(guard), Branch::Fallback) => &guard.fallback,
        (Some(_) | None, _) => &submission.draft,
    }
}

/// What the database would refuse, and would fail a whole batch for, is refused before it is queued.
pub fn check(submission: &Submission) -> Result<(), AppendError> {
    submission.all().try_for_each(check_one)?;
    let stands_alone = |one: &Submission| {
        one.closes.is_none()
            && one.artifacts.is_empty()
            && one.also.is_empty()
            && !one.draft.kind.orders_erasure()
    };
    if submission.also.len() > Submission::ALSO_MAX || !submission.also.iter().all(stands_alone) {
        return Err(AppendError::Invalid("further entries are too many, or more than entries"));
    }
    let mut streams = HashSet::new();
    let own = |one: &Submission| -> BTreeSet<String> {
        one.changes.iter().map(|change| change.stream.clone()).collect()
    };
    if !submission.all().flat_map(own).all(|stream| streams.insert(stream)) {
        return Err(AppendError::Invalid("two entries change one stream"));
    }
    Ok(())
}

fn check_one(submission: &Submission) -> Result<(), AppendError> {
    let guard = submission.guard.as_ref();
    let drafts = [Some(&submission.draft), guard.map(|guard| &guard.fallback)];
    drafts.into_iter().flatten().try_for_each(check_draft).map_err(AppendError::Invalid)?;
    let too_many = submission.changes.len() > Submission::CHANGES_MAX
        || submission.parcels.len() > Submission::CHANGES_MAX
        || submission.signals.len() > Submission::SIGNALS_MAX
        || submission.subjects.len() > Submission::SUBJECTS_MAX
        || guard.is_some_and(|guard| guard.epochs.len() > Submission::EPOCHS_MAX)
        || submission.changes.iter().any(|change| change.subjects.len() > Submission::SUBJECTS_MAX);
    if too_many {
        return Err(AppendError::Invalid("too many changes, epochs or subjects"));
    }
    let fits = |text: &str| text.len() <= Submission::TEXT_MAX && is_text(text);
    if !submission.changes.iter().all(|change| {
        fits(&change.stream) && fits(&change.event) && change.header.as_deref().is_none_or(fits)
    }) {
        return Err(AppendError::Invalid("a text of a stream is too long or has a zero byte"));
    }
    if submission.changes.iter().any(|change| change.expected >= u64::from(u32::MAX)) {
        return Err(AppendError::Invalid("an epoch that no stream reaches"));
    }
    check_hold(submission.hold.as_ref()).map_err(AppendError::Invalid)?;
    if submission.artifacts.iter().any(|artifact| artifact.bytes.len() > Submission::ARTIFACT_MAX) {
        return Err(AppendError::Invalid("an artifact is too long"));
    }
    let is_large = |change: &ParcelChange| match &change.custody {
        Custody::Keep { locked, .. } => locked.copy.len() > Submission::COPY_MAX,
        Custody::Bury | Custody::Hold { .. } | Custody::Remove | Custody::Wait { .. } => false,
    };
    if submission.parcels.iter().any(is_large) {
        return Err(AppendError::Invalid("a copy is too long"));
    }
    Ok(())
}

fn check_hold(hold: Option<&Hold>) -> Result<(), &'static str> {
    let Some(Hold::Place { ranges, .. }) = hold else { return Ok(()) };
    if ranges.is_empty() || ranges.len() > Submission::RANGES_MAX {
        return Err("a hold has no ranges or too many");
    }
    let follows = |pair: &[(u64, u64)]| matches!(pair, [a, b] if a.1 < b.0);
    if !ranges.iter().all(|(first, last)| first <= last && *last <= varco_core::log::leaf::INDEX_MAX)
        || !ranges.windows(2).all(follows)
    {
        return Err("the ranges of a hold must be in order and apart");
    }
    Ok(())
}

/// What one question may ask for at most.
pub fn check_wanted(wanted: &Wanted) -> Result<(), &'static str> {
    if wanted.subjects.len() > Wanted::SUBJECTS_MAX || wanted.streams.len() > Wanted::STREAMS_MAX {
        return Err("a claim asks for too many documents");
    }
    Ok(())
}

/// The same for one draft.
pub fn check_draft(draft: &Draft) -> Result<(), &'static str> {
    if draft.slots.iter().any(|(_, slot)| slot.body.len() > varco_core::log::entry::Slot::MAX) {
        return Err("a slot is too long");
    }
    if !draft.slots.iter().all(|(_, slot)| is_text(&slot.body)) {
        return Err("a slot has a zero byte");
    }
    if draft.erases.is_some() != draft.kind.orders_erasure() {
        return Err("only orders to erase erase");
    }
    Ok(())
}

/// PostgreSQL texts cannot hold a zero byte.
fn is_text(text: &str) -> bool {
    !text.as_bytes().contains(&0)
}

/// The entry to write when an exchange never gets an outcome.
pub fn check_interrupted(draft: &Draft, exchange: &ExchangeId) -> Result<(), &'static str> {
    if draft.kind != Kind::Interrupted || draft.id != *exchange {
        return Err("the entry to write after a crash is of another kind or exchange");
    }
    check_draft(draft)
}

/// The entries and streams that a batch names.
pub fn names<'a>(submissions: &[&'a Submission]) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let (mut ids, mut streams) = (BTreeSet::new(), BTreeSet::new());
    for submission in submissions.iter().flat_map(|submission| submission.all()) {
        ids.insert(submission.draft.id.as_str());
        streams.extend(submission.changes.iter().map(|change| change.stream.as_str()));
        if let Some(guard) = &submission.guard {
            ids.insert(guard.fallback.id.as_str());
            streams.extend(guard.epochs.iter().map(|(stream, _)| stream.as_str()));
        }
    }
    (ids, streams)
}

#[cfg(test)]
mod tests;

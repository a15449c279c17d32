//! The audit of a whole log: every leaf, every body, every claim that was signed about it.
//!
//! Feed it the entries in order, as they lie in storage, and it tells what is true of each. It trusts nothing it is
//! given except the heads to compare with, whose signatures the caller has checked.
//!
//! Reading and hashing an entry ([`examine`]) needs nothing but that entry, so that it can be done for many at once;
//! [`Audit::take`] then takes them in order.

use std::collections::BTreeMap;

use crate::hash::Sha256;
use crate::log::checkpoint::Checkpoint;
use crate::log::entry::{Erases, Kind, SlotName, Slots};
use crate::log::leaf::Leaf;
use crate::log::shard::Link;
use crate::log::tree::{Frontier, Head, leaf_hash};
use crate::time::Timestamp;

mod orders;

use orders::Orders;

/// One entry as storage holds it.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    pub index: u64,
    pub leaf: &'a [u8],
    /// The leaf hash that storage keeps beside the leaf: it shows which leaf was changed, where the root alone only
    /// shows that one was.
    pub leaf_hash: Option<Sha256>,
    pub slots: &'a Slots,
    /// Bodies that are there but cannot be read here: they count as there, unchecked.
    pub sealed: &'a [SlotName],
    /// Bodies that are there and are not what was sealed.
    pub damaged: &'a [SlotName],
}

/// What is true of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A body is not the one the leaf commits to, or the leaf commits to none.
    BodyTampered(SlotName),
    /// Bodies are gone, and the entry at this index ordered it.
    ErasedByOrder(u64),
    /// A body is gone and no later entry ordered it.
    ErasedWithoutOrder(SlotName),
    /// The leaf is not what was logged at this index.
    LeafTampered,
    /// There is no such entry.
    Missing,
    Ok,
    /// The entry is not served any more, and the entry at this index ordered it. Its hash is in the tree.
    PrunedByOrder(u64),
}

impl Verdict {
    /// Whether the entry is as it may be.
    pub const fn is_sound(self) -> bool {
        matches!(self, Self::Ok | Self::ErasedByOrder(_) | Self::PrunedByOrder(_))
    }
}

/// The same verdict on the entries `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    pub first: u64,
    pub last: u64,
    pub verdict: Verdict,
}

/// What is true of a head that was signed at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadVerdict {
    /// It speaks of more entries than there are.
    Beyond,
    /// The entries give this root at that size.
    Differs(Sha256),
    Ok,
    /// An entry before it is missing, so that nothing can be said.
    Unknown,
}

/// The outcome of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Entries from the first to the last that was there.
    pub size: u64,
    /// The root over them; `None` when one is missing.
    pub root: Option<Sha256>,
    /// How many entries are [`Verdict::Ok`].
    pub intact: u64,
    /// How many of them have bodies that could not be read here.
    pub unread: u64,
    /// How many entries with a sound leaf there are of each kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Every other verdict, in order of index.
    pub findings: Vec<Finding>,
    /// Entries whose time is before that of the entry before them.
    pub back_in_time: Vec<u64>,
    /// Entries at the end or the beginning of a shard that do not say what was before or comes after.
    pub broken_links: Vec<u64>,
    /// The heads to compare with, in order of size.
    pub heads: Vec<(Head, HeadVerdict)>,
    /// The time of the last entry.
    pub last_at: Option<Timestamp>,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict.is_sound())
            && self.heads.iter().all(|(_, verdict)| *verdict == HeadVerdict::Ok)
            && self.back_in_time.is_empty()
            && self.broken_links.is_empty()
            && self.root.is_some()
    }

    /// How many entries have a verdict that this picks.
    pub fn count(&self, pick: impl Fn(Verdict) -> bool) -> u64 {
        let picked = self.findings.iter().filter(|finding| pick(finding.verdict));
        picked.fold(0, |sum, finding| sum + (finding.last - finding.first + 1))
    }
}

/// An entry came out of order: the caller reads storage wrongly, or storage has an index twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {got} came where {expected} or a later one was due")]
pub struct OrderFault {
    pub expected: u64,
    pub got: u64,
}

/// What one entry shows by itself.
#[derive(Clone, Debug)]
pub struct Examined {
    index: u64,
    hash: Sha256,
    /// `None` when the leaf is not one, or not what was kept beside it.
    leaf: Option<Sound>,
}

/// An entry whose leaf is one.
#[derive(Clone, Debug)]
struct Sound {
    at: Timestamp,
    kind: Kind,
    order: Option<Erases>,
    link: Option<Link>,
    bodies: Bodies,
}

#[derive(Clone, Debug)]
enum Bodies {
    Gone(Vec<SlotName>),
    Tampered(SlotName),
    Unread,
    Whole,
}

impl Examined {
    /// The leaf's hash, over the bytes that were given.
    pub const fn hash(&self) -> Sha256 {
        self.hash
    }

    pub const fn index(&self) -> u64 {
        self.index
    }
}

/// Hashes and reads one entry and compares its bodies with what the leaf commits to. Costs some microseconds.
pub fn examine(stored: Stored<'_>) -> Examined {
    let hash = leaf_hash(stored.leaf);
    let recorded = stored.leaf_hash.is_none_or(|recorded| recorded == hash);
    let leaf = Leaf::parse(stored.leaf).ok().filter(|leaf| recorded && leaf.index() == stored.index);
    let leaf = leaf.map(|leaf| Sound {
        at: leaf.at(),
        kind: leaf.kind(),
        order: leaf.content().erases.clone().filter(|_| leaf.kind().orders_erasure()),
        link: leaf.content().link.clone(),
        bodies: bodies(&leaf, stored),
    });
    Examined { index: stored.index, hash, leaf }
}

fn bodies(leaf: &Leaf, stored: Stored<'_>) -> Bodies {
    let mut gone = Vec::new();
    for name in SlotName::ALL {
        let there = stored.sealed.contains(&name);
        match (leaf.content().commitments.commitment(name), stored.slots.slot(name)) {
            (Some(_) | None, _) if stored.damaged.contains(&name) => return Bodies::Tampered(name),
            (Some(_), None) if there => {}
            (None, None) if !there => {}
            (Some(_), None) => gone.push(name),
            (Some(committed), Some(slot)) if slot.commitment() == committed => {}
            (_, Some(_)) | (None, None) => return Bodies::Tampered(name),
        }
    }
    match (gone.is_empty(), stored.sealed.is_empty()) {
        (true, true) => Bodies::Whole,
        (true, false) => Bodies::Unread,
        (false, _) => Bodies::Gone(gone),
    }
}

/// An audit under way. Its memory grows with the number of findings, not with the log.
#[derive(Clone, Debug)]
pub struct Audit {
    frontier: Frontier,
    /// How many entries are in the shards before this one.
    base: u64,
    /// What the last entry says of another shard.
    linked: Option<Link>,
    /// It is withheld.
    hidden: bool,
    /// What the next entry must say of the shard before.
    due: Option<Link>,
    broken_links: Vec<u64>,
    /// Where it began: 0, or in a part of a log its first entry.
    first: u64,
    /// The next index; equal to the frontier's size until an entry is missing.
    next: u64,
    last_at: Option<Timestamp>,
    intact: u64,
    unread: u64,
    kinds: BTreeMap<Kind, u64>,
    findings: Vec<Finding>,
    gone: Vec<Gone>,
    /// Runs of entries of which only the hash was given.
    withheld: Vec<(u64, u64)>,
    orders: Vec<(u64, Kind, Erases)>,
    back_in_time: Vec<u64>,
    heads: Vec<(Head, HeadVerdict)>,
    /// The heads of the shards before.
    passed: Vec<(Head, HeadVerdict)>,
}

/// A run of entries of one kind that lack the same bodies.
#[derive(Clone, Debug)]
struct Gone {
    first: u64,
    last: u64,
    kind: Kind,
    slots: Vec<SlotName>,
}

impl Audit {
    /// An audit against heads whose signatures were checked: the last checkpoint, the anchor, those in receipts.
    pub fn against(heads: &[Head]) -> Self {
        Self::part(Frontier::new(), heads)
    }

    /// An audit of a part of a log that begins after the tree of this frontier, which the caller has made from hashes
    /// it trusts.
    pub fn part(before: Frontier, heads: &[Head]) -> Self {
        let first = before.size();
        let mut heads: Vec<_> = heads.iter().map(|head| (*head, HeadVerdict::Beyond)).collect();
        heads.sort_by_key(|(head, _)| head.size);
        heads.dedup();
        let mut audit = Self {
            frontier: before,
            base: 0,
            linked: None,
            hidden: false,
            due: None,
            broken_links: Vec::new(),
            first,
            next: first,
            last_at: None,
            intact: 0,
            unread: 0,
            kinds: BTreeMap::new(),
            findings: Vec::new(),
            gone: Vec::new(),
            withheld: Vec::new(),
            orders: Vec::new(),
            back_in_time: Vec::new(),
            heads,
            passed: Vec::new(),
        };
        audit.compare_heads();
        audit
    }

    /// The same for a shard whose first leaf is the entry at this position of the whole history.
    #[must_use]
    pub fn beginning_at(mut self, base: u64) -> Self {
        self.base = base;
        self.next = self.next.saturating_add(base);
        self
    }

    /// [`examine`] and [`Audit::take`] in one.
    pub fn entry(&mut self, stored: Stored<'_>) -> Result<(), OrderFault> {
        self.take(examine(stored))
    }

    /// Takes the next entry. What is found about it now may still change: an order to erase comes after the entries
    /// it is about.
    pub fn take(&mut self, examined: Examined) -> Result<(), OrderFault> {
        let index = examined.index;
        if index < self.next {
            return Err(OrderFault { expected: self.next, got: index });
        }
        if index > self.next {
            self.found(Finding { first: self.next, last: index - 1, verdict: Verdict::Missing });
        }
        if self.position() == index {
            self.frontier.push(examined.hash);
        }
        self.next = index.saturating_add(1);
        self.hidden = false;
        self.linked = examined.leaf.as_ref().and_then(|sound| sound.link.clone());
        if let Some(due) = self.due.take()
            && self.linked.as_ref() != Some(&due)
        {
            self.broken_links.push(index);
        }
        match examined.leaf {
            Some(sound) => self.judge(index, sound),
            None => self.found_at(index, Verdict::LeafTampered),
        }
        self.compare_heads();
        Ok(())
    }

    /// The shard `origin` ends with the last entry taken, and the shard `next` begins with the next one, against these
    /// heads.
    pub fn turn(&mut self, origin: &str, next: &str, heads: &[Head]) {
        let last = self.next.saturating_sub(1);
        let says = self.hidden || self.linked == Some(Link::to(next));
        if !says || self.position() != self.next {
            self.broken_links.push(last);
        }
        let head =
            Checkpoint { origin: origin.to_owned(), size: self.frontier.size(), root: self.frontier.root() };
        self.due = Some(Link::after(&head));
        // What was signed beyond the end of a shard was signed for a log that does not exist.
        self.passed.append(&mut self.heads);
        self.heads = heads.iter().map(|head| (*head, HeadVerdict::Beyond)).collect();
        self.base = self.next;
        self.frontier = Frontier::new();
        self.compare_heads();
    }

    /// How many entries were taken without one missing.
    const fn position(&self) -> u64 {
        self.base.saturating_add(self.frontier.size())
    }

    /// The index of the next entry.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Takes the hash of the next entry, which is withheld: that is right only if a later entry ordered it.
    pub fn withheld(&mut self, hash: Sha256) {
        let index = self.next;
        // What an order has pruned cannot say it any more; the proofs at `/log/shards` still do.
        (self.linked, self.due, self.hidden) = (None, None, true);
        if self.position() == index {
            self.frontier.push(hash);
        }
        match self.withheld.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            Some(_) | None => self.withheld.push((index, index)),
        }
        self.next = index.saturating_add(1);
        self.compare_heads();
    }

    /// An order to erase that lies outside the part that is audited: the caller has checked that it is in the log.
    pub fn order(&mut self, leaf: &Leaf) {
        if let Some(erases) = leaf.content().erases.clone().filter(|_| leaf.kind().orders_erasure()) {
            self.orders.push((leaf.index(), leaf.kind(), erases));
        }
    }

    /// The report, once the last entry has been taken.
    pub fn finish(mut self) -> Report {
        let orders = Orders::of(std::mem::take(&mut self.orders));
        for gone in std::mem::take(&mut self.gone) {
            for index in gone.first..=gone.last {
                self.found_at(index, orders.verdict(index, &gone));
            }
        }
        for (first, last) in std::mem::take(&mut self.withheld) {
            for index in first..=last {
                let verdict = orders.pruned(index).map_or(Verdict::Missing, Verdict::PrunedByOrder);
                self.found_at(index, verdict);
            }
        }
        self.findings.sort_by_key(|finding| finding.first);
        let whole = self.position() == self.next;
        let here = self.next.saturating_sub(self.base);
        for (head, verdict) in &mut self.heads {
            // What was before the part is not known here.
            if *verdict == HeadVerdict::Beyond && (head.size <= here || head.size < self.first) {
                *verdict = HeadVerdict::Unknown;
            }
        }
        self.passed.append(&mut self.heads);
        if self.due.is_some() {
            self.broken_links.push(self.next);
        }
        Report {
            size: self.next,
            root: whole.then(|| self.frontier.root()),
            intact: self.intact,
            unread: self.unread,
            kinds: self.kinds,
            findings: self.findings,
            back_in_time: self.back_in_time,
            broken_links: self.broken_links,
            heads: self.passed,
            last_at: self.last_at,
        }
    }

    fn judge(&mut self, index: u64, sound: Sound) {
        if self.last_at.is_some_and(|last| sound.at < last) {
            self.back_in_time.push(index);
        }
        self.last_at = Some(sound.at);
        *self.kinds.entry(sound.kind).or_default() += 1;
        if let Some(erases) = sound.order {
            self.orders.push((index, sound.kind, erases));
        }
        match sound.bodies {
            Bodies::Gone(names) => self.lacks(index, sound.kind, names),
            Bodies::Tampered(name) => self.found_at(index, Verdict::BodyTampered(name)),
            Bodies::Unread => {
                self.intact += 1;
                self.unread += 1;
            }
            Bodies::Whole => self.intact += 1,
        }
    }

    fn lacks(&mut self, index: u64, kind: Kind, slots: Vec<SlotName>) {
        match self.gone.last_mut() {
            Some(run) if run.last + 1 == index && run.kind == kind && run.slots == slots => run.last = index,
            Some(_) | None => self.gone.push(Gone { first: index, last: index, kind, slots }),
        }
    }

    fn found_at(&mut self, index: u64, verdict: Verdict) {
        self.found(Finding { first: index, last: index, verdict });
    }

    fn found(&mut self, finding: Finding) {
        match self.findings.last_mut() {
            Some(run) if run.last + 1 == finding.first && run.verdict == finding.verdict => {
                run.last = finding.last;
            }
            Some(_) | None => self.findings.push(finding),
        }
    }

    fn compare_heads(&mut self) {
        let size = self.frontier.size();
        let mut at_this_size = self.heads.iter_mut().filter(|(head, _)| head.size == size).peekable();
        if at_this_size.peek().is_none() {
            return;
        }
        let root = self.frontier.root();
        for (head, verdict) in at_this_size {
            *verdict = if head.root == root { HeadVerdict::Ok } else { HeadVerdict::Differs(root) };
        }
    }
}

#[cfg(test)]
mod tests;

//! What is entered in the log: a draft, its three erasable bodies, and the commitments to them.
//!
//! A body (slot) says who, whose and why; the leaf in the tree holds only a salted commitment to it. Deleting a body
//! and its salt erases it for good and leaves every proof valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId, PurposeId, RecordTypeId};
use crate::json;
use crate::log::leaf::Leaf;
use crate::log::shard::Link;
use crate::time::Timestamp;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Somebody changed how the gateway runs.
    Admin,
    Case,
    Consent,
    /// Says that an earlier entry is wrong, and how.
    Correction,
    /// A waiting copy was handed over.
    Delivery,
    Denial,
    Disclosure,
    /// An order to delete bodies, entered before they are deleted.
    Erasure,
    Failure,
    /// The last entry of a log.
    Freeze,
    /// An exchange that a crash cut short.
    Interrupted,
    /// The first entry of a log.
    Open,
    Policy,
    /// An order to delete the bodies of entries whose time is over.
    Prune,
    /// Somebody read the log.
    Read,
    Registry,
}

/// The text is not one of the kinds of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a kind of entry such as `disclosure`")]
pub struct KindFault;

impl Kind {
    pub const ALL: [Self; 16] = [
        Self::Admin,
        Self::Case,
        Self::Consent,
        Self::Correction,
        Self::Delivery,
        Self::Denial,
        Self::Disclosure,
        Self::Erasure,
        Self::Failure,
        Self::Freeze,
        Self::Interrupted,
        Self::Open,
        Self::Policy,
        Self::Prune,
        Self::Read,
        Self::Registry,
    ];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Case => "case",
            Self::Consent => "consent",
            Self::Correction => "correction",
            Self::Delivery => "delivery",
            Self::Denial => "denial",
            Self::Disclosure => "disclosure",
            Self::Erasure => "erasure",
            Self::Failure => "failure",
            Self::Freeze => "freeze",
            Self::Interrupted => "interrupted",
            Self::Open => "open",
            Self::Policy => "policy",
            Self::Prune => "prune",
            Self::Read => "read",
            Self::Registry => "registry",
        }
    }

    /// The bodies of these kinds say how the log itself and its rules came to be, and name no person: they are kept
    /// for ever, in the clear, so that every later reader can follow the rules.
    pub const fn keeps_bodies(self) -> bool {
        matches!(
            self,
            Self::Erasure | Self::Freeze | Self::Open | Self::Policy | Self::Prune | Self::Registry
        )
    }

    /// Only these kinds may order that bodies be deleted.
    pub const fn orders_erasure(self) -> bool {
        matches!(self, Self::Erasure | Self::Prune)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Kind {
    type Err = KindFault;

    fn from_str(text: &str) -> Result<Self, KindFault> {
        Self::ALL.into_iter().find(|kind| kind.text() == text).ok_or(KindFault)
    }
}

/// The three bodies of an entry, each of which can be erased alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotName {
    /// The inputs of the decision, for replay.
    Decision,
    /// Who asked, where, with which trace.
    Operator,
    /// Whose record: pseudonym and epoch of its key.
    Subject,
}

impl SlotName {
    pub const ALL: [Self; 3] = [Self::Decision, Self::Operator, Self::Subject];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Operator => "operator",
            Self::Subject => "subject",
        }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for SlotName {
    type Err = KindFault;

    fn from_str(text: &str) -> Result<Self, KindFault> {
        Self::ALL.into_iter().find(|name| name.text() == text).ok_or(KindFault)
    }
}

/// One body with its salt. Holds personal data: `Debug` tells only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Slot {
    /// 256 random bits: without them nobody can guess a body from its commitment.
    pub salt: [u8; 32],
    /// Canonical JSON, or a sealed text; at most [`Slot::MAX`] bytes.
    pub body: String,
}

impl Slot {
    /// 64 KiB: 256 fields of 64 bytes with their outcomes and reasons, and as much again for consents and facts.
    pub const MAX: usize = 64 * 1024;

    /// Commitments made here are commitments to nothing else.
    const DOMAIN: &[u8] = b"varco/log/slot/v1\0";

    pub fn new(salt: [u8; 32], body: &Value) -> Self {
        Self { salt, body: json::canonical(body) }
    }

    /// SHA-256 of `varco/log/slot/v1`, a zero byte, the salt and the body.
    pub fn commitment(&self) -> Sha256 {
        Sha256::of_parts(&[Self::DOMAIN, &self.salt, self.body.as_bytes()])
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({} bytes)", self.body.len())
    }
}

/// The bodies an entry has. A kind of entry without a subject has no subject slot, and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    pub decision: Option<Slot>,
    pub operator: Option<Slot>,
    pub subject: Option<Slot>,
}

impl Slots {
    pub const fn slot(&self, name: SlotName) -> Option<&Slot> {
        match name {
            SlotName::Decision => self.decision.as_ref(),
            SlotName::Operator => self.operator.as_ref(),
            SlotName::Subject => self.subject.as_ref(),
        }
    }

    pub fn set(&mut self, name: SlotName, slot: Slot) {
        match name {
            SlotName::Decision => self.decision = Some(slot),
            SlotName::Operator => self.operator = Some(slot),
            SlotName::Subject => self.subject = Some(slot),
        }
    }

    /// The slots that are there, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (SlotName, &Slot)> {
        SlotName::ALL.into_iter().filter_map(|name| self.slot(name).map(|slot| (name, slot)))
    }

    pub fn commitments(&self) -> Commitments {
        Commitments {
            decision: self.decision.as_ref().map(Slot::commitment),
            operator: self.operator.as_ref().map(Slot::commitment),
            subject: self.subject.as_ref().map(Slot::commitment),
        }
    }
}

/// What a leaf says of its entry's bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commitments {
    pub decision: Option<Sha256>,
    pub operator: Option<Sha256>,
    pub subject: Option<Sha256>,
}

impl Commitments {
    pub const fn commitment(&self, name: SlotName) -> Option<Sha256> {
        match name {
            SlotName::Decision => self.decision,
            SlotName::Operator => self.operator,
            SlotName::Subject => self.subject,
        }
    }
}

/// Why bodies are deleted. The reason in words is in the order itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// A court or the supervisory authority ordered it.
    Authority,
    /// It should never have been entered.
    Mistake,
    /// The person's right to erasure (GDPR article 17).
    Person,
    /// The time for which it is kept is over.
    Retention,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::Authority, Self::Mistake, Self::Person, Self::Retention];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Mistake => "mistake",
            Self::Person => "person",
            Self::Retention => "retention",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Reason {
    type Err = KindFault;

    fn from_str(text: &str) -> Result<Self, KindFault> {
        Self::ALL.into_iter().find(|reason| reason.text() == text).ok_or(KindFault)
    }
}

/// Which bodies an entry orders to delete: these slots of the entries `first..=last`. It has force only in entries
/// of kind `erasure` and `prune`, and only over entries before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erases {
    first: u64,
    last: u64,
    /// INVARIANT: sorted, without repetition, at least one.
    slots: Vec<SlotName>,
    /// INVARIANT: the same. Entries of other kinds are left alone; `None`: of all kinds.
    kinds: Option<Vec<Kind>>,
    reason: Option<Reason>,
    /// SHA-256 of the document that officers signed; a retention period has none.
    order: Option<Sha256>,
}

impl Erases {
    /// `None` when the range or the list of slots is empty.
    pub fn new(first: u64, last: u64, slots: &[SlotName]) -> Option<Self> {
        let mut slots = slots.to_vec();
        slots.sort_unstable();
        slots.dedup();
        (first <= last && !slots.is_empty()).then_some(Self {
            first,
            last,
            slots,
            kinds: None,
            reason: None,
            order: None,
        })
    }

    /// Only in entries of these kinds; `None` when there are none.
    pub fn of_kinds(mut self, kinds: &[Kind]) -> Option<Self> {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        self.kinds = Some(kinds).filter(|kinds| !kinds.is_empty());
        self.kinds.is_some().then_some(self)
    }

    #[must_use]
    pub const fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    #[must_use]
    pub const fn ordered_in(mut self, document: Sha256) -> Self {
        self.order = Some(document);
        self
    }

    pub const fn first(&self) -> u64 {
        self.first
    }

    pub const fn last(&self) -> u64 {
        self.last
    }

    pub fn slots(&self) -> &[SlotName] {
        &self.slots
    }

    pub fn kinds(&self) -> Option<&[Kind]> {
        self.kinds.as_deref()
    }

    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    pub const fn order(&self) -> Option<Sha256> {
        self.order
    }

    pub fn is_about(&self, kind: Kind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// Whether it orders to delete this slot of the entry of this kind at this index.
    pub fn covers(&self, index: u64, kind: Kind, name: SlotName) -> bool {
        (self.first..=self.last).contains(&index) && self.is_about(kind) && self.slots.contains(&name)
    }
}

/// An entry before it has its index and its time. `(id, kind)` is unique in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub kind: Kind,
    /// The exchange, or the event that is no exchange.
    pub id: ExchangeId,
    pub consumer: Option<AgencyId>,
    pub provider: Option<AgencyId>,
    pub purpose: Option<PurposeId>,
    pub record_type: Option<RecordTypeId>,
    /// Why a denial or failure is one, as far as both parties may know.
    pub code: Option<Code>,
    /// The policy bundle that decided.
    pub policy: Option<Sha256>,
    /// Only in entries of kind `erasure` and `prune`.
    pub erases: Option<Erases>,
    /// Only in entries of kind `freeze` and `open`: the shard on the other side.
    pub link: Option<Link>,
    pub slots: Slots,
}

impl Draft {
    /// A draft with nothing but its kind and identifier.
    pub fn new(kind: Kind, id: ExchangeId) -> Self {
        Self {
            kind,
            id,
            consumer: None,
            provider: None,
            purpose: None,
            record_type: None,
            code: None,
            policy: None,
            erases: None,
            link: None,
            slots: Slots::default(),
        }
    }

    /// The leaf of this entry at its place in the log. `index` is below 2^53, so that JSON readers agree on it.
    pub fn leaf(&self, index: u64, at: Timestamp) -> Leaf {
        Leaf::of(self, index, at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_commitment_can_be_recomputed_with_sha256sum() {
        // printf 'varco/log/slot/v1\0' ; 32 bytes of 07 ; printf '{"a":1,"b":"\u00e8"}'
        let slot = Slot::new([7; 32], &json!({"b": "è", "a": 1}));
        let bytes = [b"varco/log/slot/v1\0".as_slice(), &[7; 32], br#"{"a":1,"b":"\u00e8"}"#].concat();
        assert_eq!(slot.commitment(), Sha256::of(&bytes));
    }

    #[test]
    fn another_salt_or_body_gives_another_commitment() {
        let slot = Slot { salt: [0; 32], body: "x".to_owned() };
        assert_ne!(slot.commitment(), Slot { salt: [1; 32], ..slot.clone() }.commitment());
        assert_ne!(slot.commitment(), Slot { body: "y".to_owned(), ..slot }.commitment());
    }

    #[test]
    fn debug_of_a_slot_tells_nothing_of_the_body() {
        let slot = Slot { salt: [0; 32], body: "s1.abcdefghijklmnopqrstuvwxyz".to_owned() };
        assert_eq!(format!("{slot:?}"), "Slot(29 bytes)");
    }

    #[test]
    fn kinds_and_slots_read_back_from_their_names_and_are_sorted() {
        assert!(Kind::ALL.is_sorted_by(|a, b| a.text() < b.text() && a < b));
        for kind in Kind::ALL {
            assert_eq!(kind.text().parse(), Ok(kind));
            assert_eq!(json!(kind), json!(kind.text()));
        }
        assert!("Disclosure".parse::<Kind>().is_err());
        for name in SlotName::ALL {
            assert_eq!(name.text().parse(), Ok(name));
            assert_eq!(json!(name), json!(name.text()));
        }
        for reason in Reason::ALL {
            assert_eq!(reason.text().parse(), Ok(reason));
            assert_eq!(json!(reason), json!(reason.text()));
        }
    }

    #[test]
    fn an_order_to_erase_names_something() {
        assert_eq!(Erases::new(2, 1, &[SlotName::Subject]), None);
        assert_eq!(Erases::new(1, 2, &[]), None);
        let order = Erases::new(1, 2, &[SlotName::Subject, SlotName::Operator, SlotName::Subject]).unwrap();
        assert_eq!(order.slots(), [SlotName::Operator, SlotName::Subject]);
        let kind = Kind::Disclosure;
        assert!(order.covers(2, kind, SlotName::Subject) && !order.covers(3, kind, SlotName::Subject));
        assert!(!order.covers(2, kind, SlotName::Decision));
        assert_eq!(order.clone().of_kinds(&[]), None);
        let order = order.of_kinds(&[Kind::Read, Kind::Admin, Kind::Read]).unwrap();
        assert_eq!(order.kinds().unwrap(), [Kind::Admin, Kind::Read]);
        assert!(!order.covers(2, kind, SlotName::Subject) && order.covers(2, Kind::Read, SlotName::Subject));
    }
}

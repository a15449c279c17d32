//! The consent of one person, as an immutable header and an append-only list of events.
//!
//! The record follows ISO/IEC TS 27560 (header, processing, parties, events) with the states of W3C DPV 2.3.
//! Its state is never stored: [`Consent::state`] computes it from the events for any instant, so nothing depends on a
//! nightly job having run. A person's household is only a link between records; it conveys no permission.

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, ConsentId, FieldId, OfficeId, OperatorId, Pseudonym, PurposeId, RecordTypeId};
use crate::time::Timestamp;

/// A person's choices fit in this many scope items; a longer list is a mistake or an attack.
pub const MOST_ITEMS: usize = 64;
/// Given, renewed a few times, withdrawn in parts: a record with more events than this is broken.
pub const MOST_EVENTS: usize = 256;

/// The part of a record that never changes. Written once, with the first event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub id: ConsentId,
    pub subject: Pseudonym,
    pub class: SubjectClass,
    /// When the class ends by itself: the eighteenth birthday, the end of a decree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_until: Option<Timestamp>,
    pub agreement: Document,
    pub notice: Notice,
    pub scope: Vec<ScopeItem>,
    /// The record this one replaces, in the same transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<ConsentId>,
}

/// Who the subject is before the law, as far as it decides who may speak for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectClass {
    Adult,
    /// Has an amministratore di sostegno (c.c. 404): capable of everything the decree does not name.
    AdsBeneficiary,
    Interdicted,
    Minor,
}

/// An immutable text by identifier, version and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub id: String,
    pub version: String,
    pub sha256: Sha256,
}

/// The information given before the choice (GDPR arts. 13 and 14), in the language it was given in (BCP 47).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    pub id: String,
    pub version: String,
    pub sha256: Sha256,
    pub language: String,
}

/// One choice: a purpose, the data, who receives them, how long. The unit every decision refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeItem {
    pub item: String,
    pub purpose: PurposeId,
    pub record_type: RecordTypeId,
    /// Fields the person named one by one; absent means the record type as a whole, which never opens a cell
    /// that asks for an explicit scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldId>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<FieldId>,
    pub recipients: Vec<Recipient>,
    #[serde(default)]
    pub use_mode: UseMode,
    pub valid_from: Timestamp,
    pub valid_until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    pub agency: AgencyId,
    /// Absent: any office of the agency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub office: Option<OfficeId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UseMode {
    Store,
    #[default]
    View,
}

/// The states of a scope item, with their DPV 2.3 terms. Only `Given` and `Renewed` allow anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Deferred,
    Expired,
    Given,
    Invalidated,
    Refused,
    Renewed,
    Requested,
    Revoked,
    Superseded,
    /// No event speaks of the item: nothing was ever asked or given.
    Unknown,
    Withdrawn,
}

impl State {
    pub const ALL: [Self; 11] = [
        Self::Deferred,
        Self::Expired,
        Self::Given,
        Self::Invalidated,
        Self::Refused,
        Self::Renewed,
        Self::Requested,
        Self::Revoked,
        Self::Superseded,
        Self::Unknown,
        Self::Withdrawn,
    ];

    pub const fn is_valid(self) -> bool {
        matches!(self, Self::Given | Self::Renewed)
    }

    /// The DPV 2.3 term; `Superseded` has none there and is written with `dct:isReplacedBy`.
    pub const fn dpv(self) -> &'static str {
        match self {
            Self::Deferred => "dpv:ConsentRequestDeferred",
            Self::Expired => "dpv:ConsentExpired",
            Self::Given => "dpv:ConsentGiven",
            Self::Invalidated => "dpv:ConsentInvalidated",
            Self::Refused => "dpv:ConsentRefused",
            Self::Renewed => "dpv:RenewedConsentGiven",
            Self::Requested => "dpv:ConsentRequested",
            Self::Revoked => "dpv:ConsentRevoked",
            Self::Superseded => "dct:isReplacedBy",
            Self::Unknown => "dpv:ConsentUnknown",
            Self::Withdrawn => "dpv:ConsentWithdrawn",
        }
    }

    /// Whether an item in this state may go to `next` by a recorded event. Expiry is computed, never recorded, and
    /// the terminal states lead nowhere but to `Invalidated`: a new choice is a new record.
    pub const fn leads_to(self, next: Self) -> bool {
        match next {
            Self::Requested => matches!(self, Self::Unknown),
            Self::Deferred => matches!(self, Self::Requested),
            Self::Given => matches!(self, Self::Unknown | Self::Requested | Self::Deferred),
            Self::Refused => matches!(self, Self::Unknown | Self::Requested | Self::Deferred),
            Self::Renewed | Self::Withdrawn | Self::Revoked | Self::Superseded => self.is_valid(),
            Self::Invalidated => !matches!(self, Self::Invalidated | Self::Unknown),
            Self::Expired | Self::Unknown => false,
        }
    }
}

/// One thing that happened to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub state: State,
    /// The items it concerns; empty means all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    pub at: Timestamp,
    /// From when it counts. Before `at` only when an authority invalidates what was never valid.
    pub effective_at: Timestamp,
    /// How long it counts, if less than the item's own validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    pub capacity: Capacity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate: Option<Mandate>,
    pub method: Method,
    pub collected_by: Collector,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// SHA-256 of the signed request that brought the event.
    pub request: Sha256,
}

/// In which capacity somebody spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// Administrator and beneficiary together.
    AdsAssistance,
    AdsRepresentation,
    Authority,
    Controller,
    Curator,
    Parent,
    ParentsBoth,
    /// The subject.
    #[serde(rename = "self")]
    Subject,
    Tutor,
}

/// What entitles a representative: the dispositive part of a decree only, never its grounds, which are health data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    pub court: String,
    pub reference: String,
    pub from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    pub sha256: Sha256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Carta d'identità elettronica.
    Cie,
    /// Firma elettronica avanzata.
    Fea,
    Handwritten,
    OralRecordedByOperator,
    SpidSession,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collector {
    pub agency: AgencyId,
    pub operator: OperatorId,
    pub access_point: String,
}

/// Where the proof lies: with the collecting agency. The record holds a hash and a locator only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub kind: String,
    pub sha256: Sha256,
    pub locator: String,
}

/// A record: header, events, and the epoch (number of events) that decisions compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub header: Header,
    events: Vec<Event>,
}

/// Why a record or an event is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsentFault {
    #[error("capacity `{0:?}` cannot speak for a subject of class `{1:?}`")]
    CapacityMismatch(Capacity, SubjectClass),
    #[error("item `{0}` is listed twice")]
    ItemTwice(String),
    #[error("item `{0}` is not in the record")]
    ItemUnknown(String),
    #[error("a representative's event needs a mandate that is in force")]
    MandateMissing,
    #[error("the record has no scope item, or more than {MOST_ITEMS}")]
    ScopeSize,
    #[error("item `{0}` names no recipient or ends before it begins")]
    ScopeInvalid(String),
    #[error("an event takes effect before it was recorded")]
    Retroactive,
    #[error("a renewal says until when")]
    RenewalWithoutEnd,
    #[error("the record has {MOST_EVENTS} events, the most it may have")]
    TooManyEvents,
    #[error("item `{item}` is `{from:?}` and cannot become `{to:?}`")]
    Transition { item: String, from: State, to: State },
    #[error("an event is older than the one before it")]
    OutOfOrder,
}

impl ConsentFault {
    pub const fn code(&self) -> Code {
        match self {
            Self::CapacityMismatch(..)
            | Self::ItemTwice(_)
            | Self::ItemUnknown(_)
            | Self::MandateMissing
            | Self::RenewalWithoutEnd
            | Self::ScopeSize
            | Self::ScopeInvalid(_)
            | Self::Retroactive => Code::RequestInvalid,
            Self::TooManyEvents | Self::Transition { .. } | Self::OutOfOrder => Code::ConsentConflict,
        }
    }
}

/// What a decision may rest on: an item that is valid now, for this subject, purpose, record type and recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentFact {
    pub consent: ConsentId,
    /// The record's epoch when it was read. The log's writer refuses the disclosure if it has moved since.
    pub epoch: u64,
    pub item: String,
    /// Fields named one by one; absent means the record type as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldId>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<FieldId>,
}

impl ConsentFact {
    /// Whether the person agreed to this field, at least as part of the record type.
    pub fn covers(&self, field: &FieldId) -> bool {
        !self.excluded.contains(field) && self.fields.as_ref().is_none_or(|fields| fields.contains(field))
    }

    /// Whether the person named this very field.
    pub fn names(&self, field: &FieldId) -> bool {
        !self.excluded.contains(field) && self.fields.as_ref().is_some_and(|fields| fields.contains(field))
    }
}

/// A narrowing the person asked for (opposition, concealment, restriction): never a reason to show more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restriction {
    /// Absent: every field of the record type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldId>>,
    pub effect: RestrictionEffect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestrictionEffect {
    /// As if the source held nothing; the answer gives no reason.
    Conceal,
    Withhold,
}

/// What is asked of the consents of a subject.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub purpose: &'a PurposeId,
    pub record_type: &'a RecordTypeId,
    pub consumer: &'a AgencyId,
    pub office: Option<&'a OfficeId>,
}

impl Consent {
    /// A new record with its first event.
    pub fn open(header: Header, first: Event) -> Result<Self, ConsentFault> {
        header.check()?;
        Self { header, events: Vec::new() }.record(first)
    }

    /// A record as it was stored. Every event is checked again: what does not replay is not valid.
    pub fn replay(header: Header, events: Vec<Event>) -> Result<Self, ConsentFault> {
        header.check()?;
        events.into_iter().try_fold(Self { header, events: Vec::new() }, Self::record)
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many events the record has: what the log's writer compares.
    pub fn epoch(&self) -> u64 {
        self.events.len() as u64
    }

    /// Adds an event if the law of the record allows it.
    pub fn record(mut self, event: Event) -> Result<Self, ConsentFault> {
        if self.events.len() >= MOST_EVENTS {
            return Err(ConsentFault::TooManyEvents);
        }
        if self.events.last().is_some_and(|last| event.at < last.at) {
            return Err(ConsentFault::OutOfOrder);
        }
        if event.state == State::Renewed && event.until.is_none() {
            return Err(ConsentFault::RenewalWithoutEnd);
        }
        if event.effective_at < event.at && event.state != State::Invalidated {
            return Err(ConsentFault::Retroactive);
        }
        self.header.check_capacity(&event)?;
        for item in self.concerned(&event)? {
            let from = self.state(item, event.at);
            if !from.leads_to(event.state) {
                return Err(ConsentFault::Transition { item: item.to_owned(), from, to: event.state });
            }
        }
        self.events.push(event);
        Ok(self)
    }

    /// The state of one item at an instant: the last event that had taken effect, cut short by every end date.
    pub fn state(&self, item: &str, at: Timestamp) -> State {
        let Some(scope) = self.header.scope.iter().find(|scope| scope.item == item) else {
            return State::Unknown;
        };
        let last = self.events.iter().rev().find(|event| event.concerns(item) && event.effective_at <= at);
        let Some(last) = last else { return State::Unknown };
        if last.state.is_valid() && (at < scope.valid_from || self.header.ended(scope, last, at)) {
            return State::Expired;
        }
        last.state
    }

    /// The items of this record that allow what is asked, now.
    pub fn facts(&self, asked: &Asked<'_>, now: Timestamp) -> Vec<ConsentFact> {
        let allows = |scope: &&ScopeItem| scope.allows(asked) && self.state(&scope.item, now).is_valid();
        let fact = |scope: &ScopeItem| ConsentFact {
            consent: self.header.id.clone(),
            epoch: self.epoch(),
            item: scope.item.clone(),
            fields: scope.fields.clone(),
            excluded: scope.excluded.clone(),
        };
        self.header.scope.iter().filter(allows).map(fact).collect()
    }

    /// Whether the agency may know that the record exists: it collected one of its events, or is a recipient.
    pub fn is_known_to(&self, agency: &AgencyId) -> bool {
        self.events.iter().any(|event| event.collected_by.agency == *agency)
            || self
                .header
                .scope
                .iter()
                .flat_map(|scope| &scope.recipients)
                .any(|recipient| recipient.agency == *agency)
    }

    fn concerned<'a>(&'a self, event: &'a Event) -> Result<Vec<&'a str>, ConsentFault> {
        if event.items.is_empty() {
            let open = |scope: &&ScopeItem| {
                // An event about all items passes over those that ended before, so that withdrawing is always possible.
                !event.state.closes() || self.state(&scope.item, event.at).leads_to(event.state)
            };
            let items: Vec<_> =
                self.header.scope.iter().filter(open).map(|scope| scope.item.as_str()).collect();
            return match (items.is_empty(), self.header.scope.first()) {
                (true, Some(scope)) => Err(ConsentFault::Transition {
                    item: scope.item.clone(),
                    from: self.state(&scope.item, event.at),
                    to: event.state,
                }),
                (true, None) => Err(ConsentFault::ScopeSize),
                (false, _) => Ok(items),
            };
        }
        for item in &event.items {
            if !self.header.scope.iter().any(|scope| scope.item == *item) {
                return Err(ConsentFault::ItemUnknown(item.clone()));
            }
        }
        Ok(event.items.iter().map(String::as_str).collect())
    }
}

impl State {
    const fn closes(self) -> bool {
        matches!(self, Self::Invalidated | Self::Revoked | Self::Superseded | Self::Withdrawn)
    }
}

impl Event {
    fn concerns(&self, item: &str) -> bool {
        self.items.is_empty() || self.items.iter().any(|other| other == item)
    }
}

impl ScopeItem {
    fn allows(&self, asked: &Asked<'_>) -> bool {
        self.purpose == *asked.purpose
            && self.record_type == *asked.record_type
            && self.recipients.iter().any(|recipient| {
                recipient.agency == *asked.consumer
                    && recipient.office.as_ref().is_none_or(|office| Some(office) == asked.office)
            })
    }
}

impl Header {
    fn check(&self) -> Result<(), ConsentFault> {
        if self.scope.is_empty() || self.scope.len() > MOST_ITEMS {
            return Err(ConsentFault::ScopeSize);
        }
        for (i, scope) in self.scope.iter().enumerate() {
            if self.scope.iter().take(i).any(|other| other.item == scope.item) {
                return Err(ConsentFault::ItemTwice(scope.item.clone()));
            }
            if scope.recipients.is_empty() || scope.valid_until <= scope.valid_from {
                return Err(ConsentFault::ScopeInvalid(scope.item.clone()));
            }
        }
        Ok(())
    }

    /// Narrowing is open to anybody entitled in any way; widening needs the capacity that the class demands.
    fn check_capacity(&self, event: &Event) -> Result<(), ConsentFault> {
        let capacity = event.capacity;
        if capacity.needs_mandate() && !event.mandate.as_ref().is_some_and(|mandate| mandate.covers(event.at))
        {
            return Err(ConsentFault::MandateMissing);
        }
        let fits = match event.state {
            State::Given | State::Renewed => self.class.is_represented_by(capacity),
            State::Deferred | State::Refused | State::Withdrawn => capacity.is_of_the_person(),
            State::Requested | State::Revoked | State::Superseded => {
                capacity == Capacity::Controller || capacity.is_of_the_person()
            }
            State::Invalidated => matches!(capacity, Capacity::Authority | Capacity::Controller),
            State::Expired | State::Unknown => false,
        };
        if fits { Ok(()) } else { Err(ConsentFault::CapacityMismatch(capacity, self.class)) }
    }

    fn ended(&self, scope: &ScopeItem, last: &Event, at: Timestamp) -> bool {
        let mandate_ended = || last.mandate.as_ref().is_some_and(|mandate| !mandate.covers(at));
        let class_ended =
            || last.capacity != Capacity::Subject && self.class_until.is_some_and(|until| until <= at);
        let item_ends = if last.state == State::Renewed { last.until } else { Some(scope.valid_until) };
        item_ends.is_none_or(|until| until <= at)
            || last.until.is_some_and(|until| until <= at)
            || mandate_ended()
            || class_ended()
    }
}

impl Capacity {
    const fn needs_mandate(self) -> bool {
        matches!(self, Self::AdsAssistance | Self::AdsRepresentation | Self::Curator | Self::Tutor)
    }

    const fn is_of_the_person(self) -> bool {
        !matches!(self, Self::Authority | Self::Controller)
    }
}

impl SubjectClass {
    const fn is_represented_by(self, capacity: Capacity) -> bool {
        match self {
            Self::Adult => matches!(capacity, Capacity::Subject),
            Self::AdsBeneficiary => {
                matches!(
                    capacity,
                    Capacity::Subject
                        | Capacity::AdsAssistance
                        | Capacity::AdsRepresentation
                        | Capacity::Curator
                )
            }
            Self::Interdicted => matches!(capacity, Capacity::Tutor),
            Self::Minor => matches!(capacity, Capacity::Parent | Capacity::ParentsBoth | Capacity::Tutor),
        }
    }
}

impl Mandate {
    fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

#[cfg(test)]
mod tests;

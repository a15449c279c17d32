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

mod ending;
mod fact;
pub mod interchange;
mod speaker;
mod state;

pub use ending::{Ending, Warning};
pub use fact::{Asked, ConsentFact, Restriction, RestrictionEffect};
use speaker::Standing;
pub use speaker::{Capacity, Mandate, Representation, SubjectClass};
pub use state::State;

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
    #[serde(default, skip_serializing_if = "Representation::is_ordinary")]
    pub representation: Representation,
    /// Items that two people must open. Computed by the gateway when the record is made ([`Header::joint_items`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<String>,
    pub agreement: Document,
    pub notice: Notice,
    pub scope: Vec<ScopeItem>,
    /// The record this one replaces, in the same transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<ConsentId>,
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
    /// Who spoke, when it was not the subject: so that two parents are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Pseudonym>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate: Option<Mandate>,
    pub method: Method,
    pub collected_by: Collector,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// SHA-256 of the signed request that brought the event.
    pub request: Sha256,
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
    #[error("a minor's record says when the person comes of age")]
    ClassEndMissing,
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
    #[error("an event takes effect when it is recorded; only an invalidation may reach back")]
    NotAtOnce,
    #[error("a renewal says until when")]
    RenewalWithoutEnd,
    #[error("a parent's event says which parent spoke")]
    SpeakerMissing,
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
            | Self::ClassEndMissing
            | Self::ItemTwice(_)
            | Self::ItemUnknown(_)
            | Self::MandateMissing
            | Self::RenewalWithoutEnd
            | Self::ScopeSize
            | Self::ScopeInvalid(_)
            | Self::NotAtOnce
            | Self::SpeakerMissing => Code::RequestInvalid,
            Self::TooManyEvents | Self::Transition { .. } | Self::OutOfOrder => Code::ConsentConflict,
        }
    }
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
        let reaches_back = event.state == State::Invalidated && event.effective_at < event.at;
        if event.effective_at != event.at && !reaches_back {
            return Err(ConsentFault::NotAtOnce);
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

    /// The state of one item at an instant: what those entitled had said by then, cut short by every end date.
    pub fn state(&self, item: &str, at: Timestamp) -> State {
        let Some(scope) = self.header.scope.iter().find(|scope| scope.item == item) else {
            return State::Unknown;
        };
        let said = self.events.iter().filter(|event| event.concerns(item) && event.effective_at <= at);
        let standing = said
            .fold(Standing { state: State::Unknown, rests_on: Vec::new() }, |standing, event| {
                standing.then(&self.header, item, event)
            });
        let ended = || standing.rests_on.iter().any(|event| self.header.ended(scope, event, at));
        if standing.state.is_valid() && (at < scope.valid_from || ended()) {
            return State::Expired;
        }
        standing.state
    }

    fn standing(&self, item: &str, at: Timestamp) -> Standing<'_> {
        let said = self.events.iter().filter(|event| event.concerns(item) && event.effective_at <= at);
        said.fold(Standing { state: State::Unknown, rests_on: Vec::new() }, |standing, event| {
            standing.then(&self.header, item, event)
        })
    }

    /// When an open item ends by itself, and how near that is: the end of the choice, of a decree, of minority. `None` for
    /// an item that is not open.
    pub fn ending(&self, item: &str, now: Timestamp) -> Option<Ending> {
        let scope = self.header.scope.iter().find(|scope| scope.item == item)?;
        if !self.state(item, now).is_valid() {
            return None;
        }
        let standing = self.standing(item, now);
        let ends = standing.rests_on.iter().filter_map(|event| self.header.end(scope, event)).min()?;
        Some(Ending { ends, warning: Warning::of(ends, now) })
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

    /// The items of this record that `newer` holds as well and opens now, towards at least the same recipients: they give
    /// way, so that a choice is open in one record only. `None` when there are none.
    pub fn replaced_by(&self, newer: &Self, now: Timestamp) -> Option<Vec<String>> {
        let covers = |old: &ScopeItem, new: &ScopeItem| {
            old.purpose == new.purpose
                && old.record_type == new.record_type
                && old.recipients.iter().all(|recipient| new.recipients.contains(recipient))
                && newer.state(&new.item, now).is_valid()
        };
        let gives_way = |old: &&ScopeItem| {
            self.state(&old.item, now).is_valid() && newer.header.scope.iter().any(|new| covers(old, new))
        };
        let items: Vec<_> = self.header.scope.iter().filter(gives_way).map(|old| old.item.clone()).collect();
        (!items.is_empty()).then_some(items)
    }

    /// Whether the agency may know that the record exists: it collected what was said in it, or is a recipient. Whoever only
    /// took a withdrawal, or a newer choice that took its place, learns nothing of it.
    pub fn is_known_to(&self, agency: &AgencyId) -> bool {
        self.events.iter().any(|event| !event.state.closes() && event.collected_by.agency == *agency)
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

impl Event {
    /// The same word ending something else: another record, or these items only.
    pub fn ending(&self, state: State, items: Vec<String>) -> Self {
        Self { state, items, until: None, ..self.clone() }
    }

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
        if self.class == SubjectClass::Minor && self.class_until.is_none() {
            return Err(ConsentFault::ClassEndMissing);
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

    fn ended(&self, scope: &ScopeItem, said: &Event, at: Timestamp) -> bool {
        let is_before_the_decree = said.mandate.as_ref().is_some_and(|mandate| at < mandate.from);
        is_before_the_decree || self.end(scope, said).is_none_or(|end| end <= at)
    }

    /// When a word that opens stops counting: with the choice, with its own term, with the decree, with minority. `None`
    /// for a renewal without a term, which never counts.
    fn end(&self, scope: &ScopeItem, said: &Event) -> Option<Timestamp> {
        let item = if said.state == State::Renewed { said.until } else { Some(scope.valid_until) };
        let decree = said.mandate.as_ref().and_then(|mandate| mandate.until);
        let class = if said.capacity == Capacity::Subject { None } else { self.class_until };
        [Some(item?), said.until, decree, class].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;

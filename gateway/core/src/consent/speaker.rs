//! Who may speak for a person, and what it takes: narrowing is open to anybody entitled, widening is not.

use serde::{Deserialize, Serialize};

use super::{Consent, ConsentFault, Event, Header, ScopeItem, State};
use crate::hash::Sha256;
use crate::id::Pseudonym;
use crate::time::Timestamp;

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

/// How far a decree takes the choice out of the beneficiary's hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Representation {
    /// Only the administrator may widen; the beneficiary may still narrow, for as long as it takes to look into it.
    Exclusive,
    /// The beneficiary speaks, and so may whoever the decree names.
    #[default]
    Ordinary,
}

impl Representation {
    pub const fn is_ordinary(&self) -> bool {
        matches!(self, Self::Ordinary)
    }
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

/// What has been said of one item up to an instant.
pub(super) struct Standing<'a> {
    pub state: State,
    /// The events a valid state rests on: it ends with the first of them.
    pub rests_on: Vec<&'a Event>,
}

impl<'a> Standing<'a> {
    /// One more event. Narrowing counts at once, whoever says it; widening when everybody needed has said it.
    pub fn then(mut self, header: &Header, item: &str, event: &'a Event) -> Self {
        if event.passes_over(self.state) {
            return self;
        }
        match event.state {
            State::Given => {
                if self.state == State::Suspended {
                    self.rests_on.clear();
                }
                self.rests_on.push(event);
                self.state =
                    if header.is_signed(item, &self.rests_on) { State::Given } else { State::Requested };
            }
            State::Renewed => {
                let is_enough = header.is_signed(item, &[event]);
                self.rests_on.retain(|other| !is_enough && other.speaker(header) != event.speaker(header));
                self.rests_on.push(event);
                self.state = State::Renewed;
            }
            State::Withdrawn if event.capacity == Capacity::Subject && header.is_exclusive() => {
                self.rests_on.clear();
                self.state = State::Suspended;
            }
            State::Deferred
            | State::Expired
            | State::Invalidated
            | State::Refused
            | State::Requested
            | State::Revoked
            | State::Superseded
            | State::Suspended
            | State::Unknown
            | State::Withdrawn => {
                self.rests_on.clear();
                self.state = event.state;
            }
        }
        self
    }
}

impl Header {
    /// Narrowing is open to anybody entitled in any way; widening needs the capacity that the class demands.
    pub(super) fn check_capacity(&self, event: &Event) -> Result<(), ConsentFault> {
        let capacity = event.capacity;
        event.check_mandate()?;
        if event.state.is_valid() && capacity == Capacity::Parent && event.by.is_none() {
            return Err(ConsentFault::SpeakerMissing);
        }
        let fits = match event.state {
            State::Given | State::Renewed => self.may_widen(capacity),
            State::Deferred | State::Refused | State::Withdrawn => self.may_narrow(capacity),
            State::Requested | State::Revoked | State::Superseded => {
                capacity == Capacity::Controller || self.may_narrow(capacity)
            }
            State::Invalidated => matches!(capacity, Capacity::Authority | Capacity::Controller),
            State::Expired | State::Suspended | State::Unknown => false,
        };
        if fits { Ok(()) } else { Err(ConsentFault::CapacityMismatch(capacity, self.class)) }
    }

    fn may_widen(&self, capacity: Capacity) -> bool {
        match self.class {
            SubjectClass::Adult => capacity == Capacity::Subject,
            SubjectClass::AdsBeneficiary if self.is_exclusive() => capacity == Capacity::AdsRepresentation,
            SubjectClass::AdsBeneficiary => matches!(
                capacity,
                Capacity::Subject | Capacity::AdsAssistance | Capacity::AdsRepresentation | Capacity::Curator
            ),
            SubjectClass::Interdicted => capacity == Capacity::Tutor,
            SubjectClass::Minor => {
                matches!(capacity, Capacity::Parent | Capacity::ParentsBoth | Capacity::Tutor)
            }
        }
    }

    /// The subject always, and whoever represents them. A decree may be younger than the record, so a mandate is
    /// enough whatever the class; parents speak for minors only.
    fn may_narrow(&self, capacity: Capacity) -> bool {
        match capacity {
            Capacity::Parent | Capacity::ParentsBoth => self.class == SubjectClass::Minor,
            Capacity::Authority | Capacity::Controller => false,
            Capacity::AdsAssistance
            | Capacity::AdsRepresentation
            | Capacity::Curator
            | Capacity::Subject
            | Capacity::Tutor => true,
        }
    }

    /// Whether somebody else alone decides for the subject.
    pub(super) fn is_exclusive(&self) -> bool {
        match self.class {
            SubjectClass::Interdicted => true,
            SubjectClass::AdsBeneficiary => self.representation == Representation::Exclusive,
            SubjectClass::Adult | SubjectClass::Minor => false,
        }
    }

    /// Whether those who gave are as many as the item asks for.
    fn is_signed(&self, item: &str, given: &[&Event]) -> bool {
        if !self.joint.iter().any(|joint| joint == item) || self.is_exclusive() {
            return true;
        }
        let together = |event: &&Event| {
            matches!(event.capacity, Capacity::AdsAssistance | Capacity::ParentsBoth | Capacity::Tutor)
        };
        if given.iter().any(together) {
            return true;
        }
        let mut speakers = given.iter().filter_map(|event| event.speaker(self));
        speakers.next().is_some_and(|first| speakers.any(|other| other != first))
    }

    /// Which items need two people: those whose data are `delicate`, for a minor, and those that one of the people
    /// entitled has closed before while another one opens them now. Two who disagree give the narrower.
    pub fn joint_items(
        &self,
        others: &[Consent],
        first: &Event,
        delicate: impl Fn(&ScopeItem) -> bool,
    ) -> Vec<String> {
        if matches!(self.class, SubjectClass::Adult | SubjectClass::Interdicted) {
            return Vec::new();
        }
        let is_disputed =
            |item: &&ScopeItem| others.iter().any(|other| other.was_closed_by_another(item, self, first));
        let is_joint =
            |item: &&ScopeItem| (self.class == SubjectClass::Minor && delicate(item)) || is_disputed(item);
        self.scope.iter().filter(is_joint).map(|item| item.item.clone()).collect()
    }
}

impl Consent {
    /// Whether this record holds the same choice closed, and somebody else than the speaker of `now` closed it.
    fn was_closed_by_another(&self, asked: &ScopeItem, header: &Header, now: &Event) -> bool {
        let same = |item: &&ScopeItem| item.purpose == asked.purpose && item.record_type == asked.record_type;
        self.header.scope.iter().filter(same).any(|item| {
            let closes = |event: &&Event| {
                matches!(event.state, State::Refused | State::Withdrawn) && event.concerns(&item.item)
            };
            let is_closed = matches!(
                self.state(&item.item, now.at),
                State::Refused | State::Suspended | State::Withdrawn
            );
            let last = self.events.iter().rev().find(closes);
            is_closed && last.is_some_and(|last| last.speaker(&self.header) != now.speaker(header))
        })
    }
}

impl Event {
    /// Whoever speaks by a decree shows one that is in force.
    pub fn check_mandate(&self) -> Result<(), ConsentFault> {
        let is_covered = || self.mandate.as_ref().is_some_and(|mandate| mandate.covers(self.at));
        if !self.capacity.needs_mandate() || is_covered() {
            Ok(())
        } else {
            Err(ConsentFault::MandateMissing)
        }
    }

    /// An event about all items leaves those alone that had ended before.
    fn passes_over(&self, state: State) -> bool {
        self.items.is_empty() && self.state.closes() && !state.leads_to(self.state)
    }

    /// Who spoke, if it is one known person.
    fn speaker<'a>(&'a self, header: &'a Header) -> Option<&'a Pseudonym> {
        if self.capacity == Capacity::Subject { Some(&header.subject) } else { self.by.as_ref() }
    }
}

impl Capacity {
    const fn needs_mandate(self) -> bool {
        matches!(self, Self::AdsAssistance | Self::AdsRepresentation | Self::Curator | Self::Tutor)
    }
}

impl Mandate {
    pub(crate) fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

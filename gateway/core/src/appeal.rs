//! An appeal (richiesta motivata): a field that a decision withheld is asked for with a reason, and the owner of the
//! record opens it for a time or rejects it.
//!
//! Append-only events. Two people of the owner must approve (four eyes); one is enough to reject or revoke. Reasons in
//! words are not here: they live, sealed to the officers who must read them, in the log's entries.

use serde::{Deserialize, Serialize};

use crate::case::Operator;
use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{
    AgencyId, AppealId, CaseId, ExchangeId, FieldId, Pseudonym, PurposeId, RecordTypeId, ViewId,
};
use crate::policy::opening::Opening;
use crate::time::Timestamp;

/// What one person must decide on stays a short list.
pub const MOST_FIELDS: usize = 16;
/// An opening lasts at most thirty days; who needs longer changes the policy.
pub const LONGEST_MS: i64 = 30 * DAY_MS;
/// What nobody has decided within thirty days lapses: the need may be gone.
pub const WAIT_MS: i64 = 30 * DAY_MS;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A field and how much of it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub field: FieldId,
    pub view: ViewId,
}

/// The part of an appeal that never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub id: AppealId,
    /// The exchange that was decided otherwise.
    pub exchange: ExchangeId,
    pub consumer: AgencyId,
    pub provider: AgencyId,
    pub record_type: RecordTypeId,
    pub purpose: PurposeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseId>,
    pub subject: Pseudonym,
    pub fields: Vec<Wanted>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub at: Timestamp,
    pub by: Operator,
    /// SHA-256 of the signed request that brought the event.
    pub request: Sha256,
    /// The entry of the log whose decision slot holds the sealed words that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<ExchangeId>,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// The owner agrees, until then at most. The second person's word opens.
    Approve {
        until: Timestamp,
    },
    /// Whoever asked needs it no longer, or has read the rejection.
    Close,
    /// Always the first event.
    File,
    Reject,
    /// The owner takes back what it opened.
    Revoke,
}

/// Where an appeal stands. `Expired` and `Lapsed` come with time alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    ApprovedOnce {
        #[serde(skip)]
        by: Operator,
        until: Timestamp,
    },
    Closed,
    Expired {
        until: Timestamp,
    },
    Filed,
    Lapsed,
    Open {
        from: Timestamp,
        until: Timestamp,
    },
    Rejected,
    Revoked,
}

/// An appeal as its events leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appeal {
    pub header: Header,
    state: State,
    filed: Timestamp,
    last: Timestamp,
    events: Vec<Event>,
}

/// Why an event is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppealFault {
    #[error("one to {MOST_FIELDS} fields are asked for, each once")]
    Fields,
    #[error("the first event of an appeal files it, and only the first")]
    NotFiled,
    #[error("an event is older than the one before it")]
    OutOfOrder,
    #[error("whoever approved first cannot approve again: the second approval is another person's")]
    SamePerson,
    #[error("in the state in which the appeal is, this cannot happen")]
    State,
    #[error("this is for the other agency to do")]
    OtherAgency,
    #[error("an opening ends after it begins, and at most thirty days later")]
    Until,
}

impl AppealFault {
    pub const fn code(&self) -> Code {
        match self {
            Self::Fields | Self::Until => Code::RequestInvalid,
            Self::NotFiled | Self::OutOfOrder | Self::State => Code::AppealConflict,
            Self::OtherAgency => Code::ExchangeNotAllowed,
            Self::SamePerson => Code::AppealFourEyes,
        }
    }
}

/// What is asked of the appeals of a person.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub provider: &'a AgencyId,
    pub consumer: &'a AgencyId,
    pub record_type: &'a RecordTypeId,
    pub purpose: &'a PurposeId,
    pub case: Option<&'a CaseId>,
}

impl Appeal {
    /// A new appeal with the event that files it.
    pub fn file(header: Header, first: Event) -> Result<Self, AppealFault> {
        let mut fields: Vec<&FieldId> = header.fields.iter().map(|wanted| &wanted.field).collect();
        fields.sort_unstable();
        fields.dedup();
        if fields.len() != header.fields.len() || !(1..=MOST_FIELDS).contains(&fields.len()) {
            return Err(AppealFault::Fields);
        }
        if first.change != Change::File || first.by.agency != header.consumer {
            return Err(AppealFault::NotFiled);
        }
        let at = first.at;
        Ok(Self { header, state: State::Filed, filed: at, last: at, events: vec![first] })
    }

    pub fn replay(header: Header, events: Vec<Event>) -> Result<Self, AppealFault> {
        let mut events = events.into_iter();
        let first = events.next().ok_or(AppealFault::NotFiled)?;
        events.try_fold(Self::file(header, first)?, Self::record)
    }

    /// Adds an event if it may be added.
    pub fn record(mut self, event: Event) -> Result<Self, AppealFault> {
        if event.at < self.last {
            return Err(AppealFault::OutOfOrder);
        }
        let side = match event.change {
            Change::Approve { .. } | Change::Reject | Change::Revoke => &self.header.provider,
            Change::Close | Change::File => &self.header.consumer,
        };
        if event.by.agency != *side {
            return Err(AppealFault::OtherAgency);
        }
        self.state = self.state(event.at).after(&event)?;
        self.last = event.at;
        self.events.push(event);
        Ok(self)
    }

    /// Where it stands at an instant.
    pub fn state(&self, now: Timestamp) -> State {
        let waited = now.millis().saturating_sub(self.filed.millis()) >= WAIT_MS;
        match &self.state {
            State::ApprovedOnce { .. } | State::Filed if waited => State::Lapsed,
            State::Open { until, .. } if *until <= now => State::Expired { until: *until },
            State::ApprovedOnce { .. }
            | State::Closed
            | State::Expired { .. }
            | State::Filed
            | State::Lapsed
            | State::Open { .. }
            | State::Rejected
            | State::Revoked => self.state.clone(),
        }
    }

    /// The number of events.
    pub fn epoch(&self) -> u64 {
        self.events.len() as u64
    }

    pub const fn filed(&self) -> Timestamp {
        self.filed
    }

    /// The entries whose slots hold the sealed words of its events, in their order.
    pub fn words(&self) -> impl Iterator<Item = &ExchangeId> {
        self.events.iter().filter_map(|event| event.words.as_ref())
    }

    /// Whether the agency is one of its two parties: nobody else learns of it.
    pub fn is_known_to(&self, agency: &AgencyId) -> bool {
        self.header.consumer == *agency || self.header.provider == *agency
    }

    /// The agencies that still have something to do with it.
    pub fn waits_for(&self) -> Vec<AgencyId> {
        match self.state {
            State::Closed => Vec::new(),
            State::Expired { .. } | State::Lapsed | State::Rejected | State::Revoked => {
                vec![self.header.consumer.clone()]
            }
            State::ApprovedOnce { .. } | State::Filed | State::Open { .. } => {
                vec![self.header.consumer.clone(), self.header.provider.clone()]
            }
        }
    }

    /// What it opens for what is asked, now. `subject` is not compared: appeals are found by it.
    pub fn openings(&self, asked: &Asked<'_>, now: Timestamp) -> Vec<Opening> {
        let header = &self.header;
        let is_meant = header.consumer == *asked.consumer
            && header.provider == *asked.provider
            && header.record_type == *asked.record_type
            && header.purpose == *asked.purpose
            && header.case.as_ref() == asked.case;
        if !is_meant || !matches!(self.state(now), State::Open { .. }) {
            return Vec::new();
        }
        let opening = |wanted: &Wanted| Opening {
            appeal: header.id.clone(),
            epoch: self.epoch(),
            field: wanted.field.clone(),
            view: wanted.view.clone(),
        };
        header.fields.iter().map(opening).collect()
    }
}

impl State {
    /// The state that an event leads to.
    fn after(self, event: &Event) -> Result<Self, AppealFault> {
        match (self, &event.change) {
            (Self::Filed, Change::Approve { until }) => {
                let until = within_limit(event.at, *until)?;
                Ok(Self::ApprovedOnce { by: event.by.clone(), until })
            }
            (Self::ApprovedOnce { by, .. }, Change::Approve { .. }) if by == event.by => {
                Err(AppealFault::SamePerson)
            }
            // The narrower of the two words counts.
            (Self::ApprovedOnce { until: first, .. }, Change::Approve { until }) => {
                let until = within_limit(event.at, first.min(*until))?;
                Ok(Self::Open { from: event.at, until })
            }
            (Self::ApprovedOnce { .. } | Self::Filed, Change::Reject) => Ok(Self::Rejected),
            (Self::Open { .. }, Change::Revoke) => Ok(Self::Revoked),
            (Self::Closed, Change::Close) => Err(AppealFault::State),
            (_, Change::Close) => Ok(Self::Closed),
            (_, Change::Approve { .. } | Change::File | Change::Reject | Change::Revoke) => {
                Err(AppealFault::State)
            }
        }
    }
}

fn within_limit(from: Timestamp, until: Timestamp) -> Result<Timestamp, AppealFault> {
    let lasts = until.millis().saturating_sub(from.millis());
    if (1..=LONGEST_MS).contains(&lasts) { Ok(until) } else { Err(AppealFault::Until) }
}

#[cfg(test)]
mod tests;

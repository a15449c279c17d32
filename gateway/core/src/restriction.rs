//! What a person asked not to be shown: opposition (GDPR art. 21), restriction (art. 18), concealment.
//!
//! One append-only stream for each person, whose epoch every decision about the person names, also where there is none
//! yet: so that a restriction that comes while an exchange is under way stops it. It only ever narrows.

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::consent::{Capacity, Collector, Mandate, Method, RestrictionEffect};
use crate::hash::Sha256;
use crate::id::{AgencyId, FieldId, Pseudonym, PurposeId, RecordTypeId, RestrictionId};
use crate::time::Timestamp;

/// Imposed and lifted again, over a life.
pub const MOST_EVENTS: usize = 1024;
/// A record type has fewer fields.
pub const MOST_FIELDS: usize = 256;

/// The stream's immutable part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub subject: Pseudonym,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// As if the sources held nothing, and nobody can tell.
    Concealment,
    /// Art. 21, while it is being looked into and after it was granted. Nobody who asks can tell either.
    Opposition,
    /// Art. 18. Past recipients are told (art. 19).
    Restriction,
}

impl Ground {
    pub const fn effect(self) -> RestrictionEffect {
        match self {
            Self::Concealment | Self::Opposition => RestrictionEffect::Conceal,
            Self::Restriction => RestrictionEffect::Withhold,
        }
    }
}

/// What is closed. Every member that is absent means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_type: Option<RecordTypeId>,
    /// Only with a record type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<PurposeId>,
    /// Towards these agencies only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<Vec<AgencyId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Who said so, and how it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    pub capacity: Capacity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Pseudonym>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate: Option<Mandate>,
    pub method: Method,
    pub collected_by: Collector,
    /// SHA-256 of the signed request that brought the event.
    pub request: Sha256,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub at: Timestamp,
    pub word: Word,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    Impose { id: RestrictionId, ground: Ground, extent: Extent },
    Lift { id: RestrictionId },
}

/// A restriction that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imposed {
    pub id: RestrictionId,
    pub ground: Ground,
    pub extent: Extent,
    pub at: Timestamp,
    pub word: Word,
}

/// A person's restrictions as their events leave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restrictions {
    pub header: Header,
    standing: Vec<Imposed>,
    last: Option<Timestamp>,
    epoch: u64,
}

/// Why an event is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestrictionFault {
    #[error("fields are named without their record type, or are none or more than {MOST_FIELDS}")]
    Fields,
    #[error("this capacity does not speak for a person, or needs a mandate in force")]
    NotEntitled,
    #[error("an event is older than the one before it, or there are {MOST_EVENTS} already")]
    Order,
    #[error("a restriction is lifted by whoever imposed it")]
    OtherSpeaker,
    #[error("there is no such restriction")]
    Unknown,
}

impl RestrictionFault {
    pub const fn code(&self) -> Code {
        match self {
            Self::Fields | Self::NotEntitled => Code::RequestInvalid,
            Self::Order => Code::ConsentConflict,
            Self::OtherSpeaker => Code::ExchangeNotAllowed,
            Self::Unknown => Code::RestrictionUnknown,
        }
    }
}

/// What is asked of the restrictions of a person.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub purpose: &'a PurposeId,
    pub record_type: &'a RecordTypeId,
    pub consumer: &'a AgencyId,
}

impl Restrictions {
    /// Nobody has restricted anything yet: what a decision rests on all the same.
    pub const fn none(subject: Pseudonym) -> Self {
        Self { header: Header { subject }, standing: Vec::new(), last: None, epoch: 0 }
    }

    pub fn replay(header: Header, events: Vec<Event>) -> Result<Self, RestrictionFault> {
        events.into_iter().try_fold(Self::none(header.subject), Self::record)
    }

    /// The stream of a person. Does not hold the pseudonym, because streams are named in the bodies of the log.
    pub fn stream_of(subject: &Pseudonym) -> String {
        let digest = Sha256::of_parts(&[b"varco/restrictions/v1\0", subject.as_str().as_bytes()]);
        format!("restrictions.{}", digest.base64url())
    }

    pub fn stream(&self) -> String {
        Self::stream_of(&self.header.subject)
    }

    /// The number of events.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn standing(&self) -> &[Imposed] {
        &self.standing
    }

    /// Adds an event if it may be added.
    pub fn record(mut self, event: Event) -> Result<Self, RestrictionFault> {
        let is_late = self.last.is_some_and(|last| event.at < last);
        if is_late || self.epoch >= MOST_EVENTS as u64 {
            return Err(RestrictionFault::Order);
        }
        if !event.word.is_entitled(event.at) {
            return Err(RestrictionFault::NotEntitled);
        }
        match event.change {
            Change::Impose { id, ground, extent } => {
                extent.check()?;
                self.standing.push(Imposed { id, ground, extent, at: event.at, word: event.word });
            }
            Change::Lift { id } => {
                let place = self.standing.iter().position(|imposed| imposed.id == id);
                let imposed =
                    place.and_then(|place| self.standing.get(place)).ok_or(RestrictionFault::Unknown)?;
                if !imposed.word.is_of_same_speaker(&event.word) {
                    return Err(RestrictionFault::OtherSpeaker);
                }
                self.standing.retain(|imposed| imposed.id != id);
            }
        }
        self.last = Some(event.at);
        self.epoch += 1;
        Ok(self)
    }

    /// What narrows what is asked, now.
    pub fn facts(&self, asked: &Asked<'_>, now: Timestamp) -> Vec<crate::consent::Restriction> {
        let concerned = self.standing.iter().filter(|imposed| imposed.extent.concerns(asked, now));
        let fact = |imposed: &Imposed| crate::consent::Restriction {
            fields: imposed.extent.fields.clone(),
            effect: imposed.ground.effect(),
        };
        concerned.map(fact).collect()
    }
}

impl Extent {
    fn check(&self) -> Result<(), RestrictionFault> {
        let fits = self
            .fields
            .as_ref()
            .is_none_or(|fields| self.record_type.is_some() && (1..=MOST_FIELDS).contains(&fields.len()));
        if fits { Ok(()) } else { Err(RestrictionFault::Fields) }
    }

    fn concerns(&self, asked: &Asked<'_>, now: Timestamp) -> bool {
        self.record_type.as_ref().is_none_or(|kind| kind == asked.record_type)
            && self.purpose.as_ref().is_none_or(|purpose| purpose == asked.purpose)
            && self.recipients.as_ref().is_none_or(|recipients| recipients.contains(asked.consumer))
            && self.until.is_none_or(|until| now < until)
    }
}

impl Word {
    /// Narrowing is the person's, or anybody's who speaks for them.
    pub(crate) fn is_entitled(&self, at: Timestamp) -> bool {
        let has_mandate = || self.mandate.as_ref().is_some_and(|mandate| mandate.covers(at));
        match self.capacity {
            Capacity::Authority | Capacity::Controller => false,
            Capacity::Parent | Capacity::ParentsBoth | Capacity::Subject => true,
            Capacity::AdsAssistance | Capacity::AdsRepresentation | Capacity::Curator | Capacity::Tutor => {
                has_mandate()
            }
        }
    }

    /// Lifting widens, so nobody does it in another's place.
    fn is_of_same_speaker(&self, other: &Self) -> bool {
        self.capacity == other.capacity && self.by == other.by
    }
}

#[cfg(test)]
mod tests;

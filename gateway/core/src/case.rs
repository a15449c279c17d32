//! A case (presa in carico): the subjects, the équipe that follows them, its level, and who is responsible.
//!
//! Append-only events, like consent. Whatever an agency may see follows from the équipe as it stands at the instant of
//! the request: a membership that ended, or a case that closed, opens nothing from that instant on.

mod act;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, CaseId, OfficeId, OperatorId, Pseudonym, PurposeId, ScopeId};
use crate::time::Timestamp;

pub use act::{Act, ActFact};

/// A household with everybody linked to it is far smaller.
pub const MOST_SUBJECTS: usize = 32;
/// An équipe with its temporary members is far smaller.
pub const MOST_MEMBERS: usize = 64;
/// Years of meetings stay far below.
pub const MOST_EVENTS: usize = 4096;

/// The équipe's level: 1 is social and work (Comune and CPI), 2 multidimensional (the ASL and others join by escalation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Level {
    First,
    Second,
}

impl Level {
    pub const ALL: [Self; 2] = [Self::First, Self::Second];
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        match level {
            Level::First => 1,
            Level::Second => 2,
        }
    }
}

impl TryFrom<u8> for Level {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::First),
            2 => Ok(Self::Second),
            _ => Err("expected level 1 or 2"),
        }
    }
}

/// The part of a case that never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub id: CaseId,
    /// The purposes the case may serve; F06 opens the targeted-placement cells only where it is listed.
    pub purposes: Vec<PurposeId>,
}

/// Somebody at an agency, by the agency's own code for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    pub agency: AgencyId,
    pub operator: OperatorId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    #[serde(flatten)]
    pub operator: Operator,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub office: Option<OfficeId>,
    pub role: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<ScopeId>,
    pub from: Timestamp,
    /// For those who join for a meeting or a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub at: Timestamp,
    pub by: Operator,
    /// SHA-256 of the signed request that brought the event.
    pub request: Sha256,
    pub change: Change,
}

/// Why a case needs more than social and work: what an escalation must say, in codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    Behavioural,
    Disability,
    Economic,
    Health,
    Housing,
    Judicial,
}

/// What happened. Reasons in words live in the access log's slots, not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    AddAct {
        act: Act,
    },
    AddMember {
        member: Member,
    },
    AddSubject {
        subject: Pseudonym,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lock: Option<LockedPerson>,
    },
    /// An agency that was asked to join at level 2 agrees. The level rises when the last of them has.
    ApproveEscalation,
    Close,
    /// The act with this document opens nothing any more.
    EndAct {
        sha256: Sha256,
    },
    /// The responsible person asks these agencies to join at level 2, and says for which needs.
    Escalate {
        agencies: BTreeSet<AgencyId>,
        needs: BTreeSet<Need>,
    },
    HandOver {
        to: Operator,
    },
    /// Always the first event.
    Open {
        subjects: BTreeSet<Pseudonym>,
        responsible: Member,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        locks: BTreeMap<Pseudonym, LockedPerson>,
    },
    RemoveMember {
        operator: Operator,
    },
    RemoveSubject {
        subject: Pseudonym,
    },
}

/// A person's codice fiscale under lock, in base64: without the keys that lie apart it says nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPerson {
    pub key: String,
    pub copy: String,
}

impl fmt::Debug for LockedPerson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedPerson(..)")
    }
}

/// A case as its events leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub header: Header,
    subjects: BTreeSet<Pseudonym>,
    locks: BTreeMap<Pseudonym, LockedPerson>,
    members: Vec<Member>,
    responsible: Operator,
    level: Level,
    awaited: BTreeSet<AgencyId>,
    closed: Option<Timestamp>,
    /// In their order; the last one tells the time and their number the epoch.
    events: Vec<Event>,
}

/// Why an event is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaseFault {
    #[error("an act names 1 to 64 fields, begins before it ends and has not ended")]
    Act,
    #[error("the case is closed")]
    Closed,
    #[error("an escalation says for which needs, and which other agencies join")]
    Escalation,
    #[error("there is no escalation waiting for this agency")]
    NoEscalation,
    #[error("the first event of a case opens it, and only the first")]
    NotOpened,
    #[error("only the person responsible for the case may do this")]
    NotResponsible,
    #[error("there is no such act, or it was ended")]
    NoSuchAct,
    #[error("there is no such member")]
    NoSuchMember,
    #[error("there is no such subject, or it is the last one")]
    NoSuchSubject,
    #[error("an event is older than the one before it")]
    OutOfOrder,
    #[error("a membership ends before it begins, or has ended already")]
    Period,
    #[error("the person responsible cannot be removed: hand the case over first")]
    RemovesResponsible,
    #[error("the case is already at level 2")]
    SecondLevel,
    #[error(
        "a case has 1 to {MOST_SUBJECTS} subjects, at most {MOST_MEMBERS} members and {MOST_EVENTS} events"
    )]
    Size,
    #[error("a member who leaves by a date cannot become responsible")]
    Temporary,
}

impl CaseFault {
    pub const fn code(&self) -> Code {
        match self {
            Self::Closed => Code::CaseClosed,
            Self::NotResponsible => Code::ExchangeNotAllowed,
            Self::Act
            | Self::Escalation
            | Self::NoSuchAct
            | Self::NoSuchMember
            | Self::NoSuchSubject
            | Self::NotOpened
            | Self::Period
            | Self::Size => Code::RequestInvalid,
            Self::NoEscalation
            | Self::OutOfOrder
            | Self::RemovesResponsible
            | Self::SecondLevel
            | Self::Temporary => Code::CaseConflict,
        }
    }
}

/// What a decision knows of the case it was asked under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFact {
    pub case: CaseId,
    /// Compared by the log's writer, like a consent's: closing or leaving bites at once.
    pub epoch: u64,
    pub level: Level,
    pub purposes: Vec<PurposeId>,
    /// The scopes of the asking operator's membership.
    pub scopes: BTreeSet<ScopeId>,
}

impl Case {
    /// A new case with its opening event.
    pub fn open(header: Header, first: &Event) -> Result<Self, CaseFault> {
        let Change::Open { subjects, responsible, locks } = &first.change else {
            return Err(CaseFault::NotOpened);
        };
        if header.purposes.is_empty() || subjects.is_empty() || subjects.len() > MOST_SUBJECTS {
            return Err(CaseFault::Size);
        }
        Ok(Self {
            header,
            subjects: subjects.clone(),
            locks: locks.clone(),
            members: vec![responsible.clone()],
            responsible: responsible.operator.clone(),
            level: Level::First,
            awaited: BTreeSet::new(),
            closed: None,
            events: vec![first.clone()],
        })
    }

    /// A case as it was stored; every event is checked again.
    pub fn replay(header: Header, events: &[Event]) -> Result<Self, CaseFault> {
        let (first, rest) = events.split_first().ok_or(CaseFault::NotOpened)?;
        rest.iter().try_fold(Self::open(header, first)?, Self::record)
    }

    /// The number of events.
    pub fn epoch(&self) -> u64 {
        self.events.len() as u64
    }

    /// What happened, the opening first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    pub const fn level(&self) -> Level {
        self.level
    }

    pub const fn closed(&self) -> Option<Timestamp> {
        self.closed
    }

    pub const fn responsible(&self) -> &Operator {
        &self.responsible
    }

    pub const fn subjects(&self) -> &BTreeSet<Pseudonym> {
        &self.subjects
    }

    /// Who this person of the case is, under lock.
    pub fn locked(&self, subject: &Pseudonym) -> Option<&LockedPerson> {
        self.locks.get(subject)
    }

    /// The agencies whose approval an escalation still waits for.
    pub const fn awaited(&self) -> &BTreeSet<AgencyId> {
        &self.awaited
    }

    /// The members at an instant.
    pub fn members(&self, now: Timestamp) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.is_in(now))
    }

    /// Whether the agency may know that the case exists.
    pub fn is_known_to(&self, agency: &AgencyId, now: Timestamp) -> bool {
        self.awaited.contains(agency) || self.members(now).any(|member| member.operator.agency == *agency)
    }

    /// What a decision may rest on: nothing unless the case is open, about one of these pseudonyms of the subject,
    /// and this operator is in the équipe now.
    pub fn fact(&self, subject: &[Pseudonym], asks: &Operator, now: Timestamp) -> Option<CaseFact> {
        if self.closed.is_some() || !subject.iter().any(|pseudonym| self.subjects.contains(pseudonym)) {
            return None;
        }
        let mut mine = self.members(now).filter(|member| member.operator == *asks).peekable();
        mine.peek()?;
        Some(CaseFact {
            case: self.header.id.clone(),
            epoch: self.epoch(),
            level: self.level,
            purposes: self.header.purposes.clone(),
            scopes: mine.flat_map(|member| member.scopes.iter().cloned()).collect(),
        })
    }

    /// What handing something to an agency may rest on: nothing unless the case is open, about one of these pseudonyms of
    /// the subject, and somebody of that agency, and of that office if one is meant, is in the équipe now. Whoever of
    /// them will read it, they hold the scopes that all of them hold.
    pub fn fact_for(
        &self,
        subject: &[Pseudonym],
        agency: &AgencyId,
        office: Option<&OfficeId>,
        now: Timestamp,
    ) -> Option<CaseFact> {
        if self.closed.is_some() || !subject.iter().any(|pseudonym| self.subjects.contains(pseudonym)) {
            return None;
        }
        let theirs = self.members(now).filter(|member| {
            member.operator.agency == *agency && (office.is_none() || member.office.as_ref() == office)
        });
        let scopes = theirs.map(|member| member.scopes.clone()).reduce(|a, b| &a & &b)?;
        Some(CaseFact {
            case: self.header.id.clone(),
            epoch: self.epoch(),
            level: self.level,
            purposes: self.header.purposes.clone(),
            scopes,
        })
    }

    /// Adds an event if the rules of the case allow it.
    pub fn record(mut self, event: &Event) -> Result<Self, CaseFault> {
        if self.closed.is_some() {
            return Err(CaseFault::Closed);
        }
        if self.events.last().is_some_and(|last| event.at < last.at) {
            return Err(CaseFault::OutOfOrder);
        }
        if self.events.len() >= MOST_EVENTS {
            return Err(CaseFault::Size);
        }
        let leaves = matches!(&event.change, Change::RemoveMember { operator } if *operator == event.by);
        let approves = matches!(event.change, Change::ApproveEscalation);
        if !leaves && !approves && !self.may_act(event) && event.by != self.responsible {
            return Err(CaseFault::NotResponsible);
        }
        self.change(event)?;
        self.events.push(event.clone());
        Ok(self)
    }

    fn change(&mut self, event: &Event) -> Result<(), CaseFault> {
        let at = event.at;
        match &event.change {
            Change::AddAct { act } => act.check(at)?,
            Change::AddMember { member } => {
                if self.members.len() >= MOST_MEMBERS {
                    return Err(CaseFault::Size);
                }
                if member.until.is_some_and(|until| until <= member.from || until <= at) {
                    return Err(CaseFault::Period);
                }
                self.members.push(member.clone());
            }
            Change::AddSubject { subject, lock } => {
                if self.subjects.len() >= MOST_SUBJECTS {
                    return Err(CaseFault::Size);
                }
                self.subjects.insert(subject.clone());
                self.locks.extend(lock.clone().map(|lock| (subject.clone(), lock)));
            }
            Change::Close => self.closed = Some(at),
            Change::EndAct { sha256 } => self.end_act(sha256)?,
            Change::Escalate { agencies, needs } => self.escalate(event, agencies, needs)?,
            Change::HandOver { to } => {
                let theirs: Vec<_> = self.members(at).filter(|member| member.operator == *to).collect();
                if theirs.is_empty() {
                    return Err(CaseFault::NoSuchMember);
                }
                if theirs.iter().all(|member| member.until.is_some()) {
                    return Err(CaseFault::Temporary);
                }
                self.responsible = to.clone();
            }
            Change::RemoveMember { operator } => self.remove(operator, at)?,
            Change::RemoveSubject { subject } => {
                if self.subjects.len() < 2 || !self.subjects.remove(subject) {
                    return Err(CaseFault::NoSuchSubject);
                }
                self.locks.remove(subject);
            }
            Change::ApproveEscalation => self.approve(&event.by)?,
            Change::Open { .. } => return Err(CaseFault::NotOpened),
        }
        Ok(())
    }

    /// Level 2 is not reached alone: at least one other agency joins and agrees.
    fn escalate(
        &mut self,
        event: &Event,
        agencies: &BTreeSet<AgencyId>,
        needs: &BTreeSet<Need>,
    ) -> Result<(), CaseFault> {
        if self.level == Level::Second {
            return Err(CaseFault::SecondLevel);
        }
        if needs.is_empty() || agencies.is_empty() || agencies.contains(&event.by.agency) {
            return Err(CaseFault::Escalation);
        }
        self.awaited.clone_from(agencies);
        Ok(())
    }

    fn approve(&mut self, by: &Operator) -> Result<(), CaseFault> {
        if !self.awaited.remove(&by.agency) {
            return Err(CaseFault::NoEscalation);
        }
        if self.awaited.is_empty() {
            self.level = Level::Second;
        }
        Ok(())
    }

    fn remove(&mut self, operator: &Operator, at: Timestamp) -> Result<(), CaseFault> {
        if *operator == self.responsible {
            return Err(CaseFault::RemovesResponsible);
        }
        let mut found = false;
        for member in
            self.members.iter_mut().filter(|member| member.operator == *operator && member.is_in(at))
        {
            member.until = Some(at);
            found = true;
        }
        if found { Ok(()) } else { Err(CaseFault::NoSuchMember) }
    }
}

impl Member {
    fn is_in(&self, now: Timestamp) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests;

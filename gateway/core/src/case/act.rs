//! Acts of a guardian or a judge that open, of one person's record, what opens with such an act alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Case, CaseFault, Change, Event};
use crate::consent::Mandate;
use crate::hash::Sha256;
use crate::id::{AgencyId, FieldId, Pseudonym, RecordTypeId};
use crate::time::Timestamp;

/// A decree about a household touches far fewer fields.
pub const MOST_FIELDS: usize = 64;

/// The dispositive part of an act only: who gave it, for how long, and which fields of whose record it opens. It is known by
/// the digest of its document, which stays with the agency that recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    pub subject: Pseudonym,
    /// With an end: an act for ever would outlive what it was given for.
    pub mandate: Mandate,
    pub record_type: RecordTypeId,
    pub fields: BTreeSet<FieldId>,
}

/// What a decision knows of an act: it opens cells marked `g`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActFact {
    /// SHA-256 of its document.
    pub reference: String,
    pub fields: Vec<FieldId>,
}

impl Act {
    pub(super) fn check(&self, at: Timestamp) -> Result<(), CaseFault> {
        let ends = self.mandate.until.is_some_and(|until| self.mandate.from < until && at < until);
        let fits = (1..=MOST_FIELDS).contains(&self.fields.len());
        if ends && fits { Ok(()) } else { Err(CaseFault::Act) }
    }

    fn is_in_force(&self, now: Timestamp) -> bool {
        self.mandate.from <= now && self.mandate.until.is_some_and(|until| now < until)
    }
}

impl Case {
    /// The acts that count for a record of this provider's now. One that another agency recorded opens nothing of it: an owner
    /// goes by what it has seen itself.
    pub fn acts(
        &self,
        subject: &[Pseudonym],
        (provider, record_type): (&AgencyId, &RecordTypeId),
        now: Timestamp,
    ) -> Vec<ActFact> {
        let counts = |act: &&Act| {
            act.record_type == *record_type && act.is_in_force(now) && subject.contains(&act.subject)
        };
        let fact = |act: &Act| ActFact {
            reference: act.mandate.sha256.to_string(),
            fields: act.fields.iter().cloned().collect(),
        };
        self.standing()
            .filter(|(by, _)| *by == provider)
            .map(|(_, act)| act)
            .filter(counts)
            .map(fact)
            .collect()
    }

    /// The acts that nobody has ended, with the agency that recorded each.
    fn standing(&self) -> impl Iterator<Item = (&AgencyId, &Act)> {
        let ended = |sha256: &Sha256, after: usize| {
            self.events
                .iter()
                .skip(after)
                .any(|event| matches!(&event.change, Change::EndAct { sha256: ended } if ended == sha256))
        };
        self.events.iter().enumerate().filter_map(move |(place, event)| {
            let Change::AddAct { act } = &event.change else { return None };
            (!ended(&act.mandate.sha256, place)).then_some((&event.by.agency, act))
        })
    }

    pub(super) fn end_act(&self, sha256: &Sha256) -> Result<(), CaseFault> {
        let known = self.standing().any(|(_, act)| act.mandate.sha256 == *sha256);
        if known { Ok(()) } else { Err(CaseFault::NoSuchAct) }
    }

    /// Whoever is in the équipe to stay records an act, and whoever is in it at all ends one: narrowing never waits.
    pub(super) fn may_act(&self, event: &Event) -> bool {
        let mut mine = self.members(event.at).filter(|member| member.operator == event.by);
        let adds = matches!(event.change, Change::AddAct { .. });
        let ends = matches!(event.change, Change::EndAct { .. });
        mine.any(|member| ends || adds && member.until.is_none())
    }
}

//! Which conditions of a field are met: by the person's word, by the others of the household, by acts, by the case.

use super::record::{FieldIndex, RecordType};
use super::table::Needs;
use super::{Facts, Layer, MemberFacts, Reason};
use crate::consent::ConsentFact;
use crate::id::FieldId;

/// What of the conditions is met for one field.
#[derive(Clone, Copy, Default)]
pub(super) struct Met {
    pub(super) needs: Needs,
    /// Which of the facts' consents covers the field, and which names it.
    agreed: Option<u16>,
    named: Option<u16>,
}

impl Met {
    /// The consent that conditions rest on, if they ask for one.
    pub(super) fn consent(&self, needs: Needs) -> Option<usize> {
        let consent = if needs.has(Needs::EXPLICIT) || needs.has(Needs::EXPLICIT_OR_ACT) {
            self.named
        } else if needs.has(Needs::AGREED) {
            self.agreed
        } else {
            None
        };
        consent.map(usize::from)
    }

    /// The first condition that is not met, and whose word is missing.
    pub(super) fn unmet(&self, needs: Needs) -> Option<(Layer, Reason)> {
        if self.needs.has(needs) {
            return None;
        }
        // Where an act opens the cell, the person is not asked as well.
        let by_act =
            self.needs.has(Needs::ACT) && (needs.has(Needs::ACT) || needs.has(Needs::EXPLICIT_OR_ACT));
        let met = if by_act { self.needs.and(Needs::AGREED) } else { self.needs };
        [
            (Needs::SCOPE, Layer::Case, Reason::Scope),
            (Needs::ACT, Layer::Person, Reason::ActMissing),
            (Needs::EXPLICIT_OR_ACT, Layer::Person, Reason::ConsentMissing),
            (Needs::EXPLICIT, Layer::Person, Reason::ConsentMissing),
            (Needs::AGREED, Layer::Person, Reason::ConsentMissing),
        ]
        .into_iter()
        .find(|(need, ..)| needs.has(*need) && !met.has(*need))
        .map(|(_, layer, reason)| (layer, reason))
    }

    /// As much as both allow. What does not depend on consent stays the subject's.
    pub(super) fn meet(&mut self, other: &Self) {
        let by_act = self.needs.has(Needs::ACT);
        let lacks = |need: Needs| !other.needs.has(need);
        if lacks(Needs::AGREED) {
            self.needs = self.needs.without(Needs::AGREED);
        }
        if lacks(Needs::EXPLICIT) {
            self.needs = self.needs.without(Needs::EXPLICIT);
            if !by_act {
                self.needs = self.needs.without(Needs::EXPLICIT_OR_ACT);
            }
        }
    }

    fn add(&mut self, need: Needs) {
        self.needs = self.needs.and(need);
    }

    fn agree(&mut self, consent: u16) {
        self.agreed.get_or_insert(consent);
        self.add(Needs::AGREED);
    }

    fn name(&mut self, consent: u16) {
        self.named.get_or_insert(consent);
        self.agree(consent);
        self.add(Needs::EXPLICIT.and(Needs::EXPLICIT_OR_ACT));
    }
}

/// What of the conditions is met, field by field.
pub(super) fn met(record: &RecordType, facts: &Facts) -> Vec<Met> {
    let mut met = vec![Met::default(); record.fields.len()];
    if let Some(case) = facts.case.as_ref().filter(|case| !case.scopes.is_empty()) {
        for (met, field) in met.iter_mut().zip(&record.fields) {
            if field.scope.as_ref().is_some_and(|scope| case.scopes.contains(scope)) {
                met.add(Needs::SCOPE);
            }
        }
    }
    agree(record, &facts.consents, &mut met);
    for field in facts.acts.iter().flat_map(|act| &act.fields) {
        if let Some(met) = record.find(field).and_then(|index| met.get_mut(index.at())) {
            met.add(Needs::ACT.and(Needs::EXPLICIT_OR_ACT));
        }
    }
    met
}

/// Adds what these consents cover.
fn agree(record: &RecordType, consents: &[ConsentFact], met: &mut [Met]) {
    for (number, consent) in (0..u16::MAX).zip(consents) {
        match &consent.fields {
            None if consent.excluded.is_empty() => met.iter_mut().for_each(|met| met.agree(number)),
            None => {
                let excluded = marks(record, &consent.excluded);
                let left = met.iter_mut().zip(excluded).filter(|(_, out)| !out);
                left.for_each(|(met, _)| met.agree(number));
            }
            Some(fields) => {
                for field in fields.iter().filter(|field| !consent.excluded.contains(field)) {
                    if let Some(met) = record.find(field).and_then(|index| met.get_mut(index.at())) {
                        met.name(number);
                    }
                }
            }
        }
    }
}

/// What each other member of the household has agreed to.
pub(super) fn met_by_others(record: &RecordType, facts: &Facts) -> Vec<Vec<Met>> {
    let of = |member: &MemberFacts| {
        let mut met = vec![Met::default(); record.fields.len()];
        agree(record, &member.consents, &mut met);
        met
    };
    facts.household.iter().map(of).collect()
}

pub(crate) fn marks(record: &RecordType, fields: &[FieldId]) -> Vec<bool> {
    let mut marks = vec![false; record.fields.len()];
    for at in fields.iter().filter_map(|field| record.find(field)).map(FieldIndex::at) {
        if let Some(mark) = marks.get_mut(at) {
            *mark = true;
        }
    }
    marks
}

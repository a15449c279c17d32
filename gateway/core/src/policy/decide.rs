//! The decision: one request against the table. Pure, and the same for ever for the same policy, facts and instant.

use std::sync::Arc;

use super::met::{Met, marks, met, met_by_others};
use super::opening::{Opened, Site};
use super::record::{Field, FieldIndex, RecordType};
use super::table::{Ceiling, Cell, Epoch, slot};
use super::{
    CaseRule, Facts, Gives, GrantIndex, Layer, Plan, Planned, Policy, Purpose, Question, Reason, Refusal,
    Ruling,
};
use crate::case::Level;
use crate::consent::{ConsentFact, Restriction, RestrictionEffect};
use crate::id::{ConsentId, FieldId};
use crate::view::ladder::ViewIndex;

/// Where in the table a request stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub record: usize,
    pub purpose: usize,
    pub level: Option<Level>,
    pub audience: usize,
}

impl Policy {
    /// Rules on every field of the record type, or refuses the request as a whole.
    pub fn decide(&self, question: &Question<'_>) -> Result<Plan, Refusal> {
        self.rule(question, Gives::Records)
    }

    /// The same of what people may be counted by. A body of the same kind may be counted like any other: the columns that
    /// are of another body of one's kind concern single records.
    pub fn decide_aggregates(&self, question: &Question<'_>) -> Result<Plan, Refusal> {
        self.rule(question, Gives::Aggregates)
    }

    fn rule(&self, question: &Question<'_>, gives: Gives) -> Result<Plan, Refusal> {
        let site = self.site(question, gives)?;
        let (facts, record) = (question.facts, site.record);
        let opened = self.open(&site, question);
        let mut work = Work::new(record, &opened, facts);
        work.narrow_by_rules(&site.epoch.ceilings(site.place.record, site.start, facts));
        work.narrow_by_person(&facts.restrictions, |_| true);
        for member in &facts.household {
            work.narrow_by_person(&member.restrictions, Field::is_shared);
        }
        work.close();
        if let Some(requested) = question.requested {
            work.narrow_by_request(requested)
                .map_err(|field| Refusal::UnknownField(field, record.id.clone()))?;
        }
        let whole = self.records.get(site.place.record).cloned();
        whole.map(|record| work.plan(record, facts)).ok_or(Refusal::PurposeNotHeld(question.purpose.clone()))
    }

    /// Where the question stands in the table; refuses it as a whole where nothing stands.
    pub(super) fn site(&self, question: &Question<'_>, gives: Gives) -> Result<Site<'_>, Refusal> {
        let place = self.place(question, gives)?;
        let found = || {
            let (record, epoch) = (self.records.get(place.record)?, self.epoch(question.now)?);
            let start = epoch.start(&place, self)?;
            let cells = epoch.records.get(place.record)?.cells.get(start..start + record.fields.len())?;
            Some(Site { place, epoch, record, cells, start })
        };
        found().ok_or_else(|| Refusal::PurposeNotHeld(question.purpose.clone()))
    }

    /// Checks everything about the request that does not depend on a field.
    pub(super) fn place(&self, question: &Question<'_>, gives: Gives) -> Result<Place, Refusal> {
        let facts = question.facts;
        if question.now < self.agreement.from || question.now >= self.agreement.until {
            return Err(Refusal::AgreementNotInForce);
        }
        for party in [&facts.provider, &facts.consumer] {
            let listed = |p: &super::AgreementParty| p.agency == party.agency && p.kind == party.kind;
            if !self.agreement.parties.iter().any(listed) {
                return Err(Refusal::NotAParty(party.agency.clone()));
            }
        }
        if facts.provider.agency == facts.consumer.agency {
            return Err(Refusal::OwnRecord);
        }
        let record = self
            .records
            .iter()
            .position(|record| record.id == *question.record_type)
            .ok_or_else(|| Refusal::UnknownRecordType(question.record_type.clone()))?;
        if !self.records.get(record).is_some_and(|record| record.owners.contains(&facts.provider.kind)) {
            let agency = facts.provider.agency.clone();
            return Err(Refusal::ProviderDoesNotOwn(agency, question.record_type.clone()));
        }
        let (purpose, found) = self
            .purposes
            .iter()
            .enumerate()
            .find(|(_, purpose)| purpose.id == *question.purpose)
            .ok_or_else(|| Refusal::UnknownPurpose(question.purpose.clone()))?;
        let level = found.admits(question, gives)?;
        Ok(Place { record, purpose, level, audience: self.audience(facts) })
    }

    /// The consumer's office where the table knows it, else its kind.
    fn audience(&self, facts: &Facts) -> usize {
        let consumer = &facts.consumer;
        let of = |office: Option<&crate::id::OfficeId>| {
            self.audiences.iter().position(|a| a.kind == consumer.kind && a.office.as_ref() == office)
        };
        let by_office = consumer.office.as_ref().and_then(|office| of(Some(office)));
        // Every kind is in the table; an index past its end finds no block and refuses.
        by_office.or_else(|| of(None)).unwrap_or(usize::MAX)
    }

    pub(super) fn epoch(&self, now: crate::time::Timestamp) -> Option<&Epoch> {
        self.epochs.iter().rev().find(|epoch| epoch.from <= now)
    }
}

impl Purpose {
    /// Whether the purpose gives this and holds for the question, and the level it is asked at.
    fn admits(&self, question: &Question<'_>, gives: Gives) -> Result<Option<Level>, Refusal> {
        let facts = question.facts;
        let (now, id) = (question.now, || self.id.clone());
        if self.from.is_some_and(|from| now < from) || self.until.is_some_and(|until| now >= until) {
            return Err(Refusal::PurposeNotInForce(id()));
        }
        if !self.records.iter().any(|record| record.record_type == *question.record_type) {
            return Err(Refusal::RecordNotInPurpose(id(), question.record_type.clone()));
        }
        match (self.gives, gives) {
            (Gives::Aggregates, Gives::Records) => return Err(Refusal::AggregatesOnly),
            (Gives::Records, Gives::Aggregates) => return Err(Refusal::RecordsOnly),
            (Gives::Aggregates, Gives::Aggregates) | (Gives::Records, Gives::Records) => {}
        }
        let is_one_kind = facts.provider.kind == facts.consumer.kind;
        if gives == Gives::Records && is_one_kind && !self.same_kind {
            return Err(Refusal::SameKind(id()));
        }
        match self.case {
            CaseRule::None => Ok(None),
            CaseRule::Required => {
                let case = facts.case.as_ref().ok_or_else(|| Refusal::CaseMissing(id()))?;
                if !case.purposes.contains(&self.id) {
                    return Err(Refusal::CaseForAnotherPurpose(id()));
                }
                if !self.levels.contains(&case.level) {
                    return Err(Refusal::Level(id()));
                }
                Ok(Some(case.level))
            }
        }
    }
}

impl Epoch {
    /// Where the block of a place begins in its record's cells.
    pub(super) fn start(&self, place: &Place, policy: &Policy) -> Option<usize> {
        let audiences = policy.audiences.len();
        if place.audience >= audiences {
            return None;
        }
        let index =
            (place.purpose * super::table::SLOTS.len() + slot(place.level)) * audiences + place.audience;
        let start = (*self.records.get(place.record)?.starts.get(index)?)?;
        usize::try_from(start).ok()
    }
}

impl Epoch {
    /// The two bodies' regulations for a block: towards everybody, and towards the other one by name.
    pub(super) fn ceilings(&self, record: usize, start: usize, facts: &Facts) -> Vec<(Layer, &[Ceiling])> {
        let (provider, consumer) = (&facts.provider.agency, &facts.consumer.agency);
        let sides = [
            (Layer::Owner, &self.owner, provider, consumer),
            (Layer::Recipient, &self.recipient, consumer, provider),
        ];
        let mut found = Vec::new();
        for (layer, ceilings, body, other) in
            sides.into_iter().filter(|(_, ceilings, ..)| !ceilings.is_empty())
        {
            for toward in [None, Some(other.clone())] {
                let list = ceilings.get(&(record, body.clone(), toward));
                found.extend(list.and_then(|list| list.get(start..)).map(|list| (layer, list)));
            }
        }
        found
    }
}

/// A field while the layers speak.
#[derive(Clone, Copy)]
struct Standing {
    view: ViewIndex,
    /// The first layer that took something away.
    cause: Option<(Layer, Reason)>,
}

impl Standing {
    /// A layer's ceiling; conditions it adds and that are not met close the cell in that layer's name.
    fn cap(&mut self, field: &Field, met: &Met, ceiling: Ceiling, cause: (Layer, Reason)) {
        let view = if met.unmet(ceiling.needs).is_none() { ceiling.view } else { ViewIndex::WITHHOLD };
        self.lower(field, view, cause);
    }

    /// The meet with what a layer allows. Who takes something away first is remembered; who takes the rest, too.
    fn lower(&mut self, field: &Field, most: ViewIndex, cause: (Layer, Reason)) {
        if most == ViewIndex::WHOLE {
            return;
        }
        // A cell that was never granted still names the first layer that would have refused it.
        if self.cause.is_some() && !self.view.shows() {
            return;
        }
        let view = field.ladder.meet(self.view, most);
        if view != self.view || !view.shows() {
            let closes = !view.shows();
            if self.cause.is_none() || closes {
                self.cause = Some(cause);
            }
            self.view = view;
        }
    }
}

struct Work<'a> {
    record: &'a RecordType,
    cells: &'a [Cell],
    /// What the owner has opened, if anything: its own regulation does not close that again.
    by_owner: &'a [bool],
    standing: Vec<Standing>,
    /// The person asked that it look as if there were nothing.
    concealed: Vec<bool>,
    met: Vec<Met>,
    /// What each other member of the household has agreed to, field by field.
    others: Vec<Vec<Met>>,
}

impl<'a> Work<'a> {
    fn new(record: &'a RecordType, opened: &'a Opened<'_>, facts: &Facts) -> Self {
        let (mut met, cells) = (met(record, facts), opened.cells.as_ref());
        let others = met_by_others(record, facts);
        for (i, met) in met.iter_mut().enumerate() {
            if record.fields.get(i).is_some_and(Field::is_shared) {
                others.iter().filter_map(|member| member.get(i)).for_each(|member| met.meet(member));
            }
        }
        let standing = cells.iter().map(|cell| Standing { view: cell.view, cause: None }).collect();
        let concealed = vec![false; cells.len()];
        Self { record, cells, by_owner: &opened.by_owner, standing, concealed, met, others }
    }

    /// Law, agreement, the two regulations, and the conditions they ask for. The first to speak is the one named.
    fn narrow_by_rules(&mut self, regulations: &[(Layer, &[Ceiling])]) {
        let rows = self.standing.iter_mut().zip(&self.record.fields).zip(self.cells.iter().zip(&self.met));
        for (i, ((standing, field), (cell, met))) in rows.enumerate() {
            standing.cap(field, met, cell.law, (Layer::Law, Reason::Category));
            if !cell.view.shows() {
                let reason = if cell.at_other_level { Reason::Level } else { Reason::NotGranted };
                standing.lower(field, ViewIndex::WITHHOLD, (Layer::Agreement, reason));
            }
            let is_opened = self.by_owner.get(i).copied().unwrap_or_default();
            for (layer, ceilings) in regulations {
                if let Some(ceiling) = ceilings.get(i).filter(|_| !is_opened || *layer != Layer::Owner) {
                    standing.cap(field, met, *ceiling, (*layer, Reason::Regulation));
                }
            }
            if let Some(cause) = met.unmet(cell.needs) {
                standing.lower(field, ViewIndex::WITHHOLD, cause);
            }
        }
    }

    fn lower(&mut self, i: usize, most: ViewIndex, cause: (Layer, Reason)) {
        if let Some((standing, field)) = self.standing.get_mut(i).zip(self.record.fields.get(i)) {
            standing.lower(field, most, cause);
        }
    }

    /// `reaches` tells the fields this person may speak for.
    fn narrow_by_person(&mut self, restrictions: &[Restriction], reaches: impl Fn(&Field) -> bool) {
        for restriction in restrictions {
            let concerned = restriction.fields.as_ref().map(|fields| marks(self.record, fields));
            for (i, field) in self.record.fields.iter().enumerate() {
                let is_concerned = concerned.as_ref().is_none_or(|m| m.get(i).copied().unwrap_or_default());
                if !is_concerned || !reaches(field) {
                    continue;
                }
                match restriction.effect {
                    RestrictionEffect::Conceal => set(&mut self.concealed, i),
                    RestrictionEffect::Withhold => {
                        self.lower(i, ViewIndex::WITHHOLD, (Layer::Person, Reason::Opposed));
                    }
                }
            }
        }
    }

    /// What would tell a field that is not shown is capped. Caps depend on the grant and not on the standing view:
    /// a cap that fell because another ceiling came first would let that ceiling widen.
    fn close(&mut self) {
        for implication in &self.record.implications {
            let (from, to) = (implication.from.at(), implication.to.at());
            let granted = self.cells.get(from).map_or(ViewIndex::WITHHOLD, |cell| cell.view);
            let cap = implication.caps.get(granted.at()).copied().unwrap_or(ViewIndex::WITHHOLD);
            if cap != granted && self.concealed.get(to).copied().unwrap_or_default() {
                set(&mut self.concealed, from);
            }
            let Some((told, field)) = self.standing.get(to).copied().zip(self.record.fields.get(to)) else {
                continue;
            };
            if field.ladder.is_within(implication.at_least, told.view) {
                continue;
            }
            let layer = told.cause.map_or(Layer::Agreement, |(layer, _)| layer);
            self.lower(from, cap, (layer, Reason::Implied));
        }
    }

    /// What was not asked is not shown. It does not cap what implies it: not asking is no wish to hide.
    fn narrow_by_request(&mut self, requested: &[FieldId]) -> Result<(), FieldId> {
        let mut asked = vec![false; self.standing.len()];
        let mut mark = |index: FieldIndex| {
            if let Some(slot) = asked.get_mut(index.at()) {
                *slot = true;
            }
        };
        for id in requested {
            let index = self.record.find(id).ok_or_else(|| id.clone())?;
            mark(index);
            // A part is asked for inside its list.
            self.record.field(index).and_then(|field| field.parent).into_iter().for_each(&mut mark);
        }
        for (i, is_asked) in asked.into_iter().enumerate() {
            if !is_asked {
                self.lower(i, ViewIndex::WITHHOLD, (Layer::Request, Reason::NotRequested));
            }
        }
        Ok(())
    }

    fn plan(self, record_type: Arc<RecordType>, facts: &Facts) -> Plan {
        let mut consents = Rested::default();
        let mut shared = Vec::new();
        let mut fields = Vec::with_capacity(self.standing.len());
        let mut concealed = Vec::new();
        let rows = self.record.indices().zip(&self.record.fields).zip(self.standing.iter().zip(self.cells));
        let rows = rows.zip(self.met.iter().zip(&self.concealed));
        for (i, (((index, field), (standing, cell)), (met, is_concealed))) in rows.enumerate() {
            let is_concealed = *is_concealed;
            let ruling = if field.conceal && (is_concealed || !standing.view.shows()) {
                Ruling::Unavailable
            } else if standing.view.shows() {
                let needs = cell.needs.and(cell.law.needs);
                let rests_on = met.consent(needs).and_then(|at| facts.consents.get(at));
                let consent = rests_on.map(|fact| consents.place(fact));
                if field.is_shared() {
                    let others = self.others.iter().zip(&facts.household);
                    let rests_on = others.filter_map(|(met, member)| {
                        member.consents.get(met.get(i)?.consent(needs)?).map(|fact| consents.place(fact))
                    });
                    shared.extend(rests_on.map(|consent| (index, consent)));
                }
                let limited_by = standing.cause.map(|(layer, _)| layer);
                Ruling::Show { view: standing.view, grant: GrantIndex(cell.grant), consent, limited_by }
            } else {
                let (layer, reason) = standing.cause.unwrap_or((Layer::Agreement, Reason::NotGranted));
                Ruling::Withhold { layer, reason }
            };
            if is_concealed {
                concealed.push(index);
            }
            fields.push(Planned { field: index, ruling });
        }
        Plan { record_type, fields, consents: consents.into_epochs(), shared, concealed }
    }
}

/// The consents a plan rests on, each once.
#[derive(Default)]
struct Rested<'a>(Vec<&'a ConsentFact>);

impl<'a> Rested<'a> {
    fn place(&mut self, fact: &'a ConsentFact) -> usize {
        // Most fields rest on the one before's: that is seen without comparing identifiers.
        let same = |known: &&ConsentFact| std::ptr::eq(*known, fact) || known.consent == fact.consent;
        self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(fact);
            self.0.len() - 1
        })
    }

    fn into_epochs(self) -> Vec<(ConsentId, u64)> {
        self.0.into_iter().map(|fact| (fact.consent.clone(), fact.epoch)).collect()
    }
}

fn set(marks: &mut [bool], i: usize) {
    if let Some(mark) = marks.get_mut(i) {
        *mark = true;
    }
}

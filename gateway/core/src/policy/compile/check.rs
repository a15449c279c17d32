//! What must hold of a bundle as a whole. Every check is an exhaustive loop over the finite table.

use std::collections::BTreeSet;

use super::super::bundle::Sections;
use super::super::bundle::agreement::Terms;
use super::super::fault::{Faults, Place, Problem, shown};
use super::super::record::RecordType;
use super::super::table::{Assertion, Block, Ceiling, Cell, Needs, Selection};
use super::super::{Act, AgreementParty, Category, ConsentRole, Gives, GrantIndex, Policy};
use crate::id::{AgencyId, FieldId};
use crate::statistics::{Dimension, OWNERS_MAX};
use crate::view::ladder::ViewIndex;

/// The record types and fields that purposes name exist.
pub fn purposes(terms: &Terms, records: &[RecordType], faults: &mut Faults) {
    for (purpose, (place, rows)) in terms.purposes.iter().zip(&terms.places) {
        for (given, place) in purpose.records.iter().zip(rows) {
            let Some(record) = records.iter().find(|record| record.id == given.record_type) else {
                let valid = records.iter().map(|record| record.id.as_str());
                faults.unknown(place, "record type", given.record_type.as_str(), valid);
                continue;
            };
            for field in given.fields.iter().flatten().filter(|field| record.find(field).is_none()) {
                faults.unknown(place, "field", field.as_str(), record.names.keys().map(FieldId::as_str));
            }
        }
        if purpose.consent == ConsentRole::Basis && !terms.rests_on_consent(&purpose.acts) {
            faults.add(place, Problem::BasisWithoutConsent(purpose.id.to_string()));
        }
    }
}

impl Terms {
    fn rests_on_consent(&self, acts: &[String]) -> bool {
        let cited = self.acts.iter().filter(|act| acts.contains(&act.id));
        cited
            .into_iter()
            .any(|act| act.art6.as_deref() == Some("6(1)(a)") || act.art9.as_deref() == Some("9(2)(a)"))
    }
}

/// Every grant cites acts: exactly one basis of art. 6, and a source of art. 9 or 10 where the category needs it. What is
/// more than common data rests on an impact assessment.
pub fn grants(policy: &Policy, faults: &mut Faults) {
    // Acts are cited by row and by purpose: columns share them.
    let mut unassessed = BTreeSet::new();
    let pairs: BTreeSet<(usize, usize)> = policy.grants.iter().map(|key| (key.row, key.purpose)).collect();
    for (row, purpose) in pairs {
        let (Some(row), Some(purpose)) = (policy.rows.get(row), policy.purposes.get(purpose)) else {
            continue;
        };
        let place = &row.place;
        let acts: Vec<&Act> = policy
            .acts
            .iter()
            .filter(|act| row.acts.contains(&act.id) || purpose.acts.contains(&act.id))
            .collect();
        if acts.is_empty() {
            faults.add(place, Problem::WithoutAct);
            continue;
        }
        let bases: BTreeSet<&str> = acts.iter().filter_map(|act| act.art6.as_deref()).collect();
        let mut bases = bases.into_iter();
        match (bases.next(), bases.next()) {
            (None, _) => faults.add(place, Problem::Missing("art6")),
            (Some(first), Some(second)) => {
                faults.add(place, Problem::BasisTwice(first.to_owned(), second.to_owned()));
            }
            (Some(_), None) => {}
        }
        let field = policy.records.get(row.record).and_then(|record| record.field(row.field));
        let category = field.map_or(Category::Common, |field| field.category);
        if let Some((article, category)) = missing_source(&acts, category) {
            let cited: Vec<&str> = acts.iter().map(|act| act.id.as_str()).collect();
            faults.add(place, Problem::ActWithoutSource(cited.join(", "), article, category));
        }
        if category != Category::Common && purpose.dpia.is_none() && unassessed.insert(&purpose.id) {
            faults.add(place, Problem::WithoutDpia(purpose.id.to_string()));
        }
    }
}

/// The article of the GDPR whose source none of the acts gives, and the category that needs it.
pub fn missing_source(acts: &[&Act], category: Category) -> Option<(u8, &'static str)> {
    let (by_9, by_10) =
        (acts.iter().any(|act| act.art9.is_some()), acts.iter().any(|act| act.art10.is_some()));
    match category {
        Category::Special if !by_9 => Some((9, "speciale")),
        Category::Protected if !by_9 => Some((9, "protetta")),
        Category::Judicial if !by_10 => Some((10, "giudiziaria")),
        Category::Common | Category::Judicial | Category::Protected | Category::Special => None,
    }
}

/// A cell that grants is reached by some purpose, and one in brackets by none: what is read in the matrix is what happens.
pub fn cells(policy: &Policy, reached: &[bool], faults: &mut Faults) {
    for (at, row) in policy.rows.iter().enumerate() {
        let Some(record) = policy.records.get(row.record) else { continue };
        let field = record.field(row.field).map(|field| field.id.to_string()).unwrap_or_default();
        for (column, (named, cell)) in policy.columns.iter().zip(&row.cells).enumerate() {
            let is_reached = reached.get(at * policy.columns.len() + column).copied().unwrap_or_default();
            let (field, column) = (field.clone(), named.id.clone());
            if cell.view.shows() && !is_reached {
                faults.add(&row.place, Problem::DeadCell { field, column });
            } else if cell.is_reserved && is_reached {
                faults.add(&row.place, Problem::ReservedReached { field, column });
            }
        }
    }
}

/// Somebody may ask for each tabulation under a purpose for aggregates, and its owners fit into one answer.
pub fn tabulations(policy: &Policy, sections: &Sections, faults: &mut Faults) {
    for tabulation in &policy.tabulations {
        let section =
            sections.of("prospetto").iter().find(|s| s.name.text == tabulation.record_type.as_str());
        let Some(section) = section else { continue };
        let owners: usize = policy.areas_of(tabulation).iter().map(|area| area.owners.len()).sum();
        if owners > OWNERS_MAX {
            let word = tabulation.record_type.to_string();
            let expected = "a record type of at most 32 bodies, as a tabulation needs";
            faults.add(&section.kind.place, Problem::Value { word, expected });
        }
        let place = policy.records.iter().position(|record| record.id == tabulation.record_type);
        let Some((at, record)) = place.and_then(|at| Some((at, policy.records.get(at)?))) else { continue };
        let tables = || policy.epochs.iter().filter_map(|epoch| epoch.records.get(at));
        let is_given = |dimension: &Dimension| {
            let field = record.find(&dimension.field).and_then(|index| Some((index, record.field(index)?)));
            let Some((index, field)) = field else { return false };
            let Some(view) = field.ladder.find(dimension.view.as_str()) else { return false };
            tables().any(|table| {
                let counts = |block: &&Block| {
                    policy.purposes.get(block.purpose).is_some_and(|p| p.gives == Gives::Aggregates)
                };
                table.blocks.iter().filter(counts).any(|block| {
                    let cell = table.cells.get(block.start + index.at());
                    cell.is_some_and(|cell| field.ladder.is_within(view, cell.view))
                })
            })
        };
        for dimension in tabulation.dimensions.iter().filter(|dimension| !is_given(dimension)) {
            let word = format!("{}:{}", dimension.field, dimension.view);
            let expected = "a view that a purpose with `solo_aggregati` gives to somebody";
            faults.add(&section.kind.place, Problem::Value { word, expected });
        }
    }
}

/// A grant that shows a field grants at least as much of what the field tells.
pub fn implications(policy: &Policy, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (record, table) in policy.epochs.iter().flat_map(|epoch| policy.records.iter().zip(&epoch.records)) {
        for block in &table.blocks {
            for (number, one) in record.implications.iter().enumerate() {
                let cell = |at: usize| table.cells.get(block.start + at);
                let (Some(from), Some(to)) = (cell(one.from.at()), cell(one.to.at())) else { continue };
                let (Some(source), Some(told)) = (record.field(one.from), record.field(one.to)) else {
                    continue;
                };
                let tells = one.caps.get(from.view.at()) != Some(&from.view);
                if !tells || told.ladder.is_within(one.at_least, to.view) {
                    continue;
                }
                let name = |view: ViewIndex, of: &crate::view::ladder::Ladder| {
                    of.view(view).map(|view| view.id.to_string()).unwrap_or_default()
                };
                let column = policy.columns.get(block.column).map(|c| c.id.as_str()).unwrap_or_default();
                let purpose = policy.purposes.get(block.purpose).map(|p| p.id.as_str()).unwrap_or_default();
                // One fault for a row and column; the purposes and levels it holds under would repeat it.
                if !seen.insert((source.file.clone(), record.id.clone(), number, column.to_owned())) {
                    continue;
                }
                let Some(grant) = policy.grant(GrantIndex(from.grant)) else { continue };
                let (granted, least) = (name(from.view, &source.ladder), name(one.at_least, &told.ladder));
                faults.add(
                    &Place { file: grant.file.clone(), line: grant.line },
                    Problem::Implication {
                        shows: format!("`{}` {granted} for {column} under {purpose}", source.id),
                        implied: format!("`{}`", told.id),
                        at_least: least,
                        place: format!("`{}` there", name(to.view, &told.ladder)),
                    },
                );
            }
        }
    }
}

/// Columns and matrices that nothing reaches are mistakes: somebody believes that they do something.
pub fn reach(policy: &Policy, sections: &Sections, faults: &mut Faults) {
    for section in sections.of("colonne") {
        for row in &section.rows {
            let Some(word) = section.cell(row, "colonna") else { continue };
            if !policy.purposes.iter().any(|purpose| purpose.columns.contains(&word.text)) {
                faults.add(&word.place, Problem::DeadColumn);
            }
        }
    }
    for row in &policy.rows {
        let Some(record) = policy.records.get(row.record) else { continue };
        let gives = |purpose: &super::super::Purpose| {
            row.purpose.as_ref().is_none_or(|only| *only == purpose.id)
                && purpose.records.iter().any(|given| given.record_type == record.id)
        };
        if !policy.purposes.iter().any(gives) {
            faults.add(&row.place, Problem::DeadMatrix);
        }
    }
}

/// The promises about the whole table. One that speaks of owners counts what these bodies' own regulations take away.
pub fn assertions(policy: &Policy, faults: &mut Faults) {
    for assertion in &policy.assertions {
        let mut broken = BTreeSet::new();
        for epoch in &policy.epochs {
            for (record, table) in (0..).zip(&epoch.records) {
                let Some(kind) = policy.records.get(record).filter(|kind| assertion.on.has_record(kind))
                else {
                    continue;
                };
                let owners = policy.owners(assertion, kind);
                for block in table.blocks.iter().filter(|block| policy.selects(&assertion.on, block)) {
                    for owner in &owners {
                        let body =
                            owner.as_ref().and_then(|body| epoch.owner.get(&(record, body.clone(), None)));
                        let own = body.and_then(|list| list.get(block.start..)).unwrap_or_default();
                        let cells = table.cells.get(block.start..).unwrap_or_default();
                        let found = assertion.broken_by(kind, cells, own);
                        let place = policy.situation(block);
                        broken.extend(
                            found.into_iter().map(|(cell, view)| (format!("{cell} for {place}"), view)),
                        );
                    }
                }
            }
        }
        let place = Place { file: assertion.file.clone(), line: assertion.line };
        for (cell, view) in broken {
            faults.add(&place, Problem::Assertion { name: shown(&assertion.name), cell, view });
        }
    }
}

impl Policy {
    pub(in crate::policy) fn selects(&self, on: &Selection, block: &Block) -> bool {
        let purpose = self.purposes.get(block.purpose);
        on.concerns(block, purpose, self.audiences.get(block.audience), self.columns.get(block.column))
    }

    /// The bodies an assertion speaks of as owners; `None` where it speaks of all.
    fn owners(&self, assertion: &Assertion, kind: &RecordType) -> Vec<Option<AgencyId>> {
        if assertion.on.owners.is_empty() {
            return vec![None];
        }
        let owns = |party: &&AgreementParty| {
            kind.owners.contains(&party.kind) && assertion.on.owners.contains(&party.kind)
        };
        self.agreement.parties.iter().filter(owns).map(|party| Some(party.agency.clone())).collect()
    }

    fn situation(&self, block: &Block) -> String {
        let column = self.columns.get(block.column).map(|column| column.id.as_str()).unwrap_or_default();
        let purpose = self.purposes.get(block.purpose).map(|purpose| purpose.id.as_str()).unwrap_or_default();
        format!("{column} under {purpose}")
    }
}

impl Assertion {
    /// The fields of a block that break the promise, with the view they show. `own` is the owner's regulation.
    fn broken_by(&self, kind: &RecordType, cells: &[Cell], own: &[Ceiling]) -> Vec<(String, String)> {
        let mut broken = Vec::new();
        for ((index, field), cell) in kind.indices().zip(&kind.fields).zip(cells) {
            if !self.on.has_field(index, field.category) {
                continue;
            }
            let own = own.get(index.at()).copied().unwrap_or(Ceiling::OPEN);
            let view = field.ladder.meet(field.ladder.meet(cell.view, cell.law.view), own.view);
            let needs = cell.needs.and(cell.law.needs).and(own.needs);
            let most = field.ladder.find(self.at_most.as_str()).unwrap_or(ViewIndex::WITHHOLD);
            let excused = self.unless != Needs::NONE && needs.covers(self.unless);
            if !excused && !field.ladder.is_within(view, most) {
                let view = field.ladder.view(view).map(|view| view.id.to_string()).unwrap_or_default();
                broken.push((format!("`{}.{}`", kind.id, field.id), view));
            }
        }
        broken
    }
}

//! Ceilings of the law and of the bodies' regulations, and the assertions about the whole.

use super::super::fault::{Faults, Problem};
use super::super::record::{FieldIndex, RecordType};
use super::super::table::{Assertion, Needs, Rule, Selection, Toward};
use super::super::text::{Row, Section, Word};
use super::super::{Category, Layer};
use super::agreement::{KINDS, LEVELS, Terms};
use super::records::CATEGORIES;
use super::{Sections, choice, id, period};
use crate::id::{AgencyId, ViewId};

const SELECTION: &[&str] = &["record", "campo", "categoria", "titolare", "verso", "livello", "finalita"];
const CONDITIONS: &[(&str, Needs)] = &[
    ("ambito", Needs::SCOPE),
    ("atto", Needs::ACT),
    ("consenso", Needs::EXPLICIT),
    ("consenso/atto", Needs::EXPLICIT_OR_ACT),
];

/// The rest of the bundle, which rules speak about.
pub struct Known<'a> {
    pub records: &'a [RecordType],
    pub terms: &'a Terms,
}

impl Known<'_> {
    pub fn rules(&self, sections: &Sections, faults: &mut Faults) -> Vec<Rule> {
        let mut rules = Vec::new();
        let columns: Vec<&str> =
            SELECTION.iter().copied().chain(["al massimo", "solo con", "dal", "al", "fonte"]).collect();
        for section in sections.of("legge") {
            section.allow(&[], &columns, faults);
            rules.extend(section.rows.iter().filter_map(|row| self.rule(section, row, Layer::Law, faults)));
        }
        let columns: Vec<&str> = columns.into_iter().chain(["ruolo"]).collect();
        for section in sections.of("regolamento") {
            section.allow(&["titolo", "atto"], &columns, faults);
            let body: Option<AgencyId> = id(&section.name, faults);
            let parties = self.terms.agreement.parties.iter().map(|party| &party.agency);
            if !parties.clone().any(|agency| Some(agency) == body.as_ref()) {
                faults.unknown(
                    &section.name.place,
                    "party",
                    &section.name.text,
                    parties.map(AgencyId::as_str),
                );
            }
            let roles = &[("destinatario", Layer::Recipient), ("titolare", Layer::Owner)];
            for row in &section.rows {
                let role = section.required_cell(row, "ruolo", faults);
                let Some(layer) = role.and_then(|word| choice(word, "role", roles, faults)) else { continue };
                let rule = self.rule(section, row, layer, faults);
                rules.extend(rule.map(|rule| Rule { body: body.clone(), ..rule }));
            }
        }
        rules.into_iter().flat_map(one_by_one).collect()
    }

    pub fn assertions(&self, sections: &Sections, faults: &mut Faults) -> Vec<Assertion> {
        let columns: Vec<&str> =
            SELECTION.iter().copied().chain(["garanzia", "al massimo", "salvo con"]).collect();
        let mut assertions = Vec::new();
        for section in sections.of("garanzie") {
            section.allow(&[], &columns, faults);
            for row in &section.rows {
                let Some(name) = section.required_cell(row, "garanzia", faults) else { continue };
                let on = self.selection(section, row, faults);
                let at_most = self.at_most(section.cell(row, "al massimo"), &on, ViewId::withhold(), faults);
                assertions.push(Assertion {
                    name: name.text.clone(),
                    on,
                    at_most,
                    unless: needs(section.cell(row, "salvo con"), faults),
                    file: row.place.file.clone(),
                    line: row.place.line,
                });
            }
        }
        assertions
    }

    fn rule(&self, section: &Section, row: &Row, layer: Layer, faults: &mut Faults) -> Option<Rule> {
        let source = section.required_cell(row, "fonte", faults)?;
        let (most, with) = (section.cell(row, "al massimo"), section.cell(row, "solo con"));
        if most.is_none() && with.is_none() {
            faults.add(&row.place, Problem::Missing("al massimo"));
        }
        let on = self.selection(section, row, faults);
        let (from, until) = period(section.cell(row, "dal"), section.cell(row, "al"), faults);
        Some(Rule {
            layer,
            body: None,
            at_most: self.at_most(most, &on, ViewId::whole(), faults),
            on,
            needs: needs(with, faults),
            from,
            until,
            source: source.text.clone(),
            file: row.place.file.clone(),
            line: row.place.line,
        })
    }

    fn selection(&self, section: &Section, row: &Row, faults: &mut Faults) -> Selection {
        let list = |column: &str| -> Vec<Word> {
            let cell = section.cell(row, column).filter(|word| word.text != "*");
            cell.map(Word::list).unwrap_or_default()
        };
        let records: Vec<&RecordType> =
            list("record").iter().filter_map(|word| self.record(word, faults)).collect();
        let fields = list("campo");
        let fields: Vec<FieldIndex> = match (records.as_slice(), fields.first()) {
            (_, None) => Vec::new(),
            ([one], _) => fields.iter().filter_map(|word| field(word, one, faults)).collect(),
            (_, Some(word)) => {
                let expected = "possible without exactly one record type in its row";
                faults.add(&word.place, Problem::Value { word: word.text.clone(), expected });
                Vec::new()
            }
        };
        let categories: Vec<Category> =
            list("categoria").iter().filter_map(|w| choice(w, "category", CATEGORIES, faults)).collect();
        let known = &self.terms.purposes;
        let mut purposes = Vec::new();
        for word in list("finalita") {
            match known.iter().find(|purpose| purpose.id.as_str() == word.text) {
                Some(purpose) => purposes.push(purpose.id.clone()),
                None => {
                    faults.unknown(&word.place, "purpose", &word.text, known.iter().map(|p| p.id.as_str()))
                }
            }
        }
        Selection {
            records: records.into_iter().map(|record| record.id.clone()).collect(),
            fields,
            categories,
            owners: list("titolare")
                .iter()
                .filter_map(|w| choice(w, "kind of agency", KINDS, faults))
                .collect(),
            toward: list("verso").iter().filter_map(|word| self.toward(word, faults)).collect(),
            levels: list("livello").iter().filter_map(|w| choice(w, "level", LEVELS, faults)).collect(),
            purposes,
        }
    }

    fn record(&self, word: &Word, faults: &mut Faults) -> Option<&RecordType> {
        let found = self.records.iter().find(|record| record.id.as_str() == word.text);
        if found.is_none() {
            let valid = self.records.iter().map(|record| record.id.as_str());
            faults.unknown(&word.place, "record type", &word.text, valid);
        }
        found
    }

    /// An agency's kind, an agency, a column, or `cpi/collocamento-mirato`.
    fn toward(&self, word: &Word, faults: &mut Faults) -> Option<Toward> {
        let kind = |text: &str| KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        if let Some((of, office)) = word.text.split_once('/')
            && let (Some(kind), Ok(office)) = (kind(of), office.parse())
        {
            return Some(Toward::Office(kind, office));
        }
        if let Some(kind) = kind(&word.text) {
            return Some(Toward::Kind(kind));
        }
        if self.terms.columns.iter().any(|column| column.id == word.text) {
            return Some(Toward::Column(word.text.clone()));
        }
        let parties = &self.terms.agreement.parties;
        if let Some(party) = parties.iter().find(|party| party.agency.as_str() == word.text) {
            return Some(Toward::Agency(party.agency.clone()));
        }
        let valid =
            KINDS.iter().map(|(name, _)| *name).chain(parties.iter().map(|party| party.agency.as_str()));
        faults.unknown(&word.place, "recipient", &word.text, valid);
        None
    }

    /// A view that every selected field's ladder has; `-` and `intero` are in all of them.
    fn at_most(&self, word: Option<&Word>, on: &Selection, otherwise: ViewId, faults: &mut Faults) -> ViewId {
        let Some(word) = word else { return otherwise };
        if word.text == "-" {
            return ViewId::withhold();
        }
        for record in self.records.iter().filter(|record| on.has_record(record)) {
            for (_, field) in record
                .indices()
                .zip(&record.fields)
                .filter(|(index, field)| on.has_field(*index, field.category))
            {
                if field.ladder.find(&word.text).is_none() {
                    let valid = field.ladder.views().iter().map(|view| view.id.as_str()).chain(["-"]);
                    faults.unknown(&word.place, "view", &word.text, valid);
                    return ViewId::withhold();
                }
            }
        }
        id(word, faults).unwrap_or_else(ViewId::withhold)
    }
}

impl Selection {
    /// With several kinds of owner, one is enough: a ceiling then narrows for all of them.
    pub fn has_record(&self, record: &RecordType) -> bool {
        (self.records.is_empty() || self.records.contains(&record.id))
            && (self.owners.is_empty() || record.owners.iter().any(|kind| self.owners.contains(kind)))
    }

    pub fn has_field(&self, index: FieldIndex, category: Category) -> bool {
        (self.fields.is_empty() || self.fields.contains(&index))
            && (self.categories.is_empty() || self.categories.contains(&category))
    }
}

/// One rule per recipient it names: ceilings meet, so that says the same, and single agencies can lie apart.
fn one_by_one(rule: Rule) -> Vec<Rule> {
    if rule.on.toward.len() < 2 {
        return vec![rule];
    }
    let only = |toward: &Toward| {
        let on = Selection { toward: vec![toward.clone()], ..rule.on.clone() };
        Rule { on, ..rule.clone() }
    };
    rule.on.toward.iter().map(only).collect()
}

fn field(word: &Word, record: &RecordType, faults: &mut Faults) -> Option<FieldIndex> {
    let found = record.names.iter().find(|(id, _)| id.as_str() == word.text).map(|(_, index)| *index);
    if found.is_none() {
        faults.unknown(&word.place, "field", &word.text, record.names.keys().map(crate::id::FieldId::as_str));
    }
    found
}

fn needs(word: Option<&Word>, faults: &mut Faults) -> Needs {
    let words = word.map(Word::list).unwrap_or_default();
    let needs = words.iter().filter_map(|word| choice(word, "condition", CONDITIONS, faults));
    needs.fold(Needs::NONE, Needs::and)
}

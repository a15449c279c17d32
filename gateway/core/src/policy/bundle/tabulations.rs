//! What may be counted: thresholds, areas, and one tabulation for each record type.

use super::super::fault::{Faults, Problem, shown};
use super::super::record::{Field, RecordType};
use super::super::text::{Section, Word};
use super::super::{Category, Policy};
use super::agreement::{Terms, number};
use super::{Sections, choice, id};
use crate::id::AgencyId;
use crate::statistics::{
    Area, CELLS_MAX, CLASSES_MAX, DIMENSIONS_MAX, Dimension, FLOOR, THRESHOLD, THRESHOLD_SPECIAL, Tabulation,
    UNKNOWN, Unit,
};
use crate::view::kind::Kind;
use crate::view::ladder::{Technique, View};

const UNITS: &[(&str, Unit)] = &[("anno", Unit::Year), ("semestre", Unit::HalfYear)];

/// What the bundle says of statistics.
pub struct Counting {
    pub tabulations: Vec<Tabulation>,
    pub areas: Vec<Area>,
}

impl Counting {
    pub fn read(sections: &Sections, terms: &Terms, records: &[RecordType], faults: &mut Faults) -> Self {
        let thresholds = Thresholds::read(sections, faults);
        let areas = areas(sections, terms, faults);
        let sections = sections.named("prospetto", faults);
        let one = |section| tabulation(section, records, &thresholds, faults);
        let tabulations: Vec<Tabulation> = sections.into_iter().filter_map(one).collect();
        Self { tabulations, areas }
    }
}

struct Thresholds {
    common: u32,
    special: u32,
}

impl Thresholds {
    fn read(sections: &Sections, faults: &mut Faults) -> Self {
        let mut read = Self { common: THRESHOLD, special: THRESHOLD_SPECIAL };
        for section in sections.named("statistica", faults) {
            section.allow(&["soglia", "soglia_speciale"], &[], faults);
            let common =
                threshold(section.entry("soglia"), FLOOR, "at least 3, the floor of the law", faults);
            let special = section.entry("soglia_speciale");
            let special = threshold(special, THRESHOLD_SPECIAL, "at least 10, as special data need", faults);
            read = Self { common: common.unwrap_or(read.common), special: special.unwrap_or(read.special) };
        }
        read.special = read.special.max(read.common);
        read
    }

    /// To be counted among records that hold nothing but special data is such a datum itself.
    fn of(&self, record: &RecordType, fields: &[&Field]) -> u32 {
        let is_special = |field: &&Field| field.category != Category::Common;
        let says_by_itself = record.fields.iter().all(|field| is_special(&field));
        if says_by_itself || fields.iter().any(is_special) { self.special } else { self.common }
    }
}

fn threshold(word: Option<&Word>, least: u32, expected: &'static str, faults: &mut Faults) -> Option<u32> {
    let (found, word) = (number(word, faults)?, word?);
    if found < least {
        faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
    }
    Some(found)
}

fn areas(sections: &Sections, terms: &Terms, faults: &mut Faults) -> Vec<Area> {
    let mut areas: Vec<Area> = Vec::new();
    for section in sections.of("aree") {
        section.allow(&[], &["area", "enti"], faults);
        for row in &section.rows {
            let name = section.required_cell(row, "area", faults);
            let owners = section.required_cell(row, "enti", faults).map(Word::list).unwrap_or_default();
            let Some(name) = name else { continue };
            // An area is known by the name of a body where it is one.
            if id::<AgencyId>(name, faults).is_none() {
                continue;
            }
            let mut found = Vec::new();
            for word in &owners {
                let parties = terms.agreement.parties.iter();
                let Some(party) = parties.clone().find(|party| party.agency.as_str() == word.text) else {
                    faults.unknown(&word.place, "party", &word.text, parties.map(|p| p.agency.as_str()));
                    continue;
                };
                let is_taken = found.contains(&party.agency)
                    || areas.iter().any(|area| area.owners.contains(&party.agency));
                if is_taken {
                    let place = section.kind.place.to_string();
                    faults.add(&word.place, Problem::Duplicate(word.text.clone(), place));
                }
                found.push(party.agency.clone());
            }
            let is_named = areas.iter().any(|area| area.name == name.text)
                || terms.agreement.parties.iter().any(|party| party.agency.as_str() == name.text);
            if is_named {
                faults
                    .add(&name.place, Problem::Duplicate(name.text.clone(), section.kind.place.to_string()));
            }
            found.sort();
            areas.push(Area { name: name.text.clone(), owners: found });
        }
    }
    areas
}

fn tabulation(
    section: &Section,
    records: &[RecordType],
    thresholds: &Thresholds,
    faults: &mut Faults,
) -> Option<Tabulation> {
    section.allow(&["titolo", "conta", "periodo"], &["dimensione", "vista", "classi"], faults);
    let record = records.iter().find(|record| record.id.as_str() == section.name.text);
    let Some(record) = record else {
        let known = records.iter().map(|record| record.id.as_str());
        faults.unknown(&section.name.place, "record type", &section.name.text, known);
        return None;
    };
    let mut text = |word| section.required(word, faults).map(|word| word.text.clone()).unwrap_or_default();
    let (title, counts) = (text("titolo"), text("conta"));
    let unit = section.required("periodo", faults).and_then(|word| choice(word, "period", UNITS, faults));
    let (mut dimensions, mut fields): (Vec<Dimension>, Vec<&Field>) = (Vec::new(), Vec::new());
    for row in &section.rows {
        let Some(word) = section.required_cell(row, "dimensione", faults) else { continue };
        let Some(field) = field(word, record, faults) else { continue };
        if fields.iter().any(|known| known.id == field.id) {
            faults.add(&row.place, Problem::Duplicate(word.text.clone(), section.kind.place.to_string()));
        }
        let view = view(section.cell(row, "vista"), word, field, faults);
        let classes = view.map(|view| classes(section.cell(row, "classi"), word, view, faults));
        let (Some(view), Some(classes)) = (view, classes) else { continue };
        dimensions.push(Dimension { field: field.id.clone(), view: view.id.clone(), classes });
        fields.push(field);
    }
    let cells: usize = dimensions.iter().map(|dimension| dimension.classes.len() + 1).product();
    if dimensions.is_empty() || dimensions.len() > DIMENSIONS_MAX || cells > CELLS_MAX {
        let expected = "1 to 4 dimensions and at most 2048 cells, totals included";
        faults.add(&section.kind.place, Problem::Value { word: section.name.text.clone(), expected });
    }
    let threshold = thresholds.of(record, &fields);
    Some(Tabulation { record_type: record.id.clone(), title, counts, unit: unit?, threshold, dimensions })
}

/// A field of its own, and neither judicial nor protected: such data never reach statistics.
fn field<'a>(word: &Word, record: &'a RecordType, faults: &mut Faults) -> Option<&'a Field> {
    let found = record.fields.iter().find(|field| field.id.as_str() == word.text);
    let Some(field) = found else {
        let known = record.fields.iter().map(|field| field.id.as_str());
        faults.unknown(&word.place, "field", &word.text, known);
        return None;
    };
    let may_be_counted = matches!(field.category, Category::Common | Category::Special);
    if !may_be_counted
        || field.parent.is_some()
        || record
            .controls
            .iter()
            .any(|control| record.field(control.field).is_some_and(|control| control.id == field.id))
    {
        let expected = "a field that may be counted by: judicial and protected data never reach statistics";
        faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
        return None;
    }
    Some(field)
}

/// The view the classes are of. One that stands for single people makes no classes.
fn view<'a>(word: Option<&Word>, named: &Word, field: &'a Field, faults: &mut Faults) -> Option<&'a View> {
    let (text, place) = word.map_or(("intero", &named.place), |word| (word.text.as_str(), &word.place));
    let Some(view) = field.ladder.find(text).and_then(|index| field.ladder.view(index)) else {
        let known = field.ladder.views().iter().map(|view| view.id.as_str());
        faults.unknown(place, "view", text, known);
        return None;
    };
    let generalises = matches!(view.technique, Technique::Disclose | Technique::Generalise);
    let is_one_word =
        matches!(view.kind, Kind::Bool | Kind::Code(_) | Kind::Integer { .. } | Kind::Text { .. });
    if !generalises || !is_one_word {
        let expected = "a view that makes classes: one code, number, short text, or yes and no";
        faults.add(place, Problem::Value { word: shown(text), expected });
        return None;
    }
    Some(view)
}

/// The classes as written, or where the view's values are known, all of them; the unknown comes last.
fn classes(word: Option<&Word>, named: &Word, view: &View, faults: &mut Faults) -> Vec<String> {
    let closed = |kind: &Kind| match kind {
        Kind::Bool => Some(vec!["si".to_owned(), "no".to_owned()]),
        Kind::Code(list) if list.forms.is_empty() => Some(list.groups.keys().cloned().collect()),
        Kind::Code(_)
        | Kind::Date
        | Kind::Decimal { .. }
        | Kind::Email
        | Kind::Instant
        | Kind::Integer { .. }
        | Kind::List(_)
        | Kind::Phone
        | Kind::Struct(_)
        | Kind::TaxCode
        | Kind::Text { .. } => None,
    };
    let Some(word) = word else {
        let mut all: Vec<String> = closed(&view.kind).unwrap_or_default();
        if all.is_empty() {
            faults.add(&named.place, Problem::Missing("classi"));
        }
        all.push(UNKNOWN.to_owned());
        return all;
    };
    let mut found: Vec<String> = Vec::new();
    for class in word.list() {
        let is_plain = !class.text.is_empty()
            && class.text.chars().all(|c| c.is_alphanumeric() || " _.-/".contains(c))
            && class.text.starts_with(char::is_alphanumeric);
        let is_possible = closed(&view.kind).is_none_or(|all| all.contains(&class.text));
        if !is_plain || !is_possible || class.text == UNKNOWN || found.contains(&class.text) {
            let expected = "a class of its own: a value of the view, in letters and digits";
            faults.add(&class.place, Problem::Value { word: shown(&class.text), expected });
        }
        found.push(class.text);
    }
    if found.len() > CLASSES_MAX {
        let expected = "a list of at most 64 classes";
        faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
    }
    found.push(UNKNOWN.to_owned());
    found
}

impl Policy {
    /// The areas in which a tabulation is counted: every owner in exactly one.
    pub fn areas_of(&self, tabulation: &Tabulation) -> Vec<Area> {
        let Some(record) = self.record_type(&tabulation.record_type) else { return Vec::new() };
        let parties = self.agreement.parties.iter().filter(|party| record.owners.contains(&party.kind));
        let owners: Vec<AgencyId> = parties.map(|party| party.agency.clone()).collect();
        let together = self.areas.iter().filter_map(|area| {
            let mut owners_here = area.owners.clone();
            owners_here.retain(|owner| owners.contains(owner));
            (!owners_here.is_empty()).then(|| Area { name: area.name.clone(), owners: owners_here })
        });
        let alone = owners.iter().filter(|owner| !self.areas.iter().any(|area| area.owners.contains(owner)));
        let alone = alone.map(|owner| Area { name: owner.to_string(), owners: vec![owner.clone()] });
        let mut areas: Vec<Area> = together.chain(alone).collect();
        areas.sort_by(|one, other| one.name.cmp(&other.name));
        areas
    }
}

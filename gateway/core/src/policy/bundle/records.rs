//! Record types: their fields, what these imply, and what their values may conceal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::Category;
use super::super::fault::{Faults, Place, Problem};
use super::super::record::{About, Control, Field, FieldIndex, Implication, RecordType, with_parts};
use super::super::text::{Section, Word};
use super::agreement::KINDS;
use super::dictionary::Dictionary;
use super::{Sections, choice, id};
use crate::id::FieldId;
use crate::view::kind::{Kind, Member};
use crate::view::ladder::{Ladder, ViewIndex};

pub const CATEGORIES: &[(&str, Category)] = &[
    ("giudiziaria", Category::Judicial),
    ("ordinaria", Category::Common),
    ("protetta", Category::Protected),
    ("speciale", Category::Special),
];

/// A record has some thirty fields; the index of one fits in 16 bits.
const MOST_FIELDS: usize = 2000;

/// Every record type of the bundle, by name.
pub fn read(sections: &Sections, words: &Dictionary<'_>, faults: &mut Faults) -> Vec<RecordType> {
    let mut records = Vec::new();
    for section in sections.named("record", faults) {
        records.extend(record(section, words, faults));
    }
    for kind in ["implica", "controlli", "matrice", "nucleo"] {
        for section in sections.of(kind) {
            let name = section.name.text.as_str();
            if !sections.of("record").iter().any(|record| record.name.text == name) {
                let valid = sections.of("record").iter().map(|record| record.name.text.as_str());
                faults.unknown(&section.kind.place, "record type", name, valid);
            }
        }
    }
    for record in &mut records {
        let name = record.id.to_string();
        let of_record = |section: &&Section| section.name.text == name;
        for section in sections.of("controlli").iter().filter(of_record) {
            let found = controls(section, record, faults);
            record.controls.extend(found);
        }
        for section in sections.of("nucleo").iter().filter(of_record) {
            share(section, record, faults);
        }
        let mut implications = parts_imply_their_lists(record);
        for section in sections.of("implica").iter().filter(of_record) {
            implications.extend(implied(section, record, faults));
        }
        record.implications = in_order(implications, record, faults);
        conceal(record);
    }
    records
}

fn record(section: &Section, words: &Dictionary<'_>, faults: &mut Faults) -> Option<RecordType> {
    let columns = ["campo", "tipo", "categoria", "scala", "ambito", "nome"];
    section.allow(&["codice", "titolo", "titolare"], &columns, faults);
    let id = id(&section.name, faults)?;
    let owners = section.required("titolare", faults).map(Word::list).unwrap_or_default();
    let owners = owners.iter().filter_map(|word| choice(word, "kind of agency", KINDS, faults)).collect();
    let mut record = RecordType {
        id,
        code: section.text("codice"),
        title: section.required("titolo", faults).map(|w| w.text.clone()).unwrap_or_default(),
        owners,
        fields: Vec::new(),
        controls: Vec::new(),
        implications: Vec::new(),
        names: BTreeMap::new(),
    };
    let mut ladders: Vec<(String, Arc<Ladder>)> = Vec::new();
    for row in section.rows.iter().take(MOST_FIELDS) {
        let name = section.required_cell(row, "campo", faults).and_then(|word| id_of(word, faults));
        let kind = section.required_cell(row, "tipo", faults).and_then(|word| words.kind(word, faults));
        let category = section.required_cell(row, "categoria", faults);
        let category = category.and_then(|word| choice(word, "category", CATEGORIES, faults));
        let scope = section.cell(row, "ambito").and_then(|word| super::id(word, faults));
        let (Some(name), Some(kind), Some(category)) = (name, kind, category) else { continue };
        let ladder_word = section.cell(row, "scala");
        // A wrong ladder was reported; the field stays, so that nothing that names it is reported as well.
        let ladder = words.ladder(ladder_word, &kind, &row.place, faults);
        let Some(ladder) = ladder.or_else(|| Ladder::new(&kind, &[]).ok()) else { continue };
        let ladder_name = ladder_word.map(|word| word.text.clone()).unwrap_or_default();
        // One ladder for all fields it fits alike, so that the hot path stays in cache.
        let ladder = match ladders.iter().find(|(n, known)| *n == ladder_name && **known == ladder) {
            Some((_, known)) => Arc::clone(known),
            None => {
                let ladder = Arc::new(ladder);
                ladders.push((ladder_name.clone(), Arc::clone(&ladder)));
                ladder
            }
        };
        let index = FieldIndex(u16::try_from(record.fields.len()).unwrap_or(u16::MAX));
        if let Some(first) = record.names.insert(name.clone(), index).and_then(|first| record.field(first)) {
            let at = format!("{}:{}", first.file, first.line);
            faults.add(&row.place, Problem::Duplicate(name.to_string(), at));
        }
        let label = section.cell(row, "nome").map_or_else(|| label(&name), |word| word.text.clone());
        record.fields.push(Field {
            id: name,
            label,
            full: kind.clone(),
            kind,
            category,
            ladder,
            ladder_name,
            scope,
            parent: None,
            conceal: category == Category::Protected,
            about: About::Person,
            file: row.place.file.clone(),
            line: row.place.line,
        });
    }
    adopt_parts(&mut record, faults);
    Some(record)
}

fn id_of(word: &Word, faults: &mut Faults) -> Option<FieldId> {
    id(word, faults)
}

/// `data_nascita` becomes `data nascita`, until somebody writes a better name.
fn label(id: &FieldId) -> String {
    id.as_str().replace('_', " ").replace('.', ": ")
}

/// `prestazioni.importi` is a part of `prestazioni`, whose items or object it lies in.
fn adopt_parts(record: &mut RecordType, faults: &mut Faults) {
    let mut parts: BTreeMap<FieldIndex, Vec<Member>> = BTreeMap::new();
    for i in 0..record.fields.len() {
        let Some(field) = record.fields.get(i) else { continue };
        let Some((parent, member)) = field.id.as_str().split_once('.') else { continue };
        let place = Place { file: field.file.clone(), line: field.line };
        let found = record.names.iter().find(|(id, _)| id.as_str() == parent).map(|(_, index)| *index);
        let holds = |kind: &Kind| match kind {
            Kind::List(item) => matches!(item.as_ref(), Kind::Struct(_)),
            Kind::Struct(_) => true,
            Kind::Bool
            | Kind::Code(_)
            | Kind::Date
            | Kind::Decimal { .. }
            | Kind::Email
            | Kind::Instant
            | Kind::Integer { .. }
            | Kind::Phone
            | Kind::TaxCode
            | Kind::Text { .. } => false,
        };
        match found.filter(|index| record.field(*index).is_some_and(|field| holds(&field.kind))) {
            Some(index) => {
                let member = Member { name: member.to_owned(), kind: field.kind.clone() };
                parts.entry(index).or_default().push(member);
                if let Some(field) = record.fields.get_mut(i) {
                    field.parent = Some(index);
                }
            }
            None => faults.unknown(&place, "list or structure", parent, []),
        }
    }
    for (index, members) in parts {
        if let Some(field) = record.fields.get_mut(index.at()) {
            field.full = with_parts(&field.kind, &members);
        }
    }
}

fn field(word: &Word, record: &RecordType, faults: &mut Faults) -> Option<FieldIndex> {
    let found = record.names.iter().find(|(id, _)| id.as_str() == word.text).map(|(_, index)| *index);
    if found.is_none() {
        faults.unknown(&word.place, "field", &word.text, record.names.keys().map(FieldId::as_str));
    }
    found
}

/// `campo` or `campo:vista`.
fn field_view(
    word: &Word,
    record: &RecordType,
    faults: &mut Faults,
) -> Option<(FieldIndex, Option<ViewIndex>)> {
    let (name, view) = match word.text.split_once(':') {
        Some((name, view)) => (name, Some(view.trim())),
        None => (word.text.as_str(), None),
    };
    let index = field(&Word { text: name.trim().to_owned(), place: word.place.clone() }, record, faults)?;
    let Some(view) = view else { return Some((index, None)) };
    let ladder = &record.field(index)?.ladder;
    match ladder.find(view).filter(|view| view.shows()) {
        Some(found) => Some((index, Some(found))),
        None => {
            faults.unknown(&word.place, "view", view, ladder.views().iter().map(|view| view.id.as_str()));
            None
        }
    }
}

fn controls(section: &Section, record: &RecordType, faults: &mut Faults) -> Vec<Control> {
    section.allow(&[], &["se", "oscura"], faults);
    let mut controls = Vec::new();
    for row in &section.rows {
        let Some(word) = section.required_cell(row, "se", faults) else { continue };
        let hidden = section.required_cell(row, "oscura", faults).map(Word::list).unwrap_or_default();
        let conceals: Vec<_> = hidden.iter().filter_map(|word| field(word, record, faults)).collect();
        let Some(index) = field(word, record, faults) else { continue };
        let Some(control) = record.field(index) else { continue };
        if control.kind != Kind::Bool {
            faults.add(&word.place, Problem::ControlKind);
        }
        controls.push(Control { field: index, conceals });
    }
    controls
}

/// The fields that tell of everybody in the household, with their parts.
fn share(section: &Section, record: &mut RecordType, faults: &mut Faults) {
    section.allow(&["campi"], &[], faults);
    let named = section.required("campi", faults).map(Word::list).unwrap_or_default();
    for index in named.iter().filter_map(|word| field(word, record, faults)).collect::<Vec<_>>() {
        let parts: Vec<_> = record.parts(index).map(|(part, _)| part).collect();
        for at in parts.into_iter().chain([index]) {
            if let Some(field) = record.fields.get_mut(at.at()) {
                field.about = About::Household;
            }
        }
    }
}

/// Showing a part shows that the item is there: it needs the whole list.
fn parts_imply_their_lists(record: &RecordType) -> Vec<Implication> {
    let parts =
        record.indices().zip(&record.fields).filter_map(|(index, field)| Some((index, field, field.parent?)));
    let implication = |(from, field, to): (FieldIndex, &Field, FieldIndex)| Implication {
        from,
        trigger: None,
        to,
        at_least: ViewIndex::WHOLE,
        caps: vec![ViewIndex::WITHHOLD; field.ladder.views().len()],
        file: field.file.clone(),
        line: field.line,
    };
    parts.map(implication).collect()
}

fn implied(section: &Section, record: &RecordType, faults: &mut Faults) -> Vec<Implication> {
    section.allow(&[], &["se mostra", "dice", "altrimenti"], faults);
    let mut found = Vec::new();
    for row in &section.rows {
        let Some(shows) = section.required_cell(row, "se mostra", faults) else { continue };
        let tells = section.required_cell(row, "dice", faults).map(Word::list).unwrap_or_default();
        let Some((from, trigger)) = field_view(shows, record, faults) else { continue };
        let Some(source) = record.field(from) else { continue };
        let trigger = trigger.unwrap_or(ViewIndex::WHOLE);
        let mut fallback = None;
        if let Some(word) = section.cell(row, "altrimenti") {
            fallback = source.ladder.find(&word.text);
            match fallback {
                Some(view) if source.ladder.is_within(trigger, view) => {
                    faults.add(&word.place, Problem::TellingFallback);
                }
                Some(_) => {}
                None => {
                    let valid = source.ladder.views().iter().map(|view| view.id.as_str());
                    faults.unknown(&word.place, "view", &word.text, valid);
                }
            }
        }
        for word in &tells {
            let Some((to, at_least)) = field_view(word, record, faults) else { continue };
            found.push(Implication {
                from,
                trigger: Some(trigger),
                to,
                at_least: at_least.unwrap_or(ViewIndex::WHOLE),
                caps: caps(&source.ladder, trigger, fallback.unwrap_or(ViewIndex::WITHHOLD)),
                file: row.place.file.clone(),
                line: row.place.line,
            });
        }
    }
    found
}

/// For each view that may be granted, what is left of it when the told field is hidden: itself where it does not
/// tell, otherwise the fallback, as far as that was granted.
fn caps(ladder: &Ladder, trigger: ViewIndex, fallback: ViewIndex) -> Vec<ViewIndex> {
    let cap = |view| if ladder.is_within(trigger, view) { ladder.meet(view, fallback) } else { view };
    ladder.indices().map(cap).collect()
}

/// Orders implications so that what a field tells is settled before the field itself.
fn in_order(mut waiting: Vec<Implication>, record: &RecordType, faults: &mut Faults) -> Vec<Implication> {
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        // Ready: nothing that still waits speaks about what it tells.
        let is_open = |index: FieldIndex| waiting.iter().any(|other| other.from == index);
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.iter().cloned().partition(|one| !is_open(one.to));
        if ready.is_empty() {
            for one in &rest {
                let name = record.field(one.from).map(|field| field.id.to_string()).unwrap_or_default();
                faults.add(&Place { file: one.file.clone(), line: one.line }, Problem::Circle(name));
            }
            break;
        }
        ordered.extend(ready);
        waiting = rest;
    }
    ordered
}

/// Fields that a control may hide, and all that tell them, look the same whenever they are not shown.
fn conceal(record: &mut RecordType) {
    let mut hidden: Vec<FieldIndex> =
        record.controls.iter().flat_map(|c| c.conceals.iter().copied()).collect();
    hidden.extend(
        record.indices().zip(&record.fields).filter(|(_, field)| field.conceal).map(|(index, _)| index),
    );
    while let Some(index) = hidden.pop() {
        if let Some(field) = record.fields.get_mut(index.at()) {
            field.conceal = true;
        }
        let telling = record.implications.iter().filter(|one| one.to == index).map(|one| one.from);
        let new: Vec<_> = telling.filter(|from| record.field(*from).is_some_and(|f| !f.conceal)).collect();
        hidden.extend(new);
    }
}

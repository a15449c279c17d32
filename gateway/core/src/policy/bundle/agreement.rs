//! The agreement: its parties and term, the acts that enable it, the columns of its matrix, its purposes.

use super::super::fault::{Faults, Place, Problem, shown};
use super::super::text::{Section, Word};
use super::super::{
    Act, Agreement, AgreementParty, CaseRule, Column, ConsentRole, Gives, Purpose, PurposeRecord, Visibility,
};
use super::{Sections, YES_NO, choice, id, period};
use crate::case::Level;
use crate::id::PurposeId;
use crate::registry::AgencyKind;
use crate::time::Timestamp;

pub const KINDS: &[(&str, AgencyKind)] = &[
    ("asl", AgencyKind::Asl),
    ("comune", AgencyKind::Comune),
    ("cpi", AgencyKind::Cpi),
    ("ets", AgencyKind::Ets),
    ("zona", AgencyKind::Zona),
];

pub const LEVELS: &[(&str, Level)] = &[("1", Level::First), ("2", Level::Second)];

const ROLES: &[(&str, ConsentRole)] =
    &[("base", ConsentRole::Basis), ("garanzia", ConsentRole::Safeguard), ("nessuno", ConsentRole::None)];

/// What `[pacchetto]`, `[protocollo]`, `[parti]`, `[atti]`, `[colonne]` and `[finalita ..]` say.
pub struct Terms {
    pub name: String,
    pub version: String,
    pub review: Option<Timestamp>,
    pub agreement: Agreement,
    pub acts: Vec<Act>,
    pub columns: Vec<Column>,
    pub purposes: Vec<Purpose>,
    /// Where each purpose stands, and each of its record types, in the same order.
    pub places: Vec<(Place, Vec<Place>)>,
}

impl Terms {
    pub fn read(sections: &Sections, faults: &mut Faults) -> Self {
        let bundle = single(sections, "pacchetto", faults);
        let mut text = |word: &'static str| {
            bundle
                .and_then(|section| section.required(word, faults))
                .map(|w| w.text.clone())
                .unwrap_or_default()
        };
        let (name, version) = (text("nome"), text("versione"));
        if let Some(section) = bundle {
            section.allow(&["nome", "versione", "riesame"], &[], faults);
        }
        let (review, _) = period(bundle.and_then(|section| section.entry("riesame")), None, faults);
        let acts = acts(sections, faults);
        let columns = columns(sections, faults);
        let mut purposes = Vec::new();
        let mut places = Vec::new();
        for section in sections.named("finalita", faults) {
            if let Some(found) = purpose(section, &acts, &columns, faults) {
                purposes.push(found);
                let rows = section.rows.iter().map(|row| row.place.clone()).collect();
                places.push((section.kind.place.clone(), rows));
            }
        }
        Self {
            name,
            version,
            review,
            agreement: agreement(sections, faults),
            acts,
            columns,
            purposes,
            places,
        }
    }
}

fn single<'a>(sections: &'a Sections, kind: &'static str, faults: &mut Faults) -> Option<&'a Section> {
    let found = sections.of(kind);
    if let [first, second, ..] = found {
        let what = format!("[{kind}]");
        faults.add(&second.kind.place, Problem::Duplicate(what, first.kind.place.to_string()));
    }
    if found.is_empty() {
        faults.add(&Place { file: String::new(), line: 0 }, Problem::Missing(kind));
    }
    found.first()
}

fn agreement(sections: &Sections, faults: &mut Faults) -> Agreement {
    let (mut title, mut term) = (String::new(), (None, None));
    if let Some(section) = single(sections, "protocollo", faults) {
        section.allow(&["titolo", "dal", "al"], &[], faults);
        title = section.text("titolo");
        let (from, until) = (section.required("dal", faults), section.required("al", faults));
        term = period(from, until, faults);
    }
    let mut parties: Vec<AgreementParty> = Vec::new();
    for section in sections.of("parti") {
        section.allow(&[], &["ente", "tipo", "nome"], faults);
        for row in &section.rows {
            let agency = section.required_cell(row, "ente", faults).and_then(|word| id(word, faults));
            let kind = section.required_cell(row, "tipo", faults);
            let kind = kind.and_then(|word| choice(word, "kind of agency", KINDS, faults));
            let (Some(agency), Some(kind)) = (agency, kind) else { continue };
            if parties.iter().any(|party| party.agency == agency) {
                faults
                    .add(&row.place, Problem::Duplicate(agency.to_string(), section.kind.place.to_string()));
            }
            let name = section.cell(row, "nome").map(|word| word.text.clone()).unwrap_or_default();
            parties.push(AgreementParty { agency, kind, name });
        }
    }
    let from = term.0.unwrap_or(Timestamp::LAST);
    Agreement { title, from, until: term.1.unwrap_or(from), parties }
}

fn acts(sections: &Sections, faults: &mut Faults) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    for section in sections.of("atti") {
        section.allow(&[], &["atto", "titolo", "art6", "art9", "art10"], faults);
        for row in &section.rows {
            let Some(word) = section.required_cell(row, "atto", faults) else { continue };
            if let Some(first) = acts.iter().find(|act| act.id == word.text) {
                let at = format!("{}:{}", first.file, first.line);
                faults.add(&word.place, Problem::Duplicate(word.text.clone(), at));
            }
            let text = |column| section.cell(row, column).map(|word| word.text.clone());
            acts.push(Act {
                id: word.text.clone(),
                title: section
                    .required_cell(row, "titolo", faults)
                    .map(|w| w.text.clone())
                    .unwrap_or_default(),
                art6: text("art6"),
                art9: text("art9"),
                art10: text("art10"),
                file: row.place.file.clone(),
                line: row.place.line,
            });
        }
    }
    acts
}

fn columns(sections: &Sections, faults: &mut Faults) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for section in sections.of("colonne") {
        section.allow(&[], &["colonna", "enti", "ufficio", "livello", "nome"], faults);
        for row in &section.rows {
            let name = section.required_cell(row, "colonna", faults);
            let kinds = section.required_cell(row, "enti", faults).map(Word::list).unwrap_or_default();
            let kinds: Vec<_> =
                kinds.iter().filter_map(|w| choice(w, "kind of agency", KINDS, faults)).collect();
            let office = section.cell(row, "ufficio").and_then(|word| id(word, faults));
            let level = section.cell(row, "livello").and_then(|word| choice(word, "level", LEVELS, faults));
            let Some(name) = name else { continue };
            if columns.iter().any(|column| column.id == name.text) {
                faults.add(&row.place, Problem::Duplicate(name.text.clone(), section.kind.place.to_string()));
            }
            let title = section.cell(row, "nome").map(|word| word.text.clone()).unwrap_or_default();
            columns.push(Column { id: name.text.clone(), kinds, office, level, name: title });
        }
    }
    columns
}

/// The acts named in a list.
pub fn cited(word: Option<&Word>, acts: &[Act], faults: &mut Faults) -> Vec<String> {
    let mut cited = Vec::new();
    for part in word.map(Word::list).unwrap_or_default() {
        if acts.iter().any(|act| act.id == part.text) {
            cited.push(part.text);
        } else {
            faults.unknown(&part.place, "act", &part.text, acts.iter().map(|act| act.id.as_str()));
        }
    }
    cited
}

const PURPOSE_WORDS: &[&str] = &[
    "nome",
    "caso",
    "livelli",
    "consenso",
    "base",
    "colonne",
    "dal",
    "al",
    "solo_aggregati",
    "stesso_tipo",
    "dpia",
    "conservazione",
    "chiamate_giorno",
    "riesame_ore",
    "visibile",
];

fn purpose(section: &Section, acts: &[Act], known: &[Column], faults: &mut Faults) -> Option<Purpose> {
    section.allow(PURPOSE_WORDS, &["record", "campi"], faults);
    let id: Option<PurposeId> = id(&section.name, faults);
    let name = section.required("nome", faults).map(|word| word.text.clone()).unwrap_or_default();
    let cases = &[("no", CaseRule::None), ("richiesto", CaseRule::Required)];
    let case = section.required("caso", faults).and_then(|word| choice(word, "case rule", cases, faults));
    let levels = section.entry("livelli").map(Word::list).unwrap_or_default();
    let levels: Vec<Level> = levels.iter().filter_map(|w| choice(w, "level", LEVELS, faults)).collect();
    if case == Some(CaseRule::Required) && levels.is_empty() {
        faults.add(&section.kind.place, Problem::Missing("livelli"));
    }
    let consent =
        section.required("consenso", faults).and_then(|w| choice(w, "role of consent", ROLES, faults));
    let mut columns = Vec::new();
    for word in section.entry("colonne").map(Word::list).unwrap_or_default() {
        if known.iter().any(|column| column.id == word.text) {
            columns.push(word.text);
        } else {
            faults.unknown(&word.place, "column", &word.text, known.iter().map(|column| column.id.as_str()));
        }
    }
    let mut yes = |word| {
        section.entry(word).and_then(|word| choice(word, "answer", YES_NO, faults)).unwrap_or_default()
    };
    let gives = if yes("solo_aggregati") { Gives::Aggregates } else { Gives::Records };
    let same_kind = yes("stesso_tipo");
    let visible = section.entry("visibile").is_none() || yes("visibile");
    let visibility = if visible { Visibility::Shown } else { Visibility::Withheld };
    let acts = cited(section.required("base", faults), acts, faults);
    let (from, until) = period(section.entry("dal"), section.entry("al"), faults);
    let daily_calls = number(section.entry("chiamate_giorno"), faults);
    let review_hours = number(section.entry("riesame_ore"), faults);
    Some(Purpose {
        id: id?,
        name,
        case: case?,
        levels,
        consent: consent?,
        acts,
        from,
        until,
        gives,
        same_kind,
        columns,
        records: purpose_records(section, faults),
        dpia: section.entry("dpia").map(|word| word.text.clone()),
        retention: section.entry("conservazione").map(|word| word.text.clone()),
        daily_calls,
        review_hours,
        visibility,
    })
}

pub fn number(word: Option<&Word>, faults: &mut Faults) -> Option<u32> {
    let word = word?;
    let number = word.text.parse().ok();
    if number.is_none() {
        faults.add(&word.place, Problem::Value { word: shown(&word.text), expected: "a whole number" });
    }
    number
}

/// The record types a purpose gives; whether they and their fields exist is checked when the records are known.
fn purpose_records(section: &Section, faults: &mut Faults) -> Vec<PurposeRecord> {
    let mut records: Vec<PurposeRecord> = Vec::new();
    for row in &section.rows {
        let Some(word) = section.required_cell(row, "record", faults) else { continue };
        let Some(record_type) = id(word, faults) else { continue };
        if records.iter().any(|record| record.record_type == record_type) {
            faults.add(&row.place, Problem::Duplicate(word.text.clone(), section.kind.place.to_string()));
        }
        let fields = match section.required_cell(row, "campi", faults) {
            Some(all) if all.text == "tutti" => None,
            Some(some) => Some(some.list().iter().filter_map(|word| id(word, faults)).collect()),
            None => continue,
        };
        records.push(PurposeRecord { record_type, fields });
    }
    records
}

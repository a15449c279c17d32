//! Reading mapping files: every fault at once, with file, line and the nearest word that would have been right.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use varco_core::id::FieldId;
use varco_core::policy::bundle::choice;
use varco_core::policy::fault::{Faults, PolicyFault, Problem, shown};
use varco_core::policy::record::RecordType;
use varco_core::policy::text::{self, Row, Section, Word};
use varco_core::view::kind::Kind;

use super::path::{Path, Segment};
use super::reading::{self, DateForm, NumberForm, Step, Translation};
use super::{Direction, Mapping, Mappings, OnFault, Rule, counts};

const SECTIONS: [&str; 4] = ["conteggio", "costanti", "mappatura", "traduzione"];
const COLUMNS: [&str; 6] = ["fonte", "campo", "lettura", "altrimenti", "guasto", "verso"];
const STEPS: [&str; 10] =
    ["data", "decimale", "divide", "diviso", "lista", "per", "prefisso", "si_no", "telefono", "zeri"];
/// In the column `fonte`: the field comes from nowhere but `altrimenti`.
const NOWHERE: &str = "-";

impl Mappings {
    /// Reads the files of one agency's system. `words` are what this kind of adapter allows besides `da` and `soggetto`.
    pub fn read(
        files: &[(String, Vec<u8>)],
        records: &[Arc<RecordType>],
        words: &[&str],
    ) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = Faults::default();
        let mut sections = Vec::new();
        for (path, bytes) in files {
            sections.extend(text::read(path, bytes, &mut faults));
        }
        let reader = Reader { records, words, lists: translations(&sections, &mut faults) };
        let mut mappings = Self::default();
        for section in sections.iter().filter(|section| section.kind.text == "mappatura") {
            let Some(mapping) = reader.mapping(section, &mut faults) else { continue };
            let id = mapping.record.id.clone();
            if mappings.by_type.insert(id, mapping).is_some() {
                let what = format!("[mappatura {}]", section.name.text);
                faults.add(&section.kind.place, Problem::Duplicate(what, "the same files".to_owned()));
            }
        }
        for section in &sections {
            match section.kind.text.as_str() {
                "conteggio" => counts::read(section, records, &mut mappings.counts, &mut faults),
                "costanti" => constants(section, &mut mappings, &mut faults),
                "mappatura" | "traduzione" => {}
                other => faults.unknown(&section.kind.place, "section", other, SECTIONS),
            }
        }
        if faults.is_empty() { Ok(mappings) } else { Err(faults.into_sorted()) }
    }
}

fn translations(sections: &[Section], faults: &mut Faults) -> BTreeMap<String, Arc<Translation>> {
    let mut lists = BTreeMap::new();
    for section in sections.iter().filter(|section| section.kind.text == "traduzione") {
        section.allow(&[], &["fonte", "valore"], faults);
        let mut pairs: Vec<(String, String)> = Vec::new();
        for row in &section.rows {
            let theirs = section.required_cell(row, "fonte", faults);
            let ours = section.required_cell(row, "valore", faults);
            let (Some(theirs), Some(ours)) = (theirs, ours) else { continue };
            for code in theirs.list() {
                if pairs.iter().any(|(known, _)| *known == code.text) {
                    let what = format!("code `{}`", shown(&code.text));
                    faults.add(&code.place, Problem::Duplicate(what, section.kind.place.to_string()));
                }
                pairs.push((code.text, ours.text.clone()));
            }
        }
        if lists.insert(section.name.text.clone(), Arc::new(Translation { pairs })).is_some() {
            let what = format!("[traduzione {}]", section.name.text);
            faults.add(&section.kind.place, Problem::Duplicate(what, "the same files".to_owned()));
        }
    }
    lists
}

/// What is written besides the fields.
fn constants(section: &Section, mappings: &mut Mappings, faults: &mut Faults) {
    section.allow(&[], &["fonte", "valore"], faults);
    let known: Vec<String> = mappings.by_type.keys().map(ToString::to_string).collect();
    let found = mappings.by_type.iter_mut().find(|(id, _)| id.as_str() == section.name.text);
    let Some((_, mapping)) = found else {
        faults.unknown(&section.name.place, "mapping", &section.name.text, known.iter().map(String::as_str));
        return;
    };
    for row in &section.rows {
        let place = section.required_cell(row, "fonte", faults);
        let value = section.required_cell(row, "valore", faults);
        let (Some(place), Some(value)) = (place, value) else { continue };
        if let Some(path) = source_path(place, faults) {
            mapping.constants.push((path, Value::String(value.text.clone())));
        }
    }
}

fn source_path(word: &Word, faults: &mut Faults) -> Option<Path> {
    match Path::parse(&word.text) {
        Ok(path) => Some(path),
        Err(_) => {
            let expected = "a place such as `COLONNA`, `name[0].family` or `righe[].IMPORTO`";
            faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
            None
        }
    }
}

struct Reader<'a> {
    records: &'a [Arc<RecordType>],
    words: &'a [&'a str],
    lists: BTreeMap<String, Arc<Translation>>,
}

/// Where in the record a line leads.
struct Target {
    path: Path,
    field: FieldId,
    kind: Kind,
}

impl Reader<'_> {
    fn mapping(&self, section: &Section, faults: &mut Faults) -> Option<Mapping> {
        let allowed: Vec<&str> = ["da", "soggetto"].iter().chain(self.words).copied().collect();
        section.allow(&allowed, &COLUMNS, faults);
        let record = self.records.iter().find(|record| record.id.as_str() == section.name.text);
        let Some(record) = record else {
            let known = self.records.iter().map(|record| record.id.as_str());
            faults.unknown(&section.name.place, "record type", &section.name.text, known);
            return None;
        };
        let mut rules: Vec<Rule> = Vec::new();
        for row in &section.rows {
            let Some(rule) = self.rule(section, row, record, faults) else { continue };
            let reads = |rule: &Rule| rule.direction != Direction::Write;
            if reads(&rule) && rules.iter().any(|other| reads(other) && other.target == rule.target) {
                let what = format!("line for `{}`", rule.target);
                faults.add(&row.place, Problem::Duplicate(what, section.kind.place.to_string()));
            }
            rules.push(rule);
        }
        let words = section.entries.iter().filter(|(word, _)| self.words.contains(&word.text.as_str()));
        let mapping = Mapping {
            record: Arc::clone(record),
            from: section.entry("da").map(|word| word.text.clone()),
            subject: section.entry("soggetto").and_then(|word| source_path(word, faults)),
            words: words.map(|(word, value)| (word.text.clone(), value.text.clone())).collect(),
            rules,
            constants: Vec::new(),
        };
        controls_are_read(&mapping, section, faults);
        Some(mapping)
    }

    fn rule(&self, section: &Section, row: &Row, record: &RecordType, faults: &mut Faults) -> Option<Rule> {
        let source = section.required_cell(row, "fonte", faults);
        let target =
            section.required_cell(row, "campo", faults).and_then(|word| target(word, record, faults));
        let steps = match section.cell(row, "lettura") {
            Some(word) => self.steps(word, faults),
            None => Some(Vec::new()),
        };
        let on_fault = [("ometti", OnFault::LeaveOut), ("rifiuta", OnFault::Refuse)];
        let on_fault = match section.cell(row, "guasto") {
            Some(word) => choice(word, "way out", &on_fault, faults)?,
            None => OnFault::Refuse,
        };
        let directions =
            [("entrambi", Direction::Both), ("legge", Direction::Read), ("scrive", Direction::Write)];
        let direction = match section.cell(row, "verso") {
            Some(word) => choice(word, "direction", &directions, faults)?,
            None => Direction::Both,
        };
        let (source, target, steps) = (source?, target?, steps?);
        let otherwise = otherwise(section, row, &target, faults);
        let from = (source.text != NOWHERE).then(|| source_path(source, faults));
        let from = match from {
            Some(path) => Some(path?),
            None if otherwise.is_none() => {
                faults.add(&row.place, Problem::Missing("altrimenti"));
                return None;
            }
            None => None,
        };
        if let Some(expected) = reading::expected(&steps, &target.kind) {
            let word = section.cell(row, "lettura").map(|word| shown(&word.text)).unwrap_or_default();
            faults.add(&row.place, Problem::Value { word, expected });
        }
        self.codes_exist(&steps, &target, row, faults);
        let lists = |path: &Path| path.lists() + usize::from(reading::separator(&steps).is_some());
        if from.as_ref().is_some_and(|path| lists(path) != target.path.lists()) {
            let expected = "in as many lists `[]` as its source";
            faults.add(&row.place, Problem::Value { word: target.path.to_string(), expected });
        }
        let Target { path, field, kind } = target;
        Some(Rule { source: from, target: path, field, kind, steps, otherwise, on_fault, direction })
    }

    fn steps(&self, word: &Word, faults: &mut Faults) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        let mut rest = word.text.trim();
        while !rest.is_empty() {
            let (name, after) = match rest.split_once('(') {
                Some((name, after)) if !name.trim().contains(char::is_whitespace) => (name.trim(), after),
                Some(_) | None => {
                    let first = rest.split_whitespace().next().unwrap_or(rest);
                    faults.unknown(&word.place, "reading", first, STEPS);
                    return None;
                }
            };
            let Some((argument, next)) = after.split_once(')') else {
                let expected = "closed with `)`";
                faults.add(&word.place, Problem::Value { word: shown(rest), expected });
                return None;
            };
            steps.push(self.step(name, argument.trim(), word, faults)?);
            rest = next.trim();
        }
        Some(steps)
    }

    fn step(&self, name: &str, argument: &str, word: &Word, faults: &mut Faults) -> Option<Step> {
        let (step, expected) = match name {
            "data" => (DateForm::parse(argument).map(Step::Date), "a form such as `data(GG/MM/AAAA)`"),
            "decimale" => (number_form(argument).map(Step::Number), "`decimale(,)` or `decimale(.)`"),
            "divide" => (one_char(argument).map(Step::Split), "one sign, as in `divide(;)`"),
            "diviso" => (power_of_ten(argument).map(Step::Divided), "a power of ten, as in `diviso(100)`"),
            "lista" => {
                let found = self.lists.get(argument).cloned();
                if found.is_none() {
                    let known = self.lists.keys().map(String::as_str);
                    faults.unknown(&word.place, "translation", argument, known);
                    return None;
                }
                (found.map(Step::Translate), "")
            }
            "per" => (factor(argument).map(Step::Times), "a whole number, as in `per(12)`"),
            "prefisso" => (
                (!argument.is_empty()).then(|| Step::Prefix(argument.into())),
                "a text, as in `prefisso(Patient/)`",
            ),
            "si_no" => (yes_no(argument), "what stands for yes and for no, as in `si_no(S/1,N/0)`"),
            "telefono" => {
                let good = argument.strip_prefix('+').is_some_and(|d| d.parse::<u16>().is_ok());
                (good.then(|| Step::Phone(argument.into())), "a country's prefix, as in `telefono(+39)`")
            }
            "zeri" => {
                let width = argument.parse().ok().filter(|width| (1..=20).contains(width));
                (width.map(Step::Zeros), "a width from 1 to 20, as in `zeri(6)`")
            }
            other => {
                faults.unknown(&word.place, "reading", other, STEPS);
                return None;
            }
        };
        if step.is_none() {
            faults.add(&word.place, Problem::Value { word: shown(&format!("{name}({argument})")), expected });
        }
        step
    }

    /// A translation must lead to codes of the field's list, or it would fail with the first person who has the code.
    fn codes_exist(&self, steps: &[Step], target: &Target, row: &Row, faults: &mut Faults) {
        let (Kind::Code(codes), Some(Step::Translate(list))) = (&target.kind, steps.last()) else { return };
        for (_, ours) in &list.pairs {
            if !codes.has(ours) {
                faults.unknown(&row.place, "code", ours, codes.groups.keys().map(String::as_str));
            }
        }
    }
}

fn otherwise(section: &Section, row: &Row, target: &Target, faults: &mut Faults) -> Option<Value> {
    let word = section.cell(row, "altrimenti")?;
    if target.path.lists() > 0 {
        let expected = "for a place within a list";
        faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
        return None;
    }
    let value = reading::constant(&word.text, &target.kind);
    if value.is_none() {
        let expected = target.kind.expected();
        faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
    }
    value
}

/// The field, and below it the members and items, by the record type.
fn target(word: &Word, record: &RecordType, faults: &mut Faults) -> Option<Target> {
    let path = source_path(word, faults)?;
    let field = record.fields.iter().find(|field| field.parent.is_none() && field.id.as_str() == path.root());
    let Some(field) = field else {
        let known =
            record.fields.iter().filter(|field| field.parent.is_none()).map(|field| field.id.as_str());
        faults.unknown(&word.place, "field", path.root(), known);
        return None;
    };
    let (mut kind, mut id) = (&field.full, field.id.clone());
    for segment in path.segments().iter().skip(1) {
        kind = match (segment, kind) {
            (Segment::Each, Kind::List(item)) => item,
            (Segment::Name(name), Kind::Struct(members)) => {
                let Some(member) = members.iter().find(|member| member.name == **name) else {
                    faults.unknown(&word.place, "member", name, members.iter().map(|m| m.name.as_str()));
                    return None;
                };
                let part = format!("{}.{name}", field.id);
                if let Some(part) = record.fields.iter().find(|other| other.id.as_str() == part) {
                    id = part.id.clone();
                }
                &member.kind
            }
            _ => {
                let expected = "a place in the field; lists are written `field[]`, structures `field.member`";
                faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
                return None;
            }
        };
    }
    let kind = kind.clone();
    Some(Target { path, field: id, kind })
}

/// Who reads a field that a control field may hide must read the control field too: what is not asked can hide nothing.
fn controls_are_read(mapping: &Mapping, section: &Section, faults: &mut Faults) {
    let covered = mapping.covered();
    let field = |index| mapping.record.field(index);
    for control in &mapping.record.controls {
        let Some(control_field) = field(control.field) else { continue };
        let hidden = control.conceals.iter().filter_map(|index| field(*index));
        let shown = hidden.map(|field| &field.id).find(|id| covered.contains(id));
        if let (Some(shown), false) = (shown, covered.contains(&control_field.id)) {
            let problem = Problem::ControlUnread(shown.to_string(), control_field.id.to_string());
            faults.add(&section.kind.place, problem);
        }
    }
}

fn number_form(argument: &str) -> Option<NumberForm> {
    match argument {
        "," => Some(NumberForm::Comma),
        "." => Some(NumberForm::Point),
        _ => None,
    }
}

fn one_char(argument: &str) -> Option<char> {
    let mut chars = argument.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn power_of_ten(argument: &str) -> Option<u32> {
    argument.parse().ok().filter(|by| [10, 100, 1000, 10_000].contains(by))
}

fn factor(argument: &str) -> Option<u32> {
    argument.parse().ok().filter(|by| (2..=1_000_000).contains(by))
}

fn yes_no(argument: &str) -> Option<Step> {
    let words = |text: &str| -> Vec<Box<str>> {
        text.split('/').map(str::trim).filter(|word| !word.is_empty()).map(Into::into).collect()
    };
    let (yes, no) = argument.split_once(',')?;
    let (yes, no) = (words(yes), words(no));
    let distinct = !yes.iter().any(|word| no.iter().any(|other| other.eq_ignore_ascii_case(word)));
    (!yes.is_empty() && !no.is_empty() && distinct).then_some(Step::YesNo { yes, no })
}

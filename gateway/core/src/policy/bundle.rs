//! From sections of text to checked words: what every part of a bundle says, still without a table.

pub mod agreement;
pub mod dictionary;
pub mod matrix;
pub mod records;
pub mod rules;
pub mod tabulations;

use std::collections::BTreeMap;
use std::str::FromStr;

use super::fault::{Faults, Place, Problem, shown};
use super::text::{Row, Section, Word};
use crate::id::IdFault;
use crate::time::{Timestamp, parse_date};

/// The kinds of section a bundle may have.
const SECTIONS: &[&str] = &[
    "aree",
    "atti",
    "colonne",
    "controlli",
    "finalita",
    "garanzie",
    "implica",
    "legge",
    "lista",
    "matrice",
    "nucleo",
    "pacchetto",
    "parti",
    "prospetto",
    "protocollo",
    "record",
    "regolamento",
    "scala",
    "statistica",
    "tipo",
];

/// The sections of all files by kind.
pub struct Sections {
    by_kind: BTreeMap<String, Vec<Section>>,
}

impl Sections {
    pub fn new(all: Vec<Section>, faults: &mut Faults) -> Self {
        let mut by_kind: BTreeMap<String, Vec<Section>> = BTreeMap::new();
        for section in all {
            if SECTIONS.contains(&section.kind.text.as_str()) {
                by_kind.entry(section.kind.text.clone()).or_default().push(section);
            } else {
                faults.unknown(&section.kind.place, "section", &section.kind.text, SECTIONS.iter().copied());
            }
        }
        for sections in by_kind.values_mut() {
            // The order of files and of sections leaves no trace.
            sections.sort_by(|a, b| (&a.name.text, &a.kind.place).cmp(&(&b.name.text, &b.kind.place)));
        }
        Self { by_kind }
    }

    pub fn of(&self, kind: &str) -> &[Section] {
        self.by_kind.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The sections of a kind, each name once.
    pub fn named(&self, kind: &str, faults: &mut Faults) -> Vec<&Section> {
        let mut found: Vec<&Section> = Vec::new();
        for section in self.of(kind) {
            match found.last() {
                Some(first) if first.name.text == section.name.text => {
                    let what = format!("[{kind} {}]", section.name.text);
                    faults.add(&section.kind.place, Problem::Duplicate(what, first.kind.place.to_string()));
                }
                Some(_) | None => found.push(section),
            }
        }
        found
    }
}

impl Section {
    /// Reports entries and columns that the section cannot have, and entries written twice.
    pub fn allow(&self, words: &[&str], columns: &[&str], faults: &mut Faults) {
        let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
        for (word, _) in &self.entries {
            if !words.contains(&word.text.as_str()) {
                faults.unknown(&word.place, "word", &word.text, words.iter().copied());
            } else if let Some(first) = seen.insert(&word.text, &word.place) {
                faults.add(&word.place, Problem::Duplicate(word.text.clone(), first.to_string()));
            }
        }
        seen.clear();
        for column in &self.header {
            if !columns.contains(&column.text.as_str()) {
                faults.unknown(&column.place, "column", &column.text, columns.iter().copied());
            } else if let Some(first) = seen.insert(&column.text, &column.place) {
                faults.add(&column.place, Problem::Duplicate(column.text.clone(), first.to_string()));
            }
        }
    }

    pub fn entry(&self, word: &str) -> Option<&Word> {
        self.entries
            .iter()
            .find(|(key, value)| key.text == word && !value.text.is_empty())
            .map(|(_, value)| value)
    }

    pub fn required(&self, word: &'static str, faults: &mut Faults) -> Option<&Word> {
        let found = self.entry(word);
        if found.is_none() {
            faults.add(&self.kind.place, Problem::Missing(word));
        }
        found
    }

    /// The text of an entry, empty if there is none.
    pub fn text(&self, word: &str) -> String {
        self.entry(word).map(|value| value.text.clone()).unwrap_or_default()
    }

    /// The cell of a row under a column; `None` when there is no such column or nothing in it.
    pub fn cell<'a>(&self, row: &'a Row, column: &str) -> Option<&'a Word> {
        let at = self.header.iter().position(|word| word.text == column)?;
        row.cells.get(at).filter(|cell| !cell.text.is_empty())
    }

    pub fn required_cell<'a>(
        &self,
        row: &'a Row,
        column: &'static str,
        faults: &mut Faults,
    ) -> Option<&'a Word> {
        let found = self.cell(row, column);
        if found.is_none() {
            faults.add(&row.place, Problem::Missing(column));
        }
        found
    }
}

/// An identifier, or a fault that says its form.
pub fn id<T: FromStr<Err = IdFault>>(word: &Word, faults: &mut Faults) -> Option<T> {
    match word.text.parse() {
        Ok(id) => Some(id),
        Err(fault) => {
            faults.add(&word.place, Problem::Value { word: shown(&word.text), expected: fault.expected });
            None
        }
    }
}

/// One of a closed list of words.
pub fn choice<T: Copy>(word: &Word, what: &'static str, of: &[(&str, T)], faults: &mut Faults) -> Option<T> {
    let found = of.iter().find(|(name, _)| *name == word.text).map(|(_, value)| *value);
    if found.is_none() {
        faults.unknown(&word.place, what, &word.text, of.iter().map(|(name, _)| *name));
    }
    found
}

/// `dal` and `al`, whole days in UTC, the last one included.
pub fn period(
    from: Option<&Word>,
    until: Option<&Word>,
    faults: &mut Faults,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let mut date = |word: Option<&Word>| {
        let word = word?;
        let date = parse_date(&word.text);
        if date.is_none() {
            let expected = "a date such as `2026-01-31`";
            faults.add(&word.place, Problem::Value { word: shown(&word.text), expected });
        }
        date
    };
    let start = date(from).map(Timestamp::start_of);
    let end = date(until).and_then(time::Date::next_day).map(Timestamp::start_of);
    if let (Some(start), Some(end), Some(word)) = (start, end, until)
        && end <= start
    {
        faults.add(&word.place, Problem::EmptyPeriod);
    }
    (start, end)
}

/// `si` or `no`.
pub const YES_NO: &[(&str, bool)] = &[("no", false), ("si", true)];

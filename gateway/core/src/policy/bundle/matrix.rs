//! The matrix of the agreement: for every field of a record type, what each column may receive.
//!
//! A cell is `-` (withheld), `=` (the recipient is the owner) or a view, followed by what it asks for: `c` the
//! person's explicit agreement, `g` an act of guardian or judge, `c/g` either, `s` the field's équipe scope.
//! A row whose field is followed by `@F07` holds for that purpose in place of the general row. A cell in round brackets
//! is in the agreement's annex, but no purpose reaches it: it withholds, and is a fault as soon as a purpose does reach it.

use super::super::fault::{Faults, Place, Problem, shown};
use super::super::record::{FieldIndex, RecordType};
use super::super::table::Needs;
use super::super::text::{Row, Section, Word};
use super::agreement::{Terms, cited};
use super::{Sections, period};
use crate::id::{FieldId, PurposeId};
use crate::time::Timestamp;
use crate::view::ladder::ViewIndex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixCell {
    pub view: ViewIndex,
    pub needs: Needs,
    /// Written in brackets: nobody reaches it, and it withholds.
    pub is_reserved: bool,
}

impl MatrixCell {
    const WITHHELD: Self = Self { view: ViewIndex::WITHHOLD, needs: Needs::NONE, is_reserved: false };
}

/// A row of the matrix, with a cell for every column of the agreement; columns not in the table withhold.
#[derive(Clone, Debug)]
pub struct MatrixRow {
    pub record: usize,
    pub field: FieldIndex,
    pub purpose: Option<PurposeId>,
    pub cells: Vec<MatrixCell>,
    pub acts: Vec<String>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub place: Place,
}

impl MatrixRow {
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let before = |end: Option<Timestamp>, start: Option<Timestamp>| match (end, start) {
            (Some(end), Some(start)) => end <= start,
            (_, _) => false,
        };
        !before(self.until, other.from) && !before(other.until, self.from)
    }
}

pub fn read(
    sections: &Sections,
    records: &[RecordType],
    terms: &Terms,
    faults: &mut Faults,
) -> Vec<MatrixRow> {
    let mut rows: Vec<MatrixRow> = Vec::new();
    for section in sections.of("matrice") {
        let found = records.iter().enumerate().find(|(_, record)| record.id.as_str() == section.name.text);
        // An unknown record type was reported with the record types.
        let Some((index, record)) = found else { continue };
        let fixed = ["campo", "base", "dal", "al"];
        let columns: Vec<&str> =
            fixed.into_iter().chain(terms.columns.iter().map(|column| column.id.as_str())).collect();
        section.allow(&["base"], &columns, faults);
        let base = cited(section.entry("base"), &terms.acts, faults);
        for text in &section.rows {
            let reader = Reader { section, record, index, terms, base: &base };
            let Some(row) = reader.row(text, faults) else { continue };
            let same = |other: &&MatrixRow| {
                (other.record, other.field, &other.purpose) == (row.record, row.field, &row.purpose)
                    && other.overlaps(&row)
            };
            if let Some(first) = rows.iter().find(same) {
                faults.add(&row.place, Problem::GrantTwice(first.place.to_string()));
            }
            rows.push(row);
        }
    }
    rows
}

struct Reader<'a> {
    section: &'a Section,
    record: &'a RecordType,
    index: usize,
    terms: &'a Terms,
    base: &'a [String],
}

impl Reader<'_> {
    fn row(&self, text: &Row, faults: &mut Faults) -> Option<MatrixRow> {
        let word = self.section.required_cell(text, "campo", faults)?;
        let (name, purpose) = match word.text.split_once('@') {
            Some((name, purpose)) => (name.trim(), Some(purpose.trim())),
            None => (word.text.as_str(), None),
        };
        let found = self.record.names.iter().find(|(id, _)| id.as_str() == name).map(|(_, index)| *index);
        let Some(field) = found else {
            faults.unknown(&word.place, "field", name, self.record.names.keys().map(FieldId::as_str));
            return None;
        };
        let purpose = match purpose {
            None => None,
            Some(name) => {
                let known = self.terms.purposes.iter().map(|purpose| &purpose.id);
                match known.clone().find(|id| id.as_str() == name) {
                    Some(id) => Some(id.clone()),
                    None => {
                        faults.unknown(&word.place, "purpose", name, known.map(PurposeId::as_str));
                        return None;
                    }
                }
            }
        };
        let cells =
            self.terms.columns.iter().map(|column| self.cell(text, &column.id, field, faults)).collect();
        let mut acts = cited(self.section.cell(text, "base"), &self.terms.acts, faults);
        acts.extend(self.base.iter().filter(|act| !acts.contains(act)).cloned().collect::<Vec<_>>());
        let (from, until) = period(self.section.cell(text, "dal"), self.section.cell(text, "al"), faults);
        Some(MatrixRow {
            record: self.index,
            field,
            purpose,
            cells,
            acts,
            from,
            until,
            place: text.place.clone(),
        })
    }

    fn cell(&self, row: &Row, column: &str, field: FieldIndex, faults: &mut Faults) -> MatrixCell {
        let withheld = MatrixCell::WITHHELD;
        let Some(at) = self.section.header.iter().position(|word| word.text == column) else {
            return withheld;
        };
        let Some(word) = row.cells.get(at) else { return withheld };
        match word.text.as_str() {
            "" => {
                faults.add(
                    &word.place,
                    Problem::Value { word: column.to_owned(), expected: "filled in; write `-` to withhold" },
                );
                withheld
            }
            "-" => withheld,
            "=" => {
                self.own(word, column, faults);
                withheld
            }
            text => match text.strip_prefix('(').map(|inner| inner.strip_suffix(')')) {
                // What stands in the brackets is checked like any other cell.
                Some(Some(inner)) => {
                    let inner = Word { text: inner.trim().to_owned(), place: word.place.clone() };
                    self.granted(&inner, field, faults);
                    MatrixCell { is_reserved: true, ..withheld }
                }
                Some(None) | None => self.granted(word, field, faults).unwrap_or(withheld),
            },
        }
    }

    fn own(&self, word: &Word, column: &str, faults: &mut Faults) {
        let kinds = self.terms.columns.iter().find(|c| c.id == column).map(|c| c.kinds.as_slice());
        if !kinds.unwrap_or_default().iter().all(|kind| self.record.owners.contains(kind)) {
            faults.add(&word.place, Problem::NotOwner(column.to_owned()));
        }
    }

    fn granted(&self, word: &Word, field: FieldIndex, faults: &mut Faults) -> Option<MatrixCell> {
        let field = self.record.field(field)?;
        let mut parts = word.text.split_whitespace();
        let name = parts.next().unwrap_or_default();
        let view = field.ladder.find(name).filter(|view| view.shows());
        if view.is_none() {
            let valid = field.ladder.views().iter().skip(1).map(|view| view.id.as_str());
            faults.unknown(&word.place, "view", name, valid.chain(["-"]));
        }
        let mut needs = Needs::NONE;
        for mark in parts {
            let need = match mark {
                "c" => Needs::EXPLICIT,
                "g" => Needs::ACT,
                "c/g" | "g/c" => Needs::EXPLICIT_OR_ACT,
                "s" => Needs::SCOPE,
                _ => {
                    let expected = "one of the marks `c`, `g`, `c/g` and `s`";
                    faults.add(&word.place, Problem::Value { word: shown(mark), expected });
                    Needs::NONE
                }
            };
            needs = needs.and(need);
        }
        if needs.has(Needs::SCOPE) && field.scope.is_none() {
            faults.add(&word.place, Problem::ScopeMissing(field.id.to_string()));
        }
        Some(MatrixCell { view: view?, needs, is_reserved: false })
    }
}

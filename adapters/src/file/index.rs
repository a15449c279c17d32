//! What lies where in the dropped files: keyed digests of codici fiscali, and places of rows. No value, and only in memory.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use varco_core::hash::Sha256;
use varco_core::id::FieldId;
use varco_core::subject::CodiceFiscale;

use super::csv;
use super::form::{Form, Format};
use crate::encoding::Encoding;
use crate::mapping::{Ask, Mapping, Note, Reason, Repair, RowFault};
use crate::rows::{self, Placed, Row};
use crate::xml;

/// A key that only this process knows: what is in its memory tells nobody's codice fiscale.
pub type Key = [u8; 32];

type Person = [u8; 32];

/// Faults kept for one report; the rest is counted.
pub(super) const FAULTS_MAX: usize = 10_000;

/// Where a row is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub line: u64,
    pub start: u64,
    pub length: usize,
}

/// What a file has of one person.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// Elements of an XML file, by their number.
    Elements(Vec<usize>),
    /// The record does not fit: nobody gets it until the agency mends it.
    Refused(Vec<RowFault>),
    Rows(Vec<Spot>),
}

/// One file, taken in.
#[derive(Default)]
pub(super) struct Index {
    pub columns: Vec<String>,
    people: HashMap<Person, Held>,
    pub report: Report,
}

/// How a file fits: for the people at the agency who made it. No value is in it.
#[derive(Debug, Default)]
pub struct Report {
    /// Rows or elements.
    pub rows: u64,
    /// People whose record can be given.
    pub people: u64,
    pub faults: Vec<RowFault>,
    /// How often which repair was made.
    pub repairs: BTreeMap<&'static str, u64>,
}

/// One record of a file while it is taken in.
struct Entry {
    place: Place,
    tree: Placed,
}

/// The records of a file by person, in the order in which they first appear.
#[derive(Default)]
struct People {
    by_person: Vec<(CodiceFiscale, Vec<Entry>)>,
    places: HashMap<Person, usize>,
}

#[derive(Clone, Copy)]
enum Place {
    Element(usize),
    Row(Spot),
}

impl Index {
    /// Takes a whole file in: every row is read as it would be for a fetch of all its fields, and refused if it does not fit.
    pub fn build(bytes: &[u8], form: &Form, mapping: &Mapping, key: &Key) -> Self {
        match form.format {
            Format::Csv => Self::of_rows(bytes, form, mapping, key),
            Format::Xml => Self::of_elements(bytes, form, mapping, key),
        }
    }

    pub fn held(&self, key: &Key, person: &CodiceFiscale) -> Option<&Held> {
        self.people.get(&digest(key, person))
    }

    fn of_rows(bytes: &[u8], form: &Form, mapping: &Mapping, key: &Key) -> Self {
        let mut index = Self::default();
        let mut raws = csv::Rows::new(bytes, form.separator);
        let Some(first) = raws.next() else { return index };
        match first.cells.and_then(|cells| header(cells, form.encoding)) {
            Ok(columns) => index.columns = columns,
            Err(reason) => {
                index.fault(RowFault::new(first.line, "", reason));
                return index;
            }
        }
        if let Some(missing) = missing_column(mapping, &index.columns) {
            index.fault(RowFault::new(first.line, missing, Reason::ColumnMissing));
            return index;
        }
        let mut people = People::default();
        for raw in raws {
            index.report.rows += 1;
            let row = raw.cells.and_then(|cells| row(&index.columns, cells, form.encoding));
            let spot = Spot {
                line: raw.line,
                start: u64::try_from(raw.start).unwrap_or(u64::MAX),
                length: raw.bytes.len(),
            };
            let tree = match row {
                Ok(columns) => Placed { row: raw.line, columns },
                Err(reason) => {
                    index.fault(RowFault::new(raw.line, "", reason));
                    continue;
                }
            };
            let entry = Entry { place: Place::Row(spot), tree };
            index.sort_in(entry, mapping, key, &mut people);
        }
        index.keep(people, mapping, key);
        index
    }

    fn of_elements(bytes: &[u8], form: &Form, mapping: &Mapping, key: &Key) -> Self {
        let mut index = Self::default();
        let Some(elements) = elements(bytes, form) else {
            index.fault(RowFault::new(0, "", Reason::Xml));
            return index;
        };
        let mut people = People::default();
        for (number, tree) in elements.into_iter().enumerate() {
            index.report.rows += 1;
            let row = u64::try_from(number).unwrap_or(u64::MAX).saturating_add(1);
            let Value::Object(columns) = tree else {
                index.fault(RowFault::new(row, "", Reason::NotText));
                continue;
            };
            let entry = Entry { place: Place::Element(number), tree: Placed { row, columns } };
            index.sort_in(entry, mapping, key, &mut people);
        }
        index.keep(people, mapping, key);
        index
    }

    /// To its person's other rows; a row of nobody is refused.
    fn sort_in(&mut self, entry: Entry, mapping: &Mapping, key: &Key, people: &mut People) {
        let row = entry.tree.row;
        let name = mapping.subject.as_ref().map(ToString::to_string).unwrap_or_default();
        let tree = Value::Object(entry.tree.columns.clone());
        let person = match mapping.subject_of(&tree) {
            Ok(Some(person)) => person,
            Ok(None) => return self.fault(RowFault::new(row, name, Reason::CodiceFiscale)),
            Err(reason) => return self.fault(RowFault::new(row, name, reason)),
        };
        let People { by_person, places } = people;
        let place = *places.entry(digest(key, &person)).or_insert_with(|| {
            by_person.push((person, Vec::new()));
            by_person.len() - 1
        });
        if let Some((_, entries)) = by_person.get_mut(place) {
            entries.push(entry);
        }
    }

    /// Reads each person's record whole, and keeps where it is or why it is refused.
    fn keep(&mut self, people: People, mapping: &Mapping, key: &Key) {
        let fields = mapping.covered();
        for (person, entries) in people.by_person {
            let places: Vec<Place> = entries.iter().map(|entry| entry.place).collect();
            let trees = entries.into_iter().map(|entry| entry.tree).collect();
            let held = match read(trees, mapping, &person, &fields) {
                Ok(notes) => {
                    self.report.people += 1;
                    for note in notes {
                        *self.report.repairs.entry(note.repair.code()).or_default() += 1;
                        // Left out, and told: a field that is never there would otherwise be noticed by nobody.
                        if let Repair::LeftOut(reason) = note.repair {
                            self.fault(RowFault::new(note.row, note.field, reason));
                        }
                    }
                    held(&places)
                }
                Err(faults) => {
                    for fault in &faults {
                        self.fault(fault.clone());
                    }
                    Held::Refused(faults)
                }
            };
            self.people.insert(digest(key, &person), held);
        }
    }

    fn fault(&mut self, fault: RowFault) {
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(fault);
        }
    }
}

fn held(places: &[Place]) -> Held {
    let spot = |place: &Place| if let Place::Row(spot) = place { Some(*spot) } else { None };
    let number = |place: &Place| if let Place::Element(number) = place { Some(*number) } else { None };
    let rows: Vec<Spot> = places.iter().filter_map(spot).collect();
    if rows.is_empty() {
        Held::Elements(places.iter().filter_map(number).collect())
    } else {
        Held::Rows(rows)
    }
}

fn read(
    trees: Vec<Placed>,
    mapping: &Mapping,
    person: &CodiceFiscale,
    fields: &[FieldId],
) -> Result<Vec<Note>, Vec<RowFault>> {
    let row = trees.first().map_or(0, |tree| tree.row);
    let tree = rows::tree(trees, mapping, fields).map_err(|fault| vec![fault])?;
    mapping.read(&tree, &Ask { row, subject: Some(person), fields }).map(|mapped| mapped.notes)
}

fn digest(key: &Key, person: &CodiceFiscale) -> Person {
    // Key and code have fixed lengths, 32 and 16 bytes, so that their digest is a keyed one.
    *Sha256::of_parts(&[key, person.normalised().as_bytes()]).as_bytes()
}

fn header(cells: Vec<Vec<u8>>, encoding: Encoding) -> Result<Vec<String>, Reason> {
    let names = cells.iter().map(|cell| encoding.decode(cell).ok_or(Reason::Encoding));
    let names: Vec<String> =
        names.map(|name| name.map(|name| name.trim().to_owned())).collect::<Result<_, _>>()?;
    let twice = names.iter().enumerate().any(|(i, name)| names.iter().skip(i + 1).any(|other| other == name));
    if twice { Err(Reason::ColumnTwice) } else { Ok(names) }
}

/// A column that the mapping reads and the file does not have: with such a file every field would look absent.
fn missing_column(mapping: &Mapping, columns: &[String]) -> Option<String> {
    let needed = mapping.columns(&mapping.covered());
    needed.into_iter().find(|column| !columns.iter().any(|found| found == column)).map(str::to_owned)
}

/// A row as columns with their texts.
pub(super) fn row(columns: &[String], cells: Vec<Vec<u8>>, encoding: Encoding) -> Result<Row, Reason> {
    if cells.len() != columns.len() {
        return Err(Reason::RowWidth);
    }
    let mut row = Row::new();
    for (column, cell) in columns.iter().zip(cells) {
        let text = encoding.decode(&cell).ok_or(Reason::Encoding)?;
        row.insert(column.clone(), if text.is_empty() { Value::Null } else { Value::String(text) });
    }
    Ok(row)
}

/// The elements of the form's name as trees, in their order; `None` where the file is not XML as we read it.
pub(super) fn elements(bytes: &[u8], form: &Form) -> Option<Vec<Value>> {
    let root = xml::parse(bytes, &xml::Limits::FILE).ok()?;
    let mut found = Vec::new();
    collect(&root, &form.element, &mut found).then_some(found)
}

/// Depth is limited by the reader.
fn collect(element: &xml::Element, name: &str, found: &mut Vec<Value>) -> bool {
    if element.name.local == name {
        return match xml::tree(element) {
            Ok(tree) => {
                found.push(tree);
                true
            }
            Err(_) => false,
        };
    }
    element.children.iter().all(|node| match node {
        xml::Node::Element(child) => collect(child, name, found),
        xml::Node::Text(_) => true,
    })
}

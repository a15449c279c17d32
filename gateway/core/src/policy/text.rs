//! The text of policy files: sections, `word = value` lines and tables, with the line of everything.
//!
//! ```text
//! [campi anagrafica_nucleo]          # a section, with the name of what it describes
//! titolo = Anagrafica del nucleo     # a word and its value
//! campo        | tipo | categoria    # a table: first its columns
//! data_nascita | data | ordinaria    # then its rows
//! ```
//! `#` begins a remark, at the start of a line or after a space. Nothing else is special; order never matters.

use super::fault::{Faults, Place, Problem};

/// A record type with its matrix is some 20 KB.
pub const LONGEST_FILE: usize = 1 << 20;
/// Ten record types, nine regulations and a handful of common files.
pub const MOST_FILES: usize = 256;

/// A piece of text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub struct Section {
    pub kind: Word,
    /// Empty when the section has no name.
    pub name: Word,
    pub entries: Vec<(Word, Word)>,
    pub header: Vec<Word>,
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub place: Place,
    pub cells: Vec<Word>,
}

/// Reads one file. Faults are added; what can be read is returned.
pub fn read(path: &str, bytes: &[u8], faults: &mut Faults) -> Vec<Section> {
    let place = |line| Place { file: path.to_owned(), line };
    if bytes.len() > LONGEST_FILE {
        faults.add(&place(0), Problem::Limits(LONGEST_FILE, MOST_FILES));
        return Vec::new();
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        faults.add(&place(0), Problem::Text);
        return Vec::new();
    };
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in (1..).zip(text.strip_prefix('\u{feff}').unwrap_or(text).lines()) {
        let place = place(number);
        let line = without_remark(line).trim();
        if line.is_empty() {
            continue;
        }
        if let Some(inside) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push(section(inside, &place));
            continue;
        }
        let Some(section) = sections.last_mut() else {
            faults.add(&place, Problem::Syntax);
            continue;
        };
        if line.contains('|') {
            section.row(line, place, faults);
        } else if let Some((key, value)) = line.split_once('=') {
            section.entries.push((Word::new(key, &place), Word::new(value, &place)));
        } else {
            faults.add(&place, Problem::Syntax);
        }
    }
    sections
}

impl Word {
    fn new(text: &str, place: &Place) -> Self {
        Self { text: text.trim().to_owned(), place: place.clone() }
    }

    /// The parts of a list separated by commas; none for an empty text.
    pub fn list(&self) -> Vec<Self> {
        let parts = self.text.split(',').map(|part| Self::new(part, &self.place));
        if self.text.is_empty() { Vec::new() } else { parts.collect() }
    }
}

fn without_remark(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return line.get(..at).unwrap_or(line);
        }
        before = c;
    }
    line
}

fn section(inside: &str, place: &Place) -> Section {
    let (kind, name) = inside.trim().split_once(char::is_whitespace).unwrap_or((inside, ""));
    Section {
        kind: Word::new(kind, place),
        name: Word::new(name, place),
        entries: Vec::new(),
        header: Vec::new(),
        rows: Vec::new(),
    }
}

impl Section {
    /// The first row of a table names its columns. Rows may stand between outer bars, and a rule of dashes may stand
    /// under the names.
    fn row(&mut self, line: &str, place: Place, faults: &mut Faults) {
        let inner = line.strip_prefix('|').map(|rest| rest.strip_suffix('|').unwrap_or(rest));
        let line = inner.unwrap_or(line);
        let cells: Vec<Word> = line.split('|').map(|cell| Word::new(cell, &place)).collect();
        let is_rule = |cell: &Word| cell.text.len() > 2 && cell.text.bytes().all(|b| b == b'-' || b == b':');
        if cells.iter().all(is_rule) {
            return;
        }
        if self.header.is_empty() {
            self.header = cells;
        } else if cells.len() == self.header.len() {
            self.rows.push(Row { place, cells });
        } else {
            faults.add(&place, Problem::RowWidth { found: cells.len(), expected: self.header.len() });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everything_read_knows_its_line() {
        let text = "# remark\n[record prova] # another\ntitolo = A # B\n\n| a | b |\n|---|---|\n| 1 |   |\n";
        let mut faults = Faults::default();
        let sections = read("f", text.as_bytes(), &mut faults);
        assert!(faults.is_empty());
        assert_eq!((sections[0].kind.text.as_str(), sections[0].name.text.as_str()), ("record", "prova"));
        assert_eq!((sections[0].entries[0].1.text.as_str(), sections[0].entries[0].1.place.line), ("A", 3));
        assert_eq!(sections[0].rows[0].cells[0].place.line, 7);
        assert_eq!(sections[0].rows[0].cells.len(), 2);
    }

    #[test]
    fn a_line_that_is_nothing_is_a_fault_with_its_number() {
        let mut faults = Faults::default();
        read("f", b"before = any section\n[a]\nnothing\nx | y\n1 | 2 | 3\n", &mut faults);
        let lines: Vec<u32> = faults.into_sorted().iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read("f", &bytes, &mut Faults::default());
        }
    }
}

//! CSV as agencies' systems write it: `;` or another separator, quotes (RFC 4180), CR/LF, LF or CR at the end of a line.
//!
//! Works on bytes, so that a row is known by where it lies: the separators are ASCII in every encoding that is read. A
//! quote that never ends would swallow the file; its line is refused and reading goes on with the next.

use serde_json::Value;

use crate::mapping::Reason;
use crate::mapping::path::ROWS;

/// A row with every column of the widest record type filled is some 8 KB.
pub(crate) const ROW_MAX: usize = 64 * 1024;
/// Columns of a row.
pub(crate) const COLUMNS_MAX: usize = 512;

/// One row, where it lies and what is in it.
#[derive(Debug)]
pub(crate) struct Raw<'a> {
    /// The line it begins at, from 1.
    pub line: u64,
    /// Where its first byte is.
    pub start: usize,
    /// Without the line's end.
    pub bytes: &'a [u8],
    pub cells: Result<Vec<Vec<u8>>, Reason>,
}

/// The rows of a file, one after another. Empty lines are no rows.
pub(crate) struct Rows<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
    separator: u8,
}

impl<'a> Rows<'a> {
    /// A byte order mark is passed over.
    pub fn new(bytes: &'a [u8], separator: u8) -> Self {
        let at = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        Self { bytes, at, line: 1, separator }
    }

    /// The byte `ahead` of here.
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at.checked_add(ahead)?).copied()
    }

    /// Goes past the end of the line at this place, if there is one.
    fn pass_line_end(&mut self) -> bool {
        let width = match (self.peek(0), self.peek(1)) {
            (Some(b'\r'), Some(b'\n')) => 2,
            (Some(b'\r' | b'\n'), _) => 1,
            _ => return false,
        };
        self.at += width;
        self.line += 1;
        true
    }

    fn row(&mut self) -> Raw<'a> {
        let (start, line) = (self.at, self.line);
        let cells = self.cells(start);
        if cells.is_err() {
            // Nothing of a row that is not understood may be taken for another: on with the line after its first.
            (self.at, self.line) = (start, line);
            while self.peek(0).is_some_and(|byte| !matches!(byte, b'\r' | b'\n')) {
                self.at += 1;
            }
        }
        let bytes = self.bytes.get(start..self.at).unwrap_or_default();
        self.pass_line_end();
        Raw { line, start, bytes, cells }
    }

    fn cells(&mut self, start: usize) -> Result<Vec<Vec<u8>>, Reason> {
        let mut cells = Vec::new();
        loop {
            let cell = if self.peek(0) == Some(b'"') { self.quoted(start)? } else { self.plain(start)? };
            cells.push(cell);
            if cells.len() > COLUMNS_MAX {
                return Err(Reason::RowWidth);
            }
            if self.peek(0) != Some(self.separator) {
                return Ok(cells);
            }
            self.at += 1;
        }
    }

    fn plain(&mut self, start: usize) -> Result<Vec<u8>, Reason> {
        let mut cell = Vec::new();
        while let Some(byte) = self.peek(0) {
            if byte == self.separator || matches!(byte, b'\r' | b'\n') {
                break;
            }
            cell.push(byte);
            self.advance(start)?;
        }
        Ok(cell)
    }

    fn quoted(&mut self, start: usize) -> Result<Vec<u8>, Reason> {
        let mut cell = Vec::new();
        self.advance(start)?;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'"'), Some(b'"')) => {
                    cell.push(b'"');
                    self.advance(start)?;
                    self.advance(start)?;
                }
                (Some(b'"'), after) => {
                    self.advance(start)?;
                    let ends =
                        after.is_none_or(|byte| byte == self.separator || matches!(byte, b'\r' | b'\n'));
                    return if ends { Ok(cell) } else { Err(Reason::Quotes) };
                }
                (Some(byte), _) => {
                    if byte == b'\n' {
                        self.line += 1;
                    }
                    cell.push(byte);
                    self.advance(start)?;
                }
                (None, _) => return Err(Reason::Quotes),
            }
        }
    }

    fn advance(&mut self, start: usize) -> Result<(), Reason> {
        self.at += 1;
        if self.at.saturating_sub(start) > ROW_MAX { Err(Reason::RowLength) } else { Ok(()) }
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        while self.pass_line_end() {}
        (self.at < self.bytes.len()).then(|| self.row())
    }
}

/// A row as it is written: every cell in quotes, so that no value can be a separator.
pub(crate) fn write(cells: &[&str], separator: char) -> String {
    let quoted: Vec<String> = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
    format!("{}\r\n", quoted.join(&separator.to_string()))
}

/// Columns in the order of the mapping, and one line for each of the rows.
pub(crate) fn table(tree: &Value, separator: char) -> String {
    let empty = serde_json::Map::new();
    let whole = tree.as_object().unwrap_or(&empty);
    let rows: Vec<&Value> = whole.get(ROWS).and_then(Value::as_array).into_iter().flatten().collect();
    let mut columns: Vec<&String> = whole.keys().filter(|name| *name != ROWS).collect();
    for row in &rows {
        let new: Vec<&String> = row
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::keys)
            .filter(|c| !columns.contains(c))
            .collect();
        columns.extend(new);
    }
    let names: Vec<&str> = columns.iter().map(|name| name.as_str()).collect();
    let mut text = write(&names, separator);
    let line = |row: Option<&Value>| {
        let cell = |name: &&String| {
            let value = row.and_then(|row| row.get(name.as_str())).or_else(|| whole.get(name.as_str()));
            match value {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            }
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        write(&cells.iter().map(String::as_str).collect::<Vec<_>>(), separator)
    };
    if rows.is_empty() {
        text.push_str(&line(None));
    }
    for row in rows {
        text.push_str(&line(Some(row)));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Lines = Vec<(u64, Result<Vec<String>, Reason>)>;

    fn rows(text: &[u8]) -> Lines {
        let text_of = |cells: Vec<Vec<u8>>| {
            cells.into_iter().map(|cell| String::from_utf8_lossy(&cell).into_owned()).collect()
        };
        Rows::new(text, b';').map(|raw| (raw.line, raw.cells.map(text_of))).collect()
    }

    fn row(line: u64, cells: &[&str]) -> (u64, Result<Vec<String>, Reason>) {
        (line, Ok(cells.iter().map(|cell| (*cell).to_owned()).collect()))
    }

    #[test]
    fn every_end_of_line_quotes_and_empty_lines_are_read() {
        let text = b"\xEF\xBB\xBFA;B\r\n1;\"x;\"\"y\"\"\nz\"\n\n\r2;\r3;4";
        assert_eq!(
            rows(text),
            [row(1, &["A", "B"]), row(2, &["1", "x;\"y\"\nz"]), row(6, &["2", ""]), row(7, &["3", "4"])]
        );
    }

    #[test]
    fn a_quote_that_never_ends_costs_its_own_line_only() {
        assert_eq!(
            rows(b"1;\"a\n2;b\n3;c"),
            [(1, Err(Reason::Quotes)), row(2, &["2", "b"]), row(3, &["3", "c"])]
        );
        assert_eq!(rows(b"\"a\"b;c\n2;b")[0].1, Err(Reason::Quotes));
        let long = [b"x;".as_slice(), &vec![b'y'; ROW_MAX], b"\n2;b"].concat();
        assert_eq!(rows(&long), [(1, Err(Reason::RowLength)), row(2, &["2", "b"])]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cells in prop::collection::vec(".{0,12}", 1..6)) {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            let text = write(&cells, ';');
            let read = rows(text.as_bytes());
            prop_assert_eq!(&read[0].1.clone().unwrap(), &cells);
        }

        #[test]
        fn any_bytes_are_rows_that_lie_in_the_file(bytes in prop::collection::vec(prop::sample::select(b"a;\"\r\n\xff".to_vec()), 0..200)) {
            let mut last = 0;
            for raw in Rows::new(&bytes, b';') {
                prop_assert!(raw.start >= last);
                prop_assert_eq!(&bytes[raw.start..raw.start + raw.bytes.len()], raw.bytes);
                last = raw.start + raw.bytes.len();
            }
        }
    }
}

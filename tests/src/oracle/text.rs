//! The bundle's texts, read in the simplest way that is right for a bundle that compiles. Shares no code with the compiler.

use std::collections::BTreeMap;

/// `[kind name]` with its entries and its table.
pub struct Section {
    pub kind: String,
    pub name: String,
    pub entries: BTreeMap<String, String>,
    pub rows: Vec<BTreeMap<String, String>>,
}

impl Section {
    pub fn entry(&self, word: &str) -> &str {
        self.entries.get(word).map(String::as_str).unwrap_or_default()
    }
}

pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

pub fn cell<'a>(row: &'a BTreeMap<String, String>, column: &str) -> &'a str {
    row.get(column).map(String::as_str).unwrap_or_default()
}

pub fn sections(files: &[(String, Vec<u8>)]) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    for (_, bytes) in files {
        let mut header: Vec<String> = Vec::new();
        for line in std::str::from_utf8(bytes).unwrap().lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(head) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                let (kind, name) = head.split_once(' ').unwrap_or((head, ""));
                let (kind, name) = (kind.trim().to_owned(), name.trim().to_owned());
                all.push(Section { kind, name, entries: BTreeMap::new(), rows: Vec::new() });
                header = Vec::new();
                continue;
            }
            let section = all.last_mut().unwrap();
            if line.contains('|') {
                let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
                if header.is_empty() {
                    header = cells;
                } else {
                    section.rows.push(header.iter().cloned().zip(cells).collect());
                }
            } else if let Some((word, value)) = line.split_once('=') {
                section.entries.insert(word.trim().to_owned(), value.trim().to_owned());
            }
        }
    }
    all
}

/// A bundle with a change, and the record and field whose cell it was.
pub type Mutated = (Vec<(String, Vec<u8>)>, String, String);

/// The files with one cell of one matrix changed to another of the same row, and whose cell it was.
pub fn with_one_cell_changed(
    files: &[(String, Vec<u8>)],
    mut below: impl FnMut(usize) -> usize,
) -> Option<Mutated> {
    let records: Vec<usize> = (0..files.len()).filter(|at| files[*at].0.starts_with("record/")).collect();
    let at = records[below(records.len())];
    let text = String::from_utf8(files[at].1.clone()).unwrap();
    let (before, matrix) = text.split_once("[matrice ")?;
    let record = matrix.split(']').next()?.to_owned();
    let mut lines: Vec<String> = matrix.lines().map(str::to_owned).collect();
    let is_row = |line: &String| line.contains('|') && !line.starts_with("campo") && !line.contains('@');
    let rows: Vec<usize> = (0..lines.len()).filter(|line| is_row(&lines[*line])).collect();
    let row = rows[below(rows.len())];
    let mut cells: Vec<String> = lines[row].split('|').map(str::to_owned).collect();
    let field = cells[0].trim().to_owned();
    // After `campo` and `base`.
    let (from, to) = (2 + below(cells.len() - 2), 2 + below(cells.len() - 2));
    let plain = |cell: &str| !cell.trim().is_empty() && !cell.contains('(') && cell.trim() != "=";
    if cells[from].trim() == cells[to].trim() || !plain(&cells[from]) || !plain(&cells[to]) {
        return None;
    }
    cells[to] = cells[from].clone();
    lines[row] = cells.join("|");
    let mut changed = files.to_vec();
    changed[at].1 = format!("{before}[matrice {}\n", lines.join("\n")).into_bytes();
    Some((changed, record, field))
}

//! Rows of flat sources, tables and files, as the one tree that a mapping reads.

use serde_json::{Map, Value};
use varco_core::id::FieldId;

use crate::mapping::path::ROWS;
use crate::mapping::{Mapping, Reason, RowFault};

/// Columns with their texts; `null` where there is nothing.
pub(crate) type Row = Map<String, Value>;

/// A row and where it stands, for faults: the line of a file, or its number among a person's.
pub(crate) struct Placed {
    pub row: u64,
    pub columns: Row,
}

impl std::fmt::Debug for Placed {
    /// Names only: these are a person's values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.columns.keys()).finish()
    }
}

/// The tree of one person's rows: the columns of the first, and all of them under `righe`.
///
/// What is one value for the person must be the same in every row: two rows that differ are not for us to choose between.
pub(crate) fn tree(rows: Vec<Placed>, mapping: &Mapping, fields: &[FieldId]) -> Result<Value, RowFault> {
    let mut iter = rows.iter();
    let Some(first) = iter.next() else { return Ok(Value::Object(Map::new())) };
    let single = mapping.sources(fields).into_iter().filter(|path| !path.is_of_each_row());
    let single: Vec<&str> = single.map(|path| path.root()).collect();
    for other in iter {
        let differs = |column: &&&str| other.columns.get(**column) != first.columns.get(**column);
        if let Some(column) = single.iter().find(differs) {
            return Err(RowFault::new(other.row, *column, Reason::Ambiguous));
        }
    }
    let mut whole = first.columns.clone();
    let all = rows.into_iter().map(|row| Value::Object(row.columns)).collect();
    whole.insert(ROWS.to_owned(), Value::Array(all));
    Ok(Value::Object(whole))
}

/// Rows of many persons, each person's together, in the order in which they first appear: for those who tend an adapter. Rows
/// that differ where they may not stay apart.
pub(crate) fn by_person(rows: Vec<Placed>, mapping: &Mapping) -> Vec<(u64, Value)> {
    let subject = mapping.subject.as_ref().and_then(|path| path.column()).unwrap_or_default();
    let mut groups: Vec<(Value, Vec<Placed>)> = Vec::new();
    for row in rows {
        let person = row.columns.get(subject).cloned().unwrap_or_default();
        match groups.iter_mut().find(|(known, _)| *known == person && !person.is_null()) {
            Some((_, group)) => group.push(row),
            None => groups.push((person, vec![row])),
        }
    }
    let fields = mapping.covered();
    let mut trees = Vec::with_capacity(groups.len());
    for (_, group) in groups {
        let first = group.first().map_or(0, |row| row.row);
        match tree(group, mapping, &fields) {
            Ok(tree) => trees.push((first, tree)),
            // Two rows that contradict one another: what reads them must see that there are two.
            Err(fault) => trees.push((fault.row, Value::Array(vec![Value::Null, Value::Null]))),
        }
    }
    trees
}

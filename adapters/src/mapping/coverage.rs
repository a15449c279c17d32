//! What a source gives, counted over many records: for the people who tend an adapter.

use std::collections::BTreeMap;

use varco_core::id::FieldId;

use super::{Mapped, Mapping, Note, Repair, RowFault};

/// Faults and notes kept as examples; the rest is counted.
const EXAMPLES: usize = 50;

/// Counts over the records tried. No value is kept.
#[derive(Debug)]
pub struct Coverage {
    pub records: u64,
    /// Records that would be refused.
    pub refused: u64,
    /// By field, in the order of the record type.
    pub fields: Vec<(FieldId, FieldCoverage)>,
    pub faults: Vec<RowFault>,
    /// How often each repair was made.
    pub repairs: BTreeMap<Repair, u64>,
    pub notes: Vec<Note>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldCoverage {
    /// Whether the mapping has a line for it.
    pub mapped: bool,
    /// Records that hold a value.
    pub held: u64,
    /// Values that did not fit.
    pub faults: u64,
}

impl Coverage {
    pub fn new(mapping: &Mapping) -> Self {
        let covered = mapping.covered();
        let field = |id: &FieldId| {
            (id.clone(), FieldCoverage { mapped: covered.contains(id), ..FieldCoverage::default() })
        };
        Self {
            records: 0,
            refused: 0,
            fields: mapping.record.fields.iter().map(|one| field(&one.id)).collect(),
            faults: Vec::new(),
            repairs: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub fn add(&mut self, read: &Result<Mapped, Vec<RowFault>>) {
        self.records += 1;
        match read {
            Ok(mapped) => self.add_mapped(mapped),
            Err(faults) => {
                self.refused += 1;
                for fault in faults {
                    self.add_fault(fault);
                }
            }
        }
    }

    fn add_mapped(&mut self, mapped: &Mapped) {
        for (id, counts) in &mut self.fields {
            // A part is held where any item of its list has it.
            let held = match id.as_str().split_once('.') {
                None => mapped.fields.contains_key(id.as_str()),
                Some((list, member)) => mapped.fields.get(list).is_some_and(|value| has(value, member)),
            };
            counts.held += u64::from(held);
        }
        for note in &mapped.notes {
            *self.repairs.entry(note.repair).or_default() += 1;
            if self.notes.len() < EXAMPLES {
                self.notes.push(note.clone());
            }
        }
    }

    fn add_fault(&mut self, fault: &RowFault) {
        let root = fault.field.split(['.', '[']).next().unwrap_or_default();
        if let Some((_, counts)) = self.fields.iter_mut().find(|(id, _)| id.as_str() == root) {
            counts.faults += 1;
        }
        if self.faults.len() < EXAMPLES {
            self.faults.push(fault.clone());
        }
    }
}

fn has(value: &serde_json::Value, member: &str) -> bool {
    let items = value.as_array();
    items.map_or_else(|| value.get(member).is_some(), |items| items.iter().any(|item| has(item, member)))
}

/// One line of a mapping with what it read: for `varco adapter sample`. It holds values of a record.
pub struct Line {
    pub source: String,
    /// What the source said, one text for each place.
    pub said: Vec<String>,
    pub target: String,
    /// What it became; empty where there is nothing.
    pub read: Vec<String>,
}

impl Mapping {
    /// Every line that reads, with the source's side and the record's side by side.
    pub fn side_by_side(&self, tree: &serde_json::Value, mapped: &Mapped) -> Vec<Line> {
        let record = serde_json::Value::Object(mapped.fields.clone());
        let texts = |path: &super::path::Path, value: &serde_json::Value| -> Vec<String> {
            let found = path.find(value).unwrap_or_default();
            found.into_iter().map(|one| shown(one.value)).collect()
        };
        let rules = self.rules.iter().filter(|rule| rule.direction != super::Direction::Write);
        let line = |rule: &super::Rule| Line {
            source: rule.source.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            said: rule.source.as_ref().map(|source| texts(source, tree)).unwrap_or_default(),
            target: rule.target.to_string(),
            read: texts(&rule.target, &record),
        };
        rules.map(line).collect()
    }
}

fn shown(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

//! From a source's tree to the fields of a record.

use serde_json::{Map, Value};
use varco_core::id::FieldId;
use varco_core::subject::CodiceFiscale;

use super::{Mapping, Note, OnFault, Reason, Repair, RowFault, Rule, identity, reading};

/// Which record is read, and what of it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// For faults: the line of a file or the number of a row, from 1; 0 where there is only one.
    pub row: u64,
    /// Whose record it must be. The particulars read are held against the codice fiscale.
    pub subject: Option<&'a CodiceFiscale>,
    /// The only fields that are read.
    pub fields: &'a [FieldId],
}

/// The fields of one record, and what was repaired on the way.
pub struct Mapped {
    pub fields: Map<String, Value>,
    pub notes: Vec<Note>,
}

impl std::fmt::Debug for Mapped {
    /// Names only: these are a person's values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.fields.keys()).finish()
    }
}

struct Reader<'a> {
    tree: &'a Value,
    ask: &'a Ask<'a>,
    record: Value,
    notes: Vec<Note>,
    faults: Vec<RowFault>,
}

impl Mapping {
    /// Reads the asked fields of a tree. Every fault is told, not only the first; with a fault there is no record.
    pub fn read(&self, tree: &Value, ask: &Ask<'_>) -> Result<Mapped, Vec<RowFault>> {
        let record = Value::Object(Map::new());
        let mut reader = Reader { tree, ask, record, notes: Vec::new(), faults: Vec::new() };
        if let Err(reason) = self.is_of(tree, ask) {
            reader.faults.push(RowFault::new(ask.row, self.subject_name(), reason));
        }
        for rule in self.reading_rules(ask.fields) {
            reader.rule(rule);
        }
        let Reader { record, mut notes, mut faults, .. } = reader;
        let Value::Object(mut fields) = compact(record) else { return Err(faults) };
        self.demand_controls(ask, &fields, &mut faults);
        if let Some(subject) = ask.subject {
            identity::check(&mut fields, subject, ask.row, &mut notes, &mut faults);
        }
        if faults.is_empty() { Ok(Mapped { fields, notes }) } else { Err(faults) }
    }

    /// Whose record a tree is, where the mapping says how to know.
    pub fn subject_of(&self, tree: &Value) -> Result<Option<CodiceFiscale>, Reason> {
        let Some(path) = &self.subject else { return Ok(None) };
        match path.find(tree)?.first() {
            Some(found) => match super::text::plain(found.value)? {
                Some(text) => Ok(Some(text.parse()?)),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    fn subject_name(&self) -> String {
        self.subject.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn is_of(&self, tree: &Value, ask: &Ask<'_>) -> Result<(), Reason> {
        match (ask.subject, &self.subject) {
            (Some(wanted), Some(_)) => match self.subject_of(tree)? {
                Some(found) if found == *wanted => Ok(()),
                Some(_) | None => Err(Reason::OtherPerson),
            },
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// A control field that has no value decides nothing, and then nothing may be shown.
    fn demand_controls(&self, ask: &Ask<'_>, fields: &Map<String, Value>, faults: &mut Vec<RowFault>) {
        for control in &self.record.controls {
            let Some(field) = self.record.field(control.field) else { continue };
            let asked = ask.fields.contains(&field.id);
            let read = self.reading_rules(ask.fields).any(|rule| rule.field == field.id);
            let told = faults.iter().any(|fault| fault.field == field.id.as_str());
            if asked && read && !told && !fields.contains_key(field.id.as_str()) {
                faults.push(RowFault::new(ask.row, field.id.as_str(), Reason::ControlEmpty));
            }
        }
    }
}

impl Reader<'_> {
    fn rule(&mut self, rule: &Rule) {
        let Some(source) = &rule.source else {
            return self.put(rule, &[], rule.otherwise.clone());
        };
        let found = match source.find(self.tree) {
            Ok(found) => found,
            Err(reason) => return self.fault(rule, reason),
        };
        let mut any = false;
        for one in found {
            match reading::separator(&rule.steps) {
                None => any |= self.value(rule, one.value, &one.indices),
                Some(separator) => {
                    for (i, item) in items(one.value, separator).iter().enumerate() {
                        let indices: Vec<usize> = one.indices.iter().copied().chain([i]).collect();
                        any |= self.value(rule, item, &indices);
                    }
                }
            }
        }
        if !any {
            self.put(rule, &[], rule.otherwise.clone());
        }
    }

    /// Whether there was something, readable or not.
    fn value(&mut self, rule: &Rule, value: &Value, indices: &[usize]) -> bool {
        match reading::take(value, &rule.steps, &rule.kind) {
            Ok(Some(taken)) => {
                for repair in taken.repairs {
                    self.note(rule, repair);
                }
                self.put(rule, indices, Some(taken.value));
                true
            }
            Ok(None) => false,
            Err(reason) => {
                self.fault(rule, reason);
                true
            }
        }
    }

    fn put(&mut self, rule: &Rule, indices: &[usize], value: Option<Value>) {
        let Some(value) = value else { return };
        if let Err(reason) = rule.target.put(&mut self.record, indices, value) {
            self.fault(rule, reason);
        }
    }

    fn fault(&mut self, rule: &Rule, reason: Reason) {
        match rule.on_fault {
            OnFault::LeaveOut => self.note(rule, Repair::LeftOut(reason)),
            OnFault::Refuse => {
                self.faults.push(RowFault::new(self.ask.row, rule.target.to_string(), reason));
            }
        }
    }

    fn note(&mut self, rule: &Rule, repair: Repair) {
        self.notes.push(Note { row: self.ask.row, field: rule.target.to_string(), repair });
    }
}

fn items(value: &Value, separator: char) -> Vec<Value> {
    match value {
        Value::String(text) => text
            .split(separator)
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Value::String(item.to_owned()))
            .collect(),
        Value::Null => Vec::new(),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![value.clone()],
    }
}

/// Without the gaps that items left which had nothing to give.
fn compact(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            Value::Array(items.into_iter().filter(|item| !item.is_null()).map(compact).collect())
        }
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, compact(value)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

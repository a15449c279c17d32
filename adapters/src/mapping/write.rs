//! From the fields of a record to the tree that an agency's system takes: reading, undone.

use serde_json::{Map, Value};
use varco_core::id::FieldId;
use varco_core::subject::CodiceFiscale;

use super::{Direction, Mapping, Reason, RowFault, Rule, reading};

/// What is handed to a system.
pub struct Written {
    pub tree: Value,
    /// Fields that were to be delivered and for which the system has no place. The sender learns of them.
    pub without_place: Vec<FieldId>,
}

impl Mapping {
    /// Makes the system's own tree of a record. With a value that cannot be said in its codes there is none.
    pub fn write(
        &self,
        fields: &Map<String, Value>,
        subject: &CodiceFiscale,
    ) -> Result<Written, Vec<RowFault>> {
        let record = Value::Object(fields.clone());
        let mut tree = Value::Object(Map::new());
        let mut faults = Vec::new();
        for (place, value) in &self.constants {
            note(place.put(&mut tree, &[], value.clone()), &place.to_string(), &mut faults);
        }
        if let Some(place) = &self.subject {
            let indices = vec![0; place.lists()];
            let value = Value::from(subject.expose());
            note(place.put(&mut tree, &indices, value), &place.to_string(), &mut faults);
        }
        for rule in self.rules.iter().filter(|rule| rule.direction != Direction::Read) {
            if let Err(reason) = put(rule, &record, &mut tree) {
                faults.push(RowFault::new(0, rule.target.to_string(), reason));
            }
        }
        if faults.is_empty() {
            Ok(Written { tree, without_place: self.without_place(fields) })
        } else {
            Err(faults)
        }
    }

    fn without_place(&self, fields: &Map<String, Value>) -> Vec<FieldId> {
        let placed = |name: &str| {
            self.rules.iter().any(|rule| {
                rule.direction != Direction::Read && rule.source.is_some() && rule.target.root() == name
            })
        };
        fields.keys().filter(|name| !placed(name)).filter_map(|name| name.parse().ok()).collect()
    }
}

fn note(done: Result<(), Reason>, place: &str, faults: &mut Vec<RowFault>) {
    if let Err(reason) = done {
        faults.push(RowFault::new(0, place, reason));
    }
}

fn put(rule: &Rule, record: &Value, tree: &mut Value) -> Result<(), Reason> {
    let Some(source) = &rule.source else { return Ok(()) };
    let found = rule.target.find(record)?;
    let Some(separator) = reading::separator(&rule.steps) else {
        for one in found {
            source.put(tree, &one.indices, reading::give(one.value, &rule.steps, &rule.kind)?)?;
        }
        return Ok(());
    };
    let mut texts = Vec::new();
    for one in &found {
        let value = reading::give(one.value, &rule.steps, &rule.kind)?;
        let text = super::text::plain(&value)?.unwrap_or_default();
        // An item that holds the separator would come back as two.
        if text.contains(separator) {
            return Err(Reason::Ambiguous);
        }
        texts.push(text);
    }
    if texts.is_empty() {
        return Ok(());
    }
    source.put(tree, &[], Value::String(texts.join(&separator.to_string())))
}

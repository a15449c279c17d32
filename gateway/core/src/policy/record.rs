//! Record types: fields, their kinds, categories and ladders, what they imply, and what their values may conceal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Category;
use crate::id::{FieldId, RecordTypeId, ScopeId};
use crate::registry::AgencyKind;
use crate::view::kind::{Kind, Member, RecordFault};
use crate::view::ladder::{Ladder, ViewIndex};

/// A field by its place in its record type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldIndex(pub(crate) u16);

impl FieldIndex {
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub id: FieldId,
    /// Shown to people.
    pub label: String,
    pub kind: Kind,
    /// The kind as the source gives it: with the parts that have a policy of their own.
    pub full: Kind,
    pub category: Category,
    pub ladder: Arc<Ladder>,
    /// The name of the ladder in the bundle.
    pub ladder_name: String,
    /// The équipe scope that cells marked `s` ask for.
    pub scope: Option<ScopeId>,
    /// A part of the items of this list or structure.
    pub parent: Option<FieldIndex>,
    /// Not showing it must look like absence.
    pub conceal: bool,
    pub about: About,
    pub file: String,
    pub line: u32,
}

/// Whom a field tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Everybody in the household: shown as far as every one of them allows.
    Household,
    Person,
}

impl Field {
    pub fn is_shared(&self) -> bool {
        self.about == About::Household
    }

    /// The member of the parent's items that holds a part.
    pub fn member(&self) -> Option<&str> {
        self.id.as_str().split_once('.').map(|(_, member)| member)
    }
}

/// If the control field is `true`, these fields are concealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub field: FieldIndex,
    pub conceals: Vec<FieldIndex>,
}

/// Showing `from` tells `to`. When `to` is shown at less than `at_least`, `from` is capped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Implication {
    pub from: FieldIndex,
    /// The coarsest view of `from` that tells; finer ones tell as well. `None`: any view.
    pub trigger: Option<ViewIndex>,
    pub to: FieldIndex,
    pub at_least: ViewIndex,
    /// The cap for each view that may have been granted. Fixed by the grant, so that one more ceiling elsewhere
    /// can never widen (see `decide`).
    pub caps: Vec<ViewIndex>,
    pub file: String,
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecordType {
    pub id: RecordTypeId,
    /// `RT-01`, as the agreement's annex calls it.
    pub code: String,
    pub title: String,
    /// Kinds of agency that own such records.
    pub owners: Vec<AgencyKind>,
    pub fields: Vec<Field>,
    pub controls: Vec<Control>,
    /// In such an order that what a field implies is settled before the field.
    pub implications: Vec<Implication>,
    pub(super) names: BTreeMap<FieldId, FieldIndex>,
}

/// An agency's full answer, checked. Not serialisable; its `Debug` prints no value.
pub struct AgencyValues {
    pub(super) record_type: RecordTypeId,
    /// By field; parts stay inside their parents.
    pub(super) values: Vec<Option<Value>>,
}

impl fmt::Debug for AgencyValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = self.values.iter().filter(|value| value.is_some()).count();
        write!(f, "AgencyValues({}, {present} fields)", self.record_type)
    }
}

impl RecordType {
    pub fn field(&self, index: FieldIndex) -> Option<&Field> {
        self.fields.get(index.at())
    }

    pub fn find(&self, id: &FieldId) -> Option<FieldIndex> {
        self.names.get(id).copied()
    }

    /// Whether any of its fields tells of everybody in the household.
    pub fn shares(&self) -> bool {
        self.fields.iter().any(Field::is_shared)
    }

    pub fn indices(&self) -> impl Iterator<Item = FieldIndex> + use<> {
        (0..u16::try_from(self.fields.len()).unwrap_or(u16::MAX)).map(FieldIndex)
    }

    /// Whether the field is always fetched, for the gateway alone.
    pub fn is_control(&self, index: FieldIndex) -> bool {
        self.controls.iter().any(|control| control.field == index)
    }

    /// The parts of a field that have a policy of their own.
    pub fn parts(&self, parent: FieldIndex) -> impl Iterator<Item = (FieldIndex, &Field)> {
        self.indices().zip(&self.fields).filter(move |(_, field)| field.parent == Some(parent))
    }

    /// Checks an agency's record against the type. Unknown fields are faults; absent and `null` ones are absent.
    pub fn check(&self, record: Value) -> Result<AgencyValues, Vec<RecordFault>> {
        let whole = |what| RecordFault { path: self.id.to_string(), what };
        let Value::Object(mut found) = record else {
            return Err(vec![whole("must be an object")]);
        };
        let mut faults = Vec::new();
        let mut values = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let value = match field.parent {
                Some(_) => None,
                None => found.remove(field.id.as_str()).filter(|value| !value.is_null()),
            };
            if let Some(value) = &value {
                field.full.check(value, field.id.as_str(), &mut faults);
            }
            values.push(value);
        }
        if !found.is_empty() {
            faults.push(whole("has a member that the record type does not know"));
        }
        if faults.is_empty() {
            Ok(AgencyValues { record_type: self.id.clone(), values })
        } else {
            Err(faults)
        }
    }
}

/// A kind whose objects have these members too.
pub(super) fn with_parts(kind: &Kind, parts: &[Member]) -> Kind {
    match kind {
        Kind::List(item) => Kind::List(Box::new(with_parts(item, parts))),
        Kind::Struct(members) => Kind::Struct(members.iter().chain(parts).cloned().collect()),
        Kind::Bool
        | Kind::Code(_)
        | Kind::Date
        | Kind::Decimal { .. }
        | Kind::Email
        | Kind::Instant
        | Kind::Integer { .. }
        | Kind::Phone
        | Kind::TaxCode
        | Kind::Text { .. } => kind.clone(),
    }
}

/// Takes one member out of an object, or out of every object of a list; one entry per object.
pub(super) fn take_part(value: &mut Value, name: &str) -> Vec<Option<Value>> {
    let take = |object: &mut Map<String, Value>| object.remove(name).filter(|part| !part.is_null());
    match value {
        Value::Object(object) => vec![take(object)],
        Value::Array(items) => items.iter_mut().map(|item| item.as_object_mut().and_then(take)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// Puts parts back, one per object, where there is one.
pub(super) fn put_part(value: &mut Value, name: &str, parts: Vec<Option<Value>>) {
    let put = |object: &mut Map<String, Value>, part: Option<Value>| {
        if let Some(part) = part {
            object.insert(name.to_owned(), part);
        }
    };
    match value {
        Value::Object(object) => {
            for part in parts.into_iter().take(1) {
                put(object, part);
            }
        }
        Value::Array(items) => {
            for (item, part) in items.iter_mut().zip(parts) {
                if let Some(object) = item.as_object_mut() {
                    put(object, part);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

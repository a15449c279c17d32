//! What decisions are told of consents and restrictions.

use serde::{Deserialize, Serialize};

use crate::id::{AgencyId, ConsentId, FieldId, OfficeId, PurposeId, RecordTypeId};

/// What a decision may rest on: an item that is valid now, for this subject, purpose, record type and recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentFact {
    pub consent: ConsentId,
    /// The record's epoch when it was read. The log's writer refuses the disclosure if it has moved since.
    pub epoch: u64,
    pub item: String,
    /// Fields named one by one; absent means the record type as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldId>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<FieldId>,
}

impl ConsentFact {
    /// Whether the person agreed to this field, at least as part of the record type.
    pub fn covers(&self, field: &FieldId) -> bool {
        !self.excluded.contains(field) && self.fields.as_ref().is_none_or(|fields| fields.contains(field))
    }

    /// Whether the person named this very field.
    pub fn names(&self, field: &FieldId) -> bool {
        !self.excluded.contains(field) && self.fields.as_ref().is_some_and(|fields| fields.contains(field))
    }
}

/// A narrowing the person asked for (opposition, concealment, restriction): never a reason to show more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restriction {
    /// Absent: every field of the record type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldId>>,
    pub effect: RestrictionEffect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestrictionEffect {
    /// As if the source held nothing; the answer gives no reason.
    Conceal,
    Withhold,
}

/// What is asked of the consents of a subject.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub purpose: &'a PurposeId,
    pub record_type: &'a RecordTypeId,
    pub consumer: &'a AgencyId,
    pub office: Option<&'a OfficeId>,
}

//! What a decision is told: who asks whom, what they may rest on, and what narrows it.

use serde::{Deserialize, Serialize};

use crate::case::{ActFact, CaseFact};
use crate::consent::{ConsentFact, Restriction};
use crate::id::{AgencyId, FieldId, OfficeId, PurposeId, RecordTypeId};
use crate::registry::AgencyKind;
use crate::time::Timestamp;

/// An agency as a party to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    pub agency: AgencyId,
    pub kind: AgencyKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub office: Option<OfficeId>,
}

/// Everything a decision knows besides the policy and the time. Stored with the log entry, for replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub provider: Party,
    pub consumer: Party,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseFact>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<ConsentFact>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restrictions: Vec<Restriction>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<ActFact>,
    /// What the owner opened after motivated requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub openings: Vec<super::opening::Opening>,
    /// What the others of the household have said, for the fields that tell of all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub household: Vec<MemberFacts>,
}

/// One other member of the household, without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberFacts {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consents: Vec<ConsentFact>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restrictions: Vec<Restriction>,
}

/// One request, put to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub record_type: &'a RecordTypeId,
    pub purpose: &'a PurposeId,
    /// Absent: whatever is allowed.
    pub requested: Option<&'a [FieldId]>,
    pub facts: &'a Facts,
    pub now: Timestamp,
}

//! What an agency's system answered, checked against the record type and not yet reduced.

use std::fmt;

use serde_json::Value;

use crate::hash::Sha256;
use crate::policy::record::{AgencyValues, RecordType};
use crate::view::kind::RecordFault;

/// An agency's full answer. Not `Serialize`, and `Debug` prints no value: the only way out is through `reduce`.
pub struct AgencyRecord {
    pub(in crate::exchange) values: AgencyValues,
    pub(in crate::exchange) source: Sha256,
}

impl AgencyRecord {
    /// Checks a record against its type. `source` is the digest of the bytes the provider signed, which the log keeps
    /// so that the provider's own evidence can be matched later.
    pub fn check(record: Value, source: Sha256, kind: &RecordType) -> Result<Self, Vec<RecordFault>> {
        Ok(Self { values: kind.check(record)?, source })
    }
}

impl fmt::Debug for AgencyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgencyRecord").field("source", &self.source).finish_non_exhaustive()
    }
}

//! What an agency's system answered, checked against the record type and not yet reduced.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::hash::Sha256;
use crate::policy::record::{AgencyValues, RecordType};
use crate::view::kind::RecordFault;

/// What an agency's system said, as far as it can be proved later, and how it is known who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub digest: Sha256,
    pub of: SaidOf,
    pub by: Assurance,
}

/// What the digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SaidOf {
    /// The bytes as they came: a message's body, a line of a file with its line end cut off.
    Bytes,
    /// The canonical JSON of the rows that answered, as objects by column: a database says no bytes of its own.
    Tree,
}

/// How it is known who said it. Only a seal can be shown to a third party; the others rest on the gateway's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Assurance {
    /// The TLS certificate of the system's address.
    Certificate,
    /// The gateway's login to a database whose TLS certificate was checked, or on the same machine.
    Database,
    /// A folder that only the agency's side and the gateway may write to.
    Folder,
    /// The key of an SFTP server.
    HostKey,
    /// The agency's own signature over exactly these bytes.
    Seal,
}

/// An agency's full answer. Not `Serialize`, and `Debug` prints no value: the only way out is through `reduce`.
pub struct AgencyRecord {
    pub(in crate::exchange) values: AgencyValues,
    pub(in crate::exchange) said: Said,
}

impl AgencyRecord {
    /// Checks a record against its type. `said` names what the provider said, which the log keeps so that the
    /// provider's own evidence can be matched later.
    pub fn check(record: Value, said: Said, kind: &RecordType) -> Result<Self, Vec<RecordFault>> {
        Ok(Self { values: kind.check(record)?, said })
    }
}

impl fmt::Debug for AgencyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgencyRecord").field("said", &self.said).finish_non_exhaustive()
    }
}

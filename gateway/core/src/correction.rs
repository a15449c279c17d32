//! What a past disclosure turned out to be: wrong in some fields, or about somebody else (omocodia, a swapped codice
//! fiscale). Nothing in the log is altered: an entry of its own says so, and whoever received the data is told.

use serde::{Deserialize, Serialize};

use crate::id::{AgencyId, ExchangeId, FieldId};

/// Exchanges one correction names; a mistake that reaches further is corrected in parts.
pub const MOST_EXCHANGES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// GDPR art. 16: the source held something wrong.
    Rectification,
    /// The data were another person's.
    WrongPerson,
}

/// What an entry of kind `correction` says in its decision slot. Names no person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrected {
    pub ground: Ground,
    /// The disclosures it speaks of, all of the same owner.
    pub exchanges: Vec<ExchangeId>,
    /// Empty: all that was shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldId>,
    /// Who received them and was told.
    pub recipients: Vec<AgencyId>,
}

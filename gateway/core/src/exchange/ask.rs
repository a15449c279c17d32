//! What a verified request asks for.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::code::Code;
use crate::emergency::EmergencyAsk;
use crate::id::{AgencyId, CaseId, FieldId, PurposeId, RecordTypeId};
use crate::json::{self, JsonFault};
use crate::subject::CodiceFiscale;

use super::outcome::Outcome;
use super::verify::VerifiedRequest;

/// The body of `POST /pulls`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    pub record_type: RecordTypeId,
    pub subject: SubjectName,
    pub provider: AgencyId,
    pub purpose: PurposeId,
    #[serde(default)]
    pub case: Option<CaseId>,
    /// Absent: every field of the record type.
    #[serde(default)]
    pub fields: Option<Vec<FieldId>>,
    /// Only under a purpose for emergencies, and there always.
    #[serde(default)]
    pub emergency: Option<EmergencyAsk>,
}

/// A person, as messages name one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectName {
    pub codice_fiscale: CodiceFiscale,
}

/// The body of `POST /consents/search`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchAsk {
    pub subject: SubjectName,
}

impl VerifiedRequest {
    /// The body, for whoever must know beforehand what it is about.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, JsonFault> {
        json::parse_as(&self.body)
    }

    /// Reads the body; what cannot be read becomes the request's outcome, so that it is logged like any other.
    pub fn ask<T: DeserializeOwned>(self) -> Result<(Self, T), Box<Outcome>> {
        match self.read() {
            Ok(ask) => Ok((self, ask)),
            Err(fault) => Err(Box::new(Outcome::fail(self, Code::RequestInvalid, fault.to_string()))),
        }
    }
}

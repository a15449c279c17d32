//! Everything that can go wrong while fetching, each with its code. No text holds anything the provider said.

use std::error::Error;
use std::time::Duration;

use varco_core::code::Code;
use varco_core::json::JsonFault;
use varco_core::statistics::counts::CountFault;
use varco_core::wire::{SignFault, WireError};

use crate::mapping::RowFault;
use crate::soap::SoapFault;
use crate::soap::signature::SignatureFault;
use crate::xml::XmlFault;

/// Faults named in one error; a record with more is wrong as a whole.
const MOST_NAMED: usize = 20;

/// Why a provider's system gave no record.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the answer is larger than {limit} bytes")]
    AnswerTooLarge { limit: usize },
    #[error("as many requests as may wait for this system are waiting")]
    Busy,
    #[error("the system's TLS certificate is not acceptable")]
    Certificate(#[source] rustls::Error),
    #[error("the system failed repeatedly; it is tried again in {} ms", .retry_after.as_millis())]
    CircuitOpen { retry_after: Duration },
    #[error("the answer is not `application/json` in its plain encoding")]
    ContentType,
    #[error("somebody stands in the counting view more than once in this period")]
    CountedTwice,
    #[error("the counts do not fit: {0}")]
    Counts(#[from] CountFault),
    #[error("the answer ended before it was complete")]
    CutShort(#[source] hyper::Error),
    #[error("the database refused the query (SQLSTATE {code})")]
    Database { code: String },
    #[error("the answer is not the envelope of one: {0}")]
    Envelope(&'static str),
    #[error("the system answered with a fault: {fault}")]
    Fault { fault: SoapFault, status: u16 },
    #[error("the answer has {0} fields that were not asked for")]
    FieldsNotAsked(usize),
    #[error("what the system had offered is no longer there")]
    Gone,
    #[error("the system answered with status {status}: `{issue}`")]
    Issue { status: u16, issue: &'static str },
    #[error("the answer is not JSON as we read it")]
    Json(#[source] JsonFault),
    #[error("the file or the record changed while it was read")]
    Moved,
    #[error("this system gives no counts, or none of this period yet")]
    NoCounts,
    #[error("this kind of system takes no deliveries")]
    NoDeliveries,
    #[error("the mapping has nothing for this record type")]
    NoMapping,
    #[error("the gateway has no source for this provider")]
    NoSource,
    #[error("the record does not fit: {}", joined(.0))]
    NotFitting(Vec<RowFault>),
    #[error(
        "the answer is not an object with the member `counts`, rows of `classes` and `people`, and nothing else"
    )]
    NotCounts,
    #[error("the answer is not HTTP")]
    NotHttp,
    #[error("the answer is not an object with the member `record`, an object, and at most `next`, a text")]
    NotRecord,
    #[error("the system does not accept the gateway's TLS certificate")]
    OurCertificate(#[source] rustls::Error),
    #[error("the next page of the answer cannot be followed: {0}")]
    Paging(&'static str),
    #[error("the system answered with status {status}")]
    Refused { status: u16 },
    #[error("the answer is sealed by somebody else than the provider")]
    SealOfAnother,
    #[error("the gateway's seal could not sign the request")]
    Sign(#[from] SignFault),
    #[error("the answer is not signed as it must be")]
    Signature(#[source] WireError),
    #[error("the provider holds no record of this person")]
    SubjectUnknown,
    #[error("the system did not answer in time")]
    Timeout,
    #[error("the system could not be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    #[error("the answer is not XML as we read it")]
    Xml(#[source] XmlFault),
    #[error("the answer is not signed as it must be")]
    XmlSignature(#[source] SignatureFault),
}

/// Rows, fields and reasons; no values.
fn joined(faults: &[RowFault]) -> String {
    faults.iter().take(MOST_NAMED).map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl FetchError {
    pub fn code(&self) -> Code {
        match self {
            Self::AnswerTooLarge { .. } => Code::AdapterTooLarge,
            Self::Busy => Code::AdapterBusy,
            Self::Certificate(_) => Code::AdapterCertificate,
            Self::CircuitOpen { .. } => Code::AdapterCircuitOpen,
            Self::ContentType
            | Self::CountedTwice
            | Self::Counts(_)
            | Self::Envelope(_)
            | Self::FieldsNotAsked(_)
            | Self::Json(_)
            | Self::Moved
            | Self::NoMapping
            | Self::NotCounts
            | Self::NotFitting(_)
            | Self::NotHttp
            | Self::NotRecord
            | Self::Paging(_)
            | Self::Xml(_) => Code::AdapterMismatch,
            Self::CutShort(_) => Code::AdapterTruncated,
            Self::NoCounts => Code::AdapterNoCounts,
            Self::NoDeliveries | Self::NoSource | Self::Unreachable(_) => Code::AdapterUnreachable,
            Self::Database { .. }
            | Self::Fault { .. }
            | Self::Issue { .. }
            | Self::OurCertificate(_)
            | Self::Refused { .. } => Code::AdapterRefused,
            Self::Gone => Code::AdapterGone,
            Self::SealOfAnother | Self::Signature(_) | Self::XmlSignature(_) => Code::AdapterSignature,
            Self::Sign(_) => Code::Internal,
            Self::SubjectUnknown => Code::ExchangeSubjectUnknown,
            Self::Timeout => Code::AdapterTimeout,
        }
    }

    /// What to say in `Retry-After`, where waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after } => Some(*retry_after),
            // A place in the queue is free as soon as one answer is there.
            Self::Busy => Some(Duration::from_secs(1)),
            Self::AnswerTooLarge { .. }
            | Self::Certificate(_)
            | Self::ContentType
            | Self::CountedTwice
            | Self::Counts(_)
            | Self::CutShort(_)
            | Self::Database { .. }
            | Self::Envelope(_)
            | Self::Fault { .. }
            | Self::FieldsNotAsked(_)
            | Self::Gone
            | Self::Issue { .. }
            | Self::Json(_)
            | Self::Moved
            | Self::NoCounts
            | Self::NoDeliveries
            | Self::NoMapping
            | Self::NoSource
            | Self::NotCounts
            | Self::NotFitting(_)
            | Self::NotHttp
            | Self::NotRecord
            | Self::OurCertificate(_)
            | Self::Paging(_)
            | Self::Refused { .. }
            | Self::SealOfAnother
            | Self::Sign(_)
            | Self::Signature(_)
            | Self::SubjectUnknown
            | Self::Timeout
            | Self::Unreachable(_)
            | Self::Xml(_)
            | Self::XmlSignature(_) => None,
        }
    }

    /// Whether sending the same again can never help: the system has read it and does not want it.
    pub const fn is_final(&self) -> bool {
        if let Self::Issue { status, .. } | Self::Refused { status } = self {
            // 408, 425 and 429 ask for another time (RFC 9110, 8470, 6585).
            return matches!(status, 400..=407 | 409..=424 | 426..=428 | 430..=499);
        }
        matches!(
            self,
            Self::Fault { fault: SoapFault::Sender, .. }
                | Self::NoDeliveries
                | Self::NoMapping
                | Self::NotFitting(_)
        )
    }

    /// Whether the system is down or overwhelmed, so that leaving it alone helps. A wrong answer is not an outage: the next
    /// person's may be right.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Certificate(_)
            | Self::CutShort(_)
            | Self::NotHttp
            | Self::OurCertificate(_)
            | Self::Timeout
            | Self::Unreachable(_) => true,
            Self::Issue { status, .. } | Self::Refused { status } => *status >= 500 || *status == 429,
            Self::AnswerTooLarge { .. }
            | Self::Busy
            | Self::CircuitOpen { .. }
            | Self::ContentType
            | Self::CountedTwice
            | Self::Counts(_)
            | Self::Database { .. }
            | Self::Envelope(_)
            // An answer of a living system; many services say `Server` for what concerns one person.
            | Self::Fault { .. }
            | Self::FieldsNotAsked(_)
            | Self::Gone
            | Self::Json(_)
            | Self::Moved
            | Self::NoCounts
            | Self::NoDeliveries
            | Self::NoMapping
            | Self::NoSource
            | Self::NotCounts
            | Self::NotFitting(_)
            | Self::NotRecord
            | Self::Paging(_)
            | Self::SealOfAnother
            | Self::Sign(_)
            | Self::Signature(_)
            | Self::SubjectUnknown
            | Self::Xml(_)
            | Self::XmlSignature(_) => false,
        }
    }
}

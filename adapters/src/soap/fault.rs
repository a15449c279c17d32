//! What a service says went wrong: the codes of SOAP 1.1 and 1.2 as one list. Texts of a fault are never repeated: they may
//! name the person.

use hyper::StatusCode;

use super::Version;
use crate::FetchError;
use crate::xml::Element;

/// Whose fault it is, as the service says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoapFault {
    #[error("the data encoding is unknown to it")]
    DataEncodingUnknown,
    #[error("it does not understand a header that it must")]
    MustUnderstand,
    #[error("it could not process the message")]
    Receiver,
    #[error("it finds the security of the message wanting")]
    Security,
    #[error("the message is not as it must be")]
    Sender,
    #[error("it gives no reason of the standard")]
    Unknown,
    #[error("it speaks another version of SOAP")]
    VersionMismatch,
}

pub(super) fn read(fault: &Element, version: Version, status: StatusCode) -> FetchError {
    let code = match version {
        Version::V11 => fault.elements().find(|child| child.name.local == "faultcode").map(Element::text),
        Version::V12 => {
            let code = fault.only(version.namespace(), "Code");
            let value = code.and_then(|code| code.only(version.namespace(), "Value")).map(Element::text);
            let subcode = code.and_then(|code| code.only(version.namespace(), "Subcode"));
            let finer = subcode.and_then(|code| code.only(version.namespace(), "Value")).map(Element::text);
            finer.filter(|finer| of(finer) == SoapFault::Security).or(value)
        }
    };
    FetchError::Fault { fault: code.as_deref().map_or(SoapFault::Unknown, of), status: status.as_u16() }
}

fn of(code: &str) -> SoapFault {
    let local = code.trim().rsplit(':').next().unwrap_or_default();
    // SOAP 1.1 lets services refine its codes with a point: `Client.Authentication`.
    match local.split('.').next().unwrap_or_default() {
        "DataEncodingUnknown" => SoapFault::DataEncodingUnknown,
        "MustUnderstand" => SoapFault::MustUnderstand,
        "Server" | "Receiver" => SoapFault::Receiver,
        "Client" | "Sender" => SoapFault::Sender,
        "VersionMismatch" => SoapFault::VersionMismatch,
        // WS-Security 1.1, section 12.
        "UnsupportedSecurityToken"
        | "UnsupportedAlgorithm"
        | "InvalidSecurity"
        | "InvalidSecurityToken"
        | "FailedAuthentication"
        | "FailedCheck"
        | "SecurityTokenUnavailable"
        | "MessageExpired" => SoapFault::Security,
        _ => SoapFault::Unknown,
    }
}

//! The HTTP side of INTEGRITY_REST_01: the `Digest` header and what `signed_headers` says of the others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{CONTENT_ENCODING, CONTENT_TYPE, DIGEST, Fault, Message};
use crate::hash::Sha256;

/// More headers than any agreement signs.
const SIGNED_MAX: usize = 32;

/// The value of the `Digest` header (RFC 3230): `SHA-256=` and padded standard base64.
pub fn digest_header(digest: &Sha256) -> String {
    format!("SHA-256={}", digest.base64())
}

/// The one value of an HTTP header, without the white space around it (RFC 9110 section 5.5).
pub(super) fn one<'a>(message: &'a Message, name: &'static str) -> Result<Option<&'a str>, Fault> {
    let mut values = message.values(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(trim(value))),
        (Some(_), Some(_)) => Err(Fault::HeaderRepeated(name)),
    }
}

/// Reads a `Digest` value. Only SHA-256, only one: a list would leave the others unchecked.
pub fn parse_digest(value: &str) -> Result<Sha256, Fault> {
    let (name, encoded) = value.split_once('=').ok_or(Fault::DigestMalformed)?;
    if !name.eq_ignore_ascii_case("SHA-256") {
        return Err(Fault::DigestMalformed);
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| Fault::DigestMalformed)?;
    Sha256::from_slice(&bytes).ok_or(Fault::DigestMalformed)
}

/// `signed_headers`: the names and values it lists. An object with several members is read as several objects,
/// because widespread clients send that; a bare object is refused.
pub(super) fn listed(claim: Option<&Value>) -> Result<Vec<(&str, &str)>, Fault> {
    let Some(claim) = claim else {
        return Err(Fault::ClaimMissing("signed_headers"));
    };
    let items = claim.as_array().ok_or(Fault::SignedHeadersForm)?;
    let mut listed = Vec::with_capacity(items.len());
    for item in items {
        for (name, value) in item.as_object().ok_or(Fault::SignedHeadersForm)? {
            let value = value.as_str().ok_or(Fault::SignedHeadersForm)?;
            if listed.len() >= SIGNED_MAX || name.bytes().any(|b| b.is_ascii_uppercase()) {
                return Err(Fault::SignedHeadersForm);
            }
            listed.push((name.as_str(), value));
        }
    }
    Ok(listed)
}

/// Every listed header is in the HTTP message with the same value; those that describe the body are listed if there.
/// The digest's value is compared by the step after this one.
pub(super) fn compare(listed: &[(&str, &str)], message: &Message) -> Result<(), Fault> {
    for required in [DIGEST, CONTENT_TYPE, CONTENT_ENCODING] {
        let sent = message.values(required).next().is_some();
        if sent && !listed.iter().any(|(name, _)| *name == required) {
            return Err(Fault::HeaderNotSigned(required));
        }
    }
    for (name, _) in listed {
        let signed: Vec<_> = listed.iter().filter(|(n, _)| n == name).map(|(_, value)| *value).collect();
        let sent: Vec<_> = message.values(name).collect();
        if sent.is_empty() {
            return Err(Fault::SignedHeaderAbsent);
        }
        let same = signed.len() == sent.len()
            && signed.iter().zip(&sent).all(|(signed, sent)| *name == DIGEST || equal(name, signed, sent));
        if !same {
            return Err(Fault::SignedHeaderDiffers);
        }
    }
    Ok(())
}

fn equal(name: &str, signed: &str, sent: &str) -> bool {
    let (signed, sent) = (trim(signed), trim(sent));
    signed == sent || name == CONTENT_TYPE && media_type(signed) == media_type(sent)
}

/// A media type with its parameters in one spelling: case and space do not matter, nor the order of parameters.
fn media_type(value: &str) -> (String, Vec<(String, String)>) {
    let mut parts = value.split(';').map(|part| trim(part).to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let mut parameters: Vec<_> = parts
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (trim(name).to_owned(), trim(value).trim_matches('"').to_owned()),
            None => (part, String::new()),
        })
        .collect();
    parameters.sort_unstable();
    (essence, parameters)
}

/// Optional white space (RFC 9110 section 5.6.3) is blanks and tabs only.
fn trim(value: &str) -> &str {
    value.trim_matches([' ', '\t'])
}

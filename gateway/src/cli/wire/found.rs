//! What a failed check found and what it wanted, from the capture itself. Only claims that name no person are shown.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::time::Timestamp;
use varco_core::wire::{DIGEST, Fault, Message, Part, digest_header};

use super::capture::Capture;

/// A pair of short texts, each when it can be told.
pub struct Found {
    pub found: Option<String>,
    pub wanted: Option<String>,
}

pub fn explain(capture: &Capture, message: &Message, part: Part, fault: &Fault) -> Found {
    let token = Token::of(message, part);
    let time = |claim: &str| token.seconds(claim).map(|at| format!("{claim} = {at}"));
    match fault {
        Fault::AlgorithmUnknown | Fault::AlgorithmNotOfKey => Found {
            found: token.header("alg"),
            wanted: Some(capture.trust.algorithms.iter().map(|a| a.text()).collect::<Vec<_>>().join(", ")),
        },
        Fault::AudienceOther => {
            Found { found: token.claim("aud"), wanted: Some(capture.audience.join(", ")) }
        }
        Fault::BodyDiffers | Fault::DigestMissing | Fault::DigestMalformed => Found {
            found: message.values(DIGEST).next().map(str::to_owned),
            wanted: Some(digest_header(&Sha256::of(&message.body))),
        },
        Fault::Expired => Found { found: time("exp"), wanted: Some(format!("> {}", capture.at)) },
        Fault::IssuedLongAgo | Fault::IssuedInFuture => {
            Found { found: time("iat"), wanted: Some(format!("~ {}", capture.at)) }
        }
        Fault::NotYetValid => Found { found: time("nbf"), wanted: Some(format!("<= {}", capture.at)) },
        Fault::OtherIssuer => {
            Found { found: token.claim("iss"), wanted: Token::of(message, Part::Authorization).claim("iss") }
        }
        Fault::RequestDigestDiffers => {
            Found { found: token.claim("request_digest"), wanted: capture.request_digest.clone() }
        }
        Fault::TypeOther => Found { found: token.header("typ"), wanted: Some("JWT".to_owned()) },
        Fault::Certificate(_)
        | Fault::ClaimMissing(_)
        | Fault::ClaimMalformed { .. }
        | Fault::ClaimsUnreadable
        | Fault::Critical
        | Fault::DigestNotSigned
        | Fault::DigestOfNothing
        | Fault::HeaderMissing(_)
        | Fault::HeaderRepeated(_)
        | Fault::HeaderMember(_)
        | Fault::HeaderUnreadable
        | Fault::KeyIdOnly
        | Fault::KeyMissing
        | Fault::KeysDisagree
        | Fault::NotCompact
        | Fault::OtherCertificate
        | Fault::RemoteKey(_)
        | Fault::SchemeOther
        | Fault::SignatureInvalid
        | Fault::SignedHeadersForm
        | Fault::HeaderNotSigned(_)
        | Fault::SignedHeaderAbsent
        | Fault::SignedHeaderDiffers
        | Fault::TooLarge => Found { found: None, wanted: None },
    }
}

/// A token read without trusting it, as far as it can be read.
struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    fn of(message: &Message, part: Part) -> Self {
        let value = message.values(part.header()).next().unwrap_or_default();
        let mut parts = value.rsplit(' ').next().unwrap_or_default().split('.').map(object);
        let mut next = || parts.next().flatten().unwrap_or_default();
        Self { header: next(), claims: next() }
    }

    fn header(&self, name: &str) -> Option<String> {
        self.header.get(name).map(json::canonical)
    }

    fn claim(&self, name: &str) -> Option<String> {
        self.claims.get(name).map(json::canonical)
    }

    fn seconds(&self, name: &str) -> Option<Timestamp> {
        self.claims.get(name).and_then(Value::as_i64).map(Timestamp::from_seconds)
    }
}

fn object(segment: &str) -> Option<Map<String, Value>> {
    match json::parse(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()? {
        Value::Object(members) => Some(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

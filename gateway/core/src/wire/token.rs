//! The compact JWS form, its protected header and its claims, read strictly (RFC 7515, 7519, 8725).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{Algorithm, Fault, KeyReference};
use crate::hash::Sha256;
use crate::json;
use crate::time::Timestamp;

/// The largest token read: a chain of three RSA-4096 certificates (3 × 1.7 KB, in base64 twice 9.1 KB), its signature
/// (0.7 KB) and 2 KB of claims.
pub const TOKEN_MAX: usize = 12 * 1024;
/// Leaf, two intermediates, and the root that some libraries add.
pub(super) const CHAIN_MAX: usize = 4;
/// `iss` and each `aud` are identifiers, not prose.
const TEXT_MAX: usize = 256;
/// One token is for one service; a few names of it are enough.
const AUDIENCES_MAX: usize = 8;

/// What a token is, said in `typ` so that one kind cannot stand for another (RFC 8725 section 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Something for a person to look at: `varco-alert+jwt`.
    Alert,
    /// The three tokens of a message: `JWT`, as ModI wants.
    Message,
    /// A released record: `varco-record+jwt`.
    Record,
    /// An officer's statement: `varco-statement+jwt`.
    Statement,
}

impl TokenType {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Alert => "varco-alert+jwt",
            Self::Message => "JWT",
            Self::Record => "varco-record+jwt",
            Self::Statement => "varco-statement+jwt",
        }
    }
}

/// The protected headers of one key's tokens, as base64url: they never change, so they are made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoseHeaders {
    alert: String,
    message: String,
    record: String,
    statement: String,
}

impl JoseHeaders {
    /// For a seal: `x5c` with the chain in DER, leaf first.
    pub fn of_chain(algorithm: Algorithm, chain: &[Vec<u8>]) -> Self {
        let x5c: Vec<_> = chain.iter().map(|der| STANDARD.encode(der)).collect();
        Self::new(|typ| json!({"alg": algorithm.text(), "typ": typ, "x5c": x5c}))
    }

    /// For a key without a certificate, an officer's: `kid` is the base64url SHA-256 of its SubjectPublicKeyInfo.
    pub fn of_key(algorithm: Algorithm, key: &Sha256) -> Self {
        Self::new(|typ| json!({"alg": algorithm.text(), "kid": key.base64url(), "typ": typ}))
    }

    fn new(header: impl Fn(&str) -> Value) -> Self {
        let text = |typ: TokenType| URL_SAFE_NO_PAD.encode(json::canonical(&header(typ.text())));
        Self {
            alert: text(TokenType::Alert),
            message: text(TokenType::Message),
            record: text(TokenType::Record),
            statement: text(TokenType::Statement),
        }
    }

    pub fn of_type(&self, typ: TokenType) -> &str {
        match typ {
            TokenType::Alert => &self.alert,
            TokenType::Message => &self.message,
            TokenType::Record => &self.record,
            TokenType::Statement => &self.statement,
        }
    }
}

/// A token taken apart. Nothing of it is trusted yet.
pub(super) struct Compact<'a> {
    pub header: Vec<u8>,
    pub payload: Vec<u8>,
    /// What the signature is over: header, dot, payload.
    pub signed: &'a str,
    pub signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Fault> {
        Self::parse_within(text, TOKEN_MAX)
    }

    pub fn parse_within(text: &'a str, largest: usize) -> Result<Self, Fault> {
        if text.len() > largest {
            return Err(Fault::TooLarge);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::NotCompact)?;
        let (header, payload) = signed.split_once('.').ok_or(Fault::NotCompact)?;
        // A fourth part would be a dot inside the payload, which is not in the alphabet.
        let (header, payload, signature) = (base64url(header)?, base64url(payload)?, base64url(signature)?);
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Fault::NotCompact);
        }
        Ok(Self { header, payload, signed, signature })
    }
}

/// Unpadded base64url; the engine refuses padding, other alphabets and bits beyond the last byte.
fn base64url(text: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::NotCompact)
}

/// A protected header that holds what it must and nothing that is refused.
pub(super) struct JoseHeader {
    pub algorithm: Algorithm,
    pub key: Key,
}

/// A token's key reference, before it is known whether this kind of token accepts it.
pub(super) enum Key {
    Certificate(KeyReference),
    Id(String),
    None,
}

impl JoseHeader {
    pub fn parse(header: &[u8], typ: TokenType) -> Result<Self, Fault> {
        let Ok(Value::Object(members)) = json::parse(header) else {
            return Err(Fault::HeaderUnreadable);
        };
        if members.contains_key("crit") {
            return Err(Fault::Critical);
        }
        // `jwk` and the two URLs let the sender choose the key; `b64` has no meaning without `crit` (RFC 7797).
        for refused in ["b64", "jku", "jwk", "x5u"] {
            if members.contains_key(refused) {
                return Err(Fault::RemoteKey(refused));
            }
        }
        match members.get("typ") {
            Some(Value::String(text)) if text.eq_ignore_ascii_case(typ.text()) => {}
            Some(_) | None => return Err(Fault::TypeOther),
        }
        let algorithm = match members.get("alg") {
            Some(Value::String(text)) => text.parse().map_err(|_| Fault::AlgorithmUnknown)?,
            Some(_) | None => return Err(Fault::AlgorithmUnknown),
        };
        Ok(Self { algorithm, key: key(&members)? })
    }

    /// The reference to a certificate, which X.509 trust requires.
    pub fn certificate(self) -> Result<(Algorithm, KeyReference), Fault> {
        match self.key {
            Key::Certificate(reference) => Ok((self.algorithm, reference)),
            Key::Id(_) => Err(Fault::KeyIdOnly),
            Key::None => Err(Fault::KeyMissing),
        }
    }
}

/// A `kid` beside a certificate is the sender's own label and takes no part.
fn key(members: &Map<String, Value>) -> Result<Key, Fault> {
    let thumbprint = match members.get("x5t#S256") {
        None => None,
        Some(Value::String(text)) => Some(thumbprint(text).ok_or(Fault::HeaderMember("x5t#S256"))?),
        Some(_) => return Err(Fault::HeaderMember("x5t#S256")),
    };
    let Some(x5c) = members.get("x5c") else {
        return match (thumbprint, members.get("kid")) {
            (Some(hash), _) => Ok(Key::Certificate(KeyReference::Thumbprint(hash))),
            (None, Some(Value::String(id))) => Ok(Key::Id(id.clone())),
            (None, Some(_)) => Err(Fault::HeaderMember("kid")),
            (None, None) => Ok(Key::None),
        };
    };
    let chain = chain(x5c).ok_or(Fault::HeaderMember("x5c"))?;
    let leaf = chain.first().map(|der| Sha256::of(der));
    if thumbprint.is_some() && thumbprint != leaf {
        return Err(Fault::KeysDisagree);
    }
    Ok(Key::Certificate(KeyReference::Chain(chain)))
}

/// `x5c` is standard base64 (RFC 7515 section 4.1.6), unlike everything around it.
fn chain(x5c: &Value) -> Option<Vec<Vec<u8>>> {
    let items = x5c.as_array().filter(|items| (1..=CHAIN_MAX).contains(&items.len()))?;
    items.iter().map(|item| STANDARD.decode(item.as_str()?).ok()).collect()
}

fn thumbprint(text: &str) -> Option<Sha256> {
    Sha256::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?)
}

/// The claims every token of a message has, checked for type, and the rest by name.
pub(super) struct Claims {
    pub issuer: Option<String>,
    pub audiences: Vec<String>,
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub not_before: Option<Timestamp>,
    members: Map<String, Value>,
}

impl Claims {
    pub fn parse(payload: &[u8]) -> Result<Self, Fault> {
        let members = members(payload)?;
        let audiences = audiences(members.get("aud").ok_or(Fault::ClaimMissing("aud"))?)
            .ok_or(Fault::ClaimMalformed { claim: "aud", expected: "a string or an array of strings" })?;
        let issuer = match members.get("iss") {
            None => None,
            Some(Value::String(text)) if (1..=TEXT_MAX).contains(&text.len()) => Some(text.clone()),
            Some(_) => {
                return Err(Fault::ClaimMalformed { claim: "iss", expected: "a string of 1 to 256 bytes" });
            }
        };
        Ok(Self {
            issuer,
            audiences,
            issued: instant(&members, "iat")?.ok_or(Fault::ClaimMissing("iat"))?,
            expires: instant(&members, "exp")?.ok_or(Fault::ClaimMissing("exp"))?,
            not_before: instant(&members, "nbf")?,
            members,
        })
    }

    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// A claim that must be a string.
    pub fn text(&self, name: &'static str) -> Result<&str, Fault> {
        match self.members.get(name) {
            None => Err(Fault::ClaimMissing(name)),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Fault::ClaimMalformed { claim: name, expected: "a string" }),
        }
    }
}

/// A JWT claims set: one JSON object.
pub(super) fn members(payload: &[u8]) -> Result<Map<String, Value>, Fault> {
    match json::parse(payload) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(Fault::ClaimsUnreadable),
    }
}

/// A NumericDate: seconds as an integer. Fractions and text, which some clients send, are refused.
pub(super) fn instant(members: &Map<String, Value>, claim: &'static str) -> Result<Option<Timestamp>, Fault> {
    match members.get(claim) {
        None => Ok(None),
        Some(value) => value
            .as_i64()
            .map(|seconds| Some(Timestamp::from_seconds(seconds)))
            .ok_or(Fault::ClaimMalformed { claim, expected: "an integer number of seconds since 1970" }),
    }
}

fn audiences(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().filter(|t| t.len() <= TEXT_MAX).map(str::to_owned);
    match value {
        Value::String(_) => Some(vec![text(value)?]),
        Value::Array(items) if items.len() <= AUDIENCES_MAX => items.iter().map(text).collect(),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

//! An officer's statement: "I, with this key, do this act on the document with this hash".
//!
//! It is what approves a policy bundle or a registry version. Whether the officer may do so is the registry's matter.

use serde_json::json;

use super::sign::compact;
use super::token::{Compact, JoseHeader, Key, TokenType, instant, members};
use super::{Algorithm, Fault, SignFault, Signer};
use crate::hash::Sha256;
use crate::time::Timestamp;

/// The acts are few and short: `approve-policy`, `approve-registry`, `genesis`.
const ACT_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What is done: lower-case letters, digits and hyphens, at most 64.
    pub act: String,
    /// SHA-256 of the document it is done to.
    pub sha256: Sha256,
    /// When, to the second.
    pub at: Timestamp,
}

/// Why a statement is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    #[error("the statement is not well formed: {0}")]
    Malformed(#[from] Fault),
    #[error("the statement is signed with another key")]
    OtherKey,
    #[error("the signature does not verify")]
    SignatureInvalid,
}

pub fn sign_statement(statement: &Statement, signer: &dyn Signer) -> Result<String, SignFault> {
    let payload = json!({
        "act": statement.act,
        "iat": statement.at.seconds(),
        "sha256": statement.sha256.to_string(),
    });
    compact(TokenType::Statement, &payload, signer)
}

/// Reads a statement signed with the key whose SubjectPublicKeyInfo hashes to `key`. `verify` says whether the given
/// algorithm belongs to that key and the signature is its own.
pub fn verify_statement(
    text: &str,
    key: &Sha256,
    verify: impl FnOnce(Algorithm, &[u8], &[u8]) -> bool,
) -> Result<Statement, StatementError> {
    let compact = Compact::parse(text)?;
    let header = JoseHeader::parse(&compact.header, TokenType::Statement)?;
    match header.key {
        Key::Id(id) if id == key.base64url() => {}
        Key::Id(_) | Key::Certificate(_) | Key::None => return Err(StatementError::OtherKey),
    }
    if !verify(header.algorithm, compact.signed.as_bytes(), &compact.signature) {
        return Err(StatementError::SignatureInvalid);
    }
    Ok(read(&compact)?)
}

fn read(compact: &Compact) -> Result<Statement, Fault> {
    let claims = members(&compact.payload)?;
    let at = instant(&claims, "iat")?.ok_or(Fault::ClaimMissing("iat"))?;
    let text = |name: &'static str| {
        claims.get(name).and_then(serde_json::Value::as_str).ok_or(Fault::ClaimMissing(name))
    };
    let act = text("act")?;
    let plain = act.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || !(1..=ACT_MAX).contains(&act.len()) {
        return Err(Fault::ClaimMalformed {
            claim: "act",
            expected: "lower-case letters, digits and hyphens",
        });
    }
    let sha256 = text("sha256")?
        .parse()
        .map_err(|_| Fault::ClaimMalformed { claim: "sha256", expected: "64 hexadecimal digits" })?;
    Ok(Statement { act: act.to_owned(), sha256, at })
}

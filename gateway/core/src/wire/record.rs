//! The released record as a compact JWS of its own, which can be filed and checked years later.

use serde_json::{Map, Value};

use super::sign::compact_text;
use super::token::{Compact, JoseHeader, TokenType, instant, members};
use super::{Fault, SignFault, Signer, Verifier};
use crate::registry::Identity;
use crate::time::Timestamp;

/// A record whose seal verified.
#[derive(Debug)]
pub struct VerifiedRecord {
    pub seal: Identity,
    pub issued: Timestamp,
    /// The claims, among them provider, consumer, purpose, views, policy hash and exchange id.
    pub claims: Map<String, Value>,
}

/// Seals a record. `payload` is the canonical text of the caller's claims: the record in it is large and was written
/// once already. It must hold `iat`, by which the seal is judged later.
pub fn record_jws(payload: &str, signer: &dyn Signer) -> Result<String, SignFault> {
    compact_text(TokenType::Record, payload, signer)
}

/// Checks a filed record: the certificate must have been good when it was sealed, not today.
///
/// There is no clock rule and no audience: a record does not expire, it is evidence. It may be larger than a message's
/// token, up to `largest` bytes.
pub fn verify_record(text: &str, largest: usize, verifier: &dyn Verifier) -> Result<VerifiedRecord, Fault> {
    let compact = Compact::parse_within(text, largest)?;
    let (algorithm, reference) = JoseHeader::parse(&compact.header, TokenType::Record)?.certificate()?;
    let claims = members(&compact.payload)?;
    let issued = instant(&claims, "iat")?.ok_or(Fault::ClaimMissing("iat"))?;
    let seal = verifier.seal(&reference, issued).map_err(Fault::Certificate)?;
    if !seal.allows(algorithm) {
        return Err(Fault::AlgorithmNotOfKey);
    }
    if !seal.verify(algorithm, compact.signed.as_bytes(), &compact.signature) {
        return Err(Fault::SignatureInvalid);
    }
    Ok(VerifiedRecord { seal: seal.identity().clone(), issued, claims })
}

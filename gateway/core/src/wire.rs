//! The wire: what a message's security headers must say, and how ours are made.
//!
//! ModI patterns ID_AUTH_REST_02, INTEGRITY_REST_01 and AUDIT_REST_01 with X.509 trust, both directions. Owns the
//! compact JWS form, the claims, the order of the checks, clock rules and header digests. Must not know keys,
//! certificates or cryptography (a [`Verifier`] and a [`Signer`] bring them), nor who an identity belongs to: the
//! registry maps it, and only after everything here has passed. Nothing here puts a token's content into a fault.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::hash::Sha256;
use crate::id::{IdEntropy, OperatorId, TokenId};
use crate::registry::Identity;
use crate::time::Timestamp;

mod fault;
mod header;
mod record;
mod sign;
mod statement;
mod token;
mod verify;

pub use fault::{Fault, Part, SealFault, Step, WireError};
pub use header::{digest_header, parse_digest};
pub use record::{VerifiedRecord, record_jws, verify_record};
pub use sign::{AnswerClaims, LIFETIME, RequestClaims, SignFault, alert_jws, sign_request, sign_response};
pub use statement::{Statement, StatementError, sign_statement, verify_statement};
pub use token::{JoseHeaders, TOKEN_MAX, TokenType};
pub use verify::{
    Checked, Diagnosis, EmptyBody, Expectation, Outcome, Rules, VerifiedAnswer, VerifiedMessage,
    diagnose_request, diagnose_response, verify_request, verify_response,
};

/// The HTTP header of the sender's token (RFC 6750).
pub const AUTHORIZATION: &str = "authorization";
/// The HTTP header of the body's digest (RFC 3230).
pub const DIGEST: &str = "digest";
/// The HTTP header of the integrity token (INTEGRITY_REST_01).
pub const SIGNATURE: &str = "agid-jwt-signature";
/// The HTTP header of the operator's token (AUDIT_REST_01).
pub const EVIDENCE: &str = "agid-jwt-trackingevidence";
/// Signed when present.
pub const CONTENT_TYPE: &str = "content-type";
/// Signed when present.
pub const CONTENT_ENCODING: &str = "content-encoding";

/// What arrived or is to be sent: header names in lower case, each value a line of its own, and the body's bytes as
/// transferred, before any parsing.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// The values of a header, in order. `name` is lower case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Message").field("headers", &names).field("body", &self.body.len()).finish()
    }
}

/// The signature algorithms of RFC 7518 and RFC 8037 that a deployment may allow. No other can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Algorithm {
    #[serde(rename = "EdDSA")]
    EdDsa,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Ps256, Self::Rs256];
    /// What is allowed unless the configuration says otherwise: ModI's RS256 and ES256.
    pub const DEFAULT: [Self; 2] = [Self::Es256, Self::Rs256];

    /// The JOSE `alg`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }
}

impl FromStr for Algorithm {
    type Err = crate::id::IdFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.text() == text)
            .ok_or(crate::id::IdFault { expected: "one of `ES256`, `RS256`, `EdDSA`, `PS256`" })
    }
}

/// How a token says whose key signed it. A PDND voucher's `kid` will be a third variant.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyReference {
    /// `x5c`: DER certificates, leaf first. A `x5t#S256` beside it was found to agree.
    Chain(Vec<Vec<u8>>),
    /// `x5t#S256` alone: SHA-256 of a certificate the verifier must already know.
    Thumbprint(Sha256),
}

impl fmt::Debug for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(chain) => write!(f, "x5c of {} certificates", chain.len()),
            Self::Thumbprint(hash) => write!(f, "x5t#S256 {hash}"),
        }
    }
}

/// Signs with one key. The algorithm is the key's, fixed when the signer is made.
pub trait Signer: Send + Sync {
    /// The protected headers of this key's tokens, made once.
    fn headers(&self) -> &JoseHeaders;

    /// The JWS signature of `signed` (RFC 7518 section 3 form).
    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, SignFault>;
}

/// Finds the key behind a token's reference and answers for it.
pub trait Verifier: Send + Sync {
    /// The seal, after chain, validity, revocation, key usage and key strength were checked for `now`.
    fn seal(&self, reference: &KeyReference, now: Timestamp) -> Result<Arc<dyn Seal>, SealFault>;
}

/// A checked certificate's key.
pub trait Seal: Send + Sync {
    fn identity(&self) -> &Identity;

    /// Whether this key may be used with this algorithm here: the key's own kind and the allow-list decide.
    fn allows(&self, algorithm: Algorithm) -> bool;

    /// Whether `signature` is this key's over `signed`. False for an algorithm that [`Self::allows`] does not allow.
    fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool;
}

/// Who at the sender's end asks, from where, and how well they were authenticated (AUDIT_REST_01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// `userID`: the agency's stable code of the operator.
    pub operator: OperatorId,
    /// `userLocation`: workstation or office, 1 to [`LOCATION_MAX`] characters.
    pub location: String,
    /// `LoA`
    pub loa: LevelOfAssurance,
}

/// A location is an office's or a workstation's code, not prose.
pub const LOCATION_MAX: usize = 128;

/// How well the operator was authenticated, as eIDAS (Regulation EU 910/2014 article 8) counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LevelOfAssurance {
    Low,
    Substantial,
    High,
}

impl LevelOfAssurance {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Substantial => "substantial",
            Self::High => "high",
        }
    }
}

impl FromStr for LevelOfAssurance {
    type Err = crate::id::IdFault;

    /// eIDAS names, ISO/IEC 29115 levels as AgID maps them (LoA2 to LoA4), SPID levels.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "low" | "loa2" | "https://www.spid.gov.it/spidl1" => Ok(Self::Low),
            "substantial" | "loa3" | "https://www.spid.gov.it/spidl2" => Ok(Self::Substantial),
            "high" | "loa4" | "https://www.spid.gov.it/spidl3" => Ok(Self::High),
            _ => Err(crate::id::IdFault { expected: "`low`, `substantial` or `high`" }),
        }
    }
}

/// The `jti` of a request's three tokens.
#[derive(Clone, Debug)]
pub struct Jtis {
    pub authorization: TokenId,
    pub signature: TokenId,
    pub evidence: TokenId,
}

impl Jtis {
    /// Three new identifiers from three lots of random bytes.
    pub fn new(now: Timestamp, random: [IdEntropy; 3]) -> Self {
        let [authorization, signature, evidence] = random.map(|random| TokenId::new(now, random));
        Self { authorization, signature, evidence }
    }
}

//! What can be wrong with a message, where, and at which step.

use super::{AUTHORIZATION, EVIDENCE, SIGNATURE};
use crate::code::Code;

/// The part of the message a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Authorization,
    Signature,
    Evidence,
}

impl Part {
    /// The HTTP header that carries this token.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Authorization => AUTHORIZATION,
            Self::Signature => SIGNATURE,
            Self::Evidence => EVIDENCE,
        }
    }
}

/// The checks, in the order in which each token goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The HTTP header is there, once, in its form.
    Header,
    /// Three canonical base64url parts within the size limit (RFC 7515 section 3.1).
    Form,
    /// The protected header: `typ`, `alg`, key reference, nothing critical, nothing remote.
    JoseHeader,
    /// The claims this pattern requires are there with their types.
    Claims,
    /// `iat`, `exp` and `nbf` against the clock.
    Time,
    /// `aud` names us.
    Audience,
    /// `jti` is there and usable.
    Identifier,
    /// The certificate: chain, validity, revocation, key usage, key strength.
    Certificate,
    /// `alg` is the key's own and allowed here.
    Algorithm,
    /// The signature verifies.
    Signature,
    /// Same issuer and certificate as the other tokens of the message.
    SameSender,
    /// Every signed header is in the HTTP message with the same value, and the required ones are signed.
    SignedHeaders,
    /// The HTTP `Digest` is well formed and is the one signed.
    Digest,
    /// The body received has that digest.
    Body,
    /// The answer belongs to the request we sent.
    RequestDigest,
    /// The operator's claims.
    Evidence,
}

impl Step {
    pub const ALL: [Self; 16] = [
        Self::Header,
        Self::Form,
        Self::JoseHeader,
        Self::Claims,
        Self::Time,
        Self::Audience,
        Self::Identifier,
        Self::Certificate,
        Self::Algorithm,
        Self::Signature,
        Self::SameSender,
        Self::SignedHeaders,
        Self::Digest,
        Self::Body,
        Self::RequestDigest,
        Self::Evidence,
    ];

    /// The step's name for programs.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Form => "form",
            Self::JoseHeader => "jose-header",
            Self::Claims => "claims",
            Self::Time => "time",
            Self::Audience => "audience",
            Self::Identifier => "identifier",
            Self::Certificate => "certificate",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::SameSender => "same-sender",
            Self::SignedHeaders => "signed-headers",
            Self::Digest => "digest",
            Self::Body => "body",
            Self::RequestDigest => "request-digest",
            Self::Evidence => "evidence",
        }
    }
}

/// The first check that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", .part.header())]
pub struct WireError {
    pub part: Part,
    pub step: Step,
    pub fault: Fault,
}

impl WireError {
    pub fn code(&self) -> Code {
        self.fault.code()
    }
}

/// What is wrong. The text never holds a token's content, only names we chose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("alg is not one of ES256, RS256, EdDSA, PS256")]
    AlgorithmUnknown,
    #[error("alg does not belong to the key, or is not allowed here")]
    AlgorithmNotOfKey,
    #[error("aud does not name this service")]
    AudienceOther,
    #[error("the body received does not have the digest that was signed")]
    BodyDiffers,
    #[error("the certificate is not acceptable: {0}")]
    Certificate(SealFault),
    #[error("claim `{0}` is missing")]
    ClaimMissing(&'static str),
    #[error("claim `{claim}` must be {expected}")]
    ClaimMalformed { claim: &'static str, expected: &'static str },
    #[error("the claims are not a JSON object with members that appear once")]
    ClaimsUnreadable,
    #[error("the header has `crit`, and no extension is accepted")]
    Critical,
    #[error("Digest must be `SHA-256=` and the padded standard base64 of 32 bytes")]
    DigestMalformed,
    #[error("signed_headers holds another digest than the HTTP header Digest")]
    DigestNotSigned,
    #[error("a body is there, but no Digest header")]
    DigestMissing,
    #[error("a Digest is there, but no body")]
    DigestOfNothing,
    #[error("the token is expired")]
    Expired,
    #[error("HTTP header `{0}` is missing")]
    HeaderMissing(&'static str),
    #[error("HTTP header `{0}` appears more than once")]
    HeaderRepeated(&'static str),
    #[error("member `{0}` of the token's header is not as it must be")]
    HeaderMember(&'static str),
    #[error("the token's header is not a JSON object with members that appear once")]
    HeaderUnreadable,
    #[error("the token was issued longer ago than the window allows")]
    IssuedLongAgo,
    #[error("the token was issued in the future")]
    IssuedInFuture,
    #[error("the token names its key with `kid` alone, which needs PDND trust; use x5c or x5t#S256")]
    KeyIdOnly,
    #[error("the token's header has none of x5c and x5t#S256")]
    KeyMissing,
    #[error("x5c and x5t#S256 do not name the same certificate")]
    KeysDisagree,
    #[error("the token is not three canonical base64url parts joined by dots")]
    NotCompact,
    #[error("nbf lies in the future")]
    NotYetValid,
    #[error("this token comes from another certificate than the Authorization token")]
    OtherCertificate,
    #[error("this token has another iss than the Authorization token")]
    OtherIssuer,
    #[error("the token's header has `{0}`, which is never used here")]
    RemoteKey(&'static str),
    #[error("request_digest is not the digest of the request that was sent")]
    RequestDigestDiffers,
    #[error("Authorization must be `Bearer` and the token")]
    SchemeOther,
    #[error("the signature does not verify")]
    SignatureInvalid,
    #[error("signed_headers must be an array of objects, one header each")]
    SignedHeadersForm,
    #[error("HTTP header `{0}` is there but is not signed")]
    HeaderNotSigned(&'static str),
    #[error("a signed header is not in the HTTP message")]
    SignedHeaderAbsent,
    #[error("a signed header has another value in the HTTP message")]
    SignedHeaderDiffers,
    #[error("the token is larger than the limit")]
    TooLarge,
    #[error("typ is not the type this token must have")]
    TypeOther,
}

impl Fault {
    pub const fn code(&self) -> Code {
        match self {
            Self::AlgorithmUnknown | Self::AlgorithmNotOfKey => Code::WireAlgorithm,
            Self::AudienceOther => Code::WireAudience,
            Self::BodyDiffers
            | Self::DigestMalformed
            | Self::DigestNotSigned
            | Self::DigestMissing
            | Self::DigestOfNothing
            | Self::RequestDigestDiffers => Code::WireDigest,
            Self::Certificate(_) => Code::WireCertificate,
            Self::ClaimMissing(_) | Self::ClaimMalformed { .. } => Code::WireClaims,
            Self::Expired | Self::IssuedLongAgo => Code::WireExpired,
            Self::HeaderMissing(_) | Self::HeaderRepeated(_) | Self::SchemeOther => Code::WireHeader,
            Self::IssuedInFuture | Self::NotYetValid => Code::WireNotYetValid,
            Self::OtherCertificate | Self::OtherIssuer => Code::WireIssuer,
            Self::SignatureInvalid => Code::WireSignature,
            Self::SignedHeadersForm
            | Self::HeaderNotSigned(_)
            | Self::SignedHeaderAbsent
            | Self::SignedHeaderDiffers => Code::WireSignedHeaders,
            Self::ClaimsUnreadable
            | Self::Critical
            | Self::HeaderMember(_)
            | Self::HeaderUnreadable
            | Self::KeyIdOnly
            | Self::KeyMissing
            | Self::KeysDisagree
            | Self::NotCompact
            | Self::RemoteKey(_)
            | Self::TooLarge
            | Self::TypeOther => Code::WireToken,
        }
    }
}

/// Why a certificate is not accepted as a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    #[error("the chain is longer or larger than the limit")]
    ChainTooLarge,
    #[error("the revocation list of its issuer is out of date")]
    CrlExpired,
    #[error("it is past its validity")]
    Expired,
    #[error("its key is of a kind or strength that is not accepted")]
    KeyWeak,
    #[error("its key usage does not include digitalSignature")]
    KeyUsage,
    #[error("it cannot be read as a certificate")]
    Malformed,
    #[error("its validity has not begun")]
    NotYetValid,
    #[error("it was revoked")]
    Revoked,
    #[error("no revocation list says whether it was revoked")]
    RevocationUnknown,
    #[error("it is restricted to TLS and cannot seal")]
    TlsOnly,
    #[error("no certificate with this thumbprint is known")]
    Unknown,
    #[error("it does not lead to a trusted root")]
    UnknownIssuer,
}

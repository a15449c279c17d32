//! Our own messages: the headers of a request and of an answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::token::TokenType;
use super::{
    AUTHORIZATION, CONTENT_TYPE, DIGEST, EVIDENCE, Evidence, Jtis, SIGNATURE, Signer, digest_header,
};
use crate::hash::Sha256;
use crate::id::TokenId;
use crate::json;
use crate::time::Timestamp;

/// How long our tokens live: enough for a slow network and a clock a few seconds off, little for a thief.
pub const LIFETIME: Duration = Duration::from_secs(120);

/// The key could not sign: it is gone, or its device refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign")]
pub struct SignFault;

/// What a request says of itself.
#[derive(Clone, Debug)]
pub struct RequestClaims {
    /// Our identifier, as the receiver's registry knows it.
    pub issuer: String,
    /// The receiver's identifier.
    pub audience: String,
    /// The body's media type; `None` when there is no body.
    pub content_type: Option<String>,
    pub evidence: Evidence,
}

/// What an answer says of itself.
#[derive(Clone, Debug)]
pub struct AnswerClaims {
    pub issuer: String,
    /// The caller's `iss`.
    pub audience: String,
    pub content_type: Option<String>,
    /// The digest of the request's body: what this is the answer to.
    pub request_digest: Sha256,
}

/// The headers to send with `body`, names in lower case: Authorization, Digest, the two AgID tokens and Content-Type.
pub fn sign_request(
    body: &[u8],
    claims: &RequestClaims,
    signer: &dyn Signer,
    now: Timestamp,
    jtis: &Jtis,
) -> Result<Vec<(String, String)>, SignFault> {
    let digest = digest_header(&Sha256::of(body));
    let standard = Standard::new(&claims.issuer, &claims.audience, now);
    let token =
        |jti, more: &[(&str, &str)]| compact_text(TokenType::Message, &standard.with(jti, more), signer);
    let bearer = token(&jtis.authorization, &[])?;
    let signed = signed(&digest, claims.content_type.as_deref());
    let integrity = token(&jtis.signature, &[("signed_headers", &signed)])?;
    let evidence = &claims.evidence;
    let (operator, location) = (json::text(evidence.operator.as_str()), json::text(&evidence.location));
    let evidence = token(
        &jtis.evidence,
        &[("LoA", &json::text(evidence.loa.text())), ("userID", &operator), ("userLocation", &location)],
    )?;

    let mut headers = vec![
        (AUTHORIZATION.to_owned(), format!("Bearer {bearer}")),
        (SIGNATURE.to_owned(), integrity),
        (EVIDENCE.to_owned(), evidence),
        (DIGEST.to_owned(), digest),
    ];
    headers.extend(claims.content_type.clone().map(|value| (CONTENT_TYPE.to_owned(), value)));
    Ok(headers)
}

/// The headers to answer with, names in lower case: Digest, the integrity token and Content-Type.
pub fn sign_response(
    body: &[u8],
    claims: &AnswerClaims,
    signer: &dyn Signer,
    now: Timestamp,
    jti: &TokenId,
) -> Result<Vec<(String, String)>, SignFault> {
    let digest = digest_header(&Sha256::of(body));
    let request_digest = json::text(&digest_header(&claims.request_digest));
    let signed = signed(&digest, claims.content_type.as_deref());
    let more: [(&str, &str); 2] = [("request_digest", &request_digest), ("signed_headers", &signed)];
    let integrity = Standard::new(&claims.issuer, &claims.audience, now).with(jti, &more);
    let mut headers = vec![
        (SIGNATURE.to_owned(), compact_text(TokenType::Message, &integrity, signer)?),
        (DIGEST.to_owned(), digest),
    ];
    headers.extend(claims.content_type.clone().map(|value| (CONTENT_TYPE.to_owned(), value)));
    Ok(headers)
}

/// An alert as a webhook carries it: a compact JWS that says who sends it, to whom and when. `jti` is the alert's
/// identifier, so that a receiver knows one that comes again.
pub fn alert_jws(
    alert: &Value,
    (issuer, audience): (&str, &str),
    signer: &dyn Signer,
    now: Timestamp,
) -> Result<String, SignFault> {
    let payload = json!({
        "alert": alert,
        "aud": audience,
        "iat": now.seconds(),
        "iss": issuer,
        "jti": alert.get("alert").and_then(Value::as_str).unwrap_or_default(),
    });
    compact(TokenType::Alert, &payload, signer)
}

/// One compact JWS over the canonical text of `payload`.
pub(super) fn compact(typ: TokenType, payload: &Value, signer: &dyn Signer) -> Result<String, SignFault> {
    compact_text(typ, &json::canonical(payload), signer)
}

/// One compact JWS over a payload that is text already.
pub(super) fn compact_text(typ: TokenType, payload: &str, signer: &dyn Signer) -> Result<String, SignFault> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let header = signer.headers().of_type(typ);
    // Two dots and a signature: 86 characters of ES256 or EdDSA, 683 of RSA with 4096 bits.
    let mut token = String::with_capacity(header.len() + payload.len().div_ceil(3) * 4 + 700);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// The claims that all tokens of one message share, as canonical JSON.
struct Standard {
    audience: String,
    expires: String,
    issuer: String,
    now: String,
}

impl Standard {
    fn new(issuer: &str, audience: &str, now: Timestamp) -> Self {
        Self {
            audience: json::text(audience),
            expires: now.plus(LIFETIME).seconds().to_string(),
            issuer: json::text(issuer),
            now: now.seconds().to_string(),
        }
    }

    /// The claims of one token: these, its identifier, and more whose values are canonical JSON.
    fn with(&self, jti: &TokenId, more: &[(&str, &str)]) -> String {
        let jti = json::text(jti.as_str());
        let mut members: Vec<(&str, &str)> = vec![
            ("aud", &self.audience),
            ("exp", &self.expires),
            ("iat", &self.now),
            ("iss", &self.issuer),
            ("jti", &jti),
            ("nbf", &self.now),
        ];
        members.extend_from_slice(more);
        members.sort_unstable();
        json::object(&members)
    }
}

/// The `signed_headers` of a message.
fn signed(digest: &str, content_type: Option<&str>) -> String {
    let of = |name, value: &str| json::object(&[(name, &json::text(value))]);
    let mut headers = vec![of(DIGEST, digest)];
    headers.extend(content_type.map(|value| of(CONTENT_TYPE, value)));
    format!("[{}]", headers.join(","))
}

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
    let base = |jti: &TokenId| standard(&claims.issuer, &claims.audience, now, jti);
    let bearer = compact(TokenType::Message, &base(&jtis.authorization), signer)?;
    let mut integrity = base(&jtis.signature);
    set(&mut integrity, "signed_headers", signed(&digest, claims.content_type.as_deref()));
    let mut evidence = base(&jtis.evidence);
    set(&mut evidence, "userID", claims.evidence.operator.as_str().into());
    set(&mut evidence, "userLocation", claims.evidence.location.as_str().into());
    set(&mut evidence, "LoA", claims.evidence.loa.text().into());

    let mut headers = vec![
        (AUTHORIZATION.to_owned(), format!("Bearer {bearer}")),
        (SIGNATURE.to_owned(), compact(TokenType::Message, &integrity, signer)?),
        (EVIDENCE.to_owned(), compact(TokenType::Message, &evidence, signer)?),
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
    let mut integrity = standard(&claims.issuer, &claims.audience, now, jti);
    set(&mut integrity, "request_digest", digest_header(&claims.request_digest).into());
    set(&mut integrity, "signed_headers", signed(&digest, claims.content_type.as_deref()));
    let mut headers = vec![
        (SIGNATURE.to_owned(), compact(TokenType::Message, &integrity, signer)?),
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

    let mut token = signer.headers().of_type(typ).to_owned();
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn standard(issuer: &str, audience: &str, now: Timestamp, jti: &TokenId) -> Value {
    json!({
        "aud": audience,
        "exp": now.plus(LIFETIME).seconds(),
        "iat": now.seconds(),
        "iss": issuer,
        "jti": jti.as_str(),
        "nbf": now.seconds(),
    })
}

fn signed(digest: &str, content_type: Option<&str>) -> Value {
    let mut headers = vec![json!({ DIGEST: digest })];
    headers.extend(content_type.map(|value| json!({ CONTENT_TYPE: value })));
    Value::Array(headers)
}

fn set(claims: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = claims {
        members.insert(name.to_owned(), value);
    }
}

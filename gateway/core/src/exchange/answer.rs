//! From a logged outcome to the signed bytes that leave.

use serde_json::{Value, json};

use crate::code::Code;
use crate::id::{ExchangeId, TokenId};
use crate::json;
use crate::time::Timestamp;
use crate::wire::{self, AnswerClaims, SignFault, Signer};

use super::outcome::{Account, Disclosed, End, LoggedOutcome, Refused};

/// What an answer is signed with.
pub struct Stamp<'a> {
    pub seal: &'a dyn Signer,
    /// The gateway's identifier, in `iss`.
    pub gateway: &'a str,
    pub now: Timestamp,
    /// The `jti` of the answer's signature.
    pub token: TokenId,
}

/// The bytes of an answer, signed, with the headers that carry the signature.
#[derive(Debug)]
pub struct Answer {
    pub exchange: ExchangeId,
    pub status: u16,
    /// `disclosed`, `denied`, `failed` or `registered`: for counting.
    pub outcome: &'static str,
    /// `None` for an answer that is no error.
    pub code: Option<Code>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The answer could not be signed, so it does not leave.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be signed: {0}")]
pub struct SignError(#[from] SignFault);

impl LoggedOutcome {
    /// Writes the answer and signs it, bound to the request by its digest (INTEGRITY_REST_01 in the answer's direction).
    pub fn sign(self, stamp: &Stamp<'_>) -> Result<Answer, SignError> {
        let receipt = Value::String(self.receipt.to_text());
        let account = self.outcome.account;
        let code = match &self.outcome.end {
            End::Deny(refused) => Some(refused.code),
            End::Fail { code, .. } => Some(*code),
            End::Disclose(_) | End::Register { .. } => None,
        };
        let outcome = match &self.outcome.end {
            End::Deny(_) => "denied",
            End::Disclose(_) => "disclosed",
            End::Fail { .. } => "failed",
            End::Register { .. } => "registered",
        };
        let (status, body) = match self.outcome.end {
            End::Deny(refused) => refusal(&account, refused, &receipt),
            End::Disclose(disclosed) => (200, disclosure(&account, disclosed, &receipt, stamp)?),
            End::Fail { code, detail } => {
                let mut problem = code.problem(&detail, Some(account.request.exchange.as_str()));
                problem.insert("receipt".into(), receipt);
                (code.status(), json::canonical(&Value::Object(problem)))
            }
            End::Register { status, mut body, .. } => {
                body.insert("receipt".into(), receipt);
                (status, json::canonical(&Value::Object(body)))
            }
        };
        let body = body.into_bytes();
        let media = if code.is_some() { "application/problem+json" } else { "application/json" };
        let claims = AnswerClaims {
            issuer: stamp.gateway.to_owned(),
            audience: account.request.issuer,
            content_type: Some(media.to_owned()),
            request_digest: account.request.digest,
        };
        let headers = wire::sign_response(&body, &claims, stamp.seal, stamp.now, &stamp.token)?;
        Ok(Answer { exchange: account.request.exchange, status, outcome, code, headers, body })
    }
}

fn refusal(account: &Account, refused: Refused, receipt: &Value) -> (u16, String) {
    let mut problem = refused.code.problem(&refused.detail, Some(account.request.exchange.as_str()));
    if !refused.fields.is_empty() {
        problem.insert("fields".into(), Value::Array(refused.fields));
    }
    if let Some(policy) = &account.policy {
        problem.insert("policy".into(), json!({ "version": policy.version, "sha256": policy.sha256 }));
    }
    problem.insert("receipt".into(), receipt.clone());
    (refused.code.status(), json::canonical(&Value::Object(problem)))
}

/// The record is serialised once and placed into both the answer and the record's own JWS as text.
fn disclosure(
    account: &Account,
    disclosed: Disclosed,
    receipt: &Value,
    stamp: &Stamp<'_>,
) -> Result<String, SignError> {
    let policy =
        account.policy.as_ref().map(|policy| json!({ "version": policy.version, "sha256": policy.sha256 }));
    let policy = json::canonical(&policy.unwrap_or_default());
    let exchange = json::canonical(&json!(account.request.exchange));
    let claims = json::object(&[
        ("aud", &json::canonical(&json!(account.request.sender.agency))),
        ("consumer", &json::canonical(&json!(account.request.sender.agency))),
        ("iat", &stamp.now.seconds().to_string()),
        ("iss", &json::canonical(&json!(stamp.gateway))),
        ("jti", &exchange),
        ("policy", &policy),
        ("provider", &json::canonical(&json!(account.provider))),
        ("purpose", &json::canonical(&json!(account.purpose))),
        ("record", &disclosed.record),
        ("record_type", &json::canonical(&json!(account.record_type))),
        ("views", &json::canonical(&Value::Object(disclosed.views))),
    ]);
    let record_jws = wire::record_jws(&claims, stamp.seal)?;
    Ok(json::object(&[
        ("exchange", &exchange),
        ("fields", &json::canonical(&Value::Array(disclosed.fields))),
        ("policy", &policy),
        ("receipt", &json::canonical(receipt)),
        ("record", &disclosed.record),
        ("record_jws", &json::canonical(&Value::String(record_jws))),
    ]))
}

//! From a logged outcome to the signed bytes that leave.

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::id::{ExchangeId, TokenId};
use crate::json;
use crate::log::proof::Receipt;
use crate::time::Timestamp;
use crate::wire::{self, AnswerClaims, SignFault, Signer};

use super::delivery::Released;
use super::outcome::{Account, Branch, Disclosed, End, LoggedOutcome, Refused};
use super::push::Consigned;
use super::signal::Page;

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
    /// `disclosed`, `denied`, `failed`, `gathered` or `registered`: for counting.
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
            End::Push { consigned, .. } if !consigned.iter().any(Consigned::is_kept) => {
                Some(Code::ExchangeDenied)
            }
            End::Disclose(_)
            | End::Fetch { .. }
            | End::Push { .. }
            | End::Register { .. }
            | End::Report { .. }
            | End::Signals { .. }
            | End::Statistics { .. } => None,
        };
        let outcome = match &self.outcome.end {
            End::Deny(_) => "denied",
            End::Disclose(_) | End::Statistics { .. } => "disclosed",
            End::Fail { .. } => "failed",
            End::Fetch { .. } | End::Signals { .. } => "fetched",
            End::Push { .. } if code.is_some() => "denied",
            End::Push { .. } => "pushed",
            End::Register { .. } | End::Report { .. } => "registered",
        };
        let mut correlation = None;
        let (status, body) = match self.outcome.end {
            End::Deny(refused) => refusal(&account, refused, &receipt),
            End::Disclose(disclosed) => (200, disclosure(&account, disclosed, &receipt, stamp, None)?),
            End::Fail { code, detail } => {
                let mut problem = code.problem(&detail, Some(account.request.exchange.as_str()));
                problem.insert("receipt".into(), receipt);
                (code.status(), json::canonical(&Value::Object(problem)))
            }
            End::Fetch { next, .. } => (200, fetched(&account, self.deliveries, next, (&receipt, stamp))?),
            End::Push { consigned, .. } => {
                correlation = Some(account.request.exchange.clone());
                pushed(&account, &consigned, &self.also, receipt)
            }
            End::Register { status, mut body, .. } => {
                if status == 202 {
                    let push = body.get("push").and_then(Value::as_str);
                    correlation = push.and_then(|push| push.parse().ok());
                }
                body.insert("receipt".into(), receipt);
                (status, json::canonical(&Value::Object(body)))
            }
            End::Report { mut body } => {
                let sealed = report_jws(&account, body.get("report"), stamp)?;
                body.insert("report_jws".into(), Value::String(sealed));
                body.insert("receipt".into(), receipt);
                (200, json::canonical(&Value::Object(body)))
            }
            End::Signals { told, after, more, .. } => {
                let page = Page { told, after, more };
                page.written(&account.request.exchange, &self.also, receipt)
            }
            End::Statistics { told, counted, .. } => {
                (200, told.written(&account, (&counted, &self.also), (receipt, stamp))?)
            }
        };
        let mut answer = sign_body(account, (status, body), outcome, code, stamp)?;
        // NONBLOCK_PUSH_REST: what the sender asks for it by later.
        answer.headers.extend(correlation.map(|push| ("x-correlation-id".to_owned(), push.to_string())));
        Ok(answer)
    }
}

/// Signs a body as the answer to the request it answers.
pub(super) fn sign_body(
    account: Account,
    (status, body): (u16, String),
    outcome: &'static str,
    code: Option<Code>,
    stamp: &Stamp<'_>,
) -> Result<Answer, SignError> {
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

/// 202 when a copy for at least one recipient waits; otherwise a refusal that says why for each.
fn pushed(
    account: &Account,
    consigned: &[Consigned],
    also: &[(Receipt, Branch)],
    receipt: Value,
) -> (u16, String) {
    let said = consigned.iter().zip(also);
    let recipients = said.map(|(one, (receipt, branch))| one.said(&json!(receipt.to_text()), *branch));
    let recipients: Value = recipients.collect();
    let exchange = &account.request.exchange;
    let mut body = if consigned.iter().any(Consigned::is_kept) {
        Map::from_iter([
            ("push".to_owned(), json!(exchange)),
            ("exchange".to_owned(), json!(exchange)),
            ("accepted".to_owned(), json!(account.request.at)),
        ])
    } else {
        let detail = "nothing may be released to any of the recipients";
        Code::ExchangeDenied.problem(detail, Some(exchange.as_str()))
    };
    if let Some(policy) = &account.policy {
        body.insert("policy".into(), json!({ "version": policy.version, "sha256": policy.sha256 }));
    }
    body.insert("recipients".into(), recipients);
    body.insert("receipt".into(), receipt);
    let status = if body.contains_key("push") { 202 } else { Code::ExchangeDenied.status() };
    (status, json::canonical(&Value::Object(body)))
}

/// The copies that the log has proved, each with its own receipt.
fn fetched(
    account: &Account,
    deliveries: Vec<Released>,
    next: Option<ExchangeId>,
    (receipt, stamp): (&Value, &Stamp<'_>),
) -> Result<String, SignError> {
    let mut documents = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match delivery {
            Released::Logged(logged) => documents.push(logged.write(stamp)?.document),
            Released::Overtaken => {}
        }
    }
    Ok(json::object(&[
        ("deliveries", &format!("[{}]", documents.join(","))),
        ("exchange", &json::canonical(&json!(account.request.exchange))),
        ("next", &json::canonical(&json!(next))),
        ("receipt", &json::canonical(receipt)),
    ]))
}

/// What a household's answer says of one member, in the form of a single answer where something is disclosed.
pub(super) fn member(logged: LoggedOutcome, stamp: &Stamp<'_>) -> Result<String, SignError> {
    let receipt = Value::String(logged.receipt.to_text());
    let account = logged.outcome.account;
    let left = |outcome: &str, code: Option<Code>| {
        let mut body = Map::new();
        body.insert("outcome".into(), json!(outcome));
        body.insert("exchange".into(), json!(account.request.exchange));
        body.insert("receipt".into(), receipt.clone());
        body.extend(code.map(|code| ("code".to_owned(), json!(code.text()))));
        json::canonical(&Value::Object(body))
    };
    match logged.outcome.end {
        End::Disclose(disclosed) => disclosure(&account, disclosed, &receipt, stamp, Some("disclosed")),
        // The provider could not be asked: nothing of the person is told by that.
        End::Fail { code, .. } => Ok(left("failed", Some(code))),
        End::Deny(_)
        | End::Fetch { .. }
        | End::Push { .. }
        | End::Register { .. }
        | End::Report { .. }
        | End::Signals { .. }
        | End::Statistics { .. } => Ok(left("left_out", None)),
    }
}

/// The report as a compact JWS with the gateway's seal: to be kept, and checked years later without the exchange.
fn report_jws(account: &Account, report: Option<&Value>, stamp: &Stamp<'_>) -> Result<String, SignError> {
    let claims = json!({
        "aud": account.request.sender.agency,
        "iat": stamp.now.seconds(),
        "iss": stamp.gateway,
        "jti": account.request.exchange,
        "report": report,
    });
    Ok(wire::record_jws(&json::canonical(&claims), stamp.seal)?)
}

/// The record is serialised once and placed into both the answer and the record's own JWS as text.
fn disclosure(
    account: &Account,
    disclosed: Disclosed,
    receipt: &Value,
    stamp: &Stamp<'_>,
    outcome: Option<&str>,
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
    let outcome = outcome.map(|outcome| json::canonical(&json!(outcome)));
    let fields = json::canonical(&Value::Array(disclosed.fields));
    let (receipt, record_jws) = (json::canonical(receipt), json::canonical(&Value::String(record_jws)));
    let mut members = vec![("exchange", exchange.as_str()), ("fields", fields.as_str())];
    members.extend(outcome.as_ref().map(|outcome| ("outcome", outcome.as_str())));
    members.extend([
        ("policy", policy.as_str()),
        ("receipt", receipt.as_str()),
        ("record", disclosed.record.as_str()),
        ("record_jws", record_jws.as_str()),
    ]);
    Ok(json::object(&members))
}

//! From the gateway's signed question to a local program's plain answer, and back under our seal.
//!
//! Speaks the agency JSON protocol (`docs/agency-protocol.md`) in the name of software that has no keys.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::Value;
use varco_core::code::Code;
use varco_core::json;
use varco_core::wire::{self, AnswerClaims, Evidence, Expectation, Message, Rules, VerifiedMessage};

use super::client::{Answer, Call};
use super::outward::{ASSURANCE, LOCATION, OPERATOR};
use super::{Agent, Keys};
use crate::config::agent::Answers;
use crate::http::problem::{MEDIA_TYPE, Problem};
use crate::server::Peer;

/// A question names one person and a hundred fields; a delivery carries a record.
const BODY_MAX: usize = 1024 * 1024;
const JSON: &str = "application/json";

/// `{base}/records/{record_type}` and `{base}/deliveries`, whatever the base is called.
pub fn routes(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/varco/v1/records/{record_type}", post(answer))
        .route("/varco/v1/deliveries", post(answer))
        .fallback(async || Problem::new(Code::HttpNotFound))
        .method_not_allowed_fallback(async || Problem::new(Code::HttpMethod))
        .with_state(agent)
}

async fn answer(State(agent): State<Arc<Agent>>, request: Request) -> Response {
    let keys = agent.keys.load_full();
    let Some(answers) = &agent.settings.answers else {
        return Problem::new(Code::HttpNotFound).into_response();
    };
    match relay(&agent, &keys, answers, request).await {
        Ok(response) => response,
        // Nobody we know, or nothing we could ask: not sealed, and no more than a code.
        Err(problem) => {
            tracing::warn!(code = problem.code().text(), "a question got no sealed answer");
            problem.for_anyone().into_response()
        }
    }
}

async fn relay(agent: &Agent, keys: &Keys, answers: &Answers, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    // Any certificate of the authority gets this far; only the gateway's key gets an answer.
    let known = |peer: &Arc<Peer>| keys.gateway_channels.contains(&peer.identity.key);
    if !head.extensions.get::<Arc<Peer>>().is_some_and(known) {
        return Err(Problem::new(Code::WireUnknownSender));
    }
    let body = to_bytes(body, BODY_MAX).await.map_err(|_| Problem::new(Code::HttpTooLarge))?;
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        value.to_str().ok().map(|value| (name.as_str().to_owned(), value.to_owned()))
    };
    let message = Message { headers: head.headers.iter().filter_map(text).collect(), body: body.to_vec() };
    let (verified, evidence) = agent.verify(keys, answers, &message)?;
    let path = head.uri.path().strip_prefix("/varco/v1").unwrap_or_default();
    let call = Call {
        method: Method::POST,
        url: format!("{}{path}", answers.url),
        message: Message { headers: plain(&message, &evidence), body: message.body },
        timeout: answers.timeout,
    };
    let (status, body) = agent.local_answer(call).await?;
    agent.sealed(keys, status, body, &verified)
}

/// The headers that a local program reads: who asks, as the gateway vouches for it.
fn plain(message: &Message, evidence: &Evidence) -> Vec<(String, String)> {
    let content_type = message.values("content-type").next().unwrap_or(JSON);
    let key = message.values("idempotency-key").next();
    let key = key.map(|key| ("idempotency-key".to_owned(), key.to_owned()));
    let named = [
        ("content-type".to_owned(), content_type.to_owned()),
        ("accept".to_owned(), JSON.to_owned()),
        (OPERATOR.to_owned(), evidence.operator.to_string()),
        (LOCATION.to_owned(), evidence.location.clone()),
        (ASSURANCE.to_owned(), evidence.loa.text().to_owned()),
    ];
    named.into_iter().chain(key).collect()
}

impl Agent {
    fn verify(
        &self,
        keys: &Keys,
        answers: &Answers,
        message: &Message,
    ) -> Result<(VerifiedMessage, Evidence), Problem> {
        let now = (self.clock)();
        let audiences = [answers.audience.clone()];
        let expectation = Expectation { audiences: &audiences, now, rules: Rules::default() };
        let verified = wire::verify_request(message, &expectation, &keys.seals)
            .map_err(|error| Problem::new(error.code()))?;
        let gateways = keys.gateway_seals.contains(&verified.seal.key);
        if !gateways || verified.issuer != self.settings.gateway.issuer {
            return Err(Problem::new(Code::WireUnknownSender));
        }
        // Only once the signature is known to be good: nobody else can use up an identifier.
        self.seen
            .enter(&verified.replay.1, verified.expires, now)
            .map_err(|_| Problem::new(Code::WireReplayed))?;
        let evidence = verified.evidence.clone();
        Ok((verified, evidence))
    }

    /// What the local program says. A failure of its own is told to the gateway as one.
    async fn local_answer(&self, call: Call) -> Result<(StatusCode, Vec<u8>), Problem> {
        let (asked, delivery) = (call.message.body.clone(), call.url.ends_with("/deliveries"));
        let answer = self.local.send(call).await.map_err(|error| {
            tracing::error!(error = crate::cli::reasons(&error), "the local system gave no answer");
            Problem::new(Code::AgentLocal)
        })?;
        let told = if delivery { taken_over(answer.status) } else { record(&answer, &asked) };
        told.map_err(|what| {
            tracing::error!(status = answer.status, what, "the local system's answer cannot be used");
            Problem::new(Code::AgentLocal)
        })
    }

    fn sealed(
        &self,
        keys: &Keys,
        status: StatusCode,
        body: Vec<u8>,
        request: &VerifiedMessage,
    ) -> Result<Response, Problem> {
        let media_type = if status.is_success() { JSON } else { MEDIA_TYPE };
        let claims = AnswerClaims {
            issuer: self.settings.agency.to_string(),
            audience: request.issuer.clone(),
            content_type: Some(media_type.to_owned()),
            request_digest: request.digest,
        };
        let internal = || Problem::new(Code::Internal);
        let jti = self.jti().map_err(|_| internal())?;
        let headers = wire::sign_response(&body, &claims, &keys.signer, (self.clock)(), &jti)
            .map_err(|_| internal())?;
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        for (name, value) in headers {
            let name = HeaderName::try_from(name).map_err(|_| internal())?;
            response.headers_mut().append(name, HeaderValue::try_from(value).map_err(|_| internal())?);
        }
        if !response.headers().contains_key(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        Ok(response)
    }
}

/// A record, or that there is no such person.
fn record(answer: &Answer, question: &[u8]) -> Result<(StatusCode, Vec<u8>), &'static str> {
    match answer.status {
        200 => {
            let body = json::parse(&answer.message.body).map_err(|_| "it is not JSON")?;
            match unasked(&body, question) {
                0 => Ok((StatusCode::OK, answer.message.body.clone())),
                _ => Err("it holds fields that were not asked for"),
            }
        }
        404 => Ok((StatusCode::NOT_FOUND, problem(404, "no record of this person"))),
        _ => Err("expected 200 or 404"),
    }
}

/// Whether a delivery was taken over: now (201), before (200), or never (4xx). Anything else means to try again.
fn taken_over(status: u16) -> Result<(StatusCode, Vec<u8>), &'static str> {
    match status {
        200 => Ok((StatusCode::OK, b"{}".to_vec())),
        201..=299 => Ok((StatusCode::CREATED, b"{}".to_vec())),
        408 | 425 | 429 => Err("it asks to try again"),
        400..=499 => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            Ok((status, problem(status.as_u16(), "the system does not take this delivery")))
        }
        _ => Err("expected 200, 201, 204 or 4xx"),
    }
}

fn problem(status: u16, title: &str) -> Vec<u8> {
    serde_json::json!({ "status": status, "title": title }).to_string().into_bytes()
}

/// How many fields of a record nobody asked for. What leaves the agency is never more than the question.
fn unasked(answer: &Value, question: &[u8]) -> usize {
    let Ok(question) = json::parse(question) else { return 0 };
    let Some(fields) = question.get("fields").and_then(Value::as_array) else { return 0 };
    let Some(record) = answer.get("record").and_then(Value::as_object) else { return 0 };
    let asked = |name: &str| {
        let mut roots = fields.iter().filter_map(Value::as_str).filter_map(|field| field.split('.').next());
        roots.any(|root| root == name)
    };
    record.keys().filter(|name| !asked(name)).count()
}

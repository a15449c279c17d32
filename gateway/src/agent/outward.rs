//! From a local program's plain call to a signed one, and back: only what the gateway sealed is handed on.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use varco_core::code::Code;
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::log::proof::Receipt;
use varco_core::wire::{
    self, Evidence, Expectation, LOCATION_MAX, Message, RequestClaims, Rules, VerifiedAnswer,
};

use super::client::{Answer, Call};
use super::{Agent, Keys};
use crate::http::exchange::BASE;
use crate::http::problem::Problem;

/// The local program's operator: the agency's stable code of whoever asks. Required with every call that is signed.
pub const OPERATOR: &str = "varco-operator";
/// Where they sit, when it is not what the configuration says.
pub const LOCATION: &str = "varco-location";
/// How well they were authenticated: `low`, `substantial`, `high`.
pub const ASSURANCE: &str = "varco-assurance";
/// In answers: the organization whose seal was good, or `none` for what the gateway does not seal.
pub const SEALED: &str = "varco-sealed";

/// From the first packet to the last byte of the answer: a provider may take ten seconds, the gateway adds little.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(30);
/// What the gateway takes.
const BODY_MAX: usize = 256 * 1024;
/// What the gateway answers without a seal: nothing of it concerns a person, or it proves itself.
const UNSEALED: [&str; 5] = ["/status", "/openapi.yaml", "/registry", "/log/", "/exchanges/"];
/// Of the gateway's headers, those that mean something to a local program.
const HANDED_ON: [&str; 8] = [
    "cache-control",
    "content-type",
    "location",
    "retry-after",
    "x-correlation-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

/// Every path of the gateway's API, as it is there.
pub fn routes(agent: Arc<Agent>) -> Router {
    Router::new().fallback(forward).with_state(agent)
}

async fn forward(State(agent): State<Arc<Agent>>, request: Request) -> Response {
    match carry(&agent, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn carry(agent: &Agent, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    agent.admit(&head.headers)?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with(&format!("{BASE}/")) {
        let detail = format!("the agent carries calls under {BASE}");
        return Err(Problem::new(Code::HttpNotFound).detail(detail));
    }
    if head.method != Method::GET && head.method != Method::POST {
        return Err(Problem::new(Code::HttpMethod));
    }
    let evidence = agent.evidence(&head.headers)?;
    let content_type = match (&head.method, head.headers.get(CONTENT_TYPE)) {
        (&Method::POST, None) => Some("application/json".to_owned()),
        (_, given) => given.and_then(|value| value.to_str().ok()).map(str::to_owned),
    };
    let body = to_bytes(body, BODY_MAX).await.map_err(|_| Problem::new(Code::HttpTooLarge))?;
    let ask = Ask { method: head.method, path: path.to_owned(), content_type, body: body.to_vec() };
    let (sealed, answer) = agent.ask(ask, evidence).await?;
    Ok(response(answer, sealed))
}

/// A call as a local program means it.
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// Whose seal an answer has.
pub enum Sealed {
    By(Option<String>),
    /// What the gateway answers without a seal: see [`UNSEALED`], and refusals before it knows who asks.
    No,
}

impl Agent {
    /// Lets a local program in: with the token, where one is set.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return Ok(()) };
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // Hashes are compared, so that the time it takes says nothing about the token.
        match shown {
            Some(shown) if Sha256::of(shown) == Sha256::of(token.as_bytes()) => Ok(()),
            Some(_) | None => Err(Problem::new(Code::AgentToken)),
        }
    }

    fn evidence(&self, headers: &HeaderMap) -> Result<Evidence, Problem> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let wrong = |detail: String| Problem::new(Code::AgentOperator).detail(detail);
        let operator = text(OPERATOR).ok_or_else(|| wrong(format!("`{OPERATOR}` is missing")))?;
        let operator = operator.parse().map_err(|fault| wrong(format!("`{OPERATOR}`: {fault}")))?;
        let location = text(LOCATION).map(str::to_owned).or_else(|| self.settings.local.location.clone());
        let location = location
            .filter(|location| !location.is_empty() && location.chars().count() <= LOCATION_MAX)
            .ok_or_else(|| {
                wrong(format!("`{LOCATION}` is missing, and the configuration has no `local.location`"))
            })?;
        let loa = match text(ASSURANCE) {
            Some(text) => text.parse().map_err(|fault| wrong(format!("`{ASSURANCE}`: {fault}")))?,
            None => self.settings.local.assurance,
        };
        Ok(Evidence { operator, location, loa })
    }

    /// Signs, sends, and checks what comes back. An answer that must be sealed and is not goes no further.
    pub async fn ask(&self, ask: Ask, evidence: Evidence) -> Result<(Sealed, Answer), Problem> {
        let keys = self.keys.load_full();
        let gateway = &self.settings.gateway;
        let claims = RequestClaims {
            issuer: self.settings.agency.to_string(),
            audience: gateway.audience.clone(),
            content_type: ask.content_type,
            evidence,
        };
        let digest = Sha256::of(&ask.body);
        let headers = wire::sign_request(&ask.body, &claims, &keys.signer, (self.clock)(), &self.jtis())
            .map_err(|_| Problem::new(Code::Internal))?;
        let plain = ask.path.strip_prefix(BASE).unwrap_or_default().to_owned();
        let call = Call {
            method: ask.method,
            url: format!("{}{}", gateway.url, ask.path),
            message: Message { headers, body: ask.body },
            timeout: GATEWAY_TIMEOUT,
        };
        let answer = keys.client.send(call).await.map_err(|error| {
            tracing::warn!(error = crate::cli::reasons(&error), "the gateway gave no answer");
            Problem::new(Code::AgentGateway).detail(error.to_string())
        })?;
        let sealed = self.check(&keys, &answer, &plain, &digest).map_err(|what| {
            tracing::warn!(what, status = answer.status, "an answer of the gateway was not handed on");
            Problem::new(Code::AgentAnswer).detail(what)
        })?;
        Ok((sealed, answer))
    }

    fn check(&self, keys: &Keys, answer: &Answer, path: &str, request: &Sha256) -> Result<Sealed, String> {
        if answer.message.values(wire::SIGNATURE).next().is_none() {
            let open = UNSEALED.iter().any(|open| path.starts_with(open));
            return match open || answer.status >= 400 {
                true => Ok(Sealed::No),
                false => Err("it is not sealed".to_owned()),
            };
        }
        let audiences = [self.settings.agency.to_string()];
        let expectation = Expectation { audiences: &audiences, now: (self.clock)(), rules: Rules::default() };
        let verified = wire::verify_response(&answer.message, &expectation, request, &keys.seals)
            .map_err(|error| error.to_string())?;
        if !keys.gateway_seals.contains(&verified.seal.key) {
            return Err("it is sealed with a key that is not the gateway's".to_owned());
        }
        self.check_receipt(&answer.message.body)?;
        let VerifiedAnswer { seal, .. } = verified;
        Ok(Sealed::By(seal.organization.map(|organization| organization.to_string())))
    }

    /// Where the configuration names the log, an answer must prove that it was entered there, and under its own name.
    fn check_receipt(&self, body: &[u8]) -> Result<(), String> {
        let Some(log) = &self.log else { return Ok(()) };
        let body = json::parse(body).map_err(|error| error.to_string())?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let receipt = text("receipt").ok_or("it has no receipt of the log")?;
        let receipt = Receipt::parse(receipt.as_bytes()).map_err(|fault| fault.to_string())?;
        log.check(&receipt).map_err(|fault| fault.to_string())?;
        let named = text("exchange").or_else(|| text("instance")).unwrap_or_default();
        if named.trim_start_matches("urn:uuid:") == receipt.leaf.content().id.as_str() {
            Ok(())
        } else {
            Err("its receipt is of another exchange".to_owned())
        }
    }
}

fn response(answer: Answer, sealed: Sealed) -> Response {
    let mut response = Response::new(Body::from(answer.message.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    for (name, value) in answer.message.headers {
        if !HANDED_ON.contains(&name.as_str()) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let sealed = match sealed {
        Sealed::By(Some(organization)) => HeaderValue::try_from(organization).ok(),
        Sealed::By(None) => Some(HeaderValue::from_static("pinned")),
        Sealed::No => Some(HeaderValue::from_static("none")),
    };
    headers.insert(SEALED, sealed.unwrap_or(HeaderValue::from_static("pinned")));
    response
}

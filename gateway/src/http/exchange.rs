//! The routes of the exchange listener. Whatever concerns a person leads into `inbound::answer` and nowhere else.

use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, LOCATION};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use varco_core::code::Code;
use varco_core::exchange::{Answer, Incoming};
use varco_core::registry::{Identity, Side};
use varco_core::wire::Message;

use super::problem::Problem;
use super::{admin, alerts, auditor, incidents, orders, public, receipt, search, shards, status, timestamps};
use crate::app::App;
use crate::inbound::{self, Call, Unanswered};
use crate::server::Peer;
use crate::telemetry::{Trace, metrics, observe};

/// The base of the API. The number changes only when something an agency relies on does; the old one then goes on
/// for at least twelve months (docs/versioning.md).
pub const BASE: &str = "/rest/varco/v1";

pub fn routes(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/pulls", post(all(|| Call::Pull)))
        .route("/pulls/household", post(all(|| Call::Household)))
        .route("/pushes", post(all(|| Call::Push)))
        .route("/pushes/{id}", get(one(Call::ReadPush)))
        .route("/inbox", get(page(Call::Inbox)))
        .route("/inbox/{id}/ack", post(one(Call::AcknowledgeDelivery)))
        .route("/appeals", get(all(|| Call::Appeals)).post(all(|| Call::FileAppeal)))
        .route("/appeals/{id}", get(one(Call::ReadAppeal)))
        .route("/appeals/{id}/events", post(one(Call::AppealEvent)))
        .route("/consents", post(all(|| Call::OpenConsent)))
        .route("/consents/search", post(all(|| Call::SearchConsents)))
        .route("/consents/withdrawals", post(all(|| Call::Withdraw)))
        .route("/consents/{id}", get(one(Call::ReadConsent)))
        .route("/consents/{id}/events", post(one(Call::ConsentEvent)))
        .route("/cases", post(all(|| Call::OpenCase)))
        .route("/cases/{id}", get(one(Call::ReadCase)))
        .route("/cases/{id}/events", post(one(Call::CaseEvent)))
        .route("/restrictions", post(all(|| Call::Restrict)))
        .route("/restrictions/search", post(all(|| Call::SearchRestrictions)))
        .route("/restrictions/{id}/events", post(one(Call::Lift)))
        .route("/notices", get(all(|| Call::Notices)))
        .route("/notices/{id}/ack", post(one(Call::Acknowledge)))
        .route("/notices/{id}/review", post(one(Call::Review)))
        .route("/signals", get(page(Call::Signals)).post(all(|| Call::Signal)))
        .route("/statistics", post(all(|| Call::Statistics)))
        .route("/subscriptions", get(page(Call::Subscriptions)).post(all(|| Call::Subscribe)))
        .route("/subscriptions/{id}/end", post(one(Call::EndSubscription)))
        .route("/subjects/report", post(all(|| Call::Report)))
        .route("/corrections", post(all(|| Call::Correct)))
        .route("/exchanges/{id}/receipt", get(receipt::receipt))
        .route("/log/checkpoint", get(public::checkpoint))
        .route("/log/tile/entries/{*bundle}", get(auditor::entries))
        .route("/log/tile/{*tile}", get(public::hashes))
        .route("/log/bodies/{*bundle}", get(auditor::bodies))
        .route("/log/shards", get(shards::list))
        .route("/log/{year}/checkpoint", get(shards::checkpoint))
        .route("/log/{year}/tile/entries/{*bundle}", get(auditor::entries_of))
        .route("/log/{year}/tile/{*tile}", get(shards::hashes))
        .route("/log/{year}/bodies/{*bundle}", get(auditor::bodies_of))
        .route("/log/orders", post(orders::apply))
        .route("/log/search", post(search::search))
        .route("/log/alerts", get(alerts::alerts))
        .route("/log/incidents", post(incidents::incidents))
        .route("/log/timestamps", get(timestamps::list))
        .route("/log/timestamps/{size}/{authority}", get(timestamps::one))
        .route("/registry", get(admin::registry).post(admin::apply_registry))
        .route("/policies", post(admin::apply_policy))
        .route("/suspensions", post(admin::suspend))
        .route("/status", get(status::status))
        .route("/openapi.yaml", get(status::openapi));
    Router::new()
        .nest(BASE, api)
        .layer(axum::middleware::from_fn(observe))
        .fallback(async || Problem::new(Code::HttpNotFound))
        .method_not_allowed_fallback(async || Problem::new(Code::HttpMethod))
        .with_state(app)
}

type Shared = State<Arc<App>>;

type Carried = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The handler of a path that names nothing.
fn all(call: fn() -> Call) -> impl Fn(Shared, Received) -> Carried + Clone + Send + Sync + 'static {
    move |app, sent| Box::pin(sent.carry(app, Ok(call())))
}

/// The handler of a path that names one case, consent, restriction or notice.
fn one<T>(call: fn(T) -> Call) -> impl Fn(Shared, Named, Received) -> Carried + Clone + Send + Sync + 'static
where
    T: FromStr + 'static,
{
    move |app, id, sent| Box::pin(sent.carry(app, id.parse().map(call)))
}

/// The handler of a list: where its page begins and how long it is stand in the query, and say nothing of a person.
fn page<T>(
    call: fn(T) -> Call,
) -> impl Fn(Shared, Asked<T>, Received) -> Carried + Clone + Send + Sync + 'static
where
    T: DeserializeOwned + Send + 'static,
{
    let wrong = |_| Problem::new(Code::HttpBadRequest).detail("expected `after` and `limit`, or neither");
    move |app, page, sent| Box::pin(sent.carry(app, page.map(|Query(page)| call(page)).map_err(wrong)))
}

type Asked<T> = Result<Query<T>, QueryRejection>;

/// An identifier in a path: of a case or a consent, never of a person.
struct Named(String);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Code::HttpNotFound))?;
        Ok(Self(text))
    }
}

impl Named {
    fn parse<T: FromStr>(&self) -> Result<T, Problem> {
        self.0
            .parse()
            .map_err(|_| Problem::new(Code::HttpNotFound).detail("the path names no such identifier"))
    }
}

/// A whole request from an authenticated channel. Without one, no handler that takes it is reached.
pub struct Received {
    pub channel: Identity,
    method: Method,
    message: Message,
}

impl<S: Send + Sync> FromRequest<S> for Received {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let peer =
            request.extensions().get::<Arc<Peer>>().cloned().ok_or_else(|| Problem::new(Code::Internal))?;
        let method = request.method().clone();
        let mut headers = Vec::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            // Header values are ASCII wherever we look at them; one that is not cannot match anything signed.
            headers.push((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        }
        let body =
            Bytes::from_request(request, state).await.map_err(|_| Problem::new(Code::HttpBadRequest))?;
        Ok(Self { channel: peer.identity.clone(), method, message: Message { headers, body: body.to_vec() } })
    }
}

impl Received {
    /// The bytes of the body.
    pub fn body(&self) -> &[u8] {
        &self.message.body
    }

    async fn carry(self, State(app): Shared, call: Result<Call, Problem>) -> Response {
        let call = match call {
            Ok(call) => call,
            Err(problem) => return problem.into_response(),
        };
        if self.method == Method::POST && !self.is_json() {
            return Problem::new(Code::HttpUnsupportedMedia).into_response();
        }
        let now = app.now();
        let carrier =
            app.in_force.load().registry.recognise(&self.channel, Side::Channel, now).map(|a| a.id.clone());
        let Some(carrier) = carrier else {
            return Problem::new(Code::WireUnknownSender).into_response();
        };
        let allowance = match app.limiter.agency(&carrier) {
            Ok(allowance) => allowance,
            Err(exceeded) => return exceeded.problem().into_response(),
        };
        let exchange = app.new_exchange(now);
        let incoming = Incoming { message: self.message, channel: self.channel, exchange: exchange.clone() };
        let name = call.name();
        let mut response = match inbound::answer(&app, call, incoming).await {
            Ok(answer) => response(answer),
            Err(unanswered) => {
                let code = unanswered.code();
                tracing::warn!(target: "varco::security", agency = %carrier, exchange = %exchange, call = name,
                    code = code.text(), cause = %unanswered, "a request got no signed answer");
                problem(&unanswered).instance(exchange.as_str()).into_response()
            }
        };
        allowance.write(response.headers_mut());
        response.extensions_mut().insert(Trace { consumer: Some(carrier), exchange: Some(exchange) });
        response
    }

    fn is_json(&self) -> bool {
        let media = |value: &str| {
            value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
        };
        self.message.values("content-type").any(media)
    }
}

fn response(answer: Answer) -> Response {
    metrics::exchange(answer.outcome);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        // Names and values were made by us, of ASCII.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // NONBLOCK_PULL_REST: where to ask how far it has come.
    let push = headers.get("x-correlation-id").and_then(|push| push.to_str().ok());
    if let Some(Ok(at)) = push.map(|push| HeaderValue::try_from(format!("{BASE}/pushes/{push}"))) {
        headers.insert(LOCATION, at);
    }
    if let Some(code) = answer.code {
        response.extensions_mut().insert(code);
    }
    response
}

/// What a peer with a good certificate may know of why it gets no signed answer.
fn problem(unanswered: &Unanswered) -> Problem {
    let problem = Problem::new(unanswered.code());
    match unanswered {
        Unanswered::Exceeded(exceeded) => exceeded.problem(),
        Unanswered::Verify(error) => problem.detail(error.to_string()),
        Unanswered::Append(_)
        | Unanswered::Claim(_)
        | Unanswered::NoQuorum
        | Unanswered::Release(_)
        | Unanswered::Sign(_)
        | Unanswered::Token(_) => problem,
    }
}

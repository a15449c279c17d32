//! What the gateway tells its operator: structured logs and metrics.
//!
//! Neither ever holds a value of a record, a token or a codice fiscale. Three things see to it: personal values have
//! no text form, metrics take only types that cannot hold one, and what other crates say is heard only from warnings
//! up. Behind them stands a net: whatever looks like a token or a codice fiscale is struck out on its way to the log.

use std::io;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use varco_core::code::Code;
use varco_core::id::{AgencyId, ExchangeId};

use crate::server::RemoteAddress;

pub mod metrics;
pub mod redact;
#[cfg(test)]
mod tests;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub format: Format,
    pub level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The least grave events that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Error,
    Info,
    Warn,
}

impl Level {
    pub const EXPECTED: &str = "expected one of `error`, `warn`, `info`, `debug`";

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "debug" => Some(Self::Debug),
            "error" => Some(Self::Error),
            "info" => Some(Self::Info),
            "warn" => Some(Self::Warn),
            _ => None,
        }
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Error => LevelFilter::ERROR,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Text, level: Level::Info }
    }
}

/// Logs were started already in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("logging was already started")]
pub struct StartError;

/// Starts writing logs to standard error, once in a process.
pub fn start(settings: Settings) -> Result<(), StartError> {
    subscriber(settings, io::stderr).try_init().map_err(|_| StartError)
}

fn subscriber<W>(settings: Settings, to: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Other crates may log what they were given; only their warnings are worth the risk.
    let level = settings.level.filter();
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("varco", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(redact::Redacting(to)).with_ansi(false);
    let registry = tracing_subscriber::registry().with(targets);
    match settings.format {
        Format::Json => Box::new(registry.with(layer.json().flatten_event(true))),
        Format::Text => Box::new(registry.with(layer)),
    }
}

/// What a route knows of a request and the log line needs. Routes put it into the extensions of their response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub consumer: Option<AgencyId>,
    pub exchange: Option<ExchangeId>,
}

/// Counts, times and logs a request (RAC_GEN_LOG_01). Put it around the router's routes:
/// `router.layer(axum::middleware::from_fn(telemetry::observe))`.
///
/// The route's pattern is logged rather than the address, and no header.
pub async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let remote = request.extensions().get::<RemoteAddress>().map(|address| address.0.ip().to_string());
    let response = next.run(request).await;
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let code = response.extensions().get::<Code>().map(|code| code.text());
    let trace = response.extensions().get::<Trace>();
    let duration = started.elapsed();
    metrics::request(route, response.status(), code, duration);
    tracing::info!(
        http.method = method.as_str(),
        http.route = route,
        http.status = response.status().as_u16(),
        client.address = remote,
        agency.id = trace.and_then(|trace| trace.consumer.as_ref()).map(AgencyId::as_str),
        exchange.id = trace.and_then(|trace| trace.exchange.as_ref()).map(ExchangeId::as_str),
        code,
        duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

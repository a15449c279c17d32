//! Numbers for Prometheus. Labels come from short closed lists, never from what a peer sends.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use varco_core::id::AgencyId;
use varco_core::time::Timestamp;

use crate::tasks::Stop;
use crate::tls::{Revocation, Status};

/// Upper bounds of the duration histograms, in seconds: a millisecond is a fast exchange, ten seconds a lost one.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Upper bounds of the histogram of entries committed together.
const ENTRIES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];
/// Histograms gather samples until they are summed up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Why metrics cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("metrics were already started")]
    Again,
    #[error("the bounds of a histogram are wrong")]
    Bounds(#[from] metrics_exporter_prometheus::BuildError),
}

/// Starts counting, once in a process. Before that, counting costs nothing and is lost.
pub fn start() -> Result<Metrics, StartError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("varco_log_batch_entries".to_owned()), &ENTRIES)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| StartError::Again)?;
    describe();
    Ok(Metrics { handle })
}

fn describe() {
    describe_counter!("varco_requests_total", "Requests that reached a route, by route and status");
    describe_histogram!("varco_request_duration_seconds", Unit::Seconds, "Time from request to answer");
    describe_counter!("varco_requests_refused_total", "Requests refused before any route, by code");
    describe_counter!("varco_connections_refused_total", "Connections refused, by reason");
    describe_gauge!("varco_connections", "Connections open");
    describe_counter!("varco_limit_exceeded_total", "Requests above a rate, of an agency or an operator");
    describe_counter!("varco_exchanges_total", "Exchanges by outcome");
    describe_counter!("varco_fetches_total", "Requests to agencies' systems, by agency and outcome");
    describe_histogram!("varco_fetch_duration_seconds", Unit::Seconds, "Time an agency's system took");
    describe_counter!("varco_parcels_total", "Steps of pushed copies: delivered, failed, cancelled, dead");
    describe_counter!(
        "varco_signals_total",
        "Change signals: accepted, refused; made, told or withheld, one for each subscription"
    );
    describe_counter!("varco_subscriptions_total", "Subscriptions: opened, refused, ended by their agency");
    describe_gauge!("varco_outbox_waiting", "Pushed copies that wait for their recipients");
    describe_gauge!("varco_outbox_oldest_seconds", "How long the oldest of them has waited");
    describe_gauge!("varco_outbox_dead", "Pushed copies that nobody took over, of the last month");
    describe_gauge!("varco_log_size", "Entries in the access log");
    describe_gauge!("varco_log_queue", "Entries that wait to be committed");
    describe_gauge!("varco_log_healthy", "1 if the access log can be written");
    describe_gauge!("varco_log_cosigned_size", "Entries that a quorum of witnesses has cosigned");
    describe_gauge!("varco_log_quorum_seconds", "When the quorum was last reached, in Unix time");
    describe_gauge!("varco_log_quorum_alarm", "1 if there was no quorum for too long");
    describe_histogram!("varco_log_batch_entries", "Entries committed together");
    describe_histogram!("varco_log_commit_duration_seconds", Unit::Seconds, "Time of one commit");
    describe_gauge!("varco_certificate_until_seconds", "When the server certificate ends, in Unix time");
    describe_gauge!(
        "varco_crl_until_seconds",
        "When an issuer's revocation list ends, in Unix time; 0 if missing"
    );
    describe_gauge!("varco_tls_reload_failed", "1 if the last reload of certificates or lists was refused");
}

impl Metrics {
    /// What Prometheus reads.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// `GET /metrics`, for a loopback listener of its own.
    pub fn router(&self) -> Router {
        let metrics = self.clone();
        let render = move || async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()) };
        Router::new().route("/metrics", get(render))
    }

    /// Sums up samples now and then, and calls `sample` for what must be asked for, until told to stop.
    pub async fn keep(self, sample: impl Fn(), mut stop: Stop) {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            tokio::select! {
                () = stop.called() => return,
                _ = ticks.tick() => {
                    sample();
                    self.handle.run_upkeep();
                }
            }
        }
    }
}

/// `route` is a route's pattern, `code` one of our codes.
pub fn request(route: &str, status: StatusCode, code: Option<&'static str>, duration: Duration) {
    let labels = [
        ("route", route.to_owned()),
        ("status", status.as_u16().to_string()),
        ("code", code.unwrap_or_default().to_owned()),
    ];
    counter!("varco_requests_total", &labels).increment(1);
    histogram!("varco_request_duration_seconds", "route" => route.to_owned()).record(duration);
}

/// `outcome` is `disclosed`, `denied` or `failed`.
pub fn exchange(outcome: &'static str) {
    counter!("varco_exchanges_total", "outcome" => outcome).increment(1);
}

/// `outcome` is `ok` or the text of a code.
pub fn fetch(provider: &AgencyId, outcome: &'static str, duration: Duration) {
    let provider = provider.as_str().to_owned();
    counter!("varco_fetches_total", "provider" => provider.clone(), "outcome" => outcome).increment(1);
    histogram!("varco_fetch_duration_seconds", "provider" => provider).record(duration);
}

/// `step` is `cancelled`, `dead`, `delivered` or `failed`.
pub fn parcel(step: &'static str) {
    counter!("varco_parcels_total", "step" => step).increment(1);
}

/// `step` is `accepted`, `made`, `refused`, `told` or `withheld`.
pub fn signals(step: &'static str, count: usize) {
    counter!("varco_signals_total", "step" => step).increment(u64::try_from(count).unwrap_or(u64::MAX));
}

/// `step` is `ended`, `opened` or `refused`.
pub fn subscription(step: &'static str) {
    counter!("varco_subscriptions_total", "step" => step).increment(1);
}

/// What waits for delivery, how long the oldest of it has, and what never will be.
pub fn outbox(waiting: u64, oldest: Option<Duration>, dead: u64) {
    gauge!("varco_outbox_waiting").set(number(waiting));
    gauge!("varco_outbox_oldest_seconds").set(oldest.unwrap_or_default().as_secs_f64());
    gauge!("varco_outbox_dead").set(number(dead));
}

/// One commit of the access log.
pub fn commit(entries: usize, duration: Duration) {
    histogram!("varco_log_batch_entries").record(u32::try_from(entries).unwrap_or(u32::MAX));
    histogram!("varco_log_commit_duration_seconds").record(duration);
}

/// The state of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogHealth {
    Healthy,
    Unavailable,
}

pub fn log_state(size: u64, queue: usize, health: LogHealth) {
    gauge!("varco_log_size").set(number(size));
    gauge!("varco_log_queue").set(number(u64::try_from(queue).unwrap_or(u64::MAX)));
    gauge!("varco_log_healthy").set(if health == LogHealth::Healthy { 1.0 } else { 0.0 });
}

/// Whether the quorum of witnesses has been missing for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumAlarm {
    Off,
    On,
}

impl From<bool> for QuorumAlarm {
    fn from(alarm: bool) -> Self {
        if alarm { Self::On } else { Self::Off }
    }
}

/// How it stands with the witnesses of the access log.
pub fn quorum(size: u64, reached: Timestamp, alarm: QuorumAlarm) {
    gauge!("varco_log_cosigned_size").set(number(size));
    gauge!("varco_log_quorum_seconds").set(number(u64::try_from(reached.seconds()).unwrap_or(0)));
    gauge!("varco_log_quorum_alarm").set(if alarm == QuorumAlarm::On { 1.0 } else { 0.0 });
}

/// The state of a listener's channel; `listener` is its name in the configuration.
pub fn channel(listener: &'static str, status: &Status) {
    let until = |at: Timestamp| number(u64::try_from(at.seconds()).unwrap_or(0));
    gauge!("varco_certificate_until_seconds", "listener" => listener).set(until(status.certificate_until));
    let failed = if status.fault.is_some() { 1.0 } else { 0.0 };
    gauge!("varco_tls_reload_failed", "listener" => listener).set(failed);
    for issuer in &status.issuers {
        let end = match issuer.revocation {
            Revocation::Current { until: at } | Revocation::Expired { since: at } => until(at),
            Revocation::Missing => 0.0,
        };
        gauge!("varco_crl_until_seconds", "issuer" => issuer.name.clone()).set(end);
    }
}

/// Exact up to 2^53: far above every count and every second of ours.
fn number(value: u64) -> f64 {
    let high = u32::try_from(value >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

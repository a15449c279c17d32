//! `GET /status` and `GET /openapi.yaml`: what may be said to every agency on the channel.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use varco_adapters::breaker::Circuit;
use varco_core::consent::{Ending, Warning};
use varco_core::time::Timestamp;
use varco_store::status::Health;

use super::problem::MEDIA_TYPE;
use crate::app::App;
use crate::policies::Version;
use crate::registers;
use crate::tls::Revocation;
use crate::witnesses::Quorum;

/// The contract, kept as a file so that it can be read and checked without running anything.
const OPENAPI: &str = include_str!("../../openapi.yaml");
/// A certificate that ends sooner is said to end soon: time enough to order another.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// The truth about this gateway, as ModI wants it: `application/problem+json`, status 200 when exchanges can be carried
/// out and 503 when they cannot.
pub async fn status(State(app): State<Arc<App>>) -> Response {
    let now = app.now();
    let (log, channel) = (app.store.status(), app.channel.status());
    let (healthy, why) = match &log.health {
        Health::Healthy => (true, None),
        Health::Closed(why) => (false, Some(why.clone())),
        Health::Slow(since) => (false, Some(format!("the batch in hand has taken {} ms", since.as_millis()))),
    };
    // The log's writer and those who read have connections of their own: one can be well without the other.
    let database = app.store.read().log().await;
    let healthy = healthy && database.is_ok();
    let backlog = app.store.read().backlog().await.unwrap_or_default();
    // An entry may not be older than the one before it, so a clock that was set back shows against the log.
    let behind = log.last_commit.map_or(0, |at| at.since(now).as_millis());
    let providers: Vec<Value> = app.sources.status().iter().map(provider).collect();
    let issuers = channel.issuers.iter().map(|issuer| {
        let revocations = match issuer.revocation {
            Revocation::Current { until } => json!({ "state": "current", "until": until }),
            Revocation::Expired { since } => json!({ "state": "expired", "since": since }),
            Revocation::Missing => json!({ "state": "missing" }),
        };
        json!({ "issuer": issuer.name, "revocations": revocations })
    });
    let (in_force, policy) = (app.in_force.load(), app.policy_at(now));
    let awaited: Vec<Value> = app.schedule.load().awaited(now).map(version).collect();
    let reviews = reviews(&app, now).await;
    let (current, epochs) = app.keys.load().epochs();
    let code = if healthy { 200 } else { 503 };
    let body = json!({
        "title": if healthy { "exchanges are carried out" } else { "exchanges cannot be carried out" },
        "status": code,
        "clock": { "now": now, "behind_log_ms": u64::try_from(behind).unwrap_or(u64::MAX) },
        "database": { "readable": database.is_ok() },
        "version": env!("CARGO_PKG_VERSION"),
        "deployment": in_force.registry.deployment,
        "registry": { "version": in_force.registry.version, "sha256": in_force.sha256 },
        "policy": {
            "version": policy.version(),
            "sha256": policy.sha256(),
            "awaited": awaited,
            "review": policy.review.map(|day| json!({ "ends": day, "warning": Warning::of(day, now), "overdue": day <= now })),
            "refused": *app.policy_refused.load_full(),
        },
        "agreement": Ending { ends: policy.agreement.until, warning: Warning::of(policy.agreement.until, now) },
        "log": { "healthy": healthy, "why": why, "size": log.entries, "last_commit": log.last_commit, "queue": log.queue },
        "outbox": { "waiting": backlog.waiting, "oldest": backlog.oldest, "dead": backlog.dead },
        "witnesses": app.witnesses.as_ref().map(|witnesses| quorum(&witnesses.quorum(now))),
        "channel": {
            "certificate_until": channel.certificate_until,
            "ends_soon": channel.certificate_until < now.plus(SOON),
            "issuers": issuers.collect::<Vec<_>>(),
            "reload_refused": channel.fault,
        },
        "reviews": reviews,
        "subject_keys": {
            "current": current, "epochs": epochs, "refused": *app.keys_refused.load_full(),
        },
        "seals": { "runs_out": app.seals.load().runs_out() },
        "providers": providers,
    });
    let status = axum::http::StatusCode::from_u16(code).unwrap_or_default();
    (status, [(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, "no-store")], body.to_string()).into_response()
}

/// The emergencies that wait for their review, each with its owner: they are told until the review is in the log.
async fn reviews(app: &App, now: Timestamp) -> Value {
    let Ok(waiting) = registers::unreviewed(app).await else { return Value::Null };
    let due = waiting.iter().filter_map(|served| {
        let emergency = served.notice.emergency.as_ref()?;
        Some((&served.notice, emergency.review_by))
    });
    let items: Vec<Value> = due
        .clone()
        .map(|(notice, by)| json!({ "owner": notice.to, "review_by": by, "overdue": by <= now }))
        .collect();
    json!({ "waiting": items.len(), "overdue": due.filter(|(_, by)| *by <= now).count(), "items": items })
}

fn version(version: &Version) -> Value {
    let policy = &version.bundle.policy;
    json!({ "version": policy.version(), "sha256": policy.sha256(), "from": version.from })
}

fn quorum(quorum: &Quorum) -> Value {
    let parties = quorum.parties.iter();
    let parties =
        parties.map(|party| json!({ "name": party.name, "cosigned": party.size, "fault": party.fault }));
    json!({
        "cosigned": quorum.cosigned,
        "reached": quorum.reached,
        "alarm": quorum.alarm,
        "witnesses": parties.collect::<Vec<_>>(),
    })
}

fn provider(status: &varco_adapters::Status) -> Value {
    let circuit = match status.circuit {
        Circuit::Closed => "closed",
        Circuit::Open => "open",
        Circuit::Probing => "probing",
    };
    json!({ "agency": status.agency, "circuit": circuit, "busy": status.busy })
}

/// The OpenAPI document of this version.
pub async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/yaml"), (CACHE_CONTROL, "max-age=300")], OPENAPI).into_response()
}

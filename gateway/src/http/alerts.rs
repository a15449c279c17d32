//! `GET /log/alerts`: what people must look at, the newest first. An auditor sees everything, an agency what its officers
//! must know.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use varco_core::code::Code;
use varco_core::registry::Side;
use varco_core::time::Timestamp;
use varco_store::kept::Told;

use super::auditor::auditor;
use super::problem::Problem;
use crate::app::App;
use crate::server::Peer;

/// Alerts in a page where none is said, and at most.
const PAGE: u64 = 50;
const PAGE_LARGEST: u64 = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Only alerts before this instant: the `at` of the last one of the page before.
    before: Option<Timestamp>,
    limit: Option<u64>,
}

pub async fn alerts(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Arc<Peer>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Response {
    let Ok(Query(page)) = page else {
        return Problem::new(Code::RequestInvalid).detail("the query is not one of a page").into_response();
    };
    let agency = match auditor(&app, &peer) {
        Some(_) => None,
        None => {
            let in_force = app.in_force.load();
            match in_force.registry.recognise(&peer.identity, Side::Channel, app.now()) {
                Some(agency) => Some(agency.id.to_string()),
                None => return Problem::new(Code::HttpNotFound).into_response(),
            }
        }
    };
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=PAGE_LARGEST).contains(&limit) {
        return Problem::new(Code::RequestInvalid).detail("`limit` is between 1 and 500").into_response();
    }
    let before = page.before.unwrap_or(Timestamp::LAST);
    match app.store.read().alerts(agency.as_deref(), before, limit).await {
        Ok(found) => {
            let full = u64::try_from(found.len()) == Ok(limit);
            let next = found.last().filter(|_| full).map(|told| told.at);
            let alerts: Vec<Value> = found.iter().map(shown).collect();
            Json(json!({ "alerts": alerts, "next": next })).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "alerts could not be read");
            Problem::new(Code::LogUnavailable).into_response()
        }
    }
}

/// An alert as it was made, with what became of it.
pub fn shown(told: &Told) -> Value {
    let mut alert: Value = serde_json::from_str(&told.body).unwrap_or_default();
    let deliveries = told.deliveries.iter().map(|delivery| {
        json!({ "webhook": delivery.hook, "attempts": delivery.attempts, "delivered": delivery.delivered })
    });
    if let Value::Object(members) = &mut alert {
        members.insert("deliveries".into(), deliveries.collect());
    }
    alert
}

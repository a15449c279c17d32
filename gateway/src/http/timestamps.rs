//! Time stamps over checkpoints (RFC 3161), for anybody: which there are, and each as its authority gave it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use varco_core::code::Code;

use super::problem::Problem;
use crate::app::App;

/// Sizes of the log in one answer, each with the stamps of all its authorities.
pub const PAGE: u64 = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Only stamps of smaller logs: the `size` of the last one of the page before.
    before: Option<u64>,
}

/// `GET /log/timestamps`: the largest log first, with the checkpoint whose text was stamped, and the response in base64.
pub async fn list(State(app): State<Arc<App>>, page: Result<Query<Page>, QueryRejection>) -> Response {
    let Ok(Query(page)) = page else {
        return Problem::new(Code::RequestInvalid).detail("the query is not one of a page").into_response();
    };
    match app.store.read().stamps(page.before.unwrap_or(u64::MAX), PAGE).await {
        Ok(found) => {
            let sizes: BTreeSet<u64> = found.iter().map(|stamp| stamp.size).collect();
            let next = sizes.first().filter(|_| u64::try_from(sizes.len()) == Ok(PAGE));
            let stamps = found.iter().map(|stamp| {
                json!({
                    "size": stamp.size,
                    "authority": stamp.authority,
                    "at": stamp.at,
                    "checkpoint": stamp.note,
                    "response": STANDARD.encode(&stamp.response),
                })
            });
            let stamps: Vec<Value> = stamps.collect();
            ([(CACHE_CONTROL, "no-cache")], Json(json!({ "timestamps": stamps, "next": next })))
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, "time stamps could not be read");
            Problem::new(Code::LogUnavailable).into_response()
        }
    }
}

/// `GET /log/timestamps/{size}/{authority}`: the response as it came. It never changes.
pub async fn one(State(app): State<Arc<App>>, Path((size, authority)): Path<(String, String)>) -> Response {
    let Ok(size) = size.parse() else { return Problem::new(Code::HttpNotFound).into_response() };
    match app.store.read().stamp(size, &authority).await {
        Ok(Some(stamp)) => {
            let headers = [
                (CONTENT_TYPE, "application/timestamp-reply"),
                (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, stamp.response).into_response()
        }
        Ok(None) => Problem::new(Code::HttpNotFound).into_response(),
        Err(error) => {
            tracing::error!(%error, "a time stamp could not be read");
            Problem::new(Code::LogUnavailable).into_response()
        }
    }
}

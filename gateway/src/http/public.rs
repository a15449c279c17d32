//! The public side of the access log: checkpoint and hash tiles (c2sp.org/tlog-tiles), for anybody, without a client
//! certificate. A hash tells nothing of an entry: every leaf holds salted commitments. Entry bundles are not here.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use varco_core::code::Code;
use varco_core::hash::Sha256;
use varco_core::log::tile::{self, TileId};
use varco_core::log::witness::{REQUEST_MAX, Refusal};
use varco_store::trees::{Ending, Standing};

use super::problem::Problem;
use super::{shards, timestamps};
use crate::app::App;
use crate::witness::AddError;
use crate::witnesses::Witnesses;

/// A full tile never changes, and neither does a partial one of a given width.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

pub fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*tile}", get(hashes))
        .route("/log/shards", get(shards::list))
        .route("/log/{year}/checkpoint", get(shards::checkpoint))
        .route("/log/{year}/tile/{*tile}", get(shards::hashes))
        .route("/log/timestamps", get(timestamps::list))
        .route("/log/timestamps/{size}/{authority}", get(timestamps::one))
        .route("/witness/add-checkpoint", post(add_checkpoint))
        .route("/witness/{origin}/checkpoint", get(watched))
        .fallback(async || Problem::new(Code::HttpNotFound))
        .method_not_allowed_fallback(async || Problem::new(Code::HttpMethod))
        .with_state(app)
}

/// `/log/checkpoint`: of the first shard.
pub async fn checkpoint(State(app): State<Arc<App>>) -> Response {
    match shards::first(&app).await {
        Ok(standing) => checkpoint_of(&app, &standing),
        Err(refused) => refused.into_response(),
    }
}

/// The newest checkpoint this replica has signed of an open shard, as a signed note; where there are witnesses, the newest
/// one that enough of them have cosigned, as soon as there is one. Of a closed shard the final one.
pub fn checkpoint_of(app: &App, standing: &Standing) -> Response {
    let note = match &standing.state {
        Ending::Closed(note) => note.clone(),
        Ending::Open => {
            let cosigned = app.witnesses.as_ref().and_then(Witnesses::cosigned);
            let cosigned = cosigned.filter(|signed| signed.shard == standing.shard);
            Some(cosigned.unwrap_or_else(|| app.store.checkpoint()).note)
        }
    };
    let Some(note) = note else { return Problem::new(Code::LogUnavailable).into_response() };
    ([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")], note.to_string())
        .into_response()
}

/// `/log/tile/<L>/<N>[.p/<W>]`: of the first shard.
pub async fn hashes(State(app): State<Arc<App>>, Path(path): Path<String>) -> Response {
    match shards::first(&app).await {
        Ok(standing) => hashes_of(&app, &standing, &path).await,
        Err(refused) => refused.into_response(),
    }
}

pub async fn hashes_of(app: &App, standing: &Standing, path: &str) -> Response {
    let Ok(tile) = format!("tile/{path}").parse::<TileId>() else {
        return Problem::new(Code::HttpNotFound).into_response();
    };
    let size = standing.head.size;
    let reader = app.store.read().of(&standing.shard);
    match reader.tile(u32::from(tile.level), tile.n, size).await {
        Ok(Some(hashes)) => match hashes.get(..usize::from(tile.width)) {
            Some(hashes) => {
                let headers = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, FOR_EVER)];
                (headers, tile::to_bytes(hashes)).into_response()
            }
            None => Problem::new(Code::HttpNotFound).into_response(),
        },
        Ok(None) => Problem::new(Code::HttpNotFound).into_response(),
        Err(error) => {
            tracing::error!(%error, "a tile could not be read");
            Problem::new(Code::LogUnavailable).into_response()
        }
    }
}

/// `POST /witness/add-checkpoint` (c2sp.org/tlog-witness): this gateway as a witness of another log.
async fn add_checkpoint(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let Some(witness) = app.witness.clone().filter(|_| body.len() <= REQUEST_MAX) else {
        return Problem::new(Code::HttpNotFound).into_response();
    };
    let now = app.now();
    let added = tokio::task::spawn_blocking(move || witness.add(&body, now)).await;
    match added.unwrap_or_else(|error| Err(AddError::Memory(error.to_string()))) {
        Ok(cosignature) => cosignature.to_string().into_response(),
        Err(AddError::Refused(refusal)) => refused(&refusal),
        Err(AddError::Memory(error)) => {
            tracing::error!(error, "the witness cannot cosign");
            Problem::new(Code::LogUnavailable).into_response()
        }
    }
}

/// The specification gives the status of each refusal, and for a conflict the body.
fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal {
        Refusal::Stale(size) | Refusal::OtherRoot(size) => {
            (status, [(CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response()
        }
        Refusal::Inconsistent
        | Refusal::Malformed
        | Refusal::NotSigned
        | Refusal::OldTooLarge
        | Refusal::UnknownLog => {
            (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{refusal}\n")).into_response()
        }
    }
}

/// `GET /witness/<SHA-256 of the origin>/checkpoint`: the last checkpoint this witness has cosigned of a log.
async fn watched(State(app): State<Arc<App>>, Path(origin): Path<String>) -> Response {
    let last = origin.parse::<Sha256>().ok().zip(app.witness.as_ref());
    match last.and_then(|(origin, witness)| witness.last(&origin)) {
        Some(note) => {
            let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
            (headers, note.to_string()).into_response()
        }
        None => Problem::new(Code::HttpNotFound).into_response(),
    }
}

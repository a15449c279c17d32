//! The public side of the access log: checkpoint and hash tiles (c2sp.org/tlog-tiles), for anybody, without a client
//! certificate. A hash tells nothing of an entry: every leaf holds salted commitments. Entry bundles are not here.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use varco_core::code::Code;
use varco_core::log::tile::{self, TileId};

use super::problem::Problem;
use crate::app::App;

/// A full tile never changes, and neither does a partial one of a given width.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

pub fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*tile}", get(hashes))
        .fallback(async || Problem::new(Code::HttpNotFound))
        .method_not_allowed_fallback(async || Problem::new(Code::HttpMethod))
        .with_state(app)
}

/// The newest checkpoint this replica has signed, as a signed note.
async fn checkpoint(State(app): State<Arc<App>>) -> Response {
    let signed = app.store.checkpoint();
    ([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")], signed.note.to_string())
        .into_response()
}

/// `/log/tile/<L>/<N>[.p/<W>]`
async fn hashes(State(app): State<Arc<App>>, Path(path): Path<String>) -> Response {
    let Ok(tile) = format!("tile/{path}").parse::<TileId>() else {
        return Problem::new(Code::HttpNotFound).into_response();
    };
    let size = app.store.checkpoint().head.size;
    match app.store.read().tile(u32::from(tile.level), tile.n, size).await {
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

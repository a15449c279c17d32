//! Yearly shards, for anybody: which there are and how they are tied to each other, and each one's checkpoint and tiles.
//!
//! Every shard has an address of its own that never changes (a tile may be kept for ever): the first one `/log`, each
//! later one `/log/<year>`, the last part of its origin.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use varco_core::code::Code;
use varco_core::log::leaf::Leaf;
use varco_core::log::shard::year_of;
use varco_store::read::ReadError;
use varco_store::trees::{Ending, Standing};

use super::problem::Problem;
use super::public;
use crate::app::App;

/// `GET /log/shards`: each with its checkpoint; of a closed one the proof of its last entry, which names the next, and of a
/// later one the proof of its first, which says how the one before ended. These entries are about no person.
pub async fn list(State(app): State<Arc<App>>) -> Response {
    match listed(&app).await {
        Ok(shards) => ([(CACHE_CONTROL, "no-cache")], Json(json!({ "shards": shards }))).into_response(),
        Err(error) => unreadable(&error).into_response(),
    }
}

async fn listed(app: &App) -> Result<Vec<Value>, ReadError> {
    let mut shards = Vec::new();
    for standing in app.store.read().shards().await? {
        let Some((size, note)) = signed(app, &standing) else { continue };
        let shard = &standing.shard;
        let freeze = if standing.is_open() { None } else { Some(standing.end().saturating_sub(1)) };
        let open = (shard.number > 0).then_some(shard.first);
        let mut proofs = [None, None];
        for (proof, position) in proofs.iter_mut().zip([freeze, open]) {
            let Some(position) = position else { continue };
            let reader = app.store.read().of(shard);
            let leaves = reader.leaves(position, position.saturating_add(1)).await?;
            let leaf = Leaf::parse(leaves.first().ok_or(ReadError::Damaged("leaf"))?)?;
            *proof = Some(reader.receipt(leaf, size, note.as_str().into()).await?.to_text());
        }
        let [freeze, open] = proofs;
        shards.push(json!({
            "origin": shard.origin,
            "first": shard.first,
            "size": size,
            "closed": !standing.is_open(),
            "checkpoint": note,
            "freeze": freeze,
            "open": open,
        }));
    }
    Ok(shards)
}

/// The size and the note that are signed of a shard; none while another replica is about to sign the first.
fn signed(app: &App, standing: &Standing) -> Option<(u64, String)> {
    let newest = app.store.checkpoint();
    match &standing.state {
        Ending::Open if newest.shard == standing.shard => Some((newest.head.size, newest.note.to_string())),
        Ending::Closed(Some(note)) => Some((standing.head.size, note.to_string())),
        Ending::Closed(None) | Ending::Open => None,
    }
}

/// `GET /log/<year>/checkpoint`
pub async fn checkpoint(State(app): State<Arc<App>>, Path(year): Path<String>) -> Response {
    match named(&app, &year).await {
        Ok(standing) => public::checkpoint_of(&app, &standing),
        Err(refused) => refused.into_response(),
    }
}

/// `GET /log/<year>/tile/<L>/<N>[.p/<W>]`
pub async fn hashes(State(app): State<Arc<App>>, Path((year, path)): Path<(String, String)>) -> Response {
    match named(&app, &year).await {
        Ok(standing) => public::hashes_of(&app, &standing, &path).await,
        Err(refused) => refused.into_response(),
    }
}

/// The first shard.
pub async fn first(app: &App) -> Result<Standing, Problem> {
    find(app, |standing| standing.shard.number == 0).await
}

/// The shard of a year. The first one has its year only where its origin says it.
pub async fn named(app: &App, year: &str) -> Result<Standing, Problem> {
    let year = year.parse().ok().filter(|number: &i32| format!("{number:04}") == year);
    find(app, |standing| year.is_some() && year_of(&standing.shard.origin) == year).await
}

async fn find(app: &App, is: impl Fn(&Standing) -> bool) -> Result<Standing, Problem> {
    let newest = app.store.checkpoint();
    let open = Standing { shard: newest.shard, head: newest.head, state: Ending::Open };
    if is(&open) {
        return Ok(open);
    }
    let shards = app.store.read().shards().await.map_err(|error| unreadable(&error))?;
    // One that another replica has opened is shown when this one has signed it.
    let found = shards.into_iter().find(|standing| !standing.is_open() && is(standing));
    found.ok_or_else(|| Problem::new(Code::HttpNotFound))
}

fn unreadable(error: &ReadError) -> Problem {
    tracing::error!(%error, "the shards of the log could not be read");
    Problem::new(Code::LogUnavailable)
}

//! The access log for auditors, on the exchange listener: entries and their bodies.
//!
//! An auditor is an officer with that role, recognised by the key of the client certificate. Whoever reads bodies is
//! entered in the log before the first byte leaves.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use varco_core::code::Code;
use varco_core::log::bodies;
use varco_core::log::entry::{Draft, Kind, Slot};
use varco_core::log::tile::{self, BundleId};
use varco_core::registry::{Officer, Role};
use varco_store::read::ReadError;
use varco_store::submission::Submission;
use varco_store::trees::Standing;

use super::problem::Problem;
use super::shards;
use crate::app::App;
use crate::server::Peer;

/// What an entry of kind `read` says was read.
const BODIES: &str = "bodies";

/// `GET /log/tile/entries/<N>[.p/<W>]`: the entries of a bundle (c2sp.org/tlog-tiles). They name no person.
pub async fn entries(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Arc<Peer>>,
    Path(path): Path<String>,
) -> Response {
    served(&app, &peer, (shards::first(&app).await, &path)).await
}

/// `GET /log/<year>/tile/entries/<N>[.p/<W>]`: the same of a later shard.
pub async fn entries_of(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Arc<Peer>>,
    Path((year, path)): Path<(String, String)>,
) -> Response {
    served(&app, &peer, (shards::named(&app, &year).await, &path)).await
}

/// A bundle of a shard, and its path.
type Asked<'a> = (Result<Standing, Problem>, &'a str);

async fn served(app: &App, peer: &Peer, asked: Asked<'_>) -> Response {
    let (bundle, (from, to)) = match allowed(app, peer, asked) {
        Ok((_, bundle, range)) => (bundle, range),
        Err(refused) => return refused.into_response(),
    };
    if let Some(refused) = pruned(app, to).await {
        return refused;
    }
    match app.store.read().leaves(from, to).await.map(|leaves| packed(bundle, &leaves)) {
        Ok(Some(bytes)) => {
            let headers = [
                (CONTENT_TYPE, "application/octet-stream"),
                (CACHE_CONTROL, "private, max-age=31536000, immutable"),
            ];
            (headers, bytes).into_response()
        }
        Ok(None) => Problem::new(Code::HttpNotFound).into_response(),
        Err(error) => unreadable(&error),
    }
}

/// `GET /log/bodies/<N>[.p/<W>]`: the bodies of a bundle's entries that are not erased, as JSON Lines.
pub async fn bodies(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Arc<Peer>>,
    Path(path): Path<String>,
) -> Response {
    opened(&app, &peer, (shards::first(&app).await, &path)).await
}

/// `GET /log/<year>/bodies/<N>[.p/<W>]`: the same of a later shard.
pub async fn bodies_of(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Arc<Peer>>,
    Path((year, path)): Path<(String, String)>,
) -> Response {
    opened(&app, &peer, (shards::named(&app, &year).await, &path)).await
}

async fn opened(app: &App, peer: &Peer, asked: Asked<'_>) -> Response {
    let (officer, (from, to)) = match allowed(app, peer, asked) {
        Ok((officer, _, range)) => (officer, range),
        Err(refused) => return refused.into_response(),
    };
    if let Some(refused) = pruned(app, to).await {
        return refused;
    }
    let slots = match app.store.read().slots_between(from, to).await {
        Ok(slots) => slots,
        Err(error) => return unreadable(&error),
    };
    if let Err(problem) = enter(app, &officer, from, to).await {
        return problem.into_response();
    }
    let headers = [(CONTENT_TYPE, "application/jsonl"), (CACHE_CONTROL, "no-store")];
    (headers, bodies::to_lines(&slots)).into_response()
}

/// The auditor whose certificate this is.
pub fn auditor(app: &App, peer: &Peer) -> Option<Officer> {
    let in_force = app.in_force.load();
    let officer = in_force.registry.officer_of_key(&peer.identity.key)?;
    let agency = in_force.registry.agency(&officer.agency)?;
    (officer.role == Role::Auditor && agency.is_active(app.now())).then(|| officer.clone())
}

/// The auditor and the bundle, which must be within what is signed. To anybody else there is no such resource.
fn allowed(
    app: &App,
    peer: &Peer,
    (standing, path): Asked<'_>,
) -> Result<(Officer, BundleId, (u64, u64)), Problem> {
    let nothing = || Problem::new(Code::HttpNotFound);
    let officer = auditor(app, peer).ok_or_else(nothing)?;
    let standing = standing?;
    let bundle = format!("tile/entries/{path}").parse::<BundleId>().map_err(|_| nothing())?;
    let (from, to) = range(bundle);
    if to > standing.head.size {
        return Err(nothing());
    }
    let positions = (standing.shard.first.saturating_add(from), standing.shard.first.saturating_add(to));
    Ok((officer, bundle, positions))
}

/// Bundles that end at or below the minimum index are not served any more (c2sp.org/tlog-tiles, pruning).
async fn pruned(app: &App, end: u64) -> Option<Response> {
    match app.store.read().minimum().await {
        Ok(minimum) if end <= minimum => Some(Problem::new(Code::LogPruned).into_response()),
        Ok(_) => None,
        Err(error) => Some(unreadable(&error)),
    }
}

fn range(bundle: BundleId) -> (u64, u64) {
    (bundle.first(), bundle.first().saturating_add(u64::from(bundle.width)))
}

fn packed(bundle: BundleId, leaves: &[Vec<u8>]) -> Option<Vec<u8>> {
    let whole = leaves.len() == usize::from(bundle.width);
    tile::bundle_to_bytes(leaves.iter().map(Vec::as_slice)).filter(|_| whole)
}

/// Enters who reads what. When that is not possible nothing is shown.
async fn enter(app: &App, officer: &Officer, from: u64, to: u64) -> Result<(), Problem> {
    let mut draft = Draft::new(Kind::Read, app.new_exchange(app.now()));
    let read = json!({ "read": BODIES, "first": from, "last": to.saturating_sub(1) });
    draft.slots.decision = Some(Slot::new(app.random(), &read));
    let reader = json!({ "agency": officer.agency, "officer": officer.id, "role": "auditor" });
    draft.slots.operator = Some(Slot::new(app.random(), &reader));
    match app.store.append(Submission::new(draft)).await {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::error!(%error, "that the log was read could not be entered");
            Err(Problem::new(error.code()))
        }
    }
}

fn unreadable(error: &ReadError) -> Response {
    tracing::error!(%error, "the log could not be read for an auditor");
    Problem::new(Code::LogUnavailable).into_response()
}

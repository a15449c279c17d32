//! The registry over HTTP: everybody may read which version is in force; the next one takes effect when two officers
//! of different agencies have signed it, whoever brings it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use varco_core::code::Code;
use varco_core::hash::Sha256;
use varco_core::json as canonical;
use varco_core::log::entry::{Draft, Kind, Slot};
use varco_store::submission::{Artifact, ArtifactKind, Submission};

use super::exchange::Received;
use super::problem::Problem;
use crate::app::{App, InForce};
use crate::genesis::{RegistryEntry, RegistryProposal};

/// `GET /registry`
pub async fn registry(State(app): State<Arc<App>>) -> Response {
    let in_force = app.in_force.load();
    Json(json!({ "sha256": in_force.sha256, "registry": in_force.registry })).into_response()
}

/// `POST /registry`: checks the proposal, logs it with its document in one transaction, then puts it in force. Requests
/// under way keep the version they began with.
pub async fn apply_registry(State(app): State<Arc<App>>, sent: Received) -> Response {
    let proposal: RegistryProposal = match canonical::parse_as(sent.body()) {
        Ok(proposal) => proposal,
        Err(fault) => return Problem::new(Code::RequestInvalid).detail(fault.to_string()).into_response(),
    };
    // One change at a time: the next version is checked against the one it replaces.
    let _turn = app.registry_turn.lock().await;
    let current = app.in_force.load_full();
    let next = match proposal.check(&current.registry, current.sha256) {
        Ok(next) => next,
        Err(fault) => return Problem::new(Code::RegistryInvalid).detail(fault.to_string()).into_response(),
    };
    let bytes = proposal.document.into_bytes();
    let sha256 = Sha256::of(&bytes);
    let entry = RegistryEntry { registry: sha256, version: next.version, statements: proposal.statements };
    let body = json!(entry);
    let mut draft = Draft::new(Kind::Registry, app.new_exchange(app.now()));
    draft.slots.decision = Some(Slot::new(app.random(), &body));
    let mut submission = Submission::new(draft);
    submission.artifacts.push(Artifact { kind: ArtifactKind::Registry, bytes });
    match app.store.append(submission).await {
        Ok(committed) => {
            let answer =
                json!({ "version": next.version, "sha256": sha256, "receipt": committed.receipt.to_text() });
            tracing::info!(version = next.version, "a new registry version is in force");
            app.in_force.store(Arc::new(InForce { registry: next, sha256 }));
            Json(answer).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a registry version could not be logged");
            Problem::new(error.code()).into_response()
        }
    }
}

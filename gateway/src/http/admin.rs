//! Registry and policies over HTTP: everybody may read which versions are in force; the next ones take effect when the
//! officers who must have signed them have, whoever brings them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use varco_core::code::Code;
use varco_core::hash::Sha256;
use varco_core::json as canonical;
use varco_core::log::entry::{Draft, Kind, Slot};
use varco_core::log::proof::Receipt;
use varco_store::submission::{AppendError, Artifact, ArtifactKind, Submission};

use super::exchange::Received;
use super::problem::Problem;
use crate::app::{App, InForce};
use crate::genesis::{RegistryEntry, RegistryProposal, SuspensionProposal};
use crate::policies::{PolicyEntry, PolicyProposal, Version};

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
    let _turn = app.rules_turn.lock().await;
    let current = app.in_force.load_full();
    let next = match proposal.check(&current.registry, current.sha256, Some(app.now())) {
        Ok(next) => next,
        Err(fault) => return Problem::new(Code::RegistryInvalid).detail(fault.to_string()).into_response(),
    };
    let bytes = proposal.document.into_bytes();
    let sha256 = Sha256::of(&bytes);
    let entry =
        RegistryEntry::Version { registry: sha256, version: next.version, statements: proposal.statements };
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
            app.outbox.look_at_everything();
            Json(answer).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a registry version could not be logged");
            Problem::new(error.code()).into_response()
        }
    }
}

/// `POST /suspensions`: an agency or an operator may do nothing from the instant the document says. The next version of
/// the registry, which takes two officers, keeps the suspension by listing it or lifts it by not doing so.
pub async fn suspend(State(app): State<Arc<App>>, sent: Received) -> Response {
    let proposal: SuspensionProposal = match canonical::parse_as(sent.body()) {
        Ok(proposal) => proposal,
        Err(fault) => return Problem::new(Code::RequestInvalid).detail(fault.to_string()).into_response(),
    };
    let _turn = app.rules_turn.lock().await;
    let current = app.in_force.load_full();
    let suspension = match proposal.check(&current.registry, Some(app.now())) {
        Ok(suspension) => suspension,
        Err(fault) => return Problem::new(Code::RegistryInvalid).detail(fault.to_string()).into_response(),
    };
    let entry = RegistryEntry::Suspension { document: proposal.document, statements: proposal.statements };
    let mut draft = Draft::new(Kind::Registry, app.new_exchange(app.now()));
    draft.slots.decision = Some(Slot::new(app.random(), &json!(entry)));
    match app.store.append(Submission::new(draft)).await {
        Ok(committed) => {
            tracing::warn!(agency = %suspension.agency, "a suspension is in force");
            let mut registry = current.registry.clone();
            registry.suspensions.push(suspension);
            app.in_force.store(Arc::new(InForce { registry, sha256: current.sha256 }));
            app.outbox.look_at_everything();
            Json(json!({ "receipt": committed.receipt.to_text() })).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a suspension could not be logged");
            Problem::new(error.code()).into_response()
        }
    }
}

/// `POST /policies`: checks the change, logs every approval and then the version with its archive, and puts it on the
/// schedule. Requests under way keep the policy they began with; what is refused changes nothing and shows in `/status`.
pub async fn apply_policy(State(app): State<Arc<App>>, sent: Received) -> Response {
    let proposal: PolicyProposal = match canonical::parse_as(sent.body()) {
        Ok(proposal) => proposal,
        Err(fault) => return Problem::new(Code::RequestInvalid).detail(fault.to_string()).into_response(),
    };
    let _turn = app.rules_turn.lock().await;
    let (in_force, schedule) = (app.in_force.load_full(), app.schedule.load_full());
    // Compiling and comparing whole bundles takes long enough to keep other requests waiting.
    let now = app.now();
    let checked = tokio::task::block_in_place(|| schedule.check(&proposal, &in_force.registry, Some(now)));
    let version = match checked {
        Ok(version) => version,
        Err(refusal) => {
            app.policy_refused.store(Arc::new(Some(refusal.to_string())));
            return Problem::new(Code::PolicyInvalid).detail(refusal.to_string()).into_response();
        }
    };
    match log_policy(&app, proposal, &version).await {
        Ok(receipt) => {
            let policy = &version.bundle.policy;
            let answer =
                json!({ "policy": policy.sha256(), "from": version.from, "receipt": receipt.to_text() });
            tracing::info!(version = policy.version(), from = %version.from, "a policy version is scheduled");
            app.schedule.store(Arc::new(schedule.with(version)));
            app.policy_refused.store(Arc::new(None));
            app.outbox.look_at_everything();
            Json(answer).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a policy version could not be logged");
            Problem::new(error.code()).into_response()
        }
    }
}

/// An entry for each approval, then one for the version; the last one's receipt.
async fn log_policy(app: &App, proposal: PolicyProposal, version: &Version) -> Result<Receipt, AppendError> {
    let document = Sha256::of(proposal.document.as_bytes());
    let draft = |entry: &PolicyEntry| {
        let mut draft = Draft::new(Kind::Policy, app.new_exchange(app.now()));
        draft.policy = Some(version.bundle.policy.sha256());
        draft.slots.decision = Some(Slot::new(app.random(), &json!(entry)));
        draft
    };
    for statement in &proposal.statements {
        let entry = PolicyEntry::Approved { document, statement: statement.clone() };
        app.store.append(Submission::new(draft(&entry))).await?;
    }
    let archive = version.bundle.archive();
    let (document, statements) = (proposal.document, proposal.statements);
    let entry = PolicyEntry::Scheduled { archive: archive.sha256(), document, statements };
    let mut submission = Submission::new(draft(&entry));
    submission.artifacts.push(archive);
    Ok(app.store.append(submission).await?.receipt)
}

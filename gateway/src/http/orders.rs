//! `POST /log/orders`: an order of officers about the log itself, whoever brings it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use varco_core::code::Code;
use varco_core::json as canonical;
use varco_core::log::proof::Receipt;
use varco_store::submission::AppendError;

use super::exchange::Received;
use super::problem::Problem;
use crate::app::App;
use crate::orders::{OrderProposal, carry_out};

/// Checks the order, enters it, and carries it out in the same transaction. The answer has the receipts of its entries.
pub async fn apply(State(app): State<Arc<App>>, sent: Received) -> Response {
    let proposal: OrderProposal = match canonical::parse_as(sent.body()) {
        Ok(proposal) => proposal,
        Err(fault) => return Problem::new(Code::RequestInvalid).detail(fault.to_string()).into_response(),
    };
    let _turn = app.rules_turn.lock().await;
    let signed = match app.store.sign().await {
        Ok(signed) => signed,
        Err(error) => return unavailable(&error.into()),
    };
    let in_force = app.in_force.load_full();
    let checked = match proposal.check(&in_force.registry, (app.log.origin(), signed.end()), app.now()) {
        Ok(checked) => checked,
        Err(fault) => return Problem::new(Code::LogOrderInvalid).detail(fault.to_string()).into_response(),
    };
    match carry_out(&app, checked).await {
        Ok(receipts) => {
            tracing::warn!(entries = receipts.len(), "an order about the log was carried out");
            let receipts: Vec<String> = receipts.iter().map(Receipt::to_text).collect();
            Json(json!({ "receipts": receipts })).into_response()
        }
        Err(error @ (AppendError::Held(_) | AppendError::HoldUnknown(_))) => {
            Problem::new(error.code()).detail(error.to_string()).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &AppendError) -> Response {
    tracing::error!(%error, "an order about the log could not be entered");
    Problem::new(error.code()).into_response()
}

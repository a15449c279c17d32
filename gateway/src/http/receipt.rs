//! `GET /exchanges/{id}/receipt`: the proof that an exchange is in the log, for either of its parties.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use varco_core::code::Code;
use varco_core::id::ExchangeId;
use varco_core::registry::Side;

use super::problem::Problem;
use crate::app::App;
use crate::server::Peer;

/// Answers with the receipt as C2SP tlog-proof text. To anybody who is no party the exchange does not exist.
pub async fn receipt(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Arc<Peer>>,
    Path(id): Path<String>,
) -> Response {
    let Ok(id) = id.parse::<ExchangeId>() else { return Problem::new(Code::HttpNotFound).into_response() };
    let in_force = app.in_force.load();
    let agency = in_force.registry.recognise(&peer.identity, Side::Channel, app.now());
    let found = match app.store.receipt(&id).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%error, "a receipt could not be read");
            return Problem::new(Code::LogUnavailable).into_response();
        }
    };
    let party = found.filter(|receipt| {
        let content = receipt.leaf.content();
        agency
            .is_some_and(|agency| [&content.consumer, &content.provider].contains(&&Some(agency.id.clone())))
    });
    match party {
        Some(receipt) => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], receipt.to_text()).into_response(),
        None => Problem::new(Code::HttpNotFound).into_response(),
    }
}

//! `POST /log/incidents`: whose fields a key, an operator, an office or an agency obtained in a period, for the notices
//! after an incident. For auditors; an agency asks about what it obtained itself or what was obtained from it.
//!
//! It takes a reason, and the question is entered in the log, reason included, before anything is shown. Operators are
//! codes; an agency says in a document of its own, signed by its officer, whose they are.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use varco_core::code::Code;
use varco_core::hash::Sha256;
use varco_core::id::AgencyId;
use varco_core::json as canonical;
use varco_core::log::entry::{Draft, Kind, Slot};
use varco_core::log::incident::{ACT_NAMES, Inquiry, OperatorNames};
use varco_core::registry::{Registry, Role, Side};
use varco_jose::OfficerVerifier;
use varco_store::submission::Submission;

use super::auditor::auditor;
use super::exchange::Received;
use super::problem::Problem;
use crate::app::App;
use crate::inquiry::{self, InquireError};
use crate::server::Peer;

/// A reason in words: a file number and two sentences.
const REASON_MAX: usize = 500;

/// Documents with operators' names: one for each agency of a zone, and room.
const NAMES_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    inquiry: Inquiry,
    reason: String,
    /// The agencies' part: who their operators' codes are.
    #[serde(default)]
    names: Vec<Named>,
}

/// A document of an agency and the statement of its officer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    document: String,
    statement: String,
}

pub async fn incidents(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Arc<Peer>>,
    sent: Received,
) -> Response {
    let who = match asker(&app, &peer) {
        Some(who) => who,
        None => return Problem::new(Code::HttpNotFound).into_response(),
    };
    let ask = match canonical::parse_as::<Ask>(sent.body()) {
        Ok(ask) => ask,
        Err(fault) => return Problem::new(Code::RequestInvalid).detail(fault.to_string()).into_response(),
    };
    match answer(&app, &who, ask).await {
        Ok(answer) => Json(answer).into_response(),
        Err(problem) => problem.into_response(),
    }
}

struct Asker {
    /// As the log says it.
    body: Value,
    /// The agency that sees its own only; none for an auditor.
    own: Option<AgencyId>,
}

fn asker(app: &App, peer: &Peer) -> Option<Asker> {
    if let Some(officer) = auditor(app, peer) {
        let body = json!({ "agency": officer.agency, "officer": officer.id, "role": "auditor" });
        return Some(Asker { body, own: None });
    }
    let in_force = app.in_force.load();
    let agency = in_force.registry.recognise(&peer.identity, Side::Channel, app.now())?;
    Some(Asker { body: json!({ "agency": agency.id }), own: Some(agency.id.clone()) })
}

async fn answer(app: &App, who: &Asker, ask: Ask) -> Result<Value, Problem> {
    let invalid = |detail: String| Problem::new(Code::RequestInvalid).detail(detail);
    let reason = ask.reason.trim();
    if reason.is_empty() || reason.len() > REASON_MAX {
        return Err(invalid("an inquiry needs a `reason` of at most 500 bytes, which is logged".to_owned()));
    }
    ask.inquiry.check().map_err(|fault| invalid(fault.to_string()))?;
    let names = names(&app.in_force.load().registry, &ask.names).map_err(invalid)?;
    enter(app, who, (&ask.inquiry, reason), &ask.names).await?;
    let mut found = made(app, &ask.inquiry, who.own.as_ref()).await?;
    if let Value::Object(members) = &mut found {
        members.insert("names".into(), Value::Object(names));
    }
    Ok(found)
}

/// The names of operators by agency and code, each document signed by an officer of the agency it speaks for.
fn names(registry: &Registry, documents: &[Named]) -> Result<Map<String, Value>, String> {
    if documents.len() > NAMES_MAX {
        return Err("at most 64 documents with names".to_owned());
    }
    let mut found = Map::new();
    for named in documents {
        let document: OperatorNames =
            canonical::parse_as(named.document.as_bytes()).map_err(|fault| fault.to_string())?;
        let sha256 = Sha256::of(named.document.as_bytes());
        let officers = registry
            .officers
            .iter()
            .filter(|officer| officer.agency == document.agency && officer.role == Role::Officer);
        let signed =
            officers.filter_map(|officer| OfficerVerifier::from_pem(&officer.public_key).ok()).any(|key| {
                key.verify(&named.statement).is_ok_and(|said| said.act == ACT_NAMES && said.sha256 == sha256)
            });
        if !signed {
            return Err(format!("the names of `{}` are not signed by an officer of it", document.agency));
        }
        found.insert(document.agency.to_string(), json!(document.operators));
    }
    Ok(found)
}

async fn made(app: &App, inquiry: &Inquiry, own: Option<&AgencyId>) -> Result<Value, Problem> {
    match inquiry::incident(app.store.read(), inquiry, own).await {
        Ok(incident) => Ok(incident.json()),
        Err(InquireError::Inquiry(fault)) => {
            Err(Problem::new(Code::RequestInvalid).detail(fault.to_string()))
        }
        Err(InquireError::Read(error)) => {
            tracing::error!(%error, "the log could not be read for an inquiry");
            Err(Problem::new(Code::LogUnavailable))
        }
    }
}

async fn enter(
    app: &App,
    who: &Asker,
    (inquiry, reason): (&Inquiry, &str),
    names: &[Named],
) -> Result<(), Problem> {
    let mut draft = Draft::new(Kind::Read, app.new_exchange(app.now()));
    let named: Vec<Sha256> = names.iter().map(|named| Sha256::of(named.document.as_bytes())).collect();
    let read = json!({ "read": "incident", "inquiry": inquiry, "reason": reason, "names": named });
    draft.slots.decision = Some(Slot::new(app.random(), &read));
    draft.slots.operator = Some(Slot::new(app.random(), &who.body));
    draft.consumer.clone_from(&who.own);
    match app.store.append(Submission::new(draft)).await {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::error!(%error, "that an inquiry was made could not be entered");
            Err(Problem::new(error.code()))
        }
    }
}

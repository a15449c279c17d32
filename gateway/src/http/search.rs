//! `POST /log/search`: entries found by what they say, for auditors, and for an agency among its own.
//!
//! A person is named in the body, never in the address, and turned into pseudonyms at once; it takes a reason. The
//! search is entered in the log, reason included, before anything is shown.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use varco_core::code::Code;
use varco_core::exchange::SubjectName;
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, CaseId, FieldId, OfficeId, OperatorId, PurposeId, RecordTypeId};
use varco_core::json as canonical;
use varco_core::log::entry::{Draft, Kind, Slot};
use varco_core::policy::Layer;
use varco_core::registry::Side;
use varco_core::time::Timestamp;
use varco_store::search::Search;
use varco_store::submission::Submission;

use super::auditor::auditor;
use super::exchange::Received;
use super::problem::Problem;
use crate::app::App;
use crate::server::Peer;

/// Entries in a page where none is said, and at most.
const PAGE: u64 = 50;
const PAGE_LARGEST: u64 = 500;
/// A reason in words: a file number and two sentences.
const REASON_MAX: usize = 500;

/// The body of a search.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    #[serde(default)]
    filter: Filter,
    #[serde(default)]
    subject: Option<SubjectName>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    before: Option<u64>,
    #[serde(default)]
    limit: Option<u64>,
}

/// What entries must have. Entered in the log as it stands: it names no person.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agency: Option<AgencyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consumer: Option<AgencyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<AgencyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purpose: Option<PurposeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record_type: Option<RecordTypeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operator: Option<OperatorId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    office: Option<OfficeId>,
    /// A field that left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field: Option<FieldId>,
    /// A layer that withheld something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<Layer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    case: Option<CaseId>,
    /// The key of a seal: SHA-256 of its SubjectPublicKeyInfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Sha256>,
}

/// Who searches.
enum Reader {
    Agency(AgencyId),
    Auditor(Value),
}

pub async fn search(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Arc<Peer>>,
    sent: Received,
) -> Response {
    let Some(reader) = reader(&app, &peer) else {
        return Problem::new(Code::HttpNotFound).into_response();
    };
    let ask = match canonical::parse_as::<Ask>(sent.body()) {
        Ok(ask) => ask,
        Err(fault) => return Problem::new(Code::RequestInvalid).detail(fault.to_string()).into_response(),
    };
    match found(&app, reader, ask).await {
        Ok(found) => found,
        Err(problem) => problem.into_response(),
    }
}

fn reader(app: &App, peer: &Peer) -> Option<Reader> {
    if let Some(officer) = auditor(app, peer) {
        let who = json!({ "agency": officer.agency, "officer": officer.id, "role": "auditor" });
        return Some(Reader::Auditor(who));
    }
    let in_force = app.in_force.load();
    let agency = in_force.registry.recognise(&peer.identity, Side::Channel, app.now())?;
    Some(Reader::Agency(agency.id.clone()))
}

async fn found(app: &App, reader: Reader, ask: Ask) -> Result<Response, Problem> {
    let invalid = |detail: &str| Problem::new(Code::RequestInvalid).detail(detail.to_owned());
    let reason = ask.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.len() > REASON_MAX) {
        return Err(invalid("`reason` has at most 500 bytes"));
    }
    if ask.subject.is_some() && reason.is_none() {
        return Err(invalid("a search by person needs a `reason`, which is logged"));
    }
    let limit = ask.limit.unwrap_or(PAGE);
    if !(1..=PAGE_LARGEST).contains(&limit) {
        return Err(invalid("`limit` is between 1 and 500"));
    }
    let subjects = ask.subject.as_ref().map(|subject| app.keys.load().all(&subject.codice_fiscale));
    let mut search = ask.filter.search();
    search.subjects.clone_from(&subjects);
    search.before = ask.before;
    search.limit = limit;
    // An agency sees what it took part in, whatever else it asks for.
    if let Reader::Agency(own) = &reader {
        if ask.filter.agency.as_ref().is_some_and(|asked| asked != own) {
            return Err(invalid("an agency searches among its own entries"));
        }
        search.agency = Some(own.to_string());
    }
    let entered = Entered { filter: &ask.filter, reason, before: ask.before, subjects };
    entered.enter(app, reader).await?;
    let found = app.store.read().search(&search).await.map_err(|error| {
        tracing::error!(%error, "the log could not be searched");
        Problem::new(Code::LogUnavailable)
    })?;
    let entries = found.entries.iter().map(|leaf| serde_json::from_str::<Value>(leaf.as_str()));
    let entries: Vec<Value> = entries.filter_map(Result::ok).collect();
    Ok(Json(json!({ "entries": entries, "next": found.next })).into_response())
}

impl Filter {
    fn search(&self) -> Search {
        let text = |id: Option<&str>| id.map(str::to_owned);
        Search {
            from: self.from,
            until: self.until,
            agency: text(self.agency.as_ref().map(|id| id.as_str())),
            consumer: text(self.consumer.as_ref().map(|id| id.as_str())),
            provider: text(self.provider.as_ref().map(|id| id.as_str())),
            purpose: text(self.purpose.as_ref().map(|id| id.as_str())),
            record_type: text(self.record_type.as_ref().map(|id| id.as_str())),
            kind: self.kind,
            code: self.code.clone(),
            operator: text(self.operator.as_ref().map(|id| id.as_str())),
            office: text(self.office.as_ref().map(|id| id.as_str())),
            field: text(self.field.as_ref().map(|id| id.as_str())),
            layer: self.layer.map(|layer| json!(layer).as_str().unwrap_or_default().to_owned()),
            case: text(self.case.as_ref().map(|id| id.as_str())),
            seal: self.seal.map(|key| key.to_string()),
            ..Search::default()
        }
    }
}

/// What is entered of a search.
struct Entered<'a> {
    filter: &'a Filter,
    reason: Option<&'a str>,
    before: Option<u64>,
    subjects: Option<Vec<varco_core::id::Pseudonym>>,
}

impl Entered<'_> {
    /// When it cannot be entered nothing is shown.
    async fn enter(self, app: &App, reader: Reader) -> Result<(), Problem> {
        let mut draft = Draft::new(Kind::Read, app.new_exchange(app.now()));
        let mut read = Map::new();
        read.insert("read".into(), json!("search"));
        read.insert("filter".into(), json!(self.filter));
        read.insert("reason".into(), json!(self.reason));
        read.insert("before".into(), json!(self.before));
        draft.slots.decision = Some(Slot::new(app.random(), &Value::Object(read)));
        let who = match reader {
            Reader::Agency(agency) => {
                let who = json!({ "agency": agency });
                draft.consumer = Some(agency);
                who
            }
            Reader::Auditor(who) => who,
        };
        draft.slots.operator = Some(Slot::new(app.random(), &who));
        let mut submission = Submission::new(draft);
        if let Some(subjects) = self.subjects {
            let current = subjects.first();
            submission.draft.slots.subject =
                current.map(|subject| Slot::new(app.random(), &json!({ "subject": subject })));
            submission.subjects = subjects;
        }
        match app.store.append(submission).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "that the log was searched could not be entered");
                Err(Problem::new(error.code()))
            }
        }
    }
}

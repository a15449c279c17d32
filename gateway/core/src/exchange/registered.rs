//! Requests that change or read the registers of consents and cases. They pass through the same lock as a disclosure:
//! the change, its log entry and the answer's receipt are one transaction.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::case::{self, Case};
use crate::code::Code;
use crate::consent::{self, Consent};
use crate::id::{AgencyId, CaseId, ConsentId, OfficeId, Pseudonym, PurposeId};
use crate::json;
use crate::log::entry::Kind;
use crate::registry::{AgencyKind, Deployment, Registry};
use crate::subject::SubjectKeys;
use crate::time::Timestamp;

use super::ask::SubjectName;
use super::outcome::{Account, End, Outcome};
use super::verify::{Sender, VerifiedRequest};

/// Which register a stream of events belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    Case,
    Consent,
}

/// One event to append, if the stream still has the epoch that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamChange {
    pub kind: StreamKind,
    pub stream: String,
    /// 0 for a new stream.
    pub expected: u64,
    /// Canonical JSON; only for a new stream.
    pub header: Option<String>,
    pub event: String,
    pub subjects: Vec<Pseudonym>,
}

/// The body of `POST /consents`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentAsk {
    pub subject: SubjectName,
    pub class: consent::SubjectClass,
    #[serde(default)]
    pub class_until: Option<Timestamp>,
    pub agreement: consent::Document,
    pub notice: consent::Notice,
    pub scope: Vec<consent::ScopeItem>,
    /// A record of the same person that this one replaces in the same instant.
    #[serde(default)]
    pub supersedes: Option<ConsentId>,
    pub event: ConsentEventAsk,
}

/// The body of `POST /consents/{id}/events`, and the first event of a new record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentEventAsk {
    pub state: consent::State,
    #[serde(default)]
    pub items: Vec<String>,
    /// Only for an invalidation; absent means now.
    #[serde(default)]
    pub effective_at: Option<Timestamp>,
    #[serde(default)]
    pub until: Option<Timestamp>,
    pub capacity: consent::Capacity,
    #[serde(default)]
    pub mandate: Option<consent::Mandate>,
    pub method: consent::Method,
    pub access_point: String,
    #[serde(default)]
    pub evidence: Vec<consent::Evidence>,
}

/// The body of `POST /cases`: the sender becomes the person responsible.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseAsk {
    pub purposes: Vec<PurposeId>,
    pub subjects: Vec<SubjectName>,
    pub role: String,
    #[serde(default)]
    pub office: Option<OfficeId>,
}

/// The body of `POST /cases/{id}/events`.
#[derive(Debug, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum CaseEventAsk {
    AddMember { member: case::Member },
    AddSubject { subject: SubjectName },
    ApproveEscalation {},
    Close {},
    Escalate { agencies: BTreeSet<AgencyId> },
    HandOver { to: case::Operator },
    RemoveMember { operator: case::Operator },
    RemoveSubject { subject: SubjectName },
}

/// What the registers' rules need to know besides the request.
pub struct Registered<'a> {
    pub registry: &'a Registry,
    pub keys: &'a SubjectKeys,
}

/// A refusal before any change, with the code it is answered with.
struct Refusal(Code, String);

impl Registered<'_> {
    /// `POST /consents`. `replaced` is the record that `supersedes` names, if it was found.
    pub fn open_consent(
        &self,
        request: VerifiedRequest,
        ask: ConsentAsk,
        replaced: Option<Consent>,
    ) -> Outcome {
        settle(request, |request| {
            let subject = self.subject(&ask.subject)?;
            self.check_recipients(&ask.scope)?;
            let header = consent::Header {
                id: ConsentId::from(request.exchange()),
                subject: subject.clone(),
                class: ask.class,
                class_until: ask.class_until,
                agreement: ask.agreement,
                notice: ask.notice,
                scope: ask.scope,
                supersedes: ask.supersedes.clone(),
            };
            let first = ask.event.event(request);
            let mut changes = Vec::new();
            if let Some(id) = &ask.supersedes {
                let known = self.keys.all(&ask.subject.codice_fiscale);
                let old = replaced.filter(|old| old.header.id == *id && known.contains(&old.header.subject));
                let old = old.filter(|old| old.is_known_to(&request.sender.agency));
                let old = old.ok_or_else(|| Refusal::unknown(Code::ConsentUnknown))?;
                let mut end = first.clone();
                (end.state, end.items, end.until) = (consent::State::Superseded, Vec::new(), None);
                changes.push(consent_change(&old, &end));
                old.record(end)?;
            }
            let consent = Consent::open(header.clone(), first.clone())?;
            changes.push(StreamChange {
                kind: StreamKind::Consent,
                stream: header.id.to_string(),
                expected: 0,
                header: Some(json::canonical_of(&header)),
                event: json::canonical_of(&first),
                subjects: vec![subject],
            });
            Ok(Done::consent(request, &consent, changes, Kind::Consent, 201))
        })
    }

    /// `POST /consents/{id}/events`. Narrowing is open to every party of the agreement, as the person's own right at any
    /// access point; widening only to the agency that collected the record.
    pub fn record_consent(
        &self,
        request: VerifiedRequest,
        ask: ConsentEventAsk,
        consent: Option<Consent>,
    ) -> Outcome {
        settle(request, |request| {
            let consent = consent.ok_or_else(|| Refusal::unknown(Code::ConsentUnknown))?;
            let widens = matches!(ask.state, consent::State::Given | consent::State::Renewed);
            if widens && !consent.is_known_to(&request.sender.agency) {
                return Err(Refusal::unknown(Code::ConsentUnknown));
            }
            let event = ask.event(request);
            let change = consent_change(&consent, &event);
            let consent = consent.record(event)?;
            Ok(Done::consent(request, &consent, vec![change], Kind::Consent, 200))
        })
    }

    /// `GET /consents/{id}`.
    pub fn read_consent(&self, request: VerifiedRequest, consent: Option<Consent>) -> Outcome {
        settle(request, |request| {
            let consent = consent.filter(|consent| consent.is_known_to(&request.sender.agency));
            let consent = consent.ok_or_else(|| Refusal::unknown(Code::ConsentUnknown))?;
            Ok(Done::consent(request, &consent, Vec::new(), Kind::Read, 200))
        })
    }

    /// `POST /consents/search`: the person's records that the asking agency may know.
    pub fn search_consents(
        &self,
        request: VerifiedRequest,
        ask: &SubjectName,
        consents: &[Consent],
    ) -> Outcome {
        settle(request, |request| {
            let subject = self.subject(ask)?;
            let known = consents.iter().filter(|consent| consent.is_known_to(&request.sender.agency));
            let items: Vec<Value> = known.map(|consent| consent_view(consent, request.at)).collect();
            let body = Map::from_iter([("items".to_owned(), Value::Array(items))]);
            Ok(Done {
                subject: Some(subject),
                case: None,
                kind: Kind::Read,
                changes: Vec::new(),
                status: 200,
                body,
            })
        })
    }

    /// `POST /cases`.
    pub fn open_case(&self, request: VerifiedRequest, ask: &CaseAsk) -> Outcome {
        settle(request, |request| {
            let sender = &request.sender;
            if !matches!(sender.kind, AgencyKind::Asl | AgencyKind::Comune | AgencyKind::Cpi) {
                let detail = "cases are opened by a Comune, an employment centre or a health authority";
                return Err(Refusal(Code::ExchangeNotAllowed, detail.into()));
            }
            let subjects = ask
                .subjects
                .iter()
                .map(|subject| self.subject(subject))
                .collect::<Result<BTreeSet<_>, _>>()?;
            let responsible = case::Member {
                operator: operator(sender),
                office: ask.office.clone().or_else(|| sender.office.clone()),
                role: ask.role.clone(),
                scopes: BTreeSet::new(),
                from: request.at,
                until: None,
            };
            let header =
                case::Header { id: CaseId::from(request.exchange()), purposes: ask.purposes.clone() };
            let subjects_list = subjects.iter().cloned().collect();
            let first = case_event(request, case::Change::Open { subjects, responsible });
            let case = Case::open(header.clone(), &first)?;
            let change = StreamChange {
                kind: StreamKind::Case,
                stream: header.id.to_string(),
                expected: 0,
                header: Some(json::canonical_of(&header)),
                event: json::canonical_of(&first),
                subjects: subjects_list,
            };
            Ok(Done::case(request, &case, vec![change], Kind::Case, 201))
        })
    }

    /// `POST /cases/{id}/events`.
    pub fn record_case(&self, request: VerifiedRequest, ask: CaseEventAsk, case: Option<Case>) -> Outcome {
        settle(request, |request| {
            let case = visible(case, request)?;
            let mut subjects = Vec::new();
            let change = match ask {
                CaseEventAsk::AddMember { member } => {
                    let agency = self
                        .registry
                        .agency(&member.operator.agency)
                        .filter(|agency| agency.is_active(request.at));
                    agency.ok_or_else(|| {
                        Refusal(Code::RequestInvalid, "the member's agency is not active".into())
                    })?;
                    case::Change::AddMember { member }
                }
                CaseEventAsk::AddSubject { subject } => {
                    let subject = self.subject(&subject)?;
                    subjects.push(subject.clone());
                    case::Change::AddSubject { subject }
                }
                CaseEventAsk::ApproveEscalation {} => case::Change::ApproveEscalation,
                CaseEventAsk::Close {} => case::Change::Close,
                CaseEventAsk::Escalate { agencies } => case::Change::Escalate { agencies },
                CaseEventAsk::HandOver { to } => case::Change::HandOver { to },
                CaseEventAsk::RemoveMember { operator } => case::Change::RemoveMember { operator },
                CaseEventAsk::RemoveSubject { subject } => {
                    let known = self.keys.all(&subject.codice_fiscale);
                    let listed = known.into_iter().find(|pseudonym| case.subjects().contains(pseudonym));
                    let subject = listed.ok_or(case::CaseFault::NoSuchSubject)?;
                    case::Change::RemoveSubject { subject }
                }
            };
            let event = case_event(request, change);
            let change = StreamChange {
                kind: StreamKind::Case,
                stream: case.header.id.to_string(),
                expected: case.epoch(),
                header: None,
                event: json::canonical_of(&event),
                subjects,
            };
            let case = case.record(&event)?;
            Ok(Done::case(request, &case, vec![change], Kind::Case, 200))
        })
    }

    /// `GET /cases/{id}`.
    pub fn read_case(&self, request: VerifiedRequest, case: Option<Case>) -> Outcome {
        settle(request, |request| {
            let case = visible(case, request)?;
            Ok(Done::case(request, &case, Vec::new(), Kind::Read, 200))
        })
    }

    fn subject(&self, subject: &SubjectName) -> Result<Pseudonym, Refusal> {
        let synthetic = subject.codice_fiscale.is_synthetic();
        if synthetic != (self.registry.deployment == Deployment::Test) {
            return Err(Refusal(Code::SubjectWrongWorld, wrong_world(self.registry.deployment).into()));
        }
        Ok(self.keys.pseudonym(&subject.codice_fiscale))
    }

    fn check_recipients(&self, scope: &[consent::ScopeItem]) -> Result<(), Refusal> {
        let stranger = |recipient: &&consent::Recipient| self.registry.agency(&recipient.agency).is_none();
        match scope.iter().flat_map(|item| &item.recipients).find(stranger) {
            Some(recipient) => Err(Refusal(
                Code::RequestInvalid,
                format!("recipient `{}` is not in the registry", recipient.agency),
            )),
            None => Ok(()),
        }
    }
}

/// What a test and a production deployment each refuse.
pub(in crate::exchange) const fn wrong_world(deployment: Deployment) -> &'static str {
    match deployment {
        Deployment::Production => "this is a production deployment: synthetic people are refused",
        Deployment::Test => {
            "this is a test deployment: only synthetic people (surname code XXQ) are accepted"
        }
    }
}

/// A change that is allowed, before it is an outcome.
struct Done {
    subject: Option<Pseudonym>,
    case: Option<CaseId>,
    kind: Kind,
    changes: Vec<StreamChange>,
    status: u16,
    body: Map<String, Value>,
}

impl Done {
    fn consent(
        request: &VerifiedRequest,
        consent: &Consent,
        changes: Vec<StreamChange>,
        kind: Kind,
        status: u16,
    ) -> Self {
        // Whoever withdraws for a person in front of them learns that it is done, not what the record holds.
        let known = consent.is_known_to(&request.sender.agency);
        let view = if known { consent_view(consent, request.at) } else { json!({ "id": consent.header.id }) };
        let body = Map::from_iter([("consent".to_owned(), view)]);
        Self { subject: Some(consent.header.subject.clone()), case: None, kind, changes, status, body }
    }

    fn case(
        request: &VerifiedRequest,
        case: &Case,
        changes: Vec<StreamChange>,
        kind: Kind,
        status: u16,
    ) -> Self {
        let body = Map::from_iter([("case".to_owned(), case_view(case, request.at))]);
        Self { subject: None, case: Some(case.header.id.clone()), kind, changes, status, body }
    }
}

fn settle(request: VerifiedRequest, act: impl FnOnce(&VerifiedRequest) -> Result<Done, Refusal>) -> Outcome {
    match act(&request) {
        Ok(done) => {
            let mut account = Account::new(request);
            account.subject = done.subject;
            account.case = done.case;
            let events =
                done.changes.iter().map(|change| json!({ "stream": change.stream, "event": change.event }));
            account.decision.insert("events".into(), events.collect());
            let (kind, changes, status, mut body) = (done.kind, done.changes, done.status, done.body);
            body.insert("exchange".into(), json!(account.request.exchange));
            Outcome { account, end: End::Register { kind, changes, status, body } }
        }
        Err(Refusal(code, detail)) => Outcome::fail(request, code, detail),
    }
}

fn visible(case: Option<Case>, request: &VerifiedRequest) -> Result<Case, Refusal> {
    case.filter(|case| case.is_known_to(&request.sender.agency, request.at))
        .ok_or_else(|| Refusal::unknown(Code::CaseUnknown))
}

fn operator(sender: &Sender) -> case::Operator {
    case::Operator { agency: sender.agency.clone(), operator: sender.operator.clone() }
}

fn case_event(request: &VerifiedRequest, change: case::Change) -> case::Event {
    case::Event { at: request.at, by: operator(&request.sender), request: request.digest, change }
}

fn consent_change(consent: &Consent, event: &consent::Event) -> StreamChange {
    StreamChange {
        kind: StreamKind::Consent,
        stream: consent.header.id.to_string(),
        expected: consent.epoch(),
        header: None,
        event: json::canonical_of(event),
        subjects: Vec::new(),
    }
}

impl ConsentEventAsk {
    fn event(self, request: &VerifiedRequest) -> consent::Event {
        consent::Event {
            state: self.state,
            items: self.items,
            at: request.at,
            effective_at: self.effective_at.unwrap_or(request.at),
            until: self.until,
            capacity: self.capacity,
            mandate: self.mandate,
            method: self.method,
            collected_by: consent::Collector {
                agency: request.sender.agency.clone(),
                operator: request.sender.operator.clone(),
                access_point: self.access_point,
            },
            evidence: self.evidence,
            request: request.digest,
        }
    }
}

/// A record as an agency that may know it sees it.
fn consent_view(consent: &Consent, now: Timestamp) -> Value {
    let item = |scope: &consent::ScopeItem| {
        let state = consent.state(&scope.item, now);
        json!({
            "item": scope.item,
            "state": state,
            "dpv": state.dpv(),
            "purpose": scope.purpose,
            "record_type": scope.record_type,
            "fields": scope.fields,
            "recipients": scope.recipients,
            "valid_until": scope.valid_until,
        })
    };
    json!({
        "id": consent.header.id,
        "epoch": consent.epoch(),
        "notice": consent.header.notice,
        "items": consent.header.scope.iter().map(item).collect::<Vec<_>>(),
    })
}

fn case_view(case: &Case, now: Timestamp) -> Value {
    json!({
        "id": case.header.id,
        "epoch": case.epoch(),
        "level": case.level(),
        "purposes": case.header.purposes,
        "closed": case.closed(),
        "responsible": case.responsible(),
        "awaited": case.awaited(),
        "members": case.members(now).collect::<Vec<_>>(),
    })
}

impl Refusal {
    fn unknown(code: Code) -> Self {
        Self(code, code.title().to_owned())
    }
}

impl From<consent::ConsentFault> for Refusal {
    fn from(fault: consent::ConsentFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}

impl From<case::CaseFault> for Refusal {
    fn from(fault: case::CaseFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}

//! `/cases`: opening, changing and reading them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Done, Refusal, Registered, StreamChange, StreamKind, operator, settle};
use crate::case::{self, Case};
use crate::code::Code;
use crate::consent::Mandate;
use crate::exchange::ask::SubjectName;
use crate::exchange::outcome::Outcome;
use crate::exchange::people::Locks;
use crate::exchange::verify::{Sender, VerifiedRequest};
use crate::hash::Sha256;
use crate::id::{AgencyId, CaseId, FieldId, OfficeId, PurposeId, RecordTypeId};
use crate::json;
use crate::log::entry::Kind;
use crate::registry::{Agency, AgencyKind};
use crate::time::Timestamp;

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
    AddAct { act: ActAsk },
    AddMember { member: case::Member },
    AddSubject { subject: SubjectName },
    ApproveEscalation {},
    Close {},
    EndAct { sha256: Sha256 },
    Escalate { agencies: BTreeSet<AgencyId>, needs: BTreeSet<case::Need> },
    HandOver { to: case::Operator },
    RemoveMember { operator: case::Operator },
    RemoveSubject { subject: SubjectName },
}

/// An act of a guardian or a judge, about one person of the case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActAsk {
    pub subject: SubjectName,
    /// The dispositive part only, with an end.
    pub mandate: Mandate,
    pub record_type: RecordTypeId,
    pub fields: BTreeSet<FieldId>,
}

impl Registered<'_> {
    /// `POST /cases`.
    pub fn open_case(&self, request: VerifiedRequest, ask: &CaseAsk, mut with: Locks<'_>) -> Outcome {
        settle(request, |request| {
            let sender = &request.sender;
            if !matches!(sender.kind, AgencyKind::Asl | AgencyKind::Comune | AgencyKind::Cpi) {
                let detail = "cases are opened by a Comune, an employment centre or a health authority";
                return Err(Refusal(Code::ExchangeNotAllowed, detail.into()));
            }
            let id = CaseId::from(request.exchange());
            let mut locks = BTreeMap::new();
            for subject in ask.subjects.iter().take(case::MOST_SUBJECTS) {
                let pseudonym = self.subject(subject)?;
                locks.insert(pseudonym, locked(&mut with, subject, &id)?);
            }
            let more = ask.subjects.iter().skip(case::MOST_SUBJECTS).map(|subject| self.subject(subject));
            let more = more.collect::<Result<Vec<_>, _>>()?;
            let subjects: BTreeSet<_> = locks.keys().cloned().chain(more).collect();
            let responsible = case::Member {
                operator: operator(sender),
                office: ask.office.clone().or_else(|| sender.office.clone()),
                role: ask.role.clone(),
                scopes: BTreeSet::new(),
                from: request.at,
                until: None,
            };
            let header = case::Header { id, purposes: ask.purposes.clone() };
            let subjects_list = subjects.iter().cloned().collect();
            let first = case_event(request, case::Change::Open { subjects, responsible, locks });
            let case = Case::open(header.clone(), &first)?;
            let change = StreamChange {
                kind: StreamKind::Case,
                stream: header.id.to_string(),
                expected: 0,
                header: Some(json::canonical_of(&header)),
                event: json::canonical_of(&first),
                subjects: subjects_list,
                waits_for: None,
            };
            Ok(Done::case(request, &case, vec![change], Kind::Case, 201))
        })
    }

    /// `POST /cases/{id}/events`.
    pub fn record_case(
        &self,
        request: VerifiedRequest,
        ask: CaseEventAsk,
        case: Option<Case>,
        mut with: Locks<'_>,
    ) -> Outcome {
        settle(request, |request| {
            let case = visible(case, request)?;
            let mut subjects = Vec::new();
            let change = match ask {
                CaseEventAsk::AddAct { act } => case::Change::AddAct { act: self.act(act, &case)? },
                CaseEventAsk::AddMember { member } => {
                    self.check_joins(&member, &case, request.at)?;
                    case::Change::AddMember { member }
                }
                CaseEventAsk::AddSubject { subject } => {
                    let known = self.keys.all(&subject.codice_fiscale);
                    if known.iter().any(|pseudonym| case.subjects().contains(pseudonym)) {
                        let detail = "the person is in the case already";
                        return Err(Refusal(Code::CaseConflict, detail.into()));
                    }
                    let lock = Some(locked(&mut with, &subject, &case.header.id)?);
                    let subject = self.subject(&subject)?;
                    subjects.push(subject.clone());
                    case::Change::AddSubject { subject, lock }
                }
                CaseEventAsk::ApproveEscalation {} => case::Change::ApproveEscalation,
                CaseEventAsk::Close {} => case::Change::Close,
                CaseEventAsk::EndAct { sha256 } => case::Change::EndAct { sha256 },
                CaseEventAsk::Escalate { agencies, needs } => {
                    for agency in &agencies {
                        self.active(agency, request.at)?;
                    }
                    case::Change::Escalate { agencies, needs }
                }
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
                waits_for: None,
            };
            let case = case.record(&event)?;
            Ok(Done::case(request, &case, vec![change], Kind::Case, 200))
        })
    }

    /// About a person of the case, and fields that there are.
    fn act(&self, ask: ActAsk, case: &Case) -> Result<case::Act, Refusal> {
        let ActAsk { subject, mandate, record_type, fields } = ask;
        let known = self.keys.all(&subject.codice_fiscale);
        let listed = known.into_iter().find(|pseudonym| case.subjects().contains(pseudonym));
        let subject = listed.ok_or(case::CaseFault::NoSuchSubject)?;
        let invalid = |detail: String| Refusal(Code::RequestInvalid, detail);
        let kind = self.policy.record_type(&record_type);
        let kind = kind.ok_or_else(|| invalid(format!("unknown record type `{record_type}`")))?;
        if let Some(field) = fields.iter().find(|field| kind.find(field).is_none()) {
            return Err(invalid(format!("`{record_type}` has no field `{field}`")));
        }
        Ok(case::Act { subject, mandate, record_type, fields })
    }

    fn active(&self, agency: &AgencyId, now: Timestamp) -> Result<&Agency, Refusal> {
        let found = self.registry.agency(agency).filter(|agency| agency.is_active(now));
        found.ok_or_else(|| {
            Refusal(Code::RequestInvalid, "the agency is not in the registry, or not active".into())
        })
    }

    /// An équipe of the first level is of Comune, employment centre and their partners; a health authority joins by
    /// escalation, unless it opened the case.
    fn check_joins(&self, member: &case::Member, case: &Case, now: Timestamp) -> Result<(), Refusal> {
        let agency = self.active(&member.operator.agency, now)?;
        let is_in = case.members(now).any(|known| known.operator.agency == agency.id);
        if agency.kind == AgencyKind::Asl && case.level() == case::Level::First && !is_in {
            let detail = "a health authority joins the équipe by escalation to level 2";
            return Err(Refusal(Code::CaseConflict, detail.into()));
        }
        Ok(())
    }

    /// `GET /cases/{id}`.
    pub fn read_case(&self, request: VerifiedRequest, case: Option<Case>) -> Outcome {
        settle(request, |request| {
            let case = visible(case, request)?;
            Ok(Done::case(request, &case, Vec::new(), Kind::Read, 200))
        })
    }
}

impl Done {
    fn case(
        request: &VerifiedRequest,
        case: &Case,
        changes: Vec<StreamChange>,
        kind: Kind,
        status: u16,
    ) -> Self {
        let body = Map::from_iter([("case".to_owned(), case_view(case, &request.sender, request.at))]);
        Self { subject: None, case: Some(case.header.id.clone()), kind, changes, status, body }
    }
}

fn locked(with: &mut Locks<'_>, subject: &SubjectName, case: &CaseId) -> Result<case::LockedPerson, Refusal> {
    let fault = || Refusal(Code::Internal, "the person's name could not be locked".to_owned());
    with.lock(&subject.codice_fiscale, case).ok_or_else(fault)
}

fn visible(case: Option<Case>, request: &VerifiedRequest) -> Result<Case, Refusal> {
    case.filter(|case| case.is_known_to(&request.sender.agency, request.at))
        .ok_or_else(|| Refusal::unknown(Code::CaseUnknown))
}

fn case_event(request: &VerifiedRequest, change: case::Change) -> case::Event {
    case::Event { at: request.at, by: operator(&request.sender), request: request.digest, change }
}

/// A case as the asking agency may know it. Who is followed is never in it. A third-sector partner sees the case's frame and
/// its own people; whoever is there for a meeting sees how things stand, and not how they came to be.
fn case_view(case: &Case, reader: &Sender, now: Timestamp) -> Value {
    let is_partner = reader.kind == AgencyKind::Ets;
    let own = |member: &&case::Member| member.operator.agency == reader.agency;
    let members: Vec<_> = case.members(now).filter(|member| !is_partner || own(member)).collect();
    let mut view = json!({
        "id": case.header.id,
        "epoch": case.epoch(),
        "level": case.level(),
        "purposes": case.header.purposes,
        "closed": case.closed(),
        "responsible": case.responsible(),
        "members": members,
    });
    let stays = case.members(now).filter(own).any(|member| member.until.is_none());
    if let (Value::Object(view), false) = (&mut view, is_partner) {
        view.insert("awaited".into(), json!(case.awaited()));
        if stays || case.closed().is_some() {
            view.insert("events".into(), case.events().iter().map(event_view).collect());
        }
    }
    view
}

/// Who did what, when. People who are followed are counted, not named.
fn event_view(event: &case::Event) -> Value {
    let mut view = json!(event.change);
    if let Value::Object(view) = &mut view {
        view.remove("lock");
        view.remove("locks");
        view.remove("subject");
        view.remove("subjects");
        // Whose decree it is, and of which court, is for the agency that has the document.
        if let Some(Value::Object(act)) = view.get_mut("act") {
            act.remove("subject");
            if let Some(Value::Object(mandate)) = act.get_mut("mandate") {
                mandate.retain(|name, _| ["from", "sha256", "until"].contains(&name.as_str()));
            }
        }
        view.insert("at".into(), json!(event.at));
        view.insert("by".into(), json!(event.by));
    }
    view
}

impl From<case::CaseFault> for Refusal {
    fn from(fault: case::CaseFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}

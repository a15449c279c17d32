//! From a verified push to one locked copy for each recipient: decided, reduced and locked in one pure step, so that no
//! recipient's copy exists in any other form.
//!
//! A push is one request and as many exchanges as it has recipients. Each of these has an entry of its own, all of
//! them and the request's own in one transaction of the log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::case;
use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId, FieldId, OfficeId, ViewId};
use crate::json;
use crate::log::entry::{Draft, Kind};
use crate::parcel::{self, Custody, Keeper, LockEntropy, Parcel, ParcelChange, Route};
use crate::policy::record::{FieldIndex, RecordType};
use crate::policy::{Party, Plan};
use crate::registry::Deployment;
use crate::subject::SubjectKeys;
use crate::time::Timestamp;

use super::authorize::{
    Asks, Known, Towards, epochs, facts, outcome_value, policy_stamp, question, reduce_for, rests_on, shown,
};
use super::bodies::{operator_body, slots};
use super::grounds::{Grounds, OwnerSeal, Topic};
use super::outcome::{Account, Branch, End, Guarded, Outcome, Refused, Salts, Sealed};
use super::pushed::{Addressed, Push, PushKey, RecipientName};
use super::record::{AgencyRecord, Assurance, Said, SaidOf};
use super::registered::{StreamChange, StreamKind, wrong_world};
use super::verify::VerifiedRequest;

/// An équipe has seven Comuni, the CPI, the ASL, and some of the third sector.
pub const RECIPIENTS_MAX: usize = 16;
/// Faults of a record that one answer names.
const FAULTS_MAX: usize = 8;

/// What accepting a push takes besides what every decision knows.
pub struct Means<'a> {
    pub keys: &'a SubjectKeys,
    pub keeper: &'a dyn Keeper,
    /// One for each recipient, in their order.
    pub seeds: Vec<Seed>,
    /// The agencies whose systems deliveries are brought to.
    pub systems: &'a BTreeSet<AgencyId>,
}

/// What is random about one exchange of a push.
pub struct Seed {
    pub exchange: ExchangeId,
    pub lock: LockEntropy,
    pub salts: [[u8; 32]; 3],
}

/// What became of a push for one recipient.
#[derive(Debug)]
pub(in crate::exchange) struct Consigned {
    pub recipient: RecipientName,
    pub exchange: ExchangeId,
    salts: Salts,
    decision: Grounds,
    pub end: Consigning,
}

#[derive(Debug)]
pub(in crate::exchange) enum Consigning {
    Keep(Box<Kept>),
    Refuse(Refused),
}

/// A locked copy with everything that may be told of it.
#[derive(Debug)]
pub(in crate::exchange) struct Kept {
    parcel: Parcel,
    accepted: parcel::Event,
    locked: parcel::Locked,
    fields: Vec<Value>,
    epochs: Vec<(String, u64)>,
}

impl VerifiedRequest {
    /// What this request's content is known by when it comes again under its key: keyed, so that nobody guesses it open.
    pub fn fingerprint(&self, keys: &SubjectKeys) -> Vec<String> {
        keys.fingerprints(&self.body)
    }
}

/// Decides for every recipient. What is wrong with the push itself refuses it whole.
pub fn consign(request: VerifiedRequest, push: Push, known: &Known<'_>, means: Means<'_>) -> Outcome {
    let mut account = Account::new(request);
    account.provider = Some(account.request.sender.agency.clone());
    account.purpose = Some(push.purpose.clone());
    account.record_type = Some(push.record_type.clone());
    account.case.clone_from(&push.case);
    account.policy = Some(policy_stamp(known));
    if push.subject.codice_fiscale.is_synthetic() != (known.registry.deployment == Deployment::Test) {
        let detail = wrong_world(known.registry.deployment).to_owned();
        let refused = Refused { code: Code::SubjectWrongWorld, detail, fields: Vec::new() };
        return Outcome { account, end: End::Deny(refused) };
    }
    account.subject = known.pseudonyms.first().cloned();
    if let Err(detail) = check(&push, known) {
        return Outcome { account, end: End::Fail { code: Code::RequestInvalid, detail } };
    }
    let fingerprint = keyed(&account.request, push.key.as_ref(), means.keys);
    let consignor = Consignor { account: &account, push: &push, known, means: &means };
    let mut consigned = Vec::with_capacity(push.recipients.len());
    for (recipient, seed) in push.recipients.iter().zip(&means.seeds) {
        consigned.push(consignor.consign(recipient, seed));
    }
    let said = |one: &Consigned| json!({ "exchange": one.exchange, "recipient": one.recipient.agency });
    account.decision.insert("exchanges", consigned.iter().map(said).collect());
    Outcome { account, end: End::Push { consigned, fingerprint } }
}

/// The stream of the push's key, and what its content is known by.
fn keyed(request: &VerifiedRequest, key: Option<&PushKey>, keys: &SubjectKeys) -> Option<(String, String)> {
    let fingerprint = request.fingerprint(keys).into_iter().next()?;
    Some((key?.stream(&request.sender.agency), fingerprint))
}

/// What is wrong with the push whoever receives it.
fn check(push: &Push, known: &Known<'_>) -> Result<(), String> {
    let distinct: BTreeSet<&RecipientName> = push.recipients.iter().collect();
    if !(1..=RECIPIENTS_MAX).contains(&push.recipients.len()) || distinct.len() != push.recipients.len() {
        return Err(format!("expected 1 to {RECIPIENTS_MAX} recipients, each once"));
    }
    if known.policy.purpose(&push.purpose).is_some_and(|purpose| purpose.review_hours.is_some()) {
        return Err("an emergency is declared by whoever asks; nothing is pushed under it".to_owned());
    }
    let kind = known.policy.record_type(&push.record_type);
    let kind = kind.ok_or_else(|| format!("unknown record type `{}`", push.record_type))?;
    if let Err(faults) = kind.check(push.record.0.clone()) {
        let named: Vec<_> = faults.iter().take(FAULTS_MAX).map(ToString::to_string).collect();
        return Err(format!("the record does not fit its type: {}", named.join("; ")));
    }
    match unstated(kind, &push.record.0) {
        Some((field, control)) => Err(format!("the record holds `{field}` and does not say `{control}`")),
        None => Ok(()),
    }
}

/// A field the record holds although it does not state the control field that may conceal it. A source is always asked
/// for both; who sends must say both.
fn unstated<'a>(kind: &'a RecordType, record: &Value) -> Option<(&'a FieldId, &'a FieldId)> {
    let root = |index: FieldIndex| {
        let field = kind.field(index)?;
        field.parent.map_or(Some(field), |parent| kind.field(parent))
    };
    let holds = |field: &FieldId| record.get(field.as_str()).is_some_and(|value| !value.is_null());
    for control in &kind.controls {
        let Some(says) = kind.field(control.field).filter(|field| !holds(&field.id)) else { continue };
        let concealed = control.conceals.iter().filter_map(|index| root(*index));
        if let Some(field) = concealed.into_iter().find(|field| holds(&field.id)) {
            return Some((&field.id, &says.id));
        }
    }
    None
}

struct Consignor<'a> {
    account: &'a Account,
    push: &'a Push,
    known: &'a Known<'a>,
    means: &'a Means<'a>,
}

impl Consignor<'_> {
    fn consign(&self, recipient: &RecipientName, seed: &Seed) -> Consigned {
        let mut decision = Grounds::default();
        let end = self.decide(recipient, seed, &mut decision);
        decision.insert("push", json!(self.account.request.exchange));
        decision.insert("request", json!(self.account.request.digest));
        Consigned {
            recipient: recipient.clone(),
            exchange: seed.exchange.clone(),
            salts: Salts(seed.salts),
            decision,
            end,
        }
    }

    fn decide(&self, to: &RecipientName, seed: &Seed, said: &mut Grounds) -> Consigning {
        let (request, push, known) = (&self.account.request, self.push, self.known);
        let sender = &request.sender;
        let Some(consumer) = recipient_party(known, &to.agency, to.office.as_ref(), request.at) else {
            return refuse(Code::ExchangeNotAllowed, "there is no such recipient to send to".to_owned());
        };
        let provider = Party { agency: sender.agency.clone(), kind: sender.kind, office: None };
        // Whoever sends under a case is in its équipe, and so is somebody at the recipient's.
        let sends = case::Operator { agency: sender.agency.clone(), operator: sender.operator.clone() };
        let case = known.case.filter(|case| case.fact(&known.pseudonyms, &sends, request.at).is_some());
        let case = case
            .and_then(|case| case.fact_for(&known.pseudonyms, &to.agency, to.office.as_ref(), request.at));
        let asks = Asks { record_type: &push.record_type, purpose: &push.purpose, consumer, provider, case };
        let facts = facts(asks, known, request.at);
        let topic = Topic { record_type: &push.record_type, purpose: &push.purpose, requested: None };
        *said = Grounds::of(topic, &facts, known.policy, request.at);
        let question = question(&push.record_type, &push.purpose, &facts, request.at);
        match known.policy.decide(&question) {
            Err(refusal) => {
                said.insert("outcomes", Value::Array(Vec::new()));
                refuse(refusal.code(), refusal.to_string())
            }
            Ok(plan) => {
                let epochs = epochs(&plan, &facts, known);
                self.keep(to, seed, said, (&plan, epochs))
            }
        }
    }

    fn keep(
        &self,
        to: &RecipientName,
        seed: &Seed,
        said: &mut Grounds,
        (plan, epochs): (&Plan, Vec<(String, u64)>),
    ) -> Consigning {
        let (request, push) = (&self.account.request, self.push);
        let subject = &push.subject.codice_fiscale;
        let household = self.known.case.map(|case| case.subjects().clone()).unwrap_or_default();
        let towards = Towards {
            keys: self.means.keys,
            provider: &request.sender.agency,
            recipient: &to.agency,
            subject,
            household: &household,
            told: &[],
        };
        // It was checked before; a record that does not fit is nobody's.
        let sealed = Said { digest: request.digest, of: SaidOf::Bytes, by: Assurance::Seal };
        let Ok(record) = AgencyRecord::check(push.record.0.clone(), sealed, &plan.record_type) else {
            return refuse(Code::RequestInvalid, "the record does not fit its type".to_owned());
        };
        let reduced = reduce_for(plan, record.values, &towards);
        said.find(&plan.record_type, &reduced.findings);
        said.insert("source", json!(record.said.digest));
        said.insert("source_by", json!(record.said.by));
        said.insert("source_of", json!(record.said.of));
        let fields: Vec<Value> = reduced.outcomes.iter().map(outcome_value).collect();
        said.insert("outcomes", Value::Array(fields.clone()));
        let views: Map<String, Value> = reduced.outcomes.iter().filter_map(shown).collect();
        if views.is_empty() {
            let detail = "no field of the record may be released".to_owned();
            return Consigning::Refuse(Refused { code: Code::ExchangeDenied, detail, fields });
        }
        said.insert("rests_on", json!(rests_on(plan, &views)));
        let header = self.header(to, seed, &views);
        let findings = reduced.findings.clone();
        let record = Value::Object(reduced.into_record());
        said.insert("record", json!(Sha256::of(json::canonical(&record).as_bytes())));
        let copy = zeroize::Zeroizing::new(json::canonical(
            &json!({ "findings": findings, "record": record, "subject": subject.expose() }),
        ));
        let Some((header, Ok(locked))) = header.map(|header| {
            let locked = self.means.keeper.lock(&seed.exchange, copy.as_bytes(), &seed.lock);
            (header, locked)
        }) else {
            return refuse(Code::Internal, "the copy could not be locked".to_owned());
        };
        let is_system = self.means.systems.contains(&to.agency);
        let route = if is_system { Route::System } else { Route::Inbox };
        let (parcel, accepted) = Parcel::accept(header, route);
        Consigning::Keep(Box::new(Kept { parcel, accepted, locked, fields, epochs }))
    }

    fn header(&self, to: &RecipientName, seed: &Seed, views: &Map<String, Value>) -> Option<parcel::Header> {
        let (request, push) = (&self.account.request, self.push);
        let sender = &request.sender;
        let views: BTreeMap<FieldId, ViewId> = serde_json::from_value(Value::Object(views.clone())).ok()?;
        Some(parcel::Header {
            exchange: seed.exchange.clone(),
            push: request.exchange.clone(),
            sender: case::Operator { agency: sender.agency.clone(), operator: sender.operator.clone() },
            location: sender.location.clone(),
            assurance: sender.assurance,
            recipient: to.agency.clone(),
            office: to.office.clone(),
            record_type: push.record_type.clone(),
            purpose: push.purpose.clone(),
            case: push.case.clone(),
            subject: self.known.pseudonyms.first().cloned()?,
            views,
            accepted: request.at,
        })
    }
}

fn refuse(code: Code, detail: String) -> Consigning {
    Consigning::Refuse(Refused { code, detail, fields: Vec::new() })
}

/// A recipient that may be sent anything: known, active, not suspended, and with that office.
pub(in crate::exchange) fn recipient_party(
    known: &Known<'_>,
    agency: &AgencyId,
    office: Option<&OfficeId>,
    now: Timestamp,
) -> Option<Party> {
    let found = known.registry.agency(agency)?;
    if !found.is_active(now) || known.registry.is_suspended(agency, None, now) {
        return None;
    }
    if office.is_some_and(|office| !found.offices.iter().any(|other| other.id == *office)) {
        return None;
    }
    Some(Party { agency: agency.clone(), kind: found.kind, office: office.cloned() })
}

impl Consigned {
    pub const fn is_kept(&self) -> bool {
        matches!(self.end, Consigning::Keep(_))
    }

    pub fn addressed(&self) -> Addressed {
        let denied = match &self.end {
            Consigning::Keep(_) => None,
            Consigning::Refuse(refused) => Some(refused.code.text().to_owned()),
        };
        let RecipientName { agency, office } = self.recipient.clone();
        Addressed { agency, office, exchange: self.exchange.clone(), denied }
    }

    /// The exchange's own entry, with what it makes durable.
    pub fn seal(&self, account: &Account, seal: &dyn OwnerSeal) -> Sealed {
        let kind = match &self.end {
            Consigning::Keep(_) => Kind::Disclosure,
            Consigning::Refuse(_) => Kind::Denial,
        };
        let mut draft = self.draft((account, seal), kind, self.decision.clone());
        let mut sealed = Sealed {
            guard: None,
            changes: Vec::new(),
            subjects: account.subject.iter().cloned().collect(),
            closes: None,
            also: Vec::new(),
            parcels: Vec::new(),
            signals: Vec::new(),
            draft: draft.clone(),
        };
        match &self.end {
            Consigning::Refuse(refused) => {
                draft.code = Some(refused.code);
                sealed.draft = draft;
            }
            Consigning::Keep(kept) => {
                let mut overtaken = self.decision.clone();
                overtaken.remove("outcomes");
                overtaken.insert("overtaken", Value::Bool(true));
                let mut fallback = self.draft((account, seal), Kind::Denial, overtaken);
                fallback.code = Some(Code::ExchangeDenied);
                sealed.guard = Some(Guarded { epochs: kept.epochs.clone(), fallback });
                sealed.changes = vec![kept.stream()];
                sealed.parcels = vec![kept.custody()];
            }
        }
        sealed
    }

    fn draft(&self, (account, seal): (&Account, &dyn OwnerSeal), kind: Kind, decision: Grounds) -> Draft {
        let mut draft = Draft::new(kind, self.exchange.clone());
        draft.consumer = Some(self.recipient.agency.clone());
        draft.provider = Some(account.request.sender.agency.clone());
        draft.purpose.clone_from(&account.purpose);
        draft.record_type.clone_from(&account.record_type);
        draft.policy = account.policy.as_ref().map(|policy| policy.sha256);
        let whose = (account.subject.as_ref(), account.case.as_ref());
        let decision = decision.body(&draft.id, seal);
        draft.slots = slots(decision, operator_body(&account.request), whose, &self.salts.0);
        draft
    }

    /// How the sender is told.
    pub fn said(&self, receipt: &Value, branch: Branch) -> Value {
        let mut said = json!({
            "agency": self.recipient.agency,
            "office": self.recipient.office,
            "exchange": self.exchange,
            "receipt": receipt,
        });
        let Value::Object(members) = &mut said else { return said };
        match (&self.end, branch) {
            (Consigning::Keep(kept), Branch::Primary) => {
                members.insert("state".into(), json!(kept.parcel.state()));
                members.insert("fields".into(), Value::Array(kept.fields.clone()));
            }
            (Consigning::Keep(_), Branch::Fallback) => {
                members.insert("state".into(), json!("cancelled"));
                members.insert("code".into(), json!(Code::ExchangeDenied.text()));
            }
            (Consigning::Refuse(refused), _) => {
                members.insert("state".into(), json!("denied"));
                members.insert("code".into(), json!(refused.code.text()));
                members.insert("detail".into(), json!(refused.detail));
                members.insert("fields".into(), Value::Array(refused.fields.clone()));
            }
        }
        said
    }
}

impl Kept {
    fn stream(&self) -> StreamChange {
        let header = &self.parcel.header;
        StreamChange {
            kind: StreamKind::Parcel,
            stream: header.exchange.to_string(),
            expected: 0,
            header: Some(json::canonical_of(header)),
            event: json::canonical_of(&self.accepted),
            subjects: vec![header.subject.clone()],
            waits_for: Some(vec![header.recipient.clone()]),
        }
    }

    fn custody(&self) -> ParcelChange {
        let header = &self.parcel.header;
        let custody = Custody::Keep {
            recipient: header.recipient.clone(),
            accepted: header.accepted,
            due: self.parcel.due(),
            locked: self.locked.clone(),
        };
        ParcelChange { parcel: header.exchange.clone(), custody }
    }
}

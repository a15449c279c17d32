//! From a parcel that waits to the bytes that leave: decided again, only narrower, and logged before the first of them.
//!
//! ```text
//! Parcel + Locked --open--> OpenParcel --recheck--> AuthorizedParcel | Halt
//!        --seal--> (PendingDelivery, Sealed) --the ledger commits--> Receipt --release--> LoggedDelivery --write--> Handover
//! ```
//!
//! Nothing before [`LoggedDelivery`] shows a value, and only [`PendingDelivery::release`] makes one, from the log's own
//! receipt for this very hand-over.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId, NoticeId, Pseudonym};
use crate::json;
use crate::log::entry::{Draft, Kind, Slots};
use crate::log::proof::{LogVerifier, Receipt};
use crate::notice::{self, About};
use crate::parcel::{self, Custody, HOLD, Keeper, LockFault, Locked, Parcel, ParcelChange};
use crate::policy::Party;
use crate::policy::reduce::{self, Carried, Findings};
use crate::subject::{CodiceFiscale, SubjectKeys};
use crate::time::Timestamp;
use crate::wire;

use super::answer::{SignError, Stamp};
use super::authorize::{
    Asks, Known, concerned, epochs, facts, outcome_value, policy_stamp, question, rests_on, shown,
};
use super::bodies::slots;
use super::grounds::{Grounds, OwnerSeal, Topic};
use super::outcome::{Branch, Expected, Guarded, PolicyStamp, ReleaseError, Salts, Sealed};
use super::push::recipient_party;
use super::registered::{StreamChange, StreamKind, issue};

/// A copy out of its lock. Not `Serialize`, and nothing reads its values.
pub struct OpenParcel {
    parcel: Parcel,
    subject: CodiceFiscale,
    record: Map<String, Value>,
    /// What the record's values told besides themselves.
    findings: Findings,
}

/// What is under lock.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Copy {
    findings: Findings,
    record: Map<String, Value>,
    subject: CodiceFiscale,
}

/// A copy of which at least one field may still be handed over. Only [`OpenParcel::recheck`] makes one.
pub struct AuthorizedParcel {
    pub(in crate::exchange) parcel: Parcel,
    subject: CodiceFiscale,
    carried: Carried,
    decision: Grounds,
    policy: PolicyStamp,
    epochs: Vec<(String, u64)>,
    concerned: Vec<Pseudonym>,
    at: Timestamp,
}

/// The answer of [`OpenParcel::recheck`].
#[derive(Debug)]
pub enum Rechecked {
    Halt(Box<Halt>),
    Permit(Box<AuthorizedParcel>),
}

/// Nothing of a parcel may be handed over any more: what its last entry says.
#[derive(Debug)]
pub struct Halt {
    pub parcel: Parcel,
    pub code: Code,
    decision: Grounds,
    policy: Option<PolicyStamp>,
}

/// A hand-over that waits for its receipt. It can neither be read nor written.
pub struct PendingDelivery {
    parcel: AuthorizedParcel,
    expected: Expected,
}

/// A hand-over of which the log has proved that it holds the entry. Only this can be written.
pub struct LoggedDelivery {
    parcel: AuthorizedParcel,
    receipt: Receipt,
}

/// What [`PendingDelivery::release`] comes to.
#[derive(Debug)]
pub enum Released {
    Logged(Box<LoggedDelivery>),
    /// Something it rested on had changed: the log has a denial instead, and nothing is handed over.
    Overtaken,
}

/// The bytes of one hand-over, with what an adapter needs to say it in another system's own way.
pub struct Handover {
    pub exchange: ExchangeId,
    /// Canonical JSON: record, outcomes, receipt, the record's own signature.
    pub document: String,
    pub record: Map<String, Value>,
    pub subject: CodiceFiscale,
}

macro_rules! hidden {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

hidden! { AuthorizedParcel Handover LoggedDelivery OpenParcel PendingDelivery }

impl OpenParcel {
    /// Opens a lock in memory. Nothing is disclosed by that: what it makes has no reader.
    pub fn open(parcel: Parcel, locked: &Locked, keeper: &dyn Keeper) -> Result<Self, LockFault> {
        let bytes: Zeroizing<Vec<u8>> = keeper.open(&parcel.header.exchange, locked)?;
        let Copy { findings, record, subject } = json::parse_as(&bytes).map_err(|_| LockFault)?;
        Ok(Self { parcel, subject, record, findings })
    }

    /// Whose facts must be read: the person's pseudonyms of all epochs.
    pub fn pseudonyms(&self, keys: &SubjectKeys) -> Vec<Pseudonym> {
        keys.all(&self.subject)
    }

    pub const fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    /// Decides again, with what is known now. The copy narrows to it; it never widens.
    pub fn recheck(self, known: &Known<'_>, now: Timestamp) -> Rechecked {
        let header = &self.parcel.header;
        let recipient = recipient_party(known, &header.recipient, header.office.as_ref(), now);
        let sender = recipient_party(known, &header.sender.agency, None, now);
        let (Some(consumer), Some(sender)) = (recipient, sender) else {
            return self.halt(Code::ExchangeNotAllowed, Grounds::default(), None);
        };
        let provider = Party { office: None, ..sender };
        let case = known.case.and_then(|case| {
            case.fact_for(&known.pseudonyms, &header.recipient, header.office.as_ref(), now)
        });
        let asks =
            Asks { record_type: &header.record_type, purpose: &header.purpose, consumer, provider, case };
        let facts = facts(asks, known, now);
        let topic = Topic { record_type: &header.record_type, purpose: &header.purpose, requested: None };
        let mut said = Grounds::of(topic, &facts, known.policy, now);
        let policy = policy_stamp(known);
        let plan = match known.policy.decide(&question(&header.record_type, &header.purpose, &facts, now)) {
            Ok(plan) => plan,
            Err(refusal) => {
                said.insert("outcomes", Value::Array(Vec::new()));
                return self.halt(refusal.code(), said, Some(policy));
            }
        };
        let made = reduce::Made { findings: &self.findings, views: &header.views };
        said.insert("held", json!(header.views));
        let carried = reduce::carry(&plan, made, self.record.clone());
        said.find(&plan.record_type, &carried.findings);
        said.insert("outcomes", carried.outcomes.iter().map(outcome_value).collect());
        if carried.record.is_empty() {
            return self.halt(Code::ExchangeDenied, said, Some(policy));
        }
        let views: Map<String, Value> = carried.outcomes.iter().filter_map(shown).collect();
        said.insert("rests_on", json!(rests_on(&plan, &views)));
        let record = json::canonical(&Value::Object(carried.record.clone()));
        said.insert("record", json!(Sha256::of(record.as_bytes())));
        let epochs = epochs(&plan, &facts, known);
        let concerned = concerned(&plan, known, Some(&header.subject));
        let Self { parcel, subject, .. } = self;
        Rechecked::Permit(Box::new(AuthorizedParcel {
            parcel,
            subject,
            carried,
            decision: said,
            policy,
            epochs,
            concerned,
            at: now,
        }))
    }

    fn halt(self, code: Code, decision: Grounds, policy: Option<PolicyStamp>) -> Rechecked {
        Rechecked::Halt(Box::new(Halt { parcel: self.parcel, code, decision, policy }))
    }
}

/// Who makes an attempt, and under which fresh names.
pub struct Attempt<'a> {
    pub entry: ExchangeId,
    pub salts: [[u8; 32]; 3],
    pub replica: &'a str,
    pub seal: &'a dyn OwnerSeal,
}

impl AuthorizedParcel {
    pub const fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    /// An attempt to bring it to the recipient's system: in one transaction with its entry the parcel is held, so that no
    /// other replica makes it too.
    pub fn attempt(self, attempt: Attempt<'_>) -> (PendingDelivery, Sealed) {
        let event = parcel::Event::Attempted {
            at: self.at,
            entry: attempt.entry.clone(),
            replica: attempt.replica.to_owned(),
        };
        let hold = Custody::Hold { replica: attempt.replica.to_owned(), until: self.at.plus(HOLD) };
        let change = parcel_change(&self.parcel, &event, None);
        let hold = ParcelChange { parcel: self.parcel.header.exchange.clone(), custody: hold };
        let (pending, mut sealed) = self.seal(&attempt.entry, Salts(attempt.salts), attempt.seal);
        sealed.changes.push(change);
        sealed.parcels.push(hold);
        (pending, sealed)
    }

    /// One copy of an inbox's answer. It also rests on the parcel itself: acknowledged or cancelled meanwhile, it is gone.
    pub(in crate::exchange) fn fetched(
        mut self,
        entry: &ExchangeId,
        salts: Salts,
        seal: &dyn OwnerSeal,
    ) -> (PendingDelivery, Sealed) {
        self.epochs.push((self.parcel.header.exchange.to_string(), self.parcel.epoch()));
        self.seal(entry, salts, seal)
    }

    fn seal(mut self, entry: &ExchangeId, salts: Salts, seal: &dyn OwnerSeal) -> (PendingDelivery, Sealed) {
        let epochs = std::mem::take(&mut self.epochs);
        let mut overtaken = self.decision.clone();
        overtaken.remove("outcomes");
        overtaken.insert("overtaken", Value::Bool(true));
        let said = std::mem::take(&mut self.decision);
        let draft = |kind: Kind, decision: Grounds| {
            let draft = draft(&self.parcel, kind, entry, Some(&self.policy));
            filled(draft, &self.parcel, decision, (&salts, seal))
        };
        let mut fallback = draft(Kind::Denial, overtaken);
        fallback.code = Some(Code::ExchangeDenied);
        let guard = Guarded { epochs, fallback };
        let draft = draft(Kind::Delivery, said);
        let expected = Expected::of(&draft, Some(&guard));
        let mut subjects = vec![self.parcel.header.subject.clone()];
        subjects.append(&mut self.concerned);
        let sealed = Sealed {
            draft,
            guard: Some(guard),
            changes: Vec::new(),
            subjects,
            closes: None,
            also: Vec::new(),
            parcels: Vec::new(),
            signals: Vec::new(),
        };
        (PendingDelivery { parcel: self, expected }, sealed)
    }
}

impl PendingDelivery {
    /// Opens the hand-over with the proof that its entry is in the log.
    pub fn release(self, receipt: Receipt, log: &LogVerifier) -> Result<Released, ReleaseError> {
        match self.expected.opened_by(&receipt, log)? {
            Branch::Primary => {
                Ok(Released::Logged(Box::new(LoggedDelivery { parcel: self.parcel, receipt })))
            }
            Branch::Fallback => Ok(Released::Overtaken),
        }
    }
}

impl LoggedDelivery {
    /// Writes what the recipient gets, with the record under the gateway's seal.
    pub fn write(self, stamp: &Stamp<'_>) -> Result<Handover, SignError> {
        let AuthorizedParcel { parcel, subject, carried, policy, .. } = self.parcel;
        let header = &parcel.header;
        let text = |value: Value| json::canonical(&value);
        let record = json::canonical(&Value::Object(carried.record.clone()));
        let exchange = text(json!(header.exchange));
        let policy = text(json!({ "version": policy.version, "sha256": policy.sha256 }));
        let views: Map<String, Value> = carried.outcomes.iter().filter_map(shown).collect();
        let claims = json::object(&[
            ("aud", &text(json!(header.recipient))),
            ("consumer", &text(json!(header.recipient))),
            ("iat", &stamp.now.seconds().to_string()),
            ("iss", &text(json!(stamp.gateway))),
            ("jti", &exchange),
            ("policy", &policy),
            ("provider", &text(json!(header.sender.agency))),
            ("purpose", &text(json!(header.purpose))),
            ("record", &record),
            ("record_type", &text(json!(header.record_type))),
            ("views", &text(Value::Object(views))),
        ]);
        let record_jws = wire::record_jws(&claims, stamp.seal)?;
        let fields = carried.outcomes.iter().map(outcome_value).collect();
        let document = json::object(&[
            ("accepted", &text(json!(header.accepted))),
            ("case", &text(json!(header.case))),
            ("delivery", &exchange),
            ("fields", &text(fields)),
            ("policy", &policy),
            ("provider", &text(json!(header.sender.agency))),
            ("purpose", &text(json!(header.purpose))),
            ("push", &text(json!(header.push))),
            ("receipt", &text(Value::String(self.receipt.to_text()))),
            ("record", &record),
            ("record_jws", &text(Value::String(record_jws))),
            ("record_type", &text(json!(header.record_type))),
            ("subject", &text(json!({ "codice_fiscale": subject.expose() }))),
        ]);
        Ok(Handover { exchange: header.exchange.clone(), document, record: carried.record, subject })
    }
}

/// What became of a parcel, or of one attempt.
#[derive(Debug)]
pub enum Turn {
    /// Nothing of it may be handed over any more.
    Cancelled(Box<Halt>),
    Dead {
        parcel: Parcel,
        code: Code,
    },
    /// The recipient's system has said that it has it, in bytes of this digest; `entry` is the attempt's.
    Delivered {
        parcel: Parcel,
        entry: ExchangeId,
        answer: Sha256,
    },
    /// This attempt failed; the next one is made at `next`.
    Failed {
        parcel: Parcel,
        entry: ExchangeId,
        code: Code,
        next: Timestamp,
    },
}

/// The entry for a turn, with what it changes. Holds no value.
pub fn turn(turn: Turn, salts: [[u8; 32]; 3], seal: &dyn OwnerSeal, now: Timestamp) -> Sealed {
    let under = (&Salts(salts), seal);
    match turn {
        Turn::Cancelled(halt) => {
            let event = parcel::Event::Cancelled { at: now, code: halt.code.text().to_owned() };
            let exchange = halt.parcel.header.exchange.clone();
            let mut draft = draft(&halt.parcel, Kind::Denial, &exchange, halt.policy.as_ref());
            draft.code = Some(halt.code);
            let draft = filled(draft, &halt.parcel, halt.decision.clone(), under);
            ended(&halt.parcel, event, draft, Custody::Remove)
        }
        Turn::Dead { parcel, code } => {
            let event = parcel::Event::Dead { at: now, code: code.text().to_owned() };
            let mut draft = draft(&parcel, Kind::Failure, &parcel.header.exchange, None);
            draft.code = Some(code);
            let mut sealed =
                ended(&parcel, event, filled(draft, &parcel, Grounds::default(), under), Custody::Bury);
            sealed.changes.extend(undelivered(&parcel, now));
            sealed
        }
        Turn::Delivered { parcel, entry, answer } => {
            let event = parcel::Event::Delivered { at: now, entry: entry.clone() };
            let mut said = Grounds::default();
            said.insert("acknowledged", json!(entry));
            said.insert("answer", json!(answer));
            let draft = draft(&parcel, Kind::Delivery, &parcel.header.exchange, None);
            ended(&parcel, event, filled(draft, &parcel, said, under), Custody::Remove)
        }
        Turn::Failed { parcel, entry, code, next } => {
            let event = parcel::Event::Failed { at: now, code: code.text().to_owned(), next };
            let mut draft = draft(&parcel, Kind::Failure, &entry, None);
            draft.code = Some(code);
            let draft = filled(draft, &parcel, Grounds::default(), under);
            let mut sealed = entry_of(&parcel, draft);
            sealed.changes.push(parcel_change(&parcel, &event, None));
            let custody = Custody::Wait { due: next };
            sealed.parcels.push(ParcelChange { parcel: parcel.header.exchange, custody });
            sealed
        }
    }
}

/// The parcel waits for nobody any more, and its copy goes.
fn ended(parcel: &Parcel, event: parcel::Event, draft: Draft, custody: Custody) -> Sealed {
    let mut sealed = entry_of(parcel, draft);
    sealed.changes.push(parcel_change(parcel, &event, Some(Vec::new())));
    sealed.parcels.push(ParcelChange { parcel: parcel.header.exchange.clone(), custody });
    sealed
}

/// A word to both agencies' officers: it was never taken over.
fn undelivered(parcel: &Parcel, now: Timestamp) -> Vec<StreamChange> {
    let header = &parcel.header;
    let told = [&header.recipient, &header.sender.agency];
    let notice = |to: &AgencyId| notice::Notice {
        id: NoticeId::of(&header.exchange, &["undelivered", to.as_str()]),
        about: About::Undelivered,
        issued: now,
        to: to.clone(),
        provider: Some(header.sender.agency.clone()).filter(|sender| sender != to),
        record_type: Some(header.record_type.clone()),
        purpose: Some(header.purpose.clone()),
        fields: Vec::new(),
        exchanges: vec![header.exchange.clone()],
        emergency: None,
    };
    told.into_iter().map(|to| issue(notice(to))).collect()
}

pub(in crate::exchange) fn parcel_change(
    parcel: &Parcel,
    event: &parcel::Event,
    waits_for: Option<Vec<AgencyId>>,
) -> StreamChange {
    StreamChange {
        kind: StreamKind::Parcel,
        stream: parcel.header.exchange.to_string(),
        expected: parcel.epoch(),
        header: None,
        event: json::canonical_of(event),
        subjects: Vec::new(),
        waits_for,
    }
}

fn entry_of(parcel: &Parcel, draft: Draft) -> Sealed {
    Sealed {
        draft,
        guard: None,
        changes: Vec::new(),
        subjects: vec![parcel.header.subject.clone()],
        closes: None,
        also: Vec::new(),
        parcels: Vec::new(),
        signals: Vec::new(),
    }
}

fn draft(parcel: &Parcel, kind: Kind, entry: &ExchangeId, policy: Option<&PolicyStamp>) -> Draft {
    let header = &parcel.header;
    let mut draft = Draft::new(kind, entry.clone());
    draft.consumer = Some(header.recipient.clone());
    draft.provider = Some(header.sender.agency.clone());
    draft.purpose = Some(header.purpose.clone());
    draft.record_type = Some(header.record_type.clone());
    draft.policy = policy.map(|policy| policy.sha256);
    draft
}

/// What is random about an entry, and what seals the part of it that only the owner may know.
type Under<'a> = (&'a Salts, &'a dyn OwnerSeal);

fn filled(mut draft: Draft, parcel: &Parcel, mut decision: Grounds, (salts, seal): Under<'_>) -> Draft {
    let header = &parcel.header;
    decision.insert("delivers", json!(header.exchange));
    decision.insert("push", json!(header.push));
    draft.slots = parcel_slots(parcel, decision.body(&draft.id, seal), salts);
    draft
}

/// The bodies of an entry about a parcel: who sent it, whose it is, and which exchange it belongs to.
fn parcel_slots(parcel: &Parcel, decision: Value, salts: &Salts) -> Slots {
    let header = &parcel.header;
    let operator = json!({
        "agency": header.sender.agency,
        "operator": header.sender.operator,
        "location": header.location,
        "assurance": header.assurance,
        "by": "gateway",
    });
    slots(decision, operator, (Some(&header.subject), header.case.as_ref()), &salts.0)
}

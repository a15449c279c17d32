//! `/appeals`: a field that a decision withheld is asked for with a reason; its owner opens it for a time or rejects it.
//!
//! The words that people write here, and whom they are about, are sealed to the officers of the agency that must read
//! them before they come to this module, and live in the entry's decision slot alone.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Done, Refusal, Registered, StreamChange, StreamKind, operator, settle};
use crate::appeal::{Appeal, AppealFault, Change, Event, Header, Wanted};
use crate::code::Code;
use crate::exchange::ask::SubjectName;
use crate::exchange::outcome::Outcome;
use crate::exchange::verify::VerifiedRequest;
use crate::id::{
    AgencyId, AppealId, CaseId, ExchangeId, FieldId, Pseudonym, PurposeId, RecordTypeId, ViewId,
};
use crate::json;
use crate::log::entry::{Kind, Slot, Slots};
use crate::log::leaf::Leaf;
use crate::policy::opening::Barred;
use crate::policy::reduce::{FieldOutcome, Outcome as Became};
use crate::policy::{Facts, Question};
use crate::time::Timestamp;

/// Words a person wrote for other people. Never logged, stored or shown as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Words(String);

impl Words {
    /// A reason says something.
    const SHORTEST: usize = 10;
    /// A page.
    const LONGEST: usize = 2000;

    /// For sealing, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits = (Self::SHORTEST..=Self::LONGEST).contains(&text.trim().chars().count());
        if fits {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom("a reason has 10 to 2000 characters"))
        }
    }
}

/// The body of `POST /appeals`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppealAsk {
    /// The exchange in which the fields were withheld.
    pub exchange: ExchangeId,
    /// Whom it was about: the owner must know.
    pub subject: SubjectName,
    pub fields: Vec<WantedAsk>,
    pub reason: Words,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedAsk {
    pub name: FieldId,
    /// Absent: whole.
    #[serde(default)]
    pub view: Option<ViewId>,
}

/// The body of `POST /appeals/{id}/events`.
#[derive(Debug, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum AppealEventAsk {
    Approve { until: Timestamp },
    Close {},
    Reject { reason: Words },
    Revoke { reason: Words },
}

impl AppealEventAsk {
    /// The words that came with it, if it has any.
    pub const fn words(&self) -> Option<&Words> {
        match self {
            Self::Approve { .. } | Self::Close {} => None,
            Self::Reject { reason } | Self::Revoke { reason } => Some(reason),
        }
    }

    const fn change(&self) -> Change {
        match self {
            Self::Approve { until } => Change::Approve { until: *until },
            Self::Close {} => Change::Close,
            Self::Reject { .. } => Change::Reject,
            Self::Revoke { .. } => Change::Revoke,
        }
    }
}

/// A decision as the log has it: what an appeal is against.
#[derive(Debug)]
pub struct Decided {
    pub exchange: ExchangeId,
    pub consumer: AgencyId,
    pub provider: AgencyId,
    record_type: RecordTypeId,
    purpose: PurposeId,
    case: Option<CaseId>,
    subject: Pseudonym,
    facts: Facts,
    outcomes: Vec<FieldOutcome>,
}

#[derive(Deserialize)]
struct DecisionBody {
    facts: Facts,
    outcomes: Vec<NamedOutcome>,
}

/// An outcome with its field as the log writes it.
#[derive(Deserialize)]
struct NamedOutcome {
    name: FieldId,
    #[serde(flatten)]
    outcome: Became,
}

#[derive(Deserialize)]
struct SubjectBody {
    subject: Pseudonym,
    #[serde(default)]
    case: Option<CaseId>,
}

impl Decided {
    /// `None` where the entry tells of no decision field by field, or its bodies are erased.
    pub fn read(leaf: &Leaf, slots: &Slots) -> Option<Self> {
        let body: DecisionBody = read(slots.decision.as_ref())?;
        let about: SubjectBody = read(slots.subject.as_ref())?;
        let content = leaf.content();
        let outcome = |one: NamedOutcome| FieldOutcome { field: one.name, outcome: one.outcome };
        Some(Self {
            exchange: content.id.clone(),
            consumer: content.consumer.clone()?,
            provider: content.provider.clone()?,
            record_type: content.record_type.clone()?,
            purpose: content.purpose.clone()?,
            case: about.case,
            subject: about.subject,
            facts: body.facts,
            outcomes: body.outcomes.into_iter().map(outcome).collect(),
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(slot: Option<&Slot>) -> Option<T> {
    serde_json::from_str(&slot?.body).ok()
}

impl Registered<'_> {
    /// `POST /appeals`. `sealed` are the subject and the reason, sealed to each of the owner's officers.
    pub fn file_appeal(
        &self,
        request: VerifiedRequest,
        ask: &AppealAsk,
        decided: Option<Decided>,
        sealed: Vec<String>,
    ) -> Outcome {
        let mine = decided.filter(|decided| decided.consumer == request.sender.agency);
        let words = words(&request, &sealed);
        let parties = mine.as_ref().map(Parties::of_decided);
        let outcome = settle(request, |request| {
            let decided = mine.ok_or_else(|| Refusal::unknown(Code::AppealUnknown))?;
            self.subject(&ask.subject)?;
            if !self.keys.all(&ask.subject.codice_fiscale).contains(&decided.subject) {
                return Err(Refusal::unknown(Code::AppealUnknown));
            }
            if words.is_none() {
                return Err(Refusal::unknown(Code::AppealNoReader));
            }
            let fields = ask.fields.iter().map(|wanted| self.wanted(request, &decided, wanted));
            let fields = fields.collect::<Result<Vec<_>, _>>()?;
            let header = Header {
                id: AppealId::from(request.exchange()),
                exchange: decided.exchange,
                consumer: decided.consumer,
                provider: decided.provider,
                record_type: decided.record_type,
                purpose: decided.purpose,
                case: decided.case,
                subject: decided.subject.clone(),
                fields,
            };
            let first = event(request, words, Change::File);
            let appeal = Appeal::file(header, first.clone())?;
            let change = StreamChange {
                header: Some(json::canonical_of(&appeal.header)),
                subjects: vec![decided.subject],
                ..appeal_change(&appeal, 0, &first)
            };
            Ok(Done::appeal(&appeal, request, vec![change], 201))
        });
        with_words(named(outcome, parties), sealed)
    }

    /// Whether the field was withheld and the owner's word could open it.
    fn wanted(
        &self,
        request: &VerifiedRequest,
        decided: &Decided,
        wanted: &WantedAsk,
    ) -> Result<Wanted, Refusal> {
        let view = wanted.view.clone().unwrap_or_else(ViewId::whole);
        let barred = |why: &Barred| Refusal(Code::AppealBarred, format!("`{}`: {why}", wanted.name));
        let outcome = decided.outcomes.iter().find(|one| one.field == wanted.name).map(|one| &one.outcome);
        match outcome {
            // One answer for all that may be concealed, whatever the cause of its not being shown was.
            Some(Became::Unavailable) => return Err(barred(&Barred::Protected)),
            Some(Became::Absent) => return Err(barred(&Barred::Granted)),
            Some(Became::Shown { .. } | Became::Withheld { .. }) => {}
            None => return Err(barred(&Barred::Unknown)),
        }
        let question = Question {
            record_type: &decided.record_type,
            purpose: &decided.purpose,
            requested: None,
            facts: &decided.facts,
            now: request.at,
        };
        self.policy.may_open(&question, &wanted.name, &view).map_err(|why| barred(&why))?;
        Ok(Wanted { field: wanted.name.clone(), view })
    }

    /// `POST /appeals/{id}/events`. `sealed` are the words, if it has any, sealed to the other side's officers.
    pub fn record_appeal(
        &self,
        request: VerifiedRequest,
        ask: &AppealEventAsk,
        appeal: Option<Appeal>,
        sealed: Vec<String>,
    ) -> Outcome {
        let appeal = appeal.filter(|appeal| appeal.is_known_to(&request.sender.agency));
        let words = words(&request, &sealed);
        let parties = appeal.as_ref().map(Parties::of_appeal);
        let outcome = settle(request, |request| {
            let before = appeal.ok_or_else(|| Refusal::unknown(Code::AppealUnknown))?;
            if ask.words().is_some() && words.is_none() {
                return Err(Refusal::unknown(Code::AppealNoReader));
            }
            let (epoch, event) = (before.epoch(), event(request, words, ask.change()));
            let appeal = before.record(event.clone())?;
            let change = appeal_change(&appeal, epoch, &event);
            Ok(Done::appeal(&appeal, request, vec![change], 200))
        });
        with_words(named(outcome, parties), sealed)
    }

    /// `GET /appeals`: those in which the agency has still something to do or to learn.
    pub fn list_appeals(&self, request: VerifiedRequest, waiting: &[Appeal]) -> Outcome {
        settle(request, |request| {
            let views = |mine: fn(&Appeal) -> &AgencyId| -> Value {
                let mine = waiting.iter().filter(|appeal| *mine(appeal) == request.sender.agency);
                mine.map(|appeal| appeal_view(appeal, request.at)).collect()
            };
            let body = Map::from_iter([
                ("filed".to_owned(), views(|appeal| &appeal.header.consumer)),
                ("received".to_owned(), views(|appeal| &appeal.header.provider)),
            ]);
            Ok(Done { subject: None, case: None, kind: Kind::Read, changes: Vec::new(), status: 200, body })
        })
    }

    /// `GET /appeals/{id}`, with the sealed words that are not erased.
    pub fn read_appeal(
        &self,
        request: VerifiedRequest,
        appeal: Option<Appeal>,
        sealed: Vec<Value>,
    ) -> Outcome {
        let appeal = appeal.filter(|appeal| appeal.is_known_to(&request.sender.agency));
        let parties = appeal.as_ref().map(Parties::of_appeal);
        let outcome = settle(request, |request| {
            let appeal = appeal.ok_or_else(|| Refusal::unknown(Code::AppealUnknown))?;
            let mut done = Done::appeal(&appeal, request, Vec::new(), 200);
            done.kind = Kind::Read;
            done.body.insert("words".into(), Value::Array(sealed));
            Ok(done)
        });
        named(outcome, parties)
    }
}

/// Whom and what an entry about an appeal names in its leaf, so that both sides find it.
struct Parties {
    consumer: AgencyId,
    provider: AgencyId,
    purpose: PurposeId,
    record_type: RecordTypeId,
}

impl Parties {
    fn of_decided(decided: &Decided) -> Self {
        Self {
            consumer: decided.consumer.clone(),
            provider: decided.provider.clone(),
            purpose: decided.purpose.clone(),
            record_type: decided.record_type.clone(),
        }
    }

    fn of_appeal(appeal: &Appeal) -> Self {
        let header = &appeal.header;
        Self {
            consumer: header.consumer.clone(),
            provider: header.provider.clone(),
            purpose: header.purpose.clone(),
            record_type: header.record_type.clone(),
        }
    }
}

fn named(mut outcome: Outcome, parties: Option<Parties>) -> Outcome {
    if let Some(parties) = parties {
        // The sender stands in the leaf as the consumer; the other side beside it.
        let sender = &outcome.account.request.sender.agency;
        let other = if *sender == parties.provider { parties.consumer } else { parties.provider };
        outcome.account.provider = Some(other);
        outcome.account.purpose = Some(parties.purpose);
        outcome.account.record_type = Some(parties.record_type);
    }
    outcome
}

/// Puts the sealed words into the entry's decision slot; only there do they live.
fn with_words(mut outcome: Outcome, sealed: Vec<String>) -> Outcome {
    if outcome.kind() == Kind::Case && !sealed.is_empty() {
        outcome.account.decision.insert("words", json!(sealed));
    }
    outcome
}

fn words(request: &VerifiedRequest, sealed: &[String]) -> Option<ExchangeId> {
    (!sealed.is_empty()).then(|| request.exchange().clone())
}

impl Done {
    fn appeal(appeal: &Appeal, request: &VerifiedRequest, changes: Vec<StreamChange>, status: u16) -> Self {
        let body = Map::from_iter([("appeal".to_owned(), appeal_view(appeal, request.at))]);
        let (subject, case) = (Some(appeal.header.subject.clone()), appeal.header.case.clone());
        Self { subject, case, kind: Kind::Case, changes, status, body }
    }
}

fn event(request: &VerifiedRequest, words: Option<ExchangeId>, change: Change) -> Event {
    Event { at: request.at, by: operator(&request.sender), request: request.digest, words, change }
}

fn appeal_change(appeal: &Appeal, expected: u64, event: &Event) -> StreamChange {
    StreamChange {
        kind: StreamKind::Appeal,
        stream: appeal.header.id.to_string(),
        expected,
        header: None,
        event: json::canonical_of(event),
        subjects: Vec::new(),
        waits_for: Some(appeal.waits_for()),
    }
}

/// Without the person: whoever may know who it is about reads the sealed words.
fn appeal_view(appeal: &Appeal, now: Timestamp) -> Value {
    let header = &appeal.header;
    let mut view = json!(appeal.state(now));
    if let Value::Object(view) = &mut view {
        let fields: Vec<Value> =
            header.fields.iter().map(|wanted| json!({ "name": wanted.field, "view": wanted.view })).collect();
        view.insert("id".into(), json!(header.id));
        view.insert("exchange".into(), json!(header.exchange));
        view.insert("consumer".into(), json!(header.consumer));
        view.insert("provider".into(), json!(header.provider));
        view.insert("record_type".into(), json!(header.record_type));
        view.insert("purpose".into(), json!(header.purpose));
        if let Some(case) = &header.case {
            view.insert("case".into(), json!(case));
        }
        view.insert("fields".into(), json!(fields));
        view.insert("filed".into(), json!(appeal.filed()));
        view.insert("epoch".into(), json!(appeal.epoch()));
    }
    view
}

impl From<AppealFault> for Refusal {
    fn from(fault: AppealFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}

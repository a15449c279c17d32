//! Requests that change or read the registers of consents, restrictions, cases and notices. They pass through the same lock as a disclosure:
//! the change, its log entry and the answer's receipt are one transaction.

use serde_json::{Map, Value, json};

use crate::case;
use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, CaseId, Pseudonym};
use crate::log::entry::Kind;
use crate::policy::Policy;
use crate::registry::{Deployment, Registry};
use crate::subject::SubjectKeys;

use super::ask::SubjectName;
use super::outcome::{Account, End, Outcome};
use super::verify::{Sender, VerifiedRequest};

mod appeal_register;
mod case_register;
mod consent_register;
mod notice_register;
mod restriction_register;
mod subject_register;
mod withdrawal;

pub use appeal_register::{AppealAsk, AppealEventAsk, Decided, WantedAsk, Words};
pub use case_register::{CaseAsk, CaseEventAsk};
pub use consent_register::{ConsentAsk, ConsentEventAsk};
pub use notice_register::{AckAsk, ReviewAsk, Waiting};
pub(super) use notice_register::{alert, issue};
pub use restriction_register::{LiftAsk, RestrictionAsk};
pub use subject_register::{CorrectionAsk, PersonPast, ReportAsk};
pub use withdrawal::{WithdrawalAsk, WithdrawnItem};

/// Which register a stream of events belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    Appeal,
    Case,
    Consent,
    /// A notice of an emergency: apart, so that those not reviewed are found at once.
    Emergency,
    Notice,
    Parcel,
    Push,
    Restriction,
    /// The numbers that providers know their signals by.
    Signal,
    /// What of an owner's records of one type and half year has been told in numbers.
    Statistics,
    Subscription,
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
    /// The agencies the stream waits for from now on; absent leaves them as they are.
    pub waits_for: Option<Vec<AgencyId>>,
}

/// What the registers' rules need to know besides the request.
pub struct Registered<'a> {
    pub registry: &'a Registry,
    pub keys: &'a SubjectKeys,
    pub policy: &'a Policy,
}

/// A refusal before any change, with the code it is answered with.
pub(super) struct Refusal(pub Code, pub String);

impl Registered<'_> {
    pub(super) fn subject(&self, subject: &SubjectName) -> Result<Pseudonym, Refusal> {
        let synthetic = subject.codice_fiscale.is_synthetic();
        if synthetic != (self.registry.deployment == Deployment::Test) {
            return Err(Refusal(Code::SubjectWrongWorld, wrong_world(self.registry.deployment).into()));
        }
        Ok(self.keys.pseudonym(&subject.codice_fiscale))
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
pub(super) struct Done {
    pub subject: Option<Pseudonym>,
    pub case: Option<CaseId>,
    pub kind: Kind,
    pub changes: Vec<StreamChange>,
    pub status: u16,
    pub body: Map<String, Value>,
}

pub(super) fn settle(
    request: VerifiedRequest,
    act: impl FnOnce(&VerifiedRequest) -> Result<Done, Refusal>,
) -> Outcome {
    match act(&request) {
        Ok(done) => {
            let mut account = Account::new(request);
            account.subject = done.subject;
            account.case = done.case;
            // By hash: events name people, and this body must be erasable without them.
            let said = |change: &StreamChange| {
                json!({
                    "stream": change.stream,
                    "epoch": change.expected + 1,
                    "event": Sha256::of(change.event.as_bytes()),
                })
            };
            let events = done.changes.iter().map(said);
            account.decision.insert("events", events.collect());
            let (kind, changes, status, mut body) = (done.kind, done.changes, done.status, done.body);
            body.insert("exchange".into(), json!(account.request.exchange));
            let (parcels, signals) = (Vec::new(), Vec::new());
            Outcome { account, end: End::Register { kind, changes, parcels, signals, status, body } }
        }
        Err(Refusal(code, detail)) => Outcome::fail(request, code, detail),
    }
}

pub(super) fn operator(sender: &Sender) -> case::Operator {
    case::Operator { agency: sender.agency.clone(), operator: sender.operator.clone() }
}

impl Refusal {
    pub(super) fn unknown(code: Code) -> Self {
        Self(code, code.title().to_owned())
    }
}

//! What became of a request, sealed for the log and opened again by the log's receipt.

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, CaseId, ExchangeId, Pseudonym, PurposeId, RecordTypeId};
use crate::log::entry::{Commitments, Draft, Kind, Slot, Slots};
use crate::log::proof::{LogVerifier, ProofFault, Receipt};

use super::registered::StreamChange;
use super::verify::{Sender, VerifiedRequest};

/// The end of a verified request. One request has exactly one, and the log has an entry for it.
#[derive(Debug)]
pub struct Outcome {
    pub(in crate::exchange) account: Account,
    pub(in crate::exchange) end: End,
}

/// Everything the log says of a request, whatever its end.
#[derive(Debug)]
pub(in crate::exchange) struct Account {
    pub request: VerifiedRequest,
    pub provider: Option<AgencyId>,
    pub purpose: Option<PurposeId>,
    pub record_type: Option<RecordTypeId>,
    pub subject: Option<Pseudonym>,
    pub case: Option<CaseId>,
    pub policy: Option<PolicyStamp>,
    /// The inputs of the decision, canonical, for replay.
    pub decision: Map<String, Value>,
}

#[derive(Debug, Clone)]
pub(in crate::exchange) struct PolicyStamp {
    pub version: String,
    pub sha256: Sha256,
}

#[derive(Debug)]
pub(in crate::exchange) enum End {
    Deny(Refused),
    Disclose(Disclosed),
    Fail { code: Code, detail: String },
    Register { kind: Kind, changes: Vec<StreamChange>, status: u16, body: Map<String, Value> },
}

#[derive(Debug)]
pub(in crate::exchange) struct Refused {
    pub code: Code,
    pub detail: String,
    /// Canonical JSON of the field outcomes, empty when the request was refused as a whole.
    pub fields: Vec<Value>,
}

#[derive(Debug)]
pub(in crate::exchange) struct Disclosed {
    /// Canonical JSON of the released values.
    pub record: String,
    pub fields: Vec<Value>,
    pub views: Map<String, Value>,
    /// What the disclosure rests on; if any has moved when the log commits, the fallback is what happened.
    pub epochs: Vec<(String, u64)>,
}

/// What the ledger is given: one entry to commit, or two of which it commits exactly one.
#[derive(Debug)]
pub struct Sealed {
    pub draft: Draft,
    pub guard: Option<Guarded>,
    pub changes: Vec<StreamChange>,
    /// Who the entry is about, for the question "who looked at me".
    pub subjects: Vec<Pseudonym>,
    /// The claim this outcome closes.
    pub closes: ExchangeId,
}

/// The epochs a disclosure rests on, and the denial that is true if one of them has moved.
#[derive(Debug)]
pub struct Guarded {
    pub epochs: Vec<(String, u64)>,
    pub fallback: Draft,
}

/// An outcome that waits for its receipt. It can neither be read nor signed.
#[derive(Debug)]
pub struct Pending {
    outcome: Outcome,
    expected: (Kind, Commitments),
    fallback: Option<(Kind, Commitments)>,
}

/// An outcome of which the log has proved that it holds the entry. Only this can be signed.
#[derive(Debug)]
pub struct LoggedOutcome {
    pub(in crate::exchange) outcome: Outcome,
    pub(in crate::exchange) receipt: Receipt,
}

/// Why a receipt does not open an outcome.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("the receipt is of another entry")]
    OtherEntry,
    #[error("the receipt proves nothing: {0}")]
    Proof(#[from] ProofFault),
}

impl Outcome {
    /// A request that could not be carried through.
    pub fn fail(request: VerifiedRequest, code: Code, detail: impl Into<String>) -> Self {
        Self { account: Account::new(request), end: End::Fail { code, detail: detail.into() } }
    }

    pub const fn sender(&self) -> &Sender {
        self.account.request.sender()
    }

    pub const fn exchange(&self) -> &ExchangeId {
        self.account.request.exchange()
    }

    pub const fn kind(&self) -> Kind {
        match &self.end {
            End::Deny(_) => Kind::Denial,
            End::Disclose(_) => Kind::Disclosure,
            End::Fail { .. } => Kind::Failure,
            End::Register { kind, .. } => *kind,
        }
    }

    /// The code of a denial or failure.
    pub const fn code(&self) -> Option<Code> {
        match &self.end {
            End::Deny(refused) => Some(refused.code),
            End::Fail { code, .. } => Some(*code),
            End::Disclose(_) | End::Register { .. } => None,
        }
    }

    /// Splits the outcome into what the ledger commits and what waits for the receipt.
    /// The salts are 256 random bits each; without them a commitment could be guessed open.
    pub fn seal(mut self, salts: [[u8; 32]; 3]) -> (Pending, Sealed) {
        let draft = self.draft(&salts);
        let subjects = self.account.subject.iter().cloned().collect();
        let (epochs, changes) = match &mut self.end {
            End::Disclose(disclosed) => (std::mem::take(&mut disclosed.epochs), Vec::new()),
            End::Register { changes, .. } => (Vec::new(), std::mem::take(changes)),
            End::Deny(_) | End::Fail { .. } => (Vec::new(), Vec::new()),
        };
        let guard =
            (!epochs.is_empty()).then(|| Guarded { epochs, fallback: self.overtaken(&draft, &salts) });
        let pending = Pending {
            expected: (draft.kind, draft.slots.commitments()),
            fallback: guard.as_ref().map(|guard| (guard.fallback.kind, guard.fallback.slots.commitments())),
            outcome: self,
        };
        let closes = draft.id.clone();
        (pending, Sealed { draft, guard, changes, subjects, closes })
    }

    fn draft(&self, salts: &[[u8; 32]; 3]) -> Draft {
        let account = &self.account;
        let mut decision = account.decision.clone();
        decision.insert("request".into(), json!(account.request.digest));
        match &self.end {
            End::Deny(refused) => {
                decision.insert("outcomes".into(), Value::Array(refused.fields.clone()));
            }
            End::Disclose(disclosed) => {
                decision.insert("outcomes".into(), Value::Array(disclosed.fields.clone()));
                decision.insert("record".into(), json!(Sha256::of(disclosed.record.as_bytes())));
            }
            End::Fail { .. } | End::Register { .. } => {}
        }
        let mut draft = Draft::new(self.kind(), account.request.exchange.clone());
        draft.consumer = Some(account.request.sender.agency.clone());
        draft.provider.clone_from(&account.provider);
        draft.purpose.clone_from(&account.purpose);
        draft.record_type.clone_from(&account.record_type);
        draft.code = self.code();
        draft.policy = account.policy.as_ref().map(|policy| policy.sha256);
        draft.slots = account.slots(decision, salts);
        draft
    }

    /// The entry that is true when consent or case moved before the disclosure was committed.
    fn overtaken(&self, draft: &Draft, salts: &[[u8; 32]; 3]) -> Draft {
        let mut decision = self.account.decision.clone();
        decision.insert("request".into(), json!(self.account.request.digest));
        decision.insert("overtaken".into(), Value::Bool(true));
        let mut denial = draft.clone();
        denial.kind = Kind::Denial;
        denial.code = Some(Code::ExchangeDenied);
        denial.slots = self.account.slots(decision, salts);
        denial
    }
}

impl Account {
    pub fn new(request: VerifiedRequest) -> Self {
        Self {
            request,
            provider: None,
            purpose: None,
            record_type: None,
            subject: None,
            case: None,
            policy: None,
            decision: Map::new(),
        }
    }

    fn slots(&self, decision: Map<String, Value>, salts: &[[u8; 32]; 3]) -> Slots {
        let [for_decision, for_operator, for_subject] = *salts;
        let mut subject = Map::new();
        if let Some(pseudonym) = &self.subject {
            subject.insert("subject".into(), json!(pseudonym));
        }
        if let Some(case) = &self.case {
            subject.insert("case".into(), json!(case));
        }
        Slots {
            decision: Some(Slot::new(for_decision, &Value::Object(decision))),
            operator: Some(Slot::new(for_operator, &operator_body(&self.request))),
            subject: (!subject.is_empty()).then(|| Slot::new(for_subject, &Value::Object(subject))),
        }
    }
}

/// Who asked, from where, with which token: erasable on its own.
fn operator_body(request: &VerifiedRequest) -> Value {
    let sender = &request.sender;
    json!({
        "agency": sender.agency,
        "office": sender.office,
        "operator": sender.operator,
        "location": sender.location,
        "assurance": sender.assurance,
        "carrier": sender.carrier,
        "issuer": request.issuer,
        "seal": request.seal,
        "tokens": request.tokens,
    })
}

impl VerifiedRequest {
    /// The entry that tells of this request if nothing else ever does: a crash cut it short.
    pub fn interrupted(&self, salts: [[u8; 32]; 2]) -> Draft {
        let [for_decision, for_operator] = salts;
        let mut draft = Draft::new(Kind::Interrupted, self.exchange.clone());
        draft.consumer = Some(self.sender.agency.clone());
        draft.slots.decision =
            Some(Slot::new(for_decision, &json!({ "at": self.at, "request": self.digest })));
        draft.slots.operator = Some(Slot::new(for_operator, &operator_body(self)));
        draft
    }
}

impl Pending {
    /// The ledger refused because another change came first: that is this request's outcome.
    pub fn conflict(self) -> Outcome {
        let code =
            if self.outcome.kind() == Kind::Consent { Code::ConsentConflict } else { Code::CaseConflict };
        let detail = "another change was recorded while this one was under way".to_owned();
        Outcome { account: self.outcome.account, end: End::Fail { code, detail } }
    }

    /// Opens the outcome with the proof that its entry is in the log. A receipt of the fallback turns a disclosure
    /// into the denial that was committed in its place.
    pub fn release(self, receipt: Receipt, log: &LogVerifier) -> Result<LoggedOutcome, ReleaseError> {
        log.check(&receipt)?;
        let content = receipt.leaf.content();
        if content.id != self.outcome.account.request.exchange {
            return Err(ReleaseError::OtherEntry);
        }
        let committed = (content.kind, content.commitments);
        if committed == self.expected {
            return Ok(LoggedOutcome { outcome: self.outcome, receipt });
        }
        if Some(committed) == self.fallback {
            let end = End::Deny(Refused {
                code: Code::ExchangeDenied,
                detail: "the consent or the case changed while the exchange was under way".to_owned(),
                fields: Vec::new(),
            });
            return Ok(LoggedOutcome { outcome: Outcome { account: self.outcome.account, end }, receipt });
        }
        Err(ReleaseError::OtherEntry)
    }
}

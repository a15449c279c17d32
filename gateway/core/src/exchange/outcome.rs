//! What became of a request, sealed for the log and opened again by the log's receipt.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, CaseId, ExchangeId, Pseudonym, PurposeId, RecordTypeId};
use crate::log::entry::{Commitments, Draft, Kind, Slot, Slots};
use crate::log::proof::{LogVerifier, ProofFault, Receipt};
use crate::parcel::ParcelChange;
use crate::signal::SignalChange;

use super::bodies::{operator_body, slots};
use super::delivery::{AuthorizedParcel, PendingDelivery, Released};
use super::grounds::{Grounds, OwnerSeal};
use super::push::Consigned;
use super::pushed;
use super::registered::StreamChange;
use super::signal::Told;
use super::statistics::{self, Counted};
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
    /// Others the entry is found by: whose consents it rests on, too; of a mix-up, the one whose data they were.
    pub also: Vec<Pseudonym>,
    pub case: Option<CaseId>,
    pub policy: Option<PolicyStamp>,
    /// The inputs of the decision, canonical, for replay.
    pub decision: Grounds,
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
    Fail {
        code: Code,
        detail: String,
    },
    /// Copies out of an inbox, and where the next page begins.
    Fetch {
        parcels: Vec<Fetched>,
        next: Option<ExchangeId>,
    },
    Push {
        consigned: Vec<Consigned>,
        /// The stream that remembers the push's key, and what its content is known by.
        fingerprint: Option<(String, String)>,
    },
    Register {
        kind: Kind,
        changes: Vec<StreamChange>,
        parcels: Vec<ParcelChange>,
        signals: Vec<SignalChange>,
        status: u16,
        body: Map<String, Value>,
    },
    /// A document about a person for that person: `report` in the body leaves with the gateway's seal as well.
    Report {
        body: Map<String, Value>,
    },
    /// Signals that wait for the agency, the ones that may not be told any more, and where the page begins and whether it
    /// ends with more to come.
    Signals {
        told: Vec<Told>,
        gone: Vec<SignalChange>,
        after: u64,
        more: More,
    },
    /// Counts of people in fixed classes, whose people they are of, and what is kept so that they are told once.
    Statistics {
        told: Box<statistics::Told>,
        counted: Vec<Counted>,
        changes: Vec<StreamChange>,
    },
}

/// Whether something follows a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    Follows,
    Nothing,
}

/// One copy of an inbox's answer, with what is random about its entry.
#[derive(Debug)]
pub(in crate::exchange) struct Fetched {
    pub parcel: AuthorizedParcel,
    pub entry: ExchangeId,
    pub salts: Salts,
}

/// 256 random bits for each body of an entry. Without them a commitment could be guessed open.
#[derive(Clone, Copy)]
pub(in crate::exchange) struct Salts(pub [[u8; 32]; 3]);

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(..)")
    }
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
    /// Whom to tell, in the same transaction.
    pub changes: Vec<StreamChange>,
}

/// What the ledger is given: one entry to commit, or two of which it commits exactly one.
#[derive(Debug)]
pub struct Sealed {
    pub draft: Draft,
    pub guard: Option<Guarded>,
    pub changes: Vec<StreamChange>,
    /// Who the entry is about, for the question "who looked at me".
    pub subjects: Vec<Pseudonym>,
    /// The claim this outcome closes; nothing for what no request asked for, nor for one member's part of a household's
    /// request, which has one claim.
    pub closes: Option<ExchangeId>,
    /// Further entries of the same transaction.
    pub also: Vec<Self>,
    /// Copies to keep or to delete, with the entry itself.
    pub parcels: Vec<ParcelChange>,
    /// The same of subscriptions and signals.
    pub signals: Vec<SignalChange>,
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
    expected: Expected,
    /// The entries of a push's recipients.
    also: Vec<Expected>,
    /// The hand-overs of an inbox's answer.
    deliveries: Vec<PendingDelivery>,
}

/// The entry that opens something, or the one that is true in its place.
#[derive(Debug)]
pub(in crate::exchange) struct Expected {
    id: ExchangeId,
    primary: (Kind, Commitments),
    fallback: Option<(Kind, Commitments)>,
}

/// Which of two entries was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchange) enum Branch {
    Fallback,
    Primary,
}

impl Expected {
    pub fn of(draft: &Draft, guard: Option<&Guarded>) -> Self {
        Self {
            id: draft.id.clone(),
            primary: (draft.kind, draft.slots.commitments()),
            fallback: guard.map(|guard| (guard.fallback.kind, guard.fallback.slots.commitments())),
        }
    }

    /// Checks the proof, and that it is of this very entry or its alternative.
    pub fn opened_by(&self, receipt: &Receipt, log: &LogVerifier) -> Result<Branch, ReleaseError> {
        log.check(receipt)?;
        let content = receipt.leaf.content();
        let committed = (content.kind, content.commitments);
        if content.id != self.id {
            Err(ReleaseError::OtherEntry)
        } else if committed == self.primary {
            Ok(Branch::Primary)
        } else if Some(committed) == self.fallback {
            Ok(Branch::Fallback)
        } else {
            Err(ReleaseError::OtherEntry)
        }
    }
}

/// An outcome of which the log has proved that it holds the entry. Only this can be signed.
#[derive(Debug)]
pub struct LoggedOutcome {
    pub(in crate::exchange) outcome: Outcome,
    pub(in crate::exchange) receipt: Receipt,
    pub(in crate::exchange) also: Vec<(Receipt, Branch)>,
    pub(in crate::exchange) deliveries: Vec<Released>,
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

    pub fn kind(&self) -> Kind {
        match &self.end {
            End::Deny(_) => Kind::Denial,
            End::Disclose(_) => Kind::Disclosure,
            End::Fail { .. } => Kind::Failure,
            End::Fetch { .. } => Kind::Read,
            End::Push { consigned, .. } if consigned.iter().any(Consigned::is_kept) => Kind::Delivery,
            End::Push { .. } => Kind::Denial,
            End::Report { .. } | End::Signals { .. } | End::Statistics { .. } => Kind::Read,
            End::Register { kind, .. } => *kind,
        }
    }

    /// The code of a denial or failure.
    pub fn code(&self) -> Option<Code> {
        match &self.end {
            End::Deny(refused) => Some(refused.code),
            End::Fail { code, .. } => Some(*code),
            End::Push { consigned, .. } if !consigned.iter().any(Consigned::is_kept) => {
                Some(Code::ExchangeDenied)
            }
            End::Disclose(_)
            | End::Fetch { .. }
            | End::Push { .. }
            | End::Register { .. }
            | End::Report { .. }
            | End::Signals { .. }
            | End::Statistics { .. } => None,
        }
    }

    /// Whose consents, restrictions or case this outcome changes: what waits for delivery may rest on them.
    pub fn touches(&self) -> (Option<Pseudonym>, Option<CaseId>) {
        match &self.end {
            End::Register { changes, .. } if !changes.is_empty() => {
                (self.account.subject.clone(), self.account.case.clone())
            }
            End::Deny(_)
            | End::Disclose(_)
            | End::Fail { .. }
            | End::Fetch { .. }
            | End::Push { .. }
            | End::Register { .. }
            | End::Report { .. }
            | End::Signals { .. }
            | End::Statistics { .. } => (None, None),
        }
    }

    /// Splits the outcome into what the ledger commits and what waits for the receipt.
    /// The salts are 256 random bits each; without them a commitment could be guessed open.
    pub fn seal(self, salts: [[u8; 32]; 3], seal: &dyn OwnerSeal) -> (Pending, Sealed) {
        self.left_out().sealed(salts, seal)
    }

    fn sealed(mut self, salts: [[u8; 32]; 3], seal: &dyn OwnerSeal) -> (Pending, Sealed) {
        let draft = self.draft(&salts, seal);
        let mut sealed = Sealed {
            guard: None,
            changes: Vec::new(),
            subjects: self.account.subject.iter().chain(&self.account.also).cloned().collect(),
            closes: self.account.request.within.is_none().then(|| draft.id.clone()),
            also: Vec::new(),
            parcels: Vec::new(),
            signals: Vec::new(),
            draft,
        };
        let mut deliveries = Vec::new();
        let fallback =
            matches!(self.end, End::Disclose(_)).then(|| self.overtaken(&sealed.draft, &salts, seal));
        match &mut self.end {
            End::Disclose(disclosed) => {
                let epochs = std::mem::take(&mut disclosed.epochs);
                sealed.changes = std::mem::take(&mut disclosed.changes);
                let fallback = fallback.filter(|_| !epochs.is_empty());
                sealed.guard = fallback.map(|fallback| Guarded { epochs, fallback });
            }
            End::Fetch { parcels, .. } => {
                for Fetched { parcel, entry, salts } in parcels.drain(..) {
                    let (pending, delivery) = parcel.fetched(&entry, salts, seal);
                    deliveries.push(pending);
                    sealed.also.push(delivery);
                }
            }
            End::Push { consigned, fingerprint } => {
                sealed.changes = pushed::streams(&self.account, consigned, fingerprint.take());
                sealed.also = consigned.iter().map(|one| one.seal(&self.account, seal)).collect();
            }
            End::Register { changes, parcels, signals, .. } => {
                (sealed.changes, sealed.parcels) = (std::mem::take(changes), std::mem::take(parcels));
                sealed.signals = std::mem::take(signals);
            }
            End::Signals { told, gone, .. } => {
                sealed.also = told.iter().map(|one| one.seal(&self.account, seal)).collect();
                sealed.signals = std::mem::take(gone);
            }
            End::Statistics { counted, changes, .. } => {
                sealed.also = counted.iter().map(|one| one.seal(&self.account, seal)).collect();
                sealed.changes = std::mem::take(changes);
            }
            End::Deny(_) | End::Fail { .. } | End::Report { .. } => {}
        }
        let also = match &self.end {
            End::Push { .. } | End::Signals { .. } | End::Statistics { .. } => &*sealed.also,
            End::Deny(_)
            | End::Disclose(_)
            | End::Fail { .. }
            | End::Fetch { .. }
            | End::Register { .. }
            | End::Report { .. } => &[],
        };
        let also = also.iter().map(|one| Expected::of(&one.draft, one.guard.as_ref())).collect();
        let expected = Expected::of(&sealed.draft, sealed.guard.as_ref());
        (Pending { expected, also, deliveries, outcome: self }, sealed)
    }

    fn draft(&self, salts: &[[u8; 32]; 3], seal: &dyn OwnerSeal) -> Draft {
        let account = &self.account;
        let mut decision = account.decision.clone();
        decision.insert("request", json!(account.request.digest));
        if let Some(household) = &account.request.within {
            decision.insert("household", json!(household));
        }
        match &self.end {
            End::Deny(refused) => {
                decision.insert("outcomes", Value::Array(refused.fields.clone()));
            }
            End::Disclose(disclosed) => {
                decision.insert("outcomes", Value::Array(disclosed.fields.clone()));
                decision.insert("record", json!(Sha256::of(disclosed.record.as_bytes())));
            }
            End::Fail { .. }
            | End::Fetch { .. }
            | End::Push { .. }
            | End::Register { .. }
            | End::Report { .. }
            | End::Signals { .. }
            | End::Statistics { .. } => {}
        }
        let mut draft = Draft::new(self.kind(), account.request.exchange.clone());
        draft.consumer = (!self.only_sends()).then(|| account.request.sender.agency.clone());
        draft.provider.clone_from(&account.provider);
        draft.purpose.clone_from(&account.purpose);
        draft.record_type.clone_from(&account.record_type);
        draft.code = self.code();
        draft.policy = account.policy.as_ref().map(|policy| policy.sha256);
        draft.slots = account.slots(decision.body(&draft.id, seal), salts);
        draft
    }

    /// Who sends or signals receives nothing: the entries of its recipients say who does.
    fn only_sends(&self) -> bool {
        let own = self.account.provider.as_ref() == Some(&self.account.request.sender.agency);
        matches!(self.end, End::Push { .. })
            || own && matches!(self.end, End::Register { kind: Kind::Delivery, .. })
    }

    /// The entry that is true when consent or case moved before the disclosure was committed.
    fn overtaken(&self, draft: &Draft, salts: &[[u8; 32]; 3], seal: &dyn OwnerSeal) -> Draft {
        let mut decision = self.account.decision.clone();
        decision.insert("request", json!(self.account.request.digest));
        decision.insert("overtaken", Value::Bool(true));
        if let Some(household) = &self.account.request.within {
            decision.insert("household", json!(household));
        }
        let mut denial = draft.clone();
        denial.kind = Kind::Denial;
        denial.code = Some(Code::ExchangeDenied);
        denial.slots = self.account.slots(decision.body(&draft.id, seal), salts);
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
            also: Vec::new(),
            case: None,
            policy: None,
            decision: Grounds::default(),
        }
    }

    fn slots(&self, decision: Value, salts: &[[u8; 32]; 3]) -> Slots {
        let whose = (self.subject.as_ref(), self.case.as_ref());
        let mut bodies = slots(decision, operator_body(&self.request), whose, salts);
        if !self.also.is_empty() {
            let [.., for_subject] = *salts;
            let subject = json!({ "subject": self.subject, "also": self.also });
            bodies.subject = Some(Slot::new(for_subject, &subject));
        }
        bodies
    }
}

impl Pending {
    /// The ledger refused because another change came first, of the document that `code` tells: that is this request's
    /// outcome.
    pub fn conflict(self, code: Code) -> Outcome {
        let detail = "another change was recorded while this one was under way".to_owned();
        Outcome { account: self.outcome.account, end: End::Fail { code, detail } }
    }

    /// Opens the outcome with the proof that its entry is in the log. A receipt of the fallback turns a disclosure
    /// into the denial that was committed in its place.
    pub fn release(self, receipt: Receipt, log: &LogVerifier) -> Result<LoggedOutcome, ReleaseError> {
        self.release_all(receipt, Vec::new(), log)
    }

    /// The same for an outcome of several entries: the first one's receipt, then the others' in their order.
    pub fn release_all(
        self,
        receipt: Receipt,
        others: Vec<Receipt>,
        log: &LogVerifier,
    ) -> Result<LoggedOutcome, ReleaseError> {
        let Self { mut outcome, expected, also, deliveries } = self;
        if others.len() != also.len() + deliveries.len() {
            return Err(ReleaseError::OtherEntry);
        }
        if expected.opened_by(&receipt, log)? == Branch::Fallback {
            outcome.end = End::Deny(Refused {
                code: Code::ExchangeDenied,
                detail: "the consent or the case changed while the exchange was under way".to_owned(),
                fields: Vec::new(),
            });
        }
        let mut others = others.into_iter();
        let mut opened = Vec::with_capacity(also.len());
        for (expected, receipt) in also.into_iter().zip(others.by_ref()) {
            let branch = expected.opened_by(&receipt, log)?;
            opened.push((receipt, branch));
        }
        let deliveries = deliveries.into_iter().zip(others);
        let deliveries =
            deliveries.map(|(pending, receipt)| pending.release(receipt, log)).collect::<Result<_, _>>()?;
        Ok(LoggedOutcome { outcome, receipt, also: opened, deliveries })
    }
}

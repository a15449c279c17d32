//! Signals: a provider says that a record has changed, and every subscription that stands finds that it has.
//!
//! Whoever signals gets one and the same answer, whoever listens. Whoever reads gets nothing before the log has an entry for
//! each signal, about one person and for one purpose, like any exchange.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId, FieldId, RecordTypeId};
use crate::json;
use crate::log::entry::{Draft, Kind};
use crate::log::proof::Receipt;
use crate::parcel::{Keeper, LockEntropy, Locked};
use crate::policy::record::RecordType;
use crate::signal::{SEQUENCE_MAX, Signal, SignalChange, SignalType, Subscription};
use crate::time::Timestamp;

use super::ask::SubjectName;
use super::authorize::Known;
use super::bodies::{operator_body, slots};
use super::grounds::{Grounds, OwnerSeal};
use super::inbox::FetchSeed;
use super::outcome::{Account, Branch, End, Guarded, More, Outcome, PolicyStamp, Salts, Sealed};
use super::registered::{Done, Refusal, Registered, StreamChange, StreamKind, settle};
use super::subscription::{Seen, Sight, is_own, look};
use super::verify::VerifiedRequest;

/// The body of `POST /signals`. The sender owns the record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalAsk {
    pub record_type: RecordTypeId,
    pub subject: SubjectName,
    pub signal_type: SignalType,
    /// The control fields of the record that hold now. Absent: the provider does not say, and each counts as holding.
    #[serde(default)]
    pub controls: Option<Vec<FieldId>>,
    /// The provider's own number for this signal: sent again under it, it is the same one.
    #[serde(default)]
    pub sequence: Option<u64>,
}

impl SignalAsk {
    /// The stream that remembers the number: one for each provider, record type and number.
    pub fn stream(&self, provider: &AgencyId) -> Option<String> {
        let number = self.sequence?.to_string();
        let record_type = self.record_type.as_str().as_bytes();
        let provider = provider.as_str().as_bytes();
        let parts = [b"varco/signal-key/v1\0", provider, b"\0", record_type, b"\0", number.as_bytes()];
        Some(format!("signal-key:{}", Sha256::of_parts(&parts)))
    }
}

/// What a provider's number stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalKey {
    pub signal: ExchangeId,
    pub accepted: Timestamp,
    pub fingerprint: String,
}

/// What the control fields are locked with, which are values of the record.
pub struct Locking<'a> {
    pub keeper: &'a dyn Keeper,
    pub lock: LockEntropy,
}

/// Each control field of a record type and whether it holds: as long whatever the provider said. Unsaid, each does.
fn controls_text(kind: &RecordType, said: Option<&[FieldId]>) -> String {
    let holds = |id: &FieldId| said.is_none_or(|said| said.contains(id));
    let fields = kind.controls.iter().filter_map(|control| kind.field(control.field));
    json::canonical(&fields.map(|field| (field.id.to_string(), json!(u8::from(holds(&field.id))))).collect())
}

/// The control fields that hold. What does not open, or was not known then, does.
fn holding(kind: &RecordType, text: Option<&[u8]>) -> Vec<FieldId> {
    let said: BTreeMap<FieldId, u8> = text.and_then(|text| json::parse_as(text).ok()).unwrap_or_default();
    let fields = kind.controls.iter().filter_map(|control| kind.field(control.field));
    fields.map(|field| field.id.clone()).filter(|id| said.get(id) != Some(&0)).collect()
}

impl Registered<'_> {
    /// `POST /signals`. `told` are the subscriptions that stand at this instant; the answer knows nothing of them.
    pub fn signal(
        &self,
        request: VerifiedRequest,
        ask: &SignalAsk,
        told: &[Subscription],
        means: &Locking<'_>,
    ) -> Outcome {
        let mut locked = None;
        let mut outcome = settle(request, |request| {
            let subject = self.subject(&ask.subject)?;
            self.may_signal(request, ask)?;
            locked = Some(self.locked(request.exchange(), ask, means)?);
            let accepted = json!({ "signal": request.exchange, "accepted": request.at });
            let body = accepted.as_object().cloned().unwrap_or_default();
            let changes = self.key(request, ask).into_iter().collect();
            Ok(Done { subject: Some(subject), case: None, kind: Kind::Delivery, changes, status: 202, body })
        });
        let account = &mut outcome.account;
        let (at, sender) = (account.request.at, account.request.sender.agency.clone());
        let exchange = account.request.exchange.clone();
        // Only what was found to be words of the policy: a name sent in their place must not come to rest in the log.
        if let (End::Register { signals, .. }, Some(locked)) = (&mut outcome.end, locked) {
            let said = json!({
                "signal_type": ask.signal_type, "sequence": ask.sequence
            });
            account.decision.insert("signalled", said);
            account.record_type = Some(ask.record_type.clone());
            account.provider = Some(sender);
            signals.extend(told.iter().map(|one| SignalChange::Keep {
                subscription: one.header.id.clone(),
                kind: ask.signal_type,
                at,
                exchange: exchange.clone(),
                controls: locked.clone(),
            }));
        }
        outcome
    }

    fn locked(&self, exchange: &ExchangeId, ask: &SignalAsk, means: &Locking<'_>) -> Result<Locked, Refusal> {
        let kind = self.policy.record_type(&ask.record_type);
        let text = kind.map(|kind| controls_text(kind, ask.controls.as_deref())).unwrap_or_default();
        let fault = |_| Refusal(Code::Internal, "the signal could not be locked".to_owned());
        means.keeper.lock(exchange, text.as_bytes(), &means.lock).map_err(fault)
    }

    fn may_signal(&self, request: &VerifiedRequest, ask: &SignalAsk) -> Result<(), Refusal> {
        let invalid = |detail: String| Err(Refusal(Code::RequestInvalid, detail));
        let (sender, agreement) = (&request.sender, &self.policy.agreement);
        let Some(kind) = self.policy.record_type(&ask.record_type) else {
            return invalid(format!("unknown record type `{}`", ask.record_type));
        };
        let is_party = agreement.parties.iter().any(|party| party.agency == sender.agency);
        let is_in_force = agreement.from <= request.at && request.at < agreement.until;
        if !is_party || !is_in_force || !kind.owners.contains(&sender.kind) {
            let detail = "your agency owns no records of this type under an agreement in force";
            return Err(Refusal(Code::ExchangeNotAllowed, detail.to_owned()));
        }
        for control in ask.controls.iter().flatten() {
            if !kind.find(control).is_some_and(|index| kind.is_control(index)) {
                return invalid(format!("`{control}` is no control field of `{}`", kind.id));
            }
        }
        if ask.sequence.is_some_and(|number| number > SEQUENCE_MAX) {
            return invalid(format!("a sequence number is at most {SEQUENCE_MAX}"));
        }
        Ok(())
    }

    fn key(&self, request: &VerifiedRequest, ask: &SignalAsk) -> Option<StreamChange> {
        let stream = ask.stream(&request.sender.agency)?;
        let fingerprint = request.fingerprint(self.keys).into_iter().next()?;
        let key = SignalKey { signal: request.exchange.clone(), accepted: request.at, fingerprint };
        Some(StreamChange {
            kind: StreamKind::Signal,
            stream,
            expected: 0,
            header: Some(json::canonical_of(&key)),
            event: json::canonical(&json!({ "at": request.at })),
            subjects: Vec::new(),
            waits_for: None,
        })
    }

    /// The same signal again under its number: it was accepted, and nobody is told twice. With another content it is refused.
    pub fn repeat_signal(&self, request: VerifiedRequest, key: &SignalKey) -> Outcome {
        let is_same = request.fingerprint(self.keys).contains(&key.fingerprint);
        settle(request, |_| {
            if !is_same {
                return Err(Refusal::unknown(Code::SignalConflict));
            }
            let body = Map::from_iter([
                ("signal".to_owned(), json!(key.signal)),
                ("accepted".to_owned(), json!(key.accepted)),
            ]);
            Ok(Done { subject: None, case: None, kind: Kind::Read, changes: Vec::new(), status: 202, body })
        })
    }
}

/// A signal that may be told at this instant. Only [`recheck`] makes one.
#[derive(Debug)]
pub struct AuthorizedSignal {
    subscription: Subscription,
    signal: Signal,
    seen: Seen,
}

/// Decides again for a signal that waits; `None` when it may not be told any more.
pub fn recheck(
    subscription: &Subscription,
    signal: &Signal,
    keeper: &dyn Keeper,
    known: &Known<'_>,
    now: Timestamp,
) -> Option<AuthorizedSignal> {
    let kind = known.policy.record_type(&subscription.header.record_type)?;
    let opened = keeper.open(&signal.exchange, &signal.controls).ok();
    let controls = holding(kind, opened.as_ref().map(|text| text.as_slice()));
    let seen = look(subscription, known, Sight::Signal(Some(&controls)), now)?;
    Some(AuthorizedSignal { subscription: subscription.clone(), signal: signal.clone(), seen })
}

/// A page of what waits for an agency, as it was found.
pub struct Waits {
    /// In the order of their numbers.
    pub told: Vec<(AuthorizedSignal, FetchSeed)>,
    /// The numbers of those that may not be told any more.
    pub gone: Vec<u64>,
    /// Where the page begins.
    pub after: u64,
    pub more: More,
}

/// `GET /signals`: nothing of it is told before the log has an entry for each.
pub fn signals(request: VerifiedRequest, waits: Waits) -> Outcome {
    let mut account = Account::new(request);
    let Waits { told, gone, after, more } = waits;
    // Whoever asks gets their own and no other's, whatever the shell has found.
    let mine = told.into_iter().filter(|(one, _)| is_own(&one.subscription, &account.request.sender));
    let told: Vec<Told> =
        mine.map(|(signal, seed)| Told { signal, entry: seed.entry, salts: Salts(seed.salts) }).collect();
    let said = told.iter().map(|one| json!({ "entry": one.entry, "signal_id": one.signal.signal.id }));
    account.decision.insert("signals", said.collect());
    let gone = gone.into_iter().map(|signal| SignalChange::Remove { signal }).collect();
    Outcome { account, end: End::Signals { told, gone, after, more } }
}

/// One signal of an answer, with what is random about its entry.
#[derive(Debug)]
pub(in crate::exchange) struct Told {
    signal: AuthorizedSignal,
    entry: ExchangeId,
    salts: Salts,
}

impl Told {
    /// The signal's own entry: a delivery to whoever reads it, of one person's record, without a field.
    pub fn seal(&self, account: &Account, seal: &dyn OwnerSeal) -> Sealed {
        let AuthorizedSignal { seen, subscription, .. } = &self.signal;
        let mut overtaken = seen.decision.clone();
        overtaken.remove("would_show");
        overtaken.insert("overtaken", Value::Bool(true));
        let mut fallback = self.draft((account, seal), Kind::Denial, overtaken);
        fallback.code = Some(Code::ExchangeDenied);
        Sealed {
            draft: self.draft((account, seal), Kind::Delivery, seen.decision.clone()),
            guard: Some(Guarded { epochs: seen.epochs.clone(), fallback }),
            changes: Vec::new(),
            subjects: vec![subscription.header.subject.clone()],
            closes: None,
            also: Vec::new(),
            parcels: Vec::new(),
            signals: Vec::new(),
        }
    }

    fn draft(&self, (account, seal): (&Account, &dyn OwnerSeal), kind: Kind, mut decision: Grounds) -> Draft {
        let AuthorizedSignal { subscription, signal, seen } = &self.signal;
        let header = &subscription.header;
        let said = json!({ "signal_id": signal.id, "signal_type": signal.kind, "at": signal.at });
        decision.insert("signal", said);
        decision.insert("subscription", json!(header.id));
        decision.insert("request", json!(account.request.digest));
        let mut draft = Draft::new(kind, self.entry.clone());
        draft.consumer = Some(header.by.agency.clone());
        draft.provider = Some(header.provider.clone());
        draft.purpose = Some(header.purpose.clone());
        draft.record_type = Some(header.record_type.clone());
        let PolicyStamp { sha256, .. } = &seen.policy;
        draft.policy = Some(*sha256);
        let whose = (Some(&header.subject), header.case.as_ref());
        let decision = decision.body(&draft.id, seal);
        draft.slots = slots(decision, operator_body(&account.request), whose, &self.salts.0);
        draft
    }

    fn said(&self, receipt: &Receipt) -> Value {
        let AuthorizedSignal { subscription, signal, .. } = &self.signal;
        let header = &subscription.header;
        json!({
            "signal_id": signal.id,
            "signal_type": signal.kind,
            "record_type": header.record_type,
            "provider": header.provider,
            "object_id": header.object,
            "subscription": header.id,
            "at": signal.at,
            "exchange": self.entry,
            "receipt": receipt.to_text(),
        })
    }
}

/// What an answer says of a page.
pub(in crate::exchange) struct Page {
    pub told: Vec<Told>,
    pub after: u64,
    pub more: More,
}

impl Page {
    /// As at the Signal Hub: 206 while more follows, 200 at the end. `last` is the number to go on after; one that was not
    /// told does not move it.
    pub fn written(
        self,
        exchange: &ExchangeId,
        entered: &[(Receipt, Branch)],
        receipt: Value,
    ) -> (u16, String) {
        let told = self.told.iter().zip(entered).filter(|(_, (_, branch))| *branch == Branch::Primary);
        let told: Vec<(u64, Value)> =
            told.map(|(one, (receipt, _))| (one.signal.signal.id, one.said(receipt))).collect();
        let last = told.last().map_or(self.after, |(id, _)| *id);
        let signals: Value = told.into_iter().map(|(_, said)| said).collect();
        let body = json!({ "exchange": exchange, "last": last, "receipt": receipt, "signals": signals });
        let status = match self.more {
            More::Follows => 206,
            More::Nothing => 200,
        };
        (status, json::canonical(&body))
    }
}

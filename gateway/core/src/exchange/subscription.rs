//! Subscriptions to change signals: opened by the decision of a pull, looked at again whenever a signal is made or handed
//! over, ended by their agency or by what they rest on.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::id::{AgencyId, CaseId, ConsentId, ExchangeId, FieldId, PurposeId, RecordTypeId, SubscriptionId};
use crate::json;
use crate::log::entry::Kind;
use crate::parcel::{Keeper, LockEntropy, LockFault, Locked};
use crate::policy::reduce::{self, FieldOutcome};
use crate::policy::{Plan, Policy};
use crate::signal::{Event, Header, PER_AGENCY, PER_PERSON, Period, SignalChange, Subscription, TERM};
use crate::subject::{CodiceFiscale, SubjectKeys};
use crate::time::Timestamp;
use crate::view::pseudonym::PairKey;

use super::ask::{Pull, SubjectName};
use super::authorize::{
    Asks, Authorized, AuthorizedExchange, Concealment, Known, authorize_as, epochs, facts, outcome_value,
    policy_stamp, question, rests_on, shown,
};
use super::grounds::{Grounds, Topic};
use super::outcome::{End, Outcome, PolicyStamp};
use super::push::recipient_party;
use super::registered::{Done, Refusal, Registered, StreamChange, StreamKind, operator, settle};
use super::verify::{Sender, VerifiedRequest};

/// The body of `POST /subscriptions`: a pull of later.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionAsk {
    pub record_type: RecordTypeId,
    pub subject: SubjectName,
    pub provider: AgencyId,
    pub purpose: PurposeId,
    #[serde(default)]
    pub case: Option<CaseId>,
}

/// What opening a subscription takes besides what every decision knows.
pub struct Subscribing<'a> {
    pub keys: &'a SubjectKeys,
    pub keeper: &'a dyn Keeper,
    pub lock: LockEntropy,
    /// Those about the person, whoever's they are.
    pub held: &'a [Subscription],
    /// How many the agency has.
    pub count: u64,
}

impl Period {
    pub const fn of(policy: &Policy) -> Self {
        Self { from: policy.agreement.from, until: policy.agreement.until }
    }
}

/// `POST /subscriptions`: allowed if a pull of the record would be, at this moment, of a person who has concealed nothing.
/// What is concealed shows in what is never told, and the answer is the same for everybody.
pub fn subscribe(
    request: VerifiedRequest,
    ask: SubscriptionAsk,
    known: &Known<'_>,
    means: &Subscribing<'_>,
) -> Outcome {
    let SubscriptionAsk { record_type, subject, provider, purpose, case } = ask;
    let pull = Pull { record_type, subject, provider, purpose, case, fields: None, emergency: None };
    match authorize_as(request, pull, known, Concealment::Unseen) {
        Authorized::Deny(outcome) => *outcome,
        Authorized::Permit(exchange) => exchange.subscribe(known, means),
    }
}

impl AuthorizedExchange {
    fn subscribe(self, known: &Known<'_>, means: &Subscribing<'_>) -> Outcome {
        let Self { mut account, pull, plan, .. } = self;
        let (request, now) = (&account.request, account.request.at);
        let mine = |held: &&Subscription| {
            let header = &held.header;
            header.by.agency == request.sender.agency
                && header.provider == pull.provider
                && header.record_type == pull.record_type
                && held.runs(None, now)
        };
        let is_same = |held: &&Subscription| {
            let header = &held.header;
            header.by == operator(&request.sender)
                && header.office == request.sender.office
                && header.purpose == pull.purpose
                && header.case == pull.case
                && look(held, known, Sight::Owner, now).is_some()
        };
        // Asked for again, as after a lost answer, it is the same one.
        if let Some(held) = means.held.iter().filter(mine).find(is_same) {
            let body = Map::from_iter([("subscription".to_owned(), view(&held.header))]);
            return registered(account, (Kind::Read, 200), body, Vec::new());
        }
        if means.count >= PER_AGENCY || means.held.iter().filter(mine).count() >= PER_PERSON {
            let (code, detail) = (Code::SubscriptionTooMany, Code::SubscriptionTooMany.title().to_owned());
            return Outcome { account, end: End::Fail { code, detail } };
        }
        let header = header(request, &pull, (&plan, known), means.keys);
        let locked = header.as_ref().and_then(|_| {
            let person = pull.subject.codice_fiscale.expose();
            means.keeper.lock(&request.exchange, person.as_bytes(), &means.lock).ok()
        });
        let (Some(header), Some(locked)) = (header, locked) else {
            let (code, detail) = (Code::Internal, "the person's name could not be locked".to_owned());
            return Outcome { account, end: End::Fail { code, detail } };
        };
        let (findings, outcomes) = reduce::unseen(&plan, Some(&[]));
        account.decision.find(&plan.record_type, &findings);
        account.decision.insert("would_show", outcomes.iter().map(outcome_value).collect());
        account.decision.insert("subscription", json!(header.id));
        let body = Map::from_iter([("subscription".to_owned(), view(&header))]);
        let open = SignalChange::Open {
            subscription: header.id.clone(),
            agency: header.by.agency.clone(),
            office: header.office.clone(),
            until: header.until,
            locked,
        };
        let (subscription, opened) = Subscription::open(header);
        let change = StreamChange {
            kind: StreamKind::Subscription,
            stream: subscription.header.id.to_string(),
            expected: 0,
            header: Some(json::canonical_of(&subscription.header)),
            event: json::canonical_of(&opened),
            subjects: vec![subscription.header.subject],
            waits_for: None,
        };
        let mut outcome = registered(account, (Kind::Case, 201), body, vec![change]);
        if let End::Register { signals, .. } = &mut outcome.end {
            signals.push(open);
        }
        outcome
    }
}

fn header(
    request: &VerifiedRequest,
    pull: &Pull,
    (plan, known): (&Plan, &Known<'_>),
    keys: &SubjectKeys,
) -> Option<Header> {
    let (epoch, owner_key) = keys.owner_key(&pull.provider);
    let consumer = &request.sender.agency;
    let pair = PairKey::new(owner_key, pull.provider.clone(), consumer.clone(), epoch.into());
    let agreement = Period::of(known.policy);
    Some(Header {
        id: SubscriptionId::from(&request.exchange),
        by: operator(&request.sender),
        office: request.sender.office.clone(),
        provider: pull.provider.clone(),
        record_type: pull.record_type.clone(),
        purpose: pull.purpose.clone(),
        case: pull.case.clone(),
        subject: known.pseudonyms.first().cloned()?,
        object: pair.pseudonym("persona", pull.subject.codice_fiscale.expose()),
        opened: request.at,
        until: request.at.plus(TERM).min(agreement.until),
        rests_on: plan.consents().iter().map(|(consent, _)| consent.clone()).collect(),
        agreement,
    })
}

fn registered(
    account: super::outcome::Account,
    (kind, status): (Kind, u16),
    mut body: Map<String, Value>,
    changes: Vec<StreamChange>,
) -> Outcome {
    body.insert("exchange".into(), json!(account.request.exchange));
    let (parcels, signals) = (Vec::new(), Vec::new());
    Outcome { account, end: End::Register { kind, changes, parcels, signals, status, body } }
}

/// A subscription as its agency may know it.
fn view(header: &Header) -> Value {
    json!({
        "id": header.id,
        "record_type": header.record_type,
        "provider": header.provider,
        "purpose": header.purpose,
        "case": header.case,
        "object_id": header.object,
        "opened": header.opened,
        "until": header.until,
    })
}

/// What a subscription is looked at for.
#[derive(Clone, Copy, Debug)]
pub enum Sight<'a> {
    /// For its agency to see whether it stands. Nothing that is concealed shows in that.
    Owner,
    /// For a signal, with the control fields that the provider said hold.
    Signal(Option<&'a [FieldId]>),
}

/// A subscription that stands: what was decided, and what that rests on.
#[derive(Debug)]
pub struct Seen {
    pub(in crate::exchange) decision: Grounds,
    pub(in crate::exchange) policy: PolicyStamp,
    pub(in crate::exchange) epochs: Vec<(String, u64)>,
}

/// Decides again whether the subscriber's pull would be allowed at least one field; `None` when the subscription does not
/// stand, or nothing may be told.
pub fn look(
    subscription: &Subscription,
    known: &Known<'_>,
    sight: Sight<'_>,
    now: Timestamp,
) -> Option<Seen> {
    let header = &subscription.header;
    let is_suspended = known.registry.is_suspended(&header.by.agency, Some(&header.by.operator), now);
    let is_emergency =
        known.policy.purpose(&header.purpose).is_some_and(|purpose| purpose.review_hours.is_some());
    let is_renewed = header.agreement != Period::of(known.policy);
    if !subscription.runs(known.case, now) || is_suspended || is_emergency || is_renewed {
        return None;
    }
    let asks = Asks {
        record_type: &header.record_type,
        purpose: &header.purpose,
        consumer: recipient_party(known, &header.by.agency, header.office.as_ref(), now)?,
        provider: recipient_party(known, &header.provider, None, now)?,
        case: known.case.and_then(|case| case.fact(&known.pseudonyms, &header.by, now)),
    };
    let (concealment, controls) = match sight {
        Sight::Owner => (Concealment::Unseen, Some(&[][..])),
        Sight::Signal(controls) => (Concealment::Counts, controls),
    };
    let facts = facts(asks, known, now).seen(concealment);
    let topic = Topic { record_type: &header.record_type, purpose: &header.purpose, requested: None };
    let mut said = Grounds::of(topic, &facts, known.policy, now);
    let question = question(&header.record_type, &header.purpose, &facts, now);
    let plan = known.policy.decide(&question).ok()?;
    let (findings, outcomes) = reduce::unseen(&plan, controls);
    let views = told(&plan, &outcomes, &header.rests_on)?;
    said.find(&plan.record_type, &findings);
    said.insert("would_show", outcomes.iter().map(outcome_value).collect());
    said.insert("rests_on", json!(rests_on(&plan, &views)));
    let mut epochs = epochs(&plan, &facts, known);
    epochs.push((header.id.to_string(), subscription.epoch()));
    Some(Seen { decision: said, policy: policy_stamp(known), epochs })
}

/// The fields that could leave and rest on no other consent than those the subscription was opened with. A part leaves
/// inside its list only.
fn told(plan: &Plan, outcomes: &[FieldOutcome], pinned: &BTreeSet<ConsentId>) -> Option<Map<String, Value>> {
    let kind = &plan.record_type;
    let is_whole = |outcome: &&FieldOutcome| {
        kind.find(&outcome.field).and_then(|index| kind.field(index)).is_some_and(|f| f.parent.is_none())
    };
    let mut views: Map<String, Value> = outcomes.iter().filter(is_whole).filter_map(shown).collect();
    for (consent, fields) in rests_on(plan, &views) {
        if !pinned.contains(&consent) {
            fields.iter().for_each(|field| drop(views.remove(field.as_str())));
        }
    }
    (!views.is_empty()).then_some(views)
}

/// Takes a subscription's person out of their lock, in memory, for a decision.
pub fn unlock(
    subscription: &SubscriptionId,
    locked: &Locked,
    keeper: &dyn Keeper,
) -> Result<CodiceFiscale, LockFault> {
    let exchange: ExchangeId = subscription.as_str().parse().map_err(|_| LockFault)?;
    let person = keeper.open(&exchange, locked)?;
    std::str::from_utf8(&person).ok().and_then(|text| text.parse().ok()).ok_or(LockFault)
}

/// One of an agency's own, and whether it stands now.
pub struct Listed {
    pub subscription: Subscription,
    pub stands: bool,
}

impl Registered<'_> {
    /// `GET /subscriptions`: a page of the agency's own. `next` is where the following one begins.
    pub fn list_subscriptions(
        &self,
        request: VerifiedRequest,
        found: &[Listed],
        next: Option<SubscriptionId>,
    ) -> Outcome {
        settle(request, |request| {
            let listed = |one: &Listed| {
                let mut view = view(&one.subscription.header);
                if let Value::Object(view) = &mut view {
                    view.insert("by".into(), json!(one.subscription.header.by.operator));
                    view.insert("standing".into(), json!(one.stands));
                }
                view
            };
            let mine = found.iter().filter(|one| is_own(&one.subscription, &request.sender));
            let body = Map::from_iter([
                ("subscriptions".to_owned(), mine.map(listed).collect()),
                ("next".to_owned(), json!(next)),
            ]);
            Ok(Done { subject: None, case: None, kind: Kind::Read, changes: Vec::new(), status: 200, body })
        })
    }

    /// `POST /subscriptions/{id}/end`: by anybody of the agency. Said twice it is said once.
    pub fn end_subscription(&self, request: VerifiedRequest, found: Option<Subscription>) -> Outcome {
        let mine = found.filter(|one| is_own(one, &request.sender));
        let Some(subscription) = mine else {
            let code = Code::SubscriptionUnknown;
            return Outcome::fail(request, code, code.title());
        };
        let header = subscription.header.clone();
        let mut outcome = settle(request, |request| {
            let (mut changes, mut after) = (Vec::new(), subscription.clone());
            if subscription.ended().is_none() {
                let by = operator(&request.sender);
                let event = Event::Ended { at: request.at, by, request: request.digest };
                changes.push(StreamChange {
                    kind: StreamKind::Subscription,
                    stream: header.id.to_string(),
                    expected: subscription.epoch(),
                    header: None,
                    event: json::canonical_of(&event),
                    subjects: Vec::new(),
                    waits_for: None,
                });
                after = subscription.record(&event)?;
            }
            let view = json!({ "id": header.id, "ended": after.ended() });
            let body = Map::from_iter([("subscription".to_owned(), view)]);
            let (subject, case) = (Some(header.subject.clone()), header.case.clone());
            Ok(Done { subject, case, kind: Kind::Case, changes, status: 200, body })
        });
        let account = &mut outcome.account;
        account.provider = Some(header.provider);
        account.purpose = Some(header.purpose);
        account.record_type = Some(header.record_type);
        account.decision.insert("subscription", json!(header.id));
        if let End::Register { changes, signals, .. } = &mut outcome.end
            && !changes.is_empty()
        {
            signals.push(SignalChange::End { subscription: header.id });
        }
        outcome
    }
}

pub(super) fn is_own(subscription: &Subscription, sender: &Sender) -> bool {
    subscription.header.by.agency == sender.agency
}

impl From<crate::signal::SubscriptionFault> for Refusal {
    fn from(fault: crate::signal::SubscriptionFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}

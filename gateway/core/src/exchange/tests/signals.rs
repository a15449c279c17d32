//! Subscriptions, without a gateway: what ends them, and what only rests them.

use super::*;
use crate::id::{AgencyId, SubscriptionId};
use crate::parcel::{Keeper, LockEntropy, LockFault, Locked};
use crate::registry::Suspension;
use crate::signal::{PER_AGENCY, PER_PERSON, SignalChange, Subscription};

/// No lock at all: what is under it is not what is tried here.
pub(super) struct Open;

impl Keeper for Open {
    fn lock(&self, _: &ExchangeId, copy: &[u8], _: &LockEntropy) -> Result<Locked, LockFault> {
        Ok(Locked { key: Vec::new(), copy: copy.to_vec() })
    }

    fn open(&self, _: &ExchangeId, locked: &Locked) -> Result<Zeroizing<Vec<u8>>, LockFault> {
        Ok(Zeroizing::new(locked.copy.clone()))
    }
}

fn known<'a>(registry: &'a Registry, case: &'a Case, consents: &'a [Consent]) -> Known<'a> {
    Known {
        registry,
        policy: &POLICY,
        pseudonyms: keys().all(&person()),
        consents,
        restrictions: &[],
        appeals: &[],
        case: Some(case),
        household: &[],
        reasons: &[],
    }
}

fn subscribed(number: u8, held: &[Subscription], count: u64) -> Outcome {
    let (request, ask) = request(number).ask::<SubscriptionAsk>().unwrap();
    let (registry, case, consents, keys) = (registry(), open_case(), [given()], keys());
    let lock = Zeroizing::new([0; 44]);
    let means = Subscribing { keys: &keys, keeper: &Open, lock, held, count };
    subscribe(request, ask, &known(&registry, &case, &consents), &means)
}

fn subscription() -> Subscription {
    let End::Register { changes, .. } = subscribed(1, &[], 0).end else { panic!("not subscribed") };
    let header = serde_json::from_str(changes[0].header.as_ref().unwrap()).unwrap();
    let event = serde_json::from_str(&changes[0].event).unwrap();
    Subscription::replay(header, vec![event]).unwrap()
}

fn stands(subscription: &Subscription, registry: &Registry) -> bool {
    let (case, consents) = (open_case(), [given()]);
    look(subscription, &known(registry, &case, &consents), Sight::Signal(Some(&[])), NOW).is_some()
}

#[test]
fn what_is_kept_of_a_subscription_names_nobody() {
    let (_, sealed) = subscribed(1, &[], 0).seal([[1; 32], [2; 32], [3; 32]], &Unsealed);
    let slots: Vec<&str> = sealed.draft.slots.iter().map(|(_, slot)| slot.body.as_str()).collect();
    let written = format!("{slots:?} {:?}", sealed.changes);
    assert!(!written.contains(PERSON), "{written}");
    let [SignalChange::Open { subscription, locked, .. }] = &sealed.signals[..] else { panic!("not open") };
    assert_eq!(unlock(subscription, locked, &Open).unwrap(), person());
    let other: SubscriptionId = CASE.parse().unwrap();
    assert!(unlock(&other, &Locked { key: Vec::new(), copy: b"nobody".to_vec() }, &Open).is_err());
}

#[test]
fn a_suspended_agency_and_a_suspended_operator_are_told_nothing_while_they_are() {
    let subscription = subscription();
    assert!(stands(&subscription, &registry()));
    let suspended = |agency: &str, operator: Option<&str>| {
        let mut registry = registry();
        registry.suspensions.push(Suspension {
            agency: agency.parse().unwrap(),
            operator: operator.map(|operator| operator.parse().unwrap()),
            from: NOW,
        });
        registry
    };
    assert!(!stands(&subscription, &suspended("cpi-lucca", None)));
    assert!(!stands(&subscription, &suspended("cpi-lucca", Some("op-117"))));
    assert!(!stands(&subscription, &suspended("comune-capannori", None)), "nor of whom is suspended");
    assert!(stands(&subscription, &suspended("cpi-lucca", Some("op-9"))));
    let mut gone = registry();
    let provider: AgencyId = "comune-capannori".parse().unwrap();
    gone.agencies.retain(|agency| agency.id != provider);
    assert!(!stands(&subscription, &gone));
}

#[test]
fn under_another_agreement_it_is_another_subscription() {
    let subscription = subscription();
    let mut header = subscription.header.clone();
    header.agreement.until = header.agreement.until.plus(std::time::Duration::from_secs(1));
    assert!(!stands(&Subscription::open(header).0, &registry()));
    let mut header = subscription.header.clone();
    header.rests_on.clear();
    assert!(!stands(&Subscription::open(header).0, &registry()), "a consent it was not opened with");
    let mut header = subscription.header;
    header.until = NOW;
    assert!(!stands(&Subscription::open(header).0, &registry()));
}

#[test]
fn whoever_has_as_many_subscriptions_as_it_may_is_told_so() {
    let refused = |held: &[Subscription], count| match subscribed(2, held, count).end {
        End::Fail { code, .. } => Some(code),
        End::Deny(_)
        | End::Disclose(_)
        | End::Fetch { .. }
        | End::Push { .. }
        | End::Register { .. }
        | End::Report { .. }
        | End::Signals { .. }
        | End::Statistics { .. } => None,
    };
    assert_eq!(refused(&[], PER_AGENCY - 1), None);
    assert_eq!(refused(&[], PER_AGENCY), Some(Code::SubscriptionTooMany));
    // Of one person, by other operators of the agency.
    let mut header = subscription().header;
    header.by.operator = "op-other".parse().unwrap();
    let held = vec![Subscription::open(header).0; PER_PERSON];
    assert_eq!(refused(&held[1..], 0), None);
    assert_eq!(refused(&held, 0), Some(Code::SubscriptionTooMany));
}

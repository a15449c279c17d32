//! Subscriptions and their signals: kept with the entry that says so, found by whose they are, gone by their dates.

use std::time::Duration;

use varco_core::id::{AgencyId, OfficeId, SubscriptionId};
use varco_core::log::entry::Kind;
use varco_core::parcel::Locked;
use varco_core::signal::{KEPT, PER_SUBSCRIPTION, SignalChange, SignalType};
use varco_core::time::Timestamp;
use varco_store::store::Store;
use varco_store::submission::{Change, StreamKind, Submission};

use crate::on_both;
use crate::world::*;

on_both! {
    a_signal_is_found_by_its_agency_and_office_in_the_order_of_its_number
    what_a_subscription_leaves_behind_is_nothing
    only_the_newest_signals_of_a_subscription_are_kept
    dates_end_subscriptions_and_signals_by_themselves
}

const NOW: Timestamp = Timestamp::from_millis(START);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn agency() -> AgencyId {
    "cpi-lucca".parse().unwrap()
}

fn subscription(n: u64) -> SubscriptionId {
    SubscriptionId::from(&exchange(n))
}

fn opened(n: u64, office: Option<&str>) -> Submission {
    let change = Change {
        stream: exchange(n).to_string(),
        kind: StreamKind::Subscription,
        expected: 0,
        header: Some("{}".to_owned()),
        event: "{}".to_owned(),
        subjects: vec![person(1)],
        waits_for: None,
    };
    let open = SignalChange::Open {
        subscription: subscription(n),
        agency: agency(),
        office: office.map(|office| office.parse().unwrap()),
        until: NOW.plus(80 * DAY),
        locked: Locked { key: b"key".to_vec(), copy: b"person".to_vec() },
    };
    Submission { changes: vec![change], signals: vec![open], ..Submission::new(draft(Kind::Case, n)) }
}

fn locked() -> Locked {
    Locked { key: b"key of controls".to_vec(), copy: b"controls".to_vec() }
}

/// Entry `n`: a signal for each of these subscriptions.
fn signal(n: u64, at: Timestamp, told: &[u64]) -> Submission {
    let keep = |to: &u64| SignalChange::Keep {
        subscription: subscription(*to),
        kind: SignalType::Update,
        at,
        exchange: draft(Kind::Delivery, n).id,
        controls: locked(),
    };
    let signals = told.iter().map(keep).collect();
    Submission { signals, ..Submission::new(draft(Kind::Delivery, n)) }
}

/// Of which subscriptions something waits, with the numbers.
async fn waiting(store: &Store, office: Option<&str>, after: u64) -> Vec<(u64, SubscriptionId)> {
    let office: Option<OfficeId> = office.map(|office| office.parse().unwrap());
    let agency = agency();
    let found = store.read().signals_for((&agency, office.as_ref()), NOW, after, 100).await.unwrap();
    found.into_iter().map(|signal| (signal.id, signal.subscription)).collect()
}

async fn a_signal_is_found_by_its_agency_and_office_in_the_order_of_its_number(world: World) {
    let store = world.open().await;
    store.append(opened(1, None)).await.unwrap();
    store.append(opened(2, Some("servizi-lavoro"))).await.unwrap();
    // A third one was never opened, or ended meanwhile.
    store.append(signal(10, NOW, &[1, 2, 3])).await.unwrap();
    store.append(signal(11, NOW, &[1])).await.unwrap();
    let all = waiting(&store, Some("servizi-lavoro"), 0).await;
    let whose: Vec<_> = all.iter().map(|(_, whose)| whose.clone()).collect();
    assert_eq!(whose, [subscription(1), subscription(2), subscription(1)]);
    assert!(all.is_sorted_by(|a, b| a.0 < b.0), "{all:?}");
    assert_eq!(waiting(&store, None, 0).await.len(), 2, "an office's signals are its own");
    assert_eq!(waiting(&store, Some("servizi-lavoro"), all[0].0).await, all[1..]);
    assert!(waiting(&store, None, u64::MAX).await.is_empty());
    let porcari: AgencyId = "comune-porcari".parse().unwrap();
    assert!(store.read().signals_for((&porcari, None), NOW, 0, 10).await.unwrap().is_empty());
    let found = store.read().signals_for((&agency(), None), NOW, 0, 1).await.unwrap();
    assert_eq!((found[0].kind, found[0].at), (SignalType::Update, NOW));
    assert_eq!((&found[0].controls, &found[0].exchange), (&locked(), &draft(Kind::Delivery, 10).id));
    // One that may not be told any more goes; its number is given to no other, also after a restart.
    let last = all[2].0;
    let gone = Submission {
        signals: vec![SignalChange::Remove { signal: last }],
        ..Submission::new(draft(Kind::Read, 12))
    };
    store.append(gone).await.unwrap();
    store.close().await;
    let store = world.open().await;
    store.append(signal(13, NOW, &[1])).await.unwrap();
    let next = waiting(&store, None, all[0].0).await;
    assert!(next.len() == 1 && next[0].0 > last, "{next:?}");
}

async fn what_a_subscription_leaves_behind_is_nothing(world: World) {
    let store = world.open().await;
    store.append(opened(1, None)).await.unwrap();
    store.append(signal(10, NOW, &[1])).await.unwrap();
    let read = store.read();
    assert_eq!(read.subscription_person(&subscription(1)).await.unwrap().unwrap().copy, b"person");
    assert_eq!(read.subscription_count(&agency(), NOW).await.unwrap(), 1);
    let found = read.streams_of(&[person(1)], StreamKind::Subscription).await.unwrap();
    assert_eq!(found.len(), 1);
    let page = read.subscriptions_of(&agency(), NOW, None, 10).await.unwrap();
    assert_eq!(page, found);
    assert!(read.subscriptions_of(&agency(), NOW, Some(&subscription(1)), 10).await.unwrap().is_empty());
    let end = SignalChange::End { subscription: subscription(1) };
    let ended = Submission { signals: vec![end], ..Submission::new(draft(Kind::Case, 11)) };
    store.append(ended).await.unwrap();
    assert!(read.subscription_person(&subscription(1)).await.unwrap().is_none());
    assert_eq!(read.subscription_count(&agency(), NOW).await.unwrap(), 0);
    assert!(waiting(&store, None, 0).await.is_empty());
    store.append(signal(12, NOW, &[1])).await.unwrap();
    assert!(waiting(&store, None, 0).await.is_empty(), "an ended subscription is given nothing");
}

async fn only_the_newest_signals_of_a_subscription_are_kept(world: World) {
    let store = world.open().await;
    store.append(opened(1, None)).await.unwrap();
    store.append(opened(2, None)).await.unwrap();
    store.append(signal(9, NOW, &[2])).await.unwrap();
    let more = u64::from(PER_SUBSCRIPTION) + 3;
    for n in 0..more {
        store.append(signal(100 + n, NOW, &[1])).await.unwrap();
    }
    let kept = waiting(&store, None, 0).await;
    let of = |n: u64| kept.iter().filter(|(_, whose)| *whose == subscription(n)).count();
    assert_eq!((of(1), of(2)), (64, 1));
    let newest: Vec<u64> = kept.iter().skip(1).map(|(id, _)| *id).collect();
    assert!(newest.iter().all(|id| *id > kept[0].0 + 3), "the oldest went");
}

async fn dates_end_subscriptions_and_signals_by_themselves(world: World) {
    let store = world.open().await;
    store.append(opened(1, None)).await.unwrap();
    store.append(signal(10, NOW, &[1])).await.unwrap();
    let later = NOW.plus(KEPT + DAY);
    let found = store.read().signals_for((&agency(), None), later.minus(KEPT), 0, 10).await.unwrap();
    assert!(found.is_empty(), "nobody is told, whether it was deleted or not");
    let after = NOW.plus(80 * DAY);
    assert_eq!(store.read().subscription_count(&agency(), after).await.unwrap(), 0);
    assert!(store.read().subscriptions_of(&agency(), after, None, 10).await.unwrap().is_empty());
    // And the writer's housekeeping deletes what its dates have ended.
    assert_eq!(waiting(&store, None, 0).await.len(), 1);
    world.set_clock(i64::try_from((KEPT + DAY).as_secs()).unwrap());
    store.tidy().await.unwrap();
    assert!(waiting(&store, None, 0).await.is_empty());
    assert!(store.read().subscription_person(&subscription(1)).await.unwrap().is_some());
    world.set_clock(i64::try_from((80 * DAY).as_secs()).unwrap());
    store.tidy().await.unwrap();
    assert!(store.read().subscription_person(&subscription(1)).await.unwrap().is_none());
}

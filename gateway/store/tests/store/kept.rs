//! What is kept beside the log, and what entries are found by once their bodies are opened; on both databases.

use serde_json::json;
use varco_core::hash::Sha256;
use varco_core::log::entry::{Draft, Erases, Kind, Slot, SlotName};
use varco_core::log::leaf::Leaf;
use varco_core::time::Timestamp;
use varco_store::kept::{Alert, Record, Stamp};
use varco_store::search::Search;
use varco_store::submission::Submission;

use crate::on_both;
use crate::world::{World, exchange};

on_both! {
    alerts_are_kept_once_and_tried_until_they_are_delivered
    alerts_that_were_kept_long_enough_go_with_their_deliveries
    entries_are_found_by_field_layer_case_and_seal
    followers_and_time_stamps_are_kept
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn alert(n: u8) -> Record {
    Record::Alert(Alert {
        id: Sha256::of(&[n]),
        at: at(i64::from(n)),
        about: "clock".to_owned(),
        body: format!("{{\"n\":{n}}}"),
        to: vec!["cpi-lucca".to_owned()],
        hooks: vec!["one".to_owned(), "two".to_owned()],
    })
}

async fn alerts_that_were_kept_long_enough_go_with_their_deliveries(world: World) {
    let store = world.open().await;
    store.keep(vec![alert(1), alert(2), alert(3)]).await.unwrap();
    let log = store.read();
    assert!(log.has_alerts_before(at(2)).await.unwrap() && !log.has_alerts_before(at(1)).await.unwrap());
    store.keep(vec![Record::AlertsForgotten { before: at(3) }]).await.unwrap();
    assert!(!log.has_alerts_before(at(3)).await.unwrap());
    for agency in [None, Some("cpi-lucca")] {
        let told = log.alerts(agency, Timestamp::LAST, 10).await.unwrap();
        assert_eq!(told.iter().map(|told| told.at).collect::<Vec<_>>(), [at(3)]);
    }
    assert_eq!(log.due("one", at(5), 10).await.unwrap().len(), 1);
}

async fn alerts_are_kept_once_and_tried_until_they_are_delivered(world: World) {
    let store = world.open().await;
    store.keep(vec![alert(1), alert(2)]).await.unwrap();
    // What is found again is not told again.
    store.keep(vec![alert(1)]).await.unwrap();
    let log = store.read();
    let told = log.alerts(None, Timestamp::LAST, 10).await.unwrap();
    assert_eq!(told.iter().map(|told| told.at).collect::<Vec<_>>(), [at(2), at(1)]);
    assert_eq!(log.alerts(Some("cpi-lucca"), at(2), 10).await.unwrap().len(), 1);
    assert!(log.alerts(Some("comune-lucca"), Timestamp::LAST, 10).await.unwrap().is_empty());
    assert_eq!(log.due("one", at(1), 10).await.unwrap().len(), 1);
    let due = log.due("one", at(5), 10).await.unwrap();
    assert_eq!((due.len(), due[0].attempts, due[0].body.as_str()), (2, 0, "{\"n\":1}"));
    let (first, second) = (Sha256::of(&[1]), Sha256::of(&[2]));
    let hook = || "one".to_owned();
    store
        .keep(vec![
            Record::Attempted { hook: hook(), alert: first, due: at(100) },
            Record::Delivered { hook: hook(), alert: second, at: at(6) },
        ])
        .await
        .unwrap();
    assert!(log.due("one", at(99), 10).await.unwrap().is_empty());
    assert_eq!(log.due("one", at(100), 10).await.unwrap()[0].attempts, 1);
    // What was delivered stays so.
    store.keep(vec![Record::Attempted { hook: hook(), alert: second, due: at(7) }]).await.unwrap();
    let told = log.alerts(None, Timestamp::LAST, 1).await.unwrap();
    assert_eq!(told[0].deliveries[0].delivered, Some(at(6)));
    assert_eq!(log.due("two", at(5), 10).await.unwrap().len(), 2);
    store.close().await;
}

async fn followers_and_time_stamps_are_kept(world: World) {
    let store = world.open().await;
    let log = store.read();
    assert_eq!(log.follower("siem").await.unwrap(), None);
    for next in [5, 9, 7] {
        store.keep(vec![Record::Followed { name: "siem", next }]).await.unwrap();
    }
    assert_eq!(log.follower("siem").await.unwrap(), Some(9));
    let stamp = |size: u64, authority: &str| Stamp {
        size,
        authority: authority.to_owned(),
        at: at(i64::try_from(size).unwrap()),
        note: format!("note {size}"),
        response: vec![0x30, 0x00, 0xff],
    };
    for (size, authority) in [(3, "a"), (3, "b"), (8, "a"), (8, "a")] {
        store.keep(vec![Record::Stamp(stamp(size, authority))]).await.unwrap();
    }
    let found = log.stamps(u64::MAX, 10).await.unwrap();
    assert_eq!(found, [stamp(8, "a"), stamp(3, "a"), stamp(3, "b")]);
    assert_eq!(log.stamps(8, 1).await.unwrap(), [stamp(3, "a"), stamp(3, "b")]);
    assert_eq!(log.stamp(3, "b").await.unwrap(), Some(stamp(3, "b")));
    assert_eq!(log.stamp(8, "b").await.unwrap(), None);
    assert_eq!(log.last_stamp("a").await.unwrap(), Some(at(8)));
    assert_eq!(log.last_stamp("c").await.unwrap(), None);
    assert!(log.acts().await.unwrap().is_empty());
    store.close().await;
}

/// Every third entry shows `nome`, every seventh is a denial by the law.
fn entry(n: u64) -> Submission {
    let denied = n % 7 == 6;
    let mut draft = Draft::new(if denied { Kind::Denial } else { Kind::Disclosure }, exchange(n));
    let outcomes = match (denied, n % 3) {
        (true, _) => json!([{ "name": "nome", "outcome": "withheld", "layer": "law", "reason": "x" }]),
        (false, 0) => json!([{ "name": "nome", "outcome": "shown", "view": "intero" }]),
        (false, _) => {
            json!([{ "name": "nome", "outcome": "unavailable" }, { "name": "sesso", "outcome": "shown", "view": "intero" }])
        }
    };
    draft.slots.set(SlotName::Decision, Slot::new([1; 32], &json!({ "outcomes": outcomes })));
    let operator = json!({ "operator": "op-1", "seal": Sha256::of(&[u8::try_from(n % 2).unwrap()]) });
    draft.slots.set(SlotName::Operator, Slot::new([2; 32], &operator));
    draft.slots.set(SlotName::Subject, Slot::new([3; 32], &json!({ "case": exchange(n % 5) })));
    Submission::new(draft)
}

async fn entries_are_found_by_field_layer_case_and_seal(world: World) {
    let store = world.open().await;
    for n in 0..40 {
        store.append(entry(n)).await.unwrap();
    }
    let text = |text: &str| Some(text.to_owned());
    let seal = Some(Sha256::of(&[1]).to_string());
    type Wanted = fn(u64) -> bool;
    let searches: Vec<(Search, Wanted)> = vec![
        (Search { field: text("nome"), ..Search::default() }, |n| n % 3 == 0 && n % 7 != 6),
        (Search { field: text("sesso"), ..Search::default() }, |n| n % 3 != 0 && n % 7 != 6),
        (Search { field: text("altro"), ..Search::default() }, |_| false),
        (Search { layer: text("law"), ..Search::default() }, |n| n % 7 == 6),
        (Search { layer: text("law"), field: text("nome"), ..Search::default() }, |_| false),
        (Search { case: text(exchange(2).as_str()), ..Search::default() }, |n| n % 5 == 2),
        (Search { seal: seal.clone(), ..Search::default() }, |n| n % 2 == 1),
        (Search { seal, field: text("nome"), ..Search::default() }, |n| {
            n % 2 == 1 && n % 3 == 0 && n % 7 != 6
        }),
    ];
    for (search, fits) in searches {
        for limit in [1, 4, 100] {
            let mut search = Search { limit, ..search.clone() };
            let mut found = Vec::new();
            loop {
                let page = store.read().search(&search).await.unwrap();
                found.extend(page.entries.iter().map(Leaf::index));
                search.before = page.next;
                if page.next.is_none() {
                    break;
                }
            }
            let wanted: Vec<u64> = (0..40).rev().filter(|n| fits(*n)).collect();
            assert_eq!(found, wanted, "{search:?}");
        }
    }
    // What is erased is not found by it any more.
    let mut order = Draft::new(Kind::Erasure, exchange(99));
    order.erases = Erases::new(0, 39, &SlotName::ALL);
    store.append(Submission::new(order)).await.unwrap();
    for search in [
        Search { field: text("nome"), limit: 9, ..Search::default() },
        Search { case: text(exchange(2).as_str()), limit: 9, ..Search::default() },
        Search { seal: Some(Sha256::of(&[1]).to_string()), limit: 9, ..Search::default() },
    ] {
        assert!(store.read().search(&search).await.unwrap().entries.is_empty(), "{search:?}");
    }
    store.close().await;
}

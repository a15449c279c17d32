//! Finding entries, on both databases.

use varco_core::log::entry::{Draft, Erases, Kind, Slot, SlotName};
use varco_core::time::Timestamp;
use varco_store::search::Search;
use varco_store::submission::Submission;

use crate::on_both;
use crate::world::{START, World, exchange, person};

on_both! {
    a_search_finds_exactly_what_fits_page_by_page
    what_is_erased_is_not_found_by_it_any_more
}

fn entry(n: u8) -> Submission {
    let mut draft =
        Draft::new(if n.is_multiple_of(4) { Kind::Denial } else { Kind::Disclosure }, exchange(u64::from(n)));
    draft.consumer = Some(if n.is_multiple_of(2) { "cpi-lucca" } else { "comune-lucca" }.parse().unwrap());
    draft.provider = Some("comune-capannori".parse().unwrap());
    draft.purpose = Some(if n.is_multiple_of(3) { "F02" } else { "F01" }.parse().unwrap());
    draft.record_type = Some("anagrafica_nucleo".parse().unwrap());
    let operator =
        serde_json::json!({ "agency": "x", "office": "sportello", "operator": format!("op-{}", n % 5) });
    draft.slots.set(SlotName::Operator, Slot::new([7; 32], &operator));
    let mut submission = Submission::new(draft);
    submission.subjects = vec![person(n % 10)];
    submission
}

async fn a_search_finds_exactly_what_fits_page_by_page(world: World) {
    let store = world.open().await;
    for n in 0..100 {
        world.set_clock(i64::from(n));
        store.append(entry(n)).await.unwrap();
    }
    let text = |text: &str| Some(text.to_owned());
    let at = |n: i64| Some(Timestamp::from_millis(START + n * 1000));
    type Wanted = fn(u64) -> bool;
    let searches: Vec<(Search, Wanted)> = vec![
        (Search::default(), |_| true),
        (Search { consumer: text("cpi-lucca"), purpose: text("F02"), ..Search::default() }, |n| n % 6 == 0),
        (Search { kind: Some(Kind::Denial), operator: text("op-0"), ..Search::default() }, |n| n % 20 == 0),
        (
            Search { agency: text("comune-capannori"), from: at(40), until: at(60), ..Search::default() },
            |n| (40..60).contains(&n),
        ),
        (Search { subjects: Some(vec![person(3), person(4)]), ..Search::default() }, |n| {
            matches!(n % 10, 3 | 4)
        }),
        (Search { office: text("sportello"), before: Some(7), ..Search::default() }, |n| n < 7),
        (Search { provider: text("nobody"), ..Search::default() }, |_| false),
        (Search { record_type: text("anagrafica_nucleo"), code: text("x"), ..Search::default() }, |_| false),
        (Search { subjects: Some(Vec::new()), ..Search::default() }, |_| false),
    ];
    for (search, fits) in searches {
        for limit in [1, 7, 500] {
            let mut search = Search { limit, ..search.clone() };
            let mut found = Vec::new();
            loop {
                let page = store.read().search(&search).await.unwrap();
                assert!(page.entries.len() as u64 <= limit);
                found.extend(page.entries.iter().map(varco_core::log::leaf::Leaf::index));
                search.before = page.next;
                if page.next.is_none() {
                    break;
                }
            }
            let wanted: Vec<u64> = (0..100).rev().filter(|n| fits(*n)).collect();
            assert_eq!(found, wanted, "{search:?}");
        }
    }
    store.close().await;
}

async fn what_is_erased_is_not_found_by_it_any_more(world: World) {
    let store = world.open().await;
    for n in 0..10 {
        store.append(entry(n)).await.unwrap();
    }
    let by_operator = Search { operator: Some("op-3".to_owned()), limit: 10, ..Search::default() };
    let by_person = Search { subjects: Some(vec![person(3)]), limit: 10, ..Search::default() };
    assert_eq!(store.read().search(&by_operator).await.unwrap().entries.len(), 2);
    assert_eq!(store.read().search(&by_person).await.unwrap().entries.len(), 1);
    let mut order = Draft::new(Kind::Erasure, exchange(99));
    order.erases = Erases::new(0, 9, &[SlotName::Operator, SlotName::Subject]);
    store.append(Submission::new(order)).await.unwrap();
    assert!(store.read().search(&by_operator).await.unwrap().entries.is_empty());
    assert!(store.read().search(&by_person).await.unwrap().entries.is_empty());
    store.close().await;
}

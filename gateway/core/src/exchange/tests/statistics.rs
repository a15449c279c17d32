use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::id::AgencyId;
use crate::statistics::counts::AgencyCounts;
use crate::statistics::release::Release;

const RECORD: &str = "progetto_personalizzato";
const MINOR: [&str; 3] = ["comune-montecarlo", "comune-pescaglia", "comune-villa-basilica"];

/// Whoever has no owner's key: there is nothing to open.
struct Nobody;

impl OwnerKey for Nobody {
    fn open(&self, _: &AgencyId, _: &ExchangeId, _: &str) -> Option<Vec<u8>> {
        None
    }
}

/// All parties of the agreement.
fn everybody() -> Registry {
    let mut registry = registry();
    let agencies = POLICY.agreement.parties.iter().map(|party| {
        json!({ "id": party.agency, "kind": party.kind, "name": party.name, "identifiers": [format!("PA:IT-xx_{}", party.agency)] })
    });
    registry.agencies = serde_json::from_value(agencies.collect()).unwrap();
    registry
}

fn ask(change: impl FnOnce(&mut Value)) -> StatisticsAsk {
    let mut ask = json!({ "record_type": RECORD, "purpose": "F10", "period": "2026-S1" });
    change(&mut ask);
    serde_json::from_value(ask).unwrap()
}

fn tabulated(ask: &StatisticsAsk, registry: &Registry) -> Result<AuthorizedTabulation, Box<Outcome>> {
    match tabulate(request(1), ask, registry, &POLICY) {
        Tabulated::Permit(permitted) => Ok(*permitted),
        Tabulated::Deny(outcome) => Err(outcome),
    }
}

fn counting(held: &BTreeMap<String, Release>) -> Counting {
    tabulated(&ask(|_| ()), &everybody()).unwrap().hold(held)
}

/// So many people in one cell of every owner's, but those who do not answer.
fn counted(counting: &Counting, silent: &[&str]) -> BTreeMap<AgencyId, Result<AgencyCounts, Code>> {
    let of = |owner: &AgencyId| {
        let rows = [(vec!["1".to_owned(), "2".to_owned(), "raggiunto".to_owned()], 40)];
        let counts = match silent.contains(&owner.as_str()) {
            true => Err(Code::AdapterTimeout),
            false => Ok(AgencyCounts::check(rows, counting.tabulation()).unwrap()),
        };
        (owner.clone(), counts)
    };
    counting.owners().map(of).collect()
}

fn released(counting: Counting, silent: &[&str]) -> Outcome {
    let counts = counted(&counting, silent);
    let mut number = 0;
    counting.release(counts, || {
        number += 1;
        FetchSeed { entry: ExchangeId::new(NOW, [number; 10]), salts: [[number; 32]; 3] }
    })
}

/// What the streams hold after an outcome was committed.
fn kept(sealed: &Sealed) -> BTreeMap<String, Release> {
    let read = |change: &StreamChange| {
        assert_eq!((change.kind, change.expected), (StreamKind::Statistics, 0));
        (change.stream.clone(), serde_json::from_str(change.header.as_ref().unwrap()).unwrap())
    };
    sealed.changes.iter().map(read).collect()
}

fn summary(sealed: &Sealed) -> Value {
    let body: Value = serde_json::from_str(&sealed.draft.slots.decision.as_ref().unwrap().body).unwrap();
    body["statistics"].clone()
}

#[test]
fn every_owner_has_an_entry_of_its_own_that_replays_and_holds_no_number() {
    let (_, sealed) = released(counting(&BTreeMap::new()), &[]).seal([[9; 32]; 3], &Unsealed);
    // The asking employment centre owns projects too, and is not asked for them.
    assert_eq!((sealed.draft.kind, sealed.also.len()), (Kind::Read, 8));
    for one in &sealed.also {
        assert_eq!((one.draft.kind, one.subjects.len()), (Kind::Disclosure, 0));
        assert!(one.draft.slots.subject.is_none());
        let leaf = one.draft.leaf(0, NOW);
        let body = &one.draft.slots.decision.as_ref().unwrap().body;
        let past = Past { policy: &POLICY, keys: &Nobody };
        assert_eq!(replay(&leaf, body, past, &POLICY), Replayed::Same, "{body}");
        assert!(!body.contains("people"), "{body}");
    }
    assert_eq!(summary(&sealed)["left_out"][0]["area"], "cpi-lucca");
    assert_eq!(summary(&sealed)["left_out"][0]["code"], "exchange.not-allowed");
}

#[test]
fn the_conference_of_the_zone_asks_all_nine_owners() {
    let mut request = request(1);
    (request.sender.agency, request.sender.kind) = ("conferenza-zonale".parse().unwrap(), AgencyKind::Zona);
    let Tabulated::Permit(permitted) = tabulate(request, &ask(|_| ()), &everybody(), &POLICY) else {
        panic!("nothing was permitted")
    };
    assert_eq!(permitted.hold(&BTreeMap::new()).owners().count(), 9);
}

#[test]
fn an_area_waits_for_the_last_of_its_owners_and_the_others_do_not() {
    let (_, first) =
        released(counting(&BTreeMap::new()), &["comune-pescaglia"]).seal([[9; 32]; 3], &Unsealed);
    let said = summary(&first);
    let minor =
        said["left_out"].as_array().unwrap().iter().find(|one| one["area"] == "comuni-minori").unwrap();
    assert_eq!(
        (&minor["code"], &minor["because_of"]),
        (&json!("adapter.timeout"), &json!(["comune-pescaglia"]))
    );
    assert_eq!(first.also.len(), 5);
    // Later only what is missing is counted.
    let counting = counting(&kept(&first));
    let owners: Vec<&str> = counting.owners().map(AgencyId::as_str).collect();
    assert_eq!(owners, MINOR);
    let (_, second) = released(counting, &[]).seal([[9; 32]; 3], &Unsealed);
    assert_eq!((second.also.len(), second.changes.len()), (8, 3));
}

#[test]
fn what_was_released_is_told_again_without_anybody_being_asked() {
    let (_, first) = released(counting(&BTreeMap::new()), &[]).seal([[9; 32]; 3], &Unsealed);
    let again = counting(&kept(&first));
    assert_eq!(again.owners().count(), 0);
    let (_, again) = released(again, &[]).seal([[9; 32]; 3], &Unsealed);
    assert_eq!(summary(&again)["releases"], summary(&first)["releases"]);
    assert!(again.changes.is_empty(), "nothing is released twice");
    assert_eq!(again.also.len(), 8, "and every owner is told again");
}

#[test]
fn the_same_people_in_another_form_are_refused_and_the_earlier_release_is_named() {
    let (_, first) = released(counting(&BTreeMap::new()), &[]).seal([[9; 32]; 3], &Unsealed);
    let other_form = |change: fn(&mut Release)| {
        let mut held = kept(&first);
        held.values_mut().for_each(change);
        released(counting(&held), &[])
    };
    let changes: [fn(&mut Release); 4] = [
        |release| release.tabulation.threshold = 4,
        |release| release.tabulation.dimensions[1].classes.swap(0, 1),
        |release| release.period = "2026".parse().unwrap(),
        |release| release.area.owners.truncate(1),
    ];
    for change in changes.into_iter().take(3) {
        let outcome = other_form(change);
        assert_eq!(outcome.code(), Some(Code::StatisticsIncomplete));
        let End::Fail { detail, .. } = outcome.end else { panic!("it was not refused") };
        assert!(
            detail.contains("statistics.overlap") && detail.contains(request(1).exchange().as_str()),
            "{detail}"
        );
    }
    // One area was smaller then; the others are as they were.
    let (_, sealed) = other_form(changes[3]).seal([[9; 32]; 3], &Unsealed);
    let said = summary(&sealed);
    let minor =
        said["left_out"].as_array().unwrap().iter().find(|one| one["area"] == "comuni-minori").unwrap();
    assert_eq!(minor["code"], "statistics.overlap");
}

#[test]
fn a_part_of_an_areas_streams_is_no_release_of_it() {
    let (_, first) = released(counting(&BTreeMap::new()), &[]).seal([[9; 32]; 3], &Unsealed);
    let mut held = kept(&first);
    let of_minor = held.iter().find(|(_, release)| release.area.name == "comuni-minori");
    let (stream, _) = of_minor.map(|(stream, release)| (stream.clone(), release.clone())).unwrap();
    held.remove(&stream);
    let (_, sealed) = released(counting(&held), &[]).seal([[9; 32]; 3], &Unsealed);
    assert!(sealed.changes.is_empty());
    assert_eq!(sealed.also.len(), 5);
}

#[test]
fn who_owns_a_part_of_an_area_is_not_told_the_whole() {
    let mut request = request(1);
    (request.sender.agency, request.sender.kind) = ("comune-pescaglia".parse().unwrap(), AgencyKind::Comune);
    let Tabulated::Permit(permitted) = tabulate(request, &ask(|_| ()), &everybody(), &POLICY) else {
        panic!("nothing was permitted")
    };
    let counting = permitted.hold(&BTreeMap::new());
    assert!(counting.owners().all(|owner| !MINOR.contains(&owner.as_str())));
}

#[test]
fn what_cannot_be_asked_is_refused_before_anybody_counts() {
    let refused =
        |ask: StatisticsAsk, registry: &Registry| tabulated(&ask, registry).unwrap_err().code().unwrap();
    let all = everybody();
    assert_eq!(refused(ask(|ask| ask["period"] = json!("2026-S2")), &all), Code::RequestInvalid);
    assert_eq!(refused(ask(|ask| ask["period"] = json!("2025")), &all), Code::RequestInvalid);
    assert_eq!(refused(ask(|ask| ask["dimensions"] = json!(["data_firma"])), &all), Code::RequestInvalid);
    assert_eq!(
        refused(ask(|ask| ask["record_type"] = json!("valutazione_uvmd")), &all),
        Code::RequestInvalid
    );
    assert_eq!(refused(ask(|ask| ask["purpose"] = json!("F04")), &all), Code::ExchangeNotAllowed);
    // Known to nobody: like any provider there is none of.
    let mut none = everybody();
    none.agencies.clear();
    assert_eq!(refused(ask(|_| ()), &none), Code::ExchangeNotAllowed);
    let day = json!({ "record_type": RECORD, "purpose": "F10", "period": "2026-06-30" });
    assert!(serde_json::from_value::<StatisticsAsk>(day).is_err());
    let person = json!({ "record_type": RECORD, "purpose": "F10", "period": "2026-S1", "subject": {} });
    assert!(serde_json::from_value::<StatisticsAsk>(person).is_err());
}

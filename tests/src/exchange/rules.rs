//! Who may ask what: cases, équipes, consents, purposes, deployments.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use varco_core::log::entry::Kind;
use varco_core::registry::Deployment;

use crate::world::asks::{COACH, Situation, add_member, anna, consent, open_case, withdrawal};
use crate::world::provider::Play;
use crate::world::{Setup, World, decision};

/// A code that is valid and could belong to somebody: its surname code is not the synthetic one.
const REAL: &str = "RSSMRA80A01H501U";

#[tokio::test]
async fn a_consent_withdrawn_mid_exchange_turns_the_disclosure_into_a_denial() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::played(Play::Held(Arc::clone(&gate))).await;
    let anna = Situation::of(&world).await;
    let pull = anna.pull();
    let meanwhile = async {
        world.provider.as_ref().unwrap().asked().await;
        let told = anna.capannori.post(&format!("/consents/{}/events", anna.consent), &withdrawal()).await;
        gate.add_permits(1);
        told
    };
    let (pulled, withdrawn) = tokio::join!(anna.cpi.post("/pulls", &pull), meanwhile);
    assert_eq!(withdrawn.status, 200);
    pulled.assert_refused(403, "exchange.denied");
    let (denial, withdrawal) = (pulled.receipt(), withdrawn.receipt());
    assert_eq!(denial.leaf.kind(), Kind::Denial);
    assert!(denial.leaf.index() > withdrawal.leaf.index());
    let entries = world.entries_of(pulled.exchange()).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(decision(&entries[0].1)["overtaken"], true);
}

#[tokio::test]
async fn a_case_closed_mid_exchange_turns_the_disclosure_into_a_denial() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::played(Play::Held(Arc::clone(&gate))).await;
    let anna = Situation::of(&world).await;
    let pull = anna.pull();
    let meanwhile = async {
        world.provider.as_ref().unwrap().asked().await;
        let told =
            anna.capannori.post(&format!("/cases/{}/events", anna.case), &json!({ "change": "close" })).await;
        gate.add_permits(1);
        told
    };
    let (pulled, closed) = tokio::join!(anna.cpi.post("/pulls", &pull), meanwhile);
    assert_eq!(closed.status, 200, "{:?}", closed.body);
    pulled.assert_refused(403, "exchange.denied");
    assert!(pulled.receipt().leaf.index() > closed.receipt().leaf.index());
}

#[tokio::test]
async fn another_persons_withdrawal_does_not_disturb_an_exchange() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::played(Play::Held(Arc::clone(&gate))).await;
    let anna = Situation::of(&world).await;
    let mut other = consent(world.now());
    other["subject"] = json!({ "codice_fiscale": crate::world::PEOPLE.people()[7].code.expose() });
    let other = anna.capannori.post("/consents", &other).await;
    let other = other.body["consent"]["id"].as_str().unwrap().to_owned();
    let pull = anna.pull();
    let meanwhile = async {
        world.provider.as_ref().unwrap().asked().await;
        let told = anna.capannori.post(&format!("/consents/{other}/events"), &withdrawal()).await;
        gate.add_permits(1);
        told
    };
    let (pulled, withdrawn) = tokio::join!(anna.cpi.post("/pulls", &pull), meanwhile);
    assert_eq!((pulled.status, withdrawn.status), (200, 200));
}

#[tokio::test]
async fn a_closed_case_opens_nothing() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told =
        anna.capannori.post(&format!("/cases/{}/events", anna.case), &json!({ "change": "close" })).await;
    assert_eq!(told.status, 200);
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.not-allowed");
}

#[tokio::test]
async fn who_left_the_equipe_asks_in_vain() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let operator = json!({ "agency": "cpi-lucca", "operator": COACH });
    let change = json!({ "change": "remove_member", "operator": operator });
    let told = anna.capannori.post(&format!("/cases/{}/events", anna.case), &change).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.not-allowed");
}

#[tokio::test]
async fn a_membership_ends_by_itself() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut member = add_member("op-cpi-9", world.now());
    member["member"]["until"] = json!(world.now().plus(Duration::from_secs(3600)));
    assert_eq!(anna.capannori.post(&format!("/cases/{}/events", anna.case), &member).await.status, 200);
    let guest = world.desk("cpi-lucca", "op-cpi-9");
    assert_eq!(guest.post("/pulls", &anna.pull()).await.status, 200);
    world.advance(Duration::from_secs(3600));
    guest.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.not-allowed");
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test]
async fn a_colleague_outside_the_equipe_asks_in_vain() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let colleague = world.desk("cpi-lucca", "op-cpi-118");
    colleague.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.not-allowed");
}

#[tokio::test]
async fn the_case_of_somebody_else_opens_nothing() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let other = json!({ "codice_fiscale": crate::world::PEOPLE.people()[7].code.expose() });
    let mut case = open_case();
    case["subjects"] = json!([other]);
    let told = anna.capannori.post("/cases", &case).await;
    let case = told.body["case"]["id"].as_str().unwrap().to_owned();
    let told = anna.capannori.post(&format!("/cases/{case}/events"), &add_member(COACH, world.now())).await;
    assert_eq!(told.status, 200);
    let mut pull = anna.pull();
    pull["case"] = json!(case);
    anna.cpi.post("/pulls", &pull).await.assert_refused(403, "exchange.not-allowed");
}

#[tokio::test]
async fn no_case_and_an_unknown_case_are_the_same_refusal() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut pull = anna.pull();
    pull["case"] = json!("01a1ee56-5e00-7fff-bfff-ffffffffffff");
    let unknown = anna.cpi.post("/pulls", &pull).await;
    pull.as_object_mut().unwrap().remove("case");
    let none = anna.cpi.post("/pulls", &pull).await;
    for told in [&unknown, &none] {
        told.assert_refused(403, "exchange.not-allowed");
        assert_eq!(told.receipt().leaf.kind(), Kind::Denial);
    }
    assert_eq!(unknown.body["detail"], none.body["detail"]);
}

#[tokio::test]
async fn a_consent_ends_by_itself() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut short = consent(world.now());
    for item in short["scope"].as_array_mut().unwrap() {
        item["valid_until"] = json!(world.now().plus(Duration::from_secs(3600)));
    }
    anna.withdraw().await;
    assert_eq!(anna.capannori.post("/consents", &short).await.status, 201);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    world.advance(Duration::from_secs(3600));
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.denied");
}

#[tokio::test]
async fn a_consent_for_another_agency_opens_nothing() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    anna.withdraw().await;
    let mut other = consent(world.now());
    for item in other["scope"].as_array_mut().unwrap() {
        item["recipients"] = json!([{ "agency": "asl-toscana-nord-ovest" }]);
    }
    assert_eq!(anna.capannori.post("/consents", &other).await.status, 201);
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.denied");
}

#[tokio::test]
async fn an_unknown_provider_cannot_be_asked() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut pull = anna.pull();
    pull["provider"] = json!("comune-di-nessun-luogo");
    let told = anna.cpi.post("/pulls", &pull).await;
    told.assert_refused(403, "exchange.not-allowed");
    assert_eq!(told.receipt().leaf.kind(), Kind::Denial);
}

#[tokio::test]
async fn a_provider_of_the_registry_without_a_system_is_unreachable() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut pull = anna.pull();
    pull["provider"] = json!("comune-altopascio");
    let told = anna.cpi.post("/pulls", &pull).await;
    told.assert_refused(502, "adapter.unreachable");
    assert_eq!(told.receipt().leaf.kind(), Kind::Failure);
}

#[tokio::test]
async fn a_test_deployment_refuses_whoever_could_be_real() {
    let world = World::start().await;
    let situation = Situation::of(&world).await;
    let person = json!({ "codice_fiscale": REAL });
    let mut pull = situation.pull();
    pull["subject"] = person.clone();
    let mut consent = consent(world.now());
    consent["subject"] = person.clone();
    let mut case = open_case();
    case["subjects"] = json!([person]);
    for (path, body) in [("/pulls", &pull), ("/consents", &consent), ("/cases", &case)] {
        situation.cpi.post(path, body).await.assert_refused(422, "subject.wrong-world");
    }
    let search = json!({ "subject": person });
    situation.cpi.post("/consents/search", &search).await.assert_refused(422, "subject.wrong-world");
}

#[tokio::test]
async fn a_production_deployment_refuses_synthetic_people() {
    let world = World::of(Setup {
        registry: |registry| registry.deployment = Deployment::Production,
        ..Setup::default()
    })
    .await;
    let desk = world.desk("comune-capannori", "op-cap-042");
    desk.post("/cases", &open_case()).await.assert_refused(422, "subject.wrong-world");
    desk.post("/consents", &consent(world.now())).await.assert_refused(422, "subject.wrong-world");
    let search = json!({ "subject": anna() });
    desk.post("/consents/search", &search).await.assert_refused(422, "subject.wrong-world");
    let mut case = open_case();
    case["subjects"] = json!([{ "codice_fiscale": REAL }]);
    assert_eq!(desk.post("/cases", &case).await.status, 201);
}

#[tokio::test]
async fn a_case_and_a_consent_exist_only_for_those_who_may_know_them() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let stranger = world.desk("comune-porcari", "op-por-1");
    stranger.get(&format!("/cases/{}", anna.case)).await.assert_refused(404, "case.unknown");
    stranger.get(&format!("/consents/{}", anna.consent)).await.assert_refused(404, "consent.unknown");
    let close = json!({ "change": "close" });
    let told = stranger.post(&format!("/cases/{}/events", anna.case), &close).await;
    told.assert_refused(404, "case.unknown");
    let none = stranger.get("/cases/01a1ee56-5e00-7fff-bfff-ffffffffffff").await;
    let hidden = stranger.get(&format!("/cases/{}", anna.case)).await;
    assert_eq!(none.body["detail"], hidden.body["detail"]);
    assert_eq!(anna.cpi.get(&format!("/cases/{}", anna.case)).await.status, 200);
    assert_eq!(anna.capannori.get(&format!("/consents/{}", anna.consent)).await.status, 200);
}

#[tokio::test]
async fn of_two_changes_at_the_same_moment_one_is_told_that_it_came_late() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let path = format!("/cases/{}/events", anna.case);
    let (first, second) = (add_member("op-cpi-1", world.now()), add_member("op-cpi-2", world.now()));
    let (mut conflicts, mut done) = (0, 0);
    // Which of two requests comes first is chance: enough rounds for one to overtake the other.
    for _ in 0..20 {
        let (a, b) = tokio::join!(anna.capannori.post(&path, &first), anna.capannori.post(&path, &second));
        for told in [a, b] {
            match told.status {
                200 => done += 1,
                409 => {
                    conflicts += 1;
                    assert!(["case.conflict", "case.closed"].contains(&told.code()));
                    assert_eq!(told.receipt().leaf.kind(), Kind::Failure);
                }
                status => panic!("{status}: {:?}", told.body),
            }
        }
    }
    assert_eq!(done + conflicts, 40);
    assert!(done >= 2);
}

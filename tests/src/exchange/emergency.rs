//! Breaking the glass: what must be declared, who is told, and the review that cannot be forgotten.

use std::time::Duration;

use serde_json::{Value, json};
use varco::http::exchange::BASE;
use varco_core::json as canonical;
use varco_core::log::entry::Kind;

use crate::world::desk::Desk;
use crate::world::family::person;
use crate::world::{KIT, World, decision};

const REASON: &str = "Trovata priva di sensi in casa, il figlio minore è solo.";

fn urgent() -> Value {
    json!({
        "record_type": "anagrafica_nucleo",
        "subject": person(0),
        "provider": "comune-capannori",
        "purpose": "F14",
        "emergency": { "danger": "life", "cannot_consent": "unconscious", "reason": REASON },
    })
}

fn doctor(world: &World) -> Desk {
    world.desk("asl-toscana-nord-ovest", "op-asl-118")
}

fn owner(world: &World) -> Desk {
    world.desk("comune-capannori", "op-cap-dpo")
}

async fn status(world: &World) -> Value {
    world.client("cpi-lucca").get(&format!("{BASE}/status")).await.unwrap().json()
}

fn reading_key(officer: &str) -> String {
    let officer = KIT.officers.iter().find(|known| known.id.as_str() == officer).unwrap();
    officer.reading_key.as_ref().unwrap().serialize_pem()
}

#[tokio::test]
async fn an_emergency_gives_the_minimal_set_and_tells_the_owner_in_the_same_instant() {
    let world = World::start().await;
    let told = doctor(&world).post("/pulls", &urgent()).await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    assert_eq!(told.receipt().leaf.kind(), Kind::Disclosure);
    for (field, outcome) in [("nome", "shown"), ("telefono", "shown"), ("componenti", "unavailable")] {
        assert_eq!(told.outcome(field), outcome, "{field}");
    }
    assert_eq!((told.outcome("cittadinanza"), told.outcome("stato_civile")), ("withheld", "withheld"));
    let notices = owner(&world).get("/notices").await;
    let notice = &notices.body["received"][0];
    assert_eq!((&notice["about"], &notice["overdue"]), (&json!("emergency"), &json!(false)));
    assert_eq!(notice["exchanges"], json!([told.exchange()]));
    let said = &notice["emergency"];
    assert_eq!((&said["danger"], &said["cannot_consent"]), (&json!("life"), &json!("unconscious")));
    assert_eq!(said["by"], json!("asl-toscana-nord-ovest"));
    let due = world.now().plus(Duration::from_secs(72 * 3600));
    assert_eq!(said["review_by"], json!(due));
}

#[tokio::test]
async fn the_reason_is_read_by_the_owners_officer_and_nobody_else() {
    let world = World::start().await;
    let told = doctor(&world).post("/pulls", &urgent()).await;
    let notices = owner(&world).get("/notices").await;
    let sealed = &notices.body["received"][0]["reason"];
    assert_eq!(sealed[0]["officer"], json!("capannori-dpo"));
    let jwe = sealed[0]["jwe"].as_str().unwrap();
    let reader = |officer: &str| varco_jose::Reader::from_pem(reading_key(officer).as_bytes()).unwrap();
    assert_eq!(reader("capannori-dpo").open(jwe).unwrap().as_slice(), REASON.as_bytes());
    assert!(reader("asl-dpo").open(jwe).is_err());
    // Nor does whoever asked get it back, nor does the log hold it in clear.
    let asker = doctor(&world).get("/notices").await;
    assert_eq!(asker.body["unacknowledged"][0]["reason"], Value::Null);
    let [(_, slots)] = &world.entries_of(told.exchange()).await[..] else { panic!("not one entry") };
    let body = &slots.decision.as_ref().unwrap().body;
    assert!(!body.contains("sensi") && decision(slots)["emergency"]["reason"][0]["jwe"] == json!(jwe));
}

#[tokio::test]
async fn an_emergency_is_declared_whole_or_refused_and_only_under_its_purpose() {
    let world = World::start().await;
    let desk = doctor(&world);
    let with = |change: fn(&mut Value)| {
        let mut body = urgent();
        change(&mut body);
        body
    };
    type Mistake = (fn(&mut Value), &'static str);
    let mistakes: [Mistake; 6] = [
        (|body| drop(body.as_object_mut().unwrap().remove("emergency")), "emergency.undeclared"),
        (|body| body["purpose"] = json!("F08"), "emergency.undeclared"),
        (|body| body["emergency"]["reason"] = json!("troppo breve"), "request.invalid"),
        (|body| body["emergency"]["danger"] = json!("curiosity"), "request.invalid"),
        (|body| drop(body["emergency"].as_object_mut().unwrap().remove("cannot_consent")), "request.invalid"),
        (|body| body["emergency"]["more"] = json!(1), "request.invalid"),
    ];
    for (change, code) in mistakes {
        let told = desk.post("/pulls", &with(change)).await;
        told.assert_refused(422, code);
        assert!(
            !canonical::canonical(&Value::Object(told.body)).contains("sensi"),
            "the reason is not repeated"
        );
    }
    assert_eq!(owner(&world).get("/notices").await.body["received"], json!([]));
}

#[tokio::test]
async fn an_employment_centre_has_no_emergencies() {
    let world = World::start().await;
    let told = world.desk("cpi-lucca", "op-cpi-117").post("/pulls", &urgent()).await;
    told.assert_refused(403, "exchange.not-allowed");
}

#[tokio::test]
async fn where_no_officer_can_read_the_reason_the_glass_does_not_break() {
    let setup = crate::world::Setup {
        registry: |registry| registry.officers.iter_mut().for_each(|officer| officer.reading_key = None),
        ..Default::default()
    };
    let world = World::of(setup).await;
    doctor(&world).post("/pulls", &urgent()).await.assert_refused(409, "emergency.no-officer");
}

#[tokio::test]
async fn an_unreviewed_emergency_shows_until_its_review_is_logged() {
    let world = World::start().await;
    assert_eq!(status(&world).await["reviews"], json!({ "waiting": 0, "overdue": 0, "items": [] }));
    doctor(&world).post("/pulls", &urgent()).await;
    let desk = owner(&world);
    let id = desk.get("/notices").await.body["received"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(status(&world).await["reviews"]["waiting"], json!(1));
    // Knowing of it is not reviewing it, and time does not wait.
    assert_eq!(desk.post(&format!("/notices/{id}/ack"), &json!({})).await.status, 200);
    world.advance(Duration::from_secs(72 * 3600));
    let seen = status(&world).await;
    assert_eq!((&seen["reviews"]["waiting"], &seen["reviews"]["overdue"]), (&json!(1), &json!(1)));
    assert_eq!(seen["reviews"]["items"][0]["owner"], json!("comune-capannori"));
    let listed = desk.get("/notices").await;
    assert_eq!(listed.body["received"][0]["overdue"], json!(true));
    let review = json!({ "verdict": "justified" });
    doctor(&world)
        .post(&format!("/notices/{id}/review"), &review)
        .await
        .assert_refused(404, "notice.unknown");
    let done = desk.post(&format!("/notices/{id}/review"), &review).await;
    assert_eq!((done.status, done.receipt().leaf.kind()), (200, Kind::Consent), "{:?}", done.body);
    assert_eq!(status(&world).await["reviews"]["waiting"], json!(0));
    assert_eq!(desk.get("/notices").await.body["received"], json!([]));
    desk.post(&format!("/notices/{id}/review"), &review).await.assert_refused(409, "consent.conflict");
}

#[tokio::test]
async fn what_was_no_emergency_is_told_to_whoever_asked() {
    let world = World::start().await;
    let told = doctor(&world).post("/pulls", &urgent()).await;
    let desk = owner(&world);
    let id = desk.get("/notices").await.body["received"][0]["id"].as_str().unwrap().to_owned();
    let review = json!({ "verdict": "unjustified" });
    assert_eq!(desk.post(&format!("/notices/{id}/review"), &review).await.status, 200);
    let notices = doctor(&world).get("/notices").await;
    let notice = &notices.body["received"][0];
    assert_eq!((&notice["about"], &notice["exchanges"]), (&json!("unjustified"), &json!([told.exchange()])));
    let path = format!("/notices/{}", notice["id"].as_str().unwrap());
    doctor(&world).post(&format!("{path}/review"), &review).await.assert_refused(422, "request.invalid");
    assert_eq!(doctor(&world).post(&format!("{path}/ack"), &json!({})).await.status, 200);
    assert_eq!(desk.get("/notices").await.body["unacknowledged"], json!([]));
}

#[tokio::test]
async fn what_the_person_concealed_stays_concealed_in_an_emergency() {
    let world = World::start().await;
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let extent = json!({ "record_type": "anagrafica_nucleo", "fields": ["telefono"] });
    let body = json!({ "subject": person(0), "ground": "opposition", "extent": extent, "word": word });
    assert_eq!(owner(&world).post("/restrictions", &body).await.status, 201);
    let told = doctor(&world).post("/pulls", &urgent()).await;
    assert_eq!((told.outcome("telefono"), told.outcome("nome")), ("unavailable", "shown"));
}

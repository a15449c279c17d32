//! Statistics: counts by fixed classes, of which small ones stay where they are, and never anybody's record.

use serde_json::{Value, json};
use varco_core::exchange::Replayed;
use varco_core::log::entry::Kind;
use varco_core::log::proof::Receipt;
use varco_core::wire::verify_record;

use crate::routes::{Route, message, routes};
use crate::world::asks::{Situation, pull};
use crate::world::desk::{Desk, Told, log_verifier, seal_trust};
use crate::world::provider::Play;
use crate::world::{KIT, NOW, Setup, World, decision};

const RECORD: &str = "posizione_lavoro";
const K: u64 = 5;

/// Some 100,000 people by GOL path, condition and months: many in most cells, few in some, nobody in others.
fn counts() -> Value {
    let mut rows = Vec::new();
    for (path, condition, months) in cells() {
        let at = rows.len() as u64;
        let people = match at % 7 {
            0 => at % 4,
            1 => 0,
            _ => 1600 + 13 * at,
        };
        rows.push(json!({ "classes": [path, condition, months], "people": people }));
    }
    json!(rows)
}

fn cells() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let paths = ["1", "2", "3", "4", "5", "non_noto"];
    let conditions = ["senza lavoro", "al lavoro", "non_noto"];
    let months = ["1", "2", "3", "4", "non_noto"];
    paths.into_iter().flat_map(move |path| {
        conditions
            .into_iter()
            .flat_map(move |condition| months.into_iter().map(move |m| (path, condition, m)))
    })
}

async fn world() -> World {
    World::of(Setup { play: Some(Play::Counts(counts())), plays: "cpi-lucca", ..Setup::default() }).await
}

fn ask() -> Value {
    json!({ "record_type": RECORD, "purpose": "F10", "period": "2026-S1" })
}

async fn told(desk: &Desk, ask: &Value) -> Told {
    let told = desk.post("/statistics", ask).await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    told
}

fn people(rows: &Value, classes: [Option<&str>; 3]) -> Option<u64> {
    let found = rows.as_array().unwrap().iter().find(|row| row["classes"] == json!(classes)).unwrap();
    found["people"].as_u64()
}

#[tokio::test]
async fn sc5_a_hundred_thousand_people_come_in_classes_and_small_numbers_stay_back() {
    let world = world().await;
    let desk = world.desk("comune-capannori", "op-cap-042");
    let told = told(&desk, &ask()).await;
    told.receipt();
    let statistics = &told.body["statistics"];
    let rows = &statistics["areas"][0]["rows"];
    let all = rows.as_array().unwrap();
    // 6 x 3 x 5 classes and their totals.
    assert_eq!(all.len(), 7 * 4 * 6);
    assert!(all.iter().filter_map(|row| row["people"].as_u64()).all(|people| people >= K));
    for row in counts().as_array().unwrap().iter().filter(|row| row["people"].as_u64().unwrap() < K) {
        let found = all.iter().find(|told| told["classes"] == row["classes"]).unwrap();
        assert_eq!(found["people"], Value::Null, "{row}");
    }
    let whole = people(rows, [None, None, None]).unwrap();
    assert!(whole > 100_000, "{whole}");
    let kept_back = all.iter().filter(|row| row["people"].is_null()).count();
    assert_eq!(statistics["suppression"]["kept_back"], kept_back);
    assert_eq!(statistics["suppression"]["threshold"], K);
    assert!(kept_back < all.len() / 2, "{kept_back} of {} are kept back", all.len());
    let csv = statistics["csv"].as_str().unwrap();
    assert!(csv.starts_with("area;percorso_gol;condizione_occupazionale;mesi_disoccupazione;persone\r\n"));
    assert_eq!(csv.lines().count(), 1 + all.len());
    assert_eq!(csv.lines().filter(|line| line.ends_with(";*")).count(), kept_back);
}

#[tokio::test]
async fn the_table_is_sealed_and_every_owner_has_an_entry_that_replays_without_a_number() {
    let world = world().await;
    let desk = world.desk("comune-capannori", "op-cap-042");
    let told = told(&desk, &ask()).await;
    let sealed = verify_record(told.text("statistics_jws"), 1 << 20, &seal_trust(&KIT, NOW)).unwrap();
    let claims = sealed.claims;
    assert_eq!(
        (&claims["statistics"], &claims["aud"]),
        (&told.body["statistics"], &json!("comune-capannori"))
    );
    let entry = &told.body["entries"][0];
    let receipt = Receipt::parse(entry["receipt"].as_str().unwrap().as_bytes()).unwrap();
    log_verifier(&KIT).check(&receipt).unwrap();
    let found = world.entries_of(entry["exchange"].as_str().unwrap()).await;
    let [(leaf, slots)] = &found[..] else { panic!("one entry for the owner") };
    let content = leaf.content();
    assert_eq!(content.kind, Kind::Disclosure);
    assert_eq!(content.provider.as_ref().unwrap().as_str(), "cpi-lucca");
    assert_eq!(content.consumer.as_ref().unwrap().as_str(), "comune-capannori");
    assert!(slots.subject.is_none(), "it is about nobody");
    let body = &slots.decision.as_ref().unwrap().body;
    assert_eq!(world.replayed(leaf, body), Replayed::Same);
    assert_eq!(decision(slots)["within"], told.exchange());
    let own = world.entries_of(told.exchange()).await;
    assert_eq!(decision(&own[0].1)["statistics"]["releases"][0]["area"], "cpi-lucca");
    for (_, slots) in own.iter().chain(&found) {
        assert!(!decision(slots).to_string().contains("\"people\""));
    }
}

#[tokio::test]
async fn whoever_asks_again_reads_what_was_released_whatever_has_changed_since() {
    let world = world().await;
    let first = told(&world.desk("comune-capannori", "op-cap-042"), &ask()).await;
    let provider = world.provider.as_ref().unwrap();
    let question = provider.heard()[0].clone();
    assert!(question.get("subject").is_none() && question["period"] == "2026-S1", "{question}");
    assert_eq!(question["dimensions"][0]["classes"][5], "non_noto");
    // One person more would show in the difference of two tables.
    let mut changed = counts();
    changed[2]["people"] = json!(changed[2]["people"].as_u64().unwrap() + 1);
    provider.play(Play::Counts(changed));
    let second = told(&world.desk("asl-toscana-nord-ovest", "op-asl-3"), &ask()).await;
    assert_eq!(provider.heard().len(), 1, "nobody counts twice");
    assert_eq!(first.body["statistics"], second.body["statistics"]);
    assert_ne!(first.exchange(), second.exchange());
    // A part of it says the same numbers.
    let mut part = ask();
    part["dimensions"] = json!(["percorso_gol"]);
    let third = told(&world.desk("comune-capannori", "op-cap-042"), &part).await;
    let rows = third.body["statistics"]["areas"][0]["rows"].as_array().unwrap();
    assert_eq!((provider.heard().len(), rows.len()), (1, 7));
    for row in rows {
        let whole = &first.body["statistics"]["areas"][0]["rows"];
        assert_eq!(row["people"].as_u64(), people(whole, [row["classes"][0].as_str(), None, None]));
    }
}

#[tokio::test]
async fn two_who_ask_at_once_never_read_two_tables() {
    let world = world().await;
    let desks =
        [world.desk("comune-capannori", "op-cap-042"), world.desk("asl-toscana-nord-ovest", "op-asl-3")];
    let ask = ask();
    let (one, other) = tokio::join!(desks[0].post("/statistics", &ask), desks[1].post("/statistics", &ask));
    let table = told(&desks[0], &ask).await.body["statistics"].clone();
    for told in [one, other] {
        match told.status {
            200 => assert_eq!(told.body["statistics"], table),
            _ => told.assert_refused(409, "statistics.conflict"),
        }
    }
}

#[tokio::test]
async fn bodies_that_gave_no_counts_are_named_with_their_areas() {
    let rows = json!([{ "classes": ["1", "2", "raggiunto"], "people": 30 }]);
    let world = World::played(Play::Counts(rows)).await;
    let desk = world.desk("cpi-lucca", "op-cpi-117");
    let ask = json!({ "record_type": "progetto_personalizzato", "purpose": "F10", "period": "2026-S1" });
    let told = told(&desk, &ask).await;
    let statistics = &told.body["statistics"];
    assert_eq!(statistics["areas"][0]["bodies"], json!(["comune-capannori"]));
    let code = |area: &str| {
        let left_out = statistics["left_out"].as_array().unwrap();
        let found = left_out.iter().find(|one| one["area"] == area).unwrap();
        found["code"].as_str().unwrap().to_owned()
    };
    // The demonstration's systems do not count, the other Comuni have none, and nobody is asked for their own.
    assert_eq!(code("asl-toscana-nord-ovest"), "adapter.no-counts");
    assert_eq!(code("comuni-minori"), "adapter.unreachable");
    assert_eq!(code("cpi-lucca"), "exchange.not-allowed");
    // What is alone in its table is the table: all the rest is kept back with it where it would tell.
    world.provider.as_ref().unwrap().play(Play::Counts(json!([])));
    let other = told_or_not(&world.desk("asl-toscana-nord-ovest", "op-asl-3"), &ask).await;
    assert_eq!(other.body["statistics"]["areas"], statistics["areas"], "it was released for everybody");
}

async fn told_or_not(desk: &Desk, ask: &Value) -> Told {
    desk.post("/statistics", ask).await
}

#[tokio::test]
async fn counts_that_are_none_leave_the_area_out_and_it_can_be_asked_for_again() {
    let world = world().await;
    let desk = world.desk("comune-capannori", "op-cap-042");
    let provider = world.provider.as_ref().unwrap();
    let person =
        json!([{ "classes": ["1", "al lavoro", "1"], "people": 9, "codice_fiscale": "XXQNNA85C52B648J" }]);
    let class = json!([{ "classes": ["9", "al lavoro", "1"], "people": 9 }]);
    for wrong in [person, class, json!([{ "classes": ["1", "al lavoro", "1"], "people": -1 }]), json!({})] {
        provider.play(Play::Counts(wrong));
        let refused = desk.post("/statistics", &ask()).await;
        refused.assert_refused(503, "statistics.incomplete");
        assert!(refused.text("detail").contains("adapter.mismatch"), "{}", refused.text("detail"));
    }
    provider.play(Play::Unsigned);
    desk.post("/statistics", &ask()).await.assert_refused(503, "statistics.incomplete");
    provider.play(Play::Counts(counts()));
    told(&desk, &ask()).await;
}

#[tokio::test]
async fn what_is_no_whole_period_of_the_past_is_refused() {
    let world = world().await;
    let desk = world.desk("comune-capannori", "op-cap-042");
    for period in ["2026-S2", "2027-S1", "2025", "2026-06-30", "2026-S1/2026-S2"] {
        let mut ask = ask();
        ask["period"] = json!(period);
        desk.post("/statistics", &ask).await.assert_refused(422, "request.invalid");
    }
    let mut ask = ask();
    ask["purpose"] = json!("F02");
    desk.post("/statistics", &ask).await.assert_refused(403, "exchange.not-allowed");
    assert!(world.provider.as_ref().unwrap().heard().is_empty());
}

#[tokio::test]
async fn no_route_takes_several_people_but_that_of_a_household_and_statistics_name_none() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut tried = 0;
    for route @ (method, path) in routes() {
        let (_, body) = message(&anna, route);
        if method != "POST" || body.get("subject").is_none() {
            continue;
        }
        let people = json!([body["subject"], { "codice_fiscale": "XXQMRC60A01E715X" }]);
        for several in [people.clone(), json!({ "codice_fiscale": people }), json!("*"), Value::Null] {
            let mut body = body.clone();
            body["subject"] = several;
            refused(&anna, route, &body, path).await;
        }
        tried += 1;
    }
    assert!(tried > 8, "{tried} routes name a person");
    let mut statistics = ask();
    statistics["subject"] = pull(&anna.case)["subject"].clone();
    refused(&anna, ("POST", "/statistics"), &statistics, "/statistics").await;
}

async fn refused(anna: &Situation, route: Route, body: &Value, path: &str) {
    let told = anna.cpi.post(&path.replace("{id}", &anna.case), body).await;
    assert!((400..500).contains(&told.status), "{route:?} took {body}: {}", told.status);
    assert_eq!(told.code(), "request.invalid", "{route:?} {body}");
}

#[tokio::test]
async fn a_purpose_for_aggregates_pulls_pushes_and_watches_nobody() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    for path in ["/pulls", "/subscriptions"] {
        let mut ask = pull(&anna.case);
        ask["purpose"] = json!("F10");
        anna.cpi.post(path, &ask).await.assert_refused(403, "exchange.not-allowed");
    }
    let mut ask = pull(&anna.case);
    ask["purpose"] = json!("F10");
    let subject = ask.as_object_mut().unwrap().remove("subject").unwrap();
    ask["members"] = json!([subject]);
    let told = anna.cpi.post("/pulls/household", &ask).await;
    assert_eq!(told.body["members"][0]["outcome"], "left_out");
    let mut push = crate::world::asks::push(&["comune-capannori"]);
    push["purpose"] = json!("F10");
    anna.cpi.post("/pushes", &push).await.assert_refused(403, "exchange.denied");
}

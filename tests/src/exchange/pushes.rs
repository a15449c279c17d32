//! Pushes: a copy for each recipient, decided when it is accepted and again when it is handed over.

use std::time::Duration;

use serde_json::{Value, json};
use varco::config::Deliveries;
use varco_core::log::entry::Kind;
use varco_core::parcel::INBOX_TERM;

use crate::world::asks::{COACH, PURPOSE, RECORD_TYPE, Situation, consent, consent_on_health, push};
use crate::world::desk::Told;
use crate::world::provider::Play;
use crate::world::{Setup, World, decision, until};

/// The one recipient's part of an answer about a push.
fn part<'a>(told: &'a Told, agency: &str) -> &'a Value {
    let recipients = told.body["recipients"].as_array().unwrap();
    recipients.iter().find(|one| one["agency"] == agency).unwrap()
}

/// What waits in an inbox.
fn deliveries(told: &Told) -> &Vec<Value> {
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    told.body["deliveries"].as_array().unwrap()
}

/// An economic record under F02: it rests on the case and on Anna's agreement.
fn economic(case: &str) -> Value {
    json!({
        "record_type": RECORD_TYPE,
        "subject": crate::world::asks::anna(),
        "purpose": PURPOSE,
        "case": case,
        "record": { "isee_fascia": "3", "isee_valore": "5840.00" },
        "recipients": [{ "agency": "cpi-lucca" }],
    })
}

async fn state(anna: &Situation, push: &str, agency: &str) -> String {
    let told = anna.capannori.get(&format!("/pushes/{push}")).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    part(&told, agency)["state"].as_str().unwrap().to_owned()
}

async fn until_state(anna: &Situation, push: &str, agency: &str, wanted: &str) {
    until(wanted, async || state(anna, push, agency).await == wanted).await;
}

#[tokio::test]
async fn each_recipient_finds_its_own_copy_with_what_it_may_have_and_no_more() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.capannori.post("/consents", &consent_on_health(world.now())).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let told = anna.capannori.post("/pushes", &push(&["cpi-lucca", "asl-toscana-nord-ovest"])).await;
    assert_eq!((told.status, told.signed), (202, true), "{:?}", told.body);
    assert_eq!(told.receipt().leaf.kind(), Kind::Delivery);
    assert_eq!(told.receipt().leaf.content().consumer, None, "who sends receives nothing");
    let push = told.text("push").to_owned();
    for agency in ["cpi-lucca", "asl-toscana-nord-ovest"] {
        let exchange = part(&told, agency)["exchange"].as_str().unwrap();
        let entries = world.entries_of(exchange).await;
        assert_eq!(entries.len(), 1, "an exchange for each recipient");
        assert_eq!(entries[0].0.kind(), Kind::Disclosure);
        assert_eq!(entries[0].0.content().consumer.as_ref().unwrap().as_str(), agency);
        assert_eq!(decision(&entries[0].1)["push"], json!(push));
        assert_eq!(part(&told, agency)["state"], "waiting");
    }

    // SC1: at the employment centre the reasons of health arrive as "there are some", because Anna has named them.
    let inbox = anna.cpi.get("/inbox").await;
    let found = deliveries(&inbox);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["record"]["motivi_comuni"], json!(["lavoro", "reddito"]));
    assert_eq!(found[0]["record"]["motivi_sensibili"], json!(true));
    assert_eq!(found[0]["push"], json!(push));
    assert!(!Value::Object(inbox.body.clone()).to_string().contains("salute"));
    let logged = world.entries(0).await;
    assert_eq!(logged.last().unwrap().kind(), Kind::Delivery, "the copy has an entry of its own");

    let id = found[0]["delivery"].as_str().unwrap();
    let acknowledge = format!("/inbox/{id}/ack");
    // Nobody else says so, and nobody else learns that there is such a delivery.
    let other = world.desk("comune-porcari", "op-por-1");
    other.post(&acknowledge, &json!({})).await.assert_refused(404, "push.unknown");
    other.get(&format!("/pushes/{push}")).await.assert_refused(404, "push.unknown");
    for _ in 0..2 {
        let told = anna.cpi.post(&acknowledge, &json!({})).await;
        assert_eq!(told.status, 200, "{:?}", told.body);
        assert_eq!(told.body["delivery"]["state"], "delivered");
    }
    assert_eq!(state(&anna, &push, "cpi-lucca").await, "delivered");
    assert_eq!(state(&anna, &push, "asl-toscana-nord-ovest").await, "waiting");
    assert!(deliveries(&anna.cpi.get("/inbox").await).is_empty());
}

#[tokio::test]
async fn what_was_agreed_when_it_was_sent_and_withdrawn_since_is_in_no_copy() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let told = anna.capannori.post("/consents", &consent_on_health(world.now())).await;
    let health = told.body["consent"]["id"].as_str().unwrap().to_owned();
    let told = anna.capannori.post("/pushes", &push(&["cpi-lucca"])).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
    let withdrawal = crate::world::asks::withdrawal();
    let done = anna.cpi.post(&format!("/consents/{health}/events"), &withdrawal).await;
    assert_eq!(done.status, 200, "{:?}", done.body);
    let inbox = anna.cpi.get("/inbox").await;
    let found = deliveries(&inbox);
    assert_eq!(found[0]["record"]["motivi_comuni"], json!(["lavoro", "reddito"]), "the law still allows it");
    assert!(found[0]["record"].get("motivi_sensibili").is_none(), "{:?}", found[0]["record"]);
    // It was never handed over, so that nobody is told of its end.
    assert_eq!(anna.cpi.get("/notices").await.body["received"], json!([]));
}

#[tokio::test]
async fn a_withdrawal_cancels_what_waits_and_tells_whoever_has_it_already() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let first = anna.capannori.post("/pushes", &economic(&anna.case)).await;
    assert_eq!(first.status, 202, "{:?}", first.body);
    let fields = part(&first, "cpi-lucca")["fields"].as_array().unwrap();
    let valore = fields.iter().find(|said| said["name"] == "isee_valore").unwrap();
    assert_eq!(valore["outcome"], "withheld", "amounts never leave the Comuni");
    let had = deliveries(&anna.cpi.get("/inbox").await)[0]["delivery"].as_str().unwrap().to_owned();
    assert_eq!(anna.cpi.post(&format!("/inbox/{had}/ack"), &json!({})).await.status, 200);
    let second = anna.capannori.post("/pushes", &economic(&anna.case)).await;
    let waits = part(&second, "cpi-lucca")["exchange"].as_str().unwrap().to_owned();

    anna.withdraw().await;
    assert!(deliveries(&anna.cpi.get("/inbox").await).is_empty());
    until_state(&anna, second.text("push"), "cpi-lucca", "cancelled").await;
    let entries = world.entries_of(&waits).await;
    let kinds: Vec<Kind> = entries.iter().map(|(leaf, _)| leaf.kind()).collect();
    assert_eq!(kinds, [Kind::Disclosure, Kind::Denial], "the log says that it was cancelled");
    assert_eq!(world.app().store.read().backlog().await.unwrap().waiting, 0);
    let notices = anna.cpi.get("/notices").await;
    let received = notices.body["received"].as_array().unwrap();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0]["exchanges"], json!([had]), "of the one that was handed over, and of no other");
}

#[tokio::test]
async fn a_restriction_cancels_what_waits_and_nothing_more_is_accepted() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let sent = anna.capannori.post("/pushes", &economic(&anna.case)).await;
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let opposed =
        json!({ "subject": crate::world::asks::anna(), "ground": "opposition", "extent": {}, "word": word });
    let told = anna.capannori.post("/restrictions", &opposed).await;
    assert!(told.status < 300, "{:?}", told.body);
    until_state(&anna, sent.text("push"), "cpi-lucca", "cancelled").await;
    anna.capannori.post("/pushes", &economic(&anna.case)).await.assert_refused(403, "exchange.denied");
}

#[tokio::test]
async fn a_case_that_closes_cancels_what_waits() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let sent = anna.capannori.post("/pushes", &economic(&anna.case)).await;
    let closed =
        anna.capannori.post(&format!("/cases/{}/events", anna.case), &json!({ "change": "close" })).await;
    assert_eq!(closed.status, 200, "{:?}", closed.body);
    until_state(&anna, sent.text("push"), "cpi-lucca", "cancelled").await;
}

#[tokio::test]
async fn a_recipient_outside_the_equipe_and_one_that_is_nobody_are_denied_each_in_its_own_entry() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut body = economic(&anna.case);
    body["recipients"] =
        json!([{ "agency": "cpi-lucca" }, { "agency": "asl-toscana-nord-ovest" }, { "agency": "nessuno" }]);
    let told = anna.capannori.post("/pushes", &body).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
    for agency in ["asl-toscana-nord-ovest", "nessuno"] {
        assert_eq!(part(&told, agency)["state"], "denied");
        let exchange = part(&told, agency)["exchange"].as_str().unwrap();
        assert_eq!(world.entries_of(exchange).await[0].0.kind(), Kind::Denial);
    }
    body["recipients"] = json!([{ "agency": "asl-toscana-nord-ovest" }]);
    anna.capannori.post("/pushes", &body).await.assert_refused(403, "exchange.denied");
    // Nor does somebody of the sender's who is not in the équipe push under its case.
    let other = world.desk("comune-capannori", "op-cap-999");
    other.post("/pushes", &economic(&anna.case)).await.assert_refused(403, "exchange.denied");
}

#[tokio::test]
async fn a_record_that_does_not_fit_or_hides_what_may_conceal_it_is_refused() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut wrong = push(&["cpi-lucca"]);
    wrong["record"]["motivi_comuni"] = json!(["CANARINO"]);
    let told = anna.capannori.post("/pushes", &wrong).await;
    told.assert_refused(422, "request.invalid");
    assert!(!told.text("detail").contains("CANARINO"));
    let mut address = push(&["cpi-lucca"]);
    address["record_type"] = json!("anagrafica_nucleo");
    address["record"] = json!({ "cognome": "Xxquercia", "residenza_comune": "046007" });
    let told = anna.capannori.post("/pushes", &address).await;
    told.assert_refused(422, "request.invalid");
    assert!(told.text("detail").contains("riservatezza_indirizzo"), "{}", told.text("detail"));
    for recipients in [json!([]), json!([{ "agency": "cpi-lucca" }, { "agency": "cpi-lucca" }])] {
        let mut body = push(&[]);
        body["recipients"] = recipients;
        anna.capannori.post("/pushes", &body).await.assert_refused(422, "request.invalid");
    }
}

#[tokio::test]
async fn a_push_sent_again_under_its_key_is_the_same_push() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut body = push(&["cpi-lucca"]);
    body["key"] = json!("segnalazione-1");
    let first = anna.capannori.post("/pushes", &body).await;
    let again = anna.capannori.post("/pushes", &body).await;
    assert_eq!((first.status, again.status), (202, 202), "{:?}", again.body);
    assert_eq!(first.text("push"), again.text("push"));
    assert_eq!(deliveries(&anna.cpi.get("/inbox").await).len(), 1, "it is delivered once");
    body["record"]["urgenza"] = Value::Null;
    anna.capannori.post("/pushes", &body).await.assert_refused(409, "push.conflict");
}

#[tokio::test]
async fn the_inbox_comes_in_pages_and_what_nobody_fetches_is_dead_at_its_end() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let mut pushes = Vec::new();
    for _ in 0..3 {
        let told = anna.capannori.post("/pushes", &push(&["cpi-lucca"])).await;
        pushes.push(told.text("push").to_owned());
    }
    let mut seen = Vec::new();
    let mut path = "/inbox?limit=2".to_owned();
    loop {
        let told = anna.cpi.get(&path).await;
        seen.extend(deliveries(&told).iter().map(|one| one["push"].as_str().unwrap().to_owned()));
        let Some(next) = told.body["next"].as_str() else { break };
        path = format!("/inbox?limit=2&after={next}");
    }
    seen.sort();
    pushes.sort();
    assert_eq!(seen, pushes);
    assert_eq!(anna.cpi.get("/inbox?persona=x").await.status, 400);

    world.advance(INBOX_TERM + Duration::from_secs(1));
    for push in &pushes {
        until_state(&anna, push, "cpi-lucca", "dead").await;
    }
    for desk in [&anna.cpi, &anna.capannori] {
        let told = desk.get("/notices").await;
        let received = told.body["received"].as_array().unwrap();
        assert_eq!(received.iter().filter(|notice| notice["about"] == "undelivered").count(), 3);
    }
    let backlog = world.app().store.read().backlog().await.unwrap();
    assert_eq!((backlog.waiting, backlog.dead), (0, 3));
}

/// The employment centre pushes what it holds to Capannori, whose system is played.
async fn to_capannori(play: Play) -> (World, Situation, Value) {
    let config = |config: &mut varco::config::Config| {
        for provider in config.providers.values_mut() {
            provider.deliveries = Deliveries::System;
        }
    };
    let world = World::of(Setup { play: Some(play), config, ..Setup::default() }).await;
    let anna = Situation::of(&world).await;
    let mut agreed = consent(world.now());
    agreed["scope"][0]["record_type"] = json!("posizione_lavoro");
    agreed["scope"][0]["recipients"] = json!([{ "agency": "comune-capannori" }]);
    agreed["scope"] = json!([agreed["scope"][0]]);
    let told = anna.cpi.post("/consents", &agreed).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let body = json!({
        "record_type": "posizione_lavoro",
        "subject": crate::world::asks::anna(),
        "purpose": PURPOSE,
        "case": anna.case,
        "record": { "data_did": "2026-03-01", "indice_profiling": "0.5" },
        "recipients": [{ "agency": "comune-capannori" }],
    });
    (world, anna, body)
}

async fn sent(world: &World, push: &str) -> Value {
    let told = world.desk("cpi-lucca", COACH).get(&format!("/pushes/{push}")).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    part(&told, "comune-capannori").clone()
}

#[tokio::test]
async fn a_copy_is_brought_to_a_system_that_takes_deliveries_and_logged_before_it_leaves() {
    let (world, anna, body) = to_capannori(Play::Honest).await;
    let told = anna.cpi.post("/pushes", &body).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
    let (push, exchange) = (told.text("push"), part(&told, "comune-capannori")["exchange"].clone());
    until("delivered", async || sent(&world, push).await["state"] == "delivered").await;
    let heard = world.provider.as_ref().unwrap().heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0]["delivery"], exchange);
    assert_eq!(heard[0]["record"], json!({ "data_did": "2026-03-01" }));
    let receipt = varco_core::log::proof::Receipt::parse(heard[0]["receipt"].as_str().unwrap().as_bytes());
    let attempt = receipt.unwrap().leaf;
    assert_eq!(attempt.kind(), Kind::Delivery);
    let entries = world.entries_of(exchange.as_str().unwrap()).await;
    assert_eq!(
        entries.iter().map(|(leaf, _)| leaf.kind()).collect::<Vec<_>>(),
        [Kind::Disclosure, Kind::Delivery]
    );
    assert_eq!(decision(&entries[1].1)["acknowledged"], json!(attempt.id()));
}

#[tokio::test]
async fn a_system_that_is_down_is_tried_again_and_one_that_refuses_ends_it() {
    let (world, anna, body) = to_capannori(Play::Status(503)).await;
    let told = anna.cpi.post("/pushes", &body).await;
    let push = told.text("push").to_owned();
    until("a failure", async || sent(&world, &push).await["code"] == "adapter.refused").await;
    let failed = sent(&world, &push).await;
    assert_eq!((&failed["state"], &failed["attempts"]), (&json!("waiting"), &json!(1)));
    assert!(failed["next"].as_str().unwrap() > failed["changed"].as_str().unwrap());
    world.provider.as_ref().unwrap().play(Play::Honest);
    world.advance(Duration::from_secs(60));
    until("delivered", async || sent(&world, &push).await["state"] == "delivered").await;
    let heard = world.provider.as_ref().unwrap().heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0]["delivery"], heard[1]["delivery"], "a repetition is told by its identifier");
    assert_ne!(heard[0]["receipt"], heard[1]["receipt"], "and each attempt has its own entry");

    world.provider.as_ref().unwrap().play(Play::Status(422));
    let told = anna.cpi.post("/pushes", &body).await;
    until("dead", async || sent(&world, told.text("push")).await["state"] == "dead").await;
    let notices = anna.capannori.get("/notices").await;
    assert_eq!(notices.body["received"][0]["about"], "undelivered");
}

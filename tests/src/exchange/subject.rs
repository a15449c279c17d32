//! What a person is told of the past (art. 15), and what happens when the past turns out to be wrong.

use std::time::Duration;

use serde_json::{Value, json};
use varco_core::log::entry::Kind;
use varco_core::wire::verify_record;

use crate::world::asks::{COACH, RECORD_TYPE, Situation, push};
use crate::world::desk::{Desk, Told, seal_trust};
use crate::world::family::{ANNA, Family, MATTEO, SARA, person};
use crate::world::{KIT, PEOPLE, World, decision, until};

const REGISTRY: &str = "anagrafica_nucleo";
/// The largest signed document that is read here.
const LARGEST: usize = 1024 * 1024;

pub fn asked(place: usize, capacity: &str) -> Value {
    let word = json!({ "capacity": capacity, "method": "cie", "access_point": "urp" });
    json!({ "subject": person(place), "word": word })
}

fn lines(told: &Told) -> &Vec<Value> {
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    told.body["report"]["disclosures"].as_array().unwrap()
}

fn stranger(world: &World) -> Desk {
    world.desk("comune-porcari", "op-por-001")
}

#[tokio::test]
async fn a_person_learns_at_any_desk_what_was_disclosed_to_whom_why_and_on_which_basis() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let pulled = anna.cpi.post("/pulls", &anna.pull()).await;
    let told = stranger(&world).post("/subjects/report", &asked(ANNA, "self")).await;
    let [line] = &lines(&told)[..] else { panic!("not one line: {:?}", told.body) };
    assert_eq!(line["exchange"], json!(pulled.exchange()));
    assert_eq!(line["recipient"], json!({ "id": "cpi-lucca", "name": "Centro per l'impiego di Lucca" }));
    assert_eq!(line["owner"]["id"], json!("comune-capannori"));
    assert_eq!(line["purpose"]["id"], json!("F02"));
    assert!(line["purpose"]["name"].as_str().unwrap().contains("primo livello"));
    assert_eq!(line["record_type"]["name"], json!("Condizione economica e prestazioni"));
    assert!(
        line["basis"].as_array().unwrap().iter().any(|act| act.as_str().unwrap().contains("L. 328/2000"))
    );
    assert_eq!((&line["consent"], &line["consents"]), (&json!("safeguard"), &json!([anna.consent])));
    let fields = line["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["label"] == "Fascia ISEE" && field["view"] == "intero"));
    assert!(
        !fields.iter().any(|field| field["name"] == "isee_valore"),
        "what was withheld was not disclosed"
    );
    let choices = told.body["report"]["consents"].as_array().unwrap();
    assert_eq!((choices.len(), &choices[0]["state"]), (2, &json!("given")));
    assert_eq!(choices[0]["recipients"][0]["name"], json!("Centro per l'impiego di Lucca"));
}

#[tokio::test]
async fn the_report_is_a_document_with_the_gateways_seal_and_a_page_that_says_the_same() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    let told = stranger(&world).post("/subjects/report", &asked(ANNA, "self")).await;
    let trust = seal_trust(&KIT, world.now());
    let verified = verify_record(told.text("report_jws"), LARGEST, &trust).unwrap();
    assert_eq!(verified.claims["report"], told.body["report"]);
    assert_eq!(verified.claims["jti"], json!(told.exchange()));
    let changed = told.text("report_jws").replacen('A', "B", 1);
    assert!(verify_record(&changed, LARGEST, &trust).is_err());
    let page = told.text("report_html");
    for text in
        ["Centro per l&#39;impiego di Lucca", "Fascia ISEE", "con il Suo consenso", "non è", "Garante"]
    {
        assert!(page.contains(text), "{text} is not on the page: {page}");
    }
    let mut english = asked(ANNA, "self");
    english["language"] = json!("en");
    let told = stranger(&world).post("/subjects/report", &english).await;
    assert!(told.text("report_html").contains("Who has received your data"));
}

#[tokio::test]
async fn it_names_no_staff_and_nobody_else() {
    let world = World::start().await;
    let family = Family::of(&world, &[ANNA, MATTEO, SARA]).await;
    let told = family.cpi.post("/pulls/household", &family.household(&[ANNA, MATTEO, SARA], REGISTRY)).await;
    assert_eq!(told.status, 200);
    let told = stranger(&world).post("/subjects/report", &asked(MATTEO, "self")).await;
    assert_eq!(lines(&told).len(), 1, "his own exchange, not the others'");
    let said = Value::Object(told.body.clone()).to_string();
    let others = [ANNA, MATTEO, SARA].map(|place| PEOPLE.people()[place].code.expose());
    for name in others.into_iter().chain([COACH, "op-cap-042", "op-por-001", "s1."]) {
        assert!(!said.contains(name), "the report says {name}");
    }
}

#[tokio::test]
async fn before_and_after_a_withdrawal_the_past_stays_and_the_consent_does_not() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    anna.withdraw().await;
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "exchange.denied");
    let told = anna.capannori.post("/subjects/report", &asked(ANNA, "self")).await;
    assert_eq!(lines(&told).len(), 1, "a refusal is no disclosure");
    let states = told.body["report"]["consents"].as_array().unwrap().iter().map(|choice| &choice["state"]);
    assert!(states.eq([&json!("withdrawn"), &json!("withdrawn")]));
}

#[tokio::test]
async fn asking_is_logged_and_shows_in_the_next_report() {
    let world = World::start().await;
    let first = stranger(&world).post("/subjects/report", &asked(ANNA, "self")).await;
    assert_eq!(first.receipt().leaf.kind(), Kind::Read);
    let [(leaf, slots)] = &world.entries_of(first.exchange()).await[..] else { panic!("not one entry") };
    assert_eq!(leaf.content().purpose.as_ref().unwrap().as_str(), "F12");
    let said = decision(slots)["report"].clone();
    let canonical = varco_core::json::canonical(&first.body["report"]);
    assert_eq!(said["sha256"], json!(varco_core::hash::Sha256::of(canonical.as_bytes())));
    world.advance(Duration::from_secs(60));
    let next = stranger(&world).post("/subjects/report", &asked(ANNA, "self")).await;
    let reports = next.body["report"]["reports"].as_array().unwrap();
    assert_eq!((reports.len(), &reports[0]["by"]["id"]), (1, &json!("comune-porcari")));
}

#[tokio::test]
async fn what_somebody_asked_to_conceal_is_not_told_either() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    for ground in ["concealment", "opposition"] {
        let extent = json!({ "record_type": RECORD_TYPE, "fields": ["isee_fascia"] });
        let body = json!({ "subject": person(ANNA), "ground": ground, "extent": extent, "word": word });
        assert_eq!(stranger(&world).post("/restrictions", &body).await.status, 201);
    }
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    let told = anna.capannori.post("/subjects/report", &asked(ANNA, "self")).await;
    let said = Value::Object(told.body.clone()).to_string();
    for trace in ["isee_fascia", "conceal", "oppos", "restriction"] {
        assert!(!said.contains(trace), "the report says {trace}");
    }
}

#[tokio::test]
async fn a_pushed_copy_is_one_disclosure_with_the_instants_it_was_sent_and_handed_over() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let sent = world.now();
    let told = anna.capannori.post("/pushes", &push(&["cpi-lucca", "asl-toscana-nord-ovest"])).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
    world.advance(Duration::from_secs(3600));
    let handed_over = world.now();
    // Fetched twice, because the first answer was lost, and acknowledged: still one disclosure.
    let mut delivery = String::new();
    for _ in 0..2 {
        let inbox = anna.cpi.get("/inbox").await;
        delivery = inbox.body["deliveries"][0]["delivery"].as_str().unwrap().to_owned();
    }
    assert_eq!(anna.cpi.post(&format!("/inbox/{delivery}/ack"), &json!({})).await.status, 200);
    world.advance(Duration::from_secs(3600));
    let told = stranger(&world).post("/subjects/report", &asked(ANNA, "self")).await;
    let [to_cpi, to_asl] = &lines(&told)[..] else { panic!("not two lines: {:?}", told.body["report"]) };
    assert_eq!((&to_cpi["exchange"], &to_cpi["at"]), (&json!(delivery), &json!(handed_over)));
    assert_eq!(to_cpi["pushed"], json!({ "sent": sent, "handed_over": handed_over }));
    let fields = to_cpi["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["name"] == "motivi_comuni"), "{fields:?}");
    // The other copy waits: she learns of it before it leaves.
    assert_eq!(to_asl["pushed"], json!({ "sent": sent, "handed_over": null }));
    let page = told.text("report_html");
    assert!(page.contains("Inviati dall&#39;ente") && page.contains("non ancora consegnati"), "{page}");
    let correction = json!({
        "subject": person(ANNA), "ground": "rectification", "record_type": "segnalazione_bisogno",
        "exchanges": [delivery],
    });
    assert_eq!(anna.capannori.post("/corrections", &correction).await.status, 201);
    let told = stranger(&world).post("/subjects/report", &asked(ANNA, "self")).await;
    assert_eq!(lines(&told)[0]["corrections"][0]["ground"], json!("rectification"));

    // What nobody fetched in its time went to nobody.
    world.advance(varco_core::parcel::INBOX_TERM);
    until("the waiting copy is given up", async || {
        let told = stranger(&world).post("/subjects/report", &asked(ANNA, "self")).await;
        lines(&told).len() == 1
    })
    .await;
}

#[tokio::test]
async fn an_agency_tells_its_own_operators_for_a_ground_that_is_logged_and_nobody_elses() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    let mut body = asked(ANNA, "self");
    body["operators"] = json!({ "ground": "suspected_misuse" });
    let told = anna.cpi.post("/subjects/report", &body).await;
    assert_eq!(lines(&told)[0]["operator"], json!(COACH));
    assert!(told.text("report_html").contains(COACH));
    let [(_, slots)] = &world.entries_of(told.exchange()).await[..] else { panic!("not one entry") };
    assert_eq!(decision(slots)["report"]["operators"], json!("suspected_misuse"));
    for (desk, body) in [(&anna.cpi, asked(ANNA, "self")), (&stranger(&world), body.clone())] {
        let told = desk.post("/subjects/report", &body).await;
        assert_eq!(lines(&told).len(), 1);
        assert!(!Value::Object(told.body.clone()).to_string().contains(COACH));
    }
    for ground in [json!("curiosity"), Value::Null] {
        body["operators"]["ground"] = ground;
        anna.cpi.post("/subjects/report", &body).await.assert_refused(422, "request.invalid");
    }
}

#[tokio::test]
async fn who_speaks_for_a_person_must_be_entitled_and_identified() {
    let world = World::start().await;
    let desk = stranger(&world);
    let mut oral = asked(ANNA, "self");
    oral["word"]["method"] = json!("oral_recorded_by_operator");
    for body in [asked(ANNA, "parent"), asked(ANNA, "tutor"), asked(ANNA, "controller"), oral] {
        desk.post("/subjects/report", &body).await.assert_refused(422, "request.invalid");
    }
    assert_eq!(desk.post("/subjects/report", &asked(SARA, "parent")).await.status, 200);
}

#[tokio::test]
async fn a_correction_reaches_who_received_and_stands_in_the_report_while_the_log_is_as_it_was() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let pulled = anna.cpi.post("/pulls", &anna.pull()).await;
    let before = world.entries(0).await;
    let body = json!({
        "subject": person(ANNA), "ground": "rectification", "record_type": RECORD_TYPE, "fields": ["isee_fascia"]
    });
    let told = anna.capannori.post("/corrections", &body).await;
    assert_eq!((told.status, told.receipt().leaf.kind()), (201, Kind::Correction), "{:?}", told.body);
    assert_eq!(told.body["correction"]["exchanges"], json!([pulled.exchange()]));
    assert_eq!(told.body["correction"]["told"], json!(["cpi-lucca"]));
    let after = world.entries(0).await;
    assert!(
        after.iter().zip(&before).all(|(now, then)| now.hash() == then.hash()) && after.len() > before.len()
    );
    let notices = anna.cpi.get("/notices").await;
    let notice = &notices.body["received"][0];
    assert_eq!((&notice["about"], &notice["fields"]), (&json!("rectification"), &json!(["isee_fascia"])));
    let path = format!("/notices/{}/ack", notice["id"].as_str().unwrap());
    assert_eq!(anna.cpi.post(&path, &json!({})).await.status, 200);
    let told = anna.capannori.post("/subjects/report", &asked(ANNA, "self")).await;
    let notes = lines(&told)[0]["corrections"].as_array().unwrap();
    assert_eq!((notes.len(), &notes[0]["ground"]), (1, &json!("rectification")));
    assert!(told.text("report_html").contains("Dati poi rettificati"));
}

#[tokio::test]
async fn a_match_to_the_wrong_person_is_undone_for_both() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let pulled = anna.cpi.post("/pulls", &anna.pull()).await;
    // The Comune finds that what it gave under Anna's codice fiscale was Bruno's.
    let body = json!({
        "subject": person(ANNA), "ground": "wrong_person", "record_type": RECORD_TYPE,
        "exchanges": [pulled.exchange()], "right_subject": person(3),
    });
    let told = anna.capannori.post("/corrections", &body).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let notice = anna.cpi.get("/notices").await.body["received"][0].clone();
    assert_eq!(
        (&notice["about"], &notice["exchanges"]),
        (&json!("wrong_person"), &json!([pulled.exchange()]))
    );
    let hers = anna.capannori.post("/subjects/report", &asked(ANNA, "self")).await;
    assert_eq!(lines(&hers)[0]["corrections"][0]["ground"], json!("wrong_person"));
    assert!(hers.text("report_html").contains("non riguardavano Lei"));
    assert_eq!(hers.body["report"]["mistaken"], json!([]));
    let his = anna.capannori.post("/subjects/report", &asked(3, "self")).await;
    assert_eq!(lines(&his).len(), 0);
    let mistaken = &his.body["report"]["mistaken"][0];
    assert_eq!(mistaken["recipients"][0]["id"], json!("cpi-lucca"));
    assert!(his.text("report_html").contains("sotto il nome di un&#39;altra persona"));
}

#[tokio::test]
async fn only_the_owner_corrects_and_only_what_it_disclosed() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    let body = |record_type: &str| json!({ "subject": person(ANNA), "ground": "rectification", "record_type": record_type });
    for desk in [&anna.cpi, &stranger(&world)] {
        desk.post("/corrections", &body(RECORD_TYPE)).await.assert_refused(422, "request.invalid");
    }
    anna.capannori.post("/corrections", &body(REGISTRY)).await.assert_refused(422, "request.invalid");
    assert_eq!(anna.cpi.get("/notices").await.body["received"], json!([]));
}

//! Whole stories as the agreement's people live them, end to end over the wire.
//!
//! The referral with pushes, the statistics and the wrong codes of a vendor's file have their own modules; breaking the
//! glass is told in `exchange::emergency`.

mod act;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};
use varco_core::log::entry::Kind;
use varco_core::time::Timestamp;

use crate::world::asks::{COACH, RECORD_TYPE};
use crate::world::desk::{Desk, Told};
use crate::world::family::{ANNA, MATTEO, SARA, agreed, coming_of_age, person};
use crate::world::provider::Play;
use crate::world::{Folder, PEOPLE, Setup, World, altered};

const ASL: &str = "asl-toscana-nord-ovest";
const COMUNE: &str = "comune-capannori";
const CPI: &str = "cpi-lucca";
const REGISTRY: &str = "anagrafica_nucleo";
const DAY: Duration = Duration::from_secs(86_400);
/// Somebody who is no relative of Anna's, and lives with her in one of the stories.
const PARTNER: usize = 3;

/// A desk of each body, and the case that brings them together.
struct Equipe {
    comune: Desk,
    cpi: Desk,
    asl: Desk,
    case: String,
}

impl Equipe {
    /// Opened at the one-stop shop: the Comune's social worker is responsible, the employment centre's coach a member.
    async fn open(world: &World, purposes: &[&str], people: &[usize]) -> Self {
        let comune = world.desk(COMUNE, "op-cap-042");
        let subjects: Vec<_> = people.iter().map(|place| person(*place)).collect();
        let body = json!({ "purposes": purposes, "subjects": subjects, "role": "assistente sociale" });
        let told = comune.post("/cases", &body).await;
        assert_eq!(told.status, 201, "{:?}", told.body);
        let case = told.body["case"]["id"].as_str().unwrap().to_owned();
        let equipe = Self { comune, cpi: world.desk(CPI, COACH), asl: world.desk(ASL, "op-asl-psi"), case };
        equipe.does(&equipe.comune, &member(CPI, COACH, world.now(), &[])).await;
        equipe
    }

    async fn event(&self, desk: &Desk, change: &Value) -> Told {
        desk.post(&format!("/cases/{}/events", self.case), change).await
    }

    async fn does(&self, desk: &Desk, change: &Value) {
        let told = self.event(desk, change).await;
        assert_eq!(told.status, 200, "{change}: {:?}", told.body);
        assert_eq!(told.receipt().leaf.kind(), Kind::Case);
    }

    /// To level 2, with the health authority's psychologist.
    async fn escalate(&self, world: &World) {
        let change = json!({ "change": "escalate", "agencies": [ASL], "needs": ["health", "housing"] });
        self.does(&self.comune, &change).await;
        self.does(&self.asl, &json!({ "change": "approve_escalation" })).await;
        self.does(&self.comune, &member(ASL, "op-asl-psi", world.now(), &["salute"])).await;
    }

    fn pull(&self, place: usize, provider: &str, purpose: &str, record_type: &str) -> Value {
        json!({
            "record_type": record_type,
            "subject": person(place),
            "provider": provider,
            "purpose": purpose,
            "case": self.case,
        })
    }
}

fn member(agency: &str, operator: &str, from: Timestamp, scopes: &[&str]) -> Value {
    let member = json!({
        "agency": agency, "operator": operator, "role": "operatore", "from": from, "scopes": scopes,
    });
    json!({ "change": "add_member", "member": member })
}

/// A consent to these purposes and record types, towards one agency.
fn agrees(place: usize, now: Timestamp, choices: &[(&str, &str)], to: &str) -> Value {
    let mut body = agreed(place, now);
    let item = |(number, (purpose, record_type)): (usize, &(&str, &str))| {
        json!({
            "item": format!("s{number}"),
            "purpose": purpose,
            "record_type": record_type,
            "recipients": [{ "agency": to }],
            "valid_from": now,
            "valid_until": now.plus(DAY * 365),
        })
    };
    body["scope"] = choices.iter().enumerate().map(item).collect();
    body
}

async fn records(desk: &Desk, consent: &Value) -> String {
    let told = desk.post("/consents", consent).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    told.body["consent"]["id"].as_str().unwrap().to_owned()
}

fn planted(fields: Value) -> Map<String, Value> {
    let Value::Object(fields) = fields else { panic!("a record is an object") };
    fields
}

#[tokio::test]
async fn sc1_anna_is_referred_agrees_and_takes_it_back_at_another_desk() {
    let world = World::start().await;
    let equipe = Equipe::open(&world, &["F02", "F07"], &[ANNA]).await;
    let choices = [("F02", RECORD_TYPE), ("F02", REGISTRY)];
    let consent = records(&equipe.comune, &agrees(ANNA, world.now(), &choices, CPI)).await;
    let first = equipe.cpi.post("/pulls", &equipe.pull(ANNA, COMUNE, "F02", RECORD_TYPE)).await;
    assert_eq!(
        (first.outcome("isee_fascia"), first.outcome("isee_valore")),
        ("shown", "withheld"),
        "band only"
    );

    world.advance(DAY * 20);
    let word = json!({ "subject": person(ANNA), "capacity": "self", "method": "cie", "access_point": "cpi" });
    let receipt = equipe.cpi.post("/consents/withdrawals", &word).await;
    assert_eq!((receipt.status, receipt.signed), (200, true), "{:?}", receipt.body);
    assert_eq!(receipt.body["withdrawal"]["at"], json!(world.now()), "a receipt with its time");
    let withdrawn_at = receipt.receipt().leaf.index();

    let next = equipe.cpi.post("/pulls", &equipe.pull(ANNA, COMUNE, "F02", RECORD_TYPE)).await;
    next.assert_refused(403, "exchange.denied");
    // What the law gives without asking goes on.
    let by_law = equipe.cpi.post("/pulls", &equipe.pull(ANNA, COMUNE, "F07", RECORD_TYPE)).await;
    assert_eq!((by_law.status, by_law.outcome("isee_fascia")), (200, "withheld"), "{:?}", by_law.body);
    // Who had received is told which fields, and nothing of the person.
    let notice = equipe.cpi.get("/notices").await.body["received"][0].clone();
    assert_eq!((&notice["about"], &notice["exchanges"]), (&json!("withdrawal"), &json!([first.exchange()])));
    assert!(!notice.to_string().contains(person(ANNA)["codice_fiscale"].as_str().unwrap()));
    // The report tells before and after; no later entry rests on what was taken back.
    let report = equipe.comune.post("/subjects/report", &super::exchange::subject::asked(ANNA, "self")).await;
    let lines = report.body["report"]["disclosures"].as_array().unwrap();
    let rested: Vec<_> =
        lines.iter().map(|line| (line["purpose"]["id"].clone(), line["consents"].clone())).collect();
    assert_eq!(rested, [(json!("F07"), json!([])), (json!("F02"), json!([consent]))]);
    for leaf in world.entries(withdrawn_at).await.iter().filter(|leaf| leaf.kind() == Kind::Disclosure) {
        let slots = world.app().store.read().slots(leaf.index()).await.unwrap();
        assert!(!slots.decision.unwrap().body.contains(&consent), "entry {} rests on it", leaf.index());
    }
}

#[tokio::test]
async fn sc2_the_equipe_grows_to_the_second_level_and_a_psychologist_leaves() {
    let record =
        planted(json!({ "tipo": "QA", "complessita": "complessa", "bisogni_cura": { "salute": "2" } }));
    let world = World::played(Play::Record(record)).await;
    let equipe = Equipe::open(&world, &["F02", "F03"], &[ANNA]).await;
    let social = "valutazione_sociale";
    records(&equipe.comune, &agrees(ANNA, world.now(), &[("F03", social)], ASL)).await;
    let path = format!("/cases/{}", equipe.case);
    let asl_pull = equipe.pull(ANNA, COMUNE, "F03", social);

    // Nobody of the health authority at the first level, and nobody raises it alone or without a reason.
    let joins = member(ASL, "op-asl-psi", world.now(), &["salute"]);
    equipe.event(&equipe.comune, &joins).await.assert_refused(409, "case.conflict");
    equipe.asl.get(&path).await.assert_refused(404, "case.unknown");
    for alone in [json!({ "agencies": [], "needs": ["health"] }), json!({ "agencies": [ASL], "needs": [] })] {
        let mut change = alone;
        change["change"] = json!("escalate");
        equipe.event(&equipe.comune, &change).await.assert_refused(422, "request.invalid");
    }
    let by_coach = json!({ "change": "escalate", "agencies": [ASL], "needs": ["health"] });
    equipe.event(&equipe.cpi, &by_coach).await.assert_refused(403, "exchange.not-allowed");
    equipe.does(&equipe.comune, &by_coach).await;
    equipe.asl.post("/pulls", &asl_pull).await.assert_refused(403, "exchange.not-allowed");
    let seen = equipe.asl.get(&path).await;
    assert_eq!(seen.body["case"]["level"], json!(1), "asked, and may read what it is asked to join");
    equipe.does(&equipe.asl, &json!({ "change": "approve_escalation" })).await;
    equipe.does(&equipe.comune, &joins).await;

    let told = equipe.asl.post("/pulls", &asl_pull).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    assert_eq!((told.outcome("complessita"), told.outcome("bisogni_cura")), ("shown", "shown"));
    // The story is on record for those who stay, without the name of whom it is about.
    let seen = equipe.cpi.get(&path).await;
    let events = seen.body["case"]["events"].as_array().unwrap();
    let names: Vec<_> = events.iter().map(|event| event["change"].as_str().unwrap()).collect();
    assert_eq!(names, ["open", "add_member", "escalate", "approve_escalation", "add_member"]);
    assert_eq!(events[2]["needs"], json!(["health"]));
    assert!(!Value::Object(seen.body.clone()).to_string().contains("s1."), "a pseudonym is shown");

    world.advance(DAY * 60);
    let leaves =
        json!({ "change": "remove_member", "operator": { "agency": ASL, "operator": "op-asl-psi" } });
    equipe.does(&equipe.comune, &leaves).await;
    equipe.asl.post("/pulls", &asl_pull).await.assert_refused(403, "exchange.not-allowed");
    equipe.asl.get(&path).await.assert_refused(404, "case.unknown");

    // The responsible person changes, and the old one loses the power.
    let hands_over = json!({ "change": "hand_over", "to": { "agency": CPI, "operator": COACH } });
    equipe.does(&equipe.comune, &hands_over).await;
    equipe.event(&equipe.comune, &joins).await.assert_refused(403, "exchange.not-allowed");
    equipe.does(&equipe.cpi, &joins).await;
    equipe.does(&equipe.cpi, &json!({ "change": "close" })).await;
    equipe.event(&equipe.cpi, &joins).await.assert_refused(409, "case.closed");
    equipe.asl.post("/pulls", &asl_pull).await.assert_refused(403, "exchange.not-allowed");
}

#[tokio::test]
async fn sc2_the_employment_centre_sees_what_serves_work_and_not_the_body() {
    let record = planted(json!({
        "mobilita": "2",
        "vincoli_orari_cura": ["martedì mattina"],
        "obiettivi_lavoro": [{ "obiettivo": "tirocinio", "scadenza": "2027-06-30" }],
        "icf_corpo": [{ "codice": "b152", "qualificatore": "2" }],
        "servizi_in_carico": ["smma"],
    }));
    let setup = Setup { play: Some(Play::Record(record)), plays: ASL, ..Setup::default() };
    let world = World::of(setup).await;
    let equipe = Equipe::open(&world, &["F02", "F03"], &[ANNA]).await;
    equipe.escalate(&world).await;
    let uvmd = "valutazione_uvmd";
    records(&equipe.comune, &agrees(ANNA, world.now(), &[("F03", uvmd)], CPI)).await;
    let told = equipe.cpi.post("/pulls", &equipe.pull(ANNA, ASL, "F03", uvmd)).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    for (field, outcome) in [
        ("vincoli_orari_cura", "shown"),
        ("obiettivi_lavoro", "shown"),
        ("mobilita", "shown"),
        ("icf_corpo", "withheld"),
        ("servizi_in_carico", "unavailable"),
    ] {
        assert_eq!(told.outcome(field), outcome, "{field}");
    }
    assert_eq!(told.record().unwrap()["mobilita"], json!("parziale"), "generalised");
    assert!(!Value::Object(told.body.clone()).to_string().contains("b152"));
}

#[tokio::test]
async fn sc6_a_household_with_minors_and_a_protected_address() {
    let agency = COMUNE.parse().unwrap();
    let mut record = PEOPLE.record(&agency, &REGISTRY.parse().unwrap(), &PEOPLE.people()[SARA]).unwrap();
    record.insert("riservatezza_indirizzo".to_owned(), json!(true));
    let world = World::played(Play::RecordOf(PEOPLE.people()[SARA].code.clone(), record)).await;
    let people = [ANNA, MATTEO, SARA, PARTNER];
    let equipe = Equipe::open(&world, &["F02", "F09"], &people).await;
    for place in [ANNA, MATTEO, SARA] {
        records(&equipe.comune, &agreed(place, world.now())).await;
    }
    // The court's measure concerns the daughter: Comune and health authority only, by law.
    equipe.escalate(&world).await;
    let by_law = equipe.asl.post("/pulls", &equipe.pull(SARA, COMUNE, "F09", REGISTRY)).await;
    assert_eq!(
        (by_law.status, by_law.outcome("residenza_indirizzo")),
        (200, "unavailable"),
        "{:?}",
        by_law.body
    );
    let work = equipe.cpi.post("/pulls", &equipe.pull(SARA, COMUNE, "F09", REGISTRY)).await;
    work.assert_refused(403, "exchange.not-allowed");

    // Work with the mother happens in a case of its own, at the first level.
    let work = Equipe::open(&world, &["F02"], &people).await;
    let told = work.cpi.post("/pulls", &work.pull(ANNA, COMUNE, "F02", REGISTRY)).await;
    assert_eq!((told.status, told.outcome("numero_minori")), (200, "shown"), "{:?}", told.body);
    assert!(told.record().unwrap().get("componenti").is_none(), "the partner has agreed to nothing");
    let mut whole = json!({ "members": people.map(person), "case": work.case });
    for (name, value) in [("record_type", REGISTRY), ("provider", COMUNE), ("purpose", "F02")] {
        whole[name] = json!(value);
    }
    let told = work.cpi.post("/pulls/household", &whole).await;
    let members = told.body["members"].as_array().unwrap();
    let outcomes: Vec<_> = members.iter().map(|member| member["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["disclosed", "disclosed", "disclosed", "left_out"]);
    for member in &members[..3] {
        for field in ["residenza_indirizzo", "residenza_comune", "telefono", "componenti"] {
            assert!(member["record"].get(field).is_none(), "{field} of {member}");
        }
    }

    // The partner asks what is known of him: nothing of the others, and no sign that there is any.
    let ask = |place, capacity| super::exchange::subject::asked(place, capacity);
    let his = equipe.comune.post("/subjects/report", &ask(PARTNER, "self")).await;
    assert_eq!(his.body["report"]["disclosures"], json!([]));
    let stranger = equipe.comune.post("/subjects/report", &ask(20, "self")).await;
    assert_eq!(stranger.body["report"]["disclosures"], json!([]));
    let names = |told: &Told| told.body["report"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&his), names(&stranger));
    // Nor does the parent learn of the court's exchange from the daughter's report.
    let hers = equipe.comune.post("/subjects/report", &ask(SARA, "parent")).await;
    let lines = hers.body["report"]["disclosures"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["purpose"]["id"] == "F02") && lines.len() == 1, "{lines:?}");

    // The son is 16: his own record, his parents' signatures, his acknowledgement with the collecting agency.
    let mut project = agrees(MATTEO, world.now(), &[("F04", "progetto_personalizzato")], CPI);
    let evidence = json!({
        "kind": "acknowledgement-of-the-minor", "sha256": "a".repeat(64), "locator": "comune-capannori/archivio/1"
    });
    project["event"]["evidence"] = json!([evidence]);
    let id = records(&equipe.comune, &project).await;
    let kept = equipe.cpi.get(&format!("/consents/{id}")).await;
    let ends =
        kept.body["consent"]["items"][0]["ending"]["ends"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(ends <= coming_of_age(MATTEO), "it ends at 18 at the latest");
}

#[tokio::test]
async fn sc6_whatever_the_employment_centre_asks_of_the_protected_household_it_gets_counts_only() {
    let (agency, kind) = (COMUNE.parse().unwrap(), REGISTRY.parse().unwrap());
    let mut record = PEOPLE.record(&agency, &kind, &PEOPLE.people()[ANNA]).unwrap();
    record.insert("riservatezza_indirizzo".to_owned(), json!(true));
    let world = World::played(Play::RecordOf(PEOPLE.people()[ANNA].code.clone(), record)).await;
    let purposes = ["F01", "F02", "F03", "F04", "F05", "F07"];
    let equipe = Equipe::open(&world, &purposes, &[ANNA, MATTEO, SARA]).await;
    let choices: Vec<_> = purposes.iter().map(|purpose| (*purpose, REGISTRY)).collect();
    for place in [ANNA, MATTEO, SARA] {
        records(&equipe.comune, &agrees(place, world.now(), &choices, CPI)).await;
    }
    let mut counted = 0;
    for raised in [false, true] {
        if raised {
            equipe.escalate(&world).await;
        }
        for purpose in purposes {
            let mut pull = equipe.pull(ANNA, COMUNE, purpose, REGISTRY);
            pull["fields"] = json!(["componenti", "numero_componenti", "numero_minori"]);
            let told = equipe.cpi.post("/pulls", &pull).await;
            let Some(record) = told.record() else { continue };
            assert!(record.get("componenti").is_none(), "{purpose}: {record:?}");
            assert_eq!(told.outcome("componenti"), "unavailable", "{purpose}");
            counted += usize::from(record.get("numero_minori").is_some());
        }
    }
    assert!(counted >= 2, "the counts come at both levels");
}

#[tokio::test]
async fn sc6_the_employment_centre_gets_age_bands_of_a_household_that_agrees() {
    let world = World::start().await;
    let equipe = Equipe::open(&world, &["F02"], &[ANNA, MATTEO, SARA]).await;
    for place in [ANNA, MATTEO, SARA] {
        records(&equipe.comune, &agreed(place, world.now())).await;
    }
    let told = equipe.cpi.post("/pulls", &equipe.pull(ANNA, COMUNE, "F02", REGISTRY)).await;
    let members = told.record().unwrap()["componenti"].as_array().unwrap();
    assert_eq!(members.len(), 2);
    let said = json!(members).to_string();
    for place in [MATTEO, SARA] {
        assert!(!said.contains(PEOPLE.people()[place].code.expose()), "a code is shown");
        assert!(!said.contains(&PEOPLE.people()[place].birth.to_string()), "a birth date is shown");
    }
}

/// The shipped bundle with an agreement that ends ten days after the world begins.
fn ending_soon(folder: &Folder) -> PathBuf {
    altered(folder, ("protocollo.txt", "al = 2029-02-28", "al = 2026-11-27"))
}

#[tokio::test]
async fn sc7_the_agreement_ends_and_only_the_past_can_be_read() {
    let world = World::of(Setup { policies: Some(ending_soon), ..Setup::default() }).await;
    let equipe = Equipe::open(&world, &["F02"], &[ANNA]).await;
    records(&equipe.comune, &agrees(ANNA, world.now(), &[("F02", RECORD_TYPE)], CPI)).await;
    let pull = equipe.pull(ANNA, COMUNE, "F02", RECORD_TYPE);
    let before = equipe.cpi.post("/pulls", &pull).await;
    assert_eq!(before.status, 200, "{:?}", before.body);
    let status = format!("{}/status", varco::http::exchange::BASE);
    let said = world.client(CPI).get(&status).await.unwrap().json();
    assert_eq!(said["agreement"]["warning"], json!("within_30_days"));

    world.advance(DAY * 12);
    let refused = equipe.cpi.post("/pulls", &pull).await;
    refused.assert_refused(403, "exchange.not-allowed");
    assert!(refused.text("detail").contains("agreement"), "{}", refused.text("detail"));
    assert_eq!(refused.receipt().leaf.kind(), Kind::Denial, "refusals are logged as ever");
    // The log outlives the agreement: proofs, the person's rights, and taking back.
    let path = format!("{}/exchanges/{}/receipt", varco::http::exchange::BASE, before.exchange());
    assert_eq!(world.client(CPI).get(&path).await.unwrap().status, 200);
    let report = equipe.comune.post("/subjects/report", &super::exchange::subject::asked(ANNA, "self")).await;
    assert_eq!(report.body["report"]["disclosures"].as_array().unwrap().len(), 1);
    let word = json!({ "subject": person(ANNA), "capacity": "self", "method": "cie", "access_point": "urp" });
    assert_eq!(equipe.comune.post("/consents/withdrawals", &word).await.status, 200);
}

#[tokio::test]
async fn sc9_a_person_moves_and_the_new_comune_takes_over() {
    let world = World::played(Play::Honest).await;
    let equipe = Equipe::open(&world, &["F02", "F04"], &[ANNA]).await;
    let lucca = world.desk("comune-lucca", "op-luc-007");
    let choices = [("F04", REGISTRY), ("F04", RECORD_TYPE)];
    records(&lucca, &agrees(ANNA, world.now(), &choices, "comune-lucca")).await;
    records(&equipe.comune, &agrees(ANNA, world.now(), &[("F02", RECORD_TYPE)], CPI)).await;
    let moves = equipe.pull(ANNA, COMUNE, "F04", REGISTRY);
    // Not before it is in the équipe.
    lucca.post("/pulls", &moves).await.assert_refused(403, "exchange.not-allowed");
    equipe.does(&equipe.comune, &member("comune-lucca", "op-luc-007", world.now(), &[])).await;
    let told = lucca.post("/pulls", &moves).await;
    assert_eq!((told.status, told.outcome("residenza_indirizzo")), (200, "shown"), "{:?}", told.body);
    // Outside a transfer two Comuni do not ask each other.
    let other = lucca.post("/pulls", &equipe.pull(ANNA, COMUNE, "F02", RECORD_TYPE)).await;
    other.assert_refused(403, "exchange.not-allowed");

    let hands_over =
        json!({ "change": "hand_over", "to": { "agency": "comune-lucca", "operator": "op-luc-007" } });
    equipe.does(&equipe.comune, &hands_over).await;
    let leaves =
        json!({ "change": "remove_member", "operator": { "agency": COMUNE, "operator": "op-cap-042" } });
    equipe.does(&lucca, &leaves).await;
    let path = format!("/cases/{}", equipe.case);
    equipe.comune.get(&path).await.assert_refused(404, "case.unknown");
    assert_eq!(lucca.get(&path).await.body["case"]["responsible"]["agency"], json!("comune-lucca"));
    // The old owner holds no such record any more, and says so.
    world.provider.as_ref().unwrap().play(Play::Unknown);
    let asked = equipe.cpi.post("/pulls", &equipe.pull(ANNA, COMUNE, "F02", RECORD_TYPE)).await;
    asked.assert_refused(404, "exchange.subject-unknown");
    // What was disclosed before the move is in the person's report, with the owner it had then.
    let report = lucca.post("/subjects/report", &super::exchange::subject::asked(ANNA, "self")).await;
    assert_eq!(report.body["report"]["disclosures"][0]["owner"]["id"], json!(COMUNE));
}

#[tokio::test]
async fn whoever_joins_for_a_meeting_is_out_when_it_ends_and_never_sees_how_it_came_to_be() {
    let world = World::start().await;
    let equipe = Equipe::open(&world, &["F02"], &[ANNA]).await;
    records(&equipe.comune, &agrees(ANNA, world.now(), &[("F02", RECORD_TYPE)], CPI)).await;
    let guest = world.desk(CPI, "op-cpi-guest");
    let begins = world.now().plus(Duration::from_secs(3600));
    let mut joins = member(CPI, "op-cpi-guest", begins, &[]);
    joins["member"]["until"] = json!(begins.plus(Duration::from_secs(7200)));
    equipe.does(&equipe.comune, &joins).await;
    let pull = equipe.pull(ANNA, COMUNE, "F02", RECORD_TYPE);
    guest.post("/pulls", &pull).await.assert_refused(403, "exchange.not-allowed");
    world.advance(Duration::from_secs(3600));
    assert_eq!(guest.post("/pulls", &pull).await.status, 200);
    world.advance(Duration::from_secs(7200));
    guest.post("/pulls", &pull).await.assert_refused(403, "exchange.not-allowed");
    let backwards = {
        let mut joins = member(CPI, "op-cpi-guest", world.now(), &[]);
        joins["member"]["until"] = json!(world.now());
        joins
    };
    equipe.event(&equipe.comune, &backwards).await.assert_refused(422, "request.invalid");

    // An agency that is there for a meeting only reads the case as it stands.
    let asl = world.desk("comune-porcari", "op-por-001");
    let mut joins = member("comune-porcari", "op-por-001", world.now(), &[]);
    joins["member"]["until"] = json!(world.now().plus(DAY));
    equipe.does(&equipe.comune, &joins).await;
    let path = format!("/cases/{}", equipe.case);
    let seen = asl.get(&path).await;
    assert!(seen.status == 200 && seen.body["case"].get("events").is_none(), "{:?}", seen.body);
    world.advance(DAY);
    asl.get(&path).await.assert_refused(404, "case.unknown");
}

#[tokio::test]
async fn a_third_sector_partner_sees_the_frame_of_the_case_and_its_own_people() {
    // Montecarlo plays a cooperative: nothing else of the deployment knows one.
    let setup = Setup {
        registry: |registry| {
            let cooperative =
                registry.agencies.iter_mut().find(|agency| agency.id.as_str() == "comune-montecarlo");
            cooperative.unwrap().kind = varco_core::registry::AgencyKind::Ets;
        },
        ..Setup::default()
    };
    let world = World::of(setup).await;
    let equipe = Equipe::open(&world, &["F02", "F04-ets"], &[ANNA]).await;
    equipe.does(&equipe.comune, &member("comune-montecarlo", "op-ets-1", world.now(), &[])).await;
    let partner = world.desk("comune-montecarlo", "op-ets-1");
    let path = format!("/cases/{}", equipe.case);
    let seen = partner.get(&path).await;
    let members = seen.body["case"]["members"].as_array().unwrap();
    assert_eq!((members.len(), &members[0]["operator"]), (1, &json!("op-ets-1")));
    assert!(seen.body["case"].get("events").is_none() && seen.body["case"].get("awaited").is_none());
    let all = equipe.cpi.get(&path).await;
    assert_eq!(all.body["case"]["members"].as_array().unwrap().len(), 3);
    // It opens no case, and changes none.
    let open = json!({ "purposes": ["F04-ets"], "subjects": [person(ANNA)], "role": "educatore" });
    partner.post("/cases", &open).await.assert_refused(403, "exchange.not-allowed");
    let joins = member("comune-montecarlo", "op-ets-2", world.now(), &[]);
    equipe.event(&partner, &joins).await.assert_refused(403, "exchange.not-allowed");
}

//! What opens only with an act of a guardian or a judge, from the decree to its end.

use super::*;

const ASSESSMENT: &str = "valutazione_sociale";
const MEASURES: &str = "minori.provvedimenti";

fn act(world: &World, place: usize, fields: &[&str]) -> Value {
    json!({
        "change": "add_act",
        "act": {
            "subject": person(place),
            "mandate": {
                "court": "Tribunale per i minorenni di Prova", "reference": "RG 1/2026",
                "from": world.now(), "until": world.now().plus(DAY * 30), "sha256": "b".repeat(64),
            },
            "record_type": ASSESSMENT,
            "fields": fields,
        },
    })
}

#[tokio::test]
async fn a_judges_act_that_the_owner_recorded_opens_its_fields_until_it_ends() {
    let minors =
        json!([{ "condizione": "in famiglia", "provvedimenti": { "provvedimento": "affido ai servizi" } }]);
    let record = planted(json!({ "minori": minors }));
    let world = World::played(Play::Record(record)).await;
    let equipe = Equipe::open(&world, &["F09"], &[ANNA]).await;
    equipe.escalate(&world).await;
    let seen = async || {
        let told = equipe.asl.post("/pulls", &equipe.pull(ANNA, COMUNE, "F09", ASSESSMENT)).await;
        assert_eq!(told.status, 200, "{:?}", told.body);
        let shown = told.outcome(MEASURES) == "shown";
        assert_eq!(shown, json!(told.record().unwrap()).to_string().contains("affido ai servizi"));
        (shown, told)
    };
    assert!(!seen().await.0, "nobody has shown an act");
    let of_asl = act(&world, ANNA, &[MEASURES]);
    equipe.does(&equipe.asl, &of_asl).await;
    assert!(!seen().await.0, "the owner goes by what it has seen itself");
    equipe.does(&equipe.asl, &json!({ "change": "end_act", "sha256": "b".repeat(64) })).await;

    let told = equipe.event(&equipe.comune, &act(&world, ANNA, &[MEASURES])).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    let text = Value::Object(told.body.clone()).to_string();
    assert!(text.contains(MEASURES) && !text.contains("Tribunale") && !text.contains("RG 1"), "{text}");
    let (shown, told) = seen().await;
    assert!(shown);
    assert_eq!(told.outcome("minori.valutazione_famiglia"), "unavailable", "the act does not name it");
    let entries = world.entries_of(told.exchange()).await;
    let (leaf, slots) = &entries[0];
    assert_eq!(crate::world::decision(slots)["facts"]["acts"][0]["reference"], json!("b".repeat(64)));
    let body = &slots.decision.as_ref().unwrap().body;
    assert_eq!(world.replayed(leaf, body), varco_core::exchange::Replayed::Same);

    equipe.does(&equipe.asl, &json!({ "change": "end_act", "sha256": "b".repeat(64) })).await;
    assert!(!seen().await.0, "whoever is in the équipe may narrow");
    let again = equipe.event(&equipe.asl, &json!({ "change": "end_act", "sha256": "b".repeat(64) })).await;
    assert_eq!(again.status, 422, "{:?}", again.body);
    equipe.does(&equipe.comune, &act(&world, ANNA, &[MEASURES])).await;
    assert!(seen().await.0);
    world.advance(DAY * 30);
    assert!(!seen().await.0, "it ends by its date");
}

#[tokio::test]
async fn an_act_names_a_person_of_the_case_fields_that_there_are_and_its_end() {
    let world = World::start().await;
    let equipe = Equipe::open(&world, &["F09"], &[ANNA]).await;
    let refused = async |desk: &Desk, act: &Value, status: u16, why: &str| {
        let told = equipe.event(desk, act).await;
        assert_eq!(told.status, status, "{act}: {:?}", told.body);
        assert!(Value::Object(told.body.clone()).to_string().contains(why), "{:?}", told.body);
    };
    refused(&equipe.comune, &act(&world, PARTNER, &[MEASURES]), 422, "no such subject").await;
    refused(&equipe.comune, &act(&world, ANNA, &["minori.diario"]), 422, "has no field").await;
    refused(&equipe.comune, &act(&world, ANNA, &[]), 422, "1 to 64 fields").await;
    let mut endless = act(&world, ANNA, &[MEASURES]);
    endless["act"]["mandate"].as_object_mut().unwrap().remove("until");
    refused(&equipe.comune, &endless, 422, "begins before it ends").await;
    let mut guest = member(CPI, "op-cpi-900", world.now(), &[]);
    guest["member"]["until"] = json!(world.now().plus(DAY));
    equipe.does(&equipe.comune, &guest).await;
    let passing = world.desk(CPI, "op-cpi-900");
    refused(&passing, &act(&world, ANNA, &[MEASURES]), 403, "responsible").await;
}

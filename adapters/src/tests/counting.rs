//! Counts over real mutual TLS, from a system that says what it should and from one that does not.

use varco_core::statistics::Tabulation;

use super::*;
use crate::counting::{CountRequest, Counted};

fn tabulation() -> Tabulation {
    serde_json::from_value(json!({
        "record_type": "anagrafica_nucleo",
        "title": "Prova", "counts": "chi si conta", "unit": "year", "threshold": 5,
        "dimensions": [{ "field": "sesso", "view": "intero", "classes": ["F", "M", "non_noto"] }],
    }))
    .unwrap()
}

async fn count(world: &World) -> Result<Counted, FetchError> {
    let (tabulation, exchange) = (tabulation(), ExchangeId::new(NOW, [7; 10]));
    let evidence = Evidence {
        operator: "op-7".parse().unwrap(),
        location: "sportello".to_owned(),
        loa: LevelOfAssurance::Substantial,
    };
    let request = CountRequest {
        exchange: &exchange,
        consumer: &"cpi-lucca".parse().unwrap(),
        purpose: &"F10".parse().unwrap(),
        tabulation: &tabulation,
        period: "2025".parse().unwrap(),
        evidence: &evidence,
        jtis: &Jtis::new(NOW, [[1; 10]; 3]),
    };
    let context = Context { registry: &world.registry, clock: &|| NOW };
    world.sources.count(&capannori(), &request, &context).await
}

async fn answered(answer: Answer) -> Result<Counted, FetchError> {
    count(&World::answering(answer).await).await
}

#[tokio::test]
async fn a_system_is_told_the_classes_and_nobody_and_answers_with_numbers() {
    let world = World::answering(Answer::of(r#"{"counts":[{"classes":["F"],"people":41}]}"#)).await;
    let counted = count(&world).await.unwrap();
    assert!(!format!("{counted:?}").contains("41"), "{counted:?}");
    let heard = world.agency.heard.lock().unwrap();
    let (_, question) = &heard[0];
    let mut names: Vec<&String> = question.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["consumer", "counts", "dimensions", "exchange", "period", "purpose"]);
    assert_eq!(question["dimensions"][0]["classes"], json!(["F", "M", "non_noto"]));
    assert_eq!((&question["period"], &question["counts"]), (&json!("2025"), &json!("chi si conta")));
}

#[tokio::test]
async fn what_is_no_table_of_these_classes_is_refused() {
    let wrong = [
        r#"{"counts":[{"classes":["F"],"people":41,"codice_fiscale":"XXQNNA85C52B648J"}]}"#,
        r#"{"counts":[{"classes":["F"],"people":"41"}]}"#,
        r#"{"counts":[{"classes":["F"],"people":-1}]}"#,
        r#"{"counts":[{"classes":["F"],"people":1.5}]}"#,
        r#"{"counts":[{"classes":["X"],"people":41}]}"#,
        r#"{"counts":[{"classes":["F","M"],"people":41}]}"#,
        r#"{"counts":[{"classes":["F"],"people":1},{"classes":["F"],"people":1}]}"#,
        r#"{"counts":[],"people":[]}"#,
        r#"{"record":{}}"#,
        "[]",
    ];
    for body in wrong {
        let refused = answered(Answer::of(body)).await.unwrap_err();
        assert_eq!(refused.code(), Code::AdapterMismatch, "{body}: {refused}");
    }
    let unsigned = Answer { signed: Signed::Nothing, ..Answer::of(r#"{"counts":[]}"#) };
    assert_eq!(answered(unsigned).await.unwrap_err().code(), Code::AdapterSignature);
    let other = Answer { seal: TestSeal::of("porcari"), ..Answer::of(r#"{"counts":[]}"#) };
    assert_eq!(answered(other).await.unwrap_err().code(), Code::AdapterSignature);
}

#[tokio::test]
async fn a_system_without_counts_is_told_apart_from_one_that_fails() {
    for (status, code) in [
        (404, Code::AdapterNoCounts),
        (501, Code::AdapterNoCounts),
        (403, Code::AdapterRefused),
        (500, Code::AdapterRefused),
    ] {
        let answer = Answer { status, ..Answer::of("{}") };
        assert_eq!(answered(answer).await.unwrap_err().code(), code, "{status}");
    }
}

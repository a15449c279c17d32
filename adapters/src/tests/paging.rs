//! A record in several signed answers, over HTTP: all of one version and one agency, and not without end.

use std::collections::BTreeSet;

use super::*;

/// A page of one version, and where the next begins.
fn page(record: &serde_json::Value, next: Option<usize>, version: &str) -> Answer {
    let mut body = json!({ "record": record });
    if let Some(next) = next {
        body["next"] = json!(next.to_string());
    }
    Answer { extra: Some(("etag", version.to_owned())), ..Answer::of(&body.to_string()) }
}

fn three() -> Vec<Answer> {
    vec![
        page(&json!({ "cognome": "CANARINO", "telefono": ["1", "2"] }), Some(1), "\"v1\""),
        page(&json!({ "telefono": ["3"] }), Some(2), "\"v1\""),
        page(&json!({ "sesso": "F", "telefono": ["4"] }), None, "\"v1\""),
    ]
}

#[tokio::test]
async fn pages_are_asked_for_one_by_one_and_make_one_record() {
    let world = World::with(Play::Pages(three())).await;
    let record = world.fetch().await.unwrap();
    let expected = json!({ "cognome": "CANARINO", "sesso": "F", "telefono": ["1", "2", "3", "4"] });
    assert_eq!(serde_json::Value::Object(record.fields().clone()), expected);
    let digests = three().iter().map(|page| *Sha256::of(&page.body).as_bytes()).collect::<Vec<_>>();
    let parts: Vec<&[u8]> = digests.iter().map(|digest| digest.as_slice()).collect();
    assert_eq!(record.said.digest, Sha256::of_parts(&parts));

    let heard = world.agency.heard.lock().unwrap();
    let from: Vec<_> = heard.iter().map(|(_, question)| question["from"].as_str()).collect();
    assert_eq!(from, [None, Some("1"), Some("2")]);
    let mut first = heard[0].1.clone();
    first["from"] = json!("2");
    assert_eq!(heard[2].1, first, "otherwise the same question");
    let tokens: BTreeSet<String> = heard
        .iter()
        .flat_map(|(asked, _)| [Some(&asked.replay.1), asked.bearer.as_ref()])
        .map(|jti| jti.unwrap().to_string())
        .collect();
    assert_eq!(tokens.len(), 6, "tokens of its own for each question");
    assert_eq!(world.agency.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn pages_that_do_not_belong_together_are_no_record() {
    type Change = fn(&mut Vec<Answer>);
    let changes: [(Change, &str); 7] = [
        (|pages| pages[1].extra = Some(("etag", "\"v2\"".to_owned())), "adapter.mismatch"),
        (|pages| pages[2].extra = None, "adapter.mismatch"),
        (|pages| pages[2] = page(&json!({ "cognome": "ALTRO" }), None, "\"v1\""), "adapter.mismatch"),
        (|pages| pages[1].seal = TestSeal::of("lucca"), "adapter.signature"),
        (|pages| pages[2].signed = Signed::AnotherRequest, "adapter.signature"),
        (|pages| pages[1].status = 503, "adapter.refused"),
        (|pages| pages[1].status = 304, "adapter.refused"),
    ];
    for (number, (change, code)) in changes.into_iter().enumerate() {
        let mut pages = three();
        change(&mut pages);
        let error = World::with(Play::Pages(pages)).await.failure().await;
        assert_eq!(error.code().text(), code, "change {number}: {error}");
    }
}

#[tokio::test]
async fn pages_without_end_are_followed_twenty_times_and_a_place_to_go_on_is_a_short_text() {
    let endless = page(&json!({ "telefono": ["1"] }), Some(0), "\"v1\"");
    let world = World::with(Play::Pages(vec![endless])).await;
    assert_eq!(world.failure().await.code(), Code::AdapterTooLarge);
    assert_eq!(world.agency.heard.lock().unwrap().len(), 20);

    let large = json!({ "telefono": ["1".repeat(6_000)] });
    let world = World::with(Play::Pages(vec![page(&large, Some(0), "\"v1\"")])).await;
    assert_eq!(world.failure().await.code(), Code::AdapterTooLarge, "all pages together");
    assert_eq!(world.agency.heard.lock().unwrap().len(), 2);

    for next in [json!(1), json!(""), json!("n".repeat(513))] {
        let answer = Answer::of(&json!({ "record": {}, "next": next }).to_string());
        assert_eq!(World::answering(answer).await.failure().await.code(), Code::AdapterMismatch, "{next}");
    }
}

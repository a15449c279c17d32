//! A protected address and no address at all: whoever asks, and whoever sees the public part of the log, cannot tell.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use varco_core::json as canonical;
use varco_core::log::leaf::Leaf;

use crate::world::asks::Situation;
use crate::world::desk::{Desk, Told};
use crate::world::provider::Play;
use crate::world::{World, decision};

const RECORD: &str = "anagrafica_nucleo";
/// Of each kind, one after the other.
const ROUNDS: usize = 15;

fn record(address: &Value) -> Map<String, Value> {
    let mut record = json!({ "cognome": "Xxquercia", "sesso": "F", "numero_componenti": 2 });
    for (name, value) in address.as_object().unwrap() {
        record[name] = value.clone();
    }
    record.as_object().unwrap().clone()
}

fn protected() -> Map<String, Value> {
    let address = json!({
        "dug": "via", "odonimo": "Fittizia", "civico": "1", "cap": "55100", "comune": "046017"
    });
    record(&json!({
        "riservatezza_indirizzo": true, "telefono": "+390583000001", "residenza_comune": "046017",
        "residenza_indirizzo": address
    }))
}

fn absent() -> Map<String, Value> {
    record(&json!({}))
}

async fn pull(anna: &Situation) -> Told {
    let mut pull = anna.pull();
    pull["record_type"] = json!(RECORD);
    anna.cpi.post("/pulls", &pull).await
}

/// What an answer says besides identifiers, times and signatures, and how long it is.
fn seen(told: &Told) -> (u16, String, Vec<(String, usize)>) {
    let mut body = told.body.clone();
    let random = ["exchange", "receipt", "record_jws"];
    let lengths = random.iter().map(|name| {
        let text = body.remove(*name).unwrap_or_default();
        // A receipt's hash path grows with the log, its length tells nothing of this exchange.
        ((*name).to_owned(), if *name == "receipt" { 0 } else { text.as_str().unwrap().len() })
    });
    let lengths = lengths.collect();
    (told.status, canonical::canonical(&Value::Object(body)), lengths)
}

/// What everybody may see of an entry.
fn leaf(leaf: &Leaf) -> String {
    let content = leaf.content();
    let slots = (
        content.commitments.decision.is_some(),
        content.commitments.operator.is_some(),
        content.commitments.subject.is_some(),
    );
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {slots:?}",
        content.kind,
        content.consumer,
        content.provider,
        content.purpose,
        content.record_type,
        content.code,
        content.policy
    )
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test]
async fn a_protected_address_and_none_at_all_look_the_same_in_bytes_status_log_and_time() {
    let world = World::played(Play::Record(absent())).await;
    let anna = Situation::of(&world).await;
    let provider = world.provider.as_ref().unwrap();
    let first = pull(&anna).await;
    assert_eq!(first.status, 200, "{:?}", first.body);
    assert_eq!(first.outcome("residenza_indirizzo"), "unavailable");
    let (mut hidden, mut nothing) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS * 2 {
        let (play, times) =
            if round % 2 == 0 { (protected(), &mut hidden) } else { (absent(), &mut nothing) };
        provider.play(Play::Record(play));
        let start = Instant::now();
        let told = pull(&anna).await;
        times.push(start.elapsed());
        assert_eq!(seen(&told), seen(&first));
        assert_eq!(leaf(&told.receipt().leaf), leaf(&first.receipt().leaf));
        // Only the erasable body, which no other party sees, tells the two apart.
        let entries = world.entries_of(told.exchange()).await;
        let findings = &decision(&entries[0].1)["findings"];
        assert_eq!(findings.get("controls").is_some(), round % 2 == 0, "{findings}");
    }
    let (hidden, nothing) = (median(hidden), median(nothing));
    let (less, more) = (hidden.min(nothing), hidden.max(nothing));
    assert!(more < less * 2 + Duration::from_millis(5), "{hidden:?} and {nothing:?}");
}

#[tokio::test]
async fn what_a_person_conceals_looks_as_if_the_source_held_nothing_of_it() {
    let world = World::played(Play::Record(record(&json!({})))).await;
    let anna = Situation::of(&world).await;
    let first = pull(&anna).await;
    let held = record(&json!({ "telefono": "+390583000001", "stato_civile": "1" }));
    world.provider.as_ref().unwrap().play(Play::Record(held));
    assert_eq!(pull(&anna).await.outcome("telefono"), "shown");
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let extent = json!({ "record_type": RECORD, "fields": ["telefono", "sesso"] });
    let body = json!({
        "subject": crate::world::asks::anna(), "ground": "concealment", "extent": extent, "word": word
    });
    let desk: Desk = world.desk("comune-porcari", "op-por-1");
    assert_eq!(desk.post("/restrictions", &body).await.status, 201);
    let concealed = pull(&anna).await;
    assert_eq!(concealed.outcome("telefono"), first.outcome("telefono"));
    assert_eq!(leaf(&concealed.receipt().leaf), leaf(&first.receipt().leaf));
    // A field that is not of the kind that hides by itself is `absent`, exactly as where there is none.
    assert_eq!(concealed.outcome("sesso"), "absent");
}

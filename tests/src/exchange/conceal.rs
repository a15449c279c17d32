//! A protected address and no address at all: whoever asks, and whoever reads the log without the owner's key, cannot tell.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use varco_core::exchange::OwnerKey as _;
use varco_core::id::AgencyId;
use varco_core::json as canonical;
use varco_core::log::leaf::Leaf;
use varco_jose::OwnerKeeper;

use crate::process;
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

/// The decision's body as an auditor reads it, without what differs from one request to the next, and what is sealed in it.
async fn body(world: &World, told: &Told) -> (String, String) {
    let entries = world.entries_of(told.exchange()).await;
    let Value::Object(mut body) = decision(&entries[0].1) else { panic!("no body") };
    for random in ["at", "request", "source", "record"] {
        assert!(body.remove(random).is_some(), "{random}");
    }
    let sealed = body.remove("for_owner").unwrap().as_str().unwrap().to_owned();
    (canonical::canonical(&Value::Object(body)), sealed)
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
    let owners = OwnerKeeper::new(world.app().keys.load().owner_roots());
    let owner: AgencyId = "comune-capannori".parse().unwrap();
    let first_body = body(&world, &first).await;
    let entry = first.exchange().parse().unwrap();
    let first_marks = owners.keys_of(&owner).open(&owner, &entry, &first_body.1).unwrap();
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
        // Nor can who reads the bodies; the owner's key tells, and no other's.
        let (open, sealed) = body(&world, &told).await;
        assert_eq!((&open, sealed.len()), (&first_body.0, first_body.1.len()));
        let entry = told.exchange().parse().unwrap();
        let opened = owners.keys_of(&owner).open(&owner, &entry, &sealed).unwrap();
        assert_eq!(opened == first_marks, round % 2 == 1, "{opened:?}");
        assert_eq!(owners.keys_of(&"cpi-lucca".parse().unwrap()).open(&owner, &entry, &sealed), None);
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

#[tokio::test]
async fn whoever_replays_the_log_sees_what_is_sealed_for_an_owner_with_its_keys_only() {
    let world = World::played(Play::Record(protected())).await;
    let anna = Situation::of(&world).await;
    pull(&anna).await;
    let at = |name: &str| world.folder.path(name).display().to_string();
    let (database, bodies) = (format!("sqlite:{}", at("varco.db")), at("anchor/body-keys"));
    let tally = |more: &[&str]| -> Value {
        let all = [&["log", "replay", "--database", &database, "--body-keys", &bodies, "--json"], more];
        let output = process::run(&world.folder.path(""), &all.concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&process::said(&output)).unwrap()
    };
    let keys = at("pki/gateway/subject.keys");
    for (owner, sealed) in [("comune-capannori", 0), ("cpi-lucca", 1)] {
        let handed = ["log", "owner-key", "--subject-keys", &keys, "--agency", owner];
        let output = process::run(&world.folder.path(""), &handed);
        assert!(output.status.success());
        std::fs::write(at(owner), process::said(&output)).unwrap();
        let tally = tally(&["--owner-keys", &at(owner)]);
        assert_eq!((&tally["same"], &tally["sealed"]), (&json!(1), &json!(sealed)), "{owner}: {tally}");
    }
    assert_eq!(tally(&["--subject-keys", &keys])["sealed"], 0);
    assert_eq!(tally(&[])["sealed"], 1);
    std::fs::write(at("bad"), "comune-capannori 1 ff").unwrap();
    let refused = process::run(
        &world.folder.path(""),
        &["log", "replay", "--database", &database, "--owner-keys", &at("bad")],
    );
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("line 1"), "{refused:?}");
}

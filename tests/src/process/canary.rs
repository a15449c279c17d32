//! Nothing of a person stays behind: what is planted into requests and answers is in no file afterwards.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use varco::demo::people::ANNA;
use varco_core::hash::Sha256;

use super::Deployed;
use crate::world::PEOPLE;
use crate::world::asks::Situation;
use crate::world::provider::Play;
use crate::world::until;

/// Values that no test and no document has.
const SURNAME: &str = "Xxcanarinocognome";
const NAME: &str = "Xxcanarinonome";
const PHONE: &str = "+390583867530942";
const EMAIL: &str = "xxcanarino@uccello.example";
const STRAY: &str = "xxcanarinovagante";
const REASON: &str = "xxcanarinomotivo";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planted_is_in_no_file_afterwards() {
    let mut deployed =
        Deployed::start(Play::Record(planted()), "[log]\nlevel = \"debug\"\nformat = \"json\"\n").await;
    let anna = Situation::at(&deployed.ends()).await;
    let mut pull = anna.pull();
    pull["record_type"] = json!("anagrafica_nucleo");
    let told = anna.cpi.post("/pulls", &pull).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    assert_eq!(told.record().unwrap()["cognome"], SURNAME, "the canary does not fly");

    // In everything that goes wrong on the provider's side.
    let broken = format!("{{\"record\":{{\"cognome\":\"{STRAY}\",");
    let wrong_type = json!({ "record": { "sesso": STRAY, "cognome": [STRAY] } }).to_string();
    let not_asked = json!({ "record": { STRAY: STRAY } }).to_string();
    for body in [broken, wrong_type, not_asked] {
        deployed.provider.play(Play::Body(body.into_bytes()));
        let told = anna.cpi.post("/pulls", &pull).await;
        told.assert_refused(502, "adapter.mismatch");
        assert!(!Value::Object(told.body).to_string().contains(STRAY), "an answer repeats it");
    }
    // And on the consumer's: an unknown member, a broken code, an unknown field, a person nobody knows.
    let stray = |change: fn(&mut Value)| {
        let mut pull = pull.clone();
        change(&mut pull);
        pull
    };
    let mistakes = [
        stray(|pull| pull[STRAY] = json!(STRAY)),
        stray(|pull| pull["subject"]["codice_fiscale"] = json!(STRAY)),
        stray(|pull| pull["purpose"] = json!(STRAY)),
    ];
    for mistake in mistakes {
        let told = anna.cpi.post("/pulls", &mistake).await;
        assert_eq!(told.status, 422, "{:?}", told.body);
    }
    let told =
        anna.capannori.post("/consents/search", &json!({ "subject": crate::world::asks::anna() })).await;
    assert_eq!(told.status, 200);
    through_every_door(&deployed, &anna, &pull).await;
    // Not even under lock: the writer empties the WAL within its next round of housekeeping.
    let middle = push_and_withdraw(&deployed, &anna).await;
    until("the locked bytes are gone", async || !holds(&deployed.folder.path("varco.db-wal"), &middle)).await;
    export(&deployed);

    let mut wanted = Vec::new();
    let people = [ANNA, 1, 3].map(|place| PEOPLE.people()[place].code.expose());
    for text in [SURNAME, NAME, PHONE, EMAIL, STRAY, REASON].into_iter().chain(people) {
        wanted.extend(forms(text));
    }
    wanted.push(middle);
    // While it runs, with the WAL and whatever lies about, and when it has ended.
    let (mut running, mut ended) = (0, 0);
    search(&deployed.folder.path(""), &wanted, &mut running);
    deployed.terminate();
    assert!(deployed.ended());
    search(&deployed.folder.path(""), &wanted, &mut ended);
    assert!(running > 20 && ended > 20, "only {running} and {ended} files were searched");
    let log = std::fs::read_to_string(deployed.folder.path("gateway.log")).unwrap();
    assert!(log.lines().count() > 10, "the gateway logs too little to be searched: {log}");
    // Nor is a token: whoever reads the logs must not be able to use one.
    assert!(!log.contains("Bearer ") && !log.contains(".eyJ"), "a token is in the log");
}

/// Pushed: one copy that is fetched and acknowledged, one that a withdrawal cancels. While they wait they are locked;
/// returned are bytes of the first under lock.
async fn push_and_withdraw(deployed: &Deployed, anna: &Situation) -> Vec<u8> {
    let push = json!({
        "record_type": "anagrafica_nucleo",
        "subject": crate::world::asks::anna(),
        "purpose": "F02",
        "case": anna.case,
        "record": planted(),
        "recipients": [{ "agency": "cpi-lucca" }],
    });
    let told = anna.capannori.post("/pushes", &push).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
    let waits = told.body["recipients"][0]["exchange"].as_str().unwrap().to_owned();
    let log = deployed.log().await;
    let locked = log.parcel(&waits.parse().unwrap()).await.unwrap().unwrap();
    let inbox = anna.cpi.get("/inbox").await;
    assert_eq!(inbox.body["deliveries"][0]["record"]["cognome"], SURNAME, "the canary does not fly");
    assert_eq!(anna.cpi.post(&format!("/inbox/{waits}/ack"), &json!({})).await.status, 200);
    assert_eq!(anna.capannori.post("/pushes", &push).await.status, 202);
    let stray =
        json!({ "record_type": "anagrafica_nucleo", "record": { STRAY: STRAY }, "recipients": [STRAY] });
    assert_eq!(anna.capannori.post("/pushes", &stray).await.status, 422);
    anna.withdraw().await;
    until("nothing waits", async || log.backlog().await.unwrap().waiting == 0).await;
    log.close().await;
    locked.copy[locked.copy.len() / 2..].to_vec()
}

fn holds(path: &Path, wanted: &[u8]) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Through the doors that take or give something about people: a household, an emergency with its reason, the person's
/// rights, corrections.
async fn through_every_door(deployed: &Deployed, anna: &Situation, pull: &Value) {
    let member = json!([crate::world::asks::anna(), crate::world::family::person(1)]);
    let mut household = pull.clone();
    household.as_object_mut().unwrap().remove("subject");
    household["members"] = member;
    deployed.provider.play(Play::Record(planted()));
    assert_eq!(anna.cpi.post("/pulls/household", &household).await.status, 200);
    subscribe_and_signal(deployed, anna, pull).await;
    let emergency = json!({ "danger": "life", "cannot_consent": "unconscious",
        "reason": format!("{REASON}: la signora è sola e non risponde al telefono") });
    let mut urgent =
        json!({ "record_type": "anagrafica_nucleo", "provider": "comune-capannori", "purpose": "F14" });
    urgent["subject"] = crate::world::asks::anna();
    urgent["emergency"] = emergency;
    let doctor = crate::world::desk::Desk::new(&deployed.ends(), "asl-toscana-nord-ovest", "op-asl-118");
    let told = doctor.post("/pulls", &urgent).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    let word = json!({ "capacity": "self", "method": "cie", "access_point": "urp" });
    let ask = json!({ "subject": crate::world::asks::anna(), "word": word });
    assert_eq!(anna.capannori.post("/subjects/report", &ask).await.status, 200);
    let correction = json!({ "subject": crate::world::asks::anna(), "ground": "wrong_person",
        "record_type": "anagrafica_nucleo", "right_subject": crate::world::family::person(3) });
    assert_eq!(anna.capannori.post("/corrections", &correction).await.status, 201);
    let restriction =
        json!({ "subject": crate::world::family::person(1), "ground": "concealment", "word": word });
    assert_eq!(anna.capannori.post("/restrictions", &restriction).await.status, 201);
}

/// A subscription that stays open, with its person under lock, and a signal that was read and stays.
async fn subscribe_and_signal(deployed: &Deployed, anna: &Situation, pull: &Value) {
    let told = anna.cpi.post("/subscriptions", pull).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    let id = told.body["subscription"]["id"].as_str().unwrap().to_owned();
    let mut signal = json!({ "record_type": pull["record_type"], "subject": pull["subject"],
        "signal_type": "UPDATE", "controls": [], "sequence": 1 });
    assert_eq!(anna.capannori.post("/signals", &signal).await.status, 202);
    assert_eq!(anna.cpi.get("/signals").await.body["signals"].as_array().unwrap().len(), 1);
    signal["controls"] = json!([STRAY]);
    signal["sequence"] = json!(2);
    assert_eq!(anna.capannori.post("/signals", &signal).await.status, 422);
    let log = deployed.log().await;
    assert!(log.subscription_person(&id.parse().unwrap()).await.unwrap().is_some(), "nobody is under lock");
    log.close().await;
}

/// The whole log with its bodies, as an auditor takes it away, into the folder that is searched.
fn export(deployed: &Deployed) {
    let key = std::fs::read_to_string(deployed.folder.path("pki/gateway/log.pub")).unwrap();
    let database = format!("sqlite:{}", deployed.folder.path("varco.db").display());
    let target = deployed.folder.path("export").display().to_string();
    let anchor = deployed.folder.path("anchor/checkpoint").display().to_string();
    let key = key.trim();
    let arguments =
        ["log", "export", "--database", &database, "--anchor", &anchor, "--key", key, "--out", &target];
    let done = super::run(&deployed.folder.path(""), &arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn planted() -> Map<String, Value> {
    let person = &PEOPLE.people()[ANNA];
    let agency = "comune-capannori".parse().unwrap();
    let mut record = PEOPLE.record(&agency, &"anagrafica_nucleo".parse().unwrap(), person).unwrap();
    for (field, value) in [("cognome", SURNAME), ("nome", NAME), ("telefono", PHONE), ("email", EMAIL)] {
        assert!(
            record.insert(field.to_owned(), json!(value)).is_some(),
            "{field} is not a field of the record"
        );
    }
    record
}

/// A value as it is, and as careless code would hide it: hashed without a key, in base64 at any offset, in hexadecimal.
pub(super) fn forms(text: &str) -> Vec<Vec<u8>> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
    let digest = Sha256::of(text.as_bytes());
    let mut forms = vec![
        text.as_bytes().to_vec(),
        text.to_uppercase().into_bytes(),
        text.to_lowercase().into_bytes(),
        hex(text.as_bytes()),
        digest.as_bytes().to_vec(),
        digest.to_string().into_bytes(),
        STANDARD.encode(digest.as_bytes()).into_bytes(),
        URL_SAFE_NO_PAD.encode(digest.as_bytes()).into_bytes(),
    ];
    for offset in 0..3 {
        let padded = [&b"\0\0\0"[..offset], text.as_bytes()].concat();
        let encoded = URL_SAFE_NO_PAD.encode(padded);
        // The first and the last group depend on the neighbours.
        forms.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
    }
    forms
}

/// Looks into every file below a folder for any of these.
pub(super) fn search(folder: &Path, wanted: &[Vec<u8>], files: &mut usize) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, wanted, files);
            continue;
        }
        *files += 1;
        let bytes = std::fs::read(&path).unwrap();
        for form in wanted {
            let found = bytes.windows(form.len()).any(|window| window == form);
            assert!(!found, "{} holds {}", path.display(), String::from_utf8_lossy(form));
        }
    }
}

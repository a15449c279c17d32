//! Whole exchanges with agencies whose systems are made of software by others: a gateway in a process of its own, real
//! mutual TLS at both ends, and the log afterwards.

use std::path::Path;

use serde_json::{Value, json};
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;

use super::*;
use crate::process::{self, Deployed};
use crate::world::asks::{self, Situation};
use crate::world::desk::{Desk, Told};
use crate::world::provider::Play;
use crate::world::{decision, until};

/// How Capannori's report of a need stands in the labour service's XML.
const NEED: &str = "
[mappatura segnalazione_bisogno]
soggetto     = datiAnagrafici.codiceFiscale
spazio       = urn:lavoro
azione       = urn:lavoro:richiestaSAP
domanda      = richiestaSAP.versione=2; richiestaSAP.codiceFiscale={soggetto}
risposta     = richiestaSAPResponse.SAP
testo        = si
invio_azione = urn:lavoro:invioSAP
invio        = invioSAP.idMessaggio={chiave}; invioSAP.SAP={record}
invio_esito  = invioSAPResponse.esito=OK; invioSAPResponse.esito=GIA
invio_radice = segnalazione
fonte           | campo           | lettura
motivi.motivo[] | motivi_comuni[] |
sintesi         | sintesi         |
";

fn shipped(mapping: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/mappings").join(mapping).display().to_string()
}

/// The section of an ASL whose FHIR server this is.
fn fhir_section(system: &System) -> String {
    format!(
        "[providers.asl-toscana-nord-ovest]\nkind = \"fhir\"\nurl = \"https://localhost:{}\"\n\
         mappings = [\"{}\"]\ndeliveries = \"system\"\n",
        system.port,
        shipped("fhir-asl.txt")
    )
}

/// The section of an employment centre whose SOAP service this is, with its mapping of needs beside the system's keys.
fn soap_section(system: &System, security: &str) -> String {
    let need = system.folder.path("bisogno.txt");
    std::fs::write(&need, NEED).unwrap();
    format!(
        "[providers.cpi-lucca]\nkind = \"soap\"\nurl = \"https://localhost:{}/ws\"\nsoap = \"1.1\"\n\
         security = \"{security}\"\naudience = \"https://lavoro.example\"\nmappings = [\"{}\", \"{}\"]\n\
         deliveries = \"system\"\n",
        system.port,
        shipped("soap-lavoro.txt"),
        need.display()
    )
}

/// The one entry of an exchange that disclosed something, checked to be what the consumer's receipt is of.
async fn disclosed(deployed: &Deployed, told: &Told) -> (Leaf, Value) {
    let log = deployed.log().await;
    let entries = log.entries_of(&told.exchange().parse().unwrap()).await.unwrap();
    assert_eq!(entries, [told.receipt().leaf]);
    assert_eq!(entries[0].kind(), Kind::Disclosure);
    let slots = log.slots(entries[0].index()).await.unwrap();
    log.close().await;
    (entries[0].clone(), decision(&slots))
}

/// Waits until the one recipient's system has taken a push over, and gives the entries of its exchange.
async fn delivered(deployed: &Deployed, sender: &Desk, told: &Told) -> Vec<Leaf> {
    assert_eq!(told.status, 202, "{:?}", told.body);
    let path = format!("/pushes/{}", told.text("push"));
    until("delivered", async || {
        let told = sender.get(&path).await;
        let state = told.body["recipients"][0]["state"].clone();
        assert!(state != "dead" && state != "cancelled", "{:?}", told.body);
        state == "delivered"
    })
    .await;
    let log = deployed.log().await;
    let exchange = told.body["recipients"][0]["exchange"].as_str().unwrap().parse().unwrap();
    let entries = log.entries_of(&exchange).await.unwrap();
    log.close().await;
    entries
}

fn kinds(entries: &[Leaf]) -> Vec<Kind> {
    entries.iter().map(Leaf::kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3 with venv, and the Python package index the first time"]
async fn a_comune_pulls_from_a_fhir_server_and_gets_only_what_the_purpose_needs() {
    let system = fhir::serve(&fhir::disability());
    let deployed = Deployed::start(Play::Honest, &fhir_section(&system)).await;
    let desk = deployed.desk("comune-capannori", "op-cap-042");
    let mut pull = json!({
        "record_type": "accertamento_disabilita",
        "subject": { "codice_fiscale": PERSON },
        "provider": "asl-toscana-nord-ovest",
        "purpose": "F08",
    });
    let told = desk.post("/pulls", &pull).await;
    assert_eq!((told.status, told.signed), (200, true), "{:?}", told.body);
    let record = Value::Object(told.record().unwrap().clone());
    assert_eq!(record, json!({ "accompagnamento": true, "frequenza": false }));
    assert_eq!(told.outcome("svantaggio_adi_confermato"), "absent");
    for kept in ["percentuale", "diagnosi", "verbale_id"] {
        assert_eq!(told.outcome(kept), "withheld", "{kept}");
    }
    let (leaf, decision) = disclosed(&deployed, &told).await;
    assert_eq!(leaf.content().provider.as_ref().unwrap().as_str(), ASL);
    assert_eq!(decision["source_by"], "certificate");
    assert_eq!(system.heard()["search"], "Patient");
    let asked = system.heard();
    assert_eq!(asked["search"], "Observation");
    assert!(!asked["parameters"]["_elements"].as_str().unwrap().contains("component"), "{asked}");

    pull["subject"] = json!({ "codice_fiscale": "XXQNNA85C52E715F" });
    let nobody = desk.post("/pulls", &pull).await;
    nobody.assert_refused(404, "exchange.subject-unknown");
    assert_eq!(nobody.receipt().leaf.kind(), Kind::Failure);
    deployed.verify_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3 with venv, and the Python package index the first time"]
async fn a_push_becomes_one_transaction_of_a_fhir_server() {
    let system = fhir::serve(&json!([]));
    let deployed = Deployed::start(Play::Honest, &fhir_section(&system)).await;
    let desk = deployed.desk("comune-capannori", "op-cap-042");
    let push = json!({
        "record_type": "anagrafica_nucleo",
        "subject": asks::anna(),
        "purpose": "F01",
        "record": {
            "cognome": "Xxquercia", "nome": "Anna", "data_nascita": "1985-03-12", "sesso": "F",
            "stato_civile": "1", "riservatezza_indirizzo": false,
        },
        "recipients": [{ "agency": ASL }],
    });
    let told = desk.post("/pushes", &push).await;
    let entries = delivered(&deployed, &desk, &told).await;
    assert_eq!(kinds(&entries), [Kind::Disclosure, Kind::Delivery]);
    let heard = system.heard();
    assert_eq!(heard["transaction"], json!(["Patient", "DocumentReference"]), "{heard}");
    assert_eq!(heard["statuses"], json!(["201 Created", "201 Created"]));
    let patient = &heard["resources"][0];
    assert_eq!(patient["name"], json!([{ "family": "Xxquercia", "given": ["Anna"] }]));
    assert_eq!(patient["identifier"][0]["value"], asks::anna()["codice_fiscale"]);
    assert!(patient.get("maritalStatus").is_none(), "F01 has no place for it: {patient}");
    deployed.verify_log();
}

/// Anna has agreed that Capannori sees her professional record.
async fn agreed(deployed: &Deployed) -> Situation {
    let anna = Situation::at(&deployed.ends()).await;
    let mut agreed = asks::consent(varco::app::system_now());
    agreed["scope"] = json!([agreed["scope"][0]]);
    agreed["scope"][0]["record_type"] = json!("scheda_anagrafico_professionale");
    agreed["scope"][0]["recipients"] = json!([{ "agency": "comune-capannori" }]);
    let told = anna.cpi.post("/consents", &agreed).await;
    assert_eq!(told.status, 201, "{:?}", told.body);
    anna
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs node and npm, python3 with venv, and their registries the first time"]
async fn a_comune_pulls_from_a_soap_service_with_and_without_signatures() {
    for (system, security, by) in [
        (soap::in_node("1.1"), "channel", "certificate"),
        (soap::in_python("ES256", "honest"), "signature", "seal"),
    ] {
        let deployed = Deployed::start(Play::Honest, &soap_section(&system, security)).await;
        let anna = agreed(&deployed).await;
        let mut pull = anna.pull();
        pull["record_type"] = json!("scheda_anagrafico_professionale");
        pull["provider"] = json!("cpi-lucca");
        let told = anna.capannori.post("/pulls", &pull).await;
        assert_eq!((told.status, told.signed), (200, true), "{:?} {}", told.body, system.heard());
        assert_eq!(told.record().unwrap()["titolo_studio"], "USG");
        assert_eq!(told.outcome("note_operatore"), "withheld", "{security}: by the agreement");
        assert!(!told.record().unwrap().contains_key("note_operatore"));
        let (_, decision) = disclosed(&deployed, &told).await;
        assert_eq!(decision["source_by"], by);
        deployed.verify_log();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs node and npm, and the npm registry the first time"]
async fn a_push_becomes_a_call_of_a_soap_service() {
    let system = soap::in_node("1.1");
    let deployed = Deployed::start(Play::Honest, &soap_section(&system, "channel")).await;
    let desk = deployed.desk("comune-capannori", "op-cap-042");
    let told = desk.post("/pushes", &asks::push(&["cpi-lucca"])).await;
    let entries = delivered(&deployed, &desk, &told).await;
    assert_eq!(kinds(&entries), [Kind::Disclosure, Kind::Delivery]);
    let heard = system.heard();
    assert_eq!(heard["operation"], "invioSAP");
    assert_eq!(heard["args"]["idMessaggio"], told.body["recipients"][0]["exchange"]);
    let sent = heard["args"]["SAP"].as_str().unwrap();
    assert!(sent.contains("<motivo>lavoro</motivo><motivo>reddito</motivo>"), "{sent}");
    assert!(!sent.contains("salute"), "Anna has not named her reasons of health: {sent}");
    deployed.verify_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs node and npm, python3 with venv, and their registries the first time"]
async fn the_adapter_commands_try_live_fhir_and_soap_systems() {
    let (asl, cpi) = (fhir::serve(&fhir::disability()), soap::in_node("1.1"));
    let settings = fhir_section(&asl) + &soap_section(&cpi, "channel");
    let deployed = Deployed::start(Play::Honest, &settings).await;
    let config = deployed.folder.path("varco.toml").display().to_string();
    let run = |words: &[&str]| {
        let output =
            process::run(&deployed.folder.path(""), &[words, &["--config", &config, "--json"]].concat());
        let why = String::from_utf8(output.stderr.clone()).unwrap();
        (output.status.code().unwrap(), process::said(&output), why)
    };
    for (agency, record, field) in [
        (ASL, "accertamento_disabilita", "accompagnamento"),
        ("cpi-lucca", "scheda_anagrafico_professionale", "titolo_studio"),
    ] {
        let asked = ["--subject", PERSON, "--record", record];
        let (code, said, _) = run(&[&["adapter", "check", agency], &asked[..]].concat());
        assert_eq!(code, 0, "{said}");
        let counted: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&counted["fits"], &counted["records"][0]["records"]), (&json!(true), &json!(1)));
        let fields = counted["records"][0]["fields"].as_array().unwrap();
        let found = fields.iter().find(|one| one["field"] == field).unwrap();
        assert_eq!((&found["mapped"], &found["held"]), (&json!(true), &json!(1)), "{said}");
        assert!(!said.contains(PERSON) && !said.contains("Xxquercia"), "a check prints a value: {said}");

        let (code, said, _) = run(&[&["adapter", "sample", agency], &asked[..]].concat());
        assert_eq!(code, 0, "{said}");
        let sample: Value = serde_json::from_str(&said).unwrap();
        let lines = sample["lines"].as_array().unwrap();
        assert!(lines.iter().any(|line| line["field"] == field && line["read"] != json!([])), "{said}");

        let (code, _, why) = run(&["adapter", "check", agency, "--record", record]);
        assert_eq!((code, why.contains("give --subject")), (2, true), "{why}");
    }
    let slip = "scheda_anagrafico_professionale";
    for (agency, subject, record, expected) in [
        ("cpi-lucca", "XXNNNA85C52B648X", slip, "exchange.subject-unknown: the provider holds no record"),
        ("cpi-lucca", "XXGNNA85C52B648S", slip, "adapter.refused: the system answered with a fault"),
        (
            "cpi-lucca",
            PERSON,
            "scheda_anagrafico_professionali",
            "; did you mean `scheda_anagrafico_professionale`?",
        ),
        (
            "comune-capannori",
            PERSON,
            "anagrafica_nucleo",
            "there is nothing to map. Try it with `varco call`",
        ),
        ("comune-lucca", PERSON, slip, "the configuration has no [providers.comune-lucca]"),
    ] {
        let (code, said, why) = run(&["adapter", "check", agency, "--subject", subject, "--record", record]);
        assert_eq!((code, said.as_str(), why.contains(expected)), (2, "", true), "{why}");
        assert!(!why.contains(subject), "{why}");
    }
}

//! A FHIR server by others (fhirstarter, which validates with the models of `fhir.resources`).

use serde_json::{Value, json};
use varco_adapters::fhir::{CODICE_FISCALE, Door, Fhir, WORDS};
use varco_adapters::http::Address;

use super::*;
use crate::peers;

const RECORD: &str = "valutazione_uvmd";

fn observation(id: &str, system: &str, code: &str, value: &Value) -> Value {
    let mut observation = json!({
        "resourceType": "Observation", "id": id, "status": "final", "subject": { "reference": "Patient/p1" },
        "code": { "coding": [{ "system": system, "code": code }] },
    });
    observation.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    observation
}

fn holdings() -> Value {
    let icf = "http://hl7.org/fhir/sid/icf";
    let own = "urn:example:asl";
    json!([
        {
            "resourceType": "Patient", "id": "p1",
            "identifier": [{ "system": CODICE_FISCALE[0], "value": PERSON }],
            "name": [{ "family": "Xxquercia", "given": ["Anna"] }],
        },
        observation("o1", icf, "d850", &json!({ "valueInteger": 3 })),
        observation("o2", icf, "d450", &json!({ "valueInteger": 2 })),
        observation("o3", icf, "b152", &json!({ "valueInteger": 1 })),
        observation("o4", own, "sina-mobilita", &json!({ "valueCodeableConcept": { "coding": [{ "code": "2" }] } })),
        observation("o5", own, "uvmd", &json!({ "effectiveDateTime": "2026-03-02", "identifier": [{ "value": "UVMD-1" }] })),
    ])
}

/// What an ASL holds of the person's disability.
pub(super) fn disability() -> Value {
    let own = "urn:example:asl";
    json!([
        holdings()[0],
        observation("d1", own, "accompagnamento", &json!({ "valueBoolean": true })),
        observation("d2", own, "frequenza", &json!({ "valueBoolean": false })),
        observation("d3", own, "percentuale-invalidita", &json!({ "valueQuantity": { "value": 75 } })),
    ])
}

/// A server that holds these resources.
pub(super) fn serve(holdings: &Value) -> System {
    let python = peers::python();
    let folder = certificates(&agency(ASL));
    std::fs::write(folder.path("holdings.json"), holdings.to_string()).unwrap();
    let more = [text(folder.path("holdings.json"))];
    let mut command = Command::new(python);
    command.arg(peers::sources().join("fhir_server.py"));
    System::start(command, folder, &more)
}

fn start() -> (System, Behind) {
    let system = serve(&holdings());
    let address = Address::parse(&format!("https://localhost:{}", system.port)).unwrap();
    let fhir = Fhir::new(address, 1_000_000, mappings("fhir-asl.txt", &WORDS), Door::Certificate, &tls());
    (system, Behind::new(agency(ASL), Source::Fhir(fhir)))
}

#[tokio::test]
#[ignore = "needs python3 with venv, and the Python package index the first time"]
async fn a_fhir_server_by_others_is_searched_page_by_page() {
    let (system, behind) = start();
    let asked = ["id_uvmd", "data", "mobilita", "icf_lavoro", "icf_attivita_ambiente", "icf_protetti"];
    let record = behind.fetch(PERSON, RECORD, &asked).await.unwrap();
    let expected = json!({
        "id_uvmd": "UVMD-1", "data": "2026-03-02", "mobilita": "2",
        "icf_lavoro": [{ "codice": "d850", "qualificatore": "3" }],
        "icf_attivita_ambiente": [{ "codice": "d450", "qualificatore": "2" }],
        "icf_protetti": [{ "codice": "b152", "qualificatore": "1" }],
    });
    assert_eq!(Value::Object(record.fields().clone()), expected);

    let person = system.heard();
    assert_eq!(person["search"], "Patient");
    assert_eq!(person["parameters"]["_elements"], "identifier,active,link");
    let first = system.heard();
    assert_eq!(first["search"], "Observation");
    assert_eq!(first["parameters"]["patient"], "Patient/p1");
    assert_eq!(first["parameters"].get("_offset"), None);
    for offset in ["2", "4"] {
        assert_eq!(system.heard()["parameters"]["_offset"], offset, "the next page");
    }

    let unknown = behind.fetch("XXQNNA85C52E715F", RECORD, &asked).await.unwrap_err();
    assert!(matches!(unknown, FetchError::SubjectUnknown), "{unknown:?}");
    let unmapped = behind.fetch(PERSON, "posizione_lavoro", &["classe_profiling"]).await.unwrap_err();
    assert!(matches!(unmapped, FetchError::NoMapping), "{unmapped:?}");
}

#[tokio::test]
#[ignore = "needs python3 with venv, and the Python package index the first time"]
async fn a_fhir_server_by_others_takes_a_delivery_once() {
    let (system, behind) = start();
    let record = json!({
        "id_uvmd": "UVMD-2", "data": "2026-04-01", "mobilita": "1", "zona": "Piana di Lucca",
        "icf_lavoro": [{ "codice": "d850", "qualificatore": "2" }],
        "obiettivi_lavoro": [{ "obiettivo": "tirocinio di tre mesi", "scadenza": "2026-12-31" }],
        "vincoli_orari_cura": ["martedì mattina"],
    });
    let record = record.as_object().unwrap();
    let accepted = behind.deliver(RECORD, record).await;
    let first = system.heard();
    let accepted = accepted.unwrap_or_else(|error| panic!("{error}: {first}"));
    assert!(accepted.without_place.is_empty());
    let created = |heard: &Value| {
        let statuses = heard["statuses"].as_array().unwrap().iter();
        statuses.filter(|status| *status == "201 Created").count()
    };
    let entries = first["transaction"].as_array().unwrap().len();
    assert_eq!(created(&first), entries - 1, "its Patient was there: {first}");
    assert!(first["transaction"].as_array().unwrap().contains(&json!("Goal")), "{first}");

    behind.deliver(RECORD, record).await.unwrap();
    assert_eq!(created(&system.heard()), 0, "the second attempt changed nothing");
}

use std::sync::Arc;

use serde_json::{Value, json};
use varco_core::code::Code;

use super::*;
use crate::Source;
use crate::http::Address;
use crate::testing::records;
use crate::tests::PERSON;
use crate::tests::fake::{NOW, TestSeal};
use crate::tests::script::{Heard, Scripted, Told, behind, checked, deliver, fetch};

const MAPPINGS: &str = include_str!("../../../config/mappings/fhir-asl.txt");
const DISABILITY: &str = "accertamento_disabilita";

fn mappings() -> Mappings {
    let files = [("fhir-asl.txt".to_owned(), MAPPINGS.as_bytes().to_vec())];
    Mappings::read(&files, records(), &WORDS).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn source(system: &Scripted, door: Door) -> crate::Sources {
    let address = Address::parse(&format!("{}/r4", system.url())).unwrap();
    behind(Source::Fhir(Fhir::new(address, 200_000, mappings(), door, &system.pki.client(&[]))))
}

fn fhir(status: u16, value: &Value) -> Told {
    Told { status, content_type: "application/fhir+json; charset=utf-8", body: value.to_string() }
}

fn bundle(resources: &[Value]) -> Value {
    let entries: Vec<_> = resources.iter().map(|resource| json!({ "resource": resource })).collect();
    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })
}

fn patient() -> Value {
    json!({
        "resourceType": "Patient", "id": "p1",
        "identifier": [{ "system": CODICE_FISCALE[0], "value": PERSON }],
        "name": [{ "family": "Xxquercia", "given": ["Anna"] }],
        "birthDate": "1985-03-12", "gender": "female",
    })
}

fn observation(code: &str, value: &Value) -> Value {
    let mut observation = json!({
        "resourceType": "Observation", "id": code, "status": "final", "subject": { "reference": "Patient/p1" },
        "code": { "coding": [{ "system": "urn:example:asl", "code": code }] },
    });
    let members = observation.as_object_mut().unwrap();
    members.extend(value.as_object().unwrap().clone());
    observation
}

fn icf(code: &str, qualifier: &Value) -> Value {
    let mut observation = observation(code, qualifier);
    observation["code"]["coding"][0]["system"] = json!(tree::ICF[0]);
    observation
}

/// A server that has a Patient, and these resources of a kind.
fn holding(kind: &'static str, resources: Vec<Value>) -> impl Fn(&Heard) -> Told + Send + Sync + 'static {
    move |heard| {
        let found = match heard.path.as_str() {
            "/r4/Patient/_search" => vec![patient()],
            path if path == format!("/r4/{kind}/_search") => resources.clone(),
            _ => Vec::new(),
        };
        fhir(200, &bundle(&found))
    }
}

async fn failure(script: impl Fn(&Heard) -> Told + Send + Sync + 'static) -> (FetchError, String) {
    let system = Scripted::start(script).await;
    let error = fetch(&source(&system, Door::Certificate), DISABILITY, &["percentuale"]).await.unwrap_err();
    let text = checked(&error);
    (error, text)
}

#[tokio::test]
async fn a_record_is_gathered_from_resources_and_only_its_elements_are_asked_for() {
    let resources = vec![
        observation("percentuale-invalidita", &json!({ "valueQuantity": { "value": 75 } })),
        observation("accompagnamento", &json!({ "valueBoolean": false })),
        observation("revisione", &json!({ "valueDateTime": "2028-05-01T10:00:00+02:00" })),
    ];
    let system = Scripted::start(holding("Observation", resources)).await;
    let asked = ["percentuale", "accompagnamento", "revisione_data", "frequenza"];
    let record = fetch(&source(&system, Door::Certificate), DISABILITY, &asked).await.unwrap();
    let expected = json!({ "percentuale": 75, "accompagnamento": false, "revisione_data": "2028-05-01" });
    assert_eq!(Value::Object(record.fields().clone()), expected);
    assert_eq!((record.said.by, record.seal), (Assurance::Certificate, None));

    let heard = system.heard();
    let asked: Vec<_> = heard.iter().map(|heard| (heard.method.as_str(), heard.path.as_str())).collect();
    assert_eq!(asked, [("POST", "/r4/Patient/_search"), ("POST", "/r4/Observation/_search")]);
    let (person, rest) = (&heard[0].body, &heard[1].body);
    let either = format!("{}%7C{PERSON}%2C", "urn%3Aoid%3A2.16.840.1.113883.2.9.4.3.2");
    assert!(person.starts_with(&format!("identifier={either}")), "{person}");
    assert!(person.contains("&_elements=identifier%2Cactive%2Clink&"), "no name: {person}");
    assert!(rest.starts_with("patient=Patient%2Fp1&"), "{rest}");
    assert!(rest.contains("_elements=subject%2Cstatus%2Ccode%2Cvalue&"), "{rest}");
    assert!(heard.iter().all(|heard| heard.header("authorization").is_none()));
}

#[tokio::test]
async fn icf_codes_are_sorted_by_what_they_begin_with() {
    let mut mistaken = icf("d910", &json!({ "valueInteger": 1 }));
    mistaken["status"] = json!("entered-in-error");
    let mut several = icf(
        "x",
        &json!({ "component": [
        { "code": { "coding": [{ "system": tree::ICF[1], "code": "e310.+2" }] } },
        { "code": { "coding": [{ "system": tree::ICF[1], "code": "s750" }] }, "valueString": "molto" },
    ] }),
    );
    several["code"]["coding"][0]["system"] = json!("urn:example");
    let resources = vec![
        icf("d450", &json!({ "valueInteger": 2 })),
        icf("d850", &json!({ "valueCodeableConcept": { "coding": [{ "code": "xxx.3" }] } })),
        icf("b152", &json!({ "valueQuantity": { "value": 3 } })),
        icf("b280", &json!({})),
        icf("d0", &json!({})),
        mistaken,
        several,
    ];
    let system = Scripted::start(holding("Observation", resources)).await;
    let asked = ["icf_attivita_ambiente", "icf_lavoro", "icf_corpo", "icf_protetti"];
    let record = fetch(&source(&system, Door::Certificate), "valutazione_uvmd", &asked).await.unwrap();
    let expected = json!({
        "icf_attivita_ambiente": [{ "codice": "d450", "qualificatore": "2" }, { "codice": "e310", "qualificatore": "+2" }],
        "icf_lavoro": [{ "codice": "d850", "qualificatore": "3" }],
        "icf_corpo": [{ "codice": "b280" }, { "codice": "s750" }],
        "icf_protetti": [{ "codice": "b152", "qualificatore": "3" }, { "codice": "d0" }],
    });
    assert_eq!(Value::Object(record.fields().clone()), expected);
}

#[tokio::test]
async fn protected_diagnoses_are_kept_apart() {
    let condition = |code: &str, system: &str, status: &str| {
        json!({
            "resourceType": "Condition", "subject": { "reference": "Patient/p1/_history/2" },
            "verificationStatus": { "coding": [{ "code": status }] },
            "code": { "coding": [{ "system": system, "code": code }, { "system": "http://snomed.info/sct", "code": "1" }] },
        })
    };
    let resources = vec![
        condition("G35", tree::ICF[0], "confirmed"),
        condition("G35", "http://hl7.org/fhir/sid/icd-10", "confirmed"),
        condition("F10.2", "http://hl7.org/fhir/sid/icd-10", "confirmed"),
        condition("042", "urn:oid:2.16.840.1.113883.6.103", "confirmed"),
        condition("M45", "http://hl7.org/fhir/sid/icd-10", "refuted"),
    ];
    let system = Scripted::start(holding("Condition", resources)).await;
    let record = fetch(&source(&system, Door::Certificate), DISABILITY, &["diagnosi", "diagnosi_protette"])
        .await
        .unwrap();
    let expected = json!({ "diagnosi": ["G35"], "diagnosi_protette": ["F10.2", "042"] });
    assert_eq!(Value::Object(record.fields().clone()), expected);
}

#[tokio::test]
async fn italian_addresses_with_gaps_in_their_lines_are_read() {
    let mut person = patient();
    let part = |name: &str, value: &str| json!({ "url": format!("http://hl7.org/fhir/StructureDefinition/iso21090-ADXP-{name}"), "valueString": value });
    person["address"] = json!([{
        "use": "home", "line": [null, null], "postalCode": "55012",
        "_line": [{ "extension": [part("streetNameType", "Via"), part("streetNameBase", "Romana"), part("houseNumber", "7")] }],
        "_city": { "extension": [{
            "url": "http://hl7.org/fhir/StructureDefinition/iso21090-SC-coding", "valueCoding": { "code": "46007" },
        }] },
    }]);
    person["extension"] = json!([{
        "url": "http://hl7.org/fhir/StructureDefinition/patient-citizenship",
        "extension": [{ "url": "code", "valueCodeableConcept": { "coding": [{ "code": "IT" }] } }],
    }]);
    let system = Scripted::start(move |_| fhir(200, &bundle(std::slice::from_ref(&person)))).await;
    let asked = [
        "cognome",
        "nome",
        "data_nascita",
        "sesso",
        "residenza_indirizzo",
        "residenza_comune",
        "cittadinanza",
        "riservatezza_indirizzo",
    ];
    let record = fetch(&source(&system, Door::Certificate), "anagrafica_nucleo", &asked).await.unwrap();
    let expected = json!({
        "cognome": "Xxquercia", "nome": "Anna", "data_nascita": "1985-03-12", "sesso": "F",
        "residenza_indirizzo": { "dug": "Via", "odonimo": "Romana", "civico": "7", "cap": "55012" },
        "residenza_comune": "046007", "cittadinanza": "380", "riservatezza_indirizzo": false,
    });
    assert_eq!(Value::Object(record.fields().clone()), expected);
    assert_eq!(system.heard().len(), 1, "one search is enough");
}

#[tokio::test]
async fn pages_are_followed_within_the_same_system_and_not_for_ever() {
    let paged = |next: Value| {
        move |heard: &Heard| {
            let mut page = match heard.path.as_str() {
                "/r4/Patient/_search" => return fhir(200, &bundle(&[patient()])),
                "/r4/Observation/_search" => {
                    bundle(&[observation("frequenza", &json!({ "valueBoolean": true }))])
                }
                "/r4/next?page=2" => {
                    let found =
                        observation("percentuale-invalidita", &json!({ "valueQuantity": { "value": 46 } }));
                    return fhir(200, &bundle(&[found]));
                }
                _ => bundle(&[]),
            };
            page["link"] = json!([{ "relation": "self", "url": "x" }, { "relation": "next", "url": next }]);
            fhir(200, &page)
        }
    };
    let system = Scripted::start(paged(json!("/r4/next?page=2"))).await;
    let record =
        fetch(&source(&system, Door::Certificate), DISABILITY, &["percentuale", "frequenza"]).await.unwrap();
    assert_eq!(Value::Object(record.fields().clone()), json!({ "percentuale": 46, "frequenza": true }));
    assert_eq!(system.heard()[2].method, "GET");

    for elsewhere in ["https://elsewhere.example/r4?page=2", "http://localhost/r4", "//elsewhere.example/"] {
        let (error, _) = failure(paged(json!(elsewhere))).await;
        assert!(matches!(error, FetchError::Paging(_)), "{elsewhere}: {error:?}");
    }
    let (error, _) = failure(paged(json!("/r4/more"))).await;
    assert!(matches!(error, FetchError::Paging(_)), "{error:?}");
    assert_eq!((error.code(), error.is_outage()), (Code::AdapterMismatch, false));
}

#[tokio::test]
async fn another_persons_resources_are_never_taken_for_this_persons() {
    let mut other = patient();
    other["identifier"][0]["value"] = json!("XXQNNA85C52E715F");
    let (error, _) = failure(move |_| fhir(200, &bundle(std::slice::from_ref(&other)))).await;
    assert_eq!(error.code(), Code::AdapterMismatch);

    let mut elsewhere = observation("percentuale-invalidita", &json!({ "valueQuantity": { "value": 46 } }));
    for reference in [json!("Patient/p2"), json!("https://other.example/r4/Patient/p1"), Value::Null] {
        elsewhere["subject"]["reference"] = reference;
        let (error, _) = failure(holding("Observation", vec![elsewhere.clone()])).await;
        assert!(matches!(&error, FetchError::NotFitting(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_person_must_be_held_once() {
    let (error, _) = failure(|_| fhir(200, &bundle(&[]))).await;
    assert!(matches!(error, FetchError::SubjectUnknown));
    let (error, _) = failure(|_| fhir(200, &bundle(&[patient(), patient()]))).await;
    assert!(matches!(error, FetchError::NotFitting(_)), "{error:?}");

    let mut replaced = patient();
    replaced["link"] = json!([{ "type": "replaced-by", "other": { "reference": "Patient/p1" } }]);
    let mut old = patient();
    old["active"] = json!(false);
    let several = [replaced, old, patient()];
    let system = Scripted::start(move |heard| {
        let found = if heard.path.contains("Patient") { several.to_vec() } else { Vec::new() };
        fhir(200, &bundle(&found))
    })
    .await;
    assert!(fetch(&source(&system, Door::Certificate), DISABILITY, &["percentuale"]).await.is_ok());
}

#[tokio::test]
async fn what_a_server_says_went_wrong_becomes_a_code_and_nothing_of_its_text() {
    let outcome = |severity: &str, code: &str| {
        json!({ "resourceType": "OperationOutcome", "issue": [
            { "severity": "information", "code": "informational" },
            { "severity": severity, "code": code, "diagnostics": format!("CANARINO {PERSON}"),
              "details": { "text": format!("cercata {PERSON}") } },
        ] })
    };
    for (status, said, expected, code, outage) in [
        (410, outcome("error", "deleted"), "is no longer there", Code::AdapterGone, false),
        (410, json!({}), "is no longer there", Code::AdapterGone, false),
        (404, outcome("error", "not-found"), "404: `not-found`", Code::AdapterRefused, false),
        (400, outcome("error", "CANARINO"), "400: `unknown`", Code::AdapterRefused, false),
        (503, outcome("fatal", "too-costly"), "503: `too-costly`", Code::AdapterRefused, true),
        (429, outcome("error", "throttled"), "429: `throttled`", Code::AdapterRefused, true),
        (500, json!("CANARINO"), "status 500", Code::AdapterRefused, true),
        (200, outcome("error", "processing"), "200: `processing`", Code::AdapterRefused, false),
    ] {
        let (error, text) = failure(move |_| fhir(status, &said)).await;
        assert!(text.contains(expected), "{text}");
        assert_eq!((error.code(), error.is_outage()), (code, outage), "{text}");
    }
    // Beside results, a warning is no failure and an error is one.
    for (severity, good) in [("warning", true), ("error", false)] {
        let issue = outcome(severity, "incomplete");
        let system = Scripted::start(move |heard| {
            let found = if heard.path.contains("Patient") { patient() } else { issue.clone() };
            fhir(200, &bundle(&[found]))
        })
        .await;
        let fetched = fetch(&source(&system, Door::Certificate), DISABILITY, &["percentuale"]).await;
        assert_eq!(fetched.is_ok(), good, "{severity}");
    }
}

#[tokio::test]
async fn what_is_no_answer_of_fhir_is_refused() {
    let told = |content_type, body: &str| Told { status: 200, content_type, body: body.to_owned() };
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for (told, code) in [
        (told("text/html", "<html>"), Code::AdapterMismatch),
        (told("application/fhir+json", "{"), Code::AdapterMismatch),
        (told("application/fhir+json", &deep), Code::AdapterMismatch),
        (told("application/fhir+json", "{\"resourceType\":\"Patient\"}"), Code::AdapterMismatch),
        (
            told("application/fhir+json", "{\"resourceType\":\"Bundle\",\"type\":\"history\"}"),
            Code::AdapterMismatch,
        ),
        (
            told(
                "application/fhir+json",
                "{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"entry\":{}}",
            ),
            Code::AdapterMismatch,
        ),
        (told("application/fhir+json", &" ".repeat(200_001)), Code::AdapterTooLarge),
    ] {
        let (error, _) = failure(move |_| told.clone()).await;
        assert_eq!(error.code(), code, "{error:?}");
    }
}

#[tokio::test]
async fn all_answers_of_one_record_share_one_limit() {
    let padded = |heard: &Heard| {
        let mut found = if heard.path.contains("Patient") {
            patient()
        } else {
            observation("frequenza", &json!({ "valueBoolean": true }))
        };
        found["text"] = json!({ "div": "x".repeat(120_000) });
        fhir(200, &bundle(&[found]))
    };
    let (error, _) = failure(padded).await;
    assert_eq!(error.code(), Code::AdapterTooLarge);
}

#[tokio::test]
async fn a_backend_fetches_a_token_keeps_it_and_drops_one_that_is_refused() {
    let refused = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let play = Arc::clone(&refused);
    let system = Scripted::start(move |heard| {
        if heard.path == "/token" {
            return Told {
                status: 200,
                content_type: "application/json",
                body: r#"{"access_token":"t-1","token_type":"Bearer","expires_in":300}"#.to_owned(),
            };
        }
        if play.load(std::sync::atomic::Ordering::SeqCst) {
            return fhir(401, &json!({}));
        }
        let found = if heard.path.contains("Patient") { vec![patient()] } else { Vec::new() };
        fhir(200, &bundle(&found))
    })
    .await;
    let endpoint = Address::parse(&format!("{}/token", system.url())).unwrap();
    let signer = Arc::new(TestSeal::of("gateway"));
    let backend = Backend::new(endpoint, "varco", "chiave-1", "system/*.read", signer);
    let sources = source(&system, Door::Backend(Box::new(backend)));
    for _ in 0..2 {
        fetch(&sources, DISABILITY, &["percentuale"]).await.unwrap();
    }
    let heard = system.heard();
    assert_eq!(heard.iter().filter(|heard| heard.path == "/token").count(), 1, "kept");
    assert_eq!(heard[1].header("authorization"), Some("Bearer t-1"));
    let form = &heard[0].body;
    assert!(form.starts_with("grant_type=client_credentials&scope=system%2F*.read&"), "{form}");
    let assertion = form.rsplit('=').next().unwrap();
    let part = |at: usize| {
        use base64::Engine as _;
        let bytes =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(assertion.split('.').nth(at).unwrap());
        serde_json::from_slice::<Value>(&bytes.unwrap()).unwrap()
    };
    assert_eq!(part(0), json!({ "alg": "ES256", "kid": "chiave-1", "typ": "JWT" }));
    assert_eq!((&part(1)["iss"], &part(1)["sub"]), (&json!("varco"), &json!("varco")));
    assert_eq!(part(1)["exp"], json!(NOW.seconds() + 60));

    refused.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(fetch(&sources, DISABILITY, &["percentuale"]).await.is_err());
    refused.store(false, std::sync::atomic::Ordering::SeqCst);
    fetch(&sources, DISABILITY, &["percentuale"]).await.unwrap();
    assert_eq!(system.heard().iter().filter(|heard| heard.path == "/token").count(), 2, "fetched anew");
    assert!(!format!("{:?}", Secret::new("t-1")).contains("t-1"));
}

#[tokio::test]
async fn a_delivery_is_one_transaction_that_may_be_repeated() {
    let system = Scripted::start(|heard| {
        let given: Value = serde_json::from_str(&heard.body).unwrap();
        let created = json!({ "response": { "status": "201 Created" } });
        let answers = vec![created; given["entry"].as_array().unwrap().len()];
        fhir(200, &json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": answers }))
    })
    .await;
    let sources = source(&system, Door::Certificate);
    let record = json!({
        "percentuale": 75, "accompagnamento": true, "revisione_data": "2028-05-01",
        "scheda_capacita": { "postura": 2, "locomozione": 1 }, "diagnosi": ["G35"],
    });
    let delivered = deliver(&sources, DISABILITY, &record).await.unwrap();
    let without: Vec<_> = delivered.without_place.iter().map(|field| field.as_str()).collect();
    assert_eq!(without, ["diagnosi"], "the mapping only reads it");
    deliver(&sources, DISABILITY, &record).await.unwrap();
    let heard = system.heard();
    assert_eq!((heard[0].method.as_str(), heard[0].path.as_str()), ("POST", "/r4"));
    assert_eq!(heard[0].body, heard[1].body, "the same bytes in every attempt");

    let sent: Value = serde_json::from_str(&heard[0].body).unwrap();
    let entries = sent["entry"].as_array().unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| entry["request"]["url"].as_str().unwrap()).collect();
    assert_eq!(&kinds[..2], ["Patient", "DocumentReference"]);
    assert_eq!(
        entries[0]["request"]["ifNoneExist"],
        json!(format!("identifier={}%7C{PERSON}", plan::encoded(CODICE_FISCALE[0])))
    );
    let whose = &entries[0]["fullUrl"];
    assert!(entries[1..].iter().all(|entry| entry["resource"]["subject"]["reference"] == *whose));
    let percentage =
        entries.iter().find(|entry| entry["resource"]["valueQuantity"]["value"] == json!(75)).unwrap();
    assert_eq!(percentage["resource"]["code"], json!({ "coding": [{ "code": "percentuale-invalidita" }] }));
    assert_eq!(percentage["resource"]["status"], json!("final"));
    let names: std::collections::BTreeSet<_> =
        entries.iter().map(|entry| entry["fullUrl"].to_string()).collect();
    assert_eq!(names.len(), entries.len());
}

#[tokio::test]
async fn a_transaction_is_taken_whole_or_it_is_not() {
    let response = |status: &str, entries: usize| {
        let answers = vec![json!({ "response": { "status": status } }); entries];
        json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": answers })
    };
    let good = response("201", 3);
    assert!(transaction::taken(&good, 3).is_ok());
    assert!(transaction::taken(&good, 2).is_err());
    assert!(transaction::taken(&response("412 Precondition Failed", 3), 3).is_err());
    assert!(transaction::taken(&json!({ "resourceType": "Bundle", "type": "batch-response" }), 0).is_err());

    let system = Scripted::start(|_| fhir(422, &json!({ "resourceType": "OperationOutcome", "issue": [{ "severity": "error", "code": "invariant" }] }))).await;
    let error = deliver(&source(&system, Door::Certificate), DISABILITY, &json!({ "percentuale": 75 }))
        .await
        .unwrap_err();
    assert!(checked(&error).contains("422: `invariant`"), "{error}");
}

#[test]
fn elements_are_asked_for_by_the_names_that_searches_know() {
    for (member, name) in [
        ("valueQuantity", "value"),
        ("effectiveDateTime", "effective"),
        ("valuexyz", "valuexyz"),
        ("value", "value"),
        ("_line", "line"),
        ("onsetAge", "onset"),
        ("identifier", "identifier"),
    ] {
        assert_eq!(plan::element(member), name);
    }
    assert_eq!(plan::encoded("a|b c&d=é"), "a%7Cb%20c%26d%3D%C3%A9");
}

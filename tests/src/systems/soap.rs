//! SOAP services by others: the `soap` package in Node; zeep with libxmlsec in Python, which checks our signature, reads our
//! call by its WSDL, and signs its answer.

use serde_json::{Value, json};
use varco_adapters::http::Address;
use varco_adapters::soap::{Security, Service, Soap, SoapFault, Version, WORDS};
use varco_core::code::Code;
use varco_core::exchange::Assurance;

use super::*;
use crate::peers;

const CPI: &str = "cpi-lucca";
const RECORD: &str = "scheda_anagrafico_professionale";
const FIELDS: [&str; 4] = ["identificativo_sap", "titolo_studio", "lingue", "note_operatore"];

fn behind(system: &System, version: Version, security: Security) -> Behind {
    let address = Address::parse(&format!("https://localhost:{}/ws", system.port)).unwrap();
    let service = Service {
        address,
        audience: "https://lavoro.example".to_owned(),
        version,
        security,
        answer_max: 1_000_000,
    };
    let soap = Soap::new(ours(), service, mappings("soap-lavoro.txt", &WORDS), &tls()).unwrap();
    Behind::new(agency(CPI), Source::Soap(soap))
}

pub(super) fn in_node(version: &str) -> System {
    let home = peers::node();
    for file in ["soap_server.mjs", "lavoro.wsdl"] {
        std::fs::copy(peers::sources().join(file), home.join(file)).unwrap();
    }
    let mut command = Command::new("node");
    command.arg(home.join("soap_server.mjs"));
    System::start(command, certificates(&agency(CPI)), &[text(home.join("lavoro.wsdl")), version.to_owned()])
}

#[tokio::test]
#[ignore = "needs node and npm, and the npm registry the first time"]
async fn a_soap_service_by_others_gives_and_takes_records_in_both_versions() {
    for (version, name) in [(Version::V11, "1.1"), (Version::V12, "1.2")] {
        let system = in_node(name);
        let behind = behind(&system, version, Security::Channel);
        let record = behind.fetch(PERSON, RECORD, &FIELDS).await.unwrap();
        let expected = json!({
            "identificativo_sap": "SAP-0001", "titolo_studio": "USG", "note_operatore": "è & <resta>",
            "lingue": [{ "lingua": "en", "livello": "B1" }, { "lingua": "fr", "livello": "A2" }],
        });
        assert_eq!(Value::Object(record.fields().clone()), expected);
        let heard = system.heard();
        assert_eq!(heard["args"], json!({ "versione": "2", "codiceFiscale": PERSON }));

        let nobody = behind.fetch("XXNNNA85C52B648X", RECORD, &FIELDS).await.unwrap_err();
        assert!(matches!(nobody, FetchError::SubjectUnknown), "{nobody:?}");
        system.heard();
        let broken = behind.fetch("XXGNNA85C52B648S", RECORD, &FIELDS).await.unwrap_err();
        assert!(matches!(broken, FetchError::Fault { fault: SoapFault::Receiver, .. }), "{broken:?}");
        system.heard();

        let record = json!({ "identificativo_sap": "SAP-2", "titolo_studio": "LSE" });
        for again in [false, true] {
            let accepted = behind.deliver(RECORD, record.as_object().unwrap()).await.unwrap();
            assert!(accepted.without_place.is_empty());
            let heard = system.heard();
            assert_eq!(heard["again"], again);
            let sent = heard["args"]["SAP"].as_str().unwrap();
            assert!(
                sent.starts_with("<lavoratore><datiAnagrafici>") && sent.contains("<titoloStudio>20<"),
                "{sent}"
            );
        }
    }
}

/// Its seal, of the kind of key that goes with an algorithm, in files beside the TLS ones.
pub(super) fn in_python(algorithm: &str, play: &str) -> System {
    let folder = certificates(&agency(CPI));
    let holder = varco::pki::Holder {
        name: "Centro per l'impiego di Lucca".to_owned(),
        organization: Some(TODAY.agency(&agency(CPI)).unwrap().organization.clone()),
        purpose: varco::pki::Purpose::Seal,
    };
    let kind = if algorithm == "RS256" { &rcgen::PKCS_RSA_SHA256 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    let seal = TODAY.seal_authority.issue_for(&holder, (system_now(), varco::pki::LIFETIME), key).unwrap();
    std::fs::write(folder.path("seal.key"), seal.key_pem().as_bytes()).unwrap();
    std::fs::write(folder.path("seal.pem"), seal.certificate_pem()).unwrap();
    std::fs::write(folder.path("gateway.pem"), TODAY.gateway.seal.certificate_pem()).unwrap();
    let mut more = vec![text(peers::sources().join("lavoro.wsdl"))];
    more.extend(["seal.key", "seal.pem", "gateway.pem"].map(|name| text(folder.path(name))));
    more.extend([algorithm.to_owned(), play.to_owned()]);
    let mut command = Command::new(peers::python());
    command.arg(peers::sources().join("soap_signing.py"));
    System::start(command, folder, &more)
}

#[tokio::test]
#[ignore = "needs python3 with venv, and the Python package index the first time"]
async fn signatures_by_others_are_checked_and_ours_are_good_for_them() {
    for algorithm in ["ES256", "RS256"] {
        let system = in_python(algorithm, "honest");
        let behind = behind(&system, Version::V11, Security::Signature);
        let fetched = behind.fetch(PERSON, RECORD, &["titolo_studio"]).await;
        let heard = system.heard();
        let record = fetched.unwrap_or_else(|error| panic!("{error}: {heard}"));
        assert_eq!(Value::Object(record.fields().clone()), json!({ "titolo_studio": "USG" }));
        assert_eq!(record.said.by, Assurance::Seal);
        assert_eq!((&heard["signed"], &heard["same"]), (&json!(true), &json!(true)), "{heard}");
        assert_eq!(heard["references"], 6, "timestamp, To, Action, MessageID, ReplyTo, Body");
    }
    for play in ["changed", "another-message"] {
        let system = in_python("ES256", play);
        let error = behind(&system, Version::V11, Security::Signature)
            .fetch(PERSON, RECORD, &["titolo_studio"])
            .await;
        assert_eq!(error.unwrap_err().code(), Code::AdapterSignature, "{play}");
    }
}

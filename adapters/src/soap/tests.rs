use serde_json::{Value, json};
use varco_core::code::Code;
use varco_core::id::ExchangeId;

use super::signature::{SignatureFault, security, verify};
use super::*;
use crate::Source;
use crate::testing::records;
use crate::tests::PERSON;
use crate::tests::fake::{NOW, TestSeal, TestVerifier};
use crate::tests::script::{Heard, Scripted, Told, behind, checked, deliver, fetch, ours};
use crate::xml::{parse_text, tree};

const MAPPINGS: &str = include_str!("../../../config/mappings/soap-lavoro.txt");
const CARD: &str = "scheda_anagrafico_professionale";
const FIELDS: [&str; 4] = ["identificativo_sap", "titolo_studio", "lingue", "disponibilita_tirocinio"];
/// The wider of the two envelopes' namespaces, for texts.
const V11: &str = "http://schemas.xmlsoap.org/soap/envelope/";

fn mappings(text: &str) -> Mappings {
    let files = [("soap-lavoro.txt".to_owned(), text.as_bytes().to_vec())];
    Mappings::read(&files, records(), &WORDS).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn source(system: &Scripted, version: Version, security: Security) -> crate::Sources {
    let address = Address::parse(&format!("{}/ws", system.url())).unwrap();
    let audience = "https://lavoro.example".to_owned();
    let service = Service { address, audience, version, security, answer_max: 200_000 };
    behind(Source::Soap(Soap::new(ours(), service, mappings(MAPPINGS), &system.pki.client(&[])).unwrap()))
}

fn told(status: u16, body: String) -> Told {
    Told { status, content_type: "text/xml; charset=utf-8", body }
}

fn envelope(version: Version, body: &str) -> String {
    format!("<e:Envelope xmlns:e='{}'><e:Body>{body}</e:Body></e:Envelope>", version.namespace())
}

fn record() -> String {
    format!(
        "<?xml version='1.0'?><lavoratore><datiAnagrafici><codiceFiscale>{PERSON}</codiceFiscale></datiAnagrafici>\
         <identificativo>SAP-1</identificativo><titoloStudio>40</titoloStudio><lingue><lingua><codice>en</codice>\
         <livello>B1</livello></lingua></lingue><disponibilitaTirocinio>S</disponibilitaTirocinio></lavoratore>"
    )
}

/// The record as text within a text.
fn answer(record: &str) -> String {
    let text = record.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<r:richiestaSAPResponse xmlns:r='urn:lavoro'><r:esito>OK</r:esito><r:SAP>{text}</r:SAP></r:richiestaSAPResponse>"
    )
}

async fn failure(script: impl Fn(&Heard) -> Told + Send + Sync + 'static, security: Security) -> FetchError {
    let system = Scripted::start(script).await;
    let error = fetch(&source(&system, Version::V11, security), CARD, &FIELDS).await.unwrap_err();
    checked(&error);
    error
}

#[tokio::test]
async fn a_record_that_travels_as_text_is_read_in_both_versions_of_soap() {
    for (version, content_type) in [(Version::V11, "text/xml"), (Version::V12, "application/soap+xml")] {
        let system = Scripted::start(move |_| Told {
            status: 200,
            content_type,
            body: envelope(version, &answer(&record())),
        })
        .await;
        let found = fetch(&source(&system, version, Security::Channel), CARD, &FIELDS).await.unwrap();
        let expected = json!({
            "identificativo_sap": "SAP-1", "titolo_studio": "USG", "disponibilita_tirocinio": true,
            "lingue": [{ "lingua": "en", "livello": "B1" }],
        });
        assert_eq!(Value::Object(found.fields().clone()), expected);
        assert_eq!((found.said.by, found.seal), (Assurance::Certificate, None));

        let heard = &system.heard()[0];
        assert_eq!((heard.method.as_str(), heard.path.as_str()), ("POST", "/ws"));
        let action = heard.header("soapaction").is_some();
        assert_eq!(action, version == Version::V11, "1.2 says it in the media type");
        assert!(heard.header(wire::EVIDENCE).is_some() && heard.header(wire::AUTHORIZATION).is_none());
        let sent = parse_text(&heard.body, &Limits::ANSWER).unwrap();
        let body = tree(sent.only(version.namespace(), "Body").unwrap()).unwrap();
        let question = json!({ "versione": "2", "codiceFiscale": PERSON });
        assert_eq!(body["richiestaSAP"], question);
        let order: Vec<_> = body["richiestaSAP"].as_object().unwrap().keys().collect();
        assert_eq!(order, ["versione", "codiceFiscale"], "as the schema's sequence wants it");
    }
}

#[tokio::test]
async fn an_answer_without_the_person_says_so_and_another_persons_is_refused() {
    let nobody = "<richiestaSAPResponse xmlns='urn:lavoro'><esito>NT</esito><SAP/></richiestaSAPResponse>";
    for body in [nobody.to_owned(), answer(""), "<altro xmlns='urn:lavoro'/>".to_owned()] {
        let error = failure(move |_| told(200, envelope(Version::V11, &body)), Security::Channel).await;
        assert!(matches!(error, FetchError::SubjectUnknown), "{error:?}");
    }
    let other = record().replace(PERSON, "XXQNNA85C52E715F");
    let error = failure(move |_| told(200, envelope(Version::V11, &answer(&other))), Security::Channel).await;
    assert_eq!(error.code(), Code::AdapterMismatch);
}

#[tokio::test]
async fn faults_of_both_versions_become_codes_and_nothing_of_their_text() {
    let old = |code: &str| {
        let fault = format!(
            "<e:Fault><faultcode>{code}</faultcode><faultstring>CANARINO {PERSON}</faultstring></e:Fault>"
        );
        envelope(Version::V11, &fault)
    };
    let new = |code: &str, finer: &str| {
        let fault = format!(
            "<e:Fault><e:Code><e:Value>{code}</e:Value>{finer}</e:Code><e:Reason><e:Text>{PERSON}</e:Text></e:Reason></e:Fault>"
        );
        envelope(Version::V12, &fault)
    };
    let finer = "<e:Subcode><e:Value>wsse:FailedCheck</e:Value></e:Subcode>";
    for (status, body, expected) in [
        (500, old("e:Server"), SoapFault::Receiver),
        (200, old("e:Client.Authentication"), SoapFault::Sender),
        (500, old("CANARINO"), SoapFault::Unknown),
        (500, old("wsse:InvalidSecurity"), SoapFault::Security),
        (500, new("e:Receiver", ""), SoapFault::Receiver),
        (400, new("e:Sender", ""), SoapFault::Sender),
        (400, new("e:Sender", finer), SoapFault::Security),
        (500, new("e:VersionMismatch", ""), SoapFault::VersionMismatch),
    ] {
        let error = failure(move |_| told(status, body.clone()), Security::Signature).await;
        assert!(matches!(error, FetchError::Fault { fault, .. } if fault == expected), "{error:?}");
        assert_eq!((error.code(), error.is_outage()), (Code::AdapterRefused, false));
    }
}

#[tokio::test]
async fn hostile_answers_are_refused_whole() {
    let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
    let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>";
    for (status, body, code) in [
        (200, bomb.to_owned(), Code::AdapterMismatch),
        (200, envelope(Version::V11, &deep), Code::AdapterMismatch),
        (200, envelope(Version::V11, &answer(bomb)), Code::AdapterMismatch),
        (200, envelope(Version::V11, &answer(&deep)), Code::AdapterMismatch),
        (200, envelope(Version::V11, "").replace("Envelope", "Busta"), Code::AdapterMismatch),
        (200, format!("<e:Envelope xmlns:e='{V11}'><e:Body/><e:Body/></e:Envelope>"), Code::AdapterMismatch),
        (
            200,
            format!(
                "<e:Envelope xmlns:e='{V11}'><e:Header><x e:mustUnderstand='1'/></e:Header><e:Body/></e:Envelope>"
            ),
            Code::AdapterMismatch,
        ),
        (404, envelope(Version::V11, ""), Code::AdapterRefused),
        (200, "x".repeat(200_001), Code::AdapterTooLarge),
    ] {
        let error = failure(move |_| told(status, body.clone()), Security::Channel).await;
        assert_eq!(error.code(), code, "{error:?}");
    }
    let page =
        |status| move |_: &Heard| Told { status, content_type: "text/html", body: "<html>".to_owned() };
    assert_eq!(failure(page(200), Security::Channel).await.code(), Code::AdapterMismatch);
    assert!(matches!(failure(page(503), Security::Channel).await, FetchError::Refused { status: 503 }));
}

/// What an agency's own software would answer, signed with a seal: body, the message it answers, and the instant.
fn signed(seal: &TestSeal, body: &str, relates: &str, now: varco_core::time::Timestamp) -> Element {
    let v = Version::V11;
    let inside = parse_text(body, &Limits::ANSWER).unwrap();
    let body = signature::identified(Element::new(v.name("Body")).with(inside), "corpo");
    let relates = Element::new(Name::new("wsa", WSA, "RelatesTo")).with_text(relates);
    let relates = signature::identified(relates, "relates");
    let security = security(&v.name(""), &[&body, &relates], seal, now).unwrap();
    let header = Element::new(v.name("Header")).with(security).with(relates);
    Element::new(v.name("Envelope")).with(header).with(body)
}

#[tokio::test]
async fn what_we_sign_and_what_is_signed_for_us_is_checked_to_the_last_part() {
    let honest = |heard: &Heard| {
        let sent = parse_text(&heard.body, &Limits::ANSWER).unwrap();
        let (header, body) = (sent.only(V11, "Header").unwrap(), sent.only(V11, "Body").unwrap());
        let expectation = Expectation { now: NOW, verifier: &TestVerifier };
        let seal = verify(&sent, header, body, &expectation).unwrap();
        assert_eq!(seal, *varco_core::wire::Seal::identity(&TestSeal::of("gateway")));
        let id = header.only(WSA, "MessageID").unwrap().text();
        let signed = signed(&TestSeal::of("capannori"), &answer(&record()), &id, NOW);
        told(200, xml::canonical(&signed, Scope::default()))
    };
    let system = Scripted::start(honest).await;
    let found = fetch(&source(&system, Version::V11, Security::Signature), CARD, &FIELDS).await.unwrap();
    assert_eq!(found.said.by, Assurance::Seal);
    assert_eq!(found.seal, Some(varco_core::wire::Seal::identity(&TestSeal::of("capannori")).clone()));

    for (why, seal, relates, code) in [
        ("another agency", TestSeal::of("lucca"), "urn:varco:j2", Code::AdapterSignature),
        ("a forged seal", TestSeal::forged("capannori"), "urn:varco:j2", Code::AdapterSignature),
        ("another message", TestSeal::of("capannori"), "urn:varco:other", Code::AdapterSignature),
    ] {
        let error = failure(
            move |_| {
                let signed = signed(&seal, &answer(&record()), relates, NOW);
                told(200, xml::canonical(&signed, Scope::default()))
            },
            Security::Signature,
        )
        .await;
        assert_eq!(error.code(), code, "{why}: {error:?}");
    }
    let plain = failure(|_| told(200, envelope(Version::V11, &answer(&record()))), Security::Signature).await;
    assert!(matches!(plain, FetchError::XmlSignature(SignatureFault::Malformed)), "{plain:?}");
}

/// Checks a text as an answer.
fn check(text: &str) -> Result<(), SignatureFault> {
    let read = parse_text(text, &Limits::ANSWER).unwrap();
    let (header, body) = (read.only(V11, "Header").unwrap(), read.only(V11, "Body").unwrap());
    verify(&read, header, body, &Expectation { now: NOW, verifier: &TestVerifier }).map(|_| ())
}

#[test]
fn no_part_can_be_changed_moved_or_taken_away() {
    let good = signed(&TestSeal::of("capannori"), "<op:x xmlns:op='urn:lavoro'>buono</op:x>", "urn:a", NOW);
    let good = xml::canonical(&good, Scope::default());
    assert_eq!(check(&good), Ok(()));
    let body_at = good.find("<soap:Body").unwrap();
    let (before, body) = good.split_at(body_at);
    let body = body.strip_suffix("</soap:Envelope>").unwrap();
    let evil = body.replace("buono", "cattivo");
    let unnamed = evil.replace(" wsu:Id=\"corpo\"", "");
    let wrapped = |place: &str, with: &str| before.replacen(place, &format!("{place}{with}"), 1);
    for (why, text, fault) in [
        ("changed", good.replace("buono", "cattivo"), SignatureFault::Digest),
        ("a later expiry", good.replace("<wsu:Expires>", "<wsu:Expires> "), SignatureFault::Digest),
        // The signed body moves elsewhere; another takes its place (signature wrapping).
        (
            "wrapped in the header",
            format!(
                "{}{unnamed}</soap:Envelope>",
                wrapped("<soap:Header>", &format!("<w xmlns=\"\">{body}</w>"))
            ),
            SignatureFault::Reference,
        ),
        (
            "wrapped with the same name",
            format!(
                "{}{evil}</soap:Envelope>",
                wrapped("<soap:Header>", &format!("<w xmlns=\"\">{body}</w>"))
            ),
            SignatureFault::IdTwice,
        ),
        (
            "as a block of the header",
            format!("{}{unnamed}</soap:Envelope>", wrapped("<soap:Header>", body)),
            SignatureFault::NotSigned,
        ),
        (
            "inside the new body",
            format!(
                "{before}<soap:Body><op:x xmlns:op=\"urn:lavoro\">cattivo</op:x>{body}</soap:Body></soap:Envelope>"
            ),
            SignatureFault::Reference,
        ),
        ("another algorithm", good.replace("#ecdsa-sha256", "#rsa-sha1"), SignatureFault::Algorithm),
        ("another digest", good.replace("xmlenc#sha256", "xmldsig#sha1"), SignatureFault::Value),
        (
            "inclusive canonicalisation",
            good.replace("2001/10/xml-exc-c14n#", "TR/2001/REC-xml-c14n-20010315"),
            SignatureFault::Algorithm,
        ),
        ("an empty reference", good.replacen("URI=\"#corpo\"", "URI=\"\"", 1), SignatureFault::Value),
        ("no timestamp", good.replace("wsu:Timestamp", "wsu:Orario"), SignatureFault::Malformed),
        (
            "two signatures",
            good.replace(
                "</ds:Signature>",
                "</ds:Signature><Signature xmlns=\"http://www.w3.org/2000/09/xmldsig#\"></Signature>",
            ),
            SignatureFault::Malformed,
        ),
    ] {
        assert_eq!(check(&text), Err(fault), "{why}");
    }
}

#[test]
fn a_signature_that_leaves_the_body_out_proves_nothing_of_it() {
    let v = Version::V11;
    let seal = TestSeal::of("capannori");
    let body = signature::identified(Element::new(v.name("Body")), "corpo");
    let to = signature::identified(Element::new(Name::new("wsa", WSA, "To")), "to");
    let security = security(&v.name(""), &[&to], &seal, NOW).unwrap();
    let header = Element::new(v.name("Header")).with(security).with(to);
    let envelope = Element::new(v.name("Envelope")).with(header).with(body);
    assert_eq!(check(&xml::canonical(&envelope, Scope::default())), Err(SignatureFault::NotSigned));
}

#[test]
fn an_old_answer_is_none() {
    use std::time::Duration;
    for (issued, fault) in [
        (NOW.minus(Duration::from_secs(100)), None),
        (NOW.minus(Duration::from_secs(126)), Some(SignatureFault::Expired)),
        (NOW.plus(Duration::from_secs(4)), None),
        (NOW.plus(Duration::from_secs(6)), Some(SignatureFault::Expired)),
    ] {
        let text = signed(&TestSeal::of("capannori"), "<x/>", "urn:a", issued);
        assert_eq!(check(&xml::canonical(&text, Scope::default())).err(), fault, "{issued}");
    }
}

#[tokio::test]
async fn a_record_is_handed_over_as_the_operation_wants_it() {
    let said = |outcome: &str| {
        let body =
            format!("<invioSAPResponse xmlns='urn:lavoro'><esito>{outcome}</esito></invioSAPResponse>");
        told(200, envelope(Version::V11, &body))
    };
    let system = Scripted::start(move |_| said("GIA")).await;
    let sources = source(&system, Version::V11, Security::Channel);
    let record = json!({
        "identificativo_sap": "SAP-1", "titolo_studio": "LSE", "disponibilita_tirocinio": false, "istituto": "ITIS",
        "lingue": [{ "lingua": "en", "livello": "B1" }, { "lingua": "fr" }],
    });
    let delivered = deliver(&sources, CARD, &record).await.unwrap();
    let without: Vec<_> = delivered.without_place.iter().map(|field| field.as_str()).collect();
    assert_eq!(without, ["istituto"]);
    let heard = &system.heard()[0];
    assert_eq!(heard.header("soapaction"), Some("\"urn:lavoro:invioSAP\""));
    let sent = parse_text(&heard.body, &Limits::ANSWER).unwrap();
    let operation = sent.only(V11, "Body").unwrap().only("urn:lavoro", "invioSAP").unwrap();
    assert_eq!(
        operation.only("urn:lavoro", "idMessaggio").unwrap().text(),
        ExchangeId::new(NOW, [7; 10]).as_str()
    );
    let inner = parse_text(&operation.only("urn:lavoro", "SAP").unwrap().text(), &Limits::ANSWER).unwrap();
    assert!(inner.is("", "lavoratore"));
    let expected = json!({
        "datiAnagrafici": { "codiceFiscale": PERSON }, "identificativo": "SAP-1", "titoloStudio": "20",
        "lingue": { "lingua": [{ "codice": "en", "livello": "B1" }, { "codice": "fr" }] },
        "disponibilitaTirocinio": "N",
    });
    assert_eq!(tree(&inner).unwrap(), expected);

    let system = Scripted::start(move |_| said("KO")).await;
    let error = deliver(&source(&system, Version::V11, Security::Channel), CARD, &record).await.unwrap_err();
    assert!(matches!(error, FetchError::Envelope(_)), "{error:?}");

    let system = Scripted::start(|_| {
        told(500, envelope(Version::V11, "<e:Fault><faultcode>e:Client</faultcode></e:Fault>"))
    })
    .await;
    let error = deliver(&source(&system, Version::V11, Security::Channel), CARD, &record).await.unwrap_err();
    assert!(matches!(error, FetchError::Fault { fault: SoapFault::Sender, .. }), "{error:?}");
}

#[test]
fn words_that_say_no_operation_are_refused_at_the_start() {
    for (from, to, word) in [
        ("azione       = urn:lavoro:richiestaSAP\n", "", "azione"),
        ("codiceFiscale={soggetto}", "codiceFiscale=x", "domanda"),
        ("domanda      =", "# ", "domanda"),
        ("SAP={record}", "SAP=x", "invio"),
        ("testo        = si", "testo        = forse", "testo"),
        ("soggetto     = datiAnagrafici.codiceFiscale\n", "", "soggetto"),
        ("risposta     = richiestaSAPResponse.SAP\n", "", "risposta"),
    ] {
        let text = MAPPINGS.replacen(from, to, 1);
        assert_ne!(text, MAPPINGS, "{from}");
        let fault = mappings(&text).all().map(Operation::of).find_map(Result::err).unwrap();
        assert_eq!(fault.word, word, "{fault}");
    }
}

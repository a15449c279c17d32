use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use varco_core::code::Code;
use varco_core::id::FieldId;
use varco_core::json;
use varco_core::registry::{Agency, AgencyKind, Deployment};
use varco_core::wire::LevelOfAssurance;

use self::fake::{Answer, FakeAgency, NOW, Pki, Play, Signed, TestSeal, TestVerifier};
use super::rest::{Endpoint, Ours, Rest};
use varco_core::hash::Sha256;

use super::*;

mod counting;
pub(crate) mod fake;
mod paging;
pub(crate) mod script;

const RECORD: &str = r#"{"record":{"cognome":"CANARINO","sesso":"F"}}"#;
/// A synthetic person.
pub(crate) const PERSON: &str = "XXQNNA85C52B648J";
/// The revocation lists of the tests know certificates by number: the gateway's, and the system's.
const GATEWAY: u64 = 1;
pub(crate) const SYSTEM: u64 = 2;

/// A gateway's sources with one system behind them.
struct World {
    pki: Pki,
    agency: FakeAgency,
    sources: Sources,
    registry: Registry,
}

impl World {
    async fn with(play: Play) -> Self {
        Self::with_limits(play, Limits { timeout: Duration::from_secs(20), ..Limits::default() }).await
    }

    async fn answering(answer: Answer) -> Self {
        Self::with(Play::Answer(answer)).await
    }

    async fn with_limits(play: Play, limits: Limits) -> Self {
        let pki = Pki::new();
        let tls = pki.server(pki.issue("localhost", SYSTEM), &pki, &[]);
        let agency = FakeAgency::start(tls, play).await;
        let sources = sources(&agency, &pki.client(&[]), limits);
        Self { pki, agency, sources, registry: registry() }
    }

    async fn fetch(&self) -> Result<AgencyRecord, FetchError> {
        let fields: Vec<FieldId> =
            ["cognome", "sesso", "telefono"].iter().map(|field| field.parse().unwrap()).collect();
        let evidence = Evidence {
            operator: "op-7".parse().unwrap(),
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::Substantial,
        };
        let jti = |text: &str| text.parse().unwrap();
        let jtis = Jtis { authorization: jti("j1"), signature: jti("j2"), evidence: jti("j3") };
        let request = Request {
            exchange: &ExchangeId::new(NOW, [7; 10]),
            consumer: &"cpi-lucca".parse().unwrap(),
            purpose: &"F02".parse().unwrap(),
            record_type: &"anagrafica_nucleo".parse().unwrap(),
            subject: &PERSON.parse().unwrap(),
            fields: &fields,
            evidence: &evidence,
            jtis: &jtis,
        };
        let context = Context { registry: &self.registry, clock: &|| NOW };
        self.sources.fetch(&capannori(), &request, &context).await
    }

    async fn deliver(&self) -> Result<Accepted, FetchError> {
        let evidence = Evidence {
            operator: "op-9".parse().unwrap(),
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::Substantial,
        };
        let jti = |text: &str| text.parse().unwrap();
        let jtis = Jtis { authorization: jti("d1"), signature: jti("d2"), evidence: jti("d3") };
        let record = serde_json::Map::from_iter([("cognome".to_owned(), json!("CANARINO"))]);
        let delivery = Delivery {
            exchange: &ExchangeId::new(NOW, [7; 10]),
            provider: &"cpi-lucca".parse().unwrap(),
            purpose: &"F02".parse().unwrap(),
            record_type: &"anagrafica_nucleo".parse().unwrap(),
            subject: &PERSON.parse().unwrap(),
            record: &record,
            document: r#"{"delivery":"1"}"#,
            evidence: &evidence,
            jtis: &jtis,
        };
        assert!(!format!("{delivery:?}").contains("CANARINO"));
        let context = Context { registry: &self.registry, clock: &|| NOW };
        self.sources.deliver(&capannori(), &delivery, &context).await
    }

    /// The failure, after checking that it says nothing of the person or the record.
    async fn failure(&self) -> FetchError {
        let error = self.fetch().await.unwrap_err();
        let mut text = format!("{error} {error:?}");
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text.push_str(&format!("{inner} {inner:?}"));
            cause = inner.source();
        }
        for secret in [PERSON, "CANARINO"] {
            assert!(!text.contains(secret), "{text}");
        }
        error
    }

    fn circuit(&self) -> Circuit {
        self.sources.status()[0].circuit
    }
}

fn capannori() -> AgencyId {
    "comune-capannori".parse().unwrap()
}

fn sources(agency: &FakeAgency, tls: &Arc<ClientConfig>, limits: Limits) -> Sources {
    let base = format!("https://localhost:{}/varco/v1/", agency.address.port());
    let endpoint = Endpoint::new(&base, "comune-capannori").unwrap().with_answer_max(10_000);
    let ours = Ours {
        issuer: "gateway.piana.example".to_owned(),
        audiences: vec!["gateway.piana.example".to_owned()],
        signer: Arc::new(TestSeal::of("gateway")),
        verifier: Arc::new(TestVerifier),
    };
    Sources::new([(capannori(), Source::Rest(Rest::new(ours, endpoint, tls)), limits)])
}

pub(crate) fn registry() -> Registry {
    let agency = |id: &str, kind, name: &str| Agency {
        id: id.parse().unwrap(),
        kind,
        name: name.to_owned(),
        identifiers: vec![format!("PA:IT-xx_{name}").parse().unwrap()],
        offices: Vec::new(),
        channel_pins: Vec::new(),
        seal_pins: Vec::new(),
        acts_for: Vec::new(),
        suspended: None,
    };
    Registry {
        version: 1,
        previous: None,
        deployment: Deployment::Test,
        gateway: "gateway.piana.example".to_owned(),
        audience: "https://gateway.piana.example".to_owned(),
        agencies: vec![
            agency("comune-capannori", AgencyKind::Comune, "capannori"),
            agency("comune-lucca", AgencyKind::Comune, "lucca"),
        ],
        officers: Vec::new(),
        log_keys: Vec::new(),
        witnesses: Vec::new(),
        suspensions: Vec::new(),
    }
}

fn http(head: &str, body: &str) -> Play {
    Play::Bytes(format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes())
}

#[tokio::test]
async fn a_good_answer_gives_the_fields_and_the_digest_of_what_was_signed() {
    let world = World::answering(Answer::of(RECORD)).await;
    let record = world.fetch().await.unwrap();
    assert_eq!(record.said.digest, Sha256::of(RECORD.as_bytes()));
    assert_eq!(record.seal.as_ref().unwrap().organization.as_ref().unwrap().as_str(), "PA:IT-xx_capannori");
    assert_eq!(format!("{record:?}"), r#"["cognome", "sesso"]"#);
    assert_eq!(record.into_fields()["cognome"], "CANARINO");

    let heard = world.agency.heard.lock().unwrap();
    let (message, question) = &heard[0];
    assert_eq!(message.issuer, "gateway.piana.example");
    assert_eq!(message.evidence.operator.as_str(), "op-7");
    let expected = json!({
        "consumer": "cpi-lucca",
        "exchange": ExchangeId::new(NOW, [7; 10]).as_str(),
        "fields": ["cognome", "sesso", "telefono"],
        "purpose": "F02",
        "subject": { "codice_fiscale": PERSON },
    });
    assert_eq!(json::canonical(question), json::canonical(&expected));
}

#[tokio::test]
async fn only_a_signed_acknowledgement_of_the_recipient_says_that_it_has_a_delivery() {
    let taken = r#"{"delivery":"1"}"#;
    for status in [200, 201] {
        let world = World::answering(Answer { status, ..Answer::of(taken) }).await;
        let accepted = world.deliver().await.unwrap();
        assert_eq!(accepted.said.digest, Sha256::of(taken.as_bytes()));
        let heard = world.agency.heard.lock().unwrap();
        let (message, body) = &heard[0];
        assert_eq!(message.evidence.operator.as_str(), "op-9");
        assert_eq!(body["delivery"], "1");
    }
    let unsigned = Answer { signed: Signed::Nothing, ..Answer::of(taken) };
    let error = World::answering(unsigned).await.deliver().await.unwrap_err();
    assert!(matches!(error, FetchError::Signature(_)), "{error:?}");
    let other = Answer { seal: TestSeal::of("lucca"), ..Answer::of(taken) };
    let error = World::answering(other).await.deliver().await.unwrap_err();
    assert!(matches!(error, FetchError::SealOfAnother), "{error:?}");
}

#[tokio::test]
async fn a_refused_delivery_is_told_from_one_to_be_tried_again() {
    for (status, is_final) in
        [(400, true), (409, true), (422, true), (408, false), (429, false), (503, false)]
    {
        let error =
            World::answering(Answer { status, ..Answer::of("{}") }).await.deliver().await.unwrap_err();
        assert!(matches!(error, FetchError::Refused { .. }), "{error:?}");
        assert_eq!(error.is_final(), is_final, "{status}");
    }
    let slow = Limits { timeout: Duration::from_millis(100), ..Limits::default() };
    assert!(!World::with_limits(Play::Silence, slow).await.deliver().await.unwrap_err().is_final());
}

#[tokio::test]
async fn answers_that_are_not_signed_as_they_must_be_are_refused_before_they_are_read() {
    let good = Answer::of(RECORD);
    let old = NOW.minus(Duration::from_mins(10));
    for (why, answer) in [
        ("not signed", Answer { signed: Signed::Nothing, ..good.clone() }),
        ("another body", Answer { signed: Signed::AnotherBody, ..good.clone() }),
        ("another request", Answer { signed: Signed::AnotherRequest, ..good.clone() }),
        ("forged", Answer { seal: TestSeal::forged("capannori"), ..good.clone() }),
        ("for another", Answer { audience: "gateway.altrove.example", ..good.clone() }),
        ("old", Answer { issued: old, ..good.clone() }),
        ("unsigned not found", Answer { status: 404, signed: Signed::Nothing, ..good.clone() }),
        ("not even JSON", Answer { signed: Signed::Nothing, ..Answer::of("<html>CANARINO") }),
    ] {
        let world = World::answering(answer).await;
        let error = world.failure().await;
        assert!(matches!(error, FetchError::Signature(_)), "{why}: {error:?}");
        assert_eq!(error.code(), Code::AdapterSignature);
        assert_eq!(world.circuit(), Circuit::Closed);
    }
}

#[tokio::test]
async fn an_answer_sealed_by_another_agency_is_refused() {
    let good = Answer::of(RECORD);
    for answer in [
        Answer { seal: TestSeal::of("lucca"), ..good.clone() },
        Answer { seal: TestSeal::of("nobody"), ..good.clone() },
        Answer { issuer: "comune-lucca", ..good.clone() },
    ] {
        let world = World::answering(answer).await;
        let error = world.failure().await;
        assert!(matches!(error, FetchError::SealOfAnother), "{error:?}");
        assert_eq!(error.code(), Code::AdapterSignature);
    }
}

#[tokio::test]
async fn answers_that_are_no_record_are_refused_though_signed() {
    let deep = format!(r#"{{"record":{{"sesso":{}{}}}}}"#, "[".repeat(40), "]".repeat(40));
    for body in [
        "",
        "CANARINO",
        "[]",
        "{}",
        r#"{"record":["CANARINO"]}"#,
        r#"{"record":{},"CANARINO":1}"#,
        r#"{"record":{"sesso":"F","sesso":"CANARINO"}}"#,
        r#"{"record":{"sesso":"F","cognome":"CANARINO"}"#,
        r#"{"record":{"iban":"CANARINO"}}"#,
        &deep,
    ] {
        let error = World::answering(Answer::of(body)).await.failure().await;
        assert_eq!(error.code(), Code::AdapterMismatch, "{body}: {error:?}");
        assert!(!error.is_outage());
    }
    for answer in [
        Answer { content_type: "text/html", ..Answer::of(RECORD) },
        Answer { extra: Some(("content-encoding", "gzip".to_owned())), ..Answer::of(RECORD) },
    ] {
        let error = World::answering(answer).await.failure().await;
        assert!(matches!(error, FetchError::ContentType), "{error:?}");
    }
}

#[tokio::test]
async fn huge_answers_are_not_read_to_their_end() {
    let huge = format!(r#"{{"record":{{"sesso":"{}"}}}}"#, "F".repeat(20_000));
    let announced = Answer::of(&huge);
    let endless = Answer { chunked: Some(1_000_000), ..Answer::of(RECORD) };
    let head = Answer { extra: Some(("x-padding", "p".repeat(200_000))), ..Answer::of(RECORD) };
    for answer in [announced, endless, head] {
        let error = World::answering(answer).await.failure().await;
        assert!(matches!(error, FetchError::AnswerTooLarge { .. }), "{error:?}");
        assert_eq!(error.code(), Code::AdapterTooLarge);
    }
}

#[tokio::test]
async fn answers_that_end_early_or_are_no_http_are_told_apart() {
    let error = World::with(http("200 OK\r\ncontent-length: 400", RECORD)).await.failure().await;
    assert!(matches!(error, FetchError::CutShort(_)), "{error:?}");
    assert_eq!(error.code(), Code::AdapterTruncated);
    let error =
        World::with(http("200 OK\r\ntransfer-encoding: chunked", "40\r\nCANARINO")).await.failure().await;
    assert!(matches!(error, FetchError::CutShort(_)), "{error:?}");

    for (bytes, code) in [
        ("SSH-2.0-CANARINO\r\n\r\n", Code::AdapterMismatch),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nCANARINO", Code::AdapterMismatch),
        ("HTTP/1.1 200", Code::AdapterUnreachable),
        ("", Code::AdapterUnreachable),
    ] {
        let error = World::with(Play::Bytes(bytes.into())).await.failure().await;
        assert_eq!(error.code(), code, "{bytes}: {error:?}");
        assert!(error.is_outage());
    }
}

#[tokio::test]
async fn a_slow_system_is_waited_for_only_so_long() {
    let limits = Limits { timeout: Duration::from_millis(100), ..Limits::default() };
    let world = World::with_limits(Play::Silence, limits).await;
    let error = world.failure().await;
    assert!(matches!(error, FetchError::Timeout), "{error:?}");
    assert_eq!(error.code(), Code::AdapterTimeout);
}

#[tokio::test]
async fn a_person_the_provider_does_not_know_is_no_fault_of_the_system() {
    let body = r#"{"type":"about:blank","status":404}"#;
    let unknown = Answer { status: 404, content_type: "application/problem+json", ..Answer::of(body) };
    let world = World::answering(unknown).await;
    for _ in 0..10 {
        let error = world.failure().await;
        assert!(matches!(error, FetchError::SubjectUnknown), "{error:?}");
        assert_eq!(error.code(), Code::ExchangeSubjectUnknown);
    }
    assert_eq!(world.circuit(), Circuit::Closed);
}

#[tokio::test]
async fn other_statuses_are_refusals_and_only_those_of_a_failing_server_are_outages() {
    for (status, outage) in [(302, false), (400, false), (403, false), (429, true), (500, true), (503, true)]
    {
        let error = World::answering(Answer { status, ..Answer::of(RECORD) }).await.failure().await;
        assert!(matches!(error, FetchError::Refused { .. }), "{error:?}");
        assert_eq!((error.code(), error.is_outage()), (Code::AdapterRefused, outage), "{status}");
    }
}

#[tokio::test]
async fn a_tls_certificate_must_be_of_our_ca_for_that_name_and_not_revoked() {
    let (pki, other) = (Pki::new(), Pki::new());
    for (why, server, revoked) in [
        ("another CA", other.issue("localhost", SYSTEM), &[][..]),
        ("another name", pki.issue("altrove.example", SYSTEM), &[]),
        ("revoked", pki.issue("localhost", SYSTEM), &[SYSTEM]),
    ] {
        let play = Play::Answer(Answer::of(RECORD));
        let agency = FakeAgency::start(pki.server(server, &pki, &[]), play).await;
        let sources = sources(&agency, &pki.client(revoked), Limits::default());
        let world = World { pki: Pki::new(), agency, sources, registry: registry() };
        let error = world.failure().await;
        assert!(matches!(error, FetchError::Certificate(_)), "{why}: {error:?}");
        assert_eq!(error.code(), Code::AdapterCertificate);
    }
}

#[tokio::test]
async fn a_system_that_refuses_our_certificate_is_told_from_one_that_is_down() {
    let (pki, other) = (Pki::new(), Pki::new());
    for tls in [
        pki.server(pki.issue("localhost", SYSTEM), &other, &[]),
        pki.server(pki.issue("localhost", SYSTEM), &pki, &[GATEWAY]),
    ] {
        let agency = FakeAgency::start(tls, Play::Answer(Answer::of(RECORD))).await;
        let sources = sources(&agency, &pki.client(&[]), Limits::default());
        let world = World { pki: Pki::new(), agency, sources, registry: registry() };
        let error = world.failure().await;
        assert!(matches!(error, FetchError::OurCertificate(_)), "{error:?}");
        assert_eq!(error.code(), Code::AdapterRefused);
    }
}

#[tokio::test]
async fn a_provider_without_a_source_and_a_system_that_is_down_are_unreachable() {
    let world = World::answering(Answer::of(RECORD)).await;
    let nobody = World { sources: Sources::new([]), ..world };
    assert!(matches!(nobody.failure().await, FetchError::NoSource));

    let world = World::answering(Answer::of(RECORD)).await;
    let sources = sources(&world.agency, &world.pki.client(&[]), Limits::default());
    let World { pki, agency, registry, .. } = world;
    let elsewhere =
        FakeAgency::start(pki.server(pki.issue("localhost", SYSTEM), &pki, &[]), Play::Silence).await;
    agency.stop().await;
    let world = World { pki, agency: elsewhere, sources, registry };
    let error = world.failure().await;
    assert!(matches!(error, FetchError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_system_that_fails_repeatedly_is_left_alone_and_then_tried_with_one_request() {
    let failing = Answer { status: 503, ..Answer::of(RECORD) };
    let world = World::answering(failing).await;
    let rules = breaker::Rules::default();
    for _ in 0..rules.failures {
        assert!(matches!(world.failure().await, FetchError::Refused { status: 503 }));
    }
    let FetchError::CircuitOpen { retry_after } = world.failure().await else { panic!("open") };
    assert!(retry_after <= rules.pause);
    assert_eq!((world.circuit(), world.agency.heard.lock().unwrap().len()), (Circuit::Open, 5));

    tokio::time::pause();
    tokio::time::advance(rules.pause).await;
    tokio::time::resume();
    assert!(matches!(world.failure().await, FetchError::Refused { status: 503 }), "the probe");
    let error = world.failure().await;
    assert_eq!(error.code(), Code::AdapterCircuitOpen);
    assert!(matches!(error, FetchError::CircuitOpen { retry_after } if retry_after > rules.pause));
    assert_eq!(world.agency.heard.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn requests_wait_for_their_turn_and_beyond_the_queue_are_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let play = Play::Gated(Answer::of(RECORD), Arc::clone(&gate));
    let limits = Limits { concurrent: 1, queued: 1, timeout: Duration::from_secs(20), ..Limits::default() };
    let world = World::with_limits(play, limits).await;
    let third = async {
        // Runs once the first two wait: join! polls in order.
        let error = world.failure().await;
        assert!(matches!(error, FetchError::Busy), "{error:?}");
        assert_eq!(world.sources.status()[0].busy, 2);
        gate.add_permits(2);
    };
    let (first, second, ()) = tokio::join!(world.fetch(), world.fetch(), third);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(world.agency.connections.load(Ordering::SeqCst), 1, "one at a time");
    assert_eq!(world.sources.status()[0].busy, 0);
}

#[tokio::test]
async fn connections_are_kept_until_trust_is_renewed() {
    let world = World::answering(Answer::of(RECORD)).await;
    for _ in 0..5 {
        world.fetch().await.unwrap();
    }
    assert_eq!(world.agency.connections.load(Ordering::SeqCst), 1);
    world.sources.renew(&world.pki.client(&[SYSTEM]));
    let error = world.failure().await;
    assert!(matches!(error, FetchError::Certificate(_)), "{error:?}");
}

#[test]
fn an_endpoint_is_https_with_a_path_at_most() {
    for wrong in ["", "localhost", "http://a/", "https://a/?b", "https://a/#b", "https://", "ftp://a"] {
        assert!(Endpoint::new(wrong, "a").is_err(), "{wrong}");
    }
    assert!(Endpoint::new("https://[::1]:8443/a/b/", "a").is_ok());
}

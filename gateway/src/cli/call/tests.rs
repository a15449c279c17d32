use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use varco_core::id::TokenId;
use varco_core::wire::{AnswerClaims, Expectation, Rules, VerifiedMessage, sign_response, verify_request};
use varco_jose::{SealSigner, SealTrust};

use super::caller::Received;
use super::*;
use crate::pki::{Authority, Holder, Issued, Purpose, crl_pem};
use crate::tls::testing::Folder;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Both authorities, a consumer's and a gateway's certificates, as files.
struct World {
    folder: Folder,
    channels: Authority,
    seals: Authority,
    server: Issued,
    gateway_seal: Issued,
}

/// What the gateway of a test answers.
#[derive(Clone, Copy)]
enum Habit {
    Refusing,
    Signing,
    Silent,
}

fn holder(code: &str, purpose: Purpose) -> Holder {
    let organization = Some(format!("PA:IT-{code}").parse().unwrap());
    Holder { name: code.to_owned(), organization, purpose }
}

impl World {
    fn new() -> Self {
        let now = crate::app::system_now();
        let (channels, seals) =
            (Authority::new("channels", now).unwrap(), Authority::new("seals", now).unwrap());
        let names = || Purpose::Channel { names: vec!["localhost".to_owned()] };
        let folder = Folder::new();
        let client = channels.issue(&holder("xx_cpi", names()), now).unwrap();
        let seal = seals.issue(&holder("xx_cpi", Purpose::Seal), now).unwrap();
        for (name, text) in [
            ("ca.pem", channels.certificate_pem()),
            ("client.pem", client.certificate_pem()),
            ("client.key.pem", client.key_pem().to_string()),
            ("seal-ca.pem", seals.certificate_pem()),
            ("seal.pem", seal.certificate_pem()),
            ("seal.key.pem", seal.key_pem().to_string()),
            ("seal.crl.pem", crl_pem(&seals.crl(&[], 1, now).unwrap())),
            // The synthetic person of the documentation.
            ("subject", format!(" {}\n", synthetic().expose())),
        ] {
            folder.write(name, text);
        }
        let server = channels.issue(&holder("xx_gateway", names()), now).unwrap();
        let gateway_seal = seals.issue(&holder("xx_gateway", Purpose::Seal), now).unwrap();
        Self { folder, channels, seals, server, gateway_seal }
    }

    fn args(&self, port: u16, more: &[&str]) -> Args {
        let file = |name: &str| self.folder.0.join(name).to_str().unwrap().to_owned();
        let mut line = vec!["call".to_owned(), "--gateway".to_owned(), format!("https://localhost:{port}")];
        for (flag, value) in [
            ("--cert", "client.pem"),
            ("--key", "client.key.pem"),
            ("--ca", "ca.pem"),
            ("--seal-cert", "seal.pem"),
            ("--seal-key", "seal.key.pem"),
            ("--seal-ca", "seal-ca.pem"),
            ("--seal-crl", "seal.crl.pem"),
            ("--subject", "subject"),
        ] {
            line.extend([flag.to_owned(), file(value)]);
        }
        let rest = "--issuer cpi-lucca --audience gateway.example --record-type anagrafica_nucleo --provider \
                    comune-capannori --purpose F02 --fields nome,isee_fascia --operator op-1 --location sportello";
        line.extend(rest.split_whitespace().chain(more.iter().copied()).map(str::to_owned));
        Line::parse_from(line).args
    }

    /// A gateway that answers one call. Its thread ends with what it verified.
    fn gateway(&self, habit: Habit) -> (u16, std::thread::JoinHandle<Option<VerifiedMessage>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut roots = RootCertStore::empty();
        roots.add(self.channels.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![self.server.certificate().clone()], self.server.key())
            .unwrap();
        let crl = self.seals.crl(&[], 1, crate::app::system_now()).unwrap().to_vec();
        let roots = [self.seals.certificate().to_vec()];
        let trust = SealTrust::new(&roots, &[crl], &Algorithm::DEFAULT).unwrap();
        let chain = [self.gateway_seal.certificate().to_vec()];
        let signer = SealSigner::from_der(self.gateway_seal.key().secret_der(), &chain).unwrap();
        let serve = async move {
            listener.set_nonblocking(true).unwrap();
            let (tcp, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
            let tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap();
            let verified = std::sync::Mutex::new(None);
            let service = hyper::service::service_fn(async |request: Request<Incoming>| {
                let (answer, good) = respond(request, habit, &trust, &signer).await;
                *verified.lock().unwrap() = good;
                Ok::<_, Infallible>(answer)
            });
            // The caller may close without a farewell once it has its answer.
            let _ = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(tls), service)
                .await;
            verified.into_inner().unwrap()
        };
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve)
        });
        (port, thread)
    }
}

async fn respond(
    request: Request<Incoming>,
    habit: Habit,
    trust: &SealTrust,
    signer: &SealSigner,
) -> (Response<Full<Bytes>>, Option<VerifiedMessage>) {
    assert!(request.uri().path().starts_with("/rest/varco/v1/pulls"));
    let (head, body) = request.into_parts();
    let text = |value: &hyper::http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let message = Message { headers, body: body.collect().await.unwrap().to_bytes().to_vec() };
    let audiences = ["gateway.example".to_owned()];
    let now = crate::app::system_now();
    let expectation = Expectation { audiences: &audiences, now, rules: Rules::default() };
    let verified = verify_request(&message, &expectation, trust).unwrap();
    let (status, body) = match habit {
        Habit::Refusing => {
            (400, json!({"code": "wire.audience", "title": "a token is for another audience"}))
        }
        Habit::Signing | Habit::Silent => (200, answer()),
    };
    let body = body.to_string();
    let mut response = Response::builder().status(status);
    if matches!(habit, Habit::Signing) {
        let claims = AnswerClaims {
            issuer: "gateway.example".to_owned(),
            audience: verified.issuer.clone(),
            content_type: Some("application/json".to_owned()),
            request_digest: verified.digest,
        };
        let jti = TokenId::new(now, [9; 10]);
        for (name, value) in sign_response(body.as_bytes(), &claims, signer, now, &jti).unwrap() {
            response = response.header(name, value);
        }
    }
    (response.body(Full::new(Bytes::from(body))).unwrap(), Some(verified))
}

fn answer() -> Value {
    json!({
        "exchange": "01890a5d-ac96-774b-bcce-b302099a8057",
        "record": {"nome": "Xxanna"},
        "fields": [
            {"name": "nome", "outcome": "shown", "view": "intero"},
            {"name": "isee_fascia", "outcome": "withheld", "layer": "person", "reason": "consenso revocato"},
        ],
    })
}

fn synthetic() -> CodiceFiscale {
    let birth = varco_core::time::parse_date("1980-01-01").unwrap();
    CodiceFiscale::build("Xxquercia", "Anna", birth, varco_core::subject::Sex::Female, "E715").unwrap()
}

fn signed(args: &Args, now: Timestamp) -> (Method, hyper::Uri, Message) {
    args.caller.signed(planned(args).unwrap(), now).unwrap()
}

fn pull(
    world: &World,
    habit: Habit,
    more: &[&str],
) -> (Result<Received, PullError>, Option<VerifiedMessage>) {
    let (port, thread) = world.gateway(habit);
    let args = world.args(port, more);
    let (method, url, message) = signed(&args, crate::app::system_now());
    let received = args.caller.send((&method, &url), message);
    (received, thread.join().unwrap())
}

#[test]
fn a_pull_is_signed_answered_verified_and_shown() {
    let (received, seen) = pull(&World::new(), Habit::Signing, &["--sealed-by", "PA:IT-xx_gateway"]);
    let (received, seen) = (received.unwrap(), seen.unwrap());
    assert_eq!(seen.issuer, "cpi-lucca");
    assert_eq!(seen.evidence.operator.as_str(), "op-1");
    let text = show::as_text(&received, Language::It);
    assert!(text.contains("firma verificata di PA:IT-xx_gateway"), "{text}");
    assert!(text.contains("  nome: Xxanna (intero)"), "{text}");
    assert!(text.contains("  isee_fascia: withheld, person, consenso revocato"), "{text}");
    let shown: Value = serde_json::from_str(&show::as_json(&received)).unwrap();
    assert_eq!((&shown["sealed"], &shown["body"]["record"]["nome"]), (&json!(true), &json!("Xxanna")));
}

#[test]
fn an_answer_is_not_shown_unless_its_seal_is_good_and_expected() {
    let world = World::new();
    let (unsigned, _) = pull(&world, Habit::Silent, &[]);
    assert!(matches!(unsigned, Err(PullError::Wire(_))));
    let (other, _) = pull(&world, Habit::Signing, &["--sealed-by", "PA:IT-xx_other"]);
    assert!(matches!(other, Err(PullError::AnotherSeal)));
}

#[test]
fn a_refusal_may_be_unsigned_and_says_why() {
    let (received, _) = pull(&World::new(), Habit::Refusing, &[]);
    let text = show::as_text(&received.unwrap(), Language::En);
    assert!(text.starts_with("Answer 400, not signed\n  code: wire.audience"), "{text}");
}

#[test]
fn a_request_that_is_only_shown_passes_the_wire_check() {
    let world = World::new();
    let now = crate::app::system_now();
    let args = world.args(1, &["--show-request", "--json"]);
    let (_, _, message) = signed(&args, now);
    let capture = Capture::parse(request_text(&args, &message, now).unwrap().as_bytes()).unwrap();
    assert!(capture.check().unwrap().verdict.is_ok());
    let plain = world.args(1, &["--show-request"]);
    let text = request_text(&plain, &message, now).unwrap();
    assert!(
        text.contains("agid-jwt-signature: ey") && !text.contains(synthetic().expose()),
        "no body is shown"
    );
}

#[test]
fn a_household_is_read_from_a_file_a_line_each() {
    let world = World::new();
    let codes = format!("# the mother\n{0}\n\n  {0}  \n", synthetic().expose());
    world.folder.write("members", codes);
    let asked = household(&world.folder.0.join("members")).unwrap();
    assert_eq!(
        asked,
        json!([{ "codice_fiscale": synthetic().expose() }, { "codice_fiscale": synthetic().expose() }])
    );
    world.folder.write("members", "not a code\n");
    assert!(matches!(household(&world.folder.0.join("members")), Err(PullError::Subject)));
}

#[test]
fn statistics_are_asked_for_without_anybody_and_shown_as_a_table() {
    let world = World::new();
    let mut args = world.args(1, &[]);
    args.instead.statistics = Some("2026-S1".parse().unwrap());
    let (_, url, message) = signed(&args, crate::app::system_now());
    assert!(url.path().ends_with("/statistics"), "{url}");
    let asked: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(
        (&asked["period"], &asked["dimensions"]),
        (&json!("2026-S1"), &json!(["nome", "isee_fascia"]))
    );
    assert!(asked.get("subject").is_none() && asked.get("provider").is_none());
    let left_out = json!([{ "area": "cpi-lucca", "detail": "no counts", "code": "adapter.no-counts" }]);
    let body = json!({ "statistics": { "csv": "area;persone\r\nlucca;*\r\n", "left_out": left_out } });
    let seal = caller::AnswerSeal::None;
    let text = show::as_text(&Received { status: 200, seal, body: body.to_string().into() }, Language::It);
    assert!(text.ends_with("area;persone\nlucca;*\n  cpi-lucca: no counts (adapter.no-counts)"), "{text}");
}

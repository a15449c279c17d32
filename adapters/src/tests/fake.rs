//! An agency's system in this process, which plays every part a real one may play, and the world around it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use varco_core::hash::Sha256;
use varco_core::registry::Identity;
use varco_core::time::Timestamp;
use varco_core::wire::{
    self, Algorithm, AnswerClaims, Expectation, JoseHeaders, KeyReference, Message, Rules, Seal, SealFault,
    SignFault, Signer, VerifiedMessage, Verifier,
};

use crate::tls::{Trust, client};

pub const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

/// A seal of the tests: SHA-256 over a secret and the text stands for a signature. The secret is also its name.
#[derive(Clone)]
pub struct TestSeal {
    secret: Vec<u8>,
    headers: JoseHeaders,
    identity: Identity,
}

impl TestSeal {
    pub fn of(name: &str) -> Self {
        let secret = name.as_bytes().to_vec();
        let headers = JoseHeaders::of_chain(Algorithm::Es256, std::slice::from_ref(&secret));
        let organization = format!("PA:IT-xx_{name}").parse().ok();
        let hash = Sha256::of(&secret);
        Self { secret, headers, identity: Identity { certificate: hash, key: hash, organization } }
    }

    /// Says it is one seal and signs with another.
    pub fn forged(name: &str) -> Self {
        Self { secret: b"thief".to_vec(), ..Self::of(name) }
    }

    fn signature(&self, signed: &[u8]) -> Vec<u8> {
        Sha256::of_parts(&[&self.secret, signed]).as_bytes().to_vec()
    }
}

impl Signer for TestSeal {
    fn headers(&self) -> &JoseHeaders {
        &self.headers
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, SignFault> {
        Ok(self.signature(signed))
    }
}

impl Seal for TestSeal {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn allows(&self, algorithm: Algorithm) -> bool {
        algorithm == Algorithm::Es256
    }

    fn verify(&self, _: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.signature(signed) == signature
    }
}

/// Knows every seal by its name.
pub struct TestVerifier;

impl Verifier for TestVerifier {
    fn seal(&self, reference: &KeyReference, _: Timestamp) -> Result<Arc<dyn Seal>, SealFault> {
        let KeyReference::Chain(chain) = reference else { panic!("the tests' seals send their chain") };
        Ok(Arc::new(TestSeal::of(&String::from_utf8_lossy(&chain[0]))))
    }
}

/// A CA with what it issued, and the TLS configurations of both ends.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

type Identified = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Pki {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    pub fn issue(&self, name: &str, serial: u64) -> Identified {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (certificate, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }

    pub fn crl(&self, revoked: &[u64]) -> CertificateRevocationListDer<'static> {
        let now = rcgen::date_time_ymd(2026, 1, 1);
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().into()
    }

    /// Our end, with certificate 1, trusting this CA but for the revoked.
    pub fn client(&self, revoked: &[u64]) -> Arc<ClientConfig> {
        let (certificate, key) = self.issue("gateway.piana.example", 1);
        let trust = Trust { roots: vec![self.root.clone()], crls: vec![self.crl(revoked)] };
        client(trust, vec![certificate], key, Arc::new(|| NOW)).unwrap()
    }

    /// Their end, trusting clients of `clients`, but for the revoked.
    pub fn server(&self, identified: Identified, clients: &Pki, revoked: &[u64]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(clients.root.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .with_crls([clients.crl(revoked)])
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![identified.0], identified.1)
            .unwrap();
        Arc::new(config)
    }
}

/// What the system does with each request.
#[derive(Clone)]
pub enum Play {
    /// Answers by HTTP.
    Answer(Answer),
    /// Reads the request, then says these bytes and hangs up.
    Bytes(Vec<u8>),
    /// Answers, but only when the gate lets it.
    Gated(Answer, Arc<Semaphore>),
    /// Answers in pages, from the one that the question's `from` numbers; the last one again and again.
    Pages(Vec<Answer>),
    /// Reads and never answers.
    Silence,
}

#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub content_type: &'static str,
    pub signed: Signed,
    pub seal: TestSeal,
    pub issued: Timestamp,
    pub audience: &'static str,
    pub issuer: &'static str,
    pub extra: Option<(&'static str, String)>,
    /// Without an announced length.
    pub chunked: Option<usize>,
}

/// What the answer's signature is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    AnotherBody,
    AnotherRequest,
    Nothing,
    WhatIsSent,
}

impl Answer {
    pub fn of(body: &str) -> Self {
        Self {
            status: 200,
            body: body.as_bytes().to_vec(),
            content_type: "application/json",
            signed: Signed::WhatIsSent,
            seal: TestSeal::of("capannori"),
            issued: NOW,
            audience: "gateway.piana.example",
            issuer: "comune-capannori",
            extra: None,
            chunked: None,
        }
    }
}

/// A running system. It stops when dropped.
pub struct FakeAgency {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    /// The requests it got and their bodies, with their tokens checked.
    pub heard: Arc<Mutex<Vec<(VerifiedMessage, serde_json::Value)>>>,
    tasks: JoinSet<()>,
}

impl FakeAgency {
    pub async fn start(tls: Arc<ServerConfig>, play: Play) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let (counter, ears) = (Arc::clone(&connections), Arc::clone(&heard));
        tasks.spawn(async move {
            let mut inner = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (acceptor, play, ears) =
                    (TlsAcceptor::from(Arc::clone(&tls)), play.clone(), Arc::clone(&ears));
                inner.spawn(async move {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        serve(stream, play, ears).await;
                    }
                });
            }
        });
        Self { address, connections, heard, tasks }
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

type Ears = Arc<Mutex<Vec<(VerifiedMessage, serde_json::Value)>>>;
type Stream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn serve(mut stream: Stream, play: Play, ears: Ears) {
    if let Play::Bytes(bytes) = play {
        let mut heard = Vec::new();
        // The request's body is the only thing in it that ends with two braces.
        while !heard.ends_with(b"}}") {
            let mut some = [0; 4096];
            match stream.read(&mut some).await {
                Ok(read) if read > 0 => heard.extend_from_slice(&some[..read]),
                _ => break,
            }
        }
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        return;
    }
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (play, ears) = (play.clone(), Arc::clone(&ears));
        async move { Ok::<_, Infallible>(answer(request, play, ears).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    play: Play,
    ears: Ears,
) -> hyper::Response<BoxBody<Bytes, Infallible>> {
    let path = request.uri().path().to_owned();
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let question: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let answer = match play {
        Play::Answer(answer) => answer,
        Play::Gated(answer, gate) => {
            gate.acquire().await.unwrap().forget();
            answer
        }
        Play::Pages(mut pages) => {
            let from: usize = question["from"].as_str().map_or(0, |from| from.parse().unwrap());
            pages.swap_remove(from.min(pages.len() - 1))
        }
        Play::Silence => std::future::pending().await,
        Play::Bytes(_) => unreachable!("served without HTTP"),
    };
    assert!(!head.headers.contains_key("if-none-match"), "nothing is kept that could be good still");
    let text = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let message = Message { headers: head.headers.iter().map(text).collect(), body: body.to_vec() };
    let expectation =
        Expectation { audiences: &["comune-capannori".to_owned()], now: NOW, rules: Rules::default() };
    let verified = wire::verify_request(&message, &expectation, &TestVerifier).unwrap();
    let known = ["counts/anagrafica_nucleo", "deliveries", "records/anagrafica_nucleo"];
    assert!(known.iter().any(|known| path == format!("/varco/v1/{known}")), "{path}");
    ears.lock().unwrap().push((verified, question));
    respond(&answer, &body)
}

fn respond(answer: &Answer, request: &[u8]) -> hyper::Response<BoxBody<Bytes, Infallible>> {
    let (signed_body, signed_request) = match answer.signed {
        Signed::AnotherBody => (&b"{}"[..], request),
        Signed::AnotherRequest => (&answer.body[..], &b"{}"[..]),
        Signed::Nothing | Signed::WhatIsSent => (&answer.body[..], request),
    };
    let claims = AnswerClaims {
        issuer: answer.issuer.to_owned(),
        audience: answer.audience.to_owned(),
        content_type: Some(answer.content_type.to_owned()),
        request_digest: Sha256::of(signed_request),
    };
    let jti = "answer-1".parse().unwrap();
    let headers = wire::sign_response(signed_body, &claims, &answer.seal, answer.issued, &jti).unwrap();
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in headers {
        if answer.signed != Signed::Nothing || name == "content-type" {
            response = response.header(name, value);
        }
    }
    if let Some((name, value)) = &answer.extra {
        response = response.header(*name, value);
    }
    let body = Bytes::from(answer.body.clone());
    let body = match answer.chunked {
        None => Full::new(body).boxed(),
        Some(times) => Endless { body, left: times }.boxed(),
    };
    response.body(body).unwrap()
}

/// The same bytes again and again.
struct Endless {
    body: Bytes,
    left: usize,
}

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return std::task::Poll::Ready(None);
        }
        self.left -= 1;
        std::task::Poll::Ready(Some(Ok(Frame::data(self.body.clone()))))
    }
}

//! An agency's system that can be told to misbehave. It stands where the demonstration's system stands otherwise, with
//! the same certificates and the same people.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use varco::app::Clock;
use varco::demo::agency::select;
use varco::pki::dev::{GATEWAY, Kit};
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, FieldId, RecordTypeId, TokenId};
use varco_core::subject::CodiceFiscale;
use varco_core::wire::{AnswerClaims, sign_response};

use super::PEOPLE;
use super::client::Instants;
use super::desk::signer;

/// What the system does with each request.
#[derive(Clone)]
pub enum Play {
    /// Signs this text and sends it as the answer.
    Body(Vec<u8>),
    /// Counts so many people in these classes; otherwise honest.
    Counts(Value),
    /// Signs one body and sends another.
    ChangedAfterSigning,
    /// Sends and sends, and never says how much.
    Endless,
    /// Answers as it should, when the gate lets it.
    Held(Arc<Semaphore>),
    Honest,
    /// Sends this text unsigned, in the system's media type.
    Plain(&'static str),
    /// Signs with the seal of this agency.
    SealedBy(&'static str),
    /// Answers as it should, with this record instead of what it holds.
    Record(Map<String, Value>),
    /// The same for one person only.
    RecordOf(CodiceFiscale, Map<String, Value>),
    /// Reads and never answers.
    Silent,
    /// Answers with this status.
    Status(u16),
    /// Announces more than it sends, and hangs up.
    Truncated,
    /// Says, signed, that it holds no such record.
    Unknown,
    Unsigned,
}

pub struct Provider {
    pub agency: AgencyId,
    pub port: u16,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    kit: &'static Kit,
    agency: AgencyId,
    play: Mutex<Play>,
    media_type: Mutex<&'static str>,
    clock: Clock,
    arrived: Semaphore,
    heard: Mutex<Vec<Value>>,
}

type Body = BoxBody<Bytes, std::io::Error>;

impl Provider {
    pub async fn start(kit: &'static Kit, agency: &str, play: Play, clock: Clock) -> Self {
        let agency: AgencyId = agency.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            kit,
            agency: agency.clone(),
            play: Mutex::new(play),
            media_type: Mutex::new("application/json"),
            clock: clock.clone(),
            arrived: Semaphore::new(0),
            heard: Mutex::new(Vec::new()),
        });
        let acceptor = TlsAcceptor::from(tls(kit, &agency, clock));
        let mut task = JoinSet::new();
        let serving = Arc::clone(&shared);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&serving));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let service = hyper::service::service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, Infallible>(shared.answer(request).await) }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { agency, port, shared, _task: task }
    }

    pub fn play(&self, play: Play) {
        *self.shared.play.lock().unwrap() = play;
    }

    /// What it says that its unsigned answers are written in.
    pub fn speak(&self, media_type: &'static str) {
        *self.shared.media_type.lock().unwrap() = media_type;
    }

    /// Waits until one more request has arrived.
    pub async fn asked(&self) {
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, self.shared.arrived.acquire()).await.unwrap().unwrap().forget();
    }

    /// The bodies of all requests so far.
    pub fn heard(&self) -> Vec<Value> {
        self.shared.heard.lock().unwrap().clone()
    }
}

impl Shared {
    async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
        let last = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let is_count = request.uri().path().contains("/counts/");
        let question = request.into_body().collect().await.unwrap().to_bytes();
        // Systems of another kind are not asked in JSON; then nothing here answers as it should.
        let asked: Value = serde_json::from_slice(&question).unwrap_or_default();
        let play = self.play.lock().unwrap().clone();
        let is_asked = |person: &CodiceFiscale| asked["subject"]["codice_fiscale"] == person.expose();
        let record = if let Play::Record(record) = &play {
            Some(record.clone())
        } else if let Play::RecordOf(person, record) = &play
            && is_asked(person)
        {
            Some(record.clone())
        } else {
            None
        };
        let honest = match last.as_str() {
            _ if asked.is_null() => Vec::new(),
            _ if is_count => {
                let rows = if let Play::Counts(rows) = &play { rows.clone() } else { json!([]) };
                json!({ "counts": rows }).to_string().into_bytes()
            }
            "deliveries" => json!({ "delivery": asked["delivery"] }).to_string().into_bytes(),
            record_type => self.record(&record_type.parse().unwrap(), &asked, record).into_bytes(),
        };
        self.heard.lock().unwrap().push(asked);
        self.arrived.add_permits(1);
        let own = self.agency.as_str();
        match play {
            Play::Body(body) => self.signed(own, &question, &body, body.clone()),
            Play::ChangedAfterSigning => {
                let mut changed = honest.clone();
                changed.push(b' ');
                self.signed(own, &question, &honest, changed)
            }
            Play::Endless => self.streamed(Stream {
                chunk: vec![b' '; 64 * 1024],
                left: usize::MAX,
                sent: false,
                end: None,
            }),
            Play::Held(gate) => {
                gate.acquire().await.unwrap().forget();
                self.signed(own, &question, &honest, honest.clone())
            }
            Play::Counts(_) | Play::Honest | Play::Record(_) | Play::RecordOf(..) => {
                self.signed(own, &question, &honest, honest.clone())
            }
            Play::SealedBy(other) => self.signed(other, &question, &honest, honest.clone()),
            Play::Silent => std::future::pending().await,
            Play::Status(status) => {
                let mut answer = hyper::Response::new(whole(Vec::new()));
                *answer.status_mut() = status.try_into().unwrap();
                answer
            }
            Play::Truncated => {
                let end = Some(std::io::ErrorKind::ConnectionAborted);
                self.streamed(Stream { chunk: b"{\"record\":".to_vec(), left: 1, sent: false, end })
            }
            Play::Unknown => {
                let body = br#"{"status":404}"#.to_vec();
                let mut answer = self.signed(own, &question, &body, body.clone());
                *answer.status_mut() = hyper::StatusCode::NOT_FOUND;
                answer
            }
            Play::Plain(text) => self.unsigned(whole(text.into())),
            Play::Unsigned => self.unsigned(whole(honest)),
        }
    }

    fn streamed(&self, stream: Stream) -> hyper::Response<Body> {
        self.unsigned(stream.boxed())
    }

    fn unsigned(&self, body: Body) -> hyper::Response<Body> {
        let media_type = *self.media_type.lock().unwrap();
        hyper::Response::builder().header("content-type", media_type).body(body).unwrap()
    }

    /// The body that the protocol asks for.
    fn record(
        &self,
        record_type: &RecordTypeId,
        asked: &Value,
        planted: Option<Map<String, Value>>,
    ) -> String {
        let fields: Vec<FieldId> = serde_json::from_value(asked["fields"].clone()).unwrap();
        let code = asked["subject"]["codice_fiscale"].as_str().unwrap().parse().unwrap();
        let person = PEOPLE.find(&code).unwrap();
        let record = planted.unwrap_or_else(|| PEOPLE.record(&self.agency, record_type, person).unwrap());
        json!({ "record": select(record, &fields) }).to_string()
    }

    fn signed(&self, agency: &str, question: &[u8], signed: &[u8], sent: Vec<u8>) -> hyper::Response<Body> {
        let claims = AnswerClaims {
            issuer: agency.to_owned(),
            audience: GATEWAY.to_owned(),
            content_type: Some("application/json".to_owned()),
            request_digest: Sha256::of(question),
        };
        let seal = signer(&self.kit.agency(&agency.parse().unwrap()).unwrap().party.seal);
        let now = (self.clock)();
        let jti = TokenId::new(now, [u8::try_from(self.heard.lock().unwrap().len() % 256).unwrap(); 10]);
        let headers = sign_response(signed, &claims, &seal, now, &jti).unwrap();
        let mut answer = hyper::Response::builder();
        for (name, value) in headers {
            answer = answer.header(name, value);
        }
        answer.body(whole(sent)).unwrap()
    }
}

fn whole(body: Vec<u8>) -> Body {
    Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed()
}

/// The same bytes so many times, then the end, or, once they have been sent, an error, which cuts the connection.
struct Stream {
    chunk: Vec<u8>,
    left: usize,
    end: Option<std::io::ErrorKind>,
    sent: bool,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(self.chunk.clone())))));
        }
        if self.end.is_some() && !self.sent {
            self.sent = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.end.take().map(|kind| Err(kind.into())))
    }
}

fn tls(kit: &Kit, agency: &AgencyId, clock: Clock) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(kit.channel_authority.certificate().clone()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let own = &kit.agency(agency).unwrap().party.channel;
    let config = ServerConfig::builder_with_details(provider, Arc::new(Instants(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![own.certificate().clone()], own.key())
        .unwrap();
    Arc::new(config)
}

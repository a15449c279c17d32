//! A system in this process that answers as a test tells it, over real mutual TLS, and the ends of a call to it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use varco_core::id::{AgencyId, ExchangeId, FieldId};
use varco_core::wire::{Evidence, Jtis, LevelOfAssurance};

use super::fake::{NOW, Pki, TestSeal, TestVerifier};
use super::{PERSON, SYSTEM, registry};
use crate::rest::Ours;
use crate::{Accepted, AgencyRecord, Context, Delivery, FetchError, Limits, Request, Source, Sources};

/// What the system heard.
#[derive(Clone, Debug)]
pub struct Heard {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the system says.
#[derive(Clone, Debug)]
pub struct Told {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
}

pub type Script = Arc<dyn Fn(&Heard) -> Told + Send + Sync>;

/// A running system. It stops when dropped.
pub struct Scripted {
    pub address: SocketAddr,
    pub pki: Pki,
    heard: Arc<Mutex<Vec<Heard>>>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    pub async fn start(script: impl Fn(&Heard) -> Told + Send + Sync + 'static) -> Self {
        let pki = Pki::new();
        let tls = pki.server(pki.issue("localhost", SYSTEM), &pki, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(script);
        let mut tasks = JoinSet::new();
        let ears = Arc::clone(&heard);
        tasks.spawn(async move {
            let mut inner = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, script, ears) =
                    (TlsAcceptor::from(Arc::clone(&tls)), Arc::clone(&script), Arc::clone(&ears));
                inner.spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let service = hyper::service::service_fn(move |request| {
                        let (script, ears) = (Arc::clone(&script), Arc::clone(&ears));
                        async move { Ok::<_, Infallible>(answer(request, script, ears).await) }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, pki, heard, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    script: Script,
    ears: Arc<Mutex<Vec<Heard>>>,
) -> hyper::Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let text = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let heard = Heard {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers.iter().map(text).collect(),
        body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
    };
    let told = script(&heard);
    ears.lock().unwrap().push(heard);
    let response = hyper::Response::builder().status(told.status).header("content-type", told.content_type);
    response.body(Full::new(Bytes::from(told.body))).unwrap()
}

pub fn ours() -> Ours {
    Ours {
        issuer: "gateway.piana.example".to_owned(),
        audiences: vec!["gateway.piana.example".to_owned()],
        signer: Arc::new(TestSeal::of("gateway")),
        verifier: Arc::new(TestVerifier),
    }
}

pub fn agency() -> AgencyId {
    "comune-capannori".parse().unwrap()
}

/// The only source, behind the usual limits.
pub fn behind(source: Source) -> Sources {
    Sources::new([(agency(), source, Limits::default())])
}

fn evidence() -> Evidence {
    Evidence {
        operator: "op-7".parse().unwrap(),
        location: "sportello".to_owned(),
        loa: LevelOfAssurance::Substantial,
    }
}

fn jtis() -> Jtis {
    let jti = |text: &str| text.parse().unwrap();
    Jtis { authorization: jti("j1"), signature: jti("j2"), evidence: jti("j3") }
}

/// Asks a source for fields of our person.
pub async fn fetch(sources: &Sources, record: &str, fields: &[&str]) -> Result<AgencyRecord, FetchError> {
    let fields: Vec<FieldId> = fields.iter().map(|field| field.parse().unwrap()).collect();
    let request = Request {
        exchange: &ExchangeId::new(NOW, [7; 10]),
        consumer: &"cpi-lucca".parse().unwrap(),
        purpose: &"F06".parse().unwrap(),
        record_type: &record.parse().unwrap(),
        subject: &PERSON.parse().unwrap(),
        fields: &fields,
        evidence: &evidence(),
        jtis: &jtis(),
    };
    let registry = registry();
    sources.fetch(&agency(), &request, &Context { registry: &registry, clock: &|| NOW }).await
}

/// Hands over a record of our person.
pub async fn deliver(sources: &Sources, record_type: &str, record: &Value) -> Result<Accepted, FetchError> {
    let Value::Object(record): &Value = record else { panic!("a record") };
    let record: &Map<String, Value> = record;
    let delivery = Delivery {
        exchange: &ExchangeId::new(NOW, [7; 10]),
        provider: &"cpi-lucca".parse().unwrap(),
        purpose: &"F04".parse().unwrap(),
        record_type: &record_type.parse().unwrap(),
        subject: &PERSON.parse().unwrap(),
        record,
        document: r#"{"record":{}}"#,
        evidence: &evidence(),
        jtis: &jtis(),
    };
    let registry = registry();
    sources.deliver(&agency(), &delivery, &Context { registry: &registry, clock: &|| NOW }).await
}

/// What a failure says, with all its causes: it must say nothing of the person or the record.
pub fn checked(error: &FetchError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!("{inner} {inner:?}"));
        cause = inner.source();
    }
    for secret in [PERSON, "CANARINO"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

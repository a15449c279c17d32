//! A peer on the channel: mutual TLS 1.3 and plain HTTP/1.1, nothing signed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use varco::app::Clock;
use varco::pki::Issued;
use varco_core::wire::Message;

use super::Ends;

/// No answer takes so long, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    connector: TlsConnector,
}

/// A connection that stays open between requests.
pub struct Connection {
    address: SocketAddr,
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
    _task: JoinSet<()>,
}

/// There was no answer: the handshake or the connection ended.
#[derive(Debug)]
pub struct NoAnswer(pub String);

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub message: Message,
}

impl Client {
    pub fn new(ends: &Ends, certificate: Option<&Issued>) -> Self {
        Self::with(ends, certificate.map(|own| (own.certificate().clone(), own.key())))
    }

    /// With a certificate and its key, as files hold them.
    pub fn with(ends: &Ends, own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(ends.kit.channel_authority.certificate().clone()).unwrap();
        let clock = ends.clock.clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Instants(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { address: ends.address, connector: TlsConnector::from(Arc::new(config)) }
    }

    pub async fn connect(&self) -> Result<Connection, NoAnswer> {
        let tcp = TcpStream::connect(self.address).await.map_err(no_answer)?;
        let name = ServerName::try_from("localhost").unwrap();
        let tls = self.connector.connect(name, tcp).await.map_err(no_answer)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(no_answer)?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection { address: self.address, sender, _task: task })
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: &str, path: &str, message: Message) -> Result<Answer, NoAnswer> {
        self.connect().await?.send(method, path, message).await
    }

    /// Gets something that needs no signature.
    pub async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.send("GET", path, nothing()).await
    }
}

impl Connection {
    pub async fn send(&mut self, method: &str, path: &str, message: Message) -> Result<Answer, NoAnswer> {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("localhost:{}", self.address.port()));
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(message.body)).boxed()).unwrap();
        let talk = async {
            self.sender.ready().await.map_err(no_answer)?;
            let (head, body) = self.sender.send_request(request).await.map_err(no_answer)?.into_parts();
            let body = body.collect().await.map_err(no_answer)?.to_bytes().to_vec();
            let text = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
                (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
            };
            let headers = head.headers.iter().map(text).collect();
            Ok(Answer { status: head.status.as_u16(), message: Message { headers, body } })
        };
        tokio::time::timeout(PATIENCE, talk).await.unwrap()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.message.body).unwrap_or_default()
    }

    /// The code of a problem; empty when it is none.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A message with neither headers nor body.
pub const fn nothing() -> Message {
    Message { headers: Vec::new(), body: Vec::new() }
}

fn no_answer(error: impl std::fmt::Display) -> NoAnswer {
    NoAnswer(error.to_string())
}

/// The world's clock as rustls reads it.
pub struct Instants(pub Clock);

impl TimeProvider for Instants {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl std::fmt::Debug for Instants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instants")
    }
}

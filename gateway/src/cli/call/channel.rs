//! One signed call over mutual TLS 1.3: connect, send, read within limits. Knows nothing of tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{
    CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, pem::PemObject as _,
};
use rustls::{ClientConfig, RootCertStore, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use varco_core::wire::Message;

/// From the first packet to the last byte of the answer: a provider may take ten seconds, the gateway adds little.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A page of an inbox, twenty of the largest deliveries with their receipts and signatures, is 5 MiB.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the answer is larger than the limit, or was cut")]
    Body,
    #[error("the connection failed: {0}")]
    Connect(#[source] std::io::Error),
    #[error("`{}` cannot be used: {what}", .path.display())]
    File { path: PathBuf, what: String },
    #[error("the answer has a header that is not text")]
    Header,
    #[error("the exchange over HTTP failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be built")]
    Request(#[from] hyper::http::Error),
    #[error("TLS settings: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no answer within {} seconds", CALL_TIMEOUT.as_secs())]
    Timeout,
    #[error("the gateway's address must be an https URL")]
    Url,
}

impl From<InvalidDnsNameError> for CallError {
    fn from(_: InvalidDnsNameError) -> Self {
        Self::Url
    }
}

/// The caller's end of a channel.
pub struct Channel {
    connector: TlsConnector,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub message: Message,
}

impl Channel {
    /// From PEM files: our client certificate with its chain, its key, and the authority of the server's certificate.
    pub fn open(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, CallError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(authority)? {
            roots.add(root)?;
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(certificate)?, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends `message` and reads the whole answer.
    pub async fn send(&self, to: (&Method, &Uri), message: Message) -> Result<Answer, CallError> {
        tokio::time::timeout(CALL_TIMEOUT, self.exchange(to, message))
            .await
            .map_err(|_| CallError::Timeout)?
    }

    async fn exchange(&self, to: (&Method, &Uri), message: Message) -> Result<Answer, CallError> {
        let (method, url) = to;
        let (host, port) = address(url)?;
        let tcp = TcpStream::connect((host, port)).await.map_err(CallError::Connect)?;
        let name = ServerName::try_from(host.to_owned())?;
        let tls = self.connector.connect(name, tcp).await.map_err(CallError::Connect)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        let request = request(method, url, message)?;
        let talk = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body =
                Limited::new(body, ANSWER_MAX).collect().await.map_err(|_| CallError::Body)?.to_bytes();
            answer(&head, &body)
        };
        // The connection only has to live until the answer is here; how it ends afterwards says nothing.
        tokio::pin!(talk);
        tokio::select! {
            answer = &mut talk => answer,
            _ = connection => talk.await,
        }
    }
}

fn request(method: &Method, url: &Uri, message: Message) -> Result<hyper::Request<Full<Bytes>>, CallError> {
    let host = url.authority().ok_or(CallError::Url)?.as_str();
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("accept", "application/json");
    for (name, value) in message.headers {
        request = request.header(name, value);
    }
    Ok(request.body(Full::new(Bytes::from(message.body)))?)
}

fn answer(head: &hyper::http::response::Parts, body: &Bytes) -> Result<Answer, CallError> {
    let mut headers = Vec::new();
    for (name, value) in &head.headers {
        let value = value.to_str().map_err(|_| CallError::Header)?;
        headers.push((name.as_str().to_owned(), value.to_owned()));
    }
    Ok(Answer { status: head.status.as_u16(), message: Message { headers, body: body.to_vec() } })
}

fn address(url: &Uri) -> Result<(&str, u16), CallError> {
    if url.scheme_str() != Some("https") {
        return Err(CallError::Url);
    }
    let host = url.host().ok_or(CallError::Url)?;
    Ok((host.trim_matches(['[', ']']), url.port_u16().unwrap_or(443)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CallError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, &error))?;
    if certificates.is_empty() {
        return Err(CallError::File { path: path.to_owned(), what: "it holds no certificate".to_owned() });
    }
    Ok(certificates)
}

fn unusable(path: &Path, error: &rustls::pki_types::pem::Error) -> CallError {
    CallError::File { path: path.to_owned(), what: error.to_string() }
}

//! A small HTTPS client for checkpoints, tiles and cosignatures: one request a connection, everything bounded.
//!
//! It believes nothing it reads. What it fetches is signed or hashed, and whoever asked checks that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::http::request;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// From the first packet to the last byte. A witness answers in milliseconds; a bundle of bodies takes longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// 256 entries with three bodies of 64 KiB each, in base64 and JSON, and room.
const ANSWER_MAX: usize = 80 * 1024 * 1024;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the answer is larger than the limit, or was cut")]
    Body,
    #[error("the connection failed: {0}")]
    Connect(#[source] std::io::Error),
    #[error("`{}` cannot be used: {what}", .path.display())]
    File { path: PathBuf, what: String },
    #[error("the exchange over HTTP failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be built")]
    Request(#[from] hyper::http::Error),
    #[error("TLS settings: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no answer within {} seconds", TIMEOUT.as_secs())]
    Timeout,
    #[error("expected an https address, not `{0}`")]
    Url(String),
}

/// What came back.
pub struct Fetched {
    pub status: u16,
    pub body: Bytes,
}

/// Our certificate and its key, PEM files.
pub struct Identity<'a> {
    pub certificate: &'a Path,
    pub key: &'a Path,
}

/// The client: whose servers it believes, and who it is.
#[derive(Clone)]
pub struct Fetcher {
    connector: TlsConnector,
}

impl Fetcher {
    /// From the PEM files of the authorities of servers' certificates, and our own certificate where one is asked for.
    pub fn new(authorities: &[PathBuf], identity: Option<&Identity<'_>>) -> Result<Self, FetchError> {
        let mut roots = RootCertStore::empty();
        for path in authorities {
            for root in certificates(path)? {
                roots.add(root)?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(identity) => {
                let pem = read(identity.key)?;
                let key = varco_jose::private_key(&pem).map_err(unusable(identity.key))?;
                let key = PrivateKeyDer::try_from(key.to_vec()).map_err(unusable(identity.key))?;
                config.with_client_auth_cert(certificates(identity.certificate)?, key)?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    pub async fn post(&self, url: &str, body: impl Into<Bytes>) -> Result<Fetched, FetchError> {
        self.post_as("text/plain; charset=utf-8", url, body.into()).await
    }

    pub async fn post_as(&self, media: &'static str, url: &str, body: Bytes) -> Result<Fetched, FetchError> {
        let wrong = || FetchError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong());
        }
        within(self.over_tls(&uri, Request::post(&uri).header("content-type", media), body)).await
    }

    /// Like [`Self::post_as`], also to an `http` address: only for what is signed by whoever answers and secret to nobody,
    /// such as time stamps (RFC 3161 section 3.4).
    pub async fn post_signed(
        &self,
        media: &'static str,
        url: &str,
        body: Bytes,
    ) -> Result<Fetched, FetchError> {
        let wrong = || FetchError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") {
            return self.post_as(media, url, body).await;
        }
        let request = Request::post(&uri).header("content-type", media);
        within(async {
            let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']);
            let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or(80)));
            exchange(tcp.await.map_err(FetchError::Connect)?, &uri, request, body).await
        })
        .await
    }

    pub async fn get(&self, url: &str) -> Result<Fetched, FetchError> {
        let wrong = || FetchError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong());
        }
        within(self.over_tls(&uri, Request::get(&uri), Bytes::new())).await
    }

    async fn over_tls(
        &self,
        uri: &Uri,
        request: request::Builder,
        body: Bytes,
    ) -> Result<Fetched, FetchError> {
        let host = uri.host().ok_or_else(|| FetchError::Url(uri.to_string()))?.trim_matches(['[', ']']);
        let tls = self.connect(host, uri.port_u16().unwrap_or(443)).await?;
        exchange(tls, uri, request, body).await
    }

    /// A connection to a server, its certificate checked, with nothing sent on it yet.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, FetchError> {
        let tcp = TcpStream::connect((host, port)).await.map_err(FetchError::Connect)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::Url(host.to_owned()))?;
        self.connector.connect(name, tcp).await.map_err(FetchError::Connect)
    }
}

async fn within(work: impl Future<Output = Result<Fetched, FetchError>>) -> Result<Fetched, FetchError> {
    tokio::time::timeout(TIMEOUT, work).await.map_err(|_| FetchError::Timeout)?
}

async fn exchange<S>(
    stream: S,
    uri: &Uri,
    request: request::Builder,
    body: Bytes,
) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().ok_or_else(|| FetchError::Url(uri.to_string()))?.as_str();
    let request = request.uri(path).header("host", authority).body(Full::new(body))?;
    let talk = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|_| FetchError::Body)?;
        Ok(Fetched { status: head.status.as_u16(), body: body.to_bytes() })
    };
    // The connection only has to live until the answer is here; how it ends afterwards says nothing.
    tokio::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        _ = connection => talk.await,
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FetchError> {
    let found = varco_jose::certificates(&read(path)?).map_err(unusable(path))?;
    Ok(found.into_iter().map(CertificateDer::from).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, FetchError> {
    std::fs::read(path).map_err(unusable(path))
}

fn unusable<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> FetchError {
    let path = path.to_owned();
    move |error| FetchError::File { path, what: error.to_string() }
}

//! HTTP towards the two neighbours: the gateway over mutual TLS, local software in the clear. Bounded in size and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use varco_core::wire::Message;

/// A page of an inbox, twenty of the largest deliveries with their receipts and signatures, is 5 MiB.
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// Shorter than the 75 s that a gateway keeps idle connections, so that we never write into one that is being closed.
const IDLE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the address `{0}` cannot be used")]
    Address(String),
    #[error("the answer is larger than {ANSWER_MAX} bytes, or was cut")]
    Body,
    #[error("no connection, or it broke")]
    Connection(#[from] PoolError),
    #[error("no answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
}

impl ClientError {
    /// Whether nobody listens there.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connection(error) if error.is_connect())
    }
}

/// What goes where.
pub struct Call {
    pub method: Method,
    pub url: String,
    pub message: Message,
    pub timeout: Duration,
}

pub struct Answer {
    pub status: u16,
    pub message: Message,
}

/// Keeps connections open between calls.
pub struct Client(Kind);

enum Kind {
    Local(Pool<HttpConnector, Full<Bytes>>),
    Remote(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Client {
    pub fn local() -> Self {
        Self(Kind::Local(pool().build(connector())))
    }

    pub fn remote(tls: &Arc<ClientConfig>) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(tls))
            .https_only()
            .enable_http1()
            .wrap_connector(connector());
        Self(Kind::Remote(pool().build(connector)))
    }

    pub async fn send(&self, call: Call) -> Result<Answer, ClientError> {
        let timeout = call.timeout;
        tokio::time::timeout(timeout, self.exchange(call)).await.map_err(|_| ClientError::Timeout(timeout))?
    }

    async fn exchange(&self, call: Call) -> Result<Answer, ClientError> {
        let address: Uri = call.url.parse().map_err(|_| ClientError::Address(call.url.clone()))?;
        let mut request = Request::new(Full::new(Bytes::from(call.message.body)));
        *request.method_mut() = call.method;
        *request.uri_mut() = address;
        for (name, value) in call.message.headers {
            // Made by us, of names and ASCII; what is not cannot be sent.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                request.headers_mut().append(name, value);
            }
        }
        let response = match &self.0 {
            Kind::Local(pool) => pool.request(request).await,
            Kind::Remote(pool) => pool.request(request).await,
        };
        let (head, body) = response?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|_| ClientError::Body)?;
        // A header that is no text cannot be one that a signature is over.
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            value.to_str().ok().map(|value| (name.as_str().to_owned(), value.to_owned()))
        };
        let headers = head.headers.iter().filter_map(text).collect();
        Ok(Answer {
            status: head.status.as_u16(),
            message: Message { headers, body: body.to_bytes().to_vec() },
        })
    }
}

fn pool() -> hyper_util::client::legacy::Builder {
    let mut builder = Pool::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    builder
}

fn connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

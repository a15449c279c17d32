//! HTTPS to an agency's system: one client with our certificate, trust and limits, and what can go wrong on the way.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use varco_core::wire::Message;

use crate::FetchError;

/// Two tokens of at most 12 KB, and a few lines. hyper reads in growing steps, so that up to twice as much may slip through.
const HEAD_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 64;
/// A machine on the same network answers at once; a lost SYN is sent again after one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than the 60 s that the protocol asks systems to keep idle connections, so that we never write into one that
/// is being closed.
const IDLE: Duration = Duration::from_secs(30);

/// `https`, host, and perhaps a path to which more is added. No slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    origin: String,
}

/// The address of an agency's system is not of the form we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as `https://host:8443/path`, without query or fragment")]
pub struct AddressFault;

impl Address {
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        let uri: Uri = text.parse().map_err(|_| AddressFault)?;
        if text.contains(['?', '#']) {
            return Err(AddressFault);
        }
        let origin = origin(&uri).ok_or(AddressFault)?;
        Ok(Self { text: text.trim_end_matches('/').to_owned(), origin })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address below this one.
    pub fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.text)
    }

    /// An address that the system named itself, absolute or from its root, if it leads to the same scheme, host and
    /// port: a system may not send us elsewhere.
    pub fn follow(&self, named: &str) -> Option<String> {
        let absolute = if named.starts_with('/') && !named.starts_with("//") {
            format!("{}{named}", self.origin)
        } else {
            named.to_owned()
        };
        let uri: Uri = absolute.parse().ok()?;
        (origin(&uri)? == self.origin).then_some(absolute)
    }
}

/// Scheme, host and port, the usual port left out. `None` for anything but `https`, and with a user in it.
fn origin(uri: &Uri) -> Option<String> {
    if uri.scheme_str() != Some("https") || uri.authority().is_none_or(|at| at.as_str().contains('@')) {
        return None;
    }
    let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
    match uri.port_u16() {
        None | Some(443) => Some(format!("https://{host}")),
        Some(port) => Some(format!("https://{host}:{port}")),
    }
}

type Agent = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Keeps connections to one system.
pub(crate) struct Https {
    agent: RwLock<Agent>,
}

/// What is sent.
pub(crate) struct Question<'a> {
    pub method: Method,
    pub address: &'a str,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What came, whole.
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Https {
    pub fn new(tls: &Arc<ClientConfig>) -> Self {
        Self { agent: RwLock::new(agent(tls)) }
    }

    /// Uses a new TLS configuration from now on. Idle connections of the old one end, busy ones end with their request.
    pub fn renew(&self, tls: &Arc<ClientConfig>) {
        *self.agent.write().unwrap_or_else(PoisonError::into_inner) = agent(tls);
    }

    pub async fn send(&self, question: Question<'_>) -> Result<hyper::Response<Incoming>, FetchError> {
        let mut http = hyper::Request::new(Full::new(Bytes::from(question.body)));
        *http.method_mut() = question.method;
        *http.uri_mut() =
            question.address.parse().map_err(|error| FetchError::Unreachable(Box::new(error)))?;
        for (name, value) in question.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(&value);
            // Our own headers are names and base64: they are always good.
            if let (Ok(name), Ok(value)) = (name, value) {
                http.headers_mut().append(name, value);
            }
        }
        let agent = self.agent.read().unwrap_or_else(PoisonError::into_inner).clone();
        agent.request(http).await.map_err(unanswered)
    }

    /// Sends, and reads the whole answer, as long as it is not too large.
    pub async fn ask(&self, question: Question<'_>, answer_max: usize) -> Result<Reply, FetchError> {
        receive(self.send(question).await?, answer_max).await
    }
}

impl Reply {
    /// The media type, without its parameters, in lower case.
    pub fn media_type(&self) -> String {
        let value = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let value = value.and_then(|value| value.split(';').next()).unwrap_or_default();
        value.trim().to_ascii_lowercase()
    }

    pub fn into_message(self) -> Message {
        // A header that is no text cannot be one that a signature is over.
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            value.to_str().ok().map(|value| (name.as_str().to_owned(), value.to_owned()))
        };
        Message { headers: self.headers.iter().filter_map(text).collect(), body: self.body }
    }
}

fn agent(tls: &Arc<ClientConfig>) -> Agent {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(ClientConfig::clone(tls))
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http1_max_buf_size(HEAD_MAX)
        .http1_max_headers(HEADERS_MAX)
        .build(connector)
}

/// Reads the whole answer, as long as it is not too large.
pub(crate) async fn receive(
    response: hyper::Response<Incoming>,
    answer_max: usize,
) -> Result<Reply, FetchError> {
    let too_large = || FetchError::AnswerTooLarge { limit: answer_max };
    let (head, mut incoming) = response.into_parts();
    let announced = hyper::body::Body::size_hint(&incoming).lower();
    let announced =
        usize::try_from(announced).ok().filter(|size| *size <= answer_max).ok_or_else(too_large)?;
    let mut body = Vec::with_capacity(announced);
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(FetchError::CutShort)?;
        if let Some(bytes) = frame.data_ref() {
            // A length that was not announced is counted as it comes.
            if bytes.len() > answer_max.saturating_sub(body.len()) {
                return Err(too_large());
            }
            body.extend_from_slice(bytes);
        }
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head.headers.get(CONTENT_ENCODING).is_none_or(plain) {
        return Err(FetchError::ContentType);
    }
    Ok(Reply { status: head.status, headers: head.headers, body })
}

fn unanswered(error: hyper_util::client::legacy::Error) -> FetchError {
    match caused_by::<rustls::Error>(&error) {
        Some(tls @ rustls::Error::AlertReceived(_)) => return FetchError::OurCertificate(tls.clone()),
        Some(tls @ rustls::Error::InvalidCertificate(_)) => return FetchError::Certificate(tls.clone()),
        Some(_) | None => {}
    }
    match caused_by::<hyper::Error>(&error) {
        Some(http) if http.is_parse_too_large() => FetchError::AnswerTooLarge { limit: HEAD_MAX },
        Some(http) if http.is_parse() => FetchError::NotHttp,
        Some(_) | None => FetchError::Unreachable(Box::new(error)),
    }
}

/// The first of an error's causes that is of this type. An `io::Error` hides the one it carries from `source`.
pub(crate) fn caused_by<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_with_a_path_at_most() {
        for wrong in [
            "",
            "localhost",
            "http://a/",
            "https://a/?b",
            "https://a/#b",
            "https://",
            "ftp://a",
            "https://u@a/",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Address::parse("https://[::1]:8443/a/b/").unwrap().as_str(), "https://[::1]:8443/a/b");
    }

    #[test]
    fn a_system_may_name_further_addresses_of_its_own_and_no_others() {
        let base = Address::parse("https://fhir.asl.example:443/r4").unwrap();
        for (named, found) in [
            ("https://fhir.asl.example/r4?page=2", Some("https://fhir.asl.example/r4?page=2")),
            ("https://FHIR.asl.example:443/other", Some("https://FHIR.asl.example:443/other")),
            ("/r4?page=2", Some("https://fhir.asl.example/r4?page=2")),
            ("https://fhir.asl.example:8443/r4?page=2", None),
            ("http://fhir.asl.example/r4?page=2", None),
            ("https://elsewhere.example/r4?page=2", None),
            ("https://fhir.asl.example@elsewhere.example/", None),
            ("//elsewhere.example/r4", None),
            ("?page=2", None),
        ] {
            assert_eq!(base.follow(named).as_deref(), found, "{named}");
        }
    }
}

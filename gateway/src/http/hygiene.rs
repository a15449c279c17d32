//! Rules that every request must keep before anything else looks at it.
//!
//! hyper refuses what is malformed; these rules refuse what is well formed but can be read in two ways, or has no
//! business here. They know nothing of routes, agencies or tokens.

use axum::http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use axum::http::{Method, Request, Version};
use varco_core::code::Code;

/// The names under which a listener may be addressed, from the configuration: `gateway.piana.example:8443`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

/// Why a request is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HygieneFault {
    #[error("the request target must be a path, not a whole address")]
    AbsoluteTarget,
    #[error("this method takes no request body")]
    BodyWithoutMeaning,
    #[error("there must be exactly one Host, or :authority")]
    HostCount,
    #[error("Host names another server")]
    HostUnknown,
    #[error("this method is not used here")]
    Method,
    #[error(
        "the path holds an encoded slash, a backslash, a dot segment, an empty segment or a control character"
    )]
    Path,
    #[error("the only transfer coding accepted is `chunked`, once")]
    TransferEncoding,
    #[error("a connection cannot be upgraded")]
    Upgrade,
    #[error("the query is longer than {LONGEST_QUERY} bytes")]
    QueryTooLong,
}

/// Room for a cursor, a limit and a sort order (RAC conventions); identifiers of people never stand in a query.
pub const LONGEST_QUERY: usize = 1024;

impl HygieneFault {
    pub fn code(self) -> Code {
        match self {
            Self::Method => Code::HttpMethod,
            Self::AbsoluteTarget
            | Self::BodyWithoutMeaning
            | Self::HostCount
            | Self::HostUnknown
            | Self::Path
            | Self::TransferEncoding
            | Self::Upgrade
            | Self::QueryTooLong => Code::HttpBadRequest,
        }
    }
}

impl Hosts {
    /// `names` as they stand in a Host header, port included where it is not 443. Empty: any name will do.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    fn know(&self, host: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Checks one request's head.
pub fn check<B>(request: &Request<B>, hosts: &Hosts) -> Result<(), HygieneFault> {
    let takes_body = takes_body(request.method());
    let bodiless = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];
    if !takes_body && !bodiless.contains(request.method()) {
        return Err(HygieneFault::Method);
    }
    check_host(request, hosts)?;
    check_path(request)?;
    let headers = request.headers();
    if headers.contains_key(UPGRADE) {
        return Err(HygieneFault::Upgrade);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let plain = coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !plain || codings.next().is_some() {
        return Err(HygieneFault::TransferEncoding);
    }
    let length = headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if !takes_body && (length || coding.is_some()) {
        return Err(HygieneFault::BodyWithoutMeaning);
    }
    Ok(())
}

/// Whether a body of a request with this method means anything to us.
pub fn takes_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

fn check_host<B>(request: &Request<B>, hosts: &Hosts) -> Result<(), HygieneFault> {
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let mut named = request.headers().get_all(HOST).iter();
    let header = named.next().map(|host| host.to_str().unwrap_or_default());
    if named.next().is_some() {
        return Err(HygieneFault::HostCount);
    }
    let host = match (request.version() == Version::HTTP_2, authority, header) {
        // RFC 9113 section 8.3.1: :authority, and a Host beside it may only repeat it.
        (true, Some(authority), None) => authority,
        (true, Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => authority,
        (false, Some(_), _) => return Err(HygieneFault::AbsoluteTarget),
        (false, None, Some(host)) => host,
        (true, _, _) | (false, None, None) => return Err(HygieneFault::HostCount),
    };
    if hosts.know(host) { Ok(()) } else { Err(HygieneFault::HostUnknown) }
}

/// Our paths are plain ASCII words and identifiers: nothing has to be decoded to be understood.
fn check_path<B>(request: &Request<B>) -> Result<(), HygieneFault> {
    let uri = request.uri();
    let path = uri.path();
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~' | b':');
    let mut segments = path.split('/').skip(1);
    let whole = path.starts_with('/') && path.bytes().all(plain);
    let last_may_be_empty = path == "/";
    if !whole
        || segments.any(|segment| matches!(segment, "." | "..") || segment.is_empty() && !last_may_be_empty)
    {
        return Err(HygieneFault::Path);
    }
    if uri.query().is_some_and(|query| query.len() > LONGEST_QUERY) {
        return Err(HygieneFault::QueryTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn check_one(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<(), HygieneFault> {
        check(&request(method, target, headers), &Hosts::new(["gateway.example:8443".into()]))
    }

    const OURS: (&str, &str) = ("host", "Gateway.Example:8443");

    #[test]
    fn ordinary_requests_pass() {
        assert_eq!(check_one("GET", "/rest/varco/v1/status", &[OURS]), Ok(()));
        assert_eq!(check_one("POST", "/rest/varco/v1/pulls", &[OURS, ("content-length", "12")]), Ok(()));
        assert_eq!(
            check_one("POST", "/log/tile/0/x001/067", &[OURS, ("transfer-encoding", "chunked")]),
            Ok(())
        );
        assert_eq!(check_one("GET", "/", &[OURS, ("content-length", "0")]), Ok(()));
    }

    #[test]
    fn the_host_must_be_one_and_ours() {
        assert_eq!(check_one("GET", "/", &[]), Err(HygieneFault::HostCount));
        assert_eq!(check_one("GET", "/", &[OURS, OURS]), Err(HygieneFault::HostCount));
        assert_eq!(check_one("GET", "/", &[("host", "evil.example")]), Err(HygieneFault::HostUnknown));
        assert_eq!(check_one("GET", "https://evil.example/", &[OURS]), Err(HygieneFault::AbsoluteTarget));
        let mut h2 = request("GET", "https://gateway.example:8443/", &[]);
        *h2.version_mut() = Version::HTTP_2;
        let hosts = Hosts::new(["gateway.example:8443".into()]);
        assert_eq!(check(&h2, &hosts), Ok(()));
        h2.headers_mut().insert(HOST, "other.example".parse().unwrap());
        assert_eq!(check(&h2, &hosts), Err(HygieneFault::HostCount));
    }

    #[test]
    fn paths_that_could_mean_two_things_are_refused() {
        for path in ["/a%2fb", "/a%5cb", "/a/../b", "/./a", "/a//b", "/a%00", "/a/", "//a"] {
            assert_eq!(check_one("GET", path, &[OURS]), Err(HygieneFault::Path), "{path}");
        }
        let long = format!("/a?{}", "q".repeat(LONGEST_QUERY + 1));
        assert_eq!(check_one("GET", &long, &[OURS]), Err(HygieneFault::QueryTooLong));
    }

    #[test]
    fn bodies_and_codings_must_make_sense() {
        assert_eq!(check_one("TRACE", "/", &[OURS]), Err(HygieneFault::Method));
        assert_eq!(check_one("CONNECT", "/", &[OURS]), Err(HygieneFault::Method));
        let body = check_one("GET", "/", &[OURS, ("content-length", "5")]);
        assert_eq!(body, Err(HygieneFault::BodyWithoutMeaning));
        let body = check_one("DELETE", "/", &[OURS, ("transfer-encoding", "chunked")]);
        assert_eq!(body, Err(HygieneFault::BodyWithoutMeaning));
        let coding = check_one("POST", "/", &[OURS, ("transfer-encoding", "gzip, chunked")]);
        assert_eq!(coding, Err(HygieneFault::TransferEncoding));
        assert_eq!(check_one("GET", "/", &[OURS, ("upgrade", "h2c")]), Err(HygieneFault::Upgrade));
    }
}

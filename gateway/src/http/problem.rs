//! Errors as a peer sees them: `application/problem+json` (RFC 9457), one stable code each.
//!
//! A problem never holds a value of a record, a token or an identifier of a person: details are written by us and
//! name what is wrong, not what was sent.

use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use varco_core::code::Code;

/// The media type of RFC 9457.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// What a 503 asks for unless the place that made it knows better.
pub const RETRY: Duration = Duration::from_secs(5);

/// An error answer. Make it precise only for a peer that is authenticated; see [`Problem::for_anyone`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Option<String>,
    instance: Option<String>,
    retry_after: Option<Duration>,
}

impl Problem {
    pub fn new(code: Code) -> Self {
        let retry_after = matches!(code.status(), 429 | 503).then_some(RETRY);
        Self { code, detail: None, instance: None, retry_after }
    }

    /// Says what exactly is wrong. Never put anything of the request in it that the sender did not choose as a name.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names the occurrence by the exchange's id, so that both sides can find it in their logs.
    #[must_use]
    pub fn instance(mut self, id: &str) -> Self {
        self.instance = Some(id.to_owned());
        self
    }

    /// Tells when to try again. Sent in whole seconds, rounded up, at least one.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Without the detail, for a peer that is not authenticated and must learn nothing from probing.
    #[must_use]
    pub fn for_anyone(mut self) -> Self {
        self.detail = None;
        self
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// The body, for a caller that signs its answers itself.
    pub fn body(&self) -> Vec<u8> {
        let detail = self.detail.as_deref();
        let mut members = self.code.problem(detail.unwrap_or_default(), self.instance.as_deref());
        if detail.is_none() {
            members.remove("detail");
        }
        serde_json::Value::Object(members).to_string().into_bytes()
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(axum::body::Body::from(self.body()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

/// Rounded up, at least one: a peer that waits so long does not come too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    let more = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(more).max(1)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_problem_has_the_members_of_rfc_9457_and_its_code() {
        let problem = Problem::new(Code::WireExpired)
            .detail("the Authorization token expired 12 s ago")
            .instance("0198f0c2-aaaa-7fff-bfff-ffffffffffff");
        let response = problem.into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers().get("retry-after"), None);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "urn:varco:error:wire.expired");
        assert_eq!(body["status"], 400);
        assert_eq!(body["code"], "wire.expired");
        assert_eq!(body["detail"], "the Authorization token expired 12 s ago");
        assert_eq!(body["instance"], "urn:uuid:0198f0c2-aaaa-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn a_stranger_learns_no_detail() {
        let problem = Problem::new(Code::WireSignature).detail("key 7").for_anyone();
        assert!(!String::from_utf8(problem.body()).unwrap().contains("detail"));
    }

    #[test]
    fn busy_and_limited_answers_tell_when_to_come_back() {
        for code in Code::ALL {
            let retry = Problem::new(*code).into_response().headers().contains_key("retry-after");
            assert_eq!(retry, matches!(code.status(), 429 | 503), "{}", code.text());
        }
        let late = Problem::new(Code::LimitExceeded).retry_after(Duration::from_millis(2001));
        assert_eq!(late.into_response().headers()["retry-after"], "3");
    }
}

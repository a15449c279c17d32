//! What is written, and what is not.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::IntoResponse as _;
use axum::routing::get;
use tower::ServiceExt as _;

use super::*;
use crate::http::problem::Problem;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(format: Format, level: Level, events: impl FnOnce()) -> String {
    let page = Page::default();
    let to = page.clone();
    let subscriber = subscriber(Settings { format, level }, move || to.clone());
    tracing::subscriber::with_default(subscriber, events);
    page.text()
}

#[test]
fn what_other_crates_say_is_heard_from_warnings_up() {
    let text = written(Format::Text, Level::Debug, || {
        tracing::debug!(target: "varco::inbound", "ours");
        tracing::debug!(target: "hyper::proto", "chatter");
        tracing::warn!(target: "hyper::proto", "trouble");
    });
    assert!(text.contains("ours") && text.contains("trouble") && !text.contains("chatter"), "{text}");
    let text = written(Format::Text, Level::Error, || tracing::warn!(target: "hyper::proto", "trouble"));
    assert_eq!(text, "");
}

#[test]
fn nothing_that_looks_like_a_person_or_a_token_is_written() {
    for format in [Format::Text, Format::Json] {
        let text = written(format, Level::Info, || {
            tracing::info!(
                subject = "XXQMRA80A01H501U",
                token = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
                "XXQMRA80A01H501U"
            );
        });
        assert!(!text.contains("XXQMRA") && !text.contains("eyJ"), "{text}");
        assert_eq!(text.matches(redact::STRUCK_OUT).count(), 3, "{text}");
    }
}

#[tokio::test]
async fn a_request_is_logged_by_route_outcome_and_parties_without_its_address() {
    let page = Page::default();
    let to = page.clone();
    let settings = Settings { format: Format::Json, level: Level::Info };
    let _logging = tracing::subscriber::set_default(subscriber(settings, move || to.clone()));
    let refuse = || async {
        let mut response = Problem::new(Code::ConsentUnknown).into_response();
        let trace = Trace { consumer: "comune-lucca".parse().ok(), exchange: None };
        response.extensions_mut().insert(trace);
        response
    };
    let router = Router::new().route("/consents/{id}", get(refuse)).layer(from_fn(observe));
    let request = Request::builder().uri("/consents/secret-in-the-path").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let line: serde_json::Value = serde_json::from_str(&page.text()).unwrap();
    assert_eq!(line["http.route"], "/consents/{id}");
    assert_eq!(line["http.status"], 404);
    assert_eq!(line["agency.id"], "comune-lucca");
    assert_eq!(line["code"], "consent.unknown");
    assert!(!page.text().contains("secret-in-the-path"));
}

#[tokio::test]
async fn metrics_are_read_over_their_own_listener() {
    let metrics = metrics::start().unwrap();
    assert!(metrics::start().is_err(), "once in a process");
    metrics::request("/pulls", StatusCode::OK, None, std::time::Duration::from_millis(3));
    metrics::log_state(7, 2, metrics::LogHealth::Healthy);
    let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    let response = metrics.router().oneshot(request).await.unwrap();
    let text = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("varco_requests_total{route=\"/pulls\",status=\"200\",code=\"\"} 1"), "{text}");
    assert!(
        text.contains("varco_request_duration_seconds_bucket{route=\"/pulls\",le=\"0.005\"} 1"),
        "{text}"
    );
    assert!(text.contains("varco_log_size 7"), "{text}");
}

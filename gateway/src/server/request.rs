//! One request: everything that must hold before the router sees it, and the answer back.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, Version};
use axum::response::IntoResponse as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;
use tower::ServiceExt as _;
use varco_core::code::Code;

use super::RemoteAddress;
use super::connection::Connection;
use crate::http::hygiene::{self, HygieneFault};
use crate::http::problem::Problem;

/// Whether the connection can carry another request after a refusal.
enum Refused {
    /// The request alone is wrong.
    Request(Problem),
    /// Bytes of it may still arrive, or the peer must not be heard again.
    Connection(Problem),
}

pub async fn answer(connection: &Arc<Connection>, request: Request<Incoming>) -> Response<Body> {
    let _counted = connection.activity.request();
    let version = request.version();
    match handle(connection, request).await {
        Ok(response) => response,
        Err(Refused::Request(problem)) => refuse(connection, problem),
        Err(Refused::Connection(problem)) => {
            connection.activity.close();
            let mut response = refuse(connection, problem);
            if version != Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

fn refuse(connection: &Connection, problem: Problem) -> Response<Body> {
    metrics::counter!("varco_requests_refused_total", "code" => problem.code().text()).increment(1);
    let problem = if connection.peer.is_some() { problem } else { problem.for_anyone() };
    problem.into_response()
}

async fn handle(connection: &Arc<Connection>, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
    connection.verify_again().map_err(|error| {
        tracing::warn!(peer = %connection.address, %error, "a live connection's certificate is no longer accepted");
        Refused::Connection(Problem::new(Code::ChannelCertificate).detail(error.to_string()))
    })?;
    if let Some(fault) = connection.activity.suspect() {
        return Err(Refused::Connection(Problem::new(Code::HttpBadRequest).detail(fault.to_string())));
    }
    let shared = &connection.shared;
    hygiene::check(&request, &shared.server.hosts)
        .map_err(|fault| Refused::Connection(Problem::new(fault.code()).detail(fault.to_string())))?;
    let busy = || Refused::Request(Problem::new(Code::ServerBusy));
    let share = match &connection.peer {
        Some(peer) => shared.busy.enter_certified(peer.identity.key),
        None => shared.busy.enter_address(connection.address.ip()),
    };
    let permit = shared.requests.clone().try_acquire_owned();
    let held = (share.ok_or_else(busy)?, permit.map_err(|_| busy())?);
    let request = whole(connection, request).await?;
    // Bytes after the head have been seen too by now.
    if let Some(fault) = connection.activity.suspect() {
        return Err(Refused::Connection(Problem::new(Code::HttpBadRequest).detail(fault.to_string())));
    }
    if request.body().size_hint().lower() > 0 && !hygiene::takes_body(request.method()) {
        let fault = HygieneFault::BodyWithoutMeaning;
        return Err(Refused::Connection(Problem::new(fault.code()).detail(fault.to_string())));
    }
    let router = shared.server.router.clone();
    // A task of its own: once a request is accepted, it ends with its outcome logged, whether or not the peer waits.
    let exchange = shared.exchanges.spawn("exchange", async move {
        let _held = held;
        router.oneshot(request).await
    });
    match exchange.await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(never)) => match never {},
        // The panic was reported by the group of tasks.
        Err(_panicked) => Err(Refused::Request(Problem::new(Code::Internal))),
    }
}

/// Reads the whole body, within its limits, and forgets its trailers.
async fn whole(connection: &Connection, request: Request<Incoming>) -> Result<Request<Body>, Refused> {
    let limits = &connection.shared.server.limits;
    let (mut parts, body) = request.into_parts();
    let declared = body.size_hint().lower();
    if declared > u64::try_from(limits.body_bytes).unwrap_or(u64::MAX) {
        return Err(too_large(limits.body_bytes));
    }
    let bytes = match timeout(limits.body, Limited::new(body, limits.body_bytes).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large(limits.body_bytes)),
        Ok(Err(_)) => {
            let problem = Problem::new(Code::HttpBadRequest).detail("the body did not arrive as announced");
            return Err(Refused::Connection(problem));
        }
        Err(_) => return Err(Refused::Connection(Problem::new(Code::HttpTimeout))),
    };
    parts.extensions.insert(RemoteAddress(connection.address));
    if let Some(peer) = &connection.peer {
        parts.extensions.insert(peer.clone());
    }
    Ok(Request::from_parts(parts, body_of(bytes)))
}

fn body_of(bytes: Bytes) -> Body {
    if bytes.is_empty() { Body::empty() } else { Body::from(bytes) }
}

fn too_large(most: usize) -> Refused {
    let problem = Problem::new(Code::HttpTooLarge).detail(format!("the limit is {most} bytes"));
    Refused::Connection(problem)
}

//! A listener: from an accepted connection to a request that the router may see, and the answer back.
//!
//! Owns limits of connections, times and sizes, the choice of protocol, and shutdown. A request reaches the router
//! only over a channel that was verified for it, with its whole body read, and runs in a task of its own: a peer that
//! hangs up does not cut an exchange short, and a shutdown waits for it. Must not know what the routes do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use varco_core::registry::Identity;

use crate::http::hygiene::Hosts;
use crate::tasks::{Stop, Tasks, Unfinished};
use crate::tls::Channel;

mod activity;
mod connection;
mod peers;
mod request;
#[cfg(test)]
mod tests;

/// What a listener serves, over what, and within which limits.
pub struct Server {
    pub transport: Transport,
    pub router: Router,
    pub hosts: Hosts,
    pub limits: Limits,
}

/// What lies under HTTP.
pub enum Transport {
    /// Plain HTTP, for a listener on a loopback address (metrics).
    Loopback,
    Tls(Arc<Channel>),
}

/// The authenticated peer of a connection, in the extensions of every request as `Arc<Peer>`.
///
/// Present exactly when the listener demands client certificates.
#[derive(Debug)]
pub struct Peer {
    pub identity: Identity,
    pub address: SocketAddr,
    /// The key exchange of the handshake, for the log: `X25519MLKEM768`.
    pub key_exchange: String,
}

/// Where a request comes from, in the extensions of every request, authenticated or not.
#[derive(Clone, Copy, Debug)]
pub struct RemoteAddress(pub SocketAddr);

/// The limits of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once, all peers together. Each holds up to about 100 KiB of buffers.
    pub connections: usize,
    /// Connections of one address and of one client certificate.
    pub connections_per_peer: usize,
    /// Requests being worked on at once; what comes above is answered 503 before it is read.
    pub requests: usize,
    /// Of those, requests of one client certificate, so that one slow agency leaves room for the others.
    pub requests_per_peer: usize,
    /// Time from TCP accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// Time from the first byte of a request head to its end, and from the handshake to the first request.
    pub head: Duration,
    /// Time from the end of the head to the end of the body.
    pub body: Duration,
    /// Time without any request after which a connection is closed.
    pub idle: Duration,
    /// Age at which a connection takes no further requests.
    pub age: Duration,
    /// How long a shutdown waits for requests being worked on.
    pub shutdown: Duration,
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Largest request head, in bytes.
    pub head_bytes: usize,
    /// HTTP/2 streams of one connection.
    pub streams: u32,
}

/// HTTP/2 streams that a peer may reset before we have looked at them (rapid reset, CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// HTTP/2 streams reset by us for a peer's errors, after which the connection is closed.
const LOCAL_RESETS: usize = 64;
/// Header fields of one HTTP/1 request: ModI needs fewer than twenty.
const HEADER_FIELDS: usize = 64;
/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// After accept fails (no file descriptors left, for example) nothing is gained by trying again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 1,024 connections x 100 KiB = 100 MiB at the very worst, a few MiB in practice.
            connections: 1024,
            connections_per_peer: 128,
            // Twice the 64 clients of the measured peak, for several agencies at once.
            requests: 512,
            requests_per_peer: 256,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(5),
            body: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            age: Duration::from_secs(3600),
            shutdown: Duration::from_secs(10),
            // Four times the largest household's record; all requests at once hold at most 512 x 256 KiB = 128 MiB.
            body_bytes: 256 * 1024,
            // Three tokens of up to 8 KiB with their certificate chains, and room for the rest.
            head_bytes: 32 * 1024,
            streams: 64,
        }
    }
}

/// What all connections of a listener share.
struct Shared {
    server: Server,
    peers: peers::Peers,
    requests: Arc<Semaphore>,
    busy: peers::Peers,
    /// Connections, told to stop by the listener.
    connections: Tasks,
    /// Requests being worked on. They are never told to stop.
    exchanges: Tasks,
}

/// Serves until told to stop; then finishes what was accepted, at most for `limits.shutdown`.
///
/// Returns when no connection and no request is left, or with what was cut off.
pub async fn serve(listener: TcpListener, server: Server, mut stop: Stop) -> Result<(), Unfinished> {
    let shared = Arc::new(Shared {
        peers: peers::Peers::new(server.limits.connections_per_peer),
        requests: Arc::new(Semaphore::new(server.limits.requests)),
        busy: peers::Peers::new(server.limits.requests_per_peer),
        connections: Tasks::new(),
        exchanges: Tasks::new(),
        server,
    });
    tokio::select! {
        () = stop.called() => {}
        () = accept(&listener, &shared) => {}
    }
    drop(listener);
    shared.connections.call_stop();
    let limit = shared.server.limits.shutdown;
    let started = tokio::time::Instant::now();
    let connections = shared.connections.finish(limit).await;
    let left = limit.saturating_sub(started.elapsed());
    shared.exchanges.finish(left).await.and(connections)
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(shared.server.limits.connections));
    loop {
        // The slot comes first: above the limit, connections wait in the kernel's queue and cost us nothing.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = shared.peers.enter_address(address.ip()) else {
            metrics::counter!("varco_connections_refused_total", "reason" => "per_peer").increment(1);
            tracing::debug!(peer = %address, "too many connections of one address");
            continue;
        };
        let held = (slot, place);
        let task = connection::run(shared.clone(), stream, address);
        metrics::gauge!("varco_connections").increment(1);
        shared.connections.spawn("connection", async move {
            task.await;
            metrics::gauge!("varco_connections").decrement(1);
            drop(held);
        });
    }
}

/// Small answers leave at once instead of waiting for more to send.
fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
}

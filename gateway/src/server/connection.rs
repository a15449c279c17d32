//! One connection: handshake, protocol, deadlines, end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, Due, Phase, Watched};
use super::peers::Place;
use super::{HEADER_FIELDS, LOCAL_RESETS, PENDING_RESETS, PING_EVERY, PING_TIMEOUT};
use super::{Peer, Shared, Transport, request};
use crate::tasks::Tasks;
use crate::tls::{Channel, VerifyError};

/// How long a client certificate that was accepted counts as acceptable while nothing is reloaded: certificates and
/// revocation lists also end by themselves. A verification costs about 0.1 ms.
const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// A connection as its requests see it.
pub struct Connection {
    pub shared: Arc<Shared>,
    pub address: SocketAddr,
    pub peer: Option<Arc<Peer>>,
    pub activity: Arc<Activity>,
    certified: Option<Certified>,
}

/// The client certificate and when it was last found acceptable.
struct Certified {
    channel: Arc<Channel>,
    chain: Vec<CertificateDer<'static>>,
    generation: AtomicU64,
    verified_at_ms: AtomicI64,
    /// Held for the limit of connections per certificate.
    _place: Place,
}

pub async fn run(shared: Arc<Shared>, stream: TcpStream, address: SocketAddr) {
    super::prepare(&stream);
    match &shared.server.transport {
        Transport::Loopback => {
            let connection = Arc::new(Connection::new(shared.clone(), address));
            serve_http1(connection, stream).await;
        }
        Transport::Tls(channel) => {
            let accepting = handshake(channel, stream, shared.server.limits.handshake);
            let Some((stream, generation)) = accepting.await else { return };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let mut connection = Connection::new(shared.clone(), address);
            if let Err(refusal) = connection.certify(channel, &stream, generation) {
                metrics::counter!("varco_connections_refused_total", "reason" => refusal).increment(1);
                tracing::debug!(peer = %address, refusal, "connection refused");
                return;
            }
            let connection = Arc::new(connection);
            if h2 { serve_http2(connection, stream).await } else { serve_http1(connection, stream).await }
        }
    }
}

/// The TLS handshake and the generation it was verified with.
async fn handshake(
    channel: &Channel,
    stream: TcpStream,
    limit: Duration,
) -> Option<(TlsStream<TcpStream>, u64)> {
    let current = channel.current();
    let peer = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let accepting = TlsAcceptor::from(current.config.clone()).accept(stream);
    let reason = match timeout(limit, accepting).await {
        Ok(Ok(stream)) => return Some((stream, current.generation)),
        Ok(Err(error)) => {
            tracing::info!(peer, %error, "handshake refused");
            "handshake"
        }
        Err(_) => "handshake_timeout",
    };
    metrics::counter!("varco_connections_refused_total", "reason" => reason).increment(1);
    None
}

impl Connection {
    fn new(shared: Arc<Shared>, address: SocketAddr) -> Self {
        Self { shared, address, peer: None, activity: Activity::new(Instant::now()), certified: None }
    }

    /// Takes over what the handshake proved about the peer.
    fn certify(
        &mut self,
        channel: &Arc<Channel>,
        stream: &TlsStream<TcpStream>,
        generation: u64,
    ) -> Result<(), &'static str> {
        let tls = stream.get_ref().1;
        // INVARIANT: a listener that demands certificates has no handshake without one.
        let Some(chain) = tls.peer_certificates() else { return Ok(()) };
        let leaf = chain.first().ok_or("no_certificate")?;
        let identity = varco_jose::certificate::identity(leaf).map_err(|_| "certificate")?;
        let place = self.shared.peers.enter_certified(identity.key).ok_or("per_peer")?;
        let group = tls.negotiated_key_exchange_group().map(|group| group.name());
        let key_exchange = group.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        self.peer = Some(Arc::new(Peer { identity, address: self.address, key_exchange }));
        self.certified = Some(Certified {
            channel: channel.clone(),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
            generation: AtomicU64::new(generation),
            verified_at_ms: AtomicI64::new(channel.now().millis()),
            _place: place,
        });
        Ok(())
    }

    /// Whether the peer's certificate is acceptable now, not only when it connected.
    pub fn verify_again(&self) -> Result<(), VerifyError> {
        let Some(certified) = &self.certified else { return Ok(()) };
        let current = certified.channel.current();
        let now = certified.channel.now();
        let age = now.millis().saturating_sub(certified.verified_at_ms.load(Ordering::Acquire));
        let fresh = (0..i64::try_from(VERIFIED_FOR.as_millis()).unwrap_or(i64::MAX)).contains(&age);
        if fresh && certified.generation.load(Ordering::Acquire) == current.generation {
            return Ok(());
        }
        current.verify_again(&certified.chain, now)?;
        certified.generation.store(current.generation, Ordering::Release);
        certified.verified_at_ms.store(now.millis(), Ordering::Release);
        Ok(())
    }
}

async fn serve_http1<S>(connection: Arc<Connection>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = connection.shared.server.limits;
    let stream = Watched::new(stream, connection.activity.clone());
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The head has its own, finer deadline in `Activity`; this one is the outer bound.
        .header_read_timeout(limits.idle.saturating_add(limits.head))
        .max_buf_size(limits.head_bytes.max(SMALLEST_BUFFER))
        .max_header_size(limits.head_bytes)
        .max_headers(HEADER_FIELDS)
        .half_close(false);
    let serving = connection.clone();
    let service = service_fn(move |request| answer(serving.clone(), request));
    drive(&connection, builder.serve_connection(TokioIo::new(stream), service)).await;
}

/// hyper panics below this.
const SMALLEST_BUFFER: usize = 8192;

async fn serve_http2<S>(connection: Arc<Connection>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = connection.shared.server.limits;
    let mut builder = http2::Builder::new(Streams(connection.shared.connections.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let serving = connection.clone();
    let service = service_fn(move |request| answer(serving.clone(), request));
    drive(&connection, builder.serve_connection(TokioIo::new(stream), service)).await;
}

/// Where hyper runs the streams of an HTTP/2 connection.
#[derive(Clone)]
struct Streams(Tasks);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        // The handle is not needed: the group sees the end.
        let _handle = self.0.spawn("stream", future);
    }
}

async fn answer(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    Ok(request::answer(&connection, request).await)
}

/// Runs a connection to its end: its own, or ours when it is idle, slow, old or the gateway stops.
async fn drive<C: GracefulConnection>(connection: &Connection, hyper: C) {
    let limits = connection.shared.server.limits;
    let activity = &connection.activity;
    let mut stop = connection.shared.connections.stop();
    let mut hyper = pin!(hyper);
    let mut oldest = pin!(sleep_until(later(Instant::now(), limits.age)));
    let mut phase = Phase::Open;
    loop {
        // While a request is worked on nothing but its own limits can end the connection.
        let deadline = activity.deadline(&limits, phase);
        tokio::select! {
            // An answer that is ready leaves before anything is closed.
            biased;
            _ended = hyper.as_mut() => return,
            // A request that has begun since then took the deadline back: what counts is how it stands now.
            () = until(deadline) => match activity.deadline(&limits, phase) {
                Some((at, Due::End)) if at <= Instant::now() => return,
                Some((at, Due::Idle)) if at <= Instant::now() => activity.close(),
                Some(_) | None => {}
            },
            () = activity.changed.notified() => {}
            () = oldest.as_mut(), if phase == Phase::Open => activity.close(),
            () = stop.called(), if phase == Phase::Open => activity.close(),
        }
        if phase == Phase::Open && activity.phase() == Phase::Closing {
            phase = Phase::Closing;
            hyper.as_mut().graceful_shutdown();
        }
    }
}

async fn until(deadline: Option<(Instant, Due)>) {
    match deadline {
        Some((at, _)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    // Beyond the clock's range means in practice never; a year serves as well.
    now.checked_add(by).or_else(|| now.checked_add(Duration::from_secs(31_536_000))).unwrap_or(now)
}

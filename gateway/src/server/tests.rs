//! The listener, over real sockets and real handshakes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Extension;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls::testing::{DAY, Held, Leaf, Pki, START};

mod http;
mod limits;
mod trust;

/// Longer than anything here takes; shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway's listener with two routes, and a client certificate it accepts.
struct World {
    pki: Pki,
    channel: Arc<Channel>,
    address: SocketAddr,
    client: Held,
    tasks: Tasks,
    serving: JoinHandle<Result<(), Unfinished>>,
    /// A request of `/slow` has begun.
    begun: Arc<Notify>,
    /// Lets a request of `/slow` end.
    go_on: Arc<Notify>,
}

impl World {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let pki = Pki::new();
        let channel = pki.channel();
        Self::over(pki, channel, limits).await
    }

    async fn over(pki: Pki, channel: Arc<Channel>, limits: Limits) -> Self {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server {
            transport: Transport::Tls(channel.clone()),
            router: router(begun.clone(), go_on.clone()),
            hosts: Hosts::new(["localhost".to_owned()]),
            limits,
        };
        let tasks = Tasks::new();
        let serving = tasks.spawn("serve", serve(listener, server, tasks.stop()));
        let client = pki.authority.issue(&Leaf::client(7));
        Self { pki, channel, address, client, tasks, serving, begun, go_on }
    }

    fn config(&self) -> ClientConfig {
        self.pki.client(Some(&self.client))
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        connect(self.address, self.config()).await.unwrap()
    }

    /// One request over HTTP/1.1 and a connection of its own.
    async fn get(&self, path: &str) -> Response<Bytes> {
        self.open().await.send(request(Method::GET, path, "")).await.unwrap()
    }

    async fn open(&self) -> Http1 {
        Http1::over(self.connect().await).await
    }
}

fn router(begun: Arc<Notify>, go_on: Arc<Notify>) -> Router {
    let slow = move || async move {
        begun.notify_one();
        go_on.notified().await;
        "done"
    };
    let who = |peer: Option<Extension<Arc<Peer>>>| async move {
        peer.map_or_else(
            || "nobody".to_owned(),
            |Extension(peer)| {
                let organization = peer.identity.organization.as_ref();
                format!("{} {}", organization.map_or("unnamed", |o| o.as_str()), peer.key_exchange)
            },
        )
    };
    Router::new()
        .route("/who", get(who))
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/slow", get(slow))
        .route("/panic", get(broken))
}

async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = "localhost".try_into().unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    timeout(PATIENCE, connecting).await.expect("the handshake takes too long")
}

/// How the server ends a connection on which nothing more is sent: the error, or the bytes before the end.
async fn ending(stream: &mut TlsStream<TcpStream>) -> Result<String, String> {
    let mut bytes = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server leaves it open");
    match reading {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        // What a peer sees when the server drops a connection without a word.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn request(method: Method, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let builder = Request::builder().method(method).uri(path).header("host", "localhost");
    builder.body(Full::from(body)).unwrap()
}

struct Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Http1 {
    async fn over(stream: TlsStream<TcpStream>) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let _ends_with_the_test = Tasks::new().spawn("client", connection);
        Self(sender)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Bytes>> {
        let response = timeout(PATIENCE, self.0.send_request(request)).await.expect("no answer")?;
        whole(response).await
    }
}

struct Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>);

impl Http2 {
    async fn over(world: &World) -> Self {
        let mut config = world.config();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = connect(world.address, config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        let _ends_with_the_test = Tasks::new().spawn("client", connection);
        Self(sender)
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> hyper::Result<Response<Bytes>> {
        let builder = Request::builder().method(method).uri(format!("https://localhost{path}"));
        let sending = self.0.send_request(builder.body(Full::from(body)).unwrap());
        let response = timeout(PATIENCE, sending).await.expect("no answer")?;
        whole(response).await
    }
}

async fn whole(response: Response<hyper::body::Incoming>) -> hyper::Result<Response<Bytes>> {
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

fn code(response: &Response<Bytes>) -> String {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

async fn broken() -> &'static str {
    panic!("on purpose")
}

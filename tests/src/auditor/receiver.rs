//! A small server that keeps what it hears and answers what it is told to.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use varco::pki::dev::Kit;

/// What came to a receiver: path, media type, body.
type Heard = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

/// A server that answers what it is told to, with the certificate of an agency, or without TLS.
pub struct Receiver {
    pub port: u16,
    heard: Heard,
    _task: JoinSet<()>,
}

/// Told how many came before, and what was sent; of a GET, its path.
pub type Answer = Arc<dyn Fn(usize, &[u8]) -> (u16, Vec<u8>) + Send + Sync>;

impl Receiver {
    pub async fn start(tls: Option<TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Heard::default();
        let (mut task, kept) = (JoinSet::new(), Arc::clone(&heard));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, kept, answer) = (tls.clone(), Arc::clone(&kept), Arc::clone(&answer));
                connections.spawn(async move {
                    let service = service_fn(move |request: hyper::Request<Incoming>| {
                        let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                        async move { Ok::<_, Infallible>(answered(request, &kept, &answer).await) }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    match tls {
                        Some(tls) => {
                            let Ok(stream) = tls.accept(tcp).await else { return };
                            let _ = server.serve_connection(TokioIo::new(stream), service).await;
                        }
                        None => {
                            let _ = server.serve_connection(TokioIo::new(tcp), service).await;
                        }
                    }
                });
            }
        });
        Self { port, heard, _task: task }
    }

    pub fn heard(&self) -> Vec<(String, String, Vec<u8>)> {
        self.heard.lock().unwrap().clone()
    }
}

async fn answered(
    request: hyper::Request<Incoming>,
    heard: &Heard,
    answer: &Answer,
) -> hyper::Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let media = request.headers().get("content-type").map(|media| media.to_str().unwrap().to_owned());
    let asks = request.method() == hyper::Method::GET;
    let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    let count = heard.lock().unwrap().len();
    let (status, answer) = answer(count, if asks { path.as_bytes() } else { &body });
    heard.lock().unwrap().push((path, media.unwrap_or_default(), body));
    let mut response = hyper::Response::new(Full::new(Bytes::from(answer)));
    *response.status_mut() = status.try_into().unwrap();
    response
}

pub fn acceptor(kit: &Kit) -> TlsAcceptor {
    let own = &kit.agency(&"comune-capannori".parse().unwrap()).unwrap().party.channel;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.certificate().clone()], own.key())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

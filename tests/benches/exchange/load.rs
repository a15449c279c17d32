//! The closed loop: each client sends its next request when it has the whole answer to the last one.
//!
//! Requests are signed before the clock starts, and written as bytes: what is measured is the server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::process::{Process, machine_busy, own_cpu};
use crate::{Failure, micros};

/// An answer of a record of 4 KB with receipt and seals is some 20 KB.
const ANSWER_MAX: usize = 256 * 1024;

/// One server, and who we are to it.
pub struct Target {
    pub address: SocketAddr,
    pub connector: TlsConnector,
}

/// What one round of load gave.
pub struct Round {
    pub clients: usize,
    pub exchanges: u32,
    pub wall: Duration,
    /// In ascending order.
    latencies: Vec<Duration>,
    /// CPU time of the server under test, of the provider behind it, and of this process.
    pub server: Duration,
    pub provider: Duration,
    pub client: Duration,
    /// CPU time that all others on this machine took meanwhile.
    pub others: Duration,
    /// Bytes of one answer's body.
    pub answer_bytes: usize,
}

impl Round {
    pub fn per_second(&self) -> f64 {
        f64::from(self.exchanges) / self.wall.as_secs_f64()
    }

    /// Microseconds of the server's CPU for each exchange.
    pub fn server_micros(&self) -> f64 {
        micros(self.server / self.exchanges.max(1))
    }

    pub fn provider_micros(&self) -> f64 {
        micros(self.provider / self.exchanges.max(1))
    }

    pub fn client_micros(&self) -> f64 {
        micros(self.client / self.exchanges.max(1))
    }

    /// Of all that takes part.
    pub fn all_micros(&self) -> f64 {
        micros((self.server + self.provider + self.client) / self.exchanges.max(1))
    }

    /// How many of the machine's cores others kept busy, on average.
    pub fn others_cores(&self) -> f64 {
        self.others.as_secs_f64() / self.wall.as_secs_f64()
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        self.latencies.get(self.latencies.len() * percent / 100).copied().unwrap_or_default()
    }
}

type Queue = Arc<Mutex<Vec<Vec<u8>>>>;

/// Sends every request once, over `clients` connections that were opened before the clock started.
pub async fn run(
    target: &Target,
    requests: Vec<Vec<u8>>,
    clients: usize,
    (server, provider): (&Process, &Process),
) -> Result<Round, Failure> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(connect(target).await?);
    }
    let exchanges = u32::try_from(requests.len())?;
    let queue = Arc::new(Mutex::new(requests));
    let before = (server.cpu()?, provider.cpu()?, own_cpu()?, machine_busy()?);
    let began = Instant::now();
    let mut loops = tokio::task::JoinSet::new();
    for connection in connections {
        let queue = Arc::clone(&queue);
        loops.spawn(async move { client(connection, queue).await.map_err(|failure| failure.to_string()) });
    }
    let (mut latencies, mut answer_bytes) = (Vec::new(), 0);
    while let Some(done) = loops.join_next().await {
        let (times, bytes) = done??;
        latencies.extend(times);
        answer_bytes = bytes.max(answer_bytes);
    }
    let wall = began.elapsed();
    let (server, provider) = (server.cpu()? - before.0, provider.cpu()? - before.1);
    let client = own_cpu()? - before.2;
    let others = (machine_busy()? - before.3).saturating_sub(server + provider + client);
    latencies.sort_unstable();
    Ok(Round { clients, exchanges, wall, latencies, server, provider, client, others, answer_bytes })
}

/// The bytes of one request over HTTP/1.1.
pub fn request(path: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends a request and waits for an answer that should not come; gives back whatever does.
pub async fn send_and_wait(mut connection: TlsStream<TcpStream>, request: Vec<u8>) -> String {
    let mut answer = vec![0; 16 * 1024];
    let sent = async {
        connection.write_all(&request).await?;
        connection.flush().await?;
        connection.read(&mut answer).await
    };
    match sent.await {
        Ok(length) => String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned(),
        Err(error) => error.to_string(),
    }
}

pub async fn connect(target: &Target) -> Result<TlsStream<TcpStream>, Failure> {
    let tcp = TcpStream::connect(target.address).await?;
    tcp.set_nodelay(true)?;
    Ok(target.connector.connect(ServerName::try_from("localhost")?, tcp).await?)
}

async fn client(
    mut connection: TlsStream<TcpStream>,
    queue: Queue,
) -> Result<(Vec<Duration>, usize), Failure> {
    let (mut latencies, mut bytes) = (Vec::new(), 0);
    let mut answer = Vec::with_capacity(32 * 1024);
    while let Some(request) = next(&queue) {
        let began = Instant::now();
        connection.write_all(&request).await?;
        connection.flush().await?;
        bytes = receive(&mut connection, &mut answer).await?;
        latencies.push(began.elapsed());
    }
    Ok((latencies, bytes))
}

fn next(queue: &Queue) -> Option<Vec<u8>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// Reads one whole answer and gives back how long its body is. Only 200 will do.
async fn receive(connection: &mut TlsStream<TcpStream>, answer: &mut Vec<u8>) -> Result<usize, Failure> {
    answer.clear();
    let mut expected = None;
    loop {
        if connection.read_buf(answer).await? == 0 || answer.len() > ANSWER_MAX {
            return Err("the answer was cut, or is far too long".into());
        }
        if expected.is_none()
            && let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let (head, _) = answer.split_at_checked(end).unwrap_or_default();
            expected = Some((end + 4, length(std::str::from_utf8(head)?)?));
        }
        match expected {
            Some((head, body)) if answer.len() >= head + body => return Ok(body),
            Some(_) | None => {}
        }
    }
}

fn length(head: &str) -> Result<usize, Failure> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        return Err(format!("answered `{status}`").into());
    }
    let length = lines.filter_map(|line| line.split_once(':'));
    let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok(length.next().ok_or("an answer without its length")?.1.trim().parse()?)
}

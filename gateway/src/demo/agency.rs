//! An agency's own system, simulated: a server of the agency JSON protocol (`docs/agency-protocol.md`) over mutual TLS.
//!
//! It trusts nobody but the gateway, checks every token of a request, answers what it was asked and no more, and signs
//! each answer. It shares no code with the gateway's own server: it stands for software of somebody else.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use varco_core::code::Code;
use varco_core::id::{AgencyId, ExchangeId, FieldId, PurposeId, RecordTypeId, TokenId};
use varco_core::json;
use varco_core::subject::CodiceFiscale;
use varco_core::time::Timestamp;
use varco_core::wire::{self, AnswerClaims, Expectation, Message, Rules, VerifiedMessage};

use super::people::Population;

mod keys;
#[cfg(test)]
mod tests;

pub use keys::{Keys, KeysError};

/// Where the protocol lives on every simulated system.
pub const BASE: &str = "/varco/v1";
/// A request names one person and at most a hundred fields of 64 characters.
const BODY_MAX: usize = 16 * 1024;
/// A push is at most 256 KiB; its receipt and its signature take as much again at the very most.
const DELIVERY_MAX: usize = 512 * 1024;
/// Deliveries this simulation keeps, with a few KiB each; real systems put them on a desk.
const TAKEN_MAX: usize = 10_000;
/// Only the gateway connects; it holds no more connections than it has requests on their way.
const CONNECTIONS: usize = 1024;
/// The gateway's idle connections last half as long.
const IDLE: Duration = Duration::from_secs(60);
/// With fewer identifiers of tokens than these, the expired ones need not be looked for: about 10 MB.
const SEEN_MIN: usize = 100_000;

/// The clock of a system.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub struct System {
    id: AgencyId,
    people: Arc<Population>,
    keys: Keys,
    audiences: [String; 1],
    seen: Mutex<Seen>,
    taken: Mutex<BTreeMap<ExchangeId, Delivered>>,
    /// What was answered about before: a real system has its records at hand, and does not invent them each time.
    records: Mutex<HashMap<(RecordTypeId, CodiceFiscale), Record>>,
}

/// All fields of one record.
type Record = Arc<Map<String, Value>>;

/// Identifiers of tokens, each until it expires.
struct Seen {
    until: HashMap<TokenId, Timestamp>,
    /// When there are so many, the expired ones are forgotten.
    sweep_at: usize,
}

/// What the gateway asks, as its body says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    consumer: AgencyId,
    exchange: ExchangeId,
    fields: Vec<FieldId>,
    purpose: PurposeId,
    subject: Subject,
}

/// What the gateway delivers. Members it has besides these are for the files, not for this simulation.
#[derive(Clone, Deserialize)]
pub struct Delivered {
    pub delivery: ExchangeId,
    pub provider: AgencyId,
    pub record_type: RecordTypeId,
    pub purpose: PurposeId,
    pub record: Map<String, Value>,
    pub receipt: String,
    pub record_jws: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    codice_fiscale: CodiceFiscale,
}

impl System {
    pub fn new(id: AgencyId, people: Arc<Population>, keys: Keys) -> Self {
        let audiences = [audience(&id)];
        Self {
            id,
            people,
            keys,
            audiences,
            seen: Mutex::new(Seen { until: HashMap::new(), sweep_at: SEEN_MIN }),
            taken: Mutex::default(),
            records: Mutex::default(),
        }
    }

    /// All that the agency holds of a person under a record type. There are as many as people, three times at most.
    fn record(&self, record_type: &RecordTypeId, code: &CodiceFiscale) -> Option<Record> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (record_type.clone(), code.clone());
        if let Some(record) = records.get(&key) {
            return Some(Arc::clone(record));
        }
        let record = Arc::new(self.people.record(&self.id, record_type, self.people.find(code)?)?);
        records.insert(key, Arc::clone(&record));
        Some(record)
    }

    /// Answers until `stop` resolves, then finishes what is on its way.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.keys.tls));
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let graceful = hyper_util::server::graceful::GracefulShutdown::new();
        tokio::pin!(stop);
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => break,
            };
            // A peer that is gone before it was accepted, or no free file: neither is a reason to end.
            let Ok((tcp, _)) = accepted else { continue };
            let (system, acceptor, watcher) = (Arc::clone(&self), acceptor.clone(), graceful.watcher());
            connections.spawn(async move {
                let _place = place;
                system.connection(tcp, acceptor, watcher).await;
            });
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        graceful.shutdown().await;
    }

    async fn connection(
        self: Arc<Self>,
        tcp: TcpStream,
        acceptor: TlsAcceptor,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        let _ = tcp.set_nodelay(true);
        let Ok(Ok(stream)) = tokio::time::timeout(IDLE, acceptor.accept(tcp)).await else { return };
        let peer = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        // Any certificate of the CA gets this far; only the gateway's key gets an answer.
        let is_gateway = peer
            .and_then(|der| varco_jose::certificate::identity(der).ok())
            .is_some_and(|peer| peer.key == self.keys.gateway.channel);
        let service = hyper::service::service_fn(move |request| {
            let system = Arc::clone(&self);
            async move {
                let answered =
                    if is_gateway { system.answer(request).await } else { Err(Code::WireUnknownSender) };
                Ok::<_, Infallible>(answered.unwrap_or_else(problem))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service);
        let _ = watcher.watch(connection).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Code> {
        let path = request.uri().path().strip_prefix(BASE).unwrap_or_default().to_owned();
        let record_type = path.strip_prefix("/records/").and_then(|text| text.parse().ok());
        if record_type.is_none() && path != "/deliveries" {
            return Err(Code::HttpNotFound);
        }
        if request.method() != Method::POST {
            return Err(Code::HttpMethod);
        }
        let message = receive(request, if record_type.is_some() { BODY_MAX } else { DELIVERY_MAX }).await?;
        let verified = self.verify(&message, (self.keys.clock)())?;
        match record_type {
            Some(record_type) => self.give(&record_type, &message, &verified),
            None => self.take(&message, &verified),
        }
    }

    /// `POST /records/{record_type}`.
    fn give(
        &self,
        record_type: &RecordTypeId,
        message: &Message,
        verified: &VerifiedMessage,
    ) -> Result<Response<Full<Bytes>>, Code> {
        let question: Question = json::parse_as(&message.body).map_err(|_| Code::RequestInvalid)?;
        tracing::debug!(exchange.id = %question.exchange, consumer = %question.consumer,
            purpose = %question.purpose, fields = question.fields.len(), "asked");
        match self.record(record_type, &question.subject.codice_fiscale) {
            Some(record) => {
                let selected = serde_json::to_string(&selected(&record, &question.fields));
                let body = format!("{{\"record\":{}}}", selected.map_err(|_| Code::Internal)?);
                self.signed(StatusCode::OK, body, verified)
            }
            None => {
                let body = json!({ "status": 404, "title": "no record of this person" });
                self.signed(StatusCode::NOT_FOUND, body.to_string(), verified)
            }
        }
    }

    /// `POST /deliveries`: a repetition is told by its `delivery`, acknowledged like the first one, and kept once.
    fn take(&self, message: &Message, verified: &VerifiedMessage) -> Result<Response<Full<Bytes>>, Code> {
        let delivery: Delivered = json::parse_as(&message.body).map_err(|_| Code::RequestInvalid)?;
        tracing::debug!(delivery.id = %delivery.delivery, provider = %delivery.provider,
            purpose = %delivery.purpose, fields = delivery.record.len(), "delivered");
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= TAKEN_MAX && !taken.contains_key(&delivery.delivery) {
            return Err(Code::ServerBusy);
        }
        let body = json!({ "delivery": delivery.delivery });
        let status =
            if taken.contains_key(&delivery.delivery) { StatusCode::OK } else { StatusCode::CREATED };
        taken.entry(delivery.delivery.clone()).or_insert(delivery);
        drop(taken);
        self.signed(status, body.to_string(), verified)
    }

    /// What was delivered, each once.
    pub fn taken(&self) -> Vec<Delivered> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn verify(&self, message: &Message, now: Timestamp) -> Result<VerifiedMessage, Code> {
        let expectation = Expectation { audiences: &self.audiences, now, rules: Rules::default() };
        let verified = wire::verify_request(message, &expectation, &self.keys.trust)
            .map_err(|error| error.code())
            .inspect_err(|code| {
                tracing::warn!(code = code.text(), "a request that is not signed as it must be")
            })?;
        let gateway = &self.keys.gateway;
        if verified.seal.key != gateway.seal || verified.issuer != gateway.issuer {
            return Err(Code::WireUnknownSender);
        }
        self.remember(&verified, now)?;
        Ok(verified)
    }

    /// Refuses a request whose identifier was used before.
    fn remember(&self, verified: &VerifiedMessage, now: Timestamp) -> Result<(), Code> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.until.len() >= seen.sweep_at {
            seen.until.retain(|_, until| *until > now);
            // Twice what is left, so that the sweeps cost each request the same however many there are.
            seen.sweep_at = seen.until.len().saturating_mul(2).max(SEEN_MIN);
        }
        match seen.until.insert(verified.replay.1.clone(), verified.expires) {
            Some(until) if until > now => Err(Code::WireReplayed),
            Some(_) | None => Ok(()),
        }
    }

    fn signed(
        &self,
        status: StatusCode,
        body: String,
        request: &VerifiedMessage,
    ) -> Result<Response<Full<Bytes>>, Code> {
        let body = body.into_bytes();
        let claims = AnswerClaims {
            issuer: self.id.to_string(),
            audience: request.issuer.clone(),
            content_type: Some(media_type(status).to_owned()),
            request_digest: request.digest,
        };
        let jti = uuid::Uuid::now_v7().to_string().parse().map_err(|_| Code::Internal)?;
        let headers = wire::sign_response(&body, &claims, &self.keys.signer, (self.keys.clock)(), &jti)
            .map_err(|_| Code::Internal)?;
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Code::Internal)?;
            let value = HeaderValue::from_str(&value).map_err(|_| Code::Internal)?;
            response.headers_mut().append(name, value);
        }
        Ok(response)
    }
}

/// What tokens for a simulated system carry in `aud`.
pub fn audience(agency: &AgencyId) -> String {
    format!("https://{agency}.piana.example{BASE}")
}

async fn receive(request: Request<Incoming>, most: usize) -> Result<Message, Code> {
    let (head, body) = request.into_parts();
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        value.to_str().map(|value| (name.as_str().to_owned(), value.to_owned()))
    };
    let headers =
        head.headers.iter().map(text).collect::<Result<_, _>>().map_err(|_| Code::HttpBadRequest)?;
    let body = Limited::new(body, most).collect().await.map_err(|_| Code::HttpTooLarge)?;
    Ok(Message { headers, body: body.to_bytes().to_vec() })
}

/// The fields asked for. A part, `list.part`, stays in the items of its list only when it was asked for by itself.
pub fn select(record: Map<String, Value>, fields: &[FieldId]) -> Map<String, Value> {
    let selected = selected(&record, fields).into_iter();
    selected.map(|(field, value)| (field.to_owned(), value.into_owned())).collect()
}

fn selected<'a>(record: &'a Map<String, Value>, fields: &'a [FieldId]) -> BTreeMap<&'a str, Cow<'a, Value>> {
    let asked = |name: &str| fields.iter().any(|field| field.as_str() == name);
    let mut selected = BTreeMap::new();
    for field in fields {
        let root = field.as_str().split('.').next().unwrap_or_default();
        let Some(found) = record.get(root) else { continue };
        let mut value = Cow::Borrowed(found);
        for part in super::people::parts_of(root) {
            if !asked(&format!("{root}.{part}")) {
                take_out(value.to_mut(), part);
            }
        }
        selected.insert(root, value);
    }
    selected
}

fn take_out(value: &mut Value, part: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| take_out(item, part)),
        Value::Object(members) => {
            members.remove(part);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn media_type(status: StatusCode) -> &'static str {
    if status.is_success() { "application/json" } else { "application/problem+json" }
}

/// An answer to somebody we do not know, or to something we cannot read: not signed, and says no more than its code.
fn problem(code: Code) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "code": code.text(), "status": code.status(), "title": code.title() }).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type(status));
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, media_type);
    response
}

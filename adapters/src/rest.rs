//! An agency's system that speaks our agency JSON protocol: `docs/agency-protocol.md`.
//!
//! One POST for each fetch over mutual TLS, HTTP/1.1 with kept connections, signed both ways. The answer's signature,
//! digest and binding to the request are checked over the bytes received, before anything reads them.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, ETAG};
use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::{Map, Value, json};
use varco_core::exchange::{Assurance, Said, SaidOf};
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, ExchangeId};
use varco_core::json;
use varco_core::registry::Agency;
use varco_core::statistics::counts::AgencyCounts;
use varco_core::wire::{
    self, Evidence, Expectation, Jtis, Message, RequestClaims, Rules, Signer, VerifiedAnswer, Verifier,
};

use self::pages::{NEXT_MAX, PAGES_MAX, Page, Pages};
use crate::counting::{CountRequest, Counted};
use crate::http::{Address, AddressFault, Https, Question, receive};
use crate::{Accepted, AgencyRecord, Context, Delivery, FetchError, Request};

mod pages;

/// A household of 30 with 2 KB each is 60 KB; sixteen of them are no honest answer about one person.
pub const ANSWER_MAX: usize = 1024 * 1024;
const MEDIA_TYPE: &str = "application/json";

/// Who we are towards agencies' systems.
#[derive(Clone)]
pub struct Ours {
    /// Our identifier: `iss` of what we send.
    pub issuer: String,
    /// What an answer's `aud` must be one of.
    pub audiences: Vec<String>,
    pub signer: Arc<dyn Signer>,
    pub verifier: Arc<dyn Verifier>,
}

/// Where one agency's system is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `https`, host, and a path to which `/records/<record type>` is added.
    base: Address,
    /// What our tokens carry in `aud`: the system's identifier.
    audience: String,
    /// Largest answer read, in bytes.
    answer_max: usize,
}

pub struct Rest {
    ours: Ours,
    endpoint: Endpoint,
    https: Https,
}

/// One signed request on its way.
struct Outgoing<'a> {
    /// Added to the endpoint's base.
    path: String,
    body: Vec<u8>,
    /// What a repetition is told by.
    key: Option<&'a ExchangeId>,
    evidence: &'a Evidence,
    jtis: &'a Jtis,
}

impl Endpoint {
    pub fn new(base: &str, audience: &str) -> Result<Self, AddressFault> {
        let base = Address::parse(base)?;
        Ok(Self { base, audience: audience.to_owned(), answer_max: ANSWER_MAX })
    }

    /// A lower limit than [`ANSWER_MAX`].
    #[must_use]
    pub fn with_answer_max(mut self, bytes: usize) -> Self {
        self.answer_max = bytes.min(ANSWER_MAX);
        self
    }
}

impl Rest {
    pub fn new(ours: Ours, endpoint: Endpoint, tls: &Arc<ClientConfig>) -> Self {
        Self { ours, endpoint, https: Https::new(tls) }
    }

    /// Uses a new TLS configuration from now on. Idle connections of the old one end, busy ones end with their request.
    pub fn renew(&self, tls: &Arc<ClientConfig>) {
        self.https.renew(tls);
    }

    pub(crate) async fn fetch(
        &self,
        provider: &AgencyId,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<AgencyRecord, FetchError> {
        let mut pages = Pages::first(self.page(provider, request, (1, None), context).await?);
        for number in 2..=PAGES_MAX {
            let Some(next) = pages.next().map(str::to_owned) else { break };
            let page = self.page(provider, request, (number, Some(&next)), context).await?;
            pages.add(page, self.endpoint.answer_max)?;
        }
        if pages.next().is_some() {
            return Err(FetchError::AnswerTooLarge { limit: self.endpoint.answer_max });
        }
        let (fields, digest, seal) = pages.into_whole();
        let said = Said { digest, of: SaidOf::Bytes, by: Assurance::Seal };
        Ok(AgencyRecord { fields, said, seal: Some(seal), notes: Vec::new() })
    }

    /// One answer: the record, or its part that begins where the answer before said.
    async fn page(
        &self,
        provider: &AgencyId,
        request: &Request<'_>,
        (number, from): (u16, Option<&str>),
        context: &Context<'_>,
    ) -> Result<Page, FetchError> {
        let outgoing = Outgoing {
            path: format!("/records/{}", request.record_type),
            body: question(request, from),
            key: None,
            evidence: request.evidence,
            jtis: &pages::jtis(request.jtis, number),
        };
        let digest = Sha256::of(&outgoing.body);
        let response = self.send(outgoing, context).await?;
        let status = response.status();
        // An error is not always signed; only what we act on must be.
        if status != StatusCode::OK && status != StatusCode::NOT_FOUND {
            return Err(FetchError::Refused { status: status.as_u16() });
        }
        let message = receive(response, self.endpoint.answer_max).await?.into_message();
        let answer = self.confirm(&message, &digest, provider, context)?;
        if status != StatusCode::OK {
            return Err(FetchError::SubjectUnknown);
        }
        let (fields, next) = read(&message, request)?;
        let etag = message.values(ETAG.as_str()).next().map(str::to_owned);
        let (digest, seal, bytes) = (answer.digest, answer.seal, message.body.len());
        Ok(Page { fields, next, etag, digest, seal, bytes })
    }

    /// `POST {base}/counts/<record type>`.
    pub(crate) async fn count(
        &self,
        provider: &AgencyId,
        request: &CountRequest<'_>,
        context: &Context<'_>,
    ) -> Result<Counted, FetchError> {
        let body = json!({
            "consumer": request.consumer.as_str(),
            "counts": request.tabulation.counts,
            "dimensions": request.tabulation.dimensions,
            "exchange": request.exchange.as_str(),
            "period": request.period,
            "purpose": request.purpose.as_str(),
        });
        let outgoing = Outgoing {
            path: format!("/counts/{}", request.tabulation.record_type),
            body: json::canonical(&body).into_bytes(),
            key: None,
            evidence: request.evidence,
            jtis: request.jtis,
        };
        let digest = Sha256::of(&outgoing.body);
        let response = self.send(outgoing, context).await?;
        match response.status() {
            StatusCode::OK => {}
            // It has not counted this period yet; or, of an earlier version of the protocol, it has no such address.
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => return Err(FetchError::NoCounts),
            status => return Err(FetchError::Refused { status: status.as_u16() }),
        }
        let message = receive(response, self.endpoint.answer_max).await?.into_message();
        let answer = self.confirm(&message, &digest, provider, context)?;
        let counts = AgencyCounts::check(counted(&message)?, request.tabulation)?;
        Ok(Counted { counts, said: said(&answer) })
    }

    /// `POST {base}/deliveries`. Only a signed 200, 201 or 204 says that the recipient has it.
    pub(crate) async fn deliver(
        &self,
        recipient: &AgencyId,
        delivery: &Delivery<'_>,
        context: &Context<'_>,
    ) -> Result<Accepted, FetchError> {
        let outgoing = Outgoing {
            path: "/deliveries".to_owned(),
            body: delivery.document.as_bytes().to_vec(),
            key: Some(delivery.exchange),
            evidence: delivery.evidence,
            jtis: delivery.jtis,
        };
        let digest = Sha256::of(&outgoing.body);
        let response = self.send(outgoing, context).await?;
        let status = response.status();
        if ![StatusCode::OK, StatusCode::CREATED, StatusCode::NO_CONTENT].contains(&status) {
            return Err(FetchError::Refused { status: status.as_u16() });
        }
        let message = receive(response, self.endpoint.answer_max).await?.into_message();
        let answer = self.confirm(&message, &digest, recipient, context)?;
        Ok(Accepted { said: said(&answer), seal: Some(answer.seal), without_place: Vec::new() })
    }

    async fn send(
        &self,
        outgoing: Outgoing<'_>,
        context: &Context<'_>,
    ) -> Result<hyper::Response<Incoming>, FetchError> {
        let claims = RequestClaims {
            issuer: self.ours.issuer.clone(),
            audience: self.endpoint.audience.clone(),
            content_type: Some(MEDIA_TYPE.to_owned()),
            evidence: outgoing.evidence.clone(),
        };
        let (body, now) = (outgoing.body, (context.clock)());
        let mut headers = wire::sign_request(&body, &claims, &*self.ours.signer, now, outgoing.jtis)?;
        headers.extend(outgoing.key.map(|key| ("idempotency-key".to_owned(), key.to_string())));
        let address = format!("{}{}", self.endpoint.base.as_str(), outgoing.path);
        self.https.send(Question { method: Method::POST, address: &address, headers, body }).await
    }

    /// The answer's signature, bound to our request and sealed by this agency and no other.
    fn confirm(
        &self,
        message: &Message,
        request_digest: &Sha256,
        agency: &AgencyId,
        context: &Context<'_>,
    ) -> Result<VerifiedAnswer, FetchError> {
        let answer = self.verify(message, request_digest, context)?;
        let sealer = context.sealer(&answer.seal, agency)?;
        // `iss` may be left out: the seal says it. But it may not say anything else.
        if answer.issuer.as_deref().is_some_and(|issuer| !names(sealer, issuer)) {
            return Err(FetchError::SealOfAnother);
        }
        Ok(answer)
    }

    fn verify(
        &self,
        message: &Message,
        request_digest: &Sha256,
        context: &Context<'_>,
    ) -> Result<VerifiedAnswer, FetchError> {
        let expectation =
            Expectation { audiences: &self.ours.audiences, now: (context.clock)(), rules: Rules::default() };
        wire::verify_response(message, &expectation, request_digest, &*self.ours.verifier)
            .map_err(FetchError::Signature)
    }
}

/// Whether a text is one of an agency's identifiers.
fn names(agency: &Agency, text: &str) -> bool {
    agency.id.as_str() == text || agency.identifiers.iter().any(|identifier| identifier.as_str() == text)
}

const fn said(answer: &VerifiedAnswer) -> Said {
    Said { digest: answer.digest, of: SaidOf::Bytes, by: Assurance::Seal }
}

/// The body we send. The exchange is in it, so that an answer bound to this body is bound to this exchange.
fn question(request: &Request<'_>, from: Option<&str>) -> Vec<u8> {
    let fields: Vec<_> = request.fields.iter().map(|field| field.as_str()).collect();
    let mut question = json!({
        "consumer": request.consumer.as_str(),
        "exchange": request.exchange.as_str(),
        "fields": fields,
        "purpose": request.purpose.as_str(),
        "subject": { "codice_fiscale": request.subject.expose() },
    });
    if let (Some(from), Some(members)) = (from, question.as_object_mut()) {
        members.insert("from".to_owned(), Value::from(from));
    }
    json::canonical(&question).into_bytes()
}

/// The rows of a system that counts: classes, and how many people.
fn counted(message: &Message) -> Result<Vec<(Vec<String>, u64)>, FetchError> {
    is_json(message)?;
    let answer = json::parse(&message.body).map_err(FetchError::Json)?;
    let rows = answer.as_object().filter(|answer| answer.len() == 1).and_then(|answer| answer.get("counts"));
    let rows = rows.and_then(Value::as_array).ok_or(FetchError::NotCounts)?;
    rows.iter().map(|row| count_row(row).ok_or(FetchError::NotCounts)).collect()
}

fn count_row(row: &Value) -> Option<(Vec<String>, u64)> {
    let row = row.as_object().filter(|row| row.len() == 2)?;
    let classes = row.get("classes")?.as_array()?.iter().map(|class| class.as_str().map(str::to_owned));
    Some((classes.collect::<Option<_>>()?, row.get("people")?.as_u64()?))
}

fn is_json(message: &Message) -> Result<(), FetchError> {
    let media_type = message.values(CONTENT_TYPE.as_str()).next().and_then(|value| value.split(';').next());
    let is_json = media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case(MEDIA_TYPE));
    if is_json { Ok(()) } else { Err(FetchError::ContentType) }
}

/// The fields of a checked answer, and where the next one begins if there is more.
fn read(
    message: &Message,
    request: &Request<'_>,
) -> Result<(Map<String, Value>, Option<String>), FetchError> {
    is_json(message)?;
    let Value::Object(mut answer) = json::parse(&message.body).map_err(FetchError::Json)? else {
        return Err(FetchError::NotRecord);
    };
    let record = answer.remove("record");
    let next = match answer.remove("next") {
        None | Some(Value::Null) => None,
        Some(Value::String(next)) if (1..=NEXT_MAX).contains(&next.len()) => Some(next),
        Some(_) => return Err(FetchError::NotRecord),
    };
    let (Some(Value::Object(fields)), true) = (record, answer.is_empty()) else {
        return Err(FetchError::NotRecord);
    };
    // A part is asked for as `list.part`, and comes inside its list.
    let asked = |name: &String| {
        let mut roots = request.fields.iter().map(|field| field.as_str().split('.').next());
        roots.any(|root| root == Some(name))
    };
    match fields.keys().filter(|name| !asked(name)).count() {
        0 => Ok((fields, next)),
        // More than was asked is refused, not dropped: the provider must learn that it sends too much.
        many => Err(FetchError::FieldsNotAsked(many)),
    }
}

//! An agency's system that speaks SOAP, 1.1 or 1.2.
//!
//! Owns the envelope, addressing, faults, and the signature both ways (see [`signature`]). Which operation, where the
//! codice fiscale stands in the question and the record in the answer is the mapping's to say, in words beside its
//! lines: see [`operation`]. A record that travels as text inside a text (the labour node's way) is read again, within
//! the same limits.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::Value;
use varco_core::exchange::{Assurance, Said, SaidOf};
use varco_core::hash::Sha256;
use varco_core::id::AgencyId;
use varco_core::registry::Identity;
use varco_core::wire::{self, Evidence, Jtis, RequestClaims};

use crate::http::{Address, Https, Question, Reply};
use crate::mapping::{Ask, Mapping, Mappings};
use crate::rest::Ours;
use crate::xml::{self, Element, Limits, Name, Scope};
use crate::{Accepted, AgencyRecord, Context, Delivery, FetchError, Request};

mod fault;
mod operation;
pub mod signature;
#[cfg(test)]
mod tests;

pub use fault::SoapFault;
pub use operation::{OperationFault, WORDS};

use operation::Operation;
use signature::Expectation;

const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const WSA: &str = "http://www.w3.org/2005/08/addressing";
const ANONYMOUS: &str = "http://www.w3.org/2005/08/addressing/anonymous";

/// Which SOAP a system speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V11,
    V12,
}

/// Whether messages carry a WS-Security signature. Whoever signs what it is asked signs what it answers too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// The channel alone says who speaks: mutual TLS.
    Channel,
    /// X.509 signatures in both directions: ModI ID_AUTH_SOAP_02 with INTEGRITY_SOAP_01.
    Signature,
}

/// Where one agency's service is and how it speaks.
#[derive(Clone, Debug)]
pub struct Service {
    pub address: Address,
    /// What our tokens carry in `aud`.
    pub audience: String,
    pub version: Version,
    pub security: Security,
    /// Largest answer read, in bytes.
    pub answer_max: usize,
}

pub struct Soap {
    ours: Ours,
    service: Service,
    mappings: Mappings,
    operations: Vec<Operation>,
    https: Https,
}

impl Version {
    const fn namespace(self) -> &'static str {
        match self {
            Self::V11 => "http://schemas.xmlsoap.org/soap/envelope/",
            Self::V12 => "http://www.w3.org/2003/05/soap-envelope",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::V11 => "text/xml",
            Self::V12 => "application/soap+xml",
        }
    }

    fn name(self, local: &str) -> Name {
        Name::new("soap", self.namespace(), local)
    }
}

/// One message to a service.
struct Call<'a> {
    action: &'a str,
    body: Element,
    evidence: &'a Evidence,
    jtis: &'a Jtis,
}

/// What a service answered.
struct Answer {
    /// What is inside the Body.
    body: Element,
    said: Said,
    seal: Option<Identity>,
}

impl Soap {
    /// Fails where a mapping's words do not say an operation.
    pub fn new(
        ours: Ours,
        service: Service,
        mappings: Mappings,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, OperationFault> {
        let operations = mappings.all().map(Operation::of).collect::<Result<_, _>>()?;
        Ok(Self { ours, service, mappings, operations, https: Https::new(tls) })
    }

    pub(crate) const fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    pub fn renew(&self, tls: &Arc<ClientConfig>) {
        self.https.renew(tls);
    }

    pub(crate) async fn fetch(
        &self,
        provider: &AgencyId,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<AgencyRecord, FetchError> {
        let (mapping, _) = self.operation(request.record_type.as_str())?;
        let (tree, said, seal) = self.tree(provider, request, context).await?;
        let ask = Ask { row: 0, subject: Some(request.subject), fields: request.fields };
        let mapped = mapping.read(&tree, &ask).map_err(FetchError::NotFitting)?;
        Ok(AgencyRecord { seal, ..AgencyRecord::mapped(mapped, said) })
    }

    /// One person's record as the mapping reads it, what the service said, and whose seal was on it.
    pub(crate) async fn tree(
        &self,
        provider: &AgencyId,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<(Value, Said, Option<Identity>), FetchError> {
        let (mapping, operation) = self.operation(request.record_type.as_str())?;
        let body = operation.question(request.subject, mapping)?;
        let (evidence, jtis) = (request.evidence, request.jtis);
        let call = Call { action: &operation.action, body, evidence, jtis };
        let answer = self.call(provider, call, context).await?;
        Ok((operation.record(&answer.body, &self.limits())?, answer.said, answer.seal))
    }

    /// Hands over a record by the operation that the mapping names for it.
    pub(crate) async fn deliver(
        &self,
        recipient: &AgencyId,
        delivery: &Delivery<'_>,
        context: &Context<'_>,
    ) -> Result<Accepted, FetchError> {
        let (mapping, operation) = self.operation(delivery.record_type.as_str())?;
        let (action, without_place, body) = operation.parcel(delivery, mapping)?;
        let call = Call { action, body, evidence: delivery.evidence, jtis: delivery.jtis };
        let answer = self.call(recipient, call, context).await?;
        operation.taken(&answer.body)?;
        Ok(Accepted { said: answer.said, seal: answer.seal, without_place })
    }

    fn operation(&self, record_type: &str) -> Result<(&Mapping, &Operation), FetchError> {
        let operation =
            self.operations.iter().find(|operation| operation.record_type.as_str() == record_type);
        let operation = operation.ok_or(FetchError::NoMapping)?;
        let mapping = self.mappings.of(&operation.record_type).ok_or(FetchError::NoMapping)?;
        Ok((mapping, operation))
    }

    fn limits(&self) -> Limits {
        Limits { bytes: self.service.answer_max, ..Limits::ANSWER }
    }

    async fn call(
        &self,
        agency: &AgencyId,
        call: Call<'_>,
        context: &Context<'_>,
    ) -> Result<Answer, FetchError> {
        let id = format!("urn:varco:{}", call.jtis.signature.as_str());
        let envelope = self.envelope(&call, &id, context)?;
        let question = self.question(&call, &envelope, context)?;
        let reply = self.https.ask(question, self.service.answer_max).await?;
        self.read(agency, &reply, &id, context)
    }

    /// The whole message, as it is sent: in canonical form, so that what was signed is what travels.
    fn envelope(&self, call: &Call<'_>, id: &str, context: &Context<'_>) -> Result<String, FetchError> {
        let version = self.service.version;
        let wsa = |local: &str, text: &str| {
            let element = Element::new(Name::new("wsa", WSA, local)).with_text(text);
            signature::identified(element, &format!("wsa-{local}"))
        };
        let reply_to = Element::new(Name::new("wsa", WSA, "ReplyTo"))
            .with(Element::new(Name::new("wsa", WSA, "Address")).with_text(ANONYMOUS));
        let addressing = [
            wsa("To", self.service.address.as_str()),
            wsa("Action", call.action),
            wsa("MessageID", id),
            signature::identified(reply_to, "wsa-ReplyTo"),
        ];
        let body = Element::new(version.name("Body")).with(call.body.clone());
        let body = signature::identified(body, "body");
        let mut header = Element::new(version.name("Header"));
        if self.service.security == Security::Signature {
            let mut parts: Vec<&Element> = addressing.iter().collect();
            parts.push(&body);
            let now = (context.clock)();
            let security = signature::security(&version.name(""), &parts, &*self.ours.signer, now);
            header = header.with(security?);
        }
        for block in addressing {
            header = header.with(block);
        }
        let envelope = Element::new(version.name("Envelope")).with(header).with(body);
        Ok(xml::canonical(&envelope, Scope::default()))
    }

    fn question<'a>(
        &'a self,
        call: &Call<'_>,
        envelope: &str,
        context: &Context<'_>,
    ) -> Result<Question<'a>, FetchError> {
        let body = envelope.as_bytes().to_vec();
        let media_type = self.service.version.media_type();
        let content_type = match self.service.version {
            Version::V11 => format!("{media_type}; charset=utf-8"),
            Version::V12 => format!("{media_type}; charset=utf-8; action=\"{}\"", call.action),
        };
        let claims = RequestClaims {
            issuer: self.ours.issuer.clone(),
            audience: self.service.audience.clone(),
            content_type: Some(content_type.clone()),
            evidence: call.evidence.clone(),
        };
        let signed = wire::sign_request(&body, &claims, &*self.ours.signer, (context.clock)(), call.jtis)?;
        // Of ModI's headers only AUDIT_REST_01 is for SOAP too: who at the consumer's end asks.
        let mut headers: Vec<_> = signed.into_iter().filter(|(name, _)| name == wire::EVIDENCE).collect();
        headers.push(("content-type".to_owned(), content_type));
        headers.push(("accept".to_owned(), media_type.to_owned()));
        if self.service.version == Version::V11 {
            headers.push(("soapaction".to_owned(), format!("\"{}\"", call.action)));
        }
        Ok(Question { method: Method::POST, address: self.service.address.as_str(), headers, body })
    }

    /// The body of an answer that is whole, signed where it must be, and no fault.
    fn read(
        &self,
        agency: &AgencyId,
        reply: &Reply,
        id: &str,
        context: &Context<'_>,
    ) -> Result<Answer, FetchError> {
        let media_type = reply.media_type();
        let is_soap = ["text/xml", "application/soap+xml", "application/xml"].contains(&media_type.as_str());
        if !is_soap {
            let refused = FetchError::Refused { status: reply.status.as_u16() };
            return Err(if reply.status == StatusCode::OK { FetchError::ContentType } else { refused });
        }
        let envelope = xml::parse(&reply.body, &self.limits()).map_err(FetchError::Xml)?;
        let version =
            [Version::V11, Version::V12].into_iter().find(|v| envelope.is(v.namespace(), "Envelope"));
        let version = version.ok_or(FetchError::Envelope("it is no envelope"))?;
        let of = |local: &str| envelope.only(version.namespace(), local);
        let body = of("Body").ok_or(FetchError::Envelope("it does not have exactly one body"))?;
        // A fault is not always signed; only what we act on must be.
        if let Some(fault) = body.only(version.namespace(), "Fault") {
            return Err(fault::read(fault, version, reply.status));
        }
        if reply.status != StatusCode::OK {
            return Err(FetchError::Refused { status: reply.status.as_u16() });
        }
        understood(of("Header"), version)?;
        let digest = Sha256::of(&reply.body);
        let (by, seal) = match self.service.security {
            Security::Channel => (Assurance::Certificate, None),
            Security::Signature => {
                let header =
                    of("Header").ok_or(FetchError::XmlSignature(signature::SignatureFault::Malformed))?;
                (Assurance::Seal, Some(self.sealed(agency, [&envelope, header, body], id, context)?))
            }
        };
        Ok(Answer { body: body.clone(), said: Said { digest, of: SaidOf::Bytes, by }, seal })
    }

    /// Whose seal is on an answer: the agency's, over this body, in answer to our message.
    fn sealed(
        &self,
        agency: &AgencyId,
        [envelope, header, body]: [&Element; 3],
        id: &str,
        context: &Context<'_>,
    ) -> Result<Identity, FetchError> {
        let now = (context.clock)();
        let expectation = Expectation { now, verifier: &*self.ours.verifier };
        let seal =
            signature::verify(envelope, header, body, &expectation).map_err(FetchError::XmlSignature)?;
        // What it answers need not be said: the record's own codice fiscale and the fresh timestamp are checked as well.
        let mut relates = header.elements().filter(|block| block.is(WSA, "RelatesTo"));
        if relates.any(|relation| relation.text().trim() != id) {
            return Err(FetchError::XmlSignature(signature::SignatureFault::RelatesTo));
        }
        context.sealer(&seal, agency)?;
        Ok(seal)
    }
}

/// A header that must be understood and is not makes the message one that must not be processed (SOAP 1.2 part 1, 2.4).
fn understood(header: Option<&Element>, version: Version) -> Result<(), FetchError> {
    let blocks = header.into_iter().flat_map(Element::elements);
    let must = |block: &&Element| {
        block
            .attribute(version.namespace(), "mustUnderstand")
            .is_some_and(|must| matches!(must, "1" | "true"))
    };
    let known = |block: &&Element| [WSSE, WSA].contains(&block.name.namespace.as_str());
    match blocks.filter(must).find(|block| !known(block)) {
        Some(_) => Err(FetchError::Envelope("it has a header that must be understood and is not known")),
        None => Ok(()),
    }
}

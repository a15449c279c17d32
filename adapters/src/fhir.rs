//! An agency's system that speaks HL7 FHIR R4.
//!
//! Owns how resources are found, paged, held against the person asked about, and handed over in a transaction; how the
//! server's own words (OperationOutcome) become codes. What a resource's element means is the mapping's to say. Every
//! search is a POST: no identifier of a person is in an address, neither ours nor in the logs of machines between.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::{Map, Value};
use varco_core::exchange::{Assurance, Said, SaidOf};
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::subject::CodiceFiscale;

use crate::http::{Address, Https, Question};
use crate::mapping::{Ask, Mapping, Mappings, Reason, RowFault};
use crate::{Accepted, AgencyRecord, Context, Delivery, FetchError, Request};

mod bundle;
mod door;
mod plan;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;

pub use door::{Backend, Door, Secret};
pub use tree::prepared;

/// The systems of the Italian codice fiscale in identifiers (HL7 Italia): the one we write, and another that is in use.
pub const CODICE_FISCALE: [&str; 2] =
    ["urn:oid:2.16.840.1.113883.2.9.4.3.2", "http://hl7.it/sid/codiceFiscale"];
/// The words of a mapping's section besides `da` and `soggetto`.
pub const WORDS: [&str; 2] = ["icd_protetti", "icf_protetti"];
const MEDIA_TYPE: &str = "application/fhir+json";
/// Pages of one search. At 50 entries a page, 500 resources of one kind about one person.
const PAGES_MAX: usize = 10;
/// How many entries we ask for in a page.
const PAGE: usize = 50;
/// Resources of one kind. A server that ignores the page's size ends here.
const RESOURCES_MAX: usize = 500;

pub struct Fhir {
    address: Address,
    /// Of all answers for one record together, in bytes.
    answer_max: usize,
    mappings: Mappings,
    door: Door,
    https: Https,
}

impl Fhir {
    pub fn new(
        address: Address,
        answer_max: usize,
        mappings: Mappings,
        door: Door,
        tls: &Arc<ClientConfig>,
    ) -> Self {
        Self { address, answer_max, mappings, door, https: Https::new(tls) }
    }

    pub(crate) const fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    pub fn renew(&self, tls: &Arc<ClientConfig>) {
        self.https.renew(tls);
    }

    pub(crate) async fn fetch(
        &self,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<AgencyRecord, FetchError> {
        let mapping = self.mappings.of(request.record_type).ok_or(FetchError::NoMapping)?;
        let (tree, said) = self.tree(mapping, request, context).await?;
        let ask = Ask { row: 0, subject: Some(request.subject), fields: request.fields };
        let mapped = mapping.read(&tree, &ask).map_err(FetchError::NotFitting)?;
        Ok(AgencyRecord::mapped(mapped, said))
    }

    /// One person's resources as the mapping reads them, and what the server said.
    pub(crate) async fn tree(
        &self,
        mapping: &Mapping,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<(Value, Said), FetchError> {
        let authorization = self.door.authorization(&self.https, request.jtis, context).await?;
        let mut session = Session { fhir: self, authorization, bodies: Vec::new(), left: self.answer_max };
        let tree = session.collect(mapping, request).await?;
        Ok((tree, session.said()))
    }

    /// Hands over a record as one transaction: all of it is taken, or nothing is. Each resource is created only where the
    /// same delivery has not created it before.
    pub(crate) async fn deliver(
        &self,
        delivery: &Delivery<'_>,
        context: &Context<'_>,
    ) -> Result<Accepted, FetchError> {
        let mapping = self.mappings.of(delivery.record_type).ok_or(FetchError::NoMapping)?;
        let written = mapping.write(delivery.record, delivery.subject).map_err(FetchError::NotFitting)?;
        let bundle = transaction::bundle(written.tree, delivery, (context.clock)())?;
        let entries = bundle.get("entry").and_then(Value::as_array).map_or(0, Vec::len);
        let authorization = self.door.authorization(&self.https, delivery.jtis, context).await?;
        let mut session = Session { fhir: self, authorization, bodies: Vec::new(), left: self.answer_max };
        let answer =
            session.ask(Call::post(self.address.as_str(), MEDIA_TYPE, json::canonical(&bundle))).await?;
        transaction::taken(&answer, entries)?;
        Ok(Accepted { said: session.said(), seal: None, without_place: written.without_place })
    }
}

/// The calls for one record.
struct Session<'a> {
    fhir: &'a Fhir,
    authorization: Option<String>,
    /// The bodies of all answers, in order.
    bodies: Vec<Vec<u8>>,
    /// Bytes that may still come.
    left: usize,
}

/// One call.
struct Call<'a> {
    method: Method,
    address: &'a str,
    media_type: &'static str,
    body: String,
}

impl<'a> Call<'a> {
    fn post(address: &'a str, media_type: &'static str, body: String) -> Self {
        Self { method: Method::POST, address, media_type, body }
    }

    fn page(address: &'a str) -> Self {
        Self { method: Method::GET, address, media_type: "", body: String::new() }
    }
}

impl Session<'_> {
    /// All that the server said, one answer after the other.
    fn said(&self) -> Said {
        let parts: Vec<&[u8]> = self.bodies.iter().map(Vec::as_slice).collect();
        Said { digest: Sha256::of_parts(&parts), of: SaidOf::Bytes, by: Assurance::Certificate }
    }

    /// Everything that the asked fields are read from, as one tree: each kind of resource under its name.
    async fn collect(&mut self, mapping: &Mapping, request: &Request<'_>) -> Result<Value, FetchError> {
        let plan = plan::Plan::of(mapping, request.fields)?;
        let patient = self.patient(request.subject, &plan).await?;
        let reference = format!("Patient/{}", text(&patient, "id").unwrap_or_default());
        let mut tree = Map::new();
        for search in plan.searches() {
            let mut found = Vec::new();
            for resource in self.search(search, &[("patient", &reference)]).await? {
                if tree::is_about(&resource, search.of_person, &reference, self.fhir.address.as_str()) {
                    found.push(resource);
                } else {
                    // A server that ignores a parameter it does not know answers with everybody's.
                    return Err(FetchError::NotFitting(vec![RowFault::new(
                        0,
                        search.resource,
                        Reason::OtherPerson,
                    )]));
                }
            }
            tree.insert(search.resource.to_owned(), Value::Array(found));
        }
        tree.insert("Patient".to_owned(), patient);
        Ok(tree::prepared(tree, mapping))
    }

    /// The one active Patient with this codice fiscale.
    async fn patient(&mut self, subject: &CodiceFiscale, plan: &plan::Plan<'_>) -> Result<Value, FetchError> {
        // With a comma between: either of them (FHIR R4, 3.1.1.4.7).
        let identifier = CODICE_FISCALE.map(|system| format!("{system}|{}", subject.expose())).join(",");
        let found = self.search(&plan.patient, &[("identifier", &identifier)]).await?;
        let mut held = found.into_iter().filter(tree::is_active);
        let Some(first) = held.next() else { return Err(FetchError::SubjectUnknown) };
        let fault = |reason| Err(FetchError::NotFitting(vec![RowFault::new(0, "Patient", reason)]));
        if !tree::has_codice_fiscale(&first, subject) {
            return fault(Reason::OtherPerson);
        }
        if text(&first, "id").is_none_or(|id| !tree::is_id(id)) {
            return fault(Reason::NotText);
        }
        match held.next() {
            Some(_) => fault(Reason::Ambiguous),
            None => Ok(first),
        }
    }

    /// All resources that a search finds, over all its pages.
    async fn search(
        &mut self,
        search: &plan::Search<'_>,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<Value>, FetchError> {
        let form = search.form(parameters, PAGE);
        let address = self.fhir.address.below(&format!("{}/_search", search.resource));
        let first = Call::post(&address, "application/x-www-form-urlencoded", form);
        let mut page = bundle::page(self.ask(first).await?, search.resource)?;
        let mut found = std::mem::take(&mut page.resources);
        let mut pages = 1_usize;
        while let Some(next) = page.next.take() {
            let next =
                self.fhir.address.follow(&next).ok_or(FetchError::Paging("it leads to another system"))?;
            pages = pages.saturating_add(1);
            if pages > PAGES_MAX || found.len() > RESOURCES_MAX {
                return Err(FetchError::Paging("it does not end"));
            }
            page = bundle::page(self.ask(Call::page(&next)).await?, search.resource)?;
            found.append(&mut page.resources);
        }
        if found.len() > RESOURCES_MAX { Err(FetchError::Paging("it does not end")) } else { Ok(found) }
    }

    async fn ask(&mut self, ask: Call<'_>) -> Result<Value, FetchError> {
        let mut headers = vec![("accept".to_owned(), MEDIA_TYPE.to_owned())];
        if !ask.media_type.is_empty() {
            headers.push(("content-type".to_owned(), ask.media_type.to_owned()));
        }
        headers.extend(self.authorization.clone().map(|value| ("authorization".to_owned(), value)));
        let question =
            Question { method: ask.method, address: ask.address, headers, body: ask.body.into_bytes() };
        let reply = self.fhir.https.ask(question, self.left).await?;
        self.left = self.left.saturating_sub(reply.body.len());
        let json = matches!(reply.media_type().as_str(), MEDIA_TYPE | "application/json");
        if !reply.status.is_success() {
            if reply.status == StatusCode::UNAUTHORIZED {
                self.fhir.door.forget();
            }
            let said = json.then(|| json::parse(&reply.body).ok()).flatten();
            return Err(bundle::refusal(reply.status, said.as_ref()));
        }
        if !json {
            return Err(FetchError::ContentType);
        }
        let value = json::parse(&reply.body).map_err(FetchError::Json)?;
        self.bodies.push(reply.body);
        Ok(value)
    }
}

/// A member that is a text.
fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

//! The agencies' own systems, as the gateway reads from them and delivers to them.
//!
//! Owns how a system is reached, how long it may take, how much it may say, that what it says comes from its agency, and how
//! its shape becomes the record type's. Knows nothing of consent, policy or log: it is told which fields to ask for and asks for no other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use varco_core::exchange::Said;
use varco_core::id::{AgencyId, ExchangeId, FieldId, PurposeId, RecordTypeId};
use varco_core::registry::{Agency, Identity, Registry, Side};
use varco_core::subject::CodiceFiscale;
use varco_core::time::Timestamp;
use varco_core::wire::{Evidence, Jtis};

pub mod breaker;
pub mod counting;
pub mod encoding;
mod error;
pub mod fhir;
pub mod file;
pub mod http;
pub mod mapping;
pub mod rest;
mod rows;
pub mod soap;
pub mod sql;
mod tending;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod xml;

pub use error::FetchError;

use breaker::{Breaker, Circuit, Turn};
use counting::{CountRequest, Counted};

/// Every provider's system. One slow or broken system never keeps another waiting.
pub struct Sources {
    providers: BTreeMap<AgencyId, Provider>,
}

/// The kinds of system we can read from.
pub enum Source {
    Fhir(fhir::Fhir),
    File(file::File),
    Rest(rest::Rest),
    Soap(soap::Soap),
    Sql(sql::Sql),
}

/// What a provider's system may cost us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first attempt to the last byte of the answer, waiting for a turn included.
    pub timeout: Duration,
    /// Requests on their way at once.
    pub concurrent: usize,
    /// Requests that may wait for their turn.
    pub queued: usize,
    pub breaker: breaker::Rules,
}

impl Default for Limits {
    /// A person sits at a desk: five seconds is what they wait. 64 at once is what a small Comune's server takes; as
    /// many again wait less than the timeout as long as an answer takes less than half of it.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            concurrent: 64,
            queued: 192,
            breaker: breaker::Rules::default(),
        }
    }
}

/// What to fetch, of whom, and for whom. Only what the provider must know to answer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub exchange: &'a ExchangeId,
    pub consumer: &'a AgencyId,
    pub purpose: &'a PurposeId,
    pub record_type: &'a RecordTypeId,
    pub subject: &'a CodiceFiscale,
    /// The fields that may be released, and the control fields. Nothing else is asked for, and nothing else accepted.
    pub fields: &'a [FieldId],
    /// Who at the consumer's end asks.
    pub evidence: &'a Evidence,
    /// Fresh identifiers for our tokens.
    pub jtis: &'a Jtis,
}

/// What to hand over, and whose it is. What may leave was decided before; a delivery is carried as it is.
///
/// It holds values of a record, so its `Debug` prints none.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The same exchange is the same delivery, however often it comes: what a system tells repetitions by.
    pub exchange: &'a ExchangeId,
    /// Who owns the record and sent it.
    pub provider: &'a AgencyId,
    pub purpose: &'a PurposeId,
    pub record_type: &'a RecordTypeId,
    pub subject: &'a CodiceFiscale,
    /// The values that may leave, by field.
    pub record: &'a Map<String, Value>,
    /// The whole delivery as canonical JSON: record, outcomes of the fields, receipt, and the record's own signature.
    pub document: &'a str,
    /// Who at the provider's end sent it.
    pub evidence: &'a Evidence,
    /// Fresh identifiers for our tokens.
    pub jtis: &'a Jtis,
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery({})", self.exchange)
    }
}

/// A recipient's system took a delivery over, and said so.
#[derive(Debug)]
pub struct Accepted {
    /// What it said, or the file that now lies there; and how it is known whose it is.
    pub said: Said,
    /// Whose certificate sealed it, where it is sealed.
    pub seal: Option<Identity>,
    /// Fields that the system has no place for. The sender learns of them.
    pub without_place: Vec<FieldId>,
}

/// What the outside world is, while fetching.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Who may seal an answer.
    pub registry: &'a Registry,
    /// Read when the request is signed and again when the answer is checked: minutes may count between the two.
    pub clock: &'a (dyn Fn() -> Timestamp + Send + Sync),
}

impl<'a> Context<'a> {
    /// Whose seal it is: the agency's that was asked, and nobody else's.
    fn sealer(&self, seal: &Identity, agency: &AgencyId) -> Result<&'a Agency, FetchError> {
        let sealer = self.registry.recognise(seal, Side::Seal, (self.clock)());
        sealer.filter(|sealer| sealer.id == *agency).ok_or(FetchError::SealOfAnother)
    }
}

/// What a provider's system answered, checked to come from the provider, and of the record type as far as JSON goes.
///
/// It is the agency's whole answer, so it does not serialise, and its `Debug` prints names only.
pub struct AgencyRecord {
    fields: Map<String, Value>,
    /// What it said and how it is known who said it.
    pub said: Said,
    /// Whose certificate sealed it, where it is sealed.
    pub seal: Option<Identity>,
    /// What was repaired or looks odd, by stated rules; for the people who tend the source.
    pub notes: Vec<mapping::Note>,
}

impl AgencyRecord {
    /// Of a source that signs nothing: its fields by a mapping, and what it said.
    pub fn mapped(mapped: mapping::Mapped, said: Said) -> Self {
        Self { fields: mapped.fields, said, seal: None, notes: mapped.notes }
    }

    /// The fields with their values. A field the provider does not have is absent.
    pub fn into_fields(self) -> Map<String, Value> {
        self.fields
    }

    pub const fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

impl fmt::Debug for AgencyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields.keys()).finish()
    }
}

/// How a provider's system does, for `GET /status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub agency: AgencyId,
    pub circuit: Circuit,
    /// Requests that are on their way or wait for their turn.
    pub busy: usize,
}

struct Provider {
    source: Source,
    limits: Limits,
    breaker: Breaker,
    /// Turns, of which there are as many as requests may be on their way.
    turns: Semaphore,
    /// Places, for those who have a turn and those who wait for one.
    places: Semaphore,
}

impl Sources {
    pub fn new(providers: impl IntoIterator<Item = (AgencyId, Source, Limits)>) -> Self {
        let provider = |(agency, source, limits)| (agency, Provider::new(source, limits));
        Self { providers: providers.into_iter().map(provider).collect() }
    }

    /// Asks a provider's system for fields of one person's record.
    pub async fn fetch(
        &self,
        provider: &AgencyId,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<AgencyRecord, FetchError> {
        let system = self.providers.get(provider).ok_or(FetchError::NoSource)?;
        let fetched = system.attempt(provider, system.source.fetch(provider, request, context)).await?;
        for note in &fetched.notes {
            tracing::info!(agency.id = %provider, record_type = %request.record_type, field = note.field,
                repair = note.repair.code(), "a value was taken by a stated rule");
        }
        Ok(fetched)
    }

    /// Hands a delivery over to a recipient's system. After an error it is not known whether it was taken over; it may be
    /// sent again, and the recipient tells repetitions by the exchange.
    pub async fn deliver(
        &self,
        recipient: &AgencyId,
        delivery: &Delivery<'_>,
        context: &Context<'_>,
    ) -> Result<Accepted, FetchError> {
        let system = self.providers.get(recipient).ok_or(FetchError::NoSource)?;
        system.attempt(recipient, system.source.deliver(recipient, delivery, context)).await
    }

    /// Asks a provider's system how many people there are in the classes of a tabulation. Nobody is named either way.
    pub async fn count(
        &self,
        provider: &AgencyId,
        request: &CountRequest<'_>,
        context: &Context<'_>,
    ) -> Result<Counted, FetchError> {
        let system = self.providers.get(provider).ok_or(FetchError::NoSource)?;
        system.attempt(provider, system.source.count(provider, request, context)).await
    }

    /// Whether this agency's system can be sent anything at the moment: nobody waits for one that is left alone.
    pub fn is_open(&self, agency: &AgencyId) -> bool {
        self.providers.get(agency).is_some_and(|provider| provider.breaker.circuit() != Circuit::Open)
    }

    /// Uses new keys, certificates or revocation lists from now on. Connections made with the old ones end.
    pub fn renew(&self, tls: &Arc<ClientConfig>) {
        for provider in self.providers.values() {
            match &provider.source {
                Source::Fhir(fhir) => fhir.renew(tls),
                Source::Rest(rest) => rest.renew(tls),
                Source::Soap(soap) => soap.renew(tls),
                // Their trust is their own: a database's authorities, an SFTP server's key.
                Source::File(_) | Source::Sql(_) => {}
            }
        }
    }

    /// Looks after what does not come by itself: files that agencies dropped. A folder that cannot be read says so in the log;
    /// whoever asks for a record of its agency meanwhile gets the same answer.
    pub async fn tend(&self) {
        for (agency, provider) in &self.providers {
            let Source::File(file) = &provider.source else { continue };
            let looked = tokio::time::timeout(file::TEND_MAX, file.tend()).await;
            let fault = match looked {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(_elapsed) => FetchError::Timeout,
            };
            tracing::warn!(agency.id = %agency, code = fault.code().text(), error = %fault,
                "a drop folder cannot be looked into");
        }
    }

    pub fn status(&self) -> Vec<Status> {
        let status = |(agency, provider): (&AgencyId, &Provider)| Status {
            agency: agency.clone(),
            circuit: provider.breaker.circuit(),
            busy: provider.limits.places().saturating_sub(provider.places.available_permits()),
        };
        self.providers.iter().map(status).collect()
    }
}

impl Provider {
    /// One piece of work with the agency's system, in its turn and its time; what comes of it moves the breaker.
    async fn attempt<T>(
        &self,
        agency: &AgencyId,
        work: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let _place = self.places.try_acquire().map_err(|_| FetchError::Busy)?;
        let pass = self
            .breaker
            .admit(Instant::now())
            .map_err(|retry_after| FetchError::CircuitOpen { retry_after })?;
        let deadline = Instant::now() + self.limits.timeout;
        // Whoever gets no turn in time says nothing about the system: the pass is dropped, neither good nor bad.
        let turn = timeout_at(deadline, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| FetchError::Busy)?.map_err(|_| FetchError::Busy)?;
        let done = match timeout_at(deadline, work).await {
            Ok(done) => done,
            Err(_elapsed) => Err(FetchError::Timeout),
        };
        match &done {
            Err(error) if error.is_outage() => {
                if let Turn::Opened(pause) = pass.failed(Instant::now()) {
                    tracing::warn!(agency.id = %agency, pause_ms = pause.as_millis(), code = error.code().text(),
                        "an agency's system failed repeatedly and is left alone for a while");
                }
            }
            Ok(_) | Err(_) => pass.succeeded(),
        }
        done
    }

    fn new(source: Source, limits: Limits) -> Self {
        Self {
            source,
            limits,
            breaker: Breaker::new(limits.breaker),
            turns: Semaphore::new(limits.concurrent),
            places: Semaphore::new(limits.places()),
        }
    }
}

impl Limits {
    const fn places(&self) -> usize {
        self.concurrent.saturating_add(self.queued)
    }
}

impl Source {
    async fn fetch(
        &self,
        provider: &AgencyId,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<AgencyRecord, FetchError> {
        match self {
            Self::Fhir(fhir) => fhir.fetch(request, context).await,
            Self::File(file) => file.fetch(request).await,
            Self::Rest(rest) => rest.fetch(provider, request, context).await,
            Self::Soap(soap) => soap.fetch(provider, request, context).await,
            Self::Sql(sql) => sql.fetch(request).await,
        }
    }

    async fn count(
        &self,
        provider: &AgencyId,
        request: &CountRequest<'_>,
        context: &Context<'_>,
    ) -> Result<Counted, FetchError> {
        match self {
            Self::Rest(rest) => rest.count(provider, request, context).await,
            Self::Sql(sql) => sql.count(request).await,
            // They give one person's record, and whoever counted would have to read everybody's.
            Self::Fhir(_) | Self::File(_) | Self::Soap(_) => Err(FetchError::NoCounts),
        }
    }

    async fn deliver(
        &self,
        recipient: &AgencyId,
        delivery: &Delivery<'_>,
        context: &Context<'_>,
    ) -> Result<Accepted, FetchError> {
        match self {
            Self::Fhir(fhir) => fhir.deliver(delivery, context).await,
            Self::File(file) => file.deliver(delivery).await,
            Self::Rest(rest) => rest.deliver(recipient, delivery, context).await,
            Self::Soap(soap) => soap.deliver(recipient, delivery, context).await,
            // A view is read-only, and so are we there.
            Self::Sql(_) => Err(FetchError::NoDeliveries),
        }
    }
}

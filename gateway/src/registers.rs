//! Between the chain and the store: what is read for a decision, and what is written for an outcome.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use varco_adapters::Request;
use varco_core::appeal::{self, Appeal};
use varco_core::case::{self, Case};
use varco_core::consent::{self, Consent};
use varco_core::emergency::SealedReason;
use varco_core::exchange::{
    self, AuthorizedExchange, Decided, Housemate, KeyHeader, Pull, PushHeader, Sealed, SignalKey,
    VerifiedRequest, Waiting, pseudonyms_in,
};
use varco_core::id::{
    AgencyId, AppealId, CaseId, ConsentId, ExchangeId, FieldId, NoticeId, OfficerId, Pseudonym,
    SubscriptionId,
};
use varco_core::json;
use varco_core::log::entry::{Kind, Slots};
use varco_core::log::leaf::Leaf;
use varco_core::notice::{self, Notice, Past, Served};
use varco_core::parcel::{self, Parcel};
use varco_core::registry::Registry;
use varco_core::restriction::{self, Restrictions};
use varco_core::signal::{self, Subscription};
use varco_core::statistics::release::Release;
use varco_core::time::Timestamp;
use varco_core::wire::{Evidence, Jtis};
use varco_jose::{ReaderKey, SEALING_RANDOM};
use varco_store::read::{PAGE_MAX, ReadError, Stream};
use varco_store::submission::{Change, Claim, Guard, StreamKind, Submission};

use crate::app::App;

/// A register that cannot be read. What depends on it is not given.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("`{0}` does not replay: {1}")]
    Damaged(String, String),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The consents of a person, whatever pseudonym they were recorded under.
pub async fn consents_of(app: &App, subject: &[Pseudonym]) -> Result<Vec<Consent>, Unreadable> {
    let streams = app.store.read().streams_of(subject, StreamKind::Consent).await?;
    streams.into_iter().map(consent_of).collect()
}

/// The consents a decision may rest on. What cannot be read is not given, and the rest still flows: only what depends on
/// consent closes.
pub async fn consents_given(app: &App, subject: &[Pseudonym]) -> Vec<Consent> {
    let streams = match app.store.read().streams_of(subject, StreamKind::Consent).await {
        Ok(streams) => streams,
        Err(error) => {
            tracing::error!(%error, "the register of consents cannot be read: none counts as given");
            return Vec::new();
        }
    };
    streams.into_iter().filter_map(readable).collect()
}

pub fn readable(stream: Stream) -> Option<Consent> {
    match consent_of(stream) {
        Ok(consent) => Some(consent),
        Err(unreadable) => {
            tracing::error!(%unreadable, "a consent cannot be read: it counts as not given");
            None
        }
    }
}

/// The other members of a household: those asked for in the same request, and the other people of the case. People of a case are
/// known by one pseudonym only; where the keys have several epochs, their lock tells the others. Where it does not open they count as
/// unknown.
pub async fn housemates(
    app: &App,
    case: Option<&Case>,
    subject: &[Pseudonym],
    named: &[Vec<Pseudonym>],
) -> Result<Vec<Housemate>, Unreadable> {
    let mut mates = Vec::new();
    for pseudonyms in named.iter().filter(|pseudonyms| pseudonyms.as_slice() != subject) {
        mates.push(housemate(app, pseudonyms).await?);
    }
    let is_named = |pseudonym: &Pseudonym| {
        subject.contains(pseudonym) || named.iter().any(|pseudonyms| pseudonyms.contains(pseudonym))
    };
    for pseudonym in case.iter().flat_map(|case| case.subjects()).filter(|person| !is_named(person)) {
        let all = match subject {
            [_] => Some(vec![pseudonym.clone()]),
            _ => case.and_then(|case| {
                pseudonyms_in(case, pseudonym, &app.keepers.load().copies, &app.keys.load())
            }),
        };
        mates.push(match all {
            Some(all) => housemate(app, &all).await?,
            None => Housemate::Unknown,
        });
    }
    Ok(mates)
}

async fn housemate(app: &App, pseudonyms: &[Pseudonym]) -> Result<Housemate, Unreadable> {
    let restrictions = restrictions_of(app, pseudonyms).await?;
    Ok(Housemate::Known { consents: consents_given(app, pseudonyms).await, restrictions })
}

/// What a person has restricted, under each pseudonym and in their order, also where there is nothing: a decision rests on
/// that, too.
pub async fn restrictions_of(app: &App, subject: &[Pseudonym]) -> Result<Vec<Restrictions>, Unreadable> {
    let streams = app.store.read().streams_of(subject, StreamKind::Restriction).await?;
    let held = streams.into_iter().map(restrictions_in).collect::<Result<Vec<_>, _>>()?;
    Ok(of_each(subject, &held))
}

pub fn of_each(subject: &[Pseudonym], held: &[Restrictions]) -> Vec<Restrictions> {
    let of = |pseudonym: &Pseudonym| {
        let found = held.iter().find(|held| held.header.subject == *pseudonym).cloned();
        found.unwrap_or_else(|| Restrictions::none(pseudonym.clone()))
    };
    subject.iter().map(of).collect()
}

/// Every disclosure about a person, the oldest first: whom to tell.
pub async fn past_of(app: &App, subject: &[Pseudonym]) -> Result<Vec<Past>, Unreadable> {
    let entries = entries_about(app, subject).await?;
    let own = entries.iter().filter(|(_, slots)| is_about(slots, subject));
    Ok(own.filter_map(|(leaf, slots)| Past::read(leaf, slots)).collect())
}

/// The same, with the disclosures about others of the household that rest on the person's consent.
pub async fn past_resting_on(app: &App, subject: &[Pseudonym]) -> Result<Vec<Past>, Unreadable> {
    let entries = entries_about(app, subject).await?;
    Ok(entries.iter().filter_map(|(leaf, slots)| Past::read(leaf, slots)).collect())
}

/// What is told to a person: all that is about them, and where data of theirs had been disclosed as another's.
pub async fn told_of(app: &App, subject: &[Pseudonym]) -> Result<Vec<(Leaf, Slots)>, Unreadable> {
    let mut entries = entries_about(app, subject).await?;
    entries.retain(|(leaf, slots)| leaf.kind() == Kind::Correction || is_about(slots, subject));
    Ok(entries)
}

/// Whether an entry that is found by a person is about that person. Where the body that says so was erased it counts as theirs.
fn is_about(slots: &Slots, subject: &[Pseudonym]) -> bool {
    let body = slots.subject.as_ref().and_then(|slot| json::parse(slot.body.as_bytes()).ok());
    let said = body.as_ref().and_then(|body| body.get("subject")?.as_str());
    said.is_none_or(|said| subject.iter().any(|person| person.as_str() == said))
}

/// What the log tells of a person: disclosures, corrections and earlier reports, with their bodies, the oldest first; and
/// refusals without, because they end copies that waited.
async fn entries_about(app: &App, subject: &[Pseudonym]) -> Result<Vec<(Leaf, Slots)>, Unreadable> {
    let tells = |kind| matches!(kind, Kind::Correction | Kind::Delivery | Kind::Disclosure | Kind::Read);
    let ends = |kind| matches!(kind, Kind::Denial | Kind::Failure);
    let (reader, mut past, mut from) = (app.store.read(), Vec::new(), 0);
    loop {
        let indices = reader.entries_about(subject, from).await?;
        for index in &indices {
            let leaves = reader.leaves(*index, index.saturating_add(1)).await?;
            let leaf = leaves.first().and_then(|leaf| Leaf::parse(leaf).ok());
            let damaged = || Unreadable::Damaged(format!("entry {index}"), "it is no leaf".to_owned());
            let leaf = leaf.ok_or_else(damaged)?;
            if tells(leaf.kind()) {
                let slots = reader.slots(*index).await?;
                past.push((leaf, slots));
            } else if ends(leaf.kind()) {
                past.push((leaf, Slots::default()));
            }
        }
        match indices.last() {
            Some(last) if indices.len() as u64 == PAGE_MAX => from = last.saturating_add(1),
            Some(_) | None => return Ok(past),
        }
    }
}

/// The notices that wait for an agency: to be acknowledged by it, or by others about its data.
pub async fn notices_for(app: &App, agency: &AgencyId) -> Result<Vec<Waiting>, Unreadable> {
    let mut found = Vec::new();
    for kind in [StreamKind::Emergency, StreamKind::Notice] {
        for stream in app.store.read().waiting_for(agency, kind).await? {
            let served = notice_in(stream)?;
            let reasons = reasons(app, &served.notice, agency).await?;
            found.push(Waiting { served, reasons });
        }
    }
    Ok(found)
}

/// What the log keeps of an emergency's reason for the officers of the owner, sealed as it is there.
async fn reasons(app: &App, notice: &Notice, reader: &AgencyId) -> Result<Vec<SealedReason>, Unreadable> {
    let exchange = notice.exchanges.first().filter(|_| notice.emergency.is_some() && notice.to == *reader);
    let Some(exchange) = exchange else { return Ok(Vec::new()) };
    let Some((_, slots)) = app.store.read().entry(exchange, Kind::Disclosure).await? else {
        return Ok(Vec::new());
    };
    let body = slots.decision.as_ref().and_then(|slot| json::parse(slot.body.as_bytes()).ok());
    let sealed = body.as_ref().and_then(|body| body.get("emergency")?.get("reason")).cloned();
    Ok(sealed.and_then(|sealed| serde_json::from_value(sealed).ok()).unwrap_or_default())
}

/// The emergencies nobody has reviewed yet.
pub async fn unreviewed(app: &App) -> Result<Vec<Served>, Unreadable> {
    let streams = app.store.read().waiting(StreamKind::Emergency).await?;
    streams.into_iter().map(notice_in).collect()
}

/// The reason of an emergency, sealed to each officer of the owner who can read it. A key that cannot be used is passed
/// over: without any, nothing is disclosed.
pub fn sealed_reasons(app: &App, registry: &Registry, pull: &Pull) -> Vec<SealedReason> {
    let Some(emergency) = &pull.emergency else { return Vec::new() };
    let seal = |(officer, key): (&OfficerId, &str)| {
        let words = emergency.reason.expose().as_bytes();
        let key = ReaderKey::from_pem(key).ok();
        let sealed = key.and_then(|key| key.seal(words, &app.random::<SEALING_RANDOM>()).ok());
        if sealed.is_none() {
            tracing::error!(%officer, "an officer's reading key cannot be used");
        }
        sealed.map(|jwe| SealedReason { officer: officer.clone(), jwe })
    };
    registry.readers(&pull.provider).filter_map(seal).collect()
}

pub async fn notice(app: &App, id: &NoticeId) -> Result<Option<Served>, Unreadable> {
    let stream = app.store.read().stream(id.as_str()).await?;
    let is_notice = |stream: &Stream| matches!(stream.kind, StreamKind::Emergency | StreamKind::Notice);
    stream.filter(is_notice).map(notice_in).transpose()
}

/// A copy on its way, as far as it may be told.
pub async fn parcel(app: &App, id: &ExchangeId) -> Result<Option<Parcel>, Unreadable> {
    let stream = app.store.read().stream(id.as_str()).await?;
    stream.filter(|stream| stream.kind == StreamKind::Parcel).map(parcel_in).transpose()
}

/// A page of what waits for an agency, in the order of their identifiers.
pub async fn inbox(
    app: &App,
    agency: &AgencyId,
    after: Option<&ExchangeId>,
    most: usize,
) -> Result<Vec<Parcel>, Unreadable> {
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let streams = app.store.read().inbox(agency, after, most).await?;
    streams.into_iter().map(parcel_in).collect()
}

/// A push with what became of its copies.
pub async fn push(app: &App, id: &ExchangeId) -> Result<Option<(PushHeader, Vec<Parcel>)>, Unreadable> {
    let stream = app.store.read().stream(id.as_str()).await?;
    let Some(stream) = stream.filter(|stream| stream.kind == StreamKind::Push) else { return Ok(None) };
    let (header, _) = documents::<PushHeader, Value>(&stream)?;
    let mut parcels = Vec::with_capacity(header.recipients.len());
    for recipient in &header.recipients {
        parcels.extend(parcel(app, &recipient.exchange).await?);
    }
    Ok(Some((header, parcels)))
}

/// What a sender's key stands for.
pub async fn push_key(app: &App, stream: &str) -> Result<Option<KeyHeader>, Unreadable> {
    let stream = app.store.read().stream(stream).await?;
    let stream = stream.filter(|stream| stream.kind == StreamKind::Push);
    Ok(stream.map(|stream| documents::<KeyHeader, Value>(&stream)).transpose()?.map(|(header, _)| header))
}

/// What a provider's number for a signal stands for.
pub async fn signal_key(app: &App, stream: &str) -> Result<Option<SignalKey>, Unreadable> {
    let stream = app.store.read().stream(stream).await?;
    let stream = stream.filter(|stream| stream.kind == StreamKind::Signal);
    Ok(stream.map(|stream| documents::<SignalKey, Value>(&stream)).transpose()?.map(|(key, _)| key))
}

/// What was told in numbers before, by the streams that hold it.
pub async fn releases(app: &App, streams: &[String]) -> Result<BTreeMap<String, Release>, Unreadable> {
    let mut found = BTreeMap::new();
    for id in streams {
        let stream = app.store.read().stream(id).await?;
        if let Some(stream) = stream.filter(|stream| stream.kind == StreamKind::Statistics) {
            let (release, _) = documents::<Release, Value>(&stream)?;
            found.insert(id.clone(), release);
        }
    }
    Ok(found)
}

pub async fn subscription(app: &App, id: &SubscriptionId) -> Result<Option<Subscription>, Unreadable> {
    let stream = app.store.read().stream(id.as_str()).await?;
    stream.filter(|stream| stream.kind == StreamKind::Subscription).map(subscription_in).transpose()
}

/// The subscriptions about a person, whoever's they are and whatever became of them.
pub async fn subscriptions_about(app: &App, subject: &[Pseudonym]) -> Result<Vec<Subscription>, Unreadable> {
    let streams = app.store.read().streams_of(subject, StreamKind::Subscription).await?;
    streams.into_iter().map(subscription_in).collect()
}

/// A page of an agency's subscriptions, in the order of their identifiers.
pub async fn subscriptions_of(
    app: &App,
    (agency, now): (&AgencyId, Timestamp),
    after: Option<&SubscriptionId>,
    most: usize,
) -> Result<Vec<Subscription>, Unreadable> {
    let streams = app.store.read().subscriptions_of(agency, now, after, most).await?;
    streams.into_iter().map(subscription_in).collect()
}

pub async fn consent(app: &App, id: &ConsentId) -> Result<Option<Consent>, Unreadable> {
    let stream = app.store.read().stream(id.as_str()).await?;
    stream.filter(|stream| stream.kind == StreamKind::Consent).map(consent_of).transpose()
}

pub async fn case(app: &App, id: &CaseId) -> Result<Option<Case>, Unreadable> {
    let stream = app.store.read().stream(id.as_str()).await?;
    stream.filter(|stream| stream.kind == StreamKind::Case).map(case_of).transpose()
}

/// The appeals about a person, whatever became of them.
pub async fn appeals_of(app: &App, subject: &[Pseudonym]) -> Result<Vec<Appeal>, Unreadable> {
    let streams = app.store.read().streams_of(subject, StreamKind::Appeal).await?;
    streams.into_iter().map(appeal_in).collect()
}

/// The appeals in which an agency has still something to do or to learn.
pub async fn appeals_for(app: &App, agency: &AgencyId) -> Result<Vec<Appeal>, Unreadable> {
    let streams = app.store.read().waiting_for(agency, StreamKind::Appeal).await?;
    streams.into_iter().map(appeal_in).collect()
}

pub async fn appeal(app: &App, id: &AppealId) -> Result<Option<Appeal>, Unreadable> {
    let stream = app.store.read().stream(id.as_str()).await?;
    stream.filter(|stream| stream.kind == StreamKind::Appeal).map(appeal_in).transpose()
}

/// The decision that an exchange ended with, if it ended with one.
pub async fn decided(app: &App, exchange: &ExchangeId) -> Result<Option<Decided>, Unreadable> {
    for kind in [Kind::Disclosure, Kind::Denial] {
        if let Some((leaf, slots)) = app.store.read().entry(exchange, kind).await? {
            return Ok(Decided::read(&leaf, &slots));
        }
    }
    Ok(None)
}

/// The sealed words of an appeal, as far as they are not erased, each with its entry.
pub async fn words_of(app: &App, appeal: &Appeal) -> Result<Vec<Value>, Unreadable> {
    let mut found = Vec::new();
    for exchange in appeal.words() {
        let entry = app.store.read().entry(exchange, Kind::Case).await?;
        let body = entry.and_then(|(_, slots)| slots.decision).map(|slot| slot.body);
        let body: Option<Value> = body.and_then(|body| json::parse(body.as_bytes()).ok());
        if let Some(sealed) = body.as_ref().and_then(|body| body.get("words")) {
            found.push(json!({ "exchange": exchange, "sealed": sealed }));
        }
    }
    Ok(found)
}

pub fn appeal_in(stream: Stream) -> Result<Appeal, Unreadable> {
    let (header, events) = documents::<appeal::Header, appeal::Event>(&stream)?;
    Appeal::replay(header, events).map_err(|fault| Unreadable::Damaged(stream.id, fault.to_string()))
}

pub fn consent_of(stream: Stream) -> Result<Consent, Unreadable> {
    let (header, events) = documents::<consent::Header, consent::Event>(&stream)?;
    Consent::replay(header, events).map_err(|fault| Unreadable::Damaged(stream.id, fault.to_string()))
}

pub fn restrictions_in(stream: Stream) -> Result<Restrictions, Unreadable> {
    let (header, events) = documents::<restriction::Header, restriction::Event>(&stream)?;
    Restrictions::replay(header, events).map_err(|fault| Unreadable::Damaged(stream.id, fault.to_string()))
}

fn parcel_in(stream: Stream) -> Result<Parcel, Unreadable> {
    let (header, events) = documents::<parcel::Header, parcel::Event>(&stream)?;
    Parcel::replay(header, events).map_err(|fault| Unreadable::Damaged(stream.id, fault.to_string()))
}

fn subscription_in(stream: Stream) -> Result<Subscription, Unreadable> {
    let (header, events) = documents::<signal::Header, signal::Event>(&stream)?;
    Subscription::replay(header, events).map_err(|fault| Unreadable::Damaged(stream.id, fault.to_string()))
}

fn notice_in(stream: Stream) -> Result<Served, Unreadable> {
    let (notice, events) = documents::<Notice, notice::Event>(&stream)?;
    Served::replay(notice, &events).map_err(|fault| Unreadable::Damaged(stream.id, fault.to_string()))
}

pub fn case_of(stream: Stream) -> Result<Case, Unreadable> {
    let (header, events) = documents::<case::Header, case::Event>(&stream)?;
    Case::replay(header, &events).map_err(|fault| Unreadable::Damaged(stream.id, fault.to_string()))
}

fn documents<H: DeserializeOwned, E: DeserializeOwned>(stream: &Stream) -> Result<(H, Vec<E>), Unreadable> {
    let damaged = |what: String| Unreadable::Damaged(stream.id.clone(), what);
    let header = stream.header.as_ref().ok_or_else(|| damaged("it has no header".to_owned()))?;
    let header = json::parse_as(header.as_bytes()).map_err(|fault| damaged(fault.to_string()))?;
    let events = stream.events.iter().map(|event| json::parse_as(event.as_bytes()));
    let events = events.collect::<Result<_, _>>().map_err(|fault| damaged(fault.to_string()))?;
    Ok((header, events))
}

/// What is claimed before anything is fetched.
pub fn claim(request: &VerifiedRequest, salts: [[u8; 32]; 2]) -> Claim {
    let (issuer_key, jtis, expires) = request.replay_keys();
    Claim {
        issuer_key,
        jtis: jtis.to_vec(),
        exchange: request.exchange().clone(),
        request_digest: request.digest(),
        expires,
        interrupted: request.interrupted(salts),
    }
}

/// What the provider is asked.
pub fn source_request<'a>(
    exchange: &'a AuthorizedExchange,
    fields: &'a [FieldId],
    evidence: &'a Evidence,
    jtis: &'a Jtis,
) -> Request<'a> {
    Request {
        exchange: exchange.exchange(),
        consumer: exchange.consumer(),
        purpose: &exchange.pull().purpose,
        record_type: &exchange.pull().record_type,
        subject: exchange.subject(),
        fields,
        evidence,
        jtis,
    }
}

/// What the ledger commits for an outcome.
pub fn submission(sealed: Sealed) -> Submission {
    let mut submission = Submission::new(sealed.draft);
    submission.guard = sealed.guard.map(|guard| Guard { epochs: guard.epochs, fallback: guard.fallback });
    submission.changes = sealed.changes.into_iter().map(change).collect();
    submission.subjects = sealed.subjects;
    submission.closes = sealed.closes;
    submission.parcels = sealed.parcels;
    submission.signals = sealed.signals;
    submission.also = sealed.also.into_iter().map(self::submission).collect();
    submission
}

fn change(change: exchange::StreamChange) -> Change {
    Change {
        stream: change.stream,
        kind: match change.kind {
            exchange::StreamKind::Appeal => StreamKind::Appeal,
            exchange::StreamKind::Case => StreamKind::Case,
            exchange::StreamKind::Consent => StreamKind::Consent,
            exchange::StreamKind::Emergency => StreamKind::Emergency,
            exchange::StreamKind::Notice => StreamKind::Notice,
            exchange::StreamKind::Parcel => StreamKind::Parcel,
            exchange::StreamKind::Push => StreamKind::Push,
            exchange::StreamKind::Restriction => StreamKind::Restriction,
            exchange::StreamKind::Signal => StreamKind::Signal,
            exchange::StreamKind::Statistics => StreamKind::Statistics,
            exchange::StreamKind::Subscription => StreamKind::Subscription,
        },
        expected: change.expected,
        header: change.header,
        event: change.event,
        subjects: change.subjects,
        waits_for: change.waits_for,
    }
}

//! `/consents`: recording, reading and closing them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::notice_register::{Closing, notices_of};
use super::{Done, Refusal, Registered, StreamChange, StreamKind, settle};
use crate::code::Code;
use crate::consent::{self, Consent};
use crate::exchange::ask::SubjectName;
use crate::exchange::outcome::Outcome;
use crate::exchange::verify::VerifiedRequest;
use crate::id::ConsentId;
use crate::json;
use crate::log::entry::Kind;
use crate::notice::Past;
use crate::policy::Category;
use crate::subject::{CodiceFiscale, SubjectKeys};
use crate::time::{Date, Month, Timestamp};

/// The body of `POST /consents`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentAsk {
    pub subject: SubjectName,
    pub class: consent::SubjectClass,
    #[serde(default)]
    pub class_until: Option<Timestamp>,
    #[serde(default)]
    pub representation: consent::Representation,
    pub agreement: consent::Document,
    pub notice: consent::Notice,
    pub scope: Vec<consent::ScopeItem>,
    /// A record of the same person that this one replaces in the same instant.
    #[serde(default)]
    pub supersedes: Option<ConsentId>,
    pub event: ConsentEventAsk,
}

/// The body of `POST /consents/{id}/events`, and the first event of a new record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentEventAsk {
    pub state: consent::State,
    #[serde(default)]
    pub items: Vec<String>,
    /// Only for an invalidation; absent means now.
    #[serde(default)]
    pub effective_at: Option<Timestamp>,
    #[serde(default)]
    pub until: Option<Timestamp>,
    pub capacity: consent::Capacity,
    /// Who spoke, when it was not the subject. A parent says which one.
    #[serde(default)]
    pub by: Option<SubjectName>,
    #[serde(default)]
    pub mandate: Option<consent::Mandate>,
    pub method: consent::Method,
    pub access_point: String,
    #[serde(default)]
    pub evidence: Vec<consent::Evidence>,
}

impl Registered<'_> {
    /// `POST /consents`. `held` are all records of the person: the one that `supersedes` names, those that hold the same
    /// choice and give way to this one, and those somebody entitled has closed.
    pub fn open_consent(&self, request: VerifiedRequest, ask: ConsentAsk, held: &[Consent]) -> Outcome {
        settle(request, |request| {
            let subject = self.subject(&ask.subject)?;
            self.check_recipients(&ask.scope)?;
            if ask.class == consent::SubjectClass::Minor {
                check_coming_of_age(&ask.subject.codice_fiscale, ask.class_until)?;
            }
            let first = ask.event.event(request, self.keys);
            let mut header = consent::Header {
                id: ConsentId::from(request.exchange()),
                subject: subject.clone(),
                class: ask.class,
                class_until: ask.class_until,
                representation: ask.representation,
                joint: Vec::new(),
                agreement: ask.agreement,
                notice: ask.notice,
                scope: ask.scope,
                supersedes: ask.supersedes.clone(),
            };
            header.joint = header.joint_items(held, &first, |item| self.is_delicate(item));
            let consent = Consent::open(header.clone(), first.clone())?;
            let mut changes = Vec::new();
            for old in held {
                let is_named = ask.supersedes.as_ref() == Some(&old.header.id);
                if is_named && !old.is_known_to(&request.sender.agency) {
                    return Err(Refusal::unknown(Code::ConsentUnknown));
                }
                let items = if is_named { Some(Vec::new()) } else { old.replaced_by(&consent, request.at) };
                let Some(items) = items else { continue };
                let end = first.ending(consent::State::Superseded, items);
                changes.push(consent_change(old, &end));
                old.clone().record(end)?;
            }
            if ask.supersedes.is_some()
                && !held.iter().any(|old| ask.supersedes.as_ref() == Some(&old.header.id))
            {
                return Err(Refusal::unknown(Code::ConsentUnknown));
            }
            changes.push(StreamChange {
                kind: StreamKind::Consent,
                stream: header.id.to_string(),
                expected: 0,
                header: Some(json::canonical_of(&header)),
                event: json::canonical_of(&first),
                subjects: vec![subject],
                waits_for: None,
            });
            Ok(self.recorded(request, &consent, changes, 201))
        })
    }

    /// `POST /consents/{id}/events`. Narrowing is open to every party of the agreement, as the person's own right at any
    /// access point; widening only to the agency that collected the record. `past` are the person's disclosures: whoever
    /// received what this event closes is told.
    pub fn record_consent(
        &self,
        request: VerifiedRequest,
        ask: ConsentEventAsk,
        consent: Option<Consent>,
        past: &[Past],
    ) -> Outcome {
        settle(request, |request| {
            let consent = consent.ok_or_else(|| Refusal::unknown(Code::ConsentUnknown))?;
            let widens = matches!(ask.state, consent::State::Given | consent::State::Renewed);
            if widens && !consent.is_known_to(&request.sender.agency) {
                return Err(Refusal::unknown(Code::ConsentUnknown));
            }
            let event = ask.event(request, self.keys);
            let mut changes = vec![consent_change(&consent, &event)];
            let after = consent.clone().record(event)?;
            changes.extend(notices_of(&[Closing { before: &consent, after: &after }], past, request));
            Ok(self.recorded(request, &after, changes, 200))
        })
    }

    /// A change of what a person agrees to, answered with what goes on whatever they say.
    fn recorded(
        &self,
        request: &VerifiedRequest,
        consent: &Consent,
        changes: Vec<StreamChange>,
        status: u16,
    ) -> Done {
        let mut done = Done::consent(request, consent, changes, Kind::Consent, status);
        done.body.insert("continues".to_owned(), self.continues(request.at));
        done
    }

    /// `GET /consents/{id}`.
    pub fn read_consent(&self, request: VerifiedRequest, consent: Option<Consent>) -> Outcome {
        settle(request, |request| {
            let consent = consent.filter(|consent| consent.is_known_to(&request.sender.agency));
            let consent = consent.ok_or_else(|| Refusal::unknown(Code::ConsentUnknown))?;
            Ok(Done::consent(request, &consent, Vec::new(), Kind::Read, 200))
        })
    }

    /// `POST /consents/search`: the person's records that the asking agency may know.
    pub fn search_consents(
        &self,
        request: VerifiedRequest,
        ask: &SubjectName,
        consents: &[Consent],
    ) -> Outcome {
        settle(request, |request| {
            let subject = self.subject(ask)?;
            let known = consents.iter().filter(|consent| consent.is_known_to(&request.sender.agency));
            let items: Vec<Value> = known.map(|consent| consent_view(consent, request.at)).collect();
            let body = Map::from_iter([("items".to_owned(), Value::Array(items))]);
            Ok(Done {
                subject: Some(subject),
                case: None,
                kind: Kind::Read,
                changes: Vec::new(),
                status: 200,
                body,
            })
        })
    }

    /// Whether an item opens special, judicial or protected data, for which one parent's word is not enough. What the
    /// policy does not know is delicate.
    fn is_delicate(&self, item: &consent::ScopeItem) -> bool {
        self.policy.record_type(&item.record_type).is_none_or(|kind| {
            kind.fields.iter().any(|field| {
                let is_meant = item.fields.as_ref().is_none_or(|named| named.contains(&field.id));
                is_meant && !item.excluded.contains(&field.id) && field.category != Category::Common
            })
        })
    }

    fn check_recipients(&self, scope: &[consent::ScopeItem]) -> Result<(), Refusal> {
        let stranger = |recipient: &&consent::Recipient| self.registry.agency(&recipient.agency).is_none();
        match scope.iter().flat_map(|item| &item.recipients).find(stranger) {
            Some(recipient) => Err(Refusal(
                Code::RequestInvalid,
                format!("recipient `{}` is not in the registry", recipient.agency),
            )),
            None => Ok(()),
        }
    }
}

impl Done {
    fn consent(
        request: &VerifiedRequest,
        consent: &Consent,
        changes: Vec<StreamChange>,
        kind: Kind,
        status: u16,
    ) -> Self {
        // Whoever withdraws for a person in front of them learns that it is done, not what the record holds.
        let known = consent.is_known_to(&request.sender.agency);
        let view = if known { consent_view(consent, request.at) } else { json!({ "id": consent.header.id }) };
        let body = Map::from_iter([("consent".to_owned(), view)]);
        Self { subject: Some(consent.header.subject.clone()), case: None, kind, changes, status, body }
    }
}

pub(super) fn consent_change(consent: &Consent, event: &consent::Event) -> StreamChange {
    StreamChange {
        kind: StreamKind::Consent,
        stream: consent.header.id.to_string(),
        expected: consent.epoch(),
        header: None,
        event: json::canonical_of(event),
        subjects: Vec::new(),
        waits_for: None,
    }
}

impl ConsentEventAsk {
    pub(super) fn event(self, request: &VerifiedRequest, keys: &SubjectKeys) -> consent::Event {
        consent::Event {
            state: self.state,
            items: self.items,
            at: request.at,
            effective_at: self.effective_at.unwrap_or(request.at),
            until: self.until,
            capacity: self.capacity,
            by: self.by.map(|by| keys.pseudonym(&by.codice_fiscale)),
            mandate: self.mandate,
            method: self.method,
            collected_by: consent::Collector {
                agency: request.sender.agency.clone(),
                operator: request.sender.operator.clone(),
                access_point: self.access_point,
            },
            evidence: self.evidence,
            request: request.digest,
        }
    }
}

/// The eighteenth birthday as the codice fiscale has it, in Rome or in UTC: a representative's word must not outlive it.
fn check_coming_of_age(person: &CodiceFiscale, until: Option<Timestamp>) -> Result<(), Refusal> {
    let agrees = |until: Timestamp| {
        (0..=2)
            .any(|hours| is_eighteenth_birthday(person, until.plus(Duration::from_secs(hours * 3600)).date()))
    };
    if until.is_none_or(agrees) {
        return Ok(());
    }
    let detail = "class_until is not the eighteenth birthday of the person";
    Err(Refusal(Code::RequestInvalid, detail.to_owned()))
}

fn is_eighteenth_birthday(person: &CodiceFiscale, day: Date) -> bool {
    let born = |month, number| Date::from_calendar_date(day.year() - 18, month, number).ok();
    let leap =
        || matches!((day.month(), day.day()), (Month::March, 1)).then(|| born(Month::February, 29)).flatten();
    [born(day.month(), day.day()), leap()].into_iter().flatten().any(|birth| person.agrees_with_birth(birth))
}

/// A record as an agency that may know it sees it.
pub(super) fn consent_view(consent: &Consent, now: Timestamp) -> Value {
    let item = |scope: &consent::ScopeItem| {
        let state = consent.state(&scope.item, now);
        json!({
            "item": scope.item,
            "state": state,
            "dpv": state.dpv(),
            "purpose": scope.purpose,
            "record_type": scope.record_type,
            "fields": scope.fields,
            "recipients": scope.recipients,
            "valid_until": scope.valid_until,
            "ending": consent.ending(&scope.item, now),
        })
    };
    json!({
        "id": consent.header.id,
        "epoch": consent.epoch(),
        "notice": consent.header.notice,
        "items": consent.header.scope.iter().map(item).collect::<Vec<_>>(),
    })
}

impl From<consent::ConsentFault> for Refusal {
    fn from(fault: consent::ConsentFault) -> Self {
        Self(fault.code(), fault.to_string())
    }
}

//! A record as ISO/IEC TS 27560:2023 writes it, with the terms of W3C DPV 2.3: header, processing, parties, events.
//!
//! What the standard has no name for stands under `varco`, so that a record read back is the record that was written,
//! event for event. Nothing of the evidence travels: hash and locator only.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Capacity, Consent, ConsentFault, Event, Header, ScopeItem, State};
use crate::id::AgencyId;
use crate::time::Timestamp;

/// The profile of DPV's guide to TS 27560 that the export follows.
pub const PROFILE: &str = "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr";

/// What the standard asks of every record and a single one does not know: the deployment's.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Identifier, name and kind of the parties to the agreement.
    pub parties: &'a [(&'a AgencyId, &'a str)],
    /// How a consent is withdrawn.
    pub withdrawal: &'a str,
}

/// Why a document is not taken for a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("the document does not follow profile {PROFILE}")]
    Profile,
    #[error("the record does not replay: {0}")]
    Record(#[from] ConsentFault),
    #[error("the document's own members and those under `varco` do not say the same")]
    Contradiction,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    header: Header,
    events: Vec<Event>,
}

/// Writes a record as it stands at an instant.
pub fn export(consent: &Consent, setting: Setting<'_>, now: Timestamp) -> Value {
    let header = &consent.header;
    let whole = Whole { header: header.clone(), events: consent.events().to_vec() };
    let processing: Vec<Value> = header.scope.iter().map(|item| processing(consent, item, now)).collect();
    let mut named: BTreeSet<&AgencyId> = consent.events().iter().map(|e| &e.collected_by.agency).collect();
    named.extend(header.scope.iter().flat_map(|item| &item.recipients).map(|recipient| &recipient.agency));
    let parties = setting.parties.iter().filter(|(id, _)| named.contains(id));
    let parties: Vec<Value> = parties
        .map(|(id, name)| json!({ "party_id": id, "party_name": name, "party_type": "dpv:Recipient" }))
        .collect();
    let events: Vec<Value> = consent.events().iter().map(event).collect();
    json!({
        "schema_version": PROFILE,
        "dpv_version": "2.3",
        "record_id": format!("urn:uuid:{}", header.id),
        "pii_principal_id": header.subject,
        "privacy_notice": { "id": header.notice.id, "version": header.notice.version, "sha256": header.notice.sha256 },
        "language": header.notice.language,
        "jurisdiction": "IT",
        "authority_party": "https://w3id.org/dpv/legal/it#DPA-IT",
        "withdrawal_method": setting.withdrawal,
        "processing": processing,
        "parties": parties,
        "events": events,
        "replaces": header.supersedes.as_ref().map(|id| format!("urn:uuid:{id}")),
        "varco": whole,
    })
}

fn processing(consent: &Consent, item: &ScopeItem, now: Timestamp) -> Value {
    let state = consent.state(&item.item, now);
    json!({
        "item": item.item,
        "purpose": item.purpose,
        "pii_information": [{ "pii_type": item.record_type, "pii_attribute_id": item.fields, "excluded": item.excluded }],
        "recipient_third_parties": item.recipients,
        "processing_method": match item.use_mode {
            super::UseMode::Store => "dpv:Store",
            super::UseMode::View => "dpv:Consult",
        },
        "consent_type": "dpv:ExplicitlyExpressedConsent",
        "valid_from": item.valid_from,
        "valid_until": item.valid_until,
        "state": state.dpv(),
        "is_valid": state.is_valid(),
    })
}

fn event(event: &Event) -> Value {
    json!({
        "event_time": event.at,
        "effective_at": event.effective_at,
        "validity_duration": event.until,
        "event_type": "dpv:ExplicitlyExpressedConsent",
        "event_state": event.state.dpv(),
        "items": event.items,
        "entity_id": event.by,
        "is_indicated_by": indicated_by(event.capacity),
    })
}

const fn indicated_by(capacity: Capacity) -> &'static str {
    match capacity {
        Capacity::AdsAssistance | Capacity::AdsRepresentation | Capacity::Curator => "dpv:Representative",
        Capacity::Authority => "dpv:Authority",
        Capacity::Controller => "dpv:DataController",
        Capacity::Parent | Capacity::ParentsBoth => "dpv:ParentOfDataSubject",
        Capacity::Subject => "dpv:DataSubject",
        Capacity::Tutor => "dpv:GuardianOfDataSubject",
    }
}

/// Why a record cannot be taken over into another registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverError {
    #[error("no choice of the record stands at this instant")]
    NothingStands,
    #[error("the person did not speak for themselves: whoever did must say it again")]
    SpokenFor,
}

/// The body of `POST /consents` that records the choices that stand once more, without its `subject`: whoever has the person
/// in front of them names them. A registry has pseudonyms of its own, and takes events from nobody but its agencies.
pub fn take_over(consent: &Consent, now: Timestamp) -> Result<Value, TakeOverError> {
    let header = &consent.header;
    let stands = |item: &&ScopeItem| consent.state(&item.item, now).is_valid();
    let scope: Vec<&ScopeItem> = header.scope.iter().filter(stands).collect();
    let said = consent.events().iter().rev().find(|event| event.state.is_valid());
    let (false, Some(said)) = (scope.is_empty(), said) else { return Err(TakeOverError::NothingStands) };
    if said.capacity != Capacity::Subject || said.by.is_some() {
        return Err(TakeOverError::SpokenFor);
    }
    Ok(json!({
        "class": header.class,
        "class_until": header.class_until,
        "representation": header.representation,
        "agreement": header.agreement,
        "notice": header.notice,
        "scope": scope,
        "event": {
            "state": State::Given,
            "until": said.until,
            "capacity": said.capacity,
            "method": said.method,
            "access_point": said.collected_by.access_point,
            "evidence": said.evidence,
        },
    }))
}

fn written(consent: &Consent) -> Value {
    let items = consent.header.scope.iter();
    items.map(|item| processing(consent, item, Timestamp::from_millis(0))).collect()
}

/// What does not depend on when it was written.
fn processing_of(items: Option<&Value>) -> Option<Vec<Value>> {
    let mut items = items?.as_array()?.clone();
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.retain(|name, _| !["is_valid", "state"].contains(&name.as_str()));
    }
    Some(items)
}

/// Reads a record that [`export`] wrote, here or elsewhere: every event is checked again, and what the standard's members
/// say must be what the events say.
pub fn import(document: &Value) -> Result<Consent, ImportError> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("schema_version") != Some(PROFILE) || text("dpv_version") != Some("2.3") {
        return Err(ImportError::Profile);
    }
    let whole = document.get("varco").cloned().unwrap_or_default();
    let whole: Whole = serde_json::from_value(whole).map_err(|_| ImportError::Profile)?;
    let consent = Consent::replay(whole.header, whole.events)?;
    let events: Vec<Value> = consent.events().iter().map(event).collect();
    let is_same = text("record_id") == Some(format!("urn:uuid:{}", consent.header.id).as_str())
        && text("pii_principal_id") == Some(consent.header.subject.as_str())
        && document.get("events") == Some(&Value::Array(events))
        && processing_of(document.get("processing")) == processing_of(Some(&written(&consent)));
    if is_same { Ok(consent) } else { Err(ImportError::Contradiction) }
}

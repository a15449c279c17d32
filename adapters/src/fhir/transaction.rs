//! A delivery as one transaction (FHIR R4, 3.1.0.11): the person, if the system does not have them yet, what the mapping made of
//! the record, and the whole delivery with the gateway's signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use varco_core::hash::Sha256;
use varco_core::time::Timestamp;

use super::tree::ICF;
use super::{CODICE_FISCALE, plan, text};
use crate::{Delivery, FetchError};

/// Under which system a delivery's exchange stands among identifiers: what tells a repetition.
const DELIVERY: &str = "urn:varco:delivery";
/// Resources of one delivery: lists of a record have at most 200 items each.
const RESOURCES_MAX: usize = 500;
/// Elements that are lists in R4 even where there is one. A mapping's predicate on one of them writes it as a single.
const LISTS: [&str; 18] = [
    "activity",
    "address",
    "category",
    "coding",
    "component",
    "contact",
    "extension",
    "given",
    "identifier",
    "line",
    "link",
    "name",
    "note",
    "participant",
    "performer",
    "security",
    "target",
    "telecom",
];

/// Makes the transaction of what a mapping wrote. The Patient of the tree is never an update of theirs.
pub(super) fn bundle(tree: Value, delivery: &Delivery<'_>, now: Timestamp) -> Result<Value, FetchError> {
    let Value::Object(mut kinds) = listed(tree) else { return Err(FetchError::NoMapping) };
    let icf = kinds.remove("icf");
    let patient = patient(kinds.remove("Patient"), delivery);
    let whose = name(delivery.exchange.as_str(), "Patient");
    let mut entries = vec![entry(
        patient,
        &whose,
        "Patient",
        &format!(
            "identifier={}",
            plan::encoded(&format!("{}|{}", CODICE_FISCALE[0], delivery.subject.expose()))
        ),
    )];
    let mut resources = vec![("DocumentReference".to_owned(), document(delivery, now))];
    for (kind, found) in kinds {
        match found {
            Value::Array(items) => resources.extend(items.into_iter().map(|item| (kind.clone(), item))),
            Value::Null => {}
            single @ (Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::String(_)) => {
                resources.push((kind, single));
            }
        }
    }
    resources.extend(items(icf).map(|item| ("Observation".to_owned(), functioning(&item))));
    if resources.len() > RESOURCES_MAX {
        return Err(FetchError::NoMapping);
    }
    for (number, (kind, resource)) in resources.into_iter().enumerate() {
        let of_person = plan::of_person(&kind).ok_or(FetchError::NoMapping)?;
        let Value::Object(mut members) = resource else { continue };
        let key = format!("{}.{number}", delivery.exchange.as_str());
        members.insert("resourceType".to_owned(), kind.clone().into());
        for (element, value) in plan::demanded(&kind) {
            members.entry(*element).or_insert_with(|| (*value).into());
        }
        members.insert(of_person.to_owned(), json!({ "reference": whose }));
        let ours = json!({ "system": DELIVERY, "value": key });
        if let Value::Array(identifiers) = members.entry("identifier").or_insert_with(|| json!([])) {
            identifiers.push(ours);
        }
        let once = format!("identifier={}", plan::encoded(&format!("{DELIVERY}|{key}")));
        entries.push(entry(Value::Object(members), &name(delivery.exchange.as_str(), &key), &kind, &once));
    }
    Ok(json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }))
}

/// Whether the system took everything: as many answers as entries, each of them good.
pub(super) fn taken(answer: &Value, entries: usize) -> Result<(), FetchError> {
    let is = text(answer, "resourceType") == Some("Bundle")
        && text(answer, "type") == Some("transaction-response");
    let answers =
        answer.get("entry").and_then(Value::as_array).filter(|_| is).ok_or(FetchError::NotRecord)?;
    if answers.len() != entries {
        return Err(FetchError::NotRecord);
    }
    for answer in answers {
        let status = answer.get("response").and_then(|response| text(response, "status")).unwrap_or_default();
        let status: u16 = status.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0);
        if !(200..300).contains(&status) {
            return Err(FetchError::Refused { status });
        }
    }
    Ok(())
}

fn entry(resource: Value, full_url: &str, kind: &str, unless: &str) -> Value {
    json!({
        "fullUrl": full_url,
        "resource": resource,
        "request": { "method": "POST", "url": kind, "ifNoneExist": unless },
    })
}

/// The Patient that is created where there is none with this codice fiscale.
fn patient(written: Option<Value>, delivery: &Delivery<'_>) -> Value {
    let mut members = match written {
        Some(Value::Object(members)) => members,
        Some(_) | None => Map::new(),
    };
    let identifiers = members.entry("identifier").or_insert_with(|| json!([]));
    let held = |found: &Value| text(found, "system").is_some_and(|system| CODICE_FISCALE.contains(&system));
    if let Value::Array(identifiers) = identifiers
        && !identifiers.iter().any(held)
    {
        identifiers.push(json!({ "system": CODICE_FISCALE[0], "value": delivery.subject.expose() }));
    }
    members.insert("resourceType".to_owned(), "Patient".into());
    Value::Object(members)
}

/// The delivery as it was released, with receipt and signature: whoever doubts what the resources say finds it here.
fn document(delivery: &Delivery<'_>, now: Timestamp) -> Value {
    json!({
        "status": "current",
        "date": now.to_string(),
        "description": format!("Varco: {}, scambio {}", delivery.record_type, delivery.exchange),
        "type": { "coding": [{ "system": "urn:varco:record-type", "code": delivery.record_type.as_str() }] },
        "content": [{ "attachment": {
            "contentType": "application/json",
            "data": STANDARD.encode(delivery.document),
        } }],
    })
}

/// The items of all lists of `icf`.
fn items(sorted: Option<Value>) -> impl Iterator<Item = Value> {
    let lists: Vec<Value> = match sorted {
        Some(Value::Object(lists)) => lists.into_iter().map(|(_, list)| list).collect(),
        Some(_) | None => Vec::new(),
    };
    lists
        .into_iter()
        .filter_map(|list| if let Value::Array(items) = list { Some(items) } else { None })
        .flatten()
}

fn functioning(item: &Value) -> Value {
    let coded = |code: &str| json!({ "coding": [{ "system": ICF[0], "code": code }] });
    let mut observation = json!({ "code": coded(text(item, "codice").unwrap_or_default()) });
    if let (Some(qualifier), Some(members)) = (text(item, "qualificatore"), observation.as_object_mut()) {
        members.insert("valueCodeableConcept".to_owned(), coded(qualifier));
    }
    observation
}

/// Makes lists of the elements that are lists.
fn listed(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(listed).collect()),
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| {
                let value = listed(value);
                let single = LISTS.contains(&name.as_str()) && value.is_object();
                (name, if single { Value::Array(vec![value]) } else { value })
            };
            Value::Object(members.into_iter().map(member).collect())
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

/// A name for a resource inside the transaction (RFC 9562, version 8): the same for every attempt.
fn name(key: &str, part: &str) -> String {
    let hash = Sha256::of_parts(&[key.as_bytes(), b"/", part.as_bytes()]);
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash.as_bytes()) {
        *to = *from;
    }
    let number = u128::from_be_bytes(bytes);
    let number = (number & !(0xF << 76)) | (0x8 << 76);
    let number = (number & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

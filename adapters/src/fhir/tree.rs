//! The tree that mappings of FHIR sources speak of: the resources as they came, by kind, with what counts no more left out;
//! and two places that no path could make, because they sort codes by what they begin with:
//!
//! - `icf.attivita_ambiente[]`, `icf.lavoro[]` (d8), `icf.corpo[]` (b and s), `icf.protetti[]`: each with `codice` and
//!   `qualificatore`, from Observations;
//! - `icd.ordinarie[]`, `icd.protette[]`: codes, from Conditions.
//!
//! Which are protected a mapping may say (`icf_protetti`, `icd_protetti`: beginnings of codes, with commas between).

use serde_json::{Map, Value, json};
use varco_core::subject::CodiceFiscale;

use super::{CODICE_FISCALE, text};
use crate::mapping::Mapping;

/// The ICF in identifiers of code systems; the first is the one we write.
pub(super) const ICF: [&str; 2] = ["http://hl7.org/fhir/sid/icf", "urn:oid:2.16.840.1.113883.6.254"];
/// The ICD, the ninth and tenth revisions and their clinical modifications.
const ICD: [&str; 6] = [
    "http://hl7.org/fhir/sid/icd-10",
    "http://hl7.org/fhir/sid/icd-10-cm",
    "http://hl7.org/fhir/sid/icd-9",
    "http://hl7.org/fhir/sid/icd-9-cm",
    "urn:oid:2.16.840.1.113883.6.103",
    "urn:oid:2.16.840.1.113883.6.3",
];
/// Mental functions.
const ICF_PROTECTED: &str = "b1";
/// Addictions, HIV, abortion, violence: ICD-10 and then ICD-9.
const ICD_PROTECTED: &str = "F1, B20, B21, B22, B23, B24, Z21, O04, T74, Y0, 042, V08, 291, 292, 303, 304, 305, 635, 995.5, 995.8, E967";
/// The state of a resource that was recorded by mistake, in whichever element it says so.
const MISTAKE: &str = "entered-in-error";
/// States of an Observation that is a result (FHIR R4, `observation-status`).
const RESULTS: [&str; 3] = ["amended", "corrected", "final"];

/// Makes the tree of resources by kind. `Patient` is one, the others are lists.
pub fn prepared(mut resources: Map<String, Value>, mapping: &Mapping) -> Value {
    for resource in resources.values_mut() {
        if let Value::Array(found) = resource {
            found.retain(counts);
        }
        without_gaps(resource);
    }
    let word = |name: &str, otherwise: &'static str| {
        let list = mapping.words.get(name).map_or(otherwise, String::as_str);
        list.split(',')
            .map(|begin| begin.trim().to_owned())
            .filter(|begin| !begin.is_empty())
            .collect::<Vec<_>>()
    };
    let kind =
        |name: &str| resources.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let icf = icf(kind("Observation"), &word("icf_protetti", ICF_PROTECTED));
    let icd = icd(kind("Condition"), &word("icd_protetti", ICD_PROTECTED));
    resources.insert("icf".to_owned(), icf);
    resources.insert("icd".to_owned(), icd);
    Value::Object(resources)
}

/// Whether a resource says that it is about this person.
pub(super) fn is_about(resource: &Value, element: &str, reference: &str, base: &str) -> bool {
    let Some(said) = resource.get(element).and_then(|found| text(found, "reference")) else { return false };
    let said = said.split_once("/_history/").map_or(said, |(said, _)| said);
    said == reference || said.strip_prefix(base).is_some_and(|rest| rest.trim_start_matches('/') == reference)
}

/// A Patient that was not replaced by another and is in use.
pub(super) fn is_active(patient: &Value) -> bool {
    let links = patient.get("link").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    patient.get("active") != Some(&Value::Bool(false))
        && !links.iter().any(|link| text(link, "type") == Some("replaced-by"))
}

pub(super) fn has_codice_fiscale(patient: &Value, subject: &CodiceFiscale) -> bool {
    let identifiers =
        patient.get("identifier").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    identifiers.iter().any(|identifier| {
        let value = text(identifier, "value").and_then(|value| value.trim().parse::<CodiceFiscale>().ok());
        let ours = text(identifier, "system").is_some_and(|system| CODICE_FISCALE.contains(&system));
        ours && value.as_ref() == Some(subject)
    })
}

/// A resource's own name (FHIR R4, datatype `id`).
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

fn counts(resource: &Value) -> bool {
    let verification = resource.get("verificationStatus").is_some_and(|status| {
        codings(status).any(|coding| matches!(text(coding, "code"), Some(MISTAKE | "refuted")))
    });
    let status = text(resource, "status");
    let result = text(resource, "resourceType") != Some("Observation")
        || status.is_none_or(|status| RESULTS.contains(&status));
    !verification && status != Some(MISTAKE) && resource.get("active") != Some(&Value::Bool(false)) && result
}

/// Drops the `null`s that hold places in lists of primitives: a line of an address that has only extensions, say. What the
/// extensions say stands beside them (`_line`).
fn without_gaps(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(without_gaps);
            if items.iter().any(Value::is_string) || items.iter().all(Value::is_null) {
                items.retain(|item| !item.is_null());
            }
        }
        Value::Object(members) => members.values_mut().for_each(without_gaps),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn icf(observations: &[Value], protected: &[String]) -> Value {
    let mut sorted: [Vec<Value>; 4] = Default::default();
    let [activities, work, body, kept] = &mut sorted;
    for observation in observations {
        let components = observation.get("component").and_then(Value::as_array).map(Vec::as_slice);
        for part in std::iter::once(observation).chain(components.unwrap_or_default()) {
            let Some((code, qualifier)) = coded(part) else { continue };
            let item = json!({ "codice": code, "qualificatore": qualifier });
            let begins = |with: &String| code.starts_with(with.as_str());
            match code.as_bytes() {
                // A code that is none of the classification's may be anything.
                _ if !is_icf(&code) || protected.iter().any(begins) => kept.push(item),
                [b'd', b'8', ..] => work.push(item),
                [b'd' | b'e', ..] => activities.push(item),
                _ => body.push(item),
            }
        }
    }
    json!({ "attivita_ambiente": activities, "lavoro": work, "corpo": body, "protetti": kept })
}

/// The ICF code of an Observation or of a component, and the qualifier: from the value, or from behind the code's point.
fn coded(part: &Value) -> Option<(String, Value)> {
    let code =
        codings(part.get("code")?).find(|coding| text(coding, "system").is_some_and(|s| ICF.contains(&s)))?;
    let (code, behind) = text(code, "code").map(|code| code.split_once('.').unwrap_or((code, "")))?;
    let value = part.get("valueCodeableConcept").and_then(|concept| {
        codings(concept)
            .find_map(|coding| text(coding, "code"))
            .map(|value| value.rsplit('.').next().unwrap_or(value))
    });
    let number = |name: &str| part.get(name).and_then(Value::as_u64).map(|number| number.to_string());
    let quantity =
        part.get("valueQuantity").and_then(|quantity| quantity.get("value")).and_then(Value::as_u64);
    let value = value
        .map(str::to_owned)
        .or_else(|| text(part, "valueString").map(str::to_owned))
        .or_else(|| number("valueInteger"))
        .or_else(|| quantity.map(|number| number.to_string()))
        .or_else(|| (!behind.is_empty()).then(|| behind.to_owned()));
    let value = value.filter(|value| is_qualifier(value)).map_or(Value::Null, Value::String);
    Some((code.to_owned(), value))
}

/// `d850`: a component, a chapter and up to four more digits (the classification's own form; its titles are not ours to have).
fn is_icf(code: &str) -> bool {
    let (component, digits) = code.split_at_checked(1).unwrap_or_default();
    matches!(component, "b" | "s" | "d" | "e")
        && (1..=5).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Up to three digits, with `+` before them for what helps.
fn is_qualifier(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

fn icd(conditions: &[Value], protected: &[String]) -> Value {
    let (mut ordinary, mut kept) = (Vec::new(), Vec::new());
    for condition in conditions {
        let Some(concept) = condition.get("code") else { continue };
        for coding in codings(concept) {
            let ours = text(coding, "system").is_some_and(|system| ICD.contains(&system));
            let Some(code) = text(coding, "code").filter(|_| ours) else { continue };
            let list = if protected.iter().any(|begin| code.starts_with(begin.as_str())) {
                &mut kept
            } else {
                &mut ordinary
            };
            if !list.iter().any(|known: &Value| known == code) {
                list.push(Value::from(code));
            }
        }
    }
    json!({ "ordinarie": ordinary, "protette": kept })
}

fn codings(concept: &Value) -> impl Iterator<Item = &Value> {
    concept.get("coding").and_then(Value::as_array).into_iter().flatten()
}

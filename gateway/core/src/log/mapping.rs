//! Entries in other people's formats: OCSF for a SIEM, FHIR AuditEvent in the profiles of IHE BALP for health systems,
//! and the lines of RFC 5424 that carry the first.
//!
//! What goes to a SIEM names no subject and no case: many people read it, and it is kept elsewhere.

use serde_json::{Map, Value, json};

use crate::log::entry::Kind;
use crate::log::summary::Summary;
use crate::time::Timestamp;

/// The version of OCSF whose class 6003 (API Activity) is written.
const OCSF: &str = "1.3.0";

/// Facility 13, log audit (RFC 5424 section 6.2.1).
const FACILITY: u32 = 13;

const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/";

/// One OCSF event of class API Activity, without subject and case. `origin` is the log's.
pub fn ocsf(entry: &Summary, origin: &str) -> Value {
    let (activity, name) = match entry.kind {
        Kind::Delivery | Kind::Denial | Kind::Disclosure | Kind::Failure | Kind::Interrupted | Kind::Read => {
            (2, "Read")
        }
        Kind::Case | Kind::Consent | Kind::Correction => (3, "Update"),
        Kind::Erasure | Kind::Prune => (4, "Delete"),
        Kind::Admin | Kind::Freeze | Kind::Open | Kind::Policy | Kind::Registry => (99, "Other"),
    };
    let (status, status_name) = if refused(entry.kind) { (2, "Failure") } else { (1, "Success") };
    let (severity, severity_name) = severity(entry.kind);
    let mut event = members(json!({
        "category_uid": 6,
        "category_name": "Application Activity",
        "class_uid": 6003,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": name,
        "type_uid": 600_300 + activity,
        "time": entry.at.millis(),
        "severity_id": severity,
        "severity": severity_name,
        "status_id": status,
        "status": status_name,
        "metadata": {
            "version": OCSF,
            "product": { "name": "Varco", "vendor_name": "Varco" },
            "log_name": origin,
            "sequence": entry.index,
            "uid": entry.hash,
        },
        "api": { "operation": entry.kind, "request": { "uid": entry.id } },
        "src_endpoint": { "name": entry.who.location.as_deref().unwrap_or("unknown") },
    }));
    if let Some(code) = &entry.code {
        event.insert("status_code".into(), json!(code));
    }
    if let Some(agency) = entry.who.agency.as_ref().or(entry.consumer.as_ref()) {
        let mut user = members(json!({ "type_id": 1, "org": { "uid": agency } }));
        if let Some(office) = &entry.who.office {
            user.insert("org".into(), json!({ "uid": agency, "ou_uid": office }));
        }
        user.insert("uid".into(), json!(entry.who.operator));
        event.insert("actor".into(), json!({ "user": user }));
    }
    if let Some(record_type) = &entry.record_type {
        let fields: Vec<_> = entry.shown.iter().map(|(field, view)| format!("{field}={view}")).collect();
        event.insert(
            "resources".into(),
            json!([{ "type": record_type, "owner": { "org": { "uid": entry.provider } }, "labels": fields }]),
        );
    }
    if let Some(policy) = &entry.policy {
        let decision = if refused(entry.kind) { "denied" } else { "allowed" };
        event.insert("authorizations".into(), json!([{ "decision": decision, "policy": { "uid": policy } }]));
    }
    event.insert("unmapped".into(), json!({ "purpose": entry.purpose, "layers": entry.layers }));
    Value::Object(event)
}

/// OCSF's severity of an entry.
const fn severity(kind: Kind) -> (u8, &'static str) {
    match kind {
        Kind::Admin | Kind::Erasure | Kind::Policy | Kind::Prune | Kind::Registry => (2, "Low"),
        Kind::Denial | Kind::Failure | Kind::Interrupted => (3, "Medium"),
        Kind::Case
        | Kind::Consent
        | Kind::Correction
        | Kind::Delivery
        | Kind::Disclosure
        | Kind::Freeze
        | Kind::Open
        | Kind::Read => (1, "Informational"),
    }
}

const fn refused(kind: Kind) -> bool {
    matches!(kind, Kind::Denial | Kind::Failure | Kind::Interrupted)
}

/// One line of RFC 5424 with the OCSF event as its message, in the octet counting of RFC 5425 section 4.3. `host` is
/// the gateway's name.
pub fn syslog(entry: &Summary, origin: &str, host: &str) -> String {
    // 4 is warning, 5 notice, 6 informational.
    let severity = match entry.kind {
        Kind::Denial | Kind::Failure | Kind::Interrupted => 4,
        Kind::Admin | Kind::Erasure | Kind::Policy | Kind::Prune | Kind::Registry => 5,
        Kind::Case
        | Kind::Consent
        | Kind::Correction
        | Kind::Delivery
        | Kind::Disclosure
        | Kind::Freeze
        | Kind::Open
        | Kind::Read => 6,
    };
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-".to_owned() } else { host };
    let event = crate::json::canonical(&ocsf(entry, origin));
    let line = format!("<{}>1 {} {host} varco - {} - {event}", FACILITY * 8 + severity, entry.at, entry.kind);
    format!("{} {line}", line.len())
}

/// One FHIR R4 AuditEvent: a disclosure in the profile of IHE BALP for the side that discloses, anything else in the
/// basic form. Names the person by pseudonym: for whoever may read the bodies.
pub fn fhir(entry: &Summary, gateway: &str) -> Value {
    let disclosed = matches!(entry.kind, Kind::Delivery | Kind::Disclosure);
    let (code, display) = match entry.kind {
        Kind::Delivery | Kind::Denial | Kind::Disclosure | Kind::Failure | Kind::Interrupted => {
            ("110106", "Export")
        }
        Kind::Read => ("110101", "Audit Log Used"),
        Kind::Admin
        | Kind::Case
        | Kind::Consent
        | Kind::Correction
        | Kind::Erasure
        | Kind::Freeze
        | Kind::Open
        | Kind::Policy
        | Kind::Prune
        | Kind::Registry => ("110100", "Application Activity"),
    };
    let mut event = members(json!({
        "resourceType": "AuditEvent",
        "id": entry.id,
        "type": { "system": DICOM, "code": code, "display": display },
        "action": if disclosed { "R" } else { "E" },
        "recorded": entry.at,
        "outcome": if refused(entry.kind) { "4" } else { "0" },
        "source": { "site": "access-log", "observer": identified("urn:varco:gateway", gateway) },
        "agent": agents(entry),
        "entity": entities(entry),
    }));
    let profile =
        if disclosed { "IHE.BasicAudit.PrivacyDisclosure.Source" } else { "IHE.BasicAudit.AuthZconsent" };
    if disclosed || entry.kind == Kind::Denial {
        event.insert("meta".into(), json!({ "profile": [format!("{BALP}{profile}")] }));
    }
    let subtype = if disclosed {
        json!({ "system": "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "code": "disclose", "display": "Disclose" })
    } else {
        json!({ "system": "urn:varco:entry-kind", "code": entry.kind })
    };
    event.insert("subtype".into(), json!([subtype]));
    if let Some(code) = &entry.code {
        event.insert("outcomeDesc".into(), json!(code));
    }
    if let Some(purpose) = &entry.purpose {
        let coding = json!([{ "coding": [{ "system": "urn:varco:purpose", "code": purpose }] }]);
        event.insert("purposeOfEvent".into(), coding);
    }
    Value::Object(event)
}

fn agents(entry: &Summary) -> Vec<Value> {
    let role = |code: &str, display: &str| json!({ "coding": [{ "system": DICOM, "code": code, "display": display }] });
    let mut agents = Vec::new();
    if let Some(provider) = &entry.provider {
        agents.push(json!({
            "type": role("110153", "Source Role ID"),
            "who": identified("urn:varco:agency", provider.as_str()),
            "requestor": false,
        }));
    }
    if let Some(consumer) = entry.consumer.as_ref().or(entry.who.agency.as_ref()) {
        agents.push(json!({
            "type": role("110152", "Destination Role ID"),
            "who": identified("urn:varco:agency", consumer.as_str()),
            "requestor": entry.who.operator.is_none(),
        }));
    }
    if let Some(operator) = &entry.who.operator {
        let recipient = json!({ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP", "display": "information recipient"
        }] });
        let mut agent = members(json!({
            "type": recipient, "who": identified("urn:varco:operator", operator.as_str()), "requestor": true,
        }));
        if let Some(office) = &entry.who.office {
            agent.insert("location".into(), json!({ "display": office }));
        }
        agents.push(Value::Object(agent));
    }
    if agents.is_empty() {
        let gateway = json!({ "type": role("110150", "Application"), "requestor": true, "who": { "display": "Varco" } });
        agents.push(gateway);
    }
    agents
}

fn entities(entry: &Summary) -> Vec<Value> {
    let kind = |code: &str, display: &str| json!({ "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": code, "display": display });
    let role = |code: &str, display: &str| json!({ "system": "http://terminology.hl7.org/CodeSystem/object-role", "code": code, "display": display });
    let mut entities = Vec::new();
    if let Some(subject) = &entry.whose.subject {
        entities.push(json!({
            "what": identified("urn:varco:pseudonym", subject.as_str()),
            "type": kind("1", "Person"),
            "role": role("1", "Patient"),
        }));
    }
    if let Some(record_type) = &entry.record_type {
        let detail = |(field, view): &(crate::id::FieldId, crate::id::ViewId)| json!({ "type": field, "valueString": view });
        let detail: Vec<Value> = entry.shown.iter().map(detail).collect();
        let mut data = members(json!({
            "what": identified("urn:varco:record-type", record_type.as_str()),
            "type": kind("2", "System Object"),
            "role": role("4", "Domain Resource"),
        }));
        if !detail.is_empty() {
            data.insert("detail".into(), Value::Array(detail));
        }
        entities.push(Value::Object(data));
    }
    for consent in &entry.consents {
        entities.push(json!({
            "what": identified("urn:varco:consent", consent.as_str()),
            "type": kind("2", "System Object"),
            "role": role("13", "Security Resource"),
            "name": "consent",
        }));
    }
    entities.push(json!({
        "what": identified("urn:varco:leaf-sha256", &entry.hash.to_string()),
        "type": kind("2", "System Object"),
        "role": role("21", "Job Stream"),
        "name": format!("access log entry {}", entry.index),
    }));
    entities
}

fn identified(system: &str, value: &str) -> Value {
    json!({ "identifier": { "system": system, "value": value } })
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => Map::new(),
    }
}

/// One line of a table of entries: the columns of [`COLUMNS`]. No value has a comma, a quote or a line break, except
/// where it is quoted.
pub fn row(entry: &Summary) -> String {
    let fields: Vec<String> = entry.shown.iter().map(|(field, view)| format!("{field}={view}")).collect();
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    [
        entry.index.to_string(),
        entry.at.to_string(),
        entry.kind.to_string(),
        entry.id.to_string(),
        text(entry.consumer.as_ref().map(|id| id.as_str())),
        text(entry.provider.as_ref().map(|id| id.as_str())),
        text(entry.purpose.as_ref().map(|id| id.as_str())),
        text(entry.record_type.as_ref().map(|id| id.as_str())),
        text(entry.code.as_deref()),
        text(entry.who.office.as_ref().map(|id| id.as_str())),
        text(entry.who.operator.as_ref().map(|id| id.as_str())),
        text(entry.whose.subject.as_ref().map(|id| id.as_str())),
        fields.join(" "),
        entry.layers.join(" "),
    ]
    .join(",")
}

/// The columns of [`row`].
pub const COLUMNS: &str =
    "index,at,kind,id,consumer,provider,purpose,record_type,code,office,operator,subject,fields,layers";

/// An instant as people in Italy read it: `02/03/2026 09:41` in the time of Rome.
pub fn local(at: Timestamp) -> String {
    let there = crate::time::rome(at);
    let text = there.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}/{}/{} {}", part(8, 10), part(5, 7), part(0, 4), part(11, 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Sha256;
    use crate::log::summary::{Who, Whose};

    pub(crate) fn entry(kind: Kind) -> Summary {
        Summary {
            index: 41,
            hash: Sha256::of(b"leaf"),
            at: "2026-03-02T08:41:07.120Z".parse().unwrap(),
            kind,
            id: "0198f0c2-aaaa-7fff-bfff-000000000001".parse().unwrap(),
            consumer: Some("cpi-lucca".parse().unwrap()),
            provider: Some("comune-capannori".parse().unwrap()),
            purpose: Some("F02".parse().unwrap()),
            record_type: Some("anagrafica_nucleo".parse().unwrap()),
            code: refused(kind).then(|| "exchange.denied".to_owned()),
            policy: Some(Sha256::of(b"policy")),
            who: Who {
                agency: Some("cpi-lucca".parse().unwrap()),
                office: Some("servizi-lavoro".parse().unwrap()),
                operator: Some("op-117".parse().unwrap()),
                location: Some("ws-17".to_owned()),
                ..Who::default()
            },
            whose: Whose {
                subject: Some(format!("s1.{}", "q".repeat(26)).parse().unwrap()),
                case: Some("0198f0c2-cccc-7fff-bfff-0000000000cc".parse().unwrap()),
                is_nobody: false,
            },
            shown: vec![("data_nascita".parse().unwrap(), "anno".parse().unwrap())],
            layers: vec!["law".to_owned()],
            consents: vec!["0198f0c2-eeee-7fff-bfff-0000000000ee".parse().unwrap()],
        }
    }

    #[test]
    fn a_siem_learns_neither_subject_nor_case_of_any_kind_of_entry() {
        for kind in Kind::ALL {
            let entry = entry(kind);
            let line = syslog(&entry, "varco.example/log", "gateway.piana.example");
            for secret in [entry.whose.subject.unwrap().as_str(), entry.whose.case.unwrap().as_str()] {
                assert!(!line.contains(secret), "{line}");
            }
        }
    }

    #[test]
    fn an_ocsf_event_has_what_its_class_requires() {
        for kind in Kind::ALL {
            let event = ocsf(&entry(kind), "varco.example/log");
            for member in [
                "activity_id",
                "actor",
                "api",
                "category_uid",
                "class_uid",
                "metadata",
                "severity_id",
                "src_endpoint",
                "time",
                "type_uid",
            ] {
                assert!(!event[member].is_null(), "{kind}: {member}");
            }
            let (class, activity) =
                (event["class_uid"].as_u64().unwrap(), event["activity_id"].as_u64().unwrap());
            assert_eq!(event["type_uid"], class * 100 + activity);
            assert_eq!(event["status_id"], if refused(kind) { 2 } else { 1 });
        }
        let event = ocsf(&entry(Kind::Disclosure), "varco.example/log");
        assert_eq!(event["actor"]["user"]["org"]["ou_uid"], "servizi-lavoro");
        assert_eq!(event["resources"][0]["labels"][0], "data_nascita=anno");
        assert_eq!(event["authorizations"][0]["decision"], "allowed");
    }

    #[test]
    fn a_line_has_the_header_of_rfc_5424_and_says_its_length_first() {
        let line = syslog(&entry(Kind::Denial), "varco.example/log", "gateway.piana.example");
        let (length, rest) = line.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), rest.len());
        let header = "<108>1 2026-03-02T08:41:07.120Z gateway.piana.example varco - denial - {";
        assert!(rest.starts_with(header), "{rest}");
        let message = rest.splitn(8, ' ').nth(7).unwrap();
        assert!(message.is_ascii() && serde_json::from_str::<Value>(message).is_ok());
        assert!(syslog(&entry(Kind::Admin), "o", "a b\nc").contains(" abc varco "));
    }

    #[test]
    fn an_audit_event_has_what_balp_requires_of_a_disclosure() {
        let event = fhir(&entry(Kind::Disclosure), "gateway.piana.example");
        assert_eq!(event["resourceType"], "AuditEvent");
        assert_eq!(event["type"]["code"], "110106");
        assert_eq!(event["subtype"][0]["code"], "disclose");
        let agents: Vec<_> = event["agent"]
            .as_array()
            .unwrap()
            .iter()
            .map(|agent| agent["type"]["coding"][0]["code"].clone())
            .collect();
        assert_eq!(agents, ["110153", "110152", "IRCP"]);
        let requestors = event["agent"].as_array().unwrap().iter().filter(|agent| agent["requestor"] == true);
        assert_eq!(requestors.count(), 1);
        let roles: Vec<_> =
            event["entity"].as_array().unwrap().iter().map(|entity| entity["role"]["code"].clone()).collect();
        assert_eq!(roles, ["1", "4", "13", "21"]);
        assert_eq!(event["entity"][1]["detail"][0]["valueString"], "anno");
        let denied = fhir(&entry(Kind::Denial), "gateway.piana.example");
        assert_eq!(
            (denied["outcome"].as_str(), denied["outcomeDesc"].as_str()),
            (Some("4"), Some("exchange.denied"))
        );
    }

    #[test]
    fn a_row_has_as_many_cells_as_there_are_columns() {
        for kind in Kind::ALL {
            assert_eq!(row(&entry(kind)).split(',').count(), COLUMNS.split(',').count());
        }
    }

    #[test]
    fn people_read_the_time_of_rome() {
        assert_eq!(local("2026-03-02T08:41:07.120Z".parse().unwrap()), "02/03/2026 09:41");
        assert_eq!(local("2026-07-31T22:30:00Z".parse().unwrap()), "01/08/2026 00:30");
    }
}

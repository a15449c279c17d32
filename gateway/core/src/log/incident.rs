//! After an incident: whose fields did a key, an operator, an office or an agency obtain between two instants. What the
//! notices within 48 and 72 hours need, from the entries alone.
//!
//! People are pseudonyms and operators the agencies' own codes here. Names come from the agency that gave the codes, signed
//! by its officer, and are put beside the codes when the result is shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::hash::Sha256;
use crate::id::{AgencyId, ExchangeId, FieldId, OfficeId, OperatorId, Pseudonym, RecordTypeId, ViewId};
use crate::log::entry::Kind;
use crate::log::summary::Summary;
use crate::time::Timestamp;

/// People in one answer: a breach of a whole province's records is some hundred thousand, in pieces.
pub const PEOPLE_MAX: usize = 100_000;

/// Whose doing is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    pub from: Timestamp,
    pub until: Timestamp,
    /// The consumer; alone, or with one of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agency: Option<AgencyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub office: Option<OfficeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorId>,
    /// SHA-256 of the SubjectPublicKeyInfo of a seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Sha256>,
}

/// Why an inquiry cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InquiryFault {
    #[error("the period ends before it begins")]
    Period,
    #[error("more than {PEOPLE_MAX} people: ask for shorter periods")]
    TooMany,
    #[error("name a key, an operator, an office or an agency")]
    Whose,
}

impl Inquiry {
    pub fn check(&self) -> Result<(), InquiryFault> {
        if self.until <= self.from {
            return Err(InquiryFault::Period);
        }
        let named =
            self.agency.is_some() || self.office.is_some() || self.operator.is_some() || self.key.is_some();
        if named { Ok(()) } else { Err(InquiryFault::Whose) }
    }

    /// Whether the entry tells that something left, to whoever is asked for, in the period.
    pub fn fits(&self, entry: &Summary) -> bool {
        let is = |asked: Option<bool>| asked.unwrap_or(true);
        matches!(entry.kind, Kind::Delivery | Kind::Disclosure)
            && (self.from..self.until).contains(&entry.at)
            && is(self.agency.as_ref().map(|agency| entry.consumer.as_ref() == Some(agency)))
            && is(self.office.as_ref().map(|office| entry.who.office.as_ref() == Some(office)))
            && is(self.operator.as_ref().map(|code| entry.who.operator.as_ref() == Some(code)))
            && is(self.key.map(|key| entry.who.seal == Some(key)))
    }
}

/// What one person's data became.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exposed {
    pub exchanges: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// For each record type its fields, each with the views at which it left.
    pub fields: BTreeMap<RecordTypeId, BTreeMap<FieldId, BTreeSet<ViewId>>>,
    /// Whose records they were.
    pub owners: BTreeSet<AgencyId>,
}

/// One disclosure, for the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obtained {
    pub index: u64,
    pub at: Timestamp,
    pub exchange: ExchangeId,
    pub consumer: Option<AgencyId>,
    pub office: Option<OfficeId>,
    pub operator: Option<OperatorId>,
    pub owner: Option<AgencyId>,
    pub purpose: Option<crate::id::PurposeId>,
    pub record_type: Option<RecordTypeId>,
    pub subject: Option<Pseudonym>,
    pub fields: Vec<String>,
}

/// The answer to an inquiry.
#[derive(Clone, Debug)]
pub struct Incident {
    inquiry: Inquiry,
    people: BTreeMap<Pseudonym, Exposed>,
    /// Disclosures whose bodies are erased: whose and which fields is not known any more.
    pub erased: u64,
    obtained: Vec<Obtained>,
    operators: BTreeMap<(AgencyId, OperatorId), u64>,
}

impl Incident {
    pub fn of(inquiry: Inquiry) -> Self {
        let (people, operators) = (BTreeMap::new(), BTreeMap::new());
        Self { inquiry, people, erased: 0, obtained: Vec::new(), operators }
    }

    /// Takes an entry into account if it fits.
    pub fn take(&mut self, entry: &Summary) -> Result<(), InquiryFault> {
        if !self.inquiry.fits(entry) {
            return Ok(());
        }
        let fields = entry.shown.iter().map(|(field, view)| format!("{field}={view}")).collect();
        self.obtained.push(Obtained {
            index: entry.index,
            at: entry.at,
            exchange: entry.id.clone(),
            consumer: entry.consumer.clone(),
            office: entry.who.office.clone(),
            operator: entry.who.operator.clone(),
            owner: entry.provider.clone(),
            purpose: entry.purpose.clone(),
            record_type: entry.record_type.clone(),
            subject: entry.whose.subject.clone(),
            fields,
        });
        if let (Some(agency), Some(operator)) = (&entry.who.agency, &entry.who.operator) {
            *self.operators.entry((agency.clone(), operator.clone())).or_default() += 1;
        }
        // Of people who were counted nobody's fields left.
        if entry.whose.is_nobody {
            return Ok(());
        }
        let Some(subject) = entry.whose.subject.clone() else {
            self.erased += 1;
            return Ok(());
        };
        let exposed = self.people.entry(subject).or_default();
        if exposed.exchanges == 0 {
            exposed.first = entry.at;
        }
        exposed.exchanges += 1;
        exposed.last = entry.at;
        exposed.owners.extend(entry.provider.clone());
        if let Some(record_type) = &entry.record_type {
            let of_type = exposed.fields.entry(record_type.clone()).or_default();
            for (field, view) in &entry.shown {
                of_type.entry(field.clone()).or_default().insert(view.clone());
            }
        }
        if self.people.len() > PEOPLE_MAX { Err(InquiryFault::TooMany) } else { Ok(()) }
    }

    /// For each record type and field, how many people: the kinds of data of the notice.
    fn fields(&self) -> BTreeMap<&RecordTypeId, BTreeMap<&FieldId, u64>> {
        let mut found: BTreeMap<_, BTreeMap<_, u64>> = BTreeMap::new();
        for (record_type, fields) in self.people.values().flat_map(|exposed| &exposed.fields) {
            for field in fields.keys() {
                *found.entry(record_type).or_default().entry(field).or_default() += 1;
            }
        }
        found
    }

    /// Everything, for programs and for the file of the incident.
    pub fn json(&self) -> Value {
        let operators = self.operators.iter();
        let operators = operators.map(
            |((agency, code), count)| json!({ "agency": agency, "operator": code, "disclosures": count }),
        );
        json!({
            "inquiry": self.inquiry,
            "people": self.people.len(),
            "disclosures": self.obtained.len(),
            "erased": self.erased,
            "first": self.obtained.first().map(|obtained| obtained.at),
            "last": self.obtained.last().map(|obtained| obtained.at),
            "owners": self.obtained.iter().filter_map(|obtained| obtained.owner.as_ref()).collect::<BTreeSet<_>>(),
            "operators": operators.collect::<Vec<_>>(),
            "fields": self.fields(),
            "subjects": self.people,
            "list": self.obtained,
        })
    }
}

/// One line for each disclosure of an answer's `list`. `names` are those of operators, by agency and code.
pub fn csv(answer: &Value, names: &BTreeMap<(String, String), String>) -> String {
    let mut out =
        "index,at,exchange,consumer,office,operator,name,owner,purpose,record_type,subject,fields\n"
            .to_owned();
    for row in answer.get("list").and_then(Value::as_array).into_iter().flatten() {
        let text = |member: &str| row.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let fields = row.get("fields").and_then(Value::as_array).into_iter().flatten();
        let fields: Vec<&str> = fields.filter_map(Value::as_str).collect();
        let name = names.get(&(text("consumer"), text("operator"))).cloned().unwrap_or_default();
        let index = row.get("index").and_then(Value::as_u64).unwrap_or_default();
        let cells = [
            index.to_string(),
            text("at"),
            text("exchange"),
            text("consumer"),
            text("office"),
            text("operator"),
            quoted(&name),
            text("owner"),
            text("purpose"),
            text("record_type"),
            text("subject"),
            fields.join(" "),
        ];
        out.push_str(&cells.join(","));
        out.push('\n');
    }
    out
}

/// A cell in quotes (RFC 4180), and nothing a spreadsheet takes for a formula.
fn quoted(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}

/// An agency's part: who its operators' codes are. Canonical JSON that its officer signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorNames {
    pub agency: AgencyId,
    pub operators: BTreeMap<OperatorId, String>,
}

/// The act of an officer's statement on such a document.
pub const ACT_NAMES: &str = "name-operators";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::summary::{Who, Whose};

    fn entry(index: u64, operator: &str, subject: char, field: &str) -> Summary {
        Summary {
            index,
            hash: Sha256::of(b"x"),
            at: Timestamp::from_seconds(1_772_442_000 + i64::try_from(index).unwrap()),
            kind: Kind::Disclosure,
            id: format!("0198f0c2-aaaa-7fff-bfff-{index:012x}").parse().unwrap(),
            consumer: Some("cpi-lucca".parse().unwrap()),
            provider: Some("comune-capannori".parse().unwrap()),
            purpose: Some("F02".parse().unwrap()),
            record_type: Some("anagrafica_nucleo".parse().unwrap()),
            code: None,
            policy: None,
            who: Who {
                agency: Some("cpi-lucca".parse().unwrap()),
                office: Some("servizi-lavoro".parse().unwrap()),
                operator: Some(operator.parse().unwrap()),
                seal: Some(Sha256::of(operator.as_bytes())),
                ..Who::default()
            },
            whose: Whose {
                subject: Some(format!("s1.{}", subject.to_string().repeat(26)).parse().unwrap()),
                case: None,
                is_nobody: false,
            },
            shown: vec![(field.parse().unwrap(), "intero".parse().unwrap())],
            layers: Vec::new(),
            consents: Vec::new(),
        }
    }

    fn inquiry() -> Inquiry {
        let from = Timestamp::from_seconds(1_772_442_000);
        Inquiry {
            from,
            until: from.plus(std::time::Duration::from_secs(100)),
            agency: None,
            office: None,
            operator: None,
            key: None,
        }
    }

    #[test]
    fn an_inquiry_names_somebody_and_a_period() {
        assert_eq!(inquiry().check(), Err(InquiryFault::Whose));
        let by = Inquiry { operator: Some("op-1".parse().unwrap()), ..inquiry() };
        assert_eq!(by.check(), Ok(()));
        assert_eq!(Inquiry { until: by.from, ..by }.check(), Err(InquiryFault::Period));
    }

    #[test]
    fn whose_fields_an_operator_obtained_is_told() {
        let mut incident = Incident::of(Inquiry { operator: Some("op-1".parse().unwrap()), ..inquiry() });
        let mut erased = entry(6, "op-1", 'a', "sesso");
        erased.whose.subject = None;
        let entries = [
            entry(1, "op-1", 'a', "sesso"),
            entry(2, "op-2", 'b', "sesso"),
            entry(3, "op-1", 'a', "nome"),
            entry(4, "op-1", 'c', "nome"),
            Summary { kind: Kind::Denial, ..entry(5, "op-1", 'd', "nome") },
            erased,
            entry(200, "op-1", 'e', "nome"),
        ];
        for entry in &entries {
            incident.take(entry).unwrap();
        }
        let answer = incident.json();
        assert_eq!(
            (answer["people"].as_u64(), answer["disclosures"].as_u64(), answer["erased"].as_u64()),
            (Some(2), Some(4), Some(1))
        );
        assert_eq!(answer["fields"]["anagrafica_nucleo"], json!({ "nome": 2, "sesso": 1 }));
        assert_eq!(answer["operators"][0]["disclosures"], 4);
        let names =
            BTreeMap::from([(("cpi-lucca".to_owned(), "op-1".to_owned()), "=Rossi, \"M\"".to_owned())]);
        let table = csv(&answer, &names);
        assert_eq!(table.lines().count(), 5);
        assert!(table.contains("op-1,\"'=Rossi, \"\"M\"\"\",comune-capannori"), "{table}");
    }

    #[test]
    fn a_key_an_office_and_an_agency_find_their_own() {
        let entries = [entry(1, "op-1", 'a', "sesso"), entry(2, "op-2", 'b', "sesso")];
        for (inquiry, found) in [
            (Inquiry { key: Some(Sha256::of(b"op-2")), ..inquiry() }, 1),
            (Inquiry { office: Some("servizi-lavoro".parse().unwrap()), ..inquiry() }, 2),
            (Inquiry { agency: Some("comune-lucca".parse().unwrap()), ..inquiry() }, 0),
            (
                Inquiry {
                    agency: Some("cpi-lucca".parse().unwrap()),
                    operator: Some("op-1".parse().unwrap()),
                    ..inquiry()
                },
                1,
            ),
        ] {
            assert_eq!(entries.iter().filter(|entry| inquiry.fits(entry)).count(), found, "{inquiry:?}");
        }
    }
}

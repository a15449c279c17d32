//! HL7's own example resources of R4 (CC0), which the test installs and nobody commits: each goes through the mapping of a FHIR
//! source, and is taken or refused with a reason.

use serde_json::{Map, Value, json};
use varco_adapters::fhir::{CODICE_FISCALE, WORDS, prepared};
use varco_adapters::mapping::Ask;
use varco_core::subject::CodiceFiscale;

use super::*;
use crate::peers;

/// The kinds that the shipped mapping reads, and the record types they go through.
const KINDS: [(&str, &[&str]); 5] = [
    ("Patient", &["anagrafica_nucleo"]),
    ("Condition", &["accertamento_disabilita"]),
    ("Observation", &["accertamento_disabilita", "valutazione_uvmd"]),
    ("CarePlan", &["valutazione_uvmd"]),
    ("Goal", &["valutazione_uvmd"]),
];

#[test]
#[ignore = "needs npm, and the npm registry the first time"]
fn every_example_of_hl7_is_taken_or_refused_with_a_reason() {
    let mappings = mappings("fhir-asl.txt", &WORDS);
    let subject: CodiceFiscale = PERSON.parse().unwrap();
    let (mut taken, mut refused, mut fields) = (0, 0, 0);
    for path in peers::fhir_examples() {
        let resource: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let kind = resource["resourceType"].as_str().unwrap_or_default().to_owned();
        let Some((_, records)) = KINDS.iter().find(|(known, _)| *known == kind) else { continue };
        for record in *records {
            let mapping = mappings.of(&record.parse().unwrap()).unwrap();
            let tree = prepared(held(&kind, &resource), mapping);
            let covered = mapping.covered();
            match mapping.read(&tree, &Ask { row: 0, subject: Some(&subject), fields: &covered }) {
                Ok(mapped) => {
                    taken += 1;
                    fields += mapped.fields.len();
                }
                Err(faults) => {
                    refused += 1;
                    assert!(!faults.is_empty());
                    let said = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                    assert!(said.contains('`'), "{}: no field is named: {said}", path.display());
                }
            }
        }
    }
    println!("taken {taken} with {fields} fields, refused {refused}");
    assert!(taken + refused > 100 && taken > 50 && refused > 0, "{taken} taken, {refused} refused");
}

/// The example as a person's of ours: with our codice fiscale, which no example has.
fn held(kind: &str, resource: &Value) -> Map<String, Value> {
    let mut tree = Map::new();
    let identifier = json!([{ "system": CODICE_FISCALE[0], "value": PERSON }]);
    let mut person = if kind == "Patient" { resource.clone() } else { json!({ "resourceType": "Patient" }) };
    person["identifier"] = identifier;
    if kind != "Patient" {
        tree.insert(kind.to_owned(), json!([resource]));
    }
    tree.insert("Patient".to_owned(), person);
    tree
}

//! Mappings over the shipped record types: faults of files, each dirty case, both directions, properties.

use serde_json::{Value, json};
use varco_core::id::FieldId;
use varco_core::subject::CodiceFiscale;

use super::*;
use crate::testing::records;

mod dirty;
mod properties;

/// A synthetic woman born on 12 March 1985 in Capannori.
const PERSON: &str = "XXQNNA85C52B648J";

fn person() -> CodiceFiscale {
    PERSON.parse().unwrap()
}

fn fields(names: &[&str]) -> Vec<FieldId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn mappings(text: &str) -> Mappings {
    Mappings::read(&[("m.txt".to_owned(), text.as_bytes().to_vec())], records(), &[])
        .unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn faults(text: &str) -> Vec<String> {
    let read = Mappings::read(&[("m.txt".to_owned(), text.as_bytes().to_vec())], records(), &[]);
    read.unwrap_err().iter().map(ToString::to_string).collect()
}

fn of<'a>(mappings: &'a Mappings, record: &str) -> &'a Mapping {
    mappings.of(&record.parse().unwrap()).unwrap()
}

/// Everything the mapping covers, of our person.
fn read(mapping: &Mapping, tree: &Value) -> Result<Mapped, Vec<RowFault>> {
    let (subject, covered) = (person(), mapping.covered());
    mapping.read(tree, &Ask { row: 7, subject: Some(&subject), fields: &covered })
}

const REGISTRY: &str = "
[mappatura anagrafica_nucleo]
da       = VW_ANAGRAFE
soggetto = COD_FISC
fonte             | campo                       | lettura           | altrimenti | guasto
COD_FISC          | codice_fiscale              |                   |            |
\"Cognome sogg.\" | cognome                     |                   |            |
NOME              | nome                        |                   |            |
DT_NASC           | data_nascita                | data(GG/MM/AAAA)  |            |
SESSO             | sesso                       | lista(sesso)      |            |
COM_NASC          | comune_nascita              |                   |            |
CITT              | cittadinanza                | zeri(3)           |            |
SCAD_PERM         | titolo_soggiorno_scadenza   | data(AAAAMMGG)    |            | ometti
VIA               | residenza_indirizzo.odonimo |                   |            |
TEL               | telefono                    | telefono(+39)     |            |
N_COMP            | numero_componenti           |                   |            |
PROTETTO          | riservatezza_indirizzo      | si_no(S/1,N/0)    | no         |
righe[].CF_COMP   | componenti[].cf             |                   |            |
righe[].REL       | componenti[].relazione      | lista(parentela)  |            |

[traduzione sesso]
fonte | valore
1     | M
2     | F

[traduzione parentela]
fonte   | valore
FG, FGA | 3
MG      | 2
";

fn row() -> Value {
    json!({
        "COD_FISC": PERSON, "Cognome sogg.": "XXQUERCIA", "NOME": "ANNA", "DT_NASC": "12/03/1985", "SESSO": 2,
        "COM_NASC": "B648", "CITT": "380", "SCAD_PERM": null, "VIA": "Via delle Prove", "TEL": "0583 / 12.34.56",
        "N_COMP": 3, "PROTETTO": "N",
        "righe": [{"CF_COMP": PERSON, "REL": "MG"}, {"CF_COMP": null, "REL": null}, {"CF_COMP": "xxqnna85c52b648j", "REL": "FG"}],
    })
}

#[test]
fn a_row_becomes_the_record_and_the_record_the_row() {
    let mappings = mappings(REGISTRY);
    let mapping = of(&mappings, "anagrafica_nucleo");
    let mapped = read(mapping, &row()).unwrap();
    let expected = json!({
        "codice_fiscale": PERSON, "cognome": "XXQUERCIA", "nome": "ANNA", "data_nascita": "1985-03-12", "sesso": "F",
        "comune_nascita": "B648", "cittadinanza": "380", "residenza_indirizzo": {"odonimo": "Via delle Prove"},
        "telefono": "+390583123456", "numero_componenti": 3, "riservatezza_indirizzo": false,
        "componenti": [{"cf": PERSON, "relazione": "2"}, {"cf": PERSON, "relazione": "3"}],
    });
    assert_eq!(Value::Object(mapped.fields.clone()), expected);
    mapping.record.check(expected).unwrap();

    let written = mapping.write(&mapped.fields, &person()).unwrap();
    assert!(written.without_place.is_empty());
    assert_eq!(written.tree["DT_NASC"], "12/03/1985");
    assert_eq!((&written.tree["SESSO"], &written.tree["PROTETTO"]), (&json!("2"), &json!("N")));
    assert_eq!(written.tree["righe"][1], json!({"CF_COMP": PERSON, "REL": "FG"}));
    assert_eq!(read(mapping, &written.tree).unwrap().fields, mapped.fields);
}

#[test]
fn only_what_is_asked_for_is_read_and_selected() {
    let mappings = mappings(REGISTRY);
    let mapping = of(&mappings, "anagrafica_nucleo");
    let asked = fields(&["sesso", "riservatezza_indirizzo"]);
    assert_eq!(mapping.columns(&asked), ["COD_FISC", "SESSO", "PROTETTO"]);
    let subject = person();
    let mut broken = row();
    broken["DT_NASC"] = json!("never");
    let mapped = mapping.read(&broken, &Ask { row: 1, subject: Some(&subject), fields: &asked }).unwrap();
    assert_eq!(Value::Object(mapped.fields), json!({"sesso": "F", "riservatezza_indirizzo": false}));
}

#[test]
fn a_part_with_a_policy_of_its_own_is_read_only_when_it_is_asked_for() {
    let mappings = mappings(
        "[mappatura condizione_economica_prestazioni]\nsoggetto = CF\nfonte | campo | lettura\n\
         righe[].COD | prestazioni[].codice |\nrighe[].EUR | prestazioni[].importi | decimale(,)\n",
    );
    let mapping = of(&mappings, "condizione_economica_prestazioni");
    assert_eq!(mapping.columns(&fields(&["prestazioni"])), ["CF", "COD"]);
    let tree = json!({"CF": PERSON, "righe": [{"COD": "A1.01", "EUR": "1.250,50"}]});
    let subject = person();
    let ask = |fields: &[FieldId]| {
        mapping.read(&tree, &Ask { row: 0, subject: Some(&subject), fields }).unwrap().fields
    };
    assert_eq!(ask(&fields(&["prestazioni"]))["prestazioni"], json!([{"codice": "A1.01"}]));
    let both = fields(&["prestazioni", "prestazioni.importi"]);
    assert_eq!(ask(&both)["prestazioni"], json!([{"codice": "A1.01", "importi": "1250.50"}]));
}

#[test]
fn deep_trees_are_read_by_filters_and_written_back_with_their_constants() {
    let mappings = mappings(
        "
[mappatura anagrafica_nucleo]
soggetto = identifier[system=urn:cf].value
fonte                       | campo                  | lettura       | altrimenti
name[use=official].family   | cognome                |               |
name[use=official].given[0] | nome                   |               |
telecom[system=phone].value | telefono               | telefono(+39) |
-                           | riservatezza_indirizzo |               | no

[costanti anagrafica_nucleo]
fonte        | valore
resourceType | Patient
",
    );
    let mapping = of(&mappings, "anagrafica_nucleo");
    let tree = json!({
        "identifier": [{"system": "urn:other", "value": "1"}, {"system": "urn:cf", "value": PERSON}],
        "name": [{"use": "old", "family": "ALTRO"}, {"use": "official", "family": "XXQUERCIA", "given": ["ANNA"]}],
        "telecom": {"system": "phone", "value": "+39 333 1234567"},
    });
    let mapped = read(mapping, &tree).unwrap();
    assert_eq!(
        Value::Object(mapped.fields.clone()),
        json!({"cognome": "XXQUERCIA", "nome": "ANNA", "telefono": "+393331234567", "riservatezza_indirizzo": false})
    );
    let written = mapping.write(&mapped.fields, &person()).unwrap().tree;
    assert_eq!(written["identifier"], json!([{"system": "urn:cf", "value": PERSON}]));
    assert_eq!(
        (&written["name"][0]["given"], &written["resourceType"]),
        (&json!(["ANNA"]), &json!("Patient"))
    );
}

#[test]
fn a_faulty_file_tells_everything_at_once_with_line_and_nearest_word() {
    let told = faults(
        "[mappatura anagrafica_nuclo]\n[mapatura x]\n[mappatura collocamento_mirato]\nfonte | campo | lettura | guasto\n\
         A | grado_percentuli | | \nB | data_iscrizione | data(GG/MM) | \nC | categoria | lista(manca) | ometi\n\
         D | iscritto_l68 | decimale(,) | \nE | accomodamenti | dato(x) |\nF | indicazioni_ambiente[] | |\n",
    );
    let all = told.join("\n");
    for expected in [
        "m.txt:1: unknown record type `anagrafica_nuclo`; did you mean `anagrafica_nucleo`?",
        "m.txt:2: unknown section `mapatura`; did you mean `mappatura`?",
        "m.txt:5: unknown field `grado_percentuli`; did you mean `grado_percentuale`?",
        "m.txt:6: `data(GG/MM)` is not a form such as `data(GG/MM/AAAA)`",
        "m.txt:7: unknown translation `manca`",
        "m.txt:7: unknown way out `ometi`; did you mean `ometti`?",
        "m.txt:8: `decimale(,)` is not a reading for a field that is no number",
        "m.txt:9: unknown reading `dato`; did you mean `data`?",
        "m.txt:10: `indicazioni_ambiente[]` is not in as many lists `[]` as its source",
    ] {
        assert!(all.contains(expected), "missing: {expected}\nin:\n{all}");
    }
}

#[test]
fn whoever_reads_an_address_must_read_whether_it_is_protected() {
    let text = "[mappatura anagrafica_nucleo]\nfonte | campo\nVIA | residenza_indirizzo.odonimo\n";
    let told = faults(text);
    assert!(told[0].contains("riservatezza_indirizzo"), "{told:?}");

    let mappings = mappings(&format!("{text}PROT | riservatezza_indirizzo\n"));
    let mapping = of(&mappings, "anagrafica_nucleo");
    let refused = read(mapping, &json!({"VIA": "Via A", "PROT": null})).unwrap_err();
    assert_eq!(refused, [RowFault::new(7, "riservatezza_indirizzo", Reason::ControlEmpty)]);
}

#[test]
fn what_has_no_place_at_the_recipient_is_named_and_what_cannot_be_said_is_refused() {
    let mappings = mappings(REGISTRY);
    let mapping = of(&mappings, "anagrafica_nucleo");
    let record = json!({"email": "a@example.it", "sesso": "F"});
    let written = mapping.write(record.as_object().unwrap(), &person()).unwrap();
    assert_eq!(written.without_place, fields(&["email"]));
    let record = json!({"componenti": [{"relazione": "99"}]});
    let refused = mapping.write(record.as_object().unwrap(), &person()).err().unwrap();
    assert_eq!(refused, [RowFault::new(0, "componenti[].relazione", Reason::CodeUnknown)]);
}

#[test]
fn coverage_counts_fields_and_keeps_no_value() {
    let mappings = mappings(REGISTRY);
    let mapping = of(&mappings, "anagrafica_nucleo");
    let mut coverage = Coverage::new(mapping);
    coverage.add(&read(mapping, &row()));
    let mut bad = row();
    bad["SESSO"] = json!("9");
    coverage.add(&read(mapping, &bad));
    let of = |name: &str| coverage.fields.iter().find(|(id, _)| id.as_str() == name).unwrap().1;
    assert_eq!(of("sesso"), FieldCoverage { mapped: true, held: 1, faults: 1 });
    assert_eq!(of("email"), FieldCoverage::default());
    assert_eq!((coverage.records, coverage.refused), (2, 1));
    assert!(!format!("{coverage:?}").contains("QUERCIA"));
}

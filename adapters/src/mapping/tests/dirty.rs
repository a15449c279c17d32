//! Dirty values: each is taken, repaired by a stated rule, or refused with row, field and reason.

use super::*;

/// What becomes of one changed column.
fn with(column: &str, value: Value) -> Result<Mapped, Vec<RowFault>> {
    let mappings = mappings(REGISTRY);
    let mut row = row();
    row[column] = value;
    read(of(&mappings, "anagrafica_nucleo"), &row)
}

fn refused(column: &str, value: Value) -> Vec<(String, &'static str)> {
    let faults = with(column, value).err().unwrap_or_default();
    assert!(faults.iter().all(|fault| fault.row == 7));
    faults.into_iter().map(|fault| (fault.field, fault.reason.code())).collect()
}

fn repaired(column: &str, value: Value, field: &str) -> (Value, Vec<Repair>) {
    let mapped = with(column, value).unwrap();
    let repairs = mapped.notes.iter().filter(|note| note.field == field).map(|note| note.repair);
    (mapped.fields.get(field).cloned().unwrap_or_default(), repairs.collect())
}

#[test]
fn dates_that_no_calendar_has_are_refused() {
    for (text, reason) in [
        ("00/00/1950", "impossible-date"),
        ("31/02/1985", "impossible-date"),
        ("12/03/85", "two-digit-year"),
        ("1985-03-12", "not-a-date"),
        ("12/03/1985 10:00", "not-a-date"),
        ("12/03/1986", "birth-date-of-another"),
    ] {
        assert_eq!(refused("DT_NASC", json!(text)), [("data_nascita".to_owned(), reason)], "{text}");
    }
    assert_eq!(repaired("DT_NASC", json!("12/3/1985"), "data_nascita").0, "1985-03-12");
}

#[test]
fn codici_fiscali_are_taken_only_when_they_are_right_and_omocodia_is_noted() {
    let wrong = refused("righe", json!([{"CF_COMP": "XXQNNA85C52B648K"}]));
    assert_eq!(wrong, [("componenti[].cf".to_owned(), "check-letter")]);
    let wrong = refused("righe", json!([{"CF_COMP": "PROVAX00X00X000Y"}]));
    assert_eq!(wrong, [("componenti[].cf".to_owned(), "codice-fiscale")]);
    let omocode = person().with_omocodia(1);
    let (value, repairs) =
        repaired("righe", json!([{"CF_COMP": omocode.expose().to_lowercase()}]), "componenti[].cf");
    assert_eq!((value, repairs), (Value::Null, vec![Repair::UpperCase, Repair::Omocode]));
    // The person with omocodia is another person.
    let other = refused("COD_FISC", json!(omocode.expose()));
    assert_eq!(other.iter().map(|one| one.1).collect::<Vec<_>>(), ["other-person", "other-person"]);
}

#[test]
fn swapped_names_are_set_right_and_strange_ones_are_taken_with_a_note() {
    let mappings = mappings(REGISTRY);
    let mapping = of(&mappings, "anagrafica_nucleo");
    let mut swapped = row();
    swapped["Cognome sogg."] = json!("ANNA");
    swapped["NOME"] = json!("XXQUERCIA");
    let mapped = read(mapping, &swapped).unwrap();
    assert_eq!((&mapped.fields["cognome"], &mapped.fields["nome"]), (&json!("XXQUERCIA"), &json!("ANNA")));
    assert!(mapped.notes.iter().any(|note| note.repair == Repair::NamesSwapped));
    assert_eq!(repaired("NOME", json!("MARIA"), "cognome").1, [Repair::NamesDiffer]);
    assert_eq!(repaired("COM_NASC", json!("A241"), "comune_nascita").1, [Repair::BirthplaceDiffers]);
}

#[test]
fn texts_are_cleaned_by_stated_rules() {
    use Repair::{Composed, ControlCharacters, Trimmed};
    let field = "nome";
    assert_eq!(repaired("NOME", json!("  ANNA \r\n"), field), (json!("ANNA"), vec![Trimmed]));
    assert_eq!(repaired("NOME", json!("\u{feff}ANNA"), field), (json!("ANNA"), vec![Trimmed]));
    assert_eq!(repaired("NOME", json!("AN\r\nNA"), field), (json!("AN NA"), vec![ControlCharacters]));
    assert_eq!(repaired("NOME", json!("NICOLO\u{300}"), field), (json!("NICOLÒ"), vec![Composed]));
    assert_eq!(repaired("NOME", json!("D'ANGELO"), field), (json!("D'ANGELO"), vec![]));
    assert_eq!(repaired("NOME", json!("   "), field), (Value::Null, vec![]), "blank is absent");
    for misread in ["NicolÃ²", "Anna\u{fffd}"] {
        assert_eq!(refused("NOME", json!(misread)), [("nome".to_owned(), "wrong-encoding")]);
    }
    assert_eq!(refused("NOME", json!("A".repeat(37))), [("nome".to_owned(), "kind")]);
    assert_eq!(refused("NOME", json!(["ANNA", {"x": 1}])), [("nome".to_owned(), "not-a-text")]);
}

#[test]
fn codes_flags_and_numbers_are_read_or_refused() {
    assert_eq!(refused("SESSO", json!("X")), [("sesso".to_owned(), "code-unknown")]);
    assert_eq!(refused("SESSO", json!("1")), [("sesso".to_owned(), "sex-of-another")]);
    assert_eq!(refused("COM_NASC", json!("046007")), [("comune_nascita".to_owned(), "code-unknown")]);
    assert_eq!(repaired("CITT", json!(8), "cittadinanza").0, "008", "a spreadsheet ate the zeros");
    assert_eq!(refused("PROTETTO", json!("forse")), [("riservatezza_indirizzo".to_owned(), "flag-unknown")]);
    assert_eq!(repaired("PROTETTO", json!(1), "riservatezza_indirizzo").0, true);
    assert_eq!(repaired("PROTETTO", json!("  "), "riservatezza_indirizzo").0, false, "as `altrimenti` says");
    assert_eq!(refused("N_COMP", json!("tre")), [("numero_componenti".to_owned(), "not-a-number")]);
    assert_eq!(refused("N_COMP", json!(100)), [("numero_componenti".to_owned(), "kind")]);
    assert_eq!(repaired("N_COMP", json!("3.0"), "numero_componenti").0, 3);
    assert_eq!(refused("TEL", json!("interno 3")), [("telefono".to_owned(), "kind")]);
}

#[test]
fn amounts_are_exact_and_a_sign_that_could_be_either_is_refused() {
    let mappings = mappings(
        "[mappatura condizione_economica_prestazioni]\nfonte | campo | lettura\nA | isee_valore | decimale(,)\n\
         B | patrimonio_mobiliare | diviso(100)\nC | patrimonio_immobiliare | decimale(.)\n",
    );
    let mapping = of(&mappings, "condizione_economica_prestazioni");
    let read = |tree: Value| read(mapping, &tree).map(|mapped| Value::Object(mapped.fields));
    for (text, expected) in [
        ("8.450,00", "8450.00"),
        ("€ 1.234.567,8", "1234567.8"),
        ("-12,5", "-12.5"),
        ("8450", "8450"),
        ("0,10", "0.10"),
        ("12,5000", "12.50"),
        ("1 234,00", "1234.00"),
    ] {
        assert_eq!(read(json!({ "A": text })).unwrap()["isee_valore"], expected, "{text}");
    }
    for text in ["8450.00", "1.23,4", "12,345", "1e3", "12,", ",5", "--1", "1.2345,00", "NaN"] {
        let faults = read(json!({ "A": text })).unwrap_err();
        assert_eq!(faults[0].reason, Reason::NotNumber, "{text}");
    }
    for (cents, expected) in [("5", "0.05"), ("123456", "1234.56"), ("-7", "-0.07")] {
        assert_eq!(read(json!({ "B": cents })).unwrap()["patrimonio_mobiliare"], expected);
    }
    assert_eq!(read(json!({ "C": 8450.5 })).unwrap()["patrimonio_immobiliare"], "8450.5");
}

#[test]
fn a_field_the_mapping_can_do_without_is_left_out_and_told() {
    let (value, repairs) = repaired("SCAD_PERM", json!("20261340"), "titolo_soggiorno_scadenza");
    assert_eq!((value, repairs), (Value::Null, vec![Repair::LeftOut(Reason::ImpossibleDate)]));
}

#[test]
fn too_many_items_and_several_values_for_one_are_refused() {
    let many: Vec<Value> = (0..201).map(|_| json!({"CF_COMP": PERSON, "REL": "FG"})).collect();
    assert_eq!(refused("righe", json!(many)).first().unwrap().1, "too-many-items");
    let mut two = json!({});
    two["VIA"] = json!([{"a": 1}, {"a": 2}]);
    assert_eq!(refused("VIA", two["VIA"].clone())[0].1, "not-a-text");
}

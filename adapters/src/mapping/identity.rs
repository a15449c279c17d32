//! A person's particulars held against their codice fiscale, which contains them.
//!
//! What contradicts it is another person's and refused; what it can set right is set right; what it cannot judge (a Comune that
//! was suppressed, a name in another spelling) is taken and noted.

use serde_json::{Map, Value};
use varco_core::subject::{CodiceFiscale, Sex};
use varco_core::time::parse_date;

use super::{Note, Reason, Repair, RowFault};

/// The names that record types give to a person's particulars.
const BIRTH_DATE: &str = "data_nascita";
const BIRTHPLACE: &str = "comune_nascita";
const CODICE_FISCALE: &str = "codice_fiscale";
const NAME: &str = "nome";
const SEX: &str = "sesso";
const SURNAME: &str = "cognome";

pub(super) fn check(
    fields: &mut Map<String, Value>,
    person: &CodiceFiscale,
    row: u64,
    notes: &mut Vec<Note>,
    faults: &mut Vec<RowFault>,
) {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    if text(CODICE_FISCALE).is_some_and(|found| found != person.normalised()) {
        faults.push(RowFault::new(row, CODICE_FISCALE, Reason::OtherPerson));
    }
    if text(BIRTH_DATE).and_then(parse_date).is_some_and(|date| !person.agrees_with_birth(date)) {
        faults.push(RowFault::new(row, BIRTH_DATE, Reason::BirthDate));
    }
    let sex = match person.sex() {
        Sex::Female => "F",
        Sex::Male => "M",
    };
    if text(SEX).is_some_and(|found| found != sex) {
        faults.push(RowFault::new(row, SEX, Reason::Sex));
    }
    if text(BIRTHPLACE).is_some_and(|found| found != person.birthplace()) {
        notes.push(note(row, BIRTHPLACE, Repair::BirthplaceDiffers));
    }
    let (Some(surname), Some(name)) = (text(SURNAME), text(NAME)) else { return };
    match (person.fits_names(surname, name), person.fits_names(name, surname)) {
        (true, _) => {}
        (false, true) => {
            let swapped = (Value::from(name), Value::from(surname));
            fields.insert(SURNAME.to_owned(), swapped.0);
            fields.insert(NAME.to_owned(), swapped.1);
            notes.push(note(row, SURNAME, Repair::NamesSwapped));
        }
        (false, false) => notes.push(note(row, SURNAME, Repair::NamesDiffer)),
    }
}

fn note(row: u64, field: &str, repair: Repair) -> Note {
    Note { row, field: field.to_owned(), repair }
}

//! Between an entry's bodies and their sealed rows.

use varco_core::id::Pseudonym;
use varco_core::log::entry::{Slot, SlotName, Slots};
use varco_core::log::sealing::{self, EpochKey, Part, Place};

use crate::keyring::{Keyring, KeyringError};

/// What the row of an entry with erasable bodies holds.
#[derive(Debug, Default)]
pub struct SealedRow {
    pub decision: Option<Vec<u8>>,
    pub operator: Option<Vec<u8>>,
    pub subject: Option<Vec<u8>>,
    /// The people it is found by, sealed: so that their terms can be made anew.
    pub about: Option<Vec<u8>>,
    /// Terms to search by.
    pub who: Option<String>,
    pub office: Option<String>,
    pub in_case: Option<String>,
    pub seal: Option<String>,
    pub subjects: Vec<String>,
}

impl SealedRow {
    const fn part(&self, part: Part) -> Option<&Vec<u8>> {
        match part {
            Part::About => self.about.as_ref(),
            Part::Claim => None,
            Part::Slot(SlotName::Decision) => self.decision.as_ref(),
            Part::Slot(SlotName::Operator) => self.operator.as_ref(),
            Part::Slot(SlotName::Subject) => self.subject.as_ref(),
        }
    }

    fn set(&mut self, part: Part, sealed: Option<Vec<u8>>) {
        match part {
            Part::About => self.about = sealed,
            Part::Claim => {}
            Part::Slot(SlotName::Decision) => self.decision = sealed,
            Part::Slot(SlotName::Operator) => self.operator = sealed,
            Part::Slot(SlotName::Subject) => self.subject = sealed,
        }
    }
}

/// The row of the entry at `index`, sealed under an epoch's key.
pub fn seal(
    keyring: &Keyring,
    epoch: u32,
    index: u64,
    slots: &Slots,
    subjects: &[Pseudonym],
) -> Result<SealedRow, KeyringError> {
    let key = keyring.key(epoch)?;
    let mut row = SealedRow::default();
    for (name, slot) in slots.iter() {
        let part = Part::Slot(name);
        let place = Place { index, part };
        row.set(part, Some(keyring.cipher().seal(&key, place, &sealing::slot_bytes(slot))?));
    }
    if !subjects.is_empty() {
        let place = Place { index, part: Part::About };
        row.about = Some(keyring.cipher().seal(&key, place, &sealing::about_bytes(subjects))?);
    }
    find_by(&mut row, &key, slots, subjects);
    Ok(row)
}

/// The same row under another epoch's key, with the terms of that epoch.
pub fn renew(
    keyring: &Keyring,
    (old, new): (u32, u32),
    index: u64,
    row: &SealedRow,
) -> Result<SealedRow, KeyringError> {
    let (from, to) = (keyring.key(old)?, keyring.key(new)?);
    let mut renewed = SealedRow::default();
    for part in Part::OF_ENTRY {
        if let Some(sealed) = row.part(part) {
            let place = Place { index, part };
            renewed.set(part, Some(keyring.cipher().renew(&from, &to, place, sealed)?));
        }
    }
    let operator = open(keyring, old, index, Part::Slot(SlotName::Operator), row.operator.as_deref())?;
    let subject = open(keyring, old, index, Part::Slot(SlotName::Subject), row.subject.as_deref())?;
    let slots = Slots { operator, subject, ..Slots::default() };
    find_by(&mut renewed, &to, &slots, &about(keyring, old, index, row.about.as_deref())?);
    Ok(renewed)
}

fn find_by(row: &mut SealedRow, key: &EpochKey, slots: &Slots, subjects: &[Pseudonym]) {
    let member =
        |name: &str| sealing::operator_member(slots, name).map(|value| sealing::term(key, name, &value));
    row.who = member(sealing::OPERATOR);
    row.office = member(sealing::OFFICE);
    row.seal = member(sealing::SEAL);
    row.in_case =
        sealing::subject_member(slots, sealing::CASE).map(|case| sealing::term(key, sealing::CASE, &case));
    row.subjects =
        subjects.iter().map(|person| sealing::term(key, sealing::SUBJECT, person.as_str())).collect();
}

/// A slot as it was before it was sealed.
pub fn open(
    keyring: &Keyring,
    epoch: u32,
    index: u64,
    part: Part,
    sealed: Option<&[u8]>,
) -> Result<Option<Slot>, KeyringError> {
    let Some(sealed) = sealed else { return Ok(None) };
    let bytes = keyring.cipher().open(&keyring.key(epoch)?, Place { index, part }, sealed)?;
    sealing::slot_from_bytes(&bytes).map(Some).ok_or(KeyringError::Damaged)
}

fn about(
    keyring: &Keyring,
    epoch: u32,
    index: u64,
    sealed: Option<&[u8]>,
) -> Result<Vec<Pseudonym>, KeyringError> {
    let Some(sealed) = sealed else { return Ok(Vec::new()) };
    let place = Place { index, part: Part::About };
    let bytes = keyring.cipher().open(&keyring.key(epoch)?, place, sealed)?;
    sealing::about_from_bytes(&bytes).ok_or(KeyringError::Damaged)
}

/// The terms under which the index of people holds an entry.
pub fn about_terms(
    keyring: &Keyring,
    epoch: u32,
    index: u64,
    sealed: &[u8],
) -> Result<Vec<String>, KeyringError> {
    let key = keyring.key(epoch)?;
    let people = about(keyring, epoch, index, Some(sealed))?;
    Ok(people.iter().map(|person| sealing::term(&key, sealing::SUBJECT, person.as_str())).collect())
}

/// The terms of a value in every epoch whose key is here.
pub fn terms(keyring: Option<&Keyring>, name: &str, value: &str) -> Vec<String> {
    let keys = keyring.map(Keyring::keys).unwrap_or_default();
    keys.iter().map(|key| sealing::term(key, name, value)).collect()
}

//! The people of a case under lock.

use std::collections::BTreeMap;

use super::super::people::{Locks, pseudonyms_in};
use super::signals::Open;
use super::*;
use crate::case::{Change, Event, Header, LockedPerson};
use crate::id::{CaseId, Pseudonym};
use crate::parcel::{Keeper, LockEntropy, LockFault, Locked};

/// Opens nothing.
struct Lost;

impl Keeper for Lost {
    fn lock(&self, _: &ExchangeId, _: &[u8], _: &LockEntropy) -> Result<Locked, LockFault> {
        Err(LockFault)
    }

    fn open(&self, _: &ExchangeId, _: &Locked) -> Result<Zeroizing<Vec<u8>>, LockFault> {
        Err(LockFault)
    }
}

fn two_epochs() -> SubjectKeys {
    SubjectKeys::new(vec![(1, Zeroizing::new([7; 32])), (2, Zeroizing::new([8; 32]))]).unwrap()
}

fn case_of(locks: BTreeMap<Pseudonym, LockedPerson>) -> Case {
    let header: Header = serde_json::from_value(json!({ "id": CASE, "purposes": ["F02"] })).unwrap();
    let first = Event { change: opened(locks), ..open_case().events()[0].clone() };
    Case::open(header, &first).unwrap()
}

fn opened(new: BTreeMap<Pseudonym, LockedPerson>) -> Change {
    let Change::Open { subjects, responsible, .. } = open_case().events()[0].change.clone() else {
        panic!("not opened")
    };
    Change::Open { subjects, responsible, locks: new }
}

#[test]
fn somebody_known_by_one_pseudonym_is_found_by_all_if_their_lock_opens_and_is_theirs() {
    let (known, id): (_, CaseId) = (keys().pseudonym(&person()), CASE.parse().unwrap());
    let mut with = Locks { keeper: &Open, fresh: vec![Zeroizing::new([0; 44])] };
    let lock = with.lock(&person(), &id).unwrap();
    assert!(with.lock(&person(), &id).is_none(), "no room was made for a second");
    let case = case_of(BTreeMap::from([(known.clone(), lock.clone())]));
    let all = pseudonyms_in(&case, &known, &Open, &two_epochs()).unwrap();
    assert_eq!(all, two_epochs().all(&person()));
    // Nobody knows what somebody has said whose lock is missing, does not open, or is another's.
    assert_eq!(pseudonyms_in(&case_of(BTreeMap::new()), &known, &Open, &two_epochs()), None);
    assert_eq!(pseudonyms_in(&case, &known, &Lost, &two_epochs()), None);
    let other: CodiceFiscale = "XXQMRC85C12B648U".parse().unwrap();
    let mut with = Locks { keeper: &Open, fresh: vec![Zeroizing::new([0; 44])] };
    let swapped = with.lock(&other, &id).unwrap();
    let case = case_of(BTreeMap::from([(known.clone(), swapped)]));
    assert_eq!(pseudonyms_in(&case, &known, &Open, &two_epochs()), None);
    let torn = LockedPerson { key: lock.key, copy: "!".to_owned() };
    let case = case_of(BTreeMap::from([(known.clone(), torn)]));
    assert_eq!(pseudonyms_in(&case, &known, &Open, &two_epochs()), None);
}

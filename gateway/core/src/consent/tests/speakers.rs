//! Who may open and close a choice for somebody else.

use super::*;

fn minor(joint: &[&str]) -> Header {
    Header {
        class: SubjectClass::Minor,
        class_until: Some(day(400)),
        joint: joint.iter().map(|item| (*item).to_owned()).collect(),
        ..header()
    }
}

fn mother() -> Pseudonym {
    id("s1.mmmmmmmmmmmmmmmmmmmmmmmmmm")
}

fn father() -> Pseudonym {
    id("s1.ffffffffffffffffffffffffff")
}

fn said(state: State, at: u32, capacity: Capacity, by: Option<Pseudonym>) -> Event {
    let until = (state == State::Renewed).then(|| day(300 + at));
    Event { capacity, by, until, mandate: Some(decree(day(0), None)), ..event(state, day(at)) }
}

fn parent(state: State, at: u32, who: Pseudonym) -> Event {
    Event { mandate: None, ..said(state, at, Capacity::Parent, Some(who)) }
}

fn decree(from: Timestamp, until: Option<Timestamp>) -> Mandate {
    let (court, reference) = ("Tribunale di Lucca".to_owned(), "RG 1/2026".to_owned());
    Mandate { court, reference, from, until, sha256: Sha256::of(b"decree") }
}

fn beneficiary(representation: Representation) -> Header {
    Header { class: SubjectClass::AdsBeneficiary, representation, ..header() }
}

#[test]
fn where_both_parents_must_sign_one_alone_opens_nothing() {
    let one = Consent::open(minor(&["s1"]), parent(State::Given, 0, mother())).unwrap();
    assert_eq!(one.state("s1", day(1)), State::Requested);
    assert_eq!(one.state("s2", day(1)), State::Given, "one signature is enough for what is not joint");
    let mut again = parent(State::Given, 1, mother());
    again.items = vec!["s1".into()];
    let twice = one.clone().record(again.clone()).unwrap();
    assert_eq!(twice.state("s1", day(2)), State::Requested, "the same parent twice is one parent");
    again.by = Some(father());
    let both = one.record(again).unwrap();
    assert_eq!(both.state("s1", day(2)), State::Given);
    let together = Event { by: None, ..parent(State::Given, 0, mother()) };
    let together = Event { capacity: Capacity::ParentsBoth, ..together };
    assert_eq!(Consent::open(minor(&["s1"]), together).unwrap().state("s1", day(1)), State::Given);
}

#[test]
fn a_parent_says_who_they_are_before_anything_opens() {
    let nameless = Event { by: None, ..parent(State::Given, 0, mother()) };
    assert_eq!(Consent::open(minor(&[]), nameless), Err(ConsentFault::SpeakerMissing));
}

#[test]
fn one_parent_closes_what_both_have_opened() {
    let mut second = parent(State::Given, 1, father());
    second.items = vec!["s1".into()];
    let both =
        Consent::open(minor(&["s1"]), parent(State::Given, 0, mother())).unwrap().record(second).unwrap();
    for who in [mother(), father()] {
        let closed = both.clone().record(parent(State::Withdrawn, 2, who)).unwrap();
        assert_eq!(closed.state("s1", day(2)), State::Withdrawn);
        assert_eq!(closed.state("s2", day(2)), State::Withdrawn);
    }
}

#[test]
fn a_parent_who_refuses_ends_what_the_other_has_begun() {
    let mut refusal = parent(State::Refused, 1, father());
    refusal.items = vec!["s1".into()];
    let refused =
        Consent::open(minor(&["s1"]), parent(State::Given, 0, mother())).unwrap().record(refusal).unwrap();
    assert_eq!(refused.state("s1", day(1)), State::Refused);
    let mut late = parent(State::Given, 2, father());
    late.items = vec!["s1".into()];
    assert!(matches!(refused.record(late), Err(ConsentFault::Transition { .. })));
}

#[test]
fn what_one_parent_closed_the_other_cannot_open_again_alone() {
    let first = parent(State::Given, 0, mother());
    let closed =
        Consent::open(minor(&[]), first).unwrap().record(parent(State::Withdrawn, 1, father())).unwrap();
    let others = [closed];
    let plain = |_: &ScopeItem| false;
    let by_mother = parent(State::Given, 2, mother());
    assert_eq!(minor(&[]).joint_items(&others, &by_mother, plain), ["s1", "s2"]);
    let by_father = parent(State::Given, 2, father());
    assert!(minor(&[]).joint_items(&others, &by_father, plain).is_empty(), "whoever closed it may open it");
    assert!(
        header().joint_items(&others, &event(State::Given, day(2)), plain).is_empty(),
        "an adult decides alone"
    );
}

#[test]
fn delicate_data_of_a_minor_ask_for_both_parents() {
    let first = parent(State::Given, 0, mother());
    assert_eq!(minor(&[]).joint_items(&[], &first, |item| item.item == "s2"), ["s2"]);
    assert!(header().joint_items(&[], &event(State::Given, day(0)), |_| true).is_empty());
}

#[test]
fn under_exclusive_representation_the_subjects_withdrawal_closes_until_the_administrator_has_spoken() {
    let administrator = || said(State::Given, 0, Capacity::AdsRepresentation, None);
    let consent = Consent::open(beneficiary(Representation::Exclusive), administrator()).unwrap();
    let suspended = consent.record(event(State::Withdrawn, day(1))).unwrap();
    assert_eq!(suspended.state("s1", day(1)), State::Suspended);
    assert!(!suspended.state("s1", day(1)).is_valid());
    let own = event(State::Given, day(2));
    assert!(matches!(suspended.clone().record(own), Err(ConsentFault::CapacityMismatch(..))));
    let confirmed =
        suspended.clone().record(said(State::Withdrawn, 2, Capacity::AdsRepresentation, None)).unwrap();
    assert_eq!(confirmed.state("s1", day(2)), State::Withdrawn);
    let upheld = suspended.record(said(State::Given, 2, Capacity::AdsRepresentation, None)).unwrap();
    assert_eq!(upheld.state("s1", day(2)), State::Given);
}

#[test]
fn without_an_exclusive_decree_the_beneficiarys_withdrawal_is_one() {
    let first = said(State::Given, 0, Capacity::AdsAssistance, None);
    let consent = Consent::open(beneficiary(Representation::Ordinary), first).unwrap();
    let closed = consent.record(event(State::Withdrawn, day(1))).unwrap();
    assert_eq!(closed.state("s1", day(1)), State::Withdrawn);
}

#[test]
fn a_guardian_appointed_later_may_close_but_not_open() {
    let closed = given().record(said(State::Withdrawn, 1, Capacity::Tutor, None)).unwrap();
    assert_eq!(closed.state("s1", day(1)), State::Withdrawn);
    let opens = said(State::Given, 0, Capacity::Tutor, None);
    assert!(matches!(Consent::open(header(), opens), Err(ConsentFault::CapacityMismatch(..))));
}

#[test]
fn a_minors_record_says_when_they_come_of_age() {
    let endless = Header { class_until: None, ..minor(&[]) };
    let first = parent(State::Given, 0, mother());
    assert_eq!(Consent::open(endless, first), Err(ConsentFault::ClassEndMissing));
}

#[test]
fn a_renewal_by_one_parent_does_not_prolong_the_others_word() {
    let mut second = parent(State::Given, 1, father());
    second.items = vec!["s1".into()];
    let both =
        Consent::open(minor(&["s1"]), parent(State::Given, 0, mother())).unwrap().record(second).unwrap();
    let mut renewal = parent(State::Renewed, 200, mother());
    renewal.until = Some(day(390));
    let half = both.record(renewal.clone()).unwrap();
    assert_eq!(half.state("s1", day(364)), State::Renewed);
    assert_eq!(half.state("s1", day(365)), State::Expired, "the father's word ends with the scope");
    let whole = half.record(Event { by: Some(father()), ..renewal }).unwrap();
    assert_eq!(whole.state("s1", day(389)), State::Renewed);
}

#[test]
fn every_event_takes_effect_at_once_unless_it_invalidates() {
    for days in [10, 30] {
        let mut postponed = event(State::Withdrawn, day(20));
        postponed.effective_at = day(days);
        assert_eq!(given().record(postponed), Err(ConsentFault::NotAtOnce));
    }
}

const CAPACITIES: [Capacity; 9] = [
    Capacity::AdsAssistance,
    Capacity::AdsRepresentation,
    Capacity::Authority,
    Capacity::Controller,
    Capacity::Curator,
    Capacity::Parent,
    Capacity::ParentsBoth,
    Capacity::Subject,
    Capacity::Tutor,
];

fn headers() -> [Header; 5] {
    [
        header(),
        beneficiary(Representation::Exclusive),
        beneficiary(Representation::Ordinary),
        Header { class: SubjectClass::Interdicted, ..header() },
        minor(&["s1"]),
    ]
}

fn spoken() -> impl Strategy<Value = Event> {
    (0..State::ALL.len(), 0_u32..300, 0..CAPACITIES.len(), any::<bool>(), 0_usize..3).prop_map(
        |(state, at, capacity, is_mother, items)| {
            let who = if is_mother { mother() } else { father() };
            let mut event = said(State::ALL[state], at, CAPACITIES[capacity], Some(who));
            event.items = [vec![], vec!["s1".to_owned()], vec!["s2".to_owned()]][items].clone();
            event
        },
    )
}

fn lived() -> impl Strategy<Value = Consent> {
    (0_usize..5, proptest::collection::vec(spoken(), 0..24)).prop_map(|(which, mut events)| {
        events.sort_by_key(|event| event.at);
        let begun = Consent { header: headers()[which].clone(), events: Vec::new() };
        events.into_iter().fold(begun, |consent, event| consent.clone().record(event).unwrap_or(consent))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whoever_speaks_replaying_gives_the_same_state_at_every_instant(consent in lived(), at in 0_u32..600) {
        let replayed = Consent::replay(consent.header.clone(), consent.events.clone()).unwrap();
        for item in ["s1", "s2"] {
            prop_assert_eq!(replayed.state(item, day(at)), consent.state(item, day(at)));
        }
    }

    #[test]
    fn a_record_that_was_exported_reads_back_event_for_event(consent in lived(), at in 0_u32..600) {
        let setting = interchange::Setting { parties: &[], withdrawal: "any-access-point" };
        let document = interchange::export(&consent, setting, day(at));
        if consent.events.is_empty() {
            return Ok(());
        }
        let imported = interchange::import(&document);
        prop_assert_eq!(imported.as_ref(), Ok(&consent));
        let mut forged = document.clone();
        forged["events"][0]["event_state"] = "dpv:ConsentForged".into();
        prop_assert_eq!(interchange::import(&forged), Err(interchange::ImportError::Contradiction));
        let mut wider = document.clone();
        wider["processing"][0]["purpose"] = "F10".into();
        prop_assert_eq!(interchange::import(&wider), Err(interchange::ImportError::Contradiction));
    }

    #[test]
    fn only_what_stands_and_the_person_said_themselves_is_taken_over(consent in lived(), at in 0_u32..600) {
        let now = day(at);
        let standing: Vec<_> = ["s1", "s2"].into_iter().filter(|item| consent.state(item, now).is_valid()).collect();
        match interchange::take_over(&consent, now) {
            Ok(body) => {
                let scope = body["scope"].as_array().unwrap().iter();
                prop_assert_eq!(scope.map(|item| item["item"].as_str().unwrap()).collect::<Vec<_>>(), standing);
                prop_assert_eq!(&body["event"]["capacity"], "self");
            }
            Err(interchange::TakeOverError::NothingStands) => prop_assert!(standing.is_empty()),
            Err(interchange::TakeOverError::SpokenFor) => prop_assert!(!standing.is_empty()),
        }
    }

    #[test]
    fn without_the_word_of_everybody_it_needs_nothing_is_open(consent in lived(), at in 0_u32..600) {
        for item in ["s1", "s2"] {
            if !consent.state(item, day(at)).is_valid() {
                continue;
            }
            let opens = |event: &Event| event.state.is_valid() && event.concerns(item);
            let mut none = consent.clone();
            none.events.retain(|event| !opens(event));
            prop_assert!(!none.state(item, day(at)).is_valid());
            // A joint item closes when any one of its two signers is struck out.
            let alone = |event: &Event| matches!(event.capacity, Capacity::ParentsBoth | Capacity::Tutor);
            let is_joint = consent.header.joint.iter().any(|joint| joint == item);
            if is_joint && !consent.events.iter().any(|event| opens(event) && alone(event)) {
                for who in [mother(), father()] {
                    let mut without = consent.clone();
                    without.events.retain(|event| !(opens(event) && event.by.as_ref() == Some(&who)));
                    prop_assert!(!without.state(item, day(at)).is_valid());
                }
            }
        }
    }

    #[test]
    fn nobody_who_may_not_open_ever_opens(consent in lived()) {
        for (i, event) in consent.events.iter().enumerate() {
            let before = Consent { header: consent.header.clone(), events: consent.events[..i].to_vec() };
            let after = Consent { header: consent.header.clone(), events: consent.events[..=i].to_vec() };
            for item in ["s1", "s2"] {
                let opened = !before.state(item, event.at).is_valid() && after.state(item, event.at).is_valid();
                prop_assert!(!opened || event.state.is_valid());
                let opens = !matches!(event.capacity, Capacity::Authority | Capacity::Controller);
                prop_assert!(!opened || opens);
            }
        }
    }

    #[test]
    fn the_subjects_withdrawal_closes_in_every_state_and_class(consent in lived(), at in 300_u32..600) {
        let withdrawn = consent.clone().record(event(State::Withdrawn, day(at)));
        for item in ["s1", "s2"] {
            match &withdrawn {
                Ok(closed) => prop_assert!(!closed.state(item, day(at)).is_valid()),
                Err(_) => prop_assert!(!consent.state(item, day(at)).is_valid()),
            }
        }
    }
}

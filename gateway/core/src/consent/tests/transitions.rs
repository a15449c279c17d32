//! Every state with every event, against a table written down by hand: what is not in it is refused.

use super::*;

/// From each state, the events that are taken. `Expired` and `Suspended` are computed, never recorded, and are states
/// all the same.
const TABLE: [(State, &[State]); 12] = [
    (State::Deferred, &[State::Given, State::Invalidated, State::Refused]),
    (State::Expired, &[State::Invalidated]),
    (
        State::Given,
        &[State::Invalidated, State::Renewed, State::Revoked, State::Superseded, State::Withdrawn],
    ),
    (State::Invalidated, &[]),
    (State::Refused, &[State::Invalidated]),
    (
        State::Renewed,
        &[State::Invalidated, State::Renewed, State::Revoked, State::Superseded, State::Withdrawn],
    ),
    (State::Requested, &[State::Deferred, State::Given, State::Invalidated, State::Refused]),
    (State::Revoked, &[State::Invalidated]),
    (State::Superseded, &[State::Invalidated]),
    (
        State::Suspended,
        &[State::Given, State::Invalidated, State::Revoked, State::Superseded, State::Withdrawn],
    ),
    (State::Unknown, &[State::Given, State::Refused, State::Requested]),
    (State::Withdrawn, &[State::Invalidated]),
];

fn decree() -> Option<Mandate> {
    Some(Mandate {
        court: "Tribunale di Lucca".into(),
        reference: "RG 1/2026".into(),
        from: day(0),
        until: None,
        sha256: Sha256::of(b"decree"),
    })
}

/// Somebody for whom the administrator alone decides, so that a withdrawal of their own suspends.
fn ward() -> Header {
    Header { class: SubjectClass::AdsBeneficiary, representation: Representation::Exclusive, ..header() }
}

/// An event that only its state can make wrong.
fn step(header: &Header, state: State, at: Timestamp) -> Event {
    let mut step = event(state, at);
    step.until = (state == State::Renewed).then(|| day(300));
    if header.class == SubjectClass::AdsBeneficiary && state != State::Invalidated {
        step.capacity = Capacity::AdsRepresentation;
        step.mandate = decree();
    }
    step
}

/// A record that is in the state on day 9.
fn in_state(state: State) -> Consent {
    let header = if state == State::Suspended { ward() } else { header() };
    let path: &[State] = match state {
        State::Unknown => &[],
        State::Expired => &[State::Given],
        State::Suspended => &[State::Given],
        State::Deferred => &[State::Requested, State::Deferred],
        State::Invalidated | State::Renewed | State::Revoked | State::Superseded | State::Withdrawn => {
            &[State::Given, state]
        }
        State::Given | State::Refused | State::Requested => &[state],
    };
    let mut record = Consent { header, events: Vec::new() };
    for (i, next) in path.iter().enumerate() {
        let mut event = step(&record.header, *next, day(u32::try_from(i).unwrap()));
        if state == State::Expired {
            event.until = Some(day(5));
        }
        record = record.record(event).unwrap();
    }
    if state == State::Suspended {
        record = record.record(event(State::Withdrawn, day(1))).unwrap();
    }
    assert_eq!(record.state("s1", day(9)), state);
    record
}

#[test]
fn each_state_takes_the_events_of_the_table_and_no_other() {
    assert!(TABLE.iter().map(|(state, _)| *state).eq(State::ALL), "a state is missing from the table");
    for (from, taken) in TABLE {
        for to in State::ALL {
            let record = in_state(from);
            let next = step(&record.header, to, day(9));
            let got = record.clone().record(next);
            assert_eq!(got.is_ok(), taken.contains(&to), "{from:?} to {to:?}: {:?}", got.err());
        }
    }
}

#[test]
fn an_item_named_by_itself_is_held_to_the_same_table() {
    for (from, taken) in TABLE {
        for to in State::ALL {
            let record = in_state(from);
            let mut next = step(&record.header, to, day(9));
            next.items = vec!["s1".to_owned()];
            assert_eq!(record.record(next).is_ok(), taken.contains(&to), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn only_giving_and_renewing_open_and_only_from_where_the_table_says() {
    for (from, _) in TABLE {
        for to in State::ALL {
            let record = in_state(from);
            let next = step(&record.header, to, day(9));
            let Ok(after) = record.clone().record(next) else { continue };
            let (before, after) =
                (record.state("s1", day(9)).is_valid(), after.state("s1", day(9)).is_valid());
            assert!(before || !after || to == State::Given, "{from:?} to {to:?} opens");
        }
    }
}

/// Both parents of a minor have given what needs two.
fn signed_by_two() -> (Header, Vec<Event>) {
    let header = Header {
        class: SubjectClass::Minor,
        class_until: Some(day(300)),
        joint: vec!["s1".to_owned(), "s2".to_owned()],
        ..header()
    };
    let by = |parent: &str, at| Event {
        capacity: Capacity::Parent,
        by: Some(id(parent)),
        ..event(State::Given, day(at))
    };
    let events = vec![by("s1.aaaaaaaaaaaaaaaaaaaaaaaaaa", 0), by("s1.bbbbbbbbbbbbbbbbbbbbbbbbbb", 1)];
    (header, events)
}

#[test]
fn removing_any_signature_closes() {
    let (header, events) = signed_by_two();
    let whole = Consent { header: header.clone(), events: events.clone() };
    assert!(whole.state("s1", day(2)).is_valid());
    for left_out in 0..events.len() {
        let mut fewer = events.clone();
        fewer.remove(left_out);
        let record = Consent { header: header.clone(), events: fewer };
        for item in ["s1", "s2"] {
            assert!(!record.state(item, day(2)).is_valid(), "without signature {left_out}");
        }
    }
    let nobody = Consent { header, events: Vec::new() };
    assert_eq!(nobody.state("s1", day(2)), State::Unknown);
}

proptest! {
    #[test]
    fn removing_what_opened_never_leaves_it_open(events in arbitrary_events(), at in 0_u32..600) {
        let mut consent = Consent { header: header(), events: Vec::new() };
        for event in events {
            consent = consent.clone().record(event).unwrap_or(consent);
        }
        let opening = |event: &Event| matches!(event.state, State::Given | State::Renewed);
        let without: Vec<_> = consent.events.iter().filter(|event| !opening(event)).cloned().collect();
        let closed = Consent { header: consent.header.clone(), events: without };
        for item in ["s1", "s2"] {
            prop_assert!(!closed.state(item, day(at)).is_valid());
        }
    }

    #[test]
    fn a_choice_is_open_in_one_record_at_a_time(
        opened in proptest::collection::vec((0_u32..100, 1_u32..200, 1_u8..4), 1..6),
        at in 0_u32..300,
    ) {
        let agencies = ["cpi-lucca", "asl-toscana-nord-ovest"];
        let mut held: Vec<Consent> = Vec::new();
        let mut opened = opened;
        opened.sort_unstable();
        for (when, long, to) in opened {
            let mut header = header();
            for item in &mut header.scope {
                item.valid_from = day(when);
                item.valid_until = day(when + long);
                let named = agencies.iter().enumerate().filter(|(i, _)| to & (1 << i) != 0);
                item.recipients = named.map(|(_, name)| Recipient { agency: id(name), office: None }).collect();
            }
            let first = event(State::Given, day(when));
            let newer = Consent::open(header, first.clone()).unwrap();
            for old in &mut held {
                if let Some(items) = old.replaced_by(&newer, day(when)) {
                    *old = old.clone().record(first.ending(State::Superseded, items)).unwrap();
                }
            }
            held.push(newer);
        }
        // The same choice: item and exactly the same recipients.
        let key = |consent: &Consent| consent.header.scope[0].recipients.clone();
        for consent in &held {
            let same = held.iter().filter(|other| key(other) == key(consent));
            let open = same.filter(|other| other.state("s1", day(at)).is_valid()).count();
            prop_assert!(open <= 1, "open in {open} records on day {at}");
        }
    }
}

use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod speakers;
mod transitions;

const DAY: Duration = Duration::from_secs(86_400);

fn day(n: u32) -> Timestamp {
    Timestamp::from_seconds(1_767_268_800).plus(DAY * n)
}

fn id<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap()
}

fn item(name: &str) -> ScopeItem {
    ScopeItem {
        item: name.to_owned(),
        purpose: id("F02"),
        record_type: id("condizione_economica_prestazioni"),
        fields: None,
        excluded: vec![id("debiti_morosita")],
        recipients: vec![Recipient { agency: id("cpi-lucca"), office: None }],
        use_mode: UseMode::View,
        valid_from: day(0),
        valid_until: day(365),
    }
}

fn header() -> Header {
    Header {
        id: id("0198f0c2-aaaa-7fff-bfff-ffffffffffff"),
        subject: id("s1.abcdefghijklmnopqrstuvwxyz"),
        class: SubjectClass::Adult,
        class_until: None,
        representation: Representation::Ordinary,
        joint: Vec::new(),
        agreement: Document {
            id: "piana-di-lucca".into(),
            version: "1".into(),
            sha256: Sha256::of(b"agreement"),
        },
        notice: Notice {
            id: "inf".into(),
            version: "1".into(),
            sha256: Sha256::of(b"notice"),
            language: "it".into(),
        },
        scope: vec![item("s1"), item("s2")],
        supersedes: None,
    }
}

fn event(state: State, at: Timestamp) -> Event {
    Event {
        state,
        items: Vec::new(),
        at,
        effective_at: at,
        until: None,
        capacity: if state == State::Invalidated { Capacity::Authority } else { Capacity::Subject },
        by: None,
        mandate: None,
        method: Method::Handwritten,
        collected_by: Collector {
            agency: id("comune-capannori"),
            operator: id("op-0042"),
            access_point: "sportello-unico".into(),
        },
        evidence: Vec::new(),
        request: Sha256::of(b"request"),
    }
}

fn given() -> Consent {
    Consent::open(header(), event(State::Given, day(0))).unwrap()
}

fn asked<'a>(purpose: &'a PurposeId, record_type: &'a RecordTypeId, consumer: &'a AgencyId) -> Asked<'a> {
    Asked { purpose, record_type, consumer, office: None }
}

#[test]
fn a_given_consent_allows_its_own_purpose_data_and_recipient_only() {
    let (f02, f04) = (id("F02"), id("F04"));
    let (rt, other) = (id("condizione_economica_prestazioni"), id("posizione_lavoro"));
    let (cpi, asl) = (id("cpi-lucca"), id("asl-toscana-nord-ovest"));
    let consent = given();
    assert_eq!(consent.facts(&asked(&f02, &rt, &cpi), day(1)).len(), 2);
    for (purpose, record_type, consumer) in [(&f04, &rt, &cpi), (&f02, &other, &cpi), (&f02, &rt, &asl)] {
        assert!(consent.facts(&asked(purpose, record_type, consumer), day(1)).is_empty());
    }
    let fact = consent.facts(&asked(&f02, &rt, &cpi), day(1)).remove(0);
    assert!(fact.covers(&id("isee_fascia")) && !fact.names(&id("isee_fascia")));
    assert!(!fact.covers(&id("debiti_morosita")));
}

#[test]
fn withdrawing_one_item_leaves_the_other() {
    let mut withdrawal = event(State::Withdrawn, day(20));
    withdrawal.items = vec!["s1".into()];
    let consent = given().record(withdrawal).unwrap();
    assert_eq!(consent.state("s1", day(19)), State::Given);
    assert_eq!(consent.state("s1", day(20)), State::Withdrawn);
    assert_eq!(consent.state("s2", day(20)), State::Given);
    assert_eq!(consent.epoch(), 2);
    let all = consent.record(event(State::Withdrawn, day(21))).unwrap();
    assert_eq!(all.state("s2", day(21)), State::Withdrawn);
    assert!(matches!(all.record(event(State::Withdrawn, day(22))), Err(ConsentFault::Transition { .. })));
}

#[test]
fn an_end_date_ends_without_anybody_doing_anything() {
    assert_eq!(given().state("s1", day(364)), State::Given);
    assert_eq!(given().state("s1", day(365)), State::Expired);
    let mut renewal = event(State::Renewed, day(300));
    renewal.until = Some(day(700));
    let renewed = given().record(renewal).unwrap();
    assert_eq!(renewed.state("s1", day(699)), State::Renewed);
    assert_eq!(renewed.state("s1", day(700)), State::Expired);
}

#[test]
fn an_end_is_told_180_90_and_30_days_ahead() {
    let told = |now| given().ending("s1", now).unwrap();
    assert_eq!(told(day(0)), Ending { ends: day(365), warning: None });
    for (left, warning) in
        [(180, Warning::Within180Days), (90, Warning::Within90Days), (30, Warning::Within30Days)]
    {
        let mark = day(365 - left);
        assert_eq!(told(mark).warning, Some(warning));
        assert_ne!(told(mark.minus(Duration::from_millis(1))).warning, Some(warning), "{left}");
    }
    assert_eq!(given().ending("s1", day(365)), None);
    let closed = given().record(event(State::Withdrawn, day(20))).unwrap();
    assert_eq!(closed.ending("s1", day(21)), None);
}

#[test]
fn the_end_of_a_decree_is_told_like_any_other() {
    let mut first = event(State::Given, day(0));
    first.capacity = Capacity::Tutor;
    first.mandate = Some(Mandate {
        court: "Tribunale di Lucca".into(),
        reference: "RG 1/2026".into(),
        from: day(0),
        until: Some(day(100)),
        sha256: Sha256::of(b"decree"),
    });
    let consent = Consent::open(Header { class: SubjectClass::Interdicted, ..header() }, first).unwrap();
    let told = consent.ending("s1", day(80)).unwrap();
    assert_eq!(told, Ending { ends: day(100), warning: Some(Warning::Within30Days) });
}

#[test]
fn a_representative_needs_a_mandate_and_loses_it_with_the_decree() {
    let mut header = header();
    header.class = SubjectClass::Interdicted;
    let mut first = event(State::Given, day(0));
    assert!(matches!(Consent::open(header.clone(), first.clone()), Err(ConsentFault::CapacityMismatch(..))));
    first.capacity = Capacity::Tutor;
    assert_eq!(Consent::open(header.clone(), first.clone()), Err(ConsentFault::MandateMissing));
    first.mandate = Some(Mandate {
        court: "Tribunale di Lucca".into(),
        reference: "RG 1/2026".into(),
        from: day(0),
        until: Some(day(100)),
        sha256: Sha256::of(b"decree"),
    });
    let consent = Consent::open(header, first).unwrap();
    assert_eq!(consent.state("s1", day(99)), State::Given);
    assert_eq!(consent.state("s1", day(100)), State::Expired);
}

#[test]
fn a_parents_consent_ends_on_the_eighteenth_birthday() {
    let mut header = header();
    header.class = SubjectClass::Minor;
    header.class_until = Some(day(50));
    let mut first = event(State::Given, day(0));
    first.capacity = Capacity::ParentsBoth;
    let consent = Consent::open(header, first).unwrap();
    assert_eq!(consent.state("s1", day(49)), State::Given);
    assert_eq!(consent.state("s1", day(50)), State::Expired);
}

#[test]
fn only_an_invalidation_reaches_back() {
    let mut early = event(State::Withdrawn, day(20));
    early.effective_at = day(10);
    assert_eq!(given().record(early.clone()), Err(ConsentFault::NotAtOnce));
    early.state = State::Invalidated;
    early.capacity = Capacity::Authority;
    let consent = given().record(early).unwrap();
    assert_eq!(consent.state("s1", day(10)), State::Invalidated);
    assert_eq!(consent.state("s1", day(9)), State::Given);
}

#[test]
fn every_transition_that_the_table_does_not_name_is_refused_in_every_state() {
    let path = |state: State| -> Vec<State> {
        match state {
            State::Unknown | State::Expired | State::Suspended => vec![],
            State::Requested | State::Given | State::Refused => vec![state],
            State::Deferred => vec![State::Requested, State::Deferred],
            State::Invalidated | State::Renewed | State::Revoked | State::Superseded | State::Withdrawn => {
                vec![State::Given, state]
            }
        }
    };
    for from in State::ALL.into_iter().filter(|state| !matches!(state, State::Expired | State::Suspended)) {
        for to in State::ALL {
            let empty = Consent { header: header(), events: Vec::new() };
            let mut steps = path(from).into_iter().enumerate();
            let there = steps
                .try_fold(empty, |consent, (i, state)| {
                    let mut step = event(state, day(u32::try_from(i).unwrap()));
                    step.until = (state == State::Renewed).then(|| day(300));
                    consent.record(step)
                })
                .unwrap();
            assert_eq!(there.state("s1", day(9)), from);
            let mut next = event(to, day(9));
            next.until = (to == State::Renewed).then(|| day(300));
            assert_eq!(there.record(next).is_ok(), from.leads_to(to), "{from:?} to {to:?}");
        }
    }
}

fn arbitrary_events() -> impl Strategy<Value = Vec<Event>> {
    let one = (0..State::ALL.len(), 0_u32..500, proptest::option::of(0_u32..500), 0_usize..4).prop_map(
        |(state, at, until, items)| {
            let mut event = event(State::ALL[state], day(at));
            event.until = until.map(day);
            event.items = match items {
                0 => vec![],
                1 => vec!["s1".into()],
                2 => vec!["s2".into()],
                _ => vec!["s1".into(), "s2".into()],
            };
            event
        },
    );
    proptest::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn replaying_the_accepted_events_gives_the_same_state_at_every_instant(events in arbitrary_events(), at in 0_u32..600) {
        let mut consent = Consent { header: header(), events: Vec::new() };
        for event in events {
            consent = consent.clone().record(event).unwrap_or(consent);
        }
        let replayed = Consent::replay(consent.header.clone(), consent.events.clone()).unwrap();
        for item in ["s1", "s2"] {
            prop_assert_eq!(replayed.state(item, day(at)), consent.state(item, day(at)));
        }
    }

    #[test]
    fn nothing_but_giving_or_renewing_ever_opens(events in arbitrary_events(), at in 0_u32..600) {
        let mut consent = Consent { header: header(), events: Vec::new() };
        for event in events {
            let before = consent.state("s1", event.at).is_valid();
            let opens = matches!(event.state, State::Given | State::Renewed);
            let (when, next) = (event.at, consent.clone().record(event));
            if let Ok(next) = next {
                prop_assert!(before || opens || !next.state("s1", when).is_valid());
                consent = next;
            }
        }
        if consent.events.is_empty() {
            prop_assert_eq!(consent.state("s1", day(at)), State::Unknown);
        }
    }
}

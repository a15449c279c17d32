use super::*;

fn id<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap()
}

fn at(n: i64) -> Timestamp {
    Timestamp::from_seconds(1_767_268_800 + n)
}

fn word(capacity: Capacity) -> Word {
    Word {
        capacity,
        by: None,
        mandate: None,
        method: Method::Handwritten,
        collected_by: Collector {
            agency: id("comune-capannori"),
            operator: id("op-1"),
            access_point: "sportello-unico".into(),
        },
        request: Sha256::of(b"request"),
    }
}

fn none() -> Restrictions {
    Restrictions::none(id("s1.abcdefghijklmnopqrstuvwxyz"))
}

fn number(n: u8) -> RestrictionId {
    id(&format!("0198f0c2-aaaa-7fff-bfff-0000000000{n:02}"))
}

fn impose(n: u8, ground: Ground, extent: Extent) -> Event {
    Event {
        at: at(n.into()),
        word: word(Capacity::Subject),
        change: Change::Impose { id: number(n), ground, extent },
    }
}

fn asks(
    restrictions: &Restrictions,
    record_type: &str,
    consumer: &str,
    now: Timestamp,
) -> Vec<RestrictionEffect> {
    let (purpose, record_type, consumer) = (id("F02"), id(record_type), id(consumer));
    let asked = Asked { purpose: &purpose, record_type: &record_type, consumer: &consumer };
    restrictions.facts(&asked, now).into_iter().map(|fact| fact.effect).collect()
}

#[test]
fn a_restriction_closes_what_it_names_and_nothing_else() {
    let extent = Extent {
        record_type: Some(id("anagrafica_nucleo")),
        recipients: Some(vec![id("cpi-lucca")]),
        until: Some(at(100)),
        ..Extent::default()
    };
    let held = none().record(impose(1, Ground::Opposition, extent)).unwrap();
    assert_eq!(asks(&held, "anagrafica_nucleo", "cpi-lucca", at(2)), [RestrictionEffect::Conceal]);
    assert!(asks(&held, "posizione_lavoro", "cpi-lucca", at(2)).is_empty());
    assert!(asks(&held, "anagrafica_nucleo", "asl-toscana-nord-ovest", at(2)).is_empty());
    assert!(asks(&held, "anagrafica_nucleo", "cpi-lucca", at(100)).is_empty(), "it ends by itself");
}

#[test]
fn a_restriction_without_an_extent_closes_everything() {
    let held = none().record(impose(1, Ground::Concealment, Extent::default())).unwrap();
    assert_eq!(asks(&held, "posizione_lavoro", "comune-lucca", at(2)), [RestrictionEffect::Conceal]);
}

#[test]
fn whoever_imposed_it_lifts_it_and_nobody_else() {
    let held = none().record(impose(1, Ground::Restriction, Extent::default())).unwrap();
    let lift =
        |capacity, n| Event { at: at(5), word: word(capacity), change: Change::Lift { id: number(n) } };
    assert_eq!(held.clone().record(lift(Capacity::Parent, 1)), Err(RestrictionFault::OtherSpeaker));
    assert_eq!(held.clone().record(lift(Capacity::Subject, 2)), Err(RestrictionFault::Unknown));
    assert_eq!(held.clone().record(lift(Capacity::Controller, 1)), Err(RestrictionFault::NotEntitled));
    let lifted = held.record(lift(Capacity::Subject, 1)).unwrap();
    assert_eq!(lifted.epoch(), 2);
    assert!(asks(&lifted, "posizione_lavoro", "comune-lucca", at(6)).is_empty());
}

#[test]
fn a_representative_shows_a_decree_and_fields_name_their_record_type() {
    let mut by_tutor = impose(1, Ground::Opposition, Extent::default());
    by_tutor.word.capacity = Capacity::Tutor;
    assert_eq!(none().record(by_tutor), Err(RestrictionFault::NotEntitled));
    let nowhere = Extent { fields: Some(vec![id("isee_valore")]), ..Extent::default() };
    assert_eq!(none().record(impose(1, Ground::Opposition, nowhere)), Err(RestrictionFault::Fields));
}

#[test]
fn the_streams_name_says_nothing_of_the_pseudonym() {
    let name = none().stream();
    assert!(!name.contains("abcdefghijklmnopqrstuvwxyz"));
    assert_eq!(name, Restrictions::stream_of(&none().header.subject));
}

const EVERYBODY: [Capacity; 9] = [
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

#[test]
fn each_state_takes_from_each_speaker_what_the_table_says_and_no_other() {
    let lift = |capacity| Event { at: at(200), word: word(capacity), change: Change::Lift { id: number(1) } };
    let ending = Extent { until: Some(at(100)), ..Extent::default() };
    let standing = none().record(impose(1, Ground::Opposition, Extent::default())).unwrap();
    let states = [
        ("none", none()),
        ("another", none().record(impose(2, Ground::Opposition, Extent::default())).unwrap()),
        ("standing", standing.clone()),
        ("ended", none().record(impose(1, Ground::Opposition, ending)).unwrap()),
        ("lifted", standing.record(lift(Capacity::Subject)).unwrap()),
    ];
    // With no decree shown, the person and a parent speak; only who imposed it lifts it, and only while there is one.
    for (state, held) in states {
        for capacity in EVERYBODY {
            let speaks = matches!(capacity, Capacity::Parent | Capacity::ParentsBoth | Capacity::Subject);
            let lifts = capacity == Capacity::Subject && matches!(state, "standing" | "ended");
            let mut imposes = impose(3, Ground::Restriction, Extent::default());
            imposes.at = at(200);
            imposes.word = word(capacity);
            let imposed = held.clone().record(imposes);
            assert_eq!(imposed.is_ok(), speaks, "{state}, {capacity:?} imposes: {:?}", imposed.err());
            let lifted = held.clone().record(lift(capacity));
            assert_eq!(lifted.is_ok(), lifts, "{state}, {capacity:?} lifts: {:?}", lifted.err());
        }
    }
}

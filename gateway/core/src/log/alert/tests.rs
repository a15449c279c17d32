use proptest::prelude::*;

use super::*;
use crate::hash::Sha256;
use crate::id::ExchangeId;
use crate::log::summary::{Who, Whose};

/// Monday 2 March 2026, 10:00 in Rome.
const MORNING: i64 = 1_772_442_000_000;
const HOUR: i64 = 3_600_000;

fn person(n: usize) -> Pseudonym {
    let letters: String = (0..26).map(|at| char::from(b'a' + u8::try_from((n >> at) & 1).unwrap())).collect();
    format!("s1.{letters}").parse().unwrap()
}

fn entry(kind: Kind, index: u64, at: i64, subject: usize) -> Summary {
    let id: ExchangeId = format!("0198f0c2-aaaa-7fff-bfff-{index:012x}").parse().unwrap();
    Summary {
        index,
        hash: Sha256::of(&index.to_be_bytes()),
        at: Timestamp::from_millis(at),
        kind,
        id,
        consumer: Some("cpi-lucca".parse().unwrap()),
        provider: Some("comune-capannori".parse().unwrap()),
        purpose: Some("F02".parse().unwrap()),
        record_type: None,
        code: None,
        policy: None,
        who: Who {
            agency: Some("cpi-lucca".parse().unwrap()),
            operator: Some("op-1".parse().unwrap()),
            ..Who::default()
        },
        whose: Whose { subject: Some(person(subject)), case: None, is_nobody: false },
        shown: Vec::new(),
        layers: Vec::new(),
        consents: Vec::new(),
    }
}

fn all(detector: &mut Detector, entries: impl IntoIterator<Item = Summary>) -> Vec<Alert> {
    entries.into_iter().flat_map(|entry| detector.see(&entry)).collect()
}

fn agencies(ids: &[&str]) -> BTreeSet<AgencyId> {
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn the_third_denial_about_a_person_is_told_once_to_both_agencies() {
    let mut detector = Detector::new(Thresholds::default());
    let denials = (0..8).map(|n| entry(Kind::Denial, n, MORNING + i64::try_from(n).unwrap() * HOUR, 3));
    let alerts = all(&mut detector, denials);
    let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!((alert.about, alert.count, alert.threshold), (Subject::RepeatedDenials, 3, 3));
    assert_eq!(alert.to, agencies(&["cpi-lucca", "comune-capannori"]));
    assert_eq!(alert.entries, [0, 1, 2]);
    assert_eq!(alert.operator, None);
    let text = alert.json().to_string();
    assert!(text.contains("3 dinieghi in 24 ore sulla stessa persona"), "{text}");
    assert!(!text.contains(person(3).as_str()), "an alert names no person");
}

#[test]
fn denials_about_many_people_or_far_apart_are_not_told() {
    let mut detector = Detector::new(Thresholds::default());
    let others = (0..20).map(|n| entry(Kind::Denial, n, MORNING, usize::try_from(n).unwrap()));
    assert_eq!(all(&mut detector, others), []);
    let slow = (20..40).map(|n| entry(Kind::Denial, n, MORNING + i64::try_from(n).unwrap() * 13 * HOUR, 3));
    assert!(all(&mut detector, slow).iter().all(|alert| alert.about != Subject::RepeatedDenials));
    let disclosures = (40..60).map(|n| entry(Kind::Disclosure, n, MORNING, 3));
    assert_eq!(all(&mut Detector::new(Thresholds::default()), disclosures), []);
}

#[test]
fn an_operator_who_looks_up_many_people_is_told_to_the_owners_and_its_own_agency() {
    let mut detector = Detector::new(Thresholds { lookups: 30, ..Thresholds::default() });
    let entries = (0..64).map(|n| {
        let mut entry =
            entry(Kind::Disclosure, n, MORNING + i64::try_from(n).unwrap(), usize::try_from(n / 2).unwrap());
        entry.provider = Some(if n % 2 == 0 { "comune-lucca" } else { "comune-capannori" }.parse().unwrap());
        entry
    });
    let alerts = all(&mut detector, entries);
    let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!((alert.about, alert.count), (Subject::MassLookups, 30));
    assert_eq!(alert.to, agencies(&["cpi-lucca", "comune-capannori", "comune-lucca"]));
    assert_eq!(alert.operator.as_ref().unwrap().as_str(), "op-1");
    assert_eq!(alert.at.millis(), MORNING + 58);
}

#[test]
fn hours_are_those_of_rome_and_sundays_are_outside() {
    for (at, usual) in [
        ("2026-03-02T05:59:59Z", false),
        ("2026-03-02T06:00:00Z", true),
        ("2026-03-02T18:59:59Z", true),
        ("2026-03-02T19:00:00Z", false),
        // In summer an hour earlier.
        ("2026-07-01T05:00:00Z", true),
        ("2026-07-01T18:00:00Z", false),
        // A Saturday, a Sunday.
        ("2026-03-07T10:00:00Z", true),
        ("2026-03-08T10:00:00Z", false),
    ] {
        assert_eq!(is_usual(at.parse().unwrap(), (7, 20)), usual, "{at}");
    }
    let mut detector = Detector::new(Thresholds { unusual: 3, ..Thresholds::default() });
    let night = MORNING + 14 * HOUR;
    let alerts = all(&mut detector, (0..5).map(|n| entry(Kind::Disclosure, n, night, 1)));
    let [alert] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!((alert.about, alert.to.clone()), (Subject::UnusualHours, agencies(&["cpi-lucca"])));
}

#[test]
fn exchanges_without_receipt_and_each_use_of_an_emergency_purpose_are_told() {
    let mut detector =
        Detector::new(Thresholds { break_glass: vec!["F15".parse().unwrap()], ..Thresholds::default() });
    // One is configured, the other the agreement's.
    detector.also_break_glass(["F14", "F15"].map(|purpose| purpose.parse().unwrap()));
    let alerts = all(&mut detector, (0..4).map(|n| entry(Kind::Interrupted, n, MORNING, 1)));
    assert_eq!(
        alerts.iter().map(|alert| (alert.about, alert.count)).collect::<Vec<_>>(),
        [(Subject::MissingReceipts, 3)]
    );
    let emergency = [(10, "F14"), (11, "F15"), (12, "F02")].map(|(n, purpose)| Summary {
        purpose: Some(purpose.parse().unwrap()),
        ..entry(Kind::Disclosure, n, MORNING, 1)
    });
    let alerts = all(&mut detector, emergency);
    assert_eq!(
        alerts.iter().map(|alert| (alert.about, alert.entries[0])).collect::<Vec<_>>(),
        [(Subject::BreakGlass, 10), (Subject::BreakGlass, 11)]
    );
    assert_eq!(alerts[0].to, agencies(&["cpi-lucca", "comune-capannori"]));
}

#[test]
fn how_the_gateway_stands_is_told_once_a_day() {
    let now = Timestamp::from_millis(MORNING);
    let thresholds = Thresholds::default();
    assert_eq!(standing(&Standing::default(), &thresholds, now), []);
    let bad = Standing {
        behind_log: Duration::from_secs(61),
        other_clock: Some(("witness".to_owned(), Duration::from_secs(90))),
        no_quorum_since: Some(now.minus(WINDOW)),
        no_timestamp_since: vec![("tsa-1".to_owned(), now.minus(WINDOW))],
        agreement_ends: Some(now.plus(WINDOW * 20)),
    };
    let first = standing(&bad, &thresholds, now);
    let about: Vec<_> = first.iter().map(|alert| alert.about).collect();
    assert_eq!(
        about,
        [Subject::Clock, Subject::Clock, Subject::NoQuorum, Subject::NoTimestamp, Subject::AgreementEnds]
    );
    let ids = |alerts: &[Alert]| alerts.iter().map(|alert| alert.id).collect::<BTreeSet<_>>();
    assert_eq!(ids(&first).len(), 5);
    assert_eq!(ids(&first), ids(&standing(&bad, &thresholds, now.plus(Duration::from_secs(3600)))));
    assert!(ids(&first).is_disjoint(&ids(&standing(&bad, &thresholds, now.plus(WINDOW)))));
    let far = Standing { agreement_ends: Some(now.plus(WINDOW * 100)), ..Standing::default() };
    assert_eq!(ids(&standing(&far, &thresholds, now)), ids(&standing(&far, &thresholds, now.plus(WINDOW))));
    let ended = Standing { agreement_ends: Some(now), ..Standing::default() };
    assert_eq!(standing(&ended, &thresholds, now)[0].about, Subject::AgreementEnds);
}

proptest! {
    /// Whoever begins a day before finds what somebody who has always looked finds.
    #[test]
    fn a_detector_that_begins_a_window_earlier_tells_the_same(
        steps in prop::collection::vec((0..3 * HOUR, 0..3_usize, 0..4_u8), 1..120),
        begin in 0..120_usize,
    ) {
        let thresholds = Thresholds { denials: 3, lookups: 3, unusual: 3, interrupted: 2, ..Thresholds::default() };
        let mut at = MORNING;
        let entries: Vec<Summary> = steps.iter().zip(0..).map(|((step, subject, kind), index)| {
            at += step;
            let kind = [Kind::Denial, Kind::Disclosure, Kind::Failure, Kind::Interrupted][usize::from(*kind)];
            entry(kind, index, at, *subject)
        }).collect();
        let begin = begin.min(entries.len() - 1);
        let since = entries[begin].at;
        let ids = |alerts: Vec<Alert>| alerts.into_iter().filter(|alert| alert.at >= since).map(|alert| alert.id).collect::<BTreeSet<_>>();
        let always = ids(all(&mut Detector::new(thresholds.clone()), entries.clone()));
        // Two windows: one for the counts, one for the day that an alert belongs to.
        let earlier = entries.iter().filter(|entry| since.since(entry.at) <= WINDOW * 2).cloned();
        let late = ids(all(&mut Detector::new(thresholds), earlier));
        prop_assert_eq!(&always - &late, BTreeSet::new());
        prop_assert_eq!(late, always);
    }
}

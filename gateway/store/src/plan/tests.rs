use varco_core::log::entry::SlotName;

use super::*;

fn exchange(n: u32) -> ExchangeId {
    format!("00000000-0000-7000-8000-{n:012x}").parse().unwrap()
}

fn entry(n: u32) -> Submission {
    Submission::new(Draft::new(Kind::Disclosure, exchange(n)))
}

fn guarded(n: u32, stream: &str, epoch: u64) -> Submission {
    let fallback = Draft::new(Kind::Denial, exchange(n));
    let guard = Guard { epochs: vec![(stream.to_owned(), epoch)], fallback };
    Submission { guard: Some(guard), ..entry(n) }
}

fn change(n: u32, stream: &str, expected: u64) -> Submission {
    let change = Change {
        stream: stream.to_owned(),
        kind: StreamKind::Consent,
        expected,
        header: None,
        event: "{}".to_owned(),
        subjects: Vec::new(),
        waits_for: None,
    };
    Submission { changes: vec![change], ..Submission::new(Draft::new(Kind::Consent, exchange(n))) }
}

fn verdicts(known: Known, submissions: &[Submission]) -> Vec<Verdict> {
    let open = HashSet::new();
    let mut plan = Plan::new(7, Timestamp::from_millis(0), known, &open);
    submissions.iter().map(|submission| plan.add(submission)).collect()
}

fn consent(stream: &str, epoch: u64) -> Known {
    let head = StreamHead { kind: StreamKind::Consent, epoch };
    Known { streams: HashMap::from([(stream.to_owned(), head)]), ..Known::default() }
}

const fn entered(position: usize, branch: Branch) -> Verdict {
    Verdict::Entered { position, branch, also: Vec::new() }
}

#[test]
fn a_withdrawal_earlier_in_the_batch_turns_the_disclosure_into_its_fallback() {
    let batch = [guarded(1, "c", 1), change(2, "c", 1), guarded(3, "c", 1), guarded(4, "c", 2)];
    assert_eq!(
        verdicts(consent("c", 1), &batch),
        [
            entered(0, Branch::Primary),
            entered(1, Branch::Primary),
            entered(2, Branch::Fallback),
            entered(3, Branch::Primary)
        ]
    );
}

#[test]
fn a_stale_change_conflicts_and_leaves_the_rest_alone() {
    let batch = [change(1, "c", 1), change(2, "c", 1), change(3, "d", 0), change(4, "d", 0), entry(5)];
    let conflict = Verdict::Refused(AppendError::Conflict(StreamKind::Consent));
    assert_eq!(
        verdicts(consent("c", 1), &batch),
        [
            entered(0, Branch::Primary),
            conflict.clone(),
            entered(1, Branch::Primary),
            conflict,
            entered(2, Branch::Primary)
        ]
    );
}

#[test]
fn a_submission_with_one_stale_change_changes_nothing() {
    let mut both = change(1, "c", 1);
    both.changes.extend(change(1, "d", 4).changes);
    let open = HashSet::new();
    let mut plan = Plan::new(0, Timestamp::from_millis(0), consent("c", 1), &open);
    assert_eq!(plan.add(&both), Verdict::Refused(AppendError::Conflict(StreamKind::Consent)));
    assert!(plan.streams.is_empty() && plan.events.is_empty() && plan.entries.is_empty());
    assert_eq!(plan.epoch("c"), 1);
}

#[test]
fn a_stream_keeps_its_kind() {
    let mut case = change(1, "c", 1);
    case.changes[0].kind = StreamKind::Case;
    assert_eq!(
        verdicts(consent("c", 1), &[case]),
        [Verdict::Refused(AppendError::Conflict(StreamKind::Case))]
    );
}

#[test]
fn an_entry_is_entered_once() {
    let duplicate = Verdict::Refused(AppendError::Duplicate);
    let known = || Known {
        entries: HashSet::from([(exchange(2).as_str().to_owned(), "disclosure".to_owned())]),
        ..Known::default()
    };
    assert_eq!(
        verdicts(known(), &[entry(1), entry(1), entry(2)]),
        [entered(0, Branch::Primary), duplicate.clone(), duplicate]
    );
}

#[test]
fn an_exchange_gets_one_outcome() {
    let closing =
        |n, kind| Submission { closes: Some(exchange(n)), ..Submission::new(Draft::new(kind, exchange(n))) };
    let open = HashSet::from([exchange(1)]);
    let (first, second) = (closing(1, Kind::Disclosure), closing(1, Kind::Denial));
    let never_claimed = closing(2, Kind::Disclosure);
    let mut plan = Plan::new(0, Timestamp::from_millis(0), Known::default(), &open);
    assert_eq!(plan.add(&first), entered(0, Branch::Primary));
    assert_eq!(plan.add(&second), Verdict::Refused(AppendError::ClaimGone));
    assert_eq!(plan.add(&never_claimed), Verdict::Refused(AppendError::ClaimGone));
}

#[test]
fn a_fallback_changes_nothing() {
    let mut submission = guarded(1, "c", 9);
    submission.changes = change(1, "c", 1).changes;
    submission.artifacts.push(Artifact { kind: crate::submission::ArtifactKind::Policy, bytes: vec![1] });
    let open = HashSet::new();
    let mut plan = Plan::new(0, Timestamp::from_millis(0), consent("c", 1), &open);
    assert_eq!(plan.add(&submission), entered(0, Branch::Fallback));
    assert!(plan.streams.is_empty() && plan.artifacts.is_empty());
    assert_eq!(plan.entries[0].leaf.kind(), Kind::Denial);
}

#[test]
fn an_order_to_erase_reaches_back_only() {
    let order = |first, last| {
        let mut submission = Submission::new(Draft::new(Kind::Erasure, exchange(1)));
        submission.draft.erases = Erases::new(first, last, &[SlotName::Subject]);
        submission
    };
    assert_eq!(verdicts(Known::default(), &[order(0, 6)]), [entered(0, Branch::Primary)]);
    for (first, last) in [(0, 7), (0, 70_000)] {
        assert!(matches!(
            verdicts(Known::default(), &[order(first, last)])[..],
            [Verdict::Refused(AppendError::Invalid(_))]
        ));
    }
}

#[test]
fn what_the_database_would_refuse_is_refused_first() {
    assert!(check(&entry(1)).is_ok());
    let mut zero = change(1, "c", 0);
    zero.changes[0].event = "a\0b".to_owned();
    let mut long = change(1, "c", 0);
    long.changes[0].event = "x".repeat(Submission::TEXT_MAX + 1);
    let mut many = change(1, "c", 0);
    many.changes = std::iter::repeat_n(many.changes.remove(0), Submission::CHANGES_MAX + 1).collect();
    let mut erasing = entry(1);
    erasing.draft.erases = Erases::new(0, 0, &[SlotName::Subject]);
    for wrong in [zero, long, many, erasing] {
        assert!(matches!(check(&wrong), Err(AppendError::Invalid(_))));
    }
}

use std::time::Duration;

use super::*;

fn minute(n: u32) -> Timestamp {
    Timestamp::from_seconds(1_767_268_800).plus(Duration::from_secs(60) * n)
}

fn id<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap()
}

fn operator(agency: &str, operator: &str) -> Operator {
    Operator { agency: id(agency), operator: id(operator) }
}

fn desk() -> Operator {
    operator("comune-capannori", "op-1")
}

fn coach() -> Operator {
    operator("cpi-lucca", "op-7")
}

fn anna() -> Pseudonym {
    id("s1.abcdefghijklmnopqrstuvwxyz")
}

fn member(operator: Operator, from: Timestamp) -> Member {
    Member { operator, office: None, role: "operatore".into(), scopes: BTreeSet::new(), from, until: None }
}

fn event(by: Operator, at: Timestamp, change: Change) -> Event {
    Event { at, by, request: Sha256::of(b"request"), change }
}

fn opened() -> (Header, Event) {
    let header = Header { id: id("0198f0c2-aaaa-7fff-bfff-ffffffffffff"), purposes: vec![id("F02")] };
    let subjects = BTreeSet::from([anna()]);
    let change = Change::Open { subjects, responsible: member(desk(), minute(0)), locks: BTreeMap::new() };
    (header, event(desk(), minute(0), change))
}

/// Records the events in order; the last result counts.
fn check(events: &[Event]) -> Result<Case, CaseFault> {
    let (header, first) = opened();
    let all: Vec<_> = std::iter::once(first).chain(events.iter().cloned()).collect();
    Case::replay(header, &all)
}

fn adds_coach(at: u32) -> Event {
    event(desk(), minute(at), Change::AddMember { member: member(coach(), minute(at)) })
}

#[test]
fn a_case_opens_what_its_members_may_ask_and_nothing_to_others() {
    let case = check(&[adds_coach(1)]).unwrap();
    assert_eq!(case.fact(&[anna()], &coach(), minute(2)).unwrap().level, Level::First);
    assert_eq!(case.fact(&[anna()], &coach(), minute(0)), None);
    assert_eq!(case.fact(&[anna()], &operator("cpi-lucca", "op-8"), minute(2)), None);
    assert_eq!(case.fact(&[id("s1.zzzzzzzzzzzzzzzzzzzzzzzzzz")], &coach(), minute(2)), None);
    assert!(!case.is_known_to(&id("asl-toscana-nord-ovest"), minute(2)));
}

#[test]
fn leaving_ends_access_at_the_same_instant() {
    let leaves = event(coach(), minute(5), Change::RemoveMember { operator: coach() });
    let case = check(&[adds_coach(1), leaves]).unwrap();
    assert!(case.fact(&[anna()], &coach(), minute(4)).is_some());
    assert_eq!(case.fact(&[anna()], &coach(), minute(5)), None);
}

#[test]
fn a_temporary_member_leaves_by_the_clock() {
    let mut guest = member(coach(), minute(1));
    guest.until = Some(minute(30));
    let case = check(&[event(desk(), minute(1), Change::AddMember { member: guest })]).unwrap();
    assert!(case.fact(&[anna()], &coach(), minute(29)).is_some());
    assert_eq!(case.fact(&[anna()], &coach(), minute(30)), None);
}

#[test]
fn a_closed_case_opens_nothing_and_takes_no_event() {
    let closes = event(desk(), minute(5), Change::Close);
    let case = check(std::slice::from_ref(&closes)).unwrap();
    assert_eq!(case.fact(&[anna()], &desk(), minute(5)), None);
    assert_eq!(check(&[closes, adds_coach(6)]), Err(CaseFault::Closed));
}

#[test]
fn the_second_level_waits_for_every_agency_that_joins() {
    let asl = operator("asl-toscana-nord-ovest", "op-3");
    let agencies = BTreeSet::from([id("asl-toscana-nord-ovest"), id("cpi-lucca")]);
    let needs = BTreeSet::from([Need::Health]);
    let escalates = event(desk(), minute(2), Change::Escalate { agencies, needs });
    let first = event(asl.clone(), minute(3), Change::ApproveEscalation);
    let second = event(coach(), minute(4), Change::ApproveEscalation);
    assert_eq!(check(&[escalates.clone(), first.clone()]).unwrap().level(), Level::First);
    assert_eq!(check(&[escalates.clone(), first.clone(), second]).unwrap().level(), Level::Second);
    assert_eq!(check(&[escalates, first.clone(), first.clone()]), Err(CaseFault::NoEscalation));
    assert_eq!(check(&[first]), Err(CaseFault::NoEscalation));
}

#[test]
fn only_the_person_responsible_changes_the_equipe() {
    let by_coach = event(coach(), minute(3), Change::AddMember { member: member(coach(), minute(3)) });
    assert_eq!(check(&[adds_coach(1), by_coach.clone()]), Err(CaseFault::NotResponsible));
    let hands_over = event(desk(), minute(2), Change::HandOver { to: coach() });
    assert!(check(&[adds_coach(1), hands_over.clone(), by_coach]).is_ok());
    assert_eq!(check(std::slice::from_ref(&hands_over)), Err(CaseFault::NoSuchMember));
    let agencies = BTreeSet::from([id("asl-toscana-nord-ovest")]);
    let needs = BTreeSet::from([Need::Health]);
    let escalates = event(desk(), minute(3), Change::Escalate { agencies, needs });
    assert_eq!(check(&[adds_coach(1), hands_over, escalates]), Err(CaseFault::NotResponsible));
}

#[test]
fn a_case_keeps_a_responsible_person_and_a_subject() {
    let by = |change| check(&[event(desk(), minute(1), change)]);
    assert_eq!(by(Change::RemoveMember { operator: desk() }), Err(CaseFault::RemovesResponsible));
    assert_eq!(by(Change::RemoveSubject { subject: anna() }), Err(CaseFault::NoSuchSubject));
    assert_eq!(check(&[adds_coach(2), adds_coach(1)]), Err(CaseFault::OutOfOrder));
    let (_, again) = opened();
    assert_eq!(check(&[again]), Err(CaseFault::NotOpened));
}

fn asl() -> Operator {
    operator("asl-toscana-nord-ovest", "op-3")
}

fn bruno() -> Pseudonym {
    id("s1.bbbbbbbbbbbbbbbbbbbbbbbbbb")
}

fn escalation() -> Change {
    let agencies = BTreeSet::from([id("asl-toscana-nord-ovest")]);
    Change::Escalate { agencies, needs: BTreeSet::from([Need::Health, Need::Housing]) }
}

/// The states a case can be in: all have the desk as responsible, the coach as a member, and two subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    First,
    Waiting,
    Second,
    Closed,
}

fn at_stage(stage: Stage) -> Case {
    let adds = event(desk(), minute(1), Change::AddSubject { subject: bruno(), lock: None });
    let mut events = vec![adds_coach(1), adds];
    if matches!(stage, Stage::Waiting | Stage::Second) {
        events.push(event(desk(), minute(2), escalation()));
    }
    if stage == Stage::Second {
        events.push(event(asl(), minute(3), Change::ApproveEscalation));
    }
    if stage == Stage::Closed {
        events.push(event(desk(), minute(3), Change::Close));
    }
    check(&events).unwrap()
}

/// Every change, by its name.
fn changes() -> Vec<(&'static str, Change)> {
    let (_, first) = opened();
    let carla: Pseudonym = id("s1.cccccccccccccccccccccccccc");
    vec![
        ("add_act", Change::AddAct { act: decree(1, 60) }),
        ("add_member", Change::AddMember { member: member(asl(), minute(9)) }),
        ("add_subject", Change::AddSubject { subject: carla, lock: None }),
        ("approve", Change::ApproveEscalation),
        ("close", Change::Close),
        ("end_act", Change::EndAct { sha256: Sha256::of(b"decree") }),
        ("escalate", escalation()),
        ("hand_over", Change::HandOver { to: coach() }),
        ("open", first.change),
        ("remove_coach", Change::RemoveMember { operator: coach() }),
        ("remove_subject", Change::RemoveSubject { subject: bruno() }),
    ]
}

#[test]
fn each_stage_takes_from_each_person_what_the_table_says_and_no_other() {
    let of_the_responsible =
        ["add_member", "add_subject", "close", "hand_over", "remove_coach", "remove_subject"];
    let taken = |stage: Stage, by: &Operator, change: &str| {
        let is_responsible = *by == desk();
        match (stage, change) {
            (Stage::Closed, _) | (_, "open") => false,
            (Stage::Waiting, "approve") => *by == asl(),
            (_, "approve") => false,
            (Stage::First | Stage::Waiting, "escalate") => is_responsible,
            (_, "add_act") => is_responsible || *by == coach(),
            (_, "end_act") => false,
            (_, "remove_coach") => is_responsible || *by == coach(),
            (_, change) => is_responsible && of_the_responsible.contains(&change),
        }
    };
    for stage in [Stage::First, Stage::Waiting, Stage::Second, Stage::Closed] {
        for by in [desk(), coach(), asl()] {
            for (name, change) in changes() {
                let got = at_stage(stage).record(&event(by.clone(), minute(9), change));
                let expected = taken(stage, &by, name);
                assert_eq!(got.is_ok(), expected, "{stage:?}, {by:?}, {name}: {:?}", got.err());
            }
        }
    }
}

#[test]
fn an_escalation_says_for_which_needs_and_who_joins() {
    let by = |agencies: &[&str], needs: &[Need]| {
        let agencies = agencies.iter().map(|agency| id(agency)).collect();
        let needs = needs.iter().copied().collect();
        check(&[event(desk(), minute(2), Change::Escalate { agencies, needs })]).map(|case| case.level())
    };
    assert_eq!(by(&["asl-toscana-nord-ovest"], &[]), Err(CaseFault::Escalation));
    assert_eq!(by(&[], &[Need::Health]), Err(CaseFault::Escalation), "nobody raises the level alone");
    assert_eq!(by(&["comune-capannori"], &[Need::Health]), Err(CaseFault::Escalation));
    assert_eq!(by(&["asl-toscana-nord-ovest"], &[Need::Health]), Ok(Level::First));
}

#[test]
fn whoever_leaves_by_a_date_is_neither_responsible_nor_there_before_the_start() {
    let guest = |from, until| Member { until: Some(minute(until)), ..member(coach(), minute(from)) };
    let adds = |guest| event(desk(), minute(5), Change::AddMember { member: guest });
    for (from, until) in [(9, 9), (9, 8), (1, 5), (1, 4)] {
        assert_eq!(check(&[adds(guest(from, until))]), Err(CaseFault::Period), "{from} to {until}");
    }
    let meeting = check(&[adds(guest(10, 20))]).unwrap();
    for (at, is_in) in [(9, false), (10, true), (19, true), (20, false)] {
        assert_eq!(meeting.fact(&[anna()], &coach(), minute(at)).is_some(), is_in, "minute {at}");
    }
    let hands_over = event(desk(), minute(12), Change::HandOver { to: coach() });
    assert_eq!(meeting.record(&hands_over), Err(CaseFault::Temporary));
}

/// A judge's decree about the child, from one minute to another.
fn decree(from: u32, until: u32) -> Act {
    let mandate = crate::consent::Mandate {
        court: "Tribunale di Prova".into(),
        reference: "RG 1/2026".into(),
        from: minute(from),
        until: Some(minute(until)),
        sha256: Sha256::of(b"decree"),
    };
    let fields = BTreeSet::from([id("minori.provvedimenti")]);
    Act { subject: anna(), mandate, record_type: id("valutazione_sociale"), fields }
}

#[test]
fn an_act_counts_for_its_recorder_its_person_its_record_and_its_time() {
    let adds = event(desk(), minute(2), Change::AddAct { act: decree(10, 60) });
    let ends = |at| event(coach(), minute(at), Change::EndAct { sha256: Sha256::of(b"decree") });
    let case = check(&[adds_coach(1), adds.clone()]).unwrap();
    let count = |case: &Case, subject: Pseudonym, agency: &str, record: &str, at| {
        case.acts(&[subject], (&id(agency), &id(record)), minute(at)).len()
    };
    for (at, expected) in [(9, 0), (10, 1), (59, 1), (60, 0)] {
        assert_eq!(count(&case, anna(), "comune-capannori", "valutazione_sociale", at), expected, "{at}");
    }
    assert_eq!(count(&case, bruno(), "comune-capannori", "valutazione_sociale", 20), 0);
    assert_eq!(count(&case, anna(), "cpi-lucca", "valutazione_sociale", 20), 0);
    assert_eq!(count(&case, anna(), "comune-capannori", "anagrafica_nucleo", 20), 0);
    let ended = check(&[adds_coach(1), adds.clone(), ends(30)]).unwrap();
    assert_eq!(count(&ended, anna(), "comune-capannori", "valutazione_sociale", 31), 0);
    assert_eq!(check(&[adds_coach(1), adds.clone(), ends(30), ends(31)]), Err(CaseFault::NoSuchAct));
    let later = event(desk(), minute(32), Change::AddAct { act: decree(10, 60) });
    let anew = check(&[adds_coach(1), adds, ends(30), later]).unwrap();
    assert_eq!(count(&anew, anna(), "comune-capannori", "valutazione_sociale", 33), 1);
    for bad in [decree(10, 10), decree(10, 4)] {
        assert_eq!(check(&[event(desk(), minute(5), Change::AddAct { act: bad })]), Err(CaseFault::Act));
    }
}

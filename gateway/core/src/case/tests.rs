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
    let change = Change::Open { subjects, responsible: member(desk(), minute(0)) };
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
    let escalates = event(desk(), minute(2), Change::Escalate { agencies });
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
    let escalates = event(desk(), minute(3), Change::Escalate { agencies: BTreeSet::new() });
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

use super::*;

fn at(day: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + day * DAY_MS)
}

fn operator(agency: &str, operator: &str) -> Operator {
    Operator { agency: agency.parse().unwrap(), operator: operator.parse().unwrap() }
}

fn event(day: i64, by: Operator, change: Change) -> Event {
    Event { at: at(day), by, request: Sha256::of(b"request"), words: None, change }
}

fn owner(name: &str) -> Operator {
    operator("comune-capannori", name)
}

fn header() -> Header {
    Header {
        id: "0198f0c2-aaaa-7fff-bfff-ffffffffffff".parse().unwrap(),
        exchange: "0198f0c2-bbbb-7fff-bfff-ffffffffffff".parse().unwrap(),
        consumer: "cpi-lucca".parse().unwrap(),
        provider: "comune-capannori".parse().unwrap(),
        record_type: "anagrafica_nucleo".parse().unwrap(),
        purpose: "F02".parse().unwrap(),
        case: None,
        subject: Pseudonym::new(1, [7; 16]),
        fields: vec![Wanted { field: "id_anpr".parse().unwrap(), view: ViewId::whole() }],
    }
}

fn filed() -> Appeal {
    Appeal::file(header(), event(0, operator("cpi-lucca", "op-1"), Change::File)).unwrap()
}

fn opens(appeal: &Appeal, day: i64) -> bool {
    let header = header();
    let asked = Asked {
        provider: &header.provider,
        consumer: &header.consumer,
        record_type: &header.record_type,
        purpose: &header.purpose,
        case: None,
    };
    !appeal.openings(&asked, at(day)).is_empty()
}

#[test]
fn two_people_of_the_owner_open_and_the_narrower_word_counts() {
    let once = filed().record(event(1, owner("a"), Change::Approve { until: at(20) })).unwrap();
    assert!(!opens(&once, 1));
    let again = once.clone().record(event(1, owner("a"), Change::Approve { until: at(20) }));
    assert_eq!(again.unwrap_err(), AppealFault::SamePerson);
    let open = once.record(event(2, owner("b"), Change::Approve { until: at(10) })).unwrap();
    assert_eq!(open.state(at(2)), State::Open { from: at(2), until: at(10) });
    assert!(opens(&open, 9) && !opens(&open, 10));
    assert_eq!(open.state(at(10)), State::Expired { until: at(10) });
}

#[test]
fn nothing_opens_for_longer_than_thirty_days_or_after_waiting_for_thirty() {
    let long = filed().record(event(0, owner("a"), Change::Approve { until: at(31) }));
    assert_eq!(long.unwrap_err(), AppealFault::Until);
    let past = filed().record(event(1, owner("a"), Change::Approve { until: at(1) }));
    assert_eq!(past.unwrap_err(), AppealFault::Until);
    assert_eq!(filed().state(at(30)), State::Lapsed);
    let late = filed().record(event(30, owner("a"), Change::Approve { until: at(40) }));
    assert_eq!(late.unwrap_err(), AppealFault::State);
}

#[test]
fn one_person_of_the_owner_rejects_and_revokes_and_nobody_else_decides() {
    assert_eq!(filed().record(event(1, owner("a"), Change::Reject)).unwrap().state(at(1)), State::Rejected);
    let own = operator("cpi-lucca", "op-1");
    let tried = filed().record(event(1, own.clone(), Change::Approve { until: at(5) }));
    assert_eq!(tried.unwrap_err(), AppealFault::OtherAgency);
    let once = filed().record(event(1, owner("a"), Change::Approve { until: at(9) })).unwrap();
    let open = once.record(event(1, owner("b"), Change::Approve { until: at(9) })).unwrap();
    let revoked = open.record(event(2, owner("b"), Change::Revoke)).unwrap();
    assert!(!opens(&revoked, 3));
    assert_eq!(revoked.waits_for(), ["cpi-lucca".parse().unwrap()]);
    let closed = revoked.record(event(4, own.clone(), Change::Close)).unwrap();
    assert!(closed.waits_for().is_empty());
    assert_eq!(closed.record(event(5, own, Change::Close)).unwrap_err(), AppealFault::State);
}

#[test]
fn what_is_opened_is_opened_for_nothing_else() {
    let once = filed().record(event(1, owner("a"), Change::Approve { until: at(9) })).unwrap();
    let open = once.record(event(1, owner("b"), Change::Approve { until: at(9) })).unwrap();
    let header = header();
    let asked = Asked {
        provider: &header.provider,
        consumer: &header.consumer,
        record_type: &header.record_type,
        purpose: &header.purpose,
        case: None,
    };
    let (other, purpose, record) =
        ("asl-x".parse().unwrap(), "F03".parse().unwrap(), "posizione_lavoro".parse().unwrap());
    let case = "0198f0c2-cccc-7fff-bfff-ffffffffffff".parse().unwrap();
    assert_eq!(open.openings(&asked, at(2)).len(), 1);
    for asked in [
        Asked { provider: &other, ..asked },
        Asked { consumer: &other, ..asked },
        Asked { purpose: &purpose, ..asked },
        Asked { record_type: &record, ..asked },
        Asked { case: Some(&case), ..asked },
    ] {
        assert!(open.openings(&asked, at(2)).is_empty(), "{asked:?}");
    }
}

#[test]
fn an_appeal_names_one_to_sixteen_fields_each_once_and_replays_from_its_events() {
    for fields in [Vec::new(), [header().fields, header().fields].concat()] {
        let first = event(0, operator("cpi-lucca", "op-1"), Change::File);
        let tried = Appeal::file(Header { fields, ..header() }, first);
        assert_eq!(tried.unwrap_err(), AppealFault::Fields);
    }
    let once = filed().record(event(1, owner("a"), Change::Approve { until: at(9) })).unwrap();
    assert_eq!(Appeal::replay(once.header.clone(), once.events.clone()).unwrap(), once);
    assert_eq!(Appeal::replay(header(), Vec::new()).unwrap_err(), AppealFault::NotFiled);
}

/// Every state an appeal can be in, with the day on which it is in it.
fn in_every_state() -> Vec<(&'static str, Appeal, i64)> {
    let then = |appeal: Appeal, day, by: Operator, change| appeal.record(event(day, by, change)).unwrap();
    let approve = || Change::Approve { until: at(20) };
    let once = then(filed(), 1, owner("a"), approve());
    let open = then(once.clone(), 2, owner("b"), approve());
    vec![
        ("filed", filed(), 3),
        ("approved_once", once.clone(), 3),
        ("open", open.clone(), 3),
        ("rejected", then(filed(), 2, owner("a"), Change::Reject), 3),
        ("revoked", then(open.clone(), 3, owner("a"), Change::Revoke), 3),
        ("closed", then(filed(), 2, operator("cpi-lucca", "op-1"), Change::Close), 3),
        ("expired", open, 20),
        ("lapsed", filed(), 30),
        ("lapsed, once approved", once, 30),
    ]
}

#[test]
fn each_state_takes_from_each_person_what_the_table_says_and_no_other() {
    let taken = |state: &str, by: &str, change: &str| match (state, by, change) {
        ("filed", "a" | "b", "approve" | "reject") => true,
        ("approved_once", "b", "approve") | ("approved_once", "a" | "b", "reject") => true,
        ("open", "a" | "b", "revoke") => true,
        ("closed", _, _) => false,
        (_, "consumer", "close") => true,
        _ => false,
    };
    let people = [
        ("a", owner("a")),
        ("b", owner("b")),
        ("consumer", operator("cpi-lucca", "op-2")),
        ("stranger", operator("asl-toscana-nord-ovest", "op-3")),
    ];
    for (state, appeal, day) in in_every_state() {
        let changes = [
            ("approve", Change::Approve { until: at(day + 5) }),
            ("close", Change::Close),
            ("file", Change::File),
            ("reject", Change::Reject),
            ("revoke", Change::Revoke),
        ];
        for (by, person) in &people {
            for (name, change) in &changes {
                let got = appeal.clone().record(event(day, person.clone(), change.clone()));
                assert_eq!(got.is_ok(), taken(state, by, name), "{state}, {by}, {name}: {:?}", got.err());
            }
        }
    }
}

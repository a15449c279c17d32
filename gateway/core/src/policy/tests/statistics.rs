use std::str::FromStr as _;

use super::*;
use crate::statistics::UNKNOWN;

const PROGETTO: &str = "progetto_personalizzato";

/// The shipped bundle with one text of its statistics replaced, and the faults that follow.
fn faults_of(from: &str, to: &str) -> String {
    let mut files = shipped_files();
    let (_, bytes) = files.iter_mut().find(|(path, _)| path == "statistica.txt").unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "`{from}` is not there");
    *bytes = text.replacen(from, to, 1).into_bytes();
    let faults = Policy::load(&files).err().unwrap_or_default();
    faults.iter().map(|fault| format!("{fault} / {}\n", fault.italian())).collect()
}

#[track_caller]
fn check(from: &str, to: &str, expected: &str) {
    let faults = faults_of(from, to);
    assert!(faults.contains(expected), "expected `{expected}`, got {faults}");
}

fn count(provider: &str, consumer: &str, record: &str, purpose: &str) -> Result<Plan, Refusal> {
    let (record, purpose) = (record.parse().unwrap(), purpose.parse().unwrap());
    let facts = facts(provider, consumer);
    let question =
        Question { record_type: &record, purpose: &purpose, requested: None, facts: &facts, now: now() };
    shipped().decide_aggregates(&question)
}

#[test]
fn small_comuni_are_counted_together_and_every_owner_once() {
    let policy = shipped();
    let tabulation = policy.tabulation(&PROGETTO.parse().unwrap()).unwrap();
    let areas = policy.areas_of(tabulation);
    let owners: Vec<&AgencyId> = areas.iter().flat_map(|area| &area.owners).collect();
    assert_eq!((areas.len(), owners.len()), (7, 9));
    let minor = areas.iter().find(|area| area.name == "comuni-minori").unwrap();
    assert_eq!(minor.owners.len(), 3);
}

#[test]
fn thresholds_follow_the_category_of_the_dimensions() {
    let policy = shipped();
    let of = |record: &str| policy.tabulation(&record.parse().unwrap()).unwrap().threshold;
    assert_eq!((of(PROGETTO), of("accertamento_disabilita")), (5, 10));
    check("soglia = 5", "soglia = 2", "at least 3, the floor of the law");
    check("soglia_speciale = 10", "soglia_speciale = 9", "almeno 10");
}

#[test]
fn classes_are_the_values_of_the_view_and_the_unknown() {
    let policy = shipped();
    let tabulation = policy.tabulation(&PROGETTO.parse().unwrap()).unwrap();
    assert_eq!(tabulation.dimensions[0].classes, ["1", "2", UNKNOWN]);
    assert_eq!(tabulation.dimensions[1].classes, ["1", "2", "3", "4", UNKNOWN]);
}

#[test]
fn what_may_not_be_counted_by_is_a_fault_with_its_line() {
    let protected = "obiettivi_protetti |        |";
    check("livello_equipe |        |", protected, "protected data never reach statistics");
    check("livello_equipe |        |", "livello_equip |        |", "did you mean `livello_equipe`?");
    check("livello_equipe |        |", "equipe | ruoli |", "forma classi");
    check("durata_mesi    | fascia |", "durata_mesi    | intero |", "`solo_aggregati`");
    check("durata_mesi    | fascia | 1, 2, 3, 4", "durata_mesi | fascia |", "`classi` is missing");
    check("| 1, 2, 3, 4\nesito", "| 1, 2, 2, 4\nesito", "a class of its own");
    check("| 1, 2, 3, 4\nesito", "| 1, =A1, 4\nesito", "a class of its own");
    check("periodo = semestre", "periodo = mese", "unknown period `mese`");
    check("comune-montecarlo", "comune-montecarl", "did you mean `comune-montecarlo`?");
    check("comune-montecarlo", "comune-pescaglia", "there is already a `comune-pescaglia`");
    let twice = "[prospetto progetto_personalizzato]";
    check("[prospetto posizione_lavoro]", twice, "there is already a `[prospetto progetto_personalizzato]`");
}

#[test]
fn a_purpose_for_aggregates_gives_the_views_of_its_column_and_nothing_protected() {
    let plan = count("comune-lucca", "cpi-lucca", PROGETTO, "F10").unwrap();
    assert_eq!((word(&plan, "durata_mesi"), word(&plan, "esito_finale")), ("fascia".into(), "intero".into()));
    let protected = FieldId::from_str("obiettivi_protetti").unwrap();
    assert!(!matches!(plan.ruling(&protected), Some(Ruling::Show { .. })));
    // Comuni count beside one another, and nobody asks for their own.
    assert!(count("comune-lucca", "comune-porcari", PROGETTO, "F10").is_ok());
    assert_eq!(count("comune-lucca", "comune-lucca", PROGETTO, "F10").unwrap_err(), Refusal::OwnRecord);
    assert_eq!(count("comune-lucca", "cpi-lucca", PROGETTO, "F04").unwrap_err(), Refusal::RecordsOnly);
}

#[test]
fn the_conference_of_the_zone_has_its_people_counted_and_reads_nobody() {
    let policy = shipped();
    let zone = "conferenza-zonale";
    assert!(count("comune-lucca", zone, PROGETTO, "F10").is_ok());
    for record in policy.record_types() {
        for purpose in &policy.purposes {
            for owner in ["comune-lucca", "cpi-lucca", "asl-toscana-nord-ovest"] {
                let mut facts = facts(owner, zone);
                facts.case = Some(case(Level::Second, &[purpose.id.as_str()]));
                facts.consents = vec![consent(None)];
                let plan = ask(&policy, record.id.as_str(), purpose.id.as_str(), &facts);
                assert!(plan.is_err(), "{} under {}", record.id, purpose.id);
            }
        }
    }
}

#[test]
fn no_protected_or_judicial_field_of_any_record_shows_under_a_purpose_for_aggregates() {
    let policy = shipped();
    for record in policy.record_types() {
        for owner in ["comune-lucca", "cpi-lucca", "asl-toscana-nord-ovest"] {
            for consumer in ["comune-porcari", "cpi-lucca", "asl-toscana-nord-ovest"] {
                let Ok(plan) = count(owner, consumer, record.id.as_str(), "F10") else { continue };
                for field in &record.fields {
                    let counts = matches!(field.category, Category::Common | Category::Special);
                    let shows = matches!(plan.ruling(&field.id), Some(Ruling::Show { .. }));
                    assert!(counts || !shows, "{} {}", record.id, field.id);
                }
            }
        }
    }
}

#[test]
fn a_change_of_what_is_counted_is_told_to_who_approves_it() {
    let mut files = shipped_files();
    let before = load(&files);
    let (_, bytes) = files.iter_mut().find(|(path, _)| path == "statistica.txt").unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    *bytes = text.replacen("soglia = 5", "soglia = 4", 1).replacen("comune-montecarlo, ", "", 1).into_bytes();
    let terms = before.diff(&load(&files), now()).terms;
    let said: Vec<String> = terms.iter().map(|term| format!("{:?} {}", term.direction, term.what)).collect();
    assert!(said.contains(&"Widens prospetto progetto_personalizzato: soglia 4".to_owned()), "{said:?}");
    assert!(said.contains(&"Widens prospetto progetto_personalizzato: aree".to_owned()), "{said:?}");
}

use super::*;
use crate::consent::Restriction;
use crate::policy::opening::{Barred, Opening};
use crate::policy::table::Needs;
use crate::view::ladder::ViewIndex;

const ISEE: &str = "condizione_economica_prestazioni";
const SOCIAL: &str = "valutazione_sociale";

fn opening(field: &str, view: &str) -> Opening {
    Opening {
        appeal: "0198f0c2-dddd-7fff-bfff-ffffffffffff".parse().unwrap(),
        epoch: 3,
        field: field.parse().unwrap(),
        view: view.parse().unwrap(),
    }
}

fn agreed(openings: &[(&str, &str)]) -> Facts {
    let mut facts = facts("comune-capannori", "cpi-lucca");
    facts.case = Some(case(Level::First, &["F02"]));
    facts.consents = vec![consent(None)];
    facts.openings = openings.iter().map(|(field, view)| opening(field, view)).collect();
    facts
}

fn may(record: &str, field: &str, view: &str, facts: &Facts) -> Result<(), Barred> {
    let (record, purpose) = (record.parse().unwrap(), "F02".parse().unwrap());
    let question = Question { record_type: &record, purpose: &purpose, requested: None, facts, now: now() };
    shipped().may_open(&question, &field.parse().unwrap(), &view.parse().unwrap())
}

#[test]
fn an_opening_stands_in_place_of_the_grant_and_over_the_owners_own_regulation() {
    let policy = shipped();
    let plan =
        ask(&policy, ISEE, "F02", &agreed(&[("isee_tipo", "intero"), ("debiti_morosita", "presenti")]))
            .unwrap();
    assert_eq!(word(&plan, "isee_tipo"), "intero");
    assert_eq!(word(&plan, "debiti_morosita"), "presenti");
    assert_eq!(word(&plan, "isee_scadenza"), "Agreement: NotGranted");
    // Without the person's agreement to the purpose it opens nothing.
    let mut alone = agreed(&[("isee_tipo", "intero")]);
    alone.consents.clear();
    assert_eq!(word(&ask(&policy, ISEE, "F02", &alone).unwrap(), "isee_tipo"), "Person: ConsentMissing");
}

#[test]
fn law_promise_protection_recipient_and_person_close_what_the_owner_opened() {
    let policy = shipped();
    let facts = agreed(&[("isee_valore", "intero"), ("patrimonio_mobiliare", "intero")]);
    let plan = ask(&policy, ISEE, "F02", &facts).unwrap();
    assert_eq!(word(&plan, "isee_valore"), "Agreement: NotGranted");
    assert_eq!(word(&plan, "patrimonio_mobiliare"), "Agreement: NotGranted");
    let facts = agreed(&[("esecuzione_penale", "intero"), ("bisogni_protetti", "intero")]);
    let plan = ask(&policy, SOCIAL, "F02", &facts).unwrap();
    assert_eq!(word(&plan, "esecuzione_penale"), "Law: Category");
    assert_eq!(word(&plan, "bisogni_protetti"), "unavailable");
    let facts = agreed(&[("tutore", "intero")]);
    assert_eq!(
        word(&ask(&policy, "anagrafica_nucleo", "F02", &facts).unwrap(), "tutore"),
        "Recipient: Regulation"
    );
    let mut facts = agreed(&[("isee_tipo", "intero")]);
    let fields = Some(vec!["isee_tipo".parse().unwrap()]);
    facts.restrictions = vec![Restriction { fields, effect: RestrictionEffect::Withhold }];
    assert_eq!(word(&ask(&policy, ISEE, "F02", &facts).unwrap(), "isee_tipo"), "Person: Opposed");
}

#[test]
fn what_cannot_be_opened_is_told_before_anybody_decides() {
    let facts = agreed(&[]);
    assert_eq!(may(ISEE, "isee_tipo", "intero", &facts), Ok(()));
    assert!(matches!(may(ISEE, "isee_valore", "fascia", &facts), Err(Barred::Promise(_))));
    assert_eq!(may(ISEE, "isee_fascia", "intero", &facts), Err(Barred::Granted));
    assert_eq!(may(ISEE, "isee_tipo", "anno", &facts), Err(Barred::Unknown));
    assert_eq!(may(SOCIAL, "bisogni_protetti", "intero", &facts), Err(Barred::Protected));
    assert_eq!(may("anagrafica_nucleo", "residenza_indirizzo", "intero", &facts), Err(Barred::Protected));
    assert_eq!(may("anagrafica_nucleo", "tutore", "intero", &facts), Err(Barred::Recipient));
    // Note of an operator: special data, and the acts of row and purpose give a source for them.
    assert_eq!(may(SOCIAL, "relazione_sociale", "intero", &facts), Ok(()));
    assert!(matches!(may("posizione_lavoro", "percettore", "intero", &facts), Err(Barred::Request(_))));
}

#[test]
fn an_opening_never_tells_what_stays_hidden() {
    // The part of a list opens only with the whole list.
    let plan = ask(&shipped(), ISEE, "F02", &agreed(&[("prestazioni.importi", "fascia")])).unwrap();
    assert_eq!(word(&plan, "prestazioni.importi"), "Agreement: Implied");
    let both = agreed(&[("prestazioni.importi", "fascia"), ("prestazioni", "intero")]);
    assert_eq!(word(&ask(&shipped(), ISEE, "F02", &both).unwrap(), "prestazioni.importi"), "fascia");
}

/// Every field of every record type, opened whole at once, for every purpose and level: whatever shows more than the table
/// does stays within the law, and no promise of the bundle is broken.
#[test]
fn with_everything_opened_law_and_promises_still_hold() {
    let policy = shipped();
    let mut opened = 0;
    for (record, purpose, level) in policy.record_types().iter().flat_map(|record| {
        let each = policy.purposes.iter().flat_map(move |purpose| Level::ALL.map(|level| (purpose, level)));
        each.map(move |(purpose, level)| (record.clone(), purpose.id.clone(), level))
    }) {
        for (provider, consumer) in [
            ("comune-lucca", "cpi-lucca"),
            ("asl-toscana-nord-ovest", "comune-lucca"),
            ("asl-toscana-nord-ovest", "cpi-lucca"),
        ] {
            let mut facts = facts(provider, consumer);
            facts.case = Some(case(level, &[purpose.as_str()]));
            facts.consents = vec![consent(None)];
            let closed = ask(&policy, record.id.as_str(), purpose.as_str(), &facts);
            facts.openings = record.fields.iter().map(|field| opening(field.id.as_str(), "intero")).collect();
            let Ok(plan) = ask(&policy, record.id.as_str(), purpose.as_str(), &facts) else {
                assert!(closed.is_err());
                continue;
            };
            let closed = closed.unwrap();
            for (planned, before) in plan.fields.iter().zip(&closed.fields) {
                let field = record.field(planned.field).unwrap();
                if planned == before {
                    continue;
                }
                opened += 1;
                assert!(field.category != Category::Protected && !field.conceal, "{}", field.id);
                let Ruling::Show { view, .. } = planned.ruling else { continue };
                for promise in policy.assertions.iter().filter(|promise| {
                    promise.on.has_record(&record)
                        && promise.on.has_field(planned.field, field.category)
                        && (promise.on.owners.is_empty() || promise.on.owners.contains(&facts.provider.kind))
                        && (promise.on.levels.is_empty() || promise.on.levels.contains(&level))
                        && promise
                            .on
                            .toward
                            .iter()
                            .all(|toward| *toward != table::Toward::Kind(facts.provider.kind))
                        && promise.unless == Needs::NONE
                        && promise.on.toward.contains(&table::Toward::Kind(facts.consumer.kind))
                }) {
                    let most = field.ladder.find(promise.at_most.as_str()).unwrap_or(ViewIndex::WITHHOLD);
                    assert!(field.ladder.is_within(view, most), "{} against {}", field.id, promise.name);
                }
                assert_ne!(field.category, Category::Judicial, "{} without consent or act", field.id);
            }
        }
    }
    assert!(opened > 50, "{opened}");
}

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const RECORD_TYPES: [&str; 3] = ["anagrafica_nucleo", "condizione_economica_prestazioni", "posizione_lavoro"];

fn records(all: &Population, person: &Person) -> Vec<(&'static str, Value)> {
    let cpi: AgencyId = "cpi-lucca".parse().unwrap();
    let comune = all.comune(person).unwrap().agency.parse().unwrap();
    let record = |name: &'static str| {
        let record_type = name.parse().unwrap();
        let record =
            all.record(&comune, &record_type, person).or_else(|| all.record(&cpi, &record_type, person));
        record.map(|record| (name, Value::Object(record)))
    };
    RECORD_TYPES.into_iter().filter_map(record).collect()
}

#[test]
fn the_same_seed_gives_the_same_people_and_another_one_others() {
    let everything = |seed| {
        let all = Population::generate(seed, 200);
        let text: Vec<_> =
            all.people.iter().map(|p| format!("{}{:?}", p.code.expose(), records(&all, p))).collect();
        text
    };
    assert_eq!(everything(7), everything(7));
    assert_ne!(everything(7), everything(8));
    // A larger population begins with the smaller one.
    let (small, large) = (Population::generate(7, 100), Population::generate(7, 1000));
    assert!(small.people.iter().zip(&large.people).all(|(a, b)| a.code == b.code));
}

#[test]
fn everybody_is_synthetic_valid_and_somebody_else() {
    let all = Population::generate(1, 5_000);
    let codes: BTreeSet<_> = all.people.iter().map(|person| person.code.expose().to_owned()).collect();
    assert_eq!(codes.len(), all.people.len());
    for person in &all.people {
        assert_eq!(person.code.expose().parse::<CodiceFiscale>().as_ref(), Ok(&person.code));
        assert!(person.code.is_synthetic());
        assert!(person.code.agrees_with_birth(person.birth));
        assert!(person.birth < today() && person.age() < 110, "{}", person.age());
        assert_eq!(all.find(&person.code).unwrap().code, person.code);
    }
    assert!(all.people.iter().any(|person| person.code.is_omocode()));
    assert!(all.people.len() < 5_010);
}

#[test]
fn a_hundred_people_already_show_every_case_of_the_story() {
    let all = Population::generate(1, 100);
    assert!(all.people.iter().any(|person| person.code.is_omocode()));
    assert!(all.households.iter().any(|home| home.protected_address));
    assert!(all.households.iter().any(|home| home.citizenship != "380"));
    for (_, comune) in COMUNI.iter().filter(|(weight, _)| *weight >= 9) {
        assert!(all.households.iter().any(|home| home.comune == comune), "{}", comune.name);
    }
}

#[test]
fn anna_is_who_the_story_says() {
    for seed in 0..20 {
        let all = Population::generate(seed, 10);
        let anna = &all.people[ANNA];
        assert_eq!(anna.code.expose(), "XXQNNA85C52B648J");
        assert_eq!(all.comune(anna).unwrap().agency, "comune-capannori");
        let records = records(&all, anna);
        let names: Vec<_> = records.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, RECORD_TYPES);
        let [registry, economy, work] = records.try_into().unwrap();
        assert_eq!((&registry.1["numero_componenti"], &registry.1["numero_minori"]), (&3.into(), &2.into()));
        assert_eq!(registry.1["riservatezza_indirizzo"], false);
        assert_eq!(
            (&economy.1["isee_fascia"], &economy.1["adi_sfl"]["misura"]),
            (&"3".into(), &"adi".into())
        );
        assert!(work.1["data_did"].is_string());
        let bruno = &all.people[BRUNO];
        let long = self::records(&all, bruno)[1].1.to_string().len();
        assert!((3_500..5_000).contains(&long), "{long}");
    }
}

#[test]
fn what_is_known_of_a_person_fits_together() {
    let all = Population::generate(3, 2_000);
    for person in &all.people {
        for (name, record) in records(&all, person) {
            match name {
                "anagrafica_nucleo" => {
                    let members = record["componenti"].as_array().unwrap().len() + 1;
                    assert_eq!(record["numero_componenti"], members);
                }
                "condizione_economica_prestazioni" => {
                    assert!(!person.is_minor() || record.get("adi_sfl").is_none());
                }
                _ => {
                    assert!((16..67).contains(&person.age()));
                    assert!(record.get("data_did").is_none() || record["percettore"].is_string());
                }
            }
        }
    }
}

#[test]
fn a_record_is_only_where_the_person_lives() {
    let all = Population::generate(3, 100);
    let anna = &all.people[ANNA];
    let lucca = "comune-lucca".parse().unwrap();
    assert_eq!(all.record(&lucca, &"anagrafica_nucleo".parse().unwrap(), anna), None);
    let asl = "asl-toscana-nord-ovest".parse().unwrap();
    assert_eq!(all.record(&asl, &"posizione_lavoro".parse().unwrap(), anna), None);
}

#[test]
fn records_are_of_the_types_that_the_agreement_describes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/piana-di-lucca");
    let policy = varco_core::policy::Policy::load(&crate::start::bundle(&folder).unwrap()).unwrap();
    let all = Population::generate(5, 1_000);
    let mut seen = std::collections::BTreeMap::new();
    for person in &all.people {
        for (name, record) in records(&all, person) {
            let record_type = policy.record_type(&name.parse().unwrap()).unwrap();
            for field in record.as_object().unwrap().keys() {
                *seen.entry((name, field.clone())).or_insert(0) += 1;
            }
            if let Err(faults) = record_type.check(record) {
                panic!("{name}: {faults:?}");
            }
        }
    }
    // Everything an agreement's record may hold is held by somebody, but for what these people do not have.
    let lacking = ["domicilio_digitale", "tutore", "amministratore_sostegno"];
    for name in RECORD_TYPES {
        let record_type = policy.record_type(&name.parse().unwrap()).unwrap();
        for field in record_type.fields.iter().filter(|field| field.parent.is_none()) {
            let held = seen.contains_key(&(name, field.id.to_string()));
            assert_eq!(held, !lacking.contains(&field.id.as_str()), "{name} {}", field.id);
        }
    }
}

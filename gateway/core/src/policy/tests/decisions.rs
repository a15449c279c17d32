use serde_json::json;

use super::*;
use crate::consent::Restriction;

const ANAGRAFICA: &str = "anagrafica_nucleo";
const ISEE: &str = "condizione_economica_prestazioni";

fn first_level() -> Facts {
    let mut facts = facts("comune-lucca", "cpi-lucca");
    facts.case = Some(case(Level::First, &["F02", "F04"]));
    facts
}

fn agreed() -> Facts {
    let mut facts = first_level();
    facts.consents = vec![consent(None)];
    facts
}

#[test]
fn with_the_persons_agreement_the_matrix_shows_and_without_it_nothing() {
    let policy = shipped();
    let plan = ask(&policy, ANAGRAFICA, "F02", &agreed()).unwrap();
    for (field, expected) in [
        ("codice_fiscale", "intero"),
        ("componenti", "fasce (Recipient)"),
        ("relazione_parentela", "gruppo"),
        ("id_anpr", "Agreement: NotGranted"),
        ("tutore", "Recipient: Regulation"),
        ("riservatezza_indirizzo", "unavailable"),
    ] {
        let found = word(&plan, field);
        let found = found.strip_suffix(" (Recipient)").filter(|_| field != "componenti").unwrap_or(&found);
        assert!(expected.starts_with(found), "{field}: {found}");
    }
    let refused = ask(&policy, ANAGRAFICA, "F02", &first_level()).unwrap();
    assert!(refused.is_empty());
    assert_eq!(word(&refused, "codice_fiscale"), "Person: ConsentMissing");
}

#[test]
fn the_plan_names_the_consent_it_rests_on() {
    let policy = shipped();
    let plan = ask(&policy, ANAGRAFICA, "F02", &agreed()).unwrap();
    assert_eq!(plan.consents().iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>(), [3]);
    let by_law = ask(&policy, ANAGRAFICA, "F01", &facts("comune-lucca", "cpi-lucca")).unwrap();
    assert_eq!(by_law.consents(), []);
    assert_eq!(word(&by_law, "cognome"), "intero");
    assert_eq!(word(&by_law, "cittadinanza"), "Agreement: NotGranted");
}

#[test]
fn a_regulation_narrows_its_own_bodys_data_only() {
    let policy = shipped();
    let mut facts = agreed();
    assert_eq!(word(&ask(&policy, ANAGRAFICA, "F02", &facts).unwrap(), "telefono"), "intero");
    facts.provider = party("comune-capannori");
    assert_eq!(word(&ask(&policy, ANAGRAFICA, "F02", &facts).unwrap(), "telefono"), "mascherato (Owner)");
}

#[test]
fn an_amount_never_goes_to_the_cpi_and_the_asl_gets_yes_or_no() {
    let policy = shipped();
    let plan = ask(&policy, ISEE, "F02", &agreed()).unwrap();
    assert_eq!(word(&plan, "isee_fascia"), "intero");
    assert_eq!(word(&plan, "isee_valore"), "Agreement: NotGranted");
    let plan = ask(&policy, ISEE, "F08", &facts("comune-lucca", "asl-toscana-nord-ovest")).unwrap();
    assert_eq!(word(&plan, "isee_valore"), "sotto_soglia");
    let out = reduced(&plan, json!({"isee_valore": "8450.00", "isee_fascia": "4"}));
    assert_eq!(out.into_record().get("isee_valore"), Some(&json!(true)));
}

#[test]
fn opposing_to_the_birth_date_leaves_of_the_tax_code_what_does_not_tell_it() {
    let policy = shipped();
    let mut facts = agreed();
    facts.restrictions = vec![Restriction {
        fields: Some(vec!["data_nascita".parse().unwrap()]),
        effect: RestrictionEffect::Withhold,
    }];
    let plan = ask(&policy, ANAGRAFICA, "F02", &facts).unwrap();
    assert_eq!(word(&plan, "data_nascita"), "Person: Opposed");
    assert_eq!(word(&plan, "codice_fiscale"), "mascherato (Person)");
    let out = reduced(&plan, json!({"codice_fiscale": "XXQNNA85B68E715K", "data_nascita": "1985-02-28"}));
    assert_eq!(out.into_record().get("codice_fiscale"), Some(&json!("XXQ*************")));
}

#[test]
fn a_protected_address_looks_like_no_address_at_all() {
    let policy = shipped();
    let plan = ask(&policy, ANAGRAFICA, "F02", &agreed()).unwrap();
    let address =
        json!({"dug": "via", "odonimo": "Fittizia", "civico": "1", "cap": "55100", "comune": "046017"});
    let hidden = reduced(
        &plan,
        json!({"cognome": "Xxquercia", "telefono": "+390583000001", "residenza_indirizzo": address,
               "residenza_comune": "046017", "riservatezza_indirizzo": true}),
    );
    let absent = reduced(&plan, json!({"cognome": "Xxquercia", "riservatezza_indirizzo": false}));
    assert_eq!(hidden.outcomes, absent.outcomes);
    assert_eq!(hidden.values(), absent.values());
    assert_eq!(outcomes(&hidden)["residenza_comune"], Outcome::Unavailable);
    // The fact itself is for the sealed body of the log alone.
    assert_eq!(hidden.findings.controls, ["riservatezza_indirizzo".parse().unwrap()]);
    let shown = reduced(&plan, json!({"cognome": "Xxquercia", "residenza_comune": "046017"}));
    assert!(matches!(outcomes(&shown)["residenza_comune"], Outcome::Shown { .. }));
}

#[test]
fn what_the_person_conceals_looks_as_if_the_source_held_nothing() {
    let policy = shipped();
    let mut facts = agreed();
    let record =
        json!({"cognome": "Xxquercia", "data_nascita": "1985-02-28", "codice_fiscale": "XXQNNA85B68E715K"});
    let open = ask(&policy, ANAGRAFICA, "F02", &facts).unwrap();
    let absent = reduced(&open, json!({"cognome": "Xxquercia"}));
    facts.restrictions = vec![Restriction {
        fields: Some(vec!["data_nascita".parse().unwrap()]),
        effect: RestrictionEffect::Conceal,
    }];
    let plan = ask(&policy, ANAGRAFICA, "F02", &facts).unwrap();
    let concealed = reduced(&plan, record);
    assert_eq!(concealed.outcomes, absent.outcomes);
    assert_eq!(concealed.values(), absent.values());
    assert!(!plan.to_fetch().contains(&"data_nascita".parse().unwrap()));
}

#[test]
fn only_what_is_asked_is_fetched_besides_the_control_fields() {
    let policy = shipped();
    let facts = agreed();
    let (record, purpose) = (ANAGRAFICA.parse().unwrap(), "F02".parse().unwrap());
    let requested = ["cognome".parse().unwrap(), "id_anpr".parse().unwrap()];
    let mut question = Question {
        record_type: &record,
        purpose: &purpose,
        requested: Some(&requested),
        facts: &facts,
        now: now(),
    };
    let plan = policy.decide(&question).unwrap();
    let fetched: Vec<String> = plan.to_fetch().iter().map(ToString::to_string).collect();
    assert_eq!(fetched, ["cognome", "riservatezza_indirizzo"]);
    assert_eq!(word(&plan, "nome"), "Request: NotRequested");
    assert_eq!(word(&plan, "id_anpr"), "Agreement: NotGranted");
    // Protected fields look the same whether asked for or not.
    assert_eq!(word(&plan, "residenza_indirizzo"), "unavailable");
    let unknown = ["cognomen".parse().unwrap()];
    question.requested = Some(&unknown);
    assert!(matches!(policy.decide(&question), Err(Refusal::UnknownField(..))));
}

#[test]
fn household_members_outside_the_case_and_their_parts_stay_out() {
    let policy = shipped();
    let mut facts = facts("comune-lucca", "asl-toscana-nord-ovest");
    facts.case = Some(case(Level::Second, &["F03"]));
    facts.consents = vec![consent(None)];
    let plan = ask(&policy, ANAGRAFICA, "F03", &facts).unwrap();
    let members = json!([
        {"cf": "XXQNNA85B68E715K", "relazione": "1", "data_nascita": "1985-02-28"},
        {"cf": "XXQMRA08M29B648P", "relazione": "3", "data_nascita": "2008-08-29"}
    ]);
    let out = reduced(&plan, json!({"componenti": members}));
    let shown = out.into_record();
    assert_eq!(shown["componenti"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_part_follows_its_list_and_is_reduced_on_its_own() {
    let policy = shipped();
    let mut facts = facts("comune-lucca", "comune-porcari");
    facts.case = Some(case(Level::Second, &["F04"]));
    facts.consents = vec![consent(None)];
    let plan = ask(&policy, ISEE, "F04", &facts).unwrap();
    assert_eq!(word(&plan, "prestazioni.importi"), "fascia");
    let record = json!({"prestazioni": [{"codice": "A1", "denominazione": "Contributo", "importi": "350.00"},
                                        {"codice": "A2", "denominazione": "Altro"}]});
    let out = reduced(&plan, record.clone());
    assert_eq!(
        out.into_record()["prestazioni"],
        json!([{"codice": "A1", "denominazione": "Contributo", "importi": "3"},
               {"codice": "A2", "denominazione": "Altro"}])
    );
    let plan = ask(&policy, ISEE, "F02", &agreed()).unwrap();
    let out = reduced(&plan, record);
    assert_eq!(
        out.into_record()["prestazioni"],
        json!([{"denominazione": "Contributo"}, {"denominazione": "Altro"}])
    );
}

#[test]
fn a_request_that_may_not_be_made_says_why() {
    let policy = shipped();
    let check = |record, purpose, facts: &Facts, expected: fn(&Refusal) -> bool| {
        let refusal = ask(&policy, record, purpose, facts).unwrap_err();
        assert!(expected(&refusal), "{refusal}");
    };
    let lucca = first_level();
    check("anagrafe", "F02", &lucca, |r| matches!(r, Refusal::UnknownRecordType(_)));
    check(ANAGRAFICA, "F99", &lucca, |r| matches!(r, Refusal::UnknownPurpose(_)));
    check(ANAGRAFICA, "F05", &lucca, |r| matches!(r, Refusal::RecordNotInPurpose(..)));
    check(ANAGRAFICA, "F03", &lucca, |r| matches!(r, Refusal::CaseForAnotherPurpose(_)));
    check(ANAGRAFICA, "F10", &lucca, |r| matches!(r, Refusal::AggregatesOnly));
    check("posizione_lavoro", "F02", &lucca, |r| matches!(r, Refusal::ProviderDoesNotOwn(..)));
    check(ANAGRAFICA, "F02", &facts("comune-lucca", "cpi-lucca"), |r| matches!(r, Refusal::CaseMissing(_)));
    check(ANAGRAFICA, "F01", &facts("comune-lucca", "comune-lucca"), |r| matches!(r, Refusal::OwnRecord));
    check(ANAGRAFICA, "F01", &facts("comune-lucca", "comune-porcari"), |r| matches!(r, Refusal::SameKind(_)));
    check(ANAGRAFICA, "F01", &facts("comune-pisa", "cpi-lucca"), |r| matches!(r, Refusal::NotAParty(_)));
    check(ANAGRAFICA, "F08", &facts("comune-lucca", "cpi-lucca"), |r| {
        matches!(r, Refusal::PurposeNotHeld(_))
    });
    let mut second = lucca;
    second.case = Some(case(Level::Second, &["F02"]));
    check(ANAGRAFICA, "F02", &second, |r| matches!(r, Refusal::Level(_)));
}

#[test]
fn outside_its_dates_the_agreement_and_a_purpose_are_nothing() {
    let policy = shipped();
    let facts = agreed();
    let (record, purpose) = (ANAGRAFICA.parse().unwrap(), "F13-inverno".parse().unwrap());
    let at = |when: &str| {
        let now = when.parse().unwrap();
        policy.decide(&Question {
            record_type: &record,
            purpose: &purpose,
            requested: None,
            facts: &facts,
            now,
        })
    };
    assert!(at("2026-12-24T10:00:00Z").is_ok());
    assert_eq!(at("2026-11-14T23:59:59Z").unwrap_err(), Refusal::PurposeNotInForce(purpose.clone()));
    assert_eq!(at("2029-03-01T00:00:00Z").unwrap_err(), Refusal::AgreementNotInForce);
}

#[test]
fn a_record_with_an_unknown_member_or_a_wrong_value_is_refused_without_repeating_it() {
    let policy = shipped();
    let record = policy.record_type(&ANAGRAFICA.parse().unwrap()).unwrap();
    let faults = record.check(json!({"cognome": 3, "SEGRETO": "x", "sesso": "SEGRETO"})).unwrap_err();
    let text: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
    assert_eq!(faults.len(), 3, "{text}");
    assert!(!text.contains("SEGRETO"), "{text}");
    assert!(record.check(json!({"cognome": null})).is_ok());
}

#[test]
fn outcomes_are_recomputed_from_the_plan_and_the_findings_alone() {
    let policy = shipped();
    let plan = ask(&policy, ANAGRAFICA, "F02", &agreed()).unwrap();
    let out = reduced(&plan, json!({"cognome": "Xxquercia", "riservatezza_indirizzo": true}));
    let findings = serde_json::to_value(&out.findings).unwrap();
    let read_back = serde_json::from_value(findings).unwrap();
    assert_eq!(crate::policy::reduce::outcomes(&plan, &read_back), out.outcomes);
}

#[test]
fn a_field_about_the_household_needs_everybody_and_the_others_do_not() {
    let policy = shipped();
    let member = |consents| MemberFacts { consents, restrictions: Vec::new() };
    let with = |household| ask(&policy, ISEE, "F02", &Facts { household, ..agreed() }).unwrap();
    let plan = with(vec![member(vec![consent(None)]), member(vec![consent(None)])]);
    assert_eq!(word(&plan, "isee_fascia"), "intero");
    let plan = with(vec![member(vec![consent(None)]), member(Vec::new())]);
    assert_eq!(word(&plan, "isee_fascia"), "Person: ConsentMissing");
    assert_eq!(word(&plan, "adi_sfl"), "intero");
    let narrower = consent(Some(&["adi_sfl"]));
    assert_eq!(word(&with(vec![member(vec![narrower])]), "isee_fascia"), "Person: ConsentMissing");
}

#[test]
fn the_plan_names_every_members_consent_that_a_shared_field_rests_on() {
    let policy = shipped();
    let mut other = consent(None);
    other.consent = "0198f0c2-cccc-7fff-bfff-ffffffffffff".parse().unwrap();
    let household = vec![MemberFacts { consents: vec![other.clone()], restrictions: Vec::new() }];
    let plan = ask(&policy, ISEE, "F02", &Facts { household, ..agreed() }).unwrap();
    assert_eq!(plan.consents().len(), 2);
    let rests_on = |field: &str| {
        let index = plan.record_type.find(&field.parse().unwrap()).unwrap();
        plan.shared(index).map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(rests_on("isee_fascia"), [other.consent]);
    assert!(rests_on("adi_sfl").is_empty());
}

#[test]
fn a_third_sector_partner_sees_the_project_and_nothing_else() {
    let mut files = shipped_files();
    let agreement = files.iter_mut().find(|(path, _)| path == "protocollo.txt").unwrap();
    let mut text = String::from_utf8(agreement.1.clone()).unwrap();
    let last = "cpi-lucca              | cpi    |";
    assert!(text.contains(last));
    text = text.replace(last, &format!("ets-cooperativa        | ets    | Cooperativa\n{last}"));
    agreement.1 = text.into_bytes();
    let policy = load(&files);
    let mut facts = facts("comune-lucca", "comune-capannori");
    facts.consumer =
        Party { agency: "ets-cooperativa".parse().unwrap(), kind: AgencyKind::Ets, office: None };
    facts.consents = vec![consent(None)];
    for purpose in policy.purposes.iter().filter(|purpose| purpose.from.is_none()) {
        facts.case = Some(case(Level::First, &[purpose.id.as_str()]));
        for record in policy.record_types() {
            facts.provider = party(match record.owners.first() {
                Some(AgencyKind::Cpi) => "cpi-lucca",
                Some(AgencyKind::Asl) => "asl-toscana-nord-ovest",
                _ => "comune-lucca",
            });
            let plan = ask(&policy, record.id.as_str(), purpose.id.as_str(), &facts);
            let shows = plan.is_ok_and(|plan| !plan.is_empty());
            let is_project =
                purpose.id.as_str() == "F04-ets" && record.id.as_str() == "progetto_personalizzato";
            assert_eq!(shows, is_project, "{} under {}", record.id, purpose.id);
        }
    }
}

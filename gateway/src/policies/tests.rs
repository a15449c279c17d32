use std::path::Path;
use std::sync::LazyLock;

use varco_core::id::OfficerId;
use varco_core::policy::{Facts, Party, Question};
use varco_core::registry::AgencyKind;
use varco_core::wire::Statement;
use varco_jose::OfficerKey;

use super::*;
use crate::genesis::ACT_REGISTRY;
use crate::pki::dev::Kit;

const CAPANNORI: &str = "regolamenti/comune-capannori.txt";
const CPI: &str = "regolamenti/cpi-lucca.txt";
/// A row of Capannori's regulation that takes something away.
const NO_DEBTS: &str = "titolare | condizione_economica_prestazioni | debiti_morosita | *     | *       | *        | -          | Regolamento comunale sui dati, art. 12\n";

/// Keys are slow to make, and no test changes them.
static KIT: LazyLock<Kit> = LazyLock::new(|| Kit::make(now(), |_| ()).unwrap());
static SHIPPED: LazyLock<Files> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/piana-di-lucca");
    let texts = crate::start::bundle(&folder).unwrap().into_iter();
    texts.map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap())).collect()
});

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn new_year() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn registry() -> Registry {
    crate::demo::ceremony::registry(&KIT, now()).unwrap()
}

fn schedule() -> Schedule {
    Schedule::new(Bundle::compile(SHIPPED.clone()).unwrap())
}

/// The shipped files, one text in one of them replaced.
fn changed(path: &str, from: &str, to: &str) -> Files {
    let mut files = SHIPPED.clone();
    let text = files.get_mut(path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {path}");
    *text = text.replacen(from, to, 1);
    files
}

/// Capannori's regulation with one row more, and with one row less.
fn narrower() -> Files {
    let row = "titolare | anagrafica_nucleo | email | * | * | * | - | Delibera di prova\n";
    changed(CAPANNORI, NO_DEBTS, &format!("{NO_DEBTS}{row}"))
}

fn wider() -> Files {
    changed(CAPANNORI, NO_DEBTS, "")
}

fn signed(officer: &str, act: &str, document: &str) -> OfficerStatement {
    let id: OfficerId = officer.parse().unwrap();
    let key = &KIT.officers.iter().find(|officer| officer.id == id).unwrap().key;
    let key = OfficerKey::from_pem(key.serialize_pem().as_bytes()).unwrap();
    let sha256 = Sha256::of(document.as_bytes());
    let statement = Statement { act: act.to_owned(), sha256, at: now() };
    OfficerStatement { officer: id, in_place_of: None, jws: key.sign(&statement).unwrap() }
}

/// What these officers would bring to the gateway to have these files from an instant on.
fn proposal(schedule: &Schedule, files: &Files, from: Timestamp, officers: &[&str]) -> PolicyProposal {
    let mut proposal = PolicyProposal::between(&schedule.last().files, files);
    proposal.document = document(schedule.last(), &Bundle::compile(files.clone()).unwrap(), from);
    let each = officers.iter().map(|officer| signed(officer, ACT_POLICY, &proposal.document));
    proposal.statements = each.collect();
    proposal
}

fn check(files: &Files, officers: &[&str]) -> Result<Version, PolicyRefusal> {
    let schedule = schedule();
    schedule.check(&proposal(&schedule, files, new_year(), officers), &registry(), Some(now()))
}

/// The refusal; versions are not comparable.
fn refusal(checked: Result<Version, PolicyRefusal>) -> PolicyRefusal {
    checked.map(|_| ()).unwrap_err()
}

#[test]
fn one_officer_of_a_body_narrows_its_own_regulation() {
    assert_eq!(check(&narrower(), &["capannori-dpo"]).unwrap().from, new_year());
}

#[test]
fn one_officer_of_another_body_narrows_nothing() {
    assert!(matches!(refusal(check(&narrower(), &["asl-dpo"])), PolicyRefusal::TwoAgencies));
    assert!(check(&narrower(), &["asl-dpo", "cpi-dpo"]).is_ok());
}

#[test]
fn what_widens_is_signed_by_two_agencies_and_one_owns_the_data() {
    assert!(check(&wider(), &["capannori-dpo", "cpi-dpo"]).is_ok());
    let missing = refusal(check(&wider(), &["asl-dpo", "cpi-dpo"]));
    assert!(matches!(missing, PolicyRefusal::OwnerMissing(owner) if owner == "comune-capannori"));
    for officers in [&["capannori-dpo"][..], &["capannori-dpo", "capannori-segreteria"]] {
        assert!(matches!(refusal(check(&wider(), officers)), PolicyRefusal::TwoAgencies), "{officers:?}");
    }
}

#[test]
fn what_widens_only_later_is_listed_and_signed_like_the_rest() {
    // The row stays until Easter: at the new year nothing is shown that was not shown before.
    let header = "ruolo    | record                           | campo           | verso | livello | finalita | al massimo | fonte";
    let ends = changed(CAPANNORI, header, &header.replace("| fonte", "| al | fonte"));
    let mut files = ends;
    let text = files.get_mut(CAPANNORI).unwrap();
    *text = text
        .lines()
        .map(|line| match (line.starts_with("titolare"), line.contains("debiti_morosita")) {
            (true, true) => line.replace("| Regolamento", "| 2027-04-01 | Regolamento"),
            (true, false) => line.replace("| Regolamento", "| | Regolamento"),
            (false, _) => line.to_owned(),
        })
        .map(|line| line + "\n")
        .collect();
    assert!(matches!(refusal(check(&files, &["capannori-dpo"])), PolicyRefusal::TwoAgencies));
    let (schedule, after) = (schedule(), Bundle::compile(files).unwrap());
    assert!(document(schedule.last(), &after, new_year()).contains("\"debiti_morosita\""));
}

#[test]
fn a_file_that_also_speaks_for_others_is_not_a_bodys_own_regulation() {
    let law = "[legge]\ncategoria | verso | al massimo | fonte\nspeciale | comune | - | prova\n";
    for text in [format!("{}\n{law}", SHIPPED[CPI]), format!("\u{feff}{law}{}", SHIPPED[CPI])] {
        let mut files = SHIPPED.clone();
        files.insert(CPI.to_owned(), text);
        assert!(matches!(refusal(check(&files, &["cpi-dpo"])), PolicyRefusal::TwoAgencies));
        assert!(check(&files, &["cpi-dpo", "asl-dpo"]).is_ok());
    }
}

#[test]
fn a_document_that_says_less_than_the_bundle_does_is_refused() {
    let (schedule, registry) = (schedule(), registry());
    let officers = ["capannori-dpo", "cpi-dpo"];
    let mut wanted = proposal(&schedule, &wider(), new_year(), &officers);
    let honest = wanted.document.clone();
    let mut said: serde_json::Value = serde_json::from_str(&honest).unwrap();
    assert_ne!(said["widened_cells"], json!([]));
    said["widened_cells"] = json!([]);
    wanted.document = json::canonical(&said);
    wanted.statements = officers.map(|officer| signed(officer, ACT_POLICY, &wanted.document)).to_vec();
    let told = refusal(schedule.check(&wanted, &registry, Some(now())));
    assert!(matches!(told, PolicyRefusal::Document(document) if document == honest));
}

#[test]
fn a_signature_counts_for_its_document_its_act_and_an_officer_only() {
    let (schedule, registry) = (schedule(), registry());
    let good = proposal(&schedule, &narrower(), new_year(), &["capannori-dpo"]);
    let with = |statement: OfficerStatement| {
        let PolicyProposal { document, changed, removed, .. } =
            proposal(&schedule, &narrower(), new_year(), &[]);
        let tried = PolicyProposal { document, changed, removed, statements: vec![statement] };
        schedule.check(&tried, &registry, Some(now())).map(|_| ())
    };
    assert!(with(good.statements[0].clone()).is_ok());
    for statement in [
        signed("capannori-dpo", ACT_POLICY, "another"),
        signed("capannori-dpo", ACT_REGISTRY, &good.document),
        signed("piana-revisore", ACT_POLICY, &good.document),
        OfficerStatement {
            officer: "asl-dpo".parse().unwrap(),
            in_place_of: None,
            jws: good.statements[0].jws.clone(),
        },
    ] {
        assert!(matches!(with(statement), Err(PolicyRefusal::Statement(_))));
    }
}

#[test]
fn a_bundle_that_does_not_compile_is_refused_with_its_place() {
    let (schedule, registry) = (schedule(), registry());
    let mut broken = proposal(&schedule, &narrower(), new_year(), &["capannori-dpo"]);
    let text = broken.changed.get_mut(CAPANNORI).unwrap();
    *text = text.replace("mascherato", "mascherrato");
    let told = refusal(schedule.check(&broken, &registry, Some(now()))).to_string();
    assert!(told.contains(CAPANNORI) && told.contains("`mascherato`"), "{told}");
}

#[test]
fn a_version_counts_from_a_day_to_come_and_never_before_the_one_it_follows() {
    let (schedule, registry) = (schedule(), registry());
    let earlier: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    let past = proposal(&schedule, &narrower(), earlier, &["capannori-dpo"]);
    let checked = schedule.check(&past, &registry, Some(now()));
    assert!(matches!(refusal(checked), PolicyRefusal::Past(from) if from == earlier));
    // What the log holds was not past when it was brought.
    assert!(schedule.check(&past, &registry, None).is_ok());
    let wide = proposal(&schedule, &wider(), new_year(), &["capannori-dpo", "cpi-dpo"]);
    let schedule = schedule.with(schedule.check(&wide, &registry, Some(now())).unwrap());
    let mut files = wider();
    let row = "titolare | anagrafica_nucleo | email | * | * | * | - | Delibera di prova\n";
    files.get_mut(CAPANNORI).unwrap().push_str(row);
    let sooner = proposal(&schedule, &files, now(), &["capannori-dpo"]);
    let checked = schedule.check(&sooner, &registry, Some(now()));
    assert!(matches!(refusal(checked), PolicyRefusal::BeforeAnother(from) if from == new_year()));
}

#[test]
fn the_day_decides_which_version_is_in_force() {
    let (schedule, registry) = (schedule(), registry());
    let first = schedule.at(now()).sha256();
    let narrow = proposal(&schedule, &narrower(), new_year(), &["capannori-dpo"]);
    let schedule = schedule.with(schedule.check(&narrow, &registry, Some(now())).unwrap());
    let eve = Timestamp::from_millis(new_year().millis() - 1);
    assert_eq!(schedule.at(eve).sha256(), first);
    let second = schedule.at(new_year()).sha256();
    assert_ne!(second, first);
    assert_eq!((schedule.awaited(eve).count(), schedule.awaited(new_year()).count()), (1, 0));
    for sha256 in [first, second] {
        assert_eq!(schedule.policy(&sha256).unwrap().sha256(), sha256);
    }
}

#[test]
fn rollback_is_a_version_like_any_other() {
    let (schedule, registry) = (schedule(), registry());
    let narrow = proposal(&schedule, &narrower(), new_year(), &["capannori-dpo"]);
    let schedule = schedule.with(schedule.check(&narrow, &registry, Some(now())).unwrap());
    let back = |officers: &[&str]| {
        schedule.check(&proposal(&schedule, &SHIPPED, new_year(), officers), &registry, Some(now()))
    };
    assert!(matches!(refusal(back(&["capannori-dpo"])), PolicyRefusal::TwoAgencies));
    let schedule = schedule.with(back(&["capannori-dpo", "asl-dpo"]).unwrap());
    assert_eq!(schedule.at(new_year()).sha256(), schedule.at(now()).sha256());
}

#[test]
fn a_special_category_that_widens_without_a_new_assessment_is_a_warning_that_is_signed() {
    let row = "bisogni_cura                | B2   | intero | intero   | presenti c | intero  |";
    let files = changed("record/RT-06-valutazione_sociale.txt", row, &row.replace("presenti c", "intero c"));
    let after = Bundle::compile(files.clone()).unwrap();
    let text = document(schedule().last(), &after, new_year());
    assert!(text.contains("valutazione_sociale.bisogni_cura (F02)"), "{text}");
    assert!(check(&files, &["capannori-dpo", "cpi-dpo"]).is_ok());
}

#[test]
fn every_version_has_the_day_of_its_next_review_within_a_year() {
    let officers = ["capannori-dpo", "cpi-dpo"];
    let dated = |day: &str| changed("pacchetto.txt", "riesame = 2027-03-01", day);
    for wrong in ["", "riesame = 2026-12-31", "riesame = 2028-06-01"] {
        let mut files = dated(wrong);
        files.extend(wider().into_iter().filter(|(path, _)| path == CAPANNORI));
        assert!(matches!(refusal(check(&files, &officers)), PolicyRefusal::Review), "`{wrong}`");
    }
    // Confirming the rules as they are is a version of its own, and two agencies sign it.
    let confirmed = dated("riesame = 2027-12-31");
    assert!(check(&confirmed, &officers).is_ok());
    assert!(matches!(refusal(check(&confirmed, &["capannori-dpo"])), PolicyRefusal::TwoAgencies));
    // After the day nothing widens any more, but a body may still narrow its own data.
    let (schedule, registry) = (schedule(), registry());
    let spring: Timestamp = "2027-04-01T00:00:00Z".parse().unwrap();
    let late = proposal(&schedule, &wider(), spring, &officers);
    assert!(matches!(refusal(schedule.check(&late, &registry, Some(now()))), PolicyRefusal::Review));
    let narrow = proposal(&schedule, &narrower(), spring, &["capannori-dpo"]);
    assert!(schedule.check(&narrow, &registry, Some(now())).is_ok());
}

#[test]
fn a_new_party_record_type_and_purpose_are_texts_and_need_no_release() {
    let mut files = changed(
        "protocollo.txt",
        "cpi-lucca              | cpi    |",
        "ets-esempio            | ets    | Esempio ETS\ncpi-lucca              | cpi    |",
    );
    let record = "[record alloggio_temporaneo]\ncodice = RT-11\ntitolo = Alloggio temporaneo\ntitolare = comune\n\
        campo | tipo | categoria | nome\nposti | intero(0,20) | ordinaria | Posti\nstruttura | testo(60) | ordinaria | Struttura\n\
        [matrice alloggio_temporaneo]\nbase = B1\ncampo | T\nposti | intero\nstruttura | -\n";
    files.insert("record/RT-11-alloggio.txt".to_owned(), record.to_owned());
    let purpose = "[finalita F13-alloggi]\nnome = Bando alloggi 2027\ncaso = no\nconsenso = nessuno\nbase = B4\n\
        dal = 2027-01-01\nal = 2027-06-30\ncolonne = T\nconservazione = P6M\nrecord | campi\nalloggio_temporaneo | tutti\n";
    files.insert("alloggi.txt".to_owned(), purpose.to_owned());
    // The new party owns referrals: among those who sign is an officer of its own, whom the registry names.
    let mut registry = registry();
    let template = registry.officers.iter().find(|officer| officer.id.as_str() == "asl-direzione").unwrap();
    let (id, agency) = ("ets-dpo".parse::<OfficerId>().unwrap(), "ets-esempio".parse().unwrap());
    let newcomer = varco_core::registry::Officer { id: id.clone(), agency, ..template.clone() };
    registry.officers.push(newcomer);
    let schedule = schedule();
    let mut brought = proposal(&schedule, &files, new_year(), &["capannori-dpo", "cpi-dpo", "asl-dpo"]);
    let alone = schedule.check(&brought, &registry, Some(now()));
    assert!(matches!(refusal(alone), PolicyRefusal::OwnerMissing(owner) if owner == "ets-esempio"));
    let own = signed("asl-direzione", ACT_POLICY, &brought.document);
    brought.statements.push(OfficerStatement { officer: id, ..own });
    let version = schedule.check(&brought, &registry, Some(now())).unwrap();
    let party = |agency: &str, kind| Party { agency: agency.parse().unwrap(), kind, office: None };
    let facts = Facts {
        provider: party("comune-lucca", AgencyKind::Comune),
        consumer: party("ets-esempio", AgencyKind::Ets),
        case: None,
        consents: Vec::new(),
        restrictions: Vec::new(),
        acts: Vec::new(),
        household: Vec::new(),
        openings: Vec::new(),
    };
    let at = |now: Timestamp| {
        let (record_type, purpose) = ("alloggio_temporaneo".parse().unwrap(), "F13-alloggi".parse().unwrap());
        let question =
            Question { record_type: &record_type, purpose: &purpose, requested: None, facts: &facts, now };
        version.bundle.policy.decide(&question).map(|plan| plan.to_fetch())
    };
    assert_eq!(at(new_year()).unwrap(), ["posti".parse().unwrap()]);
    // A time-boxed initiative does not exist outside its dates.
    assert!(at("2027-07-01T00:00:00Z".parse().unwrap()).is_err());
}

#[test]
fn the_agreement_is_renewed_by_a_version_that_two_agencies_sign() {
    let renewed = changed("protocollo.txt", "al = 2029-02-28", "al = 2034-02-28");
    assert!(matches!(refusal(check(&renewed, &["capannori-dpo"])), PolicyRefusal::TwoAgencies));
    let version = check(&renewed, &["capannori-dpo", "asl-dpo"]).unwrap();
    assert_eq!(version.bundle.policy.agreement.until.to_string(), "2034-03-01T00:00:00.000Z");
    let text = document(schedule().last(), &version.bundle, new_year());
    assert!(text.contains("il protocollo vale fino al"), "{text}");
}

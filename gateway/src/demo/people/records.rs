//! What each agency knows of a person: the fields of the record types, with codes of their lists.
//!
//! Field names and formats are those of `policies/piana-di-lucca`. A field that does not apply is absent.

use serde_json::{Map, Value, json};
use varco_core::hash::Sha256;
use varco_core::subject::Sex;
use varco_core::time::{Date, Month};

use super::chance::Chance;
use super::{Household, Job, Person, Population, date, names, today};

type Record = Map<String, Value>;

/// ISEE bands (SINBA FasciaISEE): up to these euro, one band each; above the last, band 8.
const BANDS: [u32; 7] = [0, 3_000, 6_000, 9_000, 12_000, 15_000, 20_000];
/// Euro of ISEE up to which a household may get ADI (DL 48/2023, as of 2025).
const ADI_ISEE: u32 = 10_140;

/// `anagrafica_nucleo`
pub(super) fn registry(all: &Population, home: &Household, person: &Person) -> Record {
    let mut chance = all.chance(person, 1);
    let mut shared = Chance::of(all.seed ^ 2, u64::try_from(person.household).unwrap_or_default());
    let (dug, street) = shared.pick(&names::STREETS);
    let address = json!({
        "dug": dug,
        "odonimo": street,
        "civico": shared.between(1, 180).to_string(),
        "cap": home.comune.cap,
        "comune": home.comune.istat,
    });
    let members = all.people.get(home.members.clone()).unwrap_or_default();
    let minors = members.iter().filter(|member| member.is_minor()).count();
    let others = members.iter().filter(|member| member.code != person.code);
    let others: Vec<_> = others
        .map(|member| {
            json!({
                "cf": member.code.expose(),
                "relazione": member.relation,
                "data_nascita": day(member.birth),
            })
        })
        .collect();
    let mut record = Record::new();
    let mut put = |field: &str, value: Value| record.insert(field.to_owned(), value);
    put("codice_fiscale", person.code.expose().into());
    put("id_anpr", format!("XX{:08}", chance.below(100_000_000)).into());
    put("cognome", person.surname.into());
    put("nome", person.name.into());
    put("data_nascita", day(person.birth));
    put("sesso", if person.sex == Sex::Female { "F" } else { "M" }.into());
    put("comune_nascita", person.birthplace.belfiore.into());
    put("cittadinanza", home.citizenship.into());
    if !matches!(home.citizenship, "380" | "642") {
        put("titolo_soggiorno_tipo", chance.pick(&["permesso", "lungo_periodo", "protezione"]).into());
        put("titolo_soggiorno_motivo", chance.pick(&["lavoro", "famiglia", "protezione"]).into());
        put("titolo_soggiorno_scadenza", ahead(&mut chance));
    }
    put("residenza_indirizzo", address.clone());
    put("residenza_comune", home.comune.istat.into());
    put("domicilio_indirizzo", address);
    if !person.is_minor() {
        put("telefono", format!("+393330{:06}", chance.below(1_000_000)).into());
        put("email", format!("persona{}@posta.example", chance.below(1_000_000)).into());
        put("stato_civile", civil_status(&mut chance, person).into());
    }
    put("id_nucleo", format!("N-{}-{:06}", home.comune.istat, person.household).into());
    put("relazione_parentela", person.relation.into());
    put("numero_componenti", members.len().into());
    put("numero_minori", minors.into());
    put("componenti", others.into());
    if person.is_minor() {
        let parents = members.iter().filter(|member| matches!(member.relation, "1" | "2" | "26"));
        let parents: Vec<_> = parents
            .map(|parent| {
                json!({ "nome": format!("{} {}", parent.name, parent.surname), "ruolo": "genitore",
                    "contatto": "+390583000000" })
            })
            .collect();
        put("responsabilita_genitoriale", parents.into());
    }
    put("riservatezza_indirizzo", home.protected_address.into());
    record
}

/// `condizione_economica_prestazioni`
pub(super) fn economy(all: &Population, home: &Household, person: &Person) -> Record {
    let mut chance = all.chance(person, 3);
    let band = BANDS.iter().filter(|limit| home.isee > **limit).count() + 1;
    let adult = !person.is_minor();
    let minors = all.people.get(home.members.clone()).unwrap_or_default().iter().any(Person::is_minor);
    let mut record = Record::new();
    let mut put = |field: &str, value: Value| record.insert(field.to_owned(), value);
    put("isee_fascia", band.to_string().into());
    put("isee_sotto_soglia", json!({ "codice_soglia": "ADI", "si_no": home.isee <= ADI_ISEE }));
    put("isee_valore", euro(home.isee));
    put("isee_tipo", if minors { "minorenni" } else { "ordinario" }.into());
    put("isee_protocollo_dsu", format!("INPS-ISEE-2026-{:08}X-00", chance.below(100_000_000)).into());
    put("isee_scadenza", day(date(2026, Month::December, 31)));
    put("patrimonio_mobiliare", euro(chance.between(0, home.isee / 2 + 500)));
    put("patrimonio_immobiliare", euro(if chance.percent(20) { chance.between(8_000, 60_000) } else { 0 }));
    let place = all.by_code.get(&person.code).copied();
    let many = match place {
        Some(super::BRUNO) => 18,
        Some(super::ANNA) => 2,
        Some(_) | None => chance.below(4),
    };
    put("prestazioni", (0..many).map(|_| benefit(&mut chance)).collect());
    let poor = home.isee <= ADI_ISEE;
    if adult && poor && (minors || person.age() >= 60) {
        put("adi_sfl", measure("adi", &mut chance));
        put("obblighi_attivazione", if person.age() < 60 { "soggetto" } else { "escluso" }.into());
    } else if adult && poor && person.job == Job::Jobseeker {
        put("adi_sfl", measure("sfl", &mut chance));
        put("obblighi_attivazione", "soggetto".into());
    }
    if adult && poor && chance.percent(15) {
        put("obblighi_attivazione", "esonerato".into());
        put("motivo_esonero", chance.pick(&["salute", "cura"]).into());
    }
    if poor && chance.percent(30) {
        let what = chance.pick(&["utenze", "affitto", "alimentari", "spese_scolastiche"]);
        put("contributi_straordinari", json!([{ "tipo": what, "data": behind(&mut chance) }]));
    }
    let debts = poor && chance.percent(25);
    put("debiti_morosita", json!({ "presenti": debts }));
    record
}

/// `posizione_lavoro`; `None` for people the employment centre has never met.
pub(super) fn work(all: &Population, home: &Household, person: &Person) -> Option<Record> {
    let mut chance = all.chance(person, 5);
    let seeking = person.job == Job::Jobseeker;
    let met = seeking || (person.job == Job::Employed && chance.percent(40));
    if !met {
        return None;
    }
    let mut record = Record::new();
    let mut put = |field: &str, value: Value| record.insert(field.to_owned(), value);
    if !seeking {
        put("stato_occupazionale", "1".into());
        put("condizione_occupazionale", "occupato".into());
        put("percettore", "nessuno".into());
        return Some(record);
    }
    let months = chance.weigh(&[(30, 3), (30, 8), (20, 15), (20, 30)]) + chance.below(4);
    let class = 1 + u32::from(months > 6) + u32::from(months > 18 || home.isee < 4_000);
    let path = match class {
        1 => 1,
        2 => chance.weigh(&[(70, 2), (30, 3)]),
        _ => chance.weigh(&[(20, 3), (80, 4)]),
    };
    let declared = months_ago(months);
    put("stato_occupazionale", chance.pick(&["4", "5"]).into());
    put("condizione_occupazionale", "disoccupato".into());
    put("data_did", day(declared));
    put("stato_did", chance.weigh(&[(85, "convalidata"), (10, "inserita"), (5, "sospesa")]).into());
    put("mesi_disoccupazione", months.into());
    put("classe_profiling", class.to_string().into());
    put("indice_profiling", format!("0.{:02}", class * 30 - chance.below(25)).into());
    put("percorso_gol", path.to_string().into());
    let areas = ["competenze", "esperienza", "conciliazione", "mobilita"];
    let areas = areas.map(|area| (area.to_owned(), json!(chance.between(1, class + 1).to_string())));
    put("assessment_dimensioni", Value::Object(areas.into_iter().collect()));
    put("patto_id", pact(person).into());
    put("patto_data_firma", day(months_ago(months.saturating_sub(1))));
    put("patto_stato", chance.weigh(&[(85, "attivo"), (10, "sospeso"), (5, "chiuso")]).into());
    put("politiche_attive", (0..chance.between(1, 3)).map(|_| active_policy(&mut chance)).collect());
    let outcome = chance.weigh(&[(80, "presentato"), (15, "giustificato"), (5, "assente")]);
    put("convocazioni", json!([{ "data": behind(&mut chance), "esito": outcome }]));
    put("percettore", if home.isee <= ADI_ISEE { "adi" } else { chance.pick(&["naspi", "nessuno"]) }.into());
    put("retribuzione_prospettica_annua", euro(chance.below(7) * 1_000));
    if outcome == "assente" {
        put("evento_condizionalita", "mancata_presentazione".into());
    }
    put("operatore_cpi_referente", json!({ "nome": "Operatore del CPI", "contatto": "+390583000001" }));
    Some(record)
}

fn civil_status(chance: &mut Chance, person: &Person) -> &'static str {
    match person.relation {
        "2" => "2",
        "6" => chance.pick(&["2", "3"]),
        _ => chance.pick(&["1", "2", "4"]),
    }
}

fn benefit(chance: &mut Chance) -> Value {
    let (code, name, area) = chance.pick(&[
        ("A1.01", "Contributi economici per servizi scolastici", "1"),
        ("A1.05", "Contributi economici a integrazione del reddito familiare", "5"),
        ("A1.12", "Contributi economici per alloggio", "5"),
        ("A1.20", "Contributi economici per l'assistenza a persone non autosufficienti", "2"),
        ("A2.06", "Assistenza domiciliare socio-educativa", "1"),
    ]);
    let from = behind(chance);
    json!({
        "codice": code,
        "denominazione": name,
        "dal": from,
        "al": day(date(2026, Month::December, 31)),
        "carattere": chance.pick(&["periodico", "occasionale"]),
        "area_utenza": area,
        "importi": euro(chance.between(2, 40) * 10),
    })
}

fn measure(which: &str, chance: &mut Chance) -> Value {
    json!({
        "misura": which,
        "stato": chance.weigh(&[(90, "attiva"), (10, "sospesa")]),
        "dal": behind(chance),
        "al": ahead(chance),
    })
}

fn active_policy(chance: &mut Chance) -> Value {
    let (code, title) = chance.pick(&[
        ("A01", "Accoglienza e prima informazione"),
        ("A03", "Bilancio delle competenze"),
        ("B04", "Accompagnamento al lavoro"),
        ("C06", "Corso di aggiornamento"),
        ("D02", "Tirocinio extracurriculare"),
    ]);
    json!({
        "codice": code,
        "titolo": title,
        "dal": behind(chance),
        "al": ahead(chance),
        "ultimo_evento": chance.pick(&["avviata", "proposta", "conclusa"]),
    })
}

/// A number that is the person's and tells nothing of them.
fn pact(person: &Person) -> String {
    let digest = Sha256::of(person.code.normalised().as_bytes()).to_string();
    format!("PSP-{}", digest.chars().take(10).collect::<String>())
}

/// A day of the last year or two.
fn behind(chance: &mut Chance) -> Value {
    day(months_ago(chance.between(1, 20)))
}

/// A day of next year.
fn ahead(chance: &mut Chance) -> Value {
    let month = Month::try_from(u8::try_from(chance.between(1, 12)).unwrap_or(1)).unwrap_or(Month::June);
    day(date(today().year() + 1, month, 15))
}

/// The first of the month so many months before the demonstration's day.
fn months_ago(months: u32) -> Date {
    let total = today().year() * 12 + i32::from(u8::from(today().month())) - 1;
    let total = total - i32::try_from(months).unwrap_or_default();
    let month = u8::try_from(total.rem_euclid(12) + 1).ok().and_then(|month| Month::try_from(month).ok());
    date(total.div_euclid(12), month.unwrap_or(Month::January), 1)
}

fn day(date: Date) -> Value {
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()).into()
}

/// Money as text with two decimals: no binary fractions on the way.
fn euro(amount: u32) -> Value {
    format!("{amount}.00").into()
}

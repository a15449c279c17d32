//! What officers do while the gateway runs: policies that change, keys that are lost, deputies, people stopped at once.

use std::sync::Arc;
use std::time::Duration;

use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use varco::genesis::{ACT_REGISTRY, ACT_SUSPENSION};
use varco::http::exchange::BASE;
use varco::policies::{ACT_POLICY, Bundle, Files, PolicyProposal, document};
use varco_core::hash::Sha256;
use varco_core::json as canonical;
use varco_core::registry::{Registry, StandIn};
use varco_core::time::Timestamp;
use varco_core::wire::{Message, Statement};
use varco_jose::OfficerKey;

use crate::process::{run, said};
use crate::world::asks::{COACH, Situation};
use crate::world::client::Answer;
use crate::world::provider::Play;
use crate::world::{KIT, World, policies};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn key(officer: &str) -> OfficerKey {
    let known = KIT.officers.iter().find(|known| known.id.as_str() == officer).unwrap();
    OfficerKey::from_pem(known.key.serialize_pem().as_bytes()).unwrap()
}

/// A statement as it is brought, by whichever key.
fn statement(officer: &str, key: &OfficerKey, about: (&str, &str), at: Timestamp) -> Value {
    let (act, document) = about;
    let statement = Statement { act: act.to_owned(), sha256: Sha256::of(document.as_bytes()), at };
    json!({ "officer": officer, "jws": key.sign(&statement).unwrap() })
}

fn in_place_of(mut statement: Value, agency: &str) -> Value {
    statement["for"] = json!(agency);
    statement
}

async fn bring(world: &World, path: &str, body: &Value) -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let message = Message { headers, body: canonical::canonical(body).into_bytes() };
    world.client("comune-lucca").send("POST", &format!("{BASE}{path}"), message).await.unwrap()
}

/// The next version of the registry, changed, signed by these officers.
async fn next_registry(world: &World, officers: &[&str], change: impl FnOnce(&mut Registry)) -> Answer {
    let in_force = world.app().in_force.load_full();
    let mut next = in_force.registry.clone();
    next.version += 1;
    next.previous = Some(in_force.sha256);
    next.suspensions.clear();
    change(&mut next);
    let text = canonical::canonical_of(&next);
    let about = (ACT_REGISTRY, text.as_str());
    let statements: Vec<Value> =
        officers.iter().map(|officer| statement(officer, &key(officer), about, world.now())).collect();
    bring(world, "/registry", &json!({ "document": text, "statements": statements })).await
}

async fn suspend(world: &World, who: &Value, statements: impl Fn(&str) -> Vec<Value>) -> Answer {
    let text = canonical::canonical(who);
    bring(world, "/suspensions", &json!({ "document": text, "statements": statements(&text) })).await
}

/// The shipped bundle, one text replaced in one of its files.
fn changed(path: &str, from: &str, to: &str) -> Files {
    let texts = varco::start::bundle(&policies()).unwrap().into_iter();
    let mut files: Files = texts.map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap())).collect();
    let text = files.get_mut(path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {path}");
    *text = text.replacen(from, to, 1);
    files
}

fn shipped() -> Files {
    changed("pacchetto.txt", "nome", "nome")
}

/// What officers bring to have these files from an instant on.
fn proposal(files: &Files, from: Timestamp, statements: impl Fn(&str) -> Vec<Value>) -> Value {
    let before = Bundle::compile(shipped()).unwrap();
    let mut proposal = json!(PolicyProposal::between(&before.files, files));
    let text = document(&before, &Bundle::compile(files.clone()).unwrap(), from);
    proposal["statements"] = json!(statements(&text));
    proposal["document"] = json!(text);
    proposal
}

async fn status(world: &World) -> Value {
    world.client("cpi-lucca").get(&format!("{BASE}/status")).await.unwrap().json()
}

#[tokio::test]
async fn a_lost_key_is_replaced_by_two_other_officers_and_counts_no_more() {
    let world = World::start().await;
    let now = world.now();
    let new = KeyPair::generate().unwrap();
    let replaced = OfficerKey::from_pem(new.serialize_pem().as_bytes()).unwrap();
    let with = |registry: &mut Registry| {
        let officer = registry.officers.iter_mut().find(|one| one.id.as_str() == "capannori-dpo").unwrap();
        officer.key = *replaced.key();
        officer.public_key = new.public_key_pem();
    };
    // Alone, or with a colleague, nobody replaces a key.
    assert_eq!(next_registry(&world, &["capannori-segreteria"], with).await.status, 422);
    assert_eq!(next_registry(&world, &["cpi-dpo", "asl-dpo"], with).await.status, 200);
    let who = json!({ "agency": "comune-capannori", "operator": "op-cap-9", "from": now });
    let by = async |key: &OfficerKey| {
        suspend(&world, &who, |text| vec![statement("capannori-dpo", key, (ACT_SUSPENSION, text), now)]).await
    };
    assert_eq!(by(&key("capannori-dpo")).await.code(), "registry.invalid");
    assert_eq!(by(&replaced).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_deputy_signs_for_a_comune_whose_officer_is_away_and_only_for_its_time() {
    let world = World::start().await;
    let (now, until) = (world.now(), world.now().plus(DAY * 30));
    let mandate = StandIn { agency: "comune-montecarlo".parse().unwrap(), from: now, until };
    let with = |registry: &mut Registry| {
        let officer = registry.officers.iter_mut().find(|one| one.id.as_str() == "capannori-dpo").unwrap();
        officer.stands_in = vec![mandate.clone()];
    };
    assert_eq!(next_registry(&world, &["cpi-dpo", "asl-dpo"], with).await.status, 200);
    let deputy = key("capannori-dpo");
    let row = "ruolo | record | campo | al massimo | fonte\ntitolare | anagrafica_nucleo | email | - | Delibera di prova\n";
    let mut narrower = shipped();
    narrower.get_mut("regolamenti/comune-montecarlo.txt").unwrap().push_str(row);
    let signed = |agency: Option<&str>, at: Timestamp| {
        let agency = agency.map(str::to_owned);
        proposal(&narrower, world.now(), |text| {
            let own = statement("capannori-dpo", &deputy, (ACT_POLICY, text), at);
            vec![agency.as_deref().map_or(own.clone(), |agency| in_place_of(own, agency))]
        })
    };
    // For the Comune's own agency, and for one nobody gave a mandate for, the same signature is not enough.
    assert_eq!(bring(&world, "/policies", &signed(None, now)).await.status, 422);
    assert_eq!(bring(&world, "/policies", &signed(Some("comune-porcari"), now)).await.status, 422);
    let told = bring(&world, "/policies", &signed(Some("comune-montecarlo"), now)).await;
    assert_eq!(told.status, 200, "{}", told.json());
    // One person is never two agencies.
    let who = json!({ "agency": "cpi-lucca", "operator": COACH, "from": now });
    let twice = suspend(&world, &who, |text| {
        let own = statement("capannori-dpo", &deputy, (ACT_SUSPENSION, text), now);
        vec![own.clone(), in_place_of(own, "comune-montecarlo")]
    });
    assert!(twice.await.json()["detail"].as_str().unwrap().contains("more than once"));
    // When the time is over neither a new signature nor an old date helps.
    world.advance(DAY * 30);
    let who = json!({ "agency": "comune-montecarlo", "operator": "op-1", "from": world.now() });
    for at in [now, world.now()] {
        let late = suspend(&world, &who, |text| {
            let own = statement("capannori-dpo", &deputy, (ACT_SUSPENSION, text), at);
            vec![in_place_of(own, "comune-montecarlo")]
        });
        assert_eq!(late.await.code(), "registry.invalid");
    }
}

#[tokio::test]
async fn an_operator_and_an_agency_are_stopped_at_once_and_come_back_with_the_next_registry() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let now = world.now();
    let by = |officers: &'static [&'static str]| {
        move |text: &str| -> Vec<Value> {
            officers.iter().map(|id| statement(id, &key(id), (ACT_SUSPENSION, text), now)).collect()
        }
    };
    let operator = json!({ "agency": "cpi-lucca", "operator": COACH, "from": now });
    assert_eq!(suspend(&world, &operator, by(&["asl-dpo"])).await.status, 422, "another agency alone");
    assert_eq!(suspend(&world, &operator, by(&["cpi-dpo"])).await.status, 200);
    anna.cpi.post("/pulls", &anna.pull()).await.assert_refused(403, "wire.unknown-sender");
    // A colleague of the same agency is still somebody.
    let colleague = world.desk("cpi-lucca", "op-cpi-118");
    assert_eq!(colleague.get("/notices").await.status, 200);
    let agency = json!({ "agency": "cpi-lucca", "from": now });
    assert_eq!(suspend(&world, &agency, by(&["asl-dpo", "capannori-dpo"])).await.status, 200);
    colleague.get("/notices").await.assert_refused(403, "wire.unknown-sender");
    assert_eq!(anna.capannori.get(&format!("/cases/{}", anna.case)).await.status, 200);
    assert_eq!(next_registry(&world, &["asl-dpo", "capannori-dpo"], |_| ()).await.status, 200);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_does_not_compile_or_is_not_signed_as_it_must_changes_nothing_and_status_says_so() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let before = status(&world).await["policy"]["sha256"].clone();
    let mut broken = proposal(&shipped(), world.now(), |_| Vec::new());
    broken["changed"] = json!({ "legge.txt": "[legge]\ncategoria | verso | al massimo | fonte\nprotetta | cpo | - | prova\n" });
    let told = bring(&world, "/policies", &broken).await;
    assert_eq!((told.status, told.code().as_str()), (422, "policy.invalid"));
    let said = status(&world).await["policy"].clone();
    let refused = said["refused"].as_str().unwrap();
    assert!(refused.contains("legge.txt:3") && refused.contains("`cpi`"), "{refused}");
    assert_eq!((&said["sha256"], &said["awaited"]), (&before, &json!([])));
    let debts = "titolare | condizione_economica_prestazioni | debiti_morosita | *     | *       | *        | -          | Regolamento comunale sui dati, art. 12\n";
    let wider = changed("regolamenti/comune-capannori.txt", debts, "");
    let alone =
        |text: &str| vec![statement("capannori-dpo", &key("capannori-dpo"), (ACT_POLICY, text), world.now())];
    assert_eq!(bring(&world, "/policies", &proposal(&wider, world.now(), alone)).await.status, 422);
    let said = status(&world).await["policy"].clone();
    assert!(said["refused"].as_str().unwrap().contains("two agencies"), "{said}");
    assert_eq!(said["sha256"], before);
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    // The day of the yearly review is told ahead.
    assert_eq!(said["review"]["overdue"], json!(false));
    assert_eq!(said["review"]["warning"], "within_180_days");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_sees_one_version_whole_while_another_takes_over() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::played(Play::Held(Arc::clone(&gate))).await;
    let anna = Situation::of(&world).await;
    let row = "titolare | condizione_economica_prestazioni | isee_fascia, adi_sfl | * | * | * | - | Delibera di prova\n";
    let path = "regolamenti/comune-capannori.txt";
    let mut files = shipped();
    files.get_mut(path).unwrap().push_str(row);
    let signed =
        |text: &str| vec![statement("capannori-dpo", &key("capannori-dpo"), (ACT_POLICY, text), world.now())];
    let brought = proposal(&files, world.now(), signed);
    let (old, provider) = (world.app().policy_at(world.now()).sha256(), world.provider.as_ref().unwrap());
    let meanwhile = async {
        provider.asked().await;
        let told = bring(&world, "/policies", &brought).await;
        gate.add_permits(1000);
        told
    };
    let pull = anna.pull();
    let (begun, told) = tokio::join!(anna.cpi.post("/pulls", &pull), meanwhile);
    assert_eq!(told.status, 200, "{}", told.json());
    let new = world.app().policy_at(world.now()).sha256();
    assert_ne!(old, new);
    let after = anna.cpi.post("/pulls", &anna.pull()).await;
    for (told, policy, outcome) in [(&begun, old, "shown"), (&after, new, "withheld")] {
        assert_eq!(told.body["policy"]["sha256"], json!(policy));
        for field in ["isee_fascia", "adi_sfl"] {
            assert_eq!(told.outcome(field), outcome, "{field}");
        }
    }
}

#[tokio::test]
async fn a_draft_is_tried_on_the_requests_that_were_really_made() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    for _ in 0..3 {
        assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
        world.advance(DAY);
    }
    let row = "isee_tipo                |      | intero | intero   | -  ";
    let draft = world.folder.path("bozza");
    let path = "record/RT-07-condizione_economica_prestazioni.txt";
    for (name, text) in changed(path, row, &row.replace("-  ", "intero")) {
        let file = draft.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let database = format!("sqlite:{}", world.folder.path("varco.db").display());
    let simulate = |more: &[&str]| {
        let folder = draft.display().to_string();
        let keys = world.folder.path("anchor/body-keys").display().to_string();
        let all =
            [&["policy", "simulate", &folder, "--database", &database, "--body-keys", &keys, "--json"], more]
                .concat();
        let output = run(&world.folder.path(""), &all);
        let told: Value = serde_json::from_str(&said(&output)).unwrap();
        (output.status.code(), told)
    };
    let (code, told) = simulate(&[]);
    assert_eq!((code, &told["different"]), (Some(1), &json!(3)), "{told}");
    assert!(told["moved"].to_string().contains("isee_tipo"), "{told}");
    let yesterday = world.now().minus(DAY).to_string();
    let (_, told) = simulate(&["--since", &yesterday]);
    assert_eq!(told["different"], json!(1), "{told}");
    let (code, told) = simulate(&["--since", &world.now().to_string()]);
    assert_eq!((code, &told["different"]), (Some(0), &json!(0)), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_type_and_a_purpose_of_their_own_come_with_a_bundle_and_no_release() {
    let record = canonical::parse_as(br#"{ "numero": "A-1", "posizione": 12, "note": "mai" }"#).unwrap();
    let world = World::played(Play::Record(record)).await;
    let cpi = world.desk("cpi-lucca", COACH);
    let ask = json!({
        "record_type": "graduatoria_alloggi",
        "subject": crate::world::asks::anna(),
        "provider": "comune-capannori",
        "purpose": "F90",
    });
    cpi.post("/pulls", &ask).await.assert_refused(422, "request.invalid");
    let mut files = shipped();
    files.insert(
        "record/RT-90-graduatoria_alloggi.txt".to_owned(),
        "[record graduatoria_alloggi]\ncodice = RT-90\ntitolo = Graduatoria degli alloggi popolari\ntitolare = comune\n\
         campo | tipo | categoria | scala | ambito | nome\n\
         numero | testo(20) | ordinaria | | | Numero della domanda\n\
         posizione | intero(1,9999) | ordinaria | | | Posizione in graduatoria\n\
         note | testo(100) | ordinaria | | | Note dell'ufficio\n\n\
         [matrice graduatoria_alloggi]\nbase = B4\ncampo | base | C1 | C2 | P1 | P2 | CM | A1 | A2 | T | S\n\
         numero | | - | - | intero | - | - | - | - | - | -\n\
         posizione | | - | - | intero | - | - | - | - | - | -\n\
         note | | - | - | - | - | - | - | - | - | -\n"
            .to_owned(),
    );
    files.get_mut("finalita.txt").unwrap().push_str(
        "\n[finalita F90]\nnome = Emergenza abitativa\ncaso = no\nconsenso = nessuno\nbase = B4\ncolonne = P1\n\
         conservazione = P90D\nchiamate_giorno = 20\ndpia = DPIA-2026-01\nrecord | campi\ngraduatoria_alloggi | tutti\n",
    );
    // It widens: two officers of two agencies, one of the data's owner.
    let told = bring(
        &world,
        "/policies",
        &proposal(&files, world.now(), |text| {
            let by = |officer| statement(officer, &key(officer), (ACT_POLICY, text), world.now());
            vec![by("capannori-dpo"), by("cpi-dpo")]
        }),
    )
    .await;
    assert_eq!(told.status, 200, "{}", told.json());
    let told = cpi.post("/pulls", &ask).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    assert_eq!(Value::Object(told.record().unwrap().clone()), json!({ "numero": "A-1", "posizione": 12 }));
    assert_eq!(told.outcome("note"), "withheld");
}

//! `varco subject report`, as a desk uses it: two files that say the same, one sealed and one to be printed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use varco_core::wire::verify_record;

use super::{Deployed, run_in, said};
use crate::world::Folder;
use crate::world::asks::{COACH, RECORD_TYPE, Situation, anna};
use crate::world::desk::seal_trust;
use crate::world::provider::Play;

const LARGEST: usize = 1024 * 1024;

/// A folder with what a desk has at hand: who stands before it.
fn at_hand() -> Folder {
    let folder = Folder::new();
    std::fs::write(folder.path("persona.txt"), anna()["codice_fiscale"].as_str().unwrap()).unwrap();
    folder
}

fn report(deployed: &Deployed, folder: &Folder, (agency, operator): (&str, &str), more: &[&str]) -> Output {
    let words = deployed.asking(&["subject", "report"], agency, operator);
    let files = ["--subject", "persona.txt", "--access-point", "urp", "--jws", "r.jws", "--html", "r.html"];
    let all: Vec<&str> = words.iter().map(String::as_str).chain(files).chain(more.iter().copied()).collect();
    run_in(&folder.path(""), &all)
}

fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_keeps_a_sealed_document_and_a_page_that_name_no_staff_and_nothing_concealed() {
    let deployed = Deployed::start(Play::Honest, "").await;
    let situation = Situation::at(&deployed.ends()).await;
    let word = json!({ "capacity": "self", "method": "handwritten", "access_point": "urp" });
    let extent = json!({ "record_type": RECORD_TYPE, "fields": ["isee_fascia"] });
    let concealed = json!({ "subject": anna(), "ground": "concealment", "extent": extent, "word": word });
    assert_eq!(situation.capannori.post("/restrictions", &concealed).await.status, 201);
    let pulled = situation.cpi.post("/pulls", &situation.pull()).await;
    assert_eq!(pulled.status, 200, "{:?}", pulled.body);

    let folder = at_hand();
    let told = report(&deployed, &folder, ("comune-porcari", "op-por-001"), &[]);
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(said(&told).starts_with("1 comunicazioni"), "a screen is read by others: {}", said(&told));
    let ends = deployed.ends();
    let trust = seal_trust(ends.kit, (ends.clock)());
    let claims = verify_record(read(&folder, "r.jws").trim(), LARGEST, &trust).unwrap().claims;
    let line = &claims["report"]["disclosures"][0];
    assert_eq!(line["exchange"], json!(pulled.exchange()));
    assert_eq!(line["recipient"]["id"], json!("cpi-lucca"));
    let page = read(&folder, "r.html");
    assert!(
        page.contains("Centro per l&#39;impiego di Lucca") && page.contains("con il Suo consenso"),
        "{page}"
    );
    let person = anna()["codice_fiscale"].as_str().unwrap().to_owned();
    for text in [Value::Object(claims).to_string(), page, said(&told)] {
        for hidden in ["isee_fascia", "Fascia ISEE", "conceal", COACH, "op-por-001", "op-cap-042", &person] {
            assert!(!text.contains(hidden), "{hidden} is in {text}");
        }
    }
    for file in ["r.jws", "r.html"] {
        let mode = std::fs::metadata(folder.path(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file} is for the person and the desk");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_told_by_their_own_agency_for_a_ground_and_the_english_page_is_english() {
    let deployed = Deployed::start(Play::Honest, "").await;
    let situation = Situation::at(&deployed.ends()).await;
    assert_eq!(situation.cpi.post("/pulls", &situation.pull()).await.status, 200);
    let folder = at_hand();
    let with = ["--with-operators", "suspected-misuse", "--lang", "en"];
    let told = report(&deployed, &folder, ("cpi-lucca", "op-cpi-1"), &with);
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
    let page = read(&folder, "r.html");
    assert!(page.contains(COACH) && page.contains("Who has received your data"), "{page}");
    let told = report(&deployed, &folder, ("comune-capannori", "op-cap-1"), &with);
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(!read(&folder, "r.html").contains(COACH), "of the other agency's staff nothing is told");
    let told = report(&deployed, &folder, ("cpi-lucca", "op-cpi-1"), &["--capacity", "tutor"]);
    assert_eq!(told.status.code(), Some(1), "a tutor shows a decree");
    assert!(said(&told).contains("request.invalid"), "{}", said(&told));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs node"]
async fn the_documents_seal_is_checked_by_a_program_that_is_not_ours() {
    let deployed = Deployed::start(Play::Honest, "").await;
    let situation = Situation::at(&deployed.ends()).await;
    assert_eq!(situation.cpi.post("/pulls", &situation.pull()).await.status, 200);
    let folder = at_hand();
    let told = report(&deployed, &folder, ("comune-porcari", "op-por-001"), &[]);
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/report.mjs");
    let check = |jws: &str| {
        let pki = |file: &str| deployed.folder.path(&format!("pki/{file}"));
        let files = [pki("ca/seal.pem"), pki("gateway/seal.pem"), folder.path(jws)];
        Command::new("node").arg(&script).args(files).output().unwrap()
    };
    let checked = check("r.jws");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let claims: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(claims["report"]["disclosures"][0]["recipient"]["id"], json!("cpi-lucca"));
    let (head, rest) =
        read(&folder, "r.jws").split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let other = if rest.starts_with("eyJh") { "eyJi" } else { "eyJh" };
    std::fs::write(folder.path("changed.jws"), format!("{head}.{other}{}", rest.get(4..).unwrap())).unwrap();
    assert!(!check("changed.jws").status.success());
}

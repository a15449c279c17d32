//! `varco appeal`, as people at two agencies use it: from a refused field to the owner's words.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::{Deployed, run_in, said};
use crate::world::Folder;
use crate::world::asks::Situation;
use crate::world::provider::Play;

fn command(deployed: &Deployed, verb: &str, agency: &str, operator: &str) -> Vec<String> {
    deployed.asking(&["appeal", verb], agency, operator)
}

fn run(folder: &Path, words: &[String], more: &[&str]) -> Output {
    let all: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    run_in(folder, &all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_field_is_asked_for_approved_and_revoked_on_the_command_line() {
    let deployed = Deployed::start(Play::Honest, "").await;
    let anna = Situation::at(&deployed.ends()).await;
    let pulled = anna.cpi.post("/pulls", &anna.pull()).await;
    let (folder, asks) = (Folder::new(), |verb| command(&deployed, verb, "cpi-lucca", "op-cpi-117"));
    let here = folder.path("");
    let person = crate::world::asks::anna()["codice_fiscale"].as_str().unwrap().to_owned();
    std::fs::write(folder.path("persona.txt"), &person).unwrap();
    std::fs::write(folder.path("motivo.txt"), "Serve per il colloquio di martedì con la persona.").unwrap();
    let filed = run(
        &here,
        &asks("file"),
        &[
            "--exchange",
            pulled.exchange(),
            "--fields",
            "isee_tipo",
            "--reason",
            "motivo.txt",
            "--subject",
            "persona.txt",
            "--json",
        ],
    );
    assert_eq!(filed.status.code(), Some(0), "{}", said(&filed));
    let answer: Value = serde_json::from_str(&said(&filed)).unwrap();
    let id = answer["body"]["appeal"]["id"].as_str().unwrap().to_owned();
    let owner = |verb, operator| command(&deployed, verb, "comune-capannori", operator);
    let listed = said(&run(&here, &owner("list", "op-cap-1"), &[]));
    assert!(
        listed.contains(&id) && listed.contains("presentata") && listed.contains("isee_tipo:intero"),
        "{listed}"
    );
    let shown = run(&here, &owner("show", "op-cap-1"), &[&id, "--json"]);
    std::fs::write(folder.path("richiesta.json"), said(&shown)).unwrap();
    let key = deployed.folder.path("pki/officers/capannori-dpo/reading.key.pem").display().to_string();
    let read = run_in(&here, &["appeal", "read", "richiesta.json", "--key", &key]);
    let words: Value = serde_json::from_str(&said(&read)).unwrap();
    assert_eq!(
        words,
        json!({ "codice_fiscale": person, "reason": "Serve per il colloquio di martedì con la persona." })
    );
    let other = deployed.folder.path("pki/officers/asl-dpo/reading.key.pem").display().to_string();
    let closed = run_in(&here, &["appeal", "read", "richiesta.json", "--key", &other]);
    assert_eq!(closed.status.code(), Some(1));
    let until = varco::app::system_now().plus(std::time::Duration::from_secs(24 * 3600)).to_string();
    let approve = |operator| run(&here, &owner("approve", operator), &[&id, "--until", &until]);
    assert_eq!(approve("op-cap-1").status.code(), Some(0));
    assert_eq!(approve("op-cap-1").status.code(), Some(1), "the same person twice");
    let open = approve("op-cap-2");
    assert!(said(&open).contains("aperta"), "{}", said(&open));
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.outcome("isee_tipo"), "shown");
    let revoked = run(&here, &owner("revoke", "op-cap-1"), &[&id, "--reason", "motivo.txt"]);
    assert_eq!(revoked.status.code(), Some(0), "{}", said(&revoked));
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.outcome("isee_tipo"), "withheld");
}

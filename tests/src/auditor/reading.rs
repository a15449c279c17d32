//! The log as an auditor reads it: over HTTPS with the auditor's own certificate, from an export, and by watching.

use std::path::{Path, PathBuf};
use std::process::Output;

use varco::fetch::{Fetcher, Identity};
use varco_core::log::entry::{Draft, Erases, Kind, Slot, SlotName};
use varco_store::submission::Submission;

use super::independent::Checker;
use super::world::{Deployed, World};

/// The program itself, beside this test's own file. Cargo builds it only when it is told to, as `make test` does.
pub fn varco() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let program = here.parent().and_then(Path::parent).map(|folder| folder.join("varco")).unwrap();
    assert!(program.exists(), "{} is missing: run `cargo build --workspace --bins` first", program.display());
    program
}

pub async fn run(program: &Path, args: &[&str]) -> Output {
    let mut command = std::process::Command::new(program);
    command.args(args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub fn officer(world: &World, role: varco_core::registry::Role) -> PathBuf {
    let officer = world.deployed.kit.officers.iter().find(|officer| officer.role == role).unwrap();
    world.path("pki/officers").join(officer.id.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_auditors_read_entries_and_bodies_and_that_is_entered() {
    let world = Deployed::new().start("", &[]).await;
    world.fill(300).await;
    let before = world.running.app.store.checkpoint().head.size;
    let base = world.exchange();
    let ca = [world.deployed.authority()];
    let statuses = async |folder: &Path, certificate: &str, key: &str| {
        let (certificate, key) = (folder.join(certificate), folder.join(key));
        let identity = Identity { certificate: &certificate, key: &key };
        let fetcher = Fetcher::new(&ca, Some(&identity)).unwrap();
        let mut found = Vec::new();
        for path in ["log/checkpoint", "log/tile/0/000", "log/tile/entries/000", "log/bodies/000"] {
            found.push(fetcher.get(&format!("{base}/{path}")).await.unwrap().status);
        }
        found
    };
    let auditor = officer(&world, varco_core::registry::Role::Auditor);
    assert_eq!(statuses(&auditor, "channel.pem", "key.pem").await, [200; 4]);
    let agency = world.path("pki/agencies/cpi-lucca");
    let found = statuses(&agency, "channel.pem", "channel.key.pem").await;
    assert_eq!(found, [200, 200, 404, 404]);
    let other = officer(&world, varco_core::registry::Role::Officer);
    assert_eq!(statuses(&other, "channel.pem", "key.pem").await, [200, 200, 404, 404]);
    // One entry, and it says who read what.
    assert_eq!(world.running.app.store.checkpoint().head.size, before + 1);
    let slots = world.running.app.store.read().slots(before).await.unwrap();
    assert!(slots.decision.unwrap().body.contains(r#""first":0,"last":255"#));
    assert!(slots.operator.unwrap().body.contains(r#""role":"auditor""#));
    let public = Fetcher::new(&ca, None).unwrap();
    for path in ["tile/entries/000", "bodies/000"] {
        assert_eq!(public.get(&format!("{}/{path}", world.log())).await.unwrap().status, 404);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_accepted_by_go_and_by_us_and_each_change_is_found_by_both() {
    let varco = varco();
    let world = Deployed::new().start("", &[]).await;
    world.fill(520).await;
    let out = world.path("export");
    let (out, key) = (out.to_str().unwrap().to_owned(), world.deployed.log_key());
    let database = format!("sqlite:{}", world.path("varco.db").display());
    let anchor = world.path("anchor/checkpoint");
    let export = [
        "log",
        "export",
        "--database",
        &database,
        "--anchor",
        anchor.to_str().unwrap(),
        "--out",
        &out,
        "--key",
        &key,
    ];
    let exported = run(&varco, &export).await;
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let verify = ["log", "verify", "--export", &out, "--key", &key, "--lang", "en"];
    let verified = run(&varco, &verify).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let go = Checker::new(&world);
    if let Some(go) = &go {
        go.accepts(&out, &["-entries"]).await;
    }
    for (file, offset, ours, theirs) in [
        ("tile/entries/000", 700, "ALTERED", "is not what was logged"),
        ("tile/0/001", 77, "is not what", "do not lead"),
        ("tile/1/000.p/2", 33, "is not what the entries make it", "is not what the leaves make it"),
        ("bodies/001", 150, "", ""),
        ("checkpoint", 40, "", "checkpoint"),
        ("checkpoint", 150, "", "checkpoint"),
    ] {
        let path = Path::new(&out).join(file);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[offset] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let found = run(&varco, &verify).await;
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(!found.status.success(), "{file}");
        assert!(said.to_lowercase().contains(&ours.to_lowercase()), "{file}: {said}");
        if let Some(go) = &go {
            go.rejects(&out, &["-entries"], theirs).await;
        }
        std::fs::write(&path, &good).unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_the_public_checks_the_tree_and_the_auditor_every_body() {
    let varco = varco();
    let world = Deployed::new().start("", &[]).await;
    world.fill(300).await;
    let app = &world.running.app;
    let mut draft = Draft::new(Kind::Erasure, app.new_exchange(app.now()));
    draft.erases = Erases::new(5, 9, &[SlotName::Subject]);
    draft.slots.decision = Some(Slot::new(app.random(), &serde_json::json!({ "reason": "test" })));
    app.store.append(Submission::new(draft)).await.unwrap();
    let (ca, key) = (world.deployed.authority(), world.deployed.log_key());
    let (ca, log, exchange) = (ca.to_str().unwrap(), world.log(), world.exchange() + "/log");
    let public = run(&varco, &["log", "verify", "--url", &log, "--ca", ca, "--key", &key, "--json"]).await;
    let said = String::from_utf8_lossy(&public.stdout).into_owned();
    assert!(public.status.success() && said.contains(r#""entries_checked":false"#), "{said}");
    let auditor = officer(&world, varco_core::registry::Role::Auditor);
    let (certificate, own) = (auditor.join("channel.pem"), auditor.join("key.pem"));
    let mut args = vec!["log", "verify", "--url", &exchange, "--ca", ca, "--key", &key, "--json"];
    args.extend(["--certificate", certificate.to_str().unwrap(), "--client-key", own.to_str().unwrap()]);
    let audited = run(&varco, &args).await;
    let said = String::from_utf8_lossy(&audited.stdout).into_owned();
    assert!(audited.status.success() && said.contains(r#""entries_checked":true"#), "{said}");
    assert!(said.contains("erased-by-order"), "{said}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_notices_a_log_that_was_rewritten() {
    let varco = varco();
    let world = Deployed::new().start("", &[]).await;
    world.fill(10).await;
    let (ca, key, state) = (world.deployed.authority(), world.deployed.log_key(), world.path("seen"));
    let log = world.log();
    let args = ["log", "watch", "--url", &log, "--ca", ca.to_str().unwrap(), "--key", &key, "--lang", "en"];
    let args = [&args[..], &["--state", state.to_str().unwrap()]].concat();
    let said = async || {
        let output = run(&varco, &args).await;
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(said().await, (true, "first checkpoint, entries: 11\n".to_owned()));
    assert_eq!(said().await, (true, "nothing new, entries: 11\n".to_owned()));
    world.fill(300).await;
    assert!(said().await.1.contains("the log continues what was seen: 11 → 311"));
    // What it remembers is of another history, signed by the same key.
    let pem = world.deployed.kit.log_key.serialize_pem();
    let origin = world.running.app.log.origin();
    let signer = varco_jose::Ed25519NoteKey::from_pem(origin, pem.as_bytes()).unwrap();
    let other = varco_core::log::checkpoint::Checkpoint {
        origin: origin.to_owned(),
        size: 200,
        root: varco_core::hash::Sha256::of(b"another history"),
    };
    let note = other.sign(&[&signer]).unwrap().to_string();
    std::fs::write(&state, &note).unwrap();
    let (good, told) = said().await;
    assert!(!good && told.contains("FORK"), "{told}");
    let evidence = std::fs::read_to_string(world.path("seen.fork")).unwrap();
    assert!(evidence.contains(&note) && evidence.matches('\u{2014}').count() == 2);
    std::fs::write(&state, note.replace("200", "201")).unwrap();
    assert!(!said().await.0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_by_person_takes_a_reason_and_is_itself_entered() {
    let world = Deployed::new().start("", &[]).await;
    world.fill(60).await;
    let app = &world.running.app;
    let anna = varco::demo::people::Population::generate(1, 3).people()[0].code.clone();
    let mut draft = Draft::new(Kind::Disclosure, app.new_exchange(app.now()));
    draft.consumer = Some("asl-toscana-nord-ovest".parse().unwrap());
    draft.provider = Some("comune-capannori".parse().unwrap());
    let mut about = Submission::new(draft);
    about.subjects = app.keys.load().all(&anna);
    app.store.append(about).await.unwrap();
    let ca = [world.deployed.authority()];
    let url = format!("{}/log/search", world.exchange());
    let ask = async |folder: PathBuf, files: (&str, &str), body: serde_json::Value| {
        let (certificate, key) = (folder.join(files.0), folder.join(files.1));
        let fetcher = Fetcher::new(&ca, Some(&Identity { certificate: &certificate, key: &key })).unwrap();
        let answer = fetcher.post(&url, body.to_string()).await.unwrap();
        (answer.status, serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap())
    };
    let auditor = async |body| {
        let folder = officer(&world, varco_core::registry::Role::Auditor);
        ask(folder, ("channel.pem", "key.pem"), body).await
    };
    let person = serde_json::json!({ "codice_fiscale": anna.expose() });
    let (status, refused) = auditor(serde_json::json!({ "subject": person })).await;
    assert_eq!((status, &refused["code"]), (422, &serde_json::json!("request.invalid")));
    let reason = "reclamo 12/2026";
    let asked = serde_json::json!({ "subject": person, "reason": reason });
    let (status, found) = auditor(asked).await;
    assert_eq!(status, 200, "{found}");
    // The search is about the person too: it is the newest entry, and the disclosure comes next.
    let kinds: Vec<_> =
        found["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds, ["read", "disclosure"]);
    let last = app.store.checkpoint().head.size - 1;
    let slots = app.store.read().slots(last).await.unwrap();
    assert!(slots.decision.as_ref().unwrap().body.contains(reason));
    for slot in [&slots.decision, &slots.operator, &slots.subject] {
        assert!(!slot.as_ref().unwrap().body.contains(anna.expose()));
    }

    // Pages follow one another without gap or repetition.
    let mut seen = Vec::new();
    let mut before = serde_json::Value::Null;
    loop {
        let filter = serde_json::json!({ "operator": "op-3", "purpose": "F01" });
        let (_, page) = auditor(serde_json::json!({ "filter": filter, "before": before, "limit": 2 })).await;
        seen.extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["index"].as_u64().unwrap()));
        before = page["next"].clone();
        if before.is_null() {
            break;
        }
    }
    let wanted: Vec<u64> = (0..60).rev().filter(|n| n % 7 == 3 && n % 3 != 0).map(|n| n + 1).collect();
    assert_eq!(seen, wanted);

    // An agency sees its own and nothing else; a mere officer nothing.
    let cpi = world.path("pki/agencies/cpi-lucca");
    let files = ("channel.pem", "channel.key.pem");
    let (_, own) = ask(cpi.clone(), files, serde_json::json!({ "limit": 500 })).await;
    let own = own["entries"].as_array().unwrap();
    assert!(own.len() > 20 && own.iter().all(|entry| entry["consumer"] == "cpi-lucca"));
    let others = serde_json::json!({ "filter": { "agency": "comune-lucca" } });
    assert_eq!(ask(cpi, files, others).await.0, 422);
    let mere = officer(&world, varco_core::registry::Role::Officer);
    assert_eq!(ask(mere, ("channel.pem", "key.pem"), serde_json::json!({})).await.0, 404);
    world.stop().await;
}

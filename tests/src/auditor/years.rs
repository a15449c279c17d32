//! A log over New Year, from outside: each year is a log of its own that programs which are not ours accept, and the
//! next one begins where it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use varco::app::{Clock, system_now};
use varco_core::hash::Sha256;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::note::{ED25519, VerifierKey};
use varco_core::time::Timestamp;
use varco_jose::Ed25519NoteKey;

use super::independent::Checker;
use super::reading::{officer, run, varco};
use super::witness::{prefix, watching};
use super::world::{Deployed, World};

/// How far the gateway's clock is ahead of the machine's, in milliseconds.
type Ahead = Arc<AtomicI64>;

fn clock() -> (Ahead, Clock) {
    let ahead = Ahead::default();
    let by = Arc::clone(&ahead);
    let clock = move || Timestamp::from_millis(system_now().millis() + by.load(Ordering::SeqCst));
    (ahead, Arc::new(clock))
}

async fn start() -> (World, Ahead) {
    let (ahead, clock) = clock();
    (Deployed::new().start_as("sqlite:varco.db", ("", &[]), clock).await, ahead)
}

/// The year that comes, and until then.
fn to_new_year() -> (i32, i64) {
    let now = system_now();
    let year = now.date().year() + 1;
    let first = varco_core::time::parse_date(&format!("{year}-01-01")).unwrap();
    (year, Timestamp::start_of(first).millis() - now.millis() + 3_600_000)
}

/// The log's key under the name of another of its shards.
fn key_of(world: &World, origin: &str) -> String {
    let key: VerifierKey = world.deployed.log_key().parse().unwrap();
    VerifierKey::new(origin, ED25519, key.public()).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_year_is_a_log_that_go_accepts_and_all_are_one_history_to_us() {
    let varco = varco();
    let (world, ahead) = start().await;
    let mut receipts = world.fill(300).await;
    let old = world.path("old");
    std::fs::write(&old, world.running.app.store.checkpoint().note.as_bytes()).unwrap();
    let (year, until) = to_new_year();
    ahead.store(until, Ordering::SeqCst);
    receipts.extend(world.fill(300).await);
    let first = world.running.app.log.origin().to_owned();
    let second = format!("{first}/{year}");
    let store = &world.running.app.store;
    assert_eq!((store.checkpoint().shard.origin.as_str(), store.checkpoint().end()), (second.as_str(), 603));
    receipts.iter().for_each(|receipt| world.running.app.log.check(receipt).unwrap());

    let (ca, key) = (world.deployed.authority(), world.deployed.log_key());
    let (ca, log, later) = (ca.to_str().unwrap(), world.log(), format!("{}/{year}", world.log()));
    if let Some(go) = Checker::new(&world) {
        let kept = world.path("kept.tlog-proof");
        std::fs::write(&kept, receipts[7].to_text()).unwrap();
        go.accepts(&log, &["-old", old.to_str().unwrap(), "-receipts", kept.to_str().unwrap()]).await;
        go.rejects(&log, &["-flip", "tile/0/001.p/46@70"], "do not lead").await;
        let new = Checker { key: key_of(&world, &second), ..go };
        std::fs::write(&kept, receipts[500].to_text()).unwrap();
        new.accepts(&later, &["-receipts", kept.to_str().unwrap()]).await;
        new.rejects(&later, &["-flip", "tile/0/000@70"], "do not lead").await;
        new.rejects(&log, &[], "checkpoint").await;
    }
    let public = run(&varco, &["log", "verify", "--url", &log, "--ca", ca, "--key", &key, "--json"]).await;
    let said: serde_json::Value = serde_json::from_slice(&public.stdout).unwrap();
    assert!(public.status.success(), "{said}");
    assert_eq!(
        (&said["size"], &said["shards"][1]["first"]),
        (&serde_json::json!(603), &serde_json::json!(302))
    );
    let auditor = officer(&world, varco_core::registry::Role::Auditor);
    let (certificate, private) = (auditor.join("channel.pem"), auditor.join("key.pem"));
    let exchange = world.exchange() + "/log";
    let mut args = vec!["log", "verify", "--url", &exchange, "--ca", ca, "--key", &key, "--json"];
    args.extend(["--certificate", certificate.to_str().unwrap(), "--client-key", private.to_str().unwrap()]);
    let read = run(&varco, &args).await;
    let said: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    assert!(read.status.success(), "{said}");
    assert_eq!(
        (&said["bodies_checked"], &said["broken_links"]),
        (&serde_json::json!(true), &serde_json::json!([]))
    );
    exports(&world, &varco, &second).await;
    world.stop().await;
}

/// Each year can be handed over alone; the whole is verified where it lies.
async fn exports(world: &World, varco: &std::path::Path, second: &str) {
    let database = format!("sqlite:{}", world.path("varco.db").display());
    let (anchor, key) = (world.path("anchor/checkpoint"), world.deployed.log_key());
    let anchor = anchor.to_str().unwrap();
    let whole =
        run(varco, &["log", "verify", "--database", &database, "--anchor", anchor, "--key", &key]).await;
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stdout));
    let shards = world.running.app.store.read().shards().await.unwrap();
    let varco_store::trees::Ending::Closed(Some(last)) = &shards[0].state else { panic!("{shards:?}") };
    let ended = world.path("ended");
    std::fs::write(&ended, last.as_bytes()).unwrap();
    let keys = world.path("anchor/body-keys");
    let mut folders = Vec::new();
    for (name, from) in
        [("year-1", ["--checkpoint", ended.to_str().unwrap()]), ("year-2", ["--anchor", anchor])]
    {
        let out = world.path(name);
        let out = out.to_str().unwrap();
        let mut args = vec!["log", "export", "--database", &database, "--out", out, "--key", &key];
        args.extend(from);
        if name == "year-1" {
            args.extend(["--body-keys", keys.to_str().unwrap()]);
        }
        let exported = run(varco, &args).await;
        assert!(exported.status.success(), "{name}: {}", String::from_utf8_lossy(&exported.stderr));
        let verified = run(varco, &["log", "verify", "--export", out, "--key", &key]).await;
        assert!(verified.status.success(), "{name}: {}", String::from_utf8_lossy(&verified.stdout));
        folders.push(out.to_owned());
        if let Some(go) = Checker::new(world) {
            let key = if name == "year-1" { key.clone() } else { key_of(world, second) };
            Checker { key, ..go }.accepts(out, &["-entries"]).await;
        }
    }
    // Both years together are one history; a year of another log does not follow on this one.
    let [one, two] = folders.as_slice() else { panic!("{folders:?}") };
    let together = ["log", "verify", "--export", two, "--export", one, "--key", &key, "--lang", "en"];
    let verified = run(varco, &together).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let shard = std::path::Path::new(two).join("tile/entries/000");
    let mut bytes = std::fs::read(&shard).unwrap();
    let at = bytes.windows(6).position(|window| window == b"\"root\"").unwrap() + 10;
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    std::fs::write(&shard, bytes).unwrap();
    let refused = run(varco, &together).await;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && said.contains("does NOT continue the one before"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_follows_over_new_year_and_refuses_another_end_of_the_old_one() {
    let varco = varco();
    let (world, ahead) = start().await;
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
    ahead.store(to_new_year().1, Ordering::SeqCst);
    world.fill(20).await;
    assert_eq!(said().await, (true, "the log continues what was seen: 11 \u{2192} 33\n".to_owned()));
    assert_eq!(said().await, (true, "nothing new, entries: 33\n".to_owned()));
    // The log's key has signed another end of the old year.
    let origin = world.running.app.log.origin();
    let pem = world.deployed.kit.log_key.serialize_pem();
    let signer = Ed25519NoteKey::from_pem(origin, pem.as_bytes()).unwrap();
    let root = Sha256::of(b"another end");
    for size in [12, 13] {
        let other = Checkpoint { origin: origin.to_owned(), size, root };
        std::fs::write(&state, other.sign(&[&signer]).unwrap().to_string()).unwrap();
        let (good, told) = said().await;
        assert!(!good && told.contains("FORK"), "{told}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_follows_over_new_year_and_cosigns_the_end_of_the_old_one() {
    let kept = Deployed::new();
    let (witness, verifier) = watching(&kept).await;
    let policy = format!("witness W {verifier} {}\nquorum W\n", prefix(&witness));
    std::fs::write(kept.folder.join("policy"), policy).unwrap();
    let more = format!(
        "[witnesses]\npolicy = \"policy\"\nauthorities = [\"{}\"]\nevery = \"1h\"\nalarm = \"5m\"\n",
        witness.deployed.authority().display()
    );
    let (ahead, clock) = clock();
    let log = kept.start_as("sqlite:varco.db", (&more, std::slice::from_ref(&verifier)), clock).await;
    let app = &log.running.app;
    let witnesses = app.witnesses.as_ref().unwrap();
    log.fill(5).await;
    assert!(witnesses.round(app).await, "{:?}", witnesses.quorum(app.now()));
    let (year, until) = to_new_year();
    ahead.store(until, Ordering::SeqCst);
    log.fill(300).await;
    // Nobody changed a configuration, here or there.
    assert!(witnesses.round(app).await, "{:?}", witnesses.quorum(app.now()));
    assert_eq!(witnesses.cosigned().unwrap().head, app.store.checkpoint().head);
    log.fill(10).await;
    assert!(witnesses.round(app).await, "{:?}", witnesses.quorum(app.now()));
    let second = format!("{}/{year}", app.log.origin());
    if let Some(go) = Checker::new(&log) {
        go.accepts(&log.log(), &["-cosigned", &verifier]).await;
        let new = Checker { key: key_of(&log, &second), ..go };
        new.accepts(&format!("{}/{year}", log.log()), &["-cosigned", &verifier]).await;
    }
    witness.stop().await;
    log.stop().await;
}

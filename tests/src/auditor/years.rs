//! A log over New Year, from outside: each year is a log of its own that programs which are not ours accept, and the
//! next one begins where it has ended.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use varco::app::{Clock, system_now};
use varco::fetch::{Fetcher, Identity};
use varco_core::hash::Sha256;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::note::{ED25519, VerifierKey};
use varco_core::time::Timestamp;
use varco_jose::Ed25519NoteKey;

use super::independent::Checker;
use super::reading::{officer, run, varco};
use super::receiver::{Answer, Receiver, acceptor};
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

/// What becomes of the list of shards on its way.
type Forge = fn(&mut Value);

/// A log whose list of shards is another than the gateway's; everything else is passed on.
async fn forging(world: &World, forge: impl Fn(&mut Value) + Send + Sync + 'static) -> Receiver {
    let fetcher = Arc::new(Fetcher::new(&[world.deployed.authority()], None).unwrap());
    let (log, here) = (world.log(), tokio::runtime::Handle::current());
    let answer: Answer = Arc::new(move |_, path: &[u8]| {
        let path = std::str::from_utf8(path).unwrap().strip_prefix("/log").unwrap();
        let url = format!("{log}{path}");
        let found = tokio::task::block_in_place(|| here.block_on(fetcher.get(&url))).unwrap();
        if path != "/shards" {
            return (found.status, found.body.to_vec());
        }
        let mut list = serde_json::from_slice(&found.body).unwrap();
        forge(&mut list);
        (200, list.to_string().into_bytes())
    });
    Receiver::start(Some(acceptor(&world.deployed.kit)), answer).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forged_list_of_shards_is_refused() {
    let varco = varco();
    let (world, ahead) = start().await;
    world.fill(20).await;
    ahead.store(to_new_year().1, Ordering::SeqCst);
    world.fill(20).await;
    let (ca, key) = (world.deployed.authority(), world.deployed.log_key());
    let verify = async |forge: Forge| {
        let gateway = forging(&world, forge).await;
        let log = format!("https://localhost:{}/log", gateway.port);
        let ca = ca.to_str().unwrap();
        let output =
            run(&varco, &["log", "verify", "--url", &log, "--ca", ca, "--key", &key, "--lang", "en"]).await;
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        (output.status.success(), said)
    };
    let (good, said) = verify(|_| ()).await;
    assert!(good, "{said}");
    let forged: [(&str, Forge); 6] = [
        ("no shard", |list| list["shards"] = json!([])),
        ("the seam's proof is missing", |list| {
            drop(list["shards"][1].as_object_mut().unwrap().remove("open"))
        }),
        ("the proofs are swapped", |list| {
            let freeze = list["shards"][0]["freeze"].clone();
            list["shards"][1]["open"] = freeze;
        }),
        ("entries are passed over", |list| list["shards"][1]["first"] = json!(23)),
        ("the old year ended elsewhere", |list| {
            let newer = list["shards"][1]["checkpoint"].clone();
            list["shards"][0]["checkpoint"] = newer;
        }),
        ("the new year is another log's", |list| {
            list["shards"][1]["origin"] = json!("elsewhere.example/2027")
        }),
    ];
    for (what, forge) in forged {
        let (good, said) = verify(forge).await;
        assert!(!good, "{what}: {said}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_searched_asked_after_an_incident_and_held_against_receipts_spans_both_years() {
    let varco = varco();
    let (world, ahead) = start().await;
    let mut receipts = world.fill(42).await;
    let before = world.running.app.now();
    ahead.store(to_new_year().1, Ordering::SeqCst);
    receipts.extend(world.fill(42).await);
    let auditor = officer(&world, varco_core::registry::Role::Auditor);
    let (certificate, key) = (auditor.join("channel.pem"), auditor.join("key.pem"));
    let identity = Identity { certificate: &certificate, key: &key };
    let fetcher = Fetcher::new(&[world.deployed.authority()], Some(&identity)).unwrap();
    let ask = async |path: &str, body: Value| -> Value {
        let url = format!("{}{path}", world.exchange());
        let answer = fetcher.post_as("application/json", &url, body.to_string().into()).await.unwrap();
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        serde_json::from_slice(&answer.body).unwrap()
    };
    let day = std::time::Duration::from_secs(86_400);
    let (from, until) = (before.minus(day), world.running.app.now().plus(day));
    // Of six entries of this operator in each year, one is a denial.
    let inquiry = json!({ "from": from, "until": until, "operator": "op-1" });
    let told = ask("/log/incidents", json!({ "inquiry": inquiry, "reason": "violazione n. 4" })).await;
    let one_year = json!({ "from": from, "until": before.plus(day), "operator": "op-1" });
    let old = ask("/log/incidents", json!({ "inquiry": one_year, "reason": "violazione n. 4" })).await;
    let count = |told: &Value| told["disclosures"].as_u64().unwrap();
    assert!(count(&old) > 0 && count(&told) == 2 * count(&old), "{told} and {old}");

    let (mut found, mut last) = (Vec::new(), Value::Null);
    for _ in 0..20 {
        let filter = json!({ "operator": "op-1", "consumer": "cpi-lucca" });
        let page = ask("/log/search", json!({ "filter": filter, "before": last, "limit": 2 })).await;
        found
            .extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["index"].as_u64().unwrap()));
        last = page["next"].clone();
        if last.is_null() {
            break;
        }
    }
    // One after the other, from the newest to the first: no page ends at New Year.
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(found.is_sorted_by(|a, b| a > b) && found[2] > 44 && found[3] < 43, "{found:?}");
    held(&world, (&varco, &receipts)).await;
    world.stop().await;
}

/// What the two parties of all entries hold, of both years.
async fn held(world: &World, (varco, receipts): (&Path, &[varco_core::log::proof::Receipt])) {
    let folder = world.path("capannori");
    std::fs::create_dir_all(&folder).unwrap();
    for (n, receipt) in receipts.iter().enumerate() {
        std::fs::write(folder.join(format!("{n}.tlog-proof")), receipt.to_text()).unwrap();
    }
    let party = format!("comune-capannori={}", folder.display());
    let (database, key) = (format!("sqlite:{}", world.path("varco.db").display()), world.deployed.log_key());
    let args = ["log", "reconcile", "--party", &party, "--database", &database, "--key", &key, "--json"];
    let reconcile = async || {
        let output = run(varco, &args).await;
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.success(), told)
    };
    let (good, told) = reconcile().await;
    assert!(good && told["receipts"] == 84, "{told}");
    std::fs::remove_file(folder.join("5.tlog-proof")).unwrap();
    std::fs::remove_file(folder.join("70.tlog-proof")).unwrap();
    let (good, told) = reconcile().await;
    let missing = &told["parties"][0]["without_receipt"];
    assert!(!good && missing.as_array().unwrap().len() == 2, "{told}");
    // Every entry of both years is read again; none of these was decided by a policy.
    let bodies = world.path("anchor/body-keys");
    let args = ["log", "replay", "--database", &database, "--body-keys", bodies.to_str().unwrap(), "--json"];
    let output = run(varco, &args).await;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.success(), &told["undecided"]), (true, &json!(84)), "{told}");
}

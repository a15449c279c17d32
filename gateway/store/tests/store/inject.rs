//! Faults of the disk at every write and every sync of a small run, made by strace: whatever happens, an acknowledged
//! entry is there afterwards, and the log is whole.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_store::store::{Limits, Options, Store};
use varco_store::submission::{AppendError, ClaimError};

use crate::log::audit;
use crate::world::*;

const DIRECTORY: &str = "VARCO_TEST_INJECT_DIRECTORY";
const WAIT: &str = "VARCO_TEST_INJECT_WAIT_MS";

/// Exchanges of a run, each a claim and an entry.
const EXCHANGES: u64 = 3;

/// What reaches the disk.
const WRITES: &str = "pwrite64,ftruncate";
const SYNCS: &str = "fsync,fdatasync";

#[expect(clippy::disallowed_methods, reason = "how the test hands its child what to do")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The small run: claims and enters, and says what was acknowledged and what was refused.
#[tokio::test]
#[ignore = "runs only as the child of the other tests here, which break its disk"]
async fn child() {
    let Some(directory) = variable(DIRECTORY) else { return };
    // The test harness has not ended its line.
    println!();
    let world = std::mem::ManuallyDrop::new(here(Path::new(&directory)));
    let wait = variable(WAIT).map_or(2000, |text| text.parse().unwrap());
    let limits = Limits { commit_wait: Duration::from_millis(wait), ..Limits::default() };
    let store = match Store::open(Options { limits, ..world.options() }).await {
        Ok(store) => store,
        Err(fault) => return println!("closed {fault}"),
    };
    for n in 100..100 + EXCHANGES {
        match store.claim(claim(n, &format!("jti-{n}"))).await {
            Ok(()) => println!("claimed {n}"),
            Err(ClaimError::Unavailable(_)) => println!("refused {n}"),
            Err(fault) => panic!("{fault}"),
        }
        match store.append(closing(n)).await {
            Ok(_) => println!("entered {n}"),
            Err(AppendError::Unavailable(_) | AppendError::ClaimGone) => println!("refused {n}"),
            Err(fault) => panic!("{fault}"),
        }
    }
    store.close().await;
    println!("ended");
}

fn here(directory: &Path) -> World {
    World::at(directory.to_owned(), format!("sqlite:{}", directory.join("varco.db").display()))
}

/// A log with some entries, to be copied for each run.
async fn template(name: &str) -> World {
    let world = World::sqlite(name);
    let store = world.open().await;
    for n in 0..5 {
        store.append(disclosure(n)).await.unwrap();
    }
    store.close().await;
    world
}

/// Runs the child on a copy of the template with a fault injected.
fn run(template: &World, inject: &[&str], wait_ms: u64) -> (World, Output) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let world = here(&directory(&format!("inject-{}", COUNT.fetch_add(1, Ordering::SeqCst))));
    copy(&template.directory, &world.directory);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    for file in ["varco.db", "varco.db-wal", "anchor"] {
        strace.arg("-P").arg(world.directory.join(file));
    }
    for inject in inject {
        strace.args(["-e", &format!("inject={inject}")]);
    }
    let output = strace
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inject::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, &world.directory)
        .env(WAIT, wait_ms.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (world, output)
}

/// The numbers the child has said a word about.
fn said(output: &Output, word: &str) -> BTreeSet<u64> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().filter_map(|line| line.split_once(' '));
    words.filter(|(what, _)| *what == word).filter_map(|(_, n)| n.parse().ok()).collect()
}

/// The log opens without the fault, is whole, and has what was acknowledged; whatever was claimed has one outcome.
async fn check(world: &World, output: &Output, what: &str) {
    let store = world.try_open().await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
    for n in 0..5 {
        assert!(store.read().entry(&exchange(n), Kind::Disclosure).await.unwrap().is_some(), "{what}: {n}");
    }
    let (claimed, entered) = (said(output, "claimed"), said(output, "entered"));
    for n in &entered {
        let entries = store.read().entries_of(&exchange(*n)).await.unwrap();
        let kinds: Vec<Kind> = entries.iter().map(Leaf::kind).collect();
        assert_eq!(kinds, [Kind::Disclosure], "{what}: {n} was acknowledged");
    }
    for n in claimed.difference(&entered) {
        let entries = store.read().entries_of(&exchange(*n)).await.unwrap();
        assert_eq!(entries.len(), 1, "{what}: {n} was claimed: {entries:?}");
    }
    store.append(disclosure(900)).await.unwrap();
    audit(&store).await;
    store.close().await;
}

/// How many calls of these kinds one thread of the child makes at most.
fn calls(template: &World, kinds: &str) -> u32 {
    let counted = here(&directory("inject-count"));
    copy(&template.directory, &counted.directory);
    let log = counted.directory.join("calls");
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-qq", "-o"]).arg(&log).args(["-e", &format!("trace={kinds}")]);
    for file in ["varco.db", "varco.db-wal", "anchor"] {
        strace.arg("-P").arg(counted.directory.join(file));
    }
    let output = strace
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inject::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, &counted.directory)
        .output()
        .unwrap();
    assert_eq!(said(&output, "entered").len() as u64, EXCHANGES);
    let files = std::fs::read_dir(&counted.directory).unwrap().map(|file| file.unwrap().path());
    let traces = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("calls"));
    let lines =
        |path| std::fs::read_to_string(path).unwrap().lines().filter(|line| line.contains('(')).count();
    u32::try_from(traces.map(lines).max().unwrap()).unwrap()
}

/// Each place of a fault, two at a time.
async fn at_each(template: &World, kinds: &str, faults: &[&str]) {
    let places: Vec<(u32, &str)> =
        (1..=calls(template, kinds)).flat_map(|n| faults.iter().map(move |fault| (n, *fault))).collect();
    assert!(places.len() >= 8, "the run hardly touches the disk: {places:?}");
    let left = Mutex::new(places.iter());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some((n, fault)) = next else { return };
                    let inject = format!("{kinds}:{fault}:when={n}");
                    let (world, output) = run(template, &[&inject], 2000);
                    done.lock().unwrap().push((inject, world, output));
                }
            });
        }
    });
    for (inject, world, output) in done.into_inner().unwrap() {
        check(&world, &output, &inject).await;
    }
}

#[tokio::test]
#[ignore = "needs strace"]
async fn a_write_that_fails_or_kills_loses_nothing_acknowledged() {
    let template = template("inject-writes").await;
    at_each(&template, WRITES, &["error=EIO", "signal=KILL"]).await;
}

#[tokio::test]
#[ignore = "needs strace"]
async fn a_sync_that_fails_or_kills_loses_nothing_acknowledged() {
    let template = template("inject-syncs").await;
    at_each(&template, SYNCS, &["error=EIO", "signal=KILL"]).await;
}

#[tokio::test]
#[ignore = "needs strace"]
async fn a_disk_that_is_full_or_read_only_refuses_and_recovers() {
    let template = template("inject-full").await;
    let calls = calls(&template, WRITES);
    for error in ["ENOSPC", "EROFS"] {
        for first in [1, calls / 2, calls] {
            // From there on every write of the thread fails.
            let inject = format!("{WRITES}:error={error}:when={first}+");
            let (world, output) = run(&template, &[&inject], 300);
            check(&world, &output, &inject).await;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // strace counts for each thread, and an attempt to open the log again has a new one: only where every write
            // fails from the first one is it certain that none succeeds.
            let mut after = text.lines().skip_while(|line| !line.starts_with("refused"));
            assert!(first > 1 || !after.any(|line| line.starts_with("entered")), "{inject}: {text}");
        }
    }
}

#[tokio::test]
#[ignore = "needs strace"]
async fn a_fault_that_comes_back_with_every_recovery_acknowledges_nothing() {
    let template = template("inject-twice").await;
    for first in 1..=calls(&template, SYNCS).min(6) {
        // The commit fails, and so does what follows: strace counts for each thread, and every attempt to open the log again
        // has a new one.
        let inject = format!("{SYNCS}:error=EIO:when={first}..{}", first + 3);
        let (world, output) = run(&template, &[&inject], 2000);
        check(&world, &output, &inject).await;
    }
    for kinds in [SYNCS, WRITES] {
        let inject = format!("{kinds}:error=EIO:when=1+");
        let (world, output) = run(&template, &[&inject], 300);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said(&output, "entered").is_empty() && said(&output, "claimed").is_empty(),
            "{inject}: {text}"
        );
        check(&world, &output, &inject).await;
    }
}

#[tokio::test]
#[ignore = "needs strace"]
async fn a_sync_that_takes_too_long_is_no_acknowledgement() {
    let template = template("inject-slow").await;
    let inject = format!("{SYNCS}:delay_enter=400000");
    let (world, output) = run(&template, &[&inject], 100);
    assert!(said(&output, "entered").is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!said(&output, "refused").is_empty());
    check(&world, &output, &inject).await;
}

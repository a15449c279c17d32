//! A writer killed at any moment, again and again: what it had acknowledged is there, what it had begun is accounted for.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;

use crate::log::{all_leaves, audit};
use crate::on_both;
use crate::world::*;

on_both! {
    an_acknowledged_entry_survives_any_crash
}

const URL: &str = "VARCO_TEST_CHILD_URL";
const DIRECTORY: &str = "VARCO_TEST_CHILD_DIRECTORY";
const FIRST: &str = "VARCO_TEST_CHILD_FIRST";
const MODULE: &str = "VARCO_TEST_CHILD_MODULE";

const ROUNDS: u64 = 8;

/// Other runs can try other moments: each round is killed after a number of lines drawn from this.
const SEED: u64 = 0x5eed_2026;

/// SplitMix64: good enough to pick moments.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[expect(clippy::disallowed_methods, reason = "how the test hands its child what to do")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Prints `claimed <n>` and `entered <n>` as soon as it knows.
fn tell(what: &str, n: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {n}").unwrap();
    out.flush().unwrap();
}

#[tokio::test]
#[ignore = "runs only as the child of the other tests here, which kill it"]
async fn child() {
    let (Some(url), Some(directory)) = (variable(URL), variable(DIRECTORY)) else { return };
    let first: u64 = variable(FIRST).unwrap().parse().unwrap();
    let world = std::mem::ManuallyDrop::new(World::at(directory.into(), url));
    // Later rounds go on from later years.
    if variable(MODULE).is_some_and(|module| module == "years") {
        world.set_clock(i64::try_from(first >> 32).unwrap() * 40 * 365 * 86_400);
    }
    let store = world.open().await;
    let mut tasks = JoinSet::new();
    let years = variable(MODULE).is_some_and(|module| module == "years");
    for task in 0..16 {
        let (store, clock) = (store.clone(), std::sync::Arc::clone(&world.clock));
        tasks.spawn(async move {
            for n in (0..).map(|n| first + 16 * n + task) {
                if years {
                    // Some New Year comes every few entries, at a moment nobody chose.
                    clock.fetch_add(60 * 24 * 3600 * 1000, Ordering::SeqCst);
                }
                if years {
                    store.append(disclosure(n)).await.unwrap();
                    tell("entered", n);
                    continue;
                }
                store.claim(claim(n, &format!("jti-{n}"))).await.unwrap();
                tell("claimed", n);
                store.append(closing(n)).await.unwrap();
                tell("entered", n);
            }
        });
    }
    tasks.join_all().await;
}

/// Runs the child until it has said so many lines, and gives them back.
pub fn run_and_kill(world: &World, module: &str, first: u64, lines: u64) -> Vec<String> {
    let name = "kill::child";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(URL, &world.url)
        .env(DIRECTORY, &world.directory)
        .env(FIRST, first.to_string())
        .env(MODULE, module)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    while (said.len() as u64) < lines {
        match output.next() {
            Some(line) => said.push(line),
            None => panic!("{module}: the child ended by itself after {said:?}"),
        }
    }
    child.kill().unwrap();
    // What it had said before it died counts too.
    said.extend(output);
    child.wait().unwrap();
    said
}

async fn an_acknowledged_entry_survives_any_crash(world: World) {
    let module = if world.postgres.is_some() { "postgres" } else { "sqlite" };
    let mut random = SEED;
    let (mut claimed, mut entered) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        let lines = 10 + draw(&mut random) % 300;
        eprintln!("{module}: round {round} of seed {SEED:#x}: killed after {lines} lines");
        for line in run_and_kill(&world, module, (round + 1) << 32, lines) {
            match line.split_once(' ').map(|(what, n)| (what, n.parse::<u64>())) {
                Some(("claimed", Ok(n))) => claimed.insert(n),
                Some(("entered", Ok(n))) => entered.insert(n),
                _ => false,
            };
        }
        let store = world.open().await;
        for n in &entered {
            let entries = store.read().entries_of(&exchange(*n)).await.unwrap();
            assert_eq!(entries.iter().map(Leaf::kind).collect::<Vec<_>>(), [Kind::Disclosure], "{n}");
        }
        for n in claimed.difference(&entered) {
            // One outcome each: the entry that nobody was told of, or that it was interrupted.
            let entries = store.read().entries_of(&exchange(*n)).await.unwrap();
            assert_eq!(entries.len(), 1, "{n}: {entries:?}");
        }
        audit(&store).await;
        store.close().await;
    }
    let store = world.open().await;
    let interrupted = all_leaves(&store).await;
    let interrupted =
        interrupted.iter().filter(|leaf| Leaf::parse(leaf).unwrap().kind() == Kind::Interrupted).count();
    assert!(interrupted > 0, "no round cut an exchange short; choose another seed");
}

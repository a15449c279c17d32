//! Power cuts: a run is recorded with strace, and disks are rebuilt as a power cut could have left them at any moment:
//! what was synced is there, of the rest any part, torn at sectors of 512 bytes. An acknowledged entry is on every one.
//!
//! The same with SQLite's `synchronous=NORMAL` must lose some: else this test would show nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sqlx::{Connection as _, SqliteConnection};
use varco_core::log::entry::Kind;

use crate::log::audit;
use crate::world::*;

const DIRECTORY: &str = "VARCO_TEST_POWER_DIRECTORY";
const MODE: &str = "VARCO_TEST_POWER_MODE";

/// Entries of the recorded run.
const ENTRIES: u64 = 24;
/// Disks rebuilt from a run.
const DISKS: u64 = 60;
/// Sectors are torn here.
const SECTOR: usize = 512;
/// Other runs can try other cuts.
const SEED: u64 = 0x5eed_2026;

#[expect(clippy::disallowed_methods, reason = "how the test hands its child what to do")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn here(directory: &Path) -> World {
    World::at(directory.to_owned(), format!("sqlite:{}", directory.join("varco.db").display()))
}

/// Says `ack <n>` when entry or row n is acknowledged.
#[tokio::test]
#[ignore = "runs only as the child of the other tests here, which record it"]
async fn child() {
    let (Some(directory), Some(mode)) = (variable(DIRECTORY), variable(MODE)) else { return };
    println!();
    let world = std::mem::ManuallyDrop::new(here(Path::new(&directory)));
    if mode == "store" {
        let store = world.open().await;
        for n in 0..ENTRIES {
            store.append(disclosure(1000 + n)).await.unwrap();
            println!("ack {n}");
        }
        // A process that a power cut ends does not close anything.
        std::process::exit(0);
    }
    let mut plain = plain(&world.directory, &mode).await;
    for n in 0..ENTRIES {
        let n = i64::try_from(n).unwrap();
        sqlx::query("INSERT INTO row (n, body) VALUES ($1, zeroblob(600))")
            .bind(n)
            .execute(&mut plain)
            .await
            .unwrap();
        println!("ack {n}");
    }
    std::process::exit(0);
}

/// A table of its own, written as the mode says.
async fn plain(directory: &Path, mode: &str) -> SqliteConnection {
    let url = format!("sqlite:{}?mode=rwc", directory.join("varco.db").display());
    let mut plain = SqliteConnection::connect(&url).await.unwrap();
    let sql = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {mode}; CREATE TABLE IF NOT EXISTS row (n INTEGER PRIMARY KEY, body BLOB)"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut plain).await.unwrap();
    plain
}

/// What a run did to the disk, in order.
#[derive(Debug)]
enum Step {
    Ack(u64),
    Cut(PathBuf, usize),
    Sync(PathBuf),
    Write(PathBuf, usize, Vec<u8>),
}

fn record(directory: &Path, mode: &str) -> Vec<Step> {
    let traces = directory.join("traces");
    std::fs::create_dir(&traces).unwrap();
    let status = Command::new("strace")
        .args(["-ff", "-y", "-qq", "-ttt", "-xx", "-s", "1000000", "-o"])
        .arg(traces.join("t"))
        .args(["-e", "trace=pwrite64,write,ftruncate,fsync,fdatasync"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "power::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(MODE, mode)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let mut lines: Vec<(u128, String)> = Vec::new();
    for file in std::fs::read_dir(&traces).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines() {
            let Some((time, call)) = line.split_once(' ') else { continue };
            let Ok(time) = time.replace('.', "").parse() else { continue };
            lines.push((time, call.to_owned()));
        }
    }
    std::fs::remove_dir_all(&traces).unwrap();
    lines.sort_by_key(|(time, _)| *time);
    lines.iter().filter_map(|(_, call)| step(directory, call)).collect()
}

fn step(directory: &Path, call: &str) -> Option<Step> {
    let (name, rest) = call.split_once('(')?;
    // A call that failed or never returned changed nothing we may count on.
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let (file, rest) = arguments.split_once('<')?.1.split_once('>')?;
    let arguments: Vec<&str> = rest.trim_end_matches(')').split(", ").collect();
    let bytes = || -> Vec<u8> {
        let text = arguments.iter().find(|argument| argument.starts_with('"')).unwrap();
        let digits = text.trim_matches('"').split("\\x").skip(1);
        digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
    };
    let file = unescaped(file);
    if name == "write" {
        let text = String::from_utf8(bytes()).ok()?;
        return text.trim().strip_prefix("ack ")?.parse().ok().map(Step::Ack);
    }
    let path = PathBuf::from(file);
    let kept = path.parent() == Some(directory) && !path.to_string_lossy().ends_with("-shm");
    let number = || arguments.last()?.parse().ok();
    match name {
        _ if !kept => None,
        "pwrite64" => Some(Step::Write(path, number()?, bytes())),
        "ftruncate" => Some(Step::Cut(path, number()?)),
        "fsync" | "fdatasync" => Some(Step::Sync(path)),
        _ => None,
    }
}

/// With `-xx` paths are in hexadecimal digits, too.
fn unescaped(path: &str) -> String {
    if !path.contains("\\x") {
        return path.to_owned();
    }
    let bytes = path.split("\\x").skip(1).map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
    String::from_utf8(bytes).unwrap()
}

/// The disk before and during the run, and what was acknowledged.
#[derive(Clone, Default)]
struct Disk {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Written and not synced, in order: bytes at a place, or a length.
    loose: Vec<(PathBuf, usize, Option<Vec<u8>>)>,
    acknowledged: Vec<u64>,
}

impl Disk {
    fn of(directory: &Path) -> Self {
        let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|path| path.is_file() && !path.to_string_lossy().ends_with("-shm"));
        Self {
            files: files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect(),
            ..Self::default()
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Ack(n) => self.acknowledged.push(*n),
            Step::Cut(path, length) => self.loose.push((path.clone(), *length, None)),
            Step::Sync(path) => {
                let (synced, loose) =
                    std::mem::take(&mut self.loose).into_iter().partition(|(other, ..)| other == path);
                self.loose = loose;
                let synced: Vec<(PathBuf, usize, Option<Vec<u8>>)> = synced;
                for (path, at, bytes) in synced {
                    write(self.files.entry(path).or_default(), at, bytes.as_deref());
                }
            }
            Step::Write(path, at, bytes) => self.loose.push((path.clone(), *at, Some(bytes.clone()))),
        }
    }

    /// What a power cut may leave.
    fn cut(mut self, random: &mut u64) -> BTreeMap<PathBuf, Vec<u8>> {
        for (path, at, bytes) in self.loose {
            let file = self.files.entry(path).or_default();
            match bytes {
                None if draw(random).is_multiple_of(2) => write(file, at, None),
                None => {}
                Some(bytes) => {
                    for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                        if draw(random).is_multiple_of(2) {
                            write(file, at + n * SECTOR, Some(sector));
                        }
                    }
                }
            }
        }
        self.files
    }
}

fn write(file: &mut Vec<u8>, at: usize, bytes: Option<&[u8]>) {
    match bytes {
        None => file.resize(at, 0),
        Some(bytes) => {
            if file.len() < at + bytes.len() {
                file.resize(at + bytes.len(), 0);
            }
            file[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// Rebuilt disks, each with what had been acknowledged when the power went.
fn disks(before: &Disk, steps: &[Step], random: &mut u64) -> Vec<(PathBuf, Vec<u64>)> {
    let mut rebuilt = Vec::new();
    for n in 0..DISKS {
        let moment = usize::try_from(draw(random)).unwrap() % (steps.len() + 1);
        let mut disk = before.clone();
        steps[..moment].iter().for_each(|step| disk.take(step));
        let acknowledged = disk.acknowledged.clone();
        let folder = directory(&format!("power-disk-{n}"));
        for (path, bytes) in disk.cut(random) {
            std::fs::write(folder.join(path.file_name().unwrap()), bytes).unwrap();
        }
        rebuilt.push((folder, acknowledged));
    }
    rebuilt
}

#[tokio::test]
#[ignore = "needs strace"]
async fn no_power_cut_takes_an_acknowledged_entry() {
    let world = World::sqlite("power");
    world.open().await.close().await;
    let before = Disk::of(&world.directory);
    let steps = record(&world.directory, "store");
    let acks = steps.iter().filter(|step| matches!(step, Step::Ack(_))).count();
    assert_eq!(acks as u64, ENTRIES);
    let mut random = SEED;
    let mut most = 0;
    for (folder, acknowledged) in disks(&before, &steps, &mut random) {
        let world = here(&folder);
        let store = world.try_open().await.unwrap_or_else(|fault| panic!("{acknowledged:?}: {fault}"));
        for n in &acknowledged {
            let found = store.read().entry(&exchange(1000 + n), Kind::Disclosure).await.unwrap();
            assert!(found.is_some(), "{n} of {acknowledged:?} is lost");
        }
        most = most.max(acknowledged.len());
        store.append(disclosure(5000)).await.unwrap();
        audit(&store).await;
        store.close().await;
    }
    assert!(most > 5, "no cut came late enough: choose another seed");
}

#[tokio::test]
#[ignore = "needs strace"]
async fn the_same_cuts_do_take_rows_that_were_not_synced() {
    let mut lost = BTreeMap::new();
    for mode in ["FULL", "NORMAL"] {
        let world = World::sqlite("power-control");
        plain(&world.directory, mode).await.close().await.unwrap();
        let before = Disk::of(&world.directory);
        let steps = record(&world.directory, mode);
        let mut random = SEED;
        let count: &mut usize = lost.entry(mode).or_default();
        for (folder, acknowledged) in disks(&before, &steps, &mut random) {
            let mut rebuilt = plain(&folder, mode).await;
            let rows: Vec<i64> =
                sqlx::query_scalar("SELECT n FROM row").fetch_all(&mut rebuilt).await.unwrap();
            let is_lost = |n: &&u64| !rows.contains(&i64::try_from(**n).unwrap());
            *count += usize::from(acknowledged.iter().any(|n| is_lost(&n)));
            rebuilt.close().await.unwrap();
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
    assert_eq!(lost["FULL"], 0, "{lost:?}");
    assert!(lost["NORMAL"] > 5, "the cuts are too kind: {lost:?}");
}

//! A large log as auditors meet it: made in bulk (a million entries, or as many as `--entries` says), then searched in every
//! way, asked about an incident, verified as a whole, and opened again after its writer was killed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use varco::cli::log::fixture::ORIGIN;
use varco::inquiry;
use varco_core::hash::Sha256;
use varco_core::id::{ExchangeId, Pseudonym};
use varco_core::log::entry::{Draft, Kind};
use varco_core::log::incident::Inquiry;
use varco_core::log::proof::{Proof, Receipt};
use varco_core::log::tree::{Hashes, inclusion_path};
use varco_core::time::Timestamp;
use varco_jose::{AesBodyCipher, Ed25519NoteKey};
use varco_store::anchor::Anchor;
use varco_store::keyring::Keyring;
use varco_store::read::Reader;
use varco_store::search::Search;
use varco_store::store::{Limits, MissingAnchor, Options, Store};
use varco_store::submission::Submission;

use crate::finding::{Bound, Finding, Target};
use crate::{Bench, Care, Failure, millis, say};

/// The word with which the bench starts itself to have something to kill.
pub const APPEND: &str = "append-for-ever";

/// Each search so often; the slowest time counts.
const TIMES: u32 = 5;
/// The size whose proofs are promised.
const PROMISED: u64 = 10_000_000;
/// 2026-01-01T12:00:00Z, and three entries a second, as the fixture is made.
const START: i64 = 1_767_268_800_000;
const STEP: u64 = 333;

pub async fn measure(bench: &Bench) -> Result<Finding, Failure> {
    let entries = bench.entries.unwrap_or(if bench.care == Care::Quick { 100_000 } else { 1_000_000 });
    let folder = bench.folder.join("large");
    let made = made(bench, &folder, entries)?;
    let keyring = Arc::new(Keyring::open(Keyring::beside(&folder.join("anchor")), Arc::new(AesBodyCipher))?);
    let url = format!("sqlite:{}", folder.join("varco.db").display());
    let reader = Reader::open_with(&url, Arc::clone(&keyring)).await?;
    say("searches");
    let (mut text, slowest) = searched(&reader, entries).await?;
    say("incidents");
    let asked = asked(&reader, entries).await?;
    let (path, receipt) = proofs(&reader, &folder, entries).await?;
    reader.close().await;
    say("verification");
    let verified = verified(bench, &folder)?;
    let whole = verified.as_secs_f64() * PROMISED as f64 / entries as f64;
    say("kill -9 and recovery");
    let recovered = recovered(&folder).await?;
    let _ = writeln!(text, "\n{entries} entries made in {:.0} s", made.as_secs_f64());
    let _ = writeln!(
        text,
        "verified in {:.1} s, {:.1} µs an entry",
        verified.as_secs_f64(),
        verified.as_secs_f64() * 1e6 / entries as f64
    );
    let _ = writeln!(text, "opened again after kill -9 in {:.0} ms", millis(recovered));
    let targets = vec![
        Target::new("slowest first page of a search, ms", millis(slowest), Bound::AtMost(200.0)),
        Target::new("slowest answer after an incident, s", asked.as_secs_f64(), Bound::AtMost(10.0)),
        Target::new(format!("10 M entries verified, s (from {entries})"), whole, Bound::AtMost(180.0)),
        Target::new("inclusion proof at 10 M entries, bytes", path as f64, Bound::AtMost(768.0)),
        Target::new("receipt at 10 M entries, bytes", receipt as f64, Bound::AtMost(2048.0)),
        Target::new("recovery after kill -9, s", recovered.as_secs_f64(), Bound::AtMost(2.0)),
    ];
    let json = json!({
        "entries": entries,
        "made_s": made.as_secs_f64(),
        "search_ms": millis(slowest),
        "incident_s": asked.as_secs_f64(),
        "verify_s": verified.as_secs_f64(),
        "proof_bytes": path,
        "receipt_bytes": receipt,
        "recovery_ms": millis(recovered),
    });
    Ok(Finding { text, targets, json })
}

/// Makes the log anew, so that what was done to it before does not count.
fn made(bench: &Bench, folder: &Path, entries: u64) -> Result<Duration, Failure> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    say(&format!("a log of {entries} entries"));
    let began = Instant::now();
    let done = Command::new(bench.program())
        .args(["log", "fixture", "--entries", &entries.to_string(), "--out"])
        .arg(folder)
        .status()?;
    if done.success() { Ok(began.elapsed()) } else { Err("the log could not be made".into()) }
}

async fn searched(reader: &Reader, entries: u64) -> Result<(String, Duration), Failure> {
    let (mut text, mut slowest) = (String::new(), Duration::ZERO);
    for (name, search) in searches(entries)? {
        let (mut longest, mut found) = (Duration::ZERO, 0);
        for _ in 0..TIMES {
            let began = Instant::now();
            found = reader.search(&search).await?.entries.len();
            longest = longest.max(began.elapsed());
        }
        let _ = writeln!(text, "{name:<44} {found:>4} entries {:>8.1} ms", millis(longest));
        slowest = slowest.max(longest);
    }
    Ok((text, slowest))
}

fn at(n: u64) -> Timestamp {
    Timestamp::from_millis(START.saturating_add(i64::try_from(n.saturating_mul(STEP)).unwrap_or(i64::MAX)))
}

/// Every key, those that find nothing included.
fn searches(entries: u64) -> Result<Vec<(&'static str, Search)>, Failure> {
    let text = |text: &str| Some(text.to_owned());
    let middle = entries / 2;
    let letters = (0..26).map(|at| char::from(b'a' + u8::from(77_u64 >> at & 1 == 1)));
    let person: Pseudonym = format!("s1.{}", letters.collect::<String>()).parse()?;
    let nobody: Pseudonym = format!("s1.{}", "z".repeat(26)).parse()?;
    let base = Search { limit: 50, ..Search::default() };
    Ok(vec![
        ("everything", base.clone()),
        (
            "period in the middle",
            Search { from: Some(at(middle)), until: Some(at(middle + 300)), ..base.clone() },
        ),
        ("agency", Search { agency: text("comune-lucca"), ..base.clone() }),
        ("agency that took no part", Search { agency: text("nobody"), ..base.clone() }),
        (
            "consumer and purpose that never come together",
            Search { consumer: text("cpi-lucca"), purpose: text("F01"), ..base.clone() },
        ),
        ("office", Search { office: text("sportello-3"), ..base.clone() }),
        ("operator", Search { operator: text("op-77"), ..base.clone() }),
        ("operator that never asked", Search { operator: text("op-x"), ..base.clone() }),
        (
            "operator and purpose that never meet",
            Search { operator: text("op-2"), purpose: text("F01"), ..base.clone() },
        ),
        ("purpose", Search { purpose: text("F07"), ..base.clone() }),
        ("record type", Search { record_type: text("isee"), ..base.clone() }),
        ("outcome", Search { kind: Some(Kind::Denial), ..base.clone() }),
        ("outcome there is only once", Search { kind: Some(Kind::Open), ..base.clone() }),
        ("error code that never came", Search { code: text("wire.replayed"), ..base.clone() }),
        ("field", Search { field: text("cognome"), ..base.clone() }),
        ("field that seldom left", Search { field: text("campo_raro"), ..base.clone() }),
        ("field that never left", Search { field: text("altro"), ..base.clone() }),
        ("layer", Search { layer: text("law"), ..base.clone() }),
        ("layer and operator", Search { layer: text("law"), operator: text("op-9"), ..base.clone() }),
        ("case", Search { case: text("019b0000-0000-7000-8000-000000000007"), ..base.clone() }),
        (
            "key of a seal",
            Search { seal: Some(Sha256::of(&1_u64.to_be_bytes()).to_string()), ..base.clone() },
        ),
        ("person", Search { subjects: Some(vec![person]), ..base.clone() }),
        ("person nobody asked for", Search { subjects: Some(vec![nobody]), ..base }),
    ])
}

/// The slowest of four questions over the whole log, except for the agency: a tenth, as much as a breach of months.
async fn asked(reader: &Reader, entries: u64) -> Result<Duration, Failure> {
    let whole =
        Inquiry { from: at(0), until: at(entries), agency: None, office: None, operator: None, key: None };
    let mut slowest = Duration::ZERO;
    for inquiry in [
        Inquiry { operator: Some("op-77".parse()?), ..whole.clone() },
        Inquiry { office: Some("sportello-3".parse()?), ..whole.clone() },
        Inquiry { agency: Some("cpi-lucca".parse()?), until: at(entries / 10), ..whole.clone() },
        Inquiry { key: Some(Sha256::of(&1_u64.to_be_bytes())), until: at(entries / 10), ..whole },
    ] {
        let began = Instant::now();
        let found = inquiry::incident(reader, &inquiry, None).await?;
        if found.json().get("people").and_then(serde_json::Value::as_u64) == Some(0) {
            return Err("an inquiry found nobody".into());
        }
        slowest = slowest.max(began.elapsed());
    }
    Ok(slowest)
}

/// Knows every node: only the length of a path counts here.
struct All;

impl Hashes for All {
    fn node(&self, _: u32, _: u64) -> Option<Sha256> {
        Some(Sha256::from_bytes([0; 32]))
    }
}

/// The longest inclusion path at ten million entries, and a receipt with it, in bytes.
async fn proofs(reader: &Reader, folder: &Path, entries: u64) -> Result<(usize, usize), Failure> {
    let note = Anchor::peek(&folder.join("anchor"))?.ok_or("nothing is signed")?;
    let leaf = reader.leaves(entries / 2, entries / 2 + 1).await?;
    let leaf = varco_core::log::leaf::Leaf::parse(leaf.first().ok_or("there is no leaf")?)?;
    let mut longest = (0, 0);
    for index in [0, 1, PROMISED / 3, PROMISED / 2, PROMISED - 1] {
        let path = inclusion_path(&All, index, PROMISED)?;
        let bytes = path.len() * 32;
        let receipt =
            Receipt { leaf: leaf.clone(), proof: Proof { index, path, checkpoint: Arc::clone(&note) } };
        longest = longest.max((bytes, receipt.to_text().len()));
    }
    Ok(longest)
}

fn verified(bench: &Bench, folder: &Path) -> Result<Duration, Failure> {
    let began = Instant::now();
    let checked = Command::new(bench.program())
        .args(["log", "verify", "--json", "--database"])
        .arg(format!("sqlite:{}", folder.join("varco.db").display()))
        .arg("--anchor")
        .arg(folder.join("anchor"))
        .arg("--key")
        .arg(folder.join("log.pub"))
        .output()?;
    if checked.status.success() { Ok(began.elapsed()) } else { Err("the large log does not verify".into()) }
}

fn options(folder: &Path) -> Result<Options, Failure> {
    let key = Ed25519NoteKey::from_pem(ORIGIN, &std::fs::read(folder.join("log.key.pem"))?)?;
    let anchor = folder.join("anchor");
    let keyring = Arc::new(Keyring::open(Keyring::beside(&anchor), Arc::new(AesBodyCipher))?);
    Ok(Options {
        url: format!("sqlite:{}", folder.join("varco.db").display()),
        anchor,
        origin: ORIGIN.to_owned(),
        replica: "bench".to_owned(),
        verifiers: vec![Arc::new(key.verifier()?)],
        signer: Arc::new(key),
        clock: Arc::new(|| Timestamp::LAST.minus(Duration::from_secs(86_400))),
        missing_anchor: MissingAnchor::Refuse,
        keyring,
        limits: Limits::default(),
        on_commit: Arc::new(|_, _| {}),
    })
}

/// What the killed process does: appends, and says so, until it is killed.
pub async fn append_for_ever(folder: PathBuf) -> Result<(), Failure> {
    let store = Store::open(options(&folder)?).await?;
    for n in 0_u64.. {
        let id: ExchangeId = format!("ffffffff-0000-7000-8000-{n:012x}").parse()?;
        store.append(Submission::new(Draft::new(Kind::Correction, id))).await?;
        println!("{n}");
    }
    Ok(())
}

async fn recovered(folder: &Path) -> Result<Duration, Failure> {
    use std::io::{BufRead as _, BufReader};
    let mut child = Command::new(std::env::current_exe()?)
        .arg(APPEND)
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the process has no output")?;
    let appended = BufReader::new(output).lines().take(500).count();
    child.kill()?;
    child.wait()?;
    if appended < 500 {
        return Err("the process that was to be killed ended before".into());
    }
    let began = Instant::now();
    let store = Store::open(options(folder)?).await?;
    let took = began.elapsed();
    store.close().await;
    Ok(took)
}

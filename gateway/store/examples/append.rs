//! How fast the log is on this machine: durable, signed entries a second at 1, 16 and 64 in flight, with and without the
//! claim that comes before each, beside the rate of bare `fdatasync` on the same disk.
//!
//! `cargo run --release -p varco-store --example append -- [directory or postgres url] [seconds] [in flight]`

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use varco_core::hash::Sha256;
use varco_core::id::{ExchangeId, Pseudonym, TokenId};
use varco_core::log::entry::{Draft, Kind, Slot, SlotName};
use varco_core::log::note::{KeyId, NoteSigner, NoteVerifier, SignFault, key_id};
use varco_core::time::Timestamp;
use varco_store::store::{Limits, MissingAnchor, Options, Store};
use varco_store::submission::{Change, Claim, Guard, StreamKind, Submission};

const ORIGIN: &str = "varco.example/access-log/bench";

/// Stands in for the log's key. A real one costs some 20 µs more for each batch.
struct Key;

impl NoteSigner for Key {
    fn name(&self) -> &str {
        ORIGIN
    }

    fn key_id(&self) -> KeyId {
        key_id(ORIGIN, 0xff, b"bench")
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignFault> {
        Ok(Sha256::of(text).as_bytes().to_vec())
    }
}

impl NoteVerifier for Key {
    fn name(&self) -> &str {
        ORIGIN
    }

    fn key_id(&self) -> KeyId {
        key_id(ORIGIN, 0xff, b"bench")
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        signature == Sha256::of(text).as_bytes()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Append,
    ClaimAndAppend,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let clients: Vec<usize> =
        arguments.next().map_or(Ok(vec![1, 16, 64]), |text| text.parse().map(|n| vec![n]))?;
    let is_url = place.starts_with("postgres");
    let directory = if is_url { std::env::temp_dir() } else { PathBuf::from(&place) };
    let directory = directory.join(format!("varco-append-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let url = if is_url { place } else { format!("sqlite:{}", directory.join("varco.db").display()) };
    println!("fdatasync of 4 KiB: {:.0}/s", fsync_rate(&directory)?);
    let store = Store::open(options(url, &directory)).await?;
    store.append(consent()?).await?;
    println!(
        "{:<18} {:>9} {:>10} {:>9} {:>9} {:>9} {:>9}",
        "", "in flight", "entries/s", "p50 ms", "p99 ms", "user us", "system us"
    );
    for mode in [Mode::Append, Mode::ClaimAndAppend] {
        for clients in &clients {
            measure(&store, mode, *clients, Duration::from_secs(seconds)).await?;
        }
    }
    store.close().await;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn options(url: String, directory: &Path) -> Options {
    let (start, began) = (1_767_268_800_000, Instant::now());
    Options {
        url,
        anchor: directory.join("anchor"),
        origin: ORIGIN.to_owned(),
        replica: "bench".to_owned(),
        signer: Arc::new(Key),
        verifiers: vec![Arc::new(Key)],
        clock: Arc::new(move || Timestamp::from_millis(start).plus(began.elapsed())),
        missing_anchor: MissingAnchor::Refuse,
        limits: Limits::default(),
    }
}

async fn measure(store: &Store, mode: Mode, clients: usize, time: Duration) -> Result<(), Box<dyn Error>> {
    let (began, cpu) = (Instant::now(), cpu_micros()?);
    let tasks: Vec<_> = (0..clients).map(|_| client(store.clone(), mode, began + time)).collect();
    let mut latencies = Vec::new();
    let mut set = tokio::task::JoinSet::new();
    for task in tasks {
        set.spawn(task);
    }
    while let Some(done) = set.join_next().await {
        latencies.extend(done?.map_err(|fault| fault.to_string())?);
    }
    let (wall, (user, system)) = (began.elapsed().as_secs_f64(), cpu_micros()?);
    latencies.sort_unstable();
    let entries = latencies.len();
    let at = |percent: usize| latencies.get(entries * percent / 100).map_or(0.0, |t| t.as_secs_f64() * 1e3);
    let name = if mode == Mode::Append { "append" } else { "claim and append" };
    println!(
        "{name:<18} {clients:>9} {:>10.0} {:>9.2} {:>9.2} {:>9.1} {:>9.1}",
        entries as f64 / wall,
        at(50),
        at(99),
        (user - cpu.0) / entries as f64,
        (system - cpu.1) / entries as f64
    );
    Ok(())
}

async fn client(
    store: Store,
    mode: Mode,
    until: Instant,
) -> Result<Vec<Duration>, Box<dyn Error + Send + Sync>> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let id = exchange(n)?;
        if mode == Mode::ClaimAndAppend {
            store.claim(claim(n)?).await?;
        }
        let closes = (mode == Mode::ClaimAndAppend).then_some(id);
        store.append(Submission { closes, ..disclosure(n)? }).await?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// As the gateway makes them: version 7, so in the order of time.
fn exchange(n: u64) -> Result<ExchangeId, varco_core::id::IdFault> {
    format!("0198f0c2-{:04x}-7000-8000-{n:012x}", n >> 16 & 0xffff).parse()
}

/// A leaf of some 500 bytes with bodies of 700, guarded by a consent.
fn disclosure(n: u64) -> Result<Submission, varco_core::id::IdFault> {
    let fallback = draft(Kind::Denial, n)?;
    let guard = Guard { epochs: vec![("consent".to_owned(), 1)], fallback };
    let mut submission = Submission::new(draft(Kind::Disclosure, n)?);
    submission.guard = Some(guard);
    submission.subjects = vec![subject(n % 100)?];
    Ok(submission)
}

fn draft(kind: Kind, n: u64) -> Result<Draft, varco_core::id::IdFault> {
    let mut draft = Draft::new(kind, exchange(n)?);
    draft.consumer = Some("cpi-lucca".parse()?);
    draft.provider = Some("comune-capannori".parse()?);
    draft.purpose = Some("F02".parse()?);
    draft.record_type = Some("condizione_economica_prestazioni".parse()?);
    draft.policy = Some(Sha256::of(b"policy"));
    let salt = *Sha256::of(&n.to_be_bytes()).as_bytes();
    for (name, length) in [(SlotName::Decision, 450), (SlotName::Operator, 180), (SlotName::Subject, 70)] {
        draft.slots.set(name, Slot { salt, body: format!("{{\"x\":\"{}\"}}", "x".repeat(length)) });
    }
    Ok(draft)
}

fn claim(n: u64) -> Result<Claim, varco_core::id::IdFault> {
    let mut interrupted = draft(Kind::Interrupted, n)?;
    interrupted.slots.decision = None;
    // A version 4 UUID, as most clients send.
    let jti: TokenId = Sha256::of(&n.to_le_bytes()).to_string().parse()?;
    Ok(Claim {
        issuer_key: Sha256::of(b"issuer"),
        jtis: vec![jti],
        exchange: exchange(n)?,
        request_digest: Sha256::of(b"request"),
        expires: Timestamp::LAST,
        interrupted,
    })
}

fn consent() -> Result<Submission, varco_core::id::IdFault> {
    let change = Change {
        stream: "consent".to_owned(),
        kind: StreamKind::Consent,
        expected: 0,
        header: Some("{}".to_owned()),
        event: "{}".to_owned(),
        subjects: vec![subject(0)?],
    };
    Ok(Submission { changes: vec![change], ..Submission::new(Draft::new(Kind::Consent, exchange(0)?)) })
}

fn subject(n: u64) -> Result<Pseudonym, varco_core::id::IdFault> {
    let letter = |n: u64| char::from(b'a' + u8::try_from(n % 26).unwrap_or(0));
    format!("s1.{}{}{}", letter(n), letter(n / 26), "a".repeat(24)).parse()
}

fn fsync_rate(directory: &Path) -> std::io::Result<f64> {
    const TIMES: u32 = 300;
    let file = File::create(directory.join("fsync"))?;
    file.write_all_at(&[0; 1 << 16], 0)?;
    file.sync_all()?;
    let began = Instant::now();
    for n in 0..TIMES {
        file.write_all_at(&[1; 4096], u64::from(n % 16) * 4096)?;
        file.sync_data()?;
    }
    Ok(f64::from(TIMES) / began.elapsed().as_secs_f64())
}

/// User and system time of this process, at the kernel's 100 ticks a second.
fn cpu_micros() -> Result<(f64, f64), Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) * 10_000.0, ticks(12) * 10_000.0))
}

//! The store alone: durable, signed entries a second with 1, 16 and 64 in flight, with and without the claim that
//! comes before each.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use varco_core::hash::Sha256;
use varco_core::id::{ExchangeId, Pseudonym, TokenId};
use varco_core::log::entry::{Draft, Kind, Slot, SlotName};
use varco_core::time::Timestamp;
use varco_jose::{AesBodyCipher, Ed25519NoteKey};
use varco_store::keyring::Keyring;
use varco_store::store::{Limits, MissingAnchor, Options, Store};
use varco_store::submission::{Change, Claim, Guard, StreamKind, Submission};

use crate::finding::{Bound, Finding, Target};
use crate::process::own_cpu;
use crate::{Bench, Failure, micros, millis, stages};

/// What each exchange in flight does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Append,
    /// What an exchange needs: two commits.
    ClaimAndAppend,
}

impl Work {
    const fn name(self) -> &'static str {
        match self {
            Self::Append => "entry",
            Self::ClaimAndAppend => "claim + entry",
        }
    }
}

pub struct Rate {
    work: Work,
    in_flight: usize,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Of CPU for each, the one who waits included.
    pub micros: f64,
}

pub async fn chapter(bench: &Bench) -> Result<Finding, Failure> {
    let rates = measure(bench, Where::Named, &[Work::Append, Work::ClaimAndAppend], &[1, 16, 64]).await?;
    let mut text = format!(
        "{:<26} {:>9} {:>8} {:>8} {:>9}\n",
        "the store alone", "per s", "p50 ms", "p99 ms", "µs of CPU"
    );
    for rate in &rates {
        let name = format!("{}, {} in flight", rate.work.name(), rate.in_flight);
        let (p50, p99) = (millis(rate.p50), millis(rate.p99));
        let _ =
            writeln!(text, "{name:<26} {:>9.0} {p50:>8.2} {p99:>8.2} {:>9.1}", rate.per_second, rate.micros);
    }
    let json = rates.iter().map(|rate| {
        json!({
            "claim": rate.work == Work::ClaimAndAppend,
            "in_flight": rate.in_flight,
            "per_second": rate.per_second,
            "p50_ms": millis(rate.p50),
            "p99_ms": millis(rate.p99),
            "cpu_us": rate.micros,
        })
    });
    let fsync = stages::fsync(&bench.folder)?;
    let _ = writeln!(text, "fdatasync of 4 KiB in the same run: {:.2} ms", millis(fsync));
    let targets = targets(&rates, fsync);
    Ok(Finding {
        text,
        targets,
        json: json!({ "rates": json.collect::<Vec<_>>(), "fdatasync_ms": millis(fsync) }),
    })
}

/// What is promised of a machine that is idle; beside it the same in units of `fdatasync`, which holds on any machine.
fn targets(rates: &[Rate], fsync: Duration) -> Vec<Target> {
    let of =
        |in_flight: usize| rates.iter().find(|rate| rate.work == Work::Append && rate.in_flight == in_flight);
    let (Some(one), Some(sixteen), Some(many)) = (of(1), of(16), of(64)) else { return Vec::new() };
    let in_syncs = millis(sixteen.p50) / millis(fsync).max(0.001);
    vec![
        Target::new("durable entries a second, 64 in flight", many.per_second, Bound::AtLeast(8000.0)),
        Target::new(
            "the same in rates of batches of one",
            many.per_second / one.per_second,
            Bound::AtLeast(5.0),
        ),
        Target::new("added latency p50, 16 in flight, ms", millis(sixteen.p50), Bound::AtMost(2.0)),
        Target::new("added latency p99, 16 in flight, ms", millis(sixteen.p99), Bound::AtMost(15.0)),
        // Each of 16 waits for at most two commits of some two syncs each, and for the machine.
        Target::new("added latency p50, 16 in flight, in fdatasyncs", in_syncs, Bound::AtMost(8.0)),
    ]
}

/// What claim and outcome of one exchange cost when 64 are in flight.
pub async fn as_in_an_exchange(bench: &Bench) -> Result<Rate, Failure> {
    let rates = measure(bench, Where::Here, &[Work::ClaimAndAppend], &[64]).await?;
    rates.into_iter().next().ok_or_else(|| "the log was not measured".into())
}

/// Which database.
enum Where {
    /// SQLite, as the gateway of the bench.
    Here,
    /// PostgreSQL, when its address was given.
    Named,
}

async fn measure(bench: &Bench, place: Where, works: &[Work], loads: &[usize]) -> Result<Vec<Rate>, Failure> {
    let scene = bench.scene()?;
    let name = scene.stage.log_key.split('+').next().unwrap_or_default();
    let pem = std::fs::read(scene.stage.pki().join("gateway/log.key.pem"))?;
    let key = Ed25519NoteKey::from_pem(name, &pem)?;
    let folder = bench.folder.join("log");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let url = match (place, &bench.postgres) {
        (Where::Named, Some(url)) => url.clone(),
        (Where::Named, None) | (Where::Here, _) => format!("sqlite:{}", folder.join("log.db").display()),
    };
    let store = Store::open(options(url, &folder, key)?).await?;
    store.append(consent()?).await?;
    let (mut rates, mut made) = (Vec::new(), 0);
    for work in works {
        for in_flight in loads {
            let count = if *in_flight == 1 { bench.requests / 4 } else { bench.requests };
            let jobs = (made..made + count).map(job).collect::<Result<Vec<_>, _>>()?;
            made += count;
            rates.push(round(&store, *work, *in_flight, jobs).await?);
        }
    }
    store.close().await;
    Ok(rates)
}

fn options(url: String, folder: &Path, key: Ed25519NoteKey) -> Result<Options, Failure> {
    let (start, began) = (1_767_268_800_000, Instant::now());
    Ok(Options {
        url,
        anchor: folder.join("anchor"),
        origin: key.verifier_key().name().to_owned(),
        replica: "bench".to_owned(),
        verifiers: vec![Arc::new(key.verifier()?)],
        signer: Arc::new(key),
        clock: Arc::new(move || Timestamp::from_millis(start).plus(began.elapsed())),
        missing_anchor: MissingAnchor::Refuse,
        keyring: Arc::new(Keyring::open(folder.join("body-keys"), Arc::new(AesBodyCipher))?),
        limits: Limits::default(),
        on_commit: Arc::new(|_, _| {}),
    })
}

type Job = (Claim, Submission);

async fn round(store: &Store, work: Work, in_flight: usize, jobs: Vec<Job>) -> Result<Rate, Failure> {
    let count = u32::try_from(jobs.len())?;
    let jobs = Arc::new(Mutex::new(jobs));
    let (began, cpu) = (Instant::now(), own_cpu()?);
    let mut loops = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (store, jobs) = (store.clone(), Arc::clone(&jobs));
        loops.spawn(async move { in_turn(store, work, jobs).await.map_err(|failure| failure.to_string()) });
    }
    let mut latencies = Vec::new();
    while let Some(done) = loops.join_next().await {
        latencies.extend(done??);
    }
    let (wall, cpu) = (began.elapsed(), own_cpu()? - cpu);
    latencies.sort_unstable();
    let at = |percent| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    let per_second = f64::from(count) / wall.as_secs_f64();
    Ok(Rate { work, in_flight, per_second, p50: at(50), p99: at(99), micros: micros(cpu / count.max(1)) })
}

async fn in_turn(store: Store, work: Work, jobs: Arc<Mutex<Vec<Job>>>) -> Result<Vec<Duration>, Failure> {
    let mut latencies = Vec::new();
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    while let Some((claim, mut submission)) = next() {
        let began = Instant::now();
        if work == Work::ClaimAndAppend {
            submission.closes = Some(claim.exchange.clone());
            store.claim(claim).await?;
        }
        store.append(submission).await?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// A leaf of some 500 bytes with bodies of 700, guarded by a consent, and the claim before it.
fn job(n: usize) -> Result<Job, Failure> {
    let n = u64::try_from(n)? + 1;
    let guard = Guard { epochs: vec![("consent".to_owned(), 1)], fallback: draft(Kind::Denial, n)? };
    let mut submission = Submission::new(draft(Kind::Disclosure, n)?);
    submission.guard = Some(guard);
    submission.subjects = vec![subject(n % 100)?];
    let mut interrupted = draft(Kind::Interrupted, n)?;
    interrupted.slots.decision = None;
    // A version 4 UUID, as most clients send.
    let jti: TokenId = Sha256::of(&n.to_le_bytes()).to_string().parse()?;
    let claim = Claim {
        issuer_key: Sha256::of(b"issuer"),
        jtis: vec![jti],
        exchange: exchange(n)?,
        request_digest: Sha256::of(b"request"),
        expires: Timestamp::LAST,
        interrupted,
    };
    Ok((claim, submission))
}

/// As the gateway makes them: version 7, so in the order of time.
fn exchange(n: u64) -> Result<ExchangeId, Failure> {
    Ok(format!("0198f0c2-{:04x}-7000-8000-{n:012x}", n >> 16 & 0xffff).parse()?)
}

fn draft(kind: Kind, n: u64) -> Result<Draft, Failure> {
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

fn consent() -> Result<Submission, Failure> {
    let change = Change {
        stream: "consent".to_owned(),
        kind: StreamKind::Consent,
        expected: 0,
        header: Some("{}".to_owned()),
        event: "{}".to_owned(),
        subjects: vec![subject(0)?],
        waits_for: None,
    };
    Ok(Submission { changes: vec![change], ..Submission::new(Draft::new(Kind::Consent, exchange(0)?)) })
}

fn subject(n: u64) -> Result<Pseudonym, Failure> {
    let letter = |n: u64| char::from(b'a' + u8::try_from(n % 26).unwrap_or(0));
    Ok(format!("s1.{}{}{}", letter(n), letter(n / 26), "a".repeat(24)).parse()?)
}

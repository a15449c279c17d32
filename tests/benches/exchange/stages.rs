//! What an exchange cannot do without, each stage alone: the denominator of the gateway's own cost.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use varco::app::system_now;
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::wire::{Algorithm, KeyReference, Signer as _, Verifier as _};
use varco_jose::SealTrust;

use crate::process::own_thread_cpu;
use crate::scene::Scene;
use crate::{Care, Failure};

/// How long each stage is repeated.
const LONG_ENOUGH: Duration = Duration::from_millis(400);
const QUICK: Duration = Duration::from_millis(100);

/// The consumer's three tokens, and the provider's answer.
pub const VERIFICATIONS: u32 = 3 + 1;
/// Our three tokens to the provider, our answer, and the record's own seal.
pub const SIGNATURES: u32 = 3 + 1 + 1;
/// Of the four bodies: received twice, sent twice.
pub const DIGESTS: u32 = 4;

/// CPU times of one of each, except where said.
pub struct Stages {
    /// Wall time of making 4 KiB durable.
    pub fsync: Duration,
    pub sign: Duration,
    pub verify: Duration,
    /// SHA-256 of 4 KiB.
    pub digest: Duration,
    /// The record of 4 KB: read, every second field taken out, written.
    pub json: Duration,
}

impl Stages {
    pub fn measure(scene: &Scene, care: Care) -> Result<Self, Failure> {
        let long = if care == Care::Full { LONG_ENOUGH } else { QUICK };
        let signer = scene.seal("agencies/cpi-lucca")?;
        let pki = scene.stage.pki();
        let read = |name: &str| std::fs::read(pki.join(name));
        let trust =
            SealTrust::from_pem(&read("ca/seal.pem")?, &read("ca/seal.crl.pem")?, &Algorithm::DEFAULT)?;
        let chain = varco_jose::certificates(&read("agencies/cpi-lucca/seal.pem")?)?;
        let seal = trust.seal(&KeyReference::Chain(chain), system_now())?;
        // A token is some 1,500 bytes: its header carries the certificate.
        let token = [b'x'; 1500];
        let signature = signer.sign(&token)?;
        let record = scene.record.to_string().into_bytes();
        Ok(Self {
            fsync: fsync(&scene.stage.folder)?,
            sign: mean(long, || signer.sign(&token).is_ok())?,
            verify: mean(long, || seal.verify(Algorithm::Es256, &token, &signature))?,
            digest: mean(long, || Sha256::of(black_box(&[b' '; 4096])) != Sha256::of(b""))?,
            json: mean(long, || filter(&record).is_some())?,
        })
    }

    /// Everything that is pure computing in one exchange.
    pub fn computing(&self) -> Duration {
        self.verify * VERIFICATIONS + self.sign * SIGNATURES + self.digest * DIGESTS + self.json
    }
}

fn mean(long: Duration, work: impl Fn() -> bool) -> Result<Duration, Failure> {
    let (began, cpu) = (Instant::now(), own_thread_cpu()?);
    let mut times = 0;
    while began.elapsed() < long {
        if !black_box(work()) {
            return Err("a stage did not do its work".into());
        }
        times += 1;
    }
    Ok((own_thread_cpu()? - cpu) / times)
}

fn filter(record: &[u8]) -> Option<String> {
    let Ok(Value::Object(mut record)) = json::parse(record) else { return None };
    let mut place = 0;
    record.retain(|_, _| {
        place += 1;
        place % 2 == 0
    });
    Some(Value::Object(record).to_string())
}

/// The mean time of `fdatasync` after 4 KiB were written in place.
pub fn fsync(folder: &Path) -> Result<Duration, Failure> {
    const TIMES: u32 = 300;
    let file = File::create(folder.join("fsync"))?;
    file.write_all_at(&[0; 1 << 16], 0)?;
    file.sync_all()?;
    let began = Instant::now();
    for n in 0..TIMES {
        file.write_all_at(&[1; 4096], u64::from(n % 16) * 4096)?;
        file.sync_data()?;
    }
    Ok(began.elapsed() / TIMES)
}

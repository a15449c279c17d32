//! This gateway as a witness of other logs (c2sp.org/tlog-witness): its key, and what it remembers of each log.
//!
//! The memory of a log is a file of its own, written before the cosignature leaves. One request of a log at a time:
//! nobody comes between the look at the memory and its change. A log's yearly shards are logs of their own, each with its
//! memory; the key that is known of one is known of all, so that a new year needs nobody to change a configuration.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use varco_core::hash::Sha256;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::note::{Note, NoteVerifier as _, Signature, VerifierKey};
use varco_core::log::shard::are_kin;
use varco_core::log::tree::Head;
use varco_core::log::witness::{AddCheckpoint, Refusal, judge, origin_of};
use varco_core::time::Timestamp;
use varco_jose::{Ed25519NoteVerifier, WitnessKey};
use varco_store::anchor::{Anchor, AnchorError};

use crate::config;
use crate::start::{StartError, fault, read};

/// A witness that serves.
pub struct Witness {
    key: WitnessKey,
    folder: PathBuf,
    /// Those that are configured, and the later shards of them that came.
    logs: Mutex<Vec<Arc<Watched>>>,
}

/// More shards of all logs than a century of a dozen gateways has: nobody fills the folder.
const LOGS_MAX: usize = 1200;

struct Watched {
    origin: String,
    verifier: Ed25519NoteVerifier,
    memory: Mutex<Anchor>,
}

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The memory cannot be read or written, or the key does not sign: nothing is cosigned.
    #[error("the witness cannot keep what it cosigns: {0}")]
    Memory(String),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<AnchorError> for AddError {
    fn from(error: AnchorError) -> Self {
        Self::Memory(error.to_string())
    }
}

impl Witness {
    /// Opens the memory of every log; its folder must exist. Two processes cannot hold one memory.
    pub fn open(settings: &config::Witness) -> Result<Self, StartError> {
        let pem = read(&settings.key)?;
        let key = WitnessKey::from_pem(&settings.name, &pem).map_err(fault(&settings.key))?;
        let watched = |text: &String| {
            let verifier = Ed25519NoteVerifier::from_text(text).map_err(fault(&settings.folder))?;
            watch(verifier, &settings.folder).map_err(fault(&settings.folder))
        };
        let logs = settings.logs.iter().map(watched).collect::<Result<Vec<_>, StartError>>()?;
        Ok(Self { key, folder: settings.folder.clone(), logs: Mutex::new(logs) })
    }

    /// The key others know this witness by.
    pub const fn verifier_key(&self) -> &VerifierKey {
        self.key.verifier_key()
    }

    /// Judges a checkpoint, makes it durable, cosigns it. Blocks on the disk.
    pub fn add(&self, request: &[u8], now: Timestamp) -> Result<Signature, AddError> {
        let request = AddCheckpoint::parse(request).ok_or(Refusal::Malformed)?;
        let origin = origin_of(&request)?.origin;
        let log = self.log(&origin, &request.note)?;
        let mut memory = log.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let last = match memory.note() {
            Some(note) => Some(log.head(note)?),
            None => None,
        };
        let checkpoint = judge(&request, &[&log.verifier], last)?;
        let cosignature = self.key.cosign(request.note.text(), now);
        let cosignature = cosignature.map_err(|fault| AddError::Memory(fault.to_string()))?;
        if last != Some(checkpoint.head()) {
            memory.write(&log.own(&request.note))?;
        }
        Ok(cosignature)
    }

    /// The log of an origin. One that is not known yet is a new shard if the key of its kin has signed it.
    fn log(&self, origin: &str, note: &Note) -> Result<Arc<Watched>, AddError> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = logs.iter().find(|log| log.origin == origin) {
            return Ok(Arc::clone(known));
        }
        let signed = |log: &Arc<Watched>| {
            let verifier = log.verifier.under(origin).ok()?;
            Checkpoint::open(note.to_string().as_bytes(), origin, &[&verifier]).ok().map(|_| verifier)
        };
        let kin: Vec<_> = logs.iter().filter(|log| are_kin(&log.origin, origin)).cloned().collect();
        if kin.is_empty() || logs.len() >= LOGS_MAX {
            return Err(Refusal::UnknownLog.into());
        }
        let verifier = kin.iter().find_map(signed).ok_or(Refusal::NotSigned)?;
        let opened = watch(verifier, &self.folder)?;
        logs.push(Arc::clone(&opened));
        Ok(opened)
    }

    /// The last checkpoint cosigned of the log whose origin has this hash, as its log signed it.
    pub fn last(&self, origin: &Sha256) -> Option<Arc<str>> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let log = logs.iter().find(|log| Sha256::of(log.origin.as_bytes()) == *origin)?;
        let memory = log.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.note().cloned()
    }
}

fn watch(verifier: Ed25519NoteVerifier, folder: &Path) -> Result<Arc<Watched>, AnchorError> {
    let origin = verifier.name().to_owned();
    let memory = Anchor::open(&folder.join(Sha256::of(origin.as_bytes()).to_string()))?;
    Ok(Arc::new(Watched { origin, verifier, memory: Mutex::new(memory) }))
}

impl Watched {
    /// A memory that cannot be read must not be taken for an empty one.
    fn head(&self, note: &str) -> Result<Head, AddError> {
        let checkpoint = Checkpoint::open(note.as_bytes(), &self.origin, &[&self.verifier]);
        Ok(checkpoint.map_err(|fault| AddError::Memory(fault.to_string()))?.head())
    }

    /// The checkpoint with its log's signature alone: what others added could be of any length.
    fn own(&self, note: &Note) -> Arc<str> {
        let own = note.signatures().iter().find(|signature| {
            signature.name() == self.verifier.name() && signature.key_id() == self.verifier.key_id()
        });
        let line = own.map(ToString::to_string).unwrap_or_default();
        format!("{}\n{line}", note.text()).into()
    }
}

//! What a log is opened with, at start and again after every fault.

use std::sync::Arc;
use std::time::Duration;

use varco_core::log::note::{NoteSigner, NoteVerifier};
use varco_core::time::Timestamp;

use crate::db::Address;
use crate::keyring::Keyring;

/// Who writes which log.
#[derive(Clone, Debug)]
pub struct Names {
    pub origin: String,
    pub replica: String,
}

/// What to do when the log has entries and the anchor file has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingAnchor {
    /// A new replica of an old log: read everything once and believe it. Only at an operator's word.
    Adopt,
    Refuse,
}

/// What opening needs, at start and again later.
pub struct Setup {
    pub address: Address,
    pub names: Names,
    pub signer: Arc<dyn NoteSigner>,
    pub verifiers: Vec<Arc<dyn NoteVerifier>>,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub missing_anchor: MissingAnchor,
    pub keyring: Arc<Keyring>,
    pub on_commit: OnCommit,
}

/// Told how many entries were committed together, and how long it took.
pub type OnCommit = Arc<dyn Fn(usize, Duration) + Send + Sync>;

//! Receipts (c2sp.org/tlog-proof): an entry, its place in the tree, and a checkpoint that covers it.
//!
//! A receipt can be checked for ever with nothing but the log's public key. The entry travels in the `extra` line, so
//! that a receipt is one file; programs that know only C2SP proofs pass over it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Sha256;
use crate::log::checkpoint::{Checkpoint, CheckpointFault, decimal, hash};
use crate::log::leaf::{Leaf, LeafFault};
use crate::log::note::{Note, NoteVerifier};
use crate::log::shard;
use crate::log::tree::{PathFault, verify_inclusion};

const MAGIC: &str = "c2sp.org/tlog-proof@v1";

/// A path has at most one hash for each bit of the tree's size.
const PATH_MAX: usize = 63;

/// That an entry stands at a place in a log. Text form: `.tlog-proof`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub index: u64,
    /// Siblings from the leaf up.
    pub path: Vec<Sha256>,
    /// The signed note, as its log wrote it. Shared by all receipts of a batch.
    pub checkpoint: Arc<str>,
}

/// An entry with the proof that it was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub leaf: Leaf,
    pub proof: Proof,
}

/// Why a text is no receipt, or a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    #[error("the checkpoint does not hold: {0}")]
    Checkpoint(#[from] CheckpointFault),
    #[error("the entry is at another index than the proof says")]
    IndexDiffers,
    #[error("the entry in the receipt is not a leaf: {0}")]
    Leaf(#[from] LeafFault),
    #[error("the text is not of the form that c2sp.org/tlog-proof gives")]
    Malformed,
    #[error("the entry is not in the log: {0}")]
    Path(#[from] PathFault),
    #[error("the receipt is larger than {} bytes", Receipt::MAX)]
    TooLarge,
}

impl Receipt {
    /// 10 KiB: leaf 1,368 bytes in base64, 63 hashes of 45, a checkpoint of 32 signatures of 160, and the rest.
    /// Typical, with one signature in a log of a million entries: under 2 KiB.
    pub const MAX: usize = 10 * 1024;

    pub fn to_text(&self) -> String {
        self.to_string()
    }

    /// Reads a receipt; checks its form and no signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFault> {
        if bytes.len() > Self::MAX {
            return Err(ProofFault::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofFault::Malformed)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofFault::Malformed)?;
        let mut lines = head.split('\n');
        let mut line =
            |prefix| lines.next().and_then(|l| l.strip_prefix(prefix)).ok_or(ProofFault::Malformed);
        if !line(MAGIC)?.is_empty() {
            return Err(ProofFault::Malformed);
        }
        let leaf = STANDARD.decode(line("extra ")?).map_err(|_| ProofFault::Malformed)?;
        let index = decimal(line("index ")?).ok_or(ProofFault::Malformed)?;
        let path: Vec<_> = lines.map(hash).collect::<Option<_>>().ok_or(ProofFault::Malformed)?;
        let note = Note::parse(checkpoint.as_bytes()).map_err(CheckpointFault::Note)?;
        Checkpoint::parse(note.text())?;
        if path.len() > PATH_MAX {
            return Err(ProofFault::Malformed);
        }
        let proof = Proof { index, path, checkpoint: checkpoint.into() };
        Ok(Self { leaf: Leaf::parse(&leaf)?, proof })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC}\nextra {}", STANDARD.encode(self.leaf.as_bytes()))?;
        writeln!(f, "index {}", self.proof.index)?;
        self.proof.path.iter().try_for_each(|hash| writeln!(f, "{}", hash.base64()))?;
        write!(f, "\n{}", self.proof.checkpoint)
    }
}

/// Checks receipts of one log. Remembers the checkpoints it has verified, so that the receipts of a batch cost one
/// signature check.
pub struct LogVerifier {
    origin: String,
    keys: Vec<Arc<dyn NoteVerifier>>,
    verified: Mutex<VecDeque<(Sha256, Checkpoint)>>,
}

impl LogVerifier {
    /// Batches follow one another; a few are answered at the same time.
    const REMEMBERED: usize = 16;

    /// `keys` are the log's own keys, one or several while they are rolled over.
    pub const fn new(origin: String, keys: Vec<Arc<dyn NoteVerifier>>) -> Self {
        Self { origin, keys, verified: Mutex::new(VecDeque::new()) }
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the entry of the receipt is in this log, at its index, under a checkpoint that the log has signed.
    pub fn check(&self, receipt: &Receipt) -> Result<(), ProofFault> {
        let proof = &receipt.proof;
        // Entries are counted through all shards, places in a tree are not. Where no shard can have gone before, both
        // are one; elsewhere whoever verifies the whole log sees that they differ by the length of what was before.
        let checkpoint = self.open(proof.checkpoint.as_bytes())?;
        let is_first = shard::year_of(&checkpoint.origin).is_none();
        if receipt.leaf.index() < proof.index || (is_first && receipt.leaf.index() != proof.index) {
            return Err(ProofFault::IndexDiffers);
        }
        let leaf = receipt.leaf.hash();
        Ok(verify_inclusion(&leaf, proof.index, checkpoint.size, &proof.path, &checkpoint.root)?)
    }

    /// The checkpoint in a note, once a key of this log has signed it.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointFault> {
        let digest = Sha256::of(note);
        if let Some(known) = self.remembered(&digest) {
            return Ok(known);
        }
        let checkpoint = open_kin(note, &self.origin, &self.keys)?;
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.truncate(Self::REMEMBERED - 1);
        verified.push_front((digest, checkpoint.clone()));
        Ok(checkpoint)
    }

    fn remembered(&self, note: &Sha256) -> Option<Checkpoint> {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.iter().find(|(digest, _)| digest == note).map(|(_, checkpoint)| checkpoint.clone())
    }
}

/// The checkpoint in a note of the log `origin` or of another of its yearly shards, once one of the log's keys has signed
/// it under that shard's name.
pub fn open_kin(
    note: &[u8],
    origin: &str,
    keys: &[Arc<dyn NoteVerifier>],
) -> Result<Checkpoint, CheckpointFault> {
    let named = std::str::from_utf8(note).ok().and_then(|note| note.split('\n').next());
    let named = named.filter(|named| shard::are_kin(named, origin)).unwrap_or(origin);
    let others = keys.iter().filter(|key| key.name() != named);
    let renamed: Vec<Box<dyn NoteVerifier>> = others.filter_map(|key| key.renamed(named)).collect();
    let keys: Vec<&dyn NoteVerifier> =
        keys.iter().map(AsRef::as_ref).chain(renamed.iter().map(AsRef::as_ref)).collect();
    Checkpoint::open(note, named, &keys)
}

impl fmt::Debug for LogVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogVerifier({})", self.origin)
    }
}

#[cfg(test)]
mod tests;

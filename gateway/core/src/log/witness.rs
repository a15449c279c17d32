//! Witnesses (c2sp.org/tlog-witness, v1.0.0) and their cosignatures (c2sp.org/tlog-cosignature, v1.0.1).
//!
//! A witness remembers the last checkpoint of each log it watches and cosigns only what continues it. Here are the
//! request and the judgement; keeping the memory, at one with the judgement, is the shell's matter.

use std::fmt;

use crate::hash::Sha256;
use crate::log::checkpoint::{Checkpoint, CheckpointFault, decimal, hash};
use crate::log::note::{Note, NoteFault, NoteVerifier};
use crate::log::tree::{Head, empty_root, verify_consistency};
use crate::time::Timestamp;

/// A consistency proof has at most so many hashes; more is refused (c2sp.org/tlog-witness).
pub const PROOF_MAX: usize = 63;

/// 63 hashes of 45 bytes, the old size, and a note of 32 signatures with room for longer ones than ours.
pub const REQUEST_MAX: usize = 64 * 1024;

/// What a witness signs: that at this time the checkpoint was the largest consistent one it had seen.
/// `text` is the checkpoint's text with its final newline; the time counts in whole seconds since 1970.
pub fn cosigned_text(text: &[u8], seconds: u64) -> Vec<u8> {
    let mut signed = format!("cosignature/v1\ntime {seconds}\n").into_bytes();
    signed.extend_from_slice(text);
    signed
}

/// The bytes of a cosignature after the key identifier: eight of time, then the 64 of Ed25519.
pub fn cosignature_bytes(seconds: u64, signature: &[u8]) -> Vec<u8> {
    [&seconds.to_be_bytes(), signature].concat()
}

/// Takes a cosignature's bytes apart; `None` when they have another length.
pub fn split_cosignature(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (seconds, signature) = bytes.split_first_chunk::<8>()?;
    (signature.len() == 64).then_some((u64::from_be_bytes(*seconds), signature))
}

/// The time of a cosignature.
pub fn cosigned_at(bytes: &[u8]) -> Option<Timestamp> {
    let (seconds, _) = split_cosignature(bytes)?;
    Some(Timestamp::from_seconds(i64::try_from(seconds).ok()?))
}

/// The body of `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size from which the proof leads to the checkpoint.
    pub old: u64,
    pub proof: Vec<Sha256>,
    /// The checkpoint as its log signed it.
    pub note: Note,
}

impl AddCheckpoint {
    /// Reads a request; checks its form and no signature.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= REQUEST_MAX)?;
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = decimal(lines.next()?.strip_prefix("old ")?)?;
        let proof: Vec<Sha256> = lines.map(hash).collect::<Option<_>>()?;
        let note = Note::parse(note.as_bytes()).ok().filter(|_| proof.len() <= PROOF_MAX)?;
        Some(Self { old, proof, note })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", hash.base64()))?;
        write!(f, "\n{}", self.note)
    }
}

/// Why a witness does not cosign. Each has its HTTP status in the specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the consistency proof does not lead from the last cosigned checkpoint to this one")]
    Inconsistent,
    #[error("the old size is larger than the checkpoint's")]
    OldTooLarge,
    /// Same size, another root: two histories, both signed by the log.
    #[error("the log has signed another root at size {0}")]
    OtherRoot(u64),
    #[error("the checkpoint is not signed by a known key of its log")]
    NotSigned,
    #[error("the last cosigned checkpoint has size {0}")]
    Stale(u64),
    #[error("the text after the proof is not a checkpoint")]
    Malformed,
    #[error("this witness does not watch that log")]
    UnknownLog,
}

impl Refusal {
    /// The status of c2sp.org/tlog-witness.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Inconsistent => 422,
            Self::OldTooLarge | Self::Malformed => 400,
            Self::OtherRoot(_) | Self::Stale(_) => 409,
            Self::NotSigned => 403,
            Self::UnknownLog => 404,
        }
    }
}

/// The log a request is about. Says nothing of signatures.
pub fn origin_of(request: &AddCheckpoint) -> Result<Checkpoint, Refusal> {
    Checkpoint::parse(request.note.text()).map_err(|_| Refusal::Malformed)
}

/// Whether the checkpoint may be cosigned, where `last` is the last one cosigned of this log. The caller makes the
/// checkpoint it gets back durable before it cosigns, and lets nobody in between.
pub fn judge(
    request: &AddCheckpoint,
    verifiers: &[&dyn NoteVerifier],
    last: Option<Head>,
) -> Result<Checkpoint, Refusal> {
    let checkpoint =
        match Checkpoint::open(request.note.to_string().as_bytes(), &origin_of(request)?.origin, verifiers) {
            Ok(checkpoint) => checkpoint,
            Err(CheckpointFault::Note(NoteFault::SignatureWrong(_) | NoteFault::Unsigned)) => {
                return Err(Refusal::NotSigned);
            }
            Err(CheckpointFault::Note(NoteFault::Malformed | NoteFault::TooLarge)) => {
                return Err(Refusal::Malformed);
            }
            Err(CheckpointFault::Malformed | CheckpointFault::OtherLog(_)) => return Err(Refusal::Malformed),
        };
    if request.old > checkpoint.size {
        return Err(Refusal::OldTooLarge);
    }
    let last = last.unwrap_or_else(|| Head { size: 0, root: empty_root() });
    if request.old != last.size {
        return Err(Refusal::Stale(last.size));
    }
    if request.old == checkpoint.size && checkpoint.root != last.root {
        return Err(Refusal::OtherRoot(last.size));
    }
    verify_consistency(&last, &checkpoint.head(), &request.proof).map_err(|_| Refusal::Inconsistent)?;
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::note::tests::ToyKey;
    use crate::log::tile::Tiles;
    use crate::log::tree::{Frontier, consistency_proof};

    const ORIGIN: &str = "log.example";

    fn leaves(count: u64, salt: u8) -> Vec<Sha256> {
        (0..count).map(|n| Sha256::of(&[n.to_be_bytes().as_slice(), &[salt]].concat())).collect()
    }

    fn head(leaves: &[Sha256]) -> Head {
        let mut frontier = Frontier::new();
        frontier.append(leaves);
        Head { size: frontier.size(), root: frontier.root() }
    }

    fn proof(leaves: &[Sha256], old: u64) -> Vec<Sha256> {
        let size = u64::try_from(leaves.len()).unwrap();
        let mut tiles = Tiles::of(size);
        for tile in crate::log::tile::TileId::all(size).filter(|tile| tile.level == 0) {
            let first = usize::try_from(tile.first()).unwrap();
            tiles.insert(tile, leaves[first..first + usize::from(tile.width)].to_vec());
        }
        consistency_proof(&tiles, old, size).unwrap()
    }

    fn request(leaves: &[Sha256], old: u64, key: &ToyKey) -> AddCheckpoint {
        let Head { size, root } = head(leaves);
        let note = Checkpoint { origin: ORIGIN.to_owned(), size, root }.sign(&[key]).unwrap();
        AddCheckpoint { old, proof: proof(leaves, old), note }
    }

    #[test]
    fn what_continues_the_last_checkpoint_is_cosigned() {
        let key = ToyKey::new(ORIGIN, 1);
        let leaves = leaves(200, 0);
        let mut last = None;
        for size in [1_usize, 1, 2, 7, 64, 200] {
            let old = last.map_or(0, |head: Head| head.size);
            let request = request(&leaves[..size], old, &key);
            let read = AddCheckpoint::parse(request.to_string().as_bytes()).unwrap();
            assert_eq!(read, request);
            let checkpoint = judge(&read, &[&key], last).unwrap();
            last = Some(checkpoint.head());
        }
        assert_eq!(last, Some(head(&leaves)));
    }

    #[test]
    fn each_refusal_has_the_status_of_the_specification() {
        let (key, stranger) = (ToyKey::new(ORIGIN, 1), ToyKey::new(ORIGIN, 2));
        let (ours, other) = (leaves(100, 0), leaves(100, 1));
        let last = Some(head(&ours[..60]));
        let refused = |request: &AddCheckpoint, last| judge(request, &[&key], last).unwrap_err().status();
        assert_eq!(refused(&request(&ours, 60, &stranger), last), 403);
        assert_eq!(refused(&request(&ours, 50, &key), last), 409);
        assert_eq!(judge(&request(&ours, 50, &key), &[&key], last), Err(Refusal::Stale(60)));
        assert_eq!(refused(&request(&other, 60, &key), last), 422);
        assert_eq!(refused(&request(&other[..60], 60, &key), last), 409);
        let back = AddCheckpoint { old: 60, proof: Vec::new(), ..request(&ours[..40], 40, &key) };
        assert_eq!(refused(&back, last), 400);
        let padded = AddCheckpoint { proof: vec![Sha256::of(b"x")], ..request(&ours, 0, &key) };
        assert_eq!(refused(&padded, None), 422);
        let note = Note::sign("log.example\nmany\n", &[&key]).unwrap();
        assert_eq!(refused(&AddCheckpoint { old: 0, proof: Vec::new(), note }, None), 400);
    }

    #[test]
    fn other_texts_are_not_requests() {
        let key = ToyKey::new(ORIGIN, 1);
        let good = request(&leaves(5, 0), 2, &key).to_string();
        for wrong in [
            good.replacen("old 2", "old 02", 1),
            good.replacen("old 2", "old -1", 1),
            good.replacen("old 2", "new 2", 1),
            good.replacen("old 2\n", "old 2\nAAAA\n", 1),
            good.replacen("\n\n", "\n", 1),
            good.trim_end().to_owned(),
            format!("old 0\n{}", good.lines().nth(1).map(|line| format!("{line}\n").repeat(64)).unwrap()),
        ] {
            assert_eq!(AddCheckpoint::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_cosignature_is_taken_apart_as_it_was_put_together() {
        let bytes = cosignature_bytes(1_772_442_000, &[7; 64]);
        assert_eq!(split_cosignature(&bytes), Some((1_772_442_000, [7; 64].as_slice())));
        assert_eq!(cosigned_at(&bytes), Some(Timestamp::from_seconds(1_772_442_000)));
        assert_eq!(split_cosignature(&bytes[1..]), None);
        assert_eq!(cosigned_text(b"a\n", 5), b"cosignature/v1\ntime 5\na\n");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = AddCheckpoint::parse(&bytes);
        }
    }
}

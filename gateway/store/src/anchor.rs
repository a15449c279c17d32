//! The anchor: a small file outside the database with the highest checkpoint this replica has signed.
//!
//! Whoever restores an old database does not restore the anchor, so the log refuses to sign a second history. The
//! file has two places that are written in turn, each with its own digest: a torn write leaves the other one whole,
//! and one `fdatasync` is enough (a replaced file would need two `fsync`s more). The open file is locked, so that two
//! processes cannot sign from one anchor.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use varco_core::hash::Sha256;

/// One place: a page, which no disk tears into the other place.
const PLACE: usize = 4096;

/// The first line of a place: this, a sequence number, the note's length and digest.
const MAGIC: &str = "varco/anchor/v1";

/// The longest first line: magic, 20 digits, 4 digits, 64 hexadecimal digits, three spaces and a newline.
const LINE_MAX: usize = MAGIC.len() + 20 + 4 + 64 + 4;

/// The longest note an anchor holds. Notes of ours have one or two signatures and an origin: some 300 bytes.
const NOTE_MAX: usize = PLACE - LINE_MAX;

/// Why there is no anchor to hold on to.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    #[error("the anchor file is damaged: neither of its places is whole")]
    Damaged,
    #[error("the anchor file is in use by another process")]
    InUse,
    #[error("the anchor file cannot be read or written")]
    Io(#[from] io::Error),
    #[error("the checkpoint is longer than the {NOTE_MAX} bytes an anchor holds")]
    TooLong,
}

/// The open, locked file.
#[derive(Debug)]
pub struct Anchor {
    file: File,
    sequence: u64,
    note: Option<Arc<str>>,
}

impl Anchor {
    /// Opens the file, and makes it when it is not there. The directory must be.
    pub fn open(path: &Path) -> Result<Self, AnchorError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AnchorError::InUse),
            Err(TryLockError::Error(fault)) => return Err(fault.into()),
        }
        if file.metadata()?.len() == 0 {
            file.write_all_at(&[0; 2 * PLACE], 0)?;
            file.sync_all()?;
            if let Some(directory) = path.parent() {
                let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
                File::open(directory)?.sync_all()?;
            }
        }
        Self::read(file)
    }

    /// The last note in a file that may be in use: for those who only check. `None` in a new file.
    pub fn peek(path: &Path) -> Result<Option<Arc<str>>, AnchorError> {
        Ok(Self::read(File::open(path)?)?.note)
    }

    fn read(file: File) -> Result<Self, AnchorError> {
        let mut bytes = [0; 2 * PLACE];
        file.read_exact_at(&mut bytes, 0)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Self { file, sequence: 0, note: None });
        }
        let places = bytes.chunks_exact(PLACE).filter_map(parse);
        let (sequence, note) = places.max_by_key(|(sequence, _)| *sequence).ok_or(AnchorError::Damaged)?;
        Ok(Self { file, sequence, note: Some(note.into()) })
    }

    /// The last note written; `None` in a new file.
    pub const fn note(&self) -> Option<&Arc<str>> {
        self.note.as_ref()
    }

    /// Makes the note durable. The note before it stays until this one is.
    pub fn write(&mut self, note: &Arc<str>) -> Result<(), AnchorError> {
        if note.len() > NOTE_MAX {
            return Err(AnchorError::TooLong);
        }
        let sequence = self.sequence + 1;
        let mut place = format!("{MAGIC} {sequence} {} {}\n{note}", note.len(), Sha256::of(note.as_bytes()));
        place.extend(std::iter::repeat_n('\n', PLACE.saturating_sub(place.len())));
        self.file.write_all_at(place.as_bytes(), if sequence % 2 == 1 { 0 } else { PLACE as u64 })?;
        self.file.sync_data()?;
        self.sequence = sequence;
        self.note = Some(Arc::clone(note));
        Ok(())
    }
}

/// What a place holds, if it is whole.
fn parse(place: &[u8]) -> Option<(u64, &str)> {
    let text = std::str::from_utf8(place).ok()?;
    let (line, rest) = text.split_once('\n')?;
    let mut words = line.split(' ');
    let (magic, sequence, length, digest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let note = rest.get(..length.parse().ok()?)?;
    let whole = magic == MAGIC && words.next().is_none() && digest.parse() == Ok(Sha256::of(note.as_bytes()));
    whole.then_some((sequence.parse().ok()?, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(std::path::PathBuf);

    impl Directory {
        fn join(&self, name: &str) -> std::path::PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn directory(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("varco-anchor-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    #[test]
    fn an_anchor_keeps_the_last_note() {
        let home = directory("last");
        let path = home.join("anchor");
        let mut anchor = Anchor::open(&path).unwrap();
        assert_eq!(anchor.note(), None);
        for n in 0..5 {
            anchor.write(&format!("note {n}\n\nwith lines\n").into()).unwrap();
        }
        drop(anchor);
        assert_eq!(Anchor::open(&path).unwrap().note().unwrap().as_ref(), "note 4\n\nwith lines\n");
    }

    #[test]
    fn a_torn_write_leaves_the_note_before_it() {
        let home = directory("torn");
        let path = home.join("anchor");
        let mut anchor = Anchor::open(&path).unwrap();
        anchor.write(&"one".into()).unwrap();
        anchor.write(&"two".into()).unwrap();
        drop(anchor);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[PLACE + 40] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Anchor::open(&path).unwrap().note().unwrap().as_ref(), "one");
        bytes[3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(Anchor::open(&path), Err(AnchorError::Damaged)));
    }

    #[test]
    fn a_flipped_byte_gives_no_other_note() {
        let home = directory("flipped");
        let path = home.join("anchor");
        let mut anchor = Anchor::open(&path).unwrap();
        anchor.write(&"one".into()).unwrap();
        anchor.write(&"two".into()).unwrap();
        drop(anchor);
        let good = std::fs::read(&path).unwrap();
        // Behind each note there is nothing but newlines.
        for at in (0..LINE_MAX + 8).chain(PLACE..PLACE + LINE_MAX + 8) {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                std::fs::write(&path, &bad).unwrap();
                let note = Anchor::peek(&path).unwrap().unwrap();
                assert!(matches!(note.as_ref(), "one" | "two"), "byte {at}: {note}");
            }
        }
    }

    #[test]
    fn two_cannot_hold_one_anchor() {
        let home = directory("locked");
        let path = home.join("anchor");
        let anchor = Anchor::open(&path).unwrap();
        assert!(matches!(Anchor::open(&path), Err(AnchorError::InUse)));
        assert!(matches!(Anchor::peek(&path), Ok(None)));
        drop(anchor);
        assert!(Anchor::open(&path).is_ok());
    }

    #[test]
    fn a_note_that_does_not_fit_is_refused() {
        let home = directory("long");
        let path = home.join("anchor");
        let mut anchor = Anchor::open(&path).unwrap();
        anchor.write(&"short".into()).unwrap();
        assert!(matches!(anchor.write(&"x".repeat(PLACE).into()), Err(AnchorError::TooLong)));
        assert!(anchor.write(&"x".repeat(NOTE_MAX).into()).is_ok());
        drop(anchor);
        assert_eq!(Anchor::open(&path).unwrap().note().unwrap().len(), NOTE_MAX);
    }
}

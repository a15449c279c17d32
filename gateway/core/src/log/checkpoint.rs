//! Checkpoints (c2sp.org/tlog-checkpoint, v1.0.0): the signed statement of a log's size and root.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Sha256;
use crate::log::note::{Note, NoteFault, NoteSigner, NoteVerifier, SignError};
use crate::log::tree::Head;

/// What a log says of itself: it is this log, of this size, with this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Sha256,
}

/// Why a note is not a checkpoint of the log that is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    #[error("the text is not of the form that c2sp.org/tlog-checkpoint gives")]
    Malformed,
    #[error(transparent)]
    Note(#[from] NoteFault),
    #[error("the checkpoint is of the log `{0}`, which is another one")]
    OtherLog(String),
}

impl Checkpoint {
    /// The text that is signed: three lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.base64())
    }

    /// Reads the text of a checkpoint. Extension lines, which a log of ours never writes, are refused: no auditor
    /// would look at them.
    pub fn parse(text: &str) -> Result<Self, CheckpointFault> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointFault::Malformed)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointFault::Malformed);
        };
        if origin.is_empty() {
            return Err(CheckpointFault::Malformed);
        }
        let size = decimal(size).ok_or(CheckpointFault::Malformed)?;
        let root = hash(root).ok_or(CheckpointFault::Malformed)?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    pub fn sign(&self, signers: &[&dyn NoteSigner]) -> Result<Note, SignError> {
        // What could not be read back must not be signed.
        match Self::parse(&self.text()) {
            Ok(_) => Note::sign(&self.text(), signers),
            Err(_) => Err(SignError::Malformed),
        }
    }

    /// The checkpoint in a note, once a known key of the log `origin` has signed it.
    pub fn open(note: &[u8], origin: &str, verifiers: &[&dyn NoteVerifier]) -> Result<Self, CheckpointFault> {
        let note = Note::parse(note)?;
        note.verify(verifiers)?;
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin != origin {
            return Err(CheckpointFault::OtherLog(checkpoint.origin));
        }
        Ok(checkpoint)
    }

    pub const fn head(&self) -> Head {
        Head { size: self.size, root: self.root }
    }
}

/// An integer in its one decimal form: digits only, no leading zero.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A hash in its one base64 form.
pub(super) fn hash(text: &str) -> Option<Sha256> {
    Sha256::from_slice(&STANDARD.decode(text).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::note::tests::ToyKey;

    const ORIGIN: &str = "varco.example/access-log/2026";

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: ORIGIN.to_owned(), size: 20_852_163, root: Sha256::of(b"root") }
    }

    #[test]
    fn the_text_of_the_specification_is_read_and_printed() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(checkpoint.text(), text);
    }

    #[test]
    fn other_texts_are_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for wrong in [
            format!("log\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("log\n01\n{root}\n"),
            format!("log\n+1\n{root}\n"),
            format!("log\n-1\n{root}\n"),
            format!("log\n\n{root}\n"),
            format!("log\n18446744073709551616\n{root}\n"),
            "log\n1\nAAAA\n".to_owned(),
            format!("log\n1\n{root}\nextension\n"),
            format!("log\n1\n{root}\n\n"),
            "log\n1\n".to_owned(),
            // The same 32 bytes with other trailing bits.
            format!("log\n1\n{}\n", root.replace("2I=", "2J=")),
        ] {
            assert_eq!(Checkpoint::parse(&wrong), Err(CheckpointFault::Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn a_checkpoint_opens_only_as_what_it_is() {
        let (log, other) = (ToyKey::new(ORIGIN, 1), ToyKey::new(ORIGIN, 2));
        let note = checkpoint().sign(&[&log]).unwrap().to_string();
        assert_eq!(Checkpoint::open(note.as_bytes(), ORIGIN, &[&log]), Ok(checkpoint()));
        let fault = Checkpoint::open(note.as_bytes(), ORIGIN, &[&other]);
        assert_eq!(fault, Err(CheckpointFault::Note(NoteFault::Unsigned)));
        let fault = Checkpoint::open(note.as_bytes(), "another", &[&log]);
        assert_eq!(fault, Err(CheckpointFault::OtherLog(ORIGIN.to_owned())));
        let nameless = Checkpoint { origin: String::new(), ..checkpoint() };
        assert_eq!(nameless.sign(&[&log]), Err(SignError::Malformed));
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_again(text in "[a-z]{0,3}\n?[0-9]{1,20}\n[A-Za-z0-9+/]{42}[A-Z]=\n") {
            if let Ok(checkpoint) = Checkpoint::parse(&text) {
                prop_assert_eq!(checkpoint.text(), text);
            }
        }
    }
}

//! Signed notes (c2sp.org/signed-note, v1.0.0): a text, a blank line, and one line for each signature.
//!
//! The cryptography is the caller's: keys come in as [`NoteSigner`] and [`NoteVerifier`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Sha256;

/// Names a key together with the key's name. Not a strong hash, and not meant to be one.
pub type KeyId = [u8; 4];

/// The signature type of plain Ed25519.
pub const ED25519: u8 = 0x01;

/// The signature type of Ed25519 cosignatures with their time (c2sp.org/tlog-cosignature, v1).
pub const COSIGNATURE_V1: u8 = 0x04;

/// The specification demands 16; twice that leaves room for agencies whose keys are being rolled over.
pub const SIGNATURES_MAX: usize = 32;

/// 32 lines with post-quantum signatures (5 KB, a third more in base64), and as much text as a checkpoint never has.
pub const NOTE_MAX: usize = 256 * 1024;

/// A key that signs notes.
pub trait NoteSigner: Send + Sync {
    fn name(&self) -> &str;
    fn key_id(&self) -> KeyId;
    /// The bytes that stand after the key identifier in the signature line.
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignFault>;
    /// The same key under another name: each yearly shard of a log is signed under its own.
    fn renamed(&self, name: &str) -> Option<Box<dyn NoteSigner>>;
}

/// A key that checks notes.
pub trait NoteVerifier: Send + Sync {
    fn name(&self) -> &str;
    fn key_id(&self) -> KeyId;
    fn verify(&self, text: &[u8], signature: &[u8]) -> bool;
    /// The same key under another name; `None` for keys that are of no log.
    fn renamed(&self, name: &str) -> Option<Box<dyn NoteVerifier>>;
}

/// The key could not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign")]
pub struct SignFault;

/// The identifier of a key: SHA-256 of name, newline, signature type and public key, cut to four bytes.
pub fn key_id(name: &str, algorithm: u8, public: &[u8]) -> KeyId {
    let digest = Sha256::of_parts(&[name.as_bytes(), b"\n", &[algorithm], public]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

/// A public key as text: `<name>+<key identifier in hexadecimal>+<base64 of signature type and key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: Box<str>,
    algorithm: u8,
    public: Box<[u8]>,
}

/// Why a text is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyFault {
    #[error("expected a verifier key such as `example.org/log+<8 hexadecimal digits>+<base64>`")]
    Form,
    #[error("the key identifier does not belong to the key")]
    Identifier,
    #[error("the name of the key is empty, or has spaces, control characters or `+`")]
    Name,
}

impl VerifierKey {
    pub fn new(name: &str, algorithm: u8, public: &[u8]) -> Result<Self, VerifierKeyFault> {
        if !is_name(name) {
            return Err(VerifierKeyFault::Name);
        }
        Ok(Self { name: name.into(), algorithm, public: public.into() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The signature type, [`ED25519`] for one.
    pub const fn algorithm(&self) -> u8 {
        self.algorithm
    }

    pub const fn public(&self) -> &[u8] {
        &self.public
    }

    pub fn key_id(&self) -> KeyId {
        key_id(&self.name, self.algorithm, &self.public)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.algorithm];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.key_id()), STANDARD.encode(key))
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = VerifierKeyFault;

    fn from_str(text: &str) -> Result<Self, VerifierKeyFault> {
        // Base64 may hold `+` itself, so only the first two separate.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyFault::Form);
        };
        let key = STANDARD.decode(key).map_err(|_| VerifierKeyFault::Form)?;
        let (algorithm, public) = key.split_first().ok_or(VerifierKeyFault::Form)?;
        let key = Self::new(name, *algorithm, public)?;
        if format!("{:08x}", u32::from_be_bytes(key.key_id())) != id {
            return Err(VerifierKeyFault::Identifier);
        }
        Ok(key)
    }
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: Box<str>,
    key_id: KeyId,
    bytes: Box<[u8]>,
}

impl Signature {
    /// A signature made elsewhere: `bytes` are what stands after the key identifier.
    pub fn new(name: &str, key_id: KeyId, bytes: &[u8]) -> Option<Self> {
        (is_name(name) && !bytes.is_empty()).then(|| Self { name: name.into(), key_id, bytes: bytes.into() })
    }

    /// Reads one signature line, without its newline.
    pub fn parse(line: &str) -> Option<Self> {
        signature(line)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.key_id.to_vec();
        bytes.extend_from_slice(&self.bytes);
        writeln!(f, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A text with at least one signature, none of them checked yet. Prints exactly what it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: Box<str>,
    signatures: Vec<Signature>,
}

/// Why bytes are not a note, or the note is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    #[error("the note is not of the form that c2sp.org/signed-note gives")]
    Malformed,
    #[error("the signature of the key `{0}` does not verify")]
    SignatureWrong(String),
    #[error("the note is larger than {NOTE_MAX} bytes or has more than {SIGNATURES_MAX} signatures")]
    TooLarge,
    #[error("the note has no signature of a known key")]
    Unsigned,
}

/// Why a text could not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error(transparent)]
    Key(#[from] SignFault),
    #[error("the text or the name of a key is not what a note can hold")]
    Malformed,
}

impl Note {
    /// Signs a text, which must end in a newline, with every key in turn.
    pub fn sign(text: &str, signers: &[&dyn NoteSigner]) -> Result<Self, SignError> {
        if !is_text(text) || signers.is_empty() {
            return Err(SignError::Malformed);
        }
        let mut note = Self { text: text.into(), signatures: Vec::new() };
        for signer in signers {
            note.add(*signer)?;
        }
        Ok(note)
    }

    /// Adds a signature, a witness's for one.
    pub fn add(&mut self, signer: &dyn NoteSigner) -> Result<(), SignError> {
        if !is_name(signer.name()) || self.signatures.len() >= SIGNATURES_MAX {
            return Err(SignError::Malformed);
        }
        let bytes = signer.sign(self.text.as_bytes())?;
        if bytes.is_empty() {
            return Err(SignError::Key(SignFault));
        }
        let (name, key_id) = (signer.name().into(), signer.key_id());
        self.signatures.push(Signature { name, key_id, bytes: bytes.into() });
        Ok(())
    }

    /// Adds a signature made elsewhere, unless the same key has one already. `false` when there is no room for it.
    pub fn attach(&mut self, signature: Signature) -> bool {
        let same = |other: &Signature| other.name == signature.name && other.key_id == signature.key_id;
        if self.signatures.iter().any(same) {
            return true;
        }
        if self.signatures.len() >= SIGNATURES_MAX {
            return false;
        }
        self.signatures.push(signature);
        true
    }

    /// Reads a note; checks its form and no signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteFault> {
        if bytes.len() > NOTE_MAX {
            return Err(NoteFault::TooLarge);
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteFault::Malformed)?;
        // The last empty line separates: the text before it may have empty lines too.
        let (before, lines) = whole.rsplit_once("\n\n").ok_or(NoteFault::Malformed)?;
        let text = whole.get(..=before.len()).ok_or(NoteFault::Malformed)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteFault::Malformed)?;
        if !is_text(text) {
            return Err(NoteFault::Malformed);
        }
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() >= SIGNATURES_MAX {
                return Err(NoteFault::TooLarge);
            }
            signatures.push(signature(line).ok_or(NoteFault::Malformed)?);
        }
        Ok(Self { text: text.into(), signatures })
    }

    /// The signed text. Believe it only after [`Note::verify`].
    pub const fn text(&self) -> &str {
        &self.text
    }

    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Checks every signature of a known key and ignores the others. Gives back the positions, in `verifiers`, of the
    /// keys that signed; at least one. A known key whose signature is wrong makes the whole note worthless.
    pub fn verify(&self, verifiers: &[&dyn NoteVerifier]) -> Result<Vec<usize>, NoteFault> {
        let mut signed = Vec::new();
        for signature in &self.signatures {
            let known = verifiers
                .iter()
                .position(|key| key.name() == signature.name() && key.key_id() == signature.key_id());
            let Some((position, key)) = known.and_then(|p| Some((p, verifiers.get(p)?))) else { continue };
            if !key.verify(self.text.as_bytes(), signature.bytes()) {
                return Err(NoteFault::SignatureWrong(signature.name().to_owned()));
            }
            if !signed.contains(&position) {
                signed.push(position);
            }
        }
        if signed.is_empty() { Err(NoteFault::Unsigned) } else { Ok(signed) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

fn signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (key_id, rest) = bytes.split_first_chunk::<4>()?;
    (is_name(name) && !rest.is_empty()).then(|| Signature {
        name: name.into(),
        key_id: *key_id,
        bytes: rest.into(),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// A text a note can hold: ends in a newline and has no other control character of ASCII.
fn is_text(text: &str) -> bool {
    text.ends_with('\n') && !text.bytes().any(|b| b < b' ' && b != b'\n')
}

#[cfg(test)]
pub(crate) mod tests;

//! Ed25519 keys for signed notes (C2SP signed-note): the log's checkpoints, and later the witnesses' cosignatures.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use varco_core::log::note::{
    COSIGNATURE_V1, ED25519 as TYPE, KeyId, NoteSigner, NoteVerifier, SignFault, Signature, VerifierKey,
    VerifierKeyFault,
};
use varco_core::log::witness::{cosignature_bytes, cosigned_text, split_cosignature};
use varco_core::time::Timestamp;

use crate::pem::{self, PemFault};

/// Why a key cannot sign or check notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteKeyFault {
    #[error("it is not an Ed25519 key")]
    KindUnknown,
    #[error("{0}")]
    Pem(#[from] PemFault),
    #[error("{0}")]
    Verifier(#[from] VerifierKeyFault),
}

/// A log's or a witness's private key, with the name it signs under.
#[derive(Clone)]
pub struct Ed25519NoteKey {
    pair: Arc<Ed25519KeyPair>,
    verifier: VerifierKey,
    id: KeyId,
}

impl Ed25519NoteKey {
    /// From the PEM of a PKCS#8 Ed25519 key. `name` is the log's origin: `gateway.piana.example/log`.
    pub fn from_pem(name: &str, key: &[u8]) -> Result<Self, NoteKeyFault> {
        Self::from_pkcs8(name, &pem::private_key(key)?)
    }

    /// From the DER of a PKCS#8 Ed25519 key.
    pub fn from_pkcs8(name: &str, key: &[u8]) -> Result<Self, NoteKeyFault> {
        let pair = Ed25519KeyPair::from_pkcs8(key).map_err(|_| NoteKeyFault::KindUnknown)?;
        let verifier = VerifierKey::new(name, TYPE, pair.public_key().as_ref())?;
        let id = verifier.key_id();
        Ok(Self { pair: Arc::new(pair), verifier, id })
    }

    /// The public half as text: `<name>+<8 hexadecimal digits>+<base64>`.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The public half, ready to check.
    pub fn verifier(&self) -> Result<Ed25519NoteVerifier, NoteKeyFault> {
        Ed25519NoteVerifier::new(self.verifier.clone())
    }
}

impl NoteSigner for Ed25519NoteKey {
    fn name(&self) -> &str {
        self.verifier.name()
    }

    fn key_id(&self) -> KeyId {
        self.id
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignFault> {
        Ok(self.pair.try_sign(text).map_err(|_| SignFault)?.as_ref().to_vec())
    }

    fn renamed(&self, name: &str) -> Option<Box<dyn NoteSigner>> {
        let verifier = VerifierKey::new(name, TYPE, self.verifier.public()).ok()?;
        let id = verifier.key_id();
        Some(Box::new(Self { pair: Arc::clone(&self.pair), verifier, id }))
    }
}

/// A log's or a witness's public key.
#[derive(Clone, Debug)]
pub struct Ed25519NoteVerifier {
    key: Arc<ParsedPublicKey>,
    verifier: VerifierKey,
    id: KeyId,
}

impl Ed25519NoteVerifier {
    pub fn new(verifier: VerifierKey) -> Result<Self, NoteKeyFault> {
        if verifier.algorithm() != TYPE || verifier.public().len() != 32 {
            return Err(NoteKeyFault::KindUnknown);
        }
        let key = ParsedPublicKey::new(&ED25519, verifier.public()).map_err(|_| NoteKeyFault::KindUnknown)?;
        let id = verifier.key_id();
        Ok(Self { key: Arc::new(key), verifier, id })
    }

    /// The same key under another name: a log's key, for another of its yearly shards.
    pub fn under(&self, name: &str) -> Result<Self, NoteKeyFault> {
        Self::new(VerifierKey::new(name, TYPE, self.verifier.public())?)
    }

    /// From the registry's text form.
    pub fn from_text(text: &str) -> Result<Self, NoteKeyFault> {
        Self::new(text.parse()?)
    }
}

impl NoteVerifier for Ed25519NoteVerifier {
    fn name(&self) -> &str {
        self.verifier.name()
    }

    fn key_id(&self) -> KeyId {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(text, signature).is_ok()
    }

    fn renamed(&self, name: &str) -> Option<Box<dyn NoteVerifier>> {
        let verifier = VerifierKey::new(name, TYPE, self.verifier.public()).ok()?;
        let id = verifier.key_id();
        Some(Box::new(Self { key: Arc::clone(&self.key), verifier, id }))
    }
}

/// A witness's private key: it signs that a checkpoint was the largest it had seen at a time
/// (c2sp.org/tlog-cosignature, v1).
#[derive(Clone)]
pub struct WitnessKey {
    pair: Arc<Ed25519KeyPair>,
    verifier: VerifierKey,
}

impl WitnessKey {
    /// From the PEM of a PKCS#8 Ed25519 key. `name` is the witness's: `gateway.piana.example/witness`.
    pub fn from_pem(name: &str, key: &[u8]) -> Result<Self, NoteKeyFault> {
        let key = pem::private_key(key)?;
        let pair = Ed25519KeyPair::from_pkcs8(&key).map_err(|_| NoteKeyFault::KindUnknown)?;
        let verifier = VerifierKey::new(name, COSIGNATURE_V1, pair.public_key().as_ref())?;
        Ok(Self { pair: Arc::new(pair), verifier })
    }

    /// The public half as text, with signature type 0x04.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The cosignature of a checkpoint's text. Cosign only what was judged and made durable.
    pub fn cosign(&self, text: &str, at: Timestamp) -> Result<Signature, SignFault> {
        let seconds = u64::try_from(at.seconds()).map_err(|_| SignFault)?;
        let signed = cosigned_text(text.as_bytes(), seconds);
        let signature = self.pair.try_sign(&signed).map_err(|_| SignFault)?;
        let bytes = cosignature_bytes(seconds, signature.as_ref());
        Signature::new(self.verifier.name(), self.verifier.key_id(), &bytes).ok_or(SignFault)
    }
}

/// A witness's public key.
#[derive(Clone, Debug)]
pub struct CosignatureVerifier {
    key: Arc<ParsedPublicKey>,
    verifier: VerifierKey,
    id: KeyId,
}

impl CosignatureVerifier {
    pub fn new(verifier: VerifierKey) -> Result<Self, NoteKeyFault> {
        if verifier.algorithm() != COSIGNATURE_V1 || verifier.public().len() != 32 {
            return Err(NoteKeyFault::KindUnknown);
        }
        let key = ParsedPublicKey::new(&ED25519, verifier.public()).map_err(|_| NoteKeyFault::KindUnknown)?;
        let id = verifier.key_id();
        Ok(Self { key: Arc::new(key), verifier, id })
    }
}

impl NoteVerifier for CosignatureVerifier {
    fn name(&self) -> &str {
        self.verifier.name()
    }

    fn key_id(&self) -> KeyId {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        split_cosignature(signature).is_some_and(|(seconds, signature)| {
            self.key.verify_sig(&cosigned_text(text, seconds), signature).is_ok()
        })
    }

    /// A witness has one name, whatever it cosigns.
    fn renamed(&self, _: &str) -> Option<Box<dyn NoteVerifier>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ED25519};

    use super::*;

    #[test]
    fn a_note_key_checks_what_it_signed_and_nothing_else() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let key = Ed25519NoteKey::from_pem("log.example", key.serialize_pem().as_bytes()).unwrap();
        let verifier = Ed25519NoteVerifier::from_text(&key.verifier_key().to_string()).unwrap();
        let signature = key.sign(b"text\n").unwrap();
        assert_eq!(signature.len(), 64);
        assert!(verifier.verify(b"text\n", &signature));
        assert!(!verifier.verify(b"text", &signature));
        assert_eq!((verifier.name(), verifier.key_id()), (key.name(), key.key_id()));
    }

    #[test]
    fn a_cosignature_holds_for_its_checkpoint_and_its_time_only() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let key = WitnessKey::from_pem("witness.example", key.serialize_pem().as_bytes()).unwrap();
        let verifier = CosignatureVerifier::new(key.verifier_key().to_string().parse().unwrap()).unwrap();
        let cosigned = key.cosign("text\n", Timestamp::from_seconds(1_772_442_000)).unwrap();
        assert!(verifier.verify(b"text\n", cosigned.bytes()));
        assert!(!verifier.verify(b"other\n", cosigned.bytes()));
        let mut later = cosigned.bytes().to_vec();
        later[7] ^= 1;
        assert!(!verifier.verify(b"text\n", &later));
        assert!(Ed25519NoteVerifier::new(key.verifier_key().clone()).is_err());
    }

    #[test]
    fn only_ed25519_keys_sign_notes() {
        let key = KeyPair::generate().unwrap();
        let refused = Ed25519NoteKey::from_pem("log.example", key.serialize_pem().as_bytes());
        assert_eq!(refused.err(), Some(NoteKeyFault::KindUnknown));
    }
}

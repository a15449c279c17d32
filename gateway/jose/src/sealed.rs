//! A text that one officer alone can read: compact JWE (RFC 7516) with `ECDH-ES` on P-256 and `A256GCM`.
//!
//! The key is the officer's reading key, which signs nothing: one key for one use (NIST SP 800-57 section 5.2). Any JOSE
//! library opens what is made here; the test does it with josekit.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{
    ECDH_P256, EphemeralPrivateKey, PrivateKey, UnparsedPublicKey, agree, agree_ephemeral,
};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use varco_core::hash::Sha256;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::pem;

/// An uncompressed point of P-256: `04`, then both coordinates.
const POINT: usize = 65;
const COORDINATE: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;
const ENCRYPTION: &str = "A256GCM";

/// Why a text could not be sealed or opened. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedFault {
    #[error("the key is not a P-256 key in PEM")]
    Key,
    #[error("it was not sealed to this key, or was changed")]
    NotOurs,
    #[error("it is not a compact JWE with ECDH-ES and A256GCM")]
    Form,
    #[error("the system gives no random bytes")]
    Random,
}

/// An officer's public reading key.
#[derive(Clone, Debug)]
pub struct ReadingKey {
    point: Vec<u8>,
    id: Sha256,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    enc: String,
    epk: Epk,
}

#[derive(Deserialize)]
struct Epk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

impl ReadingKey {
    /// From the PEM of a SubjectPublicKeyInfo.
    pub fn from_pem(public_key: &str) -> Result<Self, SealedFault> {
        let spki = pem::public_key(public_key.as_bytes()).map_err(|_| SealedFault::Key)?;
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| SealedFault::Key)?;
        let point = parsed.subject_public_key.data.to_vec();
        if point.len() != POINT || point.first() != Some(&4) {
            return Err(SealedFault::Key);
        }
        Ok(Self { point, id: Sha256::of(&spki) })
    }

    /// Seals a text; `kid` is the SHA-256 of the key's SubjectPublicKeyInfo.
    pub fn seal(&self, text: &str) -> Result<String, SealedFault> {
        let random = SystemRandom::new();
        let mine = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(|_| SealedFault::Random)?;
        let public = mine.compute_public_key().map_err(|_| SealedFault::Random)?;
        let (x, y) = coordinates(public.as_ref()).ok_or(SealedFault::Random)?;
        let header = format!(
            r#"{{"alg":"ECDH-ES","enc":"{ENCRYPTION}","epk":{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}},"kid":"{}"}}"#,
            self.id
        );
        let theirs = UnparsedPublicKey::new(&ECDH_P256, &self.point);
        let key = agree_ephemeral(mine, theirs, SealedFault::Key, |shared| Ok(derived(shared)))?;
        let mut nonce = [0; NONCE];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| SealedFault::Random)?;
        let header = URL_SAFE_NO_PAD.encode(header);
        let mut bytes = text.as_bytes().to_vec();
        let aad = Aad::from(header.as_bytes());
        let cipher = cipher(&key)?;
        cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)
            .map_err(|_| SealedFault::Random)?;
        let (sealed, tag) = bytes.split_at(bytes.len().saturating_sub(TAG));
        let [nonce, sealed, tag] = [nonce.as_slice(), sealed, tag].map(|part| URL_SAFE_NO_PAD.encode(part));
        Ok(format!("{header}..{nonce}.{sealed}.{tag}"))
    }
}

/// Opens what was sealed to this PKCS#8 key in PEM.
pub fn open(key: &[u8], sealed: &str) -> Result<Zeroizing<String>, SealedFault> {
    let der = pem::private_key(key).map_err(|_| SealedFault::Key)?;
    let mine = PrivateKey::from_private_key_der(&ECDH_P256, &der).map_err(|_| SealedFault::Key)?;
    let parts: Vec<&str> = sealed.trim().split('.').collect();
    let [header, "", nonce, text, tag] = parts.as_slice() else { return Err(SealedFault::Form) };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| SealedFault::Form);
    let said: Header = serde_json::from_slice(&decode(header)?).map_err(|_| SealedFault::Form)?;
    if (said.alg.as_str(), said.enc.as_str()) != ("ECDH-ES", ENCRYPTION)
        || (said.epk.kty.as_str(), said.epk.crv.as_str()) != ("EC", "P-256")
    {
        return Err(SealedFault::Form);
    }
    let point = [vec![4], decode(&said.epk.x)?, decode(&said.epk.y)?].concat();
    let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
    let key = agree(&mine, theirs, SealedFault::NotOurs, |shared| Ok(derived(shared)))?;
    let nonce: [u8; NONCE] = decode(nonce)?.try_into().map_err(|_| SealedFault::Form)?;
    let mut bytes = Zeroizing::new([decode(text)?, decode(tag)?].concat());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let opened = cipher(&key)?
        .open_in_place(nonce, Aad::from(header.as_bytes()), &mut bytes)
        .map_err(|_| SealedFault::NotOurs)?;
    String::from_utf8(opened.to_vec()).map(Zeroizing::new).map_err(|_| SealedFault::Form)
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, SealedFault> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealedFault::Key)?))
}

fn coordinates(point: &[u8]) -> Option<(String, String)> {
    let (x, y) = point.get(1..POINT)?.split_at(COORDINATE);
    Some((URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

/// Concat KDF of NIST SP 800-56A with SHA-256, one round, as RFC 7518 section 4.6.2 asks: the algorithm's name, two
/// empty parties, and the length of the key in bits.
fn derived(shared: &[u8]) -> Zeroizing<Vec<u8>> {
    const BITS: u32 = 256;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let name = ENCRYPTION.as_bytes();
    let mut input = Zeroizing::new(Vec::new());
    for part in [
        1_u32.to_be_bytes().as_slice(),
        shared,
        &length(name),
        name,
        &length(b""),
        &length(b""),
        &BITS.to_be_bytes(),
    ] {
        input.extend_from_slice(part);
    }
    Zeroizing::new(digest(&SHA256, &input).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use josekit::jwe::{self, ECDH_ES};
    use rcgen::KeyPair;

    use super::*;

    const TEXT: &str = "La signora è in pericolo e non risponde: servono i contatti del tutore.";

    fn keys() -> (KeyPair, ReadingKey) {
        let pair = KeyPair::generate().unwrap();
        let public = ReadingKey::from_pem(&pair.public_key_pem()).unwrap();
        (pair, public)
    }

    #[test]
    fn only_its_officer_opens_a_sealed_text() {
        let ((one, public), (other, _)) = (keys(), keys());
        let sealed = public.seal(TEXT).unwrap();
        assert!(!sealed.contains("pericolo"));
        assert_eq!(open(one.serialize_pem().as_bytes(), &sealed).unwrap().as_str(), TEXT);
        assert_eq!(open(other.serialize_pem().as_bytes(), &sealed), Err(SealedFault::NotOurs));
        assert_ne!(public.seal(TEXT).unwrap(), sealed, "the same text is never sealed alike");
    }

    #[test]
    fn josekit_opens_it_and_what_josekit_seals_is_opened_here() {
        let (pair, public) = keys();
        let pem = pair.serialize_pem();
        let decrypter = ECDH_ES.decrypter_from_pem(&pem).unwrap();
        let (text, header) = jwe::deserialize_compact(&public.seal(TEXT).unwrap(), &decrypter).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), TEXT);
        assert_eq!(header.content_encryption(), Some(ENCRYPTION));
        let mut header = jwe::JweHeader::new();
        header.set_content_encryption(ENCRYPTION);
        let encrypter = ECDH_ES.encrypter_from_pem(pair.public_key_pem()).unwrap();
        let sealed = jwe::serialize_compact(TEXT.as_bytes(), &header, &encrypter).unwrap();
        assert_eq!(open(pem.as_bytes(), &sealed).unwrap().as_str(), TEXT);
    }

    #[test]
    fn a_changed_text_is_not_opened() {
        let (pair, public) = keys();
        let sealed = public.seal(TEXT).unwrap();
        let pem = pair.serialize_pem();
        for place in (0..sealed.len()).step_by(7) {
            let mut bytes = sealed.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(open(pem.as_bytes(), &changed).is_err(), "byte {place}");
        }
        for form in ["", "a.b.c", "....", "e30..AA.AA.AA"] {
            assert_eq!(open(pem.as_bytes(), form), Err(SealedFault::Form), "{form}");
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        assert_eq!(ReadingKey::from_pem(&other.public_key_pem()).unwrap_err(), SealedFault::Key);
        assert_eq!(open(other.serialize_pem().as_bytes(), "a"), Err(SealedFault::Key));
    }
}

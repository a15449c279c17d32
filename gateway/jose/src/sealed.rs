//! Words sealed to one reader: a compact JWE (RFC 7516) with `ECDH-ES` on P-256 and `A256GCM` (RFC 7518 sections 4.6
//! and 5.3). The gateway seals and cannot open: only the officer who has the private key can.
//!
//! An officer's signing key on P-256 may serve; an officer who wants to keep the two apart, or whose signing key is of
//! another kind, has a `reading_key` in the registry.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use varco_core::hash::Sha256;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::key::PublicKey;
use crate::pem;
use crate::seal::SignerFault;

/// The only content encryption there is, which is also the algorithm identifier of the key derivation.
const ENC: &str = "A256GCM";
/// An ephemeral private key and a nonce.
pub const SEALING_RANDOM: usize = 32 + 12;
/// A page of words with its envelope stays far below.
const LONGEST: usize = 64 * 1024;

/// Why words could not be sealed or opened. Says nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedFault {
    #[error("they are not sealed to this key, or were changed")]
    Closed,
    #[error("they are not a compact JWE with ECDH-ES on P-256 and A256GCM")]
    Malformed,
    #[error("they could not be sealed")]
    Seal,
}

/// A reader's public key on P-256.
#[derive(Debug, Clone)]
pub struct ReaderKey {
    kid: Sha256,
    point: Vec<u8>,
}

impl ReaderKey {
    /// From the PEM of a SubjectPublicKeyInfo; other kinds than P-256 cannot be sealed to.
    pub fn from_pem(public_key: &str) -> Result<Self, SignerFault> {
        let der = pem::public_key(public_key.as_bytes())?;
        let kid = *PublicKey::from_spki(&der)?.spki_sha256();
        let (_, spki) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| SignerFault::KindUnknown)?;
        let point = spki.subject_public_key.data.to_vec();
        // 4, x, y: what `PublicKey` accepts of P-256, and of no other kind.
        if point.len() == 65 && point.first() == Some(&4) {
            Ok(Self { kid, point })
        } else {
            Err(SignerFault::KindUnknown)
        }
    }

    /// SHA-256 of the SubjectPublicKeyInfo, in the sealed text as `kid`.
    pub const fn kid(&self) -> &Sha256 {
        &self.kid
    }

    /// Seals. The random bytes are used for nothing else.
    pub fn seal(&self, words: &[u8], random: &[u8; SEALING_RANDOM]) -> Result<String, SealedFault> {
        let (scalar, nonce) = random.split_at(32);
        let ephemeral = PrivateKey::from_private_key(&ECDH_P256, scalar).map_err(|_| SealedFault::Seal)?;
        let public = ephemeral.compute_public_key().map_err(|_| SealedFault::Seal)?;
        let (x, y) = coordinates(public.as_ref()).ok_or(SealedFault::Seal)?;
        let header = json!({
            "alg": "ECDH-ES",
            "enc": ENC,
            "epk": { "crv": "P-256", "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) },
            "kid": self.kid,
        });
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let key = content_key(&ephemeral, &self.point).ok_or(SealedFault::Seal)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealedFault::Seal)?;
        let iv = URL_SAFE_NO_PAD.encode(nonce.as_ref());
        let mut data = words.to_vec();
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(header.as_bytes()), &mut data)
            .map_err(|_| SealedFault::Seal)?;
        let (data, tag) = (URL_SAFE_NO_PAD.encode(&data), URL_SAFE_NO_PAD.encode(tag.as_ref()));
        // The second part is empty: the key is agreed on directly (RFC 7518 section 4.6).
        Ok(format!("{header}..{iv}.{data}.{tag}"))
    }
}

/// A reader's private key on P-256.
pub struct Reader {
    key: PrivateKey,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    enc: String,
    epk: Ephemeral,
}

#[derive(Deserialize)]
struct Ephemeral {
    crv: String,
    x: String,
    y: String,
}

impl Reader {
    /// From the PEM of a PKCS#8 key.
    pub fn from_pem(key: &[u8]) -> Result<Self, SignerFault> {
        let der = pem::private_key(key)?;
        let key = PrivateKey::from_private_key_der(&ECDH_P256, &der);
        key.map(|key| Self { key }).map_err(|_| SignerFault::KindUnknown)
    }

    /// The words, if they are sealed to this key and unchanged.
    pub fn open(&self, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealedFault> {
        if sealed.len() > LONGEST {
            return Err(SealedFault::Malformed);
        }
        let parts: Vec<&str> = sealed.split('.').collect();
        let [header, "", iv, data, tag] = parts.as_slice() else { return Err(SealedFault::Malformed) };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| SealedFault::Malformed);
        let said: Header = serde_json::from_slice(&decode(header)?).map_err(|_| SealedFault::Malformed)?;
        if said.alg != "ECDH-ES" || said.enc != ENC || said.epk.crv != "P-256" {
            return Err(SealedFault::Malformed);
        }
        let point = [vec![4], decode(&said.epk.x)?, decode(&said.epk.y)?].concat();
        let key = content_key(&self.key, &point).ok_or(SealedFault::Closed)?;
        let nonce = Nonce::try_assume_unique_for_key(&decode(iv)?).map_err(|_| SealedFault::Malformed)?;
        let mut data = Zeroizing::new([decode(data)?, decode(tag)?].concat());
        let opened = key
            .open_in_place(nonce, Aad::from(header.as_bytes()), &mut data)
            .map_err(|_| SealedFault::Closed)?;
        Ok(Zeroizing::new(opened.to_vec()))
    }
}

fn coordinates(point: &[u8]) -> Option<(&[u8], &[u8])> {
    match point {
        [4, rest @ ..] if rest.len() == 64 => rest.split_at_checked(32),
        _ => None,
    }
}

/// ECDH, then one round of the Concat KDF (RFC 7518 section 4.6.2) without party information.
fn content_key(own: &PrivateKey, point: &[u8]) -> Option<LessSafeKey> {
    let peer = UnparsedPublicKey::new(&ECDH_P256, point);
    let derive = |secret: &[u8]| {
        let sized = |length: usize| u32::try_from(length).unwrap_or_default().to_be_bytes();
        let (id, none) = (sized(ENC.len()), sized(0));
        let parts: [&[u8]; 7] =
            [&1_u32.to_be_bytes(), secret, &id, ENC.as_bytes(), &none, &none, &256_u32.to_be_bytes()];
        let key = Sha256::of_parts(&parts);
        UnboundKey::new(&AES_256_GCM, key.as_bytes()).map(LessSafeKey::new).map_err(|_| ())
    };
    agree(own, peer, (), derive).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::*;

    fn pair() -> (ReaderKey, Reader, KeyPair) {
        let pair = KeyPair::generate().unwrap();
        let public = ReaderKey::from_pem(&pair.public_key_pem()).unwrap();
        let private = Reader::from_pem(pair.serialize_pem().as_bytes()).unwrap();
        (public, private, pair)
    }

    fn random(seed: u8) -> [u8; SEALING_RANDOM] {
        std::array::from_fn(|place| seed.wrapping_mul(31).wrapping_add(u8::try_from(place).unwrap()))
    }

    #[test]
    fn words_are_read_by_whom_they_are_sealed_to_and_by_nobody_else() {
        let ((public, private, _), (_, other, _)) = (pair(), pair());
        let sealed = public.seal("perché serve".as_bytes(), &random(1)).unwrap();
        assert_eq!(private.open(&sealed).unwrap().as_slice(), "perché serve".as_bytes());
        assert_eq!(other.open(&sealed).unwrap_err(), SealedFault::Closed);
        assert!(!sealed.contains("serve"));
        assert_ne!(sealed, public.seal("perché serve".as_bytes(), &random(2)).unwrap());
    }

    #[test]
    fn a_changed_text_or_another_form_does_not_open() {
        let (public, private, _) = pair();
        let sealed = public.seal(b"words", &random(3)).unwrap();
        let (rest, tag) = sealed.rsplit_once('.').unwrap();
        let other = public.seal(b"other", &random(4)).unwrap();
        let mixed = format!("{rest}.{}", other.rsplit_once('.').unwrap().1);
        assert_eq!(private.open(&mixed).unwrap_err(), SealedFault::Closed);
        for wrong in ["", "a.b.c", &format!("{rest}.{tag}.x"), &sealed.replacen("..", ".x.", 1)] {
            assert_eq!(private.open(wrong).unwrap_err(), SealedFault::Malformed, "{wrong}");
        }
    }

    #[test]
    fn josekit_opens_what_we_seal() {
        let (public, _, pair) = pair();
        let sealed = public.seal(b"a second opinion", &random(5)).unwrap();
        let decrypter = josekit::jwe::ECDH_ES.decrypter_from_pem(pair.serialize_pem()).unwrap();
        let (words, header) = josekit::jwe::deserialize_compact(&sealed, &decrypter).unwrap();
        assert_eq!(words, b"a second opinion");
        assert_eq!(header.content_encryption(), Some(ENC));
    }

    #[test]
    fn we_open_what_josekit_seals() {
        let (_, private, pair) = pair();
        let encrypter = josekit::jwe::ECDH_ES.encrypter_from_pem(pair.public_key_pem()).unwrap();
        let mut header = josekit::jwe::JweHeader::new();
        header.set_content_encryption(ENC);
        let sealed = josekit::jwe::serialize_compact(b"theirs", &header, &encrypter).unwrap();
        assert_eq!(private.open(&sealed).unwrap().as_slice(), b"theirs");
    }

    #[test]
    fn other_kinds_of_key_cannot_be_sealed_to() {
        let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        assert!(ReaderKey::from_pem(&ed.public_key_pem()).is_err());
    }
}

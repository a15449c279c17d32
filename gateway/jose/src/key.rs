//! Public keys: what kinds and strengths are accepted, and which algorithms each may be used with.

use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::JwsVerifier;
use varco_core::hash::Sha256;
use varco_core::wire::Algorithm;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::engine::Verify;
use crate::roca;

const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const PRIME256V1: &str = "1.2.840.10045.3.1.7";
const ED25519_OID: &str = "1.3.101.112";

/// NIST SP 800-131A asks for 2048; beyond 4096 a verification costs more than an honest sender needs to ask of us.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The smallest exponent that is not open to known attacks, and by far the usual one.
const RSA_EXPONENT_MIN: u64 = 65537;

/// Why a public key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("it cannot be read as a SubjectPublicKeyInfo")]
    Malformed,
    #[error("its kind is not one of P-256, RSA, Ed25519")]
    KindUnknown,
    #[error("an RSA key must have 2048 to 4096 bits")]
    RsaSize,
    #[error("an RSA exponent must be odd and at least 65537")]
    RsaExponent,
    #[error("the RSA key bears the fingerprint of a flawed generator (CVE-2017-15361)")]
    Roca,
}

/// A checked public key with a verifier for each algorithm its kind has.
#[derive(Debug, Clone)]
pub struct PublicKey {
    spki: Sha256,
    thumbprint: Sha256,
    verifiers: Vec<Verify>,
}

impl PublicKey {
    /// Reads the DER of a SubjectPublicKeyInfo and checks kind and strength.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyFault> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyFault::Malformed)?;
        if !rest.is_empty() {
            return Err(KeyFault::Malformed);
        }
        let bits = spki.subject_public_key.data.as_ref();
        let kind = kind(&spki)?;
        let verifier = |algorithm, engine| -> Result<Verify, KeyFault> {
            let key = ParsedPublicKey::new(engine, bits).map_err(|_| KeyFault::Malformed)?;
            Ok(Verify { algorithm, key: Arc::new(key) })
        };
        let engines: &[(Algorithm, &'static dyn VerificationAlgorithm)] = match kind {
            Kind::Ed25519 => &[(Algorithm::EdDsa, &ED25519)],
            Kind::P256 => &[(Algorithm::Es256, &ECDSA_P256_SHA256_FIXED)],
            Kind::Rsa => &[
                (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
                (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
            ],
        };
        let verifiers = engines
            .iter()
            .map(|(algorithm, engine)| verifier(*algorithm, *engine))
            .collect::<Result<_, _>>()?;
        let thumbprint = thumbprint(&spki).ok_or(KeyFault::Malformed)?;
        Ok(Self { spki: Sha256::of(der), thumbprint, verifiers })
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what the registry pins.
    pub const fn spki_sha256(&self) -> &Sha256 {
        &self.spki
    }

    /// The RFC 7638 thumbprint, which PDND uses as `kid`.
    pub const fn thumbprint(&self) -> &Sha256 {
        &self.thumbprint
    }

    /// The algorithms this kind of key has, allowed or not.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.verifiers.iter().map(|verifier| verifier.algorithm)
    }

    /// Whether `signature` is this key's over `signed`; false for an algorithm of another kind of key.
    pub fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        self.verifier(algorithm).is_some_and(|verifier| verifier.verify(signed, signature).is_ok())
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&dyn JwsVerifier> {
        let verifier = self.verifiers.iter().find(|verifier| verifier.algorithm == algorithm)?;
        Some(verifier)
    }
}

enum Kind {
    Ed25519,
    P256,
    Rsa,
}

fn kind(spki: &SubjectPublicKeyInfo) -> Result<Kind, KeyFault> {
    let bits = spki.subject_public_key.data.as_ref();
    match spki.algorithm.algorithm.to_id_string().as_str() {
        RSA_ENCRYPTION => {
            let Ok(Parsed::RSA(key)) = spki.parsed() else {
                return Err(KeyFault::Malformed);
            };
            let modulus = positive(key.modulus);
            if !RSA_BITS.contains(&bit_length(modulus)) {
                return Err(KeyFault::RsaSize);
            }
            let exponent = key.try_exponent().map_err(|_| KeyFault::RsaExponent)?;
            if exponent < RSA_EXPONENT_MIN || exponent % 2 == 0 {
                return Err(KeyFault::RsaExponent);
            }
            if roca::bears_fingerprint(modulus) {
                return Err(KeyFault::Roca);
            }
            Ok(Kind::Rsa)
        }
        EC_PUBLIC_KEY => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            if curve.is_none_or(|curve| curve.to_id_string() != PRIME256V1) {
                return Err(KeyFault::KindUnknown);
            }
            // Uncompressed points only (RFC 5480 section 2.2): 4, x, y.
            match bits {
                [4, point @ ..] if point.len() == 64 => Ok(Kind::P256),
                _ => Err(KeyFault::Malformed),
            }
        }
        ED25519_OID if bits.len() == 32 => Ok(Kind::Ed25519),
        _ => Err(KeyFault::KindUnknown),
    }
}

/// RFC 7638: SHA-256 of the key's required members in the order of their names.
fn thumbprint(spki: &SubjectPublicKeyInfo) -> Option<Sha256> {
    let bits = spki.subject_public_key.data.as_ref();
    let text = match spki.parsed().ok()? {
        Parsed::RSA(key) => {
            let (e, n) = (encode(positive(key.exponent)), encode(positive(key.modulus)));
            format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
        }
        Parsed::EC(_) => {
            let (x, y) = bits.get(1..)?.split_at_checked(32)?;
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
        }
        Parsed::Unknown(_) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(bits)),
        Parsed::DSA(_) | Parsed::GostR3410(_) | Parsed::GostR3410_2012(_) => return None,
    };
    Some(Sha256::of(text.as_bytes()))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A DER integer without the zeros in front.
fn positive(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

fn bit_length(modulus: &[u8]) -> usize {
    let leading = modulus.first().map_or(8, |byte| byte.leading_zeros());
    (modulus.len() * 8).saturating_sub(usize::try_from(leading).unwrap_or(8))
}

#[cfg(test)]
mod tests;

//! PEM texts (RFC 7468), from bytes the shell has read.

use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

/// Why a PEM text does not hold what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    #[error("it is not well-formed PEM")]
    Malformed,
    #[error("it holds no {0}")]
    Missing(&'static str),
    #[error("it holds more than one {0}")]
    Several(&'static str),
}

/// The certificates in a text, in order, as DER. At least one.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, PemFault> {
    sections(pem, SectionKind::Certificate, "certificate")
}

/// The revocation lists in a text, in order, as DER. At least one.
pub fn crls(pem: &[u8]) -> Result<Vec<Vec<u8>>, PemFault> {
    sections(pem, SectionKind::Crl, "revocation list")
}

/// The one public key (SubjectPublicKeyInfo) in a text, as DER.
pub fn public_key(pem: &[u8]) -> Result<Vec<u8>, PemFault> {
    one(sections(pem, SectionKind::PublicKey, "public key")?, "public key")
}

/// The one private key (PKCS#8, not encrypted) in a text, as DER that is wiped when dropped.
pub fn private_key(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, PemFault> {
    one(sections(pem, SectionKind::PrivateKey, "PKCS#8 private key")?, "PKCS#8 private key")
        .map(Zeroizing::new)
}

fn sections(pem: &[u8], wanted: SectionKind, name: &'static str) -> Result<Vec<Vec<u8>>, PemFault> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|_| PemFault::Malformed)?;
        if kind == wanted {
            found.push(der);
        }
    }
    if found.is_empty() { Err(PemFault::Missing(name)) } else { Ok(found) }
}

fn one(mut found: Vec<Vec<u8>>, name: &'static str) -> Result<Vec<u8>, PemFault> {
    match (found.pop(), found.is_empty()) {
        (Some(der), true) => Ok(der),
        (Some(_), false) => Err(PemFault::Several(name)),
        (None, _) => Err(PemFault::Missing(name)),
    }
}

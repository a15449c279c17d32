//! The seal we sign with: a private key and the chain that says whose it is.

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use josekit::jws::JwsSigner;
use std::sync::Arc;
use varco_core::registry::Identity;
use varco_core::wire::{Algorithm, JoseHeaders, SignFault, Signer};

use crate::certificate::{self, CertificateFault};
use crate::engine::{RsaPadding, Sign};
use crate::key::{KeyFault, PublicKey};
use crate::pem::{self, PemFault};

/// Why a key and its chain do not make a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignerFault {
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateFault),
    #[error("public key: {0}")]
    Key(#[from] KeyFault),
    #[error("the private key is not a PKCS#8 key of kind P-256, RSA or Ed25519")]
    KindUnknown,
    #[error("the private key does not belong to the first certificate")]
    OtherKey,
    #[error("{0}")]
    Pem(#[from] PemFault),
}

/// Signs tokens with one key. P-256 gives ES256, RSA gives RS256, Ed25519 gives EdDSA.
pub struct SealSigner {
    signer: Box<dyn JwsSigner>,
    headers: JoseHeaders,
    identity: Identity,
    algorithm: Algorithm,
}

impl SealSigner {
    /// From the PEM of a PKCS#8 key and of its chain, leaf first; a root at the end is not needed.
    pub fn from_pem(key: &[u8], chain: &[u8]) -> Result<Self, SignerFault> {
        Self::from_der(&pem::private_key(key)?, &pem::certificates(chain)?)
    }

    /// From DER: a PKCS#8 key and its chain, leaf first.
    pub fn from_der(pkcs8: &[u8], chain: &[Vec<u8>]) -> Result<Self, SignerFault> {
        Self::new(private(pkcs8)?, chain)
    }

    /// [`Self::from_der`] for an RSA key that is to sign PS256 instead of RS256, where the receiver allows it.
    pub fn pss_from_der(pkcs8: &[u8], chain: &[Vec<u8>]) -> Result<Self, SignerFault> {
        match private(pkcs8)? {
            Sign::Rsa(key, _) => Self::new(Sign::Rsa(key, RsaPadding::Pss), chain),
            Sign::EdDsa(_) | Sign::Es256(_) => Err(SignerFault::KindUnknown),
        }
    }

    fn new(key: Sign, chain: &[Vec<u8>]) -> Result<Self, SignerFault> {
        let leaf = chain.first().ok_or(PemFault::Missing("certificate"))?;
        let facts = certificate::read(leaf)?;
        let public = PublicKey::from_spki(&facts.spki)?;
        let algorithm = key.kind();
        // The pair is proved by use: what the private key signs, the certificate's key verifies.
        let proof = key.sign(b"varco/seal").map_err(|_| SignerFault::OtherKey)?;
        if !public.verify(algorithm, b"varco/seal", &proof) {
            return Err(SignerFault::OtherKey);
        }
        Ok(Self {
            signer: Box::new(key),
            headers: JoseHeaders::of_chain(algorithm, chain),
            identity: facts.identity,
            algorithm,
        })
    }

    /// Whose seal this is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Signer for SealSigner {
    fn headers(&self) -> &JoseHeaders {
        &self.headers
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, SignFault> {
        self.signer.sign(signed).map_err(|_| SignFault)
    }
}

/// Reads a PKCS#8 key of whichever kind it is.
pub(crate) fn private(pkcs8: &[u8]) -> Result<Sign, SignerFault> {
    if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8) {
        return Ok(Sign::Es256(Arc::new(key)));
    }
    if let Ok(key) = Ed25519KeyPair::from_pkcs8(pkcs8) {
        return Ok(Sign::EdDsa(Arc::new(key)));
    }
    match rsa::KeyPair::from_pkcs8(pkcs8) {
        Ok(key) => Ok(Sign::Rsa(Arc::new(key), RsaPadding::Pkcs1)),
        Err(_) => Err(SignerFault::KindUnknown),
    }
}

/// The SubjectPublicKeyInfo of a private key, as DER.
pub(crate) fn spki(key: &Sign) -> Result<Vec<u8>, SignerFault> {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    let der: PublicKeyX509Der = match key {
        Sign::EdDsa(key) => key.public_key().as_der(),
        Sign::Es256(key) => key.public_key().as_der(),
        Sign::Rsa(key, _) => key.public_key().as_der(),
    }
    .map_err(|_| SignerFault::KindUnknown)?;
    Ok(der.as_ref().to_vec())
}

//! An officer's key: it approves policies and registry versions. No certificate; the registry holds the public key.

use josekit::jws::JwsSigner;
use varco_core::hash::Sha256;
use varco_core::wire::{
    JoseHeaders, SignFault, Signer, Statement, StatementError, sign_statement, verify_statement,
};

use crate::key::PublicKey;
use crate::pem;
use crate::seal::{SignerFault, private, spki};

/// An officer's private key.
pub struct OfficerKey {
    signer: Box<dyn JwsSigner>,
    headers: JoseHeaders,
    spki: Vec<u8>,
    key: Sha256,
}

impl OfficerKey {
    /// From the PEM of a PKCS#8 key.
    pub fn from_pem(key: &[u8]) -> Result<Self, SignerFault> {
        let signer = private(&pem::private_key(key)?)?;
        let spki = spki(&signer)?;
        let public = PublicKey::from_spki(&spki)?;
        let key = *public.spki_sha256();
        let headers = JoseHeaders::of_key(signer.kind(), &key);
        Ok(Self { signer: Box::new(signer), headers, spki, key })
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what the registry knows the officer by.
    pub const fn key(&self) -> &Sha256 {
        &self.key
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The statement as a compact JWS.
    pub fn sign(&self, statement: &Statement) -> Result<String, SignFault> {
        sign_statement(statement, self)
    }
}

impl Signer for OfficerKey {
    fn headers(&self) -> &JoseHeaders {
        &self.headers
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, SignFault> {
        self.signer.sign(signed).map_err(|_| SignFault)
    }
}

/// An officer's registered public key.
#[derive(Debug, Clone)]
pub struct OfficerVerifier {
    key: PublicKey,
}

impl OfficerVerifier {
    /// From the registry's PEM of a SubjectPublicKeyInfo.
    pub fn from_pem(public_key: &str) -> Result<Self, SignerFault> {
        let key = PublicKey::from_spki(&pem::public_key(public_key.as_bytes())?)?;
        Ok(Self { key })
    }

    /// SHA-256 of the SubjectPublicKeyInfo, to be compared with the registry's `key`.
    pub const fn key(&self) -> &Sha256 {
        self.key.spki_sha256()
    }

    /// The statement, if this officer signed it.
    pub fn verify(&self, token: &str) -> Result<Statement, StatementError> {
        verify_statement(token, self.key(), |algorithm, signed, signature| {
            self.key.verify(algorithm, signed, signature)
        })
    }
}

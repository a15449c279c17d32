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

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;
    use varco_core::time::Timestamp;

    use super::*;

    fn officer() -> OfficerKey {
        OfficerKey::from_pem(KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap()
    }

    fn verifier(officer: &OfficerKey) -> OfficerVerifier {
        OfficerVerifier { key: PublicKey::from_spki(officer.spki()).unwrap() }
    }

    fn statement() -> Statement {
        Statement {
            act: "approve-policy".to_owned(),
            sha256: Sha256::of(b"bundle"),
            at: Timestamp::from_seconds(1_772_442_000),
        }
    }

    #[test]
    fn a_statement_is_its_officers_alone() {
        let (one, other) = (officer(), officer());
        let token = one.sign(&statement()).unwrap();
        assert_eq!(verifier(&one).verify(&token), Ok(statement()));
        assert_eq!(verifier(&other).verify(&token), Err(StatementError::OtherKey));
    }

    #[test]
    fn a_statement_cannot_be_changed_or_replaced_by_another_kind_of_token() {
        let one = officer();
        let token = one.sign(&statement()).unwrap();
        let (header, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let other = one.sign(&Statement { act: "genesis".to_owned(), ..statement() }).unwrap();
        let payload = other.split('.').nth(1).unwrap();
        let mixed = format!("{header}.{payload}.{signature}");
        assert_eq!(verifier(&one).verify(&mixed), Err(StatementError::SignatureInvalid));

        let record = varco_core::wire::record_jws(r#"{"iat":1}"#, &one).unwrap();
        assert_eq!(
            verifier(&one).verify(&record),
            Err(StatementError::Malformed(varco_core::wire::Fault::TypeOther))
        );
    }
}

//! josekit's signer and verifier traits over aws-lc-rs: faster than its own OpenSSL, and one library for everything
//! on the path of a request. A PKCS#11 device would be another pair of implementations.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use josekit::JoseError;
use josekit::jws::{ES256, EdDSA, JwsAlgorithm, JwsSigner, JwsVerifier, PS256, RS256};
use varco_core::wire::Algorithm;

/// The algorithm as josekit names it.
pub(crate) fn jose(algorithm: Algorithm) -> &'static dyn JwsAlgorithm {
    match algorithm {
        Algorithm::EdDsa => &EdDSA,
        Algorithm::Es256 => &ES256,
        Algorithm::Ps256 => &PS256,
        Algorithm::Rs256 => &RS256,
    }
}

/// A public key bound to one algorithm.
#[derive(Clone)]
pub(crate) struct Verify {
    pub algorithm: Algorithm,
    pub key: Arc<ParsedPublicKey>,
}

impl fmt::Debug for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} verifier", self.algorithm.text())
    }
}

impl JwsVerifier for Verify {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        jose(self.algorithm)
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        self.key.verify_sig(message, signature).map_err(invalid)
    }

    fn box_clone(&self) -> Box<dyn JwsVerifier> {
        Box::new(self.clone())
    }
}

/// A private key, which fixes the algorithm.
#[derive(Clone)]
pub(crate) enum Sign {
    EdDsa(Arc<Ed25519KeyPair>),
    Es256(Arc<EcdsaKeyPair>),
    Rsa(Arc<rsa::KeyPair>, RsaPadding),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RsaPadding {
    Pkcs1,
    Pss,
}

impl Sign {
    pub fn kind(&self) -> Algorithm {
        match self {
            Self::EdDsa(_) => Algorithm::EdDsa,
            Self::Es256(_) => Algorithm::Es256,
            Self::Rsa(_, RsaPadding::Pkcs1) => Algorithm::Rs256,
            Self::Rsa(_, RsaPadding::Pss) => Algorithm::Ps256,
        }
    }
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signer", self.kind().text())
    }
}

impl JwsSigner for Sign {
    fn algorithm(&self) -> &dyn JwsAlgorithm {
        jose(self.kind())
    }

    fn key_id(&self) -> Option<&str> {
        None
    }

    fn signature_len(&self) -> usize {
        match self {
            Self::EdDsa(_) | Self::Es256(_) => 64,
            Self::Rsa(key, _) => key.public_modulus_len(),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, JoseError> {
        match self {
            Self::EdDsa(key) => Ok(key.try_sign(message).map_err(invalid)?.as_ref().to_vec()),
            Self::Es256(key) => {
                Ok(key.sign(&SystemRandom::new(), message).map_err(invalid)?.as_ref().to_vec())
            }
            Self::Rsa(key, padding) => {
                let padding: &'static dyn RsaEncoding = match padding {
                    RsaPadding::Pkcs1 => &RSA_PKCS1_SHA256,
                    RsaPadding::Pss => &RSA_PSS_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &SystemRandom::new(), message, &mut signature).map_err(invalid)?;
                Ok(signature)
            }
        }
    }

    fn box_clone(&self) -> Box<dyn JwsSigner> {
        Box::new(self.clone())
    }
}

fn invalid(fault: Unspecified) -> JoseError {
    JoseError::InvalidSignature(fault.into())
}

#[cfg(test)]
mod tests;

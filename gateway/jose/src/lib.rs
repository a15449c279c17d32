//! Keys, certificates, signatures and the cipher over the log's bodies: the only crate that names josekit, and the only one that signs or encrypts with aws-lc-rs.
//!
//! Also seals words to one reader (`sealed`), and to the owner of a record (`owner`). Implements the traits of `varco_core::wire` and `varco_core::log`. josekit gives the signer and verifier traits and
//! the algorithm names; the engines behind them are aws-lc-rs. Its JSON deserialiser and its key sets are never used:
//! the first reads `crit` under another name, the second keeps a removed key. Must not know the registry, HTTP or files.

mod body;
pub mod certificate;
mod engine;
mod key;
mod lock;
mod note;
mod officer;
mod owner;
mod pem;
mod roca;
mod seal;
mod sealed;
mod trust;

pub use body::AesBodyCipher;
pub use key::{KeyFault, PublicKey};
pub use lock::CopyKeeper;
pub use note::{CosignatureVerifier, Ed25519NoteKey, Ed25519NoteVerifier, NoteKeyFault, WitnessKey};
pub use officer::{OfficerKey, OfficerVerifier};
pub use owner::{OwnerKeeper, OwnerKeyFault, OwnerKeys};
pub use pem::{PemFault, certificates, crls, private_key, public_key};
pub use seal::{SealSigner, SignerFault};
pub use sealed::{Reader, ReaderKey, SEALING_RANDOM, SealedFault};
pub use trust::{SealTrust, TrustFault};

#[cfg(test)]
mod testing;

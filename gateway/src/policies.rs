//! Policy bundles as the log keeps them: archived whole, found again by their hash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::log::entry::Kind;
use varco_core::policy::Policy;
use varco_store::read::{ReadError, Reader};
use varco_store::submission::{Artifact, ArtifactKind};

/// A bundle's files: path and bytes.
pub type Files = Vec<(String, Vec<u8>)>;

/// The decision slot of entry 0, as far as it names the first bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenEntry {
    pub genesis: Sha256,
    /// The bundle's own hash ([`Policy::hash`]).
    pub policy: Sha256,
    /// The hash of its archive, under which the artifact is kept.
    pub archive: Sha256,
}

/// Why a bundle of the past could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("policy {0} is not in the log")]
    Missing(Sha256),
    #[error("the archive of policy {0} is damaged")]
    Damaged(Sha256),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A bundle as one artifact: a JSON object of its files' texts by path.
pub fn archive(files: &Files) -> Artifact {
    let texts: BTreeMap<&str, std::borrow::Cow<'_, str>> =
        files.iter().map(|(path, bytes)| (path.as_str(), String::from_utf8_lossy(bytes))).collect();
    Artifact { kind: ArtifactKind::Policy, bytes: json::canonical_of(&texts).into_bytes() }
}

/// Every bundle that was ever in force, by its hash.
pub struct Past {
    archives: BTreeMap<Sha256, Sha256>,
}

impl Past {
    pub async fn read(log: &Reader) -> Result<Self, ReadError> {
        let mut archives = BTreeMap::new();
        for leaf in log.rules().await?.iter().filter(|leaf| leaf.kind() == Kind::Open) {
            let slot = log.slots(leaf.index()).await?.decision;
            let entry = slot.and_then(|slot| json::parse_as::<OpenEntry>(slot.body.as_bytes()).ok());
            archives.extend(entry.map(|entry| (entry.policy, entry.archive)));
        }
        Ok(Self { archives })
    }

    /// The bundle, compiled, if its files still have the hash they are known by.
    pub async fn policy(&self, log: &Reader, sha256: Sha256) -> Result<Policy, ArchiveError> {
        let archive = self.archives.get(&sha256).ok_or(ArchiveError::Missing(sha256))?;
        let artifact = log.artifact(archive).await?.ok_or(ArchiveError::Missing(sha256))?;
        let texts: BTreeMap<String, String> =
            json::parse_as(&artifact.bytes).map_err(|_| ArchiveError::Damaged(sha256))?;
        let files: Files = texts.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
        match Policy::load(&files) {
            Ok(policy) if policy.sha256() == sha256 => Ok(policy),
            Ok(_) | Err(_) => Err(ArchiveError::Damaged(sha256)),
        }
    }
}

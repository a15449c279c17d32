//! The policies that were in force, from the bundles that the log keeps.

use std::collections::HashMap;

use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::policy::Policy;
use varco_store::read::Reader;

use super::Failure;
use crate::policies::{Bundle, OpenEntry, PolicyEntry};

/// Each is read once.
pub struct Policies<'a> {
    log: &'a Reader,
    archives: HashMap<Sha256, Sha256>,
    known: HashMap<Sha256, Option<Bundle>>,
}

impl<'a> Policies<'a> {
    pub async fn of(log: &'a Reader) -> Result<Self, Failure> {
        Ok(Self { archives: archives(log).await?, log, known: HashMap::new() })
    }

    /// `None` where the log does not hold it, or holds another under its name.
    pub async fn find(&mut self, sha256: Sha256) -> Result<Option<&Policy>, Failure> {
        if !self.known.contains_key(&sha256) {
            let bundle = match self.archives.get(&sha256) {
                Some(archive) => Bundle::restore(self.log, archive).await?,
                None => None,
            };
            self.known.insert(sha256, bundle.filter(|bundle| bundle.policy.sha256() == sha256));
        }
        Ok(self.known.get(&sha256).and_then(Option::as_ref).map(|bundle| &*bundle.policy))
    }
}

/// Where the log keeps each bundle. Whether officers approved it is not asked here: an entry names it by its hash.
async fn archives(log: &Reader) -> Result<HashMap<Sha256, Sha256>, Failure> {
    let mut archives = HashMap::new();
    for leaf in log.rules().await? {
        let Some(slot) = log.slots(leaf.index()).await?.decision else { continue };
        let body = slot.body.as_bytes();
        if let Ok(opened) = json::parse_as::<OpenEntry>(body) {
            archives.insert(opened.policy, opened.archive);
        }
        if let (Ok(PolicyEntry::Scheduled { archive, .. }), Some(policy)) =
            (json::parse_as(body), leaf.content().policy)
        {
            archives.insert(policy, archive);
        }
    }
    Ok(archives)
}

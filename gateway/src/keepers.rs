//! What is kept shut with keys derived from those of the pseudonyms, and changes with them.

use varco_core::parcel::LockFault;
use varco_core::subject::SubjectKeys;
use varco_jose::{CopyKeeper, OwnerKeeper};

/// Swapped whole, with the keys they come from.
pub struct Keepers {
    /// Locks the copies of pushed records that wait.
    pub copies: CopyKeeper,
    /// Seals what an entry says to the owner of a record alone.
    pub owners: OwnerKeeper,
}

impl Keepers {
    pub fn of(keys: &SubjectKeys) -> Result<Self, LockFault> {
        Ok(Self { copies: CopyKeeper::new(keys.lock_keys())?, owners: OwnerKeeper::new(keys.owner_roots()) })
    }
}

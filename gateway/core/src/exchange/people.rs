//! The people of a case by name, under lock. A case knows each by one pseudonym, of the epoch of the keys in which they
//! entered; what they said since may be recorded under another, and a decision that nobody asks about them for must find it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::case::{Case, LockedPerson};
use crate::id::{CaseId, ExchangeId, Pseudonym};
use crate::parcel::{Keeper, LockEntropy, Locked};
use crate::subject::{CodiceFiscale, SubjectKeys};

/// What people are locked with: fresh bytes for each.
pub struct Locks<'a> {
    pub keeper: &'a dyn Keeper,
    pub fresh: Vec<LockEntropy>,
}

impl Locks<'_> {
    /// `None` when there are more people than was made room for.
    pub(in crate::exchange) fn lock(
        &mut self,
        person: &CodiceFiscale,
        case: &CaseId,
    ) -> Option<LockedPerson> {
        let random = self.fresh.pop()?;
        let Locked { key, copy } =
            self.keeper.lock(&bound(case)?, person.expose().as_bytes(), &random).ok()?;
        Some(LockedPerson { key: BASE64_STANDARD.encode(key), copy: BASE64_STANDARD.encode(copy) })
    }
}

/// All pseudonyms of somebody whom the case knows by one of them. `None` where their lock is missing, does not open or is
/// another's: then nobody knows what they have said.
pub fn pseudonyms_in(
    case: &Case,
    known: &Pseudonym,
    keeper: &dyn Keeper,
    keys: &SubjectKeys,
) -> Option<Vec<Pseudonym>> {
    let LockedPerson { key, copy } = case.locked(known)?;
    let decode = |text: &str| BASE64_STANDARD.decode(text).ok();
    let locked = Locked { key: decode(key)?, copy: decode(copy)? };
    let opened = keeper.open(&bound(&case.header.id)?, &locked).ok()?;
    let person: CodiceFiscale = std::str::from_utf8(&opened).ok()?.parse().ok()?;
    Some(keys.all(&person)).filter(|all| all.contains(known))
}

/// No lock opens as another case's.
fn bound(case: &CaseId) -> Option<ExchangeId> {
    case.as_str().parse().ok()
}

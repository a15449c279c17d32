//! The states of a choice and the ways between them.

use serde::{Deserialize, Serialize};

/// The states of a scope item, with their DPV 2.3 terms. Only `Given` and `Renewed` allow anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Deferred,
    Expired,
    Given,
    Invalidated,
    Refused,
    Renewed,
    Requested,
    Revoked,
    Superseded,
    /// The subject withdrew although a decree gives the choice to another: closed until that one has spoken. Computed
    /// from a recorded withdrawal, never recorded itself.
    Suspended,
    /// No event speaks of the item: nothing was ever asked or given.
    Unknown,
    Withdrawn,
}

impl State {
    pub const ALL: [Self; 12] = [
        Self::Deferred,
        Self::Expired,
        Self::Given,
        Self::Invalidated,
        Self::Refused,
        Self::Renewed,
        Self::Requested,
        Self::Revoked,
        Self::Superseded,
        Self::Suspended,
        Self::Unknown,
        Self::Withdrawn,
    ];

    pub const fn is_valid(self) -> bool {
        matches!(self, Self::Given | Self::Renewed)
    }

    /// The DPV 2.3 term; `Superseded` has none there and is written with `dct:isReplacedBy`.
    pub const fn dpv(self) -> &'static str {
        match self {
            Self::Deferred => "dpv:ConsentRequestDeferred",
            Self::Expired => "dpv:ConsentExpired",
            Self::Given => "dpv:ConsentGiven",
            Self::Invalidated => "dpv:ConsentInvalidated",
            Self::Refused => "dpv:ConsentRefused",
            Self::Renewed => "dpv:RenewedConsentGiven",
            Self::Requested => "dpv:ConsentRequested",
            Self::Revoked => "dpv:ConsentRevoked",
            Self::Superseded => "dct:isReplacedBy",
            // What the subject did; DPV has no term for what a decree makes of it.
            Self::Suspended => "dpv:ConsentWithdrawn",
            Self::Unknown => "dpv:ConsentUnknown",
            Self::Withdrawn => "dpv:ConsentWithdrawn",
        }
    }

    /// Whether an item in this state may go to `next` by a recorded event. Expiry is computed, never recorded, and
    /// the terminal states lead nowhere but to `Invalidated`: a new choice is a new record.
    pub const fn leads_to(self, next: Self) -> bool {
        match next {
            Self::Requested => matches!(self, Self::Unknown),
            Self::Deferred => matches!(self, Self::Requested),
            Self::Given => {
                matches!(self, Self::Unknown | Self::Requested | Self::Deferred | Self::Suspended)
            }
            Self::Refused => matches!(self, Self::Unknown | Self::Requested | Self::Deferred),
            Self::Renewed => self.is_valid(),
            Self::Withdrawn | Self::Revoked | Self::Superseded => {
                self.is_valid() || matches!(self, Self::Suspended)
            }
            Self::Invalidated => !matches!(self, Self::Invalidated | Self::Unknown),
            Self::Expired | Self::Suspended | Self::Unknown => false,
        }
    }
}

impl State {
    pub(super) const fn closes(self) -> bool {
        matches!(self, Self::Invalidated | Self::Revoked | Self::Superseded | Self::Withdrawn)
    }
}

//! The chain of an exchange: the only way a record can leave.
//!
//! ```text
//! bytes --verify--> VerifiedRequest --authorize--> AuthorizedExchange | Outcome::Deny
//!       --fetch (adapter)--> AgencyRecord --reduce--> Outcome
//!       --seal--> (Pending, Sealed) --the ledger commits--> Receipt --release--> LoggedOutcome --sign--> Answer
//! ```
//!
//! A push takes the same way once for each recipient, and its copies wait under lock in between:
//!
//! ```text
//! VerifiedRequest --consign--> Outcome (every copy locked) --seal, ledger, release, sign--> Answer to the sender
//! Parcel + Locked --open--> OpenParcel --recheck--> AuthorizedParcel | Halt
//!        --attempt--> (PendingDelivery, Sealed) --the ledger commits--> Receipt --release--> LoggedDelivery --write--> Handover
//! ```
//!
//! A signal that a record has changed takes neither values nor fields with it, and the same decision:
//!
//! ```text
//! Subscription --look--> it stands (when a signal is made)   Signal --recheck--> AuthorizedSignal
//!        --signals--> Outcome --seal, ledger, release, sign--> those of the page whose own entries the log holds
//! ```
//!
//! Counts of people take the same way, with a decision and an entry for each owner, and no person anywhere:
//!
//! ```text
//! VerifiedRequest --tabulate--> AuthorizedTabulation --hold--> Counting --count (adapters)--> AgencyCounts
//!        --release--> Outcome (what is small is kept back) --seal, ledger, release, sign--> Answer
//! ```
//!
//! Each arrow consumes its left side, and nothing here is `Clone`. The ledger lives in another crate, where privacy
//! cannot help, so [`Pending::release`] takes evidence instead of trust: a receipt that names this outcome's leaf,
//! with a checkpoint signed by the log's key, which signs only what has been committed.
//!
//! What cannot be written down, each line with the error the compiler gives:
//!
//! A pending outcome cannot be signed; only `release` makes the thing that can (E0599):
//! ```compile_fail,E0599
//! fn leak(pending: varco_core::exchange::Pending, seal: &dyn varco_core::wire::Signer) {
//!     let _ = pending.sign(seal);
//! }
//! ```
//! An authorization cannot be forged (E0451):
//! ```compile_fail,E0451
//! fn forge(pull: varco_core::exchange::Pull) -> varco_core::exchange::AuthorizedExchange {
//!     varco_core::exchange::AuthorizedExchange { pull, ..todo!() }
//! }
//! ```
//! What an agency answered cannot be serialised whole (E0277):
//! ```compile_fail,E0277
//! fn dump(record: &varco_core::exchange::AgencyRecord) -> String {
//!     serde_json::to_string(record).unwrap()
//! }
//! ```
//! A hand-over that is not logged has no bytes; only `release` makes the thing that can be written (E0599):
//! ```compile_fail,E0599
//! fn hand_over(pending: varco_core::exchange::PendingDelivery, stamp: &varco_core::exchange::Stamp<'_>) {
//!     let _ = pending.write(stamp);
//! }
//! ```
//! Nor has one that was opened and not decided again (E0599):
//! ```compile_fail,E0599
//! fn shortcut(opened: varco_core::exchange::OpenParcel, stamp: &varco_core::exchange::Stamp<'_>) {
//!     let _ = opened.write(stamp);
//! }
//! ```
//! The decision before a hand-over cannot be forged (E0451):
//! ```compile_fail,E0451
//! fn forge(parcel: varco_core::parcel::Parcel) -> varco_core::exchange::AuthorizedParcel {
//!     varco_core::exchange::AuthorizedParcel { parcel, ..todo!() }
//! }
//! ```
//! Nor can the decision before a signal is told (E0451):
//! ```compile_fail,E0451
//! fn forge(subscription: varco_core::signal::Subscription) -> varco_core::exchange::AuthorizedSignal {
//!     varco_core::exchange::AuthorizedSignal { subscription, ..todo!() }
//! }
//! ```
//! Nor can the decision before people are counted (E0451):
//! ```compile_fail,E0451
//! fn forge(period: varco_core::statistics::Period) -> varco_core::exchange::AuthorizedTabulation {
//!     varco_core::exchange::AuthorizedTabulation { period, ..todo!() }
//! }
//! ```
//! What an agency counted cannot be serialised: small numbers are in it (E0277):
//! ```compile_fail,E0277
//! fn dump(counts: &varco_core::statistics::counts::AgencyCounts) -> String {
//!     serde_json::to_string(counts).unwrap()
//! }
//! ```
//! Neither a pushed record nor a copy out of its lock can be serialised (E0277):
//! ```compile_fail,E0277
//! fn dump(record: &varco_core::exchange::PushedRecord) -> String {
//!     serde_json::to_string(record).unwrap()
//! }
//! ```
//! ```compile_fail,E0277
//! fn dump(copy: &varco_core::exchange::OpenParcel) -> String {
//!     serde_json::to_string(copy).unwrap()
//! }
//! ```
//! A hand-over cannot be released twice, so one entry is one hand-over (E0382):
//! ```compile_fail,E0382
//! use varco_core::exchange::PendingDelivery;
//! use varco_core::log::proof::{LogVerifier, Receipt};
//! fn twice(pending: PendingDelivery, receipt: Receipt, other: Receipt, log: &LogVerifier) {
//!     let _ = pending.release(receipt, log);
//!     let _ = pending.release(other, log);
//! }
//! ```
//! An outcome cannot be released twice (E0382):
//! ```compile_fail,E0382
//! use varco_core::exchange::Pending;
//! use varco_core::log::proof::{LogVerifier, Receipt};
//! fn twice(pending: Pending, receipt: Receipt, other: Receipt, log: &LogVerifier) {
//!     let _ = pending.release(receipt, log);
//!     let _ = pending.release(other, log);
//! }
//! ```

mod answer;
mod ask;
mod authorize;
mod bodies;
mod delivery;
mod grounds;
mod household;
mod inbox;
mod outcome;
mod people;
mod push;
mod pushed;
mod record;
mod registered;
mod replay;
mod signal;
mod statistics;
mod subscription;
mod verify;

pub use answer::{Answer, SignError, Stamp};
pub use ask::{Pull, SearchAsk, SubjectName};
pub use authorize::{Authorized, AuthorizedExchange, Housemate, Known, authorize};
pub use delivery::{
    Attempt, AuthorizedParcel, Halt, Handover, LoggedDelivery, OpenParcel, PendingDelivery, Rechecked,
    Released, Turn, turn,
};
pub use grounds::{OwnerKey, OwnerSeal};
pub use household::{Gathered, HouseholdPull, MOST_MEMBERS, reduce_household};
pub use inbox::{FetchSeed, PAGE_MAX, inbox};
pub use outcome::{Guarded, LoggedOutcome, More, Outcome, Pending, ReleaseError, Sealed};
pub use people::{Locks, pseudonyms_in};
pub use push::{Means, RECIPIENTS_MAX, Seed, consign};
pub use pushed::{Addressed, KeyHeader, Push, PushHeader, PushKey, PushedRecord, RecipientName};
pub use record::{AgencyRecord, Assurance, Said, SaidOf};
pub use registered::{
    AckAsk, AppealAsk, AppealEventAsk, CaseAsk, CaseEventAsk, ConsentAsk, ConsentEventAsk, CorrectionAsk,
    Decided, LiftAsk, PersonPast, Registered, ReportAsk, RestrictionAsk, ReviewAsk, StreamChange, StreamKind,
    Waiting, WantedAsk, WithdrawalAsk, WithdrawnItem, Words,
};
pub use replay::{Past, Replayed, replay};
pub use signal::{AuthorizedSignal, Locking, SignalAsk, SignalKey, Waits, recheck, signals};
pub use statistics::{AuthorizedTabulation, Counting, StatisticsAsk, Tabulated, tabulate};
pub use subscription::{Listed, Seen, Sight, Subscribing, SubscriptionAsk, look, subscribe, unlock};
pub use verify::{Incoming, Sender, Trust, VerifiedRequest, VerifyError, verify};

#[cfg(test)]
mod tests;

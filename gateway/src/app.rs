//! What every request shares: the wired parts of one gateway. Built once, in `start`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use varco_adapters::Sources;
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, ExchangeId, IdFault, TokenId};
use varco_core::log::proof::LogVerifier;
use varco_core::policy::Policy;
use varco_core::registry::Registry;
use varco_core::subject::SubjectKeys;
use varco_core::time::Timestamp;
use varco_core::wire::{Jtis, Rules};
use varco_jose::{SealSigner, SealTrust};
use varco_store::store::Store;

use crate::alerts::Alerts;
use crate::documents::Documents;
use crate::keepers::Keepers;
use crate::limits::Limiter;
use crate::outbox::Outbox;
use crate::policies::Schedule;
use crate::siem::Siem;
use crate::stamps::Stamps;
use crate::tls::Channel;
use crate::witness::Witness;
use crate::witnesses::Witnesses;

/// Where the shell's time comes from. Tests set it by hand.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where the shell's random bytes come from. Tests seed it.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// The registry in force, and the hash of the document it was read from.
pub struct InForce {
    pub registry: Registry,
    pub sha256: Sha256,
}

pub struct App {
    pub clock: Clock,
    pub entropy: Entropy,
    pub store: Store,
    /// What was read of it and cannot have changed.
    pub documents: Documents,
    pub in_force: ArcSwap<InForce>,
    pub schedule: ArcSwap<Schedule>,
    /// Why the last change of policy that was brought is not in force, if it is not.
    pub policy_refused: ArcSwap<Option<String>>,
    /// One change of rules at a time: each is checked against the version it replaces.
    pub rules_turn: Mutex<()>,
    pub seals: Arc<ArcSwap<SealTrust>>,
    pub rules: Rules,
    /// Swapped whole when the file has another epoch: no request sees half of a rotation.
    pub keys: ArcSwap<SubjectKeys>,
    /// Why the file of keys as it is now is not taken, if it is not.
    pub keys_refused: ArcSwap<Option<String>>,
    pub sources: Sources,
    pub keepers: ArcSwap<Keepers>,
    pub outbox: Outbox,
    /// The agencies whose systems deliveries are brought to; all others fetch them.
    pub systems: BTreeSet<AgencyId>,
    /// What tells this replica's work from the others'.
    pub replica: String,
    pub seal: Arc<SealSigner>,
    pub log: LogVerifier,
    pub limiter: Arc<Limiter>,
    /// The exchange listener's, for `GET /status`.
    pub channel: Arc<Channel>,
    /// Those who cosign the log, where there are any.
    pub witnesses: Option<Witnesses>,
    pub alerts: Alerts,
    /// Who stamps our checkpoints with the time, where somebody does.
    pub stamps: Option<Stamps>,
    /// Where every entry is told of, where it is.
    pub siem: Option<Siem>,
    /// This gateway as a witness of other logs.
    pub witness: Option<Arc<Witness>>,
}

impl App {
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The policy in force at an instant. A request takes it once and keeps it.
    pub fn policy_at(&self, now: Timestamp) -> Arc<Policy> {
        self.schedule.load().at(now)
    }

    pub fn new_exchange(&self, now: Timestamp) -> ExchangeId {
        ExchangeId::new(now, self.random())
    }

    /// A fresh `jti`: 128 random bits as a hexadecimal number.
    pub fn new_token(&self) -> Result<TokenId, IdFault> {
        format!("{:032x}", u128::from_be_bytes(self.random())).parse()
    }

    pub fn new_tokens(&self) -> Result<Jtis, IdFault> {
        Ok(Jtis {
            authorization: self.new_token()?,
            signature: self.new_token()?,
            evidence: self.new_token()?,
        })
    }

    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.entropy)(&mut bytes);
        bytes
    }

    pub fn salts<const N: usize>(&self) -> [[u8; 32]; N] {
        let mut salts = [[0; 32]; N];
        (self.entropy)(salts.as_flattened_mut());
        salts
    }
}

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(system_now)
}

/// The machine's time, for commands that have no clock of their own.
#[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
pub fn system_now() -> Timestamp {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

/// The machine's randomness. Without any there is nothing this program may do: the process ends.
pub fn system_entropy() -> Entropy {
    Arc::new(|bytes| {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            std::process::abort();
        }
    })
}

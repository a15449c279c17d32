//! The rules in force, read from the log: the ceremony, then every change of registry and policy in order, each checked
//! again as if it had just been brought. A row that somebody slipped into the database carries no officers' signatures.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_store::read::{ReadError, Reader};

use crate::app::{App, InForce};
use crate::genesis::{Ceremony, RegistryEntry, RegistryProposal, SuspensionProposal, TrustFault};
use crate::policies::{Bundle, OpenEntry, PolicyEntry, PolicyProposal, PolicyRefusal, Schedule};
use crate::tasks::Stop;

/// Registry and policies as the log has them.
pub struct Rules {
    pub in_force: InForce,
    pub schedule: Schedule,
}

/// Why the rules in force could not be read from the log.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("the log begins with another genesis: this database belongs to another deployment")]
    AnotherGenesis,
    #[error("entry {0} does not hold what it changes")]
    Missing(u64),
    #[error("a policy in the log is not accepted: {0}")]
    Policy(#[from] PolicyRefusal),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a registry version in the log is not accepted: {0}")]
    Registry(#[from] TrustFault),
}

impl Rules {
    pub async fn read(log: &Reader, ceremony: &Ceremony) -> Result<Self, RulesError> {
        let mut leaves = log.rules().await?.into_iter();
        let first = leaves.next().ok_or(RulesError::AnotherGenesis)?;
        let opened: OpenEntry = entry(log, &first).await?;
        if opened.genesis != ceremony.sha256 || opened.policy != ceremony.genesis.policy {
            return Err(RulesError::AnotherGenesis);
        }
        let bundle = Bundle::restore(log, &opened.archive).await?;
        let bundle = bundle.filter(|bundle| bundle.policy.sha256() == opened.policy);
        let mut rules = Self {
            in_force: InForce::of(ceremony),
            schedule: Schedule::new(bundle.ok_or(RulesError::Missing(first.index()))?),
        };
        for leaf in leaves {
            match leaf.kind() {
                Kind::Policy => rules.policy(log, &leaf).await?,
                Kind::Registry => rules.registry(log, &leaf).await?,
                Kind::Admin
                | Kind::Case
                | Kind::Consent
                | Kind::Correction
                | Kind::Delivery
                | Kind::Denial
                | Kind::Disclosure
                | Kind::Erasure
                | Kind::Failure
                | Kind::Freeze
                | Kind::Interrupted
                | Kind::Open
                | Kind::Prune
                | Kind::Read => return Err(RulesError::Missing(leaf.index())),
            }
        }
        Ok(rules)
    }

    async fn registry(&mut self, log: &Reader, leaf: &Leaf) -> Result<(), RulesError> {
        let (sha256, statements) = match entry(log, leaf).await? {
            RegistryEntry::Suspension { document, statements } => {
                let suspension =
                    SuspensionProposal { document, statements }.check(&self.in_force.registry, None)?;
                self.in_force.registry.suspensions.push(suspension);
                return Ok(());
            }
            RegistryEntry::Version { registry, statements, .. } => (registry, statements),
        };
        let artifact = log.artifact(&sha256).await?.ok_or(RulesError::Missing(leaf.index()))?;
        let document = String::from_utf8(artifact.bytes).map_err(|_| RulesError::Missing(leaf.index()))?;
        let proposal = RegistryProposal { document, statements };
        let registry = proposal.check(&self.in_force.registry, self.in_force.sha256, None)?;
        self.in_force = InForce { registry, sha256 };
        Ok(())
    }

    async fn policy(&mut self, log: &Reader, leaf: &Leaf) -> Result<(), RulesError> {
        let PolicyEntry::Scheduled { archive, document, statements } = entry(log, leaf).await? else {
            return Ok(());
        };
        let artifact = log.artifact(&archive).await?.ok_or(RulesError::Missing(leaf.index()))?;
        let changed = json::parse_as(&artifact.bytes).map_err(|_| RulesError::Missing(leaf.index()))?;
        let removed = self.schedule.paths_without(&changed);
        let proposal = PolicyProposal { document, changed, removed, statements };
        let version = self.schedule.check(&proposal, &self.in_force.registry, None)?;
        self.schedule = self.schedule.with(version);
        Ok(())
    }
}

/// How often is looked whether another replica has put rules in force. A version counts everywhere a little later than
/// where it was brought: this, and what reading it takes.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// Takes up what other replicas put in force, until told to stop.
pub async fn follow(app: Arc<App>, ceremony: Ceremony, mut stop: Stop) {
    let mut ticks = tokio::time::interval(FOLLOW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = None;
    let mut failed = false;
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        match take_up(&app, &ceremony, &mut seen).await {
            Ok(()) => failed = false,
            // Once: a database that is away is told by the log already, and told every two seconds hides what is new.
            Err(error) if !failed => {
                tracing::error!(%error, "the rules of another replica cannot be taken up");
                failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Reads the rules again when the log has a rule that was not `seen`.
pub async fn take_up(app: &App, ceremony: &Ceremony, seen: &mut Option<u64>) -> Result<(), RulesError> {
    let last = app.store.read().last_rule().await?;
    if *seen == last {
        return Ok(());
    }
    let _turn = app.rules_turn.lock().await;
    let Rules { in_force, schedule } = Rules::read(app.store.read(), ceremony).await?;
    if in_force.registry != app.in_force.load().registry {
        tracing::info!(version = in_force.registry.version, "a registry of another replica is in force");
        app.in_force.store(Arc::new(in_force));
    }
    app.schedule.store(Arc::new(schedule));
    *seen = last;
    Ok(())
}

impl InForce {
    fn of(ceremony: &Ceremony) -> Self {
        let registry = ceremony.genesis.registry.clone();
        let sha256 = Sha256::of(json::canonical_of(&registry).as_bytes());
        Self { registry, sha256 }
    }
}

async fn entry<T: DeserializeOwned>(log: &Reader, leaf: &Leaf) -> Result<T, RulesError> {
    let slot = log.slots(leaf.index()).await?.decision.ok_or(RulesError::Missing(leaf.index()))?;
    json::parse_as(slot.body.as_bytes()).map_err(|_| RulesError::Missing(leaf.index()))
}

//! Opening the log, at start and after every fault: nothing is written before the database is shown to continue what
//! the anchor says was signed.

use std::sync::Arc;

use varco_core::code::Code;
use varco_core::log::checkpoint::CheckpointFault;
use varco_core::log::proof::open_kin;
use varco_core::log::tree::{Frontier, Head};

use crate::anchor::{Anchor, AnchorError};
use crate::claims;
use crate::db::{ConnectError, Link};
use crate::fault::{CertifyError, CommitError, Forked, StatementError};
use crate::keyring::KeyringError;
use crate::ledger::Ledger;
use crate::read::{ReadError, Reader};
use crate::renewal;
use crate::setup::{MissingAnchor, Setup};
use crate::statements;
use crate::trees::Shard;

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// An old copy of the database could not be told from the newest one.
    #[error("the log has {0} entries, but there is no anchor that says what was signed")]
    AnchorMissing(u64),
    #[error("the checkpoint in the anchor is not of this log: {0}")]
    AnchorWrong(#[from] CheckpointFault),
    #[error(transparent)]
    Certify(#[from] CertifyError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Forked(#[from] Forked),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the name of the replica must have 1 to 64 letters, digits, `.`, `_` or `-`")]
    Name,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("the writer's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl OpenError {
    pub const fn code(&self) -> Code {
        Code::LogUnavailable
    }

    /// The database does not continue what was signed: an old copy, another log, a changed byte.
    pub const fn forked(&self) -> Option<&Forked> {
        match self {
            Self::Certify(CertifyError::Forked(forked))
            | Self::Commit(CommitError::Forked(forked))
            | Self::Forked(forked) => Some(forked),
            Self::Anchor(_)
            | Self::AnchorMissing(_)
            | Self::AnchorWrong(_)
            | Self::Certify(CertifyError::Sign(_) | CertifyError::Statement(_))
            | Self::Commit(CommitError::ClockBehind | CommitError::Statement(_) | CommitError::TooSlow)
            | Self::Connect(_)
            | Self::Keyring(_)
            | Self::Name
            | Self::Read(_)
            | Self::Statement(_)
            | Self::Thread(_) => None,
        }
    }

    /// Whether a person must look before trying again can help.
    pub const fn is_final(&self) -> bool {
        self.forked().is_some()
            || matches!(
                self,
                Self::AnchorMissing(_)
                    | Self::AnchorWrong(_)
                    | Self::Keyring(
                        KeyringError::Damaged | KeyringError::NoKey(_) | KeyringError::OtherKey(_)
                    )
                    | Self::Name
            )
    }
}

/// A signed tree whose note is in the anchor.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The shard whose tree it is.
    pub shard: Shard,
    pub head: Head,
    pub note: Arc<str>,
}

impl Signed {
    /// The position after the last entry it covers.
    pub const fn end(&self) -> u64 {
        self.shard.first.saturating_add(self.head.size)
    }
}

/// The anchor file with what it says, checked once.
pub struct Anchored {
    file: Anchor,
    /// The origin of the shard, and its head.
    head: Option<(String, Head)>,
}

impl Anchored {
    /// Believes what the file says only with the log's own signature.
    pub fn new(file: Anchor, setup: &Setup) -> Result<Self, OpenError> {
        let open = |note: &Arc<str>| open_kin(note.as_bytes(), &setup.names.origin, &setup.verifiers);
        let opened = file.note().map(open).transpose()?;
        let head = opened.map(|checkpoint| (checkpoint.origin.clone(), checkpoint.head()));
        Ok(Self { file, head })
    }

    fn hold(&mut self, signed: &Signed) -> Result<(), AnchorError> {
        let held = |(origin, head): &(String, Head)| *origin == signed.shard.origin && *head == signed.head;
        if !self.head.as_ref().is_some_and(held) {
            self.file.write(&signed.note)?;
            self.head = Some((signed.shard.origin.clone(), signed.head));
        }
        Ok(())
    }
}

/// An open ledger, its whole tree read back and signed. `epoch` is the one it must have, once it is known.
pub async fn open(setup: &Setup, anchor: &mut Anchored, epoch: Option<i64>) -> Result<Ledger, OpenError> {
    let mut link = setup.address.writer().await?;
    statements::found(&mut link, &setup.names.origin).await.map_err(StatementError::from)?;
    let reader = Reader::connect(&setup.address, None).await?;
    let state = statements::state(&mut link).await?;
    if epoch.is_some_and(|epoch| epoch != state.epoch) {
        return Err(Forked::Recovered.into());
    }
    let trusted = trusted(setup, &reader, anchor.head.as_ref(), state.end()).await;
    reader.close().await;
    let trusted = trusted?;
    keys(setup, &mut link, state.body_epoch).await?;
    let mut ledger = Ledger::new(link, setup, &state, trusted);
    certify(setup, anchor, &mut ledger).await?;
    Ok(ledger)
}

/// The key under which bodies are sealed must be here; a log without sealed bodies begins with a new one.
async fn keys(setup: &Setup, link: &mut Link, epoch: u32) -> Result<(), OpenError> {
    match setup.keyring.key(epoch) {
        Ok(_) => {}
        Err(KeyringError::NoKey(_))
            if setup.keyring.epochs().is_empty() && !renewal::any_sealed(link).await? =>
        {
            setup.keyring.add(epoch)?;
        }
        Err(fault) => return Err(fault.into()),
    }
    let own = setup.keyring.check_value(epoch)?;
    let known = statements::body_check(link, &own).await.map_err(StatementError::from)?;
    if known.is_some_and(|known| known != own) {
        return Err(KeyringError::OtherKey(epoch).into());
    }
    Ok(())
}

/// Signs the tree as the database has it now, and makes the note durable.
pub async fn certify(setup: &Setup, anchor: &mut Anchored, ledger: &mut Ledger) -> Result<Signed, OpenError> {
    let state = ledger.state().await?;
    let head = Head { size: state.frontier.size(), root: state.root };
    certify_head(setup, anchor, ledger, (&state.shard, head)).await
}

/// Signs the tree of this head, which must be committed, and makes the note durable.
pub async fn certify_head(
    setup: &Setup,
    anchor: &mut Anchored,
    ledger: &mut Ledger,
    (shard, head): (&Shard, Head),
) -> Result<Signed, OpenError> {
    let note = ledger.certify((shard, &head), setup.signer.as_ref()).await?;
    let signed = Signed { shard: shard.clone(), head, note };
    anchor.hold(&signed)?;
    Ok(signed)
}

/// Enters this replica's claims that a crash left open as interrupted.
pub async fn interrupt(
    setup: &Setup,
    anchor: &mut Anchored,
    ledger: &mut Ledger,
) -> Result<Signed, OpenError> {
    let whose = claims::Whose::Replica(&setup.names.replica);
    while ledger.interrupt(&whose, (setup.clock)()).await?.is_some() {}
    certify(setup, anchor, ledger).await
}

/// The frontier of the tree that was signed last and whose it is, taken from the database and held against the anchor.
async fn trusted(
    setup: &Setup,
    reader: &Reader,
    anchored: Option<&(String, Head)>,
    found: u64,
) -> Result<(Shard, Frontier), OpenError> {
    let shards = reader.shards().await?;
    let Some((origin, signed)) = anchored else {
        let first = shards.into_iter().next().ok_or(StatementError::Damaged("no state of the log"))?;
        // From the first shard's empty tree on, every entry is read back and hashed.
        return match (found, setup.missing_anchor) {
            (0, _) | (_, MissingAnchor::Adopt) => Ok((first.shard, Frontier::new())),
            (_, MissingAnchor::Refuse) => Err(OpenError::AnchorMissing(found)),
        };
    };
    // A database from before the shard was opened is as old as one with too few entries.
    let behind = |found| Forked::Behind { found, signed: signed.size };
    let standing = shards.into_iter().find(|standing| standing.shard.origin == *origin);
    let standing = standing.ok_or_else(|| behind(found))?;
    if standing.head.size < signed.size {
        return Err(behind(standing.head.size).into());
    }
    let frontier = reader.of(&standing.shard).frontier(signed.size).await?;
    let leads = frontier.root() == signed.root;
    if leads { Ok((standing.shard, frontier)) } else { Err(Forked::RootDiffers(signed.size).into()) }
}

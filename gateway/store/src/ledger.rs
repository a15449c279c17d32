//! The writer's side of the database: one transaction for each batch, and the guard that stands before every signature.
//!
//! A signature is given only for what was read back from the database after the commit. The leaves read back must
//! lead from the tree this replica signed last to the root the transaction wrote; otherwise history was changed or a
//! byte was, and nothing is signed ever again until a person has looked.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use varco_core::hash::Sha256;
use varco_core::id::ExchangeId;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::leaf::Leaf;
use varco_core::log::note::{NoteSigner, SignError};
use varco_core::log::tree::{Batch, Frontier, Hashes as _, Head, leaf_hash};
use varco_core::time::Timestamp;

use sqlx::Connection as _;

use crate::db::{Backend, Link};
use crate::nodes::WIDTH;
use crate::plan::{Plan, Verdict};
use crate::statements::{self, Lock, State, StatementError, Whose};
use crate::stored;
use crate::submission::{Claim, ClaimError, Submission};

/// A clock that is further behind the last entry than this is wrong; less is two machines' difference.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(60);

/// Leaves read back at once: at most a MiB.
const PAGE: u64 = 1024;

/// Interrupted exchanges entered in one transaction.
const INTERRUPTED_MAX: i64 = 512;

/// Why a batch was not committed, or its commit is not known.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the clock is more than a minute behind the last entry")]
    ClockBehind,
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error(transparent)]
    Forked(#[from] Forked),
    #[error("the database did not answer in time")]
    TooSlow,
}

impl From<sqlx::Error> for CommitError {
    fn from(fault: sqlx::Error) -> Self {
        Self::Statement(fault.into())
    }
}

/// The database no longer continues what this replica has signed. A person must look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forked {
    #[error("the database has {found} entries, but {signed} were signed for")]
    Behind { found: u64, signed: u64 },
    #[error("the database belongs to the log `{0}`")]
    OtherLog(String),
    #[error("the database was taken through a recovery since this replica started")]
    Recovered,
    #[error("the entries in the database do not lead to the root they should at size {0}")]
    RootDiffers(u64),
}

/// Why a committed tree was not signed.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    #[error(transparent)]
    Forked(#[from] Forked),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl From<sqlx::Error> for CertifyError {
    fn from(fault: sqlx::Error) -> Self {
        Self::Statement(fault.into())
    }
}

/// A batch as it goes into one transaction.
#[derive(Default)]
pub struct Work<'a> {
    pub claims: Vec<&'a Claim>,
    pub submissions: Vec<&'a Submission>,
}

/// What became of a batch that is durable now.
#[derive(Default)]
pub struct Done {
    pub claims: Vec<Result<(), ClaimError>>,
    pub verdicts: Vec<Verdict>,
    /// Nothing when no submission was entered.
    pub appended: Option<Appended>,
}

/// The entries of a batch and the tree after it.
pub struct Appended {
    pub leaves: Vec<Leaf>,
    pub batch: Batch,
    pub head: Head,
}

/// An open database with what the writer must remember of it.
pub struct Ledger {
    link: Link,
    names: Names,
    epoch: i64,
    /// The tree as read back from the database, continued from what was signed before.
    trusted: Frontier,
    /// Leaf hashes from the last full tile to the end of the tree as this replica wrote it.
    edge: Vec<Sha256>,
    edge_end: u64,
    /// This replica's claims without an outcome.
    open: HashSet<ExchangeId>,
}

/// Who writes which log.
#[derive(Clone, Debug)]
pub struct Names {
    pub origin: String,
    pub replica: String,
}

impl Ledger {
    /// `trusted` is the frontier of a tree this replica has signed, or the empty one.
    pub fn new(link: Link, names: Names, epoch: i64, trusted: Frontier) -> Self {
        Self { link, names, epoch, trusted, edge: Vec::new(), edge_end: 0, open: HashSet::new() }
    }

    /// Changes when an operator takes the database through a recovery.
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Commits a batch. After an error it is not known whether the batch is durable, and the ledger is of no more use.
    pub async fn commit(&mut self, work: &Work<'_>, now: Timestamp) -> Result<Done, CommitError> {
        statements::begin(&mut self.link).await?;
        let mut done = Done { claims: Vec::new(), verdicts: Vec::new(), appended: None };
        let mut closed = Vec::new();
        // The log's lock comes before all others, so that two replicas never wait for each other.
        if !work.submissions.is_empty() {
            let state = self.state(Lock::Held).await?;
            let open = std::mem::take(&mut self.open);
            let (mut plan, verdicts) = self.plan(&work.submissions, &state, &open, now).await?;
            closed.extend(plan.closes.iter().map(|exchange| (*exchange).clone()));
            done.appended = self.append(&mut plan, state).await?;
            done.verdicts = verdicts;
            drop(plan);
            self.open = open;
        }
        done.claims = self.claim(&work.claims, now).await?;
        statements::commit(&mut self.link).await?;
        for exchange in &closed {
            self.open.remove(exchange);
        }
        let claimed = work.claims.iter().zip(&done.claims).filter(|(_, result)| result.is_ok());
        self.open.extend(claimed.map(|(claim, _)| claim.exchange.clone()));
        Ok(done)
    }

    /// Enters claims as interrupted, some hundred at a time; nothing when there were none.
    pub async fn interrupt(
        &mut self,
        whose: &Whose<'_>,
        now: Timestamp,
    ) -> Result<Option<Appended>, CommitError> {
        statements::begin(&mut self.link).await?;
        let state = self.state(Lock::Held).await?;
        let left = statements::left_open(&mut self.link, whose, INTERRUPTED_MAX).await?;
        let open: HashSet<ExchangeId> = left.iter().map(|(exchange, _)| exchange.clone()).collect();
        let submissions: Vec<Submission> = left
            .into_iter()
            .map(|(exchange, text)| Submission {
                closes: Some(exchange.clone()),
                ..Submission::new(stored::read(exchange, &text))
            })
            .collect();
        let submissions: Vec<&Submission> = submissions.iter().collect();
        let (mut plan, _) = self.plan(&submissions, &state, &open, now).await?;
        // One that has this entry already is closed all the same, or it would come back for ever.
        plan.closes.extend(&open);
        let appended = self.append(&mut plan, state).await?;
        statements::commit(&mut self.link).await?;
        self.open.retain(|exchange| !open.contains(exchange));
        Ok(appended)
    }

    /// The state, if it still continues what this replica has signed.
    pub async fn state(&mut self, lock: Lock) -> Result<State, CommitError> {
        let state = statements::state(&mut self.link, lock).await?;
        let (found, signed) = (state.frontier.size(), self.trusted.size());
        if state.origin != self.names.origin {
            return Err(Forked::OtherLog(state.origin).into());
        }
        if state.epoch != self.epoch {
            return Err(Forked::Recovered.into());
        }
        if found < signed {
            return Err(Forked::Behind { found, signed }.into());
        }
        if found == signed && state.root != self.trusted.root() {
            return Err(Forked::RootDiffers(found).into());
        }
        Ok(state)
    }

    async fn plan<'a>(
        &mut self,
        submissions: &[&'a Submission],
        state: &State,
        open: &'a HashSet<ExchangeId>,
        now: Timestamp,
    ) -> Result<(Plan<'a>, Vec<Verdict>), CommitError> {
        if now.plus(CLOCK_BEHIND_MAX) < state.last_at {
            return Err(CommitError::ClockBehind);
        }
        let (ids, streams) = names(submissions);
        let known = statements::known(&mut self.link, &ids, &streams).await?;
        let mut plan = Plan::new(state.frontier.size(), now.max(state.last_at), known, open);
        let verdicts = submissions.iter().map(|submission| plan.add(submission)).collect();
        Ok((plan, verdicts))
    }

    async fn append(&mut self, plan: &mut Plan<'_>, before: State) -> Result<Option<Appended>, CommitError> {
        if plan.entries.is_empty() && plan.closes.is_empty() {
            return Ok(None);
        }
        let hashes: Vec<Sha256> = plan.entries.iter().map(|entry| entry.leaf.hash()).collect();
        let first = before.frontier.size();
        let mut after = before;
        let batch = after.frontier.append(&hashes);
        after.root = after.frontier.root();
        after.last_at = plan.at();
        statements::write(&mut self.link, plan, &hashes, &after).await?;
        self.tiles(&batch, first, &hashes).await?;
        let head = Head { size: after.frontier.size(), root: after.root };
        let leaves = plan.entries.drain(..).map(|entry| entry.leaf).collect();
        Ok(Some(Appended { leaves, batch, head }))
    }

    /// Writes the tiles the batch has completed.
    async fn tiles(&mut self, batch: &Batch, first: u64, hashes: &[Sha256]) -> Result<(), CommitError> {
        if self.edge_end != first || self.edge.is_empty() {
            self.edge = statements::leaf_hashes(&mut self.link, first - first % WIDTH, first).await?;
        }
        self.edge.extend_from_slice(hashes);
        self.edge_end = batch.size();
        let width = usize::try_from(WIDTH).unwrap_or(usize::MAX);
        let full: Vec<Sha256> = self.edge.drain(..self.edge.len() - self.edge.len() % width).collect();
        for (tile, n) in full.chunks(width).zip(first / WIDTH..) {
            self.tile(batch, (0, n), tile).await?;
        }
        for level in 1.. {
            // A tile is complete when the last of its 256 hashes is, and that is the root of the last tile below.
            let bits = (level + 1) * WIDTH.ilog2();
            let (from, to) =
                (first.checked_shr(bits).unwrap_or(0), batch.size().checked_shr(bits).unwrap_or(0));
            if from == to {
                break;
            }
            for n in from..to {
                let below =
                    statements::tile_roots(&mut self.link, level - 1, n * WIDTH, (n + 1) * WIDTH).await?;
                self.tile(batch, (level, n), &below).await?;
            }
        }
        Ok(())
    }

    async fn tile(
        &mut self,
        batch: &Batch,
        (level, n): (u32, u64),
        hashes: &[Sha256],
    ) -> Result<(), CommitError> {
        let root = batch.node((level + 1) * WIDTH.ilog2(), n);
        match root {
            Some(root) if hashes.len() as u64 == WIDTH => {
                Ok(statements::write_tile(&mut self.link, (level, n), hashes, &root).await?)
            }
            Some(_) | None => Err(StatementError::Damaged("tiles below the one that is complete").into()),
        }
    }

    async fn claim(
        &mut self,
        claims: &[&Claim],
        now: Timestamp,
    ) -> Result<Vec<Result<(), ClaimError>>, CommitError> {
        let mut different = HashSet::new();
        let tokens: Vec<Vec<Sha256>> = claims.iter().map(|claim| claim.tokens().collect()).collect();
        let mut news: Vec<(Sha256, &Claim)> = Vec::new();
        let mut first = Vec::with_capacity(claims.len());
        for (claim, tokens) in claims.iter().zip(&tokens) {
            let is_first = !tokens.iter().any(|token| different.contains(token));
            if is_first {
                different.extend(tokens.iter().copied());
                news.extend(tokens.iter().map(|token| (*token, *claim)));
            }
            first.push(is_first);
        }
        // In one order, so that two replicas with the same tokens never wait for each other.
        news.sort_unstable_by_key(|(token, _)| *token);
        news.dedup_by_key(|(token, _)| *token);
        let new = statements::remember(&mut self.link, &news).await?;
        let fresh =
            |tokens: &Vec<Sha256>| !tokens.is_empty() && tokens.iter().all(|token| new.contains(token));
        let results: Vec<bool> =
            tokens.iter().zip(&first).map(|(tokens, first)| *first && fresh(tokens)).collect();
        let winners: Vec<&Claim> =
            claims.iter().zip(&results).filter(|(_, won)| **won).map(|(claim, _)| *claim).collect();
        statements::open_claims(&mut self.link, &self.names.replica, now, &winners).await?;
        Ok(results.into_iter().map(|won| if won { Ok(()) } else { Err(ClaimError::Replayed) }).collect())
    }

    /// Reads back what was committed since the last signature and signs the tree of this head. The caller makes the
    /// note durable in the anchor before anybody sees it.
    pub async fn certify(&mut self, head: &Head, signer: &dyn NoteSigner) -> Result<Arc<str>, CertifyError> {
        while self.trusted.size() < head.size {
            let (from, to) = (self.trusted.size(), head.size.min(self.trusted.size().saturating_add(PAGE)));
            let leaves = statements::leaves(&mut self.link, from, to).await?;
            for leaf in leaves.split('\n').filter(|leaf| !leaf.is_empty()) {
                self.trusted.push(leaf_hash(leaf.as_bytes()));
            }
            if self.trusted.size() != to {
                return Err(Forked::RootDiffers(to).into());
            }
        }
        if self.trusted.size() != head.size || self.trusted.root() != head.root {
            return Err(Forked::RootDiffers(head.size).into());
        }
        let checkpoint = Checkpoint { origin: self.names.origin.clone(), size: head.size, root: head.root };
        Ok(checkpoint.sign(&[signer])?.to_string().into())
    }

    /// Learns again which claims of this replica are open, after the log was opened anew.
    pub async fn recall(&mut self) -> Result<(), StatementError> {
        self.open = statements::claims_of(&mut self.link, &self.names.replica).await?;
        Ok(())
    }

    /// Copies SQLite's WAL into the database while nobody waits, which it would else do in the middle of a commit.
    pub async fn tidy(&mut self) -> Result<(), sqlx::Error> {
        statements::checkpoint(&mut self.link).await
    }

    pub async fn close(self) {
        // Everything acknowledged is durable already; what fails here costs nobody anything.
        let _ = match self.link {
            Backend::Postgres(at) => at.close().await,
            Backend::Sqlite(at) => at.close().await,
        };
    }

    /// Forgets tokens that expired before an instant, some thousand at a time.
    pub async fn forget(&mut self, before: Timestamp) -> Result<(), sqlx::Error> {
        /// Ten thousand deletions take some ten milliseconds, which a commit can wait.
        const MOST: i64 = 10_000;
        statements::forget(&mut self.link, before, MOST).await
    }
}

/// The entries and streams that a batch names.
fn names<'a>(submissions: &[&'a Submission]) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
    let (mut ids, mut streams) = (BTreeSet::new(), BTreeSet::new());
    for submission in submissions {
        ids.insert(submission.draft.id.as_str());
        streams.extend(submission.changes.iter().map(|change| change.stream.as_str()));
        if let Some(guard) = &submission.guard {
            ids.insert(guard.fallback.id.as_str());
            streams.extend(guard.epochs.iter().map(|(stream, _)| stream.as_str()));
        }
    }
    (ids, streams)
}

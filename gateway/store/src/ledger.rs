//! The writer's side of the database: one transaction for each batch, and the guard that stands before every signature.
//!
//! A signature is given only for what was read back from the database after the commit. The leaves read back must
//! lead from the tree this replica signed last to the root the transaction wrote; otherwise history was changed or a
//! byte was, and nothing is signed ever again until a person has looked.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use varco_core::hash::Sha256;
use varco_core::id::{ExchangeId, Pseudonym};
use varco_core::log::leaf::Leaf;
use varco_core::log::note::NoteSigner;
use varco_core::log::shard;
use varco_core::log::tree::{Batch, Frontier, Hashes as _, Head};
use varco_core::time::Timestamp;

use sqlx::Connection as _;

use crate::claims::{self, Claimant, Tokens, Whose};
use crate::db::{Backend, Link};
use crate::entry_rows::Sealing;
use crate::fault::{CertifyError, CommitError, Forked, StatementError};
use crate::holds;
use crate::kept::{self, Record};
use crate::keyring::Keyring;
use crate::nodes::WIDTH;
use crate::parcels;
use crate::plan::{Known, Plan, Verdict, names};
use crate::renewal::{self, Renewal};
use crate::rows::{self, Script};
use crate::setup::{Names, Setup};
use crate::signals;
use crate::statements::{self, Emptied, Lock, State, Wal};
use crate::submission::{Claim, ClaimError, Found, Submission, Wanted};
use crate::trees::Shard;

mod tidying;
mod turning;

/// A clock that is further behind the last entry than this is wrong; less is two machines' difference.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(60);

/// Who has been away for longer waits for a provider; a fast one lets them back within 50 ms even under load.
const AWAY: Duration = Duration::from_millis(100);

/// Leaves read back at once: at most a MiB.
const PAGE: u64 = 1024;

/// Interrupted exchanges entered in one transaction.
const INTERRUPTED_MAX: i64 = 512;

/// A batch as it goes into one transaction.
#[derive(Default)]
pub struct Work<'a> {
    pub claims: Vec<(&'a Claim, &'a Wanted)>,
    pub submissions: Vec<&'a Submission>,
}

/// What became of a batch that is durable now.
#[derive(Default)]
pub struct Done {
    pub claims: Vec<Result<Found, ClaimError>>,
    pub verdicts: Vec<Verdict>,
    /// Nothing when no submission was entered.
    pub appended: Option<Appended>,
}

/// The entries of a batch and the tree after it.
pub struct Appended {
    pub leaves: Vec<Leaf>,
    pub batch: Batch,
    pub shard: Shard,
    pub head: Head,
}

impl Appended {
    pub const fn tip(&self) -> (&Shard, Head) {
        (&self.shard, self.head)
    }
}

/// An open database with what the writer must remember of it.
pub struct Ledger {
    link: Link,
    names: Names,
    keyring: Arc<Keyring>,
    epoch: i64,
    /// The epoch under which bodies are sealed, as it was last seen.
    body_epoch: u32,
    /// The shard whose tree is read back.
    shard: Shard,
    /// The tree as read back from the database, continued from what was signed before.
    trusted: Frontier,
    /// The origin of the open shard and the time of its last entry, as they were seen last.
    newest: (String, Timestamp),
    /// Leaves, by position, read back on the trip that committed them, for [`Ledger::certify`].
    read_back: Option<(Range<u64>, String)>,
    /// Leaf hashes from the last full tile to the end of the tree as this replica wrote it.
    edge: Vec<Sha256>,
    edge_end: u64,
    /// This replica's claims without an outcome.
    open: HashSet<ExchangeId>,
    /// Those claimed lately, and when.
    young: Vec<(Instant, ExchangeId)>,
    /// Erased bodies may still be readable in SQLite's WAL.
    residue: Residue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Residue {
    None,
    Possible,
}

impl Ledger {
    /// `trusted` is the frontier of a tree this replica has signed, or the empty one, and whose it is.
    pub fn new(link: Link, setup: &Setup, state: &State, (shard, trusted): (Shard, Frontier)) -> Self {
        Self {
            link,
            names: setup.names.clone(),
            keyring: Arc::clone(&setup.keyring),
            epoch: state.epoch,
            body_epoch: state.body_epoch,
            shard,
            trusted,
            newest: (state.shard.origin.clone(), state.last_at),
            read_back: None,
            edge: Vec::new(),
            edge_end: 0,
            open: HashSet::new(),
            young: Vec::new(),
            // The process before may have ended between an erasure and its tidying up.
            residue: Residue::Possible,
        }
    }

    /// Changes when an operator takes the database through a recovery.
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Exchanges about to come for their outcome: claimed here, and not so long ago that they wait for a provider.
    pub fn expected(&mut self) -> usize {
        let open = &self.open;
        self.young.retain(|(claimed, exchange)| claimed.elapsed() < AWAY && open.contains(exchange));
        self.young.len()
    }

    /// Commits a batch. After an error it is not known whether the batch is durable, and the ledger is of no more use.
    pub async fn commit(&mut self, work: &Work<'_>, now: Timestamp) -> Result<Done, CommitError> {
        if !work.submissions.is_empty() && self.is_due(now) {
            self.turn(now).await?;
        }
        let claims: Vec<&Claim> = work.claims.iter().map(|(claim, _)| *claim).collect();
        let tokens = Tokens::of(&claims);
        let mut script = statements::begin(&self.link);
        // The log's lock comes before all others, so that two replicas never wait for each other.
        if !work.submissions.is_empty() {
            statements::ask_state(&mut script, &self.link, Lock::Held);
            holds::ask(&mut script, &work.submissions);
        }
        let (ids, mut streams) = names(&work.submissions);
        let wanted = || work.claims.iter().map(|(_, wanted)| *wanted);
        streams.extend(wanted().flat_map(|wanted| &wanted.streams).map(String::as_str));
        statements::ask_known(&mut script, &ids, &streams);
        let subjects = wanted().flat_map(|wanted| &wanted.subjects).map(Pseudonym::as_str).collect();
        statements::ask_found(&mut script, &subjects);
        statements::remember(&mut script, &tokens.first);
        let mut looked = statements::look(&mut self.link, script).await?;
        // As the batch found it: what the batch itself changes stops the exchange when it is to be entered.
        let found: Vec<Found> = wanted().map(|wanted| looked.known.found(wanted)).collect();

        let mut last = Script::default();
        let mut done = Done::default();
        let mut closed = Vec::new();
        if let Some(state) = looked.state.take() {
            let state = self.check(state)?;
            let open = std::mem::take(&mut self.open);
            let mut plan = plan(&state, looked.known, &open, now)?;
            done.verdicts = work.submissions.iter().map(|submission| plan.add(submission)).collect();
            closed.extend(plan.closes.iter().map(|exchange| (*exchange).clone()));
            done.appended = self.append(&mut plan, state, &mut last).await?;
            drop(plan);
            self.open = open;
        }
        let won = tokens.won(&looked.new_tokens);
        let winners: Vec<&Claim> =
            claims.iter().zip(&won).filter(|(_, won)| **won).map(|(claim, _)| *claim).collect();
        let sealing = Sealing { keyring: &self.keyring, epoch: self.body_epoch };
        let claimant = Claimant { replica: &self.names.replica, now };
        claims::open_claims(&mut last, claimant, &sealing, &winners).map_err(StatementError::from)?;
        self.finish(last, done.appended.as_ref()).await?;
        for exchange in &closed {
            self.open.remove(exchange);
        }
        self.open.extend(winners.iter().map(|claim| claim.exchange.clone()));
        self.young.extend(winners.iter().map(|claim| (Instant::now(), claim.exchange.clone())));
        let answer = |(won, found)| if won { Ok(found) } else { Err(ClaimError::Replayed) };
        done.claims = won.into_iter().zip(found).map(answer).collect();
        Ok(done)
    }

    /// Enters claims as interrupted, some hundred at a time; nothing when there were none.
    pub async fn interrupt(
        &mut self,
        whose: &Whose<'_>,
        now: Timestamp,
    ) -> Result<Option<Appended>, CommitError> {
        let (state, left) = loop {
            let state = self.locked().await?;
            let left = claims::left_open(&mut self.link, whose, INTERRUPTED_MAX, &self.keyring).await?;
            if left.is_empty() || !self.is_due(now) {
                break (state, left);
            }
            self.finish(Script::default(), None).await?;
            self.turn(now).await?;
        };
        let open: HashSet<ExchangeId> = left.iter().map(|(exchange, _)| exchange.clone()).collect();
        let interrupted = |(exchange, text): (ExchangeId, String)| Submission {
            closes: Some(exchange.clone()),
            ..Submission::new(crate::stored::read(exchange, &text))
        };
        let submissions: Vec<Submission> = left.into_iter().map(interrupted).collect();
        let submissions: Vec<&Submission> = submissions.iter().collect();
        let mut script = Script::default();
        let (ids, streams) = names(&submissions);
        statements::ask_known(&mut script, &ids, &streams);
        let looked = statements::look(&mut self.link, script).await?;
        let mut plan = plan(&state, looked.known, &open, now)?;
        for submission in &submissions {
            plan.add(submission);
        }
        // One that has this entry already is closed all the same, or it would come back for ever.
        plan.closes.extend(&open);
        let mut last = Script::default();
        let appended = self.append(&mut plan, state, &mut last).await?;
        drop(plan);
        self.finish(last, appended.as_ref()).await?;
        self.open.retain(|exchange| !open.contains(exchange));
        Ok(appended)
    }

    /// Keeps records that are no entries, all of them or none.
    pub async fn keep(&mut self, records: &[Record]) -> Result<(), CommitError> {
        let mut script = statements::begin(&self.link);
        for record in records {
            kept::say(&mut script, record);
        }
        statements::commit(&mut script);
        rows::execute(&mut self.link, script).await?;
        Ok(())
    }

    /// The state as it is now, if it continues what this replica has signed.
    pub async fn state(&mut self) -> Result<State, CommitError> {
        let state = statements::state(&mut self.link).await?;
        Ok(self.check(state)?)
    }

    fn check(&self, state: State) -> Result<State, Forked> {
        let (open, read) = (&state.shard, &self.shard);
        let (found, signed) = (state.end(), read.first.saturating_add(self.trusted.size()));
        if !shard::are_kin(&open.origin, &self.names.origin) || (open.number == read.number && open != read) {
            return Err(Forked::OtherLog(state.shard.origin));
        }
        if state.epoch != self.epoch {
            return Err(Forked::Recovered);
        }
        if found < signed || open.number < read.number {
            return Err(Forked::Behind { found, signed });
        }
        if found == signed && open.number == read.number && state.root != self.trusted.root() {
            return Err(Forked::RootDiffers(found));
        }
        Ok(state)
    }

    /// Writes what the plan holds; what must come last is added to the script that ends the transaction.
    async fn append(
        &mut self,
        plan: &mut Plan<'_>,
        before: State,
        last: &mut Script,
    ) -> Result<Option<Appended>, CommitError> {
        if plan.entries.is_empty() && plan.closes.is_empty() {
            return Ok(None);
        }
        let hashes: Vec<Sha256> = plan.entries.iter().map(|entry| entry.leaf.hash()).collect();
        let first = before.frontier.size();
        let mut after = before;
        let batch = after.frontier.append(&hashes);
        after.root = after.frontier.root();
        after.last_at = plan.at();
        if plan.deletes() {
            self.residue = Residue::Possible;
        }
        self.body_epoch = after.body_epoch;
        let keyring = Arc::clone(&self.keyring);
        let sealing = Sealing { keyring: &keyring, epoch: after.body_epoch };
        statements::write(&mut self.link, plan, &hashes, &sealing).await?;
        self.tiles(&batch, (&after.shard, first), &hashes).await?;
        self.newest = (after.shard.origin.clone(), after.last_at);
        statements::advance(last, &after);
        let head = Head { size: after.frontier.size(), root: after.root };
        let leaves = plan.entries.drain(..).map(|entry| entry.leaf).collect();
        Ok(Some(Appended { leaves, batch, shard: after.shard, head }))
    }

    /// Ends the transaction, and on the same trip reads back what it has made of the log.
    async fn finish(&mut self, mut last: Script, appended: Option<&Appended>) -> Result<(), CommitError> {
        statements::commit(&mut last);
        let from = self.shard.first.saturating_add(self.trusted.size());
        let here = appended.filter(|appended| appended.shard.number == self.shard.number);
        let to = here.map_or(from, |appended| appended.shard.first.saturating_add(appended.head.size));
        let readable = to > from && to - from <= PAGE;
        if readable {
            statements::ask_leaves(&mut last, from, to);
        }
        let looked = statements::look(&mut self.link, last).await?;
        self.read_back = readable.then(|| (from..to, looked.leaves.unwrap_or_default()));
        Ok(())
    }

    /// Writes the tiles the batch has completed in a shard, whose tree had `first` leaves before.
    async fn tiles(
        &mut self,
        batch: &Batch,
        (shard, first): (&Shard, u64),
        hashes: &[Sha256],
    ) -> Result<(), CommitError> {
        let at = shard.first.saturating_add(first);
        if self.edge_end != at || self.edge.is_empty() {
            self.edge = statements::leaf_hashes(&mut self.link, at - first % WIDTH, at).await?;
        }
        self.edge.extend_from_slice(hashes);
        self.edge_end = shard.first.saturating_add(batch.size());
        let shard = shard.number;
        let width = usize::try_from(WIDTH).unwrap_or(usize::MAX);
        let full: Vec<Sha256> = self.edge.drain(..self.edge.len() - self.edge.len() % width).collect();
        for (tile, n) in full.chunks(width).zip(first / WIDTH..) {
            self.tile(batch, (shard, 0, n), tile).await?;
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
                let tiles = (n * WIDTH, (n + 1) * WIDTH);
                let below =
                    statements::tile_roots(&mut self.link, (shard, level - 1), tiles.0, tiles.1).await?;
                self.tile(batch, (shard, level, n), &below).await?;
            }
        }
        Ok(())
    }

    async fn tile(
        &mut self,
        batch: &Batch,
        (shard, level, n): (u32, u32, u64),
        hashes: &[Sha256],
    ) -> Result<(), CommitError> {
        let root = batch.node((level + 1) * WIDTH.ilog2(), n);
        match root {
            Some(root) if hashes.len() as u64 == WIDTH => {
                Ok(statements::write_tile(&mut self.link, (shard, level, n), hashes, &root).await?)
            }
            Some(_) | None => Err(StatementError::Damaged("tiles below the one that is complete").into()),
        }
    }

    /// Reads back what was committed since the last signature and signs the tree of this head. The caller makes the
    /// note durable in the anchor before anybody sees it.
    pub async fn certify(
        &mut self,
        (shard, head): (&Shard, &Head),
        signer: &dyn NoteSigner,
    ) -> Result<Arc<str>, CertifyError> {
        if *shard != self.shard {
            self.follow(shard, signer).await?;
        }
        self.read_to(head).await?;
        Ok(turning::signed(&self.statement(head), signer)?.to_string().into())
    }

    async fn leaves(&mut self, from: u64, to: u64) -> Result<String, StatementError> {
        let mut script = Script::default();
        statements::ask_leaves(&mut script, from, to);
        Ok(statements::look(&mut self.link, script).await?.leaves.unwrap_or_default())
    }

    /// Begins an epoch of body keys. From the commit on every replica seals under it.
    pub async fn begin_epoch(&mut self) -> Result<Renewal, CommitError> {
        let state = self.locked().await?;
        let to = state.body_epoch.saturating_add(1);
        self.keyring.add(to).map_err(StatementError::from)?;
        let mut last = Script::default();
        let check = self.keyring.check_value(to).map_err(StatementError::from)?;
        statements::begin_epoch(&mut last, to, check);
        self.finish(last, None).await?;
        self.body_epoch = to;
        Ok(Renewal { to, next: 0, end: state.end() })
    }

    /// The renewal that a process before this one began and did not finish.
    pub async fn unfinished_renewal(&mut self) -> Result<Option<Renewal>, CommitError> {
        let state = self.state().await?;
        let older = self.keyring.epochs().first().is_some_and(|oldest| *oldest < state.body_epoch);
        Ok(older.then_some(Renewal { to: state.body_epoch, next: 0, end: state.end() }))
    }

    /// Wraps the next rows anew. At the end the old keys are destroyed, as soon as no claim needs them any more, and the
    /// epoch is given back.
    pub async fn renew(&mut self, renewal: &mut Renewal) -> Result<Option<u32>, CommitError> {
        if renewal.next < renewal.end {
            self.locked().await?;
            let (keyring, mut last) = (Arc::clone(&self.keyring), Script::default());
            renewal::page(&mut self.link, &keyring, renewal, &mut last).await?;
            self.finish(last, None).await?;
            renewal.next = renewal.next.saturating_add(renewal::PAGE);
            self.residue = Residue::Possible;
            return Ok(None);
        }
        if claims::any_before(&mut self.link, renewal.to).await? {
            return Ok(None);
        }
        self.keyring.destroy_before(renewal.to).map_err(StatementError::from)?;
        Ok(Some(renewal.to))
    }

    /// Begins a transaction that holds the log's lock.
    async fn locked(&mut self) -> Result<State, CommitError> {
        let mut script = statements::begin(&self.link);
        statements::ask_state(&mut script, &self.link, Lock::Held);
        let state = statements::look(&mut self.link, script).await?.state;
        Ok(self.check(state.ok_or(StatementError::Damaged("no state of the log"))?)?)
    }

    /// Learns again which claims of this replica are open, after the log was opened anew.
    pub async fn recall(&mut self) -> Result<(), StatementError> {
        self.open = claims::claims_of(&mut self.link, &self.names.replica).await?;
        Ok(())
    }

    /// Copies SQLite's WAL into the database while nobody waits, which it would else do in the middle of a commit; after
    /// an erasure it also empties the WAL, where the erased bytes still are.
    pub async fn tidy(&mut self) -> Result<(), sqlx::Error> {
        match self.residue {
            Residue::None => statements::checkpoint(&mut self.link, Wal::Keep).await.map(drop),
            Residue::Possible => {
                if statements::checkpoint(&mut self.link, Wal::Empty).await? == Emptied::Whole {
                    self.residue = Residue::None;
                }
                Ok(())
            }
        }
    }

    /// Forgets the dead that were counted long enough.
    pub async fn forget_dead(&mut self, before: Timestamp) -> Result<(), sqlx::Error> {
        parcels::forget(&mut self.link, before).await
    }

    /// Forgets subscriptions that have come to their end, and signals that nobody read for too long.
    pub async fn forget_signals(&mut self, now: Timestamp) -> Result<(), sqlx::Error> {
        if signals::forget(&mut self.link, now, now.minus(varco_core::signal::KEPT)).await? > 0 {
            // Whom a subscription was about lay under lock, and may still lie so in the WAL.
            self.residue = Residue::Possible;
        }
        Ok(())
    }

    pub async fn close(self) {
        // Everything acknowledged is durable already; what fails here costs nobody anything.
        let _ = match self.link {
            Backend::Postgres(at) => at.close().await,
            Backend::Sqlite(at) => at.close().await,
        };
    }
}

/// An empty plan for entries that follow this state.
fn plan<'a>(
    state: &State,
    known: Known,
    open: &'a HashSet<ExchangeId>,
    now: Timestamp,
) -> Result<Plan<'a>, CommitError> {
    if now.plus(CLOCK_BEHIND_MAX) < state.last_at {
        return Err(CommitError::ClockBehind);
    }
    Ok(Plan::new(state.end(), now.max(state.last_at), known, open))
}

//! The store as the gateway sees it: claim, append, read, and the truth about its health.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use varco_core::id::ExchangeId;
use varco_core::log::leaf::Leaf;
use varco_core::log::note::{NoteSigner, NoteVerifier};
use varco_core::log::proof::Receipt;
use varco_core::time::Timestamp;

use crate::anchor::Anchor;
use crate::kept::Record;
use crate::keyring::Keyring;
use crate::plan;
use crate::read::{ReadError, Reader};
use crate::recover::{Anchored, OpenError, Signed};
use crate::setup::{Names, Setup};
use crate::status::{Shared, Status};
use crate::submission::{AppendError, Claim, ClaimError, Committed, Found, Submission, Unavailable, Wanted};
use crate::trees::Ending;
use crate::writer::{self, Job};

pub use crate::setup::{MissingAnchor, OnCommit};

/// How a store is opened.
pub struct Options {
    /// `sqlite:<path>` or `postgres://...`.
    pub url: String,
    /// This replica's anchor file, outside the database and its backups. Its directory must exist.
    pub anchor: PathBuf,
    /// The log's origin (c2sp.org/tlog-checkpoint), also the name of its key: `varco.example.org/access-log/2026`.
    pub origin: String,
    /// Tells this replica's claims from the others'. It keeps the name over restarts.
    pub replica: String,
    /// The log's key.
    pub signer: Arc<dyn NoteSigner>,
    /// The keys whose signature the anchor may have: the log's own, and while it is rolled over the one before.
    pub verifiers: Vec<Arc<dyn NoteVerifier>>,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub missing_anchor: MissingAnchor,
    /// The keys of bodies. Replicas of one log share one file.
    pub keyring: Arc<Keyring>,
    pub limits: Limits,
    /// Told of each commit, on the writer's thread: it must not wait for anything.
    pub on_commit: OnCommit,
}

/// How long callers wait, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs that may wait. 4,096 are four full batches: what a slow disk commits in a second.
    pub queue: usize,
    /// After this a commit is late and nothing may be disclosed.
    pub commit_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queue: 4096, commit_wait: Duration::from_secs(2) }
    }
}

/// The open store. Clones share one writer, which ends with the last of them.
#[derive(Clone)]
pub struct Store {
    queue: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    reader: Reader,
    limits: Limits,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({:?})", self.status())
    }
}

impl Store {
    /// Opens the log, holds it against the anchor, enters what a crash left open as interrupted, and starts the writer.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let limits = options.limits;
        let file = Anchor::open(&options.anchor)?;
        let setup = setup(options)?;
        let anchor = Anchored::new(file, &setup)?;
        let (address, keyring) = (setup.address.clone(), Arc::clone(&setup.keyring));
        let (queue, jobs) = mpsc::channel(limits.queue);
        let (opened, opening) = oneshot::channel();
        let thread = std::thread::Builder::new().name("varco-log".to_owned());
        thread.spawn(move || writer::run(setup, anchor, jobs, opened)).map_err(OpenError::Thread)?;
        let ended = |_| OpenError::Thread(std::io::Error::other("it ended before it had opened the log"));
        let shared = opening.await.map_err(ended)??;
        let reader = Reader::connect(&address, Some(keyring)).await?;
        Ok(Self { queue, shared, reader, limits })
    }

    /// Claims one exchange for one token, once. Durable when `Ok`; only then may anything be fetched.
    pub async fn claim(&self, claim: Claim) -> Result<(), ClaimError> {
        self.claim_and_look(claim, Wanted::default()).await.map(drop)
    }

    /// [`Store::claim`] that also tells, as its transaction found them, which documents the exchange will rest on.
    pub async fn claim_and_look(&self, claim: Claim, wanted: Wanted) -> Result<Found, ClaimError> {
        plan::check_interrupted(&claim.interrupted, &claim.exchange).map_err(ClaimError::Invalid)?;
        plan::check_wanted(&wanted).map_err(ClaimError::Invalid)?;
        let (reply, answer) = oneshot::channel();
        self.send(Job::Claim(Box::new((claim, wanted)), reply))?;
        self.wait(answer).await?
    }

    /// Enters one submission: durable, guarded and signed for when `Ok`. On [`Unavailable`] the entry may exist or not,
    /// and nothing may be disclosed.
    pub async fn append(&self, submission: Submission) -> Result<Committed, AppendError> {
        plan::check(&submission)?;
        let (reply, answer) = oneshot::channel();
        self.send(Job::Append(Box::new(submission), reply))?;
        self.wait(answer).await?
    }

    /// The receipt of an exchange's outcome, under the newest checkpoint; `None` when the log has no such entry.
    pub async fn receipt(&self, exchange: &ExchangeId) -> Result<Option<Receipt>, ReceiptError> {
        match self.reader.entries_of(exchange).await?.into_iter().next() {
            Some(leaf) => self.receipt_of(leaf).await.map(Some),
            None => Ok(None),
        }
    }

    /// The receipt of an entry of the log, under the newest checkpoint.
    pub async fn receipt_of(&self, leaf: Leaf) -> Result<Receipt, ReceiptError> {
        let mut signed = self.shared.last_signed();
        // Another replica wrote it: this one has not signed a tree that large yet.
        if leaf.index() >= signed.end() {
            signed = self.sign().await?;
        }
        if leaf.index() >= signed.shard.first {
            let reader = self.reader.of(&signed.shard);
            return Ok(reader.receipt(leaf, signed.head.size, signed.note).await?);
        }
        // Of a shard of years before: under its final checkpoint.
        let standing = self.reader.shard_at(leaf.index()).await?;
        match standing.map(|standing| (standing.state, standing.shard, standing.head.size)) {
            Some((Ending::Closed(Some(note)), shard, size)) => {
                Ok(self.reader.of(&shard).receipt(leaf, size, note).await?)
            }
            Some(_) | None => Err(ReadError::Damaged("final checkpoint of a shard").into()),
        }
    }

    /// The newest checkpoint this replica has signed, and the head it states.
    pub fn checkpoint(&self) -> Signed {
        self.shared.last_signed()
    }

    /// Signs what the database holds now, whoever wrote it.
    pub async fn sign(&self) -> Result<Signed, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Sign(reply))?;
        self.wait(answer).await?
    }

    /// Keeps records that are no entries: durable when `Ok`, all of them or none.
    pub async fn keep(&self, records: Vec<Record>) -> Result<(), Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Keep(records, reply))?;
        self.wait(answer).await?
    }

    /// Does at once what the writer does by itself every few seconds: forget tokens that have expired, enter exchanges
    /// that have died unseen as interrupted, copy SQLite's WAL into the database.
    pub async fn tidy(&self) -> Result<(), Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Tidy(reply))?;
        self.wait(answer).await
    }

    /// Wraps every sealed body anew under a new epoch's key, then destroys the key of the epoch before: what was erased
    /// can be read from no backup any more. Gives back the new epoch, however long that takes.
    pub async fn renew_keys(&self) -> Result<u32, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Renew(reply))?;
        answer.await.unwrap_or_else(|_| Err(self.shared.closed()))
    }

    /// Everything that is read.
    pub const fn read(&self) -> &Reader {
        &self.reader
    }

    pub fn status(&self) -> Status {
        self.shared.status(self.limits.queue.saturating_sub(self.queue.capacity()))
    }

    /// Commits what is queued and closes the database. Later calls are refused.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Job::Close(reply)).await.is_ok() {
            let _ = answer.await;
        }
        self.reader.close().await;
    }

    fn send(&self, job: Job) -> Result<(), Unavailable> {
        match self.queue.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Unavailable::QueueFull),
            Err(TrySendError::Closed(_)) => Err(self.shared.closed()),
        }
    }

    async fn wait<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, Unavailable> {
        match timeout(self.limits.commit_wait, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.shared.closed()),
            Err(_) => Err(Unavailable::TooSlow),
        }
    }
}

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

fn setup(options: Options) -> Result<Setup, OpenError> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !(1..=64).contains(&options.replica.len()) || !options.replica.bytes().all(known) {
        return Err(OpenError::Name);
    }
    Ok(Setup {
        address: options.url.parse()?,
        names: Names { origin: options.origin, replica: options.replica },
        signer: options.signer,
        verifiers: options.verifiers,
        clock: options.clock,
        missing_anchor: options.missing_anchor,
        keyring: options.keyring,
        on_commit: options.on_commit,
    })
}

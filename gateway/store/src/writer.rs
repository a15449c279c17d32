//! The one task that writes: takes what has queued up while the last batch was being made durable, commits it as one
//! transaction, signs, answers. Under load batches grow by themselves; while many exchanges are under way the next
//! batch begins some milliseconds after the last one ([`linger`]), so that they share one `fsync` and one signature.
//!
//! After any fault of the database the connection is given up and the log is opened anew from the anchor; until that
//! has succeeded everything is refused. A fault that means a second history keeps it closed until a person has looked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use varco_core::log::proof::{Proof, Receipt};

use crate::claims::Whose;
use crate::fault::CommitError;
use crate::kept::Record;
use crate::ledger::{Appended, Done, Ledger, Work};
use crate::linger::{COUNTED_EVERY, is_company, linger};
use crate::plan::Verdict;
use crate::recover::{self, Anchored, OpenError, Signed};
use crate::renewal::Renewal;
use crate::setup::Setup;
use crate::status::Shared;
use crate::submission::{AppendError, Claim, ClaimError, Committed, Found, Submission, Unavailable, Wanted};

/// Jobs in one transaction. 1,024 entries of 1 to 3 KiB take some 20 ms, so nobody's commit is late because of others.
pub const BATCH_MAX: usize = 1024;

/// A database that has not answered a batch for so long is given up; callers have long been told.
const BATCH_WAIT: Duration = Duration::from_secs(10);

/// Between two attempts to open the log again: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// Between two rounds of housekeeping.
const CHORES: Duration = Duration::from_secs(5);

/// Tokens are remembered so long after they expired: two machines' clocks and the verifier's tolerance.
const REMEMBERED: Duration = Duration::from_secs(300);

/// An exchange without an outcome after so long has died unseen: ten times the longest one may take.
const STALE: Duration = Duration::from_secs(600);

/// A parcel that nobody took over counts as dead so long: officers read their notices within a month.
const DEAD_SHOWN: Duration = Duration::from_secs(30 * 24 * 3600);

type Reply<T, E> = oneshot::Sender<Result<T, E>>;
type ClaimJob = Box<(Claim, Wanted)>;

/// What the queue holds.
pub enum Job {
    Append(Box<Submission>, Reply<Committed, AppendError>),
    Claim(ClaimJob, Reply<Found, ClaimError>),
    /// Begin a new epoch of body keys; answered when the old one's key is destroyed.
    Renew(Reply<u32, Unavailable>),
    /// Bring the signature up to what the database holds, whoever wrote it.
    Sign(Reply<Signed, Unavailable>),
    /// Finish what is queued before this, and end.
    Close(oneshot::Sender<()>),
    /// Keep what is no entry.
    Keep(Vec<Record>, Reply<(), Unavailable>),
    /// Do the housekeeping now.
    Tidy(oneshot::Sender<()>),
}

impl Job {
    /// Whoever asked has gone: nothing rests on this any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Append(_, reply) => reply.is_closed(),
            Self::Claim(_, reply) => reply.is_closed(),
            Self::Close(_) | Self::Keep(..) | Self::Renew(_) | Self::Tidy(_) => false,
            Self::Sign(reply) => reply.is_closed(),
        }
    }

    fn refuse(self, why: &Unavailable) {
        // Whoever does not wait any more does not need to know.
        match self {
            Self::Append(_, reply) => drop(reply.send(Err(why.clone().into()))),
            Self::Claim(_, reply) => drop(reply.send(Err(why.clone().into()))),
            Self::Close(reply) | Self::Tidy(reply) => drop(reply.send(())),
            Self::Renew(reply) => drop(reply.send(Err(why.clone()))),
            Self::Keep(_, reply) => drop(reply.send(Err(why.clone()))),
            Self::Sign(reply) => drop(reply.send(Err(why.clone()))),
        }
    }
}

/// Whether the log can be written.
enum Gate {
    Open(Box<Ledger>),
    /// To be tried again.
    Closed {
        retry_at: Instant,
        wait: Duration,
    },
    /// For a person to look at.
    Sealed,
}

struct Writer {
    setup: Setup,
    anchor: Anchored,
    gate: Gate,
    epoch: i64,
    shared: Arc<Shared>,
    next_chores: Instant,
    last_commit: Instant,
    renewing: Renewing,
}

/// A renewal of body keys, and who waits for its end.
#[derive(Default)]
struct Renewing {
    /// Asked for, not begun.
    wanted: Vec<Reply<u32, Unavailable>>,
    under_way: Option<Renewal>,
    waiting: Vec<Reply<u32, Unavailable>>,
}

impl Renewing {
    /// Whether there is a page to do at once. The end may have to wait for claims, until the next housekeeping.
    fn goes_on(&self) -> bool {
        match &self.under_way {
            Some(renewal) => renewal.next < renewal.end,
            None => !self.wanted.is_empty(),
        }
    }

    fn ended(&mut self, epoch: u32) {
        self.under_way = None;
        self.waiting.drain(..).for_each(|reply| drop(reply.send(Ok(epoch))));
    }
}

/// The writer's thread: opens the log, tells how that went, writes until everybody has gone. A thread of its own with
/// its own small runtime, so that neither a busy gateway delays a commit nor an `fsync` the gateway.
pub fn run(setup: Setup, anchor: Anchored, queue: mpsc::Receiver<Job>, opened: oneshot::Sender<Opened>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // SQLite needs no sockets, and a thread that waits for none is woken more cheaply.
    let runtime = if setup.address.is_remote() { runtime.enable_all() } else { runtime.enable_time() };
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(fault) => return drop(opened.send(Err(OpenError::Thread(fault)))),
    };
    runtime.block_on(async {
        match Writer::open(setup, anchor).await {
            Ok(writer) => {
                let shared = Arc::clone(&writer.shared);
                if opened.send(Ok(shared)).is_ok() {
                    writer.run(queue).await;
                }
            }
            Err(fault) => drop(opened.send(Err(fault))),
        }
    });
}

pub type Opened = Result<Arc<Shared>, OpenError>;

impl Writer {
    async fn open(setup: Setup, mut anchor: Anchored) -> Result<Self, OpenError> {
        let mut ledger = recover::open(&setup, &mut anchor, None).await?;
        let signed = recover::interrupt(&setup, &mut anchor, &mut ledger).await?;
        let epoch = ledger.epoch();
        let renewing = Renewing { under_way: ledger.unfinished_renewal().await?, ..Renewing::default() };
        let gate = Gate::Open(Box::new(ledger));
        let shared = Arc::new(Shared::new(signed));
        let (next_chores, last_commit) = (Instant::now() + CHORES, Instant::now());
        Ok(Self { setup, anchor, gate, epoch, shared, next_chores, last_commit, renewing })
    }

    /// Ends when every [`Store`](crate::store::Store) is gone, or one has closed it.
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        let mut closing = Vec::new();
        while closing.is_empty() {
            let wake = match &self.gate {
                Gate::Closed { retry_at, .. } => *retry_at,
                Gate::Open(_) if self.renewing.goes_on() => Instant::now(),
                Gate::Open(_) | Gate::Sealed => self.next_chores,
            };
            tokio::select! {
                taken = queue.recv_many(&mut jobs, BATCH_MAX) => {
                    if taken == 0 {
                        break;
                    }
                    self.gather(&mut queue, &mut jobs).await;
                    closing = self.serve(&mut jobs).await;
                }
                () = sleep_until(wake) => self.wake().await,
            }
        }
        queue.close();
        while let Ok(job) = queue.try_recv() {
            job.refuse(&Unavailable::Closed("the gateway is stopping".to_owned()));
        }
        if let Gate::Open(ledger) = self.gate {
            ledger.close().await;
        }
        // The lock goes with it: whoever waits may open the log again at once.
        drop(self.anchor);
        for reply in closing {
            let _ = reply.send(());
        }
    }

    /// Waits for those who are about to come, if they are many. Nobody wakes this thread meanwhile: it counts.
    async fn gather(&mut self, queue: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>) {
        let Gate::Open(ledger) = &mut self.gate else { return };
        let ending = jobs.iter().filter(|job| matches!(job, Job::Append(..))).count();
        let under_way = ledger.expected().saturating_sub(ending);
        let until = self.last_commit + linger(under_way);
        while Instant::now() < until && !is_company(jobs.len() + queue.len(), under_way) {
            sleep_until(until.min(Instant::now() + COUNTED_EVERY)).await;
        }
        let room = BATCH_MAX.saturating_sub(jobs.len());
        jobs.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(room));
    }

    /// Writes a batch. Gives back who wants the writer to end.
    async fn serve(&mut self, jobs: &mut Vec<Job>) -> Vec<oneshot::Sender<()>> {
        let (mut closing, mut keeping, mut tidying) = (Vec::new(), Vec::new(), Vec::new());
        let mut batch = Batch::default();
        for job in jobs.drain(..).filter(|job| !job.is_abandoned()) {
            match job {
                Job::Append(submission, reply) => batch.appends.push((submission, reply)),
                Job::Claim(claim, reply) => batch.claims.push((claim, reply)),
                Job::Close(reply) => closing.push(reply),
                Job::Keep(records, reply) => keeping.push((records, reply)),
                Job::Renew(reply) => self.renewing.wanted.push(reply),
                Job::Sign(reply) => batch.signs.push(reply),
                Job::Tidy(reply) => tidying.push(reply),
            }
        }
        if !batch.is_empty() {
            self.shared.begin();
            self.write(batch).await;
            self.shared.end();
        }
        for (records, reply) in keeping {
            let _ = reply.send(self.keep(&records).await);
        }
        if !tidying.is_empty() {
            self.chores().await;
        }
        for reply in tidying {
            let _ = reply.send(());
        }
        closing
    }

    async fn keep(&mut self, records: &[Record]) -> Result<(), Unavailable> {
        let Gate::Open(ledger) = &mut self.gate else { return Err(self.shared.closed()) };
        match timeout(BATCH_WAIT, ledger.keep(records)).await.unwrap_or(Err(CommitError::TooSlow)) {
            Ok(()) => Ok(()),
            Err(fault) => {
                self.shut(fault.into());
                Err(self.shared.closed())
            }
        }
    }

    /// INVARIANT: a claim is answered after the commit, an entry after commit, guard, signature and anchor.
    async fn write(&mut self, mut batch: Batch) {
        let Gate::Open(ledger) = &mut self.gate else {
            return batch.refuse(&self.shared.closed());
        };
        let (now, began) = ((self.setup.clock)(), Instant::now());
        let work = Work {
            claims: batch.claims.iter().map(|(job, _)| (&job.0, &job.1)).collect(),
            submissions: batch.appends.iter().map(|(submission, _)| &**submission).collect(),
        };
        let committed = if work.claims.is_empty() && work.submissions.is_empty() {
            Ok(Done::default())
        } else {
            timeout(BATCH_WAIT, ledger.commit(&work, now)).await.unwrap_or(Err(CommitError::TooSlow))
        };
        drop(work);
        let done = match committed {
            Ok(done) => done,
            Err(fault) => {
                self.shut(fault.into());
                return batch.refuse(&self.shared.closed());
            }
        };
        if !batch.claims.is_empty() || done.appended.is_some() {
            self.last_commit = Instant::now();
            self.shared.committed(now);
            let entries = done.appended.as_ref().map_or(0, |appended| appended.leaves.len());
            (self.setup.on_commit)(entries, began.elapsed());
        }
        for ((_, reply), result) in batch.claims.drain(..).zip(done.claims) {
            let _ = reply.send(result);
        }
        let signed = match (&done.appended, batch.signs.is_empty()) {
            (None, true) => None,
            (appended, _) => match self.sign(appended.as_ref()).await {
                Ok(signed) => Some(signed),
                Err(why) => return batch.refuse(&why),
            },
        };
        batch.answer(done.verdicts, done.appended, signed);
    }

    async fn sign(&mut self, appended: Option<&Appended>) -> Result<Signed, Unavailable> {
        let Gate::Open(ledger) = &mut self.gate else { return Err(self.shared.closed()) };
        let (setup, anchor) = (&self.setup, &mut self.anchor);
        let signing = async {
            match appended {
                Some(appended) => recover::certify_head(setup, anchor, ledger, appended.tip()).await,
                None => recover::certify(setup, anchor, ledger).await,
            }
        };
        match timeout(BATCH_WAIT, signing).await {
            Ok(Ok(signed)) => {
                self.shared.signed(signed.clone());
                Ok(signed)
            }
            Ok(Err(fault)) => {
                self.shut(fault);
                Err(self.shared.closed())
            }
            Err(_) => {
                self.shut(CommitError::TooSlow.into());
                Err(self.shared.closed())
            }
        }
    }

    /// Gives the connection up. What was committed and not answered is found again when the log is opened.
    fn shut(&mut self, fault: OpenError) {
        let wait = match &self.gate {
            Gate::Closed { wait, .. } => wait.saturating_mul(2).min(RETRY_LAST),
            Gate::Open(_) | Gate::Sealed => RETRY_FIRST,
        };
        if fault.is_final() {
            tracing::error!(fault = %chain(&fault), "the log is closed until a person has looked at it");
            self.gate = Gate::Sealed;
        } else {
            tracing::error!(fault = %chain(&fault), "the log is closed and will be opened again");
            self.gate = Gate::Closed { retry_at: Instant::now() + wait, wait };
        }
        self.shared.close(chain(&fault));
    }

    async fn wake(&mut self) {
        match &mut self.gate {
            Gate::Open(_) if self.renewing.goes_on() && Instant::now() < self.next_chores => {
                self.renew().await
            }
            Gate::Open(_) => self.chores().await,
            Gate::Closed { .. } => match self.reopen().await {
                Ok(signed) => {
                    tracing::info!(size = signed.end(), "the log is open again");
                    self.shared.open(signed);
                }
                Err(fault) => self.shut(fault),
            },
            Gate::Sealed => self.next_chores = Instant::now() + CHORES,
        }
    }

    async fn reopen(&mut self) -> Result<Signed, OpenError> {
        let opening = recover::open(&self.setup, &mut self.anchor, Some(self.epoch));
        let slow = |_| OpenError::from(CommitError::TooSlow);
        let mut ledger = timeout(BATCH_WAIT, opening).await.map_err(slow)??;
        ledger.recall().await?;
        let signed = recover::certify(&self.setup, &mut self.anchor, &mut ledger).await?;
        self.gate = Gate::Open(Box::new(ledger));
        Ok(signed)
    }

    /// The next step of a renewal.
    async fn renew(&mut self) {
        let Gate::Open(ledger) = &mut self.gate else { return };
        let renewing = &mut self.renewing;
        let work = async {
            let Some(renewal) = &mut renewing.under_way else {
                renewing.under_way = Some(ledger.begin_epoch().await?);
                renewing.waiting.append(&mut renewing.wanted);
                return Ok(());
            };
            if let Some(epoch) = ledger.renew(renewal).await? {
                // What was wrapped anew must not stay in the WAL as it was before.
                ledger.tidy().await?;
                tracing::info!(epoch, "the body keys of the epochs before are destroyed");
                renewing.ended(epoch);
            }
            Ok::<_, CommitError>(())
        };
        match timeout(BATCH_WAIT, work).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => self.shut(fault.into()),
            Err(_) => self.shut(CommitError::TooSlow.into()),
        }
    }

    async fn chores(&mut self) {
        self.next_chores = Instant::now() + CHORES;
        let now = (self.setup.clock)();
        // Another replica may have begun an epoch or destroyed one.
        if let Err(fault) = self.setup.keyring.reload() {
            tracing::error!(fault = %chain(&fault), "the file of body keys cannot be read");
        }
        if self.renewing.under_way.is_some() {
            self.renew().await;
        }
        let Gate::Open(ledger) = &mut self.gate else { return };
        let work = async {
            ledger.forget(now.minus(REMEMBERED)).await?;
            ledger.forget_dead(now.minus(DEAD_SHOWN)).await?;
            ledger.forget_signals(now).await?;
            let entered = ledger.interrupt(&Whose::Before(now.minus(STALE)), now).await?;
            ledger.tidy().await?;
            Ok::<_, CommitError>(entered)
        };
        match timeout(BATCH_WAIT, work).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(entered))) => {
                let entries = entered.leaves.len();
                tracing::warn!(entries, "exchanges without an outcome were entered as interrupted");
                // A fault is remembered by the gate, and nobody waits for this signature.
                let _ = self.sign(Some(&entered)).await;
            }
            Ok(Err(fault)) => self.shut(fault.into()),
            Err(_) => self.shut(CommitError::TooSlow.into()),
        }
    }
}

/// The jobs of one batch, by what they want.
#[derive(Default)]
struct Batch {
    appends: Vec<(Box<Submission>, Reply<Committed, AppendError>)>,
    claims: Vec<(ClaimJob, Reply<Found, ClaimError>)>,
    signs: Vec<Reply<Signed, Unavailable>>,
}

impl Batch {
    const fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.claims.is_empty() && self.signs.is_empty()
    }

    fn refuse(self, why: &Unavailable) {
        self.appends.into_iter().for_each(|(submission, reply)| Job::Append(submission, reply).refuse(why));
        self.claims.into_iter().for_each(|(claim, reply)| Job::Claim(claim, reply).refuse(why));
        self.signs.into_iter().for_each(|reply| Job::Sign(reply).refuse(why));
    }

    fn answer(self, verdicts: Vec<Verdict>, appended: Option<Appended>, signed: Option<Signed>) {
        for ((_, reply), verdict) in self.appends.into_iter().zip(verdicts) {
            let answer = match verdict {
                Verdict::Entered { position, branch, also } => {
                    let receipt = |position| receipt(position, appended.as_ref(), signed.as_ref());
                    let also = also.into_iter().map(receipt).collect::<Result<_, _>>();
                    receipt(position).and_then(|receipt| also.map(|also| Committed { receipt, branch, also }))
                }
                Verdict::Refused(fault) => Err(fault),
            };
            let _ = reply.send(answer);
        }
        for (reply, signed) in self.signs.into_iter().zip(std::iter::repeat(signed)) {
            let _ = reply.send(signed.ok_or_else(|| Unavailable::Closed("nothing is signed".to_owned())));
        }
    }
}

fn receipt(
    position: usize,
    appended: Option<&Appended>,
    signed: Option<&Signed>,
) -> Result<Receipt, AppendError> {
    let found = appended.zip(signed).and_then(|(appended, signed)| {
        let leaf = appended.leaves.get(position)?.clone();
        let path = appended.batch.path(position)?;
        let index = leaf.index().checked_sub(appended.shard.first)?;
        let proof = Proof { index, path, checkpoint: Arc::clone(&signed.note) };
        Some(Receipt { leaf, proof })
    });
    found.ok_or_else(|| Unavailable::Closed("the entry has no proof".to_owned()).into())
}

/// A fault with its causes, on one line.
fn chain(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(fault) = cause {
        let next = fault.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = fault.source();
    }
    text
}

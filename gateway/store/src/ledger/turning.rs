//! From one yearly shard to the next: closing a tree and opening another is one transaction, so that no crash leaves a
//! log that is closed and not opened. What a crash can leave is a final checkpoint that is not signed yet; whoever
//! signs next, at start or after another replica has turned, reads the closed tree to its end first.

use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_core::log::note::{Note, NoteSigner, SignError};
use varco_core::log::shard::{self, Link};
use varco_core::log::tree::{Head, leaf_hash};
use varco_core::time::Timestamp;

use super::{CLOCK_BEHIND_MAX, Ledger, PAGE};
use crate::entry_rows::Sealing;
use crate::fault::{CertifyError, CommitError, Forked, StatementError};
use crate::rows::Script;
use crate::shards::{self, Turn};
use crate::trees::{Ending, Shard};

impl Ledger {
    /// Whether the shard that was open when this replica looked last has had its year.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let (origin, last_at) = &self.newest;
        // An empty log has had no year yet.
        last_at.millis() > 0 && shard::due(origin, *last_at, now).is_some()
    }

    /// Closes the shard whose year is over and opens the next. Does nothing when another replica already has.
    pub(super) async fn turn(&mut self, now: Timestamp) -> Result<(), CommitError> {
        let state = self.locked().await?;
        if now.plus(CLOCK_BEHIND_MAX) < state.last_at {
            return Err(CommitError::ClockBehind);
        }
        let at = now.max(state.last_at);
        self.newest = (state.shard.origin.clone(), state.last_at);
        let due = shard::due(&state.shard.origin, state.last_at, at);
        // An empty log has nothing to close: its first entry is the genesis, whenever it comes.
        let Some(next) = due.filter(|_| state.frontier.size() > 0) else {
            return self.finish(Script::default(), None).await;
        };
        let (first, freeze) = (state.frontier.size(), Turn::freeze(&state, &next, at));
        let mut closed = state.clone();
        let batch = closed.frontier.append(&[freeze.hash()]);
        self.tiles(&batch, (&state.shard, first), &[freeze.hash()]).await?;
        let turn = Turn::after(&closed, freeze, &next, at);
        let mut last = Script::default();
        let sealing = Sealing { keyring: &std::sync::Arc::clone(&self.keyring), epoch: state.body_epoch };
        shards::write(&mut last, (&state.shard, &turn), &sealing)?;
        self.finish(last, None).await?;
        self.newest = (next, at);
        tracing::info!(from = state.shard.origin, to = self.newest.0, "a new year's log is open");
        Ok(())
    }

    /// Reads every shard to its end that was closed since this replica signed last, signs its final checkpoint, and goes
    /// on with the tree after it.
    pub(super) async fn follow(&mut self, to: &Shard, signer: &dyn NoteSigner) -> Result<(), CertifyError> {
        while self.shard.number < to.number {
            let closed = shards::closed(&mut self.link, self.shard.number).await?;
            let closed = closed.ok_or(StatementError::Damaged("shard that was closed"))?;
            let end = closed.end();
            if closed.shard != self.shard {
                return Err(Forked::RootDiffers(end).into());
            }
            self.read_to(&closed.head).await?;
            let last = self.statement(&closed.head);
            let next = self.linked(&last, end).await?;
            if closed.state == Ending::Closed(None) {
                let note = signed(&last, signer)?.to_string();
                shards::keep_note(&mut self.link, self.shard.number, &note).await?;
            }
            self.shard = Shard { number: self.shard.number.saturating_add(1), origin: next, first: end };
            self.trusted = varco_core::log::tree::Frontier::new();
        }
        if self.shard == *to { Ok(()) } else { Err(Forked::RootDiffers(to.first).into()) }
    }

    /// What is signed of a head of the shard that is read.
    pub(super) fn statement(&self, head: &Head) -> Checkpoint {
        Checkpoint { origin: self.shard.origin.clone(), size: head.size, root: head.root }
    }

    /// The origin of the shard after the one with this final checkpoint: both entries at the seam must say so.
    async fn linked(&mut self, last: &Checkpoint, end: u64) -> Result<String, CertifyError> {
        let seam = self.leaves(end.saturating_sub(1), end.saturating_add(1)).await?;
        let mut seam = seam.split('\n').map(|leaf| Leaf::parse(leaf.as_bytes()).ok());
        let (freeze, open) = (seam.next().flatten(), seam.next().flatten());
        let (Some(freeze), Some(open)) = (freeze, open) else { return Err(Forked::RootDiffers(end).into()) };
        let opens = open.kind() == Kind::Open && open.content().link == Some(Link::after(last));
        match &freeze.content().link {
            Some(link) if opens && freeze.kind() == Kind::Freeze => Ok(link.origin().to_owned()),
            Some(_) | None => Err(Forked::RootDiffers(end).into()),
        }
    }

    /// Reads back what was committed since the last signature, up to this head of the shard that is read.
    pub(super) async fn read_to(&mut self, head: &Head) -> Result<(), CertifyError> {
        let base = self.shard.first;
        while self.trusted.size() < head.size {
            let (from, to) = (self.trusted.size(), head.size.min(self.trusted.size().saturating_add(PAGE)));
            let range = base.saturating_add(from)..base.saturating_add(to);
            let leaves = match self.read_back.take() {
                Some((read, leaves)) if read == range => leaves,
                Some(_) | None => self.leaves(range.start, range.end).await?,
            };
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
        Ok(())
    }
}

/// Signs under the name of the checkpoint's own shard.
pub(super) fn signed(checkpoint: &Checkpoint, signer: &dyn NoteSigner) -> Result<Note, SignError> {
    if signer.name() == checkpoint.origin {
        return checkpoint.sign(&[signer]);
    }
    let renamed = signer.renamed(&checkpoint.origin).ok_or(SignError::Malformed)?;
    checkpoint.sign(&[renamed.as_ref()])
}

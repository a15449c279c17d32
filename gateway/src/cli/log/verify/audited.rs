//! The work of a verification: entries read page by page, examined by as many threads as there are, taken in order.
//!
//! Memory is bounded by the pages that are under way, however long the log is.

use std::collections::VecDeque;
use std::ops::Range;

use indicatif::ProgressBar;
use tokio::task::{JoinHandle, spawn_blocking};
use varco_core::hash::Sha256;
use varco_core::log::audit::{Audit, Examined, HeadVerdict, Report, Stored, examine};
use varco_core::log::proof::{LogVerifier, Receipt};
use varco_core::log::tile::{self, TileId, Tiles, WIDTH};
use varco_core::log::tree::{Frontier, Head, consistency_proof, verify_consistency};
use varco_store::read::{Bodies, ReadError, StoredLeaf};

use super::super::Failure;
use super::super::source::{Files, Source as Log};
use super::super::tiles::TileCheck;
use super::super::trees::Tree;

/// Pages under way: 1,024 entries with their bodies are some 2 MiB, and two for each of four threads keep them busy.
const AHEAD: usize = 8;

/// What was found, and the tiles that are not what the leaves make them; `None` where nothing can be said of them.
pub type Found = (Report, Option<Vec<TileId>>);

/// What is verified.
pub struct Work<'a> {
    pub log: &'a Log,
    pub verifier: &'a LogVerifier,
    /// The shard.
    pub tree: Tree,
    pub head: Head,
    /// Which leaves of its tree.
    pub part: Range<u64>,
    pub bar: ProgressBar,
}

/// Entries as they lie in storage.
struct Page {
    leaves: Vec<StoredLeaf>,
    bodies: Vec<(u64, Bodies)>,
}

/// What has become of a page.
enum Read {
    Entries(Vec<Examined>),
    /// A whole page without entries may have been pruned; its hashes still are there.
    Withheld(Vec<Sha256>),
}

impl Page {
    fn examined(self) -> Vec<Examined> {
        let mut bodies = self.bodies.into_iter().peekable();
        let none = Bodies::default();
        let mut examined = Vec::with_capacity(self.leaves.len());
        for stored in &self.leaves {
            while bodies.next_if(|(index, _)| *index < stored.index).is_some() {}
            let found = bodies.next_if(|(index, _)| *index == stored.index).map(|(_, bodies)| bodies);
            let found = found.as_ref().unwrap_or(&none);
            examined.push(examine(Stored {
                index: stored.index,
                leaf: &stored.leaf,
                leaf_hash: Some(stored.leaf_hash),
                slots: &found.slots,
                sealed: &found.sealed,
                damaged: &found.damaged,
            }));
        }
        examined
    }
}

impl Work<'_> {
    /// Every entry of the part, against heads that were signed.
    pub async fn entries(&self, heads: &[Head]) -> Result<Found, Failure> {
        let whole = self.part == (0..self.head.size);
        if whole {
            let mut audit = Audit::against(heads).beginning_at(self.tree.shard.first);
            let tiles = self.read(&mut audit).await?;
            return Ok((audit.finish(), tiles));
        }
        let (audit, edges) = match self.edges(heads).await? {
            Ok(begun) => begun,
            Err(wrong) => return Ok((Audit::against(heads).finish(), Some(wrong))),
        };
        let mut audit = audit.beginning_at(self.tree.shard.first);
        for order in self.orders().await? {
            audit.order(&order.leaf);
        }
        let tiles = self.read(&mut audit).await?;
        let mut report = audit.finish();
        // That the checkpoint continues the end of this part was shown by the tiles; the entries bear out the part.
        if report.heads.iter().any(|(head, verdict)| *head == edges && *verdict == HeadVerdict::Ok) {
            for (head, verdict) in &mut report.heads {
                if *head == self.head {
                    *verdict = HeadVerdict::Ok;
                }
            }
        }
        Ok((report, tiles))
    }

    /// An audit that begins where the part begins, and the head at its end: both are shown to be of the tree that was
    /// signed. Otherwise the tiles that do not lead to it.
    async fn edges(&self, heads: &[Head]) -> Result<Result<(Audit, Head), Vec<TileId>>, Failure> {
        let size = self.head.size;
        let mut wanted = Vec::new();
        for edge in [self.part.start, self.part.end] {
            wanted.extend(tile::for_frontier(edge, size));
            wanted.extend(tile::for_consistency(edge, size));
        }
        let mut tiles = Tiles::of(size);
        for id in &wanted {
            if let Some(hashes) = self.log.tile(&self.tree, (id.level, id.n), size).await? {
                tiles.insert(*id, hashes);
            }
        }
        let edge = |at: u64| {
            let frontier = Frontier::at(&tiles, at)?;
            let head = Head { size: at, root: frontier.root() };
            let proof = consistency_proof(&tiles, at, size).ok()?;
            verify_consistency(&head, &self.head, &proof).ok()?;
            Some((frontier, head))
        };
        let (Some((before, _)), Some((_, end))) = (edge(self.part.start), edge(self.part.end)) else {
            wanted.sort();
            wanted.dedup();
            return Ok(Err(wanted));
        };
        let heads: Vec<Head> = heads.iter().copied().chain([end]).collect();
        Ok(Ok((Audit::part(before, &heads), end)))
    }

    /// The orders to erase that an archive brings from later parts of the log, each with its proof.
    async fn orders(&self) -> Result<Vec<Receipt>, Failure> {
        let Log::Files(files @ Files::Parts(_), _) = self.log else { return Ok(Vec::new()) };
        let mut orders = Vec::new();
        for name in files.beginning("orders/") {
            let bytes = files.read(&name).await?.unwrap_or_default();
            let receipt = Receipt::parse(&bytes).ok().filter(|receipt| self.verifier.check(receipt).is_ok());
            orders.extend(receipt);
        }
        orders.sort_by_key(|receipt| receipt.leaf.index());
        Ok(orders)
    }

    /// Reads the part into an audit that stands at its beginning.
    pub async fn read(&self, audit: &mut Audit) -> Result<Option<Vec<TileId>>, Failure> {
        let base = self.tree.shard.first;
        let mut tiles = TileCheck::of(self.log, &self.tree, self.head.size, &self.part);
        let mut ahead: VecDeque<JoinHandle<Read>> = VecDeque::new();
        let (mut from, mut taken) = (self.part.start, self.part.start);
        loop {
            while from < self.part.end && ahead.len() < AHEAD {
                let to = from.saturating_add(self.log.page()).min(self.part.end);
                let (first, end) = (base.saturating_add(from), base.saturating_add(to));
                let leaves = self.log.stored(first, end).await?;
                let page = Page { leaves, bodies: self.bodies(first, end).await? };
                let gone = page.leaves.is_empty();
                let withheld = if gone { self.log.withheld(first, end).await? } else { Vec::new() };
                ahead.push_back(spawn_blocking(move || {
                    if gone { Read::Withheld(withheld) } else { Read::Entries(page.examined()) }
                }));
                from = to;
            }
            let Some(next) = ahead.pop_front() else { break };
            let read = next.await.map_err(|error| Failure::Runtime(std::io::Error::other(error)))?;
            // Where a leaf is missing, the tiles after it cannot be made.
            match read {
                Read::Entries(entries) => {
                    for entry in entries {
                        let (index, hash) = (entry.index(), entry.hash());
                        // A primary key and `ORDER BY` leave no other order.
                        audit.take(entry).map_err(|_| ReadError::Damaged("index"))?;
                        if index == base.saturating_add(taken) {
                            tiles.leaf(hash).await?;
                            taken += 1;
                        }
                    }
                }
                Read::Withheld(hashes) => {
                    for hash in hashes {
                        if base.saturating_add(taken) == audit.next() {
                            tiles.leaf(hash).await?;
                            taken += 1;
                        }
                        audit.withheld(hash);
                    }
                }
            }
            self.bar.set_position(base.saturating_add(taken - self.part.start));
        }
        if taken == self.part.end { Ok(Some(tiles.finish().await?)) } else { Ok(None) }
    }

    /// The bodies of a page. A row that cannot be one is taken as absent, which the audit then reports for its entry.
    async fn bodies(&self, from: u64, to: u64) -> Result<Vec<(u64, Bodies)>, Failure> {
        let reader = match (self.log.bodies(from, to).await, self.log) {
            (Err(Failure::Read(ReadError::Damaged(_))), Log::Database(reader)) => reader,
            (other, _) => return other,
        };
        let mut found = Vec::new();
        for index in from..to {
            match reader.bodies_between(index, index.saturating_add(1)).await {
                Ok(mut bodies) => found.append(&mut bodies),
                Err(ReadError::Damaged(_)) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(found)
    }

    /// The tree over the leaf hashes, where the entries themselves cannot be read.
    pub async fn hashes(&self, heads: &[Head]) -> Result<Found, Failure> {
        let size = self.head.size;
        let mut tiles = TileCheck::of(self.log, &self.tree, size, &self.part);
        let mut frontier = Frontier::new();
        let mut verdicts: Vec<_> = heads.iter().map(|head| (*head, HeadVerdict::Beyond)).collect();
        for n in 0..size.div_ceil(WIDTH) {
            for hash in self.log.tile(&self.tree, (0, n), size).await?.unwrap_or_default() {
                frontier.push(hash);
                tiles.leaf(hash).await?;
                for (head, verdict) in verdicts.iter_mut().filter(|(head, _)| head.size == frontier.size()) {
                    let root = frontier.root();
                    *verdict = if head.root == root { HeadVerdict::Ok } else { HeadVerdict::Differs(root) };
                }
            }
            self.bar.set_position(frontier.size());
        }
        let mut report = Audit::against(&[]).finish();
        report.size = frontier.size();
        report.root = (frontier.size() == size).then(|| frontier.root());
        report.heads = verdicts;
        let tiles = if frontier.size() == size { Some(tiles.finish().await?) } else { None };
        Ok((report, tiles))
    }
}

//! `varco log verify`: the log re-derived from its stored bytes and held against everything that was signed about it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use varco_core::log::audit::{Audit, HeadVerdict, Report, Stored};
use varco_core::log::checkpoint::CheckpointFault;
use varco_core::log::proof::{LogVerifier, ProofFault, Receipt};
use varco_core::log::tile::TileId;
use varco_core::log::tree::{Frontier, Head, leaf_hash};
use varco_store::anchor::Anchor;
use varco_store::read::{Bodies, LogHead, ReadError};

use super::source::{Place, Source as Log};
use super::tiles::TileCheck;
use super::{Answer, Failure, Lang, Trust, read_file, wait, words};

mod report;

/// Entries read at once: as many as a tile has, some hundred KiB with their bodies.
const PAGE: u64 = 256;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("signed").required(true).multiple(true).args(["anchor", "checkpoint", "receipt", "url", "export"])))]
pub struct Args {
    #[command(flatten)]
    pub place: Place,
    /// The gateway's anchor file, with the last checkpoint it has signed.
    #[arg(long, value_name = "FILE")]
    pub anchor: Option<PathBuf>,
    /// A checkpoint somebody kept, such as `GET /log/checkpoint` gave it.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// A receipt somebody kept: its entry and its checkpoint must be those of this log.
    #[arg(long, value_name = "FILE")]
    pub receipt: Vec<PathBuf>,
    #[command(flatten)]
    pub trust: Trust,
    #[command(flatten)]
    pub answer: Answer,
}

/// Something that was signed about the log, and what it is worth.
struct Claim {
    source: Source,
    path: PathBuf,
    worth: Worth,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Anchor,
    Checkpoint,
    Receipt,
}

enum Worth {
    /// The anchor of a gateway that has signed nothing yet.
    Empty,
    /// Correctly signed; whether the entries bear it out is for the audit to say.
    Head(Head),
    NotAReceipt(ProofFault),
    NotSigned(CheckpointFault),
}

/// All that was found.
struct Outcome {
    origin: String,
    head: LogHead,
    claims: Vec<Claim>,
    report: Report,
    /// Tiles that are not what the leaves make them; `None` when leaves are missing and nothing can be said.
    tiles: Option<Vec<TileId>>,
    reach: Reach,
}

/// How far the check could go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Entries,
    /// Entries are for auditors; whoever has none of them can still check the tree over their hashes.
    Hashes,
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let outcome = wait(outcome(args))?;
    if args.answer.json {
        println!("{}", report::json(&outcome));
    } else {
        print!("{}", report::text(&outcome, args.answer.lang));
    }
    Ok(if outcome.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(super::super::NO) })
}

async fn outcome(args: &Args) -> Result<Outcome, Failure> {
    let verifier = args.trust.verifier()?;
    // Before the database is read: whatever was signed by now must be there.
    let claims = claims(args, &verifier)?;
    let log = args.place.open(args.anchor.as_deref()).await?;
    let outcome = verify(&log, &verifier, claims, args.answer.lang).await;
    if let Log::Database(reader) = &log {
        reader.close().await;
    }
    outcome
}

fn claims(args: &Args, verifier: &LogVerifier) -> Result<Vec<Claim>, Failure> {
    let mut claims = Vec::new();
    if let Some(path) = &args.anchor {
        let note = Anchor::peek(path).map_err(|fault| Failure::Anchor(path.clone(), fault))?;
        let worth = note.map_or(Worth::Empty, |note| signed(verifier, note.as_bytes()));
        claims.push(Claim { source: Source::Anchor, path: path.clone(), worth });
    }
    for path in &args.checkpoint {
        let worth = signed(verifier, &read_file(path)?);
        claims.push(Claim { source: Source::Checkpoint, path: path.clone(), worth });
    }
    for path in &args.receipt {
        claims.push(Claim { source: Source::Receipt, path: path.clone(), worth: received(verifier, path)? });
    }
    Ok(claims)
}

fn signed(verifier: &LogVerifier, note: &[u8]) -> Worth {
    match verifier.open(note) {
        Ok(checkpoint) => Worth::Head(checkpoint.head()),
        Err(fault) => Worth::NotSigned(fault),
    }
}

fn received(verifier: &LogVerifier, path: &Path) -> Result<Worth, Failure> {
    let receipt = match Receipt::parse(&read_file(path)?) {
        Ok(receipt) => receipt,
        Err(fault) => return Ok(Worth::NotAReceipt(fault)),
    };
    Ok(match verifier.check(&receipt) {
        Ok(()) => signed(verifier, receipt.proof.checkpoint.as_bytes()),
        Err(fault) => Worth::NotAReceipt(fault),
    })
}

async fn verify(
    log: &Log,
    verifier: &LogVerifier,
    mut claims: Vec<Claim>,
    lang: Lang,
) -> Result<Outcome, Failure> {
    let head = match log {
        Log::Database(reader) => reader.log().await?.ok_or(Failure::NoLog)?,
        Log::Files(files) => {
            let path = PathBuf::from("checkpoint");
            let opened = verifier.open(&files.checkpoint().await?);
            let checkpoint = opened.map_err(|fault| Failure::Checkpoint(path.clone(), fault))?;
            let worth = Worth::Head(checkpoint.head());
            claims.push(Claim { source: Source::Checkpoint, path, worth });
            LogHead { origin: checkpoint.origin, size: checkpoint.size, root: checkpoint.root }
        }
    };
    let mut heads = vec![Head { size: head.size, root: head.root }];
    heads.extend(claims.iter().filter_map(Claim::head));
    let bar = progress(head.size, lang);
    let reach = if log.has_entries(head.size).await? { Reach::Entries } else { Reach::Hashes };
    let audited = match reach {
        Reach::Entries => audit(log, head.size, Audit::against(&heads), &bar).await,
        Reach::Hashes => audit_hashes(log, head.size, &heads, &bar).await,
    };
    bar.finish_and_clear();
    let (report, tiles) = audited?;
    Ok(Outcome { origin: verifier.origin().to_owned(), head, claims, report, tiles, reach })
}

/// The tree over the leaf hashes, where the entries themselves cannot be read.
async fn audit_hashes(
    log: &Log,
    size: u64,
    heads: &[Head],
    bar: &ProgressBar,
) -> Result<(Report, Option<Vec<TileId>>), Failure> {
    let mut tiles = TileCheck::of(log, size);
    let mut frontier = Frontier::new();
    let mut verdicts: Vec<_> = heads.iter().map(|head| (*head, HeadVerdict::Beyond)).collect();
    for n in 0..size.div_ceil(PAGE) {
        for hash in log.tile(0, n, size).await?.unwrap_or_default() {
            frontier.push(hash);
            tiles.leaf(hash).await?;
            for (head, verdict) in verdicts.iter_mut().filter(|(head, _)| head.size == frontier.size()) {
                let root = frontier.root();
                *verdict = if head.root == root { HeadVerdict::Ok } else { HeadVerdict::Differs(root) };
            }
        }
        bar.set_position(frontier.size());
    }
    let mut report = Audit::against(&[]).finish();
    report.size = frontier.size();
    report.root = (frontier.size() == size).then(|| frontier.root());
    report.heads = verdicts;
    let tiles = if frontier.size() == size { Some(tiles.finish().await?) } else { None };
    Ok((report, tiles))
}

/// Drawn on a terminal only; piped output stays quiet.
fn progress(size: u64, lang: Lang) -> ProgressBar {
    let bar = ProgressBar::new(size);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {human_pos}/{human_len} {per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_message(lang.of("verifica", "checking"));
    bar
}

async fn audit(
    log: &Log,
    size: u64,
    mut audit: Audit,
    bar: &ProgressBar,
) -> Result<(Report, Option<Vec<TileId>>), Failure> {
    let mut tiles = TileCheck::of(log, size);
    let mut taken = 0;
    for from in (0..size).step_by(usize::try_from(PAGE).unwrap_or(1)) {
        let to = from.saturating_add(PAGE).min(size);
        let mut bodies = bodies(log, from, to).await?.into_iter().peekable();
        let page = log.stored(from, to).await?;
        // A whole page without entries may have been pruned; its hashes still are there.
        let withheld = if page.is_empty() { log.withheld(from, to).await? } else { Vec::new() };
        for stored in page {
            while bodies.next_if(|(index, _)| *index < stored.index).is_some() {}
            let found = bodies.next_if(|(index, _)| *index == stored.index).map(|(_, bodies)| bodies);
            let found = found.unwrap_or_default();
            let entry = Stored {
                index: stored.index,
                leaf: &stored.leaf,
                leaf_hash: Some(stored.leaf_hash),
                slots: &found.slots,
                sealed: &found.sealed,
                damaged: &found.damaged,
            };
            // A primary key and `ORDER BY` leave no other order.
            audit.entry(entry).map_err(|_| ReadError::Damaged("index"))?;
            // Where a leaf is missing, the tiles after it cannot be made.
            if stored.index == taken {
                tiles.leaf(leaf_hash(&stored.leaf)).await?;
                taken += 1;
            }
        }
        for hash in withheld {
            if taken == audit.next() {
                tiles.leaf(hash).await?;
                taken += 1;
            }
            audit.withheld(hash);
        }
        bar.set_position(to);
    }
    let tiles = if taken == size { Some(tiles.finish().await?) } else { None };
    Ok((audit.finish(), tiles))
}

/// The bodies of a page. A row that cannot be one is taken as absent, which the audit then reports for its entry.
async fn bodies(log: &Log, from: u64, to: u64) -> Result<Vec<(u64, Bodies)>, Failure> {
    let reader = match (log.bodies(from, to).await, log) {
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

impl Claim {
    fn head(&self) -> Option<Head> {
        match &self.worth {
            Worth::Head(head) => Some(*head),
            Worth::Empty | Worth::NotAReceipt(_) | Worth::NotSigned(_) => None,
        }
    }
}

impl Outcome {
    /// What the entries say of a head.
    fn verdict(&self, head: &Head) -> HeadVerdict {
        let found = self.report.heads.iter().find(|(other, _)| other == head);
        found.map_or(HeadVerdict::Unknown, |(_, verdict)| *verdict)
    }

    /// How many entries a signature covers.
    fn covered(&self) -> Option<u64> {
        let holding =
            self.claims.iter().filter_map(Claim::head).filter(|head| self.verdict(head) == HeadVerdict::Ok);
        holding.map(|head| head.size).max()
    }

    fn is_sound(&self) -> bool {
        let claims_hold = self.claims.iter().all(|claim| claim.head().is_some());
        self.report.is_sound()
            && claims_hold
            && self.covered().is_some()
            && self.origin == self.head.origin
            && self.tiles.as_ref().is_some_and(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests;

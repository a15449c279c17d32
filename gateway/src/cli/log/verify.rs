//! `varco log verify`: the log re-derived from its stored bytes and held against everything that was signed about it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use varco_core::hash::Sha256;
use varco_core::log::audit::{Audit, HeadVerdict, Report};
use varco_core::log::checkpoint::{Checkpoint, CheckpointFault};
use varco_core::log::proof::{LogVerifier, ProofFault, Receipt};
use varco_core::log::shard::are_kin;
use varco_core::log::stamp;
use varco_core::log::tile::TileId;
use varco_core::log::tree::Head;
use varco_store::anchor::Anchor;
use varco_store::trees::LogHead;

use super::source::{Files, Place, Source as Log};
use super::trees::{self, Tree};
use super::{Answer, Failure, Language, Trust, read_file, wait, words};

mod audited;
mod officer;
mod report;

use audited::Work;

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
    /// An officer's public key, PEM: an export must be signed with it, file by file.
    #[arg(long, value_name = "FILE", requires = "export")]
    pub officer_key: Option<PathBuf>,
    /// Sealed bodies whose key is not here may stay unread. Without it, a log whose bodies were not read is not whole.
    #[arg(long)]
    pub hashes_only: bool,
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
    /// Correctly signed of a shard; whether the entries bear it out is for the audit to say.
    Head(Checkpoint),
    NotAReceipt(ProofFault),
    NotSigned(CheckpointFault),
}

/// All that was found.
struct Outcome {
    origin: String,
    head: LogHead,
    /// The shards that were checked, the oldest first.
    shards: Vec<Tree>,
    claims: Vec<Claim>,
    /// Which entries were checked.
    part: Range<u64>,
    report: Report,
    /// Tiles that are not what the leaves make them; `None` when leaves are missing and nothing can be said.
    tiles: Option<Vec<TileId>>,
    reach: Reach,
    /// Whether the officer's signature over the export holds; `None` when nobody asked.
    officer: Option<bool>,
    /// Whether bodies may stay unread.
    hashes_only: bool,
    stamps: Stamps,
}

/// Time stamps beside the log: whether each is over a checkpoint of this log. That its authority signed it is not for
/// us to say: `openssl ts -verify` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamps {
    fitting: usize,
    wrong: usize,
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
    Ok(if outcome.passes() { ExitCode::SUCCESS } else { ExitCode::from(super::super::NO) })
}

async fn outcome(args: &Args) -> Result<Outcome, Failure> {
    let verifier = args.trust.verifier()?;
    // Before the database is read: whatever was signed by now must be there.
    let claims = claims(args, &verifier)?;
    let log = args.place.open(args.anchor.as_deref()).await?;
    let mut outcome = verify(&log, &verifier, claims, args.answer.lang).await;
    if let Ok(found) = &mut outcome {
        found.hashes_only = args.hashes_only;
        found.stamps = stamps(&log, &verifier).await?;
    }
    if let (Some(key), Ok(found)) = (&args.officer_key, &mut outcome) {
        found.officer = officer::signed(&log, key).await?;
    }
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
        Ok(checkpoint) => Worth::Head(checkpoint),
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
    lang: Language,
) -> Result<Outcome, Failure> {
    let mut shards = log.trees().await?;
    for tree in &mut shards {
        let Log::Files(files, _) = log else { continue };
        let path = PathBuf::from(format!("{}checkpoint", tree.prefix));
        let opened = verifier.open(&files.checkpoint(tree).await?);
        let checkpoint = opened.map_err(|fault| Failure::Checkpoint(path.clone(), fault))?;
        if tree.shard.origin.is_empty() {
            tree.shard.origin.clone_from(&checkpoint.origin);
        }
        tree.head = Some(checkpoint.head());
        claims.push(Claim { source: Source::Checkpoint, path, worth: Worth::Head(checkpoint) });
    }
    let newest = shards.last().ok_or(Failure::NoLog)?;
    let (first, own) = (newest.shard.first, newest.head.ok_or(Failure::NoLog)?);
    let size = first.saturating_add(own.size);
    let head = LogHead { origin: newest.shard.origin.clone(), size, root: own.root, first };
    let work = Shards { log, verifier, claims: &claims };
    let (found, reach, part) = match shards.as_slice() {
        [only] => work.part(only.clone(), own, lang).await?,
        several => work.whole(several, lang).await?,
    };
    let (report, tiles) = found;
    let origin = verifier.origin().to_owned();
    let (hashes_only, stamps) = (false, Stamps::default());
    Ok(Outcome {
        origin,
        head,
        shards,
        claims,
        part,
        report,
        tiles,
        reach,
        officer: None,
        hashes_only,
        stamps,
    })
}

/// What is checked, and what was signed about it.
struct Shards<'a> {
    log: &'a Log,
    verifier: &'a LogVerifier,
    claims: &'a [Claim],
}

type Checked = (audited::Found, Reach, Range<u64>);

impl Shards<'_> {
    /// The heads of a shard: what storage says of itself, and what was signed.
    fn heads(&self, tree: &Tree) -> Vec<Head> {
        let signed = self.claims.iter().filter_map(Claim::checkpoint);
        let signed = signed.filter(|checkpoint| checkpoint.origin == tree.shard.origin);
        tree.head.into_iter().chain(signed.map(Checkpoint::head)).collect()
    }

    /// Of a log with one shard all that is here, which may be a part of it.
    async fn part(&self, tree: Tree, head: Head, lang: Language) -> Result<Checked, Failure> {
        let (heads, part, first) = (self.heads(&tree), self.log.part(head.size), tree.shard.first);
        let bar = progress(part.end - part.start, lang);
        let has_entries = self.log.has_entries(&tree, head.size).await?;
        let work = Work { log: self.log, verifier: self.verifier, tree, head, part: part.clone(), bar };
        let (found, reach) = if has_entries {
            (work.entries(&heads).await, Reach::Entries)
        } else {
            (work.hashes(&heads).await, Reach::Hashes)
        };
        work.bar.finish_and_clear();
        Ok((found?, reach, first.saturating_add(part.start)..first.saturating_add(part.end)))
    }

    /// Every shard from its first entry to its last, as one history.
    async fn whole(&self, shards: &[Tree], lang: Language) -> Result<Checked, Failure> {
        let end = |tree: &Tree| tree.shard.first.saturating_add(tree.head.map_or(0, |head| head.size));
        let size = shards.last().map(end).unwrap_or_default();
        let bar = progress(size, lang);
        let mut audit = Audit::against(&shards.first().map(|tree| self.heads(tree)).unwrap_or_default());
        let (mut reach, mut wrong, mut hashed) = (Reach::Entries, Some(Vec::new()), Vec::new());
        let mut before: Option<&Tree> = None;
        for tree in shards {
            let Some(head) = tree.head else { continue };
            if let Some(before) = before {
                audit.turn(&before.shard.origin, &tree.shard.origin, &self.heads(tree));
            }
            before = Some(tree);
            let has_entries = self.log.has_entries(tree, head.size).await?;
            let (part, tree) = (0..head.size, tree.clone());
            let work = Work { log: self.log, verifier: self.verifier, tree, head, part, bar: bar.clone() };
            let tiles = if has_entries {
                work.read(&mut audit).await?
            } else {
                reach = Reach::Hashes;
                let (report, tiles) = work.hashes(&self.heads(&work.tree)).await?;
                hashed.push(report);
                tiles
            };
            wrong = wrong.zip(tiles).map(|(wrong, tiles)| [wrong, tiles].concat());
        }
        bar.finish_and_clear();
        let mut report = match reach {
            Reach::Entries => audit.finish(),
            Reach::Hashes => hashes(hashed, size),
        };
        // Where the seams are proved beside the entries, too, both must hold.
        if let Log::Files(Files::Remote { .. }, _) = self.log {
            report.broken_links.extend(trees::broken(self.verifier, shards));
        }
        Ok(((report, wrong), reach, 0..size))
    }
}

/// Reads the time stamps there are: the checkpoint of each must be one of this log, and the stamp one of its text.
async fn stamps(log: &Log, verifier: &LogVerifier) -> Result<Stamps, Failure> {
    let (mut found, mut before) = (Stamps::default(), u64::MAX);
    loop {
        let page = log.stamps(before).await?;
        let smallest = page.iter().map(|stamp| stamp.size).min().filter(|size| *size < before);
        let Some(smallest) = smallest else { return Ok(found) };
        before = smallest;
        for stamped in page {
            let text = stamped.checkpoint.split_once("\n\n").map_or("", |(text, _)| text).to_owned() + "\n";
            let imprint = Sha256::of(text.as_bytes());
            let fits = verifier.open(stamped.checkpoint.as_bytes()).is_ok()
                && stamp::check(&stamped.response, &imprint, None).is_ok();
            if fits { found.fitting += 1 } else { found.wrong += 1 }
        }
    }
}

/// The reports over the hashes of every shard as one.
fn hashes(reports: Vec<Report>, size: u64) -> Report {
    let mut all = Audit::against(&[]).finish();
    let whole = reports.iter().all(|report| report.root.is_some());
    all.size = size;
    all.root = reports.last().and_then(|report| report.root).filter(|_| whole);
    all.heads = reports.into_iter().flat_map(|report| report.heads).collect();
    all
}

/// Drawn on a terminal only; piped output stays quiet.
fn progress(entries: u64, lang: Language) -> ProgressBar {
    let bar = ProgressBar::new(entries);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {human_pos}/{human_len} {per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_message(lang.choose("verifica", "checking"));
    bar
}

impl Claim {
    fn head(&self) -> Option<Head> {
        self.checkpoint().map(Checkpoint::head)
    }

    const fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.worth {
            Worth::Head(checkpoint) => Some(checkpoint),
            Worth::Empty | Worth::NotAReceipt(_) | Worth::NotSigned(_) => None,
        }
    }
}

impl Outcome {
    /// What the entries say of a checkpoint.
    fn worth(&self, checkpoint: &Checkpoint) -> HeadVerdict {
        let known = self.shards.iter().any(|tree| tree.shard.origin == checkpoint.origin);
        if known { self.verdict(&checkpoint.head()) } else { HeadVerdict::Unknown }
    }

    /// What the entries say of a head.
    fn verdict(&self, head: &Head) -> HeadVerdict {
        let found = self.report.heads.iter().find(|(other, _)| other == head);
        found.map_or(HeadVerdict::Unknown, |(_, verdict)| *verdict)
    }

    /// How many entries a signature covers.
    fn covered(&self) -> Option<u64> {
        let holding = self.claims.iter().filter_map(Claim::checkpoint);
        let holding = holding.filter(|checkpoint| self.worth(checkpoint) == HeadVerdict::Ok);
        let end = |checkpoint: &Checkpoint| {
            let tree = self.shards.iter().find(|tree| tree.shard.origin == checkpoint.origin)?;
            Some(tree.shard.first.saturating_add(checkpoint.size))
        };
        holding.filter_map(end).max()
    }

    /// What the exit status says: the log is whole, and nothing that should have been read was left unread.
    fn passes(&self) -> bool {
        self.is_sound() && (self.report.unread == 0 || self.hashes_only)
    }

    fn is_sound(&self) -> bool {
        let claims_hold = self.claims.iter().all(|claim| {
            claim.checkpoint().is_some_and(|checkpoint| self.worth(checkpoint) == HeadVerdict::Ok)
        });
        self.report.is_sound()
            && claims_hold
            && self.stamps.wrong == 0
            && self.officer != Some(false)
            && self.covered().is_some()
            && are_kin(&self.origin, &self.head.origin)
            && self.tiles.as_ref().is_some_and(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests;

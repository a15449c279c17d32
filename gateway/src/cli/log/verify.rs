//! `varco log verify`: the log re-derived from its stored bytes and held against everything that was signed about it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use varco_core::log::audit::{HeadVerdict, Report};
use varco_core::log::checkpoint::CheckpointFault;
use varco_core::log::proof::{LogVerifier, ProofFault, Receipt};
use varco_core::log::tile::TileId;
use varco_core::log::tree::Head;
use varco_store::anchor::Anchor;
use varco_store::read::LogHead;

use super::source::{Place, Source as Log};
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
    /// Which entries were checked.
    part: Range<u64>,
    report: Report,
    /// Tiles that are not what the leaves make them; `None` when leaves are missing and nothing can be said.
    tiles: Option<Vec<TileId>>,
    reach: Reach,
    /// Whether the officer's signature over the export holds; `None` when nobody asked.
    officer: Option<bool>,
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
    let mut outcome = verify(&log, &verifier, claims, args.answer.lang).await;
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
    lang: Language,
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
    let part = log.part(head.size);
    let bar = progress(part.end - part.start, lang);
    let reach = if log.has_entries(head.size).await? { Reach::Entries } else { Reach::Hashes };
    let work = Work { log, verifier, head: Head { size: head.size, root: head.root }, part, bar };
    let audited = match reach {
        Reach::Entries => work.entries(&heads).await,
        Reach::Hashes => work.hashes(&heads).await,
    };
    work.bar.finish_and_clear();
    let (report, tiles) = audited?;
    let part = work.part;
    Ok(Outcome {
        origin: verifier.origin().to_owned(),
        head,
        claims,
        part,
        report,
        tiles,
        reach,
        officer: None,
    })
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
            && self.officer != Some(false)
            && self.covered().is_some()
            && self.origin == self.head.origin
            && self.tiles.as_ref().is_some_and(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests;

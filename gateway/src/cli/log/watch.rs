//! `varco log watch`: somebody who remembers. Each new checkpoint must continue the last one seen; one that does not is
//! kept together with it, because two such signatures are the proof of a fork.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use varco_core::log::checkpoint::{Checkpoint, CheckpointFault};
use varco_core::log::note::{Note, NoteVerifier};
use varco_core::log::proof::LogVerifier;
use varco_core::log::quorum::Policy;
use varco_core::log::tile::{Tiles, for_consistency};
use varco_core::log::tree::{PathFault, consistency_proof, verify_consistency};
use varco_jose::CosignatureVerifier;

use super::source::{Channel, Files};
use super::trees::{self, Tree};
use super::{Failure, Language, Trust, read_file, wait, words};

#[derive(clap::Args)]
pub struct Args {
    /// The address of the log: `https://<host>/log`.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    channel: Channel,
    /// The file that remembers the last checkpoint seen. It is made at the first run.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// A policy file (c2sp.org/tlog-policy): only checkpoints with its quorum of cosignatures are believed.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Look again every so many seconds, until something is wrong. Without it: look once.
    #[arg(long, value_name = "SECONDS")]
    every: Option<u64>,
    /// The language of the text.
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
    #[command(flatten)]
    trust: Trust,
}

/// What a look has shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    First(u64),
    /// It does not continue what was seen before; both notes are in this file.
    Forked {
        before: u64,
        now: u64,
        evidence: PathBuf,
    },
    Grown {
        before: u64,
        now: u64,
    },
    /// Smaller than what was seen before: an old state is shown, or entries were dropped.
    Shrunk {
        before: u64,
        now: u64,
    },
    /// Not enough witnesses have cosigned it.
    NoQuorum(u64),
    NotSigned(CheckpointFault),
    Unchanged(u64),
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    wait(async {
        loop {
            let seen = look(args).await?;
            println!("{}", told(&seen, args.lang));
            let good = matches!(seen, Seen::First(_) | Seen::Grown { .. } | Seen::Unchanged(_));
            match args.every {
                _ if !good => return Ok(ExitCode::from(super::super::NO)),
                None => return Ok(ExitCode::SUCCESS),
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            }
        }
    })
}

async fn look(args: &Args) -> Result<Seen, Failure> {
    let verifier = args.trust.verifier()?;
    let files = Files::at(&args.url, &args.channel)?;
    let trees = files.trees().await?;
    let newest = trees.last().ok_or(Failure::NoLog)?;
    let note = files.checkpoint(newest).await?;
    let now = match verifier.open(&note) {
        Ok(now) => now,
        Err(fault) => return Ok(Seen::NotSigned(fault)),
    };
    if let Some(policy) = &args.policy
        && !has_quorum(&note, policy)?
    {
        return Ok(Seen::NoQuorum(now.size));
    }
    let end = newest.shard.first.saturating_add(now.size);
    let Some((kept, before)) = remembered(&args.state, &verifier)? else {
        keep(&args.state, &note)?;
        return Ok(Seen::First(end));
    };
    // A gateway that does not tell its shards has one.
    let known = trees.iter().position(|tree| tree.shard.origin == before.origin || tree.note.is_none());
    let Some(since) = known.and_then(|at| trees.get(at..)) else {
        return Ok(Seen::Shrunk { before: before.size, now: end });
    };
    let first = since.first().map_or(0, |tree| tree.shard.first);
    let seen = first.saturating_add(before.size);
    if end < seen {
        return Ok(Seen::Shrunk { before: seen, now: end });
    }
    if !goes_on(&files, &verifier, since, (&before, &now)).await? {
        let evidence = args.state.with_extension("fork");
        keep(&evidence, &[kept.as_slice(), b"\n", &note].concat())?;
        return Ok(Seen::Forked { before: seen, now: end, evidence });
    }
    if now == before {
        return Ok(Seen::Unchanged(end));
    }
    keep(&args.state, &note)?;
    Ok(Seen::Grown { before: seen, now: end })
}

/// Whether what is shown now goes on from what was seen before, over every seam between: each shard from what is known of
/// it to its end, and the proofs that the next one begins there.
async fn goes_on(
    files: &Files,
    verifier: &LogVerifier,
    since: &[Tree],
    (before, now): (&Checkpoint, &Checkpoint),
) -> Result<bool, Failure> {
    let mut seen = before.clone();
    for (tree, next) in since.iter().zip(since.iter().skip(1)) {
        // How it ended, and how the next one stood when the proof of its beginning was made.
        let (Some(last), Some(begun)) = (noted(verifier, tree), noted(verifier, next)) else {
            return Ok(false);
        };
        let pair = [tree.clone(), next.clone()];
        if !continues(files, tree, &seen, &last).await? || !trees::broken(verifier, &pair).is_empty() {
            return Ok(false);
        }
        seen = begun;
    }
    let Some(newest) = since.last() else { return Ok(false) };
    // The list may have been made a moment before the checkpoint, or a moment after.
    let is_older = since.len() == 1 || seen.size <= now.size;
    let (one, other) = if is_older { (&seen, now) } else { (now, &seen) };
    continues(files, newest, one, other).await
}

fn noted(verifier: &LogVerifier, tree: &Tree) -> Option<Checkpoint> {
    verifier.open(tree.note.as_ref()?.as_bytes()).ok()
}

/// Whether enough witnesses of the policy have cosigned the note.
fn has_quorum(note: &[u8], path: &Path) -> Result<bool, Failure> {
    let text = String::from_utf8_lossy(&read_file(path)?).into_owned();
    let policy =
        Policy::parse(&text).map_err(|fault| Failure::Usage(format!("{}: {fault}", path.display())))?;
    let mut keys = Vec::new();
    for witness in &policy.witnesses {
        let key = CosignatureVerifier::new(witness.key.clone());
        keys.push(key.map_err(|_| Failure::KeyKind(witness.name.clone()))?);
    }
    let keys: Vec<&dyn NoteVerifier> = keys.iter().map(|key| key as &dyn NoteVerifier).collect();
    let signed = Note::parse(note).and_then(|note| note.verify(&keys)).unwrap_or_default();
    Ok(policy.is_met(&signed.into_iter().collect()))
}

/// The checkpoint of the last look. A memory that is not signed by the log is no memory, and says so.
fn remembered(path: &Path, verifier: &LogVerifier) -> Result<Option<(Vec<u8>, Checkpoint)>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let note = read_file(path)?;
    let checkpoint = verifier.open(&note).map_err(|fault| Failure::Checkpoint(path.to_owned(), fault))?;
    Ok(Some((note, checkpoint)))
}

async fn continues(
    files: &Files,
    tree: &Tree,
    before: &Checkpoint,
    now: &Checkpoint,
) -> Result<bool, Failure> {
    if before.origin != now.origin || before.size > now.size {
        return Ok(false);
    }
    let mut tiles = Tiles::of(now.size);
    for tile in for_consistency(before.size, now.size) {
        if let Some(hashes) = files.tile(&tree.prefix, tile).await? {
            tiles.insert(tile, hashes);
        }
    }
    // A log that withholds the tiles proves nothing either.
    let Ok(proof) = consistency_proof(&tiles, before.size, now.size) else { return Ok(false) };
    let verified: Result<(), PathFault> = verify_consistency(&before.head(), &now.head(), &proof);
    Ok(verified.is_ok())
}

/// Written beside, made durable, then put in its place: a crash leaves the old memory or the new one.
fn keep(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    let fault = |error| Failure::File(path.to_owned(), error);
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside).map_err(fault)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fault)?;
    std::fs::rename(&beside, path).map_err(fault)
}

fn told(seen: &Seen, lang: Language) -> String {
    let n = |size: &u64| words::number(lang, *size);
    match seen {
        Seen::First(size) => {
            format!(
                "{} {}",
                lang.choose("primo punto di controllo, voci:", "first checkpoint, entries:"),
                n(size)
            )
        }
        Seen::Forked { before, now, evidence } => format!(
            "{}: {} → {}; {} {}",
            lang.choose("BIFORCAZIONE: il registro è stato riscritto", "FORK: the log was rewritten"),
            n(before),
            n(now),
            lang.choose("la prova è in", "the evidence is in"),
            evidence.display()
        ),
        Seen::Grown { before, now } => format!(
            "{}: {} → {}",
            lang.choose("il registro continua quello già visto", "the log continues what was seen"),
            n(before),
            n(now)
        ),
        Seen::Shrunk { before, now } => format!(
            "{}: {} → {}",
            lang.choose(
                "IL REGISTRO È PIÙ CORTO di quello già visto",
                "THE LOG IS SHORTER than what was seen"
            ),
            n(before),
            n(now)
        ),
        Seen::NoQuorum(size) => format!(
            "{} ({} {})",
            lang.choose("mancano le controfirme dei testimoni", "the witnesses' cosignatures are missing"),
            n(size),
            lang.choose("voci", "entries")
        ),
        Seen::NotSigned(fault) => words::checkpoint(lang, fault),
        Seen::Unchanged(size) => {
            format!("{} {}", lang.choose("nessuna novità, voci:", "nothing new, entries:"), n(size))
        }
    }
}

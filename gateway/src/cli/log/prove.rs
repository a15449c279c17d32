//! `varco log prove`: the receipt of one entry, made from the database and the last signed checkpoint.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use varco_core::id::ExchangeId;
use varco_core::log::checkpoint::{Checkpoint, CheckpointFault};
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_core::log::proof::{LogVerifier, Receipt};
use varco_store::anchor::Anchor;
use varco_store::read::{ReadError, Reader};
use varco_store::trees::Ending;

use super::{Failure, Trust, noted, read_file, wait};

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("signed").required(true).args(["anchor", "checkpoint"])))]
pub struct Args {
    /// The entry: its index, or the identifier of its exchange.
    #[arg(value_name = "INDEX|ID")]
    entry: Which,
    /// The database: `sqlite:<path>` or `postgres://...`. It is only read.
    #[arg(long, value_name = "URL")]
    database: String,
    /// The gateway's anchor file, with the last checkpoint it has signed.
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// A checkpoint somebody kept: the proof is made for the log as it was then.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Which entry of the exchange, where it has several.
    #[arg(long)]
    kind: Option<Kind>,
    /// Where to write the receipt, instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Clone)]
enum Which {
    Id(ExchangeId),
    Index(u64),
}

impl std::str::FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text.parse(), text.parse()) {
            (Ok(index), _) => Ok(Self::Index(index)),
            (Err(_), Ok(id)) => Ok(Self::Id(id)),
            (Err(_), Err(_)) => Err("expected the index of an entry or the identifier of an exchange"),
        }
    }
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let verifier = args.trust.verifier()?;
    let Some(receipt) = wait(receipt(args, &verifier))? else {
        eprintln!("varco log prove: no such entry among those that the checkpoint covers");
        return Ok(ExitCode::from(super::super::NO));
    };
    // A database that was tampered with gives a receipt that proves nothing: say so here, not at the other end.
    if let Err(fault) = verifier.check(&receipt) {
        eprintln!("varco log prove: {}", super::super::reasons(&fault));
        return Ok(ExitCode::from(super::super::NO));
    }
    match &args.out {
        Some(path) => {
            std::fs::write(path, receipt.to_text()).map_err(|error| Failure::File(path.clone(), error))?;
        }
        None => print!("{}", receipt.to_text()),
    }
    Ok(ExitCode::SUCCESS)
}

fn note(args: &Args) -> Result<(PathBuf, Arc<str>), Failure> {
    if let Some(path) = &args.anchor {
        let note = Anchor::peek(path).map_err(|fault| Failure::Anchor(path.clone(), fault))?;
        let note =
            note.ok_or_else(|| Failure::Usage("the anchor is empty: nothing was signed yet".to_owned()))?;
        return Ok((path.clone(), note));
    }
    let path = args.checkpoint.clone().unwrap_or_default();
    let text = String::from_utf8(read_file(&path)?);
    let text = text.map_err(|_| Failure::Checkpoint(path.clone(), CheckpointFault::Malformed))?;
    Ok((path, text.into()))
}

/// The receipt, not checked yet; `None` when the checkpoint covers no such entry.
pub async fn receipt(args: &Args, verifier: &LogVerifier) -> Result<Option<Receipt>, Failure> {
    let (path, note) = note(args)?;
    let checkpoint = verifier.open(note.as_bytes()).map_err(|fault| Failure::Checkpoint(path, fault))?;
    prove(args, note, &checkpoint).await
}

async fn prove(args: &Args, note: Arc<str>, checkpoint: &Checkpoint) -> Result<Option<Receipt>, Failure> {
    noted(&args.database).await;
    let reader = Reader::open(&args.database).await?;
    let leaf = match &args.entry {
        Which::Id(id) => by_id(&reader, id, args.kind).await?,
        Which::Index(index) => by_index(&reader, *index).await?,
    };
    let shards = reader.shards().await?;
    let own = shards.iter().find(|standing| standing.shard.origin == checkpoint.origin);
    let own = own.ok_or_else(|| Failure::Usage(format!("no shard is `{}`", checkpoint.origin)))?;
    let Some(leaf) = leaf.filter(|leaf| leaf.index() < own.shard.first.saturating_add(checkpoint.size))
    else {
        return Ok(None);
    };
    // An entry of a year before is proved under that year's final checkpoint, which the one given goes back to.
    let holding = shards.iter().rfind(|standing| standing.shard.first <= leaf.index());
    let (shard, size, note) = match holding.map(|standing| (standing, &standing.state)) {
        Some((standing, Ending::Closed(Some(last)))) if standing.shard != own.shard => {
            (&standing.shard, standing.head.size, Arc::clone(last))
        }
        Some(_) | None => (&own.shard, checkpoint.size, note),
    };
    let receipt = reader.of(shard).receipt(leaf, size, note).await?;
    reader.close().await;
    Ok(Some(receipt))
}

async fn by_index(reader: &Reader, index: u64) -> Result<Option<Leaf>, Failure> {
    let leaves = reader.leaves(index, index.saturating_add(1)).await?;
    let leaf = leaves.first().map(|bytes| Leaf::parse(bytes)).transpose();
    Ok(leaf.map_err(ReadError::Leaf)?)
}

async fn by_id(reader: &Reader, id: &ExchangeId, kind: Option<Kind>) -> Result<Option<Leaf>, Failure> {
    let mut leaves = reader.entries_of(id).await?;
    leaves.retain(|leaf| kind.is_none_or(|kind| leaf.kind() == kind));
    if leaves.len() > 1 {
        let kinds: Vec<_> = leaves.iter().map(|leaf| leaf.kind().text()).collect();
        return Err(Failure::Usage(format!(
            "the exchange has several entries; choose with --kind: {}",
            kinds.join(", ")
        )));
    }
    Ok(leaves.pop())
}

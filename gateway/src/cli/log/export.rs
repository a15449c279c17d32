//! `varco log export`: the log as files that anybody can check without us: checkpoint, tiles and entries in the layout
//! of c2sp.org/tlog-tiles, the bodies beside them, and a table for people. In one folder, or in archives of 65,536
//! entries, each of which can be checked alone. Or as records for other programs, one a line.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use varco_core::log::bodies;
use varco_core::log::entry::Slots;
use varco_core::log::leaf::Leaf;
use varco_core::log::proof::{LogVerifier, Proof, Receipt};
use varco_core::log::tile::{self, BundleId, TileId, Tiles, for_inclusion};
use varco_core::log::tree::inclusion_path;
use varco_jose::OfficerKey;
use varco_store::anchor::Anchor;
use varco_store::read::{Bodies, ReadError};

use super::source::{PART, Place, Source, Stamped};
use super::trees::Tree;
use super::{Failure, Trust, read_file, wait};

mod records;
pub mod sink;

use records::Format;
use sink::Sink;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("signed").required(true).multiple(true).args(["anchor", "checkpoint", "url", "export"])))]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The gateway's anchor file: what is exported ends with its checkpoint.
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// A checkpoint to end with, such as `GET /log/checkpoint` gave it with the witnesses' cosignatures.
    #[arg(long, value_name = "FILE", conflicts_with = "anchor")]
    checkpoint: Option<PathBuf>,
    /// What is made.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The first entry, for records.
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    first: u64,
    /// The last entry, for records; the end of the log when not given.
    #[arg(long, value_name = "INDEX")]
    last: Option<u64>,
    /// The folder to make, or the file for records.
    #[arg(long, value_name = "FOLDER|FILE")]
    out: PathBuf,
    /// An officer's private key, PEM: signs the list of the files' hashes.
    #[arg(long, value_name = "FILE")]
    officer_key: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

/// What is exported.
struct Export<'a> {
    source: &'a Source,
    verifier: &'a LogVerifier,
    note: String,
    /// The shard of the checkpoint: an export in files holds one.
    tree: Tree,
    /// Of its tree.
    size: u64,
    officer: Option<OfficerKey>,
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let verifier = args.trust.verifier()?;
    let officer = args.officer_key.as_deref().map(officer).transpose()?;
    wait(async {
        let source = args.place.open(args.anchor.as_deref()).await?;
        let (path, note) = note(args, &source).await?;
        let checkpoint = verifier.open(note.as_bytes());
        let checkpoint = checkpoint.map_err(|fault| Failure::Checkpoint(path, fault))?;
        let size = checkpoint.size;
        let tree = tree(&source, &checkpoint.origin).await?;
        let all = tree.shard.first.saturating_add(size);
        let export = Export { source: &source, verifier: &verifier, note, tree, size, officer };
        match args.format {
            Format::Tiles => export.folder(&args.out).await?,
            Format::Zip => export.archives(&args.out).await?,
            Format::Csv | Format::Fhir | Format::Jsonl | Format::Ocsf => {
                // Records are of all shards: their positions are one count.
                let end = args.last.map_or(all, |last| last.saturating_add(1)).min(all);
                let part = (args.first.min(end)..end, all);
                let to = (args.out.as_path(), verifier.origin());
                records::write(&source, args.format, part, to).await?;
            }
        }
        if let Source::Database(reader) = &source {
            reader.close().await;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn officer(path: &Path) -> Result<OfficerKey, Failure> {
    let unusable = |error: varco_jose::SignerFault| {
        Failure::File(path.to_owned(), std::io::Error::other(error.to_string()))
    };
    OfficerKey::from_pem(&read_file(path)?).map_err(unusable)
}

/// The checkpoint the export ends with.
async fn note(args: &Args, source: &Source) -> Result<(PathBuf, String), Failure> {
    let unreadable = |path: &Path| Failure::Usage(format!("{}: not a text", path.display()));
    if let Some(path) = &args.anchor {
        let note = Anchor::peek(path).map_err(|fault| Failure::Anchor(path.clone(), fault))?;
        let empty = || Failure::Usage("the anchor is empty: nothing was signed yet".to_owned());
        return Ok((path.clone(), note.ok_or_else(empty)?.to_string()));
    }
    let (path, bytes) = match (&args.checkpoint, source) {
        (Some(path), _) => (path.clone(), read_file(path)?),
        (None, Source::Files(files, trees)) => {
            let newest = trees.last().ok_or(Failure::NoLog)?;
            ("checkpoint".into(), files.checkpoint(newest).await?.to_vec())
        }
        (None, Source::Database(_)) => return Err(Failure::Usage("--anchor is missing".to_owned())),
    };
    let note = String::from_utf8(bytes).map_err(|_| unreadable(&path))?;
    Ok((path, note))
}

/// The shard of this origin.
async fn tree(source: &Source, origin: &str) -> Result<Tree, Failure> {
    let trees = source.trees().await?;
    if let [only] = trees.as_slice()
        && only.shard.origin.is_empty()
    {
        return Ok(Tree::alone(origin, only.shard.first));
    }
    let found = trees.into_iter().find(|tree| tree.shard.origin == origin);
    found.ok_or_else(|| Failure::Usage(format!("no shard is `{origin}`")))
}

impl Export<'_> {
    /// One folder with everything.
    async fn folder(&self, out: &Path) -> Result<(), Failure> {
        let mut sink = Sink::folder(out)?;
        for id in TileId::all(self.size) {
            self.tile(&mut sink, id).await?;
        }
        self.entries(&mut sink, 0..self.size).await?;
        stamps(&mut sink, &self.stamps().await?, &self.positions(&(0..self.size)))?;
        self.common(&mut sink).await?;
        sink.finish(self.officer.as_ref())
    }

    /// An archive for every 65,536 entries, the last first: an order to erase goes into the archives before it as well.
    async fn archives(&self, out: &Path) -> Result<(), Failure> {
        std::fs::create_dir_all(out).map_err(|error| Failure::File(out.to_owned(), error))?;
        let stamped = self.stamps().await?;
        let mut orders: Vec<Leaf> = Vec::new();
        for part in (0..self.size.div_ceil(PART)).rev() {
            let entries = part * PART..((part + 1) * PART).min(self.size);
            let mut sink = Sink::archive(&out.join(format!("{part:05}.zip")))?;
            for id in self.tiles_of(&entries) {
                self.tile(&mut sink, id).await?;
            }
            let mut own = self.entries(&mut sink, entries.clone()).await?;
            let positions = self.positions(&entries);
            for order in orders.iter().filter(|order| touches(order, &positions)) {
                sink.add(
                    &format!("orders/{}.tlog-proof", order.index()),
                    self.proof(order).await?.as_bytes(),
                )?;
            }
            orders.append(&mut own);
            stamps(&mut sink, &stamped, &positions)?;
            self.common(&mut sink).await?;
            sink.finish(self.officer.as_ref())?;
        }
        Ok(())
    }

    /// Where leaves of the shard are in the whole history.
    const fn positions(&self, leaves: &Range<u64>) -> Range<u64> {
        let first = self.tree.shard.first;
        first.saturating_add(leaves.start)..first.saturating_add(leaves.end)
    }

    /// The tiles of these entries on the two lowest levels, all above them, and the right edge of the tree.
    fn tiles_of(&self, entries: &Range<u64>) -> Vec<TileId> {
        let edge = self.size.saturating_sub(1);
        let mut wanted: Vec<TileId> = TileId::all(self.size)
            .filter(|id| {
                let span = 256_u64.saturating_pow(u32::from(id.level) + 1);
                let first = id.n.saturating_mul(span);
                id.level > 1 || (first < entries.end && first.saturating_add(span) > entries.start)
            })
            .collect();
        wanted.extend((0..=1).filter_map(|level| {
            let below = self.size >> (8 * u32::from(level));
            TileId::holding(level, below.saturating_sub(1), self.size).filter(|_| edge > 0)
        }));
        wanted.sort();
        wanted.dedup();
        wanted
    }

    async fn tile(&self, sink: &mut Sink, id: TileId) -> Result<(), Failure> {
        let hashes = self.source.tile(&self.tree, (id.level, id.n), self.size).await?;
        let hashes = hashes.ok_or(ReadError::Damaged("tile"))?;
        sink.add(&id.to_string(), &tile::to_bytes(&hashes))
    }

    /// Writes entries and bodies, and gives back the orders to erase among them.
    async fn entries(&self, sink: &mut Sink, entries: Range<u64>) -> Result<Vec<Leaf>, Failure> {
        let mut orders = Vec::new();
        let mut table = records::TABLE.to_owned();
        let bundles = BundleId::all(self.size).skip(usize::try_from(entries.start / 256).unwrap_or(0));
        for id in bundles.take_while(|id| id.first() < entries.end) {
            let leaves = id.first()..id.first().saturating_add(u64::from(id.width));
            let Range { start: from, end: to } = self.positions(&leaves);
            let stored = self.source.stored(from, to).await?;
            if stored.is_empty() {
                // Not served any more, by order: the hashes stay, and the order is in the log.
                continue;
            }
            let bundle = tile::bundle_to_bytes(stored.iter().map(|stored| stored.leaf.as_slice()));
            sink.add(&id.to_string(), &bundle.ok_or(ReadError::Damaged("leaf"))?)?;
            let slots = opened(self.source.bodies(from, to).await?)?;
            sink.add(&bodies::path(id), bodies::to_lines(&slots).as_bytes())?;
            for stored in &stored {
                let leaf = Leaf::parse(&stored.leaf).map_err(ReadError::Leaf)?;
                table.push_str(&records::row(&leaf));
                if leaf.kind().orders_erasure() {
                    orders.push(leaf);
                }
            }
            sink.stream("entries.csv", &mut table)?;
        }
        sink.end_stream("entries.csv", &table)?;
        Ok(orders)
    }

    async fn proof(&self, leaf: &Leaf) -> Result<String, Failure> {
        let mut tiles = Tiles::of(self.size);
        let index = leaf.index().saturating_sub(self.tree.shard.first);
        for id in for_inclusion(index, self.size) {
            let hashes = self.source.tile(&self.tree, (id.level, id.n), self.size).await?;
            tiles.insert(id, hashes.ok_or(ReadError::Damaged("tile"))?);
        }
        let path = inclusion_path(&tiles, index, self.size).map_err(ReadError::Prove)?;
        let proof = Proof { index, path, checkpoint: self.note.as_str().into() };
        let receipt = Receipt { leaf: leaf.clone(), proof };
        // What cannot be proved must not be handed out as proved.
        let unproved =
            |_| Failure::Usage(format!("entry {} is not what the checkpoint covers", leaf.index()));
        self.verifier.check(&receipt).map_err(unproved)?;
        Ok(receipt.to_text())
    }

    /// The time stamps over checkpoints that the exported one continues.
    async fn stamps(&self) -> Result<Vec<Stamped>, Failure> {
        let mut found = Vec::new();
        let first = self.tree.shard.first;
        let mut before = first.saturating_add(self.size).saturating_add(1);
        loop {
            let page = self.source.stamps(before).await?;
            let Some(smallest) = page.iter().map(|stamp| stamp.size).min().filter(|size| *size < before)
            else {
                return Ok(found);
            };
            before = smallest;
            found.extend(page.into_iter().filter(|stamp| stamp.size > first));
        }
    }

    /// What every folder and archive has. The checkpoint comes last: where it is, the rest is whole.
    async fn common(&self, sink: &mut Sink) -> Result<(), Failure> {
        sink.add("README.txt", README.as_bytes())?;
        let shard = serde_json::json!({ "origin": self.tree.shard.origin, "first": self.tree.shard.first });
        sink.add("shard.json", shard.to_string().as_bytes())?;
        sink.add("checkpoint", self.note.as_bytes())
    }
}

/// The stamps whose checkpoints end among these entries, in whose tiles their roots can be found.
fn stamps(sink: &mut Sink, stamped: &[Stamped], entries: &Range<u64>) -> Result<(), Failure> {
    let mut noted = None;
    for stamp in stamped.iter().filter(|stamp| stamp.size > entries.start && stamp.size <= entries.end) {
        let folder = format!("timestamps/{}", stamp.size);
        if noted != Some(stamp.size) {
            sink.add(&format!("{folder}/checkpoint"), stamp.checkpoint.as_bytes())?;
            noted = Some(stamp.size);
        }
        sink.add(&format!("{folder}/{}.tsr", stamp.authority), &stamp.response)?;
    }
    Ok(())
}

/// Bodies that can be read. One that is sealed would look erased if it were left out.
fn opened(found: Vec<(u64, Bodies)>) -> Result<Vec<(u64, Slots)>, Failure> {
    if found.iter().any(|(_, bodies)| !bodies.sealed.is_empty()) {
        let why = "the keys of bodies are not here: give --body-keys, or read from the gateway with --url";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(found.into_iter().map(|(index, bodies)| (index, bodies.slots)).collect())
}

/// Whether an order is about any of these entries.
fn touches(order: &Leaf, entries: &Range<u64>) -> bool {
    let erases = order.content().erases.as_ref();
    erases.is_some_and(|erases| erases.first() < entries.end && erases.last() >= entries.start)
}

const README: &str = "\
Access log of a Varco gateway, exported.

checkpoint       size and root of the log, signed (c2sp.org/tlog-checkpoint)
tile/            the hashes of the tree (c2sp.org/tlog-tiles)
tile/entries/    the entries, 256 a file, each after its length in two bytes
bodies/          JSON Lines: of each entry the bodies that are not erased, with their salts
timestamps/      of some sizes of the log the checkpoint, whose first three lines an authority stamped, and its response
                 (RFC 3161; openssl ts -verify)
orders/          orders to erase that stand later in the log, each with its proof (c2sp.org/tlog-proof)
shard.json       which year's log it is, and how many entries are in those before: they count on
entries.csv      what the entries say openly
SHA256SUMS       the hash of every other file; SHA256SUMS.jws is an officer's signature over it, where there is one

An archive holds 65,536 entries and all hashes that tie them to the checkpoint, so that it can be checked alone; several
together are checked as one log.

The leaf hash of an entry is SHA-256 of a zero byte and the entry (RFC 6962). An entry commits to a body with SHA-256
of `varco/log/slot/v1`, a zero byte, the 32 bytes of the salt, and the body.

To check everything: varco log verify --export . --key <the log's verifier key>
Without Varco: any program that knows c2sp.org/tlog-tiles, and sha256sum -c SHA256SUMS
";

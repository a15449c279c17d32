//! `varco log export`: the log as files that anybody can check without us: checkpoint, tiles and entries in the layout
//! of c2sp.org/tlog-tiles, the bodies beside them, and a table for people.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use varco_core::log::bodies;
use varco_core::log::leaf::Leaf;
use varco_core::log::tile::{self, BundleId, TileId};
use varco_store::anchor::Anchor;
use varco_store::read::{ReadError, Reader};

use super::{BodyKeys, Failure, Trust, wait};

#[derive(clap::Args)]
pub struct Args {
    /// The database: `sqlite:<path>` or `postgres://...`. It is only read; the gateway may be running.
    #[arg(long, value_name = "URL")]
    database: String,
    /// The gateway's anchor file: what is exported ends with its checkpoint.
    #[arg(long, value_name = "FILE")]
    anchor: PathBuf,
    /// The folder to make.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    keys: BodyKeys,
    #[command(flatten)]
    trust: Trust,
}

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let verifier = args.trust.verifier()?;
    let note = Anchor::peek(&args.anchor).map_err(|fault| Failure::Anchor(args.anchor.clone(), fault))?;
    let note =
        note.ok_or_else(|| Failure::Usage("the anchor is empty: nothing was signed yet".to_owned()))?;
    let checkpoint = verifier.open(note.as_bytes());
    let checkpoint = checkpoint.map_err(|fault| Failure::Checkpoint(args.anchor.clone(), fault))?;
    std::fs::create_dir_all(&args.out).map_err(|error| Failure::File(args.out.clone(), error))?;
    wait(async {
        let reader = args.keys.reader(&args.database, Some(&args.anchor)).await?;
        tiles(&reader, checkpoint.size, &args.out).await?;
        entries(&reader, checkpoint.size, &args.out).await?;
        reader.close().await;
        Ok(())
    })?;
    write(&args.out, "README.txt", README.as_bytes())?;
    // Last, so that a folder with a checkpoint is a whole one.
    write(&args.out, "checkpoint", note.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn tiles(reader: &Reader, size: u64, out: &Path) -> Result<(), Failure> {
    for id in TileId::all(size) {
        let hashes = reader.tile(u32::from(id.level), id.n, size).await?;
        let hashes = hashes.ok_or(ReadError::Damaged("tile"))?;
        write(out, &id.to_string(), &tile::to_bytes(&hashes))?;
    }
    Ok(())
}

async fn entries(reader: &Reader, size: u64, out: &Path) -> Result<(), Failure> {
    let path = out.join("entries.csv");
    let fault = |error| Failure::File(path.clone(), error);
    let mut table = std::io::BufWriter::new(std::fs::File::create(&path).map_err(fault)?);
    table.write_all(b"index,at,kind,id,consumer,provider,purpose,record_type,code\n").map_err(fault)?;
    for id in BundleId::all(size) {
        let (from, to) = (id.first(), id.first().saturating_add(u64::from(id.width)));
        let leaves = reader.leaves(from, to).await?;
        let bundle = tile::bundle_to_bytes(leaves.iter().map(Vec::as_slice));
        write(out, &id.to_string(), &bundle.ok_or(ReadError::Damaged("leaf"))?)?;
        let slots = reader.slots_between(from, to).await?;
        write(out, &bodies::path(id), bodies::to_lines(&slots).as_bytes())?;
        for leaf in &leaves {
            let leaf = Leaf::parse(leaf).map_err(ReadError::Leaf)?;
            table.write_all(row(&leaf).as_bytes()).map_err(fault)?;
        }
    }
    table.flush().map_err(fault)
}

/// One line of the table. No value of a leaf has a comma, a quote or a line break.
fn row(leaf: &Leaf) -> String {
    let content = leaf.content();
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    format!(
        "{},{},{},{},{},{},{},{},{}\n",
        content.index,
        content.at,
        content.kind,
        content.id,
        text(content.consumer.as_ref().map(|id| id.as_str())),
        text(content.provider.as_ref().map(|id| id.as_str())),
        text(content.purpose.as_ref().map(|id| id.as_str())),
        text(content.record_type.as_ref().map(|id| id.as_str())),
        text(content.code.as_ref().map(|code| code.as_str())),
    )
}

fn write(out: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = out.join(name);
    let folder = path.parent().unwrap_or(out);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, bytes))
        .map_err(|error| Failure::File(path.clone(), error))
}

const README: &str = "\
Access log of a Varco gateway, exported.

checkpoint       size and root of the log, signed (c2sp.org/tlog-checkpoint)
tile/            the hashes of the tree (c2sp.org/tlog-tiles)
tile/entries/    the entries, 256 a file, each after its length in two bytes
bodies/          JSON Lines: of each entry the bodies that are not erased, with their salts
entries.csv      what the entries say openly

The leaf hash of an entry is SHA-256 of a zero byte and the entry (RFC 6962). An entry commits to a body with SHA-256
of `varco/log/slot/v1`, a zero byte, the 32 bytes of the salt, and the body.

To check everything: varco log verify --export . --key <the log's verifier key>
";

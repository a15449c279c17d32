//! Where a log is read from: its database, its address, or what `varco log export` made: a folder, or archives of 65,536
//! entries each, all of them or some.
//!
//! All but the first hold the same files (c2sp.org/tlog-tiles, and `bodies/` beside the entries). Nothing of them is
//! believed: whoever reads holds every hash against a signed checkpoint.

use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize as _;
use varco_core::hash::Sha256;
use varco_core::log::bodies;
use varco_core::log::tile::{self, BundleId, TileId, WIDTH};
use varco_store::kept::Stamp;
use varco_store::read::{Bodies, PAGE_MAX, ReadError, Reader, StoredLeaf};

use super::trees::{self, Tree};
use super::{BodyKeys, Failure};
use crate::archive;
use crate::config::is_name;
use crate::fetch::{Fetcher, Identity};
use crate::http::timestamps::PAGE;

/// Entries in one archive: a whole tile of the second level, so that one hash of the third stands for all of them.
pub const PART: u64 = WIDTH * WIDTH;

/// The place of a log, as given on the command line.
#[derive(clap::Args)]
pub struct Place {
    /// The database: `sqlite:<path>` or `postgres://...`. It is only read; the gateway may be running.
    #[arg(long, value_name = "URL", conflicts_with_all = ["url", "export"], required_unless_present_any = ["url", "export"])]
    pub database: Option<String>,
    /// The address of the log: `https://<host>/log`, or for auditors `https://<host>/rest/varco/v1/log`.
    #[arg(long, value_name = "URL", conflicts_with = "export", requires = "ca")]
    pub url: Option<String>,
    /// What `varco log export` made: its folder, or one or several of its archives. Folders of several years are checked as
    /// one history.
    #[arg(long, value_name = "FOLDER|ZIP")]
    pub export: Vec<PathBuf>,
    #[command(flatten)]
    pub channel: Channel,
    #[command(flatten)]
    pub keys: BodyKeys,
}

/// How an address is reached.
#[derive(clap::Args)]
pub struct Channel {
    /// The authority of the server's certificate, PEM.
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,
    /// An auditor's certificate, PEM: with it entries and bodies are read too.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub client_key: Option<PathBuf>,
}

impl Channel {
    pub fn fetcher(&self) -> Result<Fetcher, Failure> {
        let identity = self.certificate.as_deref().zip(self.client_key.as_deref());
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        Ok(Fetcher::new(&self.ca, identity.as_ref())?)
    }
}

/// A time stamp over the checkpoint of a size.
#[derive(serde::Deserialize)]
pub struct Stamped {
    pub size: u64,
    pub authority: String,
    /// The signed note; its text is what was stamped.
    pub checkpoint: String,
    /// As the authority gave it.
    #[serde(deserialize_with = "from_base64")]
    pub response: Vec<u8>,
}

fn from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// An open log.
pub enum Source {
    Database(Reader),
    /// The files, and the shards they are of.
    Files(Files, Vec<Tree>),
}

impl Place {
    /// With an anchor, the keys of bodies that lie beside it are used.
    pub async fn open(&self, anchor: Option<&Path>) -> Result<Source, Failure> {
        if let Some(url) = &self.database {
            return Ok(Source::Database(self.keys.reader(url, anchor).await?));
        }
        if !self.export.is_empty() {
            return Source::files(Files::exported(&self.export)?).await;
        }
        let base = self.url.clone().unwrap_or_default();
        Source::files(Files::at(&base, &self.channel)?).await
    }
}

impl Source {
    async fn files(files: Files) -> Result<Self, Failure> {
        let trees = files.trees().await?;
        Ok(Self::Files(files, trees))
    }

    /// The log's shards, the oldest first.
    pub async fn trees(&self) -> Result<Vec<Tree>, Failure> {
        match self {
            Self::Database(reader) => {
                let found: Vec<Tree> = reader.shards().await?.into_iter().map(Tree::stored).collect();
                if found.is_empty() { Err(Failure::NoLog) } else { Ok(found) }
            }
            Self::Files(_, trees) => Ok(trees.clone()),
        }
    }

    /// The bundles that hold the entries of `range`, as positions: none reaches over the end of a shard. The log ends at
    /// `end`.
    pub async fn bundles(&self, range: Range<u64>, end: u64) -> Result<Vec<(u64, u64)>, Failure> {
        let trees = self.trees().await?;
        let ends = trees.iter().skip(1).map(|tree| tree.shard.first).chain([end]);
        let mut found = Vec::new();
        for (tree, end) in trees.iter().zip(ends) {
            let first = tree.shard.first;
            let skipped = range.start.saturating_sub(first) / WIDTH * WIDTH;
            let mut from = first.saturating_add(skipped);
            while from < end.min(range.end) {
                let to = from.saturating_add(WIDTH).min(end);
                found.push((from, to));
                from = to;
            }
        }
        Ok(found)
    }

    /// Whether entries and bodies of a shard can be read here, or hashes only.
    pub async fn has_entries(&self, tree: &Tree, size: u64) -> Result<bool, Failure> {
        match (self, BundleId::all(size).last()) {
            (Self::Database(_) | Self::Files(Files::Parts(_), _), _) | (Self::Files(..), None) => Ok(true),
            // The first ones may have been pruned; the last one never is.
            (Self::Files(files, _), Some(last)) => {
                Ok(files.read(&format!("{}{last}", tree.prefix)).await?.is_some())
            }
        }
    }

    /// Where the entry at this position is: its shard, the tile of its hash in a log that ends at `to`.
    fn place(trees: &[Tree], from: u64, to: u64) -> Option<(&Tree, TileId)> {
        let tree = trees.iter().rfind(|tree| tree.shard.first <= from)?;
        let first = tree.shard.first;
        let tile = TileId::holding(0, from.checked_sub(first)?, to.checked_sub(first)?)?;
        Some((tree, tile))
    }

    /// Which entries of a shard of this size are here: all, or those of the archives that were given.
    pub fn part(&self, size: u64) -> Range<u64> {
        let Self::Files(Files::Parts(archives), _) = self else { return 0..size };
        let bundles =
            archives.iter().flat_map(|archive| archive.names()).filter_map(|name| name.parse().ok());
        let parts = bundles.map(|bundle: BundleId| bundle.first() / PART);
        let (first, last) =
            parts.fold((u64::MAX, 0), |(first, last), part| (first.min(part), last.max(part)));
        let end = last.saturating_add(1).saturating_mul(PART).min(size);
        // Rounded to whole archives: a bundle that was taken out of one is missing, not outside.
        if first == u64::MAX { 0..size } else { first.saturating_mul(PART).min(end)..end }
    }

    /// How many entries are read at once.
    pub const fn page(&self) -> u64 {
        match self {
            Self::Database(_) => PAGE_MAX,
            Self::Files(..) => WIDTH,
        }
    }

    /// A tile of a shard's tree of this size, as wide as it is then.
    pub async fn tile(
        &self,
        tree: &Tree,
        (level, n): (u8, u64),
        size: u64,
    ) -> Result<Option<Vec<Sha256>>, Failure> {
        match self {
            Self::Database(reader) => match reader.of(&tree.shard).tile(u32::from(level), n, size).await {
                Err(ReadError::Damaged(_)) => Ok(None),
                read => Ok(read?),
            },
            Self::Files(files, _) => match TileId::holding(level, n.saturating_mul(WIDTH), size) {
                Some(tile) => files.tile(&tree.prefix, tile).await,
                None => Ok(None),
            },
        }
    }

    /// The leaves `from..to` with the hashes kept of them: at most a page, from its beginning.
    pub async fn stored(&self, from: u64, to: u64) -> Result<Vec<StoredLeaf>, Failure> {
        let (files, trees) = match self {
            Self::Database(reader) => return Ok(reader.stored(from, to).await?),
            Self::Files(files, trees) => (files, trees),
        };
        let Some((tree, tile)) = Self::place(trees, from, to) else { return Ok(Vec::new()) };
        let bundle = BundleId { n: tile.n, width: tile.width };
        let bytes = files.read(&format!("{}{bundle}", tree.prefix)).await?;
        let Some(bytes) = bytes else { return Ok(Vec::new()) };
        let hashes = files.tile(&tree.prefix, tile).await?.unwrap_or_default();
        // A bundle that cannot be taken apart holds no entry: the audit says that they are missing.
        let leaves = tile::bundle_from_bytes(bundle, &bytes).unwrap_or_default();
        let stored = (from..).zip(leaves).zip(hashes);
        Ok(stored
            .map(|((index, leaf), leaf_hash)| StoredLeaf { index, leaf: leaf.to_vec(), leaf_hash })
            .collect())
    }

    /// The hashes of the entries `from..to` where these are not served any more: at most a bundle, from its beginning.
    pub async fn withheld(&self, from: u64, to: u64) -> Result<Vec<Sha256>, Failure> {
        let Self::Files(files, trees) = self else { return Ok(Vec::new()) };
        let Some((tree, tile)) = Self::place(trees, from, to) else { return Ok(Vec::new()) };
        let bundle = BundleId { n: tile.n, width: tile.width };
        if files.read(&format!("{}{bundle}", tree.prefix)).await?.is_some() {
            return Ok(Vec::new());
        }
        Ok(files.tile(&tree.prefix, tile).await?.unwrap_or_default())
    }

    /// Time stamps over checkpoints of sizes below `before`, the largest first; none when there are no smaller ones.
    pub async fn stamps(&self, before: u64) -> Result<Vec<Stamped>, Failure> {
        match self {
            Self::Database(reader) => {
                let found = reader.stamps(before, PAGE).await?;
                let stamped = |stamp: Stamp| Stamped {
                    size: stamp.size,
                    authority: stamp.authority,
                    checkpoint: stamp.note,
                    response: stamp.response,
                };
                Ok(found.into_iter().map(stamped).collect())
            }
            Self::Files(files @ Files::Remote { .. }, _) => {
                #[derive(serde::Deserialize)]
                struct Listed {
                    timestamps: Vec<Stamped>,
                }
                let Some(bytes) = files.read(&format!("timestamps?before={before}")).await? else {
                    return Ok(Vec::new());
                };
                let listed: Listed = serde_json::from_slice(&bytes)
                    .map_err(|error| Failure::Usage(format!("the list of time stamps: {error}")))?;
                // The name becomes one of a file.
                if !listed.timestamps.iter().all(|stamp| is_name(&stamp.authority)) {
                    return Err(Failure::Usage("the list of time stamps names no authority".to_owned()));
                }
                Ok(listed.timestamps)
            }
            Self::Files(..) => Ok(Vec::new()),
        }
    }

    /// The bodies of the entries `from..to`.
    pub async fn bodies(&self, from: u64, to: u64) -> Result<Vec<(u64, Bodies)>, Failure> {
        match self {
            Self::Database(reader) => Ok(reader.bodies_between(from, to).await?),
            Self::Files(files, trees) => {
                let Some((tree, tile)) = Self::place(trees, from, to) else { return Ok(Vec::new()) };
                let path = bodies::path(BundleId { n: tile.n, width: tile.width });
                let bytes = files.read(&format!("{}{path}", tree.prefix)).await?.unwrap_or_default();
                let lines = bodies::from_lines(&bytes).ok_or(Failure::Bodies)?;
                let bodies = |(index, slots)| (index, Bodies { slots, ..Bodies::default() });
                Ok(lines.into_iter().map(bodies).collect())
            }
        }
    }
}

/// The files of a log behind an address or in a folder.
pub enum Files {
    Folder(PathBuf),
    /// Each holds what it takes to check its own entries.
    Parts(Vec<archive::Reader>),
    Remote {
        base: String,
        fetcher: Box<Fetcher>,
    },
    /// Exports of several years. A path begins with the number of the one it is in.
    Years(Vec<Files>),
}

impl Files {
    /// A folder with a checkpoint is a whole export; one without holds archives.
    /// Several folders are one a year; several archives are of one.
    fn exported(paths: &[PathBuf]) -> Result<Self, Failure> {
        if paths.len() > 1 && paths.iter().all(|path| path.is_dir()) {
            let years = paths.iter().map(|path| Self::exported(std::slice::from_ref(path)));
            return Ok(Self::Years(years.collect::<Result<_, _>>()?));
        }
        if let [folder] = paths
            && folder.join("checkpoint").is_file()
        {
            return Ok(Self::Folder(folder.clone()));
        }
        let mut found = Vec::new();
        for path in paths {
            if path.is_dir() { found.append(&mut archives_in(path)?) } else { found.push(path.clone()) }
        }
        if found.is_empty() {
            return Err(Failure::NoLog);
        }
        let archives = found.iter().map(|path| archive::Reader::open(path)).collect::<Result<_, _>>()?;
        Ok(Self::Parts(archives))
    }

    /// The files of archives whose path begins so.
    pub fn beginning(&self, prefix: &str) -> Vec<String> {
        let Self::Parts(archives) = self else { return Vec::new() };
        let names = archives.iter().flat_map(archive::Reader::names).filter(|name| name.starts_with(prefix));
        names.map(str::to_owned).collect()
    }

    pub fn at(base: &str, channel: &Channel) -> Result<Self, Failure> {
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self::Remote { base, fetcher: Box::new(channel.fetcher()?) })
    }

    /// A file by its path below the log; `None` when it is not there, or not for us.
    pub async fn read(&self, path: &str) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Parts(archives) => {
                for archive in archives {
                    if let Some(bytes) = archive.read(path)? {
                        return Ok(Some(bytes.into()));
                    }
                }
                Ok(None)
            }
            Self::Years(years) => {
                let year =
                    path.split_once('/').and_then(|(year, rest)| Some((year.parse::<usize>().ok()?, rest)));
                match year.and_then(|(year, rest)| Some((years.get(year)?, rest))) {
                    Some((files, rest)) => Box::pin(files.read(rest)).await,
                    None => Ok(None),
                }
            }
            Self::Folder(folder) => match std::fs::read(folder.join(path)) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Failure::File(folder.join(path), error)),
            },
            Self::Remote { base, fetcher } => {
                let fetched = fetcher.get(&format!("{base}/{path}")).await?;
                match fetched.status {
                    200 => Ok(Some(fetched.body)),
                    403 | 404 | 410 => Ok(None),
                    status => Err(Failure::Usage(format!("{base}/{path} was answered {status}"))),
                }
            }
        }
    }

    /// The shards that these files are of. An older gateway has one and does not say so; an export says which it is.
    pub async fn trees(&self) -> Result<Vec<Tree>, Failure> {
        #[derive(serde::Deserialize)]
        struct Exported {
            origin: String,
            first: u64,
        }
        let alone = || vec![Tree::alone("", 0)];
        match self {
            Self::Remote { .. } => match self.read("shards").await? {
                Some(bytes) => trees::listed(&bytes),
                None => Ok(alone()),
            },
            Self::Years(years) => {
                let mut trees = Vec::new();
                for (number, files) in years.iter().enumerate() {
                    let mut own = Box::pin(files.trees()).await?;
                    own.iter_mut().for_each(|tree| tree.prefix = format!("{number}/"));
                    trees.append(&mut own);
                }
                trees.sort_by_key(|tree| tree.shard.first);
                (0..).zip(&mut trees).for_each(|(number, tree)| tree.shard.number = number);
                Ok(trees)
            }
            Self::Folder(_) | Self::Parts(_) => match self.read("shard.json").await? {
                Some(bytes) => {
                    let shard: Exported = serde_json::from_slice(&bytes)
                        .map_err(|error| Failure::Usage(format!("shard.json: {error}")))?;
                    Ok(vec![Tree::alone(&shard.origin, shard.first)])
                }
                None => Ok(alone()),
            },
        }
    }

    /// The newest checkpoint of a shard, as a signed note.
    pub async fn checkpoint(&self, tree: &Tree) -> Result<Bytes, Failure> {
        self.read(&format!("{}checkpoint", tree.prefix)).await?.ok_or(Failure::NoLog)
    }

    pub async fn tile(&self, prefix: &str, tile: TileId) -> Result<Option<Vec<Sha256>>, Failure> {
        let bytes = self.read(&format!("{prefix}{tile}")).await?;
        Ok(bytes.and_then(|bytes| tile::from_bytes(tile, &bytes).ok()))
    }
}

fn archives_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fault = |error| Failure::File(folder.to_owned(), error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.extension().is_some_and(|extension| extension == "zip") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

//! A log made in bulk, past the writer: for measuring how long reading and verifying a large one takes. Everything in it
//! is as the writer makes it (leaves, sealed bodies, terms, tiles, state, signature, anchor), only faster, and without
//! making anything durable on the way. SQLite only, and only into a file that is not there yet.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::AssertSqlSafe;
use tokio::task::{JoinHandle, spawn_blocking};
use varco_core::hash::Sha256;
use varco_core::id::Pseudonym;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::entry::Draft;
use varco_core::log::leaf::Leaf;
use varco_core::log::note::NoteSigner;
use varco_core::log::tree::{Batch, Frontier, Hashes as _, leaf_hash};
use varco_core::time::Timestamp;

use crate::anchor::{Anchor, AnchorError};
use crate::db::{Backend, ConnectError, Link};
use crate::entry_rows::{self, Sealing};
use crate::fault::StatementError;
use crate::keyring::{Keyring, KeyringError};
use crate::nodes::WIDTH;
use crate::plan::Entry;
use crate::rows::Script;
use crate::statements;
use crate::submission::Keeping;

/// Entries made at once: four full tiles.
const CHUNK: u64 = 4 * WIDTH;
/// Chunks being made while others are written.
const AHEAD: usize = 4;
/// Chunks in one transaction: some 100 MiB.
const TRANSACTION: u64 = 64;
const EPOCH: u32 = 1;

/// What is made, and where.
pub struct Fill {
    /// `sqlite:<path>` of a file that is not there yet.
    pub url: String,
    pub anchor: PathBuf,
    pub signer: Arc<dyn NoteSigner>,
    pub keyring: Arc<Keyring>,
    pub entries: u64,
}

/// One entry to be.
pub struct Made {
    pub draft: Draft,
    pub at: Timestamp,
    pub subjects: Vec<Pseudonym>,
}

/// How an entry is made from its index. Called on several threads.
pub type Maker = Arc<dyn Fn(u64) -> Made + Send + Sync>;

/// Why no log was made.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the database does not answer as it must")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("only SQLite is filled in bulk, and only a file that holds no log")]
    NotEmpty,
    #[error("the checkpoint cannot be signed")]
    Sign,
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("a thread ended before its work")]
    Thread,
}

/// What a thread makes of a chunk.
struct Chunk {
    hashes: Vec<Sha256>,
    script: Result<Script, StatementError>,
    facets: BTreeSet<(String, u64)>,
    last_at: Timestamp,
}

/// Makes the log; `told` hears how many entries there are.
pub async fn fill(fill: Fill, make: Maker, told: impl Fn(u64)) -> Result<(), FillError> {
    let address: crate::db::Address = fill.url.parse()?;
    if address.is_remote() {
        return Err(FillError::NotEmpty);
    }
    fill.keyring.add(EPOCH)?;
    let mut link = address.writer().await?;
    statements::found(&mut link, fill.signer.name()).await?;
    if statements::state(&mut link).await?.frontier.size() > 0 {
        return Err(FillError::NotEmpty);
    }
    let indexes = without_indexes(&mut link).await?;
    let (mut tree, mut facets, mut last_at) = (Tree::default(), BTreeSet::new(), Timestamp::default());
    let mut ahead: VecDeque<JoinHandle<Chunk>> = VecDeque::new();
    let (mut next, mut written) = (0, 0);
    run(&mut link, "BEGIN").await?;
    loop {
        while next < fill.entries && ahead.len() < AHEAD {
            let (make, keyring) = (Arc::clone(&make), Arc::clone(&fill.keyring));
            let range = next..next.saturating_add(CHUNK).min(fill.entries);
            next = range.end;
            ahead.push_back(spawn_blocking(move || chunk(&make, &keyring, range)));
        }
        let Some(made) = ahead.pop_front() else { break };
        let made = made.await.map_err(|_| FillError::Thread)?;
        crate::rows::execute(&mut link, made.script?).await?;
        tree.append(&mut link, &made.hashes).await?;
        facets.extend(made.facets);
        last_at = made.last_at;
        written += 1;
        if written % TRANSACTION == 0 {
            run(&mut link, "COMMIT").await?;
            run(&mut link, "BEGIN").await?;
        }
        told(tree.frontier.size());
    }
    finish(&mut link, &tree.frontier, facets, last_at).await?;
    for sql in indexes {
        run(&mut link, &sql).await?;
    }
    run(&mut link, "PRAGMA wal_checkpoint(TRUNCATE)").await?;
    sign(&fill, &tree.frontier)
}

/// Leaves, rows and hashes of some entries.
fn chunk(make: &Maker, keyring: &Keyring, range: std::ops::Range<u64>) -> Chunk {
    let made: Vec<(Leaf, Made)> = range
        .map(|index| {
            let made = make(index);
            (made.draft.leaf(index, made.at), made)
        })
        .collect();
    let entries: Vec<Entry<'_>> = made
        .iter()
        .map(|(leaf, made)| Entry {
            leaf: leaf.clone(),
            slots: &made.draft.slots,
            subjects: &made.subjects,
            keeping: Keeping::Erasable,
        })
        .collect();
    let hashes: Vec<Sha256> = entries.iter().map(|entry| leaf_hash(entry.leaf.as_bytes())).collect();
    let sealing = Sealing { keyring, epoch: EPOCH };
    let script = entry_rows::script(&entries, &hashes, &sealing);
    let facets = entry_rows::facets_of(&entries);
    let last_at = made.last().map_or(Timestamp::default(), |(leaf, _)| leaf.at());
    Chunk { hashes, script, facets, last_at }
}

/// The tree as it grows, and the hashes of each level whose tile is not full yet.
#[derive(Default)]
struct Tree {
    frontier: Frontier,
    levels: Vec<(u64, Vec<Sha256>)>,
}

impl Tree {
    async fn append(&mut self, link: &mut Link, hashes: &[Sha256]) -> Result<(), FillError> {
        let batch: Batch = self.frontier.append(hashes);
        let mut below: Vec<Sha256> = hashes.to_vec();
        for level in 0_u32.. {
            if below.is_empty() {
                break;
            }
            let at = usize::try_from(level).unwrap_or(usize::MAX);
            if self.levels.len() <= at {
                self.levels.push((0, Vec::new()));
            }
            let Some((n, growing)) = self.levels.get_mut(at) else { break };
            let mut roots = Vec::new();
            for hash in below {
                growing.push(hash);
                if growing.len() as u64 == WIDTH {
                    let full = std::mem::take(growing);
                    let root = batch.node((level + 1) * 8, *n);
                    let root = root.ok_or(StatementError::Damaged("tiles below the one that is complete"))?;
                    statements::write_tile(link, (0, level, *n), &full, &root).await?;
                    roots.push(root);
                    *n += 1;
                }
            }
            below = roots;
        }
        Ok(())
    }
}

async fn run(link: &mut Link, sql: &str) -> Result<(), sqlx::Error> {
    match link {
        Backend::Sqlite(at) => sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(at).await.map(drop),
        Backend::Postgres(_) => Ok(()),
    }
}

/// Takes away the indexes that are quicker made at the end; gives back how.
async fn without_indexes(link: &mut Link) -> Result<Vec<String>, sqlx::Error> {
    const INDEXES: &str = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL \
         AND tbl_name IN ('log_entry', 'log_body')";
    let Backend::Sqlite(at) = &mut *link else { return Ok(Vec::new()) };
    let found: Vec<(String, String)> = sqlx::query_as(INDEXES).fetch_all(at).await?;
    for (name, _) in &found {
        run(link, &format!("DROP INDEX {name}")).await?;
    }
    run(link, "PRAGMA synchronous = OFF").await?;
    run(link, "PRAGMA cache_size = -262144").await?;
    Ok(found.into_iter().map(|(_, sql)| sql).collect())
}

async fn finish(
    link: &mut Link,
    frontier: &Frontier,
    facets: BTreeSet<(String, u64)>,
    last_at: Timestamp,
) -> Result<(), FillError> {
    let mut script = Script::default();
    let mut state = statements::state(link).await?;
    state.frontier = frontier.clone();
    state.root = frontier.root();
    state.last_at = last_at;
    statements::advance(&mut script, &state);
    crate::rows::execute(link, script).await?;
    entry_rows::write_facets(link, facets).await?;
    run(link, "COMMIT").await?;
    Ok(())
}

fn sign(fill: &Fill, frontier: &Frontier) -> Result<(), FillError> {
    let checkpoint =
        Checkpoint { origin: fill.signer.name().to_owned(), size: frontier.size(), root: frontier.root() };
    let note = checkpoint.sign(&[fill.signer.as_ref()]).map_err(|_| FillError::Sign)?;
    Anchor::open(&fill.anchor)?.write(&note.to_string().into())?;
    Ok(())
}

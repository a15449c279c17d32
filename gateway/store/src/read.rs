//! Everything that is read: documents, artifacts, entries with their bodies, tiles and proofs. Never writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::AssertSqlSafe;
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, ExchangeId, Pseudonym};
use varco_core::log::entry::{Kind, Slot, SlotName, Slots};
use varco_core::log::leaf::{Leaf, LeafFault};
use varco_core::log::sealing::Part;
use varco_core::log::tree::ProveError;
use varco_core::time::Timestamp;

use crate::bodies;
use crate::db::{Address, ConnectError, Pools, on};
use crate::entry_rows::person_terms;
use crate::keyring::{Keyring, KeyringError};
use crate::nodes::{NodesError, Tree};
use crate::rows::{among, padded};
use crate::submission::{Artifact, ArtifactKind, Held, STREAMS_MAX, StreamKind};

/// Entries in one answer: with their bodies some hundred KiB.
pub const PAGE_MAX: u64 = 1024;

/// People in one question: a household and every epoch of the pseudonyms' key.
pub const SUBJECTS_MAX: usize = 256;

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the database does not answer as it must")]
    Database(#[from] sqlx::Error),
    /// A row that no program of ours has written.
    #[error("the database holds something that cannot be: {0}")]
    Damaged(&'static str),
    #[error("the bodies of entry {0} are sealed, and the key is not here")]
    Sealed(u64),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the leaf in the database is not one: {0}")]
    Leaf(#[from] LeafFault),
    #[error("a proof cannot be made: {0}")]
    Prove(#[from] ProveError),
    #[error("more is asked than one answer gives")]
    TooMuch,
}

impl From<NodesError> for ReadError {
    fn from(fault: NodesError) -> Self {
        match fault {
            NodesError::Damaged => Self::Damaged("hash"),
            NodesError::Database(fault) => Self::Database(fault),
        }
    }
}

/// A document with its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub id: String,
    pub kind: StreamKind,
    /// The number of its events. A guard or a change names it.
    pub epoch: u64,
    pub header: Option<String>,
    /// In order, the first one first.
    pub events: Vec<String>,
}

/// A leaf as it is stored, believed in nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLeaf {
    pub index: u64,
    pub leaf: Vec<u8>,
    /// The hash kept beside the leaf.
    pub leaf_hash: Sha256,
}

/// Connections that can only read. Needs no anchor and disturbs no writer, so tools may use it beside a gateway.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) pools: Arc<Pools>,
    pub(crate) keyring: Option<Arc<Keyring>>,
    /// The shard whose tiles and proofs are meant: the first one, unless `Reader::of` says otherwise.
    pub(crate) tree: Tree,
}

/// The bodies of an entry that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    pub slots: Slots,
    /// There, but sealed under a key that is not here.
    pub sealed: Vec<SlotName>,
    /// There, but not what was sealed.
    pub damaged: Vec<SlotName>,
}

impl Reader {
    /// Opens a database that a store has made: `sqlite:<path>` or `postgres://...`.
    /// Sealed bodies stay sealed.
    pub async fn open(url: &str) -> Result<Self, ConnectError> {
        Self::connect(&url.parse()?, None).await
    }

    /// The same with the keys of the bodies.
    pub async fn open_with(url: &str, keyring: Arc<Keyring>) -> Result<Self, ConnectError> {
        Self::connect(&url.parse()?, Some(keyring)).await
    }

    pub(crate) async fn connect(
        address: &Address,
        keyring: Option<Arc<Keyring>>,
    ) -> Result<Self, ConnectError> {
        Ok(Self { pools: Arc::new(address.readers().await?), keyring, tree: Tree::default() })
    }

    pub async fn close(&self) {
        on!(&*self.pools, pool => pool.close().await);
    }

    /// One document; `None` when there is no such stream.
    pub async fn stream(&self, id: &str) -> Result<Option<Stream>, ReadError> {
        const STREAM: &str = "SELECT s.id, s.kind, s.epoch, s.header, e.event FROM stream s \
             JOIN stream_event e ON e.stream = s.id WHERE s.id = $1 ORDER BY e.seq";
        let rows: Vec<StreamRow> =
            on!(&*self.pools, pool => sqlx::query_as(STREAM).bind(id.to_owned()).fetch_all(pool).await?);
        Ok(streams(rows)?.pop())
    }

    /// The documents with these identifiers that exist, as one moment has them. At most [`STREAMS_MAX`].
    pub async fn streams_named(&self, ids: &[String]) -> Result<Vec<Stream>, ReadError> {
        const HEAD: &str = "SELECT s.id, s.kind, s.epoch, s.header, e.event FROM stream s \
             JOIN stream_event e ON e.stream = s.id WHERE s.id";
        match ids.len() {
            0 => return Ok(Vec::new()),
            1..=STREAMS_MAX => {}
            _ => return Err(ReadError::TooMuch),
        }
        let keys = padded(ids);
        let sql = AssertSqlSafe(among(HEAD, keys.len(), "ORDER BY s.id, e.seq"));
        let rows: Vec<StreamRow> = on!(&*self.pools, pool => {
            let mut query = sqlx::query_as(sql);
            for id in keys {
                query = query.bind(id);
            }
            query.fetch_all(pool).await?
        });
        streams(rows)
    }

    /// The documents of a kind that one of these people is found by, in the order of their identifiers. At most
    /// [`SUBJECTS_MAX`] people.
    pub async fn streams_of(
        &self,
        subjects: &[Pseudonym],
        kind: StreamKind,
    ) -> Result<Vec<Stream>, ReadError> {
        const HEAD: &str = "SELECT s.id, s.kind, s.epoch, s.header, e.event FROM stream s \
             JOIN stream_event e ON e.stream = s.id WHERE s.id IN (SELECT stream FROM stream_subject WHERE subject";
        let keys = padded(subjects);
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        if subjects.len() > SUBJECTS_MAX {
            return Err(ReadError::TooMuch);
        }
        let tail = format!(") AND s.kind = ${} ORDER BY s.id, e.seq", keys.len() + 1);
        let sql = AssertSqlSafe(among(HEAD, keys.len(), &tail));
        let rows: Vec<StreamRow> = on!(&*self.pools, pool => {
            let mut query = sqlx::query_as(sql);
            for subject in keys {
                query = query.bind(subject.as_str().to_owned());
            }
            query.bind(kind.text().to_owned()).fetch_all(pool).await?
        });
        streams(rows)
    }

    /// The documents of a kind that wait for an agency, the oldest identifiers first, at most [`PAGE_MAX`]. Whoever
    /// wants the rest acts on these.
    pub async fn waiting_for(&self, agency: &AgencyId, kind: StreamKind) -> Result<Vec<Stream>, ReadError> {
        const WAITING: &str = "SELECT s.id, s.kind, s.epoch, s.header, e.event FROM stream s \
             JOIN stream_event e ON e.stream = s.id WHERE s.kind = $1 AND s.id IN \
             (SELECT stream FROM stream_waits WHERE agency = $2 ORDER BY stream LIMIT $3) ORDER BY s.id, e.seq";
        let (kind, agency) = (kind.text().to_owned(), agency.to_string());
        let rows: Vec<StreamRow> = on!(&*self.pools, pool => {
            sqlx::query_as(WAITING).bind(kind).bind(agency).bind(int(PAGE_MAX)).fetch_all(pool).await?
        });
        streams(rows)
    }

    /// All documents of a kind that wait for anybody, at most [`PAGE_MAX`].
    pub async fn waiting(&self, kind: StreamKind) -> Result<Vec<Stream>, ReadError> {
        const WAITING: &str = "SELECT s.id, s.kind, s.epoch, s.header, e.event FROM stream s \
             JOIN stream_event e ON e.stream = s.id WHERE s.id IN (SELECT DISTINCT w.stream FROM stream_waits w \
             JOIN stream k ON k.id = w.stream WHERE k.kind = $1 ORDER BY w.stream LIMIT $2) ORDER BY s.id, e.seq";
        let kind = kind.text().to_owned();
        let rows: Vec<StreamRow> = on!(&*self.pools, pool => sqlx::query_as(WAITING).bind(kind).bind(int(PAGE_MAX)).fetch_all(pool).await?);
        streams(rows)
    }

    /// Bytes kept under their SHA-256, checked against it.
    pub async fn artifact(&self, sha256: &Sha256) -> Result<Option<Artifact>, ReadError> {
        const ARTIFACT: &str = "SELECT kind, bytes FROM artifact WHERE sha256 = $1";
        let key = sha256.as_bytes().to_vec();
        let row: Option<(String, Vec<u8>)> =
            on!(&*self.pools, pool => sqlx::query_as(ARTIFACT).bind(key).fetch_optional(pool).await?);
        let Some((kind, bytes)) = row else { return Ok(None) };
        let artifact = Artifact {
            kind: ArtifactKind::parse(&kind).ok_or(ReadError::Damaged("kind of an artifact"))?,
            bytes,
        };
        if artifact.sha256() == *sha256 { Ok(Some(artifact)) } else { Err(ReadError::Damaged("artifact")) }
    }

    /// The entry of a kind that an exchange has, with the bodies that are not erased.
    pub async fn entry(&self, id: &ExchangeId, kind: Kind) -> Result<Option<(Leaf, Slots)>, ReadError> {
        const ENTRY: &str = "SELECT leaf FROM log_entry WHERE id = $1 AND kind = $2";
        let (id, kind) = (id.as_str().to_owned(), kind.text().to_owned());
        let leaf: Option<String> = on!(&*self.pools, pool => {
            sqlx::query_scalar(ENTRY).bind(id).bind(kind).fetch_optional(pool).await?
        });
        let Some(leaf) = leaf else { return Ok(None) };
        let leaf = Leaf::parse(leaf.as_bytes())?;
        let slots = self.slots(leaf.index()).await?;
        Ok(Some((leaf, slots)))
    }

    /// All entries that bear an identifier, in the order of the log: an exchange's outcome and what came after it.
    pub async fn entries_of(&self, id: &ExchangeId) -> Result<Vec<Leaf>, ReadError> {
        const ENTRIES: &str = "SELECT leaf FROM log_entry WHERE id = $1 ORDER BY idx";
        let id = id.as_str().to_owned();
        let leaves: Vec<String> =
            on!(&*self.pools, pool => sqlx::query_scalar(ENTRIES).bind(id).fetch_all(pool).await?);
        leaves.iter().map(|leaf| Ok(Leaf::parse(leaf.as_bytes())?)).collect()
    }

    /// The indices of the entries about one of these people from `from` on, at most [`PAGE_MAX`] of them.
    pub async fn entries_about(&self, subjects: &[Pseudonym], from: u64) -> Result<Vec<u64>, ReadError> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        if subjects.len() > SUBJECTS_MAX {
            return Err(ReadError::TooMuch);
        }
        let terms = subjects.iter().flat_map(|person| person_terms(self.keyring.as_deref(), person.as_str()));
        let keys = padded(&terms.collect::<Vec<_>>());
        let tail = format!("AND idx >= ${} ORDER BY idx LIMIT {PAGE_MAX}", keys.len() + 1);
        let sql =
            AssertSqlSafe(among("SELECT DISTINCT idx FROM log_subject WHERE subject", keys.len(), &tail));
        let from = int(from);
        let indices: Vec<i64> = on!(&*self.pools, pool => {
            let mut query = sqlx::query_scalar(sql);
            for term in keys {
                query = query.bind(term);
            }
            query.bind(from).fetch_all(pool).await?
        });
        indices
            .into_iter()
            .map(|index| u64::try_from(index).map_err(|_| ReadError::Damaged("index")))
            .collect()
    }

    /// The entries that change the rules (kinds `open`, `policy` and `registry`), in order. There are few: each is an act
    /// of several officers.
    pub async fn rules(&self) -> Result<Vec<Leaf>, ReadError> {
        const RULES: &str =
            "SELECT leaf FROM log_entry WHERE kind IN ('open', 'policy', 'registry') ORDER BY idx";
        let leaves: Vec<String> = on!(&*self.pools, pool => sqlx::query_scalar(RULES).fetch_all(pool).await?);
        let leaves = leaves.iter().map(|leaf| Ok(Leaf::parse(leaf.as_bytes())?));
        // A new year's shard opens under the rules there are.
        let changes =
            |leaf: &Result<Leaf, ReadError>| leaf.as_ref().map_or(true, |leaf| leaf.content().link.is_none());
        leaves.filter(changes).collect()
    }

    /// The index of the last entry that changes the rules.
    pub async fn last_rule(&self) -> Result<Option<u64>, ReadError> {
        const LAST: &str = "SELECT MAX(idx) FROM log_entry WHERE kind IN ('open', 'policy', 'registry')";
        let last: Option<i64> = on!(&*self.pools, pool => sqlx::query_scalar(LAST).fetch_one(pool).await?);
        last.map(|index| u64::try_from(index).map_err(|_| ReadError::Damaged("index"))).transpose()
    }

    /// The bytes of the leaves `from..to`, at most [`PAGE_MAX`]; fewer when the log ends before. Not parsed: a
    /// verifier hashes what is there.
    pub async fn leaves(&self, from: u64, to: u64) -> Result<Vec<Vec<u8>>, ReadError> {
        const LEAVES: &str = "SELECT leaf FROM log_entry WHERE idx >= $1 AND idx < $2 ORDER BY idx";
        let (from, to) = page(from, to)?;
        let leaves: Vec<String> =
            on!(&*self.pools, pool => sqlx::query_scalar(LEAVES).bind(from).bind(to).fetch_all(pool).await?);
        Ok(leaves.into_iter().map(String::into_bytes).collect())
    }

    /// The leaves `from..to` as they are stored, at most [`PAGE_MAX`]. Unlike [`Reader::leaves`] it shows where one is
    /// missing, and which one differs from the hash kept beside it.
    pub async fn stored(&self, from: u64, to: u64) -> Result<Vec<StoredLeaf>, ReadError> {
        const STORED: &str =
            "SELECT idx, leaf, leaf_hash FROM log_entry WHERE idx >= $1 AND idx < $2 ORDER BY idx";
        let (from, to) = page(from, to)?;
        let rows: Vec<(i64, String, Vec<u8>)> =
            on!(&*self.pools, pool => sqlx::query_as(STORED).bind(from).bind(to).fetch_all(pool).await?);
        let stored = |(index, leaf, hash): (i64, String, Vec<u8>)| {
            let index = u64::try_from(index).map_err(|_| ReadError::Damaged("index"))?;
            let leaf_hash = Sha256::from_slice(&hash).ok_or(ReadError::Damaged("hash"))?;
            Ok(StoredLeaf { index, leaf: leaf.into_bytes(), leaf_hash })
        };
        rows.into_iter().map(stored).collect()
    }

    /// The bodies of an entry that are not erased; none when there is no such entry.
    pub async fn slots(&self, index: u64) -> Result<Slots, ReadError> {
        let mut found = self.slots_between(index, index.saturating_add(1)).await?;
        Ok(found.pop().map(|(_, slots)| slots).unwrap_or_default())
    }

    /// Index and bodies of the entries `from..to` that have any, at most [`PAGE_MAX`] entries. All must be readable.
    pub async fn slots_between(&self, from: u64, to: u64) -> Result<Vec<(u64, Slots)>, ReadError> {
        let bodies = self.bodies_between(from, to).await?.into_iter();
        bodies
            .map(|(index, bodies)| match (bodies.damaged.is_empty(), bodies.sealed.is_empty()) {
                (true, true) => Ok((index, bodies.slots)),
                (true, false) => Err(ReadError::Sealed(index)),
                (false, _) => Err(ReadError::Damaged("sealed body")),
            })
            .collect()
    }

    /// The same, telling what cannot be read.
    pub async fn bodies_between(&self, from: u64, to: u64) -> Result<Vec<(u64, Bodies)>, ReadError> {
        const KEPT: &str = "SELECT idx, decision_salt, decision, operator_salt, operator, subject_salt, subject \
             FROM log_slots WHERE idx >= $1 AND idx < $2 ORDER BY idx";
        const SEALED: &str = "SELECT idx, epoch, decision, operator, subject FROM log_body \
             WHERE idx >= $1 AND idx < $2 ORDER BY idx";
        let (from, to) = page(from, to)?;
        let kept: Vec<SlotsRow> =
            on!(&*self.pools, pool => sqlx::query_as(KEPT).bind(from).bind(to).fetch_all(pool).await?);
        let sealed: Vec<BodyRow> =
            on!(&*self.pools, pool => sqlx::query_as(SEALED).bind(from).bind(to).fetch_all(pool).await?);
        let mut found = BTreeMap::new();
        for row in kept {
            let (index, slots) = slots(row)?;
            found.insert(index, Bodies { slots, ..Bodies::default() });
        }
        for row in sealed {
            let (index, bodies) = unsealed(self.keyring.as_deref(), row)?;
            found.insert(index, bodies);
        }
        let is_any = |bodies: &Bodies| {
            bodies.slots.iter().next().is_some() || !bodies.sealed.is_empty() || !bodies.damaged.is_empty()
        };
        Ok(found.into_iter().filter(|(_, bodies)| is_any(bodies)).collect())
    }

    /// When the first body was erased whose key still exists in copies of the database; `None` when all such keys are
    /// destroyed.
    pub async fn erased_at(&self) -> Result<Option<Timestamp>, ReadError> {
        const ERASED: &str = "SELECT erased_at FROM log_state WHERE id = 1";
        let at: Option<Option<i64>> =
            on!(&*self.pools, pool => sqlx::query_scalar(ERASED).fetch_optional(pool).await?);
        Ok(at.flatten().map(Timestamp::from_millis))
    }

    /// What may not be erased for now.
    pub async fn holds(&self) -> Result<Vec<Held>, ReadError> {
        const HOLDS: &str = "SELECT id, first, last FROM log_hold ORDER BY id, first";
        let rows: Vec<(String, i64, i64)> =
            on!(&*self.pools, pool => sqlx::query_as(HOLDS).fetch_all(pool).await?);
        let number = |n: i64| u64::try_from(n).map_err(|_| ReadError::Damaged("hold"));
        rows.into_iter()
            .map(|(id, first, last)| Ok(Held { id, first: number(first)?, last: number(last)? }))
            .collect()
    }

    /// Entries before this one are not served any more.
    pub async fn minimum(&self) -> Result<u64, ReadError> {
        const MINIMUM: &str = "SELECT minimum FROM log_state WHERE id = 1";
        let minimum: Option<i64> =
            on!(&*self.pools, pool => sqlx::query_scalar(MINIMUM).fetch_optional(pool).await?);
        u64::try_from(minimum.unwrap_or(0)).map_err(|_| ReadError::Damaged("minimum index"))
    }
}

pub(crate) type StreamRow = (String, String, i64, Option<String>, String);

/// Rows of one stream follow one another.
pub(crate) fn streams(rows: Vec<StreamRow>) -> Result<Vec<Stream>, ReadError> {
    let mut found: BTreeMap<String, Stream> = BTreeMap::new();
    for (id, kind, epoch, header, event) in rows {
        let kind = StreamKind::parse(&kind).ok_or(ReadError::Damaged("kind of a stream"))?;
        let epoch = u64::try_from(epoch).map_err(|_| ReadError::Damaged("epoch of a stream"))?;
        let stream = found.entry(id.clone());
        stream.or_insert_with(|| Stream { id, kind, epoch, header, events: Vec::new() }).events.push(event);
    }
    // The epoch read in one row and the events in the next could differ only if a statement saw two states.
    if found.values().any(|stream| u64::try_from(stream.events.len()) != Ok(stream.epoch)) {
        return Err(ReadError::Damaged("events of a stream"));
    }
    Ok(found.into_values().collect())
}

type SlotsRow =
    (i64, Option<Vec<u8>>, Option<String>, Option<Vec<u8>>, Option<String>, Option<Vec<u8>>, Option<String>);

fn slots(row: SlotsRow) -> Result<(u64, Slots), ReadError> {
    let (index, decision_salt, decision, operator_salt, operator, subject_salt, subject) = row;
    let mut slots = Slots::default();
    let columns = [
        (SlotName::Decision, decision_salt, decision),
        (SlotName::Operator, operator_salt, operator),
        (SlotName::Subject, subject_salt, subject),
    ];
    for (name, salt, body) in columns {
        if let (Some(salt), Some(body)) = (salt, body) {
            let salt = salt.try_into().map_err(|_| ReadError::Damaged("salt"))?;
            slots.set(name, Slot { salt, body });
        }
    }
    Ok((u64::try_from(index).map_err(|_| ReadError::Damaged("index"))?, slots))
}

type BodyRow = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

fn unsealed(keyring: Option<&Keyring>, row: BodyRow) -> Result<(u64, Bodies), ReadError> {
    let (index, epoch, decision, operator, subject) = row;
    let index = u64::try_from(index).map_err(|_| ReadError::Damaged("index"))?;
    let epoch = u32::try_from(epoch).map_err(|_| ReadError::Damaged("epoch of the bodies"))?;
    let mut found = Bodies::default();
    for (name, sealed) in
        [(SlotName::Decision, decision), (SlotName::Operator, operator), (SlotName::Subject, subject)]
    {
        let Some(sealed) = sealed else { continue };
        let part = Part::Slot(name);
        match keyring.map(|keyring| bodies::open(keyring, epoch, index, part, Some(&sealed))) {
            None | Some(Err(KeyringError::NoKey(_))) => found.sealed.push(name),
            Some(Ok(slot)) => {
                if let Some(slot) = slot {
                    found.slots.set(name, slot);
                }
            }
            Some(Err(KeyringError::Cipher(_) | KeyringError::Damaged)) => found.damaged.push(name),
            Some(Err(fault)) => return Err(fault.into()),
        }
    }
    Ok((index, found))
}

fn page(from: u64, to: u64) -> Result<(i64, i64), ReadError> {
    if to.saturating_sub(from) > PAGE_MAX { Err(ReadError::TooMuch) } else { Ok((int(from), int(to))) }
}

/// Indices stay below 2^53.
fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

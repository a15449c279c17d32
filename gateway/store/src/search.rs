//! Finding entries: the newest first, by what a leaf says openly, by operator and office, and by person.
//!
//! A search never takes long: it looks through a bounded part of the log and says where to go on. A page may therefore
//! be short, even empty, and still have a next one.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::time::Instant;
use varco_core::id::Pseudonym;
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_core::log::{sealing, summary};
use varco_core::time::Timestamp;

use crate::bodies;
use crate::db::on;
use crate::entry_rows::{BLOCK, person_terms};
use crate::keyring::Keyring;
use crate::read::{Bodies, PAGE_MAX, ReadError, Reader, SUBJECTS_MAX};

/// Entries looked through with the first statement, and with each later one at most: 65,536 rows that must all be read
/// take some 100 ms.
const WINDOW_FIRST: u64 = 4096;
const WINDOW_LAST: u64 = 65_536;

/// After this no further statement is begun.
const PATIENCE: Duration = Duration::from_millis(60);

/// What entries must have. What is left out does not matter.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Not before this time, and before that one.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// As consumer or provider.
    pub agency: Option<String>,
    pub consumer: Option<String>,
    pub provider: Option<String>,
    pub purpose: Option<String>,
    pub record_type: Option<String>,
    pub kind: Option<Kind>,
    pub code: Option<String>,
    pub operator: Option<String>,
    pub office: Option<String>,
    /// A field that left.
    pub field: Option<String>,
    /// A layer that withheld something.
    pub layer: Option<String>,
    /// The case it was asked under.
    pub case: Option<String>,
    /// The key of the seal it was asked with.
    pub seal: Option<String>,
    /// About one of these people: a person's pseudonyms of all epochs.
    pub subjects: Option<Vec<Pseudonym>>,
    /// Only entries before this index: where the last page ended.
    pub before: Option<u64>,
    /// At most so many entries, up to [`PAGE_MAX`].
    pub limit: u64,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The newest first.
    pub entries: Vec<Leaf>,
    /// Where to go on with `before`; `None` when nothing is left.
    pub next: Option<u64>,
}

impl Reader {
    /// The newest entries that fit.
    pub async fn search(&self, search: &Search) -> Result<Found, ReadError> {
        if search.subjects.as_ref().is_some_and(|subjects| subjects.len() > SUBJECTS_MAX)
            || search.limit > PAGE_MAX
        {
            return Err(ReadError::TooMuch);
        }
        let size = self.log().await?.map_or(0, |log| log.size);
        // Times never go back, so a period is a range of indices.
        let first = match search.from {
            Some(from) => self.first_at(from, size).await?,
            None => 0,
        };
        let mut end = match search.until {
            Some(until) => self.first_at(until, size).await?,
            None => size,
        };
        end = end.min(search.before.unwrap_or(end));
        let begun = Instant::now();
        let mut entries = Vec::new();
        let facets = search.facets();
        let mut window = if facets.is_empty() { WINDOW_FIRST } else { PAGE_MAX };
        while end > first && begun.elapsed() < PATIENCE {
            end = end.min(self.last_with(&facets, end).await?);
            if end <= first {
                break;
            }
            let left = search.limit.saturating_sub(u64::try_from(entries.len()).unwrap_or(u64::MAX));
            let start = end.saturating_sub(window).max(first);
            let mut found = match facets.is_empty() {
                true => self.window(search, start..end, left).await?,
                false => self.opened(search, start..end, left).await?,
            };
            let full = u64::try_from(found.len()).is_ok_and(|found| found >= left);
            end = if full { found.last().map_or(start, Leaf::index) } else { start };
            entries.append(&mut found);
            if full {
                break;
            }
            if facets.is_empty() {
                window = window.saturating_mul(4).min(WINDOW_LAST);
            }
        }
        Ok(Found { entries, next: (end > first).then_some(end) })
    }

    /// Where the last block before `end` ends that has all of these; 0 when there is none.
    async fn last_with(&self, facets: &[String], mut end: u64) -> Result<u64, ReadError> {
        const LAST: &str = "SELECT max(block) FROM log_facet WHERE facet = $1 AND block <= $2";
        for facet in facets {
            let at = i64::try_from(end.saturating_sub(1) / BLOCK).unwrap_or(i64::MAX);
            let block: Option<i64> = on!(&*self.pools, pool => {
                sqlx::query_scalar(LAST).bind(facet.clone()).bind(at).fetch_one(pool).await?
            });
            let after = block.and_then(|block| u64::try_from(block).ok()).map_or(0, |block| block + 1);
            end = end.min(after.saturating_mul(BLOCK));
        }
        Ok(end)
    }

    /// Like [`Self::window`], of entries whose opened bodies say what is looked for. At most a page is opened.
    async fn opened(
        &self,
        search: &Search,
        range: std::ops::Range<u64>,
        limit: u64,
    ) -> Result<Vec<Leaf>, ReadError> {
        let mut found = self.window(search, range.clone(), PAGE_MAX).await?;
        let bodies: BTreeMap<u64, Bodies> =
            self.bodies_between(range.start, range.end).await?.into_iter().collect();
        let facets = search.facets();
        found.retain(|leaf| {
            let decision = bodies.get(&leaf.index()).and_then(|bodies| bodies.slots.decision.as_ref());
            let has = summary::facets(decision.map(|slot| slot.body.as_str()).unwrap_or_default());
            facets.iter().all(|facet| has.contains(facet))
        });
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// The index of the first entry at this time or later.
    pub async fn first_at(&self, at: Timestamp, size: u64) -> Result<u64, ReadError> {
        const FIRST: &str = "SELECT idx FROM log_entry WHERE at >= $1 ORDER BY at, idx LIMIT 1";
        let found: Option<i64> = on!(&*self.pools, pool => {
            sqlx::query_scalar(FIRST).bind(at.millis()).fetch_optional(pool).await?
        });
        Ok(found.and_then(|index| u64::try_from(index).ok()).unwrap_or(size))
    }

    async fn window(
        &self,
        search: &Search,
        range: std::ops::Range<u64>,
        limit: u64,
    ) -> Result<Vec<Leaf>, ReadError> {
        let (sql, texts) = statement(search, self.keyring.as_deref());
        let sql = AssertSqlSafe(sql);
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let (from, to, limit) = (number(range.start), number(range.end), number(limit));
        let leaves: Vec<String> = on!(&*self.pools, pool => {
            let mut query = sqlx::query_scalar(sql).bind(from).bind(to).bind(limit);
            for text in texts {
                query = query.bind(text);
            }
            query.fetch_all(pool).await?
        });
        leaves.iter().map(|leaf| Ok(Leaf::parse(leaf.as_bytes())?)).collect()
    }
}

impl Search {
    /// What must be found in opened bodies.
    fn facets(&self) -> Vec<String> {
        let field = self.field.iter().map(|field| format!("field:{field}"));
        field.chain(self.layer.iter().map(|layer| format!("layer:{layer}"))).collect()
    }

    /// Whether rows of sealed bodies are needed.
    const fn needs_bodies(&self) -> bool {
        self.operator.is_some() || self.office.is_some() || self.case.is_some() || self.seal.is_some()
    }
}

/// The statement for one window: `$1..$2` is the range, `$3` the limit, the texts follow.
fn statement(search: &Search, keyring: Option<&Keyring>) -> (String, Vec<String>) {
    let mut texts: Vec<String> = Vec::new();
    let mut sql = "SELECT e.leaf FROM log_entry e".to_owned();
    if search.needs_bodies() {
        sql.push_str(" JOIN log_body s ON s.idx = e.idx");
    }
    sql.push_str(" WHERE e.idx >= $1 AND e.idx < $2");
    let kind = search.kind.map(|kind| kind.text().to_owned());
    for (column, value) in [
        ("e.consumer", &search.consumer),
        ("e.provider", &search.provider),
        ("e.purpose", &search.purpose),
        ("e.record_type", &search.record_type),
        ("e.kind", &kind),
        ("e.code", &search.code),
    ] {
        if let Some(value) = value {
            texts.push(value.clone());
            sql.push_str(&format!(" AND {column} = ${}", texts.len() + 3));
        }
    }
    for (column, name, value) in [
        ("s.who", sealing::OPERATOR, &search.operator),
        ("s.office", sealing::OFFICE, &search.office),
        ("s.in_case", sealing::CASE, &search.case),
        ("s.seal", sealing::SEAL, &search.seal),
    ] {
        if let Some(value) = value {
            let among = marks(&mut texts, bodies::terms(keyring, name, value));
            sql.push_str(&format!(" AND {column} IN ({among})"));
        }
    }
    if let Some(agency) = &search.agency {
        texts.push(agency.clone());
        let n = texts.len() + 3;
        sql.push_str(&format!(" AND (e.consumer = ${n} OR e.provider = ${n})"));
    }
    if let Some(subjects) = &search.subjects {
        let people = subjects.iter().flat_map(|person| person_terms(keyring, person.as_str()));
        let among = marks(&mut texts, people.collect());
        sql.push_str(&format!(
            " AND e.idx IN (SELECT idx FROM log_subject WHERE subject IN ({among}) AND idx >= $1 AND idx < $2)"
        ));
    }
    sql.push_str(" ORDER BY e.idx DESC LIMIT $3");
    (sql, texts)
}

/// Places for more texts, as a list.
fn marks(texts: &mut Vec<String>, more: Vec<String>) -> String {
    let first = texts.len() + 4;
    texts.extend(more);
    let marks: Vec<String> = (first..texts.len() + 4).map(|n| format!("${n}")).collect();
    if marks.is_empty() { "NULL".to_owned() } else { marks.join(",") }
}

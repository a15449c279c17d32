//! The rows of entries: leaf, bodies, what they are found by; and what becomes of them when they are erased.

use std::collections::BTreeSet;

use varco_core::hash::Sha256;
use varco_core::log::entry::{Erases, Kind, Slot, SlotName};
use varco_core::log::sealing;
use varco_core::log::summary::facets;
use varco_core::time::Timestamp;

use crate::bodies::{self, SealedRow};
use crate::db::{Link, on};
use crate::fault::StatementError;
use crate::holds;
use crate::keyring::Keyring;
use crate::plan::{Entry, Plan};
use crate::rows::{Cell, Insert, Length, ROWS_MAX, Script, execute};
use crate::statements::int;
use crate::submission::Keeping;

/// Entries in a block of `log_facet`.
pub const BLOCK: u64 = 256;

/// Under which key bodies are sealed.
#[derive(Clone, Copy)]
pub struct Sealing<'a> {
    pub keyring: &'a Keyring,
    pub epoch: u32,
}

/// Entries, their bodies, whom they are about, and the claims they close: what every exchange writes, in one trip.
pub async fn write(
    link: &mut Link,
    plan: &Plan<'_>,
    hashes: &[Sha256],
    sealing: &Sealing<'_>,
) -> Result<(), StatementError> {
    write_facets(link, facets_of(&plan.entries)).await?;
    let mut chunks = plan.entries.chunks(ROWS_MAX).zip(hashes.chunks(ROWS_MAX)).peekable();
    let mut script = Script::default();
    let mut expected = 0;
    while let Some((entries, hashes)) = chunks.next() {
        expected += say_entries(&mut script, entries, hashes, sealing)?;
        if chunks.peek().is_some() {
            expected -= execute(link, std::mem::take(&mut script)).await?;
        }
    }
    let closed: Vec<Cell> =
        plan.closes.iter().map(|exchange| Cell::Text(exchange.as_str().to_owned())).collect();
    script.among("DELETE FROM claim WHERE exchange", &closed, "");
    expected += closed.len() as u64;
    // Another replica has entered one of them as interrupted: it must not get a second outcome.
    if execute(link, script).await? == expected { Ok(()) } else { Err(StatementError::ClaimGone) }
}

/// In which blocks of 256 entries a field left or a layer withheld something.
pub fn facets_of(entries: &[Entry<'_>]) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    for entry in entries {
        if !matches!(entry.leaf.kind(), Kind::Denial | Kind::Disclosure) {
            continue;
        }
        let body = entry.slots.decision.as_ref().map(|slot| slot.body.as_str()).unwrap_or_default();
        found.extend(facets(body).into_iter().map(|facet| (facet, entry.leaf.index() / BLOCK)));
    }
    found
}

/// A block has most of its facets already, so that nobody counts these rows.
pub async fn write_facets(link: &mut Link, facets: BTreeSet<(String, u64)>) -> Result<(), sqlx::Error> {
    const FACETS: Insert =
        Insert { head: "INSERT INTO log_facet (facet, block)", tail: "ON CONFLICT DO NOTHING" };
    let rows: Vec<[Cell; 2]> =
        facets.into_iter().map(|(facet, block)| [Cell::Text(facet), Cell::Int(int(block))]).collect();
    for chunks in rows.chunks(ROWS_MAX * 16) {
        let mut script = Script::default();
        for chunk in chunks.chunks(ROWS_MAX) {
            script.insert(&FACETS, chunk.to_vec(), Length::Padded(chunk.len().next_power_of_two()));
        }
        execute(link, script).await?;
    }
    Ok(())
}

/// The rows of entries, without any plan: for logs made in bulk.
pub fn script(
    entries: &[Entry<'_>],
    hashes: &[Sha256],
    sealing: &Sealing<'_>,
) -> Result<Script, StatementError> {
    let mut script = Script::default();
    for (entries, hashes) in entries.chunks(ROWS_MAX).zip(hashes.chunks(ROWS_MAX)) {
        say_entries(&mut script, entries, hashes, sealing)?;
    }
    Ok(script)
}

/// Gives back how many rows this inserts.
fn say_entries(
    script: &mut Script,
    entries: &[Entry<'_>],
    hashes: &[Sha256],
    sealing: &Sealing<'_>,
) -> Result<u64, StatementError> {
    const ENTRIES: Insert =
        Insert { head: "INSERT INTO log_entry (idx, id, kind, leaf, leaf_hash)", tail: "" };
    const SUBJECTS: Insert =
        Insert { head: "INSERT INTO log_subject (subject, idx)", tail: "ON CONFLICT DO NOTHING" };
    let rows = entries.iter().zip(hashes).map(|(entry, hash)| {
        [
            Cell::Int(int(entry.leaf.index())),
            Cell::Text(entry.leaf.id().as_str().to_owned()),
            Cell::Text(entry.leaf.kind().text().to_owned()),
            Cell::Text(entry.leaf.as_str().to_owned()),
            Cell::Bytes(hash.as_bytes().to_vec()),
        ]
    });
    script.insert(&ENTRIES, rows.collect(), Length::Exact);
    let (mut sealed, mut kept) = (Vec::new(), Vec::new());
    let mut about: BTreeSet<(String, i64)> = BTreeSet::new();
    for entry in entries {
        let index = entry.leaf.index();
        match entry.keeping {
            Keeping::ForEver => kept.push(kept_row(entry)),
            Keeping::Erasable => {
                let row = bodies::seal(sealing.keyring, sealing.epoch, index, entry.slots, entry.subjects)?;
                about.extend(row.subjects.iter().map(|subject| (subject.clone(), int(index))));
                sealed.push(sealed_row(index, sealing.epoch, row));
            }
        }
    }
    say_bodies(script, sealed, kept);
    let rows: Vec<[Cell; 2]> =
        about.into_iter().map(|(subject, index)| [Cell::Text(subject), Cell::Int(index)]).collect();
    for chunk in rows.chunks(ROWS_MAX) {
        // As many as there are entries, in most batches: so the whole script has few different lengths.
        script.insert(&SUBJECTS, chunk.to_vec(), Length::Padded(entries.len()));
    }
    Ok((2 * entries.len() + rows.len()) as u64)
}

fn say_bodies(script: &mut Script, sealed: Vec<[Cell; 10]>, kept: Vec<[Cell; 8]>) {
    const SEALED: Insert = Insert {
        head: "INSERT INTO log_body (idx, epoch, decision, operator, subject, about, who, office, in_case, seal)",
        tail: "",
    };
    const KEPT: Insert = Insert {
        head: "INSERT INTO log_slots (idx, decision_salt, decision, operator_salt, operator, subject_salt, subject, \
               kept)",
        tail: "",
    };
    script.insert(&SEALED, sealed, Length::Exact);
    script.insert(&KEPT, kept, Length::Exact);
}

fn sealed_row(index: u64, epoch: u32, row: SealedRow) -> [Cell; 10] {
    [
        Cell::Int(int(index)),
        Cell::Int(i64::from(epoch)),
        Cell::MaybeBytes(row.decision),
        Cell::MaybeBytes(row.operator),
        Cell::MaybeBytes(row.subject),
        Cell::MaybeBytes(row.about),
        Cell::MaybeText(row.who),
        Cell::MaybeText(row.office),
        Cell::MaybeText(row.in_case),
        Cell::MaybeText(row.seal),
    ]
}

fn kept_row(entry: &Entry<'_>) -> [Cell; 8] {
    let salt = |slot: Option<&Slot>| Cell::MaybeBytes(slot.map(|slot| slot.salt.to_vec()));
    let body = |slot: Option<&Slot>| Cell::MaybeText(slot.map(|slot| slot.body.clone()));
    let [decision, operator, subject] = SlotName::ALL.map(|name| entry.slots.slot(name));
    let index = Cell::Int(int(entry.leaf.index()));
    [
        index,
        salt(decision),
        body(decision),
        salt(operator),
        body(operator),
        salt(subject),
        body(subject),
        Cell::Int(1),
    ]
}

/// Deletes the bodies an order names, in the transaction of its own entry. What is kept for ever stays.
pub async fn erase(
    link: &mut Link,
    (order, erases): (Kind, &Erases),
    at: Timestamp,
    keyring: &Keyring,
) -> Result<(), StatementError> {
    const ERASED: &str = "UPDATE log_state SET erased_at = COALESCE(erased_at, $1) WHERE id = 1";
    let kinds = kinds(erases);
    let sealed = |set: &str| {
        format!(
            "UPDATE log_body SET {set} WHERE idx >= $1 AND idx <= $2 AND idx IN \
             (SELECT idx FROM log_entry WHERE idx >= $1 AND idx <= $2 AND kind IN ({kinds}))"
        )
    };
    let clear = |set: &str| {
        format!(
            "UPDATE log_slots SET {set} WHERE idx >= $1 AND idx <= $2 AND kept = 0 AND idx IN \
             (SELECT idx FROM log_entry WHERE idx >= $1 AND idx <= $2 AND kind IN ({kinds}))"
        )
    };
    let mut statements = Vec::new();
    for name in erases.slots() {
        let (body, plain) = match name {
            SlotName::Decision => ("decision = NULL", "decision_salt = NULL, decision = NULL"),
            SlotName::Operator => (
                "operator = NULL, who = NULL, office = NULL, seal = NULL",
                "operator_salt = NULL, operator = NULL",
            ),
            SlotName::Subject => {
                forget_people(link, erases, &kinds, keyring).await?;
                ("subject = NULL, about = NULL, in_case = NULL", "subject_salt = NULL, subject = NULL")
            }
        };
        statements.extend([sealed(body), clear(plain)]);
    }
    let (first, last) = (int(erases.first()), int(erases.last()));
    for sql in statements {
        let sql = sqlx::AssertSqlSafe(sql);
        on!(&mut *link, to => sqlx::query(sql).bind(first).bind(last).execute(to).await.map(drop))?;
    }
    if order == Kind::Prune {
        holds::raise_minimum(link, erases.first(), erases.last().saturating_add(1)).await?;
    }
    Ok(on!(link, to => sqlx::query(ERASED).bind(at.millis()).execute(to).await.map(drop))?)
}

/// The kinds an order is about, as a list of SQL texts: never those whose bodies are kept.
fn kinds(erases: &Erases) -> String {
    let all = Kind::ALL.into_iter().filter(|kind| !kind.keeps_bodies() && erases.is_about(*kind));
    let texts: Vec<String> = all.map(|kind| format!("'{kind}'")).collect();
    if texts.is_empty() { "NULL".to_owned() } else { texts.join(",") }
}

/// Deletes from the index of people what it holds of the order's entries. Their sealed rows say under which terms that is;
/// where one cannot, from before rows were sealed, the whole index is searched.
async fn forget_people(
    link: &mut Link,
    erases: &Erases,
    kinds: &str,
    keyring: &Keyring,
) -> Result<(), StatementError> {
    let sql = format!(
        "SELECT e.idx, b.epoch, b.about FROM log_entry e \
         LEFT JOIN log_body b ON b.idx = e.idx \
         WHERE e.idx >= $1 AND e.idx <= $2 AND e.kind IN ({kinds}) AND (b.idx IS NULL OR b.about IS NOT NULL)"
    );
    let sql = sqlx::AssertSqlSafe(sql);
    let (first, last) = (int(erases.first()), int(erases.last()));
    let rows: Vec<(i64, Option<i64>, Option<Vec<u8>>)> =
        on!(&mut *link, to => sqlx::query_as(sql).bind(first).bind(last).fetch_all(to).await?);
    let (mut pairs, mut blind) = (Vec::new(), false);
    for (index, epoch, about) in rows {
        let epoch = epoch.and_then(|epoch| u32::try_from(epoch).ok());
        let entry = u64::try_from(index).unwrap_or(u64::MAX);
        match epoch.zip(about).map(|(epoch, about)| bodies::about_terms(keyring, epoch, entry, &about)) {
            Some(Ok(terms)) => {
                pairs.extend(terms.into_iter().map(|term| [Cell::Text(term), Cell::Int(index)]));
            }
            Some(Err(_)) | None => blind = true,
        }
    }
    for chunk in pairs.chunks(ROWS_MAX) {
        const FORGET: Insert =
            Insert { head: "DELETE FROM log_subject WHERE (subject, idx) IN (", tail: ")" };
        let mut script = Script::default();
        script.insert(&FORGET, chunk.to_vec(), Length::Padded(chunk.len().next_power_of_two()));
        execute(link, script).await?;
    }
    if blind {
        let sql = format!(
            "DELETE FROM log_subject WHERE idx >= $1 AND idx <= $2 AND idx IN \
             (SELECT idx FROM log_entry WHERE idx >= $1 AND idx <= $2 AND kind IN ({kinds}))"
        );
        let sql = sqlx::AssertSqlSafe(sql);
        on!(link, to => sqlx::query(sql).bind(first).bind(last).execute(to).await.map(drop))?;
    }
    Ok(())
}

/// Terms under which the index of people holds a person, in every epoch whose key is here.
pub fn person_terms(keyring: Option<&Keyring>, person: &str) -> Vec<String> {
    let mut terms = bodies::terms(keyring, sealing::SUBJECT, person);
    // Entries from before rows were sealed are found by the pseudonym itself.
    terms.push(person.to_owned());
    terms
}

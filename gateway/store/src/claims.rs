//! The rows of claims: exchanges that have begun, each with the entry to write should it never get an outcome. That entry
//! is about a person, so it lies sealed as well.

use std::collections::{BTreeMap, HashSet};

use varco_core::hash::Sha256;
use varco_core::id::ExchangeId;
use varco_core::log::sealing::{Part, Place};
use varco_core::time::Timestamp;

use crate::db::{Link, on};
use crate::entry_rows::Sealing;
use crate::fault::StatementError;
use crate::keyring::{Keyring, KeyringError};
use crate::rows::{Cell, Insert, Length, ROWS_MAX, Script};
use crate::submission::Claim;

pub enum Whose<'a> {
    Before(Timestamp),
    Replica(&'a str),
}

/// Who claims, and when.
#[derive(Clone, Copy)]
pub struct Claimant<'a> {
    pub replica: &'a str,
    pub now: Timestamp,
}

pub fn open_claims(
    script: &mut Script,
    claimant: Claimant<'_>,
    sealing: &Sealing<'_>,
    claims: &[&Claim],
) -> Result<(), KeyringError> {
    const OPEN: Insert = Insert {
        head: "INSERT INTO claim (exchange, replica, claimed_at, request_digest, interrupted, epoch, sealed)",
        // An identifier given twice must not fail the whole batch; the second exchange finds its claim gone.
        tail: "ON CONFLICT DO NOTHING",
    };
    if claims.is_empty() {
        return Ok(());
    }
    let key = sealing.keyring.key(sealing.epoch)?;
    for chunk in claims.chunks(ROWS_MAX) {
        let mut rows = Vec::with_capacity(chunk.len());
        for claim in chunk {
            let text = zeroize::Zeroizing::new(crate::stored::write(&claim.interrupted));
            let place = place(&claim.exchange);
            rows.push([
                Cell::Text(claim.exchange.as_str().to_owned()),
                Cell::Text(claimant.replica.to_owned()),
                Cell::Int(claimant.now.millis()),
                Cell::Bytes(claim.request_digest.as_bytes().to_vec()),
                Cell::Text(String::new()),
                Cell::Int(i64::from(sealing.epoch)),
                Cell::Bytes(sealing.keyring.cipher().seal(&key, place, text.as_bytes())?),
            ]);
        }
        script.insert(&OPEN, rows, Length::Padded(chunk.len().next_power_of_two()));
    }
    Ok(())
}

/// A claim has no index: the head of its exchange's digest stands in for one.
fn place(exchange: &ExchangeId) -> Place {
    let digest = Sha256::of(exchange.as_str().as_bytes());
    let index = digest.as_bytes().first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head));
    Place { index, part: Part::Claim }
}

/// Claims to be entered as interrupted: all of this replica's, or those of any replica older than an instant. Each with
/// the text of its entry, which is empty when it cannot be read any more.
pub async fn left_open(
    link: &mut Link,
    whose: &Whose<'_>,
    most: i64,
    keyring: &Keyring,
) -> Result<Vec<(ExchangeId, String)>, StatementError> {
    const MINE: &str = "SELECT exchange, interrupted, epoch, sealed FROM claim WHERE replica = $1 \
         ORDER BY claimed_at, exchange LIMIT $2";
    const OLD: &str = "SELECT exchange, interrupted, epoch, sealed FROM claim WHERE claimed_at < $1 \
         ORDER BY claimed_at, exchange LIMIT $2";
    let rows: Vec<(String, String, i64, Option<Vec<u8>>)> = match whose {
        Whose::Before(then) => {
            on!(link, at => sqlx::query_as(OLD).bind(then.millis()).bind(most).fetch_all(at).await?)
        }
        Whose::Replica(name) => {
            on!(link, at => sqlx::query_as(MINE).bind((*name).to_owned()).bind(most).fetch_all(at).await?)
        }
    };
    let mut found = Vec::with_capacity(rows.len());
    for (id, text, epoch, sealed) in rows {
        let exchange: ExchangeId = id.parse().map_err(|_| StatementError::Damaged("exchange of a claim"))?;
        let text = match sealed {
            Some(sealed) => opened(keyring, epoch, &exchange, &sealed).unwrap_or_default(),
            None => text,
        };
        found.push((exchange, text));
    }
    Ok(found)
}

fn opened(keyring: &Keyring, epoch: i64, exchange: &ExchangeId, sealed: &[u8]) -> Option<String> {
    let key = keyring.key(u32::try_from(epoch).ok()?).ok()?;
    let bytes = keyring.cipher().open(&key, place(exchange), sealed).ok()?;
    String::from_utf8(bytes.to_vec()).ok()
}

/// The exchanges a replica has claimed and not closed. At most as many as the gateway carries out at a time.
pub async fn claims_of(link: &mut Link, replica: &str) -> Result<HashSet<ExchangeId>, StatementError> {
    const CLAIMS: &str = "SELECT exchange FROM claim WHERE replica = $1";
    let ids: Vec<String> =
        on!(link, at => sqlx::query_scalar(CLAIMS).bind(replica.to_owned()).fetch_all(at).await?);
    ids.iter().map(|id| id.parse().map_err(|_| StatementError::Damaged("exchange of a claim"))).collect()
}

/// Whether a claim is still sealed under an epoch before this one.
pub async fn any_before(link: &mut Link, epoch: u32) -> Result<bool, sqlx::Error> {
    const OLDER: &str = "SELECT COUNT(*) FROM claim WHERE epoch < $1 AND sealed IS NOT NULL";
    let epoch = i64::from(epoch);
    let count: i64 = on!(link, at => sqlx::query_scalar(OLDER).bind(epoch).fetch_one(at).await?);
    Ok(count > 0)
}

/// The tokens of the claims of a batch.
pub struct Tokens<'a> {
    /// For each claim all of its tokens; none when an earlier claim of the batch has one of them.
    of_claim: Vec<Vec<Sha256>>,
    /// Sorted, so that two replicas with the same tokens never wait for each other.
    pub first: BTreeMap<Sha256, &'a Claim>,
}

impl<'a> Tokens<'a> {
    pub fn of(claims: &[&'a Claim]) -> Self {
        let mut tokens = Self { of_claim: Vec::with_capacity(claims.len()), first: BTreeMap::new() };
        for claim in claims {
            let mut own: Vec<Sha256> = claim.tokens().collect();
            if own.iter().any(|token| tokens.first.contains_key(token)) {
                own.clear();
            }
            tokens.first.extend(own.iter().map(|token| (*token, *claim)));
            tokens.of_claim.push(own);
        }
        tokens
    }

    /// For each claim whether all its tokens were new. One without tokens claims nothing.
    pub fn won(&self, new: &HashSet<Sha256>) -> Vec<bool> {
        let all_new = |own: &Vec<Sha256>| !own.is_empty() && own.iter().all(|token| new.contains(token));
        self.of_claim.iter().map(all_new).collect()
    }
}

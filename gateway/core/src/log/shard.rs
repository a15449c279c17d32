//! Yearly shards: each year's log is a tree of its own (c2sp.org/tlog-checkpoint: one origin, one tree), and each begins
//! where the one before has ended.
//!
//! The last entry of a shard, of kind `freeze`, names the next one; the first entry of the next, of kind `open`, says
//! how the one before ended. A root of the newest shard thus stands for everything that was ever entered. Entries are
//! counted through all shards: the `index` in a leaf is its position in the whole history, and its place in its own
//! tree is that less the position of the shard's first entry. So the order of (shard, place) and of positions is one.

use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::id::ExchangeId;
use crate::log::checkpoint::Checkpoint;
use crate::log::entry::{Draft, Kind};
use crate::log::tree::Head;
use crate::time::Timestamp;

/// What a `freeze` or `open` entry says of the shard on its other side: the leaf's member `shard`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// SHA-256 of the text of the final checkpoint: what witnesses and time stamp authorities have signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Sha256>,
    /// The origin of the other shard.
    origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

/// The longest origin a shard has: its leaf must stay below 1 KiB.
pub const ORIGIN_MAX: usize = 256;

impl Link {
    /// For the last entry of a shard.
    pub fn to(next: &str) -> Self {
        Self { checkpoint: None, origin: next.to_owned(), root: None, size: None }
    }

    /// For the first entry of the shard that follows one with this final checkpoint.
    pub fn after(last: &Checkpoint) -> Self {
        Self {
            checkpoint: Some(Sha256::of(last.text().as_bytes())),
            origin: last.origin.clone(),
            root: Some(last.root),
            size: Some(last.size),
        }
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where the shard before has ended; `None` in the last entry of a shard.
    pub const fn head(&self) -> Option<Head> {
        match (self.size, self.root) {
            (Some(size), Some(root)) => Some(Head { size, root }),
            (Some(_) | None, _) => None,
        }
    }

    /// Whether an entry of this kind can say it.
    pub(super) fn fits(&self, kind: Kind) -> bool {
        let all = self.checkpoint.is_some() && self.root.is_some() && self.size.is_some();
        let none = self.checkpoint.is_none() && self.root.is_none() && self.size.is_none();
        let named = is_origin(&self.origin);
        named && matches!((kind, all, none), (Kind::Freeze, false, true) | (Kind::Open, true, false))
    }
}

/// Printable ASCII without what JSON would escape.
fn is_origin(origin: &str) -> bool {
    let known = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    (1..=ORIGIN_MAX).contains(&origin.len()) && origin.bytes().all(known)
}

/// The entry that closes a shard.
pub fn freeze(id: ExchangeId, next: &str) -> Draft {
    Draft { link: Some(Link::to(next)), ..Draft::new(Kind::Freeze, id) }
}

/// The entry that begins the shard after the one with this final checkpoint.
pub fn open(id: ExchangeId, last: &Checkpoint) -> Draft {
    Draft { link: Some(Link::after(last)), ..Draft::new(Kind::Open, id) }
}

/// The year an origin ends in: `varco.example/access-log/2026`.
pub fn year_of(origin: &str) -> Option<i32> {
    let (base, year) = origin.rsplit_once('/')?;
    let digits = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
    if digits && !base.is_empty() { year.parse().ok() } else { None }
}

/// The origin without its year.
fn base(origin: &str) -> &str {
    match (year_of(origin), origin.rsplit_once('/')) {
        (Some(_), Some((base, _))) => base,
        (Some(_) | None, _) => origin,
    }
}

/// Whether both are shards of one log. The first shard of a log may have no year in its origin.
pub fn are_kin(one: &str, other: &str) -> bool {
    base(one) == base(other)
}

/// The origin of the shard that must be opened for an entry at `now`; `None` while the open one is the right one. A clock
/// that goes back opens nothing, because the year of a shard never falls. Years are those of UTC, whatever the season.
pub fn due(origin: &str, last_at: Timestamp, now: Timestamp) -> Option<String> {
    let year = year_of(origin).unwrap_or_else(|| last_at.date().year());
    let now = now.max(last_at).date().year();
    let next = (now > year).then(|| format!("{}/{now:04}", base(origin)));
    // A name that no leaf can hold stays the name of one log for ever.
    next.filter(|next| is_origin(next) && is_origin(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::start_of(crate::time::parse_date(text).unwrap())
    }

    #[test]
    fn a_shard_is_due_when_its_year_is_over_and_only_once() {
        let (december, january) = (at("2026-12-31"), at("2027-01-01"));
        let next = "varco.example/access-log/2027";
        assert_eq!(due("varco.example/access-log/2026", december, december), None);
        assert_eq!(due("varco.example/access-log/2026", december, january).as_deref(), Some(next));
        // The first shard of an older log has no year: its last entry tells it.
        assert_eq!(due("varco.example/access-log", december, january).as_deref(), Some(next));
        assert_eq!(due("varco.example/access-log", january, january), None);
        // A clock that goes back, before and after.
        assert_eq!(due(next, january, december), None);
        assert_eq!(due("varco.example/access-log/2026", january, december).as_deref(), Some(next));
        // A gateway that stood still for years opens one shard.
        let later = due(next, january, at("2030-06-01"));
        assert_eq!(later.as_deref(), Some("varco.example/access-log/2030"));
    }

    #[test]
    fn shards_of_one_log_differ_in_the_year_alone() {
        assert!(
            are_kin("a.example/log/2026", "a.example/log/2031")
                && are_kin("a.example/log", "a.example/log/2027")
        );
        assert!(!are_kin("a.example/log/2026", "b.example/log/2026"));
        assert!(!are_kin("a.example/log/2026", "a.example/log/26"));
        assert!(!are_kin("a.example/log/2026", "a.example/other/2026"));
        assert_eq!(year_of("/2026"), None);
    }

    #[test]
    fn a_link_says_what_its_kind_can_say() {
        let last = Checkpoint { origin: "a.example/2026".to_owned(), size: 3, root: Sha256::of(b"x") };
        assert!(Link::to("a.example/2027").fits(Kind::Freeze) && Link::after(&last).fits(Kind::Open));
        assert!(!Link::to("a.example/2027").fits(Kind::Open) && !Link::after(&last).fits(Kind::Freeze));
        assert!(!Link::to("a \u{e8}").fits(Kind::Freeze) && !Link::to("").fits(Kind::Freeze));
        assert!(!Link { size: None, ..Link::after(&last) }.fits(Kind::Open));
    }
}

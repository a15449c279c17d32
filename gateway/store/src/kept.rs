//! What is kept beside the log and is no entry: alerts and their deliveries, how far followers have come, time stamps, and
//! acts of administrators that wait to be entered. The writer writes it, like everything.

use varco_core::hash::Sha256;
use varco_core::time::Timestamp;

use crate::db::{ConnectError, on};
use crate::read::{PAGE_MAX, ReadError, Reader};
use crate::rows::{Cell, Script};

/// Something to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An act of an administrator has been entered in the log.
    ActEntered(String),
    Alert(Alert),
    /// Alerts from before this instant, delivered or not, have been kept long enough.
    AlertsForgotten {
        before: Timestamp,
    },
    /// A delivery failed: when to try again.
    Attempted {
        hook: String,
        alert: Sha256,
        due: Timestamp,
    },
    Delivered {
        hook: String,
        alert: Sha256,
        at: Timestamp,
    },
    /// The final checkpoint of a closed shard, with the cosignatures it has got.
    Final {
        shard: u32,
        note: String,
    },
    /// The first entry that a follower has not seen yet.
    Followed {
        name: &'static str,
        next: u64,
    },
    Stamp(Stamp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub id: Sha256,
    pub at: Timestamp,
    pub about: String,
    /// JSON; names no person.
    pub body: String,
    /// The agencies whose officers must know.
    pub to: Vec<String>,
    /// The receivers it goes to.
    pub hooks: Vec<String>,
}

/// A time stamp over the checkpoint of a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    pub authority: String,
    /// By the authority's clock.
    pub at: Timestamp,
    /// The checkpoint, as a signed note; its text is what was stamped.
    pub note: String,
    /// The authority's response as it came.
    pub response: Vec<u8>,
}

/// An alert with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: Sha256,
    pub at: Timestamp,
    pub body: String,
    pub deliveries: Vec<Delivery>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub hook: String,
    pub attempts: u64,
    pub delivered: Option<Timestamp>,
}

/// A delivery that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub alert: Sha256,
    pub body: String,
    /// Attempts so far.
    pub attempts: u64,
}

/// Says in a script how a record is kept.
pub(crate) fn say(script: &mut Script, record: &Record) {
    let text = |text: &str| Cell::Text(text.to_owned());
    match record {
        Record::ActEntered(id) => script.say("DELETE FROM admin_act WHERE id = ?", vec![text(id)]),
        Record::Alert(alert) => say_alert(script, alert),
        Record::AlertsForgotten { before } => say_forgotten(script, *before),
        Record::Attempted { hook, alert, due } => script.say(
            "UPDATE alert_delivery SET attempts = attempts + 1, due = ? \
             WHERE hook = ? AND alert = ? AND delivered IS NULL",
            vec![Cell::Int(due.millis()), text(hook), Cell::Text(alert.to_string())],
        ),
        Record::Delivered { hook, alert, at } => script.say(
            "UPDATE alert_delivery SET attempts = attempts + 1, delivered = ? \
             WHERE hook = ? AND alert = ? AND delivered IS NULL",
            vec![Cell::Int(at.millis()), text(hook), Cell::Text(alert.to_string())],
        ),
        Record::Final { shard, note } => script.say(
            "UPDATE log_shard SET note = ? WHERE number = ?",
            vec![text(note), Cell::Int(i64::from(*shard))],
        ),
        // Another replica may have come further.
        Record::Followed { name, next } => script.say(
            "INSERT INTO follower (name, next) VALUES (?, ?) \
             ON CONFLICT (name) DO UPDATE SET next = excluded.next WHERE follower.next < excluded.next",
            vec![text(name), Cell::Int(int(*next))],
        ),
        Record::Stamp(stamp) => script.say(
            "INSERT INTO log_stamp (size, authority, at, note, response) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING",
            vec![
                Cell::Int(int(stamp.size)),
                text(&stamp.authority),
                Cell::Int(stamp.at.millis()),
                text(&stamp.note),
                Cell::Bytes(stamp.response.clone()),
            ],
        ),
    }
}

fn say_forgotten(script: &mut Script, before: Timestamp) {
    for sql in [
        "DELETE FROM alert_delivery WHERE alert IN (SELECT id FROM alert WHERE at < ?)",
        "DELETE FROM alert_to WHERE at < ?",
        "DELETE FROM alert WHERE at < ?",
    ] {
        script.say(sql, vec![Cell::Int(before.millis())]);
    }
}

fn say_alert(script: &mut Script, alert: &Alert) {
    let text = |text: &str| Cell::Text(text.to_owned());
    let id = || Cell::Text(alert.id.to_string());
    let at = || Cell::Int(alert.at.millis());
    script.say(
        "INSERT INTO alert (id, at, about, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        vec![id(), at(), text(&alert.about), text(&alert.body)],
    );
    for agency in &alert.to {
        script.say(
            "INSERT INTO alert_to (agency, at, alert) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            vec![text(agency), at(), id()],
        );
    }
    for hook in &alert.hooks {
        script.say(
            "INSERT INTO alert_delivery (hook, alert, due, attempts) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING",
            vec![text(hook), id(), at()],
        );
    }
}

impl Reader {
    /// The newest alerts before an instant, those of one agency or all, at most [`PAGE_MAX`].
    pub async fn alerts(
        &self,
        agency: Option<&str>,
        before: Timestamp,
        limit: u64,
    ) -> Result<Vec<Told>, ReadError> {
        const ALL: &str =
            "SELECT a.id, a.at, a.body FROM alert a WHERE a.at < $1 ORDER BY a.at DESC, a.id LIMIT $2";
        const OF_ONE: &str = "SELECT a.id, a.at, a.body FROM alert_to t JOIN alert a ON a.id = t.alert \
             WHERE t.at < $1 AND t.agency = $3 ORDER BY t.at DESC, t.alert LIMIT $2";
        let (before, limit) = (before.millis(), int(limit.min(PAGE_MAX)));
        let agency = agency.map(str::to_owned);
        let rows: Vec<(String, i64, String)> = on!(&*self.pools, pool => match agency {
            Some(agency) => {
                sqlx::query_as(OF_ONE).bind(before).bind(limit).bind(agency).fetch_all(pool).await?
            }
            None => sqlx::query_as(ALL).bind(before).bind(limit).fetch_all(pool).await?,
        });
        let mut told = Vec::new();
        for (id, at, body) in rows {
            let deliveries = self.deliveries(&id).await?;
            let id = id.parse().map_err(|_| ReadError::Damaged("alert"))?;
            told.push(Told { id, at: Timestamp::from_millis(at), body, deliveries });
        }
        Ok(told)
    }

    async fn deliveries(&self, alert: &str) -> Result<Vec<Delivery>, ReadError> {
        const OF: &str =
            "SELECT hook, attempts, delivered FROM alert_delivery WHERE alert = $1 ORDER BY hook";
        let alert = alert.to_owned();
        let rows: Vec<(String, i64, Option<i64>)> =
            on!(&*self.pools, pool => sqlx::query_as(OF).bind(alert).fetch_all(pool).await?);
        let delivery = |(hook, attempts, delivered): (String, i64, Option<i64>)| Delivery {
            hook,
            attempts: u64::try_from(attempts).unwrap_or(0),
            delivered: delivered.map(Timestamp::from_millis),
        };
        Ok(rows.into_iter().map(delivery).collect())
    }

    /// The deliveries to a receiver that are due, the longest due first.
    pub async fn due(&self, hook: &str, now: Timestamp, limit: u64) -> Result<Vec<Due>, ReadError> {
        const DUE: &str = "SELECT d.alert, a.body, d.attempts FROM alert_delivery d \
             JOIN alert a ON a.id = d.alert WHERE d.hook = $1 AND d.delivered IS NULL AND d.due <= $2 \
             ORDER BY d.due, d.alert LIMIT $3";
        let (hook, now, limit) = (hook.to_owned(), now.millis(), int(limit.min(PAGE_MAX)));
        let rows: Vec<(String, String, i64)> = on!(&*self.pools, pool => {
            sqlx::query_as(DUE).bind(hook).bind(now).bind(limit).fetch_all(pool).await?
        });
        let due = |(alert, body, attempts): (String, String, i64)| {
            let alert = alert.parse().map_err(|_| ReadError::Damaged("alert"))?;
            Ok(Due { alert, body, attempts: u64::try_from(attempts).unwrap_or(0) })
        };
        rows.into_iter().map(due).collect()
    }

    /// The first entry that a follower has not seen yet.
    pub async fn follower(&self, name: &str) -> Result<Option<u64>, ReadError> {
        const FOLLOWER: &str = "SELECT next FROM follower WHERE name = $1";
        let name = name.to_owned();
        let next: Option<i64> =
            on!(&*self.pools, pool => sqlx::query_scalar(FOLLOWER).bind(name).fetch_optional(pool).await?);
        next.map(|next| u64::try_from(next).map_err(|_| ReadError::Damaged("follower"))).transpose()
    }

    /// Whether an alert is older than this.
    pub async fn has_alerts_before(&self, before: Timestamp) -> Result<bool, ReadError> {
        const OLDEST: &str = "SELECT MIN(at) FROM alert";
        let oldest: Option<i64> =
            on!(&*self.pools, pool => sqlx::query_scalar(OLDEST).fetch_one(pool).await?);
        Ok(oldest.is_some_and(|at| at < before.millis()))
    }

    /// The time stamps over checkpoints of sizes below `before`, the largest first: all those of at most `sizes` sizes.
    pub async fn stamps(&self, before: u64, sizes: u64) -> Result<Vec<Stamp>, ReadError> {
        const STAMPS: &str = "SELECT size, authority, at, note, response FROM log_stamp WHERE size IN \
             (SELECT DISTINCT size FROM log_stamp WHERE size < $1 ORDER BY size DESC LIMIT $2) \
             ORDER BY size DESC, authority";
        let (before, sizes) = (int(before), int(sizes.min(PAGE_MAX)));
        let rows: Vec<StampRow> =
            on!(&*self.pools, pool => sqlx::query_as(STAMPS).bind(before).bind(sizes).fetch_all(pool).await?);
        rows.into_iter().map(stamp).collect()
    }

    /// One time stamp.
    pub async fn stamp(&self, size: u64, authority: &str) -> Result<Option<Stamp>, ReadError> {
        const STAMP: &str = "SELECT size, authority, at, note, response FROM log_stamp \
             WHERE size = $1 AND authority = $2";
        let (size, authority) = (int(size), authority.to_owned());
        let row: Option<StampRow> = on!(&*self.pools, pool => {
            sqlx::query_as(STAMP).bind(size).bind(authority).fetch_optional(pool).await?
        });
        row.map(stamp).transpose()
    }

    /// When an authority stamped last, by its own clock.
    pub async fn last_stamp(&self, authority: &str) -> Result<Option<Timestamp>, ReadError> {
        const LAST: &str = "SELECT max(at) FROM log_stamp WHERE authority = $1";
        let authority = authority.to_owned();
        let at: Option<i64> =
            on!(&*self.pools, pool => sqlx::query_scalar(LAST).bind(authority).fetch_one(pool).await?);
        Ok(at.map(Timestamp::from_millis))
    }

    /// Acts of administrators that are not entered yet, by identifier, at most [`PAGE_MAX`].
    pub async fn acts(&self) -> Result<Vec<(String, String)>, ReadError> {
        const ACTS: &str = "SELECT id, act FROM admin_act ORDER BY id LIMIT $1";
        let limit = int(PAGE_MAX);
        Ok(on!(&*self.pools, pool => sqlx::query_as(ACTS).bind(limit).fetch_all(pool).await?))
    }
}

/// Writes down an act of an administrator past the gateway, to be entered by it. Only on PostgreSQL: SQLite has one
/// connection that writes, and it is the gateway's. `Ok(false)` there.
pub async fn note_act(url: &str, id: &str, act: &str) -> Result<bool, ConnectError> {
    const NOTE: &str = "INSERT INTO admin_act (id, act) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let address: crate::db::Address = url.parse()?;
    match address.plain().await? {
        Some(mut connection) => {
            sqlx::query(NOTE).bind(id.to_owned()).bind(act.to_owned()).execute(&mut connection).await?;
            Ok(true)
        }
        None => Ok(false),
    }
}

type StampRow = (i64, String, i64, String, Vec<u8>);

fn stamp((size, authority, at, note, response): StampRow) -> Result<Stamp, ReadError> {
    let size = u64::try_from(size).map_err(|_| ReadError::Damaged("time stamp"))?;
    Ok(Stamp { size, authority, at: Timestamp::from_millis(at), note, response })
}

/// Sizes and indices stay below 2^53.
fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

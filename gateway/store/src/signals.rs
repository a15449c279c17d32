//! Subscriptions and the signals that wait for them: written in the transaction of the entry that says so, forgotten by
//! their dates, found by whose they are.

use varco_core::id::{AgencyId, OfficeId, SubscriptionId};
use varco_core::parcel::Locked;
use varco_core::signal::{PER_SUBSCRIPTION, Signal, SignalChange, SignalType};
use varco_core::time::Timestamp;

use crate::db::{Link, on};
use crate::fault::StatementError;
use crate::read::{ReadError, Reader, Stream, StreamRow, streams};
use crate::rows::{Cell, ROWS_MAX, Script, execute};

/// Part of the writer's transaction, which holds the log's lock: numbers become visible in their order.
pub(crate) async fn write(link: &mut Link, changes: &[&SignalChange]) -> Result<(), StatementError> {
    for chunk in changes.chunks(ROWS_MAX) {
        let mut script = Script::default();
        chunk.iter().for_each(|change| say(&mut script, change));
        execute(link, script).await?;
    }
    Ok(())
}

fn say(script: &mut Script, change: &SignalChange) {
    const OPEN: &str = "INSERT INTO subscription (id, agency, office, until, lock_key, person) \
         VALUES (?, ?, ?, ?, ?, ?)";
    // A subscription that ended after the signal was made is given none.
    const KEEP: &str = "INSERT INTO signal (subscription, agency, office, kind, at, exchange, lock_key, controls) \
         SELECT id, agency, office, ?, ?, ?, ?, ? FROM subscription WHERE id = ?";
    // The oldest go where too many wait.
    const MAKE_ROOM: &str = "DELETE FROM signal WHERE subscription = ? AND id <= \
         (SELECT id FROM signal WHERE subscription = ? ORDER BY id DESC LIMIT 1 OFFSET ?)";
    let text = |id: &SubscriptionId| Cell::Text(id.to_string());
    let office = |office: &Option<OfficeId>| Cell::MaybeText(office.as_ref().map(ToString::to_string));
    match change {
        SignalChange::End { subscription } => {
            script.say("DELETE FROM subscription WHERE id = ?", vec![text(subscription)]);
            script.say("DELETE FROM signal WHERE subscription = ?", vec![text(subscription)]);
        }
        SignalChange::Keep { subscription, kind, at, exchange, controls } => {
            let cells = vec![
                Cell::Text(kind.text().to_owned()),
                Cell::Int(at.millis()),
                Cell::Text(exchange.to_string()),
                Cell::Bytes(controls.key.clone()),
                Cell::Bytes(controls.copy.clone()),
                text(subscription),
            ];
            script.say(KEEP, cells);
            let kept = Cell::Int(PER_SUBSCRIPTION.into());
            script.say(MAKE_ROOM, vec![text(subscription), text(subscription), kept]);
        }
        SignalChange::Open { subscription, agency, office: of, until, locked } => {
            let cells = vec![
                text(subscription),
                Cell::Text(agency.to_string()),
                office(of),
                Cell::Int(until.millis()),
                Cell::Bytes(locked.key.clone()),
                Cell::Bytes(locked.copy.clone()),
            ];
            script.say(OPEN, cells);
        }
        SignalChange::Remove { signal } => {
            script.say("DELETE FROM signal WHERE id = ?", vec![Cell::Int(int(*signal))]);
        }
    }
}

/// Forgets subscriptions whose date has passed, with what waits for them, and signals made before an instant. Says how
/// many rows went.
pub(crate) async fn forget(
    link: &mut Link,
    now: Timestamp,
    made_before: Timestamp,
) -> Result<u64, sqlx::Error> {
    let mut script = Script::default();
    let now = || vec![Cell::Int(now.millis())];
    let ended = "DELETE FROM signal WHERE subscription IN (SELECT id FROM subscription WHERE until <= ?)";
    script.say(ended, now());
    script.say("DELETE FROM subscription WHERE until <= ?", now());
    script.say("DELETE FROM signal WHERE at < ?", vec![Cell::Int(made_before.millis())]);
    execute(link, script).await
}

impl Reader {
    /// How many subscriptions of an agency have not come to their end.
    pub async fn subscription_count(&self, agency: &AgencyId, now: Timestamp) -> Result<u64, ReadError> {
        const COUNT: &str = "SELECT count(*) FROM subscription WHERE agency = $1 AND until > $2";
        let (agency, now) = (agency.to_string(), now.millis());
        let count: i64 = on!(&*self.pools, pool => {
            sqlx::query_scalar(COUNT).bind(agency).bind(now).fetch_one(pool).await?
        });
        Ok(count.unsigned_abs())
    }

    /// A page of an agency's subscriptions that have not come to their end, in the order of their identifiers.
    pub async fn subscriptions_of(
        &self,
        agency: &AgencyId,
        now: Timestamp,
        after: Option<&SubscriptionId>,
        most: usize,
    ) -> Result<Vec<Stream>, ReadError> {
        const OWN: &str = "SELECT s.id, s.kind, s.epoch, s.header, e.event FROM stream s \
             JOIN stream_event e ON e.stream = s.id WHERE s.id IN (SELECT id FROM subscription \
             WHERE agency = $1 AND until > $2 AND id > $3 ORDER BY id LIMIT $4) ORDER BY s.id, e.seq";
        let after = after.map(ToString::to_string).unwrap_or_default();
        let (agency, now, most) = (agency.to_string(), now.millis(), limit(most));
        let rows: Vec<StreamRow> = on!(&*self.pools, pool => {
            sqlx::query_as(OWN).bind(agency).bind(now).bind(after).bind(most).fetch_all(pool).await?
        });
        streams(rows)
    }

    /// Whom a subscription is about, under lock; `None` once it has ended.
    pub async fn subscription_person(&self, id: &SubscriptionId) -> Result<Option<Locked>, ReadError> {
        const PERSON: &str = "SELECT lock_key, person FROM subscription WHERE id = $1";
        let id = id.to_string();
        let row: Option<(Vec<u8>, Vec<u8>)> =
            on!(&*self.pools, pool => sqlx::query_as(PERSON).bind(id).fetch_optional(pool).await?);
        Ok(row.map(|(key, copy)| Locked { key, copy }))
    }

    /// What waits for an agency and this office of it, made since an instant, from the number after `after` on.
    pub async fn signals_for(
        &self,
        (agency, office): (&AgencyId, Option<&OfficeId>),
        since: Timestamp,
        after: u64,
        most: usize,
    ) -> Result<Vec<Signal>, ReadError> {
        const WAIT: &str = "SELECT id, subscription, kind, at, exchange, lock_key, controls FROM signal \
             WHERE agency = $1 AND (office IS NULL OR office = $2) AND at >= $3 AND id > $4 \
             ORDER BY id LIMIT $5";
        let (agency, office) = (agency.to_string(), office.map(ToString::to_string));
        let (since, after, most) = (since.millis(), int(after), limit(most));
        let rows: Vec<SignalRow> = on!(&*self.pools, pool => {
            let query = sqlx::query_as(WAIT).bind(agency).bind(office).bind(since).bind(after).bind(most);
            query.fetch_all(pool).await?
        });
        rows.into_iter().map(signal).collect()
    }
}

type SignalRow = (i64, String, String, i64, String, Vec<u8>, Vec<u8>);

fn signal((id, subscription, kind, at, exchange, key, copy): SignalRow) -> Result<Signal, ReadError> {
    let damaged = || ReadError::Damaged("signal");
    Ok(Signal {
        id: u64::try_from(id).map_err(|_| damaged())?,
        subscription: subscription.parse().map_err(|_| damaged())?,
        kind: SignalType::parse(&kind).ok_or_else(damaged)?,
        at: Timestamp::from_millis(at),
        exchange: exchange.parse().map_err(|_| damaged())?,
        controls: Locked { key, copy },
    })
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// Numbers come from the database and stay below 2^63; one that somebody makes up is after all of them.
fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

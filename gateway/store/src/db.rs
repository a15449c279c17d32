//! The two databases behind one set of statements: connections, settings that must hold, and the schema.
//!
//! sqlx takes `$n` placeholders on both, so each statement is one text; `on!` runs it on whichever is there. Nothing
//! here knows what the statements mean.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, PgPool, SqlSafeStr as _, SqliteConnection, SqlitePool,
};

/// One thing for each database.
#[derive(Clone, Debug)]
pub enum Backend<P, S> {
    Postgres(P),
    Sqlite(S),
}

/// The writer's own connection.
pub type Link = Backend<PgConnection, SqliteConnection>;

/// Connections for reading.
pub type Pools = Backend<PgPool, SqlitePool>;

/// Runs one and the same expression on whichever database is there.
macro_rules! on {
    ($backend:expr, $at:ident => $query:expr) => {
        match $backend {
            $crate::db::Backend::Postgres($at) => $query,
            $crate::db::Backend::Sqlite($at) => $query,
        }
    };
}
pub(crate) use on;

/// Readers beside the writer. A read takes some 50 µs, so four serve tens of thousands a second.
const READERS: u32 = 4;

/// A writer waits this long for another process that holds the lock; shorter than callers wait for a commit.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Statements are kept prepared: some ten kinds, each for 1 to 64 rows.
const STATEMENTS: usize = 1024;

/// WAL pages before SQLite copies them into the database by itself: 16 MiB. Fewer would stall commits more often.
const CHECKPOINT_PAGES: &str = "4000";

/// The oldest SQLite without the WAL-reset bug, which loses committed writes (present from 3.7.0 to 3.51.2).
const SQLITE_OLDEST: [u32; 3] = [3, 51, 3];

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the database does not answer as it must")]
    Database(#[from] sqlx::Error),
    #[error("the database's schema cannot be brought up to date")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// With this setting an acknowledged entry could be lost.
    #[error("the database's setting `{name}` is `{found}`, but durable entries need `{needed}`")]
    Setting { name: &'static str, found: String, needed: &'static str },
    #[error("SQLite {0} can lose committed entries; 3.51.3 or later is needed")]
    SqliteTooOld(String),
    #[error("a database on another machine is reached with `sslmode=verify-full` only")]
    Unprotected,
    #[error("expected a database such as `sqlite:/var/lib/varco/varco.db` or `postgres://varco@host/varco`")]
    Url,
}

/// Where a database is. May hold a password, so `Debug` tells only the kind.
#[derive(Clone)]
pub struct Address(Backend<PgConnectOptions, SqliteConnectOptions>);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Backend::Postgres(_) => "Address(postgres)",
            Backend::Sqlite(_) => "Address(sqlite)",
        })
    }
}

impl FromStr for Address {
    type Err = ConnectError;

    fn from_str(url: &str) -> Result<Self, ConnectError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(url).map_err(|_| ConnectError::Url)?;
            let options = options.statement_cache_capacity(STATEMENTS).disable_statement_logging();
            return Ok(Self(Backend::Postgres(protected(options)?)));
        }
        // A log in memory would forget what it acknowledged.
        if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
            return Err(ConnectError::Url);
        }
        let options = SqliteConnectOptions::from_str(url).map_err(|_| ConnectError::Url)?;
        let options = options
            .busy_timeout(LOCK_WAIT)
            .foreign_keys(true)
            .statement_cache_capacity(STATEMENTS)
            .disable_statement_logging();
        Ok(Self(Backend::Sqlite(options)))
    }
}

/// Over a network only with TLS, and only with a server that proves its name: where sqlx would take what it gets, we do not.
fn protected(options: PgConnectOptions) -> Result<PgConnectOptions, ConnectError> {
    let is_here = options.get_socket().is_some()
        || ["localhost", "127.0.0.1", "::1"].contains(&options.get_host())
        || options.get_host().starts_with('/');
    match options.get_ssl_mode() {
        _ if is_here => Ok(options),
        PgSslMode::Prefer | PgSslMode::VerifyFull => Ok(options.ssl_mode(PgSslMode::VerifyFull)),
        PgSslMode::Allow | PgSslMode::Disable | PgSslMode::Require | PgSslMode::VerifyCa => {
            Err(ConnectError::Unprotected)
        }
    }
}

impl Address {
    /// Whether it is reached through a socket.
    pub const fn is_remote(&self) -> bool {
        match self.0 {
            Backend::Postgres(_) => true,
            Backend::Sqlite(_) => false,
        }
    }

    /// The one connection that writes, its settings verified and the schema up to date.
    pub async fn writer(&self) -> Result<Link, ConnectError> {
        let mut link = match &self.0 {
            Backend::Postgres(options) => {
                let wait = format!("{}ms", LOCK_WAIT.as_millis());
                let limits = [("lock_timeout", wait.as_str()), ("idle_in_transaction_session_timeout", "5s")];
                let mut connection = options.clone().options(limits).connect().await?;
                require_postgres(&mut connection).await?;
                Link::Postgres(connection)
            }
            Backend::Sqlite(options) => {
                let options = options
                    .clone()
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    // What is deleted must not stay readable in free pages.
                    .pragma("secure_delete", "ON")
                    // Before-images of pages for the case that a statement fails: never into a file.
                    .pragma("temp_store", "MEMORY")
                    .pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
                let mut connection = options.connect().await?;
                require_sqlite(&mut connection).await?;
                Link::Sqlite(connection)
            }
        };
        match &mut link {
            Backend::Postgres(connection) => schema(POSTGRES).run(connection).await?,
            Backend::Sqlite(connection) => schema(SQLITE).run(connection).await?,
        }
        Ok(link)
    }

    /// Makes the database where there is none, and brings its schema up to date.
    pub async fn prepare(&self) -> Result<(), ConnectError> {
        match self.writer().await? {
            Backend::Postgres(at) => at.close().await?,
            Backend::Sqlite(at) => at.close().await?,
        }
        Ok(())
    }

    /// A connection to PostgreSQL for a single small statement; none to SQLite, which has one writer.
    pub async fn plain(&self) -> Result<Option<PgConnection>, ConnectError> {
        match &self.0 {
            Backend::Postgres(options) => Ok(Some(options.connect().await?)),
            Backend::Sqlite(_) => Ok(None),
        }
    }

    /// Connections that can only read. The schema must be there.
    pub async fn readers(&self) -> Result<Pools, ConnectError> {
        match &self.0 {
            Backend::Postgres(options) => {
                let options = options.clone().options([("default_transaction_read_only", "on")]);
                let pool = PgPoolOptions::new().max_connections(READERS).connect_with(options).await?;
                Ok(Pools::Postgres(pool))
            }
            Backend::Sqlite(options) => {
                // A file does not go away between two reads, so it need not be asked before each.
                let pool = SqlitePoolOptions::new().max_connections(READERS).test_before_acquire(false);
                let options = options.clone().read_only(true).create_if_missing(false);
                Ok(Pools::Sqlite(pool.connect_with(options).await?))
            }
        }
    }
}

const SQLITE: &[(i64, &str, &str)] = &[
    (1, "ledger", include_str!("../migrations/sqlite/0001_ledger.sql")),
    (2, "waits", include_str!("../migrations/sqlite/0002_waits.sql")),
    (3, "search", include_str!("../migrations/sqlite/0003_search.sql")),
    (30, "bodies", include_str!("../migrations/sqlite/0030_bodies.sql")),
    (31, "holds", include_str!("../migrations/sqlite/0031_holds.sql")),
    (40, "watching", include_str!("../migrations/sqlite/0040_watching.sql")),
    (50, "parcel", include_str!("../migrations/sqlite/0050_parcel.sql")),
    (51, "code", include_str!("../migrations/sqlite/0051_code.sql")),
    (60, "signals", include_str!("../migrations/sqlite/0060_signals.sql")),
    (80, "shards", include_str!("../migrations/sqlite/0080_shards.sql")),
];
const POSTGRES: &[(i64, &str, &str)] = &[
    (1, "ledger", include_str!("../migrations/postgres/0001_ledger.sql")),
    (2, "waits", include_str!("../migrations/postgres/0002_waits.sql")),
    (3, "search", include_str!("../migrations/postgres/0003_search.sql")),
    (30, "bodies", include_str!("../migrations/postgres/0030_bodies.sql")),
    (31, "holds", include_str!("../migrations/postgres/0031_holds.sql")),
    (40, "watching", include_str!("../migrations/postgres/0040_watching.sql")),
    (50, "parcel", include_str!("../migrations/postgres/0050_parcel.sql")),
    (51, "code", include_str!("../migrations/postgres/0051_code.sql")),
    (60, "signals", include_str!("../migrations/postgres/0060_signals.sql")),
    (80, "shards", include_str!("../migrations/postgres/0080_shards.sql")),
];

fn schema(versions: &'static [(i64, &'static str, &'static str)]) -> Migrator {
    let migration = |(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(versions.iter().map(migration).collect())
}

async fn require_sqlite(connection: &mut SqliteConnection) -> Result<(), ConnectError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await?;
    if !is_safe_sqlite(&version) {
        return Err(ConnectError::SqliteTooOld(version));
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    require("journal_mode", &mode, &["wal"])?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
    // 2 is FULL, 3 is EXTRA.
    require("synchronous", &synchronous.to_string(), &["2", "3"])?;
    let mapped: i64 = sqlx::query_scalar("PRAGMA mmap_size").fetch_one(&mut *connection).await?;
    require("mmap_size", &mapped.to_string(), &["0"])
}

async fn require_postgres(connection: &mut PgConnection) -> Result<(), ConnectError> {
    const NEEDED: [(&str, &str, &[&str]); 3] = [
        ("fsync", "SHOW fsync", &["on"]),
        ("full_page_writes", "SHOW full_page_writes", &["on"]),
        // `local` and `remote_write` would acknowledge what a standby has not made durable.
        ("synchronous_commit", "SHOW synchronous_commit", &["on", "remote_apply"]),
    ];
    for (name, query, allowed) in NEEDED {
        let found: String = sqlx::query_scalar(query).fetch_one(&mut *connection).await?;
        require(name, &found, allowed)?;
    }
    Ok(())
}

fn require(name: &'static str, found: &str, allowed: &[&'static str]) -> Result<(), ConnectError> {
    if allowed.contains(&found) {
        return Ok(());
    }
    let needed = allowed.first().copied().unwrap_or_default();
    Err(ConnectError::Setting { name, found: found.to_owned(), needed })
}

/// Whether this SQLite keeps what it has committed.
fn is_safe_sqlite(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    let found = [(); 3].map(|()| numbers.next().flatten());
    let [Some(major), Some(minor), Some(patch)] = found else { return false };
    [major, minor, patch] >= SQLITE_OLDEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqlite_that_loses_writes_is_refused() {
        for old in ["3.46.0", "3.50.2", "3.51.2", "2.99.99", "3.51", "", "3.x.3"] {
            assert!(!is_safe_sqlite(old), "{old}");
        }
        for good in ["3.51.3", "3.52.0", "3.51.10", "4.0.0"] {
            assert!(is_safe_sqlite(good), "{good}");
        }
    }

    #[test]
    fn settings_that_lose_entries_are_refused() {
        assert!(require("fsync", "on", &["on"]).is_ok());
        let fault = require("fsync", "off", &["on"]).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the database's setting `fsync` is `off`, but durable entries need `on`"
        );
    }

    #[test]
    fn a_log_in_memory_or_in_another_database_is_refused() {
        for url in ["", "sqlite::memory:", "sqlite:x?mode=memory", "mysql://x/y", "/var/lib/varco.db"] {
            assert!(Address::from_str(url).is_err(), "{url}");
        }
        for url in ["sqlite:varco.db", "sqlite:///var/lib/memory/varco.db", "postgres://varco:s3cret@h/varco"]
        {
            let address = Address::from_str(url).unwrap();
            assert!(!format!("{address:?}").contains("s3cret"));
        }
    }
}

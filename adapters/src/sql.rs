//! A read-only view in an agency's database: SQLite, PostgreSQL, MySQL or MariaDB.
//!
//! The one file of this crate that writes SQL. It selects the columns of the fields asked for, and the person's, by the
//! person's codice fiscale as a parameter; nothing that comes from a request is ever part of a statement. Sessions are
//! read-only and statements have a time limit, at the server. Every column is read as text, so that amounts stay exact and a
//! date such as `0000-00-00` is seen as what it is.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    AssertSqlSafe, ColumnIndex, ConnectOptions as _, Connection as _, Database, Decode, Executor as _,
    MySqlPool, PgPool, Type,
};
use varco_core::exchange::{Assurance, Said, SaidOf};
use varco_core::hash::Sha256;
use varco_core::id::{FieldId, RecordTypeId};
use varco_core::json;
use varco_core::subject::CodiceFiscale;
use varco_core::view::kind::MOST_ITEMS;
use zeroize::Zeroizing;

use crate::counting::{CountRequest, CountView, Counted};
use crate::http::caused_by;
use crate::mapping::{Ask, Mapping, Mappings, Reason, RowFault};
use crate::rows::{self, Placed, Row};
use crate::{AgencyRecord, FetchError, Request};

mod counting;
#[cfg(test)]
mod tests;

/// Rows of one person: as many as a list may have items, and one more to notice that there are too many.
const ROWS_MAX: usize = MOST_ITEMS + 1;
/// A view answers one person's rows in milliseconds; more connections than this would only burden a small server.
const CONNECTIONS_MAX: u32 = 8;
/// An idle connection is given back after this time.
const IDLE: Duration = Duration::from_secs(60);
/// SQLite looks at the clock once in so many of its steps: some 10 ms.
const STEPS: i32 = 100_000;

/// Where the database is, and who we are there.
#[derive(Clone)]
pub struct Settings {
    pub place: Place,
    /// The server ends a statement after this time.
    pub statement_timeout: Duration,
    pub connections: u32,
}

#[derive(Clone)]
pub enum Place {
    Mysql(Server),
    Postgres(Server),
    /// A file that is opened for reading only.
    Sqlite(PathBuf),
}

#[derive(Clone)]
pub struct Server {
    pub at: Address,
    pub database: String,
    pub user: String,
    pub password: Option<Zeroizing<String>>,
}

#[derive(Clone)]
pub enum Address {
    /// Over TLS; the server's certificate must be of one of these authorities (PEM) and of this host.
    Remote { host: String, port: u16, authorities: Vec<u8> },
    /// On this machine: a port of the loopback interface.
    Loopback { port: u16 },
    /// On this machine: PostgreSQL's folder of sockets, MySQL's socket.
    Socket(PathBuf),
}

/// A mapping that a database cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlFault {
    #[error("[mappatura {0}]: `{1}` is no column; in a table a place is `COLUMN` or `righe[].COLUMN`")]
    NoColumn(RecordTypeId, String),
    #[error("[mappatura {0}]: `da` must name the view, such as `anagrafe.vw_nucleo`")]
    NoView(RecordTypeId),
    #[error("[mappatura {0}]: `soggetto` must name the column of the codice fiscale")]
    NoSubject(RecordTypeId),
}

pub struct Sql {
    mappings: Mappings,
    database: Reached,
}

enum Reached {
    Mysql(MySqlPool),
    Postgres(PgPool),
    /// Opened anew each time, which costs less than a millisecond: so each has its own time limit.
    Sqlite {
        options: Box<SqliteConnectOptions>,
        timeout: Duration,
    },
}

/// How a database writes names, texts and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Mysql,
    Postgres,
    Sqlite,
}

impl Sql {
    /// Connects only when something is asked. The mappings must be such as a table can serve.
    pub fn new(settings: &Settings, mappings: Mappings) -> Result<Self, Vec<SqlFault>> {
        let mut faults: Vec<SqlFault> = mappings.all().flat_map(faults).collect();
        let views = mappings.count_views().filter(|(_, view)| self::view(&view.from).is_none());
        faults.extend(views.map(|(id, _)| SqlFault::NoView(id.clone())));
        if faults.is_empty() { Ok(Self { mappings, database: Reached::new(settings) }) } else { Err(faults) }
    }

    pub const fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    pub(crate) async fn fetch(&self, request: &Request<'_>) -> Result<AgencyRecord, FetchError> {
        let mapping = self.mappings.of(request.record_type).ok_or(FetchError::NoMapping)?;
        let (tree, said) = self.tree(mapping, request.subject, request.fields).await?;
        let ask = Ask { row: 0, subject: Some(request.subject), fields: request.fields };
        let mapped = mapping.read(&tree, &ask).map_err(FetchError::NotFitting)?;
        Ok(AgencyRecord::mapped(mapped, said))
    }

    /// One person's rows, as the mapping reads them.
    pub async fn tree(
        &self,
        mapping: &Mapping,
        subject: &CodiceFiscale,
        fields: &[FieldId],
    ) -> Result<(Value, Said), FetchError> {
        let rows = self.database.of_person(mapping, fields, subject).await?;
        if rows.is_empty() {
            return Err(FetchError::SubjectUnknown);
        }
        if rows.len() > MOST_ITEMS {
            return Err(FetchError::NotFitting(vec![RowFault::new(0, "", Reason::TooManyItems)]));
        }
        let all: Vec<Value> = rows.iter().map(|row| Value::Object(row.columns.clone())).collect();
        let digest = Sha256::of(json::canonical(&Value::Array(all)).as_bytes());
        let said = Said { digest, of: SaidOf::Tree, by: Assurance::Database };
        let tree = rows::tree(rows, mapping, fields).map_err(|fault| FetchError::NotFitting(vec![fault]))?;
        Ok((tree, said))
    }

    /// Rows of any persons, at most so many: for those who tend the adapter.
    pub async fn trees(&self, mapping: &Mapping, most: usize) -> Result<Vec<(u64, Value)>, FetchError> {
        let rows = self.database.any(mapping, &mapping.covered(), most).await?;
        Ok(crate::rows::by_person(rows, mapping))
    }
}

/// What a table cannot serve of a mapping.
fn faults(mapping: &Mapping) -> Vec<SqlFault> {
    let id = &mapping.record.id;
    let mut faults = Vec::new();
    if mapping.from.as_deref().and_then(view).is_none() {
        faults.push(SqlFault::NoView(id.clone()));
    }
    match &mapping.subject {
        None => faults.push(SqlFault::NoSubject(id.clone())),
        Some(path) if path.column().is_none() => {
            faults.push(SqlFault::NoColumn(id.clone(), path.to_string()))
        }
        Some(_) => {}
    }
    let all = mapping.covered();
    let wrong = mapping.sources(&all).into_iter().filter(|path| path.column().is_none());
    faults.extend(wrong.map(|path| SqlFault::NoColumn(id.clone(), path.to_string())));
    faults
}

/// The parts of `schema.view`.
fn view(name: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = name.split('.').map(str::trim).collect();
    let good = |part: &&str| !part.is_empty() && !part.contains(['\0', '"', '`']);
    (parts.len() <= 3 && parts.iter().all(good)).then_some(parts)
}

impl Dialect {
    /// A name in quotes, its own quotes doubled.
    fn name(self, name: &str) -> String {
        let quote = if self == Self::Mysql { '`' } else { '"' };
        format!("{quote}{}{quote}", name.replace(quote, &format!("{quote}{quote}")))
    }

    fn text_of(self, column: &str) -> String {
        let column = self.name(column);
        match self {
            Self::Mysql => format!("CAST({column} AS CHAR)"),
            Self::Postgres => format!("{column}::text"),
            Self::Sqlite => format!("CAST({column} AS TEXT)"),
        }
    }

    /// The columns' texts, of the rows of one person or of any.
    fn statement(self, mapping: &Mapping, columns: &[&str], of: Rows) -> String {
        let list: Vec<String> = columns.iter().map(|column| self.text_of(column)).collect();
        let view = mapping.from.as_deref().and_then(view).unwrap_or_default();
        let view: Vec<String> = view.into_iter().map(|part| self.name(part)).collect();
        let (list, view) = (list.join(", "), view.join("."));
        match of {
            Rows::Any(most) => format!("SELECT {list} FROM {view} LIMIT {most}"),
            Rows::OfPerson => {
                let subject = mapping.subject.as_ref().and_then(|path| path.column()).unwrap_or_default();
                let parameter = if self == Self::Mysql { "?" } else { "$1" };
                format!(
                    "SELECT {list} FROM {view} WHERE {} = {parameter} LIMIT {ROWS_MAX}",
                    self.name(subject)
                )
            }
        }
    }

    /// How many rows of a period for each combination of the columns, and by how many there are more rows than people.
    fn counting(self, from: &CountView, columns: &[&str]) -> String {
        let parts = view(&from.from).unwrap_or_default();
        let name = parts.into_iter().map(|part| self.name(part)).collect::<Vec<_>>().join(".");
        let list: Vec<String> = columns.iter().map(|column| self.text_of(column)).collect();
        let list = list.join(", ");
        let parameter = if self == Self::Mysql { "?" } else { "$1" };
        let period = format!("{} = {parameter}", self.text_of(&from.period));
        let text = |number: String| match self {
            Self::Mysql => format!("CAST({number} AS CHAR)"),
            Self::Postgres | Self::Sqlite => format!("CAST({number} AS TEXT)"),
        };
        let repeated = format!(
            "(SELECT COUNT(*) - COUNT(DISTINCT {}) FROM {name} WHERE {period})",
            self.name(&from.subject)
        );
        format!(
            "SELECT {list}, {}, {} FROM {name} WHERE {period} GROUP BY {list} LIMIT {}",
            text("COUNT(*)".to_owned()),
            text(repeated),
            counting::ROWS_MAX + 1
        )
    }
}

#[derive(Clone, Copy)]
enum Rows {
    Any(usize),
    OfPerson,
}

impl Reached {
    fn new(settings: &Settings) -> Self {
        let connections = settings.connections.clamp(1, CONNECTIONS_MAX);
        let timeout = settings.statement_timeout;
        match &settings.place {
            Place::Mysql(server) => {
                let pool = MySqlPoolOptions::new().max_connections(connections).idle_timeout(IDLE);
                let pool = pool.after_connect(move |link, _| {
                    Box::pin(async move {
                        link.execute("SET SESSION TRANSACTION READ ONLY").await?;
                        // MariaDB counts seconds, MySQL milliseconds, and each knows only its own name.
                        let seconds =
                            format!("SET SESSION max_statement_time = {:.3}", timeout.as_secs_f64());
                        if link.execute(AssertSqlSafe(seconds)).await.is_err() {
                            let millis = format!("SET SESSION max_execution_time = {}", timeout.as_millis());
                            link.execute(AssertSqlSafe(millis)).await?;
                        }
                        Ok(())
                    })
                });
                Self::Mysql(pool.connect_lazy_with(mysql(server)))
            }
            Place::Postgres(server) => {
                let pool = PgPoolOptions::new().max_connections(connections).idle_timeout(IDLE);
                Self::Postgres(pool.connect_lazy_with(postgres(server, timeout)))
            }
            Place::Sqlite(path) => {
                let options =
                    SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(timeout);
                Self::Sqlite { options: Box::new(options.disable_statement_logging()), timeout }
            }
        }
    }

    const fn dialect(&self) -> Dialect {
        match self {
            Self::Mysql(_) => Dialect::Mysql,
            Self::Postgres(_) => Dialect::Postgres,
            Self::Sqlite { .. } => Dialect::Sqlite,
        }
    }

    async fn of_person(
        &self,
        mapping: &Mapping,
        fields: &[FieldId],
        subject: &CodiceFiscale,
    ) -> Result<Vec<Placed>, FetchError> {
        let columns = mapping.columns(fields);
        let statement = self.dialect().statement(mapping, &columns, Rows::OfPerson);
        self.ask(statement, &columns, &[subject.expose()]).await
    }

    async fn any(
        &self,
        mapping: &Mapping,
        fields: &[FieldId],
        most: usize,
    ) -> Result<Vec<Placed>, FetchError> {
        let columns = mapping.columns(fields);
        let statement = self.dialect().statement(mapping, &columns, Rows::Any(most));
        self.ask(statement, &columns, &[]).await
    }

    /// `statement` is made of quoted names of the mapping and numbers only; what comes from a request travels as a parameter.
    async fn ask(
        &self,
        statement: String,
        columns: &[&str],
        parameters: &[&str],
    ) -> Result<Vec<Placed>, FetchError> {
        let statement = AssertSqlSafe(statement);
        match self {
            Self::Mysql(pool) => {
                let query = parameters.iter().fold(sqlx::query(statement), |query, one| query.bind(*one));
                texts(&query.fetch_all(pool).await.map_err(failed)?, columns)
            }
            Self::Postgres(pool) => {
                let query = parameters.iter().fold(sqlx::query(statement), |query, one| query.bind(*one));
                texts(&query.fetch_all(pool).await.map_err(failed)?, columns)
            }
            Self::Sqlite { options, timeout } => {
                let query = parameters.iter().fold(sqlx::query(statement), |query, one| query.bind(*one));
                let mut link = options.connect().await.map_err(failed)?;
                let ends = tokio::time::Instant::now() + *timeout;
                let in_time = move || tokio::time::Instant::now() < ends;
                link.lock_handle().await.map_err(failed)?.set_progress_handler(STEPS, in_time);
                let rows = query.fetch_all(&mut link).await;
                let _ = link.close().await;
                texts(&rows.map_err(failed)?, columns)
            }
        }
    }
}

/// Every column as text. Bytes that are no UTF-8 are a fault of their column, not of the answer.
fn texts<R>(rows: &[R], columns: &[&str]) -> Result<Vec<Placed>, FetchError>
where
    R: sqlx::Row,
    usize: ColumnIndex<R>,
    for<'r> Option<Vec<u8>>: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
{
    let mut found = Vec::with_capacity(rows.len());
    for (number, row) in (1..).zip(rows) {
        let mut texts = Row::new();
        for (i, column) in columns.iter().enumerate() {
            let bytes: Option<Vec<u8>> = row.try_get_unchecked(i).map_err(failed)?;
            let text = match bytes.map(String::from_utf8) {
                None => Value::Null,
                Some(Ok(text)) => Value::String(text),
                Some(Err(_)) => {
                    let fault = RowFault::new(number, *column, Reason::Encoding);
                    return Err(FetchError::NotFitting(vec![fault]));
                }
            };
            texts.insert((*column).to_owned(), text);
        }
        found.push(Placed { row: number, columns: texts });
    }
    Ok(found)
}

/// A database's own words may hold values, so they go no further than their kind.
fn failed(error: sqlx::Error) -> FetchError {
    if let sqlx::Error::Database(inner) = &error {
        let code = inner.code().unwrap_or_default().into_owned();
        // The server ended the statement: PostgreSQL, MariaDB, SQLite; MySQL says it with its own number.
        return match code.as_str() {
            "57014" | "70100" | "9" => FetchError::Timeout,
            // SQLite finds no file that it can open; PostgreSQL is going down or coming up.
            "14" | "57P01" | "57P02" | "57P03" => unreachable(),
            _ => FetchError::Database { code },
        };
    }
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return FetchError::Busy;
    }
    if let Some(tls @ rustls::Error::InvalidCertificate(_)) = caused_by(&error) {
        return FetchError::Certificate(tls.clone());
    }
    unreachable()
}

fn unreachable() -> FetchError {
    FetchError::Unreachable("the database could not be reached".into())
}

fn mysql(server: &Server) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new().username(&server.user).database(&server.database);
    let options = match &server.password {
        Some(password) => options.password(password),
        None => options,
    };
    let options = match &server.at {
        Address::Loopback { port } => options.host("127.0.0.1").port(*port).ssl_mode(MySqlSslMode::Disabled),
        Address::Remote { host, port, authorities } => options
            .host(host)
            .port(*port)
            .ssl_mode(MySqlSslMode::VerifyIdentity)
            .ssl_ca_from_pem(authorities.clone()),
        Address::Socket(path) => options.socket(path).ssl_mode(MySqlSslMode::Disabled),
    };
    options.charset("utf8mb4").disable_statement_logging()
}

fn postgres(server: &Server, timeout: Duration) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass().username(&server.user).database(&server.database);
    let options = match &server.password {
        Some(password) => options.password(password),
        None => options,
    };
    let options = match &server.at {
        Address::Loopback { port } => options.host("127.0.0.1").port(*port).ssl_mode(PgSslMode::Disable),
        Address::Remote { host, port, authorities } => options
            .host(host)
            .port(*port)
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(authorities.clone()),
        Address::Socket(path) => options.socket(path).ssl_mode(PgSslMode::Disable),
    };
    let limit = format!("{}ms", timeout.as_millis());
    options
        .application_name("varco")
        .options([
            ("default_transaction_read_only", "on"),
            ("statement_timeout", limit.as_str()),
            ("datestyle", "ISO"),
        ])
        .disable_statement_logging()
}

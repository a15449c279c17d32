//! The section `[providers.<agency>]`: how an agency's system is reached, one kind of system at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use varco_adapters::encoding::Encoding;
use varco_adapters::file::sftp;
use varco_adapters::rest::ANSWER_MAX;
use varco_adapters::soap;
use varco_core::id::AgencyId;

use super::reader::Section;
use super::value::{HttpsUrl, Size, word};

/// How long a listing of a drop folder is good for: files come a few times a day.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const SSH_PORT: u16 = 22;
const MYSQL_PORT: u16 = 3306;
const POSTGRES_PORT: u16 = 5432;

/// An agency's system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    pub kind: ProviderKind,
    /// Mapping files, or folders of them.
    pub mappings: Vec<PathBuf>,
    /// From the first attempt to the last byte of the answer, waiting for a turn included.
    pub timeout: Duration,
    /// Requests on their way at once.
    pub concurrent: usize,
    /// Requests that may wait for their turn.
    pub queued: usize,
    /// So many failures in a row, and it is left alone for `pause`, then for twice as long, up to `longest_pause`.
    pub failures: u32,
    pub pause: Duration,
    pub longest_pause: Duration,
    /// How what is pushed to it gets there.
    pub deliveries: Deliveries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliveries {
    /// It fetches them (`GET /inbox`).
    Inbox,
    /// They are brought to its system.
    System,
}

const DELIVERIES: [(&str, Deliveries); 2] = [("inbox", Deliveries::Inbox), ("system", Deliveries::System)];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// HL7 FHIR R4.
    Fhir(Fhir),
    /// Files in a folder, here or on an SFTP server.
    File(Drop),
    /// Our JSON protocol over HTTPS.
    Rest(Rest),
    /// SOAP 1.1 or 1.2.
    Soap(Soap),
    /// A view in a database.
    Sql(Sql),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fhir {
    /// `https://` base of the server, without a slash at the end.
    pub url: String,
    pub door: FhirDoor,
    /// Largest size of all answers for one record together, in bytes.
    pub answer_bytes: usize,
}

/// How a FHIR server lets us in, besides our certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FhirDoor {
    /// A token fetched with a signed assertion, as SMART backend services do.
    Backend {
        token_url: String,
        client: String,
        key: String,
        scope: String,
    },
    /// Secret: a file that holds a bearer token and nothing else.
    Bearer(PathBuf),
    Certificate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soap {
    /// `https://` address of the service.
    pub url: String,
    /// What our token about the operator carries in `aud`.
    pub audience: String,
    pub version: soap::Version,
    pub security: soap::Security,
    /// Largest answer in bytes.
    pub answer_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// `https://` base under which its resources lie, without a slash at the end.
    pub url: String,
    /// What our tokens to it carry in `aud`.
    pub audience: String,
    /// Largest answer in bytes.
    pub answer_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sql {
    pub database: SqlDatabase,
    /// Secret: a file that holds the password and nothing else.
    pub password: Option<PathBuf>,
    /// Whose TLS certificates the server may have; needed for a server on another machine.
    pub authorities: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlDatabase {
    Server { engine: Engine, at: ServerAt, user: String, name: String },
    Sqlite(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Mysql,
    Postgres,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAt {
    Loopback(u16),
    Remote(String, u16),
    Socket(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drop {
    pub place: varco_adapters::file::Place,
    pub encoding: Encoding,
    pub separator: char,
    pub look_every: Duration,
}

pub(super) fn providers(s: &Section<'_, '_>) -> BTreeMap<AgencyId, Provider> {
    let mut providers = BTreeMap::new();
    for (name, _, mut section) in s.each() {
        let id: Option<AgencyId> = name
            .parse()
            .map_err(|fault: varco_core::id::IdFault| section.fault_here(&fault.to_string()))
            .ok();
        let provider = provider(&mut section);
        section.finish();
        if let (Some(id), Some(provider)) = (id, provider) {
            providers.insert(id, provider);
        }
    }
    providers
}

#[derive(Clone, Copy)]
enum Kind {
    Fhir,
    File,
    Rest,
    Soap,
    Sql,
}

fn provider(s: &mut Section<'_, '_>) -> Option<Provider> {
    let kinds = [
        ("fhir", Kind::Fhir),
        ("file", Kind::File),
        ("rest", Kind::Rest),
        ("soap", Kind::Soap),
        ("sql", Kind::Sql),
    ];
    let kind = s.read_with("kind", |value, _| word(value, &kinds));
    if kind.is_none() && !s.has("kind") {
        s.fault_at("kind", "is missing");
    }
    let chosen = kind?;
    let kind = match chosen {
        Kind::Fhir => fhir(s).map(ProviderKind::Fhir),
        Kind::File => drop_folder(s).map(ProviderKind::File),
        Kind::Rest => rest(s).map(ProviderKind::Rest),
        Kind::Soap => soap_service(s).map(ProviderKind::Soap),
        Kind::Sql => sql(s).map(ProviderKind::Sql),
    };
    let default = varco_adapters::Limits::default();
    let mappings = match chosen {
        // Our own protocol speaks the record types' shape already.
        Kind::Rest => Vec::new(),
        Kind::Fhir | Kind::File | Kind::Soap | Kind::Sql => {
            let mappings: Vec<PathBuf> = s.required("mappings").unwrap_or_default();
            if mappings.is_empty() && s.has("mappings") {
                s.fault_at("mappings", "expected at least one file or folder");
            }
            mappings
        }
    };
    let provider = Provider {
        kind: kind?,
        mappings,
        timeout: s.or("timeout", default.timeout),
        concurrent: s.or("concurrent", default.concurrent),
        queued: s.or("queued", default.queued),
        failures: s.or("failures", default.breaker.failures),
        pause: s.or("pause", default.breaker.pause),
        longest_pause: s.or("longest_pause", default.breaker.longest_pause),
        deliveries: s
            .read_with("deliveries", |value, _| word(value, &DELIVERIES))
            .unwrap_or(Deliveries::Inbox),
    };
    if provider.longest_pause < provider.pause {
        s.fault_at("longest_pause", "expected at least as long as `pause`");
    }
    Some(provider)
}

fn rest(s: &mut Section<'_, '_>) -> Option<Rest> {
    let url: Option<HttpsUrl> = s.required("url");
    let audience = s.required("audience");
    let answer_bytes = answer_bytes(s);
    Some(Rest { url: url?.0, audience: audience?, answer_bytes })
}

fn answer_bytes(s: &mut Section<'_, '_>) -> usize {
    let answer: Size = s.or("answer_size", Size(ANSWER_MAX));
    if answer.0 > ANSWER_MAX {
        s.fault_at("answer_size", "expected at most `1MiB`");
    }
    answer.0
}

fn fhir(s: &mut Section<'_, '_>) -> Option<Fhir> {
    let url: Option<HttpsUrl> = s.required("url");
    let answer_bytes = answer_bytes(s);
    let token: Option<PathBuf> = s.optional("token_file");
    let token_url: Option<HttpsUrl> = s.optional("token_url");
    let (client, key): (Option<String>, Option<String>) = (s.optional("client_id"), s.optional("key_id"));
    let scope = s.or("scope", "system/*.read system/*.write".to_owned());
    let door = match (token, token_url) {
        (Some(_), Some(_)) => {
            s.fault_at("token_url", "there is a `token_file` already; expected one of the two");
            return None;
        }
        (Some(file), None) => FhirDoor::Bearer(file),
        (None, Some(token_url)) => match (client, key) {
            (Some(client), Some(key)) => FhirDoor::Backend { token_url: token_url.0, client, key, scope },
            (Some(_) | None, _) => {
                s.fault_at("token_url", "needs `client_id` and `key_id`, as the server's people gave them");
                return None;
            }
        },
        (None, None) => FhirDoor::Certificate,
    };
    Some(Fhir { url: url?.0, door, answer_bytes })
}

fn soap_service(s: &mut Section<'_, '_>) -> Option<Soap> {
    let url: Option<HttpsUrl> = s.required("url");
    let audience = s.required("audience");
    let answer_bytes = answer_bytes(s);
    let versions = [("1.1", soap::Version::V11), ("1.2", soap::Version::V12)];
    let version = s.read_with("soap", |value, _| word(value, &versions));
    let securities = [("channel", soap::Security::Channel), ("signature", soap::Security::Signature)];
    let security = s.read_with("security", |value, _| word(value, &securities));
    let (version, security) =
        (version.unwrap_or(soap::Version::V11), security.unwrap_or(soap::Security::Signature));
    Some(Soap { url: url?.0, audience: audience?, version, security, answer_bytes })
}

fn sql(s: &mut Section<'_, '_>) -> Option<Sql> {
    let database: Option<String> = s.required("database");
    let socket: Option<PathBuf> = s.optional("socket");
    let password: Option<PathBuf> = s.optional("password_file");
    let authorities: Vec<PathBuf> = s.or("authorities", Vec::new());
    let found =
        sql_database(&database?, socket, s.folder()).map_err(|what| s.fault_at("database", what)).ok()?;
    let (is_remote, is_file) = match &found {
        SqlDatabase::Server { at, .. } => (matches!(at, ServerAt::Remote(..)), false),
        SqlDatabase::Sqlite(_) => (false, true),
    };
    match (is_remote, authorities.is_empty()) {
        (true, true) => s.fault_at(
            "authorities",
            "must be given for a server on another machine: what leaves it is personal data",
        ),
        (false, false) => s.fault_at("authorities", "has no use for a database on this machine"),
        (true, false) | (false, true) => {}
    }
    if is_file && password.is_some() {
        s.fault_at("password_file", "SQLite has no password; leave it out");
    }
    Some(Sql { database: found, password, authorities })
}

fn sql_database(
    url: &str,
    socket: Option<PathBuf>,
    folder: &std::path::Path,
) -> Result<SqlDatabase, &'static str> {
    const EXPECTED: &str =
        "expected `sqlite:<path>`, `postgres://<user>@<host>/<name>` or `mysql://<user>@<host>/<name>`";
    if let Some(path) = url.strip_prefix("sqlite:") {
        return match (path.trim_start_matches("//"), socket) {
            ("", _) => Err("expected `sqlite:` and a path"),
            (_, Some(_)) => Err("SQLite has no socket; leave it out"),
            (path, None) => Ok(SqlDatabase::Sqlite(folder.join(path))),
        };
    }
    let engines = [
        ("postgres://", Engine::Postgres, POSTGRES_PORT),
        ("postgresql://", Engine::Postgres, POSTGRES_PORT),
        ("mysql://", Engine::Mysql, MYSQL_PORT),
        ("mariadb://", Engine::Mysql, MYSQL_PORT),
    ];
    let found =
        engines.iter().find_map(|(scheme, engine, port)| Some((url.strip_prefix(scheme)?, *engine, *port)));
    let (rest, engine, port) = found.ok_or(EXPECTED)?;
    let (user, place) = rest.split_once('@').ok_or(EXPECTED)?;
    if user.contains(':') || rest.contains("password=") {
        return Err("a password must not stand here; put it into a file and name that in password_file");
    }
    let (host, name) = place.split_once('/').ok_or(EXPECTED)?;
    let (host, port) = host_and_port(host, port).ok_or(EXPECTED)?;
    if user.is_empty() || name.is_empty() || name.contains(['/', '?']) {
        return Err(EXPECTED);
    }
    let at = match (socket, host) {
        (Some(path), _) => ServerAt::Socket(path),
        (None, "localhost" | "127.0.0.1" | "::1") => ServerAt::Loopback(port),
        (None, "") => return Err(EXPECTED),
        (None, host) => ServerAt::Remote(host.to_owned(), port),
    };
    Ok(SqlDatabase::Server { engine, at, user: user.to_owned(), name: name.to_owned() })
}

fn drop_folder(s: &mut Section<'_, '_>) -> Option<Drop> {
    let folder: Option<PathBuf> = s.optional("folder");
    let server: Option<String> = s.optional("server");
    let identity: Option<PathBuf> = s.optional("identity");
    let known_hosts: Option<PathBuf> = s.optional("known_hosts");
    let encoding = s.read_with("encoding", |value, _| {
        word(
            value,
            &[
                ("utf-8", Encoding::Utf8),
                ("iso-8859-15", Encoding::Latin9),
                ("iso-8859-1", Encoding::Latin1),
                ("windows-1252", Encoding::Windows1252),
            ],
        )
    });
    let separator =
        s.read_with("separator", |value, _| word(value, &[(";", ';'), (",", ','), ("\t", '\t'), ("|", '|')]));
    let look_every = s.or("look_every", LOOK_EVERY);
    let place = match (folder, server) {
        (Some(folder), None) => varco_adapters::file::Place::Folder(folder),
        (None, Some(url)) => {
            if identity.is_none() || known_hosts.is_none() {
                s.fault_at(
                    "server",
                    "needs `identity` (our private key) and `known_hosts` (the server's key)",
                );
                return None;
            }
            match sftp_server(&url, identity?, known_hosts?) {
                Some(server) => varco_adapters::file::Place::Sftp(server),
                None => {
                    s.fault_at("server", "expected `sftp://<user>@<host>:<port>/<folder>`");
                    return None;
                }
            }
        }
        (Some(_), Some(_)) => {
            s.fault_at("server", "there is a `folder` already; expected one of the two");
            return None;
        }
        (None, None) => {
            s.fault_here("expected `folder` or `server`");
            return None;
        }
    };
    let (encoding, separator) = (encoding.unwrap_or(Encoding::Utf8), separator.unwrap_or(';'));
    Some(Drop { place, encoding, separator, look_every })
}

fn sftp_server(url: &str, identity: PathBuf, known_hosts: PathBuf) -> Option<sftp::Server> {
    let (user, place) = url.strip_prefix("sftp://")?.split_once('@')?;
    let (host, folder) = place.split_once('/')?;
    let (host, port) = host_and_port(host, SSH_PORT)?;
    // A name that begins with a hyphen would be an option of `ssh`.
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'))
    };
    (plain(user) && plain(host)).then(|| sftp::Server {
        host: host.to_owned(),
        port,
        user: user.to_owned(),
        folder: format!("/{folder}"),
        identity,
        known_hosts,
    })
}

fn host_and_port(text: &str, default: u16) -> Option<(&str, u16)> {
    // `[::1]:5432`
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None => Some((host, default)),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((text, default)),
    }
}

impl Provider {
    /// The limits as the adapters take them.
    pub fn limits(&self) -> varco_adapters::Limits {
        let breaker = varco_adapters::breaker::Rules {
            failures: self.failures,
            pause: self.pause,
            longest_pause: self.longest_pause,
        };
        let (concurrent, queued) = (self.concurrent, self.queued);
        varco_adapters::Limits { timeout: self.timeout, concurrent, queued, breaker }
    }
}

//! The sections of the file, each read into its struct. What is left out gets the default written here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;
use varco_core::wire::Algorithm;
use varco_store::db::{Address, ConnectError};
use varco_store::keyring::Keyring;
use zeroize::Zeroizing;

use super::providers::providers;
use super::reader::{Reader, Section};
use super::value::{Size, word};
use super::watching;
use super::{
    Config, ConfigFault, Database, Deployment, Listen, Listener, Outbound, Retention, Seal, Storage, Witness,
    Witnesses,
};
use crate::limits::{Rate, Rates};
use crate::server::Limits;
use crate::telemetry;
use crate::tls::{Clients, Material, TrustFiles, Versions};

/// Certificates and revocation lists change a few times a day; a look costs a few `stat` calls.
pub(super) const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// Asking a witness takes some milliseconds, and a batch of entries is asked about at once.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Time enough for a witness to be restarted.
const ALARM_AFTER: Duration = Duration::from_secs(300);

pub fn read(
    text: &str,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Vec<ConfigFault>> {
    read_whole(&Reader::new(text, folder, environment), text, whole)
}

/// Reads a file by its sections. What `whole` makes counts only when nothing at all is wrong.
pub(super) fn read_whole<'a, T>(
    reader: &Reader<'a>,
    text: &'a str,
    whole: impl FnOnce(Section<'_, 'a>) -> Option<T>,
) -> Result<T, Vec<ConfigFault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(1, |span| reader.line(span));
        reader.fault(line, error.message().to_owned());
    }
    let read = whole(reader.root(table.get_ref()));
    let faults = reader.faults();
    match read {
        Some(read) if faults.is_empty() => Ok(read),
        Some(_) | None => Err(faults),
    }
}

fn whole(mut root: Section<'_, '_>) -> Option<Config> {
    let deployment = deployment(root.section("deployment"));
    let storage = storage(root.section("storage"));
    let listen = listen(root.section("listen"));
    let tls = tls(root.section("tls"));
    let seal = seal(root.section("seal"));
    let outbound = outbound(root.section("outbound"));
    let limits = limits(root.section("limits"));
    let rates = rates(root.section("rates"));
    let providers = providers(&root.section("providers"));
    let log = log(root.section("log"));
    let retention = retention(root.section("retention"));
    let witness = root.optional_section("witness").map(witness);
    let witnesses = root.optional_section("witnesses").map(witnesses);
    let alerts = watching::alerts(root.section("alerts"));
    let timestamps = root.optional_section("timestamps").map(watching::timestamps);
    let siem = root.optional_section("siem").map(watching::siem);
    root.finish();
    let (tls, reload_every) = tls?;
    Some(Config {
        deployment: deployment?,
        storage: storage?,
        listen: listen?,
        tls,
        reload_every,
        seal: seal?,
        outbound: outbound?,
        limits,
        rates,
        providers,
        log,
        retention: retention?,
        witness: present(witness)?,
        witnesses: present(witnesses)?,
        alerts,
        timestamps: present(timestamps)?,
        siem: present(siem)?,
    })
}

/// A section that was left out is nothing; one that is faulty makes the whole faulty.
pub(super) fn present<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        Some(section) => section.map(Some),
        None => Some(None),
    }
}

fn witness(mut s: Section<'_, '_>) -> Option<Witness> {
    let name = s.required("name");
    let key = s.secret("key");
    let folder = s.required("folder");
    let logs = s.or("logs", Vec::new());
    s.finish();
    Some(Witness { name: name?, key: key?, folder: folder?, logs })
}

fn witnesses(mut s: Section<'_, '_>) -> Option<Witnesses> {
    let policy = s.required("policy");
    let authorities = not_empty(&mut s, "authorities");
    let every = s.or("every", ASK_EVERY);
    let alarm = s.or("alarm", ALARM_AFTER);
    let stop_after = s.optional("stop_after");
    s.finish();
    Some(Witnesses { policy: policy?, authorities: authorities?, every, alarm, stop_after })
}

/// The longest six months: access logs of administrators are kept no shorter (order of 27 November 2008), and under the
/// rules of the national interoperability platform no longer.
const SIX_MONTHS: Duration = days(184);
/// Who looked at what, and from where. Two years, the shortest half a year.
const TWO_YEARS: Duration = days(731);
/// While a claim for damages can be brought (civil code, article 2947), and while a person may ask who received their
/// data (GDPR article 15).
const FIVE_YEARS: Duration = days(1827);
const TEN_YEARS: Duration = days(3653);
/// A month for the key of what was erased; as much as article 12 GDPR gives for an answer.
const MONTH: Duration = days(30);

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

fn retention(mut s: Section<'_, '_>) -> Option<Retention> {
    let every = s.or("every", Duration::from_secs(3600));
    let system = s.or("system", SIX_MONTHS);
    let detail = s.or("detail", TWO_YEARS);
    let whole = s.or("whole", TEN_YEARS);
    let alerts = s.or("alerts", TWO_YEARS);
    let destroy_after = s.or("destroy_after", MONTH);
    let bounds = [
        ("every", every, Duration::from_secs(60), days(1), "between 1m and 1d"),
        ("system", system, SIX_MONTHS, TWO_YEARS, "between 184d and 731d"),
        ("detail", detail, SIX_MONTHS, TEN_YEARS, "between 184d and 3653d"),
        ("whole", whole, FIVE_YEARS, TEN_YEARS, "between 1827d and 3653d"),
        ("alerts", alerts, SIX_MONTHS, TEN_YEARS, "between 184d and 3653d"),
        ("destroy_after", destroy_after, Duration::ZERO, days(90), "at most 90d"),
    ];
    for (key, value, least, most, words) in bounds {
        if value < least || value > most {
            s.fault_at(key, &format!("must be {words}"));
        }
    }
    if detail > whole {
        s.fault_at("detail", "must not be longer than `whole`");
    }
    s.finish();
    Some(Retention { every, system, detail, whole, alerts, destroy_after })
}

fn deployment(mut s: Section<'_, '_>) -> Option<Deployment> {
    let genesis = s.required("genesis");
    let genesis_sha256 = s.optional("genesis_sha256");
    let policies = s.required("policies");
    let subject_keys = s.secret("subject_keys");
    let log_key = s.secret("log_key");
    s.finish();
    Some(Deployment {
        genesis: genesis?,
        genesis_sha256,
        policies: policies?,
        subject_keys: subject_keys?,
        log_key: log_key?,
    })
}

fn storage(mut s: Section<'_, '_>) -> Option<Storage> {
    let database: Option<String> = s.required("database");
    let password = s.optional_secret("password_file");
    let anchor: Option<PathBuf> = s.required("anchor");
    let body_keys = s.optional_secret("body_keys");
    let replica = s.or("replica", "varco".to_owned());
    let database = database.and_then(|url| {
        let folder = s.folder();
        let database = database_of(&url, password, folder);
        database.map_err(|what| s.fault_at("database", what)).ok()
    });
    s.finish();
    let anchor = anchor?;
    let body_keys = body_keys.unwrap_or_else(|| Keyring::beside(&anchor));
    Some(Storage { database: database?, replica, anchor, body_keys })
}

fn database_of(url: &str, password: Option<PathBuf>, folder: &Path) -> Result<Database, &'static str> {
    const EXPECTED: &str = "expected `sqlite:<path>` or `postgres://<user>@<host>/<name>`";
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.trim_start_matches("//");
        return match (path, password) {
            ("", _) => Err("expected `sqlite:` and a path"),
            (_, Some(_)) => Err("SQLite has no password; leave password_file out"),
            (path, None) => Ok(Database::Sqlite(folder.join(path))),
        };
    }
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest = rest.ok_or(EXPECTED)?;
    let user = rest.split(['/', '?']).next().unwrap_or_default().rsplit_once('@').map(|(user, _)| user);
    if user.is_some_and(|user| user.contains(':')) || rest.contains("password=") {
        return Err("a password must not stand here; put it into a file and name that in password_file");
    }
    match url.parse::<Address>() {
        Ok(_) => Ok(Database::Postgres { url: url.to_owned(), password }),
        Err(ConnectError::Unprotected) => Err(
            "a database on another machine is reached over TLS: leave `sslmode` out, or `sslmode=verify-full`",
        ),
        Err(_) => Err(EXPECTED),
    }
}

fn listen(mut s: Section<'_, '_>) -> Option<Listen> {
    let exchange = listener(s.section("exchange"));
    let log = s.optional_section("log").map(listener);
    let metrics: Option<SocketAddr> = s.optional("metrics");
    if metrics.is_some_and(|address| !address.ip().is_loopback()) {
        s.fault_at(
            "metrics",
            "must be a loopback address such as `127.0.0.1:9464`: it has no access control",
        );
    }
    s.finish();
    let log = match log {
        Some(log) => Some(log?),
        None => None,
    };
    Some(Listen { exchange: exchange?, log, metrics })
}

fn listener(mut s: Section<'_, '_>) -> Option<Listener> {
    let address = s.required("address");
    let hosts = s.or("hosts", Vec::new());
    s.finish();
    Some(Listener { address: address?, hosts })
}

fn tls(mut s: Section<'_, '_>) -> Option<(Material, Duration)> {
    let certificate = s.required("certificate");
    let key = s.secret("key");
    let authorities = not_empty(&mut s, "client_authorities");
    let revocations = not_empty(&mut s, "client_revocations");
    let versions = s.read_with("min_version", |value, _| {
        word(value, &[("1.3", Versions::Tls13), ("1.2", Versions::Tls12And13)])
    });
    let reload_every = s.or("reload_every", RELOAD_EVERY);
    s.finish();
    let trust = TrustFiles { authorities: authorities?, revocations: revocations? };
    let clients = Clients::Certified(trust);
    let versions = versions.unwrap_or(Versions::Tls13);
    Some((Material { certificate: certificate?, key: key?, clients, versions }, reload_every))
}

pub(super) fn not_empty(s: &mut Section<'_, '_>, key: &'static str) -> Option<Vec<PathBuf>> {
    let paths: Vec<PathBuf> = s.required(key)?;
    if paths.is_empty() {
        s.fault_at(key, "expected at least one path");
        return None;
    }
    Some(paths)
}

pub(super) fn seal(mut s: Section<'_, '_>) -> Option<Seal> {
    let certificate = s.required("certificate");
    let key = s.secret("key");
    let authorities = not_empty(&mut s, "authorities");
    let revocations = not_empty(&mut s, "revocations");
    let algorithms = s.or("algorithms", Algorithm::DEFAULT.to_vec());
    if algorithms.is_empty() {
        s.fault_at("algorithms", "expected at least one algorithm");
    }
    s.finish();
    Some(Seal {
        certificate: certificate?,
        key: key?,
        authorities: authorities?,
        revocations: revocations?,
        algorithms,
    })
}

pub(super) fn outbound(mut s: Section<'_, '_>) -> Option<Outbound> {
    let certificate = s.required("certificate");
    let key = s.secret("key");
    let authorities = not_empty(&mut s, "authorities");
    let revocations = not_empty(&mut s, "revocations");
    s.finish();
    Some(Outbound {
        certificate: certificate?,
        key: key?,
        authorities: authorities?,
        revocations: revocations?,
    })
}

fn limits(mut s: Section<'_, '_>) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        connections: s.or("connections", default.connections),
        connections_per_peer: s.or("connections_per_peer", default.connections_per_peer),
        requests: s.or("requests", default.requests),
        requests_per_peer: s.or("requests_per_peer", default.requests_per_peer),
        handshake: s.or("handshake_timeout", default.handshake),
        head: s.or("head_timeout", default.head),
        body: s.or("body_timeout", default.body),
        idle: s.or("idle_timeout", default.idle),
        age: s.or("connection_age", default.age),
        shutdown: s.or("shutdown_timeout", default.shutdown),
        body_bytes: s.or("body_size", Size(default.body_bytes)).0,
        head_bytes: s.or("head_size", Size(default.head_bytes)).0,
        streams: s.or("streams", default.streams),
    };
    if limits.head_bytes < 8192 {
        s.fault_at("head_size", "expected at least `8KiB`: three tokens do not fit into less");
    }
    s.finish();
    limits
}

fn rates(mut s: Section<'_, '_>) -> Rates {
    let default = Rates::default();
    let agency = rate(s.section("agency"), default.agency);
    let operator = rate(s.section("operator"), default.operator);
    s.finish();
    Rates { agency, operator }
}

fn rate(mut s: Section<'_, '_>, default: Rate) -> Rate {
    let rate = Rate { requests: s.or("requests", default.requests), period: s.or("period", default.period) };
    s.finish();
    rate
}

/// A password as it stands in the query of an address (RFC 3986 section 2.1).
pub fn percent_encoded(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

pub(super) fn log(mut s: Section<'_, '_>) -> telemetry::Settings {
    let default = telemetry::Settings::default();
    let format = s.read_with("format", |value, _| {
        word(value, &[("text", telemetry::Format::Text), ("json", telemetry::Format::Json)])
    });
    let level = s.read_with("level", |value, _| {
        let text = value.as_str().unwrap_or_default();
        telemetry::Level::parse(text).ok_or_else(|| telemetry::Level::EXPECTED.to_owned())
    });
    s.finish();
    telemetry::Settings { format: format.unwrap_or(default.format), level: level.unwrap_or(default.level) }
}

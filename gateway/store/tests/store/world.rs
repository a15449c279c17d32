//! A log to test with: a directory of its own, a clock that is set by hand, and a key that is only good for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use sqlx::{Connection as _, PgConnection, SqliteConnection};
use varco_core::hash::Sha256;
use varco_core::id::{ExchangeId, Pseudonym};
use varco_core::log::entry::{Draft, Kind, Slot, SlotName};
use varco_core::log::note::{KeyId, NoteSigner, NoteVerifier, SignFault, key_id};
use varco_core::log::proof::LogVerifier;
use varco_core::time::Timestamp;
use varco_jose::AesBodyCipher;
use varco_store::keyring::Keyring;
use varco_store::recover::OpenError;
use varco_store::store::{Limits, MissingAnchor, Options, Store};
use varco_store::submission::{Change, Claim, Guard, StreamKind, Submission};

use crate::postgres::Postgres;

/// 2026-01-01T12:00:00Z, where every test's clock begins.
pub const START: i64 = 1_767_268_800_000;

pub const ORIGIN: &str = "varco.test/access-log/2026";

/// Signs with a digest: whoever knows the code can forge it, which tests may.
pub struct TestKey {
    pub broken: Arc<AtomicBool>,
    name: String,
}

impl Default for TestKey {
    fn default() -> Self {
        Self { broken: Arc::default(), name: ORIGIN.to_owned() }
    }
}

impl TestKey {
    fn digest(text: &[u8]) -> Sha256 {
        Sha256::of_parts(&[b"test key\0", text])
    }
}

impl NoteSigner for TestKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> KeyId {
        key_id(&self.name, 0xff, b"test key")
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignFault> {
        if self.broken.load(Ordering::SeqCst) {
            Err(SignFault)
        } else {
            Ok(Self::digest(text).as_bytes().to_vec())
        }
    }

    fn renamed(&self, name: &str) -> Option<Box<dyn NoteSigner>> {
        Some(Box::new(Self { broken: Arc::clone(&self.broken), name: name.to_owned() }))
    }
}

impl NoteVerifier for TestKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> KeyId {
        key_id(&self.name, 0xff, b"test key")
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        signature == Self::digest(text).as_bytes()
    }

    fn renamed(&self, name: &str) -> Option<Box<dyn NoteVerifier>> {
        Some(Box::new(Self { broken: Arc::clone(&self.broken), name: name.to_owned() }))
    }
}

/// A place for one log.
pub struct World {
    pub postgres: Option<Postgres>,
    pub directory: PathBuf,
    pub url: String,
    pub key: Arc<TestKey>,
    pub clock: Arc<AtomicI64>,
}

impl World {
    /// An SQLite log in a directory that is empty at first.
    pub fn sqlite(name: &str) -> Self {
        let directory = directory(name);
        let url = format!("sqlite:{}", directory.join("varco.db").display());
        Self::at(directory, url)
    }

    /// A log on a PostgreSQL of its own; `None` where PostgreSQL is not installed, and then the test is not run.
    pub fn postgres(name: &str) -> Option<Self> {
        let Some(server) = Postgres::start().unwrap() else {
            eprintln!("{name}: skipped, because PostgreSQL is not installed");
            return None;
        };
        let mut world = Self::at(directory(name), server.url());
        world.postgres = Some(server);
        Some(world)
    }

    pub fn at(directory: PathBuf, url: String) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        Self { postgres: None, directory, url, key: Arc::default(), clock }
    }

    pub fn options(&self) -> Options {
        let clock = Arc::clone(&self.clock);
        Options {
            url: self.url.clone(),
            anchor: self.directory.join("anchor"),
            origin: ORIGIN.to_owned(),
            replica: "replica-1".to_owned(),
            signer: Arc::clone(&self.key) as Arc<dyn NoteSigner>,
            verifiers: vec![Arc::clone(&self.key) as Arc<dyn NoteVerifier>],
            clock: Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst))),
            missing_anchor: MissingAnchor::Refuse,
            keyring: self.keyring(),
            limits: Limits::default(),
            on_commit: Arc::new(|_, _| {}),
        }
    }

    /// The keys of bodies as the file has them now.
    pub fn keyring(&self) -> Arc<Keyring> {
        let path = Keyring::beside(&self.directory.join("anchor"));
        Arc::new(Keyring::open(path, Arc::new(AesBodyCipher)).unwrap())
    }

    pub async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    pub async fn try_open(&self) -> Result<Store, OpenError> {
        Store::open(self.options()).await
    }

    pub fn verifier(&self) -> LogVerifier {
        LogVerifier::new(ORIGIN.to_owned(), vec![Arc::clone(&self.key) as Arc<dyn NoteVerifier>])
    }

    /// Runs statements past the store, as an operator with a database tool would.
    pub async fn tamper(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        if self.postgres.is_some() {
            let mut connection = PgConnection::connect(&self.url).await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await?;
            sqlx::raw_sql(sql).execute(&mut connection).await?;
            connection.close().await
        }
    }

    pub fn set_clock(&self, seconds: i64) {
        self.clock.store(START + seconds * 1000, Ordering::SeqCst);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A new directory for one test of one run.
pub fn directory(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let path = std::env::temp_dir().join(format!("varco-store-{name}-{}-{count}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

pub fn exchange(n: u64) -> ExchangeId {
    format!("00000000-0000-7000-8000-{n:012x}").parse().unwrap()
}

pub fn person(n: u8) -> Pseudonym {
    let letter = char::from(b'a' + n % 26);
    format!("s1.{}", letter.to_string().repeat(26)).parse().unwrap()
}

pub fn draft(kind: Kind, n: u64) -> Draft {
    let mut draft = Draft::new(kind, exchange(n));
    draft.consumer = Some("cpi-lucca".parse().unwrap());
    draft.provider = Some("comune-capannori".parse().unwrap());
    for (name, body) in [
        (SlotName::Decision, r#"{"fields":[]}"#),
        (SlotName::Operator, r#"{"operator":"op-1"}"#),
        (SlotName::Subject, r#"{"subject":"s1"}"#),
    ] {
        let salt = *Sha256::of(format!("{n} {name}").as_bytes()).as_bytes();
        draft.slots.set(name, Slot { salt, body: body.to_owned() });
    }
    draft
}

pub fn disclosure(n: u64) -> Submission {
    Submission { subjects: vec![person(1)], ..Submission::new(draft(Kind::Disclosure, n)) }
}

pub fn guarded(n: u64, stream: &str, epoch: u64) -> Submission {
    let guard = Guard { epochs: vec![(stream.to_owned(), epoch)], fallback: draft(Kind::Denial, n) };
    Submission { guard: Some(guard), ..disclosure(n) }
}

pub fn closing(n: u64) -> Submission {
    Submission { closes: Some(exchange(n)), ..disclosure(n) }
}

pub fn consent(n: u64, stream: &str, expected: u64) -> Submission {
    let change = Change {
        stream: stream.to_owned(),
        kind: StreamKind::Consent,
        expected,
        header: (expected == 0).then(|| format!(r#"{{"id":"{stream}"}}"#)),
        event: format!(r#"{{"event":{}}}"#, expected + 1),
        subjects: if expected == 0 { vec![person(1), person(2)] } else { Vec::new() },
        waits_for: None,
    };
    Submission { changes: vec![change], ..Submission::new(draft(Kind::Consent, n)) }
}

pub fn claim(n: u64, jti: &str) -> Claim {
    Claim {
        issuer_key: Sha256::of(b"issuer"),
        jtis: vec![jti.parse().unwrap()],
        exchange: exchange(n),
        request_digest: Sha256::of(b"request"),
        expires: Timestamp::from_millis(START + 60_000),
        interrupted: draft(Kind::Interrupted, n),
    }
}

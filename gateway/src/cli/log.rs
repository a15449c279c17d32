//! `varco log`: checks of the access log, and proofs for other people.
//!
//! `verify` reads a whole log, `watch` only its checkpoints, `export` writes it out, `prove` makes one receipt from it,
//! `receipt` checks one with nothing but a key, `reconcile` many against the log; `alerts` and `incident` tell what happened.
//! `erase`, `hold`, `lift` and `prune` write orders for officers to sign.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use varco_core::log::note::{NoteVerifier, VerifierKey};
use varco_core::log::proof::LogVerifier;
use varco_jose::{AesBodyCipher, Ed25519NoteVerifier};
use varco_store::keyring::Keyring;
use varco_store::read::Reader;

use super::language::Language;

mod adopt;
mod alerts;
mod export;
pub mod fixture;
mod incident;
mod order;
pub mod owner_key;
pub mod past;
mod prove;
mod receipt;
mod reconcile;
mod replay;
mod source;
mod tiles;
mod trees;
mod verify;
mod watch;
mod words;

/// A key file, a checkpoint, a receipt: all are far smaller.
const FILE_MAX: u64 = 1024 * 1024;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an anchor for a new replica, from a checkpoint that somebody else has.
    Adopt(adopt::Args),
    #[command(flatten)]
    Order(order::Command),
    /// Show what people must look at.
    Alerts(alerts::Args),
    /// Write the log as files that anybody can check, or as records.
    Export(export::Args),
    /// Make a large log that holds nobody, to measure with.
    #[command(hide = true)]
    Fixture(fixture::Args),
    /// Ask whose fields a key, an operator, an office or an agency obtained.
    Incident(Box<incident::Args>),
    /// Write the keys with which an agency reads what entries say to it alone, as the owner of a record.
    OwnerKey(owner_key::Args),
    /// Make the receipt of one entry from the database.
    Prove(prove::Args),
    /// Check a receipt without a database or a network.
    Receipt(receipt::Args),
    /// Hold what parties keep against the log and against each other.
    Reconcile(Box<reconcile::Args>),
    /// Make every decision again, from the policies and facts the log holds.
    Replay(replay::Args),
    /// Check the whole log: every leaf, body, signature and time.
    Verify(verify::Args),
    /// Remember the last checkpoint and refuse one that does not continue it.
    Watch(watch::Args),
}

/// Whose signatures are believed.
#[derive(clap::Args)]
struct Trust {
    /// The log's public key, `<name>+<8 digits>+<base64>`, or a file with one such key a line.
    #[arg(long, value_name = "KEY|FILE", required = true)]
    key: Vec<String>,
    /// The log's origin, where it is not the name of the first key.
    #[arg(long)]
    origin: Option<String>,
}

/// The keys of bodies, for those who may read them.
#[derive(clap::Args)]
pub struct BodyKeys {
    /// The file with the keys of bodies. Not given: the one beside the anchor, where there is one.
    #[arg(long, value_name = "FILE")]
    body_keys: Option<PathBuf>,
}

impl BodyKeys {
    /// Opens the database with the keys, if there are any; sealed bodies stay sealed without them.
    pub async fn reader(&self, url: &str, anchor: Option<&Path>) -> Result<Reader, Failure> {
        noted(url).await;
        let beside = anchor.map(Keyring::beside).filter(|path| path.exists());
        let Some(path) = self.body_keys.clone().or(beside) else { return Ok(Reader::open(url).await?) };
        if !path.exists() {
            return Err(Failure::File(path, std::io::ErrorKind::NotFound.into()));
        }
        let keyring = Keyring::open(path, Arc::new(AesBodyCipher))?;
        Ok(Reader::open_with(url, Arc::new(keyring)).await?)
    }
}

/// How the answer is given.
#[derive(clap::Args)]
struct Answer {
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// The language of the text.
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

/// Why a command cannot even be tried: all of them exit with 2.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the anchor `{0}` cannot be used")]
    Anchor(PathBuf, #[source] varco_store::anchor::AnchorError),
    #[error(transparent)]
    Archive(#[from] crate::archive::ArchiveError),
    #[error("a file of bodies is not of the form it must have")]
    Bodies,
    #[error("the checkpoint `{0}` is not one")]
    Checkpoint(PathBuf, #[source] varco_core::log::checkpoint::CheckpointFault),
    #[error("the database cannot be opened")]
    Connect(#[from] varco_store::db::ConnectError),
    #[error("the log cannot be reached")]
    Fetch(#[from] crate::fetch::FetchError),
    #[error("the file `{0}` cannot be read or written")]
    File(PathBuf, #[source] std::io::Error),
    #[error(transparent)]
    Keyring(#[from] varco_store::keyring::KeyringError),
    #[error("`{0}` is neither a key nor a file with keys")]
    Key(String),
    #[error("the key `{0}` is not an Ed25519 key")]
    KeyKind(String),
    #[error("the file `{0}` is not one of keys: {1}")]
    Keys(PathBuf, String),
    #[error("no key is given")]
    NoKey,
    #[error("the database holds no log")]
    NoLog,
    #[error("the database cannot be read")]
    Read(#[from] varco_store::read::ReadError),
    #[error("the file `{0}` is not a receipt")]
    Receipt(PathBuf, #[source] varco_core::log::proof::ProofFault),
    #[error("nothing can be run")]
    Runtime(#[source] std::io::Error),
    #[error("{0}")]
    Usage(String),
}

pub fn run(args: Args) -> ExitCode {
    let (name, done) = match args.command {
        Command::Adopt(args) => ("adopt", adopt::run(args)),
        Command::Alerts(args) => ("alerts", alerts::run(&args)),
        Command::Export(args) => ("export", export::run(&args)),
        Command::Order(command) => ("order", order::run(command)),
        Command::Fixture(args) => ("fixture", fixture::run(&args)),
        Command::Incident(args) => ("incident", incident::run(&args)),
        Command::OwnerKey(args) => ("owner-key", owner_key::run(&args)),
        Command::Prove(args) => ("prove", prove::run(&args)),
        Command::Receipt(args) => ("receipt", receipt::run(&args)),
        Command::Reconcile(args) => ("reconcile", reconcile::run(&args)),
        Command::Replay(args) => ("replay", replay::run(&args)),
        Command::Verify(args) => ("verify", verify::run(&args)),
        Command::Watch(args) => ("watch", watch::run(&args)),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("varco log {name}: {}", super::reasons(&failure));
            ExitCode::from(super::USAGE)
        }
    }
}

impl Trust {
    fn verifier(&self) -> Result<LogVerifier, Failure> {
        let mut keys = Vec::new();
        for given in &self.key {
            keys.append(&mut read_keys(given)?);
        }
        let first = keys.first().ok_or(Failure::NoKey)?;
        let origin = self.origin.clone().unwrap_or_else(|| first.name().to_owned());
        let keys = keys.into_iter().map(usable).collect::<Result<_, _>>()?;
        Ok(LogVerifier::new(origin, keys))
    }
}

fn usable(key: VerifierKey) -> Result<Arc<dyn NoteVerifier>, Failure> {
    let name = key.name().to_owned();
    Ok(Arc::new(Ed25519NoteVerifier::new(key).map_err(|_| Failure::KeyKind(name))?))
}

/// A key given as text, or as a file of keys with empty lines and `#` comments.
fn read_keys(given: &str) -> Result<Vec<VerifierKey>, Failure> {
    if let Ok(key) = given.parse() {
        return Ok(vec![key]);
    }
    let text = read_file(Path::new(given)).map_err(|_| Failure::Key(given.to_owned()))?;
    let text = String::from_utf8(text).map_err(|_| Failure::Key(given.to_owned()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.parse().map_err(|_| Failure::Key(line.to_owned()))).collect()
}

/// Writes down who opens a database. Where that is not possible, on a copy that nobody can write to, it is said.
pub async fn noted(url: &str) {
    let words = std::env::args().skip(1).take_while(|word| !word.starts_with('-')).take(2);
    let command = words.collect::<Vec<_>>().join(" ");
    if let Err(error) = crate::administration::note(url, &command).await {
        eprintln!("varco: that the database is opened could not be noted: {error}");
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let fault = |error| Failure::File(path.to_owned(), error);
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(FILE_MAX).read_to_end(&mut bytes).map_err(fault)?;
    } else {
        std::fs::File::open(path).map_err(fault)?.take(FILE_MAX).read_to_end(&mut bytes).map_err(fault)?;
    }
    Ok(bytes)
}

/// Runs what must wait for a database.
fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::Runtime)?.block_on(work)
}

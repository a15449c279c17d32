//! `varco registry`: check a registry document, sign it as an officer, and bring a signed version to a gateway.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use varco_core::hash::Sha256;
use varco_core::id::{AgencyId, IdFault, OfficerId};
use varco_core::json;
use varco_core::registry::Registry;
use varco_core::wire::Statement;
use varco_jose::OfficerKey;

use super::{NO, USAGE};
use crate::app::system_now;
use crate::genesis::{ACT_GENESIS, ACT_REGISTRY, Ceremony, OfficerStatement, RegistryProposal};
use crate::policies::ACT_POLICY;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a registry document for everything but its signatures.
    Check { document: PathBuf },
    /// Check a ceremony folder: the genesis and the statement of every founder.
    Genesis { folder: PathBuf },
    /// Put a document and its officers' statements into one proposal, ready for `POST /registry`,
    /// `POST /suspensions` or `POST /log/orders`.
    Propose {
        document: PathBuf,
        /// A statement, as `<officer>=<file>`, or `<officer>@<agency>=<file>` of a named deputy; twice or more.
        #[arg(long = "statement", required = true, value_parser = named_file)]
        statements: Vec<Signed>,
    },
    /// Sign a document as an officer; prints the statement.
    Sign {
        document: PathBuf,
        /// The officer's private key (PKCS#8 PEM).
        #[arg(long)]
        key: PathBuf,
        /// What is signed for.
        #[arg(long, value_enum, default_value = "registry")]
        act: Act,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Act {
    Genesis,
    Order,
    Policy,
    Registry,
    Suspension,
}

pub fn run(args: Args) -> ExitCode {
    let done = match args.command {
        Command::Check { document } => check(&document),
        Command::Genesis { folder } => genesis(&folder),
        Command::Propose { document, statements } => propose(&document, &statements),
        Command::Sign { document, key, act } => sign(&document, &key, act),
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::No(text)) => {
            eprintln!("varco registry: {text}");
            ExitCode::from(NO)
        }
        Err(Failure::Usage(text)) => {
            eprintln!("varco registry: {text}");
            ExitCode::from(USAGE)
        }
    }
}

/// Whether the answer is no, or the question could not be asked.
enum Failure {
    No(String),
    Usage(String),
}

fn check(document: &Path) -> Result<String, Failure> {
    let bytes = read(document)?;
    let registry: Registry = json::parse_as(&bytes).map_err(|fault| Failure::No(fault.to_string()))?;
    let faults = registry.faults();
    if faults.is_empty() {
        return Ok(format!(
            "version {}, {} agencies, SHA-256 {}",
            registry.version,
            registry.agencies.len(),
            Sha256::of(&bytes)
        ));
    }
    Err(Failure::No(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

fn genesis(folder: &Path) -> Result<String, Failure> {
    let ceremony = Ceremony::read(folder).map_err(|fault| Failure::No(fault.to_string()))?;
    let founders: Vec<_> = ceremony.genesis.founders.iter().map(ToString::to_string).collect();
    Ok(format!("genesis {} signed by {}", ceremony.sha256, founders.join(", ")))
}

fn propose(document: &Path, statements: &[Signed]) -> Result<String, Failure> {
    let text = |path: &Path| -> Result<String, Failure> {
        String::from_utf8(read(path)?).map_err(|_| Failure::Usage(format!("{}: not UTF-8", path.display())))
    };
    let statements = statements.iter().map(|signed| Ok(signed.statement(&text(&signed.file)?)));
    let proposal = RegistryProposal {
        document: text(document)?,
        statements: statements.collect::<Result<_, Failure>>()?,
    };
    Ok(json::canonical_of(&proposal))
}

fn sign(document: &Path, key: &Path, act: Act) -> Result<String, Failure> {
    let sha256 = Sha256::of(&read(document)?);
    let key = OfficerKey::from_pem(&read(key)?).map_err(|fault| Failure::Usage(fault.to_string()))?;
    let act = match act {
        Act::Genesis => ACT_GENESIS,
        Act::Order => crate::orders::ACT_ORDER,
        Act::Policy => ACT_POLICY,
        Act::Registry => ACT_REGISTRY,
        Act::Suspension => crate::genesis::ACT_SUSPENSION,
    };
    let statement = Statement { act: act.to_owned(), sha256, at: system_now() };
    key.sign(&statement).map_err(|fault| Failure::No(fault.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Whose statement is in which file.
#[derive(Clone)]
pub(super) struct Signed {
    officer: OfficerId,
    in_place_of: Option<AgencyId>,
    pub file: PathBuf,
}

impl Signed {
    /// The officer's statement as its file holds it.
    pub fn statement(&self, jws: &str) -> OfficerStatement {
        let (officer, in_place_of) = (self.officer.clone(), self.in_place_of.clone());
        OfficerStatement { officer, in_place_of, jws: jws.trim().to_owned() }
    }
}

pub(super) fn named_file(text: &str) -> Result<Signed, String> {
    let (who, file) = text.split_once('=').ok_or("expected <officer>=<file>")?;
    let told = |fault: IdFault| fault.to_string();
    let (officer, agency) = who.split_once('@').map_or((who, None), |(id, agency)| (id, Some(agency)));
    let in_place_of = agency.map(|agency| agency.parse().map_err(told)).transpose()?;
    Ok(Signed { officer: officer.parse().map_err(told)?, in_place_of, file: file.into() })
}

//! `varco log owner-key`: the keys with which an agency reads what entries say to it alone, as the owner of a record.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use varco_core::exchange::OwnerKey;
use varco_core::id::AgencyId;
use varco_core::subject::SubjectKeys;
use varco_jose::{OwnerKeeper, OwnerKeys};
use zeroize::Zeroizing;

use super::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// The gateway's file of keys of pseudonyms.
    #[arg(long, value_name = "FILE")]
    subject_keys: PathBuf,
    /// Whose keys. They open nothing of any other owner's.
    #[arg(long)]
    agency: AgencyId,
}

/// Prints a line for each epoch, `<agency> <epoch> <64 hexadecimal digits>`: a secret of that agency's data protection
/// officer.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    print!("{}", keeper(&args.subject_keys)?.keys_of(&args.agency).to_text().as_str());
    Ok(ExitCode::SUCCESS)
}

/// The keys to what entries say to a record's owner alone.
#[derive(clap::Args)]
pub struct Owners {
    /// A file with the keys of one owner, as `varco log owner-key` writes it. Without any, what may be concealed and does not
    /// show is taken for absent, and all else is decided again.
    #[arg(long, value_name = "FILE", conflicts_with = "subject_keys")]
    owner_keys: Option<PathBuf>,
    /// The gateway's own file of keys of pseudonyms, which opens everybody's.
    #[arg(long, value_name = "FILE")]
    subject_keys: Option<PathBuf>,
}

impl Owners {
    pub fn keys(&self) -> Result<Box<dyn OwnerKey>, Failure> {
        Ok(match (&self.owner_keys, &self.subject_keys) {
            (Some(path), _) => Box::new(of_owner(path)?),
            (None, Some(path)) => Box::new(keeper(path)?),
            (None, None) => Box::new(OwnerKeys::default()),
        })
    }
}

/// What opens everybody's, for whoever runs the gateway.
fn keeper(path: &Path) -> Result<OwnerKeeper, Failure> {
    let keys = SubjectKeys::parse(&read(path)?)
        .map_err(|fault| Failure::Keys(path.to_owned(), fault.to_string()))?;
    Ok(OwnerKeeper::new(keys.owner_roots()))
}

/// What an agency holds.
fn of_owner(path: &Path) -> Result<OwnerKeys, Failure> {
    OwnerKeys::parse(&read(path)?).map_err(|fault| Failure::Keys(path.to_owned(), fault.to_string()))
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| Failure::File(path.to_owned(), error))
}

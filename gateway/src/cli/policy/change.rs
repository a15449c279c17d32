//! A change of policy, from the folder to the gateway: the document that officers sign, and the proposal that carries it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use varco_core::json;
use varco_core::time::{Timestamp, parse_date};

use super::{PolicyError, read};
use crate::cli::registry::{Signed, named_file};
use crate::policies::{Bundle, Files, PolicyProposal, document};

#[derive(clap::Args)]
pub struct Change {
    /// The folder of the changed bundle.
    #[arg(value_name = "NEW_DIR")]
    after: PathBuf,
    /// The folder of the last approved bundle.
    #[arg(long = "against", value_name = "OLD_DIR")]
    before: PathBuf,
}

#[derive(clap::Args)]
pub struct Document {
    #[command(flatten)]
    change: Change,
    /// From when it counts: `2027-01-01` (midnight, UTC) or an instant.
    #[arg(long, value_parser = instant)]
    from: Timestamp,
}

#[derive(clap::Args)]
pub struct Propose {
    #[command(flatten)]
    change: Change,
    /// The document, exactly as it was signed.
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// A statement, as `<officer>=<file>`, or `<officer>@<agency>=<file>` of a named deputy; once or more.
    #[arg(long = "statement", required = true, value_parser = named_file)]
    statements: Vec<Signed>,
}

impl Change {
    fn bundles(&self) -> Result<(Bundle, Bundle), PolicyError> {
        Ok((bundle(&self.before)?, bundle(&self.after)?))
    }
}

/// Prints exactly the bytes that are signed: no line end after them.
pub fn print_document(asked: &Document) -> Result<ExitCode, PolicyError> {
    let (before, after) = asked.change.bundles()?;
    print!("{}", document(&before, &after, asked.from));
    Ok(ExitCode::SUCCESS)
}

pub fn propose(asked: &Propose) -> Result<ExitCode, PolicyError> {
    let (before, after) = asked.change.bundles()?;
    let mut proposal = PolicyProposal::between(&before.files, &after.files);
    proposal.document = text(&asked.document)?;
    for signed in &asked.statements {
        proposal.statements.push(signed.statement(&text(&signed.file)?));
    }
    println!("{}", json::canonical_of(&proposal));
    Ok(ExitCode::SUCCESS)
}

fn bundle(folder: &Path) -> Result<Bundle, PolicyError> {
    // Loaded first for its faults one by one; what a bundle says of itself later is one text.
    super::load(folder)?;
    let unreadable = |path: &str| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "not UTF-8");
        PolicyError::Unreadable { path: folder.join(path), source }
    };
    let texts = read(folder)?.into_iter().map(|(path, bytes)| {
        String::from_utf8(bytes).map_err(|_| unreadable(&path)).map(|text| (path, text))
    });
    let files = texts.collect::<Result<Files, _>>()?;
    Bundle::compile(files).map_err(|refusal| PolicyError::Refused(refusal.to_string()))
}

fn text(path: &Path) -> Result<String, PolicyError> {
    std::fs::read_to_string(path).map_err(|source| PolicyError::Unreadable { path: path.to_owned(), source })
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let date = parse_date(text).map(Timestamp::start_of);
    date.map_or_else(|| text.parse().map_err(|fault: varco_core::time::TimestampFault| fault.to_string()), Ok)
}

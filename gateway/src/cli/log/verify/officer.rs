//! The officer's signature over an export: over the list of its files' hashes, which must be those of the files.

use std::path::Path;

use varco_core::hash::Sha256;
use varco_jose::OfficerVerifier;

use super::super::export::sink::ACT_EXPORT;
use super::super::source::{Files, Source as Log};
use super::super::{Failure, read_file};
use crate::archive::Reader;

/// Whether everything that is exported was signed by the officer whose public key is in the file. `None` for a log that
/// is no export: nobody signs a database.
pub async fn signed(log: &Log, key: &Path) -> Result<Option<bool>, Failure> {
    let unusable = |what: String| Failure::File(key.to_owned(), std::io::Error::other(what));
    let pem = String::from_utf8(read_file(key)?).map_err(|error| unusable(error.to_string()))?;
    let officer = OfficerVerifier::from_pem(&pem).map_err(|fault| unusable(fault.to_string()))?;
    match log {
        Log::Files(files, _) => exported(files, &officer).await,
        Log::Database(_) => Ok(None),
    }
}

async fn exported(files: &Files, officer: &OfficerVerifier) -> Result<Option<bool>, Failure> {
    match files {
        Files::Folder(_) => {
            let sums = files.read("SHA256SUMS").await?.unwrap_or_default();
            let statement = files.read("SHA256SUMS.jws").await?.unwrap_or_default();
            if !states(officer, &sums, &statement) {
                return Ok(Some(false));
            }
            for (sum, name) in listed(&sums) {
                let bytes = files.read(&name).await?;
                if bytes.is_none_or(|bytes| Sha256::of(&bytes).to_string() != sum) {
                    return Ok(Some(false));
                }
            }
            Ok(Some(true))
        }
        Files::Parts(archives) => {
            for archive in archives {
                if !whole(officer, archive)? {
                    return Ok(Some(false));
                }
            }
            Ok(Some(true))
        }
        Files::Years(years) => {
            for year in years {
                if Box::pin(exported(year, officer)).await? != Some(true) {
                    return Ok(Some(false));
                }
            }
            Ok(Some(true))
        }
        Files::Remote { .. } => Ok(None),
    }
}

fn whole(officer: &OfficerVerifier, archive: &Reader) -> Result<bool, Failure> {
    let sums = archive.read("SHA256SUMS")?.unwrap_or_default();
    let statement = archive.read("SHA256SUMS.jws")?.unwrap_or_default();
    if !states(officer, &sums, &statement) {
        return Ok(false);
    }
    let listed = listed(&sums);
    for (sum, name) in &listed {
        let bytes = archive.read(name)?;
        if bytes.is_none_or(|bytes| Sha256::of(&bytes).to_string() != *sum) {
            return Ok(false);
        }
    }
    // Nothing beside what was signed.
    Ok(archive.names().count() == listed.len() + 2)
}

fn states(officer: &OfficerVerifier, sums: &[u8], statement: &[u8]) -> bool {
    let statement = std::str::from_utf8(statement).unwrap_or_default().trim();
    officer.verify(statement).is_ok_and(|said| said.act == ACT_EXPORT && said.sha256 == Sha256::of(sums))
}

/// The hashes and names of a list in the form of `sha256sum`.
fn listed(sums: &[u8]) -> Vec<(String, String)> {
    let text = std::str::from_utf8(sums).unwrap_or_default();
    let line = |line: &str| line.split_once("  ").map(|(sum, name)| (sum.to_owned(), name.to_owned()));
    text.lines().filter_map(line).collect()
}

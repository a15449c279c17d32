//! `varco policy test`: the promises and the cases that officers wrote, against the bundle. A promise that some cell breaks
//! stops the bundle from loading, and the cell is named.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use varco_core::policy::cases::Mismatch;

use super::{NO, PolicyError, files, load};

#[derive(clap::Args)]
pub struct Test {
    /// The bundle's folder; its cases are in `cases/`.
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    #[arg(long)]
    json: bool,
}

pub fn run(test: &Test) -> Result<ExitCode, PolicyError> {
    let policy = load(&test.bundle)?;
    let files =
        files::cases(&test.bundle).map_err(|(path, source)| PolicyError::Unreadable { path, source })?;
    let cases = policy.read_cases(&files).map_err(PolicyError::Faults)?;
    let failed: Vec<Mismatch> = cases.iter().flat_map(|case| policy.run_case(case)).collect();
    if test.json {
        let told = |one: &Mismatch| {
            json!({"case": one.case, "file": one.place.file, "line": one.place.line, "field": one.field,
                   "expected": one.expected, "found": one.found})
        };
        let mismatches: Vec<_> = failed.iter().map(told).collect();
        let promises: Vec<_> = policy.promises().collect();
        println!("{}", json!({"cases": cases.len(), "mismatches": mismatches, "promises": promises}));
    } else {
        for one in &failed {
            let field = one.field.as_ref().map(|field| format!(" `{field}`")).unwrap_or_default();
            println!("{}: «{}»{field}: atteso {}, trovato {}", one.place, one.case, one.expected, one.found);
        }
        let promises = policy.promises().count();
        println!("{promises} garanzie verificate, {} casi, {} differenze", cases.len(), failed.len());
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

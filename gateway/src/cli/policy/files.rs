//! A bundle's files: every `.txt` below its folder, but for those of `cases/`, which are about the bundle.

use std::io::Error;
use std::path::{Path, PathBuf};

/// The folder of the policy cases inside a bundle's.
pub const CASES: &str = "cases";
/// Folders in folders: a bundle has one level.
const DEEPEST: usize = 4;

/// Paths relative to the folder, with `/` on every system, and bytes; sorted by path.
pub type Files = Vec<(String, Vec<u8>)>;

/// The files of a bundle.
pub fn bundle(folder: &Path) -> Result<Files, (PathBuf, Error)> {
    let mut files = Vec::new();
    collect(folder, "", 0, &mut files)?;
    files.retain(|(path, _)| !path.starts_with("cases/"));
    files.sort();
    Ok(files)
}

/// The policy cases of a bundle; none when there is no such folder.
pub fn cases(folder: &Path) -> Result<Files, (PathBuf, Error)> {
    let at = folder.join(CASES);
    let mut files = Vec::new();
    if at.is_dir() {
        collect(&at, "cases/", 0, &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(at: &Path, prefix: &str, depth: usize, files: &mut Files) -> Result<(), (PathBuf, Error)> {
    let here = |error| (at.to_path_buf(), error);
    for entry in std::fs::read_dir(at).map_err(here)? {
        let path = entry.map_err(here)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() && depth < DEEPEST {
            collect(&path, &format!("{prefix}{name}/"), depth + 1, files)?;
        } else if name.ends_with(".txt") {
            let bytes = std::fs::read(&path).map_err(|error| (path.clone(), error))?;
            files.push((format!("{prefix}{name}"), bytes));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use varco_core::policy::Policy;

    use super::*;
    use crate::demo::people::Population;

    #[test]
    fn the_people_of_the_demonstration_fit_the_shipped_record_types() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/piana-di-lucca");
        let policy = Policy::load(&bundle(&shipped).unwrap()).unwrap();
        let all = Population::generate(1, 500);
        let mut checked = 0;
        for person in all.people() {
            for record in policy.record_types() {
                for party in &policy.agreement.parties {
                    let Some(found) = all.record(&party.agency, &record.id, person) else { continue };
                    let faults = record.check(Value::Object(found)).err().unwrap_or_default();
                    assert!(faults.is_empty(), "{}: {faults:?}", record.id);
                    checked += 1;
                }
            }
        }
        assert!(checked > 1000, "{checked}");
        assert!(!cases(&shipped).unwrap().is_empty());
    }
}

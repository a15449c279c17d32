use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The shipped bundle, read from the repository.
pub fn shipped_files() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/piana-di-lucca");
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    files
}

fn collect(root: &Path, at: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|e| e == "txt") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn the_shipped_bundle_compiles() {
    match Policy::load(&shipped_files()) {
        Ok(policy) => println!("{} cells, {} grants", policy.size(), policy.grants().len()),
        Err(faults) => {
            panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

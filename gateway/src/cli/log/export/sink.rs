//! Where an export goes: a folder or one archive. Keeps the hash of every file it was given.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use varco_core::hash::Sha256;
use varco_core::wire::Statement;
use varco_jose::OfficerKey;

use super::super::Failure;
use crate::app::system_now;
use crate::archive;

/// The act of an officer's statement on an export.
pub const ACT_EXPORT: &str = "export-log";

pub struct Sink {
    to: To,
    /// In the form of `sha256sum`.
    sums: String,
}

enum To {
    Archive(archive::Writer),
    Folder { path: PathBuf, stream: Option<File> },
}

impl Sink {
    pub fn folder(path: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(path).map_err(|error| Failure::File(path.to_owned(), error))?;
        Ok(Self { to: To::Folder { path: path.to_owned(), stream: None }, sums: String::new() })
    }

    pub fn archive(path: &Path) -> Result<Self, Failure> {
        Ok(Self { to: To::Archive(archive::Writer::create(path)?), sums: String::new() })
    }

    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.sums.push_str(&format!("{}  {name}\n", Sha256::of(bytes)));
        self.put(name, bytes)
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        match &mut self.to {
            To::Archive(writer) => Ok(writer.add(name, bytes)?),
            To::Folder { path, .. } => {
                let path = path.join(name);
                let folder = path.parent().unwrap_or(&path);
                std::fs::create_dir_all(folder)
                    .and_then(|()| std::fs::write(&path, bytes))
                    .map_err(|error| Failure::File(path.clone(), error))
            }
        }
    }

    /// Writes what there is of a file that grows, in a folder; in an archive it waits for its end.
    pub fn stream(&mut self, name: &str, text: &mut String) -> Result<(), Failure> {
        let To::Folder { path, stream } = &mut self.to else { return Ok(()) };
        let path = path.join(name);
        let fault = |error| Failure::File(path.clone(), error);
        if stream.is_none() {
            *stream = Some(File::create(&path).map_err(fault)?);
        }
        if let Some(file) = stream {
            file.write_all(text.as_bytes()).map_err(fault)?;
            text.clear();
        }
        Ok(())
    }

    /// The rest of a file that grew.
    pub fn end_stream(&mut self, name: &str, rest: &str) -> Result<(), Failure> {
        let path = match &mut self.to {
            To::Archive(_) => return self.add(name, rest.as_bytes()),
            To::Folder { path, stream } => {
                let path = path.join(name);
                let fault = |error| Failure::File(path.clone(), error);
                let mut file = match stream.take() {
                    Some(file) => file,
                    None => File::create(&path).map_err(fault)?,
                };
                file.write_all(rest.as_bytes()).map_err(fault)?;
                path
            }
        };
        let sum = hash_of(&path).map_err(|error| Failure::File(path.clone(), error))?;
        self.sums.push_str(&format!("{sum}  {name}\n"));
        Ok(())
    }

    /// Adds the list of hashes and, with an officer's key, its signature.
    pub fn finish(mut self, officer: Option<&OfficerKey>) -> Result<(), Failure> {
        let sums = std::mem::take(&mut self.sums);
        self.put("SHA256SUMS", sums.as_bytes())?;
        if let Some(officer) = officer {
            let sha256 = Sha256::of(sums.as_bytes());
            let statement = Statement { act: ACT_EXPORT.to_owned(), sha256, at: system_now() };
            let signed = officer.sign(&statement);
            let signed = signed.map_err(|_| Failure::Usage("the officer's key could not sign".to_owned()))?;
            self.put("SHA256SUMS.jws", signed.as_bytes())?;
        }
        match self.to {
            To::Archive(writer) => Ok(writer.finish()?),
            To::Folder { .. } => Ok(()),
        }
    }
}

/// The hash of a file of any length.
fn hash_of(path: &Path) -> std::io::Result<Sha256> {
    use std::io::Read as _;

    use sha2::Digest as _;
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, sha2::Sha256::new(), vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some([]) | None => return Ok(Sha256::from_bytes(hasher.finalize().into())),
            Some(bytes) => hasher.update(bytes),
        }
    }
}

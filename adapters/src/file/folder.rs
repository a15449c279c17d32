//! A drop folder, on this machine or on an SFTP server: the same four things can be done with both.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::sftp::Sftp;
use crate::FetchError;

/// A file as a listing names it. Whoever replaces it changes its size or its time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub name: String,
    pub size: u64,
    /// In whatever unit the folder tells: only compared.
    pub modified: i64,
}

pub(super) enum Folder {
    Local(PathBuf),
    Sftp(Box<Sftp>),
}

impl Folder {
    /// Regular files only: a link could lead anywhere. Names that begin with a dot or end in `.part` or `.tmp` are still being
    /// written.
    pub async fn list(&self) -> Result<Vec<Listed>, FetchError> {
        let mut listed = match self {
            Self::Local(path) => list(path).await.map_err(unreachable)?,
            Self::Sftp(sftp) => sftp.list().await?,
        };
        let unfinished = |name: &str| {
            let lower = name.to_ascii_lowercase();
            name.starts_with('.') || [".part", ".tmp"].iter().any(|end| lower.ends_with(end))
        };
        listed.retain(|file| !unfinished(&file.name));
        listed.sort();
        Ok(listed)
    }

    /// At most so many bytes from there; `None` where the file is gone.
    pub async fn read(&self, name: &str, from: u64, length: usize) -> Result<Option<Vec<u8>>, FetchError> {
        match self {
            Self::Local(path) => match read(&path.join(name), from, length).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(unreachable(error)),
            },
            Self::Sftp(sftp) => sftp.read(name, from, length).await,
        }
    }

    /// The whole file under its name, or nothing: written beside it, made durable, renamed.
    pub async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), FetchError> {
        match self {
            Self::Local(path) => put(&path.join(name), bytes).await.map_err(unreachable),
            Self::Sftp(sftp) => sftp.put(name, bytes).await,
        }
    }
}

async fn list(path: &Path) -> std::io::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    let mut entries = fs::read_dir(path).await?;
    while let Some(entry) = entries.next_entry().await? {
        let Ok(about) = fs::symlink_metadata(entry.path()).await else { continue };
        let (Some(name), true) = (entry.file_name().to_str().map(str::to_owned), about.is_file()) else {
            continue;
        };
        let modified = about.mtime().wrapping_mul(1_000_000_000).wrapping_add(about.mtime_nsec());
        listed.push(Listed { name, size: about.len(), modified });
    }
    Ok(listed)
}

async fn read(path: &Path, from: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(path).await?;
    file.seek(std::io::SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

async fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let missing = || std::io::Error::from(ErrorKind::InvalidInput);
    let folder = path.parent().ok_or_else(missing)?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(missing)?;
    fs::create_dir_all(folder).await?;
    let part = folder.join(format!(".{name}.part"));
    let mut file = fs::File::create(&part).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&part, path).await?;
    // The name itself must survive a power cut too.
    fs::File::open(folder).await?.sync_all().await
}

fn unreachable(error: std::io::Error) -> FetchError {
    FetchError::Unreachable(Box::new(error))
}

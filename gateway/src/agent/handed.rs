//! Which deliveries local software has, remembered on disk before the gateway is told, so that a crash in between hands
//! nothing over twice.
//!
//! One small file a delivery, named by its identifier and holding the moment. It stays until the gateway cannot offer
//! the delivery any more, also if it was put back to an earlier state. Nothing of a delivery's content is in it.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use varco_core::id::ExchangeId;
use varco_core::parcel::INBOX_TERM;
use varco_core::time::Timestamp;

/// How long a mark stays: nothing is offered for longer than [`INBOX_TERM`] after it was sent. A day for clocks.
const KEPT: Duration = INBOX_TERM.saturating_add(Duration::from_secs(24 * 3600));
/// A mark, beside others of its kind.
const MARK: &str = "handed";
/// A delivery that is being written.
const PART: &str = "part";

/// The memory of one agent: it has the folder to itself.
pub struct Handed {
    place: PathBuf,
    _lock: File,
}

impl Handed {
    /// Opens the memory, makes its folder where there is none, and undoes what a crash cut short.
    pub fn open(place: &Path) -> io::Result<Self> {
        match std::fs::create_dir(place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let lock = File::create(place.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another agent uses this folder"),
        })?;
        let handed = Self { place: place.to_owned(), _lock: lock };
        for id in handed.named(PART)? {
            handed.undo(&id)?;
        }
        Ok(handed)
    }

    pub fn holds(&self, id: &ExchangeId) -> io::Result<bool> {
        self.mark(id).try_exists()
    }

    /// Local software has it: durable before this returns.
    pub fn remember(&self, id: &ExchangeId, now: Timestamp) -> io::Result<()> {
        let mut file = File::create(self.mark(id))?;
        file.write_all(now.to_string().as_bytes())?;
        file.sync_all()?;
        self.sync()
    }

    /// Puts a delivery into the folder, whole or not at all, and remembers it, both or neither: it is written here, then
    /// remembered, then moved. Where a part is left beside its mark, the move has not happened.
    pub fn file(&self, folder: &Path, (id, body): (&ExchangeId, &[u8]), now: Timestamp) -> io::Result<()> {
        let filed = self.stage(id, body, now).and_then(|part| {
            std::fs::rename(part, folder.join(format!("{id}.json")))?;
            File::open(folder)?.sync_all()
        });
        if filed.is_err() && self.part(id).try_exists()? {
            self.undo(id)?;
        }
        filed
    }

    fn stage(&self, id: &ExchangeId, body: &[u8], now: Timestamp) -> io::Result<PathBuf> {
        let part = self.part(id);
        let mut file = File::create(&part)?;
        file.write_all(body)?;
        file.sync_all()?;
        self.remember(id, now)?;
        Ok(part)
    }

    /// What the gateway cannot offer any more need not be remembered.
    pub fn forget_old(&self, now: Timestamp) -> io::Result<()> {
        for id in self.named(MARK)? {
            let text = std::fs::read_to_string(self.mark(&id))?;
            if text.parse::<Timestamp>().is_ok_and(|at| at.plus(KEPT) < now) {
                std::fs::remove_file(self.mark(&id))?;
            }
        }
        Ok(())
    }

    /// The mark first: a part without one is as good as nothing.
    fn undo(&self, id: &ExchangeId) -> io::Result<()> {
        match std::fs::remove_file(self.mark(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => self.sync()?,
        }
        std::fs::remove_file(self.part(id))
    }

    /// The deliveries that have a file of this kind.
    fn named(&self, kind: &str) -> io::Result<Vec<ExchangeId>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.place)? {
            let name = entry?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(kind)?.strip_suffix('.'));
            found.extend(stem.and_then(|stem| stem.parse::<ExchangeId>().ok()));
        }
        Ok(found)
    }

    fn mark(&self, id: &ExchangeId) -> PathBuf {
        self.place.join(format!("{id}.{MARK}"))
    }

    fn part(&self, id: &ExchangeId) -> PathBuf {
        self.place.join(format!("{id}.{PART}"))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.place)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

    fn id() -> ExchangeId {
        ExchangeId::new(NOW, [7; 10])
    }

    /// Where deliveries go, with the memory below it.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let name =
                format!("varco-handed-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn open(&self) -> Handed {
            Handed::open(&self.0.join(".varco")).unwrap()
        }

        fn file(&self) -> PathBuf {
            self.0.join(format!("{}.json", id()))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_that_was_put_into_its_folder_is_remembered_though_it_was_taken_away() {
        let folder = Folder::new();
        let handed = folder.open();
        assert!(!handed.holds(&id()).unwrap());
        handed.file(&folder.0, (&id(), b"{}"), NOW).unwrap();
        assert_eq!(std::fs::read(folder.file()).unwrap(), b"{}");
        std::fs::remove_file(folder.file()).unwrap();
        drop(handed);
        assert!(folder.open().holds(&id()).unwrap());
    }

    #[test]
    fn what_a_crash_cut_short_before_the_move_was_not_handed_over() {
        for marked in [None, Some(())] {
            let folder = Folder::new();
            let handed = folder.open();
            std::fs::write(handed.part(&id()), b"{\"half").unwrap();
            if marked.is_some() {
                handed.remember(&id(), NOW).unwrap();
            }
            drop(handed);
            let handed = folder.open();
            assert!(!handed.holds(&id()).unwrap());
            assert!(!handed.part(&id()).exists(), "half a delivery lies about");
            handed.file(&folder.0, (&id(), b"{}"), NOW).unwrap();
            assert!(folder.file().exists() && handed.holds(&id()).unwrap());
        }
    }

    #[test]
    fn a_file_that_cannot_be_put_into_its_folder_was_not_handed_over() {
        let folder = Folder::new();
        let handed = folder.open();
        assert!(handed.file(&folder.0.join("elsewhere"), (&id(), b"{}"), NOW).is_err());
        assert!(!handed.holds(&id()).unwrap() && !handed.part(&id()).exists());
    }

    #[test]
    fn what_the_gateway_cannot_offer_any_more_is_forgotten() {
        let folder = Folder::new();
        let handed = folder.open();
        handed.remember(&id(), NOW).unwrap();
        handed.forget_old(NOW.plus(INBOX_TERM)).unwrap();
        assert!(handed.holds(&id()).unwrap());
        handed.forget_old(NOW.plus(KEPT).plus(Duration::from_millis(1))).unwrap();
        assert!(!handed.holds(&id()).unwrap());
    }

    #[test]
    fn a_memory_has_one_agent() {
        let folder = Folder::new();
        let first = folder.open();
        let refused = Handed::open(&folder.0.join(".varco")).err().unwrap();
        assert_eq!(refused.to_string(), "another agent uses this folder");
        drop(first);
        folder.open();
    }
}

//! The keys of bodies, one for each epoch, in a small file outside the database and outside every backup.
//!
//! Whoever destroys an epoch's key here makes every copy of the bodies sealed under it unreadable, wherever it lies. So
//! the file must not be copied where it could survive. Replicas of one log share one file. It is replaced whole, by
//! renaming, under a lock file of its own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use varco_core::log::sealing::{self, BodyCipher, CipherFault, EpochKey};
use zeroize::Zeroizing;

/// The first line of the file.
const MAGIC: &str = "varco/body-keys/v1";

/// Two epochs while one follows the other; a file with more was written by nobody.
const EPOCHS_MAX: usize = 64;

/// A file is replaced twice in a renewal, months apart from the next one.
const REPLACED_MAX: usize = 8;

/// Why the keys of bodies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error(transparent)]
    Cipher(#[from] CipherFault),
    #[error("the file of body keys is not one")]
    Damaged,
    #[error("the file of body keys cannot be read or written")]
    Io(#[from] io::Error),
    /// The key was destroyed, or this is another log's file.
    #[error("the body key of epoch {0} is not here")]
    NoKey(u32),
    /// Replicas that do not share one file, or another log's file.
    #[error("the body key of epoch {0} is another one than this log's")]
    OtherKey(u32),
}

/// The keys as they were last read. Clones of the [`Arc`] see every change.
pub struct Keyring {
    path: PathBuf,
    cipher: Arc<dyn BodyCipher>,
    keys: RwLock<BTreeMap<u32, EpochKey>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.epochs()).finish()
    }
}

impl Keyring {
    /// Where the keys of a gateway lie unless it is told otherwise: beside the anchor, which has to be kept out of
    /// backups as well.
    pub fn beside(anchor: &Path) -> PathBuf {
        anchor.with_file_name("body-keys")
    }

    /// Reads the file; without one there are no keys yet.
    pub fn open(path: PathBuf, cipher: Arc<dyn BodyCipher>) -> Result<Self, KeyringError> {
        let keys = RwLock::new(read(&path)?);
        Ok(Self { path, cipher, keys })
    }

    pub fn cipher(&self) -> &dyn BodyCipher {
        self.cipher.as_ref()
    }

    /// The epochs whose key is here, the oldest first.
    pub fn epochs(&self) -> Vec<u32> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// The key of an epoch. One that is not known is looked for in the file once more: another replica may have made it.
    pub fn key(&self, epoch: u32) -> Result<EpochKey, KeyringError> {
        if let Some(key) = self.known(epoch) {
            return Ok(key);
        }
        self.reload()?;
        self.known(epoch).ok_or(KeyringError::NoKey(epoch))
    }

    /// Every key that is here, for terms to search by: while one epoch follows another, rows have terms of either.
    pub fn keys(&self) -> Vec<EpochKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Reads the file again. One that has vanished changes nothing here: the keys in memory are the last ones.
    pub fn reload(&self) -> Result<(), KeyringError> {
        self.keep(self.read_again()?);
        Ok(())
    }

    /// What tells whether two have the same key of an epoch. It tells nothing of the key.
    pub fn check_value(&self, epoch: u32) -> Result<String, KeyringError> {
        Ok(sealing::term(&self.key(epoch)?, "check", ""))
    }

    fn read_again(&self) -> Result<BTreeMap<u32, EpochKey>, KeyringError> {
        let keys = read(&self.path)?;
        if keys.is_empty() && !self.epochs().is_empty() {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        }
        Ok(keys)
    }

    /// Makes the key of an epoch durable, unless it is there. Nothing is sealed under it before.
    pub fn add(&self, epoch: u32) -> Result<(), KeyringError> {
        let _lock = self.lock()?;
        let mut keys = self.read_again()?;
        if let std::collections::btree_map::Entry::Vacant(place) = keys.entry(epoch) {
            place.insert(self.cipher.new_key()?);
            self.replace(&keys)?;
        }
        self.keep(keys);
        Ok(())
    }

    /// Destroys the keys of all epochs before one: what is sealed under them can never be read again.
    pub fn destroy_before(&self, epoch: u32) -> Result<(), KeyringError> {
        let _lock = self.lock()?;
        let mut keys = self.read_again()?;
        let kept = keys.split_off(&epoch);
        if !keys.is_empty() {
            self.replace(&kept)?;
        }
        self.keep(kept);
        Ok(())
    }

    fn known(&self, epoch: u32) -> Option<EpochKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&epoch).cloned()
    }

    fn keep(&self, keys: BTreeMap<u32, EpochKey>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Held while the file is replaced, by one process at a time.
    fn lock(&self) -> Result<File, KeyringError> {
        let path = self.path.with_added_extension("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.lock()?;
        Ok(file)
    }

    /// A new file in place of the old one, whose bytes are overwritten before its last name goes. On a disk that writes
    /// elsewhere instead (flash, copy on write) the bytes stay in cells nobody can address: keep the file on a disk that
    /// is encrypted.
    fn replace(&self, keys: &BTreeMap<u32, EpochKey>) -> Result<(), KeyringError> {
        let new = self.path.with_added_extension("new");
        let _ = std::fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text(keys).as_bytes())?;
        file.sync_all()?;
        let old = OpenOptions::new().write(true).open(&self.path);
        std::fs::rename(&new, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        if let Ok(mut old) = old {
            let length = usize::try_from(old.metadata()?.len()).unwrap_or(0);
            old.write_all(&vec![0; length])?;
            old.sync_all()?;
        }
        Ok(())
    }
}

fn text(keys: &BTreeMap<u32, EpochKey>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(format!("{MAGIC}\n"));
    for (epoch, key) in keys {
        text.push_str(&format!("{epoch} "));
        for byte in key.iter() {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push('\n');
    }
    text
}

/// The file as it has its name now. Whoever opened it just before it was replaced finds it overwritten, and looks again.
fn read_whole(path: &Path) -> io::Result<Zeroizing<String>> {
    for _ in 0..REPLACED_MAX {
        let text = Zeroizing::new(std::fs::read_to_string(path)?);
        if !text.contains('\0') {
            return Ok(text);
        }
    }
    Ok(Zeroizing::new(std::fs::read_to_string(path)?))
}

fn read(path: &Path) -> Result<BTreeMap<u32, EpochKey>, KeyringError> {
    let text = match read_whole(path) {
        Ok(text) => text,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(fault) => return Err(fault.into()),
    };
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(KeyringError::Damaged);
    }
    let keys =
        lines.map(|text| line(text).ok_or(KeyringError::Damaged)).collect::<Result<BTreeMap<_, _>, _>>()?;
    if keys.is_empty() || keys.len() > EPOCHS_MAX { Err(KeyringError::Damaged) } else { Ok(keys) }
}

fn line(text: &str) -> Option<(u32, EpochKey)> {
    let (epoch, digits) = text.split_once(' ')?;
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some((epoch.parse().ok().filter(|epoch| *epoch > 0)?, key))
}

#[cfg(test)]
mod tests {
    use varco_jose::AesBodyCipher;

    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("varco-keyring-{name}-{}", std::process::id()));
        for extension in ["", "lock", "new"] {
            let _ = std::fs::remove_file(path.with_added_extension(extension));
        }
        let _ = std::fs::remove_file(&path);
        path
    }

    fn open(path: &Path) -> Result<Keyring, KeyringError> {
        Keyring::open(path.to_owned(), Arc::new(AesBodyCipher))
    }

    #[test]
    fn keys_are_made_once_seen_by_others_and_destroyed() {
        let path = place("life");
        let (one, other) = (open(&path).unwrap(), open(&path).unwrap());
        assert!(one.epochs().is_empty());
        one.add(1).unwrap();
        other.add(1).unwrap();
        assert_eq!(one.key(1).unwrap(), other.key(1).unwrap());
        one.add(2).unwrap();
        assert_eq!(one.key(2).unwrap(), other.key(2).unwrap());
        let inode = OpenOptions::new().read(true).open(&path).unwrap();
        one.destroy_before(2).unwrap();
        assert!(matches!(one.key(1), Err(KeyringError::NoKey(1))));
        assert_eq!(one.epochs(), [2]);
        // Not even who had the file open still finds a key in it.
        let mut left = String::new();
        io::Read::read_to_string(&mut &inode, &mut left).unwrap();
        assert!(left.bytes().all(|byte| byte == 0) && !left.is_empty());
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        place("life");
    }

    #[test]
    fn a_file_that_vanishes_takes_no_key_with_it() {
        let path = place("gone");
        let keyring = open(&path).unwrap();
        keyring.add(1).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(keyring.reload().is_err() && keyring.add(2).is_err() && keyring.destroy_before(2).is_err());
        assert_eq!(keyring.epochs(), [1]);
        place("gone");
    }

    #[test]
    fn a_file_that_is_not_one_is_refused() {
        let path = place("bad");
        let key = "0".repeat(64);
        for text in ["", "x\n", MAGIC, &format!("{MAGIC}\n0 {key}\n"), &format!("{MAGIC}\n1 {key}0\n")] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(open(&path), Err(KeyringError::Damaged)), "{text}");
        }
        std::fs::write(&path, format!("{MAGIC}\n3 {key}\n")).unwrap();
        assert_eq!(open(&path).unwrap().epochs(), [3]);
        assert!(!format!("{:?}", open(&path).unwrap()).contains("00"));
        place("bad");
    }
}

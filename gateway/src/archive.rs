//! Zip archives as exports need them: files stored as they are, so that everybody's tools open them and their bytes can
//! be read in place. No compression, no encryption, no Zip64: 65,536 entries of the log stay far below 4 GiB.
//!
//! The form is PKWARE's APPNOTE 6.3; the parts used here have not changed since 1993.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What Zip without its 64-bit extension can count.
const SIZE_MAX: u64 = 0xFFFF_FFFE;
const FILES_MAX: usize = 0xFFFE;
/// The end of the directory with the longest comment there can be.
const END_MAX: u64 = 22 + 65_535;
/// 1980-01-01: an export of the same entries has the same bytes whenever it is made.
const DATE: u16 = 0x0021;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("`{}` is not an archive of stored files, or is damaged", .0.display())]
    Damaged(PathBuf),
    #[error("`{}`: {}", .0.display(), .1)]
    File(PathBuf, #[source] std::io::Error),
    #[error("`{}` would be larger than 4 GiB; export into a folder instead", .0.display())]
    TooLarge(PathBuf),
}

/// An archive that grows. It is whole only once [`Writer::finish`] has returned.
pub struct Writer {
    path: PathBuf,
    out: std::io::BufWriter<File>,
    written: u64,
    directory: Vec<u8>,
    files: usize,
}

impl Writer {
    pub fn create(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::create(path).map_err(|error| ArchiveError::File(path.to_owned(), error))?;
        let out = std::io::BufWriter::new(file);
        Ok(Self { path: path.to_owned(), out, written: 0, directory: Vec::new(), files: 0 })
    }

    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        let too_large = || ArchiveError::TooLarge(self.path.clone());
        let length = u32::try_from(bytes.len()).map_err(|_| too_large())?;
        let name_length = u16::try_from(name.len()).map_err(|_| too_large())?;
        let offset = u32::try_from(self.written).map_err(|_| too_large())?;
        let after = self.written + 30 + name.len() as u64 + bytes.len() as u64;
        if after + self.directory.len() as u64 + 46 + name.len() as u64 > SIZE_MAX || self.files >= FILES_MAX
        {
            return Err(too_large());
        }
        // Version 2.0, flags, stored, time, date, CRC, both sizes, length of the name, no extra field.
        let mut common = Vec::with_capacity(26);
        for half in [20, FLAGS, 0, 0, DATE] {
            common.extend_from_slice(&half.to_le_bytes());
        }
        for word in [crc32(bytes), length, length] {
            common.extend_from_slice(&word.to_le_bytes());
        }
        common.extend_from_slice(&name_length.to_le_bytes());
        common.extend_from_slice(&[0; 2]);
        self.directory.extend_from_slice(&CENTRAL.to_le_bytes());
        self.directory.extend_from_slice(&20_u16.to_le_bytes());
        self.directory.extend_from_slice(&common);
        // No comment, first disk, no attributes.
        self.directory.extend_from_slice(&[0; 10]);
        self.directory.extend_from_slice(&offset.to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());
        for part in [&LOCAL.to_le_bytes(), common.as_slice(), name.as_bytes(), bytes] {
            self.out.write_all(part).map_err(|error| ArchiveError::File(self.path.clone(), error))?;
        }
        self.written = after;
        self.files += 1;
        Ok(())
    }

    /// Writes the directory and makes the file durable.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        let count = u16::try_from(self.files).unwrap_or(u16::MAX);
        let size = u32::try_from(self.directory.len()).unwrap_or(u32::MAX);
        let offset = u32::try_from(self.written).unwrap_or(u32::MAX);
        let mut end = END.to_le_bytes().to_vec();
        end.extend_from_slice(&[0; 4]);
        end.extend_from_slice(&count.to_le_bytes());
        end.extend_from_slice(&count.to_le_bytes());
        end.extend_from_slice(&size.to_le_bytes());
        end.extend_from_slice(&offset.to_le_bytes());
        end.extend_from_slice(&[0; 2]);
        let fault = |error| ArchiveError::File(self.path.clone(), error);
        self.out.write_all(&self.directory).map_err(fault)?;
        self.out.write_all(&end).map_err(fault)?;
        self.out.flush().map_err(fault)?;
        self.out.get_ref().sync_all().map_err(fault)
    }
}

/// An archive that is read. Nothing of it is believed: every read stays within the file, and a checksum that is wrong
/// is told.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: Mutex<File>,
    files: BTreeMap<String, Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: u32,
    crc: u32,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let fault = |error| ArchiveError::File(path.to_owned(), error);
        let damaged = || ArchiveError::Damaged(path.to_owned());
        let mut file = File::open(path).map_err(fault)?;
        let size = file.metadata().map_err(fault)?.len();
        let tail_at = size.saturating_sub(END_MAX);
        let tail = bytes(&mut file, tail_at, size - tail_at).map_err(fault)?;
        let end = tail.windows(4).rposition(|window| window == END.to_le_bytes());
        // The whole of it, which is 22 bytes without a comment.
        let end = end.filter(|end| tail.len() - end >= 22).ok_or_else(damaged)?;
        let end = Fields(tail.get(end..).unwrap_or_default());
        let (count, length, offset) = (end.half(10), u64::from(end.word(12)), u64::from(end.word(16)));
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(damaged());
        }
        let directory = bytes(&mut file, offset, length).map_err(fault)?;
        let files = places(&directory, count).ok_or_else(damaged)?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), files })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The bytes of a file; `None` when there is none of that name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(place) = self.files.get(name) else { return Ok(None) };
        let fault = |error| ArchiveError::File(self.path.clone(), error);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let head = bytes(&mut file, place.offset, 30).map_err(fault)?;
        let head = Fields(&head);
        let skip = 30 + u64::from(head.half(26)) + u64::from(head.half(28));
        let read = bytes(&mut file, place.offset + skip, place.length.into()).map_err(fault)?;
        if head.word(0) != LOCAL || crc32(&read) != place.crc {
            return Err(ArchiveError::Damaged(self.path.clone()));
        }
        Ok(Some(read))
    }
}

/// The directory, if it is of stored files only.
fn places(directory: &[u8], count: u16) -> Option<BTreeMap<String, Place>> {
    let (mut files, mut rest) = (BTreeMap::new(), directory);
    for _ in 0..count {
        let fields = Fields(rest.get(..46)?);
        let (method, length) = (fields.half(10), fields.word(24));
        if fields.word(0) != CENTRAL || method != 0 || fields.word(20) != length {
            return None;
        }
        let name = usize::from(fields.half(28));
        let more = usize::from(fields.half(30)) + usize::from(fields.half(32));
        let text = std::str::from_utf8(rest.get(46..46 + name)?).ok()?;
        let place = Place { offset: fields.word(42).into(), length, crc: fields.word(16) };
        files.insert(text.to_owned(), place);
        rest = rest.get(46 + name + more..)?;
    }
    Some(files)
}

/// At most what is there: a length that lies must not cost memory.
fn bytes(file: &mut File, at: u64, length: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut read = Vec::new();
    file.take(length).read_to_end(&mut read)?;
    Ok(read)
}

/// Little-endian numbers at their places; 0 beyond the end, which no check takes for right.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn half(&self, at: usize) -> u16 {
        let two = self.0.get(at..).and_then(|rest| rest.first_chunk::<2>());
        two.map_or(0, |two| u16::from_le_bytes(*two))
    }

    fn word(&self, at: usize) -> u32 {
        let four = self.0.get(at..).and_then(|rest| rest.first_chunk::<4>());
        four.map_or(0, |four| u32::from_le_bytes(*four))
    }
}

/// CRC-32 as Zip has it (ISO 3309, reflected polynomial EDB88320), four bits at a time.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = [
        0x0000_0000,
        0x1db7_1064,
        0x3b6e_20c8,
        0x26d9_30ac,
        0x76dc_4190,
        0x6b6b_51f4,
        0x4db2_6158,
        0x5005_713c,
        0xedb8_8320,
        0xf00f_9344,
        0xd6d6_a3e8,
        0xcb61_b38c,
        0x9b64_c2b0,
        0x86d3_d2d4,
        0xa00a_e278,
        0xbdbd_f21c,
    ];
    let of = |crc: u32| {
        let [low, ..] = crc.to_le_bytes();
        TABLE.get(usize::from(low & 15)).copied().unwrap_or(0)
    };
    let step = |crc: u32, byte: &u8| {
        let crc = crc ^ u32::from(*byte);
        let crc = of(crc) ^ (crc >> 4);
        of(crc) ^ (crc >> 4)
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("varco-archive-{}-{name}.zip", std::process::id()));
        let mut writer = Writer::create(&path).unwrap();
        writer.add("checkpoint", b"one\n2\nthree\n").unwrap();
        writer.add("tile/entries/x001/234", &[7; 70_000]).unwrap();
        writer.add("empty", b"").unwrap();
        writer.finish().unwrap();
        path
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let path = made("whole");
        let archive = Reader::open(&path).unwrap();
        assert_eq!(archive.names().collect::<Vec<_>>(), ["checkpoint", "empty", "tile/entries/x001/234"]);
        assert_eq!(archive.read("checkpoint").unwrap().unwrap(), b"one\n2\nthree\n");
        assert_eq!(archive.read("tile/entries/x001/234").unwrap().unwrap(), [7; 70_000]);
        assert_eq!(archive.read("empty").unwrap().unwrap(), b"");
        assert!(archive.read("other").unwrap().is_none());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_damaged_archive_is_told_and_never_read_beyond_its_end() {
        let path = made("damaged");
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).filter(|at| !(200..70_000).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 0xFF;
            std::fs::write(&path, &bad).unwrap();
            let Ok(archive) = Reader::open(&path) else { continue };
            let names: Vec<String> = archive.names().map(str::to_owned).collect();
            for name in names {
                let _ = archive.read(&name);
            }
        }
        for length in [0, 10, 21, 70_000, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(Reader::open(&path).is_err(), "{length}");
        }
        let mut bad = good.clone();
        bad[45] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(Reader::open(&path).unwrap().read("checkpoint").is_err());
        std::fs::remove_file(path).unwrap();
    }
}

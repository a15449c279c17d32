//! The keys that turn people into pseudonyms.

use std::fmt;

use hmac::{Hmac, Mac as _};
use zeroize::Zeroizing;

use super::CodiceFiscale;
use crate::id::{AgencyId, Pseudonym};

/// The keys that turn people into pseudonyms, one for each epoch. Kept apart from the database: who has only one of
/// the two cannot tell whom an entry is about.
///
/// Text form: a line for each epoch, its number, a space, 64 hexadecimal digits; `#` starts a comment. A line `current` and
/// an epoch says which one is written from now on; without it, the highest. So several replicas can all learn a new key
/// before the first of them writes under it.
#[derive(Clone)]
pub struct SubjectKeys {
    /// In ascending order of epochs.
    keys: Vec<(u16, SubjectKey)>,
    /// INVARIANT: a place in `keys`.
    current: usize,
}

/// A key of one epoch, wiped from memory when dropped.
pub type SubjectKey = Zeroizing<[u8; 32]>;

/// What is wrong with a file of subject keys. Never says a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectKeysFault {
    #[error("there is no subject key")]
    Empty,
    #[error("the current epoch {0} has no key, or is named twice")]
    Current(u16),
    #[error("epoch {0} appears twice among the subject keys")]
    EpochTwice(u16),
    #[error(
        "line {0} of the subject keys is not an epoch from 1 to 65535, a space and 64 hexadecimal digits"
    )]
    Line(usize),
}

/// What the HMAC is of, before the codice fiscale: nobody can use the key's other tags as pseudonyms.
const PSEUDONYM_DOMAIN: &[u8] = b"varco/subject/v1\0";
/// The same, for the key from which an owner's pairwise pseudonyms are derived.
const OWNER_DOMAIN: &[u8] = b"varco/owner/v1\0";
/// The same, for the keys under which copies that wait are locked.
const LOCK_DOMAIN: &[u8] = b"varco/lock/v1\0";
const FOR_OWNER_DOMAIN: &[u8] = b"varco/for-owner/v1\0";
/// The same, for what is only ever compared.
const FINGERPRINT_DOMAIN: &[u8] = b"varco/fingerprint/v1\0";

impl SubjectKeys {
    /// The highest epoch is the current one.
    pub fn new(mut keys: Vec<(u16, SubjectKey)>) -> Result<Self, SubjectKeysFault> {
        keys.sort_by_key(|(epoch, _)| *epoch);
        if keys.is_empty() {
            return Err(SubjectKeysFault::Empty);
        }
        let neighbours = keys.iter().zip(keys.iter().skip(1));
        if let Some((twice, _)) = neighbours.into_iter().find(|(a, b)| a.0 == b.0) {
            return Err(SubjectKeysFault::EpochTwice(twice.0));
        }
        let current = keys.len() - 1;
        Ok(Self { keys, current })
    }

    /// The same keys with another epoch written from now on.
    pub fn with_current(mut self, epoch: u16) -> Result<Self, SubjectKeysFault> {
        let place = self.keys.iter().position(|(known, _)| *known == epoch);
        self.current = place.ok_or(SubjectKeysFault::Current(epoch))?;
        Ok(self)
    }

    pub fn parse(text: &str) -> Result<Self, SubjectKeysFault> {
        let (mut keys, mut current) = (Vec::new(), None);
        let lines = text.lines().map(str::trim).enumerate();
        for (place, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let fault = SubjectKeysFault::Line(place + 1);
            match line.strip_prefix("current ") {
                Some(epoch) => {
                    let epoch = epoch.trim().parse().map_err(|_| fault)?;
                    if current.replace(epoch).is_some() {
                        return Err(SubjectKeysFault::Current(epoch));
                    }
                }
                None => keys.push(key_line(line).ok_or(fault)?),
            }
        }
        let all = Self::new(keys)?;
        match current {
            Some(epoch) => all.with_current(epoch),
            None => Ok(all),
        }
    }

    /// The epoch that is written now, and all of them.
    pub fn epochs(&self) -> (u16, Vec<u16>) {
        (self.now().0, self.keys.iter().map(|(epoch, _)| *epoch).collect())
    }

    /// The epochs of these keys that `newer` does not have, or has with another key: what would be lost by taking it.
    pub fn missing_in(&self, newer: &Self) -> Vec<u16> {
        let kept = |key: &&(u16, SubjectKey)| newer.keys.iter().any(|other| other == *key);
        self.keys.iter().filter(|key| !kept(key)).map(|(epoch, _)| *epoch).collect()
    }

    fn now(&self) -> (u16, &[u8; 32]) {
        // INVARIANT: `new` refuses an empty list, and `current` is a place in it.
        self.keys.get(self.current).map_or((0, &[0; 32]), |(epoch, key)| (*epoch, key))
    }

    /// The text form, without comments.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        if self.current + 1 != self.keys.len() {
            text.push_str(&format!("current {}\n", self.now().0));
        }
        for (epoch, key) in &self.keys {
            text.push_str(&format!("{epoch} "));
            for byte in key.iter() {
                text.push_str(&format!("{byte:02x}"));
            }
            text.push('\n');
        }
        text
    }

    /// The person's pseudonym of the current epoch: what is written from now on.
    pub fn pseudonym(&self, person: &CodiceFiscale) -> Pseudonym {
        let (epoch, key) = self.now();
        pseudonym(epoch, key, person)
    }

    /// The current epoch, and an owner's own key for pseudonyms towards its recipients, derived from the epoch's key.
    pub fn owner_key(&self, owner: &AgencyId) -> (u16, [u8; 32]) {
        let (epoch, key) = self.now();
        (epoch, tag(key, &[OWNER_DOMAIN, owner.as_str().as_bytes()]))
    }

    /// The keys of all epochs, the current one first.
    fn current_first(&self) -> impl Iterator<Item = (u16, &[u8; 32])> {
        let (current, key) = self.now();
        let others = self.keys.iter().rev().filter(move |(epoch, _)| *epoch != current);
        std::iter::once((current, key)).chain(others.map(|(epoch, key)| (*epoch, &**key)))
    }

    /// Keys for what is kept under lock, one of each epoch, the current one last: derived, so that they lie where the
    /// subject keys lie, apart from the database, and nothing further must be guarded.
    pub fn lock_keys(&self) -> Vec<(u16, SubjectKey)> {
        self.derived(LOCK_DOMAIN)
    }

    /// The roots of the keys that open what entries say to a record's owner alone, one of each epoch, the current one last.
    pub fn owner_roots(&self) -> Vec<(u16, SubjectKey)> {
        self.derived(FOR_OWNER_DOMAIN)
    }

    fn derived(&self, domain: &[u8]) -> Vec<(u16, SubjectKey)> {
        let derived = self.current_first().map(|(epoch, key)| (epoch, Zeroizing::new(tag(key, &[domain]))));
        let mut keys: Vec<_> = derived.collect();
        keys.reverse();
        keys
    }

    /// Tags under which the same bytes are known again, the current epoch's first: HMAC-SHA-256 in hexadecimal. Who does not
    /// hold the keys cannot guess them open.
    pub fn fingerprints(&self, bytes: &[u8]) -> Vec<String> {
        let hex = |tag: [u8; 32]| tag.iter().map(|byte| format!("{byte:02x}")).collect();
        self.current_first().map(|(_, key)| hex(tag(key, &[FINGERPRINT_DOMAIN, bytes]))).collect()
    }

    /// The person's pseudonyms of all epochs, the current one first: what may have been written.
    pub fn all(&self, person: &CodiceFiscale) -> Vec<Pseudonym> {
        self.current_first().map(|(epoch, key)| pseudonym(epoch, key, person)).collect()
    }
}

impl fmt::Debug for SubjectKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(epoch, _)| epoch)).finish()
    }
}

/// HMAC-SHA-256 cut to 128 bits: short enough for an index, and far too long to meet another person's by chance.
fn pseudonym(epoch: u16, key: &[u8; 32], person: &CodiceFiscale) -> Pseudonym {
    let tag = tag(key, &[PSEUDONYM_DOMAIN, person.normalised().as_bytes()]);
    let (head, _) = tag.split_at(16);
    Pseudonym::new(epoch, head.try_into().unwrap_or_default())
}

/// HMAC-SHA-256 of the parts, the first of which tells what the tag is for.
fn tag(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = Zeroizing::new([0; 64]);
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    // A key padded with zeros to the block's length is the same HMAC key (RFC 2104 section 2), and cannot be refused.
    let mut mac = <Hmac<sha2::Sha256> as hmac::digest::KeyInit>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn key_line(line: &str) -> Option<(u16, SubjectKey)> {
    let (epoch, digits) = line.split_once(' ')?;
    let epoch = epoch.parse().ok().filter(|epoch| *epoch > 0)?;
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some((epoch, key))
}

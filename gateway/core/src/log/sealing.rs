//! How erasable bodies lie in storage: each sealed under a key of its own, which the key of an epoch wraps.
//!
//! Deleting a sealed body erases it where its bytes are really gone. Copies that nobody can reach (backups, an archive
//! of a database's own log) become unreadable when the epoch's key is destroyed, and what must be kept was wrapped anew
//! before. This module says what is sealed and how terms to search by are made; the cipher itself is the shell's.

use hmac::{Hmac, Mac as _};
use zeroize::Zeroizing;

use crate::id::Pseudonym;
use crate::log::entry::{Slot, SlotName, Slots};

/// The key of an epoch, wiped from memory when dropped.
pub type EpochKey = Zeroizing<[u8; 32]>;

/// What is sealed: of an entry its three slots and the people it is found by, and what a claim keeps for a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    About,
    Claim,
    Slot(SlotName),
}

impl Part {
    /// The parts of an entry.
    pub const OF_ENTRY: [Self; 4] = [
        Self::About,
        Self::Slot(SlotName::Decision),
        Self::Slot(SlotName::Operator),
        Self::Slot(SlotName::Subject),
    ];

    pub const fn text(self) -> &'static str {
        match self {
            Self::About => "about",
            Self::Claim => "claim",
            Self::Slot(name) => name.text(),
        }
    }
}

/// Where a sealed body belongs. It opens nowhere else, so that two bodies cannot change places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The entry's row in storage.
    pub index: u64,
    pub part: Part,
}

/// A body could not be sealed or opened: the key is another one, or the bytes were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed body cannot be opened with the key of its epoch")]
pub struct CipherFault;

/// The cipher over bodies. Each call to `seal` draws a fresh key for that body alone.
pub trait BodyCipher: Send + Sync {
    /// A new key for an epoch.
    fn new_key(&self) -> Result<EpochKey, CipherFault>;

    /// The wrapped key of the body, and the body sealed under it.
    fn seal(&self, key: &EpochKey, place: Place, body: &[u8]) -> Result<Vec<u8>, CipherFault>;

    fn open(&self, key: &EpochKey, place: Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherFault>;

    /// The same sealed body with its own key wrapped by `new` instead of `old`.
    fn renew(
        &self,
        old: &EpochKey,
        new: &EpochKey,
        place: Place,
        sealed: &[u8],
    ) -> Result<Vec<u8>, CipherFault>;
}

/// What is sealed of a slot: 32 bytes of salt, then the body.
pub fn slot_bytes(slot: &Slot) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([slot.salt.as_slice(), slot.body.as_bytes()].concat())
}

pub fn slot_from_bytes(bytes: &[u8]) -> Option<Slot> {
    let (salt, body) = bytes.split_first_chunk::<32>()?;
    Some(Slot { salt: *salt, body: std::str::from_utf8(body).ok()?.to_owned() })
}

/// What is sealed of the people an entry is found by: their pseudonyms, one a line.
pub fn about_bytes(subjects: &[Pseudonym]) -> Zeroizing<Vec<u8>> {
    let lines: Vec<&str> = subjects.iter().map(Pseudonym::as_str).collect();
    Zeroizing::new(lines.join("\n").into_bytes())
}

pub fn about_from_bytes(bytes: &[u8]) -> Option<Vec<Pseudonym>> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().map(|line| line.parse().ok()).collect()
}

/// What an entry with a sealed operator's body can be found by.
pub const OPERATOR: &str = "operator";
pub const OFFICE: &str = "office";
pub const SUBJECT: &str = "subject";
pub const CASE: &str = "case";
pub const SEAL: &str = "seal";

/// A member of the operator's body that is a text.
pub fn operator_member(slots: &Slots, name: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(&slots.operator.as_ref()?.body).ok()?;
    body.get(name)?.as_str().map(str::to_owned)
}

/// A member of the subject's body that is a text.
pub fn subject_member(slots: &Slots, name: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(&slots.subject.as_ref()?.body).ok()?;
    body.get(name)?.as_str().map(str::to_owned)
}

/// The term under which an index holds a value: HMAC-SHA-256 under a key derived from the epoch's, cut to 128 bits, in
/// hexadecimal digits. Without the epoch's key nobody can tell what it stands for, or guess.
pub fn term(key: &EpochKey, name: &str, value: &str) -> String {
    const DOMAIN: &[u8] = b"varco/log/term/v1\0";
    let derived = Zeroizing::new(tag(key, &[DOMAIN]));
    let tag = tag(&derived, &[name.as_bytes(), &[0], value.as_bytes()]);
    tag.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_people_read_back_from_what_is_sealed() {
        let slot = Slot { salt: [7; 32], body: r#"{"è":1}"#.to_owned() };
        assert_eq!(slot_from_bytes(&slot_bytes(&slot)), Some(slot));
        assert_eq!(slot_from_bytes(&[0; 31]), None);
        let people: Vec<Pseudonym> = ["s1.aaaaaaaaaaaaaaaaaaaaaaaaaa", "s2.bbbbbbbbbbbbbbbbbbbbbbbbba"]
            .map(|p| p.parse().unwrap())
            .into();
        assert_eq!(about_from_bytes(&about_bytes(&people)), Some(people));
        assert_eq!(about_from_bytes(b""), Some(Vec::new()));
        assert_eq!(about_from_bytes(b"nobody"), None);
    }

    #[test]
    fn a_term_depends_on_key_name_and_value_and_shows_none_of_them() {
        let (one, two) = (Zeroizing::new([1; 32]), Zeroizing::new([2; 32]));
        let made = term(&one, OPERATOR, "op-1");
        assert_eq!(made.len(), 32);
        assert_eq!(made, term(&one, OPERATOR, "op-1"));
        for other in [term(&two, OPERATOR, "op-1"), term(&one, OFFICE, "op-1"), term(&one, OPERATOR, "op-2")]
        {
            assert_ne!(made, other);
        }
    }

    #[test]
    fn an_operators_body_gives_its_texts_only() {
        let mut slots = Slots::default();
        assert_eq!(operator_member(&slots, OPERATOR), None);
        slots.operator = Some(Slot { salt: [0; 32], body: r#"{"office":7,"operator":"op-1"}"#.to_owned() });
        assert_eq!(operator_member(&slots, OPERATOR).as_deref(), Some("op-1"));
        assert_eq!(operator_member(&slots, OFFICE), None);
    }
}

//! What an entry says to the owner of a record alone: AES-256-GCM under a key of that owner's, derived from the keys that
//! lie apart from the database. The nonce is derived from what is sealed, so that the same key never seals two texts under
//! one nonce.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use varco_core::exchange::{OwnerKey, OwnerSeal};
use varco_core::id::{AgencyId, ExchangeId};
use zeroize::Zeroizing;

const KEY_LEN: usize = 32;

/// What each derived key and each tag is over besides its own text.
const OWNER_DOMAIN: &[u8] = b"varco/owner/v1\0";
const CIPHER_DOMAIN: &[u8] = b"varco/owner-cipher/v1\0";
const NONCE_DOMAIN: &[u8] = b"varco/owner-nonce/v1\0";
const TEXT_DOMAIN: &[u8] = b"varco/owner-text/v1\0";

/// The key file is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not `<agency> <epoch> <64 hexadecimal digits>`")]
pub struct OwnerKeyFault(pub usize);

type Secret = Zeroizing<[u8; KEY_LEN]>;

/// Seals for every owner, and opens for every owner: the gateway's own.
pub struct OwnerKeeper {
    /// In ascending order of epochs; seals with the last.
    roots: Vec<(u16, Secret)>,
}

impl OwnerKeeper {
    /// One root of each epoch, the one to seal with last.
    pub const fn new(roots: Vec<(u16, Secret)>) -> Self {
        Self { roots }
    }

    /// The keys that one agency may hold of what was sealed for it.
    pub fn keys_of(&self, owner: &AgencyId) -> OwnerKeys {
        let keys = self.roots.iter().map(|(epoch, root)| (owner.clone(), *epoch, owner_key(root, owner)));
        OwnerKeys { keys: keys.collect() }
    }
}

impl OwnerSeal for OwnerKeeper {
    fn seal(&self, owner: &AgencyId, entry: &ExchangeId, words: &[u8]) -> Option<String> {
        let (epoch, root) = self.roots.last()?;
        let key = owner_key(root, owner);
        let name = entry.as_str().as_bytes();
        let tag = derived(&*key, &[NONCE_DOMAIN, name, b"\0", words]);
        let nonce = tag.get(..NONCE_LEN)?;
        let mut text = words.to_vec();
        let nonce_once = Nonce::try_assume_unique_for_key(nonce).ok()?;
        cipher(&key)?.seal_in_place_append_tag(nonce_once, aad(owner, entry), &mut text).ok()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode([&epoch.to_be_bytes()[..], nonce, &text].concat()))
    }
}

impl OwnerKey for OwnerKeeper {
    fn open(&self, owner: &AgencyId, entry: &ExchangeId, sealed: &str) -> Option<Vec<u8>> {
        self.keys_of(owner).open(owner, entry, sealed)
    }
}

/// The keys of one agency, or of several: one line each, `<agency> <epoch> <64 hexadecimal digits>`.
#[derive(Default)]
pub struct OwnerKeys {
    keys: Vec<(AgencyId, u16, Secret)>,
}

impl OwnerKeys {
    pub fn parse(text: &str) -> Result<Self, OwnerKeyFault> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(place, line)| key_line(line).ok_or(OwnerKeyFault(place + 1)));
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    /// The text form.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for (owner, epoch, key) in &self.keys {
            text.push_str(&format!("{owner} {epoch} "));
            key.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
            text.push('\n');
        }
        text
    }
}

impl OwnerKey for OwnerKeys {
    fn open(&self, owner: &AgencyId, entry: &ExchangeId, sealed: &str) -> Option<Vec<u8>> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (epoch, rest) = bytes.split_first_chunk::<2>()?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let epoch = u16::from_be_bytes(*epoch);
        let (.., key) = self.keys.iter().find(|(of, known, _)| of == owner && *known == epoch)?;
        let mut text = text.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        Some(cipher(key)?.open_in_place(nonce, aad(owner, entry), &mut text).ok()?.to_vec())
    }
}

fn key_line(line: &str) -> Option<(AgencyId, u16, Secret)> {
    let mut words = line.split_ascii_whitespace();
    let (owner, epoch, hex) = (words.next()?, words.next()?, words.next()?);
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if words.next().is_some() || hex.len() != 2 * KEY_LEN || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some((owner.parse().ok()?, epoch.parse().ok()?, key))
}

fn owner_key(root: &Secret, owner: &AgencyId) -> Secret {
    derived(&**root, &[OWNER_DOMAIN, owner.as_str().as_bytes()])
}

fn derived(key: &[u8], parts: &[&[u8]]) -> Secret {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat());
    let mut derived = Zeroizing::new([0; KEY_LEN]);
    derived.copy_from_slice(tag.as_ref());
    derived
}

fn cipher(key: &Secret) -> Option<LessSafeKey> {
    let own = derived(&**key, &[CIPHER_DOMAIN]);
    UnboundKey::new(&AES_256_GCM, own.as_slice()).map(LessSafeKey::new).ok()
}

fn aad(owner: &AgencyId, entry: &ExchangeId) -> Aad<Vec<u8>> {
    Aad::from([TEXT_DOMAIN, owner.as_str().as_bytes(), b"\0", entry.as_str().as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper() -> OwnerKeeper {
        OwnerKeeper::new(vec![(1, Zeroizing::new([1; 32])), (2, Zeroizing::new([2; 32]))])
    }

    fn entry(n: u8) -> ExchangeId {
        format!("00000000-0000-7000-8000-0000000000{n:02x}").parse().unwrap()
    }

    fn agency(name: &str) -> AgencyId {
        name.parse().unwrap()
    }

    #[test]
    fn what_is_sealed_for_an_owner_opens_with_that_owners_key_alone() {
        let (keeper, owner) = (keeper(), agency("comune-capannori"));
        let sealed = keeper.seal(&owner, &entry(1), b"0010").unwrap();
        let keys = OwnerKeys::parse(&keeper.keys_of(&owner).to_text()).unwrap();
        assert_eq!(keys.open(&owner, &entry(1), &sealed).unwrap(), b"0010");
        assert_eq!(keys.open(&owner, &entry(2), &sealed), None, "another entry's");
        let other = keeper.keys_of(&agency("cpi-lucca"));
        assert_eq!(other.open(&owner, &entry(1), &sealed), None, "another owner's key");
        assert_eq!(keeper.open(&agency("cpi-lucca"), &entry(1), &sealed), None);
        assert_eq!(OwnerKeys::default().open(&owner, &entry(1), &sealed), None);
    }

    #[test]
    fn every_byte_of_it_counts_and_its_length_tells_nothing() {
        let (keeper, owner) = (keeper(), agency("comune-capannori"));
        let sealed = keeper.seal(&owner, &entry(1), b"0000").unwrap();
        assert_eq!(keeper.seal(&owner, &entry(1), b"v4h1").unwrap().len(), sealed.len());
        assert_ne!(keeper.seal(&owner, &entry(2), b"0000").unwrap(), sealed);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let changed = BASE64_URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(keeper.open(&owner, &entry(1), &changed), None, "byte {place}");
        }
        for short in ["", "AA", "!"] {
            assert_eq!(keeper.open(&owner, &entry(1), short), None);
        }
    }

    #[test]
    fn what_an_older_epoch_sealed_opens_as_long_as_its_key_is_there() {
        let owner = agency("comune-capannori");
        let sealed = OwnerKeeper::new(vec![(1, Zeroizing::new([1; 32]))]).seal(&owner, &entry(1), b"1");
        let sealed = sealed.unwrap();
        assert_eq!(keeper().open(&owner, &entry(1), &sealed).unwrap(), b"1");
        assert_eq!(
            OwnerKeeper::new(vec![(2, Zeroizing::new([2; 32]))]).open(&owner, &entry(1), &sealed),
            None
        );
    }

    #[test]
    fn a_line_that_is_no_key_is_told_by_its_number() {
        let good = format!("# chiave\ncomune-capannori 1 {}\n", "0a".repeat(32));
        assert!(OwnerKeys::parse(&good).is_ok());
        for bad in ["comune-capannori", "comune-capannori x 00", "comune-capannori 1 zz"] {
            assert_eq!(OwnerKeys::parse(&format!("{good}{bad}\n")).err(), Some(OwnerKeyFault(3)), "{bad}");
        }
    }
}

//! Pseudonyms for one pair of agencies: the same person has another name towards every recipient.
//!
//! `K = HKDF-SHA256(owner's key, "varco/pair/v1" owner recipient domain epoch)`, pseudonym = first 128 bits of
//! `HMAC-SHA-256(K, text)` in lower-case base32, as `p<epoch>.<26 characters>`. Only the owner, who holds the key and
//! the text, can find the person again.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use zeroize::Zeroizing;

use crate::id::AgencyId;

/// An owner's key, bound to one recipient and one epoch.
pub struct PairKey {
    owner_key: Zeroizing<[u8; 32]>,
    owner: AgencyId,
    recipient: AgencyId,
    epoch: u32,
}

impl fmt::Debug for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairKey({} to {}, epoch {})", self.owner, self.recipient, self.epoch)
    }
}

impl PairKey {
    pub fn new(owner_key: [u8; 32], owner: AgencyId, recipient: AgencyId, epoch: u32) -> Self {
        Self { owner_key: Zeroizing::new(owner_key), owner, recipient, epoch }
    }

    /// The pseudonym of a text in a domain (`persona`, `nucleo`). A codice fiscale is normalised first, so that
    /// omocodia does not give one person two names.
    pub fn pseudonym(&self, domain: &str, text: &str) -> String {
        let epoch = self.epoch.to_string();
        // A zero byte cannot occur in an identifier, so no two lists of parts give the same bytes.
        let info = ["varco/pair/v1", self.owner.as_str(), self.recipient.as_str(), domain, &epoch].join("\0");
        let mut key = Zeroizing::new([0_u8; 32]);
        // 32 bytes are within HKDF's limit of 255 blocks and HMAC takes keys of any length: neither call can fail.
        let _ = Hkdf::<sha2::Sha256>::new(None, self.owner_key.as_slice()).expand(info.as_bytes(), &mut *key);
        let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(key.as_slice()) else { return String::new() };
        mac.update(normalised(text).as_bytes());
        let tag = mac.finalize().into_bytes();
        format!("p{epoch}.{}", base32(tag.iter().take(16).copied()))
    }
}

/// A codice fiscale without omocodia and without its check letter, which depends on it; other text in capitals.
fn normalised(text: &str) -> Zeroizing<String> {
    let upper = Zeroizing::new(text.trim().to_ascii_uppercase());
    if upper.len() != 16 || !upper.is_ascii() {
        return upper;
    }
    let digit = |i: usize, c: char| match ("LMNPQRSTUV".find(c), i) {
        (Some(value), 6 | 7 | 9 | 10 | 12..=14) => {
            u32::try_from(value).ok().and_then(|v| char::from_digit(v, 10)).unwrap_or(c)
        }
        _ => c,
    };
    Zeroizing::new(upper.chars().take(15).enumerate().map(|(i, c)| digit(i, c)).collect())
}

/// RFC 4648 base32 in lower case, without padding.
fn base32(bytes: impl Iterator<Item = u8>) -> String {
    let mut out = String::new();
    let mut push = |five: u16| {
        let letter = u8::try_from(five & 31).unwrap_or(0);
        out.push(char::from(if letter < 26 { b'a' + letter } else { b'2' + (letter - 26) }));
    };
    let (mut buffer, mut bits) = (0_u16, 0_u32);
    for byte in bytes {
        buffer = (buffer << 8) | u16::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(buffer >> bits);
            buffer &= (1 << bits) - 1;
        }
    }
    if bits > 0 {
        push(buffer << (5 - bits));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(recipient: &str, epoch: u32) -> PairKey {
        PairKey::new([7; 32], "comune-lucca".parse().unwrap(), recipient.parse().unwrap(), epoch)
    }

    #[test]
    fn a_person_has_one_name_per_recipient_domain_and_epoch() {
        let name = key("cpi-lucca", 1).pseudonym("persona", "XXQNNA85B68E715K");
        assert_eq!(name.len(), 29);
        assert!(name.starts_with("p1."));
        // Omocodia: 68 written as `S` for 6 and `U` for 8, with another check letter.
        assert_eq!(name, key("cpi-lucca", 1).pseudonym("persona", "xxqnna85bsue715x"));
        assert_ne!(name, key("asl-toscana-nord-ovest", 1).pseudonym("persona", "XXQNNA85B68E715K"));
        assert_ne!(name, key("cpi-lucca", 1).pseudonym("nucleo", "XXQNNA85B68E715K"));
        assert_ne!(name, key("cpi-lucca", 2).pseudonym("persona", "XXQNNA85B68E715K"));
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        assert_eq!(base32(b"foobar".iter().copied()), "mzxw6ytboi");
    }
}

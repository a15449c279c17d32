//! SHA-256 values as a type of their own, so that a digest cannot be mistaken for other text.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A SHA-256 digest. Text and JSON form: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a SHA-256 as 64 hexadecimal digits")]
pub struct Sha256Fault;

impl Sha256 {
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of several pieces as if they were one, without joining them in memory.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// `None` unless there are exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The text form, written into the caller's memory.
    fn hexadecimal<'a>(&self, digits: &'a mut [u8; 64]) -> &'a str {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
        for (pair, byte) in digits.chunks_exact_mut(2).zip(&self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
        // Digits are ASCII.
        std::str::from_utf8(digits).unwrap_or_default()
    }

    /// Padded standard base64, as RFC 3230 `Digest` and C2SP notes write it.
    pub fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Unpadded base64url, as JOSE writes it.
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some dozen are written in each exchange: in one piece, not byte by byte through the formatter.
        let mut digits = [0; 64];
        f.write_str(self.hexadecimal(&mut digits))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = Sha256Fault;

    fn from_str(text: &str) -> Result<Self, Sha256Fault> {
        if text.len() != 64 {
            return Err(Sha256Fault);
        }
        let half = |digit: &u8| char::from(*digit).to_digit(16).and_then(|half| u8::try_from(half).ok());
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [Some(high), Some(low)] = [pair.first().and_then(half), pair.last().and_then(half)] else {
                return Err(Sha256Fault);
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 64];
        serializer.serialize_str(self.hexadecimal(&mut digits))
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_digest_is_the_known_one() {
        assert_eq!(Sha256::of(b"").base64(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        let text = Sha256::of(b"").to_string();
        assert_eq!(text.parse(), Ok(Sha256::of(b"")));
        assert_eq!("+f".repeat(32).parse::<Sha256>(), Err(Sha256Fault));
    }

    #[test]
    fn parts_hash_like_their_concatenation() {
        assert_eq!(Sha256::of_parts(&[b"ab", b"", b"c"]), Sha256::of(b"abc"));
    }
}

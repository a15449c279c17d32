//! Identifiers, each a type of its own: a case cannot stand where an agency is meant.
//!
//! Text becomes one of these at the edge, through [`FromStr`], and nowhere else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Timestamp;

/// The text does not have the form of the identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct IdFault {
    pub expected: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdFault;

            fn from_str(text: &str) -> Result<Self, IdFault> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(IdFault { expected: $expected }) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// An agency of the registry: `comune-capannori`.
    AgencyId, |t| kebab(t, 48), "an agency such as `comune-capannori`: lower-case letters, digits and hyphens, at most 48"
}
text_id! {
    /// An office of an agency, unique inside it: `collocamento-mirato`.
    OfficeId, |t| kebab(t, 48), "an office such as `collocamento-mirato`: lower-case letters, digits and hyphens, at most 48"
}
text_id! {
    /// An officer of the registry, who signs policies and registry versions: `capannori-dpo`.
    OfficerId, |t| kebab(t, 48), "an officer such as `capannori-dpo`: lower-case letters, digits and hyphens, at most 48"
}
text_id! {
    /// An operator's stable code, given by the agency (ModI `userID`). Not a name and not a tax code.
    OperatorId, |t| token(t, 64), "an operator code of 1 to 64 letters, digits, `.`, `_`, `-` or `:`"
}
text_id! {
    /// A kind of record: `condizione_economica_prestazioni`.
    RecordTypeId, |t| snake(t, 64), "a record type such as `anagrafica_nucleo`: lower-case letters, digits and `_`, at most 64"
}
text_id! {
    /// A field of a record type, `isee_fascia`, or a part of its items that has a policy of its own, `prestazioni.importi`.
    FieldId, |t| t.len() <= 64 && t.split('.').count() <= 2 && t.split('.').all(|part| snake(part, 64)),
    "a field such as `isee_fascia` or `prestazioni.importi`: lower-case letters, digits and `_`, at most 64"
}
text_id! {
    /// A step of a field's ladder of views: `fascia_anno`.
    ViewId, |t| snake(t, 32), "a view such as `fascia_anno`: lower-case letters, digits and `_`, at most 32"
}
text_id! {
    /// A purpose of the agreement: `F02` or `F13-inverno`.
    PurposeId, |t| t.starts_with('F') && t.len() <= 32 && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
    "a purpose such as `F02`: `F`, then letters, digits and hyphens, at most 32"
}
text_id! {
    /// A membership's scope (ambito): `salute`.
    ScopeId, |t| snake(t, 32), "a scope such as `salute`: lower-case letters, digits and `_`, at most 32"
}
text_id! {
    /// A rule or grant of the policy, unique in its bundle: `RT01-codice_fiscale-P1`.
    RuleId, |t| token(t, 96), "a rule of 1 to 96 letters, digits, `.`, `_`, `-` or `:`"
}
text_id! {
    /// An exchange: a version 7 UUID (RFC 9562).
    ExchangeId, uuid, "an exchange: a lower-case UUID"
}
text_id! {
    /// An appeal (richiesta motivata): named by the exchange that brought it.
    AppealId, uuid, "an appeal: a lower-case UUID"
}
text_id! {
    /// A case (presa in carico): a version 7 UUID.
    CaseId, uuid, "a case: a lower-case UUID"
}
text_id! {
    /// A consent record: a version 7 UUID.
    ConsentId, uuid, "a consent: a lower-case UUID"
}
text_id! {
    /// A notice to a past recipient.
    NoticeId, uuid, "a notice: a lower-case UUID"
}
text_id! {
    /// A restriction that a person imposed: named by the exchange that recorded it.
    RestrictionId, uuid, "a restriction: a lower-case UUID"
}
text_id! {
    /// A subscription to change signals: named by the exchange that opened it.
    SubscriptionId, uuid, "a subscription: a lower-case UUID"
}
text_id! {
    /// A token's `jti`: 1 to 128 printable ASCII characters.
    TokenId, |t| (1..=128).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic()),
    "a token identifier of 1 to 128 printable ASCII characters"
}
text_id! {
    /// A keyed pseudonym of a subject: `s<epoch>.<26 base32 characters>`. Says nothing without the key.
    Pseudonym, pseudonym, "a pseudonym such as `s1.` and 26 base32 characters"
}

/// What makes an identifier unguessable: ten random bytes from the shell's entropy.
pub type IdEntropy = [u8; 10];

impl ViewId {
    /// The bottom of every ladder: nothing is shown.
    pub fn withhold() -> Self {
        Self("withhold".into())
    }

    /// The top of every ladder: the value as the source gave it.
    pub fn whole() -> Self {
        Self("intero".into())
    }
}

impl ExchangeId {
    pub fn new(now: Timestamp, random: IdEntropy) -> Self {
        Self(uuid_v7(now, random).into())
    }
}

/// An appeal is named by the exchange that brought it.
impl From<&ExchangeId> for AppealId {
    fn from(exchange: &ExchangeId) -> Self {
        Self(exchange.0.clone())
    }
}

/// A case is named by the exchange that opened it.
impl From<&ExchangeId> for CaseId {
    fn from(exchange: &ExchangeId) -> Self {
        Self(exchange.0.clone())
    }
}

/// A consent record is named by the exchange that recorded it.
impl From<&ExchangeId> for ConsentId {
    fn from(exchange: &ExchangeId) -> Self {
        Self(exchange.0.clone())
    }
}

impl Pseudonym {
    /// Of a keyed tag of 128 bits, written as 26 characters of lower-case base32 (RFC 4648).
    pub fn new(epoch: u16, tag: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(tag);
        // 26 characters hold 130 bits: the last one carries the last three bits and two zeros.
        let characters = (0..26_u32).map(|place| {
            let index = if place < 25 { bits >> (123 - 5 * place) } else { bits << 2 };
            let index = u8::try_from(index & 0x1f).unwrap_or_default();
            char::from(if index < 26 { b'a' + index } else { b'2' + (index - 26) })
        });
        Self(format!("s{epoch}.{}", characters.collect::<String>()).into())
    }
}

impl TokenId {
    /// Ours are version 7 UUIDs.
    pub fn new(now: Timestamp, random: IdEntropy) -> Self {
        Self(uuid_v7(now, random).into())
    }
}

/// A restriction is named by the exchange that recorded it.
impl From<&ExchangeId> for RestrictionId {
    fn from(exchange: &ExchangeId) -> Self {
        Self(exchange.0.clone())
    }
}

/// A subscription is named by the exchange that opened it.
impl From<&ExchangeId> for SubscriptionId {
    fn from(exchange: &ExchangeId) -> Self {
        Self(exchange.0.clone())
    }
}

impl NoticeId {
    /// A version 8 UUID (RFC 9562 section 5.8) of what makes the notice one: the same act gives it once.
    pub fn of(exchange: &ExchangeId, parts: &[&str]) -> Self {
        let mut hashed: Vec<&[u8]> = vec![b"varco/notice/v1", b"\0", exchange.as_str().as_bytes()];
        for part in parts {
            hashed.push(b"\0");
            hashed.push(part.as_bytes());
        }
        let digest = crate::hash::Sha256::of_parts(&hashed);
        let value =
            digest.as_bytes().iter().take(16).fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        Self(uuid_text((value & !(0xf000 << 64) & !(0b11 << 62)) | (0x8000 << 64) | (0b10 << 62)).into())
    }
}

/// RFC 9562 section 5.7: 48 bits of milliseconds, version, 12 random bits, variant, 62 random bits.
fn uuid_v7(now: Timestamp, random: IdEntropy) -> String {
    let millis = u128::from(now.millis().unsigned_abs()) & 0xffff_ffff_ffff;
    let random = random.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
    let high = (random >> 64) & 0x0fff;
    let low = random & 0x3fff_ffff_ffff_ffff;
    let value = (millis << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low;
    uuid_text(value)
}

fn uuid_text(value: u128) -> String {
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        value >> 96,
        (value >> 80) & 0xffff,
        (value >> 64) & 0xffff,
        (value >> 48) & 0xffff,
        value & 0xffff_ffff_ffff
    )
}

fn kebab(text: &str, longest: usize) -> bool {
    words(text, longest, b'-')
}

fn snake(text: &str, longest: usize) -> bool {
    words(text, longest, b'_')
}

fn words(text: &str, longest: usize, joint: u8) -> bool {
    (1..=longest).contains(&text.len())
        && text.as_bytes().first() != Some(&joint)
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == joint)
}

fn token(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':'))
}

fn uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

fn pseudonym(text: &str) -> bool {
    let Some((epoch, tag)) = text.strip_prefix('s').and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    (1..=5).contains(&epoch.len())
        && epoch.bytes().all(|b| b.is_ascii_digit())
        && tag.len() == 26
        && tag.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_refuse_what_is_not_theirs() {
        assert!("comune-lucca".parse::<AgencyId>().is_ok());
        for wrong in ["", "-lucca", "Comune", "comune lucca", "comune_lucca"] {
            assert!(wrong.parse::<AgencyId>().is_err(), "{wrong}");
        }
        assert!("F13-inverno".parse::<PurposeId>().is_ok());
        assert!("G13".parse::<PurposeId>().is_err());
        assert!("s1.abcdefghijklmnopqrstuvwxyz".parse::<Pseudonym>().is_ok());
        assert!("s1.RSSMRA80A01H501U".parse::<Pseudonym>().is_err());
    }

    #[test]
    fn a_pseudonym_is_its_tag_in_base32() {
        let tag = *b"abcdefghijklmnop";
        assert_eq!(Pseudonym::new(1, tag).as_str(), "s1.mfrggzdfmztwq2lknnwg23tpoa");
        for tag in [[0; 16], [0xff; 16]] {
            let made = Pseudonym::new(u16::MAX, tag);
            assert_eq!(made.as_str().parse::<Pseudonym>().as_ref(), Ok(&made));
        }
    }

    #[test]
    fn a_new_exchange_id_is_a_version_7_uuid_of_its_instant() {
        let id = ExchangeId::new(Timestamp::from_millis(0x0198_f0c2_aaaa), [0xff; 10]);
        assert_eq!(id.as_str(), "0198f0c2-aaaa-7fff-bfff-ffffffffffff");
        assert_eq!(id.as_str().parse::<ExchangeId>().as_ref(), Ok(&id));
    }
}

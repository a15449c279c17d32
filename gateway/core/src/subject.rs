//! The person a record is about: the codice fiscale that names them, and the keyed pseudonyms that stand for them
//! wherever we store something.
//!
//! The form of the codice fiscale is that of the decree of 23 December 1976. Nothing here knows records or policies.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize as _, Zeroizing};

use crate::id::{AgencyId, Pseudonym};
use crate::time::{Date, Month, parse_date};

#[cfg(test)]
mod tests;

/// A person's tax code: 16 characters, of the right form and with the right check letter.
///
/// It identifies a person, so it has no `Display` and no `Serialize`, hides itself in `Debug`, is wiped from memory
/// when dropped, and leaves only through [`CodiceFiscale::expose`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodiceFiscale(String);

/// Why a text is not a codice fiscale. Never says the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodiceFiscaleFault {
    #[error("a codice fiscale whose day of birth does not exist")]
    BirthDate,
    #[error("a codice fiscale whose birthplace is not a land register code")]
    Birthplace,
    #[error("a codice fiscale whose check letter is wrong")]
    CheckLetter,
    #[error("expected the 16 letters and digits of a codice fiscale")]
    Form,
    #[error("a codice fiscale whose surname or name code cannot come from a name")]
    Name,
}

/// Why no codice fiscale can be made of a person's particulars. Never says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("the birthplace is not a land register code such as `B648`")]
    Birthplace,
    #[error("the surname or name has a letter without a Latin base letter, or no letter at all")]
    Name,
}

/// The sex a codice fiscale encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sex {
    Female,
    Male,
}

/// Every codice fiscale of a fictitious person begins with this. No surname of a real person gives it (it takes one
/// such as Xxquercia), so a synthetic code belongs to nobody.
pub const SYNTHETIC_SURNAME: &str = "XXQ";

const LENGTH: usize = 16;
/// Where the form has digits, from the right: omocodia replaces them in this order.
const DIGITS_FROM_RIGHT: [usize; 7] = [14, 13, 12, 10, 9, 7, 6];
/// What stands for the digits 0 to 9 when two people would share one code.
const OMOCODIA: [u8; 10] = *b"LMNPQRSTUV";
const MONTHS: [u8; 12] = *b"ABCDEHLMPRST";
/// Added to a woman's day of birth.
const FEMALE_DAYS: u8 = 40;
/// What a character at an odd position (counting from one) adds to the check sum, by its value: 0 to 9 for digits,
/// 0 to 25 for letters.
const ODD: [u32; 26] =
    [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

impl CodiceFiscale {
    /// The code that a person of these particulars gets when nobody else has it already (no omocodia).
    ///
    /// `birthplace` is the land register (Belfiore) code of the Comune, or `Z` and three digits for a foreign country.
    pub fn build(
        surname: &str,
        name: &str,
        birth: Date,
        sex: Sex,
        birthplace: &str,
    ) -> Result<Self, BuildError> {
        let surname = surname_code(surname).ok_or(BuildError::Name)?;
        let name = name_code(name).ok_or(BuildError::Name)?;
        if !is_birthplace(birthplace.as_bytes()) {
            return Err(BuildError::Birthplace);
        }
        let day = match sex {
            Sex::Female => birth.day() + FEMALE_DAYS,
            Sex::Male => birth.day(),
        };
        let month = MONTHS.get(usize::from(u8::from(birth.month()) - 1)).copied().unwrap_or(b'A');
        let mut text = String::with_capacity(LENGTH);
        text.push_str(&surname);
        text.push_str(&name);
        text.push_str(&format!("{:02}", birth.year().rem_euclid(100)));
        text.push(char::from(month));
        text.push_str(&format!("{day:02}"));
        text.push_str(birthplace);
        let check = check_letter(text.as_bytes());
        text.push(char::from(check));
        Ok(Self(text))
    }

    /// The text that stands for the person everywhere: upper case, omocodia kept.
    ///
    /// Omocodia is kept on purpose: the letters are there because *another* person already has the code without
    /// them, so that reading them back as digits would take two people for one.
    pub fn normalised(&self) -> &str {
        &self.0
    }

    /// The text, for a message to the agency that holds the record. Everywhere else use a [`Pseudonym`].
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it belongs to nobody: its surname code is [`SYNTHETIC_SURNAME`].
    pub fn is_synthetic(&self) -> bool {
        self.0.starts_with(SYNTHETIC_SURNAME)
    }

    /// Whether letters stand for some of its digits.
    pub fn is_omocode(&self) -> bool {
        DIGITS_FROM_RIGHT.iter().any(|place| !self.byte(*place).is_ascii_digit())
    }

    /// The same particulars with the `count` rightmost digits (at most 7) as letters: what the revenue agency gives to the next
    /// person with the same code.
    #[must_use]
    pub fn with_omocodia(&self, count: usize) -> Self {
        let mut bytes = Zeroizing::new(self.0.as_bytes().to_vec());
        for place in DIGITS_FROM_RIGHT.iter().take(count) {
            if let Some(byte) = bytes.get_mut(*place)
                && let Some(letter) = digit(*byte).and_then(|d| OMOCODIA.get(usize::from(d)))
            {
                *byte = *letter;
            }
        }
        let check = check_letter(&bytes);
        if let Some(last) = bytes.get_mut(LENGTH - 1) {
            *last = check;
        }
        Self(bytes.iter().copied().map(char::from).collect())
    }

    pub fn sex(&self) -> Sex {
        if self.day_number() > FEMALE_DAYS { Sex::Female } else { Sex::Male }
    }

    /// The land register code of the birthplace, digits as digits: `B648`.
    pub fn birthplace(&self) -> String {
        let digits = (12..15).map(|place| char::from(b'0' + digit(self.byte(place)).unwrap_or_default()));
        std::iter::once(char::from(self.byte(11))).chain(digits).collect()
    }

    /// Whether a person born on this day may have the code. The code has only the year's last two digits.
    pub fn agrees_with_birth(&self, birth: Date) -> bool {
        let year = number(self.byte(6), self.byte(7));
        let month = month(self.byte(8));
        let day = self.day_number() % FEMALE_DAYS;
        year.map(i32::from) == Some(birth.year().rem_euclid(100))
            && month == Some(birth.month())
            && day == birth.day()
    }

    /// Whether a person of these names may have the code.
    pub fn fits_names(&self, surname: &str, name: &str) -> bool {
        let codes = surname_code(surname).zip(name_code(name));
        codes.is_some_and(|(surname, name)| self.0.starts_with(&(surname + &name)))
    }

    fn day_number(&self) -> u8 {
        number(self.byte(9), self.byte(10)).unwrap_or_default()
    }

    fn byte(&self, place: usize) -> u8 {
        self.0.as_bytes().get(place).copied().unwrap_or_default()
    }
}

impl FromStr for CodiceFiscale {
    type Err = CodiceFiscaleFault;

    /// Reads letters of either case and codes with omocodia; refuses everything around the 16 characters.
    fn from_str(text: &str) -> Result<Self, CodiceFiscaleFault> {
        let upper = Zeroizing::new(text.to_ascii_uppercase());
        let bytes: &[u8; LENGTH] = upper.as_bytes().try_into().map_err(|_| CodiceFiscaleFault::Form)?;
        let [s0, s1, s2, n0, n1, n2, y0, y1, m, d0, d1, p0, p1, p2, p3, check] = *bytes;
        let letters = [s0, s1, s2, n0, n1, n2, m, p0, check];
        if !letters.iter().all(u8::is_ascii_uppercase)
            || ![y0, y1, d0, d1, p1, p2, p3].iter().all(|byte| digit(*byte).is_some())
        {
            return Err(CodiceFiscaleFault::Form);
        }
        if !is_name_code([s0, s1, s2]) || !is_name_code([n0, n1, n2]) {
            return Err(CodiceFiscaleFault::Name);
        }
        let year = number(y0, y1).ok_or(CodiceFiscaleFault::Form)?;
        let day = number(d0, d1).ok_or(CodiceFiscaleFault::Form)?;
        if !month(m).is_some_and(|month| is_birth_day(year, month, day)) {
            return Err(CodiceFiscaleFault::BirthDate);
        }
        let place = [p1, p2, p3].map(|byte| b'0' + digit(byte).unwrap_or_default());
        let [p1, p2, p3] = place;
        if !is_birthplace(&[p0, p1, p2, p3]) {
            return Err(CodiceFiscaleFault::Birthplace);
        }
        if check_letter(bytes) != check {
            return Err(CodiceFiscaleFault::CheckLetter);
        }
        Ok(Self(upper.as_str().to_owned()))
    }
}

impl Drop for CodiceFiscale {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for CodiceFiscale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodiceFiscale(..)")
    }
}

impl<'de> Deserialize<'de> for CodiceFiscale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Consonants, then vowels, then `X` up to three letters.
fn surname_code(surname: &str) -> Option<String> {
    let (consonants, vowels) = letters(surname)?;
    Some(consonants.chars().chain(vowels.chars()).chain("XX".chars()).take(3).collect())
}

/// As for a surname, but of four or more consonants the second is left out.
fn name_code(name: &str) -> Option<String> {
    let (mut consonants, vowels) = letters(name)?;
    if consonants.len() > 3 {
        consonants.remove(1);
    }
    Some(consonants.chars().chain(vowels.chars()).chain("XX".chars()).take(3).collect())
}

/// The consonants and the vowels of a name, accents off; apostrophes, spaces and hyphens do not count.
fn letters(name: &str) -> Option<(String, String)> {
    let mut consonants = String::new();
    let mut vowels = String::new();
    for c in name.chars().flat_map(char::to_uppercase) {
        match c {
            'A' | 'E' | 'I' | 'O' | 'U' => vowels.push(c),
            'A'..='Z' => consonants.push(c),
            'À'..='Å' | 'Ā' | 'Ă' | 'Ą' => vowels.push('A'),
            'È'..='Ë' | 'Ē' | 'Ĕ' | 'Ė' | 'Ę' | 'Ě' => vowels.push('E'),
            'Ì'..='Ï' | 'Ĩ' | 'Ī' | 'Ĭ' | 'Į' | 'İ' => vowels.push('I'),
            'Ò'..='Ö' | 'Ø' | 'Ō' | 'Ŏ' | 'Ő' => vowels.push('O'),
            'Ù'..='Ü' | 'Ũ' | 'Ū' | 'Ŭ' | 'Ů' | 'Ű' | 'Ų' => vowels.push('U'),
            'Æ' => vowels.push_str("AE"),
            'Œ' => vowels.push_str("OE"),
            'Ç' | 'Ć' | 'Ĉ' | 'Ċ' | 'Č' => consonants.push('C'),
            'Ð' | 'Ď' | 'Đ' => consonants.push('D'),
            'Ĝ' | 'Ğ' | 'Ġ' | 'Ģ' => consonants.push('G'),
            'Ķ' => consonants.push('K'),
            'Ĺ' | 'Ļ' | 'Ľ' | 'Ł' => consonants.push('L'),
            'Ñ' | 'Ń' | 'Ņ' | 'Ň' => consonants.push('N'),
            'Ŕ' | 'Ŗ' | 'Ř' => consonants.push('R'),
            'Ś' | 'Ŝ' | 'Ş' | 'Š' | 'Ș' => consonants.push('S'),
            'Ţ' | 'Ť' | 'Ț' => consonants.push('T'),
            'Ý' | 'Ÿ' => consonants.push('Y'),
            'Ź' | 'Ż' | 'Ž' => consonants.push('Z'),
            c if c.is_alphabetic() => return None,
            _ => {}
        }
    }
    (!consonants.is_empty() || !vowels.is_empty()).then_some((consonants, vowels))
}

/// Vowels come after all consonants, and `X` after them fills what is missing.
fn is_name_code(code: [u8; 3]) -> bool {
    let vowel = |byte: u8| matches!(byte, b'A' | b'E' | b'I' | b'O' | b'U');
    let [first, second, third] = code;
    match (vowel(first), vowel(second)) {
        (_, true) => vowel(third) || third == b'X',
        (true, false) => second == b'X' && third == b'X',
        (false, false) => true,
    }
}

/// `A` to `M` for Comuni, `Z` for foreign countries, then a number from 001.
fn is_birthplace(code: &[u8]) -> bool {
    match code {
        [b'A'..=b'M' | b'Z', digits @ ..] => {
            digits.len() == 3 && digits.iter().all(u8::is_ascii_digit) && digits != b"000"
        }
        _ => false,
    }
}

/// A year of two digits is of one of two centuries, so 29 February is let through where either has it.
fn is_birth_day(year: u8, month: Month, number: u8) -> bool {
    let day = if number > FEMALE_DAYS { number - FEMALE_DAYS } else { number };
    let leap_or_not = if year.is_multiple_of(4) { 2000 } else { 2001 };
    parse_date(&format!("{leap_or_not}-{:02}-{day:02}", u8::from(month))).is_some()
}

fn month(letter: u8) -> Option<Month> {
    let place = MONTHS.iter().position(|month| *month == letter)?;
    Month::try_from(u8::try_from(place + 1).ok()?).ok()
}

fn number(tens: u8, units: u8) -> Option<u8> {
    Some(digit(tens)? * 10 + digit(units)?)
}

/// The value of a digit, also when omocodia wrote it as a letter.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        _ => u8::try_from(OMOCODIA.iter().position(|letter| *letter == byte)?).ok(),
    }
}

/// The check letter of the first 15 characters.
fn check_letter(bytes: &[u8]) -> u8 {
    let sum: u32 = bytes
        .iter()
        .take(LENGTH - 1)
        .enumerate()
        .map(|(place, byte)| {
            let value = if byte.is_ascii_digit() { byte - b'0' } else { byte.saturating_sub(b'A') };
            // Places count from zero here, from one in the decree: its odd ones are our even ones.
            if place.is_multiple_of(2) {
                ODD.get(usize::from(value)).copied().unwrap_or_default()
            } else {
                u32::from(value)
            }
        })
        .sum();
    b'A' + u8::try_from(sum % 26).unwrap_or_default()
}

/// The keys that turn people into pseudonyms, one for each epoch. Kept apart from the database: who has only one of
/// the two cannot tell whom an entry is about.
///
/// Text form: a line for each epoch, its number, a space, 64 hexadecimal digits; `#` starts a comment.
#[derive(Clone)]
pub struct SubjectKeys {
    /// In ascending order of epochs; the last one is current.
    keys: Vec<(u16, SubjectKey)>,
}

/// A key of one epoch, wiped from memory when dropped.
pub type SubjectKey = Zeroizing<[u8; 32]>;

/// What is wrong with a file of subject keys. Never says a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectKeysFault {
    #[error("there is no subject key")]
    Empty,
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
        Ok(Self { keys })
    }

    pub fn parse(text: &str) -> Result<Self, SubjectKeysFault> {
        let lines = text.lines().map(str::trim).enumerate();
        let keys = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(place, line)| key_line(line).ok_or(SubjectKeysFault::Line(place + 1)))
            .collect::<Result<_, _>>()?;
        Self::new(keys)
    }

    /// The text form, without comments.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
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
        // INVARIANT: `new` refuses an empty list, so there is a last one.
        let (epoch, key) = self.keys.last().map_or((0, &[0; 32]), |(epoch, key)| (*epoch, key));
        pseudonym(epoch, key, person)
    }

    /// The current epoch, and an owner's own key for pseudonyms towards its recipients, derived from the epoch's key.
    pub fn owner_key(&self, owner: &AgencyId) -> (u16, [u8; 32]) {
        let (epoch, key) = self.keys.last().map_or((0, &[0; 32]), |(epoch, key)| (*epoch, key));
        (epoch, tag(key, &[OWNER_DOMAIN, owner.as_str().as_bytes()]))
    }

    /// Keys for what is kept under lock, one of each epoch, the current one last: derived, so that they lie where the
    /// subject keys lie, apart from the database, and nothing further must be guarded.
    pub fn lock_keys(&self) -> Vec<(u16, SubjectKey)> {
        self.keys.iter().map(|(epoch, key)| (*epoch, Zeroizing::new(tag(key, &[LOCK_DOMAIN])))).collect()
    }

    /// Tags under which the same bytes are known again, the current epoch's first: HMAC-SHA-256 in hexadecimal. Who does not
    /// hold the keys cannot guess them open.
    pub fn fingerprints(&self, bytes: &[u8]) -> Vec<String> {
        let hex = |tag: [u8; 32]| tag.iter().map(|byte| format!("{byte:02x}")).collect();
        self.keys.iter().rev().map(|(_, key)| hex(tag(key, &[FINGERPRINT_DOMAIN, bytes]))).collect()
    }

    /// The person's pseudonyms of all epochs, the current one first: what may have been written.
    pub fn all(&self, person: &CodiceFiscale) -> Vec<Pseudonym> {
        self.keys.iter().rev().map(|(epoch, key)| pseudonym(*epoch, key, person)).collect()
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

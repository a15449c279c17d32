//! The person a record is about: the codice fiscale that names them, and the keyed pseudonyms that stand for them
//! wherever we store something.
//!
//! The form of the codice fiscale is that of the decree of 23 December 1976. Nothing here knows records or policies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use zeroize::{Zeroize as _, Zeroizing};

use crate::time::{Date, Month, parse_date};

mod keys;

pub use keys::{SubjectKey, SubjectKeys, SubjectKeysFault};

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

    /// Whether the person may be younger than 18. The code has only the year's last two digits, so that somebody aged a
    /// hundred and some may be taken for a child, and nobody the other way round.
    pub fn may_be_minor(&self, today: Date) -> bool {
        let born = |year: i32| {
            let (month, day) = (month(self.byte(8))?, self.day_number() % FEMALE_DAYS);
            Date::from_calendar_date(year, month, day).ok()
        };
        let year = number(self.byte(6), self.byte(7)).map(i32::from);
        let years = (today.year() - 18..=today.year()).filter(|past| Some(past.rem_euclid(100)) == year);
        let adult = |birth: Date| (birth.year() + 18, birth.month(), birth.day());
        years.filter_map(born).any(|birth| {
            let (year, month, day) = adult(birth);
            birth <= today
                && (today.year(), u8::from(today.month()), today.day()) < (year, u8::from(month), day)
        })
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

//! The kinds of value a field may have, and the check of a value against its kind.
//!
//! A fault names the place and the expectation, never the value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::time::{Timestamp, parse_date};

/// Lists of items longer than this are a mistake or an attack: a person's jobs or measures are far fewer.
pub const MOST_ITEMS: usize = 200;

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// JSON `true` or `false`.
    Bool,
    /// A text that is one of a list's codes.
    Code(Arc<CodeList>),
    /// RFC 3339 full-date.
    Date,
    /// A number written as text with at most so many decimals, `"8450.00"`: no binary fractions on the way.
    Decimal {
        places: u8,
    },
    /// RFC 5321 address, checked only as far as masking needs.
    Email,
    /// RFC 3339 instant.
    Instant,
    Integer {
        least: i64,
        most: i64,
    },
    List(Box<Kind>),
    /// E.164, `+39` and digits.
    Phone,
    Struct(Arc<[Member]>),
    /// Codice fiscale of 16 characters; omocodia allowed.
    TaxCode,
    Text {
        longest: usize,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub name: String,
    pub kind: Kind,
}

/// A code list: either its codes with an optional parent code each, or the forms its codes have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeList {
    pub name: String,
    /// Code to parent code (itself where none is given).
    pub groups: BTreeMap<String, Option<String>>,
    /// Forms such as `A999`: `A` a capital letter, `9` a digit, anything else itself.
    pub forms: Vec<String>,
}

impl CodeList {
    pub fn has(&self, code: &str) -> bool {
        self.groups.contains_key(code) || self.forms.iter().any(|form| fits(form, code))
    }

    pub fn group(&self, code: &str) -> Option<&str> {
        self.groups.get(code)?.as_deref()
    }

    /// Whether every code has a parent, so that generalising by group is total.
    pub fn is_grouped(&self) -> bool {
        self.forms.is_empty() && self.groups.values().all(Option::is_some)
    }
}

fn fits(form: &str, code: &str) -> bool {
    form.len() == code.len()
        && form.bytes().zip(code.bytes()).all(|(f, c)| match f {
            b'A' => c.is_ascii_uppercase(),
            b'9' => c.is_ascii_digit(),
            _ => f == c,
        })
}

/// One thing wrong with a record. The text holds no value of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: {what}")]
pub struct RecordFault {
    pub path: String,
    pub what: &'static str,
}

impl Kind {
    /// Adds what is wrong with the value at `path`. `null` is an absent value and always right.
    pub fn check(&self, value: &Value, path: &str, faults: &mut Vec<RecordFault>) {
        self.check_at(value, &Path::Field(path), faults);
    }

    fn check_at(&self, value: &Value, path: &Path<'_>, faults: &mut Vec<RecordFault>) {
        if value.is_null() {
            return;
        }
        match (self, value) {
            (Self::Struct(members), Value::Object(found)) => {
                for (name, inner) in found {
                    match members.iter().find(|member| member.name == *name) {
                        Some(member) => member.kind.check_at(inner, &Path::Member(path, name), faults),
                        // The name itself may be a value gone astray: it is not repeated.
                        None => faults.push(fault(path, "has a member that the record type does not know")),
                    }
                }
            }
            (Self::List(item), Value::Array(found)) => {
                if found.len() > MOST_ITEMS {
                    faults.push(fault(path, "has more than 200 items"));
                }
                for (i, inner) in found.iter().take(MOST_ITEMS).enumerate() {
                    item.check_at(inner, &Path::Item(path, i), faults);
                }
            }
            _ => {
                if !self.holds(value) {
                    faults.push(fault(path, self.expected()));
                }
            }
        }
    }

    /// Whether a scalar value is of this kind.
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Integer { least, most } => value.as_i64().is_some_and(|n| (*least..=*most).contains(&n)),
            Self::List(_) | Self::Struct(_) => false,
            Self::Code(_)
            | Self::Date
            | Self::Decimal { .. }
            | Self::Email
            | Self::Instant
            | Self::Phone
            | Self::TaxCode
            | Self::Text { .. } => value.as_str().is_some_and(|text| self.holds_text(text)),
        }
    }

    fn holds_text(&self, text: &str) -> bool {
        match self {
            Self::Code(list) => list.has(text),
            Self::Date => parse_date(text).is_some(),
            Self::Decimal { places } => decimal(text, *places).is_some(),
            Self::Email => {
                text.len() <= 254 && text.split_once('@').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
            }
            Self::Instant => text.parse::<Timestamp>().is_ok(),
            Self::Phone => text.strip_prefix('+').is_some_and(|digits| {
                (6..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
            }),
            Self::TaxCode => is_tax_code(text),
            Self::Text { longest } => text.chars().count() <= *longest,
            Self::Bool | Self::Integer { .. } | Self::List(_) | Self::Struct(_) => false,
        }
    }

    /// What a value of this kind must be, for a fault.
    pub const fn expected(&self) -> &'static str {
        match self {
            Self::Bool => "must be `true` or `false`",
            Self::Code(_) => "must be a code of the field's list",
            Self::Date => "must be a date such as `1985-02-28`",
            Self::Decimal { .. } => "must be a text such as `\"8450.00\"`",
            Self::Email => "must be an e-mail address",
            Self::Instant => "must be an instant such as `2026-03-02T08:41:07Z`",
            Self::Integer { .. } => "must be a whole number within the field's range",
            Self::List(_) => "must be a list",
            Self::Phone => "must be a telephone number such as `+390583000000`",
            Self::Struct(_) => "must be an object",
            Self::TaxCode => "must be a codice fiscale of 16 characters",
            Self::Text { .. } => "must be a text within the field's length",
        }
    }
}

fn fault(path: &Path<'_>, what: &'static str) -> RecordFault {
    RecordFault { path: path.to_string(), what }
}

/// Where in a record a value is. Written out only for a fault: most records have none, and hundreds of places.
enum Path<'a> {
    Field(&'a str),
    Item(&'a Path<'a>, usize),
    Member(&'a Path<'a>, &'a str),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => f.write_str(name),
            Self::Item(list, place) => write!(f, "{list}[{place}]"),
            Self::Member(whole, name) => write!(f, "{whole}.{name}"),
        }
    }
}

/// One millionth: numbers are compared as whole micro-units.
pub const MICRO: i64 = 1_000_000;

/// A decimal text in micro-units; `None` unless it is plain digits with at most `places` decimals.
pub fn decimal(text: &str, places: u8) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain =
        |t: &str, longest: usize| (1..=longest).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    // Twelve digits of whole units times a million stay below 2^63.
    if !plain(whole, 12) || !plain(part, usize::from(places.clamp(1, 6))) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let missing = u32::try_from(6_usize.saturating_sub(part.len())).ok()?;
    let micro: i64 = part.parse::<i64>().ok()?.checked_mul(10_i64.checked_pow(missing)?)?;
    let value = whole.checked_mul(MICRO)?.checked_add(micro)?;
    Some(if negative { -value } else { value })
}

/// The form of a codice fiscale (DM 23/12/1976), omocodia included. The check letter is the source's business.
fn is_tax_code(text: &str) -> bool {
    text.len() == 16
        && text.bytes().enumerate().all(|(i, b)| match i {
            6 | 7 | 9 | 10 | 12..=14 => b.is_ascii_digit() || (b'L'..=b'V').contains(&b),
            _ => b.is_ascii_uppercase(),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_names_the_place_and_not_the_value() {
        let kind = Kind::List(Box::new(Kind::Struct(Arc::from([Member {
            name: "nome".into(),
            kind: Kind::Text { longest: 4 },
        }]))));
        let mut faults = Vec::new();
        kind.check(&json!([{"nome": "Anna"}, {"nome": "SEGRETO", "altro": 1}]), "elenco", &mut faults);
        let text: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 2, "{text:?}");
        assert!(text.iter().all(|t| t.contains("elenco[1]") && !t.contains("SEGRETO")), "{text:?}");
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal("8450.00", 2), Some(8_450_000_000));
        assert_eq!(decimal("-0.5", 2), Some(-500_000));
        for wrong in ["", ".", "1.", ".5", "1.234", "1e3", "1,5", "9999999999999", "+1"] {
            assert_eq!(decimal(wrong, 2), None, "{wrong}");
        }
    }
}

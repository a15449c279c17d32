//! How a text is read: steps such as `data(GG/MM/AAAA)` or `lista(sesso)`, each of which can be undone for writing, and then the
//! field's own kind.

use std::sync::Arc;

use serde_json::{Value, json};
use varco_core::subject::CodiceFiscale;
use varco_core::time::parse_date;
use varco_core::view::kind::{Kind, decimal};

use super::{Reason, Repair};

mod date;
mod number;

pub(super) use date::DateForm;
pub(super) use number::NumberForm;

/// One step of reading a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// `data(GG/MM/AAAA)`
    Date(DateForm),
    /// `diviso(100)`: cents become euro. Powers of ten only, so that nothing is rounded.
    Divided(u32),
    /// `decimale(,)`: the decimal sign; the other of `.` and `,` may group thousands.
    Number(NumberForm),
    /// `telefono(+39)`: the prefix of numbers that have none.
    Phone(Box<str>),
    /// `prefisso(Patient/)`: what stands before the value at the source.
    Prefix(Box<str>),
    /// `divide(;)`: one text that is a list.
    Split(char),
    /// `lista(sesso)`: the source's code, the field's code.
    Translate(Arc<Translation>),
    /// `per(12)`: years become months.
    Times(u32),
    /// `si_no(S,N)`: what stands for yes and for no.
    YesNo { yes: Vec<Box<str>>, no: Vec<Box<str>> },
    /// `zeri(6)`: zeros in front that a spreadsheet has eaten.
    Zeros(usize),
}

/// A code list of the source, translated. In the order of its file: where several codes of the source mean one of ours, the
/// first is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translation {
    pub pairs: Vec<(String, String)>,
}

/// A value with what was done to it.
pub(super) struct Taken {
    pub value: Value,
    pub repairs: Vec<Repair>,
}

impl Step {
    /// From the source's text towards the field's.
    fn read(&self, text: &str) -> Result<String, Reason> {
        match self {
            Self::Date(form) => form.read(text),
            Self::Divided(by) => number::divided(text, *by),
            Self::Number(form) => form.read(text),
            Self::Phone(prefix) => phone(text, prefix),
            Self::Prefix(prefix) => {
                text.strip_prefix(&**prefix).map(str::to_owned).ok_or(Reason::CodeUnknown)
            }
            Self::Split(_) => Ok(text.to_owned()),
            Self::Times(by) => number::times(text, *by),
            Self::Translate(list) => list.read(text).map(str::to_owned).ok_or(Reason::CodeUnknown),
            Self::YesNo { yes, no } => {
                let is = |words: &[Box<str>]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
                match (is(yes), is(no)) {
                    (true, _) => Ok("true".to_owned()),
                    (false, true) => Ok("false".to_owned()),
                    (false, false) => Err(Reason::FlagUnknown),
                }
            }
            Self::Zeros(width) => {
                if text.is_empty() || text.len() > *width || !text.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(Reason::CodeUnknown);
                }
                Ok(format!("{text:0>width$}"))
            }
        }
    }

    /// From the field's text towards the source's.
    fn write(&self, text: &str) -> Result<String, Reason> {
        match self {
            Self::Date(form) => form.write(text),
            Self::Divided(by) => number::times(text, *by),
            Self::Number(form) => Ok(form.write(text)),
            Self::Phone(_) | Self::Split(_) | Self::Zeros(_) => Ok(text.to_owned()),
            Self::Prefix(prefix) => Ok(format!("{prefix}{text}")),
            Self::Times(by) => number::divided_whole(text, *by),
            Self::Translate(list) => list.write(text).map(str::to_owned).ok_or(Reason::CodeUnknown),
            Self::YesNo { yes, no } => {
                let words = if text == "true" { yes } else { no };
                words.first().map(|word| (**word).to_owned()).ok_or(Reason::FlagUnknown)
            }
        }
    }
}

impl Translation {
    fn read(&self, code: &str) -> Option<&str> {
        self.pairs.iter().find(|(theirs, _)| theirs == code).map(|(_, ours)| ours.as_str())
    }

    fn write(&self, code: &str) -> Option<&str> {
        self.pairs.iter().find(|(_, ours)| ours == code).map(|(theirs, _)| theirs.as_str())
    }
}

/// What separates the items of a text that is a list.
pub(super) fn separator(steps: &[Step]) -> Option<char> {
    steps.iter().find_map(|step| if let Step::Split(by) = step { Some(*by) } else { None })
}

/// A value of the source as a value of the field. `None` when there is nothing in it.
pub(super) fn take(value: &Value, steps: &[Step], kind: &Kind) -> Result<Option<Taken>, Reason> {
    if matches!(kind, Kind::List(_) | Kind::Struct(_)) {
        // Already canonical below this place: nothing to read but its shape.
        return fits(value.clone(), kind).map(|value| Some(Taken { value, repairs: Vec::new() }));
    }
    let (text, mut repairs) = match value.as_str() {
        Some(text) => {
            let clean = super::text::clean(text)?;
            (clean.text, clean.repairs)
        }
        None => (super::text::plain(value)?.unwrap_or_default(), Vec::new()),
    };
    if text.is_empty() {
        return Ok(None);
    }
    take_text(text, steps, kind, &mut repairs).map(|value| Some(Taken { value, repairs }))
}

fn take_text(
    mut text: String,
    steps: &[Step],
    kind: &Kind,
    repairs: &mut Vec<Repair>,
) -> Result<Value, Reason> {
    for step in steps {
        text = step.read(&text)?;
    }
    let value = match kind {
        Kind::Bool => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(Reason::FlagUnknown),
        },
        Kind::Code(list) if !list.has(&text) => return Err(Reason::CodeUnknown),
        Kind::Date => Value::String(date::plain(text, repairs)?),
        Kind::Decimal { places } => Value::String(number::decimal_text(text, *places, repairs)?),
        Kind::Integer { .. } => json!(number::integer(&text)?),
        Kind::TaxCode => Value::String(tax_code(text, repairs)?),
        Kind::Code(_) | Kind::Email | Kind::Instant | Kind::Phone | Kind::Text { .. } => Value::String(text),
        Kind::List(_) | Kind::Struct(_) => return Err(Reason::NotText),
    };
    fits(value, kind)
}

/// A value of the field as the source's text.
pub(super) fn give(value: &Value, steps: &[Step], kind: &Kind) -> Result<Value, Reason> {
    if matches!(kind, Kind::List(_) | Kind::Struct(_)) {
        return Ok(value.clone());
    }
    // Without steps a number stays a number and a truth a truth.
    if steps.is_empty() {
        return Ok(value.clone());
    }
    let mut text = super::text::plain(value)?.unwrap_or_default();
    for step in steps.iter().rev() {
        text = step.write(&text)?;
    }
    Ok(Value::String(text))
}

/// The whole check of the field's kind, as core makes it.
fn fits(value: Value, kind: &Kind) -> Result<Value, Reason> {
    let mut faults = Vec::new();
    kind.check(&value, "", &mut faults);
    match faults.into_iter().next() {
        Some(fault) => Err(Reason::Kind(fault.what)),
        None => Ok(value),
    }
}

fn tax_code(text: String, repairs: &mut Vec<Repair>) -> Result<String, Reason> {
    let upper = text.to_ascii_uppercase();
    let person: CodiceFiscale = upper.parse().map_err(Reason::from)?;
    if upper != text {
        repairs.push(Repair::UpperCase);
    }
    if person.is_omocode() {
        repairs.push(Repair::Omocode);
    }
    Ok(upper)
}

/// Spaces, dots, slashes, hyphens and brackets are how people write numbers; `00` is `+`.
fn phone(text: &str, prefix: &str) -> Result<String, Reason> {
    let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '.' | '/' | '-' | '(' | ')')).collect();
    let (plus, digits) = match plain.strip_prefix('+').or_else(|| plain.strip_prefix("00")) {
        Some(digits) => ("+", digits),
        None => (prefix, plain.as_str()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Reason::Kind(Kind::Phone.expected()));
    }
    Ok(format!("{plus}{digits}"))
}

/// Whether steps lead to this kind, and what is expected if not. A list of the field must have every code translated to.
pub(super) fn expected(steps: &[Step], kind: &Kind) -> Option<&'static str> {
    let bad = |step: &Step| match (step, kind) {
        (Step::Date(_), Kind::Date) | (Step::YesNo { .. }, Kind::Bool) | (Step::Phone(_), Kind::Phone) => {
            None
        }
        (
            Step::Number(_) | Step::Divided(_) | Step::Times(_),
            Kind::Decimal { .. } | Kind::Integer { .. },
        ) => None,
        (Step::Prefix(_) | Step::Split(_) | Step::Translate(_) | Step::Zeros(_), _) => None,
        (Step::Date(_), _) => Some("a reading for a field that is no date"),
        (Step::YesNo { .. }, _) => Some("a reading for a field that is not `si_no`"),
        (Step::Phone(_), _) => Some("a reading for a field that is no telephone number"),
        (Step::Number(_) | Step::Divided(_) | Step::Times(_), _) => {
            Some("a reading for a field that is no number")
        }
    };
    steps.iter().find_map(bad)
}

/// A constant of the mapping (`altrimenti`), written as the field's own text.
pub(super) fn constant(text: &str, kind: &Kind) -> Option<Value> {
    let text = match (kind, text) {
        (Kind::Bool, "si" | "sì") => "true",
        (Kind::Bool, "no") => "false",
        (_, text) => text,
    };
    if matches!(kind, Kind::Date) && parse_date(text).is_none() {
        return None;
    }
    if let Kind::Decimal { places } = kind {
        decimal(text, *places)?;
    }
    take_text(text.to_owned(), &[], kind, &mut Vec::new()).ok()
}

//! Numbers as systems write them: decimal commas, grouped thousands, cents. Exact: no binary fraction on the way.

use varco_core::view::kind::decimal;

use super::super::{Reason, Repair};

/// Digits before the decimal sign; core's own limit for amounts.
const LONGEST: usize = 12;

/// The decimal sign. The other of `.` and `,` may group thousands, and a space or an apostrophe too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mapping) enum NumberForm {
    Comma,
    Point,
}

impl NumberForm {
    const fn signs(self) -> (char, char) {
        match self {
            Self::Comma => (',', '.'),
            Self::Point => ('.', ','),
        }
    }

    pub fn read(self, text: &str) -> Result<String, Reason> {
        let (sign, group) = self.signs();
        let text = text.trim_start_matches(['€', ' ']).trim_end_matches(['€', ' ']);
        let (minus, text) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, part) = match text.split_once(sign) {
            Some((whole, part)) => (whole, Some(part)),
            None => (text, None),
        };
        let whole = ungrouped(whole, group)?;
        match part {
            Some(part) if part.is_empty() || !is_digits(part) => Err(Reason::NotNumber),
            Some(part) => Ok(format!("{minus}{whole}.{part}")),
            None => Ok(format!("{minus}{whole}")),
        }
    }

    pub fn write(self, text: &str) -> String {
        match self {
            Self::Comma => text.replace('.', ","),
            Self::Point => text.to_owned(),
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `1.234.567` is a number; `1.23` with `.` as the thousands' sign is none: it was written with another decimal sign.
fn ungrouped(whole: &str, group: char) -> Result<String, Reason> {
    let group = [group, ' ', '\'', '\u{a0}', '\u{202f}'].into_iter().find(|sign| whole.contains(*sign));
    let Some(group) = group else {
        return if is_digits(whole) { Ok(whole.to_owned()) } else { Err(Reason::NotNumber) };
    };
    let mut pieces = whole.split(group);
    let first = pieces.next().unwrap_or_default();
    let rest: Vec<&str> = pieces.collect();
    let good =
        is_digits(first) && first.len() <= 3 && rest.iter().all(|piece| piece.len() == 3 && is_digits(piece));
    if good { Ok(format!("{first}{}", rest.concat())) } else { Err(Reason::NotNumber) }
}

/// Sign, whole digits and decimals of a plain number.
fn parts(text: &str) -> Result<(&str, &str, &str), Reason> {
    let (minus, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let good = is_digits(whole) && whole.len() <= LONGEST && (part.is_empty() || is_digits(part));
    if good && !digits.ends_with('.') { Ok((minus, whole, part)) } else { Err(Reason::NotNumber) }
}

/// Moves the decimal sign to the left; `by` is a power of ten.
pub(super) fn divided(text: &str, by: u32) -> Result<String, Reason> {
    let (minus, whole, part) = parts(text)?;
    let places = usize::try_from(by.ilog10()).map_err(|_| Reason::NotNumber)?;
    let padded = format!("{whole:0>width$}", width = places + 1);
    let (whole, moved) = padded.split_at_checked(padded.len() - places).ok_or(Reason::NotNumber)?;
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(format!("{minus}{whole}.{moved}{part}"))
}

/// Exact multiplication of a number with at most six decimals.
pub(super) fn times(text: &str, by: u32) -> Result<String, Reason> {
    let micro =
        decimal(text, 6).and_then(|micro| micro.checked_mul(i64::from(by))).ok_or(Reason::NotNumber)?;
    Ok(from_micro(micro))
}

/// Division that must come out even: what `times` undoes.
pub(super) fn divided_whole(text: &str, by: u32) -> Result<String, Reason> {
    let micro = decimal(text, 6).ok_or(Reason::NotNumber)?;
    let by = i64::from(by);
    if micro.checked_rem(by) != Some(0) {
        return Err(Reason::NotNumber);
    }
    micro.checked_div(by).map(from_micro).ok_or(Reason::NotNumber)
}

fn from_micro(micro: i64) -> String {
    let minus = if micro < 0 { "-" } else { "" };
    let all = format!("{:07}", micro.unsigned_abs());
    let (whole, part) = all.split_at_checked(all.len() - 6).unwrap_or((&all, ""));
    let part = part.trim_end_matches('0');
    if part.is_empty() { format!("{minus}{whole}") } else { format!("{minus}{whole}.{part}") }
}

/// At most so many decimals; zeros beyond them are cut, anything else beyond them is not this field's number.
pub(super) fn decimal_text(text: String, places: u8, repairs: &mut Vec<Repair>) -> Result<String, Reason> {
    let (minus, whole, part) = parts(&text)?;
    let places = usize::from(places);
    if part.len() <= places {
        return Ok(text);
    }
    let (kept, beyond) = part.split_at_checked(places).ok_or(Reason::NotNumber)?;
    if beyond.bytes().any(|b| b != b'0') {
        return Err(Reason::NotNumber);
    }
    repairs.push(Repair::TrailingZeros);
    Ok(if kept.is_empty() { format!("{minus}{whole}") } else { format!("{minus}{whole}.{kept}") })
}

/// A whole number; `3.0` is one.
pub(super) fn integer(text: &str) -> Result<i64, Reason> {
    let (minus, whole, part) = parts(text)?;
    if part.bytes().any(|b| b != b'0') {
        return Err(Reason::NotNumber);
    }
    format!("{minus}{whole}").parse().map_err(|_| Reason::NotNumber)
}

//! Dates as systems write them. The year always has four digits: two say no century.

use varco_core::time::parse_date;

use super::super::{Reason, Repair};

/// `GG/MM/AAAA`: `GG` the day, `MM` the month, `AAAA` the year, anything else itself; `*` at the end lets anything follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mapping) struct DateForm {
    parts: Vec<Part>,
    open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Day,
    Literal(char),
    Month,
    Year,
}

impl DateForm {
    /// `None` unless day, month and year are there once each.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut rest, open) = match text.strip_suffix('*') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let mut parts = Vec::new();
        while let Some(c) = rest.chars().next() {
            let words = [("AAAA", Part::Year), ("GG", Part::Day), ("MM", Part::Month)];
            match words.iter().find_map(|(word, part)| Some((rest.strip_prefix(word)?, *part))) {
                Some((after, part)) => {
                    parts.push(part);
                    rest = after;
                }
                None => {
                    parts.push(Part::Literal(c));
                    rest = rest.get(c.len_utf8()..)?;
                }
            }
        }
        let once = |wanted| parts.iter().filter(|part| **part == wanted).count() == 1;
        (once(Part::Day) && once(Part::Month) && once(Part::Year)).then_some(Self { parts, open })
    }

    pub fn read(&self, text: &str) -> Result<String, Reason> {
        let (mut day, mut month, mut year) = ("", "", "");
        let mut rest = text;
        for part in &self.parts {
            let width = match part {
                Part::Day | Part::Month => 2,
                Part::Literal(c) => {
                    rest = rest.strip_prefix(*c).ok_or(Reason::NotDate)?;
                    continue;
                }
                Part::Year => 4,
            };
            let (digits, after) = digits(rest, width)?;
            match part {
                Part::Day => day = digits,
                Part::Month => month = digits,
                Part::Year | Part::Literal(_) => year = digits,
            }
            rest = after;
        }
        if !rest.is_empty() && !self.open {
            return Err(Reason::NotDate);
        }
        if year.len() == 2 {
            return Err(Reason::TwoDigitYear);
        }
        real(&format!("{year:0>4}-{month:0>2}-{day:0>2}"))
    }

    pub fn write(&self, text: &str) -> Result<String, Reason> {
        let mut pieces = text.splitn(3, '-');
        let mut next = || pieces.next().ok_or(Reason::NotDate);
        let (year, month, day) = (next()?, next()?, next()?);
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Day => out.push_str(day),
                Part::Literal(c) => out.push(*c),
                Part::Month => out.push_str(month),
                Part::Year => out.push_str(year),
            }
        }
        Ok(out)
    }
}

/// As many digits as there are, up to the width. `1/2/1980` is a date; people type so.
fn digits(text: &str, width: usize) -> Result<(&str, &str), Reason> {
    let found = text.bytes().take(width).take_while(u8::is_ascii_digit).count();
    match text.split_at_checked(found) {
        Some((digits, rest)) if found > 0 => Ok((digits, rest)),
        Some(_) | None => Err(Reason::NotDate),
    }
}

fn real(text: &str) -> Result<String, Reason> {
    if parse_date(text).is_some() { Ok(text.to_owned()) } else { Err(Reason::ImpossibleDate) }
}

/// A date as the field has it; midnight after it is cut off, any other time is not a date's.
pub(super) fn plain(text: String, repairs: &mut Vec<Repair>) -> Result<String, Reason> {
    let (date, time) = match text.split_at_checked(10) {
        Some((date, time)) => (date, time),
        None => return Err(Reason::NotDate),
    };
    let shape = date.bytes().enumerate().all(|(i, b)| match i {
        4 | 7 => b == b'-',
        _ => b.is_ascii_digit(),
    });
    if !shape {
        return Err(Reason::NotDate);
    }
    if !time.is_empty() {
        let clock = time.trim_start_matches(['T', ' ']).trim_end_matches('Z');
        let midnight = clock.len() >= 5 && clock.bytes().all(|b| matches!(b, b'0' | b':' | b'.'));
        if !midnight {
            return Err(Reason::NotDate);
        }
        repairs.push(Repair::Midnight);
    }
    real(date)
}

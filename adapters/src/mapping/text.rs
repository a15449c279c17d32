//! The text of a value, cleaned by stated rules before anything reads it.

use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use super::{Reason, Repair};

/// A text with what was done to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clean {
    /// Empty when there was nothing but spaces.
    pub text: String,
    pub repairs: Vec<Repair>,
}

/// A scalar as text: `None` for `null`. Lists and objects are no text.
pub(super) fn plain(value: &Value) -> Result<Option<String>, Reason> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(truth) => Ok(Some(truth.to_string())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::String(text) => Ok(Some(clean(text)?.text).filter(|text| !text.is_empty())),
        Value::Array(_) | Value::Object(_) => Err(Reason::NotText),
    }
}

/// 1. What shows a wrong encoding is refused. 2. What is around the value is cut: spaces, line ends, byte order marks.
/// 3. Control characters within, line breaks among them, become one space. 4. Letters and accents are joined (NFC).
pub(super) fn clean(text: &str) -> Result<Clean, Reason> {
    if is_misread(text) {
        return Err(Reason::WrongEncoding);
    }
    let mut repairs = Vec::new();
    let inner = text.trim_matches(|c: char| is_space(c) || c.is_control());
    if inner.len() != text.len() {
        repairs.push(Repair::Trimmed);
    }
    let spaced = without_controls(inner);
    if spaced != inner {
        repairs.push(Repair::ControlCharacters);
    }
    let composed: String = spaced.nfc().collect();
    if composed != spaced {
        repairs.push(Repair::Composed);
    }
    Ok(Clean { text: composed, repairs })
}

/// Runs of control characters become one space.
fn without_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_control = false;
    for c in text.chars() {
        match (c.is_control(), after_control) {
            (true, true) => {}
            (true, false) => out.push(' '),
            (false, _) => out.push(c),
        }
        after_control = c.is_control();
    }
    out
}

/// White space of every kind, the no-break space and the byte order mark among them.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}')
}

/// The replacement character says that bytes were lost. `Ã` or `Â` before a character from U+0080 to U+00BF is UTF-8 read as
/// Latin-1, and nothing else: no language writes it.
fn is_misread(text: &str) -> bool {
    let mut before = ' ';
    for c in text.chars() {
        if c == '\u{fffd}' || (matches!(before, 'Ã' | 'Â') && ('\u{80}'..='\u{bf}').contains(&c)) {
            return true;
        }
        before = c;
    }
    false
}

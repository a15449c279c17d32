//! JSON read strictly and written canonically.
//!
//! Reading refuses what two parsers may read differently: duplicate members, deep nesting, trailing bytes.
//! Writing sorts members by their bytes, because the `serde_json` map keeps insertion order in this binary.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// No honest record, token or policy of ours nests deeper; a hostile one could exhaust the stack.
pub const DEEPEST: usize = 32;

/// Why a text is not the JSON we accept. `line` and `column` count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line}, column {column}")]
pub struct JsonFault {
    pub what: String,
    pub line: usize,
    pub column: usize,
}

/// Reads one JSON text, refusing duplicate member names and nesting beyond [`DEEPEST`].
pub fn parse(bytes: &[u8]) -> Result<Value, JsonFault> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)).map_err(fault)
}

/// [`parse`], then into a type that says which members it knows.
pub fn parse_as<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonFault> {
    let value = parse(bytes)?;
    T::deserialize(value).map_err(fault)
}

/// The one text of a value: members sorted by their UTF-8 bytes, no white space, ASCII only.
/// For values made of strings, integers and booleans this is RFC 8785 with `\u` escapes.
pub fn canonical(value: &Value) -> String {
    let mut out = String::with_capacity(at_least(value));
    write(value, &mut out);
    out
}

/// A length that the text of a value is likely to reach, so that it seldom grows while it is written.
fn at_least(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(at_least).sum::<usize>() + items.len(),
        Value::Object(members) => {
            2 + members.iter().map(|(name, member)| name.len() + 4 + at_least(member)).sum::<usize>()
        }
    }
}

/// [`canonical`] of anything that serialises; `Null` stands for what cannot, which no type of ours reaches.
pub fn canonical_of<T: serde::Serialize>(value: &T) -> String {
    canonical(&serde_json::to_value(value).unwrap_or(Value::Null))
}

/// [`canonical`] of a text.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_text(text, &mut out);
    out
}

/// An object of members whose values are canonical JSON already. `members` must be sorted by name.
pub fn object(members: &[(&str, &str)]) -> String {
    debug_assert!(members.is_sorted_by(|a, b| a.0 < b.0));
    let length: usize = members.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let mut out = String::with_capacity(length + 2);
    for (name, value) in members {
        out.push(if out.is_empty() { '{' } else { ',' });
        write_text(name, &mut out);
        out.push(':');
        out.push_str(value);
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    out
}

fn fault(error: serde_json::Error) -> JsonFault {
    let full = error.to_string();
    let what = full.split(" at line ").next().unwrap_or_default().to_owned();
    JsonFault { what, line: error.line(), column: error.column() }
}

fn write(value: &Value, out: &mut String) {
    use fmt::Write as _;
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{number}");
        }
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            out.push('{');
            for (i, (name, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
    }
}

/// A text as a JSON string, quotes included, ASCII only.
pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    // Most texts have nothing to escape and go in one piece. All bytes are looked at, because then many are at once.
    let plain = !text.bytes().fold(false, |found, byte| found | is_escaped(byte));
    while !plain && let Some(at) = rest.bytes().position(is_escaped) {
        let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(plain);
        let mut characters = from.chars();
        if let Some(character) = characters.next() {
            escape(character, out);
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Whether a character that begins with this byte is written as an escape.
const fn is_escaped(byte: u8) -> bool {
    !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\')
}

fn escape(character: char, out: &mut String) {
    use fmt::Write as _;
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ => {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let member = access.next_value_seed(inner)?;
            if members.insert(name, member).is_some() {
                return Err(serde::de::Error::custom("a member name that appears twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEEPEST {
            return Err(E::custom("nesting deeper than 32 levels"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicate_members_deep_nesting_and_trailing_bytes_are_refused() {
        for (text, what) in [
            (r#"{"a":1,"a":2}"#.to_owned(), "twice"),
            (format!("{}1{}", "[".repeat(33), "]".repeat(33)), "nesting"),
            ("{} {}".to_owned(), "trailing"),
            ("{".to_owned(), "EOF"),
        ] {
            let fault = parse(text.as_bytes()).unwrap_err();
            assert!(fault.what.contains(what), "{text}: {fault}");
        }
    }

    #[test]
    fn canonical_text_does_not_depend_on_the_order_of_members() {
        let a = parse(br#"{"b":[1,{"z":true,"y":null}],"a":"\u00e8\"\n"}"#).unwrap();
        let b = parse(br#"{"a":"\u00e8\"\n","b":[1,{"y":null,"z":true}]}"#).unwrap();
        assert_eq!(canonical(&a), canonical(&b));
        assert_eq!(canonical(&a), r#"{"a":"\u00e8\"\n","b":[1,{"y":null,"z":true}]}"#);
        assert_eq!(canonical(&json!("😀")), r#""\ud83d\ude00""#);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn canonical_text_reads_back(texts in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..8)) {
            let value = serde_json::to_value(&texts).unwrap();
            prop_assert_eq!(parse(canonical(&value).as_bytes()).unwrap(), value);
        }
    }
}

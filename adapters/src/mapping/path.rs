//! Places in a tree: `name.given`, `name[0].family`, `identifier[system=urn:x].value`, `righe[].IMPORTO`, `"Cod. Fiscale"`.
//!
//! A single value may stand where a list is expected and a list of one where a single value is: XML cannot tell them
//! apart, and systems change their mind.

use std::fmt;

use serde_json::{Map, Value};

use super::Reason;

/// A path longer than this is a mistake.
pub const LONGEST: usize = 12;
/// Where flat sources put all their rows of one person: `righe[].COLUMN`.
pub const ROWS: &str = "righe";
/// Lists in a tree that grows while it is written.
const MOST_ITEMS: usize = varco_core::view::kind::MOST_ITEMS;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    /// One item of a list, from 0.
    At(usize),
    /// Every item of a list.
    Each,
    Name(Box<str>),
    /// The items whose member at this path has this text.
    Where {
        path: Vec<Box<str>>,
        text: Box<str>,
    },
}

/// A value that a path leads to, with the place in each list that was gone through.
pub(super) struct Found<'a> {
    pub indices: Vec<usize>,
    pub value: &'a Value,
}

/// The text is no path. Says what one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a place such as `COLONNA`, `\"Cod. Fiscale\"`, `name[0].family`, `id[system=urn:x].value` or `righe[].IMPORTO`"
)]
pub struct PathFault;

impl Path {
    pub fn parse(text: &str) -> Result<Self, PathFault> {
        let mut reader = Reader { rest: text.trim() };
        let mut segments = vec![Segment::Name(reader.name()?)];
        while let Some(next) = reader.next_char() {
            match next {
                '.' => segments.push(Segment::Name(reader.name()?)),
                '[' => segments.push(reader.bracket()?),
                _ => return Err(PathFault),
            }
        }
        if segments.len() > LONGEST { Err(PathFault) } else { Ok(Self { segments }) }
    }

    /// The column, where the place is one column of a row or of each row.
    pub fn column(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [Segment::Name(name)] => Some(name),
            [Segment::Name(rows), Segment::Each, Segment::Name(name)] if **rows == *ROWS => Some(name),
            _ => None,
        }
    }

    /// Whether the place is in each of a person's rows, so that there may be several.
    pub fn is_of_each_row(&self) -> bool {
        matches!(self.segments.as_slice(), [Segment::Name(rows), Segment::Each, ..] if **rows == *ROWS)
    }

    /// The first name: the member of the whole that must be asked for.
    pub fn root(&self) -> &str {
        match self.segments.first() {
            Some(Segment::Name(name)) => name,
            Some(Segment::At(_) | Segment::Each | Segment::Where { .. }) | None => "",
        }
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The members directly below the first name that must be there to follow this path: where a source can leave others out,
    /// these are asked for.
    pub fn members(&self) -> Vec<&str> {
        let mut members: Vec<&str> = Vec::new();
        for segment in self.segments.iter().skip(1) {
            match segment {
                Segment::At(_) | Segment::Each => {}
                Segment::Name(name) => {
                    members.push(name);
                    break;
                }
                Segment::Where { path, .. } => members.extend(path.first().map(|name| &**name)),
            }
        }
        members
    }

    /// How many lists are gone through whole.
    pub(super) fn lists(&self) -> usize {
        self.segments.iter().filter(|segment| **segment == Segment::Each).count()
    }

    /// The one text at this place, for what must be a single value.
    pub fn text(&self, tree: &Value) -> Result<Option<String>, Reason> {
        let mut found = self.find(tree)?.into_iter();
        match (found.next(), found.next()) {
            (Some(one), None) => super::text::plain(one.value),
            (Some(_), Some(_)) => Err(Reason::Ambiguous),
            (None, _) => Ok(None),
        }
    }

    /// The one value at this place, if there is any.
    pub fn one<'a>(&self, tree: &'a Value) -> Result<Option<&'a Value>, Reason> {
        let mut found = self.find(tree)?.into_iter();
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Reason::Ambiguous),
            (one, _) => Ok(one.map(|one| one.value)),
        }
    }

    pub(super) fn find<'a>(&self, tree: &'a Value) -> Result<Vec<Found<'a>>, Reason> {
        let mut found = Vec::new();
        walk(&self.segments, tree, &mut Vec::new(), &mut found)?;
        Ok(found)
    }

    /// Puts a value at this place; `indices` say where in each list that is gone through whole.
    pub(crate) fn put(&self, tree: &mut Value, indices: &[usize], value: Value) -> Result<(), Reason> {
        put(&self.segments, tree, indices, value)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::At(at) => write!(f, "[{at}]")?,
                Segment::Each => f.write_str("[]")?,
                Segment::Name(name) => {
                    f.write_str(if i == 0 { "" } else { "." })?;
                    if name.contains(['.', '[', ']', '"', ' ']) {
                        write!(f, "\"{name}\"")?;
                    } else {
                        f.write_str(name)?;
                    }
                }
                Segment::Where { path, text } => write!(f, "[{}={text}]", path.join("."))?,
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn next_char(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn name(&mut self) -> Result<Box<str>, PathFault> {
        let (name, rest) = match self.rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(PathFault)?,
            None => {
                let end = self.rest.find(['.', '[', ']', '"']).unwrap_or(self.rest.len());
                self.rest.split_at_checked(end).ok_or(PathFault)?
            }
        };
        self.rest = rest;
        if name.trim().is_empty() { Err(PathFault) } else { Ok(name.trim().into()) }
    }

    fn bracket(&mut self) -> Result<Segment, PathFault> {
        let (inside, rest) = self.rest.split_once(']').ok_or(PathFault)?;
        self.rest = rest;
        let inside = inside.trim();
        if inside.is_empty() {
            return Ok(Segment::Each);
        }
        if let Some((key, text)) = inside.split_once('=') {
            let path: Vec<Box<str>> = key.split('.').map(|part| part.trim().into()).collect();
            let named = path.iter().all(|part| !part.is_empty()) && !text.trim().is_empty();
            return if named {
                Ok(Segment::Where { path, text: text.trim().into() })
            } else {
                Err(PathFault)
            };
        }
        let at = inside.parse().ok().filter(|at| *at < MOST_ITEMS);
        at.map(Segment::At).ok_or(PathFault)
    }
}

fn walk<'a>(
    segments: &[Segment],
    at: &'a Value,
    indices: &mut Vec<usize>,
    found: &mut Vec<Found<'a>>,
) -> Result<(), Reason> {
    let Some((segment, rest)) = segments.split_first() else {
        if !at.is_null() {
            found.push(Found { indices: indices.clone(), value: at });
        }
        return Ok(());
    };
    match segment {
        Segment::Name(name) => match at {
            Value::Object(members) => match members.get(&**name) {
                Some(inner) => walk(rest, inner, indices, found),
                None => Ok(()),
            },
            Value::Array(items) => match items.as_slice() {
                [] => Ok(()),
                [only] => walk(segments, only, indices, found),
                _ => Err(Reason::Ambiguous),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        },
        Segment::At(index) => match at {
            Value::Array(items) => match items.get(*index) {
                Some(item) => walk(rest, item, indices, found),
                None => Ok(()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::String(_)
                if *index == 0 =>
            {
                walk(rest, at, indices, found)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::String(_) => Ok(()),
        },
        Segment::Each => each(rest, items_of(at), indices, found),
        Segment::Where { path, text } => {
            let matching = items_of(at).into_iter().filter(|item| has(item, path, text));
            match rest.split_first() {
                Some((Segment::Each, rest)) => each(rest, matching.collect(), indices, found),
                Some(_) | None => match matching.take(1).next() {
                    Some(first) => walk(rest, first, indices, found),
                    None => Ok(()),
                },
            }
        }
    }
}

fn each<'a>(
    rest: &[Segment],
    items: Vec<&'a Value>,
    indices: &mut Vec<usize>,
    found: &mut Vec<Found<'a>>,
) -> Result<(), Reason> {
    if items.len() > MOST_ITEMS {
        return Err(Reason::TooManyItems);
    }
    for (i, item) in items.into_iter().enumerate() {
        indices.push(i);
        walk(rest, item, indices, found)?;
        indices.pop();
    }
    Ok(())
}

fn items_of(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::String(_) => vec![value],
    }
}

/// Whether a member at this path has the text, in any item of the lists on the way.
fn has(value: &Value, path: &[Box<str>], text: &str) -> bool {
    match (value, path.split_first()) {
        (Value::Array(items), _) => items.iter().any(|item| has(item, path, text)),
        (Value::Object(members), Some((name, rest))) => {
            members.get(&**name).is_some_and(|inner| has(inner, rest, text))
        }
        (Value::String(found), None) => found == text,
        (Value::Number(found), None) => found.to_string() == text,
        (Value::Bool(found), None) => found.to_string() == text,
        (Value::Null | Value::Object(_), None) => false,
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), Some(_)) => false,
    }
}

fn put(segments: &[Segment], at: &mut Value, indices: &[usize], value: Value) -> Result<(), Reason> {
    let Some((segment, rest)) = segments.split_first() else {
        *at = value;
        return Ok(());
    };
    match segment {
        Segment::Name(name) => {
            let members = object_at(at)?;
            put(rest, members.entry(&**name).or_insert(Value::Null), indices, value)
        }
        Segment::At(index) => put(rest, item_at(at, *index)?, indices, value),
        Segment::Each => {
            let (index, inner) = indices.split_first().ok_or(Reason::Ambiguous)?;
            put(rest, item_at(at, *index)?, inner, value)
        }
        Segment::Where { path, text } => {
            let items = list_at(at)?;
            let index = items.iter().position(|item| has(item, path, text)).unwrap_or(items.len());
            let key: Vec<Segment> = path.iter().map(|name| Segment::Name(name.clone())).collect();
            let item = item_at(at, index)?;
            put(&key, item, &[], Value::String((**text).to_owned()))?;
            put(rest, item, indices, value)
        }
    }
}

fn object_at(at: &mut Value) -> Result<&mut Map<String, Value>, Reason> {
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    at.as_object_mut().ok_or(Reason::Ambiguous)
}

fn list_at(at: &mut Value) -> Result<&mut Vec<Value>, Reason> {
    if at.is_null() {
        *at = Value::Array(Vec::new());
    }
    at.as_array_mut().ok_or(Reason::Ambiguous)
}

fn item_at(at: &mut Value, index: usize) -> Result<&mut Value, Reason> {
    let items = list_at(at)?;
    if index >= MOST_ITEMS {
        return Err(Reason::TooManyItems);
    }
    while items.len() <= index {
        items.push(Value::Null);
    }
    items.get_mut(index).ok_or(Reason::TooManyItems)
}

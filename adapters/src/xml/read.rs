//! From bytes to elements.

use quick_xml::Reader;
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesStart, Event};

use super::{
    Attribute, Element, Limits, Name, Node, What, XML_NAMESPACE, XMLNS_NAMESPACE, XmlFault, is_name,
};
use crate::encoding;

/// Reads a document in the encoding that it says it has.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Element, XmlFault> {
    let whole = |what| XmlFault { what, line: 0 };
    if bytes.len() > limits.bytes {
        return Err(whole(What::TooLarge(limits.bytes)));
    }
    let encoding = encoding::of_xml(bytes).ok_or(whole(What::EncodingUnknown))?;
    let text = encoding.decode(bytes).ok_or(whole(What::Encoding))?;
    parse_text(&text, limits)
}

/// Reads a document that is text already, whatever encoding it once had: the record inside an `xsd:string`, say.
pub fn parse_text(text: &str, limits: &Limits) -> Result<Element, XmlFault> {
    if text.len() > limits.bytes {
        return Err(XmlFault { what: What::TooLarge(limits.bytes), line: 0 });
    }
    // XML 1.0 section 2.11: every line ends the same way before anything else is done.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if let Some((before, _)) = text.char_indices().find(|(_, c)| !is_character(*c)) {
        return Err(XmlFault { what: What::Character, line: line_at(&text, before) });
    }
    let mut reader = Reader::from_str(&text);
    let mut document =
        Document { limits: *limits, open: Vec::new(), scopes: Vec::new(), root: None, elements: 0 };
    loop {
        let start = position(&reader);
        let event = reader.read_event();
        let took = match event {
            Ok(Event::Eof) => break,
            Ok(event) => document.take(event),
            Err(_) => Err(What::Syntax),
        };
        took.map_err(|what| XmlFault { what, line: line_at(&text, start) })?;
    }
    match document.root {
        Some(root) if document.open.is_empty() => Ok(root),
        Some(_) | None => Err(XmlFault { what: What::Root, line: line_at(&text, text.len()) }),
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn line_at(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

struct Document {
    limits: Limits,
    /// The elements whose end has not come, outermost first.
    open: Vec<Element>,
    /// The namespaces in force: prefix and name, later ones hiding earlier ones, with the depth they were declared at.
    scopes: Vec<(usize, String, String)>,
    root: Option<Element>,
    elements: usize,
}

impl Document {
    fn take(&mut self, event: Event<'_>) -> Result<(), What> {
        match event {
            Event::Start(start) => self.enter(&start),
            Event::Empty(start) => self.enter(&start).and_then(|()| self.leave()),
            Event::End(_) => self.leave(),
            Event::Text(text) => self.text(&resolve(&text, Spaces::Kept)?),
            Event::CData(text) => self.text(&text),
            Event::GeneralRef(name) => {
                let resolved = reference(&name)?;
                self.text(resolved.encode_utf8(&mut [0; 4]))
            }
            Event::DocType(_) => Err(What::DocumentType),
            // Before and after the root they concern browsers and editors.
            Event::PI(_) if self.open.is_empty() => Ok(()),
            Event::PI(_) => Err(What::Instruction),
            Event::Comment(_) | Event::Decl(_) | Event::Eof => Ok(()),
        }
    }

    fn enter(&mut self, start: &BytesStart<'_>) -> Result<(), What> {
        if self.root.is_some() {
            return Err(What::Root);
        }
        self.elements = self.elements.saturating_add(1);
        if self.elements > self.limits.elements {
            return Err(What::TooManyElements(self.limits.elements));
        }
        let depth = self.open.len().saturating_add(1);
        if depth > self.limits.depth {
            return Err(What::TooDeep(self.limits.depth));
        }
        let mut plain = Vec::new();
        let mut declared = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| {
                let twice = matches!(error, AttrError::Duplicated(..));
                if twice { What::AttributeTwice } else { What::Syntax }
            })?;
            if plain.len().saturating_add(declared.len()) >= self.limits.attributes {
                return Err(What::TooManyAttributes(self.limits.attributes));
            }
            let (name, raw) = (attribute.key.0, &*attribute.value);
            if raw.contains('<') {
                return Err(What::Syntax);
            }
            let value = resolve(raw, Spaces::Normalised)?;
            self.measure(name)?;
            self.measure(&value)?;
            match declaration(name) {
                Some(prefix) => declared.push((declarable(prefix, &value)?.to_owned(), value)),
                None => plain.push((name.to_owned(), value)),
            }
        }
        self.scopes.extend(declared.iter().map(|(prefix, name)| (depth, prefix.clone(), name.clone())));
        let name = start.name().0.to_owned();
        self.measure(&name)?;
        let mut element = Element::new(self.resolve(&name, Default::Applies)?);
        element.declared = declared;
        for (name, value) in plain {
            let name = self.resolve(&name, Default::IsNone)?;
            let same =
                |other: &Attribute| other.name.local == name.local && other.name.namespace == name.namespace;
            if element.attributes.iter().any(same) {
                return Err(What::AttributeTwice);
            }
            element.attributes.push(Attribute { name, value });
        }
        self.open.push(element);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), What> {
        let depth = self.open.len();
        let element = self.open.pop().ok_or(What::Syntax)?;
        self.scopes.retain(|(declared_at, ..)| *declared_at < depth);
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), What> {
        let limit = self.limits.text;
        let Some(parent) = self.open.last_mut() else {
            return if text.trim().is_empty() { Ok(()) } else { Err(What::Root) };
        };
        let grown = match parent.children.last_mut() {
            Some(Node::Text(before)) => {
                before.push_str(text);
                before.len()
            }
            Some(Node::Element(_)) | None => {
                parent.children.push(Node::Text(text.to_owned()));
                text.len()
            }
        };
        if grown > limit { Err(What::TextTooLong(limit)) } else { Ok(()) }
    }

    fn measure(&self, text: &str) -> Result<(), What> {
        if text.len() > self.limits.text { Err(What::TextTooLong(self.limits.text)) } else { Ok(()) }
    }

    fn resolve(&self, qualified: &str, default: Default) -> Result<Name, What> {
        let (prefix, local) = qualified.split_once(':').unwrap_or(("", qualified));
        if !is_name(local) || !(prefix.is_empty() || is_name(prefix)) || qualified.starts_with(':') {
            return Err(What::Name);
        }
        let found = || self.scopes.iter().rev().find(|(_, declared, _)| declared == prefix);
        let namespace = match (prefix, default) {
            ("xml", _) => XML_NAMESPACE,
            ("xmlns", _) => return Err(What::Prefix),
            ("", Default::IsNone) => "",
            ("", Default::Applies) => found().map_or("", |(.., name)| name.as_str()),
            (_, Default::Applies | Default::IsNone) => {
                found().map(|(.., name)| name.as_str()).ok_or(What::Prefix)?
            }
        };
        Ok(Name::new(prefix, namespace, local))
    }
}

/// Whether a name without a prefix is in the default namespace: an element's is, an attribute's is not.
#[derive(Clone, Copy)]
enum Default {
    Applies,
    IsNone,
}

/// The prefix that an attribute of this name declares.
fn declaration(name: &str) -> Option<&str> {
    match name.strip_prefix("xmlns") {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix(':'),
        None => None,
    }
}

/// Namespaces in XML, section 3: what must not be declared.
fn declarable<'a>(prefix: &'a str, namespace: &str) -> Result<&'a str, What> {
    let reserved = namespace == XMLNS_NAMESPACE || (namespace == XML_NAMESPACE) != (prefix == "xml");
    let undeclared = namespace.is_empty() && !prefix.is_empty();
    if reserved || undeclared || prefix == "xmlns" || !(prefix.is_empty() || is_name(prefix)) {
        return Err(What::Prefix);
    }
    Ok(prefix)
}

#[derive(Clone, Copy, PartialEq)]
enum Spaces {
    Kept,
    /// XML 1.0 section 3.3.3: each white space in an attribute is a space, unless it came as a reference.
    Normalised,
}

/// Replaces references by what they stand for.
fn resolve(raw: &str, spaces: Spaces) -> Result<String, What> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        let (plain, after) = rest.split_once('&').map_or((rest, None), |(plain, after)| (plain, Some(after)));
        match spaces {
            Spaces::Kept => out.push_str(plain),
            Spaces::Normalised => {
                out.extend(plain.chars().map(|c| if matches!(c, '\t' | '\n') { ' ' } else { c }))
            }
        }
        let Some(after) = after else { return Ok(out) };
        let (name, after) = after.split_once(';').ok_or(What::Syntax)?;
        out.push(reference(name)?);
        rest = after;
    }
}

/// The character that a reference stands for: `&amp;` and its like, or a number. No other entity exists without a document
/// type.
fn reference(name: &str) -> Result<char, What> {
    let number = |digits: &str, radix| {
        // Eight digits hold every code point; more only waste time.
        let short = (1..=8).contains(&digits.len()) && digits.chars().all(|c| c.is_digit(radix));
        let code = short.then(|| u32::from_str_radix(digits, radix).ok()).flatten();
        code.and_then(char::from_u32).filter(|c| is_character(*c) || *c == '\r').ok_or(What::Character)
    };
    match name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(digits), _) => number(digits, 16),
            (None, Some(digits)) => number(digits, 10),
            (None, None) => Err(What::Entity),
        },
    }
}

/// XML 1.0 section 2.2, line ends already being `\n`.
const fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

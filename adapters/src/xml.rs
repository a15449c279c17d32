//! XML, read strictly: what SOAP systems answer and what agencies drop into folders.
//!
//! Owns the limits, the refusal of document types, the namespaces, the canonical form that signatures are over, and the
//! one way in which XML becomes the JSON tree that mapping files speak of. Knows neither SOAP nor record types, and
//! no fault holds anything that a document said.
//!
//! An element becomes
//! - its text, where it has neither attributes nor child elements (`""` when it is empty, `null` with `xsi:nil`);
//! - otherwise an object: each child under its local name, several of one name as a list in their order; each
//!   attribute under `@` and its local name; text beside either, without the white space around it, under `#text`.
//!
//! Namespaces are resolved before and left out of the tree. Two names that only they tell apart are refused, so that
//! nothing can be read for something else. `xsi:` and `xml:` attributes say how to read, not what was said: they are
//! left out too.

use std::fmt;

mod canonical;
mod read;
mod tree;

#[cfg(test)]
mod tests;

pub use canonical::{Scope, canonical};
pub use read::{parse, parse_text};
pub use tree::{element, tree};

pub const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";
const XSI_NAMESPACE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// What a document may cost us. Beyond any of these it is refused whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the document as received.
    pub bytes: usize,
    /// Elements inside one another, the root being the first.
    pub depth: usize,
    /// In the whole document.
    pub elements: usize,
    /// Of one element, declarations of namespaces included.
    pub attributes: usize,
    /// Bytes of one attribute, of one name, or of one stretch of text.
    pub text: usize,
}

impl Limits {
    /// For an answer about one person: as much as any answer may be. Envelope, operation and record nest in 10 levels, lists in
    /// a few more. 1 MiB of elements with one letter each would be 130,000; an honest record of 60 KB has 2,000.
    pub const ANSWER: Self =
        Self { bytes: 1024 * 1024, depth: 32, elements: 20_000, attributes: 64, text: 1024 * 1024 };
    /// For a file with many people: 5,000 of 3 KB, with 40 elements each.
    pub const FILE: Self =
        Self { bytes: 16 * 1024 * 1024, depth: 32, elements: 200_000, attributes: 64, text: 64 * 1024 };
}

/// An element with its namespaces resolved. Comments are gone, text around them has grown together.
#[derive(Clone, PartialEq, Eq)]
pub struct Element {
    pub name: Name,
    /// The namespaces declared here: prefix (empty for the default) and name (empty to take the default away).
    pub declared: Vec<(String, String)>,
    pub attributes: Vec<Attribute>,
    pub children: Vec<Node>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: Name,
    pub value: String,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    Element(Element),
    Text(String),
}

/// A name and what it stands in. The prefix is kept for signatures, which are over it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Empty: the name has no namespace.
    pub namespace: String,
    pub local: String,
    /// Empty: the name is written without one.
    pub prefix: String,
}

/// Why a document is not read. `line` counts from 1, and is 0 where the fault is not in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (line {line})")]
pub struct XmlFault {
    pub what: What,
    pub line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    #[error("an attribute stands twice in one element")]
    AttributeTwice,
    #[error("a character that XML does not allow")]
    Character,
    #[error("a document type: declarations of entities are never read")]
    DocumentType,
    #[error("bytes that are no text in the encoding of the document")]
    Encoding,
    #[error("an encoding other than UTF-8, UTF-16, ISO-8859-1, ISO-8859-15, windows-1252 or US-ASCII")]
    EncodingUnknown,
    #[error("a reference to an entity that XML itself does not define")]
    Entity,
    #[error("a processing instruction inside the document")]
    Instruction,
    #[error("not a name")]
    Name,
    #[error("two names that only their namespaces tell apart")]
    NamesAlike,
    #[error("a prefix that is not declared, or declared as it must not be")]
    Prefix,
    #[error("not exactly one root element")]
    Root,
    #[error("not well-formed XML")]
    Syntax,
    #[error("more than {0} attributes in one element")]
    TooManyAttributes(usize),
    #[error("more than {0} elements")]
    TooManyElements(usize),
    #[error("more than {0} bytes")]
    TooLarge(usize),
    #[error("a text, a name or an attribute of more than {0} bytes")]
    TextTooLong(usize),
    #[error("elements nested more than {0} deep")]
    TooDeep(usize),
}

impl Element {
    /// An element that declares nothing by itself: the canonical form declares what is used.
    pub fn new(name: Name) -> Self {
        Self { name, declared: Vec::new(), attributes: Vec::new(), children: Vec::new() }
    }

    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.children.push(Node::Text(text.to_owned()));
        self
    }

    #[must_use]
    pub fn with(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    #[must_use]
    pub fn with_attribute(mut self, name: Name, value: &str) -> Self {
        self.attributes.push(Attribute { name, value: value.to_owned() });
        self
    }

    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.name.namespace == namespace && self.name.local == local
    }

    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The child of this name, if there is exactly one.
    pub fn only(&self, namespace: &str, local: &str) -> Option<&Self> {
        let mut found = self.elements().filter(|child| child.is(namespace, local));
        found.next().filter(|_| found.next().is_none())
    }

    /// The value of an attribute.
    pub fn attribute(&self, namespace: &str, local: &str) -> Option<&str> {
        let is =
            |attribute: &&Attribute| attribute.name.namespace == namespace && attribute.name.local == local;
        self.attributes.iter().find(is).map(|attribute| attribute.value.as_str())
    }

    /// The text directly inside, child elements left out.
    pub fn text(&self) -> String {
        let texts = self.children.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        texts.collect()
    }
}

impl Name {
    pub fn new(prefix: &str, namespace: &str, local: &str) -> Self {
        Self { namespace: namespace.to_owned(), local: local.to_owned(), prefix: prefix.to_owned() }
    }

    /// A name without a namespace.
    pub fn plain(local: &str) -> Self {
        Self::new("", "", local)
    }
}

/// Values are people's: only names are shown.
impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.name.local)?;
        f.debug_list().entries(self.elements()).finish()
    }
}

/// Whether this is a name without a colon (Namespaces in XML, NCName), of the characters that schemas use.
fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|next| next.is_alphanumeric() || matches!(next, '_' | '-' | '.' | '·'))
}

//! Exclusive XML canonicalisation without comments (W3C recommendation of 18 July 2002): the bytes that signatures are
//! over, and the form in which we write XML, because every reader reads it.

use super::{Attribute, Element, Name, Node, XML_NAMESPACE};

/// What stands around an element that is written by itself.
#[derive(Clone, Copy, Default)]
pub struct Scope<'a> {
    /// The elements around it, outermost first.
    pub ancestors: &'a [&'a Element],
    /// The prefixes of `InclusiveNamespaces`, which are declared although nothing uses them. Empty for the default.
    pub inclusive: &'a [&'a str],
}

/// Writes an element and all that is in it.
pub fn canonical(element: &Element, scope: Scope<'_>) -> String {
    let mut in_force: Vec<(&str, &str)> = Vec::new();
    for ancestor in scope.ancestors {
        declare(&mut in_force, ancestor);
    }
    let mut writer = Writer { out: String::new(), inclusive: scope.inclusive };
    writer.element(element, &in_force, &[]);
    writer.out
}

fn declare<'a>(in_force: &mut Vec<(&'a str, &'a str)>, element: &'a Element) {
    for (prefix, name) in &element.declared {
        in_force.retain(|(known, _)| known != prefix);
        in_force.push((prefix, name));
    }
}

struct Writer<'a> {
    out: String,
    inclusive: &'a [&'a str],
}

impl Writer<'_> {
    /// `in_force`: the declarations of the document up to here. `written`: those that the output has up to here.
    fn element<'a>(
        &mut self,
        element: &'a Element,
        in_force: &[(&'a str, &'a str)],
        written: &[(&'a str, &'a str)],
    ) {
        let mut in_force = in_force.to_vec();
        declare(&mut in_force, element);
        let mut written = written.to_vec();
        let new = self.declarations(element, &in_force, &written);
        self.out.push('<');
        self.name(&element.name);
        for (prefix, name) in &new {
            self.out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
            self.out.push_str(prefix);
            self.value(name);
            written.retain(|(known, _)| known != prefix);
            written.push((prefix, name));
        }
        let mut attributes: Vec<&Attribute> = element.attributes.iter().collect();
        attributes
            .sort_by(|a, b| (&a.name.namespace, &a.name.local).cmp(&(&b.name.namespace, &b.name.local)));
        for attribute in attributes {
            self.out.push(' ');
            self.name(&attribute.name);
            self.value(&attribute.value);
        }
        self.out.push('>');
        for child in &element.children {
            match child {
                Node::Element(child) => self.element(child, &in_force, &written),
                Node::Text(text) => self.text(text),
            }
        }
        self.out.push_str("</");
        self.name(&element.name);
        self.out.push('>');
    }

    /// What must be declared here, in the order of the prefixes: what this element's own names use, and the inclusive
    /// ones, unless the output says so already.
    fn declarations<'a>(
        &self,
        element: &'a Element,
        in_force: &[(&'a str, &'a str)],
        written: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let prefixed = element.attributes.iter().map(|attribute| &attribute.name);
        let used = std::iter::once(&element.name).chain(prefixed.filter(|name| !name.prefix.is_empty()));
        let used = used.map(|name| (name.prefix.as_str(), name.namespace.as_str()));
        let inclusive = in_force.iter().copied().filter(|(prefix, _)| self.inclusive.contains(prefix));
        let mut new: Vec<_> = used.chain(inclusive).collect();
        new.retain(|(prefix, name)| {
            let said = written.iter().find(|(known, _)| known == prefix).map_or("", |(_, name)| name);
            said != *name && *name != XML_NAMESPACE
        });
        new.sort_unstable();
        new.dedup();
        new
    }

    fn name(&mut self, name: &Name) {
        if !name.prefix.is_empty() {
            self.out.push_str(&name.prefix);
            self.out.push(':');
        }
        self.out.push_str(&name.local);
    }

    fn value(&mut self, value: &str) {
        self.out.push_str("=\"");
        for c in value.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '"' => self.out.push_str("&quot;"),
                '\t' => self.out.push_str("&#x9;"),
                '\n' => self.out.push_str("&#xA;"),
                '\r' => self.out.push_str("&#xD;"),
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '\r' => self.out.push_str("&#xD;"),
                _ => self.out.push(c),
            }
        }
    }
}

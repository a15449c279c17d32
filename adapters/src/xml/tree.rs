//! Between elements and the JSON tree.

use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::{Element, Name, Node, What, XML_NAMESPACE, XSI_NAMESPACE, XmlFault, is_name};

/// The tree of an element, by the rules at the top of this module.
pub fn tree(element: &Element) -> Result<Value, XmlFault> {
    if element.attribute(XSI_NAMESPACE, "nil").is_some_and(|nil| matches!(nil, "true" | "1")) {
        return Ok(Value::Null);
    }
    let mut members = Map::new();
    let mut names: Vec<&Name> = Vec::new();
    for attribute in &element.attributes {
        if [XSI_NAMESPACE, XML_NAMESPACE].contains(&attribute.name.namespace.as_str()) {
            continue;
        }
        let key = format!("@{}", attribute.name.local);
        if members.insert(key, Value::String(attribute.value.clone())).is_some() {
            return Err(XmlFault { what: What::NamesAlike, line: 0 });
        }
    }
    for child in element.elements() {
        let alike = |name: &&&Name| name.local == child.name.local;
        match names.iter().find(alike) {
            Some(name) if name.namespace != child.name.namespace => {
                return Err(XmlFault { what: What::NamesAlike, line: 0 });
            }
            Some(_) => {}
            None => names.push(&child.name),
        }
        put(&mut members, &child.name.local, tree(child)?);
    }
    let text = element.text();
    if members.is_empty() {
        return Ok(Value::String(text));
    }
    let kept = if names.is_empty() { text.as_str() } else { text.trim() };
    if !kept.is_empty() {
        members.insert("#text".to_owned(), Value::String(kept.to_owned()));
    }
    Ok(Value::Object(members))
}

/// A second one of a name makes a list of both. The first may be no list itself: only this makes lists.
fn put(members: &mut Map<String, Value>, name: &str, value: Value) {
    match members.entry(name) {
        Entry::Vacant(place) => {
            place.insert(value);
        }
        Entry::Occupied(mut place) => {
            let before = place.get_mut();
            if let Value::Array(list) = before {
                list.push(value);
            } else {
                *before = Value::Array(vec![before.take(), value]);
            }
        }
    }
}

/// The element of this name for a tree: [`tree`] the other way round. Children have the namespace and prefix of the name,
/// come in the order of the object's members, and are left out where the value is `null`.
pub fn element(name: Name, value: &Value) -> Result<Element, XmlFault> {
    let mut element = Element::new(name);
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => element.children.push(Node::Text(value.to_string())),
        Value::String(text) => element.children.push(Node::Text(text.clone())),
        // A list has no element of its own: its items do, each under the list's name.
        Value::Array(_) => return Err(XmlFault { what: What::Name, line: 0 }),
        Value::Object(members) => {
            for (key, value) in members {
                member(&mut element, key, value)?;
            }
        }
    }
    Ok(element)
}

fn member(element: &mut Element, key: &str, value: &Value) -> Result<(), XmlFault> {
    if value.is_null() {
        return Ok(());
    }
    let text = || match value {
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(_) | Value::Null | Value::Object(_) => Err(XmlFault { what: What::Syntax, line: 0 }),
    };
    if key == "#text" {
        element.children.push(Node::Text(text()?));
        return Ok(());
    }
    let local = key.strip_prefix('@').unwrap_or(key);
    if !is_name(local) {
        return Err(XmlFault { what: What::Name, line: 0 });
    }
    if local != key {
        element.attributes.push(super::Attribute { name: Name::plain(local), value: text()? });
        return Ok(());
    }
    let name = Name { local: local.to_owned(), ..element.name.clone() };
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    for item in items {
        element.children.push(Node::Element(super::element(name.clone(), item)?));
    }
    Ok(())
}

//! A record that comes in several answers, because its lists are long: each one signed, all of one and the same version.

use serde_json::{Map, Value};
use varco_core::hash::Sha256;
use varco_core::id::TokenId;
use varco_core::registry::Identity;
use varco_core::wire::Jtis;

use crate::FetchError;

/// A list has at most 200 items, and a page of ten is small already.
pub const PAGES_MAX: u16 = 20;
/// What a system may give us to ask the next page with, in bytes.
pub const NEXT_MAX: usize = 512;

/// One answer.
pub struct Page {
    pub fields: Map<String, Value>,
    pub next: Option<String>,
    /// The version that the system says the page is of.
    pub etag: Option<String>,
    pub digest: Sha256,
    pub seal: Identity,
    pub bytes: usize,
}

/// The answers so far.
pub struct Pages {
    fields: Map<String, Value>,
    next: Option<String>,
    etag: Option<String>,
    digests: Vec<Sha256>,
    seal: Identity,
    bytes: usize,
}

impl Pages {
    pub fn first(page: Page) -> Self {
        let Page { fields, next, etag, digest, seal, bytes } = page;
        Self { fields, next, etag, digests: vec![digest], seal, bytes }
    }

    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Adds a page: its lists go on where those before ended. A page of another version means that the record was changed
    /// meanwhile, and its halves do not belong together.
    pub fn add(&mut self, page: Page, most_bytes: usize) -> Result<(), FetchError> {
        if page.etag != self.etag || page.seal != self.seal {
            return Err(FetchError::Moved);
        }
        self.bytes = self.bytes.saturating_add(page.bytes);
        if self.bytes > most_bytes {
            return Err(FetchError::AnswerTooLarge { limit: most_bytes });
        }
        for (name, value) in page.fields {
            match (self.fields.get_mut(&name), value) {
                (Some(Value::Array(items)), Value::Array(more)) => items.extend(more),
                (Some(known), value) if *known == value => {}
                (Some(_), _) => return Err(FetchError::NotRecord),
                (None, value) => {
                    self.fields.insert(name, value);
                }
            }
        }
        self.digests.push(page.digest);
        self.next = page.next;
        Ok(())
    }

    /// The whole record, and the digest of what was signed: of one page its own, of several that of their digests in order.
    pub fn into_whole(self) -> (Map<String, Value>, Sha256, Identity) {
        let digest = match self.digests.as_slice() {
            [only] => *only,
            all => {
                Sha256::of_parts(&all.iter().map(|digest| digest.as_bytes().as_slice()).collect::<Vec<_>>())
            }
        };
        (self.fields, digest, self.seal)
    }
}

/// Fresh identifiers for the tokens of a later page: each is used once.
pub fn jtis(of: &Jtis, page: u16) -> Jtis {
    let later = |id: &TokenId| {
        let text = format!("{id}-{page}");
        text.parse().unwrap_or_else(|_| id.clone())
    };
    if page == 1 {
        return of.clone();
    }
    Jtis {
        authorization: later(&of.authorization),
        signature: later(&of.signature),
        evidence: later(&of.evidence),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(fields: Value, next: Option<&str>, etag: &str) -> Page {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        let hash = Sha256::of(b"seal");
        Page {
            fields,
            next: next.map(str::to_owned),
            etag: Some(etag.to_owned()),
            digest: Sha256::of(etag.as_bytes()),
            seal: Identity { certificate: hash, key: hash, organization: None },
            bytes: 100,
        }
    }

    #[test]
    fn lists_go_on_and_single_fields_come_once() {
        let mut pages = Pages::first(page(json!({"a": "x", "l": [1, 2]}), Some("p2"), "\"1\""));
        assert_eq!(pages.next(), Some("p2"));
        pages.add(page(json!({"a": "x", "l": [3], "b": true}), None, "\"1\""), 1000).unwrap();
        assert_eq!(pages.next(), None);
        let (fields, digest, _) = pages.into_whole();
        assert_eq!(Value::Object(fields), json!({"a": "x", "l": [1, 2, 3], "b": true}));
        let one = Sha256::of(b"\"1\"");
        assert_eq!(digest, Sha256::of_parts(&[one.as_bytes(), one.as_bytes()]));
    }

    #[test]
    fn pages_of_two_versions_or_that_contradict_or_are_too_many_bytes_are_no_record() {
        let first = || Pages::first(page(json!({"a": "x", "l": [1]}), Some("p2"), "\"1\""));
        let other = first().add(page(json!({"l": [2]}), None, "\"2\""), 1000);
        assert!(matches!(other, Err(FetchError::Moved)));
        let contradicting = first().add(page(json!({"a": "y"}), None, "\"1\""), 1000);
        assert!(matches!(contradicting, Err(FetchError::NotRecord)));
        let large = first().add(page(json!({"l": [2]}), None, "\"1\""), 150);
        assert!(matches!(large, Err(FetchError::AnswerTooLarge { limit: 150 })));
    }

    #[test]
    fn no_token_is_used_twice() {
        let id = |text: &str| text.parse().unwrap();
        let of = Jtis { authorization: id("a"), signature: id("b"), evidence: id("c") };
        let all: Vec<String> = (1..=3)
            .flat_map(|page| {
                let jtis = jtis(&of, page);
                [jtis.authorization, jtis.signature, jtis.evidence].map(|id| id.to_string())
            })
            .collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), 9, "{all:?}");
    }
}

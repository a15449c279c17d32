//! Documents that were read and replayed once, kept in memory.
//!
//! A document at an epoch never changes: each change makes the next epoch. So what is kept here is true for ever, and
//! only whether it is still the newest is a question; the claim's own transaction answers it for each exchange.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use varco_core::appeal::Appeal;
use varco_core::case::Case;
use varco_core::consent::Consent;
use varco_core::restriction::Restrictions;
use varco_store::submission::StreamEpoch;

/// Bytes of text whose documents are kept, counted for each half. Replayed they take some three times as much: 24 MiB for
/// some thousand people.
const HALF_MAX: usize = 4 * 1024 * 1024;

/// A document on which a decision can rest.
#[derive(Clone, Debug)]
pub enum Document {
    Appeal(Appeal),
    Case(Case),
    Consent(Consent),
    Restrictions(Restrictions),
}

/// What is kept, in two halves: when the young one is full it becomes the old one, and what nobody asked for since then is
/// forgotten with the old one.
#[derive(Default)]
pub struct Documents(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    young: Half,
    old: Half,
}

#[derive(Default)]
struct Half {
    kept: HashMap<String, Kept>,
    bytes: usize,
}

struct Kept {
    epoch: u64,
    /// Length of the text it was read from.
    bytes: usize,
    document: Document,
}

impl Documents {
    /// A document as it is at this epoch.
    pub fn at(&self, head: &StreamEpoch) -> Option<Document> {
        let mut halves = self.halves();
        if let Some(kept) = halves.young.kept.get(&head.stream) {
            return (kept.epoch == head.epoch).then(|| kept.document.clone());
        }
        let kept = halves.old.kept.remove(&head.stream).filter(|kept| kept.epoch == head.epoch)?;
        let document = kept.document.clone();
        halves.keep(head.stream.clone(), kept);
        Some(document)
    }

    /// Keeps a document that was read from so many bytes of text, unless a newer one is there.
    pub fn keep(&self, head: StreamEpoch, bytes: usize, document: Document) {
        let mut halves = self.halves();
        if halves.young.kept.get(&head.stream).is_none_or(|kept| kept.epoch < head.epoch) {
            halves.keep(head.stream, Kept { epoch: head.epoch, bytes, document });
        }
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halves {
    fn keep(&mut self, stream: String, kept: Kept) {
        if self.young.bytes.saturating_add(kept.bytes) > HALF_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes = self.young.bytes.saturating_add(kept.bytes);
        if let Some(replaced) = self.young.kept.insert(stream, kept) {
            self.young.bytes = self.young.bytes.saturating_sub(replaced.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use varco_core::id::Pseudonym;

    use super::*;

    fn head(stream: &str, epoch: u64) -> StreamEpoch {
        StreamEpoch { stream: stream.to_owned(), epoch }
    }

    fn document() -> Document {
        let subject: Pseudonym = "s1.abcdefghijklmnopqrstuvwxyz".parse().unwrap();
        Document::Restrictions(Restrictions::none(subject))
    }

    #[test]
    fn a_document_is_found_at_its_own_epoch_only() {
        let documents = Documents::default();
        documents.keep(head("a", 2), 100, document());
        assert!(documents.at(&head("a", 2)).is_some());
        assert!(documents.at(&head("a", 3)).is_none() && documents.at(&head("a", 1)).is_none());
        documents.keep(head("a", 1), 100, document());
        assert!(documents.at(&head("a", 2)).is_some(), "an older reading came later");
        documents.keep(head("a", 3), 100, document());
        assert!(documents.at(&head("a", 3)).is_some() && documents.at(&head("a", 2)).is_none());
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_first_and_the_memory_stays_bounded() {
        let documents = Documents::default();
        let each = HALF_MAX / 10;
        documents.keep(head("asked", 1), each, document());
        for n in 0..100 {
            documents.keep(head(&n.to_string(), 1), each, document());
            assert!(documents.at(&head("asked", 1)).is_some());
            let halves = documents.halves();
            assert!(halves.young.kept.len() <= 10 && halves.old.kept.len() <= 10);
            assert!(halves.young.bytes <= HALF_MAX && halves.old.bytes <= HALF_MAX);
        }
        assert!(documents.at(&head("0", 1)).is_none());
    }
}

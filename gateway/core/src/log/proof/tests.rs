use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::log::leaf::tests::disclosure;
use crate::log::note::tests::ToyKey;
use crate::log::note::{KeyId, NoteFault, NoteSigner};
use crate::log::tree::Frontier;
use crate::time::Timestamp;

const ORIGIN: &str = "varco.example/access-log/2026";

/// A log of `before` entries to which `count` are added: the receipts of the added ones.
fn receipts(before: u64, count: u8) -> Vec<Receipt> {
    let mut frontier = Frontier::new();
    for i in 0..before {
        frontier.push(Sha256::of(&i.to_be_bytes()));
    }
    let at = Timestamp::from_millis(1_772_440_867_120);
    let leaves: Vec<_> = (0..count).map(|n| disclosure(n).leaf(before + u64::from(n), at)).collect();
    let batch = frontier.append(&leaves.iter().map(Leaf::hash).collect::<Vec<_>>());
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: batch.size(), root: frontier.root() };
    let note: Arc<str> = checkpoint.sign(&[&ToyKey::new(ORIGIN, 1)]).unwrap().to_string().into();
    let receipt = |(i, leaf): (usize, Leaf)| Receipt {
        proof: Proof { index: leaf.index(), path: batch.path(i).unwrap(), checkpoint: note.clone() },
        leaf,
    };
    leaves.into_iter().enumerate().map(receipt).collect()
}

/// Counts how often a signature is checked.
struct Counting(ToyKey, AtomicUsize);

impl NoteVerifier for Counting {
    fn name(&self) -> &str {
        NoteSigner::name(&self.0)
    }

    fn key_id(&self) -> KeyId {
        NoteSigner::key_id(&self.0)
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.verify(text, signature)
    }

    fn renamed(&self, _: &str) -> Option<Box<dyn NoteVerifier>> {
        None
    }
}

fn verifier() -> LogVerifier {
    LogVerifier::new(ORIGIN.to_owned(), vec![Arc::new(ToyKey::new(ORIGIN, 1))])
}

#[test]
fn every_receipt_of_a_batch_verifies_and_reads_back() {
    let verifier = verifier();
    for (before, count) in [(0, 1), (0, 5), (1, 1), (7, 3), (200, 100)] {
        for receipt in receipts(before, count) {
            verifier.check(&receipt).unwrap();
            assert_eq!(Receipt::parse(receipt.to_text().as_bytes()), Ok(receipt));
        }
    }
}

#[test]
fn the_receipts_of_a_batch_cost_one_signature_check() {
    let key = Arc::new(Counting(ToyKey::new(ORIGIN, 1), AtomicUsize::new(0)));
    let verifier = LogVerifier::new(ORIGIN.to_owned(), vec![key.clone()]);
    for _ in 0..3 {
        for receipt in receipts(9, 50) {
            verifier.check(&receipt).unwrap();
        }
    }
    assert_eq!(key.1.load(Ordering::Relaxed), 1);
    for before in 0..40 {
        verifier.check(&receipts(before, 1)[0]).unwrap();
    }
    assert_eq!(verifier.verified.lock().unwrap().len(), LogVerifier::REMEMBERED);
}

#[test]
fn a_receipt_proves_its_own_entry_only() {
    let (verifier, receipts) = (verifier(), receipts(9, 4));
    let swapped = Receipt { leaf: receipts[1].leaf.clone(), ..receipts[0].clone() };
    assert_eq!(verifier.check(&swapped), Err(ProofFault::Path(PathFault::RootDiffers)));
    // Years before may have had entries, so that an entry's index is never smaller than its place.
    let swapped = Receipt { leaf: receipts[0].leaf.clone(), ..receipts[1].clone() };
    assert_eq!(verifier.check(&swapped), Err(ProofFault::IndexDiffers));
    let mut forged = disclosure(77).leaf(receipts[0].leaf.index(), receipts[0].leaf.at());
    let fault = verifier.check(&Receipt { leaf: forged.clone(), ..receipts[0].clone() });
    assert_eq!(fault, Err(ProofFault::Path(PathFault::RootDiffers)));
    forged = disclosure(0).leaf(500, receipts[0].leaf.at());
    let proof = Proof { index: 500, ..receipts[0].proof.clone() };
    let fault = verifier.check(&Receipt { leaf: forged, proof });
    assert_eq!(fault, Err(ProofFault::Path(PathFault::OutOfRange)));
}

#[test]
fn another_log_and_another_key_prove_nothing() {
    let receipt = &receipts(3, 1)[0];
    let other_key = LogVerifier::new(ORIGIN.to_owned(), vec![Arc::new(ToyKey::new(ORIGIN, 2))]);
    assert_eq!(other_key.check(receipt), Err(CheckpointFault::Note(NoteFault::Unsigned).into()));
    let other_log = LogVerifier::new("another".to_owned(), vec![Arc::new(ToyKey::new(ORIGIN, 1))]);
    assert_eq!(other_log.check(receipt), Err(CheckpointFault::OtherLog(ORIGIN.to_owned()).into()));
}

#[test]
fn a_receipt_from_a_log_of_millions_is_under_two_kibibytes() {
    let mut receipt = receipts(100, 1).remove(0);
    // A path as long as that of a tree of 2^20 entries.
    receipt.proof.path = vec![Sha256::of(b"sibling"); 20];
    assert!(receipt.to_text().len() < 2048, "{}", receipt.to_text().len());
}

#[test]
fn texts_of_another_form_are_refused() {
    let good = receipts(9, 1)[0].to_text();
    for (from, to) in [
        ("tlog-proof@v1", "tlog-proof@v2"),
        ("tlog-proof@v1\n", "tlog-proof@v1 \n"),
        ("extra ", "extra  "),
        ("extra ", "Extra "),
        ("index 9", "index 09"),
        ("index 9", "index -9"),
        ("index 9", "index 9 "),
        ("\nindex 9", ""),
        ("=\n\n", "=\n"),
        ("=\n\n", "=\n\n\n"),
        ("=\n\n", "\n\n"),
        ("\n— ", "\n- "),
    ] {
        assert!(good.contains(from), "{from:?}");
        assert!(Receipt::parse(good.replacen(from, to, 1).as_bytes()).is_err(), "{from:?} -> {to:?}");
    }
    assert_eq!(Receipt::parse(&vec![b'a'; Receipt::MAX + 1]), Err(ProofFault::TooLarge));
}

proptest! {
    #[test]
    fn no_bytes_make_the_receipt_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Receipt::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let receipt = receipts(9, 1).remove(0);
        let mut bytes = receipt.to_text().into_bytes();
        let position = at.index(bytes.len());
        bytes[position] ^= 1 << bit;
        let accepted = Receipt::parse(&bytes).and_then(|other| verifier().check(&other));
        prop_assert!(accepted.is_err(), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_shortened_receipt_is_refused(cut in any::<prop::sample::Index>()) {
        let text = receipts(9, 1)[0].to_text();
        let mut end = cut.index(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let accepted = Receipt::parse(&text.as_bytes()[..end]).and_then(|other| verifier().check(&other));
        prop_assert!(accepted.is_err());
    }
}

use proptest::prelude::*;

use super::*;

/// A key for tests of form: signs with a hash, so whoever checks could sign as well. Real keys are in `varco-jose`.
#[derive(Debug)]
pub struct ToyKey {
    pub name: String,
    pub secret: u8,
}

impl ToyKey {
    pub fn new(name: &str, secret: u8) -> Self {
        Self { name: name.to_owned(), secret }
    }

    fn mac(&self, text: &[u8]) -> Sha256 {
        Sha256::of_parts(&[&[self.secret], text])
    }
}

impl NoteSigner for ToyKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> KeyId {
        key_id(&self.name, 0xff, &[self.secret])
    }

    /// As long as an Ed25519 signature.
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SignFault> {
        Ok(self.mac(text).as_bytes().repeat(2))
    }

    fn renamed(&self, name: &str) -> Option<Box<dyn NoteSigner>> {
        Some(Box::new(Self::new(name, self.secret)))
    }
}

impl NoteVerifier for ToyKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> KeyId {
        NoteSigner::key_id(self)
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        signature == self.mac(text).as_bytes().repeat(2)
    }

    fn renamed(&self, name: &str) -> Option<Box<dyn NoteVerifier>> {
        Some(Box::new(Self::new(name, self.secret)))
    }
}

/// The note and key that the Go implementation documents.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NOTE: &str = concat!(
    "If you think cryptography is the answer to your problem,\n",
    "then you don't know what your problem is.\n",
    "\n",
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
);

#[test]
fn the_documented_note_and_key_are_read_and_printed() {
    let key: VerifierKey = KEY.parse().unwrap();
    assert_eq!((key.name(), key.algorithm(), key.public().len()), ("PeterNeumann", ED25519, 32));
    assert_eq!(key.to_string(), KEY);
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.to_string(), NOTE);
    assert!(note.text().ends_with("problem is.\n"));
    assert_eq!(note.signatures()[0].key_id(), key.key_id());
    assert_eq!(note.signatures()[0].bytes().len(), 64);
}

#[test]
fn a_verifier_key_that_contradicts_itself_is_refused() {
    for (text, fault) in [
        (KEY.replace("c74f20a3", "c74f20a4"), VerifierKeyFault::Identifier),
        (KEY.replace("c74f20a3", "C74F20A3"), VerifierKeyFault::Identifier),
        (KEY.replace("PeterN", "Peter N"), VerifierKeyFault::Name),
        (KEY.replace("PeterNeumann", ""), VerifierKeyFault::Name),
        (KEY.replace("PeterNeumann", "Paul"), VerifierKeyFault::Identifier),
        ("PeterNeumann+c74f20a3".to_owned(), VerifierKeyFault::Form),
        ("PeterNeumann+c74f20a3+".to_owned(), VerifierKeyFault::Form),
        ("PeterNeumann+c74f20a3+*".to_owned(), VerifierKeyFault::Form),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(fault), "{text}");
    }
}

#[test]
fn a_text_may_have_empty_lines_and_the_last_one_separates() {
    let key = ToyKey::new("quasimodo.example/salvatore", 1);
    let text = "Ognuno sta solo sul cuor della terra\n\ned è subito sera.\n";
    let note = Note::sign(text, &[&key]).unwrap();
    let read = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!((read.text(), &read), (text, &note));
    assert_eq!(read.verify(&[&key]), Ok(vec![0]));
}

#[test]
fn unknown_keys_are_ignored_and_a_known_key_must_be_right() {
    let (log, witness, other) = (ToyKey::new("log", 1), ToyKey::new("witness", 2), ToyKey::new("other", 3));
    let note = Note::sign("text\n", &[&log, &other, &witness]).unwrap();
    assert_eq!(note.verify(&[&witness, &log]), Ok(vec![1, 0]));
    assert_eq!(note.verify(&[]), Err(NoteFault::Unsigned));
    // The same name with another key is another key.
    assert_eq!(note.verify(&[&ToyKey::new("log", 9)]), Err(NoteFault::Unsigned));
    // A known key's wrong signature spoils the note, whoever else has signed.
    let spoiled = note.to_string().replacen("text", "test", 1);
    let spoiled = Note::parse(spoiled.as_bytes()).unwrap();
    assert_eq!(spoiled.verify(&[&witness]), Err(NoteFault::SignatureWrong("witness".to_owned())));
    assert_eq!(spoiled.verify(&[&ToyKey::new("nobody", 9)]), Err(NoteFault::Unsigned));
}

#[test]
fn a_key_that_signs_twice_counts_once() {
    let log = ToyKey::new("log", 1);
    assert_eq!(Note::sign("text\n", &[&log, &log]).unwrap().verify(&[&log]), Ok(vec![0]));
}

#[test]
fn sixteen_signatures_are_accepted_and_a_flood_is_not() {
    let key = ToyKey::new("k", 1);
    let sixteen = Note::sign("t\n", &vec![&key as &dyn NoteSigner; 16]).unwrap();
    assert_eq!(Note::parse(sixteen.to_string().as_bytes()), Ok(sixteen));
    assert_eq!(Note::sign("t\n", &vec![&key as &dyn NoteSigner; 33]), Err(SignError::Malformed));
    let line = Note::sign("t\n", &[&key]).unwrap().signatures()[0].to_string();
    let flood = format!("t\n\n{}", line.repeat(33));
    assert_eq!(Note::parse(flood.as_bytes()), Err(NoteFault::TooLarge));
    assert_eq!(Note::parse(&vec![b'a'; NOTE_MAX + 1]), Err(NoteFault::TooLarge));
}

#[test]
fn notes_of_another_form_are_refused() {
    for wrong in [
        "",
        "\n",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n\n\n",
        "text\n\n— log AAAAAAA=",
        "text\n\n- log AAAAAAA=\n",
        "text\n\n—log AAAAAAA=\n",
        "text\n\n— log  AAAAAAA=\n",
        "text\n\n— log AAAAAA==\n",
        "text\n\n— log AAAAAAA\n",
        "text\n\n— l+g AAAAAAA=\n",
        "text\n\n—  AAAAAAA=\n",
        "text\r\n\n— log AAAAAAA=\n",
        "te\txt\n\n— log AAAAAAA=\n",
        "text\n\n— log AAAAAAA=\n\n",
        "text\n\n— log AAAAAAA=\nmore\n",
    ] {
        assert_eq!(Note::parse(wrong.as_bytes()), Err(NoteFault::Malformed), "{wrong:?}");
    }
    assert!(Note::parse("text\n\n— log AAAAAAA=\n".as_bytes()).is_ok());
    assert_eq!(Note::parse(b"te\xff\n\n"), Err(NoteFault::Malformed));
    assert_eq!(Note::sign("no newline", &[&ToyKey::new("k", 1)]), Err(SignError::Malformed));
    assert_eq!(Note::sign("t\n", &[&ToyKey::new("a b", 1)]), Err(SignError::Malformed));
    assert_eq!(Note::sign("t\n", &[]), Err(SignError::Malformed));
}

proptest! {
    #[test]
    fn no_bytes_make_the_note_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Note::parse(&bytes);
    }

    #[test]
    fn what_is_read_is_printed_again(text in "[a-z \n]{0,9}\n(\n|)(— [a-z]{1,3} (AAAAAAA=|AAAAAAAA|AAAA)\n){0,3}") {
        if let Ok(note) = Note::parse(text.as_bytes()) {
            prop_assert_eq!(note.to_string(), text);
        }
    }

    #[test]
    fn any_text_a_note_can_hold_reads_back(text in "[^\\x00-\\x1f]{0,40}\n", name in "[^\\s\\p{C}+]{1,9}", secret in any::<u8>()) {
        let key = ToyKey::new(&name, secret);
        let note = Note::sign(&text, &[&key]).unwrap();
        let read = Note::parse(note.to_string().as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&note));
        prop_assert_eq!(note.verify(&[&key]), Ok(vec![0]));
    }

    #[test]
    fn a_changed_byte_is_never_believed(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let (log, text) = (ToyKey::new("log", 1), "example.org/log\n7\nAAAA\n");
        let mut bytes = Note::sign(text, &[&log]).unwrap().to_string().into_bytes();
        let position = at.index(bytes.len());
        bytes[position] ^= 1 << bit;
        let believed = Note::parse(&bytes).and_then(|note| note.verify(&[&log]).map(|_| note));
        prop_assert!(believed.is_err());
    }
}

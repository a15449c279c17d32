//! What `varco log` says, in Italian and in English. Codes for programs are in neither.

use varco_core::log::audit::{HeadVerdict, Verdict};
use varco_core::log::checkpoint::CheckpointFault;
use varco_core::log::entry::{Kind, SlotName};
use varco_core::log::note::NoteFault;
use varco_core::log::proof::ProofFault;

use crate::cli::language::Language;

pub const fn kind(lang: Language, kind: Kind) -> &'static str {
    match kind {
        Kind::Admin => lang.choose("amministrazione", "administration"),
        Kind::Case => lang.choose("presa in carico", "case"),
        Kind::Consent => lang.choose("consenso", "consent"),
        Kind::Correction => lang.choose("rettifica", "correction"),
        Kind::Delivery => lang.choose("consegna", "delivery"),
        Kind::Denial => lang.choose("diniego", "denial"),
        Kind::Disclosure => lang.choose("comunicazione", "disclosure"),
        Kind::Erasure => lang.choose("ordine di cancellazione", "order to erase"),
        Kind::Failure => lang.choose("errore", "failure"),
        Kind::Freeze => lang.choose("chiusura del registro", "closing of the log"),
        Kind::Interrupted => lang.choose("scambio interrotto", "interrupted exchange"),
        Kind::Open => lang.choose("apertura del registro", "opening of the log"),
        Kind::Policy => lang.choose("regole", "policy"),
        Kind::Prune => lang.choose("scarto per fine conservazione", "end of retention"),
        Kind::Read => lang.choose("lettura del registro", "reading of the log"),
        Kind::Registry => lang.choose("anagrafe degli enti", "registry"),
    }
}

pub const fn slot(lang: Language, name: SlotName) -> &'static str {
    match name {
        SlotName::Decision => lang.choose("decisione", "decision"),
        SlotName::Operator => lang.choose("operatore", "operator"),
        SlotName::Subject => lang.choose("interessato", "subject"),
    }
}

pub fn verdict(lang: Language, verdict: Verdict) -> String {
    match verdict {
        Verdict::BodyTampered(name) => {
            let what = lang.choose("ALTERATA la parte", "body ALTERED:");
            format!("{what} {}", slot(lang, name))
        }
        Verdict::ErasedByOrder(at) => {
            format!("{} {at}", lang.choose("cancellata per ordine della voce", "erased by order of entry"))
        }
        Verdict::PrunedByOrder(at) => {
            format!(
                "{} {at}",
                lang.choose(
                    "non più fornita, per ordine della voce",
                    "not served any more, by order of entry"
                )
            )
        }
        Verdict::ErasedWithoutOrder(name) => {
            let what = lang.choose("MANCA, senza un ordine, la parte", "body GONE without an order:");
            format!("{what} {}", slot(lang, name))
        }
        Verdict::LeafTampered => {
            lang.choose("ALTERATA: non è quanto fu registrato", "ALTERED: not what was logged").to_owned()
        }
        Verdict::Missing => lang.choose("MANCANTE", "MISSING").to_owned(),
        Verdict::Ok => lang.choose("integra", "intact").to_owned(),
    }
}

/// The stable code of a verdict, for `--json`.
pub const fn verdict_code(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::BodyTampered(_) => "body-tampered",
        Verdict::ErasedByOrder(_) => "erased-by-order",
        Verdict::PrunedByOrder(_) => "pruned-by-order",
        Verdict::ErasedWithoutOrder(_) => "erased-without-order",
        Verdict::LeafTampered => "leaf-tampered",
        Verdict::Missing => "missing",
        Verdict::Ok => "ok",
    }
}

pub const fn head(lang: Language, verdict: HeadVerdict) -> &'static str {
    match verdict {
        HeadVerdict::Beyond => lang.choose(
            "NON REGGE: attesta più voci di quante ce ne sono",
            "DOES NOT HOLD: it speaks of more entries than there are",
        ),
        HeadVerdict::Differs(_) => lang.choose(
            "NON REGGE: le voci danno un'altra radice",
            "DOES NOT HOLD: the entries give another root",
        ),
        HeadVerdict::Ok => lang.choose("regge", "holds"),
        HeadVerdict::Unknown => lang.choose(
            "NON VERIFICABILE: prima mancano delle voci",
            "CANNOT BE CHECKED: entries before it are missing",
        ),
    }
}

/// The stable code of what a head is worth, for `--json`.
pub const fn head_code(verdict: HeadVerdict) -> &'static str {
    match verdict {
        HeadVerdict::Beyond => "beyond",
        HeadVerdict::Differs(_) => "differs",
        HeadVerdict::Ok => "ok",
        HeadVerdict::Unknown => "unknown",
    }
}

pub fn checkpoint(lang: Language, fault: &CheckpointFault) -> String {
    match fault {
        CheckpointFault::Malformed => {
            lang.choose("il testo non è un punto di controllo", "the text is not a checkpoint").to_owned()
        }
        CheckpointFault::Note(fault) => note(lang, fault),
        CheckpointFault::OtherLog(origin) => {
            let what = lang.choose("riguarda un altro registro", "it is about another log");
            format!("{what}: `{origin}`")
        }
    }
}

fn note(lang: Language, fault: &NoteFault) -> String {
    match fault {
        NoteFault::Malformed => {
            lang.choose("il testo non è una nota firmata", "the text is not a signed note").to_owned()
        }
        NoteFault::SignatureWrong(key) => {
            let what = lang.choose("la firma della chiave non è valida", "the signature of the key is wrong");
            format!("{what}: `{key}`")
        }
        NoteFault::TooLarge => lang.choose("la nota è troppo grande", "the note is too large").to_owned(),
        NoteFault::Unsigned => lang
            .choose("nessuna delle chiavi indicate l'ha firmato", "none of the given keys has signed it")
            .to_owned(),
    }
}

pub fn proof(lang: Language, fault: &ProofFault) -> String {
    match fault {
        ProofFault::Checkpoint(fault) => checkpoint(lang, fault),
        ProofFault::IndexDiffers => lang
            .choose(
                "la voce ha un altro numero di quello provato",
                "the entry is at another index than is proved",
            )
            .to_owned(),
        ProofFault::Leaf(_) | ProofFault::Malformed => {
            lang.choose("il testo non è una ricevuta", "the text is not a receipt").to_owned()
        }
        ProofFault::Path(_) => lang
            .choose("la voce non è nel registro a quel numero", "the entry is not in the log at that index")
            .to_owned(),
        ProofFault::TooLarge => {
            lang.choose("la ricevuta è troppo grande", "the receipt is too large").to_owned()
        }
    }
}

/// The stable code of why a receipt does not hold, for `--json`.
pub const fn proof_code(fault: &ProofFault) -> &'static str {
    match fault {
        ProofFault::Checkpoint(_) => "checkpoint",
        ProofFault::IndexDiffers => "index-differs",
        ProofFault::Leaf(_) => "leaf",
        ProofFault::Malformed => "malformed",
        ProofFault::Path(_) => "path",
        ProofFault::TooLarge => "too-large",
    }
}

/// `12.345` in Italian, `12,345` in English.
pub fn number(lang: Language, n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push_str(lang.choose(".", ","));
        }
        text.push(digit);
    }
    text
}

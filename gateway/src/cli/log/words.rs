//! What `varco log` says, in Italian and in English. Codes for programs are in neither.

use varco_core::log::audit::{HeadVerdict, Verdict};
use varco_core::log::checkpoint::CheckpointFault;
use varco_core::log::entry::{Kind, SlotName};
use varco_core::log::note::NoteFault;
use varco_core::log::proof::ProofFault;

/// The language of what people read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Lang {
    #[default]
    It,
    En,
}

impl Lang {
    /// The one of the two texts that is in this language.
    pub const fn of<'a>(self, it: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::It => it,
            Self::En => en,
        }
    }
}

pub const fn kind(lang: Lang, kind: Kind) -> &'static str {
    match kind {
        Kind::Admin => lang.of("amministrazione", "administration"),
        Kind::Case => lang.of("presa in carico", "case"),
        Kind::Consent => lang.of("consenso", "consent"),
        Kind::Correction => lang.of("rettifica", "correction"),
        Kind::Delivery => lang.of("consegna", "delivery"),
        Kind::Denial => lang.of("diniego", "denial"),
        Kind::Disclosure => lang.of("comunicazione", "disclosure"),
        Kind::Erasure => lang.of("ordine di cancellazione", "order to erase"),
        Kind::Failure => lang.of("errore", "failure"),
        Kind::Freeze => lang.of("chiusura del registro", "closing of the log"),
        Kind::Interrupted => lang.of("scambio interrotto", "interrupted exchange"),
        Kind::Open => lang.of("apertura del registro", "opening of the log"),
        Kind::Policy => lang.of("regole", "policy"),
        Kind::Prune => lang.of("scarto per fine conservazione", "end of retention"),
        Kind::Read => lang.of("lettura del registro", "reading of the log"),
        Kind::Registry => lang.of("anagrafe degli enti", "registry"),
    }
}

pub const fn slot(lang: Lang, name: SlotName) -> &'static str {
    match name {
        SlotName::Decision => lang.of("decisione", "decision"),
        SlotName::Operator => lang.of("operatore", "operator"),
        SlotName::Subject => lang.of("interessato", "subject"),
    }
}

pub fn verdict(lang: Lang, verdict: Verdict) -> String {
    match verdict {
        Verdict::BodyTampered(name) => {
            let what = lang.of("ALTERATA la parte", "body ALTERED:");
            format!("{what} {}", slot(lang, name))
        }
        Verdict::ErasedByOrder(at) => {
            format!("{} {at}", lang.of("cancellata per ordine della voce", "erased by order of entry"))
        }
        Verdict::PrunedByOrder(at) => {
            format!(
                "{} {at}",
                lang.of("non più fornita, per ordine della voce", "not served any more, by order of entry")
            )
        }
        Verdict::ErasedWithoutOrder(name) => {
            let what = lang.of("MANCA, senza un ordine, la parte", "body GONE without an order:");
            format!("{what} {}", slot(lang, name))
        }
        Verdict::LeafTampered => {
            lang.of("ALTERATA: non è quanto fu registrato", "ALTERED: not what was logged").to_owned()
        }
        Verdict::Missing => lang.of("MANCANTE", "MISSING").to_owned(),
        Verdict::Ok => lang.of("integra", "intact").to_owned(),
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

pub const fn head(lang: Lang, verdict: HeadVerdict) -> &'static str {
    match verdict {
        HeadVerdict::Beyond => lang.of(
            "NON REGGE: attesta più voci di quante ce ne sono",
            "DOES NOT HOLD: it speaks of more entries than there are",
        ),
        HeadVerdict::Differs(_) => lang
            .of("NON REGGE: le voci danno un'altra radice", "DOES NOT HOLD: the entries give another root"),
        HeadVerdict::Ok => lang.of("regge", "holds"),
        HeadVerdict::Unknown => lang.of(
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

pub fn checkpoint(lang: Lang, fault: &CheckpointFault) -> String {
    match fault {
        CheckpointFault::Malformed => {
            lang.of("il testo non è un punto di controllo", "the text is not a checkpoint").to_owned()
        }
        CheckpointFault::Note(fault) => note(lang, fault),
        CheckpointFault::OtherLog(origin) => {
            let what = lang.of("riguarda un altro registro", "it is about another log");
            format!("{what}: `{origin}`")
        }
    }
}

fn note(lang: Lang, fault: &NoteFault) -> String {
    match fault {
        NoteFault::Malformed => {
            lang.of("il testo non è una nota firmata", "the text is not a signed note").to_owned()
        }
        NoteFault::SignatureWrong(key) => {
            let what = lang.of("la firma della chiave non è valida", "the signature of the key is wrong");
            format!("{what}: `{key}`")
        }
        NoteFault::TooLarge => lang.of("la nota è troppo grande", "the note is too large").to_owned(),
        NoteFault::Unsigned => lang
            .of("nessuna delle chiavi indicate l'ha firmato", "none of the given keys has signed it")
            .to_owned(),
    }
}

pub fn proof(lang: Lang, fault: &ProofFault) -> String {
    match fault {
        ProofFault::Checkpoint(fault) => checkpoint(lang, fault),
        ProofFault::IndexDiffers => lang
            .of(
                "la voce ha un altro numero di quello provato",
                "the entry is at another index than is proved",
            )
            .to_owned(),
        ProofFault::Leaf(_) | ProofFault::Malformed => {
            lang.of("il testo non è una ricevuta", "the text is not a receipt").to_owned()
        }
        ProofFault::Path(_) => lang
            .of("la voce non è nel registro a quel numero", "the entry is not in the log at that index")
            .to_owned(),
        ProofFault::TooLarge => lang.of("la ricevuta è troppo grande", "the receipt is too large").to_owned(),
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
pub fn number(lang: Lang, n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push_str(lang.of(".", ","));
        }
        text.push(digit);
    }
    text
}

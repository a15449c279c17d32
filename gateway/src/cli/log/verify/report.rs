//! How the outcome of `varco log verify` is told: to people and, with `--json`, to programs.

use std::fmt::Write as _;

use serde_json::{Value, json};
use varco_core::log::audit::{Finding, HeadVerdict, Verdict};
use varco_core::log::shard::are_kin;
use varco_core::log::tree::Head;

use super::{Claim, Language, Outcome, Reach, Source, Stamps, Tree, Worth, words};

/// More findings than this are only counted: nobody reads on, and `--json` has them all.
const SHOWN: usize = 20;

pub fn json(outcome: &Outcome) -> Value {
    let report = &outcome.report;
    let kinds: serde_json::Map<String, Value> =
        report.kinds.iter().map(|(kind, count)| (kind.text().to_owned(), json!(count))).collect();
    json!({
        "sound": outcome.is_sound(),
        "entries_checked": outcome.reach == Reach::Entries,
        "origin": outcome.origin,
        "database": {
            "origin": outcome.head.origin,
            "size": outcome.head.size,
            "root": outcome.head.root.base64(),
            "first": outcome.head.first,
            "verdict": words::head_code(outcome.verdict(&own(outcome))),
        },
        "first": outcome.part.start,
        "end": outcome.part.end,
        "size": report.size,
        "root": report.root.map(|root| root.base64()),
        "signed_size": outcome.covered(),
        "intact": report.intact,
        "bodies_unread": report.unread,
        "bodies_checked": outcome.reach == Reach::Entries && report.unread == 0,
        "passes": outcome.passes(),
        "time_stamps": {
            "of_this_log": outcome.stamps.fitting,
            "wrong": outcome.stamps.wrong,
            "signatures_checked": false,
        },
        "kinds": kinds,
        "last_at": report.last_at,
        "claims": outcome.claims.iter().map(|claim| claim_json(outcome, claim)).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "officer_signed": outcome.officer,
        "back_in_time": report.back_in_time,
        "shards": outcome.shards.iter().map(shard_json).collect::<Vec<_>>(),
        "broken_links": report.broken_links,
        "wrong_tiles": outcome.tiles.as_ref().map(|tiles| tiles.iter().map(ToString::to_string).collect::<Vec<_>>()),
    })
}

fn shard_json(tree: &Tree) -> Value {
    let head = tree.head;
    json!({
        "origin": tree.shard.origin,
        "first": tree.shard.first,
        "size": head.map(|head| head.size),
        "root": head.map(|head| head.root.base64()),
    })
}

fn claim_json(outcome: &Outcome, claim: &Claim) -> Value {
    let source = match claim.source {
        Source::Anchor => "anchor",
        Source::Checkpoint => "checkpoint",
        Source::Receipt => "receipt",
    };
    let verdict = match &claim.worth {
        Worth::Empty => "empty",
        Worth::Head(checkpoint) => words::head_code(outcome.worth(checkpoint)),
        Worth::NotAReceipt(_) => "not-proved",
        Worth::NotSigned(_) => "not-signed",
    };
    json!({ "source": source, "file": claim.path, "size": claim.head().map(|head| head.size), "verdict": verdict })
}

fn finding_json(finding: &Finding) -> Value {
    let (mut slot, mut order) = (None, None);
    match finding.verdict {
        Verdict::BodyTampered(name) | Verdict::ErasedWithoutOrder(name) => slot = Some(name),
        Verdict::ErasedByOrder(at) | Verdict::PrunedByOrder(at) => order = Some(at),
        Verdict::LeafTampered | Verdict::Missing | Verdict::Ok => {}
    }
    json!({
        "first": finding.first,
        "last": finding.last,
        "verdict": words::verdict_code(finding.verdict),
        "slot": slot,
        "order": order,
    })
}

pub fn text(outcome: &Outcome, lang: Language) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(&mut out, outcome, lang);
    out
}

fn write_text(out: &mut String, outcome: &Outcome, lang: Language) -> std::fmt::Result {
    let report = &outcome.report;
    writeln!(out, "{:<10} {}", lang.choose("Registro", "Log"), outcome.head.origin)?;
    if !are_kin(&outcome.origin, &outcome.head.origin) {
        let wrong = lang.choose("NON è quello atteso", "is NOT the expected one");
        writeln!(out, "{:<10} {wrong}: `{}`", "", outcome.origin)?;
    }
    for tree in outcome.shards.iter().filter(|_| outcome.shards.len() > 1) {
        let size = tree.head.map_or(0, |head| head.size);
        let (entries, from) = (lang.choose("voci", "entries"), lang.choose("dalla", "from"));
        let (size, first) = (words::number(lang, size), words::number(lang, tree.shard.first));
        writeln!(out, "{:<10} {}: {size} {entries}, {from} {first}", "", tree.shard.origin)?;
    }
    write!(out, "{:<10} {}", lang.choose("Voci", "Entries"), words::number(lang, report.size))?;
    match report.last_at {
        Some(at) => writeln!(out, ", {} {at}", lang.choose("l'ultima del", "the last of"))?,
        None => writeln!(out)?,
    }
    if outcome.part != (0..outcome.head.size) {
        let (first, last) = (outcome.part.start, outcome.part.end.saturating_sub(1));
        let only = lang.choose("verificate solo le voci", "checked only the entries");
        writeln!(out, "{:<10} {only} {}–{}", "", words::number(lang, first), words::number(lang, last))?;
    }
    for (kind, count) in &report.kinds {
        writeln!(out, "{:<10} {}: {}", "", words::kind(lang, *kind), words::number(lang, *count))?;
    }
    let root = report.root.map_or_else(|| "—".to_owned(), |root| root.base64());
    writeln!(out, "{:<10} {root}", lang.choose("Radice", "Root"))?;
    let own = outcome.verdict(&own(outcome));
    if own != HeadVerdict::Ok {
        writeln!(
            out,
            "{:<10} {}: {}",
            "",
            lang.choose("stato nella base dati", "state in the database"),
            words::head(lang, own)
        )?;
    }
    for claim in &outcome.claims {
        writeln!(out, "{:<10} {}", lang.choose("Firma", "Signature"), claim_text(outcome, claim, lang))?;
    }
    if let Some(signed) = outcome.officer {
        let holds = if signed {
            lang.choose("la firma del responsabile regge", "the officer's signature holds")
        } else {
            lang.choose("la firma del responsabile NON REGGE", "the officer's signature DOES NOT HOLD")
        };
        writeln!(out, "{:<10} {holds}", "")?;
    }
    write_findings(out, outcome, lang)?;
    write_ending(out, outcome, lang)
}

fn claim_text(outcome: &Outcome, claim: &Claim, lang: Language) -> String {
    let source = match claim.source {
        Source::Anchor => lang.choose("àncora", "anchor"),
        Source::Checkpoint => lang.choose("punto di controllo", "checkpoint"),
        Source::Receipt => lang.choose("ricevuta", "receipt"),
    };
    let worth = match &claim.worth {
        Worth::Empty => lang
            .choose("vuota: il registro non ha ancora firmato nulla", "empty: nothing signed yet")
            .to_owned(),
        Worth::Head(checkpoint) => {
            let entries = lang.choose("voci", "entries");
            format!(
                "{} {entries}: {}",
                words::number(lang, checkpoint.size),
                words::head(lang, outcome.worth(checkpoint))
            )
        }
        Worth::NotAReceipt(fault) => words::proof(lang, fault),
        Worth::NotSigned(fault) => words::checkpoint(lang, fault),
    };
    format!("{source} {}: {worth}", claim.path.display())
}

fn write_findings(out: &mut String, outcome: &Outcome, lang: Language) -> std::fmt::Result {
    let report = &outcome.report;
    for finding in report.findings.iter().take(SHOWN) {
        let entries = if finding.first == finding.last {
            format!("{} {}", lang.choose("voce", "entry"), finding.first)
        } else {
            format!("{} {}–{}", lang.choose("voci", "entries"), finding.first, finding.last)
        };
        writeln!(out, "{:<10} {entries}: {}", "", words::verdict(lang, finding.verdict))?;
    }
    if let Some(more) = report.findings.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        writeln!(out, "{:<10} {} {more}", "", lang.choose("altri rilievi:", "further findings:"))?;
    }
    for index in report.back_in_time.iter().take(SHOWN) {
        let what = lang.choose(
            "il suo tempo precede quello della voce prima",
            "its time is before that of the entry before",
        );
        writeln!(out, "{:<10} {} {index}: {what}", "", lang.choose("voce", "entry"))?;
    }
    for position in report.broken_links.iter().take(SHOWN) {
        let what = lang.choose(
            "qui un registro annuale NON continua quello prima",
            "here a year's log does NOT continue the one before",
        );
        writeln!(out, "{:<10} {} {position}: {what}", "", lang.choose("voce", "entry"))?;
    }
    for tile in outcome.tiles.iter().flatten().take(SHOWN) {
        let what = lang.choose("non corrisponde alle voci", "is not what the entries make it");
        writeln!(out, "{:<10} {tile}: {what}", "")?;
    }
    Ok(())
}

fn write_ending(out: &mut String, outcome: &Outcome, lang: Language) -> std::fmt::Result {
    let report = &outcome.report;
    if outcome.reach == Reach::Hashes {
        let only = lang.choose(
            "Verificato l'albero delle impronte; le voci sono leggibili solo da un auditor.",
            "Checked the tree of hashes; entries can be read by auditors only.",
        );
        writeln!(out, "{:<10} {only}", "")?;
    }
    let bodies = lang.choose("voci con tutte le loro parti", "entries with all their bodies");
    let erased = report.count(|verdict| matches!(verdict, Verdict::ErasedByOrder(_)));
    write!(out, "{:<10} {} {bodies}", lang.choose("Corpi", "Bodies"), words::number(lang, report.intact))?;
    if erased > 0 {
        let by_order = lang.choose("con parti cancellate per ordine", "with bodies erased by order");
        write!(out, ", {} {by_order}", words::number(lang, erased))?;
    }
    writeln!(out)?;
    if report.unread > 0 {
        let unread = lang.choose(
            "di queste hanno parti sigillate, non lette: la chiave non è qui (--body-keys)",
            "of them have sealed bodies, not read: the key is not here (--body-keys)",
        );
        writeln!(out, "{:<10} {} {unread}", "", words::number(lang, report.unread))?;
    }
    if let Some(after) = outcome.covered().and_then(|size| report.size.checked_sub(size)).filter(|n| *n > 0) {
        let what = lang.choose("voci dopo l'ultima firma indicata", "entries after the last signature given");
        writeln!(out, "{:<10} {} {what}", "", words::number(lang, after))?;
    }
    write_stamps(out, outcome, lang)?;
    let ending = if outcome.passes() {
        lang.choose("Il registro è integro.", "The log is whole.")
    } else if outcome.is_sound() {
        lang.choose(
            "L'albero e le voci sono integri, ma i corpi NON sono stati verificati (--body-keys, o --hashes-only).",
            "Tree and entries are whole, but the bodies were NOT checked (--body-keys, or --hashes-only).",
        )
    } else {
        lang.choose("Il registro NON è integro.", "The log is NOT whole.")
    };
    writeln!(out, "\n{ending}")
}

/// Says what is checked of time stamps, and what is not.
fn write_stamps(out: &mut String, outcome: &Outcome, lang: Language) -> std::fmt::Result {
    let Stamps { fitting, wrong } = outcome.stamps;
    if fitting > 0 {
        let what = lang.choose(
            "marche temporali su punti di controllo di questo registro; la firma delle autorità NON è verificata qui: openssl ts -verify",
            "time stamps over checkpoints of this log; the authorities' signatures are NOT checked here: openssl ts -verify",
        );
        writeln!(out, "{:<10} {fitting} {what}", lang.choose("Marche", "Stamps"))?;
    }
    if wrong > 0 {
        let what = lang.choose(
            "marche temporali che NON sono di questo registro",
            "time stamps that are NOT of this log",
        );
        writeln!(out, "{:<10} {wrong} {what}", "")?;
    }
    Ok(())
}

/// The head the database claims for itself, which nobody has signed.
fn own(outcome: &Outcome) -> Head {
    outcome.head.head()
}

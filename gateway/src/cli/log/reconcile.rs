//! `varco log reconcile`: what the parties hold against the log and against each other. A receipt whose entry is not in the
//! log shows that the log was rewritten; an entry without a receipt shows that a party lost one, or never got its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use varco_core::id::AgencyId;
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_core::log::proof::{LogVerifier, Receipt};
use varco_core::time::Timestamp;
use varco_store::read::ReadError;

use super::source::{Place, Source};
use super::{Answer, Failure, Language, Trust, read_file, wait};

#[derive(clap::Args)]
pub struct Args {
    /// A party and the folder with its receipts: `cpi-lucca=receipts/cpi`. Once or twice.
    #[arg(long, value_name = "AGENCY=FOLDER", required = true)]
    party: Vec<Party>,
    #[command(flatten)]
    place: Place,
    /// The gateway's anchor file, to find the keys of bodies beside it.
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// Only entries from this instant on count as extra.
    #[arg(long, value_name = "INSTANT")]
    from: Option<Timestamp>,
    /// Only entries before this instant count as extra.
    #[arg(long, value_name = "INSTANT")]
    until: Option<Timestamp>,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    answer: Answer,
}

#[derive(Clone)]
struct Party {
    agency: AgencyId,
    folder: PathBuf,
}

impl std::str::FromStr for Party {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (agency, folder) = text.split_once('=').ok_or("expected an agency, `=` and a folder")?;
        let agency = agency.parse().map_err(|fault: varco_core::id::IdFault| fault.to_string())?;
        Ok(Self { agency, folder: folder.into() })
    }
}

/// What one party holds.
#[derive(Default)]
struct Held {
    receipts: BTreeMap<u64, Leaf>,
    /// Files that prove nothing, and why.
    invalid: Vec<(PathBuf, String)>,
    /// Receipts of entries that the party took no part in.
    others: Vec<u64>,
}

/// What does not agree.
#[derive(Default)]
struct Findings {
    /// Receipts without an entry in the log.
    missing: BTreeSet<u64>,
    /// Receipts whose entry in the log is another one.
    different: BTreeSet<u64>,
    /// Entries between the parties of which a party has no receipt, by party.
    extra: BTreeMap<AgencyId, Vec<u64>>,
    /// Indices at which the two parties hold different entries.
    contradicting: BTreeSet<u64>,
    checked: usize,
}

/// Exits 0 when everything agrees, 1 when anything does not.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let verifier = args.trust.verifier()?;
    if args.party.len() > 2 {
        return Err(Failure::Usage("--party is given once or twice".to_owned()));
    }
    let mut held = Vec::new();
    for party in &args.party {
        held.push((party.agency.clone(), held_by(party, &verifier)?));
    }
    let findings = wait(compared(args, &verifier, &held))?;
    if args.answer.json {
        println!("{}", told_json(&findings, &held));
    } else {
        print!("{}", told(&findings, &held, args.answer.lang));
    }
    let agrees =
        findings.agrees() && held.iter().all(|(_, held)| held.invalid.is_empty() && held.others.is_empty());
    Ok(if agrees { ExitCode::SUCCESS } else { ExitCode::from(super::super::NO) })
}

fn held_by(party: &Party, verifier: &LogVerifier) -> Result<Held, Failure> {
    let fault = |error| Failure::File(party.folder.clone(), error);
    let mut held = Held::default();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&party.folder).map_err(fault)? {
        paths.push(entry.map_err(fault)?.path());
    }
    paths.sort();
    for path in paths.into_iter().filter(|path| path.is_file()) {
        match checked(&path, verifier)? {
            Ok(leaf) => {
                let content = leaf.content();
                if ![&content.consumer, &content.provider].contains(&&Some(party.agency.clone())) {
                    held.others.push(leaf.index());
                }
                // Two receipts at one index can only differ if the log signed two histories.
                match held.receipts.insert(leaf.index(), leaf.clone()) {
                    Some(before) if before != leaf => {
                        held.invalid.push((path, "two entries at one index".to_owned()))
                    }
                    Some(_) | None => {}
                }
            }
            Err(why) => held.invalid.push((path, why)),
        }
    }
    Ok(held)
}

fn checked(path: &Path, verifier: &LogVerifier) -> Result<Result<Leaf, String>, Failure> {
    let receipt = match Receipt::parse(&read_file(path)?) {
        Ok(receipt) => receipt,
        Err(fault) => return Ok(Err(fault.to_string())),
    };
    Ok(verifier.check(&receipt).map(|()| receipt.leaf).map_err(|fault| fault.to_string()))
}

async fn compared(
    args: &Args,
    verifier: &LogVerifier,
    held: &[(AgencyId, Held)],
) -> Result<Findings, Failure> {
    let source = args.place.open(args.anchor.as_deref()).await?;
    let size = match &source {
        Source::Database(reader) => reader.log().await?.ok_or(Failure::NoLog)?.size,
        Source::Files(files, trees) => {
            let newest = trees.last().ok_or(Failure::NoLog)?;
            let opened = verifier.open(&files.checkpoint(newest).await?);
            let checkpoint = opened.map_err(|fault| Failure::Checkpoint("checkpoint".into(), fault))?;
            newest.shard.first.saturating_add(checkpoint.size)
        }
    };
    let mut findings =
        Findings { checked: held.iter().map(|(_, held)| held.receipts.len()).sum(), ..Findings::default() };
    let mut unseen: BTreeSet<u64> = held.iter().flat_map(|(_, held)| held.receipts.keys().copied()).collect();
    for (from, to) in source.bundles(0..size, size).await? {
        for stored in source.stored(from, to).await? {
            let leaf = Leaf::parse(&stored.leaf).map_err(ReadError::Leaf)?;
            unseen.remove(&leaf.index());
            findings.compare(&leaf, held, (args.from, args.until));
        }
    }
    findings.missing = unseen;
    if let [(_, one), (_, other)] = held {
        let both =
            one.receipts.iter().filter_map(|(index, leaf)| Some((index, leaf, other.receipts.get(index)?)));
        findings.contradicting = both.filter(|(_, a, b)| a != b).map(|(index, ..)| *index).collect();
    }
    if let Source::Database(reader) = &source {
        reader.close().await;
    }
    Ok(findings)
}

impl Findings {
    fn compare(
        &mut self,
        leaf: &Leaf,
        held: &[(AgencyId, Held)],
        (from, until): (Option<Timestamp>, Option<Timestamp>),
    ) {
        let index = leaf.index();
        if held.iter().any(|(_, held)| held.receipts.get(&index).is_some_and(|kept| kept != leaf)) {
            self.different.insert(index);
        }
        let content = leaf.content();
        let outcome =
            matches!(content.kind, Kind::Delivery | Kind::Denial | Kind::Disclosure | Kind::Failure);
        let asked =
            from.is_none_or(|from| content.at >= from) && until.is_none_or(|until| content.at < until);
        let parties = [&content.consumer, &content.provider];
        // With two parties only what is between them; what one of them does with others is not for the other to know.
        let between = held.iter().all(|(agency, _)| parties.contains(&&Some(agency.clone())));
        if outcome && asked && between {
            for (agency, _) in held.iter().filter(|(_, held)| !held.receipts.contains_key(&index)) {
                self.extra.entry(agency.clone()).or_default().push(index);
            }
        }
    }

    fn agrees(&self) -> bool {
        self.missing.is_empty()
            && self.different.is_empty()
            && self.contradicting.is_empty()
            && self.extra.is_empty()
    }
}

fn told_json(findings: &Findings, held: &[(AgencyId, Held)]) -> Value {
    let parties: Vec<Value> = held
        .iter()
        .map(|(agency, held)| {
            let invalid = held.invalid.iter().map(|(path, why)| json!({ "file": path, "why": why }));
            json!({
                "agency": agency,
                "receipts": held.receipts.len(),
                "invalid": invalid.collect::<Vec<_>>(),
                "not_a_party": held.others,
                "without_receipt": findings.extra.get(agency).cloned().unwrap_or_default(),
            })
        })
        .collect();
    json!({
        "agrees": findings.agrees(),
        "receipts": findings.checked,
        "missing": findings.missing,
        "different": findings.different,
        "contradicting": findings.contradicting,
        "parties": parties,
    })
}

/// More indices than this are only counted; `--json` has them all.
const SHOWN: usize = 20;

fn told(findings: &Findings, held: &[(AgencyId, Held)], lang: Language) -> String {
    let mut out =
        format!("{} {}\n", lang.choose("Ricevute controllate:", "Receipts checked:"), findings.checked);
    let mut list = |what: &str, indices: &mut dyn Iterator<Item = u64>| {
        let all: Vec<String> = indices.map(|index| index.to_string()).collect();
        if !all.is_empty() {
            let more = if all.len() > SHOWN { " …" } else { "" };
            let shown: Vec<&str> = all.iter().take(SHOWN).map(String::as_str).collect();
            out.push_str(&format!("{what} ({}): {}{more}\n", all.len(), shown.join(", ")));
        }
    };
    list(lang.choose("MANCANTI nel registro", "MISSING from the log"), &mut findings.missing.iter().copied());
    list(
        lang.choose("DIVERSE nel registro", "DIFFERENT in the log"),
        &mut findings.different.iter().copied(),
    );
    list(
        lang.choose("IN CONTRADDIZIONE tra le parti", "CONTRADICTING each other"),
        &mut findings.contradicting.iter().copied(),
    );
    for (agency, held) in held {
        let without = lang.choose("nel registro senza ricevuta di", "in the log without a receipt of");
        let mut indices = findings.extra.get(agency).into_iter().flatten().copied();
        list(&format!("{without} {agency}"), &mut indices);
        let others = lang.choose("ricevute di scambi altrui presso", "receipts of others' exchanges held by");
        list(&format!("{others} {agency}"), &mut held.others.iter().copied());
    }
    for (path, why) in held.iter().flat_map(|(_, held)| &held.invalid) {
        out.push_str(&format!("{} {}: {why}\n", lang.choose("NON VALIDA", "NOT VALID"), path.display()));
    }
    let good =
        findings.agrees() && held.iter().all(|(_, held)| held.invalid.is_empty() && held.others.is_empty());
    out.push_str(if good {
        lang.choose("Le ricevute e il registro concordano.\n", "The receipts and the log agree.\n")
    } else {
        lang.choose("Le ricevute e il registro NON concordano.\n", "The receipts and the log do NOT agree.\n")
    });
    out
}

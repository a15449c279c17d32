//! `varco log replay`: every decision of the log, made again from what the log itself holds.

use std::collections::HashMap;
use std::process::ExitCode;

use serde_json::Value;
use varco_core::exchange::{OwnerKey, Past, Replayed, replay};
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_store::read::PAGE_MAX;

use super::owner_key::Owners;
use super::past::Policies;
use super::{Answer, BodyKeys, Failure, wait};

#[derive(clap::Args)]
pub struct Args {
    /// The database: `sqlite:<path>` or `postgres://...`. It is only read; the gateway may be running.
    #[arg(long, value_name = "URL")]
    database: String,
    /// The first entry to replay.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The entry to stop before; the end of the log when not given.
    #[arg(long)]
    to: Option<u64>,
    #[command(flatten)]
    keys: BodyKeys,
    #[command(flatten)]
    owners: Owners,
    #[command(flatten)]
    answer: Answer,
}

/// What was replayed.
#[derive(Default)]
struct Tally {
    same: u64,
    /// Of these, the ones that say something to an owner whose key is not at hand.
    sealed: u64,
    undecided: u64,
    /// Erased, or without its policy: cannot be replayed, and why.
    unreadable: Vec<(u64, String)>,
    different: Vec<(u64, String, String)>,
}

/// Exits 0 when every decision came out the same, 1 when one did not or cannot be replayed.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let tally = wait(tally(args))?;
    if args.answer.json {
        println!("{}", tally.json());
    } else {
        print!("{}", tally.text(args.answer.lang));
    }
    let good = tally.different.is_empty() && tally.unreadable.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(super::super::NO) })
}

async fn tally(args: &Args) -> Result<Tally, Failure> {
    let log = args.keys.reader(&args.database, None).await?;
    let size = log.log().await?.ok_or(Failure::NoLog)?.size;
    let owners = args.owners.keys()?;
    let mut work = Work { past: Policies::of(&log).await?, owners: &*owners };
    let (mut tally, mut from, to) = (Tally::default(), args.from, args.to.unwrap_or(size).min(size));
    while from < to {
        let until = to.min(from.saturating_add(PAGE_MAX));
        let leaves = log.leaves(from, until).await?;
        let bodies: HashMap<u64, _> = log.slots_between(from, until).await?.into_iter().collect();
        for bytes in leaves {
            let Ok(leaf) = Leaf::parse(&bytes) else { continue };
            if !matches!(leaf.kind(), Kind::Delivery | Kind::Denial | Kind::Disclosure) {
                continue;
            }
            let body = bodies.get(&leaf.index()).and_then(|slots| slots.decision.as_ref());
            let replayed = work.replay(&leaf, body.map(|slot| slot.body.as_str())).await?;
            tally.count(leaf.index(), replayed);
        }
        from = until;
    }
    Ok(tally)
}

struct Work<'a> {
    past: Policies<'a>,
    owners: &'a dyn OwnerKey,
}

impl Work<'_> {
    async fn replay(&mut self, leaf: &Leaf, body: Option<&str>) -> Result<Result<Replayed, String>, Failure> {
        let Some(sha256) = leaf.content().policy else { return Ok(Ok(Replayed::Undecided)) };
        let Some(body) = body else { return Ok(Ok(Replayed::Unreadable)) };
        Ok(match self.past.find(sha256).await? {
            Some(policy) => Ok(replay(leaf, body, Past { policy, keys: self.owners }, policy)),
            None => Err(format!("policy {sha256} is not in the log")),
        })
    }
}

impl Tally {
    fn count(&mut self, index: u64, replayed: Result<Replayed, String>) {
        match replayed {
            Ok(Replayed::Same) => self.same += 1,
            Ok(Replayed::SameButSealed) => {
                self.same += 1;
                self.sealed += 1;
            }
            Ok(Replayed::Undecided) => self.undecided += 1,
            Ok(Replayed::Unreadable) => {
                self.unreadable.push((index, "the decision is erased or damaged".to_owned()))
            }
            Ok(Replayed::Different { logged, given }) => self.different.push((index, logged, given)),
            Err(why) => self.unreadable.push((index, why)),
        }
    }

    fn json(&self) -> Value {
        let different = self.different.iter().map(
            |(index, logged, given)| serde_json::json!({ "index": index, "logged": logged, "given": given }),
        );
        let unreadable =
            self.unreadable.iter().map(|(index, why)| serde_json::json!({ "index": index, "why": why }));
        serde_json::json!({
            "same": self.same,
            "sealed": self.sealed,
            "undecided": self.undecided,
            "different": different.collect::<Vec<_>>(),
            "unreadable": unreadable.collect::<Vec<_>>(),
        })
    }

    fn text(&self, lang: super::Language) -> String {
        let mut text = format!(
            "{}: {}\n{}: {}\n",
            lang.choose("decisioni ripetute, identiche", "decisions made again, identical"),
            self.same,
            lang.choose("voci senza una decisione delle regole", "entries without a decision of the policy"),
            self.undecided
        );
        if self.sealed > 0 {
            text.push_str(&format!(
                "{}: {}\n",
                lang.choose(
                    "di cui con una parte che apre solo la chiave del titolare (--owner-keys)",
                    "of these, with a part that only the owner's key opens (--owner-keys)"
                ),
                self.sealed
            ));
        }
        for (index, logged, given) in &self.different {
            text.push_str(&format!(
                "{} {index}\n  {}: {logged}\n  {}: {given}\n",
                lang.choose("DIVERSA, voce", "DIFFERENT, entry"),
                lang.choose("registro", "log"),
                lang.choose("ripetuta", "replayed")
            ));
        }
        for (index, why) in &self.unreadable {
            text.push_str(&format!(
                "{} {index}: {why}\n",
                lang.choose("non ripetibile, voce", "cannot be replayed, entry")
            ));
        }
        text
    }
}

//! `varco policy simulate`: what the requests of a log would have got under a draft, from the facts the log itself holds.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use varco_core::exchange::{Past, Replayed, replay};
use varco_core::json;
use varco_core::log::entry::Kind;
use varco_core::log::leaf::Leaf;
use varco_core::policy::Policy;
use varco_core::time::Timestamp;
use varco_store::read::PAGE_MAX;

use super::change::instant;
use super::form::Form;
use super::{NO, PolicyError, load};
use crate::cli::log::BodyKeys;
use crate::cli::log::owner_key::Owners;
use crate::cli::log::past::Policies;

#[derive(clap::Args)]
pub struct Simulate {
    /// The draft's folder.
    #[arg(value_name = "DIR")]
    draft: PathBuf,
    /// The database: `sqlite:<path>` or `postgres://...`. It is only read; the gateway may be running.
    #[arg(long, value_name = "URL")]
    database: String,
    /// The first entry to decide again.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The entry to stop before; the end of the log when not given.
    #[arg(long)]
    to: Option<u64>,
    /// Only requests from this day on: `2026-10-01` (midnight, UTC) or an instant.
    #[arg(long, value_parser = instant)]
    since: Option<Timestamp>,
    /// Only requests before this day.
    #[arg(long, value_parser = instant)]
    before: Option<Timestamp>,
    #[command(flatten)]
    keys: BodyKeys,
    #[command(flatten)]
    owners: Owners,
    #[command(flatten)]
    form: Form,
}

/// Who asked for what, and from which outcome to which it moves.
type Move = (String, String, String, String, String);

#[derive(Default)]
struct Tally {
    same: u64,
    moved_requests: u64,
    /// Refused before any policy was asked, failed, or erased.
    without_decision: u64,
    moved: BTreeMap<Move, u64>,
}

pub fn run(asked: &Simulate) -> Result<ExitCode, PolicyError> {
    let draft = load(&asked.draft)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| PolicyError::Log(error.to_string()))?;
    let tally = runtime.block_on(tally(asked, &draft))?;
    let rows: Vec<Vec<String>> = tally
        .moved
        .iter()
        .map(|((who, what, field, before, after), count)| {
            [who, what, field, before, after].into_iter().cloned().chain([count.to_string()]).collect()
        })
        .collect();
    let head = ["chi", "record, finalità", "campo", "ebbe", "avrebbe", "richieste"].map(str::to_owned);
    if asked.form == Form::Text {
        println!(
            "{} decisioni uguali, {} diverse, {} voci senza decisione delle regole",
            tally.same, tally.moved_requests, tally.without_decision
        );
    }
    if asked.form != Form::Text || !rows.is_empty() {
        let value = json!({"same": tally.same, "different": tally.moved_requests,
            "without_decision": tally.without_decision, "moved": rows});
        asked.form.print(&value, "Che cosa sarebbe cambiato con la bozza", &head, &rows);
    }
    Ok(if tally.shows_more() { ExitCode::from(NO) } else { ExitCode::SUCCESS })
}

async fn tally(asked: &Simulate, draft: &Policy) -> Result<Tally, PolicyError> {
    let fault = |error: &dyn std::error::Error| PolicyError::Log(crate::cli::reasons(error));
    let log = asked.keys.reader(&asked.database, None).await.map_err(|error| fault(&error))?;
    let head = log.log().await.map_err(|error| fault(&error))?;
    let size = head.ok_or_else(|| PolicyError::Log("the database holds no log".to_owned()))?.size;
    let (mut tally, mut from, to) = (Tally::default(), asked.from, asked.to.unwrap_or(size).min(size));
    let owners = asked.owners.keys().map_err(|error| fault(&error))?;
    let mut past = Policies::of(&log).await.map_err(|error| fault(&error))?;
    while from < to {
        let until = to.min(from.saturating_add(PAGE_MAX));
        let leaves = log.leaves(from, until).await.map_err(|error| fault(&error))?;
        let bodies = log.slots_between(from, until).await.map_err(|error| fault(&error))?;
        let bodies: HashMap<u64, _> = bodies.into_iter().collect();
        for bytes in leaves {
            let Ok(leaf) = Leaf::parse(&bytes) else { continue };
            let at = leaf.content().at;
            let is_meant =
                asked.since.is_none_or(|since| since <= at) && asked.before.is_none_or(|end| at < end);
            if is_meant && matches!(leaf.kind(), Kind::Denial | Kind::Disclosure) {
                let body = bodies.get(&leaf.index()).and_then(|slots| slots.decision.as_ref());
                let sha256 = leaf.content().policy;
                let policy = match sha256 {
                    Some(sha256) => past.find(sha256).await.map_err(|error| fault(&error))?,
                    None => None,
                };
                let replayed = match (policy, body) {
                    (Some(policy), Some(slot)) => {
                        replay(&leaf, &slot.body, Past { policy, keys: &*owners }, draft)
                    }
                    (None, _) | (_, None) => Replayed::Unreadable,
                };
                tally.count(&leaf, replayed);
            }
        }
        from = until;
    }
    Ok(tally)
}

impl Tally {
    fn count(&mut self, leaf: &Leaf, replayed: Replayed) {
        match replayed {
            Replayed::Same | Replayed::SameButSealed => self.same += 1,
            Replayed::Undecided | Replayed::Unreadable => self.without_decision += 1,
            Replayed::Different { logged, given } => {
                self.moved_requests += 1;
                self.compare(leaf, &outcomes(&logged), &outcomes(&given));
            }
        }
    }

    fn compare(&mut self, leaf: &Leaf, logged: &Outcomes, given: &Outcomes) {
        let text = |id: Option<&str>| id.unwrap_or("?").to_owned();
        let content = leaf.content();
        let who = text(content.consumer.as_ref().map(|agency| agency.as_str()));
        let record = text(content.record_type.as_ref().map(|record| record.as_str()));
        let purpose = text(content.purpose.as_ref().map(|purpose| purpose.as_str()));
        let names = logged.fields.keys().chain(given.fields.keys());
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            let (before, after) = (logged.of(name), given.of(name));
            if before != after {
                let key = (who.clone(), format!("{record}, {purpose}"), name.clone(), before, after);
                *self.moved.entry(key).or_default() += 1;
            }
        }
    }

    /// Whether some field would have been shown that was not, or at another view: which is wider is `diff`'s answer.
    fn shows_more(&self) -> bool {
        self.moved.keys().any(|(.., after)| after.starts_with(SHOWN))
    }
}

/// How outcomes that show something begin.
const SHOWN: &str = "mostrato";

/// The outcomes of a request by field, or its refusal as a whole.
#[derive(Default)]
struct Outcomes {
    refused: Option<String>,
    fields: BTreeMap<String, String>,
}

impl Outcomes {
    fn of(&self, field: &str) -> String {
        let refused = || self.refused.as_ref().map(|code| format!("rifiutata: {code}"));
        self.fields.get(field).cloned().or_else(refused).unwrap_or_else(|| "-".to_owned())
    }
}

fn outcomes(text: &str) -> Outcomes {
    let mut found = Outcomes::default();
    let Ok(Value::Array(all)) = json::parse(text.as_bytes()) else { return found };
    for one in all {
        let said = |name: &str| one.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(code) = said("refused") {
            found.refused = Some(code);
        }
        let Some(name) = said("name") else { continue };
        let told = match (said("outcome").as_deref(), said("view"), said("layer")) {
            (Some("shown"), Some(view), _) => format!("{SHOWN}: {view}"),
            (Some("withheld"), _, Some(layer)) => format!("negato: {layer}"),
            (Some(other), ..) => other.to_owned(),
            (None, ..) => continue,
        };
        found.fields.insert(name, told);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_as_the_log_writes_them() {
        let text = r#"[{"name":"a","outcome":"shown","technique":"disclose","view":"intero"},
            {"layer":"owner","name":"b","outcome":"withheld","reason":"regulation"},{"name":"c","outcome":"unavailable"}]"#;
        let found = outcomes(text);
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| found.of(name)),
            ["mostrato: intero", "negato: owner", "unavailable", "-"]
        );
        assert_eq!(
            outcomes(r#"[{"refused":"policy.case-missing"}]"#).of("a"),
            "rifiutata: policy.case-missing"
        );
    }
}

//! `varco log alerts`: what people must look at, as the gateway found it, with what became of each delivery.

use std::process::ExitCode;

use serde_json::{Value, json};
use varco_core::time::Timestamp;
use varco_store::kept::Told;
use varco_store::read::Reader;

use super::{Answer, Failure, Language, noted, wait};
use crate::http::alerts::shown;

#[derive(clap::Args)]
pub struct Args {
    /// The database: `sqlite:<path>` or `postgres://...`. It is only read.
    #[arg(long, value_name = "URL")]
    database: String,
    /// Only what the officers of this agency must know.
    #[arg(long)]
    agency: Option<String>,
    /// Only alerts before this instant.
    #[arg(long, value_name = "INSTANT")]
    before: Option<Timestamp>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: u64,
    #[command(flatten)]
    answer: Answer,
}

/// Exits 0, also when there is nothing.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let found = wait(async {
        noted(&args.database).await;
        let reader = Reader::open(&args.database).await?;
        let before = args.before.unwrap_or(Timestamp::LAST);
        let found = reader.alerts(args.agency.as_deref(), before, args.limit).await?;
        reader.close().await;
        Ok(found)
    })?;
    if args.answer.json {
        println!("{}", json!({ "alerts": found.iter().map(shown).collect::<Vec<_>>() }));
    } else {
        print!("{}", text(&found, args.answer.lang));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(found: &[Told], lang: Language) -> String {
    if found.is_empty() {
        return lang.choose("Nessun avviso.\n", "No alerts.\n").to_owned();
    }
    let mut out = String::new();
    for told in found {
        let body: Value = serde_json::from_str(&told.body).unwrap_or_default();
        let reason = body.pointer(lang.choose("/reason/it", "/reason/en")).and_then(Value::as_str);
        out.push_str(&format!(
            "{}  {}\n",
            varco_core::log::mapping::local(told.at),
            reason.unwrap_or_default()
        ));
        let waiting = told.deliveries.iter().filter(|delivery| delivery.delivered.is_none());
        for delivery in waiting {
            let words = lang.choose("non ancora consegnato a", "not delivered yet to");
            out.push_str(&format!("{:18}{words} {} ({})\n", "", delivery.hook, delivery.attempts));
        }
    }
    out
}

//! How long the first page of a search takes, on SQLite: a log of a million entries is made in bulk, past the ledger, and
//! searched in every way, the ways that find nothing included.
//!
//! `cargo run --release -p varco-store --example search -- [directory] [entries]`

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use varco_core::hash::Sha256;
use varco_core::id::{ExchangeId, Pseudonym};
use varco_core::log::entry::{Draft, Kind};
use varco_core::log::sealing::{self, EpochKey};
use varco_core::time::Timestamp;
use varco_jose::AesBodyCipher;
use varco_store::db::Address;
use varco_store::keyring::Keyring;
use varco_store::read::Reader;
use varco_store::search::Search;

/// 2026-01-01T12:00:00Z; an entry a second follows.
const START: i64 = 1_767_268_800_000;
/// Each search so often; the slowest time counts.
const TIMES: u32 = 5;
/// What an auditor should wait at most for a first page.
const TARGET: Duration = Duration::from_millis(200);

const CONSUMERS: [&str; 4] = ["asl-toscana-nord-ovest", "comune-capannori", "comune-lucca", "cpi-lucca"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let directory = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let entries: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let path = directory.join(format!("varco-search-{}.db", std::process::id()));
    let url = format!("sqlite:{}", path.display());
    let keyring = Arc::new(Keyring::open(path.with_extension("keys"), Arc::new(AesBodyCipher))?);
    keyring.add(1)?;
    fill(&url, entries, &keyring.key(1)?).await?;
    let reader = Reader::open_with(&url, keyring).await?;
    let mut slowest = Duration::ZERO;
    for (name, search) in searches(entries)? {
        let mut longest = Duration::ZERO;
        let mut found = 0;
        for _ in 0..TIMES {
            let begun = Instant::now();
            found = reader.search(&search).await?.entries.len();
            longest = longest.max(begun.elapsed());
        }
        println!("{name:<44} {found:>4} entries {:>8.1} ms", longest.as_secs_f64() * 1000.0);
        slowest = slowest.max(longest);
    }
    reader.close().await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    for extension in ["keys", "keys.lock"] {
        let _ = std::fs::remove_file(path.with_extension(extension));
    }
    let verdict = if slowest <= TARGET { "within" } else { "ABOVE" };
    println!(
        "{entries} entries, slowest first page {:.1} ms: {verdict} 200 ms",
        slowest.as_secs_f64() * 1000.0
    );
    Ok(())
}

fn searches(entries: u64) -> Result<Vec<(&'static str, Search)>, Box<dyn Error>> {
    let text = |text: &str| Some(text.to_owned());
    let at = |n: u64| Some(Timestamp::from_millis(START + i64::try_from(n * 1000).unwrap_or(0)));
    let rare: Pseudonym = format!("s1.{}", "b".repeat(26)).parse()?;
    let base = Search { limit: 50, ..Search::default() };
    Ok(vec![
        ("everything", base.clone()),
        (
            "period in the middle",
            Search { from: at(entries / 2), until: at(entries / 2 + 90), ..base.clone() },
        ),
        ("agency", Search { agency: text("comune-lucca"), ..base.clone() }),
        ("agency that took no part", Search { agency: text("nobody"), ..base.clone() }),
        ("office", Search { office: text("sportello-3"), ..base.clone() }),
        ("operator", Search { operator: text("op-77"), ..base.clone() }),
        ("operator that never asked", Search { operator: text("op-x"), ..base.clone() }),
        ("purpose", Search { purpose: text("F07"), ..base.clone() }),
        ("record type", Search { record_type: text("anagrafica_nucleo"), ..base.clone() }),
        ("outcome", Search { kind: Some(Kind::Denial), ..base.clone() }),
        ("outcome there is only once", Search { kind: Some(Kind::Open), ..base.clone() }),
        ("error code that never came", Search { code: text("wire.replayed"), ..base.clone() }),
        ("person", Search { subjects: Some(vec![rare]), ..base.clone() }),
        (
            "two common things that never come together",
            Search { consumer: text("cpi-lucca"), purpose: text("F01"), ..base.clone() },
        ),
        (
            "operator and purpose that never meet",
            Search { operator: text("op-2"), purpose: text("F01"), ..base },
        ),
    ])
}

/// A log with entries in its tables and nothing else: no tiles, no signature.
async fn fill(url: &str, entries: u64, key: &EpochKey) -> Result<(), Box<dyn Error>> {
    const ROWS: u64 = 500;
    let address: Address = url.parse()?;
    drop(address.writer().await?);
    let mut connection = SqliteConnection::connect(url).await?;
    sqlx::query("PRAGMA synchronous = OFF").execute(&mut connection).await?;
    let mut transaction = connection.begin().await?;
    for first in (0..entries).step_by(500) {
        let (mut leaves, mut slots, mut subjects) = (Vec::new(), Vec::new(), Vec::new());
        for n in first..(first + ROWS).min(entries) {
            let leaf = leaf(n)?;
            leaves.push(format!(
                "({n},'{}','{}','{}',x'{}')",
                leaf.id(),
                leaf.kind(),
                leaf.as_str(),
                Sha256::from_bytes([0; 32])
            ));
            let term = |name, value: &str| sealing::term(key, name, value);
            let operator = term(sealing::OPERATOR, &format!("op-{}", n % 500));
            let office = term(sealing::OFFICE, &format!("sportello-{}", n % 40));
            slots.push(format!("({n},1,zeroblob(400),'{operator}','{office}')"));
            let who = if n % 100_000 == 7 { "b" } else { "a" };
            let person = term(sealing::SUBJECT, &format!("s1.{}", who.repeat(26)));
            subjects.push(format!("('{person}',{n})"));
        }
        for sql in [
            format!("INSERT INTO log_entry (idx, id, kind, leaf, leaf_hash) VALUES {}", leaves.join(",")),
            format!("INSERT INTO log_body (idx, epoch, operator, who, office) VALUES {}", slots.join(",")),
            format!("INSERT INTO log_subject (subject, idx) VALUES {}", subjects.join(",")),
        ] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        }
    }
    let state = format!(
        "INSERT INTO log_state (id, origin, size, frontier, root, last_at, epoch) \
         VALUES (1, 'varco.example', {entries}, zeroblob(8), zeroblob(32), 0, 1)"
    );
    sqlx::raw_sql(AssertSqlSafe(state)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

fn leaf(n: u64) -> Result<varco_core::log::leaf::Leaf, Box<dyn Error>> {
    let id: ExchangeId = format!("00000000-0000-7000-8000-{n:012x}").parse()?;
    let kind = match n {
        0 => Kind::Open,
        n if n % 10 == 9 => Kind::Denial,
        _ => Kind::Disclosure,
    };
    let mut draft = Draft::new(kind, id);
    // The employment centre asks for F02 and F07 only, and so does whoever has an even number.
    let consumer = CONSUMERS.get(usize::try_from(n % 4)?).copied().unwrap_or("cpi-lucca");
    draft.consumer = Some(consumer.parse()?);
    draft.provider = Some("comune-capannori".parse()?);
    let purpose = match n % 4 {
        1 => "F01",
        3 => "F07",
        _ => "F02",
    };
    draft.purpose = Some(purpose.parse()?);
    draft.record_type = Some(if n.is_multiple_of(5) { "isee" } else { "anagrafica_nucleo" }.parse()?);
    Ok(draft.leaf(n, Timestamp::from_millis(START + i64::try_from(n)? * 1000)))
}

//! `varco log fixture`: a large log that holds nobody, to measure with. Not listed in the help: no auditor needs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::ProgressBar;
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::json;
use varco_core::hash::Sha256;
use varco_core::id::{ExchangeId, Pseudonym};
use varco_core::log::entry::{Draft, Kind, Slot, SlotName};
use varco_core::time::Timestamp;
use varco_jose::{AesBodyCipher, Ed25519NoteKey};
use varco_store::bulk::{self, Fill, Made};
use varco_store::keyring::Keyring;

use super::{Failure, wait};

#[derive(clap::Args)]
pub struct Args {
    /// How many entries.
    #[arg(long, default_value_t = 10_000_000)]
    entries: u64,
    /// The folder to make: `varco.db`, `anchor`, `body-keys`, `log.pub`, `log.key.pem`.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub const ORIGIN: &str = "fixture.varco.example/access-log";
/// 2026-01-01T12:00:00Z; three entries a second follow, so that ten million are five weeks.
const START: i64 = 1_767_268_800_000;
const CONSUMERS: [&str; 4] = ["asl-toscana-nord-ovest", "comune-capannori", "comune-lucca", "cpi-lucca"];
const PURPOSES: [&str; 4] = ["F02", "F01", "F02", "F07"];

pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    std::fs::create_dir_all(&args.out).map_err(|error| Failure::File(args.out.clone(), error))?;
    let unusable = |error: String| Failure::Usage(error);
    let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(|error| unusable(error.to_string()))?;
    let key = Ed25519NoteKey::from_pkcs8(ORIGIN, &pair.serialize_der());
    let key = key.map_err(|error| unusable(error.to_string()))?;
    let public = args.out.join("log.pub");
    std::fs::write(&public, format!("{}\n", key.verifier_key()))
        .map_err(|error| Failure::File(public, error))?;
    // Nobody's key, so that what measures can go on writing this log.
    let secret = args.out.join("log.key.pem");
    std::fs::write(&secret, pair.serialize_pem()).map_err(|error| Failure::File(secret, error))?;
    let anchor = args.out.join("anchor");
    let keyring = Keyring::open(Keyring::beside(&anchor), Arc::new(AesBodyCipher))?;
    let fill = Fill {
        url: format!("sqlite:{}", args.out.join("varco.db").display()),
        anchor,
        signer: Arc::new(key),
        keyring: Arc::new(keyring),
        entries: args.entries,
    };
    let bar = ProgressBar::new(args.entries);
    let filled = wait(async { Ok(bulk::fill(fill, Arc::new(made), |size| bar.set_position(size)).await) })?;
    bar.finish_and_clear();
    filled.map_err(|error| unusable(super::super::reasons(&error)))?;
    Ok(ExitCode::SUCCESS)
}

/// A disclosure, sometimes a denial, of a size as the gateway makes them. Everything follows from the index.
fn made(n: u64) -> Made {
    let at = Timestamp::from_millis(START + i64::try_from(n).unwrap_or(0).saturating_mul(333));
    let kind = match n {
        0 => Kind::Open,
        n if n % 10 == 9 => Kind::Denial,
        _ => Kind::Disclosure,
    };
    let at_ms = u64::try_from(at.millis()).unwrap_or(0);
    // A version 7 UUID of its instant.
    let id = format!("{:08x}-{:04x}-7000-8000-{n:012x}", at_ms >> 16, at_ms & 0xffff);
    let Ok(id) = id.parse::<ExchangeId>() else { return plain(ExchangeId::new(at, [0; 10]), at) };
    if kind == Kind::Open {
        return plain(id, at);
    }
    let pick = usize::try_from(n % 4).unwrap_or(0);
    let mut draft = Draft::new(kind, id);
    draft.consumer = CONSUMERS.get(pick).and_then(|id| id.parse().ok());
    draft.provider = "comune-capannori".parse().ok();
    draft.purpose = PURPOSES.get(pick).and_then(|id| id.parse().ok());
    draft.record_type = if n.is_multiple_of(5) { "isee" } else { "anagrafica_nucleo" }.parse().ok();
    draft.policy = Some(Sha256::of(b"fixture"));
    let subject = person(n.wrapping_mul(2_654_435_761) % 200_000);
    let salt = |name: &str| *Sha256::of_parts(&[name.as_bytes(), &n.to_be_bytes()]).as_bytes();
    let bodies = [
        (SlotName::Decision, decision(kind, n)),
        (
            SlotName::Operator,
            json!({
                "agency": draft.consumer, "assurance": "Substantial", "carrier": null, "issuer": draft.consumer,
                "location": "sportello-unico", "office": format!("sportello-{}", n % 40),
                "operator": format!("op-{}", n % 500), "seal": Sha256::of(&(n % 4).to_be_bytes()),
                "tokens": [format!("{n:032x}")],
            }),
        ),
        (SlotName::Subject, json!({ "subject": subject, "case": case(n % 100_000) })),
    ];
    for (name, body) in bodies {
        draft.slots.set(name, Slot::new(salt(name.text()), &body));
    }
    Made { draft, at, subjects: subject.into_iter().collect() }
}

fn plain(id: ExchangeId, at: Timestamp) -> Made {
    Made { draft: Draft::new(Kind::Open, id), at, subjects: Vec::new() }
}

fn decision(kind: Kind, n: u64) -> serde_json::Value {
    let outcomes = if kind == Kind::Denial {
        json!([{ "layer": "law", "name": "isee_fascia", "outcome": "withheld", "reason": "not_granted" }])
    } else if n % 50_000 == 7 {
        json!([{ "name": "campo_raro", "outcome": "shown", "technique": "identity", "view": "intero" }])
    } else {
        json!([
            { "name": "cognome", "outcome": "shown", "technique": "identity", "view": "intero" },
            { "name": "data_nascita", "outcome": "shown", "technique": "year", "view": "anno" },
            { "name": "indirizzo", "outcome": "unavailable" },
        ])
    };
    json!({ "outcomes": outcomes, "request": Sha256::of(&n.to_be_bytes()), "requested": ["cognome", "data_nascita", "indirizzo"] })
}

fn person(n: u64) -> Option<Pseudonym> {
    let letters = (0..26).map(|at| char::from(b'a' + u8::try_from((n >> at) & 1).unwrap_or(0)));
    format!("s1.{}", letters.collect::<String>()).parse().ok()
}

fn case(n: u64) -> String {
    format!("019b0000-0000-7000-8000-{n:012x}")
}

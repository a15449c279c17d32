//! Words of appeals, sealed before anything else sees them: to each officer of the agency that must read them.

use serde_json::{Value, json};
use varco_core::exchange::{AppealAsk, Words};
use varco_core::id::AgencyId;
use varco_core::json;
use varco_core::registry::{Officer, Role};
use varco_jose::{ReaderKey, SEALING_RANDOM};
use zeroize::Zeroizing;

use crate::app::App;

/// More officers than this read nothing of their own: the first of them by name do.
const MOST_READERS: usize = 8;

/// Whom an appeal is about, and why, for the owner's officers.
pub fn seal_appeal(app: &App, to: &AgencyId, ask: &AppealAsk) -> Vec<String> {
    let person = ask.subject.codice_fiscale.expose();
    seal(app, to, &json!({ "codice_fiscale": person, "reason": ask.reason.expose() }))
}

/// Why the owner rejected or took back, for the officers of the agency that asked.
pub fn seal_answer(app: &App, to: &AgencyId, words: &Words) -> Vec<String> {
    seal(app, to, &json!({ "reason": words.expose() }))
}

/// Empty when nobody of the agency could read it.
fn seal(app: &App, to: &AgencyId, words: &Value) -> Vec<String> {
    let (in_force, now) = (app.in_force.load(), app.now());
    let reads = |officer: &&Officer| officer.role == Role::Officer && officer.speaks_for(to, now);
    let words = Zeroizing::new(json::canonical(words));
    let sealed = in_force.registry.officers.iter().filter(reads).filter_map(|officer| {
        let key = ReaderKey::from_pem(officer.reading_key.as_ref().unwrap_or(&officer.public_key)).ok()?;
        key.seal(words.as_bytes(), &app.random::<SEALING_RANDOM>()).ok()
    });
    sealed.take(MOST_READERS).collect()
}

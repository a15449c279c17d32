//! The exhaustive questions: who, sees, diff, dead, uncovered.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use varco_core::id::FieldId;
use varco_core::policy::Policy;
use varco_core::policy::questions::Effect;
use varco_core::policy::questions::diff::Moved;
use varco_core::time::Timestamp;

use super::form::Form;
use super::{NO, PolicyError, load, table};

#[derive(clap::Args)]
pub struct Bundle {
    /// The bundle's folder.
    #[arg(value_name = "DIR")]
    bundle: PathBuf,
    /// The instant it is asked for; the beginning of the agreement unless given.
    #[arg(long)]
    at: Option<Timestamp>,
    #[command(flatten)]
    pub(super) form: Form,
}

#[derive(clap::Args)]
pub struct Who {
    #[command(flatten)]
    bundle: Bundle,
    /// `condizione_economica_prestazioni`
    record: String,
    /// `isee_valore`
    field: FieldId,
}

#[derive(clap::Args)]
pub struct Sees {
    #[command(flatten)]
    bundle: Bundle,
    /// `cpi` or `cpi/collocamento-mirato`
    audience: String,
}

#[derive(clap::Args)]
pub struct Diff {
    #[command(flatten)]
    before: Bundle,
    /// The folder of the changed bundle.
    #[arg(value_name = "DIR")]
    after: PathBuf,
}

impl Bundle {
    pub(super) fn load(&self) -> Result<(Policy, Timestamp), PolicyError> {
        let policy = load(&self.bundle)?;
        let at = self.at.unwrap_or(policy.agreement.from);
        Ok((policy, at))
    }

    pub(super) fn show(
        &self,
        value: &serde_json::Value,
        caption: &str,
        (head, rows): (&[&str], &[Vec<String>]),
    ) {
        let head: Vec<String> = head.iter().map(|&word| word.to_owned()).collect();
        self.form.print(value, caption, &head, rows);
    }
}

pub fn who(asked: &Who) -> Result<ExitCode, PolicyError> {
    let (policy, at) = asked.bundle.load()?;
    let records = || policy.record_types().iter().map(|record| record.id.as_str());
    let unknown = || PolicyError::unknown("record type", &asked.record, records());
    let record =
        policy.record_types().iter().find(|record| record.id.as_str() == asked.record).ok_or_else(unknown)?;
    if record.find(&asked.field).is_none() {
        let fields = record.fields.iter().map(|field| field.id.as_str());
        return Err(PolicyError::unknown("field", asked.field.as_str(), fields));
    }
    let ways = policy.who(&record.id, &asked.field, at);
    let row = |way: &varco_core::policy::questions::reach::Way| {
        let key = &way.key;
        vec![key.audience.clone(), key.level.to_owned(), key.purpose.to_string(), table::effect(&way.effect)]
    };
    let rows: Vec<_> = ways.iter().map(row).collect();
    asked.bundle.show(
        &json!(ways),
        &format!("Chi riceve {}.{}", record.id, asked.field),
        (&["chi", "livello", "finalità", "vede"], &rows),
    );
    Ok(ExitCode::SUCCESS)
}

pub fn sees(asked: &Sees) -> Result<ExitCode, PolicyError> {
    let (policy, at) = asked.bundle.load()?;
    let known: Vec<String> = policy.audiences().iter().map(varco_core::policy::Audience::text).collect();
    if !known.contains(&asked.audience) {
        return Err(PolicyError::unknown("recipient", &asked.audience, known.iter().map(String::as_str)));
    }
    let pooled = policy.sees(&asked.audience, at);
    let rows: Vec<_> = pooled
        .iter()
        .flat_map(|one| one.views.iter().map(move |(view, purposes)| (one, view, purposes)))
        .map(|(one, view, purposes)| {
            let purposes: Vec<&str> = purposes.iter().map(varco_core::id::PurposeId::as_str).collect();
            vec![one.record_type.to_string(), one.field.to_string(), view.clone(), purposes.join(", ")]
        })
        .collect();
    asked.bundle.show(
        &json!(pooled),
        &format!("Che cosa può ottenere {}", asked.audience),
        (&["record", "campo", "al più", "finalità"], &rows),
    );
    Ok(ExitCode::SUCCESS)
}

/// Exit code 1 when anything widens.
pub fn diff(asked: &Diff) -> Result<ExitCode, PolicyError> {
    let (before, at) = asked.before.load()?;
    let after = load(&asked.after)?;
    let diff = before.diff(&after, at);
    let cell = |effect: &Option<Effect>| effect.as_ref().map_or_else(|| "-".to_owned(), table::effect);
    let terms = diff.terms.iter().map(|term| {
        let mut row = vec![term.direction.italian().to_owned(), term.what.clone()];
        row.resize(7, String::new());
        row
    });
    let cells = diff.cells.iter().map(|moved: &Moved| {
        let key = &moved.key;
        vec![
            moved.direction.italian().to_owned(),
            format!("{}.{}", key.record_type, key.field),
            format!("{} liv.{}", key.audience, key.level),
            key.purpose.to_string(),
            cell(&moved.before),
            cell(&moved.after),
            moved.owners.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        ]
    });
    let rows: Vec<_> = terms.chain(cells).collect();
    let head = ["come", "dato", "verso", "finalità", "prima", "dopo", "dati di"];
    asked.before.show(&json!(diff), "Che cosa cambia", (&head, &rows));
    Ok(if diff.widens() { ExitCode::from(NO) } else { ExitCode::SUCCESS })
}

pub fn dead(asked: &Bundle) -> Result<ExitCode, PolicyError> {
    let (policy, _) = asked.load()?;
    let dead = policy.dead();
    let rows: Vec<_> = dead.iter().map(|one| vec![one.place.clone(), one.what.clone()]).collect();
    asked.show(&json!(dead), "Righe e celle senza effetto", (&["dove", "che cosa"], &rows));
    Ok(if dead.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

pub fn uncovered(asked: &Bundle) -> Result<ExitCode, PolicyError> {
    let (policy, at) = asked.load()?;
    let fields = policy.uncovered(at);
    let rows: Vec<_> =
        fields.iter().map(|(record, field)| vec![record.to_string(), field.to_string()]).collect();
    let told: Vec<_> =
        fields.iter().map(|(record, field)| json!({"record_type": record, "field": field})).collect();
    asked.show(&json!(told), "Campi che non escono mai", (&["record", "campo che non esce mai"], &rows));
    Ok(ExitCode::SUCCESS)
}

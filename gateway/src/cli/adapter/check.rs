//! `varco adapter check`: what a live source holds, counted. No value is printed.

use std::process::ExitCode;

use serde_json::{Value, json};
use varco_adapters::mapping::{Ask, Coverage, Mapping};
use varco_core::id::{FieldId, RecordTypeId};

use super::super::NO;
use super::super::policy::table;
use super::{Failure, Opened, Which, record_types};

/// Records looked at unless said otherwise: enough to see what a vendor got wrong, read in a second.
const MOST: usize = 1000;

#[derive(clap::Args)]
pub struct Check {
    #[command(flatten)]
    which: Which,
    /// One record type only: `anagrafica_nucleo`.
    #[arg(long)]
    record: Option<RecordTypeId>,
    /// Rows to look at, at most.
    #[arg(long, default_value_t = MOST)]
    most: usize,
}

/// Exits 0 when everything fits, 1 when something does not.
pub(super) async fn run(check: &Check) -> Result<ExitCode, Failure> {
    let opened = check.which.open()?;
    let mut all = Vec::new();
    for id in record_types(&opened, check.record.as_ref())? {
        all.push((id.clone(), one(check, &opened, &id).await?));
    }
    let fits = all.iter().all(|(_, coverage)| coverage.refused == 0 && coverage.faults.is_empty());
    if check.which.json {
        let records: Vec<Value> = all.iter().map(|(id, coverage)| for_programs(id, coverage)).collect();
        println!("{}", json!({ "agency": check.which.agency, "fits": fits, "records": records }));
    } else {
        for (id, coverage) in &all {
            print!("{}", for_people(check, id, coverage));
        }
    }
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

async fn one(check: &Check, opened: &Opened, id: &RecordTypeId) -> Result<Coverage, Failure> {
    let Some(mapping) = opened.source.mappings().and_then(|all| all.of(id)) else {
        let what = "this system speaks the record types' own shape; there is nothing to map. Try it with `varco call`";
        return Err(Failure(what.to_owned()));
    };
    let failed = |error: varco_adapters::FetchError| {
        Failure(format!("{}: {}", error.code().text(), super::super::reasons(&error)))
    };
    let mut coverage = Coverage::new(mapping);
    let fields = mapping.covered();
    if let Some(subject) = &check.which.subject {
        let tree = opened.tree(&check.which, id, subject, &fields).await.map_err(failed)?;
        let ask = Ask { row: 0, subject: Some(subject), fields: &fields };
        coverage.add(&mapping.read(&tree.unwrap_or_default(), &ask));
        return Ok(coverage);
    }
    let trees = opened.source.trees(mapping, check.most).await.map_err(failed)?;
    let trees = trees
        .ok_or_else(|| Failure("this system must be asked for one person: give --subject".to_owned()))?;
    for (row, tree) in trees {
        coverage.add(&read(mapping, &fields, row, &tree));
    }
    Ok(coverage)
}

/// As a fetch of all its fields would read it, for whoever it is about.
fn read(
    mapping: &Mapping,
    fields: &[FieldId],
    row: u64,
    tree: &Value,
) -> Result<varco_adapters::mapping::Mapped, Vec<varco_adapters::mapping::RowFault>> {
    let name = || mapping.subject.as_ref().map(ToString::to_string).unwrap_or_default();
    let subject = mapping
        .subject_of(tree)
        .map_err(|reason| vec![varco_adapters::mapping::RowFault::new(row, name(), reason)])?;
    mapping.read(tree, &Ask { row, subject: subject.as_ref(), fields })
}

fn for_programs(id: &RecordTypeId, coverage: &Coverage) -> Value {
    let fields: Vec<Value> = coverage
        .fields
        .iter()
        .map(|(field, counts)| {
            json!({ "field": field, "mapped": counts.mapped, "held": counts.held, "faults": counts.faults })
        })
        .collect();
    let faults: Vec<Value> = coverage
        .faults
        .iter()
        .map(|fault| json!({ "row": fault.row, "field": fault.field, "reason": fault.reason.code() }))
        .collect();
    let repairs: serde_json::Map<String, Value> =
        coverage.repairs.iter().map(|(repair, count)| (repair.code().to_owned(), json!(count))).collect();
    json!({
        "record_type": id,
        "records": coverage.records,
        "refused": coverage.refused,
        "fields": fields,
        "faults": faults,
        "repairs": repairs,
    })
}

fn for_people(check: &Check, id: &RecordTypeId, coverage: &Coverage) -> String {
    let say = |italian, english| check.which.language.choose(italian, english);
    let mut text = format!(
        "{id}: {} {}, {} {}\n",
        coverage.records,
        say("record letti", "records read"),
        coverage.refused,
        say("rifiutati", "refused")
    );
    let head =
        [say("campo", "field"), say("mappato", "mapped"), say("presente", "held"), say("errori", "faults")];
    let rows: Vec<Vec<String>> = coverage
        .fields
        .iter()
        .map(|(field, counts)| {
            let mapped = if counts.mapped { say("sì", "yes") } else { "-" };
            let held = match (coverage.records, counts.mapped) {
                (_, false) | (0, true) => "-".to_owned(),
                (records, true) => {
                    format!("{} ({}%)", counts.held, counts.held.saturating_mul(100) / records)
                }
            };
            vec![field.to_string(), mapped.to_owned(), held, counts.faults.to_string()]
        })
        .collect();
    text.push_str(&table::text(&head.map(str::to_owned), &rows));
    for fault in &coverage.faults {
        let reason = say(fault.reason.italian(), fault.reason.english());
        text.push_str(&format!("{} {}, {}: {reason}\n", say("riga", "row"), fault.row, fault.field));
    }
    for (repair, count) in &coverage.repairs {
        text.push_str(&format!("{count} × {}\n", say(repair.italian(), repair.english())));
    }
    text.push('\n');
    text
}

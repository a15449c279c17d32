//! `varco adapter sample`: one synthetic person's record, the system's side and ours side by side.

use std::process::ExitCode;

use serde_json::{Value, json};
use varco_adapters::mapping::{Ask, Mapped, Mapping, RowFault};
use varco_core::id::RecordTypeId;
use varco_core::registry::Deployment;
use varco_core::subject::CodiceFiscale;

use super::super::NO;
use super::super::policy::table;
use super::{Failure, Opened, Which, record_types};

/// Rows looked through for a synthetic person.
const MOST: usize = 1000;

#[derive(clap::Args)]
pub struct Sample {
    #[command(flatten)]
    which: Which,
    /// The record type: `anagrafica_nucleo`. May be left out where the system holds one.
    #[arg(long)]
    record: Option<RecordTypeId>,
}

/// Exits 0 when the record fits, 1 when it does not.
pub(super) async fn run(sample: &Sample) -> Result<ExitCode, Failure> {
    let opened = sample.which.open()?;
    // It prints values. In production every person is a real one.
    if opened.registry.deployment == Deployment::Production {
        let what = "this deployment is in production, and a sample prints a person's values; `varco adapter check` prints none";
        return Err(Failure(what.to_owned()));
    }
    let types = record_types(&opened, sample.record.as_ref())?;
    let [id] = types.as_slice() else {
        let known: Vec<&str> = types.iter().map(RecordTypeId::as_str).collect();
        return Err(Failure(format!("give --record, one of {}", known.join(", "))));
    };
    let Some(mapping) = opened.source.mappings().and_then(|all| all.of(id)) else {
        return Err(Failure(
            "this system speaks the record types' own shape; there is nothing to map".to_owned(),
        ));
    };
    let (person, tree) = find(sample, &opened, mapping).await?;
    let fields = mapping.covered();
    let read = mapping.read(&tree, &Ask { row: 0, subject: Some(&person), fields: &fields });
    print(sample, mapping, &tree, &read);
    Ok(if read.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// The person named, or the first synthetic one there is.
async fn find(
    sample: &Sample,
    opened: &Opened,
    mapping: &Mapping,
) -> Result<(CodiceFiscale, Value), Failure> {
    let failed = |error: varco_adapters::FetchError| {
        Failure(format!("{}: {}", error.code().text(), super::super::reasons(&error)))
    };
    let real =
        || Failure("a sample prints values, so it takes synthetic people only (surname code XXQ)".to_owned());
    if let Some(subject) = &sample.which.subject {
        if !subject.is_synthetic() {
            return Err(real());
        }
        let covered = mapping.covered();
        let tree = opened.tree(&sample.which, &mapping.record.id, subject, &covered).await.map_err(failed)?;
        return Ok((subject.clone(), tree.unwrap_or_default()));
    }
    let trees = opened.source.trees(mapping, MOST).await.map_err(failed)?;
    let trees = trees
        .ok_or_else(|| Failure("this system must be asked for one person: give --subject".to_owned()))?;
    let synthetic = trees.into_iter().find_map(|(_, tree)| {
        let person = mapping.subject_of(&tree).ok().flatten().filter(CodiceFiscale::is_synthetic)?;
        Some((person, tree))
    });
    synthetic.ok_or_else(real)
}

fn print(sample: &Sample, mapping: &Mapping, tree: &Value, read: &Result<Mapped, Vec<RowFault>>) {
    let say = |italian, english| sample.which.language.choose(italian, english);
    let empty = Mapped { fields: serde_json::Map::new(), notes: Vec::new() };
    let mapped = read.as_ref().unwrap_or(&empty);
    let lines = mapping.side_by_side(tree, mapped);
    let faults: &[RowFault] = read.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    if sample.which.json {
        let line = |line: &varco_adapters::mapping::Line| json!({ "source": line.source, "said": line.said, "field": line.target, "read": line.read });
        let fault = |fault: &RowFault| json!({ "field": fault.field, "reason": fault.reason.code() });
        let repairs: Vec<Value> = mapped
            .notes
            .iter()
            .map(|note| json!({ "field": note.field, "repair": note.repair.code() }))
            .collect();
        println!(
            "{}",
            json!({
                "record_type": mapping.record.id,
                "fits": read.is_ok(),
                "lines": lines.iter().map(line).collect::<Vec<_>>(),
                "faults": faults.iter().map(fault).collect::<Vec<_>>(),
                "repairs": repairs,
            })
        );
        return;
    }
    let head =
        [say("fonte", "source"), say("dice", "says"), say("campo", "field"), say("diventa", "becomes")];
    let rows: Vec<Vec<String>> = lines
        .into_iter()
        .map(|line| vec![line.source, line.said.join(" | "), line.target, line.read.join(" | ")])
        .collect();
    print!("{}", table::text(&head.map(str::to_owned), &rows));
    for fault in faults {
        println!("{}: {}", fault.field, say(fault.reason.italian(), fault.reason.english()));
    }
    for note in &mapped.notes {
        println!("{}: {}", note.field, say(note.repair.italian(), note.repair.english()));
    }
}

//! What became of a dropped file, told to the agency in a folder beside it: `esiti/<file>.<digest>.json`, and for the rows
//! that were refused a list that a spreadsheet opens. No value of a record is in either.

use serde_json::json;
use varco_core::hash::Sha256;
use varco_core::id::RecordTypeId;
use varco_core::json;

use super::csv;
use super::folder::Folder;
use super::index::{FAULTS_MAX, Report};
use crate::FetchError;

/// The folder of outcomes, below the drop folder.
pub(super) const OUTCOMES: &str = "esiti";
/// Digits of the file's digest in the outcome's name: two files of one name and the same sixteen digits are the same file.
const DIGITS: usize = 16;

/// Tells once what became of a file. The list of refused rows is there before the outcome is: whoever finds the outcome finds
/// all of it, and a file whose outcome is there is not told of again, over restarts too.
pub(super) async fn tell(
    folder: &Folder,
    (file, bytes): (&str, &[u8]),
    record: &RecordTypeId,
    report: &Report,
) -> Result<(), FetchError> {
    let digest = Sha256::of(bytes).to_string();
    let base = format!("{OUTCOMES}/{file}.{}", digest.get(..DIGITS).unwrap_or(&digest));
    let outcome = format!("{base}.json");
    if folder.read(&outcome, 0, 1).await?.is_some() {
        return Ok(());
    }
    if !report.faults.is_empty() {
        folder.put(&format!("{base}.scarti.csv"), refused(report).as_bytes()).await?;
    }
    let said = json!({
        "file": file,
        "sha256": digest,
        "record_type": record,
        "rows": report.rows,
        "people": report.people,
        "faults": report.faults.len(),
        "faults_all_listed": report.faults.len() < FAULTS_MAX,
        "repairs": report.repairs,
    });
    folder.put(&outcome, json::canonical(&said).as_bytes()).await?;
    // Not the file's name: some systems put a person's codice fiscale into it.
    tracing::info!(file.sha256 = digest, record_type = %record, rows = report.rows, people = report.people,
        refused = report.faults.len(), "a dropped file was taken in");
    Ok(())
}

/// With a byte order mark, without which spreadsheets take UTF-8 for something else.
fn refused(report: &Report) -> String {
    let mut text = format!("\u{feff}{}", csv::write(&["riga", "campo", "codice", "motivo"], ';'));
    for fault in &report.faults {
        let row = fault.row.to_string();
        text.push_str(&csv::write(&[&row, &fault.field, fault.reason.code(), fault.reason.italian()], ';'));
    }
    text
}

//! Entries as records, one a line: for other programs, and for people with a spreadsheet.

use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};
use varco_core::log::leaf::Leaf;
use varco_core::log::mapping;
use varco_core::log::summary::Summary;
use varco_store::read::ReadError;

use super::super::Failure;
use super::super::source::Source;
use super::opened;

/// What an export is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table: one line an entry, with the bodies that are not erased.
    Csv,
    /// FHIR AuditEvent after IHE BALP, one JSON object a line.
    Fhir,
    /// JSON Lines: each entry with the bodies that are not erased.
    Jsonl,
    /// OCSF API Activity, one JSON object a line, without subject and case.
    Ocsf,
    /// One folder in the layout of c2sp.org/tlog-tiles.
    #[default]
    Tiles,
    /// The same in archives of 65,536 entries, each of which can be checked alone.
    Zip,
}

/// The head of the table beside tiles, and its lines: only what the entries say openly.
pub const TABLE: &str = "index,at,kind,id,consumer,provider,purpose,record_type,code\n";

/// One line of the table. No value of a leaf has a comma, a quote or a line break.
pub fn row(leaf: &Leaf) -> String {
    let content = leaf.content();
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let cells = [
        content.index.to_string(),
        content.at.to_string(),
        content.kind.to_string(),
        content.id.to_string(),
        text(content.consumer.as_ref().map(|id| id.as_str())),
        text(content.provider.as_ref().map(|id| id.as_str())),
        text(content.purpose.as_ref().map(|id| id.as_str())),
        text(content.record_type.as_ref().map(|id| id.as_str())),
        text(content.code.as_ref().map(|code| code.as_str())),
    ];
    cells.join(",") + "\n"
}

/// Writes the entries of a range, a bundle at a time.
pub async fn write(
    source: &Source,
    format: Format,
    (range, size): (Range<u64>, u64),
    (out, origin): (&Path, &str),
) -> Result<(), Failure> {
    let fault = |error| Failure::File(out.to_owned(), error);
    let mut file = std::io::BufWriter::new(File::create(out).map_err(fault)?);
    if format == Format::Csv {
        writeln!(file, "{}", mapping::COLUMNS).map_err(fault)?;
    }
    for (from, to) in source.bundles(range.clone(), size).await? {
        let mut bodies = opened(source.bodies(from, to).await?)?.into_iter().peekable();
        for stored in source.stored(from, to).await? {
            while bodies.next_if(|(index, _)| *index < stored.index).is_some() {}
            let own = bodies.next_if(|(index, _)| *index == stored.index).map(|(_, slots)| slots);
            let slots = own.unwrap_or_default();
            let leaf = Leaf::parse(&stored.leaf).map_err(ReadError::Leaf)?;
            if range.contains(&stored.index) {
                writeln!(file, "{}", line(format, &leaf, &slots, origin)).map_err(fault)?;
            }
        }
    }
    file.flush().map_err(fault)
}

fn line(format: Format, leaf: &Leaf, slots: &varco_core::log::entry::Slots, origin: &str) -> String {
    let summary = || Summary::of(leaf, slots);
    match format {
        Format::Csv => mapping::row(&summary()),
        Format::Fhir => mapping::fhir(&summary(), origin).to_string(),
        Format::Ocsf => mapping::ocsf(&summary(), origin).to_string(),
        Format::Jsonl | Format::Tiles | Format::Zip => {
            let entry: Value = serde_json::from_str(leaf.as_str()).unwrap_or_default();
            let mut bodies = serde_json::Map::new();
            for (name, slot) in slots.iter() {
                let body = serde_json::from_str(&slot.body).unwrap_or_else(|_| json!(slot.body));
                bodies.insert(name.text().to_owned(), body);
            }
            json!({ "entry": entry, "bodies": bodies }).to_string()
        }
    }
}

//! How the files of a mapping are named and written, and what files cannot serve.

use varco_core::id::RecordTypeId;

use crate::encoding::Encoding;
use crate::mapping::Mapping;

/// A mapping that files cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    #[error("[mappatura {0}]: `{1}` is no column; in a CSV file a place is `COLUMN` or `righe[].COLUMN`")]
    NoColumn(RecordTypeId, String),
    #[error("[mappatura {0}]: XML files need `elemento`, the name of one person's element")]
    NoElement(RecordTypeId),
    #[error(
        "[mappatura {0}]: `da` must name the files, such as `anagrafe_*.csv`; they end in `.csv` or `.xml`"
    )]
    NoFiles(RecordTypeId),
    #[error("[mappatura {0}]: `soggetto` must say where the codice fiscale is")]
    NoSubject(RecordTypeId),
    #[error("[mappatura {0}]: `{1} = {2}` is not one of {3}")]
    Word(RecordTypeId, &'static str, String, &'static str),
}

/// How the files of one record type are written.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub format: Format,
    pub encoding: Encoding,
    pub separator: u8,
    /// The name of one person's element in XML.
    pub element: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Xml,
}

pub(super) fn is_incremental(mapping: &Mapping) -> bool {
    mapping.words.get("modo").is_some_and(|mode| mode == "incrementale")
}

pub(super) fn format_of(mapping: &Mapping) -> Option<Format> {
    let name = mapping.from.as_deref()?.to_ascii_lowercase();
    match name.rsplit_once('.')? {
        (_, "csv") => Some(Format::Csv),
        (_, "xml") => Some(Format::Xml),
        _ => None,
    }
}

/// Whether a name is of the pattern, in which `*` stands for anything.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

pub(super) fn faults(mapping: &Mapping) -> Vec<FileFault> {
    let id = &mapping.record.id;
    let mut faults = Vec::new();
    let named = mapping.from.as_deref().is_some_and(|name| !name.contains(['/', '\\', '\0']));
    let format = format_of(mapping).filter(|_| named);
    if format.is_none() {
        faults.push(FileFault::NoFiles(id.clone()));
    }
    if mapping.subject.is_none() {
        faults.push(FileFault::NoSubject(id.clone()));
    }
    if format == Some(Format::Xml) && !mapping.words.contains_key("elemento") {
        faults.push(FileFault::NoElement(id.clone()));
    }
    if format == Some(Format::Csv) {
        let all = mapping.covered();
        let places = mapping.sources(&all).into_iter().chain(&mapping.subject);
        let wrong = places.filter(|path| path.column().is_none());
        faults.extend(wrong.map(|path| FileFault::NoColumn(id.clone(), path.to_string())));
    }
    for (word, allowed) in [("consegna", ["csv", "json"]), ("modo", ["completo", "incrementale"])] {
        let Some(found) = mapping.words.get(word).filter(|found| !allowed.contains(&found.as_str())) else {
            continue;
        };
        let expected = if word == "modo" { "`completo`, `incrementale`" } else { "`csv`, `json`" };
        faults.push(FileFault::Word(
            id.clone(),
            if word == "modo" { "modo" } else { "consegna" },
            found.clone(),
            expected,
        ));
    }
    faults
}

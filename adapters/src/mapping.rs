//! Mapping files: how an agency's own shape becomes the canonical record, and back.
//!
//! Every kind of adapter turns what its source said into one plain JSON tree (a row becomes an object by column, XML an
//! object by the rules of `xml`, FHIR stays as it is). A mapping says which place of the tree is which field, and how its
//! text is read. It is a text that a person can read, in the form of the policy files, and checked whole before use:
//!
//! ```text
//! [mappatura anagrafica_nucleo]
//! da       = VW_ANAGRAFE                 # the view, file, resource or operation
//! soggetto = COD_FISC                    # where the person's codice fiscale is
//! fonte         | campo                       | lettura          | altrimenti | guasto
//! COD_FISC      | codice_fiscale              |                  |            |
//! DT_NASCITA    | data_nascita                | data(GG/MM/AAAA) |            |
//! SESSO         | sesso                       | lista(sesso)     |            |
//! FLG_PROTETTO  | riservatezza_indirizzo      | si_no(S,N)       | no         |
//! VIA           | residenza_indirizzo.odonimo |                  |            | ometti
//!
//! [traduzione sesso]
//! fonte | valore
//! 1     | M
//! 2     | F
//! ```
//!
//! A section `[conteggio ..]` says in the same way where a database counts people: see `counts`.
//!
//! Knows record types. Knows nothing of consent, policy or log, and reads no file.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use varco_core::id::{FieldId, RecordTypeId};
use varco_core::policy::record::RecordType;

mod apply;
mod counts;
mod coverage;
mod fault;
mod file;
mod identity;
pub mod path;
mod reading;
mod text;
mod write;

#[cfg(test)]
mod tests;

pub use apply::{Ask, Mapped};
pub use coverage::{Coverage, FieldCoverage, Line};
pub use fault::{Note, Reason, Repair, RowFault};
pub use write::Written;

use crate::counting::CountView;
use path::Path;
use reading::Step;

/// The mappings of one agency's system, one for each record type it holds.
#[derive(Debug, Default)]
pub struct Mappings {
    by_type: BTreeMap<RecordTypeId, Mapping>,
    /// Where people are counted.
    counts: BTreeMap<RecordTypeId, CountView>,
}

/// How one record type is read from a source, and written to it.
#[derive(Debug)]
pub struct Mapping {
    pub record: Arc<RecordType>,
    /// `da`: the view, the file names, the resource or the operation, in the source's own words.
    pub from: Option<String>,
    /// `soggetto`: where the tree says whose record it is.
    pub subject: Option<Path>,
    /// Further words of the section that the adapter's kind allows.
    pub words: BTreeMap<String, String>,
    rules: Vec<Rule>,
    /// What is written besides the fields: `resourceType`, a version.
    constants: Vec<(Path, Value)>,
}

/// One line of a mapping.
#[derive(Debug)]
struct Rule {
    /// `None` for a field that is the same in every record: its `altrimenti`.
    source: Option<Path>,
    /// Where in the record.
    target: Path,
    /// The field whose policy covers the target: a part where the target is one, else the field it begins with.
    field: FieldId,
    kind: varco_core::view::kind::Kind,
    steps: Vec<Step>,
    otherwise: Option<Value>,
    on_fault: OnFault,
    direction: Direction,
}

/// What a value that cannot be read means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFault {
    /// The field counts as not held, and the fault is reported all the same.
    LeaveOut,
    /// The whole record is refused.
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Both,
    Read,
    Write,
}

impl Mappings {
    pub fn of(&self, record: &RecordTypeId) -> Option<&Mapping> {
        self.by_type.get(record)
    }

    pub fn count_view(&self, record: &RecordTypeId) -> Option<&CountView> {
        self.counts.get(record)
    }

    pub fn count_views(&self) -> impl Iterator<Item = (&RecordTypeId, &CountView)> {
        self.counts.iter()
    }

    pub fn all(&self) -> impl Iterator<Item = &Mapping> {
        self.by_type.values()
    }
}

impl Mapping {
    /// The places of the tree that these fields are read from, each once: all that need be asked of the source.
    pub fn sources<'a>(&'a self, fields: &[FieldId]) -> Vec<&'a Path> {
        let mut found: Vec<&Path> = Vec::new();
        for rule in self.reading_rules(fields) {
            if let Some(source) = &rule.source
                && !found.contains(&source)
            {
                found.push(source);
            }
        }
        found
    }

    /// Fields that some line reads, whichever are asked for.
    pub fn covered(&self) -> Vec<FieldId> {
        let mut fields: Vec<FieldId> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.direction != Direction::Write) {
            if !fields.contains(&rule.field) {
                fields.push(rule.field.clone());
            }
        }
        fields
    }

    /// The columns to select of a flat source: the person's and those of these fields, each once.
    pub fn columns<'a>(&'a self, fields: &[FieldId]) -> Vec<&'a str> {
        let mut columns: Vec<&'a str> = Vec::new();
        let subject = self.subject.iter();
        for path in subject.chain(self.sources(fields)) {
            if let Some(column) = path.column()
                && !columns.contains(&column)
            {
                columns.push(column);
            }
        }
        columns
    }

    fn reading_rules<'a, 'f>(
        &'a self,
        fields: &'f [FieldId],
    ) -> impl Iterator<Item = &'a Rule> + use<'a, 'f> {
        self.rules
            .iter()
            .filter(move |rule| rule.direction != Direction::Write && fields.contains(&rule.field))
    }
}

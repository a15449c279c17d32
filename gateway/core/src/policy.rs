//! What may leave: the disclosure policy as a finite table, and the decision over it.
//!
//! Grants come from one layer only, the agreement; every other layer narrows; what shows is the meet. The table is
//! compiled once, checked whole, and read by index. This module must not know HTTP, storage or how agencies answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::case::Level;
use crate::hash::Sha256;
use crate::id::{AgencyId, ConsentId, FieldId, OfficeId, PurposeId, RecordTypeId, ViewId};
use crate::registry::AgencyKind;
use crate::statistics::{Area, Tabulation};
use crate::time::Timestamp;
use crate::view::ladder::ViewIndex;

pub mod bundle;
pub mod cases;
pub mod compile;
pub mod decide;
mod facts;
pub mod fault;
mod met;
pub mod opening;
pub mod questions;
pub mod record;
pub mod reduce;
pub mod table;
pub mod text;
mod words;

pub(crate) use met::marks;

pub use facts::{Facts, MemberFacts, Party, Question};
use fault::PolicyFault;
use record::{FieldIndex, RecordType};
use table::{Epoch, Needs};

/// A layer of the policy, from the one nobody can override to the request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    Law,
    Agreement,
    /// The regulation of the body that owns the record.
    Owner,
    /// The regulation of the body that asks: it may refuse to receive.
    Recipient,
    Case,
    /// Consent, opposition, concealment.
    Person,
    /// It was not asked for.
    Request,
}

/// Why a field is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Needs an act of the guardian or the judge.
    ActMissing,
    /// The category of the data forbids it.
    Category,
    /// The person has not agreed, or not to this field.
    ConsentMissing,
    /// It would tell a field that is withheld.
    Implied,
    /// Granted for this purpose, but at another level of the équipe.
    Level,
    NotGranted,
    NotRequested,
    /// The person opposes.
    Opposed,
    /// The value could not be brought to the view that is allowed.
    Unfit,
    /// A body's regulation forbids it.
    Regulation,
    /// The member of the équipe does not have the field's scope.
    Scope,
}

/// The request as a whole may not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the agreement is not in force")]
    AgreementNotInForce,
    #[error("the purpose gives aggregates only, never one person's record")]
    AggregatesOnly,
    #[error("the case does not serve purpose `{0}`")]
    CaseForAnotherPurpose(PurposeId),
    #[error("purpose `{0}` needs an open case of whose équipe the operator is a member")]
    CaseMissing(PurposeId),
    #[error("purpose `{0}` does not hold at the level of this case")]
    Level(PurposeId),
    #[error("agency `{0}` is not a party to the agreement")]
    NotAParty(AgencyId),
    #[error("the record is the agency's own")]
    OwnRecord,
    #[error("agency `{0}` does not own records of type `{1}`")]
    ProviderDoesNotOwn(AgencyId, RecordTypeId),
    #[error("purpose `{0}` is not one that this agency or office may request under")]
    PurposeNotHeld(PurposeId),
    #[error("purpose `{0}` is not in force")]
    PurposeNotInForce(PurposeId),
    #[error("purpose `{0}` does not cover records of type `{1}`")]
    RecordNotInPurpose(PurposeId, RecordTypeId),
    #[error("the purpose gives single records, no aggregates")]
    RecordsOnly,
    #[error("purpose `{0}` does not hold between two bodies of one kind")]
    SameKind(PurposeId),
    #[error("record type `{1}` has no field `{0}`")]
    UnknownField(FieldId, RecordTypeId),
    #[error("unknown purpose `{0}`")]
    UnknownPurpose(PurposeId),
    #[error("unknown record type `{0}`")]
    UnknownRecordType(RecordTypeId),
}

/// What happens to one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    Show {
        view: ViewIndex,
        grant: GrantIndex,
        /// Which of [`Plan::consents`] it rests on.
        consent: Option<usize>,
        /// The first layer that took something from the grant.
        limited_by: Option<Layer>,
    },
    /// Shown to nobody in this way: the same whether concealed, not granted, not asked or absent.
    Unavailable,
    Withhold {
        layer: Layer,
        reason: Reason,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub field: FieldIndex,
    pub ruling: Ruling,
}

/// The decision: a ruling for every field of the record type, in its order.
#[derive(Clone, Debug)]
pub struct Plan {
    pub record_type: Arc<RecordType>,
    pub fields: Vec<Planned>,
    consents: Vec<(ConsentId, u64)>,
    /// Which fields rest on which consents of other members of the household, besides the subject's own.
    shared: Vec<(FieldIndex, usize)>,
    /// Ruled as if nothing stood in the way, and then answered as if the source held nothing: what the person
    /// asked to be concealed must not stand out.
    concealed: Vec<FieldIndex>,
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self.record_type.id == other.record_type.id
            && self.fields == other.fields
            && self.consents == other.consents
            && self.shared == other.shared
            && self.concealed == other.concealed
    }
}

/// One cell of the agreement's matrix for one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantIndex(pub(crate) u32);

/// Where a grant stands in the agreement, and what enables it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    pub record_type: RecordTypeId,
    pub field: FieldId,
    /// The column of the matrix: `P1`.
    pub column: String,
    pub purpose: PurposeId,
    pub view: ViewId,
    #[serde(skip)]
    pub needs: Needs,
    pub acts: Vec<String>,
    /// The impact assessment (GDPR art. 35) of its purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpia: Option<String>,
    pub consent: ConsentRole,
    pub file: String,
    pub line: u32,
}

/// What consent does for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentRole {
    /// Flows by law alone.
    None,
    /// Lawful without, but the agreement promises to share only with the person's agreement.
    Safeguard,
    /// The legal basis itself (GDPR 6(1)(a) or 9(2)(a)).
    Basis,
}

/// Categories of personal data, each with its own place in the law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// GDPR art. 6 only.
    Common,
    /// GDPR art. 9.
    Special,
    /// GDPR art. 10.
    Judicial,
    /// A maggior tutela dell'anonimato: HIV, addictions, abortion, violence, anonymous birth, adoption.
    Protected,
}

/// An act that enables a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Act {
    pub id: String,
    pub title: String,
    pub art6: Option<String>,
    pub art9: Option<String>,
    pub art10: Option<String>,
    pub file: String,
    pub line: u32,
}

/// The agreement between the bodies: who, and from when to when. Outside it nothing is exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agreement {
    pub title: String,
    pub from: Timestamp,
    pub until: Timestamp,
    pub parties: Vec<AgreementParty>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgreementParty {
    pub agency: AgencyId,
    pub kind: AgencyKind,
    pub name: String,
}

/// Whether a purpose is exercised inside a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseRule {
    /// Before or outside any taking in charge.
    None,
    Required,
}

/// What a purpose gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gives {
    /// Statistics: no person's record is ever given.
    Aggregates,
    Records,
}

/// A purpose of the agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Purpose {
    pub id: PurposeId,
    pub name: String,
    pub case: CaseRule,
    /// With a case: the levels it holds at.
    pub levels: Vec<Level>,
    pub consent: ConsentRole,
    pub acts: Vec<String>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub gives: Gives,
    /// Whether two bodies of one kind may exchange under it.
    pub same_kind: bool,
    /// Columns of the matrix that hold under it, and the record types with the fields it is limited to.
    pub columns: Vec<String>,
    pub records: Vec<PurposeRecord>,
    pub dpia: Option<String>,
    pub retention: Option<String>,
    pub daily_calls: Option<u32>,
    /// An emergency's purpose: within how many hours each use must be reviewed.
    pub review_hours: Option<u32>,
    pub visibility: Visibility,
}

/// Whether a person is told, in their own report, of what was disclosed under a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    Shown,
    /// The law keeps it from them (GDPR arts. 15(4), 23): protection of minors, the judicial authority.
    Withheld,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurposeRecord {
    pub record_type: RecordTypeId,
    /// Absent: every field of the record type.
    pub fields: Option<Vec<FieldId>>,
}

/// A column of the matrix: who receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    pub id: String,
    pub kinds: Vec<AgencyKind>,
    pub office: Option<OfficeId>,
    /// Absent: at any level, or without a case.
    pub level: Option<Level>,
    pub name: String,
}

/// Kind, or kind and office: what the table is indexed by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Audience {
    pub kind: AgencyKind,
    pub office: Option<OfficeId>,
}

/// A compiled bundle. Immutable; a change is another one.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub version: String,
    /// The day by which the bodies confirm it or replace it; `riesame` of the bundle.
    pub review: Option<Timestamp>,
    sha256: Sha256,
    pub agreement: Agreement,
    pub acts: Vec<Act>,
    pub columns: Vec<Column>,
    pub purposes: Vec<Purpose>,
    records: Vec<Arc<RecordType>>,
    audiences: Vec<Audience>,
    /// The matrix as written; grants point into it.
    rows: Vec<bundle::matrix::MatrixRow>,
    grants: Vec<compile::GrantKey>,
    /// By their start, the first from the beginning of time.
    epochs: Vec<Epoch>,
    rules: Vec<table::Rule>,
    assertions: Vec<table::Assertion>,
    /// What may be counted, by record type.
    pub tabulations: Vec<Tabulation>,
    /// Owners that are counted together.
    areas: Vec<Area>,
}

impl Policy {
    /// Reads, checks and compiles the files of a bundle. Order does not matter.
    pub fn load(files: &[(String, Vec<u8>)]) -> Result<Self, Vec<PolicyFault>> {
        compile::compile(files)
    }

    /// The hash a bundle is known by: SHA-256 over the sorted list of `<path> 0x00 <hash of the bytes> 0x0A`.
    pub fn hash(files: &[(String, Vec<u8>)]) -> Sha256 {
        let sorted: BTreeMap<&str, Sha256> =
            files.iter().map(|(path, bytes)| (path.as_str(), Sha256::of(bytes))).collect();
        let list: String = sorted.iter().map(|(path, hash)| format!("{path}\0{hash}\n")).collect();
        Sha256::of(list.as_bytes())
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub const fn sha256(&self) -> Sha256 {
        self.sha256
    }

    pub fn record_types(&self) -> &[Arc<RecordType>] {
        &self.records
    }

    pub fn record_type(&self, id: &RecordTypeId) -> Option<&Arc<RecordType>> {
        self.records.iter().find(|record| record.id == *id)
    }

    pub fn tabulation(&self, id: &RecordTypeId) -> Option<&Tabulation> {
        self.tabulations.iter().find(|tabulation| tabulation.record_type == *id)
    }

    pub fn purpose(&self, id: &PurposeId) -> Option<&Purpose> {
        self.purposes.iter().find(|purpose| purpose.id == *id)
    }

    /// A grant in words.
    pub fn grant(&self, index: GrantIndex) -> Option<Grant> {
        let key = self.grants.get(usize::try_from(index.0).ok()?)?;
        let row = self.rows.get(key.row)?;
        let (column, purpose) = (self.columns.get(key.column)?, self.purposes.get(key.purpose)?);
        let record = self.records.get(row.record)?;
        let field = record.field(row.field)?;
        let cell = row.cells.get(key.column)?;
        let mut acts = row.acts.clone();
        acts.extend(purpose.acts.iter().filter(|act| !row.acts.contains(act)).cloned());
        Some(Grant {
            record_type: record.id.clone(),
            field: field.id.clone(),
            column: column.id.clone(),
            purpose: purpose.id.clone(),
            view: field.ladder.view(cell.view)?.id.clone(),
            needs: cell.needs,
            acts,
            dpia: purpose.dpia.clone(),
            consent: purpose.consent,
            file: row.place.file.clone(),
            line: row.place.line,
        })
    }

    /// How many cells of the matrix grant something, each counted once for every purpose.
    pub fn grant_count(&self) -> usize {
        self.grants.len()
    }

    pub fn grants(&self) -> impl Iterator<Item = Grant> {
        (0..u32::try_from(self.grants.len()).unwrap_or(u32::MAX)).filter_map(|i| self.grant(GrantIndex(i)))
    }

    pub fn audiences(&self) -> &[Audience] {
        &self.audiences
    }

    /// The number of cells of the compiled table, over all its epochs.
    pub fn size(&self) -> usize {
        self.epochs.iter().map(Epoch::size).sum()
    }
}

impl Plan {
    /// Whether nothing would be shown, whatever the record holds.
    pub fn is_empty(&self) -> bool {
        !self.fields.iter().any(|planned| matches!(planned.ruling, Ruling::Show { .. }))
    }

    /// What the adapter asks the source for: what may be shown, and the control fields, which stay here.
    pub fn to_fetch(&self) -> Vec<FieldId> {
        let shown = |planned: &&Planned| {
            matches!(planned.ruling, Ruling::Show { .. }) && !self.concealed.contains(&planned.field)
                || self.record_type.is_control(planned.field)
        };
        let id = |planned: &Planned| self.record_type.field(planned.field).map(|field| field.id.clone());
        self.fields.iter().filter(shown).filter_map(id).collect()
    }

    /// The consents the plan rests on, with their epochs: what the log's writer compares.
    pub fn consents(&self) -> &[(ConsentId, u64)] {
        &self.consents
    }

    /// The consents of other members of the household that a field rests on.
    pub fn shared(&self, field: FieldIndex) -> impl Iterator<Item = &(ConsentId, u64)> {
        let of_field = self.shared.iter().filter(move |(index, _)| *index == field);
        of_field.filter_map(|(_, consent)| self.consents.get(*consent))
    }

    /// The ruling of a field by name.
    pub fn ruling(&self, field: &FieldId) -> Option<Ruling> {
        let index = self.record_type.find(field)?;
        self.fields.iter().find(|planned| planned.field == index).map(|planned| planned.ruling)
    }
}

#[cfg(test)]
mod tests;

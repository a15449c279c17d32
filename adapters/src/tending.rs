//! For the people who tend an adapter: what a source holds and how it maps, without any exchange.

use serde_json::Value;
use varco_core::id::{FieldId, RecordTypeId};
use varco_core::subject::CodiceFiscale;

use crate::mapping::{Mapping, Mappings};
use crate::{FetchError, Source};

impl Source {
    /// The mappings of a source that needs them.
    pub fn mappings(&self) -> Option<&Mappings> {
        match self {
            Self::File(file) => Some(file.mappings()),
            Self::Rest(_) => None,
            Self::Sql(sql) => Some(sql.mappings()),
        }
    }

    /// Records of any persons, at most so many, each with its row; `None` from a source that must be asked for one person.
    pub async fn trees(
        &self,
        mapping: &Mapping,
        most: usize,
    ) -> Result<Option<Vec<(u64, Value)>>, FetchError> {
        match self {
            Self::File(file) => file.trees(mapping, most).await.map(Some),
            Self::Rest(_) => Ok(None),
            Self::Sql(sql) => sql.trees(mapping, most).await.map(Some),
        }
    }

    /// One person's record as the source says it; `None` from a source that speaks the record types' own shape.
    pub async fn tree(
        &self,
        record: &RecordTypeId,
        subject: &CodiceFiscale,
        fields: &[FieldId],
    ) -> Result<Option<Value>, FetchError> {
        let mapping = || self.mappings().and_then(|all| all.of(record)).ok_or(FetchError::NoMapping);
        match self {
            Self::File(file) => file.tree(mapping()?, subject, fields).await.map(|(tree, _)| Some(tree)),
            Self::Rest(_) => Ok(None),
            Self::Sql(sql) => sql.tree(mapping()?, subject, fields).await.map(|(tree, _)| Some(tree)),
        }
    }
}

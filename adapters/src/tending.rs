//! For the people who tend an adapter: what a source holds and how it maps, without any exchange.

use serde_json::Value;
use varco_core::id::AgencyId;

use crate::mapping::{Mapping, Mappings};
use crate::{Context, FetchError, Request, Source};

impl Source {
    /// The mappings of a source that needs them.
    pub fn mappings(&self) -> Option<&Mappings> {
        match self {
            Self::Fhir(fhir) => Some(fhir.mappings()),
            Self::File(file) => Some(file.mappings()),
            Self::Rest(_) => None,
            Self::Soap(soap) => Some(soap.mappings()),
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
            Self::Fhir(_) | Self::Rest(_) | Self::Soap(_) => Ok(None),
            Self::Sql(sql) => sql.trees(mapping, most).await.map(Some),
        }
    }

    /// One person's record as the source says it; `None` from a source that speaks the record types' own shape.
    pub async fn tree(
        &self,
        provider: &AgencyId,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<Option<Value>, FetchError> {
        let mapping =
            || self.mappings().and_then(|all| all.of(request.record_type)).ok_or(FetchError::NoMapping);
        let (subject, fields) = (request.subject, request.fields);
        match self {
            Self::Fhir(fhir) => fhir.tree(mapping()?, request, context).await.map(|(tree, _)| Some(tree)),
            Self::File(file) => file.tree(mapping()?, subject, fields).await.map(|(tree, _)| Some(tree)),
            Self::Rest(_) => Ok(None),
            Self::Soap(soap) => soap.tree(provider, request, context).await.map(|(tree, ..)| Some(tree)),
            Self::Sql(sql) => sql.tree(mapping()?, subject, fields).await.map(|(tree, _)| Some(tree)),
        }
    }
}

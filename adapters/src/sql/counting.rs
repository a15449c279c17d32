//! Counting in the database: one statement, of which nothing but numbers by class comes back.

use std::collections::BTreeMap;

use serde_json::Value;
use varco_core::exchange::{Assurance, Said, SaidOf};
use varco_core::hash::Sha256;
use varco_core::json;
use varco_core::statistics::counts::AgencyCounts;
use varco_core::statistics::{Dimension, UNKNOWN};

use super::{CountRequest, CountView, Counted, Dialect, FetchError, Reached, Sql};
use crate::rows::Placed;

/// Classes that the policy does not know come as rows of their own before they are summed; more than this is no view of
/// classes.
pub(super) const ROWS_MAX: usize = 10_000;
const PEOPLE: &str = "varco_people";
const REPEATED: &str = "varco_repeated";

impl Sql {
    pub(crate) async fn count(&self, request: &CountRequest<'_>) -> Result<Counted, FetchError> {
        let tabulation = request.tabulation;
        let from = self.mappings.count_view(&tabulation.record_type).ok_or(FetchError::NoCounts)?;
        let column = |one: &Dimension| from.columns.get(&one.field).map(String::as_str);
        let columns: Option<Vec<&str>> = tabulation.dimensions.iter().map(column).collect();
        let columns = columns.ok_or(FetchError::NoMapping)?;
        let rows = self.database.count(from, &columns, &request.period.to_string()).await?;
        // Nobody at all is a period that the view does not have yet: released, it would stand for ever.
        if rows.is_empty() {
            return Err(FetchError::NoCounts);
        }
        if rows.len() > ROWS_MAX {
            return Err(FetchError::AnswerTooLarge { limit: ROWS_MAX });
        }
        let all: Vec<Value> = rows.iter().map(|row| Value::Object(row.columns.clone())).collect();
        let digest = Sha256::of(json::canonical(&Value::Array(all)).as_bytes());
        let mut cells: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        for row in &rows {
            if number(row, REPEATED) != Some(0) {
                return Err(FetchError::CountedTwice);
            }
            let people = number(row, PEOPLE).ok_or(FetchError::NotCounts)?;
            let classes = columns.iter().zip(&tabulation.dimensions).map(|(name, one)| class(row, name, one));
            let cell = cells.entry(classes.collect()).or_default();
            *cell = cell.saturating_add(people);
        }
        let counts = AgencyCounts::check(cells, tabulation)?;
        Ok(Counted { counts, said: Said { digest, of: SaidOf::Tree, by: Assurance::Database } })
    }
}

fn number(row: &Placed, column: &str) -> Option<u64> {
    row.columns.get(column)?.as_str()?.parse().ok()
}

/// What is no class of the policy is not known.
fn class(row: &Placed, column: &str, dimension: &Dimension) -> String {
    let text = row.columns.get(column).and_then(Value::as_str).map(str::trim);
    let known = text.filter(|text| dimension.classes.iter().any(|class| class == text));
    known.unwrap_or(UNKNOWN).to_owned()
}

impl Reached {
    /// So many rows for each combination, and by how many there are more rows than people. Neither names nor codes are
    /// selected.
    async fn count(
        &self,
        from: &CountView,
        columns: &[&str],
        period: &str,
    ) -> Result<Vec<Placed>, FetchError> {
        let dialect = self.dialect();
        let statement = dialect.counting(from, columns);
        let names: Vec<&str> = columns.iter().copied().chain([PEOPLE, REPEATED]).collect();
        // MySQL has no numbered parameters.
        let twice = [period, period];
        let parameters = if dialect == Dialect::Mysql { twice.as_slice() } else { &twice[..1] };
        self.ask(statement, &names, parameters).await
    }
}

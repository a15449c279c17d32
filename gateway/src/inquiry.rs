//! The search behind an inquiry after an incident: every disclosure that fits, opened and added up.

use varco_core::id::AgencyId;
use varco_core::log::incident::{Incident, Inquiry, InquiryFault};
use varco_core::log::leaf::Leaf;
use varco_store::read::{PAGE_MAX, ReadError, Reader};
use varco_store::search::Search;

use crate::alerts::entries;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InquireError {
    #[error(transparent)]
    Inquiry(#[from] InquiryFault),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Opens every entry of the period that the search finds; for an agency, of those it took part in.
pub async fn incident(
    log: &Reader,
    inquiry: &Inquiry,
    own: Option<&AgencyId>,
) -> Result<Incident, InquireError> {
    inquiry.check()?;
    let search = Search {
        from: Some(inquiry.from),
        until: Some(inquiry.until),
        agency: own.map(ToString::to_string),
        consumer: inquiry.agency.as_ref().map(ToString::to_string),
        operator: inquiry.operator.as_ref().map(ToString::to_string),
        office: inquiry.office.as_ref().map(ToString::to_string),
        seal: inquiry.key.map(|key| key.to_string()),
        limit: PAGE_MAX,
        ..Search::default()
    };
    let mut indices = found(log, search).await?;
    indices.reverse();
    let mut incident = Incident::of(inquiry.clone());
    for run in runs(&indices) {
        for entry in entries(log, run.start, run.end).await? {
            if indices.binary_search(&entry.index).is_ok() {
                incident.take(&entry)?;
            }
        }
    }
    Ok(incident)
}

/// The indices of all entries that fit, the newest first.
async fn found(log: &Reader, mut search: Search) -> Result<Vec<u64>, ReadError> {
    let mut indices = Vec::new();
    loop {
        let page = log.search(&search).await?;
        indices.extend(page.entries.iter().map(Leaf::index));
        match page.next {
            Some(next) => search.before = Some(next),
            None => return Ok(indices),
        }
    }
}

/// Stretches that hold the indices, each within a page: one query reads a whole stretch.
fn runs(indices: &[u64]) -> Vec<std::ops::Range<u64>> {
    let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
    for index in indices {
        match runs.last_mut() {
            // Reading up to 16 rows too many costs less than another query.
            Some(run)
                if *index < run.end.saturating_add(16) && *index < run.start.saturating_add(PAGE_MAX) =>
            {
                run.end = index.saturating_add(1);
            }
            Some(_) | None => runs.push(*index..index.saturating_add(1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_hold_every_index_and_fit_into_a_page() {
        let indices: Vec<u64> = (0..3000).filter(|n| n % 7 == 0).chain([5000, 5001, 9000]).collect();
        let runs = runs(&indices);
        assert!(indices.iter().all(|index| runs.iter().any(|run| run.contains(index))));
        assert!(runs.iter().all(|run| run.end - run.start <= PAGE_MAX));
        assert_eq!(runs.len(), 5);
    }
}

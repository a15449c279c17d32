//! Counts in place of records: what is asked of a system that counts, and where a database's counting view has what.

use std::collections::BTreeMap;

use varco_core::exchange::Said;
use varco_core::id::{AgencyId, ExchangeId, FieldId, PurposeId};
use varco_core::statistics::counts::AgencyCounts;
use varco_core::statistics::{Period, Tabulation};
use varco_core::wire::{Evidence, Jtis};

/// What to count, and for whom. Nobody is named in it.
#[derive(Clone, Copy, Debug)]
pub struct CountRequest<'a> {
    pub exchange: &'a ExchangeId,
    pub consumer: &'a AgencyId,
    pub purpose: &'a PurposeId,
    pub tabulation: &'a Tabulation,
    pub period: Period,
    /// Who at the consumer's end asks.
    pub evidence: &'a Evidence,
    /// Fresh identifiers for our tokens.
    pub jtis: &'a Jtis,
}

/// What a system counted, and how it is known who said it.
#[derive(Debug)]
pub struct Counted {
    pub counts: AgencyCounts,
    pub said: Said,
}

/// `[conteggio ..]` of a mapping file: a view with one row for each person and period, and its columns.
#[derive(Debug)]
pub struct CountView {
    /// `da`: the view.
    pub from: String,
    /// `soggetto`: the column by which the database itself sees that nobody is counted twice. It is never selected.
    pub subject: String,
    /// `periodo`: the column that holds `2026-S1` or `2026`.
    pub period: String,
    /// The column of each dimension, which holds its class.
    pub columns: BTreeMap<FieldId, String>,
}

//! The orders to erase of a whole log, and which of them covers an entry.

use super::{Gone, Verdict};
use crate::log::entry::{Erases, Kind, SlotName};

/// The orders to erase, so that those that cover an entry are found without asking all of them: retention gives thousands
/// of orders over millions of entries.
pub(super) struct Orders {
    /// The index and kind of the order and what it erases, sorted by the first entry it erases.
    sorted: Vec<(u64, Kind, Erases)>,
    /// For each order how far it and all orders before it reach.
    reach: Vec<u64>,
}

impl Orders {
    pub(super) fn of(mut sorted: Vec<(u64, Kind, Erases)>) -> Self {
        sorted.sort_by_key(|(at, _, erases)| (erases.first(), *at));
        let mut furthest = 0;
        let reach = sorted
            .iter()
            .map(|(_, _, erases)| {
                furthest = erases.last().max(furthest);
                furthest
            })
            .collect();
        Self { sorted, reach }
    }

    pub(super) fn verdict(&self, index: u64, gone: &Gone) -> Verdict {
        let mut by = None;
        for name in &gone.slots {
            match self.order(index, gone.kind, *name) {
                Some(at) => by = Some(at),
                None => return Verdict::ErasedWithoutOrder(*name),
            }
        }
        by.map_or(Verdict::Ok, Verdict::ErasedByOrder)
    }

    /// The first order, in the order of the log, that covers a slot of the entry.
    fn order(&self, index: u64, kind: Kind, name: SlotName) -> Option<u64> {
        let covering = self.reaching(index).filter(|(_, _, erases)| erases.covers(index, kind, name));
        covering.map(|(at, _, _)| *at).min()
    }

    /// The order that an entry be not served any more.
    pub(super) fn pruned(&self, index: u64) -> Option<u64> {
        let covers = |erases: &Erases| (erases.first()..=erases.last()).contains(&index);
        let covering =
            self.reaching(index).filter(|(_, kind, erases)| *kind == Kind::Prune && covers(erases));
        covering.map(|(at, _, _)| *at).min()
    }

    /// The orders that may cover an entry. One that comes before what it erases has no force.
    fn reaching(&self, index: u64) -> impl Iterator<Item = &(u64, Kind, Erases)> {
        let begun = self.sorted.partition_point(|(_, _, erases)| erases.first() <= index);
        let begun = self.sorted.iter().zip(&self.reach).take(begun).rev();
        let reaching = begun.take_while(move |(_, reach)| **reach >= index).map(|(order, _)| order);
        reaching.filter(move |(at, _, _)| *at > index)
    }
}

//! What a change of bundle widens and narrows: every cell, between every two bodies, with implications.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Effect;
use super::cells::{CellKey, Pair};
use crate::policy::{Gives, Policy};
use crate::time::Timestamp;

/// In which direction a cell moves. Incomparable counts as widening: something shows that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Incomparable,
    Narrows,
    Widens,
}

impl Direction {
    pub const fn widens(self) -> bool {
        matches!(self, Self::Incomparable | Self::Widens)
    }

    /// For people, in Italian.
    pub const fn italian(self) -> &'static str {
        match self {
            Self::Incomparable => "non confrontabile",
            Self::Narrows => "restringe",
            Self::Widens => "allarga",
        }
    }
}

/// A cell that changes, and between whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub direction: Direction,
    #[serde(flatten)]
    pub key: CellKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Effect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Effect>,
    /// The owners for whom it changes.
    pub owners: BTreeSet<String>,
}

/// A cell, which way it moves, and from where to where: the same for several owners.
type Move = (CellKey, Direction, Option<Effect>, Option<Effect>);

/// A condition of the agreement or of a purpose that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Term {
    pub direction: Direction,
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    pub terms: Vec<Term>,
    pub cells: Vec<Moved>,
}

impl Diff {
    pub fn widens(&self) -> bool {
        self.terms.iter().any(|term| term.direction.widens())
            || self.cells.iter().any(|cell| cell.direction.widens())
    }
}

impl Policy {
    /// Everything that changes from this bundle to another, at an instant.
    pub fn diff(&self, other: &Self, now: Timestamp) -> Diff {
        self.diff_at(other, &BTreeSet::from([now]))
    }

    /// Everything that changes from an instant on: also what rows that begin or end later bring then.
    pub fn diff_from(&self, other: &Self, from: Timestamp) -> Diff {
        let turns = self.epochs.iter().chain(&other.epochs).map(|epoch| epoch.from);
        self.diff_at(other, &turns.filter(|turn| *turn > from).chain([from]).collect())
    }

    fn diff_at(&self, other: &Self, instants: &BTreeSet<Timestamp>) -> Diff {
        let pairs: BTreeSet<Pair> = self.pairs().into_iter().chain(other.pairs()).collect();
        let mut moved: BTreeMap<Move, BTreeSet<String>> = BTreeMap::new();
        for (pair, now) in pairs.iter().flat_map(|pair| instants.iter().map(move |now| (pair, *now))) {
            let (before, after) = (self.cells_between(pair, now), other.cells_between(pair, now));
            let keys: BTreeSet<&CellKey> = before.keys().chain(after.keys()).collect();
            for key in keys {
                let (old, new) = (before.get(key), after.get(key));
                if let Some(direction) = self.direction(other, key, old, new) {
                    let entry = (key.clone(), direction, old.cloned(), new.cloned());
                    moved.entry(entry).or_default().insert(pair.0.to_string());
                }
            }
        }
        let cells = moved.into_iter().map(|((key, direction, before, after), owners)| Moved {
            direction,
            key,
            before,
            after,
            owners,
        });
        Diff { terms: self.terms_to(other), cells: cells.collect() }
    }

    /// Which way a cell moves; `None` when it stays. A cell that is not there withholds.
    fn direction(
        &self,
        other: &Self,
        key: &CellKey,
        old: Option<&Effect>,
        new: Option<&Effect>,
    ) -> Option<Direction> {
        let shows = |effect: Option<&Effect>| effect.is_some_and(|effect| effect.view.as_str() != "withhold");
        let (old, new) = match (old.filter(|old| shows(Some(old))), new.filter(|new| shows(Some(new)))) {
            (None, None) => return None,
            (None, Some(_)) => return Some(Direction::Widens),
            (Some(_), None) => return Some(Direction::Narrows),
            (Some(old), Some(new)) => (old, new),
        };
        let ladder = |policy: &Self| {
            let record = policy.record_type(&key.record_type)?;
            record.field(record.find(&key.field)?).map(|field| std::sync::Arc::clone(&field.ladder))
        };
        let (Some(before), Some(after)) = (ladder(self), ladder(other)) else {
            return Some(Direction::Incomparable);
        };
        if before != after {
            // A view of another ladder may do something else under the same name.
            return Some(Direction::Incomparable);
        }
        let (Some(from), Some(to)) = (after.find(old.view.as_str()), after.find(new.view.as_str())) else {
            return Some(Direction::Incomparable);
        };
        let covers = |a: &Effect, b: &Effect| b.only_with.iter().all(|word| a.only_with.contains(word));
        let (less, more) =
            (after.is_within(to, from) && covers(new, old), after.is_within(from, to) && covers(old, new));
        match (less, more) {
            (true, true) => None,
            (true, false) => Some(Direction::Narrows),
            (false, true) => Some(Direction::Widens),
            (false, false) => Some(Direction::Incomparable),
        }
    }

    /// What is not a cell: parties, dates, gates.
    fn terms_to(&self, other: &Self) -> Vec<Term> {
        let mut terms = Vec::new();
        let mut say = |widens, what: String| {
            let direction = if widens { Direction::Widens } else { Direction::Narrows };
            terms.push(Term { direction, what });
        };
        let (old, new) = (&self.agreement, &other.agreement);
        if old.from != new.from {
            say(new.from < old.from, format!("il protocollo vale dal {}", new.from.date()));
        }
        if old.until != new.until {
            say(new.until > old.until, format!("il protocollo vale fino al {}", new.until.date()));
        }
        if self.review != other.review {
            let day = other.review.map_or_else(|| "nessun giorno".to_owned(), |day| day.date().to_string());
            say(other.review > self.review, format!("riesame entro: {day}"));
        }
        let names = |agreement: &crate::policy::Agreement| -> BTreeSet<String> {
            agreement
                .parties
                .iter()
                .map(|party| format!("{} ({})", party.agency, party.kind.text()))
                .collect()
        };
        let (before, after) = (names(old), names(new));
        after.difference(&before).for_each(|party| say(true, format!("nuova parte {party}")));
        before.difference(&after).for_each(|party| say(false, format!("non è più parte {party}")));
        for purpose in &other.purposes {
            let Some(was) = self.purpose(&purpose.id) else {
                say(true, format!("nuova finalità {}", purpose.id));
                continue;
            };
            if was.same_kind != purpose.same_kind {
                say(purpose.same_kind, format!("{}: fra enti dello stesso tipo", purpose.id));
            }
            if was.gives != purpose.gives {
                say(purpose.gives == Gives::Records, format!("{}: soli aggregati", purpose.id));
            }
            if was.case != purpose.case {
                say(
                    purpose.case == crate::policy::CaseRule::None,
                    format!("{}: presa in carico", purpose.id),
                );
            }
            if was.from != purpose.from {
                say(purpose.from < was.from, format!("{}: inizio", purpose.id));
            }
            if was.until != purpose.until {
                let longer =
                    purpose.until.is_none() || was.until.is_some_and(|end| purpose.until > Some(end));
                say(longer, format!("{}: fine", purpose.id));
            }
        }
        for purpose in self.purposes.iter().filter(|was| other.purpose(&was.id).is_none()) {
            say(false, format!("non c'è più la finalità {}", purpose.id));
        }
        self.statistics_to(other, &mut say);
        terms
    }

    /// What may be counted. Other classes or areas cut the same people differently, which tells more than either.
    fn statistics_to(&self, other: &Self, say: &mut impl FnMut(bool, String)) {
        for now in &other.tabulations {
            let name = &now.record_type;
            let Some(was) = self.tabulation(name) else {
                say(true, format!("nuovo prospetto {name}"));
                continue;
            };
            if was.threshold != now.threshold {
                say(now.threshold < was.threshold, format!("prospetto {name}: soglia {}", now.threshold));
            }
            if (was.unit, &was.dimensions, &was.counts) != (now.unit, &now.dimensions, &now.counts) {
                say(true, format!("prospetto {name}: periodo, dimensioni o chi si conta"));
            }
            if self.areas_of(was) != other.areas_of(now) {
                say(true, format!("prospetto {name}: aree"));
            }
        }
        for was in self.tabulations.iter().filter(|was| other.tabulation(&was.record_type).is_none()) {
            say(false, format!("non c'è più il prospetto {}", was.record_type));
        }
    }
}

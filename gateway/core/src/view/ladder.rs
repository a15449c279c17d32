//! Ladders of views: a small meet-semilattice per kind of field, with `withhold` at the bottom and `intero` at the top.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expression::Expression;
use super::kind::Kind;
use super::transform::{Context, Transform, TransformFault};
use crate::id::ViewId;

/// No ladder of ours has more than five steps; the meet table grows with the square.
pub const MOST_VIEWS: usize = 24;

/// A view by its place in its ladder. Two ladders' indices must not be mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewIndex(u8);

impl ViewIndex {
    /// Nothing is shown.
    pub const WITHHOLD: Self = Self(0);
    /// The value as the source gave it.
    pub const WHOLE: Self = Self(1);

    pub const fn shows(self) -> bool {
        self.0 != 0
    }

    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// What a view does to the value, in the families of ISO/IEC 20889, as shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Technique {
    /// In chiaro: nothing is done.
    Disclose,
    /// Generalizzato: generalization.
    Generalise,
    /// Mascherato: masking, local suppression of a part.
    Mask,
    /// Pseudonimo: cryptographic pseudonymisation.
    Pseudonymise,
    /// Negato: suppression.
    Withhold,
}

/// How one view is made from a finer one of the same ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub finer: ViewIndex,
    pub transform: Transform,
}

#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub id: ViewId,
    pub technique: Technique,
    /// One step from each finer view it lies right under; the first is the one that is computed. They must agree.
    pub steps: Vec<Step>,
    /// The kind of value it gives.
    pub kind: Kind,
}

/// A view as it is written, before the ladder is checked. Views may be written in any order.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    pub id: ViewId,
    pub technique: Technique,
    /// Each finer view it lies right under, and how it is made from it.
    pub ways: Vec<(ViewId, Expression)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    views: Vec<View>,
    /// `meet[a * n + b]`.
    meet: Vec<ViewIndex>,
}

/// Why views do not form a ladder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LadderFault {
    #[error("view `{0}` lies under itself")]
    Circle(ViewId),
    #[error("view `{0}` is not made from any finer view")]
    Loose(ViewId),
    #[error("views `{0}` and `{1}` have no single greatest view below both, so the order has no meet")]
    NoMeet(ViewId, ViewId),
    #[error("more than {MOST_VIEWS} views")]
    TooMany,
    #[error("view `{0}`: {1}")]
    Transform(ViewId, TransformFault),
    #[error("view `{0}` is written twice")]
    Twice(ViewId),
    #[error("view `{0}` comes out differently by two of its ways")]
    TwoWays(ViewId),
    #[error("view `{0}` is made from `{1}`, which is not in the ladder")]
    UnknownFiner(ViewId, ViewId),
}

impl Ladder {
    /// Orders, types and checks the views below `intero` for fields of one kind.
    pub fn new(kind: &Kind, rungs: &[Rung]) -> Result<Self, LadderFault> {
        if rungs.len() + 2 > MOST_VIEWS {
            return Err(LadderFault::TooMany);
        }
        let mut views = vec![
            View {
                id: ViewId::withhold(),
                technique: Technique::Withhold,
                steps: Vec::new(),
                kind: Kind::Bool,
            },
            View {
                id: ViewId::whole(),
                technique: Technique::Disclose,
                steps: Vec::new(),
                kind: kind.clone(),
            },
        ];
        for rung in in_order(rungs)? {
            let mut steps = Vec::new();
            let mut gives = None;
            for (finer, how) in &rung.ways {
                let (index, view) =
                    (0_u8..)
                        .map(ViewIndex)
                        .zip(&views)
                        .find(|(_, view)| view.id == *finer)
                        .ok_or_else(|| LadderFault::UnknownFiner(rung.id.clone(), finer.clone()))?;
                let (transform, made) = Transform::read(how, &view.kind)
                    .map_err(|fault| LadderFault::Transform(rung.id.clone(), fault))?;
                steps.push(Step { finer: index, transform });
                gives.get_or_insert(made);
            }
            let kind = gives.ok_or_else(|| LadderFault::Loose(rung.id.clone()))?;
            views.push(View { id: rung.id.clone(), technique: rung.technique, steps, kind });
        }
        let meet = meets(&views)?;
        Ok(Self { views, meet })
    }

    pub fn views(&self) -> &[View] {
        &self.views
    }

    pub fn indices(&self) -> impl Iterator<Item = ViewIndex> + use<> {
        (0..u8::try_from(self.views.len()).unwrap_or(u8::MAX)).map(ViewIndex)
    }

    pub fn find(&self, id: &str) -> Option<ViewIndex> {
        self.indices().zip(&self.views).find(|(_, view)| view.id.as_str() == id).map(|(index, _)| index)
    }

    pub fn view(&self, index: ViewIndex) -> Option<&View> {
        self.views.get(index.at())
    }

    /// The most that both allow. An index of another ladder meets in `withhold`.
    pub fn meet(&self, a: ViewIndex, b: ViewIndex) -> ViewIndex {
        let n = self.views.len();
        if b.at() >= n {
            return ViewIndex::WITHHOLD;
        }
        self.meet.get(a.at() * n + b.at()).copied().unwrap_or(ViewIndex::WITHHOLD)
    }

    /// Whether `a` shows no more than `b`.
    pub fn is_within(&self, a: ViewIndex, b: ViewIndex) -> bool {
        self.meet(a, b) == a
    }

    /// The value at a view; `None` when the view shows nothing or the value does not fit.
    pub fn apply(&self, index: ViewIndex, value: &Value, context: &Context<'_>) -> Option<Value> {
        if index == ViewIndex::WHOLE {
            return Some(value.clone());
        }
        let step = self.view(index)?.steps.first()?;
        if step.finer == ViewIndex::WHOLE {
            return step.transform.apply(value, context);
        }
        let finer = self.apply(step.finer, value, context)?;
        step.transform.apply(&finer, context)
    }

    /// Checks that a view with several finer ones comes out the same by each way, on the given values.
    pub fn check_ways(&self, values: &[Value], context: &Context<'_>) -> Result<(), LadderFault> {
        for view in &self.views {
            for value in values {
                let by = |step: &Step| {
                    self.apply(step.finer, value, context).and_then(|v| step.transform.apply(&v, context))
                };
                let mut ways = view.steps.iter().map(by);
                if let Some(first) = ways.next()
                    && ways.any(|other| other != first)
                {
                    return Err(LadderFault::TwoWays(view.id.clone()));
                }
            }
        }
        Ok(())
    }
}

/// The rungs with each after those it is made from, ties by name: the order of writing leaves no trace.
fn in_order(rungs: &[Rung]) -> Result<Vec<&Rung>, LadderFault> {
    let mut waiting: BTreeMap<&ViewId, &Rung> = BTreeMap::new();
    for rung in rungs {
        if rung.id == ViewId::withhold()
            || rung.id == ViewId::whole()
            || waiting.insert(&rung.id, rung).is_some()
        {
            return Err(LadderFault::Twice(rung.id.clone()));
        }
    }
    for rung in rungs {
        let missing = |finer: &&ViewId| **finer != ViewId::whole() && !waiting.contains_key(finer);
        if let Some(finer) = rung.ways.iter().map(|(finer, _)| finer).find(missing) {
            return Err(LadderFault::UnknownFiner(rung.id.clone(), finer.clone()));
        }
    }
    let mut ordered = Vec::with_capacity(rungs.len());
    while let Some(first) = waiting.keys().next().copied() {
        let ready = |rung: &&Rung| rung.ways.iter().all(|(finer, _)| !waiting.contains_key(finer));
        let Some(next) = waiting.values().copied().find(ready) else {
            return Err(LadderFault::Circle(first.clone()));
        };
        waiting.remove(&next.id);
        ordered.push(next);
    }
    Ok(ordered)
}

/// The meet of every two views, where there is one.
fn meets(views: &[View]) -> Result<Vec<ViewIndex>, LadderFault> {
    let below = closure(views);
    let mut meet = Vec::with_capacity(views.len() * views.len());
    for (a, first) in below.iter().zip(views) {
        for (b, second) in below.iter().zip(views) {
            let common: BTreeSet<ViewIndex> = a.intersection(b).copied().collect();
            let greatest = common
                .iter()
                .find(|index| below.get(index.at()).is_some_and(|under| common.is_subset(under)));
            meet.push(*greatest.ok_or_else(|| LadderFault::NoMeet(first.id.clone(), second.id.clone()))?);
        }
    }
    Ok(meet)
}

/// For each view the set of views at most as fine as it.
fn closure(views: &[View]) -> Vec<BTreeSet<ViewIndex>> {
    let mut below: Vec<BTreeSet<ViewIndex>> = (0..views.len())
        .map(|i| [ViewIndex::WITHHOLD, ViewIndex(u8::try_from(i).unwrap_or(0))].into())
        .collect();
    // Views come after the finer ones they are made from, so one pass from the coarsest up suffices.
    for (i, view) in views.iter().enumerate().rev() {
        let under = below.get(i).cloned().unwrap_or_default();
        for step in &view.steps {
            if let Some(finer) = below.get_mut(step.finer.at()) {
                finer.extend(&under);
            }
        }
    }
    below
}

//! Statistics as an exchange: asked under a purpose for aggregates, decided for each owner, counted by the owners, released
//! once and for all, and entered for each owner before a number leaves.
//!
//! ```text
//! VerifiedRequest --tabulate--> AuthorizedTabulation --hold (what was released before)--> Counting
//!       --count (adapters)--> AgencyCounts --release--> Outcome --seal, ledger, release, sign--> Answer
//! ```
//! An area is given whole or not at all: what one of its owners does not give cannot be subtracted later.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::code::Code;
use crate::id::{AgencyId, ExchangeId, FieldId, PurposeId, RecordTypeId};
use crate::json;
use crate::policy::reduce::{self, Findings};
use crate::policy::{Facts, Party, Plan, Policy, Question, Refusal, Ruling};
use crate::registry::Registry;
use crate::statistics::counts::AgencyCounts;
use crate::statistics::release::{Occasion, Release, Table, stream};
use crate::statistics::{Area, Period, Tabulation};
use crate::wire::Evidence;

use super::authorize::outcome_value;
use super::grounds::{Grounds, Topic};
use super::inbox::FetchSeed;
use super::outcome::{Account, End, Outcome, PolicyStamp, Refused, Salts};
use super::registered::{StreamChange, StreamKind};
use super::verify::{Sender, VerifiedRequest};

mod told;

use told::LeftOut;
pub(in crate::exchange) use told::{Counted, Told};

/// The body of `POST /statistics`. It names no person, no date and no filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsAsk {
    pub record_type: RecordTypeId,
    pub purpose: PurposeId,
    pub period: Period,
    /// Absent: all dimensions of the tabulation.
    #[serde(default)]
    pub dimensions: Option<Vec<FieldId>>,
}

/// The answer of [`tabulate`].
#[derive(Debug)]
pub enum Tabulated {
    Deny(Box<Outcome>),
    Permit(Box<AuthorizedTabulation>),
}

/// A table that may be asked of at least one area. Only [`tabulate`] makes one.
#[derive(Debug)]
pub struct AuthorizedTabulation {
    account: Account,
    tabulation: Tabulation,
    period: Period,
    /// Which of the tabulation's dimensions are shown.
    dimensions: Vec<usize>,
    areas: Vec<Authorized>,
    left_out: Vec<LeftOut>,
}

/// An area of which every owner's counts may be given.
#[derive(Debug)]
struct Authorized {
    area: Area,
    /// Each owner's decision, for its own entry.
    decisions: Vec<Grounds>,
}

/// Decides: for each owner whether the asking agency may have its people counted by all these dimensions at these views.
pub fn tabulate(
    request: VerifiedRequest,
    ask: &StatisticsAsk,
    registry: &Registry,
    policy: &Policy,
) -> Tabulated {
    let mut account = Account::new(request);
    account.purpose = Some(ask.purpose.clone());
    account.policy = Some(PolicyStamp { version: policy.version().to_owned(), sha256: policy.sha256() });
    account.decision.insert("statistics", json!({ "period": ask.period }));
    let invalid = |account, detail: String| {
        let end = End::Fail { code: Code::RequestInvalid, detail };
        Tabulated::Deny(Box::new(Outcome { account, end }))
    };
    let Some(tabulation) = policy.tabulation(&ask.record_type) else {
        return invalid(account, format!("the agreement has no tabulation of `{}`", ask.record_type));
    };
    account.record_type = Some(ask.record_type.clone());
    if ask.period.unit() != tabulation.unit || !ask.period.is_over(account.request.at) {
        let detail = format!("`{}` is no period of this tabulation that is over", ask.period);
        return invalid(account, detail);
    }
    let dimensions = match Table::dimensions(tabulation, ask.dimensions.as_deref()) {
        Ok(dimensions) => dimensions,
        Err(field) => return invalid(account, format!("the tabulation has no dimension `{field}`")),
    };
    let desk =
        Desk { sender: &account.request.sender, ask, tabulation, registry, policy, at: account.request.at };
    let (mut areas, mut left_out) = (Vec::new(), Vec::new());
    for area in policy.areas_of(tabulation) {
        match desk.area(area) {
            Ok(area) => areas.push(area),
            Err(area) => left_out.push(area),
        }
    }
    if areas.is_empty() {
        let first = left_out.first().map(|area| (area.code, area.detail.clone()));
        let (code, detail) =
            first.unwrap_or((Code::ExchangeNotAllowed, "nobody holds such records".to_owned()));
        let refused = Refused { code, detail, fields: Vec::new() };
        return Tabulated::Deny(Box::new(Outcome { account, end: End::Deny(refused) }));
    }
    let (tabulation, period) = (tabulation.clone(), ask.period);
    let permitted = AuthorizedTabulation { account, tabulation, period, dimensions, areas, left_out };
    Tabulated::Permit(Box::new(permitted))
}

struct Desk<'a> {
    sender: &'a Sender,
    ask: &'a StatisticsAsk,
    tabulation: &'a Tabulation,
    registry: &'a Registry,
    policy: &'a Policy,
    at: crate::time::Timestamp,
}

impl Desk<'_> {
    /// All of an area's owners, or why not. Whoever owns a part of it could subtract that, and is refused the rest.
    fn area(&self, area: Area) -> Result<Authorized, LeftOut> {
        let mut decisions = Vec::with_capacity(area.owners.len());
        for owner in &area.owners {
            match self.owner(owner) {
                Ok(decision) => decisions.push(decision),
                Err((code, detail)) => {
                    let bodies = vec![owner.clone()];
                    return Err(LeftOut { area, code, bodies, detail });
                }
            }
        }
        Ok(Authorized { area, decisions })
    }

    fn owner(&self, owner: &AgencyId) -> Result<Grounds, (Code, String)> {
        let found = self.registry.agency(owner);
        let found = found.filter(|agency| {
            agency.is_active(self.at) && !self.registry.is_suspended(&agency.id, None, self.at)
        });
        let Some(provider) = found else {
            return Err((Code::ExchangeNotAllowed, "there is no such provider to ask".to_owned()));
        };
        let sender = self.sender;
        let facts = Facts {
            provider: Party { agency: provider.id.clone(), kind: provider.kind, office: None },
            consumer: Party {
                agency: sender.agency.clone(),
                kind: sender.kind,
                office: sender.office.clone(),
            },
            case: None,
            consents: Vec::new(),
            restrictions: Vec::new(),
            acts: Vec::new(),
            openings: Vec::new(),
            household: Vec::new(),
        };
        // Of the whole tabulation, whatever part is shown: what is released serves every part.
        let fields: Vec<FieldId> = self.tabulation.dimensions.iter().map(|one| one.field.clone()).collect();
        let (record_type, purpose, now) = (&self.ask.record_type, &self.ask.purpose, self.at);
        let question = Question { record_type, purpose, requested: Some(&fields), facts: &facts, now };
        let refused = |refusal: Refusal| (refusal.code(), refusal.to_string());
        let plan = self.policy.decide_aggregates(&question).map_err(refused)?;
        if let Some(field) = self.withheld(&plan) {
            let detail = format!("`{field}` may not be counted by at the view of the tabulation");
            return Err((Code::ExchangeDenied, detail));
        }
        let topic = Topic { record_type, purpose, requested: Some(&fields) };
        let mut decision = Grounds::of(topic, &facts, self.policy, now).of_nobody();
        decision.insert("statistics", json!({ "period": self.ask.period }));
        let outcomes = reduce::outcomes(&plan, &Findings::default());
        decision.insert("outcomes", outcomes.iter().map(outcome_value).collect());
        Ok(decision)
    }

    /// A dimension that is finer than what may be shown.
    fn withheld(&self, plan: &Plan) -> Option<&FieldId> {
        let is_withheld = |field: &FieldId, view: &str| {
            let kind = plan.record_type.find(field).and_then(|index| plan.record_type.field(index));
            let Some((kind, Some(Ruling::Show { view: most, .. }))) =
                kind.map(|kind| (kind, plan.ruling(field)))
            else {
                return true;
            };
            !kind.ladder.find(view).is_some_and(|view| kind.ladder.is_within(view, most))
        };
        let dimensions = self.tabulation.dimensions.iter();
        dimensions
            .map(|one| (&one.field, &one.view))
            .find(|(field, view)| is_withheld(field, view.as_str()))
            .map(|(field, _)| field)
    }
}

impl AuthorizedTabulation {
    /// The streams in which earlier releases of the same people are remembered.
    pub fn streams(&self) -> Vec<String> {
        let owners = self.areas.iter().flat_map(|one| &one.area.owners);
        let of = |owner| self.halves_of(owner);
        owners.flat_map(of).collect()
    }

    fn halves_of(&self, owner: &AgencyId) -> Vec<String> {
        let halves = self.period.halves().into_iter();
        halves.map(|half| stream(&self.tabulation.record_type, owner, half)).collect()
    }

    /// What was released before is told again, and nothing else of the same people: an area that was released in another
    /// form, or partly, is left out.
    pub fn hold(self, held: &BTreeMap<String, Release>) -> Counting {
        let (mut known, mut wanted, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for one in &self.areas {
            let streams = one.area.owners.iter().flat_map(|owner| self.halves_of(owner));
            let before: Vec<Option<&Release>> = streams.map(|stream| held.get(&stream)).collect();
            let first = before.iter().flatten().next().copied();
            let is_same = before.iter().all(|release| *release == first);
            match first {
                None => wanted.push(one.area.clone()),
                Some(release) if is_same && release.is(&self.tabulation, &one.area, self.period) => {
                    known.push(release.clone());
                }
                Some(release) => left_out.push(LeftOut {
                    area: one.area.clone(),
                    code: Code::StatisticsOverlap,
                    bodies: release.area.owners.clone(),
                    detail: format!(
                        "release {} of {}, for `{}`, stands in the way: it counts some of the same people in another form",
                        release.exchange, release.at, release.period
                    ),
                }),
            }
        }
        Counting { asked: self, known, wanted, overlapping: left_out }
    }

    /// What is known of earlier releases cannot be read.
    pub fn fail(self, code: Code, detail: impl Into<String>) -> Outcome {
        Outcome { account: self.account, end: End::Fail { code, detail: detail.into() } }
    }
}

/// A table of which some areas have still to be counted.
#[derive(Debug)]
pub struct Counting {
    asked: AuthorizedTabulation,
    known: Vec<Release>,
    wanted: Vec<Area>,
    overlapping: Vec<LeftOut>,
}

impl Counting {
    /// Whom to ask for counts.
    pub fn owners(&self) -> impl Iterator<Item = &AgencyId> {
        self.wanted.iter().flat_map(|area| &area.owners)
    }

    pub const fn exchange(&self) -> &ExchangeId {
        &self.asked.account.request.exchange
    }

    pub const fn consumer(&self) -> &AgencyId {
        &self.asked.account.request.sender.agency
    }

    pub const fn tabulation(&self) -> &Tabulation {
        &self.asked.tabulation
    }

    pub const fn period(&self) -> Period {
        self.asked.period
    }

    pub const fn purpose(&self) -> Option<&PurposeId> {
        self.asked.account.purpose.as_ref()
    }

    /// Who asks, for the owners' own evidence.
    pub fn evidence(&self) -> Evidence {
        let Sender { operator, location, assurance, .. } = &self.asked.account.request.sender;
        Evidence { operator: operator.clone(), location: location.clone(), loa: *assurance }
    }

    /// Makes the releases that are missing. Where an owner gave no counts its area is left out, and can be asked for again.
    pub fn release(
        self,
        mut counted: BTreeMap<AgencyId, Result<AgencyCounts, Code>>,
        mut seed: impl FnMut() -> FetchSeed,
    ) -> Outcome {
        let Self { asked, known, wanted, overlapping } = self;
        let AuthorizedTabulation { mut account, tabulation, period, dimensions, areas, mut left_out } = asked;
        left_out.extend(overlapping);
        let occasion = Occasion { exchange: &account.request.exchange, at: account.request.at, period };
        let (mut fresh, mut changes) = (Vec::new(), Vec::new());
        for area in wanted {
            match gather(area, &mut counted) {
                Ok((area, counts)) => {
                    let release = Release::make(&tabulation, area, counts, &occasion);
                    changes.extend(kept(&release));
                    fresh.push(release);
                }
                Err(area) => left_out.push(area),
            }
        }
        let mut releases: Vec<Release> = known.into_iter().chain(fresh).collect();
        releases.sort_by(|one, other| one.area.name.cmp(&other.area.name));
        left_out.sort_by(|one, other| one.area.name.cmp(&other.area.name));
        let told = Told { tabulation, period, dimensions, left_out, releases };
        account.decision.insert("statistics", told.summary());
        if told.releases.is_empty() {
            let detail = told.left_out.iter().map(LeftOut::said).collect::<Vec<_>>().join("; ");
            return Outcome { account, end: End::Fail { code: Code::StatisticsIncomplete, detail } };
        }
        let is_told =
            |one: &&Authorized| told.releases.iter().any(|release| release.area.name == one.area.name);
        let owners = areas
            .into_iter()
            .filter(|one| is_told(&one))
            .flat_map(|one| one.area.owners.into_iter().zip(one.decisions));
        let counted = owners.map(|(owner, decision)| {
            let FetchSeed { entry, salts } = seed();
            Counted { owner, decision, entry, salts: Salts(salts) }
        });
        let counted = counted.collect();
        Outcome { account, end: End::Statistics { told: Box::new(told), counted, changes } }
    }
}

/// All counts of an area, or whose are missing.
fn gather(
    area: Area,
    counted: &mut BTreeMap<AgencyId, Result<AgencyCounts, Code>>,
) -> Result<(Area, Vec<AgencyCounts>), LeftOut> {
    let (mut counts, mut missing) = (Vec::new(), Vec::new());
    for owner in &area.owners {
        match counted.remove(owner).unwrap_or(Err(Code::Internal)) {
            Ok(one) => counts.push(one),
            Err(code) => missing.push((owner.clone(), code)),
        }
    }
    let Some((_, code)) = missing.first() else { return Ok((area, counts)) };
    let (code, detail) = (*code, code.title().to_owned());
    Err(LeftOut { area, code, bodies: missing.into_iter().map(|(owner, _)| owner).collect(), detail })
}

/// A release as the streams that are found by its owners and half years.
fn kept(release: &Release) -> Vec<StreamChange> {
    let change = |stream| StreamChange {
        kind: StreamKind::Statistics,
        stream,
        expected: 0,
        header: Some(json::canonical_of(release)),
        event: json::canonical(&json!({ "at": release.at, "exchange": release.exchange })),
        subjects: Vec::new(),
        waits_for: None,
    };
    release.streams().into_iter().map(change).collect()
}

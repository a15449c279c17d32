//! From words to the table: every situation the purposes allow, every field's cell in it, and the checks on the whole.

pub(super) mod check;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bundle::Sections;
use super::bundle::agreement::Terms;
use super::bundle::dictionary::Dictionary;
use super::bundle::matrix::{self, MatrixRow};
use super::bundle::records;
use super::bundle::rules::Known;
use super::bundle::tabulations::Counting;
use super::fault::{Faults, Place, PolicyFault, Problem};
use super::record::{FieldIndex, RecordType};
use super::table::{
    Block, Ceiling, Ceilings, Cell, Epoch, Needs, RecordTable, Rule, SLOTS, Selection, Toward,
};
use super::text::{self, MOST_FILES};
use super::{Audience, CaseRule, Column, ConsentRole, Layer, Policy, Purpose};
use crate::case::Level;
use crate::id::AgencyId;
use crate::registry::AgencyKind;
use crate::time::Timestamp;
use crate::view::ladder::ViewIndex;

pub(super) fn compile(files: &[(String, Vec<u8>)]) -> Result<Policy, Vec<PolicyFault>> {
    let mut faults = Faults::default();
    if files.len() > MOST_FILES {
        let place = Place { file: String::new(), line: 0 };
        faults.add(&place, Problem::Limits(text::LONGEST_FILE, MOST_FILES));
        return Err(faults.into_sorted());
    }
    let read: Vec<_> = files.iter().flat_map(|(path, bytes)| text::read(path, bytes, &mut faults)).collect();
    let sections = Sections::new(read, &mut faults);
    let words = Dictionary::read(&sections, &mut faults);
    let terms = Terms::read(&sections, &mut faults);
    let records = records::read(&sections, &words, &mut faults);
    let rows = matrix::read(&sections, &records, &terms, &mut faults);
    let known = Known { records: &records, terms: &terms };
    let rules = known.rules(&sections, &mut faults);
    let assertions = known.assertions(&sections, &mut faults);
    let counting = Counting::read(&sections, &terms, &records, &mut faults);
    check::purposes(&terms, &records, &mut faults);
    if !faults.is_empty() {
        return Err(faults.into_sorted());
    }
    let audiences = audiences(&terms.columns);
    let mut maker = Maker::new(&records, &terms, &rows, &audiences);
    let epochs: Vec<Epoch> =
        starts(&rows, &rules).into_iter().map(|from| maker.epoch(from, &rules, &mut faults)).collect();
    let (grants, reached) = (maker.grants, maker.reached);
    let policy = Policy {
        name: terms.name,
        version: terms.version,
        review: terms.review,
        sha256: Policy::hash(files),
        agreement: terms.agreement,
        acts: terms.acts,
        columns: terms.columns,
        purposes: terms.purposes,
        records: records.into_iter().map(Arc::new).collect(),
        audiences,
        rows,
        grants,
        epochs,
        rules,
        assertions,
        tabulations: counting.tabulations,
        areas: counting.areas,
    };
    check::grants(&policy, &mut faults);
    check::cells(&policy, &reached, &mut faults);
    check::implications(&policy, &mut faults);
    check::reach(&policy, &sections, &mut faults);
    check::tabulations(&policy, &sections, &mut faults);
    check::assertions(&policy, &mut faults);
    if faults.is_empty() { Ok(policy) } else { Err(faults.into_sorted()) }
}

/// Every kind, and every office that a column names.
fn audiences(columns: &[Column]) -> Vec<Audience> {
    let mut all: BTreeSet<Audience> =
        AgencyKind::ALL.into_iter().map(|kind| Audience { kind, office: None }).collect();
    for column in columns {
        let of = |kind: &AgencyKind| Audience { kind: *kind, office: column.office.clone() };
        all.extend(column.kinds.iter().map(of));
    }
    all.into_iter().collect()
}

/// The instants at which some row begins or ends.
fn starts(rows: &[MatrixRow], rules: &[Rule]) -> BTreeSet<Timestamp> {
    let of_rows = rows.iter().flat_map(|row| [row.from, row.until]);
    let of_rules = rules.iter().flat_map(|rule| [rule.from, rule.until]);
    [Some(Timestamp::default())].into_iter().chain(of_rows).chain(of_rules).flatten().collect()
}

struct Maker<'a> {
    records: &'a [RecordType],
    terms: &'a Terms,
    rows: &'a [MatrixRow],
    audiences: &'a [Audience],
    /// Numbered as they are met.
    grants: Vec<GrantKey>,
    /// The number of each, by row, column and purpose.
    numbers: Vec<Option<u32>>,
    /// Whether anybody may ask for a cell of the matrix, by row and column.
    reached: Vec<bool>,
}

/// A cell of the matrix for one purpose: three indices instead of a dozen words, since there are a great many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrantKey {
    pub row: usize,
    pub column: usize,
    pub purpose: usize,
}

impl<'a> Maker<'a> {
    fn new(
        records: &'a [RecordType],
        terms: &'a Terms,
        rows: &'a [MatrixRow],
        audiences: &'a [Audience],
    ) -> Self {
        let numbers = vec![None; rows.len() * terms.columns.len() * terms.purposes.len()];
        let reached = vec![false; rows.len() * terms.columns.len()];
        Self { records, terms, rows, audiences, grants: Vec::new(), numbers, reached }
    }

    fn epoch(&mut self, from: Timestamp, rules: &[Rule], faults: &mut Faults) -> Epoch {
        let count = self.records.len();
        let mut epoch = Epoch {
            from,
            records: (0..count).map(|record| self.table(record, from, faults)).collect(),
            owner: Ceilings::new(),
            recipient: Ceilings::new(),
        };
        let in_force = |rule: &&Rule| {
            rule.from.is_none_or(|start| start <= from) && rule.until.is_none_or(|end| from < end)
        };
        for rule in rules.iter().filter(in_force) {
            self.apply(rule, &mut epoch);
        }
        epoch
    }

    fn table(&mut self, record: usize, at: Timestamp, faults: &mut Faults) -> RecordTable {
        let mut table = RecordTable::default();
        let Some(kind) = self.records.get(record) else { return table };
        let terms = self.terms;
        for (purpose, found) in terms.purposes.iter().enumerate() {
            let given = found.records.iter().find(|given| given.record_type == kind.id);
            let rows = self.rows_of(record, kind, found, at);
            for level in SLOTS {
                for (audience, who) in self.audiences.iter().enumerate() {
                    let column = match given {
                        Some(_) if found.holds_at(level) => self.column(purpose, level, who, faults),
                        Some(_) | None => None,
                    };
                    table.starts.push(column.and_then(|_| u32::try_from(table.cells.len()).ok()));
                    let Some(column) = column else { continue };
                    let start = table.cells.len();
                    table.blocks.push(Block { purpose, level, audience, column, start });
                    // Bodies do not ask themselves.
                    if found.same_kind || kind.owners != [who.kind] {
                        self.reach(rows.iter().flatten(), column);
                    }
                    for row in &rows {
                        table.cells.push(self.cell(*row, column, purpose));
                    }
                }
            }
        }
        table
    }

    fn reach<'r>(&mut self, rows: impl Iterator<Item = &'r usize>, column: usize) {
        for row in rows {
            if let Some(slot) = self.reached.get_mut(row * self.terms.columns.len() + column) {
                *slot = true;
            }
        }
    }

    /// For each field the row in force under a purpose: its own where there is one, else the general one.
    fn rows_of(
        &self,
        record: usize,
        kind: &RecordType,
        purpose: &Purpose,
        at: Timestamp,
    ) -> Vec<Option<usize>> {
        let mut rows = vec![None; kind.fields.len()];
        let given = purpose.records.iter().find(|given| given.record_type == kind.id);
        let limited = given.and_then(|given| given.fields.as_ref());
        for own in [None, Some(&purpose.id)] {
            for (i, row) in self.rows.iter().enumerate() {
                let is_mine = row.record == record && row.purpose.as_ref() == own && row.is_in_force(at);
                if is_mine && let Some(slot) = rows.get_mut(row.field.at()) {
                    *slot = Some(i);
                }
            }
        }
        for (field, slot) in kind.fields.iter().zip(&mut rows) {
            if limited.is_some_and(|fields| !fields.contains(&field.id)) {
                *slot = None;
            }
        }
        rows
    }

    /// The one column that answers: the office's where the purpose has one, else its kind's.
    fn column(
        &self,
        purpose: usize,
        level: Option<Level>,
        who: &Audience,
        faults: &mut Faults,
    ) -> Option<usize> {
        let found = self.terms.purposes.get(purpose)?;
        let candidates = |office: Option<&crate::id::OfficeId>| -> Vec<usize> {
            let fits = |column: &Column| {
                found.columns.contains(&column.id)
                    && column.kinds.contains(&who.kind)
                    && column.office.as_ref() == office
                    && (level.is_none() || column.level.is_none() || column.level == level)
            };
            let all = self.terms.columns.iter().enumerate();
            all.filter(|(_, column)| fits(column)).map(|(i, _)| i).collect()
        };
        let mut fitting = who.office.as_ref().map(|office| candidates(Some(office))).unwrap_or_default();
        if fitting.is_empty() {
            fitting = candidates(None);
        }
        if let [first, second, ..] = fitting.as_slice()
            && let (Some(first), Some(second)) =
                (self.terms.columns.get(*first), self.terms.columns.get(*second))
            && let Some((place, _)) = self.terms.places.get(purpose)
        {
            let what = format!("{} / {}", first.id, second.id);
            faults.add(place, Problem::Duplicate(what, place.to_string()));
        }
        fitting.first().copied()
    }

    fn cell(&mut self, row: Option<usize>, column: usize, purpose: usize) -> Cell {
        let found = row.and_then(|at| Some((at, self.rows.get(at)?)));
        let Some((at, row, text)) = found.and_then(|(at, row)| Some((at, row, row.cells.get(column)?)))
        else {
            return Cell::EMPTY;
        };
        if !text.view.shows() {
            return Cell { at_other_level: self.is_at_other_level(row, column), ..Cell::EMPTY };
        }
        let role = self.terms.purposes.get(purpose).map_or(ConsentRole::Basis, |purpose| purpose.consent);
        let agreed = if role == ConsentRole::None { Needs::NONE } else { Needs::AGREED };
        let grant = self.number(GrantKey { row: at, column, purpose });
        Cell { view: text.view, needs: text.needs.and(agreed), grant, ..Cell::EMPTY }
    }

    fn number(&mut self, key: GrantKey) -> u32 {
        let terms = self.terms;
        let at = (key.row * terms.columns.len() + key.column) * terms.purposes.len() + key.purpose;
        let next = u32::try_from(self.grants.len()).unwrap_or(u32::MAX);
        let Some(slot) = self.numbers.get_mut(at) else { return u32::MAX };
        *slot.get_or_insert_with(|| {
            self.grants.push(key);
            next
        })
    }

    /// Whether the same kind of agency gets the field at another level.
    fn is_at_other_level(&self, row: &MatrixRow, column: usize) -> bool {
        let Some(mine) = self.terms.columns.get(column) else { return false };
        let other = |column: &Column| {
            column.level.is_some()
                && column.level != mine.level
                && column.kinds.iter().any(|kind| mine.kinds.contains(kind))
        };
        self.terms.columns.iter().zip(&row.cells).any(|(column, cell)| other(column) && cell.view.shows())
    }

    fn apply(&self, rule: &Rule, epoch: &mut Epoch) {
        for (index, record) in
            self.records.iter().enumerate().filter(|(_, record)| rule.on.has_record(record))
        {
            let Some(table) = epoch.records.get_mut(index) else { continue };
            let fields: Vec<FieldIndex> = record
                .indices()
                .zip(&record.fields)
                .filter(|(i, field)| rule.on.has_field(*i, field.category))
                .map(|(i, _)| i)
                .collect();
            let blocks: Vec<Block> =
                table.blocks.iter().filter(|block| self.concerns(&rule.on, block)).copied().collect();
            let size = table.cells.len();
            let of = |field: FieldIndex, before: Ceiling| rule.narrow(record, field, before);
            if rule.layer == Layer::Law {
                for cell in places(&blocks, &fields) {
                    if let Some(found) = table.cells.get_mut(cell.1) {
                        found.law = of(cell.0, found.law);
                    }
                }
                continue;
            }
            let Some(body) = &rule.body else { continue };
            let ceilings = if rule.layer == Layer::Owner { &mut epoch.owner } else { &mut epoch.recipient };
            for toward in rule.on.agencies() {
                let list = ceilings
                    .entry((index, body.clone(), toward))
                    .or_insert_with(|| vec![Ceiling::OPEN; size]);
                for cell in places(&blocks, &fields) {
                    if let Some(found) = list.get_mut(cell.1) {
                        *found = of(cell.0, *found);
                    }
                }
            }
        }
    }

    fn concerns(&self, on: &Selection, block: &Block) -> bool {
        let purpose = self.terms.purposes.get(block.purpose);
        let who = self.audiences.get(block.audience);
        let column = self.terms.columns.get(block.column);
        on.concerns(block, purpose, who, column)
    }
}

/// Every selected field of every block, with its place among the cells.
fn places<'a>(
    blocks: &'a [Block],
    fields: &'a [FieldIndex],
) -> impl Iterator<Item = (FieldIndex, usize)> + use<'a> {
    blocks.iter().flat_map(move |block| fields.iter().map(move |field| (*field, block.start + field.at())))
}

impl Cell {
    pub(super) const EMPTY: Self = Self {
        view: ViewIndex::WITHHOLD,
        needs: Needs::NONE,
        law: Ceiling::OPEN,
        grant: u32::MAX,
        at_other_level: false,
    };
}

impl Purpose {
    pub(super) fn holds_at(&self, level: Option<Level>) -> bool {
        match (self.case, level) {
            (CaseRule::None, None) => true,
            (CaseRule::Required, Some(level)) => self.levels.contains(&level),
            (CaseRule::None, Some(_)) | (CaseRule::Required, None) => false,
        }
    }
}

impl Rule {
    /// What is left of a ceiling after this rule has spoken too.
    pub(super) fn narrow(&self, record: &RecordType, field: FieldIndex, before: Ceiling) -> Ceiling {
        let ladder = record.field(field).map(|field| &field.ladder);
        let most = ladder.and_then(|l| l.find(self.at_most.as_str())).unwrap_or(ViewIndex::WITHHOLD);
        let view = ladder.map_or(ViewIndex::WITHHOLD, |ladder| ladder.meet(before.view, most));
        Ceiling { view, needs: before.needs.and(self.needs) }
    }
}

impl Selection {
    /// Whether the situation is among those selected; single agencies are the decision's business.
    pub(super) fn concerns(
        &self,
        block: &Block,
        purpose: Option<&Purpose>,
        who: Option<&Audience>,
        column: Option<&Column>,
    ) -> bool {
        let (Some(purpose), Some(who), Some(column)) = (purpose, who, column) else { return false };
        let is_toward = |toward: &Toward| match toward {
            Toward::Agency(_) => true,
            Toward::Column(id) => *id == column.id,
            Toward::Kind(kind) => *kind == who.kind,
            Toward::Office(kind, office) => *kind == who.kind && who.office.as_ref() == Some(office),
        };
        (self.purposes.is_empty() || self.purposes.contains(&purpose.id))
            && (self.levels.is_empty() || block.level.is_some_and(|level| self.levels.contains(&level)))
            && (self.toward.is_empty() || self.toward.iter().any(is_toward))
    }

    /// The single agencies spoken of; `None` stands for everybody.
    fn agencies(&self) -> Vec<Option<AgencyId>> {
        let single = |toward: &Toward| match toward {
            Toward::Agency(agency) => Some(agency.clone()),
            Toward::Column(_) | Toward::Kind(_) | Toward::Office(..) => None,
        };
        let agencies: Vec<_> = self.toward.iter().filter_map(single).map(Some).collect();
        if agencies.is_empty() { vec![None] } else { agencies }
    }
}

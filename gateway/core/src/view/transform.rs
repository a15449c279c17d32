//! The transformations that make less of a value: bands, groups, masks, counts, parts, pseudonyms.
//!
//! Every one is a pure function of the value and the policy's own parameters; a caller never brings a threshold.
//! Each says which kind of value it takes and gives, so that a ladder is checked when the policy is loaded.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::expression::{Argument, Expression};
use super::kind::{CodeList, Kind, MICRO, Member, decimal};
use super::pseudonym::PairKey;
use crate::id::AgencyId;
use crate::time::parse_date;

/// Fixed length, whatever the value's: a mask that grows with the value tells its length.
const FILLER: &str = "****";

#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// `fasce_fino(0, 3000)`: code of the band, counted from 1, each edge belonging to the band below it; or
    /// `fasce_da(6, 12)`: each edge belonging to the band above it.
    Bands { edges: Vec<i64>, edge: Edge },
    /// `sotto(9360)`: whether the number is at most the threshold.
    Below(i64),
    /// `conta`: how many items.
    Count,
    /// `ogni(..)`: the transformation of each item.
    Each(Box<Transform>),
    /// `gruppo`: the code's parent in its list.
    Group(Arc<CodeList>),
    /// `iniziale`: the first letter and a filler.
    Initial,
    /// `membri(a, b=..)`: these members alone.
    Keep(Vec<(String, Option<Transform>)>),
    /// `maschera_email`: first letter and filler.
    MaskEmail,
    /// `maschera_cf`: the three letters of the surname; birth date, sex and birthplace hidden by their meaning.
    MaskTaxCode,
    /// `ultime_cifre`: the last three digits of a telephone number.
    MaskPhone,
    /// `tra(a, b)`: whether the code is one of these.
    OneOf(Vec<String>),
    /// `solo_caso(m)`, `solo_destinatario(m)`, `solo_persona(m)`: the items whose member names somebody in the
    /// case, the recipient, the subject.
    Only { member: String, whom: Whom },
    /// `prefisso(2)`: the first characters of a hierarchical code.
    Prefix(usize),
    /// `presente`: whether there is anything.
    Present,
    /// `pseudonimo(persona)`.
    Pseudonym(String),
    /// `anno`: the year of a date.
    Year,
    /// `anni(5)`: the band of so many years that the year lies in, `1985-1989`. By birth year, not by age: an age
    /// band moves on the birthday, and asking often enough finds the date.
    Years(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Above,
    Below,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Case,
    Recipient,
    Subject,
}

/// What some transformations need besides the value.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub recipient: &'a AgencyId,
    /// The owner's key towards the recipient; without one, pseudonymised views are not available.
    pub pair: Option<&'a PairKey>,
    /// Whether a codice fiscale is the subject's own.
    pub is_subject: &'a dyn Fn(&str) -> bool,
    /// Whether a codice fiscale is that of a person of the case.
    pub is_in_case: &'a dyn Fn(&str) -> bool,
}

/// Why a transformation cannot stand where it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformFault {
    #[error("`{0}` does not have the arguments it needs")]
    Arguments(String),
    #[error("`{0}` is not a code of list `{1}`")]
    Code(String, String),
    #[error("`{0}` cannot be applied to a field of this kind")]
    Kind(String),
    #[error("there is no member `{0}`")]
    Member(String),
    #[error("list `{0}` does not give every code a group")]
    Ungrouped(String),
    #[error("unknown transformation `{0}`")]
    Unknown(String),
}

/// The words a transformation may start with.
pub const WORDS: &[&str] = &[
    "anni",
    "anno",
    "conta",
    "fasce_da",
    "fasce_fino",
    "gruppo",
    "iniziale",
    "maschera_cf",
    "maschera_email",
    "membri",
    "ogni",
    "prefisso",
    "presente",
    "pseudonimo",
    "solo_caso",
    "solo_destinatario",
    "solo_persona",
    "sotto",
    "tra",
    "ultime_cifre",
];

impl Transform {
    /// Reads a transformation for values of a kind and says the kind it gives.
    pub fn read(from: &Expression, kind: &Kind) -> Result<(Self, Kind), TransformFault> {
        match from.name.as_str() {
            "anni" | "prefisso" | "sotto" => from.with_number(kind),
            "anno" | "conta" | "gruppo" | "iniziale" | "maschera_cf" | "maschera_email" | "presente"
            | "ultime_cifre" => from.bare(kind),
            "fasce_da" => from.bands(kind, Edge::Below),
            "fasce_fino" => from.bands(kind, Edge::Above),
            "membri" => from.keep(kind),
            "ogni" => from.each(kind),
            "pseudonimo" => from.pseudonym(kind),
            "solo_caso" => from.only(kind, Whom::Case),
            "solo_destinatario" => from.only(kind, Whom::Recipient),
            "solo_persona" => from.only(kind, Whom::Subject),
            "tra" => from.one_of(kind),
            other => Err(TransformFault::Unknown(other.to_owned())),
        }
    }

    /// The value at this view. `None` when the value is not of the kind, or what the context must bring is missing:
    /// the field is then not shown.
    pub fn apply(&self, value: &Value, context: &Context<'_>) -> Option<Value> {
        match self {
            Self::Bands { edges, edge } => {
                let n = micro(value)?;
                let is_below = |e: &&i64| match edge {
                    Edge::Above => n > e.saturating_mul(MICRO),
                    Edge::Below => n >= e.saturating_mul(MICRO),
                };
                Some((edges.iter().take_while(is_below).count() + 1).to_string().into())
            }
            Self::Below(most) => Some((micro(value)? <= most.saturating_mul(MICRO)).into()),
            Self::Count => Some(value.as_array()?.len().into()),
            Self::Each(inner) => value.as_array()?.iter().map(|item| inner.apply(item, context)).collect(),
            Self::Group(list) => Some(list.group(value.as_str()?)?.into()),
            Self::Initial => Some(masked(value.as_str()?).into()),
            Self::Keep(members) => keep(members, value.as_object()?, context),
            Self::MaskEmail => Some(format!("{}@{FILLER}", masked(value.as_str()?)).into()),
            Self::MaskPhone => {
                let text = value.as_str()?;
                let (_, last) = text.split_at_checked(text.len().checked_sub(3)?)?;
                Some(format!("{FILLER}{last}").into())
            }
            Self::MaskTaxCode => {
                let (surname, _) = value.as_str()?.split_at_checked(3)?;
                Some(format!("{surname}*************").into())
            }
            Self::OneOf(codes) => {
                let code = value.as_str()?;
                Some(codes.iter().any(|one| one == code).into())
            }
            Self::Only { member, whom } => {
                let keeps = |item: &&Value| {
                    item.get(member).and_then(Value::as_str).is_some_and(|text| match whom {
                        Whom::Case => (context.is_in_case)(text),
                        Whom::Recipient => text == context.recipient.as_str(),
                        Whom::Subject => (context.is_subject)(text),
                    })
                };
                Some(Value::Array(value.as_array()?.iter().filter(keeps).cloned().collect()))
            }
            Self::Prefix(n) => Some(value.as_str()?.chars().take(*n).collect::<String>().into()),
            Self::Present => Some(is_something(value).into()),
            Self::Pseudonym(domain) => Some(context.pair?.pseudonym(domain, value.as_str()?).into()),
            Self::Year => Some(parse_date(value.as_str()?)?.year().into()),
            Self::Years(n) => {
                let year = match value.as_i64() {
                    Some(year) => year,
                    None => parse_date(value.as_str()?)?.year().into(),
                };
                let first = year.checked_sub(year.checked_rem_euclid(*n)?)?;
                Some(format!("{first}-{}", first.checked_add(n - 1)?).into())
            }
        }
    }
}

/// What a generalised or masked value fits in.
const SHORT: Kind = Kind::Text { longest: 64 };

impl Expression {
    fn wrong_arguments(&self) -> TransformFault {
        TransformFault::Arguments(self.name.clone())
    }

    fn wrong_kind(&self) -> TransformFault {
        TransformFault::Kind(self.name.clone())
    }

    /// Below 10^12, so that a number in micro-units stays below 2^63.
    fn numbers(&self) -> Option<Vec<i64>> {
        let small = |n: &i64| n.unsigned_abs() < 1_000_000_000_000;
        self.words()?.into_iter().map(|word| word.parse().ok().filter(small)).collect()
    }

    fn bare(&self, kind: &Kind) -> Result<(Transform, Kind), TransformFault> {
        if !self.arguments.is_empty() {
            return Err(self.wrong_arguments());
        }
        let made = match (self.name.as_str(), kind) {
            ("anno", Kind::Date) => Some((Transform::Year, Kind::Integer { least: -9999, most: 9999 })),
            ("conta", Kind::List(_)) => {
                Some((Transform::Count, Kind::Integer { least: 0, most: i64::from(u32::MAX) }))
            }
            ("gruppo", Kind::Code(list)) if list.is_grouped() => {
                Some((Transform::Group(Arc::clone(list)), SHORT))
            }
            ("gruppo", Kind::Code(list)) => return Err(TransformFault::Ungrouped(list.name.clone())),
            ("iniziale", Kind::Text { .. }) => Some((Transform::Initial, SHORT)),
            ("maschera_cf", Kind::TaxCode) => Some((Transform::MaskTaxCode, SHORT)),
            ("maschera_email", Kind::Email) => Some((Transform::MaskEmail, SHORT)),
            ("presente", _) => Some((Transform::Present, Kind::Bool)),
            ("ultime_cifre", Kind::Phone) => Some((Transform::MaskPhone, SHORT)),
            (_, _) => None,
        };
        made.ok_or_else(|| self.wrong_kind())
    }

    fn with_number(&self, kind: &Kind) -> Result<(Transform, Kind), TransformFault> {
        let numbers = self.numbers().unwrap_or_default();
        let [n] = numbers.as_slice() else { return Err(self.wrong_arguments()) };
        let (made, gives, range) = match (self.name.as_str(), kind) {
            ("anni", Kind::Date | Kind::Integer { .. }) => (Transform::Years(*n), SHORT, 2..=100),
            ("prefisso", Kind::Code(_) | Kind::Text { .. }) => {
                (Transform::Prefix(usize::try_from(*n).unwrap_or_default()), SHORT, 1..=16)
            }
            ("sotto", Kind::Integer { .. } | Kind::Decimal { .. }) => {
                (Transform::Below(*n), Kind::Bool, i64::MIN..=i64::MAX)
            }
            (_, _) => return Err(self.wrong_kind()),
        };
        if range.contains(n) { Ok((made, gives)) } else { Err(self.wrong_arguments()) }
    }

    fn each(&self, kind: &Kind) -> Result<(Transform, Kind), TransformFault> {
        let Kind::List(item) = kind else { return Err(self.wrong_kind()) };
        let [Argument { label: None, value }] = self.arguments.as_slice() else {
            return Err(self.wrong_arguments());
        };
        let (inner, gives) = Transform::read(value, item)?;
        Ok((Transform::Each(Box::new(inner)), Kind::List(Box::new(gives))))
    }

    fn pseudonym(&self, kind: &Kind) -> Result<(Transform, Kind), TransformFault> {
        if !matches!(kind, Kind::TaxCode | Kind::Text { .. }) {
            return Err(self.wrong_kind());
        }
        match self.words().as_deref() {
            Some([domain]) => Ok((Transform::Pseudonym((*domain).to_owned()), SHORT)),
            Some(_) | None => Err(self.wrong_arguments()),
        }
    }

    fn one_of(&self, kind: &Kind) -> Result<(Transform, Kind), TransformFault> {
        let Kind::Code(list) = kind else { return Err(self.wrong_kind()) };
        let codes = self.words().filter(|codes| !codes.is_empty()).ok_or_else(|| self.wrong_arguments())?;
        if let Some(code) = codes.iter().find(|code| !list.has(code)) {
            return Err(TransformFault::Code((*code).to_owned(), list.name.clone()));
        }
        Ok((Transform::OneOf(codes.into_iter().map(str::to_owned).collect()), Kind::Bool))
    }

    fn bands(&self, kind: &Kind, edge: Edge) -> Result<(Transform, Kind), TransformFault> {
        if !matches!(kind, Kind::Integer { .. } | Kind::Decimal { .. }) {
            return Err(self.wrong_kind());
        }
        match self.numbers() {
            Some(edges) if !edges.is_empty() && edges.is_sorted_by(|a, b| a < b) => {
                Ok((Transform::Bands { edges, edge }, SHORT))
            }
            Some(_) | None => Err(self.wrong_arguments()),
        }
    }

    fn only(&self, kind: &Kind, whom: Whom) -> Result<(Transform, Kind), TransformFault> {
        let Kind::List(item) = kind else { return Err(self.wrong_kind()) };
        let Kind::Struct(members) = item.as_ref() else {
            return Err(self.wrong_kind());
        };
        match self.words().as_deref() {
            Some([name]) if members.iter().any(|member| member.name == *name) => {
                Ok((Transform::Only { member: (*name).to_owned(), whom }, kind.clone()))
            }
            Some([name]) => Err(TransformFault::Member((*name).to_owned())),
            Some(_) | None => Err(self.wrong_arguments()),
        }
    }

    fn keep(&self, kind: &Kind) -> Result<(Transform, Kind), TransformFault> {
        let Kind::Struct(members) = kind else { return Err(self.wrong_kind()) };
        let mut kept = Vec::new();
        let mut gives = Vec::new();
        for argument in &self.arguments {
            let name = argument.label.as_ref().unwrap_or(&argument.value.name);
            let member = members
                .iter()
                .find(|member| member.name == *name)
                .ok_or_else(|| TransformFault::Member(name.clone()))?;
            let (inner, kind) = match &argument.label {
                Some(_) => Transform::read(&argument.value, &member.kind).map(|(t, k)| (Some(t), k))?,
                None => (None, member.kind.clone()),
            };
            kept.push((name.clone(), inner));
            gives.push(Member { name: name.clone(), kind });
        }
        if kept.is_empty() {
            return Err(self.wrong_arguments());
        }
        Ok((Transform::Keep(kept), Kind::Struct(gives.into())))
    }
}

fn keep(
    members: &[(String, Option<Transform>)],
    found: &Map<String, Value>,
    context: &Context<'_>,
) -> Option<Value> {
    let mut kept = Map::new();
    for (name, inner) in members {
        let Some(value) = found.get(name).filter(|value| !value.is_null()) else { continue };
        let shown = match inner {
            Some(transform) => transform.apply(value, context)?,
            None => value.clone(),
        };
        kept.insert(name.clone(), shown);
    }
    Some(Value::Object(kept))
}

fn micro(value: &Value) -> Option<i64> {
    match value.as_i64() {
        Some(whole) => whole.checked_mul(MICRO),
        None => decimal(value.as_str()?, 6),
    }
}

fn masked(text: &str) -> String {
    text.chars().next().into_iter().chain(FILLER.chars()).collect()
}

/// Zero, `false`, an empty text, list or object mean that there is nothing.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(n) => n.as_i64() != Some(0),
        Value::String(text) => !text.is_empty() && decimal(text, 6) != Some(0),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

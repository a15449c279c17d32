//! Notices to those who received what is no longer agreed to, restricted or wrong (GDPR arts. 7(3), 18, 19), and who
//! has acknowledged them. They name exchanges and fields, never a person or a value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::case::Operator;
use crate::code::Code;
use crate::emergency::{Emergency, Verdict};
use crate::hash::Sha256;
use crate::id::{AgencyId, ConsentId, ExchangeId, FieldId, NoticeId, PurposeId, RecordTypeId};
use crate::json;
use crate::log::entry::{Kind, Slots};
use crate::log::leaf::Leaf;
use crate::policy::reduce::Outcome;
use crate::time::Timestamp;

/// Exchanges one notice names; more become a second notice's.
pub const MOST_EXCHANGES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The glass was broken: the owner must review it in time.
    Emergency,
    /// The data were wrong and have been corrected at the source (art. 16).
    Rectification,
    /// The data are restricted (art. 18).
    Restriction,
    /// A withdrawal against the will of whoever decides alone: an officer must look into it.
    Suspension,
    /// A pushed copy was never taken over: both agencies must look into it.
    Undelivered,
    /// An emergency that its review found was none: what was received must be deleted.
    Unjustified,
    /// The consent they rested on has ended.
    Withdrawal,
    /// The data were another person's: what was received must be deleted.
    WrongPerson,
}

/// One notice to one agency. Written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    pub id: NoticeId,
    pub about: About,
    pub issued: Timestamp,
    pub to: AgencyId,
    /// Whose data they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<AgencyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_type: Option<RecordTypeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<PurposeId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldId>,
    /// The exchanges in which the agency received them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<ExchangeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    Acknowledged {
        at: Timestamp,
        by: Operator,
        /// SHA-256 of the signed request.
        request: Sha256,
    },
    Issued {
        at: Timestamp,
    },
    /// Only of an emergency.
    Reviewed {
        at: Timestamp,
        by: Operator,
        request: Sha256,
        verdict: Verdict,
    },
}

/// A notice and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub notice: Notice,
    pub acknowledged: Option<Timestamp>,
    pub reviewed: Option<(Timestamp, Verdict)>,
    pub epoch: u64,
}

/// Why an event is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoticeFault {
    #[error("the notice was acknowledged before")]
    Acknowledged,
    #[error("the notice is of no emergency")]
    NoEmergency,
    #[error("a notice is issued once, first")]
    NotIssued,
    #[error("the emergency was reviewed before")]
    Reviewed,
    #[error("there is no such notice among those your agency must acknowledge")]
    Unknown,
}

impl NoticeFault {
    pub const fn code(&self) -> Code {
        match self {
            Self::Acknowledged | Self::Reviewed => Code::ConsentConflict,
            Self::NoEmergency => Code::RequestInvalid,
            Self::NotIssued | Self::Unknown => Code::NoticeUnknown,
        }
    }
}

impl Served {
    pub fn issue(notice: Notice) -> (Self, Event) {
        let event = Event::Issued { at: notice.issued };
        (Self { notice, acknowledged: None, reviewed: None, epoch: 1 }, event)
    }

    pub fn replay(notice: Notice, events: &[Event]) -> Result<Self, NoticeFault> {
        let Some((Event::Issued { .. }, rest)) = events.split_first() else {
            return Err(NoticeFault::NotIssued);
        };
        rest.iter().try_fold(Self { notice, acknowledged: None, reviewed: None, epoch: 1 }, Self::record)
    }

    /// Only the agency it was issued to acknowledges or reviews it.
    pub fn record(mut self, event: &Event) -> Result<Self, NoticeFault> {
        match event {
            Event::Issued { .. } => return Err(NoticeFault::NotIssued),
            Event::Acknowledged { by, .. } | Event::Reviewed { by, .. } if by.agency != self.notice.to => {
                return Err(NoticeFault::Unknown);
            }
            Event::Acknowledged { .. } | Event::Reviewed { .. } if self.reviewed.is_some() => {
                return Err(NoticeFault::Reviewed);
            }
            Event::Acknowledged { .. } if self.acknowledged.is_some() => {
                return Err(NoticeFault::Acknowledged);
            }
            Event::Reviewed { .. } if self.notice.emergency.is_none() => {
                return Err(NoticeFault::NoEmergency);
            }
            Event::Acknowledged { at, .. } => self.acknowledged = Some(*at),
            Event::Reviewed { at, verdict, .. } => self.reviewed = Some((*at, *verdict)),
        }
        self.epoch += 1;
        Ok(self)
    }
}

/// A disclosure of the past, as far as a notice needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    pub exchange: ExchangeId,
    pub consumer: AgencyId,
    pub provider: Option<AgencyId>,
    pub purpose: Option<PurposeId>,
    pub record_type: Option<RecordTypeId>,
    pub shown: Vec<FieldId>,
    /// Which fields rested on which consent.
    pub rested_on: BTreeMap<ConsentId, Vec<FieldId>>,
}

impl Past {
    /// Reads an entry of the log; `None` for what handed nothing over. A push that was accepted has handed over nothing
    /// yet; each delivery of it has. Where the body was erased nothing is known of the
    /// fields, and the recipient is told all the same.
    pub fn read(leaf: &Leaf, slots: &Slots) -> Option<Self> {
        let content = leaf.content();
        if !matches!(content.kind, Kind::Delivery | Kind::Disclosure) {
            return None;
        }
        let body = slots.decision.as_ref().and_then(|slot| json::parse(slot.body.as_bytes()).ok());
        let member =
            |name: &str| body.as_ref().and_then(|body| body.get(name)).cloned().unwrap_or(Value::Null);
        let is_push = body.as_ref().is_some_and(|body| body.get("push").is_some());
        // A body that was erased tells nothing, and is counted as if it had handed something over.
        let hands_over = if content.kind == Kind::Delivery {
            body.as_ref().is_none_or(|body| body.get("outcomes").is_some())
        } else {
            !is_push
        };
        if !hands_over {
            return None;
        }
        let delivers = serde_json::from_value(member("delivers")).ok();
        let outcomes: Vec<Value> = serde_json::from_value(member("outcomes")).unwrap_or_default();
        Some(Self {
            exchange: delivers.unwrap_or_else(|| content.id.clone()),
            consumer: content.consumer.clone()?,
            provider: content.provider.clone(),
            purpose: content.purpose.clone(),
            record_type: content.record_type.clone(),
            shown: outcomes.into_iter().filter_map(shown).collect(),
            rested_on: serde_json::from_value(member("rests_on")).unwrap_or_default(),
        })
    }
}

/// The name of a field that was shown, from an outcome as the log says it.
fn shown(outcome: Value) -> Option<FieldId> {
    let name = outcome.get("name")?.as_str()?.parse().ok()?;
    match serde_json::from_value::<Outcome>(outcome) {
        Ok(Outcome::Shown { .. }) => Some(name),
        Ok(Outcome::Absent | Outcome::Unavailable | Outcome::Withheld { .. }) | Err(_) => None,
    }
}

/// What a notice is grouped by.
type Group = (AgencyId, Option<AgencyId>, Option<RecordTypeId>, Option<PurposeId>);

/// One notice for each recipient, provider, record type and purpose. `concerned` tells which fields of a disclosure
/// are concerned; a disclosure of which nothing is gets no notice.
pub fn notices(
    cause: (&ExchangeId, Timestamp),
    about: About,
    past: &[Past],
    concerned: impl Fn(&Past) -> Option<Vec<FieldId>>,
) -> Vec<Notice> {
    let mut groups: BTreeMap<Group, (BTreeSet<FieldId>, Vec<ExchangeId>)> = BTreeMap::new();
    for past in past {
        let Some(fields) = concerned(past) else { continue };
        let group =
            (past.consumer.clone(), past.provider.clone(), past.record_type.clone(), past.purpose.clone());
        let (known, exchanges) = groups.entry(group).or_default();
        known.extend(fields);
        // A copy that was handed over twice is one exchange.
        if !exchanges.contains(&past.exchange) {
            exchanges.push(past.exchange.clone());
        }
    }
    let mut notices = Vec::new();
    for ((to, provider, record_type, purpose), (fields, exchanges)) in groups {
        for (part, exchanges) in exchanges.chunks(MOST_EXCHANGES).enumerate() {
            let text = |id: Option<&str>| id.unwrap_or_default().to_owned();
            let parts = [
                to.to_string(),
                text(provider.as_ref().map(AgencyId::as_str)),
                text(record_type.as_ref().map(RecordTypeId::as_str)),
                text(purpose.as_ref().map(PurposeId::as_str)),
                part.to_string(),
            ];
            notices.push(Notice {
                id: NoticeId::of(cause.0, &parts.each_ref().map(String::as_str)),
                about,
                issued: cause.1,
                to: to.clone(),
                provider: provider.clone(),
                record_type: record_type.clone(),
                purpose: purpose.clone(),
                fields: fields.iter().cloned().collect(),
                exchanges: exchanges.to_vec(),
                emergency: None,
            });
        }
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emergency::{Danger, Incapacity};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_795_000_000 + second)
    }

    fn issued(emergency: Option<Emergency>) -> Served {
        let notice = Notice {
            id: NoticeId::of(&"0198f0c2-aaaa-7fff-bfff-ffffffffffff".parse().unwrap(), &["test"]),
            about: if emergency.is_some() { About::Emergency } else { About::Withdrawal },
            issued: at(0),
            to: "comune-capannori".parse().unwrap(),
            provider: None,
            record_type: None,
            purpose: None,
            fields: Vec::new(),
            exchanges: Vec::new(),
            emergency,
        };
        Served::issue(notice).0
    }

    fn declared() -> Option<Emergency> {
        Some(Emergency {
            danger: Danger::Life,
            cannot_consent: Incapacity::Unconscious,
            by: "asl-toscana-nord-ovest".parse().unwrap(),
            review_by: at(72 * 3600),
        })
    }

    fn event(name: &str, agency: &str) -> Event {
        let by = Operator { agency: agency.parse().unwrap(), operator: "op-1".parse().unwrap() };
        let (at, request) = (at(60), Sha256::of(b"request"));
        match name {
            "acknowledged" => Event::Acknowledged { at, by, request },
            "issued" => Event::Issued { at },
            "justified" => Event::Reviewed { at, by, request, verdict: Verdict::Justified },
            _ => Event::Reviewed { at, by, request, verdict: Verdict::Unjustified },
        }
    }

    /// Of an emergency and of any other notice: each state it can be in.
    #[test]
    fn each_state_takes_from_each_agency_what_the_table_says_and_no_other() {
        let taken = |kind: &str, state: &str, change: &str| match change {
            "acknowledged" => state == "issued",
            "justified" | "unjustified" => kind == "emergency" && state != "reviewed",
            _ => false,
        };
        let addressee = "comune-capannori";
        for (kind, emergency) in [("emergency", declared()), ("notice", None)] {
            let fresh = issued(emergency);
            let then = |change| fresh.clone().record(&event(change, addressee));
            let mut states = vec![("issued", fresh.clone()), ("acknowledged", then("acknowledged").unwrap())];
            states.extend(then("justified").ok().map(|served| ("reviewed", served)));
            for (state, served) in states {
                for change in ["acknowledged", "issued", "justified", "unjustified"] {
                    for by in [addressee, "asl-toscana-nord-ovest", "cpi-lucca"] {
                        let got = served.clone().record(&event(change, by));
                        let expected = by == addressee && taken(kind, state, change);
                        assert_eq!(
                            got.is_ok(),
                            expected,
                            "{kind}, {state}, {change} by {by}: {:?}",
                            got.err()
                        );
                    }
                }
            }
        }
    }
}

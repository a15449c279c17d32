//! `POST /consents/withdrawals`: a person takes back what they agreed to, at any desk of any party, naming no record.
//!
//! The desk learns that it is done and nothing else: whether there was anything to take back looks the same to whoever
//! may not know the records, in the answer and in the log.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::consent_register::{ConsentEventAsk, consent_change, consent_view};
use super::notice_register::{Closing, notices_of};
use super::{Done, Registered, settle};
use crate::consent::{self, Consent, ConsentFault, ScopeItem};
use crate::exchange::ask::SubjectName;
use crate::exchange::outcome::Outcome;
use crate::exchange::verify::VerifiedRequest;
use crate::id::{PurposeId, RecordTypeId};
use crate::log::entry::Kind;
use crate::notice::Past;
use crate::policy::{ConsentRole, Gives, Purpose};
use crate::time::Timestamp;

/// The body of `POST /consents/withdrawals`. No reason is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawalAsk {
    pub subject: SubjectName,
    /// Absent: everything the person has agreed to.
    #[serde(default)]
    pub items: Option<Vec<WithdrawnItem>>,
    pub capacity: consent::Capacity,
    #[serde(default)]
    pub by: Option<SubjectName>,
    #[serde(default)]
    pub mandate: Option<consent::Mandate>,
    pub method: consent::Method,
    pub access_point: String,
    #[serde(default)]
    pub evidence: Vec<consent::Evidence>,
}

/// What is taken back; a member that is absent means all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawnItem {
    #[serde(default)]
    pub purpose: Option<PurposeId>,
    #[serde(default)]
    pub record_type: Option<RecordTypeId>,
}

impl WithdrawnItem {
    fn covers(&self, item: &ScopeItem) -> bool {
        self.purpose.as_ref().is_none_or(|purpose| *purpose == item.purpose)
            && self.record_type.as_ref().is_none_or(|kind| *kind == item.record_type)
    }
}

impl Registered<'_> {
    /// `held` are the person's records, `past` the disclosures about them.
    pub fn withdraw(
        &self,
        request: VerifiedRequest,
        ask: WithdrawalAsk,
        held: &[Consent],
        past: &[Past],
    ) -> Outcome {
        settle(request, |request| {
            let subject = self.subject(&ask.subject)?;
            let event = ConsentEventAsk {
                state: consent::State::Withdrawn,
                items: Vec::new(),
                effective_at: None,
                until: None,
                capacity: ask.capacity,
                by: ask.by,
                mandate: ask.mandate,
                method: ask.method,
                access_point: ask.access_point,
                evidence: ask.evidence,
            };
            let event = event.event(request, self.keys);
            // What is wrong with the word itself is said before any record is looked at.
            event.check_mandate()?;
            let (mut changes, mut pairs) = (Vec::new(), Vec::new());
            for before in held {
                let is_meant = |item: &&ScopeItem| {
                    ask.items.as_ref().is_none_or(|items| items.iter().any(|asked| asked.covers(item)))
                        && before.state(&item.item, request.at).leads_to(consent::State::Withdrawn)
                };
                let items: Vec<_> =
                    before.header.scope.iter().filter(is_meant).map(|item| item.item.clone()).collect();
                if items.is_empty() {
                    continue;
                }
                let event = event.ending(consent::State::Withdrawn, items);
                let change = consent_change(before, &event);
                match before.clone().record(event) {
                    Ok(after) => {
                        changes.push(change);
                        pairs.push((before, after));
                    }
                    // This record is not one the speaker speaks for; that it exists is none of the desk's business.
                    Err(ConsentFault::CapacityMismatch(..)) => {}
                    Err(fault) => return Err(fault.into()),
                }
            }
            let closed: Vec<_> = pairs.iter().map(|(before, after)| Closing { before, after }).collect();
            changes.extend(notices_of(&closed, past, request));
            let known = pairs.iter().filter(|(before, _)| before.is_known_to(&request.sender.agency));
            let records: Vec<Value> = known.map(|(_, after)| consent_view(after, request.at)).collect();
            let view =
                json!({ "at": request.at, "records": records, "continues": self.continues(request.at) });
            let body = Map::from_iter([("withdrawal".to_owned(), view)]);
            Ok(Done { subject: Some(subject), case: None, kind: Kind::Consent, changes, status: 200, body })
        })
    }

    /// What goes on whether or not the person agrees, by law alone: told when they agree and when they take it back.
    /// The same for everybody, from the policy in force.
    pub(super) fn continues(&self, at: Timestamp) -> Value {
        let is_in_force = |purpose: &&Purpose| {
            purpose.from.is_none_or(|from| from <= at) && purpose.until.is_none_or(|until| at < until)
        };
        let by_law = |purpose: &&Purpose| {
            let is_about_people = purpose.gives != Gives::Aggregates && !purpose.records.is_empty();
            purpose.consent == ConsentRole::None && is_about_people
        };
        let told = |purpose: &Purpose| {
            let records: Vec<_> = purpose.records.iter().map(|record| &record.record_type).collect();
            let acts = self.policy.acts.iter().filter(|act| purpose.acts.contains(&act.id));
            let acts: Vec<_> = acts.map(|act| &act.title).collect();
            json!({ "purpose": purpose.id, "name": purpose.name, "record_types": records, "acts": acts })
        };
        let purposes = self.policy.purposes.iter().filter(is_in_force).filter(by_law);
        purposes.map(told).collect()
    }
}

//! Orders of officers about the log itself: erase bodies, hold them, lift a hold, serve old entries no longer.
//!
//! An order is a document that officers sign and anybody may bring. It names no person: whom it is about is known to those
//! who asked the log for the entries it names. To hold takes one officer; whatever takes evidence away takes officers of
//! two agencies. Brought twice, an order has no second effect.

use serde::{Deserialize, Serialize};
use serde_json::json;
use varco_core::hash::Sha256;
use varco_core::id::ExchangeId;
use varco_core::json;
use varco_core::log::entry::{Draft, Erases, Kind, Reason, Slot, SlotName};
use varco_core::log::proof::Receipt;
use varco_core::log::shard::are_kin;
use varco_core::registry::Registry;
use varco_core::time::Timestamp;
use varco_store::submission::{
    AppendError, Artifact, ArtifactKind, Held, Hold, Keeping, Submission, Unavailable,
};

use crate::app::App;
use crate::genesis::{self, OfficerStatement, TrustFault};

/// The act of an officer's statement on an order.
pub const ACT_ORDER: &str = "order-log";

/// Entries one range may name: what is erased in one transaction stays under a second.
const RANGE_MAX: u64 = 65_536;

/// Entries that become unavailable together (c2sp.org/tlog-tiles): whole bundles.
const BUNDLE: u64 = 256;

/// Bytes of the text that says by what authority.
const AUTHORITY_MAX: usize = 200;

/// What officers sign, as canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The log's origin: an order for one log is none for another.
    pub log: String,
    /// When it was drawn up. Two orders that say the same are told apart by it.
    pub at: Timestamp,
    /// By what act: `Trib. Lucca, decreto 12/2026`. Stays in the log for ever, so it must name no person.
    pub authority: String,
    #[serde(flatten)]
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Act {
    Erase {
        entries: Vec<Entries>,
        slots: Vec<SlotName>,
        reason: Reason,
    },
    Hold {
        /// The name under which it is lifted.
        hold: String,
        entries: Vec<Entries>,
    },
    Lift {
        hold: String,
    },
    /// Entries before `minimum`, a multiple of 256, lose all their bodies and are not served any more.
    Prune {
        minimum: u64,
    },
}

/// Entries from first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entries {
    pub first: u64,
    pub last: u64,
}

/// An order as it is brought to the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderProposal {
    /// An [`Order`], exactly as signed.
    pub document: String,
    pub statements: Vec<OfficerStatement>,
}

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderFault {
    #[error("the authority must be told in 1 to {AUTHORITY_MAX} bytes on one line")]
    Authority,
    #[error("officers of two agencies must sign what takes evidence away")]
    FewAgencies,
    #[error("the order cannot be read: {0}")]
    Malformed(String),
    #[error("the minimum must be a multiple of {BUNDLE} within the log")]
    Minimum,
    #[error("the name of a hold has 1 to 64 letters, digits, `.`, `_` or `-`")]
    Name,
    #[error("the order is about the log `{0}`")]
    OtherLog(String),
    #[error(
        "the ranges must be in order, apart, within the log, of at most {RANGE_MAX} entries, and at most {}",
        Submission::RANGES_MAX
    )]
    Ranges,
    #[error("an order names its reason; `retention` is the gateway's own")]
    Reason,
    #[error("a statement is not accepted: {0}")]
    Statement(#[from] TrustFault),
}

/// An order whose signatures and references were checked.
pub struct Checked {
    order: Order,
    document: String,
    statements: Vec<OfficerStatement>,
}

impl OrderProposal {
    /// Checks an order for the log of this origin, which has `size` entries now.
    pub fn check(
        self,
        registry: &Registry,
        (origin, size): (&str, u64),
        now: Timestamp,
    ) -> Result<Checked, OrderFault> {
        let order: Order = json::parse_as(self.document.as_bytes())
            .map_err(|fault| OrderFault::Malformed(fault.to_string()))?;
        // A member we do not know would be signed for and have no effect.
        if json::canonical_of(&order) != self.document {
            return Err(OrderFault::Malformed("it is not the canonical form of what it says".to_owned()));
        }
        if !are_kin(&order.log, origin) {
            return Err(OrderFault::OtherLog(order.log));
        }
        order.check(size)?;
        let about = (ACT_ORDER, Sha256::of(self.document.as_bytes()));
        let agencies = genesis::signers(registry, &self.statements, about, Some(now))?;
        let needed = if matches!(order.act, Act::Hold { .. }) { 1 } else { 2 };
        if agencies.len() < needed {
            return Err(OrderFault::FewAgencies);
        }
        Ok(Checked { order, document: self.document, statements: self.statements })
    }
}

impl Order {
    /// What the form of the document cannot say.
    pub fn check(&self, size: u64) -> Result<(), OrderFault> {
        let is_line = !self.authority.chars().any(char::is_control);
        if !(1..=AUTHORITY_MAX).contains(&self.authority.len()) || !is_line {
            return Err(OrderFault::Authority);
        }
        match &self.act {
            Act::Erase { entries, slots, reason } => {
                if *reason == Reason::Retention {
                    return Err(OrderFault::Reason);
                }
                if slots.is_empty() {
                    return Err(OrderFault::Malformed("no slot is named".to_owned()));
                }
                ranges(entries, Some(size))
            }
            Act::Hold { hold, entries } => name(hold).and_then(|()| ranges(entries, None)),
            Act::Lift { hold } => name(hold),
            Act::Prune { minimum } => {
                let fits = *minimum > 0 && *minimum <= size && minimum.is_multiple_of(BUNDLE);
                if fits { Ok(()) } else { Err(OrderFault::Minimum) }
            }
        }
    }
}

fn name(name: &str) -> Result<(), OrderFault> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(known);
    if fits { Ok(()) } else { Err(OrderFault::Name) }
}

/// A hold may reach into the future; what is erased must be there.
fn ranges(entries: &[Entries], size: Option<u64>) -> Result<(), OrderFault> {
    let fits = |range: &Entries| {
        let within =
            size.is_none_or(|size| range.last < size && range.last - range.first.min(range.last) < RANGE_MAX);
        range.first <= range.last && within
    };
    let apart = |pair: &[Entries]| matches!(pair, [a, b] if a.last < b.first);
    let number = (1..=Submission::RANGES_MAX).contains(&entries.len());
    if number && entries.iter().all(fits) && entries.windows(2).all(apart) {
        Ok(())
    } else {
        Err(OrderFault::Ranges)
    }
}

/// Enters what the order says, an entry for each range, and gives back their receipts. What was entered before, because
/// the order was brought before, is not entered again.
pub async fn carry_out(app: &App, checked: Checked) -> Result<Vec<Receipt>, AppendError> {
    let document = Sha256::of(checked.document.as_bytes());
    let parts = parts(&checked, document);
    refuse_held(app, &parts).await?;
    let mut receipts = Vec::new();
    for (n, part) in parts.into_iter().enumerate() {
        let mut draft = Draft::new(part.kind, part_id(&checked.order, document, n));
        draft.erases = part.erases;
        let body =
            json!({ "order": document, "document": checked.document, "statements": checked.statements });
        draft.slots.decision = Some(Slot::new(app.random(), &body));
        let mut submission = Submission::new(draft);
        submission.hold = part.hold;
        submission.keeping = Some(Keeping::ForEver);
        let bytes = checked.document.clone().into_bytes();
        submission.artifacts.push(Artifact { kind: ArtifactKind::Order, bytes });
        let id = submission.draft.id.clone();
        match app.store.append(submission).await {
            Ok(committed) => receipts.push(committed.receipt),
            Err(AppendError::Duplicate) => {
                let known = app.store.receipt(&id).await;
                receipts.extend(known.ok().flatten());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(receipts)
}

/// An order some of whose entries are held is not carried out in part. Each entry's own transaction looks once more.
async fn refuse_held(app: &App, parts: &[Part]) -> Result<(), AppendError> {
    let holds = app.store.read().holds().await.map_err(|error| {
        tracing::error!(%error, "the holds cannot be read");
        Unavailable::Closed("the holds cannot be read".to_owned())
    })?;
    let erased = |held: &&Held| {
        let meets = |erases: &Erases| held.first <= erases.last() && erases.first() <= held.last;
        parts.iter().filter_map(|part| part.erases.as_ref()).any(meets)
    };
    match holds.iter().find(erased) {
        Some(held) => Err(AppendError::Held(held.id.clone())),
        None => Ok(()),
    }
}

/// One entry of an order.
struct Part {
    kind: Kind,
    erases: Option<Erases>,
    hold: Option<Hold>,
}

fn parts(checked: &Checked, document: Sha256) -> Vec<Part> {
    let admin = |hold| vec![Part { kind: Kind::Admin, erases: None, hold: Some(hold) }];
    match &checked.order.act {
        Act::Erase { entries, slots, reason } => entries
            .iter()
            .filter_map(|range| Erases::new(range.first, range.last, slots))
            .map(|erases| erases.because(*reason).ordered_in(document))
            .map(|erases| Part { kind: Kind::Erasure, erases: Some(erases), hold: None })
            .collect(),
        Act::Hold { hold, entries } => {
            let ranges = entries.iter().map(|range| (range.first, range.last)).collect();
            admin(Hold::Place { id: hold.clone(), ranges })
        }
        Act::Lift { hold } => admin(Hold::Lift { id: hold.clone() }),
        Act::Prune { minimum } => (0..*minimum)
            .step_by(usize::try_from(RANGE_MAX).unwrap_or(usize::MAX))
            .filter_map(|first| {
                let last = first.saturating_add(RANGE_MAX).min(*minimum).saturating_sub(1);
                Erases::new(first, last, &SlotName::ALL)
            })
            .map(|erases| erases.because(Reason::Retention).ordered_in(document))
            .map(|erases| Part { kind: Kind::Prune, erases: Some(erases), hold: None })
            .collect(),
    }
}

/// The identifier of an order's n-th entry: always the same for the same document, so that it is entered once.
fn part_id(order: &Order, document: Sha256, n: usize) -> ExchangeId {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    let digest = Sha256::of_parts(&[document.as_bytes(), &n.to_be_bytes()]);
    let random = digest.as_bytes().first_chunk::<10>().copied().unwrap_or_default();
    ExchangeId::new(order.at, random)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn order(act: Act) -> Order {
        let at = Timestamp::from_millis(1_767_268_800_000);
        Order { log: "varco.test".to_owned(), at, authority: "Trib. Lucca 12/2026".to_owned(), act }
    }

    fn erase(ranges: &[(u64, u64)]) -> Order {
        let entries = ranges.iter().map(|(first, last)| Entries { first: *first, last: *last }).collect();
        order(Act::Erase { entries, slots: vec![SlotName::Subject], reason: Reason::Person })
    }

    #[test]
    fn a_document_reads_back_and_unknown_members_are_refused() {
        for order in [
            erase(&[(1, 2), (4, 4)]),
            order(Act::Hold { hold: "h-1".to_owned(), entries: vec![Entries { first: 0, last: 9 }] }),
            order(Act::Lift { hold: "h-1".to_owned() }),
            order(Act::Prune { minimum: 512 }),
        ] {
            let text = json::canonical_of(&order);
            assert_eq!(json::parse_as::<Order>(text.as_bytes()).unwrap(), order);
            assert!(order.check(1000).is_ok(), "{text}");
            let more = text.replacen('{', "{\"aa\":1,", 1);
            assert_ne!(
                json::parse_as::<Order>(more.as_bytes()).map(|read| json::canonical_of(&read)),
                Ok(more)
            );
        }
    }

    #[test]
    fn an_order_names_entries_that_are_there_in_order_and_apart() {
        for bad in [&[][..], &[(2, 1)], &[(0, 1000)], &[(0, 4), (4, 5)], &[(5, 6), (1, 2)]] {
            assert!(matches!(erase(bad).check(1000), Err(OrderFault::Ranges)), "{bad:?}");
        }
        assert!(matches!(erase(&[(0, 65_536)]).check(100_000), Err(OrderFault::Ranges)));
        assert!(erase(&[(0, 65_535)]).check(100_000).is_ok());
        for minimum in [0, 255, 1024] {
            assert!(matches!(order(Act::Prune { minimum }).check(1000), Err(OrderFault::Minimum)));
        }
        let retention = Order {
            act: Act::Erase {
                entries: vec![Entries { first: 0, last: 1 }],
                slots: vec![SlotName::Subject],
                reason: Reason::Retention,
            },
            ..erase(&[(0, 1)])
        };
        assert!(matches!(retention.check(10), Err(OrderFault::Reason)));
        let silent = Order { authority: "a\nb".to_owned(), ..erase(&[(0, 1)]) };
        assert!(matches!(silent.check(10), Err(OrderFault::Authority)));
    }

    #[test]
    fn the_entries_of_an_order_have_identifiers_of_their_own_that_never_change() {
        let order = erase(&[(0, 1)]);
        let document = Sha256::of(b"document");
        let ids: BTreeSet<_> = (0..9).map(|n| part_id(&order, document, n)).collect();
        assert_eq!(ids.len(), 9);
        assert!(ids.contains(&part_id(&order, document, 3)));
    }
}

//! What a decision rests on, as its entry says it. Whoever may read bodies reads it, but for what would tell a concealed
//! field from one the source holds nothing of: that is sealed for the record's owner.

use serde_json::{Map, Value, json};

use crate::consent::{Restriction, RestrictionEffect};
use crate::id::{AgencyId, ExchangeId, FieldId, PurposeId, RecordTypeId};
use crate::policy::record::RecordType;
use crate::policy::reduce::Findings;
use crate::policy::{Facts, Policy, marks};
use crate::time::Timestamp;

/// Seals what only the owner of a record may know. The same words are sealed to the same length whatever they say, and open
/// under no other entry.
pub trait OwnerSeal: Send + Sync {
    fn seal(&self, owner: &AgencyId, entry: &ExchangeId, words: &[u8]) -> Option<String>;
}

/// Opens it again, with the key of that owner.
pub trait OwnerKey {
    /// `None` without that owner's key, and for whatever was sealed for another entry or changed since.
    fn open(&self, owner: &AgencyId, entry: &ExchangeId, sealed: &str) -> Option<Vec<u8>>;
}

/// The member of a decision slot that is sealed.
pub(in crate::exchange) const SEALED: &str = "for_owner";

/// The source holds nothing of the field.
const ABSENT: u8 = 1;
/// Its value could not be brought to the view.
const UNFIT: u8 = 2;
/// It is a control field, and holds.
const HOLDS: u8 = 4;
/// The person has concealed it.
const CONCEALED: u8 = 8;
/// Somebody else of the household has concealed it.
const BY_OTHERS: u8 = 16;
/// All five together are one of these.
const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The parts of a decision slot before it is made.
#[derive(Clone, Debug, Default)]
pub(in crate::exchange) struct Grounds {
    open: Map<String, Value>,
    hidden: Option<Hidden>,
}

/// One mark for each field of the record type, in its order.
#[derive(Clone)]
struct Hidden {
    owner: AgencyId,
    marks: Vec<u8>,
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// What is decided: of which type, for what, and which fields were named.
#[derive(Clone, Copy)]
pub(in crate::exchange) struct Topic<'a> {
    pub record_type: &'a RecordTypeId,
    pub purpose: &'a PurposeId,
    pub requested: Option<&'a [FieldId]>,
}

impl Grounds {
    /// The inputs of a decision, for replay; the policy is named by the entry's leaf.
    pub fn of(topic: Topic<'_>, facts: &Facts, policy: &Policy, now: Timestamp) -> Self {
        let Topic { record_type, purpose, requested } = topic;
        let mut shown = facts.clone();
        let stays = |held: &Restriction| held.effect != RestrictionEffect::Conceal;
        shown.restrictions.retain(stays);
        shown.household.iter_mut().for_each(|member| member.restrictions.retain(stays));
        let mut open = Map::new();
        open.insert("at".into(), json!(now));
        open.insert("record_type".into(), json!(record_type));
        open.insert("purpose".into(), json!(purpose));
        open.insert("requested".into(), json!(requested));
        open.insert("facts".into(), json!(shown));
        let hidden = policy.record_type(record_type).map(|kind| {
            let mut hidden =
                Hidden { owner: facts.provider.agency.clone(), marks: vec![0; kind.fields.len()] };
            hidden.conceal(kind, &facts.restrictions, CONCEALED);
            facts.household.iter().for_each(|mate| hidden.conceal(kind, &mate.restrictions, BY_OTHERS));
            hidden
        });
        Self { open, hidden }
    }

    /// Among people who are only counted nobody's concealment is known, so that nothing of it has to be sealed.
    pub fn of_nobody(self) -> Self {
        Self { hidden: None, ..self }
    }

    pub fn insert(&mut self, name: &str, value: Value) {
        self.open.insert(name.to_owned(), value);
    }

    pub fn remove(&mut self, name: &str) {
        self.open.remove(name);
    }

    /// What the values told besides themselves.
    pub fn find(&mut self, kind: &RecordType, findings: &Findings) {
        let mut open = findings.clone();
        open.controls.clear();
        open.absent.retain(|id| !is_hidden(kind, id));
        open.unfit.retain(|id| !is_hidden(kind, id));
        self.insert("findings", json!(open));
        if let Some(hidden) = &mut self.hidden {
            hidden.marks.iter_mut().for_each(|mark| *mark &= CONCEALED | BY_OTHERS);
            let found = [(ABSENT, &findings.absent), (UNFIT, &findings.unfit), (HOLDS, &findings.controls)];
            for (bit, fields) in found {
                let fields = fields.iter().filter(|id| bit == HOLDS || is_hidden(kind, id));
                fields.filter_map(|id| kind.find(id)).for_each(|index| hidden.mark(index.at(), bit));
            }
        }
    }

    /// The decision slot's body. What cannot be sealed is left out.
    pub fn body(self, entry: &ExchangeId, seal: &dyn OwnerSeal) -> Value {
        let Self { mut open, hidden } = self;
        if let Some(Hidden { owner, marks }) = hidden {
            let letter = |mark: u8| LETTERS.get(usize::from(mark)).copied().unwrap_or_default();
            let words: Vec<u8> = marks.into_iter().map(letter).collect();
            if let Some(sealed) = seal.seal(&owner, entry, &words) {
                open.insert(SEALED.to_owned(), Value::String(sealed));
            }
        }
        Value::Object(open)
    }
}

impl From<Map<String, Value>> for Grounds {
    fn from(open: Map<String, Value>) -> Self {
        Self { open, hidden: None }
    }
}

impl Hidden {
    fn mark(&mut self, place: usize, bit: u8) {
        self.marks.get_mut(place).into_iter().for_each(|mark| *mark |= bit);
    }

    fn conceal(&mut self, kind: &RecordType, restrictions: &[Restriction], bit: u8) {
        for held in restrictions.iter().filter(|held| held.effect == RestrictionEffect::Conceal) {
            let concerned = held.fields.as_ref().map(|fields| marks(kind, fields));
            for place in 0..kind.fields.len() {
                if concerned.as_ref().is_none_or(|marks| marks.get(place).copied().unwrap_or_default()) {
                    self.mark(place, bit);
                }
            }
        }
    }
}

/// A field that does not tell its absence from its concealment, or one whose value conceals others.
fn is_hidden(kind: &RecordType, id: &FieldId) -> bool {
    let index = kind.find(id);
    index.and_then(|index| kind.field(index)).is_some_and(|field| field.conceal)
        || index.is_some_and(|index| kind.controls.iter().any(|control| control.field == index))
}

/// Puts what was sealed back where it was taken from. `None` for words that are not of this record type.
pub(in crate::exchange) fn restore(
    words: &[u8],
    kind: &RecordType,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<()> {
    let place = |letter: &u8| LETTERS.iter().position(|known| known == letter);
    let marks: Vec<u8> =
        words.iter().map(|letter| u8::try_from(place(letter)?).ok()).collect::<Option<_>>()?;
    if marks.len() != kind.fields.len() {
        return None;
    }
    let marked = |bit: u8| -> Vec<FieldId> {
        let fields = kind.fields.iter().zip(&marks).filter(|(_, mark)| *mark & bit != 0);
        fields.map(|(field, _)| field.id.clone()).collect()
    };
    findings.absent.extend(marked(ABSENT));
    findings.unfit.extend(marked(UNFIT));
    findings.controls.extend(marked(HOLDS));
    let conceal = |bit: u8| {
        let fields = marked(bit);
        (!fields.is_empty())
            .then_some(Restriction { fields: Some(fields), effect: RestrictionEffect::Conceal })
    };
    facts.restrictions.extend(conceal(CONCEALED));
    if let Some(member) = facts.household.first_mut() {
        member.restrictions.extend(conceal(BY_OTHERS));
    }
    Some(())
}

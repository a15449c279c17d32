//! What can be wrong with a message, one thing at a time, and which check must notice.

use varco_core::code::Code;
use varco_core::wire::{Part, Step};

use super::scene::Scene;

mod message;
mod token;

/// What spoils a good message.
type Change = fn(&mut Scene);

pub struct Case {
    pub name: &'static str,
    pub verdict: Verdict,
    pub change: Change,
}

pub enum Verdict {
    Accepted,
    Refused { part: Part, step: Step, code: Code },
}

pub fn all() -> Vec<Case> {
    let mut cases = message::accepted();
    cases.extend(token::form());
    cases.extend(token::jose_header());
    cases.extend(token::claims());
    cases.extend(token::certificate());
    cases.extend(message::integrity());
    cases.extend(message::signed_headers());
    cases.extend(message::evidence());
    cases.extend(message::answer());
    cases
}

fn good(name: &'static str, change: Change) -> Case {
    Case { name, verdict: Verdict::Accepted, change }
}

/// Cases that one step of one token must notice.
fn refused<const N: usize>(
    part: Part,
    step: Step,
    code: Code,
    cases: [(&'static str, Change); N],
) -> Vec<Case> {
    let case = |(name, change)| Case { name, verdict: Verdict::Refused { part, step, code }, change };
    cases.into_iter().map(case).collect()
}

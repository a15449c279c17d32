//! Legal holds: which entries nobody may erase for now.

use crate::db::{Link, on};
use crate::fault::StatementError;
use crate::rows::{Cell, Insert, Script, execute, insert};
use crate::statements::int;
use crate::submission::{Held, Hold, Submission};

/// Asks for every hold there is, where a batch erases or changes holds. There are few: each is an act of officers.
pub fn ask(script: &mut Script, submissions: &[&Submission]) {
    const HOLDS: &str = "SELECT 'hold', id, NULL, first, last, NULL, NULL, NULL FROM log_hold";
    let concerns = |submission: &&&Submission| submission.hold.is_some() || submission.draft.erases.is_some();
    if submissions.iter().any(|submission| concerns(&submission)) {
        script.say(HOLDS, Vec::new());
    }
}

pub fn held(id: String, first: i64, last: i64) -> Result<Held, StatementError> {
    let number = |n: i64| u64::try_from(n).map_err(|_| StatementError::Damaged("hold"));
    Ok(Held { id, first: number(first)?, last: number(last)? })
}

pub async fn write(link: &mut Link, holds: &[&Hold]) -> Result<(), StatementError> {
    const PLACE: Insert = Insert { head: "INSERT INTO log_hold (id, first, last)", tail: "" };
    for hold in holds {
        match hold {
            Hold::Lift { id } => {
                let mut script = Script::default();
                script.say("DELETE FROM log_hold WHERE id = ?", vec![Cell::Text(id.clone())]);
                execute(link, script).await?;
            }
            Hold::Place { id, ranges } => {
                let row = |(first, last): &(u64, u64)| {
                    [Cell::Text(id.clone()), Cell::Int(int(*first)), Cell::Int(int(*last))]
                };
                insert(link, &PLACE, ranges.iter().map(row).collect()).await?;
            }
        }
    }
    Ok(())
}

/// Entries before `to` are not served any more.
pub async fn raise_minimum(link: &mut Link, first: u64, to: u64) -> Result<(), sqlx::Error> {
    // A gap would promise less than what was ordered.
    const RAISE: &str = "UPDATE log_state SET minimum = $1 WHERE id = 1 AND minimum >= $2 AND minimum < $1";
    let (to, first) = (int(to), int(first));
    on!(link, at => sqlx::query(RAISE).bind(to).bind(first).execute(at).await.map(drop))
}

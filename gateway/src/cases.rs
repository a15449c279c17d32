//! `/cases`, between the register and what is pure: the people of a case are kept by name under lock, and found by it.

use varco_core::case::Case;
use varco_core::exchange::{CaseAsk, CaseEventAsk, Locks, VerifiedRequest};
use varco_core::id::CaseId;
use zeroize::Zeroizing;

use crate::app::App;
use crate::inbound::{Done, known, with_rules};
use crate::keepers::Keepers;
use crate::registers;

pub fn open(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<CaseAsk>()?;
    let keepers = app.keepers.load_full();
    let locks = locks(app, &keepers, ask.subjects.len());
    Ok(with_rules(app, |rules| rules.open_case(request, &ask, locks)))
}

pub async fn event(app: &App, id: CaseId, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<CaseEventAsk>()?;
    let (request, case) = known::<Option<Case>>(request, registers::case(app, &id).await)?;
    let keepers = app.keepers.load_full();
    let locks = locks(app, &keepers, 1);
    Ok(with_rules(app, |rules| rules.record_case(request, ask, case, locks)))
}

pub async fn read(app: &App, id: CaseId, request: VerifiedRequest) -> Done {
    let (request, case) = known::<Option<Case>>(request, registers::case(app, &id).await)?;
    Ok(with_rules(app, |rules| rules.read_case(request, case)))
}

/// For as many people as are named; more than a case may have are refused before any is locked.
fn locks<'a>(app: &App, keepers: &'a Keepers, people: usize) -> Locks<'a> {
    let most = people.min(varco_core::case::MOST_SUBJECTS);
    Locks { keeper: &keepers.copies, fresh: (0..most).map(|_| Zeroizing::new(app.random())).collect() }
}

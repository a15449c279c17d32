//! A household's request: its members decided one by one, fetched side by side, reduced together.

use std::future::poll_fn;
use std::task::Poll;

use varco_core::code::Code;
use varco_core::exchange::{Authorized, HouseholdPull, Outcome, VerifiedRequest, reduce_household};

use crate::app::App;
use crate::inbound::{Asked, authorized, fetch};

/// The request's own outcome, and those of its members, each an exchange of its own.
pub async fn household(app: &App, request: VerifiedRequest) -> (Outcome, Vec<Outcome>) {
    let parted = request.ask::<HouseholdPull>().and_then(|(request, pull)| {
        let at = request.at();
        pull.part(request, std::iter::repeat_with(|| app.new_exchange(at)))
    });
    let (gathered, parts) = match parted {
        Ok(parted) => parted,
        Err(outcome) => return (*outcome, Vec::new()),
    };
    let sender = gathered.sender();
    if parts.iter().skip(1).any(|_| app.limiter.operator(&sender.agency, &sender.operator).is_err()) {
        return (gathered.fail(Code::LimitExceeded), Vec::new());
    }
    let named: Vec<_> =
        parts.iter().map(|(_, pull)| app.keys.load().all(&pull.subject.codice_fiscale)).collect();
    let (mut outcomes, mut permitted) = (Vec::new(), Vec::new());
    for (place, (request, pull)) in parts.into_iter().enumerate() {
        match authorized(app, request, pull, Asked::Household(&named)).await {
            Ok(Authorized::Permit(exchange)) => permitted.push((place, *exchange)),
            Ok(Authorized::Deny(outcome)) | Err(outcome) => outcomes.push((place, *outcome)),
        }
    }
    let (places, exchanges): (Vec<_>, Vec<_>) = permitted.into_iter().unzip();
    let fetched = join(exchanges.into_iter().map(|exchange| fetch(app, exchange))).await;
    let (mut read, mut records) = (Vec::new(), Vec::new());
    for (place, fetched) in places.into_iter().zip(fetched) {
        match fetched {
            Ok(found) => {
                read.push(place);
                records.push(found);
            }
            Err(outcome) => outcomes.push((place, *outcome)),
        }
    }
    outcomes.extend(read.into_iter().zip(reduce_household(records, &app.keys.load())));
    outcomes.sort_by_key(|(place, _)| *place);
    (gathered.outcome(), outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Runs all of it side by side; the results are in the order of the work.
pub async fn join<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.map(|one| (Box::pin(one), None)).collect();
    poll_fn(|context| {
        for (one, done) in work.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(result) = one.as_mut().poll(context) {
                *done = Some(result);
            }
        }
        if work.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    work.into_iter().filter_map(|(_, done)| done).collect()
}

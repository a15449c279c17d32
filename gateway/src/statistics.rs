//! Statistics as a request: what was released before is read, the owners that are missing are asked for counts, side by side.
//! Nothing here decides and nothing here sees a small number: `core` takes the counts and keeps back what is small.

use std::collections::BTreeMap;
use std::time::Instant;

use varco_adapters::Context;
use varco_adapters::counting::CountRequest;
use varco_core::code::Code;
use varco_core::exchange::{Counting, FetchSeed, StatisticsAsk, Tabulated, VerifiedRequest, tabulate};
use varco_core::id::AgencyId;
use varco_core::statistics::counts::AgencyCounts;

use crate::app::App;
use crate::household::join;
use crate::inbound::Done;
use crate::registers;
use crate::telemetry::metrics;

pub async fn statistics(app: &App, request: VerifiedRequest) -> Done {
    let (request, ask) = request.ask::<StatisticsAsk>()?;
    let (in_force, policy, at) = (app.in_force.load_full(), app.policy_at(request.at()), request.at());
    let tabulation = match tabulate(request, &ask, &in_force.registry, &policy) {
        Tabulated::Deny(outcome) => return Ok(*outcome),
        Tabulated::Permit(tabulation) => *tabulation,
    };
    let held = match registers::releases(app, &tabulation.streams()).await {
        Ok(held) => held,
        Err(unreadable) => {
            tracing::error!(%unreadable, "what statistics were released before cannot be read");
            let detail = "what was released before cannot be read";
            return Ok(tabulation.fail(Code::LogUnavailable, detail));
        }
    };
    let counting = tabulation.hold(&held);
    let counted = join(counting.owners().map(|owner| count(app, &counting, owner))).await;
    let counted: BTreeMap<_, _> = counting.owners().cloned().zip(counted).collect();
    Ok(counting.release(counted, || FetchSeed { entry: app.new_exchange(at), salts: app.salts() }))
}

/// One owner's counts, or the code under which its area is left out.
async fn count(app: &App, counting: &Counting, owner: &AgencyId) -> Result<AgencyCounts, Code> {
    let jtis = app.new_tokens().map_err(|_| Code::Internal)?;
    let in_force = app.in_force.load_full();
    let now = app.clock.clone();
    let context = Context { registry: &in_force.registry, clock: &move || now() };
    let evidence = counting.evidence();
    let request = CountRequest {
        exchange: counting.exchange(),
        consumer: counting.consumer(),
        purpose: counting.purpose().ok_or(Code::Internal)?,
        tabulation: counting.tabulation(),
        period: counting.period(),
        evidence: &evidence,
        jtis: &jtis,
    };
    let began = Instant::now();
    let counted = app.sources.count(owner, &request, &context).await;
    let became = counted.as_ref().map_or_else(|error| error.code().text(), |_| "ok");
    metrics::fetch(owner, became, began.elapsed());
    counted.map(|counted| counted.counts).map_err(|error| {
        tracing::warn!(provider = %owner, exchange = %counting.exchange(), %error, "a provider gave no counts");
        error.code()
    })
}

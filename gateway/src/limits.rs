//! How often an agency, and each of its operators, may ask.
//!
//! Counters live in memory, one set per replica: with N replicas an agency may ask up to N times as often. Must not
//! know what is asked for. Every answer tells the agency where it stands (RAC_REST: `X-RateLimit-*`, in seconds).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use varco_core::code::Code;
use varco_core::id::{AgencyId, OperatorId};

use crate::http::problem::{Problem, whole_seconds};
use crate::tasks::Stop;

/// Rates of both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub agency: Rate,
    pub operator: Rate,
}

/// So many requests in a period; unused ones add up to at most one period's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub requests: u32,
    pub period: Duration,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            // 100 a second: above the whole country's average, below what one replica carries.
            agency: Rate { requests: 6000, period: Duration::from_secs(60) },
            // One a second: far above what a person at a desk can read.
            operator: Rate { requests: 60, period: Duration::from_secs(60) },
        }
    }
}

/// The counters of all agencies and operators.
pub struct Limiter {
    agencies: Counter<AgencyId>,
    operators: Counter<(AgencyId, OperatorId)>,
}

/// Where an agency stands, for the headers of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until one more request is allowed for certain; 0 while some remain.
    pub reset: u64,
}

/// A request above a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests of one {whose}")]
pub struct LimitError {
    pub whose: Whose,
    pub allowance: Allowance,
    pub retry_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Agency,
    Operator,
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Agency => "agency",
            Self::Operator => "operator",
        })
    }
}

impl LimitError {
    pub fn code(&self) -> Code {
        Code::LimitExceeded
    }

    pub fn problem(&self) -> Problem {
        Problem::new(self.code()).detail(self.to_string()).retry_after(self.retry_after)
    }
}

impl Limiter {
    pub fn new(rates: &Rates) -> Self {
        Self { agencies: Counter::new(rates.agency), operators: Counter::new(rates.operator) }
    }

    /// Counts a request of an agency, as soon as its channel says who it is.
    pub fn agency(&self, agency: &AgencyId) -> Result<Allowance, LimitError> {
        self.agencies.count(agency, Whose::Agency)
    }

    /// Counts a request of an operator, once the message is verified. An operator's code says nothing outside its
    /// agency, so that one agency cannot use up another's allowance.
    pub fn operator(&self, agency: &AgencyId, operator: &OperatorId) -> Result<Allowance, LimitError> {
        self.operators.count(&(agency.clone(), operator.clone()), Whose::Operator)
    }

    /// Forgets whoever has not asked for a whole period.
    pub fn tidy(&self) {
        self.agencies.state.retain_recent();
        self.agencies.state.shrink_to_fit();
        self.operators.state.retain_recent();
        self.operators.state.shrink_to_fit();
    }

    /// How many agencies and operators are remembered.
    pub fn remembered(&self) -> usize {
        self.agencies.state.len().saturating_add(self.operators.state.len())
    }
}

/// How often forgotten counters are thrown away: some thousand operators cost some hundred kilobytes.
pub const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Tidies now and then, until told to stop.
pub async fn keep_tidy(limiter: Arc<Limiter>, mut stop: Stop) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => limiter.tidy(),
        }
    }
}

impl Allowance {
    /// Puts `X-RateLimit-Limit`, `-Remaining` and `-Reset` on an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in self.headers() {
            headers.insert(name, HeaderValue::from(value));
        }
    }

    pub fn headers(&self) -> [(HeaderName, u64); 3] {
        [
            (HeaderName::from_static("x-ratelimit-limit"), self.limit.into()),
            (HeaderName::from_static("x-ratelimit-remaining"), self.remaining.into()),
            (HeaderName::from_static("x-ratelimit-reset"), self.reset),
        ]
    }
}

type State<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

struct Counter<K: Clone + Eq + std::hash::Hash> {
    state: State<K>,
    clock: DefaultClock,
    limit: u32,
    /// The time one request takes to be allowed again.
    each: Duration,
}

impl<K: Clone + Eq + std::hash::Hash> Counter<K> {
    fn new(rate: Rate) -> Self {
        let requests = NonZeroU32::new(rate.requests).unwrap_or(NonZeroU32::MIN);
        // Below a nanosecond each, governor would divide by zero; nobody means that.
        let each = (rate.period / requests.get()).max(Duration::from_nanos(1));
        let quota =
            Quota::with_period(each).unwrap_or_else(|| Quota::per_second(requests)).allow_burst(requests);
        let clock = DefaultClock::default();
        let state = RateLimiter::dashmap_with_clock(quota, clock.clone()).with_middleware();
        Self { state, clock, limit: requests.get(), each }
    }

    fn count(&self, key: &K, whose: Whose) -> Result<Allowance, LimitError> {
        match self.state.check_key(key) {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity();
                let reset = if remaining == 0 { whole_seconds(self.each) } else { 0 };
                Ok(Allowance { limit: self.limit, remaining, reset })
            }
            Err(not_until) => {
                let retry_after = not_until.wait_time_from(self.clock.now());
                let allowance =
                    Allowance { limit: self.limit, remaining: 0, reset: whole_seconds(retry_after) };
                metrics::counter!("varco_limit_exceeded_total", "whose" => whose.to_string()).increment(1);
                Err(LimitError { whose, allowance, retry_after })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn limiter() -> Limiter {
        let hour = Duration::from_secs(3600);
        Limiter::new(&Rates {
            agency: Rate { requests: 3, period: hour },
            operator: Rate { requests: 2, period: hour },
        })
    }

    #[test]
    fn an_agency_is_told_what_remains_and_then_when_to_return() {
        let limiter = limiter();
        let (lucca, capannori) = ("comune-lucca".parse().unwrap(), "comune-capannori".parse().unwrap());
        let remaining: Vec<_> = (0..3).map(|_| limiter.agency(&lucca).unwrap().remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let error = limiter.agency(&lucca).unwrap_err();
        assert_eq!((error.whose, error.allowance.limit, error.allowance.remaining), (Whose::Agency, 3, 0));
        // One of three an hour comes back every twenty minutes.
        assert!((1190..=1200).contains(&error.allowance.reset), "{}", error.allowance.reset);
        let mut response = error.problem().into_response();
        error.allowance.write(response.headers_mut());
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["x-ratelimit-remaining"], "0");
        assert_eq!(response.headers()["retry-after"], response.headers()["x-ratelimit-reset"]);
        assert!(limiter.agency(&capannori).is_ok(), "another agency has its own allowance");
    }

    #[test]
    fn an_operator_is_counted_inside_its_agency() {
        let limiter = limiter();
        let (lucca, capannori) = ("comune-lucca".parse().unwrap(), "comune-capannori".parse().unwrap());
        let operator = "op-1".parse().unwrap();
        assert!(limiter.operator(&lucca, &operator).is_ok());
        assert!(limiter.operator(&lucca, &operator).is_ok());
        assert_eq!(limiter.operator(&lucca, &operator).unwrap_err().whose, Whose::Operator);
        assert!(limiter.operator(&capannori, &operator).is_ok());
    }

    #[test]
    fn whoever_has_its_whole_allowance_again_is_forgotten() {
        let at_once = Rate { requests: 1_000_000, period: Duration::from_millis(1) };
        let limiter = Limiter::new(&Rates { agency: at_once, operator: at_once });
        for agency in ["comune-lucca", "comune-capannori"] {
            limiter.agency(&agency.parse().unwrap()).unwrap();
        }
        assert_eq!(limiter.remembered(), 2);
        let start = std::time::Instant::now();
        while limiter.remembered() > 0 && start.elapsed() < Duration::from_secs(5) {
            limiter.tidy();
        }
        assert_eq!(limiter.remembered(), 0);
    }
}

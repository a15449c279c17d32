//! A circuit breaker: leaves a system alone that has failed repeatedly, and tries it again with one request.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Failures without a success between them that open the circuit.
    pub failures: u32,
    /// How long the first pause is. Each probe that fails doubles it.
    pub pause: Duration,
    /// What doubling stops at.
    pub longest_pause: Duration,
}

impl Default for Rules {
    /// Five failures are no accident; after five seconds most restarts are over; a minute is what an operator at a desk
    /// waits after the agency says its system is back.
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(5), longest_pause: Duration::from_secs(60) }
    }
}

/// What a circuit does with the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Lets it through.
    Closed,
    /// Refuses it until the pause is over, then lets one through to see.
    Open,
    /// Refuses it, because one is on its way to see.
    Probing,
}

pub(crate) struct Breaker {
    rules: Rules,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    Probing { since: Instant, pause: Duration },
}

/// The leave to make one request. Its holder says how the request ended; dropped unsaid (the caller went away), it
/// counts as nothing, and a probe may be tried again at once.
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    /// Whether this request is the probe of a circuit that was open.
    probe: bool,
}

/// Whether a failure changed the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Opened(Duration),
    Unchanged,
}

impl Breaker {
    pub fn new(rules: Rules) -> Self {
        Self { rules, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Leave to make a request, or how long to wait before asking again.
    pub fn admit(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => Ok(Pass { breaker: self, probe: false }),
            State::Open { until, pause } if until <= now => {
                *state = State::Probing { since: now, pause };
                Ok(Pass { breaker: self, probe: true })
            }
            State::Open { until, .. } => Err(until.duration_since(now)),
            State::Probing { pause, .. } => Err(pause),
        }
    }

    pub fn circuit(&self) -> Circuit {
        match *self.lock() {
            State::Closed { .. } => Circuit::Closed,
            State::Open { .. } => Circuit::Open,
            State::Probing { .. } => Circuit::Probing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section is a plain assignment, so what a panic elsewhere left is still a state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    pub fn succeeded(mut self) {
        let mut state = self.breaker.lock();
        match *state {
            State::Closed { .. } => *state = State::Closed { failures: 0 },
            State::Probing { .. } if self.probe => *state = State::Closed { failures: 0 },
            // A late answer to a request from before the circuit opened says nothing about now.
            State::Open { .. } | State::Probing { .. } => {}
        }
        drop(state);
        self.probe = false;
    }

    pub fn failed(mut self, now: Instant) -> Turn {
        let rules = self.breaker.rules;
        let mut state = self.breaker.lock();
        let turn = match *state {
            State::Closed { failures } if failures.saturating_add(1) < rules.failures => {
                *state = State::Closed { failures: failures.saturating_add(1) };
                Turn::Unchanged
            }
            State::Closed { .. } => Turn::Opened(rules.pause),
            State::Probing { pause, .. } if self.probe => {
                Turn::Opened(pause.saturating_mul(2).min(rules.longest_pause))
            }
            State::Open { .. } | State::Probing { .. } => Turn::Unchanged,
        };
        if let Turn::Opened(pause) = turn {
            *state = State::Open { until: now + pause, pause };
        }
        drop(state);
        self.probe = false;
        turn
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        let mut state = self.breaker.lock();
        if let State::Probing { since, pause } = *state {
            *state = State::Open { until: since, pause };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { failures: 3, pause: Duration::from_secs(5), longest_pause: Duration::from_secs(15) };

    fn fail(breaker: &Breaker, now: Instant) -> Turn {
        breaker.admit(now).unwrap_or_else(|_| panic!("admitted")).failed(now)
    }

    fn opened() -> (Breaker, Instant) {
        let (breaker, now) = (Breaker::new(RULES), Instant::now());
        for expected in [Turn::Unchanged, Turn::Unchanged, Turn::Opened(RULES.pause)] {
            assert_eq!(fail(&breaker, now), expected);
        }
        (breaker, now)
    }

    #[test]
    fn repeated_failures_open_it_and_a_success_between_them_does_not() {
        let (breaker, now) = opened();
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert_eq!(breaker.admit(now).err(), Some(RULES.pause));

        let breaker = Breaker::new(RULES);
        for _ in 0..10 {
            fail(&breaker, now);
            fail(&breaker, now);
            breaker.admit(now).unwrap_or_else(|_| panic!("admitted")).succeeded();
        }
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn after_the_pause_one_request_probes_and_others_wait() {
        let (breaker, now) = opened();
        let later = now + RULES.pause;
        let probe = breaker.admit(later).unwrap_or_else(|_| panic!("admitted"));
        assert_eq!(breaker.circuit(), Circuit::Probing);
        assert!(breaker.admit(later).is_err());
        probe.succeeded();
        assert_eq!(breaker.circuit(), Circuit::Closed);
        assert_eq!(fail(&breaker, later), Turn::Unchanged, "counts from zero again");
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
        let (breaker, mut now) = opened();
        let mut pause = RULES.pause;
        for next in [10, 15, 15].map(Duration::from_secs) {
            now += pause;
            assert_eq!(fail(&breaker, now), Turn::Opened(next));
            pause = next;
        }
    }

    #[test]
    fn a_probe_that_is_given_up_may_be_tried_again_at_once() {
        let (breaker, now) = opened();
        let later = now + RULES.pause;
        drop(breaker.admit(later));
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert!(breaker.admit(later).is_ok());
    }

    #[test]
    fn late_answers_from_before_it_opened_change_nothing() {
        let (breaker, now) = (Breaker::new(RULES), Instant::now());
        let early: Vec<_> = (0..2).filter_map(|_| breaker.admit(now).ok()).collect();
        for _ in 0..3 {
            fail(&breaker, now);
        }
        let probe = breaker.admit(now + RULES.pause).unwrap_or_else(|_| panic!("admitted"));
        let mut early = early.into_iter();
        early.next().unwrap().succeeded();
        assert_eq!(early.next().unwrap().failed(now), Turn::Unchanged);
        assert_eq!(breaker.circuit(), Circuit::Probing);
        probe.succeeded();
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }
}

//! Keeps requests from waiting for a store that is known to be away: after some failures in a row only one request
//! in a while tries it, the others are told at once.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures in a row after which a store counts as away.
const FAILURES: u32 = 5;
/// How often a store that is away is tried.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// How long a store may take.
#[derive(Clone, Copy)]
pub struct Budget {
    /// So long.
    pub time: Duration,
    /// Whether that is less than the store should need: then it is not the store's fault to be late.
    cut: bool,
}

impl Budget {
    /// A store's own time, or what is `left` of the reader's if that is less.
    pub fn of(own: Duration, left: Option<Duration>) -> Self {
        let time = left.map_or(own, |left| own.min(left));
        Self { time, cut: time < own }
    }
}

/// What is known of one store.
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    tried: Option<Instant>,
    reason: String,
}

impl Breaker {
    /// A store of which nothing bad is known.
    pub fn new() -> Self {
        Self { state: Mutex::default() }
    }

    /// Asks the store within `budget`, unless it is known to be away.
    pub async fn ask<T>(&self, budget: Budget, reading: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        self.admit(Instant::now()).map_err(|reason| format!("known to be away: {reason}"))?;
        let late = || format!("no answer within {:?}", budget.time);
        let answer = match tokio::time::timeout(budget.time, reading).await {
            Err(_) if budget.cut => return Err(late()),
            answer => answer.unwrap_or_else(|_| Err(late())),
        };
        match &answer {
            Ok(_) => self.succeeded(),
            Err(reason) => self.failed(reason),
        }
        answer
    }

    /// Whether to ask the store at `now`; if not, why.
    fn admit(&self, now: Instant) -> Result<(), String> {
        let mut state = self.state.lock();
        if state.failures < FAILURES || state.tried.is_none_or(|tried| now - tried >= RETRY_EVERY) {
            state.tried = Some(now);
            return Ok(());
        }
        Err(state.reason.clone())
    }

    /// It answered.
    fn succeeded(&self) {
        let mut state = self.state.lock();
        if state.failures > 0 {
            *state = State::default();
        }
    }

    /// It did not.
    fn failed(&self, reason: &str) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        reason.clone_into(&mut state.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_away_is_tried_once_in_a_while() {
        let breaker = Breaker::new();
        let start = Instant::now();
        for _ in 0..FAILURES {
            assert!(breaker.admit(start).is_ok());
            breaker.failed("connection refused");
        }
        assert_eq!(breaker.admit(start), Err("connection refused".to_owned()));
        let later = start + RETRY_EVERY;
        assert!(breaker.admit(later).is_ok());
        assert!(breaker.admit(later).is_err());
        breaker.succeeded();
        assert!(breaker.admit(later).is_ok());
    }
}

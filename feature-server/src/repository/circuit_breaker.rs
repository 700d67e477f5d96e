//! A circuit breaker for each store: after some failures in a row only one request in a while is sent to the store, and
//! the others fail at once instead of waiting. Also the time budget of one call.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures in a row after which the breaker opens.
const FAILURES: u32 = 5;
/// How often a store is tried while the breaker is open.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// How long one call to a store may take.
#[derive(Clone, Copy)]
pub struct TimeBudget {
    /// The time for the call.
    pub time: Duration,
    /// Whether the reader left less than the store's own budget. A call that takes too long then is not a failure of
    /// the store.
    is_shortened: bool,
}

impl TimeBudget {
    /// The store's own budget, or the time that the reader has `left` if that is less.
    pub fn new(own: Duration, left: Option<Duration>) -> Self {
        let time = left.map_or(own, |left| own.min(left));
        Self { time, is_shortened: time < own }
    }
}

/// The circuit breaker of one store.
pub struct CircuitBreaker {
    state: Mutex<BreakerState>,
}

#[derive(Default)]
struct BreakerState {
    failures: u32,
    tried: Option<Instant>,
    reason: String,
}

impl CircuitBreaker {
    /// A closed breaker: calls go through.
    pub fn new() -> Self {
        Self { state: Mutex::default() }
    }

    /// Makes a call within `budget`, or fails at once while the breaker is open.
    pub async fn call<T>(
        &self,
        budget: TimeBudget,
        call: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        self.admit(Instant::now()).map_err(|reason| format!("unavailable since an earlier request: {reason}"))?;
        let late = || format!("no answer within {:?}", budget.time);
        let result = match tokio::time::timeout(budget.time, call).await {
            Err(_) if budget.is_shortened => return Err(late()),
            result => result.unwrap_or_else(|_| Err(late())),
        };
        match &result {
            Ok(_) => self.succeeded(),
            Err(reason) => self.failed(reason),
        }
        result
    }

    /// Returns the last failure where no call may be made at `now`.
    fn admit(&self, now: Instant) -> Result<(), String> {
        let mut state = self.state.lock();
        if state.failures < FAILURES || state.tried.is_none_or(|tried| now - tried >= RETRY_EVERY) {
            state.tried = Some(now);
            return Ok(());
        }
        Err(state.reason.clone())
    }

    fn succeeded(&self) {
        let mut state = self.state.lock();
        if state.failures > 0 {
            *state = BreakerState::default();
        }
    }

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
    fn an_open_breaker_lets_one_call_through_in_a_while() {
        let breaker = CircuitBreaker::new();
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

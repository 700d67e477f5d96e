//! The delays between attempts at something that is unavailable: each is twice the one before, up to a bound.

use std::time::Duration;

/// Delays that double from `first` to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl BackOff {
    /// No attempt has failed yet.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The delay before the next attempt, after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.delay_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// The delay after `earlier` failures and one more.
    pub fn delay_after(&self, earlier: u32) -> Duration {
        self.first.saturating_mul(2u32.saturating_pow(earlier)).min(self.longest)
    }

    /// Forgets the failures: an attempt got further than before.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_again_after_a_reset() {
        let ms = Duration::from_millis;
        let mut back_off = BackOff::new(ms(100), ms(500));
        let delays: Vec<Duration> = (0..5).map(|_| back_off.next_delay()).collect();
        assert_eq!(delays, [ms(100), ms(200), ms(400), ms(500), ms(500)]);
        assert_eq!(back_off.delay_after(u32::MAX), ms(500));
        back_off.reset();
        assert_eq!(back_off.next_delay(), ms(100));
    }
}

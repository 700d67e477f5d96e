//! How long requests took, and the percentiles of that.

use std::time::Duration;

/// Microseconds, ascending.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Takes microseconds in any order.
    pub fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    /// How many requests there were.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The time in ms within which this part (0 to 1) of the requests were answered.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    pub fn ms(&self, part: f64) -> f64 {
        let at = (self.0.len() as f64 * part).ceil() as usize;
        self.0.get(at.saturating_sub(1)).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
    }
}

/// A time in microseconds.
pub fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_occurred() {
        let latencies = Latencies::of((1..=100).rev().map(|ms| ms * 1_000).collect());
        assert_eq!((latencies.ms(0.5), latencies.ms(0.99), latencies.ms(1.0)), (50.0, 99.0, 100.0));
        assert!(Latencies::default().ms(0.5).is_nan());
    }
}

//! How long a batch that is not full waits for more entries.

use std::time::Duration;

/// The time that a batch that is not full waits for more: until its first entry is `linger` old by stream time, and until
/// `linger` after the last batch that was not full, whichever is later.
///
/// Entries of a backlog are old, so its end goes out at once behind the full batches before it. A sink that keeps up sends
/// one short batch every `linger`, and no entry waits longer. The second rule bounds the rate of short batches where the
/// first does not: Redis's clock may be behind this machine's, or a slow store may make every entry old before it is read.
pub(super) fn patience(linger: Duration, age_of_first: Duration, since_short: Option<Duration>) -> Duration {
    let young = linger.saturating_sub(age_of_first);
    let crowded = since_short.map_or(Duration::ZERO, |since| linger.saturating_sub(since));
    young.max(crowded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(3_600);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_end_of_a_backlog_goes_out_at_once() {
        assert_eq!(patience(LINGER, LONG, None), Duration::ZERO);
        assert_eq!(patience(LINGER, LONG, Some(LONG)), Duration::ZERO);
    }

    #[test]
    fn no_entry_waits_longer_than_the_linger() {
        assert_eq!(patience(LINGER, ms(0), Some(LONG)), LINGER);
        assert_eq!(patience(LINGER, ms(300), Some(LONG)), ms(1_700));
        // Read after an insert that took 300 ms: it came 100 ms before the end of that.
        assert_eq!(patience(LINGER, ms(100), Some(ms(300))), ms(1_900));
    }

    #[test]
    fn short_batches_are_a_linger_apart_whatever_the_clocks_are() {
        for age in [ms(0), ms(1_999), LINGER, LONG] {
            for since in [ms(0), ms(1), ms(500), ms(1_999)] {
                let next = since + patience(LINGER, age, Some(since));
                assert!(next >= LINGER && next <= since + LINGER, "age {age:?}, since {since:?}: {next:?}");
            }
        }
    }

    #[test]
    fn a_sink_that_does_not_linger_never_waits() {
        assert_eq!(patience(Duration::ZERO, ms(0), Some(ms(0))), Duration::ZERO);
    }
}

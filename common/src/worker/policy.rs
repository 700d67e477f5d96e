//! Decides what follows each turn of a sink's loop. Synchronous: it needs no runtime and no store.

use std::time::Duration;

use crate::backoff::BackOff;

/// The delays while a store is unavailable. A store that is back is noticed within the longest.
const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(100), LONGEST_DELAY);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// The outcome of one turn of the loop.
#[derive(Debug)]
pub(super) enum TurnOutcome {
    /// A batch is durable and the cursor moved.
    Advanced,
    /// Nothing to do.
    Idle,
    /// A store or the log is unavailable, for this reason. The same turn can be taken again.
    Unavailable(String),
    /// The state in memory is stale.
    Stale,
    /// The lease is lost.
    Fenced,
    /// Told to stop.
    Stopped,
}

/// The step that follows a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Take the next turn.
    Continue,
    /// Take the same turn again after a delay.
    Pause(Duration),
    /// Begin again at the stored cursor.
    Reopen,
    /// Leave the partition.
    Leave,
}

/// Decides what follows a turn, after that number of failures in a row.
pub(super) fn decide(outcome: &TurnOutcome, failures: u32) -> NextStep {
    match outcome {
        TurnOutcome::Advanced | TurnOutcome::Idle => NextStep::Continue,
        TurnOutcome::Unavailable(_) => NextStep::Pause(BACK_OFF.delay_after(failures.saturating_sub(1))),
        TurnOutcome::Stale => NextStep::Reopen,
        TurnOutcome::Fenced | TurnOutcome::Stopped => NextStep::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let unavailable = TurnOutcome::Unavailable(String::new());
        assert_eq!(decide(&unavailable, 1), NextStep::Pause(Duration::from_millis(100)));
        assert_eq!(decide(&unavailable, 2), NextStep::Pause(Duration::from_millis(200)));
        assert_eq!(decide(&unavailable, 50), NextStep::Pause(LONGEST_DELAY));
    }

    #[test]
    fn a_stale_memory_is_read_again_and_a_lost_lease_is_left() {
        assert_eq!(decide(&TurnOutcome::Stale, 0), NextStep::Reopen);
        assert_eq!(decide(&TurnOutcome::Fenced, 0), NextStep::Leave);
        assert_eq!(decide(&TurnOutcome::Idle, 3), NextStep::Continue);
    }
}

//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// The pause between two looks at a condition.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Waits for a condition. Returns whether it holds before the time is over. Blocks the thread.
pub(crate) fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

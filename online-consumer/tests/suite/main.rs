//! One test binary for the two online sinks on real stores.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod mongodb_sink;
mod redis_sink;

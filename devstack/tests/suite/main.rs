//! One test binary for the stores as local processes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod stack;

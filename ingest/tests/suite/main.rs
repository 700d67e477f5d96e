//! One test binary for the HTTP door of the log.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod body;

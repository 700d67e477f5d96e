//! One test binary for the ClickHouse sink on a real engine.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod sink;

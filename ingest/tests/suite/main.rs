//! One test binary for the HTTP API of ingest.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod body;

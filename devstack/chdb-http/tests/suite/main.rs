//! One test binary for the ClickHouse HTTP interface in front of the engine.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client;
mod connect;
mod server;
mod support;

//! One test binary for the whole system: real binaries on real stores.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod batch;
mod cloudevents;
mod config;
mod deploy;
mod doors;
mod faults;
mod grpc;
mod line;
mod log_faults;
mod readme;
mod scaling;

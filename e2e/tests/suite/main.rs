//! One test binary for the whole system: real binaries on real stores.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod apis;
mod batch;
mod cloudevents;
mod config;
mod deploy;
mod faults;
mod grpc;
mod log_faults;
mod pipeline;
mod readme;
mod scaling;

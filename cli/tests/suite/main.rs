//! One test binary for the commands of `millrace`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod apply;
mod dev;
mod jobs;
mod running_dev;

//! One test binary for the pure laws: no store, no clock.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
mod goldens;
mod laws;
mod naive;
mod wanted;

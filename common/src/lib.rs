//! I/O that two or more Millrace binaries share: config, process, telemetry, the log, the stores, the worker loop.
//! The services reach the stores only through this crate; `devstack` and `bench` use drivers too. The computation of
//! features is left to `millrace_core`.

pub mod backoff;
pub mod body;
pub mod clock;
pub mod config;
pub mod definitions;
pub mod healthcheck;
pub mod jobs;
pub mod listen;
pub mod log;
pub mod names;
pub mod process;
pub mod stores;
pub mod telemetry;
pub mod worker;

//! One test binary for what binaries share, on real stores.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod analysts;
mod clickhouse_parity;
mod clickhouse_schema;
mod jobs;
mod log_append;
mod log_cursor;
mod log_memory;
mod log_put;
mod log_put_each;
mod log_registry;
mod orders;
mod profiles;
mod stored_forms;
mod support;
mod warehouse;
mod worker_pair;

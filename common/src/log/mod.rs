//! The log: P streams in Redis, cursors over them, and the definitions that are in force in them (DESIGN §2). This module
//! owns every command that touches the log's keys. The meaning of an entry is left to `millrace_core`, the work on it to
//! `crate::worker`.
//!
//! - `handle` is an open log; `create`, `meta`, `functions`, `link` and `client` are what it takes to have one;
//! - `append` writes entries, `reader` and `entry` read them, `fast_path` is how both speak to Redis;
//! - `lease` says who may work, `cursor` how far the work is, `members` who shares it, `group` which sinks there are;
//! - `registry` puts definitions in force, `job` records the runs of batch views;
//! - `dead` holds dead letters; `lag`, `status` and `memory` are for looking at the log.

pub mod append;
mod client;
mod create;
pub mod cursor;
pub mod dead;
mod entry;
mod error;
mod fast_path;
pub mod functions;
mod group;
mod handle;
pub mod job;
pub mod lag;
pub mod lease;
mod link;
pub mod members;
mod memory;
mod meta;
mod reader;
pub mod registry;
pub mod status;
mod value;

pub use append::Appender;
pub use client::open as client;
pub use cursor::{Advance, Advanced, LOSS_WINDOW_MS, SinkCursor};
pub use dead::DeadLetter;
pub use entry::{EntryFields, NotText, RawEntry};
pub(crate) use error::NOT_NOW;
pub use error::{AppendError, LogError};
pub use group::{DEAD_LETTERS, Group};
pub use handle::Log;
pub use lease::{Acquisition, Lease, LeaseGrant, LeaseHolder, LeaseToken, OnExpiry};
pub use memory::Pressure;
pub use meta::{FORMAT, LogMeta};
pub use reader::Reader;
pub use registry::InForce;

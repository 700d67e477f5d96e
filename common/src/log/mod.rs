//! The log: P streams in Redis, cursors over them, and what is in force in them (DESIGN §2). This module owns every
//! command that touches the log's keys; what entries mean is `millrace_core`'s, what is done with them the worker's.
//!
//! `append` writes, `reader` reads, `cursor` holds leases and progress, `registry` puts definitions in force,
//! `members` divides the partitions, `job` holds leases and records of batch runs, `dead`, `lag` and `status` are for
//! looking at it. `functions` is the library in Redis.

pub mod append;
mod create;
pub mod cursor;
pub mod dead;
mod error;
pub mod functions;
mod group;
pub mod job;
pub mod lag;
pub mod lease;
mod link;
pub mod members;
mod memory;
mod reader;
pub mod registry;
pub mod status;
mod value;
mod wire;

use std::sync::Arc;

use redis::aio::MultiplexedConnection;

use crate::names::Names;
use link::Link;

pub use append::{AppendError, Appender};
pub use cursor::{Advance, Advanced, SinkCursor};
pub use dead::DeadLetter;
pub use error::LogError;
pub(crate) use error::NOT_NOW;
pub use group::{DEAD_LETTERS, Group};
pub use lease::{Acquisition, Lease, LeaseGrant, LeaseHolder, LeaseToken, OnExpiry};
pub use link::client;
pub use memory::Pressure;
pub use reader::{Fields, NotText, RawEntry, Reader};
pub use registry::InForce;

/// The form of entries and keys that this binary writes.
pub const FORMAT: u32 = 1;
/// How much a failover may cost: what lies closer than this to a position is not trimmed, so that it can be read again.
pub const LOSS_WINDOW_MS: u64 = 60_000;

/// What a log was created with and keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMeta {
    /// P: how many partitions.
    pub partitions: u16,
    /// H: how long a resend is known, in ms of stream time.
    pub dedupe_ms: u64,
    /// Which hash divides keys among partitions.
    pub hash: String,
    /// The form of entries and keys.
    pub format: u32,
}

impl LogMeta {
    /// P = 8, H = 5 min.
    pub const DEFAULT_PARTITIONS: u16 = 8;
    /// H = 5 min.
    pub const DEFAULT_DEDUPE_MS: u64 = 300_000;

    /// A log of so many partitions as this binary makes it.
    pub fn new(partitions: u16, dedupe_ms: u64) -> Self {
        Self { partitions, dedupe_ms, hash: millrace_core::partition::HASH_NAME.to_owned(), format: FORMAT }
    }
}

impl Default for LogMeta {
    fn default() -> Self {
        Self::new(Self::DEFAULT_PARTITIONS, Self::DEFAULT_DEDUPE_MS)
    }
}

/// A log that exists. Cloning it is cheap and shares the connection for short calls.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    link: Link,
    names: Names,
    meta: LogMeta,
}

impl Log {
    /// Makes the log, or finds it as asked for: library, streams, groups at 0, and last what it is. Doing it again
    /// changes nothing; other partitions, horizon or hash than it has are refused.
    pub async fn create(url: &str, names: Names, meta: LogMeta) -> Result<Self, LogError> {
        let link = Self::link(url, &names)?;
        create::create(&link, &names, &meta).await?;
        Ok(Self(Arc::new(Shared { link, names, meta })))
    }

    /// Finds a log that `migrate` has made, and checks that this binary and this Redis can keep its promises.
    pub async fn open(url: &str, names: Names) -> Result<Self, LogError> {
        let link = Self::link(url, &names)?;
        let meta = create::open(&link, &names).await?;
        Ok(Self(Arc::new(Shared { link, names, meta })))
    }

    /// How its keys are called.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// What it was created with.
    pub fn meta(&self) -> &LogMeta {
        &self.0.meta
    }

    /// Its partitions.
    pub fn partitions(&self) -> impl Iterator<Item = millrace_core::partition::Partition> + use<> {
        (0..self.meta().partitions).map(millrace_core::partition::Partition)
    }

    /// A new connection of the caller's own, fenced. An answer may take 3 s; blocking calls set more.
    pub async fn connect(&self) -> Result<MultiplexedConnection, LogError> {
        self.0.link.connect().await
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), LogError> {
        self.link_ref().query("ping the log", &redis::cmd("PING")).await.map(drop)
    }

    fn link(url: &str, names: &Names) -> Result<Link, LogError> {
        let client = client(url).map_err(error::failed("understand the log's URL"))?;
        Ok(Link::new(client, names.log()))
    }

    fn link_ref(&self) -> &Link {
        &self.0.link
    }
}

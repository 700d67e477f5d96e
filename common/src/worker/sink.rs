//! The part that a consumer adds to the loop: a sink, which makes one batch durable. The loop owns reading, duplicates,
//! definitions, leases and advancing; the sink owns its store.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::definitions::Definitions;
use millrace_core::event::Event;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use crate::log::{DeadLetter, SinkCursor};

/// A contiguous range of one partition's log, judged under one version of the definitions: duplicates and undecodable
/// entries are left out. `after` is exclusive, `upto` inclusive; `events` may be empty.
#[derive(Debug)]
pub struct Batch {
    /// Its partition.
    pub partition: Partition,
    /// The position before its first entry.
    pub after: Position,
    /// The position of its last entry.
    pub upto: Position,
    /// The number of entries that it covers.
    pub read: u64,
    /// The definitions in force in it.
    pub definitions: Arc<Definitions>,
    /// The number of those definitions.
    pub version: u32,
    /// The events that count, in log order.
    pub events: Vec<(Position, Event)>,
    /// The entries that were left out, with reasons, before any sink saw them.
    pub dead: Vec<DeadLetter>,
}

/// How much a sink takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The entries of a full batch.
    pub entries: usize,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// The entries of a batch while the log has more than a full one.
    pub far_behind: usize,
}

impl BatchLimits {
    /// The same number of entries, however far behind the sink is.
    pub fn new(entries: usize, linger: Duration) -> Self {
        Self { entries, linger, far_behind: entries }
    }
}

/// Why a batch is not durable yet.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The store is unavailable, slow or full: the same batch is tried again after a delay.
    #[error("{store} is not taking writes: {reason}")]
    Transient {
        /// Which store.
        store: &'static str,
        /// The store's error.
        reason: String,
    },
    /// Another owner has written further, so the state in memory is stale. The sink begins again at the cursor.
    #[error("a newer state is stored already")]
    Stale,
    /// The lease is lost, or has too little time left for the next write.
    #[error("the lease on the partition is lost")]
    Fenced,
}

/// The part of the lease that a sink may use: the time left, and one note in the cursor.
pub trait Fence: Send + Sync {
    /// The time until the lease runs out, at least.
    fn remaining(&self) -> Duration;
    /// Records in the cursor what is about to be sent, fenced. `advance` clears the record.
    fn intend(&self, after: Position, payload: String) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Makes batches of one partition durable in one store, in order.
pub trait Sink: Send + 'static {
    /// Its name in the cursor: `redis`, `mongodb`, `clickhouse`.
    fn name(&self) -> &'static str;

    /// The size of its batches.
    fn limits(&self) -> BatchLimits;

    /// Begins at the stored cursor, as a new owner or after [`SinkError::Stale`]: drops the state in memory and settles the
    /// batch that was in flight.
    fn begin<F: Fence>(&mut self, cursor: &SinkCursor, fence: &F)
    -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Makes the whole batch durable, once. `Ok` means that the store holds all of it except the entries (or one view of
    /// them) that the dead letters name. Called again with the same batch after an error.
    fn commit<F: Fence>(
        &mut self,
        batch: &Batch,
        fence: &F,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, SinkError>> + Send;
}

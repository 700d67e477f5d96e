//! What a consumer adds to the loop: a sink, which makes one batch durable. The loop owns reading, duplicates,
//! definitions, leases and advancing; the sink owns its store.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::definitions::Definitions;
use millrace_core::event::Event;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use crate::log::{DeadLetter, SinkCursor};

/// A contiguous range of one partition's log, judged: duplicates and undecodable entries are out, all under one
/// version of the definitions. `after` is exclusive, `upto` inclusive; `events` may be empty.
#[derive(Debug)]
pub struct Batch {
    /// Its partition.
    pub partition: Partition,
    /// The position before its first entry.
    pub after: Position,
    /// The position of its last entry.
    pub upto: Position,
    /// How many entries of the log it covers.
    pub read: u64,
    /// What is in force in it.
    pub definitions: Arc<Definitions>,
    /// The number of those definitions.
    pub version: u32,
    /// The events that count, in log order.
    pub events: Vec<(Position, Event)>,
    /// What was left out with a reason before any sink saw it.
    pub dead: Vec<DeadLetter>,
}

/// Why a batch is not durable yet.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The store is away, slow or full: the same batch is tried again after a pause.
    #[error("{store} is not taking writes: {reason}")]
    Transient {
        /// Which store.
        store: &'static str,
        /// What it said.
        reason: String,
    },
    /// Another owner has written further: what is in memory is stale. The sink starts again from the cursor.
    #[error("a newer state is stored already")]
    Stale,
    /// The lease is gone, or has too little left for what must be sent.
    #[error("the lease on the partition is lost")]
    Fenced,
}

/// What a sink may know of its lease, and the one note it may leave in the cursor.
pub trait Fence: Send + Sync {
    /// How long the lease still lives, at least.
    fn remaining(&self) -> Duration;
    /// Writes what is about to be sent into the cursor, fenced; `advance` clears it.
    fn intend(&self, after: Position, payload: String) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Makes batches of one partition durable in one store, in order.
pub trait Sink: Send + 'static {
    /// Its name in the cursor: `redis`, `mongodb`, `clickhouse`.
    fn name(&self) -> &'static str;

    /// How many entries, and how long a wait for more, make a batch of this sink.
    fn limits(&self) -> (usize, Duration);

    /// How many entries make a batch while the log holds more than that.
    fn far_behind(&self) -> usize {
        self.limits().0
    }

    /// Begins at the stored cursor, as a new owner or after [`SinkError::Stale`]: drops what is in memory and settles
    /// what was in flight.
    fn begin<F: Fence>(&mut self, cursor: &SinkCursor, fence: &F)
    -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Makes the whole batch durable, once. `Ok` means that the store holds it, but for what the dead letters name:
    /// entries (or one view of them) that this sink leaves out. Called again with the same batch after an error.
    fn commit<F: Fence>(
        &mut self,
        batch: &Batch,
        fence: &F,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, SinkError>> + Send;
}

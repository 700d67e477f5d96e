//! One partition that this process owns: its lease, which all sinks of the partition share.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::partition::Partition;
use millrace_core::position::Position;
use tokio_util::sync::CancellationToken;

use super::sink::{Fence, SinkError};
use crate::log::{Group, Lease, LeaseToken, Log, LogError, cursor};

/// One partition that this process owns. Cloning it is cheap and shares the lease.
#[derive(Clone)]
pub struct Owned {
    pub(super) log: Log,
    pub(super) partition: Partition,
    pub(super) group: Group,
    lease: Arc<Lease>,
}

impl Owned {
    pub(super) fn new(log: Log, partition: Partition, group: Group, lease: Lease) -> Self {
        Self { log, partition, group, lease: Arc::new(lease) }
    }

    /// Which partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The log that it is a partition of.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The group that works on it.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The right to move its cursors.
    pub fn token(&self) -> &LeaseToken {
        self.lease.token()
    }

    /// Cancelled once the lease is lost: the sinks then stop by themselves.
    pub fn lost(&self) -> &CancellationToken {
        self.lease.lost()
    }

    /// Gives the lease back after all sinks have stopped.
    pub(super) async fn release(&self) -> Result<bool, LogError> {
        self.lease.release().await
    }
}

/// The lease as one sink sees it: the sink records a batch before it is sent, and asks for the time that is left.
pub(super) struct SinkFence<'o> {
    pub(super) owned: &'o Owned,
    pub(super) sink: &'static str,
}

impl Fence for SinkFence<'_> {
    fn remaining(&self) -> Duration {
        self.owned.lease.remaining()
    }

    async fn intend(&self, after: Position, payload: String) -> Result<(), SinkError> {
        let Owned { log, partition, group, lease } = self.owned;
        match cursor::intend(log, *partition, *group, lease.token(), self.sink, after, &payload).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SinkError::Fenced),
            Err(error) => Err(SinkError::Transient { store: "the log", reason: error.to_string() }),
        }
    }
}

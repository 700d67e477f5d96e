//! A held lease on one partition: shared by its sinks, renewed beside them. Whoever finds it lost stops all.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::partition::Partition;
use millrace_core::position::Position;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sink::{Fence, SinkError};
use crate::log::{Group, Log, Token, cursor};

/// One partition that this process owns.
#[derive(Clone)]
pub struct Owned {
    pub(super) log: Log,
    pub(super) partition: Partition,
    pub(super) group: Group,
    pub(super) token: Token,
    expires: Arc<Mutex<Instant>>,
    lost: CancellationToken,
}

impl Owned {
    pub(super) fn new(log: Log, partition: Partition, group: Group, token: Token, expires: Instant) -> Self {
        Self { log, partition, group, token, expires: Arc::new(Mutex::new(expires)), lost: CancellationToken::new() }
    }

    /// Which partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The log that it is a partition of.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// For which group.
    pub fn group(&self) -> Group {
        self.group
    }

    /// The right to move its cursors.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Cancelled once the lease is lost.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// How long the lease still lives by our own clock, which started before Redis's.
    pub(super) fn remaining(&self) -> Duration {
        self.expires.lock().saturating_duration_since(Instant::now())
    }

    /// Renews until `done`. A lease that could not be renewed in time is lost: the sinks stop by themselves.
    pub(super) async fn keep(&self, lease: Duration, done: CancellationToken) {
        let mut every = tokio::time::interval(lease / 5);
        while done.run_until_cancelled(every.tick()).await.is_some() {
            match cursor::renew(&self.log, self.partition, self.group, &self.token, lease).await {
                Ok(Some(expires)) => *self.expires.lock() = expires,
                Ok(None) => return self.lost.cancel(),
                Err(error) => {
                    tracing::debug!(partition = self.partition.0, %error, "lease not renewed");
                    if self.remaining().is_zero() {
                        return self.lost.cancel();
                    }
                }
            }
        }
    }
}

/// A sink's own view of the lease.
pub(super) struct SinkFence<'o> {
    pub(super) owned: &'o Owned,
    pub(super) sink: &'static str,
}

impl Fence for SinkFence<'_> {
    fn remaining(&self) -> Duration {
        self.owned.remaining()
    }

    async fn intend(&self, after: Position, payload: String) -> Result<(), SinkError> {
        let Owned { log, partition, group, token, .. } = self.owned;
        match cursor::intend(log, *partition, *group, token, self.sink, after, &payload).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SinkError::Fenced),
            Err(error) => Err(SinkError::Transient { store: "the log", reason: error.to_string() }),
        }
    }
}

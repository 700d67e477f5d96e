//! Counts accepted and rejected events of a replay, over all senders.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::batch::BatchProgress;
use super::plan::PlannedEvent;

/// The counts of all senders so far, in events. They can be read while senders add to them.
#[derive(Debug, Default)]
pub struct Tally {
    sent: AtomicU64,
    accepted: AtomicU64,
    resent: AtomicU64,
    by_mapping: Mutex<BTreeMap<usize, MappingTally>>,
}

/// The settled events of one mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappingTally {
    /// Accepted by ingest.
    pub accepted: u64,
    /// Rejected by ingest.
    pub rejected: u64,
}

impl Tally {
    /// Events that are settled: accepted or rejected.
    pub fn settled(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Events that ingest accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Events sent again although they may have been accepted before.
    pub fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    /// The settled events of each mapping, by its index.
    pub fn by_mapping(&self) -> BTreeMap<usize, MappingTally> {
        self.by_mapping.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a batch that is settled.
    pub fn add(&self, events: &[PlannedEvent], batch: &BatchProgress) {
        self.sent.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.accepted.fetch_add(batch.accepted(), Ordering::Relaxed);
        self.resent.fetch_add(batch.resent(), Ordering::Relaxed);
        let mut by_mapping = self.by_mapping.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            by_mapping.entry(event.mapping).or_default().accepted += 1;
        }
        for event in batch.rejections().iter().filter_map(|rejection| events.get(rejection.index)) {
            let counts = by_mapping.entry(event.mapping).or_default();
            counts.accepted -= 1;
            counts.rejected += 1;
        }
    }
}

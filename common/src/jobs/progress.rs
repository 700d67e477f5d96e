//! How far a run is, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::log::job::Counts;

/// Failed keys that a run remembers; the rest is only counted.
const KEPT_FAILED_KEYS: usize = 1_000;

/// Counts of one run, shared by those who write and those who watch.
#[derive(Debug, Default)]
pub struct Progress {
    rows: AtomicU64,
    written: AtomicU64,
    already: AtomicU64,
    failed: AtomicU64,
    expected: AtomicU64,
    waiting_for: Mutex<Option<String>>,
    failed_keys: Mutex<Vec<(String, String)>>,
}

impl Progress {
    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            rows: read(&self.rows),
            written: read(&self.written),
            already: read(&self.already),
            failed: read(&self.failed),
        }
    }

    /// How many rows there will be, as far as anybody knows.
    pub fn expected(&self) -> Option<u64> {
        Some(self.expected.load(Ordering::Relaxed)).filter(|rows| *rows > 0)
    }

    /// Says how many rows there will be.
    pub fn expect(&self, rows: u64) {
        self.expected.store(rows, Ordering::Relaxed);
    }

    /// The store that is away, and what it said; none while all goes well.
    pub fn waiting_for(&self) -> Option<String> {
        self.waiting_for.lock().clone()
    }

    /// Whether that is the store it writes into, rather than what every run needs.
    pub(super) fn waits_for_store(&self) -> bool {
        let waiting = self.waiting_for.lock();
        waiting.as_ref().is_some_and(|what| ["redis: ", "mongodb: "].iter().any(|store| what.starts_with(store)))
    }

    /// The first keys that could not be written, and why.
    pub fn failed_keys(&self) -> Vec<(String, String)> {
        self.failed_keys.lock().clone()
    }

    pub(super) fn wait_for(&self, what: String) {
        let mut waiting = self.waiting_for.lock();
        if waiting.as_ref() != Some(&what) {
            tracing::warn!(waiting_for = what, "a store is away");
            *waiting = Some(what);
        }
    }

    pub(super) fn goes_on(&self) {
        *self.waiting_for.lock() = None;
    }

    /// The query is run again from its beginning, and so is the count.
    pub(super) fn again(&self) {
        for count in [&self.rows, &self.written, &self.already, &self.failed] {
            count.store(0, Ordering::Relaxed);
        }
        self.failed_keys.lock().clear();
    }

    pub(super) fn add(&self, rows: u64, written: u64, already: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.written.fetch_add(written, Ordering::Relaxed);
        self.already.fetch_add(already, Ordering::Relaxed);
    }

    pub(super) fn fail(&self, key: String, reason: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.failed_keys.lock();
        if kept.len() < KEPT_FAILED_KEYS {
            kept.push((key, reason));
        }
    }
}

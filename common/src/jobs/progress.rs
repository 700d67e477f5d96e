//! How far a run is, for the people and the metrics that watch it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::log::job::RunCounts;

/// The failed keys that a run remembers. Further ones are only counted.
const KEPT_FAILED_KEYS: usize = 1_000;

/// The progress of one run, shared by its writers and the watchers.
#[derive(Debug, Default)]
pub struct RunProgress {
    rows: AtomicU64,
    written: AtomicU64,
    already: AtomicU64,
    failed: AtomicU64,
    expected: AtomicU64,
    waiting_for: Mutex<Option<WaitingFor>>,
    failed_keys: Mutex<Vec<(String, String)>>,
}

/// The store for which a run waits.
#[derive(Debug, PartialEq, Eq)]
struct WaitingFor {
    /// The store that is unavailable, and its error.
    what: String,
    /// Whether that is the store that the run writes into, rather than one that every run needs.
    store: bool,
}

impl RunProgress {
    /// The numbers of rows and keys so far.
    pub fn counts(&self) -> RunCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RunCounts {
            rows: read(&self.rows),
            written: read(&self.written),
            already: read(&self.already),
            failed: read(&self.failed),
        }
    }

    /// The number of rows to come, if it is known.
    pub fn expected(&self) -> Option<u64> {
        Some(self.expected.load(Ordering::Relaxed)).filter(|rows| *rows > 0)
    }

    /// Sets the number of rows to come.
    pub fn expect(&self, rows: u64) {
        self.expected.store(rows, Ordering::Relaxed);
    }

    /// The store for which the run waits, and its error. None while the run goes on.
    pub fn waiting_for(&self) -> Option<String> {
        self.waiting_for.lock().as_ref().map(|waiting| waiting.what.clone())
    }

    /// Whether that is the store that the run writes into, rather than one that every run needs.
    pub(super) fn waits_for_store(&self) -> bool {
        self.waiting_for.lock().as_ref().is_some_and(|waiting| waiting.store)
    }

    /// The first keys that could not be written, and why.
    pub fn failed_keys(&self) -> Vec<(String, String)> {
        self.failed_keys.lock().clone()
    }

    /// A store that every run needs is unavailable.
    pub(super) fn wait_for(&self, what: String) {
        self.wait(WaitingFor { what, store: false });
    }

    /// The store that the run writes into is unavailable.
    pub(super) fn wait_for_store(&self, what: String) {
        self.wait(WaitingFor { what, store: true });
    }

    fn wait(&self, waiting: WaitingFor) {
        let mut known = self.waiting_for.lock();
        if known.as_ref() != Some(&waiting) {
            tracing::warn!(waiting_for = waiting.what, "a store is unavailable");
            *known = Some(waiting);
        }
    }

    pub(super) fn goes_on(&self) {
        *self.waiting_for.lock() = None;
    }

    /// The query is run again from its beginning, so the counts begin again.
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

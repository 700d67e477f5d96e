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
    waiting_for: Mutex<Option<Waiting>>,
    failed_keys: Mutex<Vec<(String, String)>>,
}

/// What a run waits for.
#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    /// Who is away, and what it said.
    what: String,
    /// Whether that is the store it writes into, rather than what every run needs.
    store: bool,
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
        self.waiting_for.lock().as_ref().map(|waiting| waiting.what.clone())
    }

    /// Whether that is the store it writes into, rather than what every run needs.
    pub(super) fn waits_for_store(&self) -> bool {
        self.waiting_for.lock().as_ref().is_some_and(|waiting| waiting.store)
    }

    /// The first keys that could not be written, and why.
    pub fn failed_keys(&self) -> Vec<(String, String)> {
        self.failed_keys.lock().clone()
    }

    /// What every run needs is away.
    pub(super) fn wait_for(&self, what: String) {
        self.wait(Waiting { what, store: false });
    }

    /// The store that it writes into is away.
    pub(super) fn wait_for_store(&self, what: String) {
        self.wait(Waiting { what, store: true });
    }

    fn wait(&self, waiting: Waiting) {
        let mut known = self.waiting_for.lock();
        if known.as_ref() != Some(&waiting) {
            tracing::warn!(waiting_for = waiting.what, "a store is away");
            *known = Some(waiting);
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

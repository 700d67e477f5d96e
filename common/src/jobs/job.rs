//! One job to run, and the report of how it went.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::batch::Run;
use millrace_core::definitions::Definitions;

use crate::log::job::{RunCounts, RunOutcome};

/// A batch view that is to be run, as of an instant.
#[derive(Clone)]
pub struct Job {
    /// The definitions in force.
    pub definitions: Arc<Definitions>,
    /// Index of the view.
    pub view: usize,
    /// The instant of its values, epoch ms.
    pub as_of: i64,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The run.
    pub run: Run,
    /// Its name for people.
    pub job_id: String,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The numbers of rows and keys.
    pub counts: RunCounts,
    /// Why it did not succeed; empty where it did.
    pub reason: String,
    /// The first keys that could not be written, and why.
    pub failed_keys: Vec<(String, String)>,
    /// How long it took.
    pub duration: Duration,
}

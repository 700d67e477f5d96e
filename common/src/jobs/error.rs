//! Why a run ended without a report.

use std::time::Duration;

use crate::log::LogError;

/// Why a run ended without a report.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The view is not a batch view, or the instant is one that no run can have.
    #[error("{0}")]
    Invalid(String),
    /// Another process runs it.
    #[error("view `{view}` is being materialized by {owner}; its lease runs out in {left:?} unless it is renewed")]
    Held {
        /// The view.
        view: String,
        /// The process that runs it.
        owner: String,
        /// The time until its lease runs out.
        left: Duration,
    },
    /// Another process has taken over.
    #[error("{job_id} was stopped: another process has taken over, and what it writes counts")]
    Fenced {
        /// The run.
        job_id: String,
    },
    /// Told to stop before the run had begun, or while the log was unavailable.
    #[error("told to stop")]
    Stopped,
    /// The log refused.
    #[error(transparent)]
    Log(#[from] LogError),
}

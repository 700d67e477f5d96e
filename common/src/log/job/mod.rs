//! The records of the jobs of batch views, which are kept in the log's Redis. `run` writes that a run has begun or ended.
//! `state` reads the state of a job for the scheduler and the feature servers, and Redis's clock. `record` reads the list
//! of a job's runs for people. The work of a run is left to `crate::jobs`.

mod record;
mod run;
mod state;

pub use record::{RunRecord, failed_keys, runs};
pub use run::{RunCounts, RunEnding, RunOutcome, begin, finish};
pub use state::{CompletedRun, JobState, UnfinishedRun, now, states};

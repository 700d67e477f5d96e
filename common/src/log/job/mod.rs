//! Jobs of batch views beside the log: `run` records when a run begins and ends, `state` is what readers and the scheduler
//! need of a job, `record` lists its runs. The work of a run is left to `crate::jobs`.

mod record;
mod run;
mod state;

pub use record::{RunRecord, failed_keys, runs};
pub use run::{RunCounts, RunEnding, RunOutcome, begin, finish};
pub use state::{CompletedRun, JobState, UnfinishedRun, now, states};

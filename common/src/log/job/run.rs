//! The beginning and the end of a run. A run is an epoch of the job's lease, so its number only grows, and the lease's token
//! is its own.

use std::time::Duration;

use crate::log::error::LogError;
use crate::log::lease::LeaseToken;
use crate::log::{Log, functions, value};

/// The records of runs that are kept for each job.
const KEPT_RUNS: usize = 200;
/// How long the failed keys of a run are kept.
const KEPT_FAILED_KEYS: Duration = Duration::from_secs(30 * 86_400);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Every row is in the store: readers count from this run.
    Succeeded,
    /// Some keys are not, or the query failed.
    Failed,
    /// It was told to stop.
    Interrupted,
    /// Its process died. The next run recorded that.
    Abandoned,
}

/// The numbers of rows and keys of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Rows that the query returned.
    pub rows: u64,
    /// Keys written.
    pub written: u64,
    /// Keys that this run had written before, in an attempt without an answer.
    pub already: u64,
    /// Rows that could not be written.
    pub failed: u64,
}

/// The end of a run, as it is to be recorded.
#[derive(Clone, Debug)]
pub struct RunEnding<'a> {
    /// How.
    pub outcome: RunOutcome,
    /// The numbers of rows and keys.
    pub counts: &'a RunCounts,
    /// Why it did not succeed. Empty where it did.
    pub reason: &'a str,
    /// The first keys that could not be written, and why.
    pub failed_keys: &'a [(String, String)],
}

impl RunOutcome {
    /// Its name in records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Abandoned => "abandoned",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Succeeded, Self::Failed, Self::Interrupted, Self::Abandoned]
            .into_iter()
            .find(|outcome| outcome.name() == name)
    }
}

/// Records that the run has begun, and that an earlier run which never ended was abandoned. Returns false where another
/// owner has the lease.
pub async fn begin(log: &Log, view: &str, token: &LeaseToken, as_of: i64) -> Result<bool, LogError> {
    let names = log.names();
    let mut command = functions::call(functions::JOB_BEGIN, &[&names.job(view), &names.job_runs(view)]);
    command.arg(&token.owner).arg(token.epoch).arg(as_of).arg(KEPT_RUNS);
    let reply = log.link_ref().query("begin a run", &command).await?;
    Ok(value::number(&reply) == Some(1))
}

/// Records how the run ended. If it succeeded, readers count from it. A second call changes nothing. Returns false, and
/// records nothing, where another owner has the lease.
pub async fn finish(
    log: &Log,
    view: &str,
    token: &LeaseToken,
    run: u32,
    ending: &RunEnding<'_>,
) -> Result<bool, LogError> {
    let names = log.names();
    let keys = [names.job(view), names.job_runs(view), names.job_failed(view, run)];
    let mut command = functions::call(functions::JOB_FINISH, &[&keys[0], &keys[1], &keys[2]]);
    command.arg(&token.owner).arg(token.epoch).arg(ending.outcome.name());
    command.arg(KEPT_RUNS).arg(value::millis(KEPT_FAILED_KEYS));
    let RunCounts { rows, written, already, failed } = ending.counts;
    command.arg(rows).arg(written).arg(already).arg(failed).arg(ending.reason);
    for (key, reason) in ending.failed_keys {
        command.arg(key).arg(reason);
    }
    let reply = log.link_ref().query("record a run", &command).await?;
    Ok(value::number(&reply) == Some(1))
}

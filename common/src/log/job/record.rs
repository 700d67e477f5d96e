//! The records of runs that have ended, for people.

use std::collections::BTreeMap;

use millrace_core::batch::Run;
use redis::Value;

use super::run::{RunCounts, RunOutcome};
use crate::log::Log;
use crate::log::error::{LogError, unexpected};
use crate::log::value::{self, HashFields, hash_fields, parsed};

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// The run.
    pub run: Run,
    /// When it began, epoch ms on Redis's clock.
    pub started: i64,
    /// When it ended. None where its process died.
    pub ended: Option<i64>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The numbers of rows and keys.
    pub counts: RunCounts,
    /// Why it did not succeed.
    pub reason: String,
}

/// The runs of a job that have ended, latest first.
pub async fn runs(log: &Log, view: &str, limit: usize) -> Result<Vec<RunRecord>, LogError> {
    const DOING: &str = "read the runs of a job";
    let mut command = redis::cmd("XREVRANGE");
    command.arg(log.names().job_runs(view)).arg("+").arg("-").arg("COUNT").arg(limit);
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = unexpected(DOING, &reply);
    let record = |entry: Value| record_of(&hash_fields(value::array(entry)?.into_iter().nth(1)?)?);
    value::array(reply).and_then(|entries| entries.into_iter().map(record).collect()).ok_or(wrong)
}

/// The first keys that a run could not write, and why.
pub async fn failed_keys(log: &Log, view: &str, run: u32) -> Result<BTreeMap<String, String>, LogError> {
    const DOING: &str = "read the failed keys of a run";
    let mut command = redis::cmd("HGETALL");
    command.arg(log.names().job_failed(view, run));
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = unexpected(DOING, &reply);
    hash_fields(reply).ok_or(wrong)
}

fn record_of(fields: &HashFields) -> Option<RunRecord> {
    let count = |name: &str| parsed(fields, name).unwrap_or_default();
    Some(RunRecord {
        run: Run { number: parsed(fields, "run")?, as_of: parsed(fields, "as_of")? },
        started: parsed(fields, "started")?,
        ended: parsed(fields, "ended"),
        outcome: RunOutcome::parse(fields.get("outcome")?)?,
        counts: RunCounts {
            rows: count("rows"),
            written: count("written"),
            already: count("already"),
            failed: count("failed"),
        },
        reason: fields.get("reason").cloned().unwrap_or_default(),
    })
}

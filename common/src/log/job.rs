//! Batch jobs beside the log: the lease that lets one process run a view at a time, and what became of its runs. A run
//! is an epoch of the lease, so its number only grows. What a run does is `crate::jobs`'.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_core::batch::Run;
use redis::Value;

use super::cursor::{Fields, fields_of};
use super::error::{LogError, unexpected};
use super::lease::LeaseToken;
use super::{Log, functions, value};

/// Records of runs that are kept per job.
const KEPT_RUNS: usize = 200;
/// How long a run's failed keys are kept.
const KEPT_FAILED_KEYS: Duration = Duration::from_secs(30 * 86_400);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every row is in the store: readers count from this run.
    Succeeded,
    /// Some keys are not, or the query failed.
    Failed,
    /// It was told to stop.
    Interrupted,
    /// It ended without a word; found by the run after it.
    Abandoned,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that the query returned.
    pub rows: u64,
    /// Keys written.
    pub written: u64,
    /// Keys that this run had written before, in an attempt whose answer was lost.
    pub already: u64,
    /// Rows that could not be written.
    pub failed: u64,
}

/// How a run ended, as it is to be recorded.
#[derive(Clone, Debug)]
pub struct Ending<'a> {
    /// How.
    pub outcome: Outcome,
    /// What it did.
    pub counts: &'a Counts,
    /// Why it did not succeed; empty where it did.
    pub reason: &'a str,
    /// Keys that could not be written, and why; the first of them, where there are many.
    pub failed_keys: &'a [(String, String)],
}

/// A run that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub run: Run,
    /// Since when, epoch ms on Redis's clock.
    pub since: i64,
}

/// The last run that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Which.
    pub run: Run,
    /// When, epoch ms on Redis's clock.
    pub at: i64,
    /// How many rows it had.
    pub rows: u64,
}

/// What is known of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobState {
    /// Who has its lease; none where it was given back or has run out.
    pub owner: Option<String>,
    /// What runs; where nobody has the lease, what was running when its process died.
    pub running: Option<Running>,
    /// What readers count from.
    pub completed: Option<Completed>,
    /// The latest instant that a run has ended for, well or not, epoch ms.
    pub settled: Option<i64>,
    /// The instant of the first run, epoch ms.
    pub first: Option<i64>,
    /// How the last run ended that was not interrupted.
    pub last: Option<Outcome>,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Which.
    pub run: Run,
    /// When it began, epoch ms on Redis's clock.
    pub started: i64,
    /// When it ended; none where nobody knows.
    pub ended: Option<i64>,
    /// How.
    pub outcome: Outcome,
    /// What it did.
    pub counts: Counts,
    /// Why it did not succeed.
    pub reason: String,
}

impl Outcome {
    /// Its name in records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Abandoned => "abandoned",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Succeeded, Self::Failed, Self::Interrupted, Self::Abandoned]
            .into_iter()
            .find(|outcome| outcome.name() == name)
    }
}

/// Redis's clock, epoch ms.
pub async fn now(log: &Log) -> Result<i64, LogError> {
    const DOING: &str = "read redis's clock";
    let reply = log.link_ref().query(DOING, &redis::cmd("TIME")).await?;
    clock(&reply).ok_or_else(|| unexpected(DOING, &reply))
}

/// Says that the run has begun, and that one before it which never ended was abandoned. False: another has the lease.
pub async fn begin(log: &Log, view: &str, token: &LeaseToken, as_of: i64) -> Result<bool, LogError> {
    let names = log.names();
    let mut command = functions::call(functions::JOB_BEGIN, &[&names.job(view), &names.job_runs(view)]);
    command.arg(&token.owner).arg(token.epoch).arg(as_of).arg(KEPT_RUNS);
    let reply = log.link_ref().query("begin a run", &command).await?;
    Ok(value::number(&reply) == Some(1))
}

/// Records how the run ended; where it succeeded, readers count from it. Asking again changes nothing. False: another
/// has the lease, and nothing was recorded.
pub async fn finish(
    log: &Log,
    view: &str,
    token: &LeaseToken,
    run: u32,
    ending: &Ending<'_>,
) -> Result<bool, LogError> {
    let names = log.names();
    let keys = [names.job(view), names.job_runs(view), names.job_failed(view, run)];
    let mut command = functions::call(functions::JOB_FINISH, &[&keys[0], &keys[1], &keys[2]]);
    command.arg(&token.owner).arg(token.epoch).arg(ending.outcome.name());
    command.arg(KEPT_RUNS).arg(value::millis(KEPT_FAILED_KEYS));
    let Counts { rows, written, already, failed } = ending.counts;
    command.arg(rows).arg(written).arg(already).arg(failed).arg(ending.reason);
    for (key, reason) in ending.failed_keys {
        command.arg(key).arg(reason);
    }
    let reply = log.link_ref().query("record a run", &command).await?;
    Ok(value::number(&reply) == Some(1))
}

/// What is known of each of those jobs, in their order, in one round trip.
pub async fn states(log: &Log, views: &[String]) -> Result<Vec<JobState>, LogError> {
    const DOING: &str = "read the jobs";
    if views.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = redis::Pipeline::with_capacity(1 + views.len());
    pipeline.add_command(redis::cmd("TIME"));
    for view in views {
        pipeline.add_command(redis::cmd("HGETALL").arg(log.names().job(view)).take());
    }
    let mut replies = log.link_ref().query_all(DOING, &pipeline).await?.into_iter();
    let time = replies.next().unwrap_or(Value::Nil);
    let now = clock(&time).ok_or_else(|| unexpected(DOING, &time))?;
    let one = |reply: Value| {
        let wrong = unexpected(DOING, &reply);
        fields_of(reply).map(|fields| state_of(&fields, now)).ok_or(wrong)
    };
    replies.map(one).collect()
}

/// The runs of a job that have ended, latest first.
pub async fn runs(log: &Log, view: &str, limit: usize) -> Result<Vec<RunRecord>, LogError> {
    const DOING: &str = "read the runs of a job";
    let mut command = redis::cmd("XREVRANGE");
    command.arg(log.names().job_runs(view)).arg("+").arg("-").arg("COUNT").arg(limit);
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = unexpected(DOING, &reply);
    let record = |entry: Value| record_of(&fields_of(value::array(entry)?.into_iter().nth(1)?)?);
    value::array(reply).and_then(|entries| entries.into_iter().map(record).collect()).ok_or(wrong)
}

/// The keys that a run could not write, and why; the first of them, where there were many.
pub async fn failed_keys(log: &Log, view: &str, run: u32) -> Result<BTreeMap<String, String>, LogError> {
    const DOING: &str = "read the failed keys of a run";
    let mut command = redis::cmd("HGETALL");
    command.arg(log.names().job_failed(view, run));
    let reply = log.link_ref().query(DOING, &command).await?;
    let wrong = unexpected(DOING, &reply);
    fields_of(reply).ok_or(wrong)
}

/// What `TIME` answers: seconds, and microseconds of the next.
fn clock(reply: &Value) -> Option<i64> {
    let Value::Array(parts) = reply else { return None };
    let [seconds, micros] = parts.as_slice() else { return None };
    i64::try_from(value::number(seconds)? * 1_000 + value::number(micros)? / 1_000).ok()
}

fn state_of(fields: &Fields, now: i64) -> JobState {
    let run = |number: &str, as_of: &str| Some(Run { number: parsed(fields, number)?, as_of: parsed(fields, as_of)? });
    let leased = parsed(fields, "expires").is_some_and(|expires: i64| now < expires);
    let running = run("running", "running_as_of");
    let completed = run("completed", "completed_as_of");
    JobState {
        owner: fields.get("owner").filter(|owner| !owner.is_empty() && leased).cloned(),
        running: running.map(|run| Running { run, since: parsed(fields, "running_since").unwrap_or_default() }),
        completed: completed.map(|run| Completed {
            run,
            at: parsed(fields, "completed_at").unwrap_or_default(),
            rows: parsed(fields, "completed_rows").unwrap_or_default(),
        }),
        settled: parsed(fields, "settled"),
        first: parsed(fields, "first_as_of"),
        last: fields.get("outcome").and_then(|name| Outcome::parse(name)),
    }
}

fn record_of(fields: &Fields) -> Option<RunRecord> {
    let count = |name: &str| parsed(fields, name).unwrap_or_default();
    Some(RunRecord {
        run: Run { number: parsed(fields, "run")?, as_of: parsed(fields, "as_of")? },
        started: parsed(fields, "started")?,
        ended: parsed(fields, "ended"),
        outcome: Outcome::parse(fields.get("outcome")?)?,
        counts: Counts {
            rows: count("rows"),
            written: count("written"),
            already: count("already"),
            failed: count("failed"),
        },
        reason: fields.get("reason").cloned().unwrap_or_default(),
    })
}

fn parsed<T: std::str::FromStr>(fields: &Fields, name: &str) -> Option<T> {
    fields.get(name)?.parse().ok()
}

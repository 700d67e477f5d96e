//! The state of a job: its lease, its unfinished run, and the last run that succeeded.

use millrace_core::batch::Run;
use redis::Value;

use super::run::RunOutcome;
use crate::log::Log;
use crate::log::error::{LogError, unexpected};
use crate::log::value::{self, HashFields, hash_fields, parsed};

/// A run that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedRun {
    /// The run.
    pub run: Run,
    /// When it began, epoch ms on Redis's clock.
    pub since: i64,
}

/// The last run that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedRun {
    /// The run.
    pub run: Run,
    /// When it ended, epoch ms on Redis's clock.
    pub at: i64,
    /// The number of its rows.
    pub rows: u64,
}

/// The state of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobState {
    /// The owner of its lease. None where the lease was given back or has run out.
    pub owner: Option<String>,
    /// The unfinished run. Where the job has no owner, its process died.
    pub running: Option<UnfinishedRun>,
    /// The run from which readers count.
    pub completed: Option<CompletedRun>,
    /// The latest instant for which a run has succeeded or failed, epoch ms. Interrupted and abandoned runs do not count.
    pub settled: Option<i64>,
    /// The instant of the first run, epoch ms.
    pub first: Option<i64>,
    /// The outcome of the last run that was not interrupted.
    pub last: Option<RunOutcome>,
}

/// Redis's clock, epoch ms.
pub async fn now(log: &Log) -> Result<i64, LogError> {
    const DOING: &str = "read redis's clock";
    let reply = log.link_ref().query(DOING, &redis::cmd("TIME")).await?;
    clock(&reply).ok_or_else(|| unexpected(DOING, &reply))
}

/// The states of these jobs, in their order, in one round trip.
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
        hash_fields(reply).map(|fields| state_of(&fields, now)).ok_or(wrong)
    };
    replies.map(one).collect()
}

/// The reply to `TIME`: seconds, and microseconds.
fn clock(reply: &Value) -> Option<i64> {
    let Value::Array(parts) = reply else { return None };
    let [seconds, micros] = parts.as_slice() else { return None };
    i64::try_from(value::number(seconds)? * 1_000 + value::number(micros)? / 1_000).ok()
}

fn state_of(fields: &HashFields, now: i64) -> JobState {
    let run = |number: &str, as_of: &str| Some(Run { number: parsed(fields, number)?, as_of: parsed(fields, as_of)? });
    let leased = parsed(fields, "expires").is_some_and(|expires: i64| now < expires);
    let running = run("running", "running_as_of");
    let completed = run("completed", "completed_as_of");
    JobState {
        owner: fields.get("owner").filter(|owner| !owner.is_empty() && leased).cloned(),
        running: running.map(|run| UnfinishedRun { run, since: parsed(fields, "running_since").unwrap_or_default() }),
        completed: completed.map(|run| CompletedRun {
            run,
            at: parsed(fields, "completed_at").unwrap_or_default(),
            rows: parsed(fields, "completed_rows").unwrap_or_default(),
        }),
        settled: parsed(fields, "settled"),
        first: parsed(fields, "first_as_of"),
        last: fields.get("outcome").and_then(|name| RunOutcome::parse(name)),
    }
}

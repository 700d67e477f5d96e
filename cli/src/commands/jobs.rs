//! `millrace jobs`: batch views, when each runs, how its last runs ended, and which keys failed.

use std::fmt::Write;

use anyhow::{Context, bail};
use clap::Args;
use millrace_common::clock::now_ms;
use millrace_common::config::StoreConfig;
use millrace_common::definitions::DefinitionsFollower;
use millrace_common::jobs::batch_views;
use millrace_common::log::Log;
use millrace_common::log::job::{self, JobState, RunRecord};
use millrace_core::batch::Run;
use millrace_core::definitions::{Definitions, View, format_duration};
use serde_json::{Value, json};

use super::definitions::{in_force, open_log, unknown_batch_view};
use super::output::{instant, or_dash, print, seconds, with_counts};

/// How many runs of each view are shown.
const SHOWN_RUNS: usize = 10;
/// More runs than the log keeps of one view.
const ALL_RUNS: usize = 10_000;

/// Shows batch views: schedule, last runs, age of the values that are served, and failures.
#[derive(Clone, Debug, Args)]
pub struct JobsArgs {
    /// Only this view, as `name` or `name@version`.
    #[arg(long)]
    pub view: Option<String>,

    /// Show the keys that this job could not write, and why. A job id is `view@version-run`.
    #[arg(long, value_name = "JOB", conflicts_with = "view")]
    pub failed: Option<String>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,
}

/// Asks the log and prints its answer.
pub async fn run(args: JobsArgs) -> anyhow::Result<()> {
    print(&text(&args).await?)
}

/// The text that the command prints.
pub async fn text(args: &JobsArgs) -> anyhow::Result<String> {
    let log = open_log(&args.stores).await?;
    match &args.failed {
        Some(job_id) => failed_keys(&log, job_id, args.json).await,
        None => jobs(&log, args).await,
    }
}

async fn jobs(log: &Log, args: &JobsArgs) -> anyhow::Result<String> {
    let definitions = in_force(&DefinitionsFollower::new(log.clone())).await?;
    let views = selected(&definitions, args.view.as_deref())?;
    let ids: Vec<String> = views.iter().map(|view| view.id()).collect();
    let states = job::states(log, &ids).await?;
    let (mut rows, mut text) = (Vec::new(), String::new());
    for (view, state) in views.into_iter().zip(states) {
        let runs = job::runs(log, &view.id(), SHOWN_RUNS).await?;
        if args.json {
            rows.push(job_json(view, &state, &runs));
        } else {
            write_job(&mut text, view, &state, &runs)?;
        }
    }
    if args.json {
        writeln!(text, "{}", json!({ "jobs": rows }))?;
    }
    Ok(text)
}

/// All batch views, or those whose name or id is `reference`. Fails if no batch view has that name or id.
fn selected<'d>(definitions: &'d Definitions, reference: Option<&str>) -> anyhow::Result<Vec<&'d View>> {
    let views = batch_views(definitions).into_iter().map(|(_, view)| view);
    let Some(reference) = reference else { return Ok(views.collect()) };
    let named: Vec<&View> = views.filter(|view| view.name == reference || view.id() == reference).collect();
    if named.is_empty() {
        return Err(unknown_batch_view(definitions, reference));
    }
    Ok(named)
}

async fn failed_keys(log: &Log, job_id: &str, as_json: bool) -> anyhow::Result<String> {
    let parts = job_id.rsplit_once('-').and_then(|(view, run)| Some((view, run.parse().ok()?)));
    let Some((view, run)) = parts else {
        bail!("`{job_id}` is not a job id; write for example household_orders@1-17");
    };
    let keys = job::failed_keys(log, view, run).await?;
    if keys.is_empty() {
        check_none_failed(log, job_id, view, run).await?;
    }
    if as_json {
        return Ok(format!("{}\n", json!({ "job_id": job_id, "failed": keys })));
    }
    Ok(keys.iter().map(|(key, reason)| format!("{key}: {reason}\n")).collect())
}

/// Fails unless the run has ended and none of its keys failed: only then is an empty list the truth.
async fn check_none_failed(log: &Log, job_id: &str, view: &str, run: u32) -> anyhow::Result<()> {
    let runs = job::runs(log, view, ALL_RUNS).await?;
    let ended = runs.iter().find(|ended| ended.run.number == run);
    let ended = ended.with_context(|| format!("no run `{job_id}` has ended; `millrace jobs` lists the last ones"))?;
    match ended.counts.failed {
        0 => Ok(()),
        failed => bail!("{failed} keys failed in `{job_id}`; the log no longer keeps their names"),
    }
}

fn write_job(text: &mut String, view: &View, state: &JobState, runs: &[RunRecord]) -> std::fmt::Result {
    let (schedule, next) = schedule(view);
    writeln!(text, "{}  {}  next {}", view.id(), schedule.unwrap_or("unscheduled".into()), or_dash(next.map(instant)))?;
    if let Some(running) = &state.running {
        let owner = state.owner.as_deref().unwrap_or("nobody: its process died");
        writeln!(text, "  running   {} since {} by {owner}", running.run.job_id(view), instant(running.since))?;
    }
    let age = state.completed.map(|completed| format_duration(age_ms(&completed.run) / 1_000 * 1_000));
    writeln!(text, "  serving   {}, {} old", or_dash(state.completed.map(|c| c.run.job_id(view))), or_dash(age))?;
    runs.iter().try_for_each(|run| write_run(text, view, run))
}

fn write_run(text: &mut String, view: &View, run: &RunRecord) -> std::fmt::Result {
    writeln!(
        text,
        "  {:<9} {:<28} as of {}  {:>9} rows  {:>6} failed  {:>8}  {}",
        run.outcome.name(),
        run.run.job_id(view),
        instant(run.run.as_of),
        run.counts.rows,
        run.counts.failed,
        or_dash(run.ended.map(|ended| format!("{:.1} s", seconds(ended - run.started)))),
        run.reason,
    )
}

fn job_json(view: &View, state: &JobState, runs: &[RunRecord]) -> Value {
    let (schedule, next) = schedule(view);
    json!({
        "view": view.id(),
        "schedule": schedule,
        "next": next.map(instant),
        "owner": state.owner,
        "running": state.running.as_ref().map(|running| running.run.job_id(view)),
        "serving": state.completed.map(|completed| completed.run.job_id(view)),
        "as_of": state.completed.map(|completed| instant(completed.run.as_of)),
        "age_seconds": state.completed.map(|completed| seconds(age_ms(&completed.run))),
        "runs": runs.iter().map(|run| run_json(view, run)).collect::<Vec<_>>(),
    })
}

fn run_json(view: &View, run: &RunRecord) -> Value {
    let members = [
        ("job_id", json!(run.run.job_id(view))),
        ("as_of", json!(instant(run.run.as_of))),
        ("started", json!(instant(run.started))),
        ("seconds", json!(run.ended.map(|ended| seconds(ended - run.started)))),
        ("outcome", json!(run.outcome.name())),
        ("reason", json!(run.reason)),
    ];
    with_counts(members, &run.counts)
}

fn schedule(view: &View) -> (Option<String>, Option<i64>) {
    let schedule = view.batch.as_ref().and_then(|batch| batch.schedule.as_ref());
    (schedule.map(ToString::to_string), schedule.and_then(|schedule| schedule.next(now_ms())))
}

fn age_ms(run: &Run) -> i64 {
    now_ms().saturating_sub(run.as_of)
}

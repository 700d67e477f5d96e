//! `millrace jobs`: batch views, when each runs, how its last runs ended, and which keys failed.

use std::fmt::Write;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use millrace_common::clock::now_ms;
use millrace_common::config::StoreConfig;
use millrace_common::jobs::batch_views;
use millrace_common::log::job::{self, JobState, RunRecord};
use millrace_common::log::{Log, registry};
use millrace_common::names::Names;
use millrace_common::worker::DefinitionsCache;
use millrace_core::definitions::{View, format_duration};
use serde_json::{Value, json};

use super::print;

/// Runs that are shown of each view.
const SHOWN_RUNS: usize = 10;
/// Runs that one is looked for in: more than are kept.
const ALL_RUNS: usize = 10_000;

/// Shows batch views: schedule, last runs, age of what is served, and failures.
#[derive(Clone, Debug, Args)]
pub struct JobsArgs {
    /// Only this view, as `name` or `name@version`.
    #[arg(long)]
    pub view: Option<String>,

    /// The keys that this job could not write, and why; a job id is `view@version-run`.
    #[arg(long, value_name = "JOB", conflicts_with = "view")]
    pub failed: Option<String>,

    /// As one JSON object.
    #[arg(long)]
    pub json: bool,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,
}

/// Asks the log and prints what it knows.
pub async fn run(args: JobsArgs) -> anyhow::Result<()> {
    print(&told(&args).await?)
}

/// What the log knows of what was asked.
pub async fn told(args: &JobsArgs) -> anyhow::Result<String> {
    let log = Log::open(&args.stores.redis_url, Names::new(&args.stores.namespace)).await?;
    if let Some(job_id) = &args.failed {
        return failed(&log, job_id, args.json).await;
    }
    let version = registry::everywhere(&log).await?.context("no definitions; run `millrace apply`")?;
    let definitions = DefinitionsCache::new(log.clone()).get(version).await?;
    let wanted = |view: &View| args.view.as_ref().is_none_or(|name| *name == view.name || *name == view.id());
    let known: Vec<&View> = batch_views(&definitions).into_iter().map(|(_, view)| view).collect();
    let views: Vec<&View> = known.iter().copied().filter(|view| wanted(view)).collect();
    if let (Some(name), true) = (&args.view, views.is_empty()) {
        let known: Vec<String> = known.iter().map(|view| view.id()).collect();
        bail!("no batch view `{name}` is in force; there is {}", known.join(", "));
    }
    let ids: Vec<String> = views.iter().map(|view| view.id()).collect();
    let states = job::states(&log, &ids).await?;
    let (mut rows, mut text) = (Vec::new(), String::new());
    for (view, state) in views.into_iter().zip(states) {
        let runs = job::runs(&log, &view.id(), SHOWN_RUNS).await?;
        if args.json {
            rows.push(job_json(view, &state, &runs));
        } else {
            show_job(&mut text, view, &state, &runs)?;
        }
    }
    if args.json {
        writeln!(text, "{}", json!({ "jobs": rows }))?;
    }
    Ok(text)
}

async fn failed(log: &Log, job_id: &str, as_json: bool) -> anyhow::Result<String> {
    let parts = job_id.rsplit_once('-').and_then(|(view, run)| Some((view, run.parse().ok()?)));
    let Some((view, run)) = parts else { bail!("`{job_id}` is no job id; write for example household_orders@1-17") };
    let keys = job::failed_keys(log, view, run).await?;
    if keys.is_empty() {
        let runs = job::runs(log, view, ALL_RUNS).await?;
        let known = runs.iter().find(|known| known.run.number == run);
        let known =
            known.with_context(|| format!("no run `{job_id}` has ended; `millrace jobs` lists the last ones"))?;
        if known.counts.failed > 0 {
            bail!("{} keys failed; which they were is no longer kept", known.counts.failed);
        }
    }
    if as_json {
        return Ok(format!("{}\n", json!({ "job_id": job_id, "failed": keys })));
    }
    Ok(keys.iter().map(|(key, reason)| format!("{key}: {reason}\n")).collect())
}

fn show_job(text: &mut String, view: &View, state: &JobState, runs: &[RunRecord]) -> std::fmt::Result {
    let (schedule, next) = schedule(view);
    writeln!(text, "{}  {}  next {}", view.id(), schedule.unwrap_or("unscheduled".into()), or_dash(next.map(instant)))?;
    if let Some(running) = &state.running {
        let owner = state.owner.as_deref().unwrap_or("nobody: it died");
        writeln!(text, "  running   {} since {} by {owner}", running.run.job_id(view), instant(running.since))?;
    }
    let age = state.completed.map(|completed| format_duration(age_ms(&completed.run) / 1_000 * 1_000));
    writeln!(text, "  serving   {}, {} old", or_dash(state.completed.map(|c| c.run.job_id(view))), or_dash(age))?;
    for run in runs {
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
        )?;
    }
    Ok(())
}

fn job_json(view: &View, state: &JobState, runs: &[RunRecord]) -> Value {
    let (schedule, next) = schedule(view);
    let run = |record: &RunRecord| {
        json!({
            "job_id": record.run.job_id(view),
            "as_of": instant(record.run.as_of),
            "started": instant(record.started),
            "seconds": record.ended.map(|ended| seconds(ended - record.started)),
            "outcome": record.outcome.name(),
            "rows": record.counts.rows,
            "written": record.counts.written,
            "already": record.counts.already,
            "failed": record.counts.failed,
            "reason": record.reason,
        })
    };
    json!({
        "view": view.id(),
        "schedule": schedule,
        "next": next.map(instant),
        "owner": state.owner,
        "running": state.running.as_ref().map(|running| running.run.job_id(view)),
        "serving": state.completed.map(|completed| completed.run.job_id(view)),
        "as_of": state.completed.map(|completed| instant(completed.run.as_of)),
        "age_seconds": state.completed.map(|completed| seconds(age_ms(&completed.run))),
        "runs": runs.iter().map(run).collect::<Vec<_>>(),
    })
}

fn schedule(view: &View) -> (Option<String>, Option<i64>) {
    let schedule = view.batch.as_ref().and_then(|batch| batch.schedule.as_ref());
    (schedule.map(ToString::to_string), schedule.and_then(|schedule| schedule.next(now_ms())))
}

fn age_ms(run: &millrace_core::batch::Run) -> i64 {
    now_ms().saturating_sub(run.as_of)
}

#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// An instant as text, to the millisecond.
pub(super) fn instant(ms: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(ms);
    time.map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

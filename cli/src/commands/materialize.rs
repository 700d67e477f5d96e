//! `millrace materialize`: runs a batch view now, and shows how far it is.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use millrace_common::clock::now_ms;
use millrace_common::config::{StoreConfig, parse_duration};
use millrace_common::jobs::{Job, Progress, Report, Stores, batch_views, run};
use millrace_common::log::job::{self, Outcome};
use millrace_common::log::registry;
use millrace_common::process::{Readiness, shutdown_on_signal};
use millrace_common::worker::DefinitionsCache;
use millrace_core::definitions::{Definitions, View};
use millrace_core::sql::batch_count;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::jobs::instant;
use super::print;

const REDRAW: Duration = Duration::from_millis(200);
/// Of 200 ms each: a line every 5 s.
const REDRAWS_PER_LINE: u32 = 25;
/// How long counting the rows may take; without it there is no time left to show.
const COUNTING: Duration = Duration::from_secs(60);

/// Computes a batch view and writes it into its online store. Readers go on with the values of the run before until
/// each is replaced. Ends with an error if anything could not be written.
#[derive(Clone, Debug, Args)]
pub struct MaterializeArgs {
    /// The view, as `name` or `name@version`.
    pub view: String,

    /// The instant that the values shall be of: RFC 3339 or epoch ms. By default the schedule's latest tick, or now for
    /// a view without one.
    #[arg(long, value_parser = parse_instant, conflicts_with = "every")]
    pub as_of: Option<i64>,

    /// Do it again and again, so often, each time as of then.
    #[arg(long, value_parser = parse_duration)]
    pub every: Option<Duration>,

    /// Print each run as a JSON object.
    #[arg(long)]
    pub json: bool,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,
}

/// Runs once, or until Ctrl-C.
pub async fn run_command(args: MaterializeArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let Some(stores) = Stores::open(&args.stores, &Readiness::default(), &shutdown).await? else {
        bail!("told to stop");
    };
    let cache = DefinitionsCache::new(stores.log.clone());
    let Some(every) = args.every else { return once(&args, &stores, &cache, args.as_of, &shutdown).await };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = once(&args, &stores, &cache, Some(now_ms()), &shutdown).await {
            eprintln!("{error:#}");
        }
    }
    Ok(())
}

async fn once(
    args: &MaterializeArgs,
    stores: &Stores,
    cache: &DefinitionsCache,
    as_of: Option<i64>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let version = registry::everywhere(&stores.log).await?.context("no definitions; run `millrace apply`")?;
    let definitions = cache.get(version).await?;
    let view = find(&definitions, &args.view)?;
    let job = Job { view, as_of: as_of.unwrap_or_else(|| due(&definitions.views[view])), definitions };
    let progress = Arc::new(Progress::default());
    let (expecting, watching) = (expect(stores, &job, &progress), watch(&progress, &args.view));
    let report = tokio::select! {
        report = run(stores, &job, &progress, shutdown) => report?,
        () = async { tokio::join!(expecting, watching); } => bail!("the progress ended before the run"),
    };
    say(args.json, &report)?;
    if report.outcome != Outcome::Succeeded {
        bail!("{} {}: {}", report.job_id, report.outcome.name(), report.reason);
    }
    Ok(())
}

fn find(definitions: &Definitions, reference: &str) -> anyhow::Result<usize> {
    let (name, version) = match reference.split_once('@') {
        Some((name, version)) => (name, Some(version.parse().context("a version is a number")?)),
        None => (reference, None),
    };
    let known = batch_views(definitions);
    let found = definitions.view(name, version).filter(|(_, view)| view.batch.is_some());
    found.map(|(index, _)| index).with_context(|| {
        let known: Vec<String> = known.iter().map(|(_, view)| view.id()).collect();
        format!("no batch view `{reference}` is in force; there is {}", known.join(", "))
    })
}

fn due(view: &View) -> i64 {
    let now = now_ms();
    let schedule = view.batch.as_ref().and_then(|batch| batch.schedule.as_ref());
    schedule.and_then(|schedule| schedule.latest(now)).unwrap_or(now)
}

/// As many rows as the run before, or as a count of the query says.
async fn expect(stores: &Stores, job: &Job, progress: &Progress) {
    let view = &job.definitions.views[job.view];
    let states = job::states(&stores.log, &[view.id()]).await.unwrap_or_default();
    match (states.first().and_then(|state| state.completed), &view.batch) {
        (Some(completed), _) => progress.expect(completed.rows),
        (None, Some(batch)) => {
            let count = batch_count(&batch.query, job.as_of);
            progress.expect(stores.clickhouse.batch_count(&count, COUNTING).await.unwrap_or(0));
        }
        (None, None) => {}
    }
}

/// A bar on a terminal, a plain line every few seconds elsewhere. Never ends by itself.
async fn watch(progress: &Progress, view: &str) {
    let plain = !std::io::stderr().is_terminal();
    let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} rows  {per_sec}  {eta} left  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut ticks = tokio::time::interval(REDRAW);
    let mut redraws = 0;
    loop {
        ticks.tick().await;
        let (counts, waiting) = (progress.counts(), progress.waiting_for());
        if let Some(expected) = progress.expected() {
            bar.set_length(expected.max(counts.rows));
        }
        bar.set_position(counts.rows);
        let mut message = waiting.map(|what| format!("waiting for {what}")).unwrap_or_default();
        if counts.failed > 0 {
            message = format!("{} failed  {message}", counts.failed);
        }
        redraws += 1;
        if plain && redraws % REDRAWS_PER_LINE == 0 {
            let total = bar.length().map_or("?".to_owned(), |total| HumanCount(total).to_string());
            let (rows, left) = (HumanCount(counts.rows), HumanDuration(bar.eta()));
            eprintln!("{view}: {rows}/{total} rows, {:.0}/s, {left} left {message}", bar.per_sec());
        }
        bar.set_message(message);
    }
}

fn say(as_json: bool, report: &Report) -> anyhow::Result<()> {
    if as_json {
        return print(&format!("{}\n", report_json(report)));
    }
    for (key, reason) in report.failed_keys.iter().take(10) {
        eprintln!("failed: {key}: {reason}");
    }
    let seconds = report.duration.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = report.counts.rows as f64 / seconds.max(0.001);
    print(&format!(
        "{} {} as of {}: {} rows, {} written, {} there already, {} failed in {seconds:.1} s ({rate:.0}/s)\n",
        report.job_id,
        report.outcome.name(),
        instant(report.run.as_of),
        report.counts.rows,
        report.counts.written,
        report.counts.already,
        report.counts.failed,
    ))
}

fn report_json(report: &Report) -> Value {
    json!({
        "job_id": report.job_id,
        "run": report.run.number,
        "as_of": instant(report.run.as_of),
        "outcome": report.outcome.name(),
        "rows": report.counts.rows,
        "written": report.counts.written,
        "already": report.counts.already,
        "failed": report.counts.failed,
        "reason": report.reason,
        "seconds": report.duration.as_secs_f64(),
    })
}

fn parse_instant(text: &str) -> Result<i64, String> {
    millrace_core::instant::parse(text)
        .ok_or_else(|| "write for example 2026-01-31T00:00:00Z, or epoch milliseconds".to_owned())
}

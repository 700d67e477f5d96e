//! `millrace materialize`: runs a batch view now, and shows how far it is.

mod progress;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use millrace_common::clock::now_ms;
use millrace_common::config::{StoreConfig, parse_duration};
use millrace_common::definitions::DefinitionsFollower;
use millrace_common::jobs::{self, Job, JobStores, RunProgress, RunReport};
use millrace_common::log::job::RunOutcome;
use millrace_common::process::{Readiness, shutdown_on_signal};
use millrace_core::definitions::{Definitions, VersionedName, View};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::definitions::{in_force, unknown_batch_view};
use super::output::{instant, print, with_counts};

/// How many of the keys that failed are printed.
const SHOWN_FAILED: usize = 10;

/// Computes a batch view and writes it into its online store. Readers see the values of the previous run until each is
/// replaced. Ends with an error if a key could not be written.
#[derive(Clone, Debug, Args)]
pub struct MaterializeArgs {
    /// The view, as `name` or `name@version`.
    pub view: String,

    /// Compute the values as of this instant: RFC 3339 or epoch ms. The default is the schedule's latest tick, or now for
    /// a view without a schedule.
    #[arg(long, value_parser = parse_instant, conflicts_with = "every")]
    pub as_of: Option<i64>,

    /// Run again and again with this interval, each time as of then.
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
pub async fn run(args: MaterializeArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let Some(stores) = JobStores::open(&args.stores, &Readiness::default(), &shutdown).await? else {
        bail!("stopped before the stores were available");
    };
    let follower = DefinitionsFollower::new(stores.log.clone());
    let Some(every) = args.every else { return once(&args, &stores, &follower, args.as_of, &shutdown).await };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = once(&args, &stores, &follower, Some(now_ms()), &shutdown).await {
            eprintln!("{error:#}");
        }
    }
    Ok(())
}

async fn once(
    args: &MaterializeArgs,
    stores: &JobStores,
    follower: &DefinitionsFollower,
    as_of: Option<i64>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let definitions = in_force(follower).await?;
    let view = find(&definitions, &args.view)?;
    let job = Job { view, as_of: as_of.unwrap_or_else(|| due(&definitions.views[view])), definitions };
    let progress = Arc::new(RunProgress::default());
    let watching = async {
        tokio::join!(progress::expect_rows(stores, &job, &progress), progress::show(&progress, &args.view));
    };
    let report = tokio::select! {
        report = jobs::run(stores, &job, &progress, shutdown) => report?,
        () = watching => bail!("the progress ended before the run"),
    };
    print_report(args.json, &report)?;
    if report.outcome != RunOutcome::Succeeded {
        bail!("{} {}: {}", report.job_id, report.outcome.name(), report.reason);
    }
    Ok(())
}

fn find(definitions: &Definitions, reference: &str) -> anyhow::Result<usize> {
    let named = VersionedName::parse(reference);
    let VersionedName { name, version } =
        named.with_context(|| format!("`{reference}` has no valid version; write for example `name@1`"))?;
    let found = definitions.view(name, version).filter(|(_, view)| view.batch.is_some());
    found.map(|(index, _)| index).ok_or_else(|| unknown_batch_view(definitions, reference))
}

fn due(view: &View) -> i64 {
    let now = now_ms();
    let schedule = view.batch.as_ref().and_then(|batch| batch.schedule.as_ref());
    schedule.and_then(|schedule| schedule.latest(now)).unwrap_or(now)
}

fn print_report(as_json: bool, report: &RunReport) -> anyhow::Result<()> {
    if as_json {
        return print(&format!("{}\n", report_json(report)));
    }
    for (key, reason) in report.failed_keys.iter().take(SHOWN_FAILED) {
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

fn report_json(report: &RunReport) -> Value {
    let members = [
        ("job_id", json!(report.job_id)),
        ("run", json!(report.run.number)),
        ("as_of", json!(instant(report.run.as_of))),
        ("outcome", json!(report.outcome.name())),
        ("reason", json!(report.reason)),
        ("seconds", json!(report.duration.as_secs_f64())),
    ];
    with_counts(members, &report.counts)
}

fn parse_instant(text: &str) -> Result<i64, String> {
    millrace_core::instant::parse(text)
        .ok_or_else(|| "write for example 2026-01-31T00:00:00Z, or epoch milliseconds".to_owned())
}

//! One run: acquires the job's lease, has the rows written, and records how it ended. While the log is unavailable, a run
//! waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_core::batch::Run;
use millrace_core::definitions::{BatchQuery, Store, View, format_duration};
use tokio_util::sync::CancellationToken;

use super::error::JobError;
use super::job::{Job, RunReport};
use super::patience::{insist, patient};
use super::progress::RunProgress;
use super::query::{RowsEnded, materialize};
use super::stores::JobStores;
use crate::clock::now_ms;
use crate::config::process_name;
use crate::log::job::{self, RunEnding, RunOutcome};
use crate::log::{Acquisition, Lease, LeaseHolder, LeaseToken, OnExpiry};

/// How long a lease lives without renewal: how long a killed run holds up the next.
pub(super) const LEASE: Duration = Duration::from_secs(5);

/// How far this machine's clock may be ahead of Redis's, in ms, which says when a run ended. As in `migrations/redis`.
const CLOCKS_APART: i64 = 60_000;

/// Runs a batch view until its rows are written, `stop`, or another process has taken over. A run that ends with a report
/// is recorded.
pub async fn run(
    stores: &JobStores,
    job: &Job,
    progress: &Arc<RunProgress>,
    stop: &CancellationToken,
) -> Result<RunReport, JobError> {
    let view = &job.definitions.views[job.view];
    let batch = view.batch.as_ref().ok_or_else(|| JobError::Invalid(format!("`{}` is not a batch view", view.id())))?;
    if job.as_of <= 0 {
        return Err(JobError::Invalid("as_of lies before 1970".to_owned()));
    }
    let now = now_ms().min(patient(progress, stop, || job::now(&stores.log)).await? + CLOCKS_APART);
    if job.as_of > now {
        let ahead = format_duration(((job.as_of - now) / 1_000).max(1) * 1_000);
        return Err(JobError::Invalid(format!("as_of lies {ahead} in the future; write now or an earlier instant")));
    }
    let started = Instant::now();
    let owner = process_name();
    let id = view.id();
    let key = stores.log.names().job(&id);
    let acquire = || Lease::acquire(&stores.log, key.clone(), &owner, LEASE, OnExpiry::Renewed);
    let lease = match patient(progress, stop, acquire).await? {
        Acquisition::Acquired(lease) => lease,
        Acquisition::Held(LeaseHolder { owner, left }) => return Err(JobError::Held { view: id, owner, left }),
    };
    let number = u32::try_from(lease.token().epoch).map_err(|_| JobError::Invalid("too many runs".to_owned()))?;
    let run = Run { number, as_of: job.as_of };
    let fenced = || JobError::Fenced { job_id: run.job_id(view) };
    if !patient(progress, stop, || job::begin(&stores.log, &id, lease.token(), job.as_of)).await? {
        return Err(fenced());
    }
    tracing::info!(job = run.job_id(view), as_of = run.as_of, "run begun");
    let ended = tokio::select! {
        biased;
        () = lease.lost().cancelled() => Err(RowsEnded::Fenced),
        ended = write_rows(stores, job, batch, run, progress, stop) => ended,
    };
    let counts = progress.counts();
    let (outcome, reason) = match ended {
        Err(RowsEnded::Fenced) => return Err(fenced()),
        Err(RowsEnded::Told) => (RunOutcome::Interrupted, "told to stop".to_owned()),
        Err(RowsEnded::Failed(reason)) => (RunOutcome::Failed, reason),
        Ok(()) if counts.failed > 0 => (RunOutcome::Failed, format!("{} rows could not be written", counts.failed)),
        Ok(()) => (RunOutcome::Succeeded, String::new()),
    };
    let failed_keys = progress.failed_keys();
    let report =
        RunReport { run, job_id: run.job_id(view), outcome, counts, reason, failed_keys, duration: started.elapsed() };
    record(stores, view, lease.token(), &report, progress, stop).await?;
    give_back(&lease).await;
    Ok(report)
}

async fn write_rows(
    stores: &JobStores,
    job: &Job,
    batch: &BatchQuery,
    run: Run,
    progress: &Arc<RunProgress>,
    stop: &CancellationToken,
) -> Result<(), RowsEnded> {
    match job.definitions.views[job.view].store {
        Store::Redis => materialize(stores, stores.slots(), job, batch, run, progress, stop).await,
        Store::MongoDb => materialize(stores, stores.profiles.clone(), job, batch, run, progress, stop).await,
        Store::ClickHouse => Err(RowsEnded::Failed("a batch view is stored in redis or mongodb".to_owned())),
    }
}

/// Gives a lease back. Where that fails, it runs out.
pub(super) async fn give_back(lease: &Lease) {
    if let Err(error) = lease.release().await {
        tracing::debug!(%error, "lease not given back");
    }
}

async fn record(
    stores: &JobStores,
    view: &View,
    token: &LeaseToken,
    report: &RunReport,
    progress: &RunProgress,
    stop: &CancellationToken,
) -> Result<(), JobError> {
    let RunReport { run, outcome, counts, reason, failed_keys, .. } = report;
    let ending = RunEnding { outcome: *outcome, counts, reason, failed_keys };
    let id = view.id();
    let finish = || job::finish(&stores.log, &id, token, run.number, &ending);
    if !insist(progress, stop, finish).await? {
        return Err(JobError::Fenced { job_id: report.job_id.clone() });
    }
    let labels = [("view", id.clone()), ("outcome", outcome.name().to_owned())];
    metrics::counter!("millrace_batch_runs_total", &labels).increment(1);
    metrics::counter!("millrace_batch_failed_keys_total", "view" => id).increment(counts.failed);
    let (outcome, seconds) = (outcome.name(), report.duration.as_secs_f64());
    tracing::info!(job = report.job_id, outcome, rows = counts.rows, failed = counts.failed, seconds, "run ended");
    Ok(())
}

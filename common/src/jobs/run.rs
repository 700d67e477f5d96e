//! One run: take the job's lease, run the query, write what it returns, record how it ended. A store that is away is
//! waited for; a query whose answer broke off is run again within the run, whose puts replace those of the pass before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_core::batch::Run;
use millrace_core::definitions::{BatchQuery, Definitions, Store, View, format_duration};
use millrace_core::sql::{BatchColumns, SqlQuery, batch_columns, batch_rows};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::write::{IN_FLIGHT, Unwritten, Writer};
use super::{BACK_OFF, LEASE, Progress, Stores};
use crate::backoff::BackOff;
use crate::clock::now_ms;
use crate::config::process_name;
use crate::log::job::{self, Counts, Ending, Outcome};
use crate::log::{Acquisition, Lease, LeaseHolder, LeaseToken, LogError, OnExpiry};
use crate::stores::clickhouse::ClickHouseError;

/// Text of rows that is written at once into Redis: some thousand rows, a few milliseconds of work.
const REDIS_CHUNK_BYTES: usize = 128 * 1024;
/// The same for MongoDB, which takes a hundredth as many a second: a chunk must be done well within its timeout.
const MONGODB_CHUNK_BYTES: usize = 32 * 1024;
/// How often a query that a busy server refuses is run without getting any further than before; one that is not answered
/// is run until it is.
const REFUSALS: u32 = 5;

/// How far our clock may be ahead of Redis's, which says when runs ended: as in `migrations/redis`.
const CLOCKS_APART: i64 = 60_000;

/// What is to be run.
#[derive(Clone)]
pub struct Job {
    /// The definitions in force.
    pub definitions: Arc<Definitions>,
    /// Index of the view.
    pub view: usize,
    /// The instant that its values shall be of, epoch ms.
    pub as_of: i64,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which it was.
    pub run: Run,
    /// Its name for people.
    pub job_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it did.
    pub counts: Counts,
    /// Why it did not succeed; empty where it did.
    pub reason: String,
    /// The first keys that could not be written, and why.
    pub failed_keys: Vec<(String, String)>,
    /// How long it took.
    pub duration: Duration,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// No batch view, or an instant that no run can be of.
    #[error("{0}")]
    Invalid(String),
    /// Another process runs it.
    #[error("view `{view}` is being materialized by {owner}; its lease runs out in {left:?} unless it is renewed")]
    Held {
        /// The view.
        view: String,
        /// Who.
        owner: String,
        /// For how long at least.
        left: Duration,
    },
    /// Another process has taken over.
    #[error("{job_id} was stopped: another process has taken over, and what it writes counts")]
    Fenced {
        /// The run.
        job_id: String,
    },
    /// Told to stop before anything had begun, or while the log was away.
    #[error("told to stop")]
    Stopped,
    /// The log refused.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// How the rows of a run came to an end.
enum Ended {
    Failed(String),
    Told,
    Fenced,
}

impl From<Unwritten> for Ended {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Fenced => Self::Fenced,
            Unwritten::Stopped => Self::Told,
            Unwritten::Failed(reason) => Self::Failed(reason),
        }
    }
}

/// Why a pass over the rows did.
enum Broken {
    Query(ClickHouseError),
    Ended(Ended),
}

/// Runs a batch view until its rows are written, `stop`, or another has taken over. Anything that ends with a report is
/// recorded.
pub async fn run(
    stores: &Stores,
    job: &Job,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Report, JobError> {
    let view = &job.definitions.views[job.view];
    let batch = view.batch.as_ref().ok_or_else(|| JobError::Invalid(format!("`{}` is no batch view", view.id())))?;
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
    let rows = materialize(stores, job, batch, run, progress, stop);
    let ended = tokio::select! {
        biased;
        () = lease.lost().cancelled() => Err(Ended::Fenced),
        ended = rows => ended,
    };
    let counts = progress.counts();
    let (outcome, reason) = match ended {
        Err(Ended::Fenced) => return Err(fenced()),
        Err(Ended::Told) => (Outcome::Interrupted, "told to stop".to_owned()),
        Err(Ended::Failed(reason)) => (Outcome::Failed, reason),
        Ok(()) if counts.failed > 0 => (Outcome::Failed, format!("{} rows could not be written", counts.failed)),
        Ok(()) => (Outcome::Succeeded, String::new()),
    };
    let failed_keys = progress.failed_keys();
    let report =
        Report { run, job_id: run.job_id(view), outcome, counts, reason, failed_keys, duration: started.elapsed() };
    record(stores, view, lease.token(), &report, progress, stop).await?;
    give_back(&lease).await;
    Ok(report)
}

/// Gives a lease back; where that fails, it runs out.
pub(super) async fn give_back(lease: &Lease) {
    if let Err(error) = lease.release().await {
        tracing::debug!(%error, "lease not given back");
    }
}

async fn record(
    stores: &Stores,
    view: &View,
    token: &LeaseToken,
    report: &Report,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<(), JobError> {
    let Report { run, outcome, counts, reason, failed_keys, .. } = report;
    let ending = Ending { outcome: *outcome, counts, reason, failed_keys };
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

/// Asks the columns, then runs the query until one pass over its rows was whole.
async fn materialize(
    stores: &Stores,
    job: &Job,
    batch: &BatchQuery,
    run: Run,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<(), Ended> {
    let view = &job.definitions.views[job.view];
    let mut trouble = Trouble { progress, stop, back_off: BACK_OFF, refused: 0, furthest: 0 };
    let describe = batch_columns(&batch.query, run.as_of);
    let found = loop {
        match stop.run_until_cancelled(stores.clickhouse.batch_columns(&describe)).await.ok_or(Ended::Told)? {
            Ok(found) => break found,
            Err(error) => trouble.wait(error).await?,
        }
    };
    let columns = BatchColumns::check(&job.definitions, view, &found).map_err(Ended::Failed)?;
    let writer = Arc::new(Writer {
        definitions: job.definitions.clone(),
        view: job.view,
        columns,
        run,
        names: stores.log.names().clone(),
        features: stores.features.clone(),
        profiles: stores.profiles.clone(),
        progress: progress.clone(),
        stop: stop.clone(),
        pass: AtomicU64::new(0),
    });
    writer.ensure().await?;
    let query = batch_rows(&job.definitions, view, &batch.query, columns, run.as_of);
    let mut writes = JoinSet::new();
    loop {
        let passed = pass(stores, &query, &writer, &mut writes, stop).await;
        // What is being written when a pass breaks off is dropped: it will be sent again.
        writes.shutdown().await;
        match passed {
            Ok(()) => return Ok(()),
            Err(Broken::Ended(ended)) => return Err(ended),
            Err(Broken::Query(error)) => trouble.wait(error).await?,
        }
        writer.pass.fetch_add(1, Ordering::Relaxed);
        progress.again();
    }
}

/// All rows of the query, once.
async fn pass(
    stores: &Stores,
    query: &SqlQuery,
    writer: &Arc<Writer>,
    writes: &mut JoinSet<Result<(), Unwritten>>,
    stop: &CancellationToken,
) -> Result<(), Broken> {
    let mut rows = stores.clickhouse.batch_rows(query).map_err(Broken::Query)?;
    let chunk = if writer.view().store == Store::MongoDb { MONGODB_CHUNK_BYTES } else { REDIS_CHUNK_BYTES };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Broken::Ended(Ended::Told)),
            Some(written) = writes.join_next() => settled(written)?,
            lines = rows.next(chunk), if writes.len() < IN_FLIGHT => match lines.map_err(Broken::Query)? {
                None => break,
                Some(lines) => {
                    writer.progress.goes_on();
                    let writer = writer.clone();
                    writes.spawn(async move { writer.write(&lines).await });
                }
            },
        }
    }
    while let Some(written) = writes.join_next().await {
        settled(written)?;
    }
    Ok(())
}

fn settled(written: Result<Result<(), Unwritten>, tokio::task::JoinError>) -> Result<(), Broken> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(unwritten)) => Err(Broken::Ended(unwritten.into())),
        Err(error) => Err(Broken::Ended(Ended::Failed(format!("a chunk was not written: {error}")))),
    }
}

/// What to do about a query that was not answered.
struct Trouble<'r> {
    progress: &'r Progress,
    stop: &'r CancellationToken,
    back_off: BackOff,
    refused: u32,
    /// The most rows that a pass has had: a query that breaks off again and again at the same row has an end.
    furthest: u64,
}

impl Trouble<'_> {
    /// Waits where trying again may help.
    async fn wait(&mut self, error: ClickHouseError) -> Result<(), Ended> {
        let rows = self.progress.counts().rows;
        if rows > self.furthest {
            (self.furthest, self.refused, self.back_off) = (rows, 0, BACK_OFF);
        }
        let refused = matches!(error, ClickHouseError::Refused { .. });
        self.refused += u32::from(refused);
        if !error.is_passing() || self.refused >= REFUSALS {
            return Err(Ended::Failed(error.to_string()));
        }
        self.progress.wait_for(format!("clickhouse: {error}"));
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(self.back_off.next_delay())).await;
        slept.ok_or(Ended::Told)
    }
}

/// Asks the log until it answers, or `stop`.
async fn patient<T, F: Future<Output = Result<T, LogError>>>(
    progress: &Progress,
    stop: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<T, JobError> {
    let mut back_off = BACK_OFF;
    loop {
        match stop.run_until_cancelled(ask()).await.ok_or(JobError::Stopped)? {
            Ok(answer) => {
                progress.goes_on();
                return Ok(answer);
            }
            Err(error) if error.is_transient() => progress.wait_for(format!("the log: {error}")),
            Err(error) => return Err(error.into()),
        }
        stop.run_until_cancelled(tokio::time::sleep(back_off.next_delay())).await.ok_or(JobError::Stopped)?;
    }
}

/// The same for what must be said, and is said once even by who was told to stop: rows are there already.
async fn insist<T, F: Future<Output = Result<T, LogError>>>(
    progress: &Progress,
    stop: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<T, JobError> {
    match ask().await {
        Err(error) if error.is_transient() => patient(progress, stop, ask).await,
        answer => Ok(answer?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refusals_count_until_a_pass_gets_further_than_any_before() {
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        let mut trouble = Trouble { progress: &progress, stop: &stop, back_off: BACK_OFF, refused: 0, furthest: 0 };
        let busy = || ClickHouseError::Refused { code: 241, message: "memory".to_owned() };
        for _ in 0..2 * REFUSALS {
            progress.add(100, 100, 0);
            assert!(trouble.wait(busy()).await.is_ok(), "each pass got further");
        }
        for _ in 2..REFUSALS {
            progress.again();
            progress.add(100, 0, 100);
            assert!(trouble.wait(busy()).await.is_ok());
        }
        assert!(matches!(trouble.wait(busy()).await, Err(Ended::Failed(reason)) if reason.contains("memory")));
    }

    #[tokio::test]
    async fn who_was_told_to_stop_in_the_last_moment_still_says_how_it_ended() {
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        stop.cancel();
        assert_eq!(insist(&progress, &stop, async || Ok(7)).await.unwrap(), 7);
        let asked = std::cell::Cell::new(0);
        let away = async || {
            asked.set(asked.get() + 1);
            let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
            Err::<(), _>(LogError::Redis { doing: "record a run", source })
        };
        assert!(matches!(insist(&progress, &stop, away).await, Err(JobError::Stopped)));
        assert_eq!(asked.get(), 1, "and does not wait for a log that is away");
    }
}

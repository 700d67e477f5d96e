//! The rows of a run: its query is run until one pass over the rows was whole, and each chunk of rows is handed to the
//! writer. A pass that breaks off is followed by another one, whose puts replace those of the pass before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_core::batch::Run;
use millrace_core::definitions::{BatchQuery, Store};
use millrace_core::sql::{BatchColumns, SqlQuery, batch_columns, batch_rows};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::job::Job;
use super::patience::BACK_OFF;
use super::progress::RunProgress;
use super::stores::JobStores;
use super::write::{IN_FLIGHT, RowWriter, Unwritten};
use crate::backoff::BackOff;
use crate::stores::clickhouse::ClickHouseError;
use crate::stores::online::OnlineStore;

/// The attempts at a query that a busy server refuses without getting any further than before. A query without an answer is
/// run until it has one.
const REFUSALS: u32 = 5;

/// Why the rows of a run were not all written.
pub(super) enum RowsEnded {
    /// For this reason; the same run would fail again.
    Failed(String),
    /// Told to stop.
    Told,
    /// Another process has taken over.
    Fenced,
}

impl From<Unwritten> for RowsEnded {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Fenced => Self::Fenced,
            Unwritten::Stopped => Self::Told,
            Unwritten::Failed(reason) => Self::Failed(reason),
        }
    }
}

/// Why a pass over the rows broke off.
enum PassBroken {
    Query(ClickHouseError),
    Ended(RowsEnded),
}

/// Writes the rows of a run into its view's store: asks for the columns, then runs the query until one pass over its rows
/// was whole.
pub(super) async fn materialize<S: OnlineStore>(
    stores: &JobStores,
    store: S,
    job: &Job,
    batch: &BatchQuery,
    run: Run,
    progress: &Arc<RunProgress>,
    stop: &CancellationToken,
) -> Result<(), RowsEnded> {
    let view = &job.definitions.views[job.view];
    let mut retries = QueryRetries { progress, stop, back_off: BACK_OFF, refused: 0, furthest: 0 };
    let describe = batch_columns(&batch.query, run.as_of);
    let found = loop {
        match stop.run_until_cancelled(stores.clickhouse.batch_columns(&describe)).await.ok_or(RowsEnded::Told)? {
            Ok(found) => break found,
            Err(error) => retries.wait(error).await?,
        }
    };
    let columns = BatchColumns::check(&job.definitions, view, &found).map_err(RowsEnded::Failed)?;
    let writer = Arc::new(RowWriter {
        definitions: job.definitions.clone(),
        view: job.view,
        columns,
        run,
        store,
        progress: progress.clone(),
        stop: stop.clone(),
        pass: AtomicU64::new(0),
    });
    writer.prepare().await?;
    let query = batch_rows(&job.definitions, view, &batch.query, columns, run.as_of);
    let mut writes = JoinSet::new();
    loop {
        let passed = pass(stores, &query, &writer, &mut writes, stop).await;
        // Chunks that are in flight when a pass breaks off are dropped: they will be sent again.
        writes.shutdown().await;
        match passed {
            Ok(()) => return Ok(()),
            Err(PassBroken::Ended(ended)) => return Err(ended),
            Err(PassBroken::Query(error)) => retries.wait(error).await?,
        }
        writer.pass.fetch_add(1, Ordering::Relaxed);
        progress.again();
    }
}

/// All rows of the query, once.
async fn pass<S: OnlineStore>(
    stores: &JobStores,
    query: &SqlQuery,
    writer: &Arc<RowWriter<S>>,
    writes: &mut JoinSet<Result<(), Unwritten>>,
    stop: &CancellationToken,
) -> Result<(), PassBroken> {
    let mut rows = stores.clickhouse.batch_rows(query).map_err(PassBroken::Query)?;
    let chunk = chunk_bytes(S::STORE);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(PassBroken::Ended(RowsEnded::Told)),
            Some(written) = writes.join_next() => settled(written)?,
            lines = rows.next(chunk), if writes.len() < IN_FLIGHT => match lines.map_err(PassBroken::Query)? {
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

/// The text of rows that is written at once. Redis takes a few milliseconds for some thousand rows. MongoDB takes a
/// hundredth as many a second, and a chunk must be done well within its timeout.
fn chunk_bytes(store: Store) -> usize {
    match store {
        Store::Redis => 128 * 1024,
        Store::MongoDb | Store::ClickHouse => 32 * 1024,
    }
}

fn settled(written: Result<Result<(), Unwritten>, tokio::task::JoinError>) -> Result<(), PassBroken> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(unwritten)) => Err(PassBroken::Ended(unwritten.into())),
        Err(error) => Err(PassBroken::Ended(RowsEnded::Failed(format!("a chunk was not written: {error}")))),
    }
}

/// Decides whether a query that was not answered is run again.
struct QueryRetries<'r> {
    progress: &'r RunProgress,
    stop: &'r CancellationToken,
    back_off: BackOff,
    refused: u32,
    /// The most rows that a pass has had. It gives a query that always breaks off at the same row an end.
    furthest: u64,
}

impl QueryRetries<'_> {
    /// Waits before the next attempt, or ends the run where another attempt cannot help.
    async fn wait(&mut self, error: ClickHouseError) -> Result<(), RowsEnded> {
        let rows = self.progress.counts().rows;
        if rows > self.furthest {
            (self.furthest, self.refused, self.back_off) = (rows, 0, BACK_OFF);
        }
        let refused = matches!(error, ClickHouseError::Refused { .. });
        self.refused += u32::from(refused);
        if !error.is_passing() || self.refused >= REFUSALS {
            return Err(RowsEnded::Failed(error.to_string()));
        }
        self.progress.wait_for(format!("clickhouse: {error}"));
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(self.back_off.next_delay())).await;
        slept.ok_or(RowsEnded::Told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refusals_count_until_a_pass_gets_further_than_any_before() {
        let (progress, stop) = (RunProgress::default(), CancellationToken::new());
        let mut retries =
            QueryRetries { progress: &progress, stop: &stop, back_off: BACK_OFF, refused: 0, furthest: 0 };
        let busy = || ClickHouseError::Refused { code: 241, message: "memory".to_owned() };
        for _ in 0..2 * REFUSALS {
            progress.add(100, 100, 0);
            assert!(retries.wait(busy()).await.is_ok(), "each pass got further");
        }
        for _ in 2..REFUSALS {
            progress.again();
            progress.add(100, 0, 100);
            assert!(retries.wait(busy()).await.is_ok());
        }
        assert!(matches!(retries.wait(busy()).await, Err(RowsEnded::Failed(reason)) if reason.contains("memory")));
    }
}

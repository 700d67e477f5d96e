//! Inserts blocks, whatever became of them before. A block whose outcome is not known is sent again under the same token.
//! Then its range is read back, and the rows that are missing are sent as the next attempt.

use millrace_common::log::DeadLetter;
use millrace_common::stores::clickhouse::{ClickHouseError, Fault, Layout, Rows};
use millrace_common::worker::{Fence, SinkError};
use millrace_core::event::Event;
use millrace_core::position::Position;

use crate::blocks::Block;
use crate::manifest::Manifest;
use crate::sink::{ClickHouseSink, InsertFailure, SuspectRange, unavailable};

impl ClickHouseSink {
    /// Inserts one block, whatever became of it before. Returns the rows that were left out.
    pub(crate) async fn place<F: Fence>(
        &mut self,
        layout: &Layout,
        block: Block<'_>,
        fence: &F,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        if block.events.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rows(layout, block.events);
        let suspect = self.suspect.as_ref().filter(|suspect| suspect.upto > block.after);
        let Some(suspect) = suspect else {
            return self.send_or_halve(layout, block, rows, 0, fence).await;
        };
        let mut attempt = suspect.attempt;
        let manifest = Manifest::new(block.after, block.upto, &rows, attempt);
        if suspect.manifest.as_ref().is_some_and(|sent| sent.names(&manifest)) {
            // The same block again: it arrives now, or is left out because it arrived before.
            match self.send(layout, &manifest, rows.clone(), fence).await? {
                Ok(()) | Err(InsertFailure { fault: Fault::Row, .. }) => {}
                Err(failure) => return Err(self.unknown(block, manifest, failure)),
            }
        }
        attempt += 1;
        let dead = self.send_missing(layout, block, attempt, fence).await?;
        let token = format!("{}:{}", self.partition, block.upto);
        self.store.settle_daily(self.partition, &rows.days(), &token).await.map_err(|error| unavailable(&error))?;
        if self.suspect.as_ref().is_some_and(|suspect| suspect.upto <= block.upto) {
            self.suspect = None;
        }
        Ok(dead)
    }

    /// Reads the range back and sends the rows that are missing.
    async fn send_missing<F: Fence>(
        &mut self,
        layout: &Layout,
        block: Block<'_>,
        attempt: u32,
        fence: &F,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let there = self.store.positions(self.partition, block.after, block.upto).await.map_err(|e| unavailable(&e))?;
        let missing: Vec<(Position, Event)> =
            block.events.iter().filter(|(position, _)| there.binary_search(position).is_err()).cloned().collect();
        self.taken |= !there.is_empty();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        tracing::info!(partition = self.partition.0, missing = missing.len(), attempt, "rows sent again");
        let rows = self.rows(layout, &missing);
        Box::pin(self.send_or_halve(layout, Block { events: &missing, ..block }, rows, attempt, fence)).await
    }

    /// Sends one block, in parts if ClickHouse refuses a row of it.
    pub(crate) async fn send_or_halve<F: Fence>(
        &mut self,
        layout: &Layout,
        block: Block<'_>,
        rows: Rows,
        attempt: u32,
        fence: &F,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let manifest = Manifest::new(block.after, block.upto, &rows, attempt);
        match self.send(layout, &manifest, rows, fence).await? {
            Ok(()) => Ok(Vec::new()),
            Err(failure) if failure.fault == Fault::Row => self.divide(layout, block, attempt, failure, fence).await,
            Err(failure) => Err(self.unknown(block, manifest, failure)),
        }
    }

    /// One INSERT, named in the cursor first. The inner error tells whose fault it is.
    pub(crate) async fn send<F: Fence>(
        &mut self,
        layout: &Layout,
        manifest: &Manifest,
        rows: Rows,
        fence: &F,
    ) -> Result<Result<(), InsertFailure>, SinkError> {
        let _turn = self.store.turn().await;
        fence.intend(self.cursor, manifest.to_text()).await?;
        // An INSERT that outlives the lease could arrive beside the next owner's.
        if fence.remaining() < self.store.insert_timeout() {
            return Err(SinkError::Transient { store: "clickhouse", reason: "the lease is about to end".into() });
        }
        let count = rows.count();
        match self.store.insert(layout, rows, &manifest.token(self.partition)).await {
            Ok(()) => {
                self.taken = true;
                metrics::counter!("millrace_clickhouse_rows_total").increment(count);
                Ok(Ok(()))
            }
            Err(error) => {
                let (fault, code) = (error.fault(), error.code());
                metrics::counter!("millrace_clickhouse_refusals_total", "code" => code.clone()).increment(1);
                if fault == Fault::Store && matches!(error, ClickHouseError::Refused { .. }) {
                    tracing::error!(partition = self.partition.0, code, %error, "ClickHouse accepts no rows; they wait");
                } else {
                    tracing::warn!(partition = self.partition.0, code, %error, rows = count, "insert failed");
                }
                Ok(Err(InsertFailure { fault, reason: error.to_string() }))
            }
        }
    }

    pub(crate) fn unknown(&mut self, block: Block<'_>, manifest: Manifest, failure: InsertFailure) -> SinkError {
        let attempt = manifest.attempt;
        self.suspect_up_to(block.upto, attempt).manifest = Some(manifest);
        SinkError::Transient { store: "clickhouse", reason: failure.reason }
    }

    pub(crate) fn suspect_up_to(&mut self, upto: Position, attempt: u32) -> &mut SuspectRange {
        let suspect = self.suspect.get_or_insert(SuspectRange { upto, manifest: None, attempt });
        suspect.upto = suspect.upto.max(upto);
        suspect.attempt = suspect.attempt.max(attempt);
        suspect
    }
}

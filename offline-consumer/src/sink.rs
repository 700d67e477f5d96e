//! The ClickHouse sink: one block per range, named in the cursor before it is sent. Where the outcome of an INSERT is
//! not known, the same block goes out again under the same token; then the range is read back and what is missing is
//! sent as the next attempt. A row that ClickHouse refuses is found by halving and left out with a reason.

use std::sync::Arc;
use std::time::Duration;

use millrace_common::log::{DeadLetter, SinkCursor};
use millrace_common::stores::clickhouse::{ClickHouse, ClickHouseError, Fault, Layout, Rows};
use millrace_common::worker::{Batch, Fence, Sink, SinkError};
use millrace_core::event::Event;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use crate::manifest::Manifest;

/// The most entries of one batch, and how long one is gathered.
const BATCH: (usize, Duration) = (50_000, Duration::from_secs(2));
/// The most bytes of one block.
const BLOCK_BYTES: usize = 16 * 1024 * 1024;
/// So often an error that may be a row's fault or the store's is taken for the store's.
const UNCLEAR_TRIES: u32 = 3;

/// Copies one partition into `events`.
pub struct ClickHouseSink {
    store: ClickHouse,
    partition: Partition,
    layout: Option<(u32, Arc<Layout>)>,
    /// Up to here rows may have arrived without anybody having heard of it.
    suspect: Option<Suspect>,
    /// How far a batch got before it failed, and what it left out until there.
    progress: Option<Progress>,
    unclear: u32,
    /// Where the cursor stands while a batch is placed.
    cursor: Position,
}

struct Suspect {
    upto: Position,
    manifest: Option<Manifest>,
}

struct Progress {
    after: Position,
    done: Position,
    dead: Vec<DeadLetter>,
}

/// What came of an INSERT that did not go through.
struct Failure {
    fault: Fault,
    reason: String,
}

/// Consecutive events that go out as one block.
#[derive(Clone, Copy)]
struct Block<'b> {
    after: Position,
    upto: Position,
    events: &'b [(Position, Event)],
}

impl ClickHouseSink {
    /// A sink of one partition.
    pub fn new(store: ClickHouse, partition: Partition) -> Self {
        Self { store, partition, layout: None, suspect: None, progress: None, unclear: 0, cursor: Position::ZERO }
    }

    fn layout(&mut self, batch: &Batch) -> Arc<Layout> {
        match &self.layout {
            Some((version, layout)) if *version == batch.version => layout.clone(),
            _ => {
                let layout = Arc::new(Layout::new(&batch.definitions));
                self.layout = Some((batch.version, layout.clone()));
                layout
            }
        }
    }

    /// Brings one block in, whatever became of it before. Answers what was left out.
    async fn place<F: Fence>(
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
        let mut attempt = suspect.manifest.as_ref().map_or(0, |manifest| manifest.attempt);
        let manifest = Manifest::new(block.after, block.upto, &rows, attempt);
        if suspect.manifest.as_ref().is_some_and(|sent| sent.names(&manifest)) {
            // The very same again: it arrives now, or is left out because it did before.
            match self.send(layout, &manifest, rows.clone(), fence).await? {
                Ok(()) | Err(Failure { fault: Fault::Row, .. }) => {}
                Err(failure) => return Err(self.unknown(block, manifest, failure)),
            }
        }
        attempt += 1;
        let dead = self.send_missing(layout, block, attempt, fence).await?;
        let token = format!("{}:{}", self.partition, block.upto);
        self.store.settle_daily(self.partition, &rows.days(), &token).await.map_err(|error| away(&error))?;
        if self.suspect.as_ref().is_some_and(|suspect| suspect.upto <= block.upto) {
            self.suspect = None;
        }
        Ok(dead)
    }

    /// Reads the range back and sends what is not there.
    async fn send_missing<F: Fence>(
        &mut self,
        layout: &Layout,
        block: Block<'_>,
        attempt: u32,
        fence: &F,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let there = self.store.positions(self.partition, block.after, block.upto).await.map_err(|e| away(&e))?;
        let missing: Vec<(Position, Event)> =
            block.events.iter().filter(|(position, _)| there.binary_search(position).is_err()).cloned().collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        tracing::info!(partition = self.partition.0, missing = missing.len(), attempt, "rows sent again");
        let rows = self.rows(layout, &missing);
        Box::pin(self.send_or_halve(layout, Block { events: &missing, ..block }, rows, attempt, fence)).await
    }

    /// Sends one block. Where ClickHouse refuses a row, both halves go by themselves, down to the row at fault.
    async fn send_or_halve<F: Fence>(
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
            Err(failure) if failure.fault == Fault::Row => match block.events {
                [] => Ok(Vec::new()),
                [(position, event)] => Ok(vec![self.refused(*position, event, failure.reason)]),
                events => {
                    let (first, second) = events.split_at(events.len() / 2);
                    let middle = first.last().map_or(block.after, |(position, _)| *position);
                    let halves = [
                        Block { after: block.after, upto: middle, events: first },
                        Block { after: middle, upto: block.upto, events: second },
                    ];
                    let mut dead = Vec::new();
                    for half in halves {
                        let rows = self.rows(layout, half.events);
                        dead.extend(Box::pin(self.send_or_halve(layout, half, rows, attempt, fence)).await?);
                    }
                    Ok(dead)
                }
            },
            Err(failure) => Err(self.unknown(block, manifest, failure)),
        }
    }

    /// One INSERT, named in the cursor first. The inner error says whose fault it is.
    async fn send<F: Fence>(
        &mut self,
        layout: &Layout,
        manifest: &Manifest,
        rows: Rows,
        fence: &F,
    ) -> Result<Result<(), Failure>, SinkError> {
        let _turn = self.store.turn().await;
        fence.intend(self.cursor, manifest.to_text()).await?;
        // An INSERT that outlives the lease could arrive beside the next owner's.
        if fence.remaining() < self.store.insert_timeout() {
            return Err(SinkError::Transient { store: "clickhouse", reason: "the lease is about to end".into() });
        }
        let count = rows.count();
        match self.store.insert(layout, rows, &manifest.token(self.partition)).await {
            Ok(()) => {
                self.unclear = 0;
                metrics::counter!("millrace_clickhouse_rows_total").increment(count);
                Ok(Ok(()))
            }
            Err(error) => {
                let fault = self.fault(&error);
                tracing::warn!(partition = self.partition.0, %error, ?fault, rows = count, "insert failed");
                Ok(Err(Failure { fault, reason: error.to_string() }))
            }
        }
    }

    /// An error that nobody knows is the store's for a while; one that stays is a row's.
    fn fault(&mut self, error: &ClickHouseError) -> Fault {
        match error.fault() {
            Fault::Unclear if self.unclear + 1 >= UNCLEAR_TRIES => Fault::Row,
            Fault::Unclear => {
                self.unclear += 1;
                Fault::Unclear
            }
            fault => fault,
        }
    }

    fn unknown(&mut self, block: Block<'_>, manifest: Manifest, failure: Failure) -> SinkError {
        let upto = self.suspect.as_ref().map_or(block.upto, |suspect| suspect.upto.max(block.upto));
        self.suspect = Some(Suspect { upto, manifest: Some(manifest) });
        SinkError::Transient { store: "clickhouse", reason: failure.reason }
    }

    fn rows(&self, layout: &Layout, events: &[(Position, Event)]) -> Rows {
        layout.rows(self.partition, events)
    }

    fn refused(&self, position: Position, event: &Event, reason: String) -> DeadLetter {
        DeadLetter {
            group: "offline".to_owned(),
            sink: self.name().to_owned(),
            view: None,
            key: Some(event.partition_key().to_string()),
            position,
            event_id: Some(event.id.as_str().to_owned()),
            reason,
            raw: event.properties.clone(),
        }
    }

    /// Cuts what is left of a batch into blocks: at a bound of bytes, and where a suspect block began and ended.
    fn blocks<'b>(&self, batch: &'b Batch, from: Position) -> Vec<Block<'b>> {
        let edges = self.suspect.as_ref().and_then(|suspect| suspect.manifest.as_ref()?.range());
        let edge = |position: Position| edges.is_some_and(|(after, upto)| position == after || position == upto);
        let mut blocks = Vec::new();
        let first = batch.events.partition_point(|(position, _)| *position <= from);
        let (mut start, mut after, mut bytes) = (first, from, 0);
        for (index, (position, event)) in batch.events.iter().enumerate().skip(first) {
            bytes += event.properties.len() + 256;
            let last = index + 1 == batch.events.len();
            let next_is_past_edge =
                !last && edges.is_some_and(|(_, upto)| *position < upto && batch.events[index + 1].0 > upto);
            if last || bytes >= BLOCK_BYTES || edge(*position) || next_is_past_edge {
                let upto = match edges {
                    _ if last => batch.upto,
                    Some((_, upto)) if next_is_past_edge => upto,
                    _ => *position,
                };
                blocks.push(Block { after, upto, events: &batch.events[start..=index] });
                (start, after, bytes) = (index + 1, upto, 0);
            }
        }
        blocks
    }
}

impl Sink for ClickHouseSink {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    fn limits(&self) -> (usize, Duration) {
        BATCH
    }

    async fn begin<F: Fence>(&mut self, cursor: &SinkCursor, _: &F) -> Result<(), SinkError> {
        self.progress = None;
        let manifest = cursor.in_flight.as_deref().and_then(Manifest::from_text);
        let named = manifest.as_ref().and_then(Manifest::range).map(|(_, upto)| upto);
        let found = self.store.last_position(self.partition, cursor.position).await.map_err(|error| away(&error))?;
        let upto = named.max(found).filter(|upto| *upto > cursor.position);
        self.suspect = upto.map(|upto| Suspect { upto, manifest });
        Ok(())
    }

    async fn commit<F: Fence>(&mut self, batch: &Batch, fence: &F) -> Result<Vec<DeadLetter>, SinkError> {
        let layout = self.layout(batch);
        self.cursor = batch.after;
        let mut progress = match self.progress.take().filter(|progress| progress.after == batch.after) {
            Some(progress) => progress,
            None => Progress { after: batch.after, done: batch.after, dead: Vec::new() },
        };
        for block in self.blocks(batch, progress.done) {
            match self.place(&layout, block, fence).await {
                Ok(dead) => {
                    progress.dead.extend(dead);
                    progress.done = block.upto;
                }
                Err(error) => {
                    self.progress = Some(progress);
                    return Err(error);
                }
            }
        }
        if self.suspect.as_ref().is_some_and(|suspect| suspect.upto <= batch.upto) {
            self.suspect = None;
        }
        let dead = progress.dead.clone();
        // Kept until the cursor has moved: an advance whose answer is lost commits the same batch again.
        self.progress = Some(Progress { done: batch.upto, ..progress });
        Ok(dead)
    }
}

fn away(error: &ClickHouseError) -> SinkError {
    SinkError::Transient { store: "clickhouse", reason: error.to_string() }
}

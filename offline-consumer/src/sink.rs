//! The ClickHouse sink: one block per range, named in the cursor before it is sent. Where the outcome of an INSERT is
//! not known, the same block goes out again under the same token; then the range is read back and what is missing is
//! sent as the next attempt. A row that ClickHouse refuses is found by halving and left out with a reason, if the error
//! is about values and a neighbour goes in; otherwise it is the store that is at fault, and all rows wait.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use millrace_common::log::{DeadLetter, SinkCursor};
use millrace_common::stores::clickhouse::{ClickHouse, ClickHouseError, Fault, Layout, Rows, row_bytes};
use millrace_common::worker::{Batch, Fence, Sink, SinkError};
use millrace_core::event::Event;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use crate::manifest::Manifest;

/// The most entries of one batch, and how long one is gathered.
const BATCH: (usize, Duration) = (50_000, Duration::from_secs(2));
/// The most bytes of one block.
const BLOCK_BYTES: usize = 16 * 1024 * 1024;
/// So many rows of a refused block are tried alone, to see whether ClickHouse takes any.
const SAMPLES: usize = 16;

/// Copies one partition into `events`.
pub struct ClickHouseSink {
    store: ClickHouse,
    partition: Partition,
    layout: Option<(u32, Arc<Layout>)>,
    /// Up to here rows may have arrived without anybody having heard of it.
    suspect: Option<Suspect>,
    /// How far a batch got before it failed, and what it left out until there.
    progress: Option<Progress>,
    /// Whether it has taken a row of the batch in hand: only then can another be at fault.
    taken: bool,
    /// Whether the batch in hand is a single row, which has no neighbours.
    alone: bool,
    /// How often rows were tried alone: each time others.
    samplings: usize,
    /// Where the cursor stands while a batch is placed.
    cursor: Position,
}

struct Suspect {
    upto: Position,
    manifest: Option<Manifest>,
    /// The latest try at any of it.
    attempt: u32,
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

impl Block<'_> {
    /// Some of its events, from the position before them to the last of them, or to its own end.
    fn piece(&self, range: Range<usize>) -> Self {
        let before = |index: usize| self.events[index - 1].0;
        let after = if range.start == 0 { self.after } else { before(range.start) };
        let upto = if range.end == self.events.len() { self.upto } else { before(range.end) };
        Self { after, upto, events: &self.events[range] }
    }
}

impl ClickHouseSink {
    /// A sink of one partition.
    pub fn new(store: ClickHouse, partition: Partition) -> Self {
        Self {
            store,
            partition,
            layout: None,
            suspect: None,
            progress: None,
            taken: false,
            alone: false,
            samplings: 0,
            cursor: Position::ZERO,
        }
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
        let mut attempt = suspect.attempt;
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
        self.taken |= !there.is_empty();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        tracing::info!(partition = self.partition.0, missing = missing.len(), attempt, "rows sent again");
        let rows = self.rows(layout, &missing);
        Box::pin(self.send_or_halve(layout, Block { events: &missing, ..block }, rows, attempt, fence)).await
    }

    /// Sends one block, in pieces where ClickHouse refuses a row of it.
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
            Err(failure) if failure.fault == Fault::Row => self.divide(layout, block, attempt, failure, fence).await,
            Err(failure) => Err(self.unknown(block, manifest, failure)),
        }
    }

    /// Goes on with a block of which ClickHouse refused a row. Rows whose properties we cannot read ourselves are left
    /// out; then both halves go by themselves, down to the row at fault: but some other row of the batch must have gone
    /// in before.
    async fn divide<F: Fence>(
        &mut self,
        layout: &Layout,
        block: Block<'_>,
        attempt: u32,
        failure: Failure,
        fence: &F,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let events = block.events;
        let mut dead: Vec<DeadLetter> = Vec::new();
        for (position, event) in events {
            dead.extend(unreadable(event).map(|reason| self.refused(*position, event, reason)));
        }
        if !dead.is_empty() {
            let readable = |(position, _): &&(Position, Event)| dead.iter().all(|letter| letter.position != *position);
            let rest: Vec<(Position, Event)> = events.iter().filter(readable).cloned().collect();
            if !rest.is_empty() {
                let rows = self.rows(layout, &rest);
                let rest = Block { events: &rest, ..block };
                dead.extend(Box::pin(self.send_or_halve(layout, rest, rows, attempt, fence)).await?);
            }
            return Ok(dead);
        }
        let (before, behind) = match events {
            [] => return Ok(Vec::new()),
            [(position, event)] if self.taken || self.alone => {
                return Ok(vec![self.refused(*position, event, failure.reason)]);
            }
            [_] => return Err(self.nothing_goes_in(block, failure)),
            _ if self.taken => (0..events.len() / 2, events.len() / 2..events.len()),
            _ => match self.sample(layout, block, attempt, fence).await? {
                Some(taken) => (0..taken, taken + 1..events.len()),
                None => return Err(self.nothing_goes_in(block, failure)),
            },
        };
        let pieces = [before, behind].into_iter().filter(|piece| !piece.is_empty()).map(|piece| block.piece(piece));
        for piece in pieces {
            let rows = self.rows(layout, piece.events);
            dead.extend(Box::pin(self.send_or_halve(layout, piece, rows, attempt, fence)).await?);
        }
        Ok(dead)
    }

    /// Sends rows of a block one by one, spread over it and others each time, until one goes in: its index.
    async fn sample<F: Fence>(
        &mut self,
        layout: &Layout,
        block: Block<'_>,
        attempt: u32,
        fence: &F,
    ) -> Result<Option<usize>, SinkError> {
        let count = block.events.len();
        let samples = SAMPLES.min(count);
        let turn = self.samplings;
        self.samplings = turn.wrapping_add(1);
        for sample in 0..samples {
            let index = (sample * count / samples + turn) % count;
            let one = block.piece(index..index + 1);
            let rows = self.rows(layout, one.events);
            let manifest = Manifest::new(one.after, one.upto, &rows, attempt);
            match self.send(layout, &manifest, rows, fence).await? {
                Ok(()) => return Ok(Some(index)),
                Err(failure) if failure.fault == Fault::Row => {}
                Err(failure) => return Err(self.unknown(block, manifest, failure)),
            }
        }
        Ok(None)
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
                self.taken = true;
                metrics::counter!("millrace_clickhouse_rows_total").increment(count);
                Ok(Ok(()))
            }
            Err(error) => {
                let (fault, code) = (error.fault(), error.code());
                metrics::counter!("millrace_clickhouse_refusals_total", "code" => code.clone()).increment(1);
                match (&error, fault) {
                    (ClickHouseError::Refused { .. }, Fault::Store) => {
                        tracing::error!(partition = self.partition.0, code, %error, "ClickHouse takes no rows; they wait");
                    }
                    _ => tracing::warn!(partition = self.partition.0, code, %error, rows = count, "insert failed"),
                }
                Ok(Err(Failure { fault, reason: error.to_string() }))
            }
        }
    }

    /// Not a row is taken: then it is the table, not the rows. Nothing has arrived, so the next try is at the whole.
    fn nothing_goes_in(&mut self, block: Block<'_>, failure: Failure) -> SinkError {
        let reason = format!("it takes no row of the batch, so none is at fault by itself: {}", failure.reason);
        tracing::error!(partition = self.partition.0, rows = block.events.len(), reason, "ClickHouse takes no rows");
        if let Some(suspect) = &mut self.suspect {
            suspect.manifest = None;
        }
        SinkError::Transient { store: "clickhouse", reason }
    }

    fn unknown(&mut self, block: Block<'_>, manifest: Manifest, failure: Failure) -> SinkError {
        let attempt = manifest.attempt;
        self.suspect_up_to(block.upto, attempt).manifest = Some(manifest);
        SinkError::Transient { store: "clickhouse", reason: failure.reason }
    }

    fn suspect_up_to(&mut self, upto: Position, attempt: u32) -> &mut Suspect {
        let suspect = self.suspect.get_or_insert(Suspect { upto, manifest: None, attempt });
        suspect.upto = suspect.upto.max(upto);
        suspect.attempt = suspect.attempt.max(attempt);
        suspect
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
            bytes += row_bytes(event);
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
        let attempt = manifest.as_ref().map_or(0, |manifest| manifest.attempt);
        self.suspect = upto.map(|upto| Suspect { upto, manifest, attempt });
        Ok(())
    }

    async fn commit<F: Fence>(&mut self, batch: &Batch, fence: &F) -> Result<Vec<DeadLetter>, SinkError> {
        let layout = self.layout(batch);
        self.cursor = batch.after;
        let mut progress = match self.progress.take().filter(|progress| progress.after == batch.after) {
            Some(progress) => progress,
            None => {
                self.taken = false;
                Progress { after: batch.after, done: batch.after, dead: Vec::new() }
            }
        };
        self.alone = batch.events.len() == 1;
        for block in self.blocks(batch, progress.done) {
            match self.place(&layout, block, fence).await {
                Ok(dead) => {
                    progress.dead.extend(dead);
                    progress.done = block.upto;
                }
                Err(error) => {
                    // Pieces of it may have gone in by themselves.
                    self.suspect_up_to(block.upto, 0);
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

/// Why an event that was written past ingest has no properties that anybody could read.
fn unreadable(event: &Event) -> Option<String> {
    match millrace_core::json::parse(&event.properties, "properties") {
        Ok(value) if value.is_object() => None,
        Ok(_) => Some("properties: expected an object".to_owned()),
        Err(error) => Some(format!("{}: {}", error.path, error.message)),
    }
}

fn away(error: &ClickHouseError) -> SinkError {
    SinkError::Transient { store: "clickhouse", reason: error.to_string() }
}

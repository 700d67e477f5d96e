//! The ClickHouse sink of one partition: begins at the cursor and commits batches. `blocks` cuts a batch into blocks.
//! `insert` sends each block as one INSERT, after it has written the block's manifest into the cursor. When ClickHouse
//! refuses a block because of a row, `narrow` finds the row.

use std::sync::Arc;
use std::time::Duration;

use millrace_common::log::{DeadLetter, SinkCursor};
use millrace_common::stores::clickhouse::{ClickHouse, ClickHouseError, Fault, Layout, Rows};
use millrace_common::worker::{Batch, BatchLimits, Fence, Sink, SinkError};
use millrace_core::event::Event;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use crate::blocks::cut;
use crate::manifest::Manifest;

/// The most entries of one batch.
const MOST_ENTRIES: usize = 50_000;
/// How long a batch is gathered.
const LINGER: Duration = Duration::from_secs(2);

/// Copies the events of one partition into ClickHouse's table `events`.
pub struct ClickHouseSink {
    pub(crate) store: ClickHouse,
    pub(crate) partition: Partition,
    /// The layout of rows, with the version of the definitions that it is made for.
    layout: Option<(u32, Arc<Layout>)>,
    /// The range after the cursor whose rows may be in ClickHouse already. An earlier owner of the partition may have sent
    /// them.
    pub(crate) suspect: Option<SuspectRange>,
    /// How far the batch is inserted. It is kept until the next batch, because the same batch can be committed again.
    progress: Option<BatchProgress>,
    /// Whether ClickHouse holds a row of this batch. If it does not, a refusal is taken for the table's fault, unless the
    /// batch is a single row.
    pub(crate) taken: bool,
    /// Whether this batch is a single row. Then no other row can show where the fault is, so a refused row is left out at
    /// once.
    pub(crate) alone: bool,
    /// The number of times that rows of a block were sent one by one. It shifts the choice, so that other rows are sent each
    /// time.
    pub(crate) samplings: usize,
    /// The position of the cursor while a batch is inserted.
    pub(crate) cursor: Position,
}

/// A range from the cursor on whose rows may be in ClickHouse.
pub(crate) struct SuspectRange {
    /// Its last position.
    pub(crate) upto: Position,
    /// The last INSERT that was sent, if it is known. The same rows can be sent again under its token.
    pub(crate) manifest: Option<Manifest>,
    /// The number of the latest attempt at a part of the range. The token of an INSERT contains it, so an attempt with other
    /// rows gets another number.
    pub(crate) attempt: u32,
}

/// How far a batch is inserted, and the rows that were left out.
struct BatchProgress {
    /// The position before the batch, by which it is recognized.
    after: Position,
    /// The last position that is inserted or left out.
    done: Position,
    dead: Vec<DeadLetter>,
}

/// Why an INSERT failed.
pub(crate) struct InsertFailure {
    /// Whether the store or a row caused it.
    pub(crate) fault: Fault,
    /// The text of the error.
    pub(crate) reason: String,
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

    pub(crate) fn rows(&self, layout: &Layout, events: &[(Position, Event)]) -> Rows {
        layout.rows(self.partition, events)
    }

    /// The dead letter of a row that is left out.
    pub(crate) fn refused(&self, position: Position, event: &Event, reason: String) -> DeadLetter {
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
}

impl Sink for ClickHouseSink {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits::new(MOST_ENTRIES, LINGER)
    }

    async fn begin<F: Fence>(&mut self, cursor: &SinkCursor, _: &F) -> Result<(), SinkError> {
        self.progress = None;
        let manifest = cursor.in_flight.as_deref().and_then(Manifest::from_text);
        let named = manifest.as_ref().and_then(Manifest::range).map(|(_, upto)| upto);
        let found =
            self.store.last_position(self.partition, cursor.position).await.map_err(|error| unavailable(&error))?;
        let upto = named.max(found).filter(|upto| *upto > cursor.position);
        let attempt = manifest.as_ref().map_or(0, |manifest| manifest.attempt);
        self.suspect = upto.map(|upto| SuspectRange { upto, manifest, attempt });
        Ok(())
    }

    async fn commit<F: Fence>(&mut self, batch: &Batch, fence: &F) -> Result<Vec<DeadLetter>, SinkError> {
        let layout = self.layout(batch);
        self.cursor = batch.after;
        let mut progress = match self.progress.take().filter(|progress| progress.after == batch.after) {
            Some(progress) => progress,
            None => {
                self.taken = false;
                BatchProgress { after: batch.after, done: batch.after, dead: Vec::new() }
            }
        };
        self.alone = batch.events.len() == 1;
        let edges = self.suspect.as_ref().and_then(|suspect| suspect.manifest.as_ref()?.range());
        for block in cut(batch, progress.done, edges) {
            match self.place(&layout, block, fence).await {
                Ok(dead) => {
                    progress.dead.extend(dead);
                    progress.done = block.upto;
                }
                Err(error) => {
                    // The block may have been sent in parts, of which ClickHouse accepted some.
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
        // Kept until the cursor has moved: after an `advance` without an answer the same batch is committed again.
        self.progress = Some(BatchProgress { done: batch.upto, ..progress });
        Ok(dead)
    }
}

/// The error that makes the worker try the batch again, for any error that is not about a row.
pub(crate) fn unavailable(error: &ClickHouseError) -> SinkError {
    SinkError::Transient { store: "clickhouse", reason: error.to_string() }
}

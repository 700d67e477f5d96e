//! The ClickHouse sink: a batch is cut into blocks (`blocks`), and each block is one INSERT that is named in the cursor before
//! it is sent (`insert`). A block with a row that ClickHouse refuses is narrowed to that row (`narrow`).

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

/// Copies one partition into `events`.
pub struct ClickHouseSink {
    pub(crate) store: ClickHouse,
    pub(crate) partition: Partition,
    /// The layout of rows, and the version of the definitions that it is for.
    layout: Option<(u32, Arc<Layout>)>,
    /// The range whose rows may have arrived although no answer came.
    pub(crate) suspect: Option<SuspectRange>,
    /// How far a batch got before it failed.
    progress: Option<BatchProgress>,
    /// Whether ClickHouse has accepted a row of this batch. Only then can another row be at fault.
    pub(crate) taken: bool,
    /// Whether this batch is a single row, which has no neighbours.
    pub(crate) alone: bool,
    /// How often rows were sent alone: each time others.
    pub(crate) samplings: usize,
    /// The position of the cursor while a batch is inserted.
    pub(crate) cursor: Position,
}

/// A range whose rows may have arrived.
pub(crate) struct SuspectRange {
    /// Its last position.
    pub(crate) upto: Position,
    /// The block that was sent, where it is known.
    pub(crate) manifest: Option<Manifest>,
    /// The latest attempt at any of it.
    pub(crate) attempt: u32,
}

/// How far a batch is inserted, and the rows that were left out so far.
struct BatchProgress {
    after: Position,
    done: Position,
    dead: Vec<DeadLetter>,
}

/// Why an INSERT failed.
pub(crate) struct InsertFailure {
    /// Whose fault it is.
    pub(crate) fault: Fault,
    /// The error.
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

    /// The record of a row that is left out.
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
                    // Parts of it may have been accepted by themselves.
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

/// The error for a ClickHouse that is unavailable, or whose fault it is.
pub(crate) fn unavailable(error: &ClickHouseError) -> SinkError {
    SinkError::Transient { store: "clickhouse", reason: error.to_string() }
}

//! The sink of an online store: for each batch it loads the slots that are missing in memory, absorbs the events, and puts
//! each changed slot once. It takes no lock. The store refuses a put over a newer slot; then the worker's loop begins
//! again at the cursor. Reading events and absorbing them are left to `extract` and `fold`.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_common::log::{DeadLetter, SinkCursor};
use millrace_common::names::Names;
use millrace_common::stores::features::{FeatureSlots, FeatureStore};
use millrace_common::stores::online::{OnlineStore, SlotAddress, SlotOutcome, SlotPut, SlotWriter};
use millrace_common::stores::profiles::ProfileStore;
use millrace_common::worker::{Batch, BatchLimits, Fence, Sink, SinkError};
use millrace_core::codec;
use millrace_core::partition::Partition;
use millrace_core::slot::Slot;

use crate::extract::SlotIndex;
use crate::fold::Fold;

/// The most slots of a partition that stay in memory between batches. With more, all of them are dropped and loaded again.
const HOT_SLOTS: usize = 100_000;
/// The events of a batch that are extracted and absorbed together: their inputs for all views fit the processor's cache.
const EVENTS_AT_ONCE: usize = 2_000;
/// The most entries to which a Redis sink that is far behind enlarges its batches. It bounds memory: an entry takes about
/// half a kilobyte, and each partition has a batch.
const MAX_BATCH: usize = 50_000;
/// How long the MongoDB sink gathers events before it writes. Profiles change slowly, and a write costs more in MongoDB than
/// in Redis. So while batches are not full, the document of a hot entity is written about four times a second.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);

/// Writes the views of one store, for one partition. Each sink has a position of its own, so that a store that is
/// unavailable holds up only its own views.
pub struct OnlineSink<S> {
    fold: Fold,
    store: S,
    writer: SlotWriter,
    limits: BatchLimits,
    /// The version of the definitions whose views the store is prepared for.
    prepared: Option<u32>,
}

/// Writes the views with `store: redis`.
pub type RedisSink = OnlineSink<FeatureSlots>;

/// Writes the views with `store: mongodb`.
pub type MongoSink = OnlineSink<ProfileStore>;

impl RedisSink {
    /// A sink of one partition. It reads up to `batch_entries` entries at once and does not wait for more. While the log has
    /// more than that, it reads up to five times as many, so that each hot key is written less often. Such a commit still
    /// ends well within a lease.
    pub fn new(store: FeatureStore, names: Names, partition: Partition, batch_entries: usize) -> Self {
        let far_behind = (batch_entries * 5).min(MAX_BATCH).max(batch_entries);
        let limits = BatchLimits { entries: batch_entries, linger: Duration::ZERO, far_behind };
        Self::over(FeatureSlots::new(store, names), partition, limits)
    }
}

impl MongoSink {
    /// A sink of one partition. A batch is written when it has `batch_entries` entries, or when it has waited as long as the
    /// linger of its limits says.
    pub fn new(store: ProfileStore, partition: Partition, batch_entries: usize) -> Self {
        Self::over(store, partition, BatchLimits::new(batch_entries, FLUSH_INTERVAL))
    }
}

impl<S: OnlineStore> OnlineSink<S> {
    fn over(store: S, partition: Partition, limits: BatchLimits) -> Self {
        let fold = Fold::new(partition, S::STORE, S::NAME, HOT_SLOTS);
        Self { fold, store, writer: SlotWriter::Partition(partition), limits, prepared: None }
    }

    /// Prepares the store for the views of the batch, once for each version of the definitions.
    async fn prepare(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if self.prepared == Some(batch.version) {
            return Ok(());
        }
        for view in batch.definitions.views.iter().filter(|view| view.store == S::STORE) {
            self.store.prepare(view).await.map_err(unavailable::<S>)?;
        }
        self.prepared = Some(batch.version);
        Ok(())
    }

    /// Loads the slots that are missing in memory. A stored slot that cannot be read is noted in the fold, which
    /// dead-letters its entries.
    async fn load(&mut self, batch: &Batch, missing: &[SlotIndex]) -> Result<(), SinkError> {
        if missing.is_empty() {
            return Ok(());
        }
        self.prepare(batch).await?;
        let definitions = &batch.definitions;
        let address = |slot: &SlotIndex| {
            let (view, key) = self.fold.key(*slot);
            SlotAddress { view: &definitions.views[*view], key }
        };
        let addresses: Vec<SlotAddress<'_>> = missing.iter().map(address).collect();
        let found = self.store.load_slots(definitions, self.writer, &addresses).await.map_err(unavailable::<S>)?;
        for (slot, stored) in missing.iter().zip(found) {
            let view = &definitions.views[self.fold.key(*slot).0];
            match stored.map(|bytes| bytes.map(|bytes| codec::decode_for(view, &bytes))) {
                Ok(None) => self.fold.load(*slot, Slot::empty(view)),
                Ok(Some(Ok(stored))) => self.fold.load(*slot, stored),
                Ok(Some(Err(error))) => {
                    self.fold.set_unreadable(*slot, format!("the stored slot cannot be read: {error}"));
                }
                Err(reason) => self.fold.set_unreadable(*slot, reason),
            }
        }
        Ok(())
    }

    /// Puts the slots that have changed. Returns the ones that the store will never take, and why.
    async fn put(&self, batch: &Batch) -> Result<BTreeMap<SlotIndex, String>, SinkError> {
        let definitions = &batch.definitions;
        let (mut indices, mut puts) = (Vec::new(), Vec::new());
        for (index, (view, key), slot) in self.fold.dirty() {
            indices.push(index);
            puts.push(SlotPut { address: SlotAddress { view: &definitions.views[*view], key }, slot });
        }
        let outcomes = self.store.put_slots(definitions, self.writer, &puts).await.map_err(unavailable::<S>)?;
        let mut refused = BTreeMap::new();
        for (index, outcome) in indices.into_iter().zip(outcomes) {
            match outcome {
                SlotOutcome::Written | SlotOutcome::Already => {}
                SlotOutcome::Refused(reason) => {
                    refused.insert(index, reason);
                }
                // A newer slot is stored, or something that is not a slot. Both are found when the slot is loaded again: the
                // first is used, and of the second only its own entries are dead-lettered.
                SlotOutcome::Stale | SlotOutcome::NotASlot(_) => return Err(SinkError::Stale),
            }
        }
        Ok(refused)
    }
}

impl<S: OnlineStore> Sink for OnlineSink<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn limits(&self) -> BatchLimits {
        self.limits
    }

    async fn begin<F: Fence>(&mut self, _: &SinkCursor, _: &F) -> Result<(), SinkError> {
        self.fold.reset();
        Ok(())
    }

    // After an error the loop calls this again with the same batch. The slots skip what they have absorbed, and those that
    // are not durable yet are still dirty.
    async fn commit<F: Fence>(&mut self, batch: &Batch, _: &F) -> Result<Vec<DeadLetter>, SinkError> {
        self.fold.begin(batch);
        let mut dead = Vec::new();
        for events in batch.events.chunks(EVENTS_AT_ONCE) {
            let extracted = self.fold.extract(&batch.definitions, events);
            let missing = self.fold.missing(&extracted);
            self.load(batch, &missing).await?;
            dead.extend(self.fold.absorb(&extracted));
            dead.extend(extracted.dead);
        }
        let refused = self.put(batch).await?;
        self.fold.clean();
        if !refused.is_empty() {
            dead.extend(self.fold.dead_letter(batch, &refused));
        }
        Ok(dead)
    }
}

fn unavailable<S: OnlineStore>(error: S::Error) -> SinkError {
    SinkError::Transient { store: S::NAME, reason: error.to_string() }
}

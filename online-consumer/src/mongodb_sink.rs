//! The MongoDB sink: profiles, each touched document put once per flush, monotonically. A hot entity is written a few
//! times a second at most, whatever its rate of events. Its position is its own: away, it holds up nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_common::log::{DeadLetter, SinkCursor};
use millrace_common::stores::profiles::{ProfileError, ProfilePut, ProfileStore, ProfileWritten};
use millrace_common::worker::{Batch, Fence, Sink, SinkError};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, Store, View};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::slot::Slot;

use crate::fold::{Fold, Place, Prepared, SlotKey};

/// Slots kept in memory per partition between flushes.
const HOT_SLOTS: usize = 100_000;
/// How long events of the same documents are gathered: a profile changes slowly, and a write costs more than one of
/// Redis.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// Documents loaded at once.
const KEYS_PER_LOAD: usize = 1_000;

/// Writes the views with `store: mongodb` of one partition.
pub struct MongoSink {
    fold: Fold,
    store: ProfileStore,
    partition: Partition,
    batch_entries: usize,
    /// Version of the definitions whose collections have their indexes.
    ensured: Option<u32>,
}

impl MongoSink {
    /// A sink of one partition, which flushes after `batch_entries` entries or a quarter of a second.
    pub fn new(store: ProfileStore, partition: Partition, batch_entries: usize) -> Self {
        let fold = Fold::new(partition, Store::MongoDb, "mongodb", HOT_SLOTS);
        Self { fold, store, partition, batch_entries, ensured: None }
    }

    async fn ensure(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if self.ensured == Some(batch.version) {
            return Ok(());
        }
        for view in batch.definitions.views.iter().filter(|view| view.store == Store::MongoDb) {
            self.store.ensure(view).await.map_err(away)?;
        }
        self.ensured = Some(batch.version);
        Ok(())
    }

    async fn load(&mut self, definitions: &Definitions, missing: Vec<(Place, SlotKey)>) -> Result<(), SinkError> {
        let mut by_view: BTreeMap<usize, Vec<(Place, KeyText)>> = BTreeMap::new();
        for (place, (view, key)) in missing {
            by_view.entry(view).or_default().push((place, key));
        }
        for (index, keys) in by_view {
            for chunk in keys.chunks(KEYS_PER_LOAD) {
                self.load_chunk(&definitions.views[index], chunk).await?;
            }
        }
        Ok(())
    }

    async fn load_chunk(&mut self, view: &View, keys: &[(Place, KeyText)]) -> Result<(), SinkError> {
        let asked: Vec<&str> = keys.iter().map(|(_, key)| key.as_str()).collect();
        let stored = self.store.load(view, &asked).await.map_err(away)?;
        for (place, key) in keys {
            match stored.get(key.as_str()).map(|bytes| codec::decode_for(view, bytes)) {
                None => self.fold.load(*place, Slot::empty(view)),
                Some(Ok(slot)) => self.fold.load(*place, slot),
                Some(Err(error)) => {
                    self.fold.refuse(*place, format!("the stored state cannot be read: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Puts what has changed; answers the documents that MongoDB will never take, and why.
    async fn flush(&self, definitions: &Definitions) -> Result<Vec<(Place, String)>, SinkError> {
        let dirty: Vec<(Place, &SlotKey, &Slot)> = self.fold.dirty().collect();
        let puts: Vec<ProfilePut<'_>> = dirty
            .iter()
            .map(|(_, (view, key), slot)| ProfilePut {
                view: &definitions.views[*view],
                key,
                slot,
                partition: self.partition,
            })
            .collect();
        let mut refused = Vec::new();
        for ((place, _, _), written) in dirty.iter().zip(self.store.put(&puts).await.map_err(away)?) {
            match written {
                ProfileWritten::Written | ProfileWritten::Already => {}
                ProfileWritten::Stale => return Err(SinkError::Stale),
                ProfileWritten::Refused(reason) => refused.push((*place, reason)),
            }
        }
        Ok(refused)
    }

    /// Dead letters for what a refused document has missed; its hot state is dropped.
    fn bury(&mut self, prepared: &Prepared<'_>, refused: Vec<(Place, String)>) -> Vec<DeadLetter> {
        refused.into_iter().flat_map(|(place, reason)| self.fold.bury(prepared, place, &reason)).collect()
    }
}

impl Sink for MongoSink {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn limits(&self) -> (usize, Duration) {
        (self.batch_entries, FLUSH_INTERVAL)
    }

    async fn begin<F: Fence>(&mut self, _: &SinkCursor, _: &F) -> Result<(), SinkError> {
        self.fold.reset();
        Ok(())
    }

    async fn commit<F: Fence>(&mut self, batch: &Batch, _: &F) -> Result<Vec<DeadLetter>, SinkError> {
        self.fold.begin(batch);
        let mut prepared = self.fold.prepare(&batch.definitions, &batch.events);
        let missing = self.fold.missing(&prepared);
        if !missing.is_empty() {
            self.ensure(batch).await?;
            self.load(&batch.definitions, missing).await?;
        }
        let mut dead = self.fold.absorb(&prepared);
        let refused = self.flush(&batch.definitions).await?;
        self.fold.clean();
        dead.extend(self.bury(&prepared, refused));
        dead.append(&mut prepared.dead);
        Ok(dead)
    }
}

fn away(error: ProfileError) -> SinkError {
    SinkError::Transient { store: "mongodb", reason: error.to_string() }
}

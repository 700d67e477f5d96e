//! The Redis sink: each touched slot is put once per batch, monotonically. It holds no lock; a put that finds a newer
//! state is refused, and the sink reads again.

use std::time::Duration;

use millrace_common::log::{DeadLetter, SinkCursor};
use millrace_common::names::Names;
use millrace_common::stores::features::{FeatureStore, FeatureStoreError, Put, PutOutcome};
use millrace_common::worker::{Batch, Fence, Sink, SinkError};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, Store};
use millrace_core::partition::Partition;
use millrace_core::slot::Slot;
use rustc_hash::FxHashMap;

use crate::fold::{Fold, SlotKey};

/// Slots kept in memory per partition between batches.
const HOT_SLOTS: usize = 100_000;
/// The most entries of one batch: it bounds memory, about half a kilobyte each in every partition.
const MAX_BATCH: usize = 50_000;
/// How long after its last event a hash without lifetime features is kept beyond its longest window.
const RETENTION_MS: u64 = 3_600_000;

/// Writes the views with `store: redis` of one partition.
pub struct RedisSink {
    fold: Fold,
    store: FeatureStore,
    names: Names,
    partition: Partition,
    batch_entries: usize,
}

impl RedisSink {
    /// A sink of one partition. It reads up to `batch_entries` at once and never waits for more.
    pub fn new(store: FeatureStore, names: Names, partition: Partition, batch_entries: usize) -> Self {
        let fold = Fold::new(partition, Store::Redis, "redis", HOT_SLOTS);
        Self { fold, store, names, partition, batch_entries }
    }

    async fn load(&mut self, definitions: &Definitions, missing: Vec<SlotKey>) -> Result<(), SinkError> {
        let reads: Vec<(String, Vec<String>)> =
            missing.iter().map(|key| (self.hash(definitions, key), vec![self.field(definitions, key)])).collect();
        let values = self.store.read(&reads).await.map_err(away)?;
        for (key, value) in missing.into_iter().zip(values) {
            let view = &definitions.views[key.0];
            match value.into_iter().next().flatten().map(|bytes| codec::decode_for(view, &bytes)) {
                None => self.fold.load(key, Slot::empty(view)),
                Some(Ok(slot)) => self.fold.load(key, slot),
                Some(Err(error)) => self.fold.refuse(key, format!("the stored slot cannot be read: {error}")),
            }
        }
        Ok(())
    }

    /// One put per entity key: its slots of all views together.
    fn puts(&self, definitions: &Definitions) -> Vec<Put> {
        let mut by_hash: FxHashMap<String, Put> = FxHashMap::default();
        for (key, slot) in self.fold.dirty() {
            let hash = self.hash(definitions, key);
            let put = by_hash.entry(hash).or_insert_with_key(|hash| Put {
                key: hash.clone(),
                expire_ms: expiry(definitions, definitions.views[key.0].entity),
                slots: Vec::with_capacity(2),
            });
            put.slots.push((self.field(definitions, key), codec::encode(slot)));
        }
        by_hash.into_values().collect()
    }

    fn hash(&self, definitions: &Definitions, (view, key): &SlotKey) -> String {
        let entity = &definitions.entities[definitions.views[*view].entity];
        self.names.entity(&entity.name, key.as_str())
    }

    fn field(&self, definitions: &Definitions, (view, _): &SlotKey) -> String {
        format!("{}|{}", definitions.views[*view].id(), self.partition)
    }
}

impl Sink for RedisSink {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn limits(&self) -> (usize, Duration) {
        (self.batch_entries, Duration::ZERO)
    }

    /// Hot keys coalesce over more entries when there are many; a commit of so many still ends well within a lease.
    fn far_behind(&self) -> usize {
        (self.batch_entries * 5).min(MAX_BATCH).max(self.batch_entries)
    }

    async fn begin<F: Fence>(&mut self, _: &SinkCursor, _: &F) -> Result<(), SinkError> {
        self.fold.reset();
        Ok(())
    }

    async fn commit<F: Fence>(&mut self, batch: &Batch, _: &F) -> Result<Vec<DeadLetter>, SinkError> {
        let prepared = self.fold.prepare(batch);
        let missing = self.fold.missing(batch, &prepared);
        self.load(&batch.definitions, missing).await?;
        let mut dead = self.fold.absorb(&prepared);
        let puts = self.puts(&batch.definitions);
        let outcomes = self.store.put(&puts).await.map_err(away)?;
        for outcome in outcomes.iter().flatten() {
            match outcome {
                PutOutcome::Written | PutOutcome::Already => {}
                PutOutcome::Stale | PutOutcome::Undecodable => return Err(SinkError::Stale),
            }
        }
        self.fold.clean();
        dead.extend(prepared.dead);
        Ok(dead)
    }
}

/// How long a hash of that entity is kept after a put; none: for ever, because a lifetime value is in it.
fn expiry(definitions: &Definitions, entity: usize) -> Option<u64> {
    let views = definitions.views.iter().filter(|view| view.entity == entity && view.store == Store::Redis);
    let longest = views.map(|view| view.horizon()).try_fold(0, |longest, horizon| Some(longest.max(horizon?)))?;
    Some(u64::try_from(longest).unwrap_or(0) + RETENTION_MS)
}

fn away(error: FeatureStoreError) -> SinkError {
    SinkError::Transient { store: "the feature state", reason: error.to_string() }
}

//! The Redis sink: each touched slot is put once per batch, monotonically. It holds no lock; a put that finds a newer
//! state is refused, and the sink reads again.

use std::time::Duration;

use millrace_common::log::{DeadLetter, SinkCursor};
use millrace_common::names::Names;
use millrace_common::stores::features::{FeatureStore, FeatureStoreError, Put, PutOutcome};
use millrace_common::worker::{Batch, Fence, Sink, SinkError};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, Store, View};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::slot::Slot;
use rustc_hash::FxHashMap;

use crate::fold::{Fold, Place, SlotKey};

/// Slots kept in memory per partition between batches.
const HOT_SLOTS: usize = 100_000;
/// The most entries of one batch: it bounds memory, about half a kilobyte each in every partition.
const MAX_BATCH: usize = 50_000;
/// Events taken apart at once: what they mean to all views stays in the processor's cache.
const PREPARED: usize = 2_000;
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

    async fn load(&mut self, definitions: &Definitions, missing: Vec<(Place, SlotKey)>) -> Result<(), SinkError> {
        let read = |(_, (view, key)): &(Place, SlotKey)| {
            let view = &definitions.views[*view];
            (self.hash(definitions, view, key), vec![self.field(view)])
        };
        let found = self.store.read(&missing.iter().map(read).collect::<Vec<_>>()).await.map_err(away)?;
        for ((place, (view, _)), fields) in missing.into_iter().zip(found) {
            let view = &definitions.views[view];
            let value = match fields {
                Ok(fields) => fields.into_iter().next().flatten(),
                Err(wrong) => {
                    self.fold.refuse(place, wrong.to_string());
                    continue;
                }
            };
            match value.map(|bytes| codec::decode_for(view, &bytes)) {
                None => self.fold.load(place, Slot::empty(view)),
                Some(Ok(slot)) => self.fold.load(place, slot),
                Some(Err(error)) => self.fold.refuse(place, format!("the stored slot cannot be read: {error}")),
            }
        }
        Ok(())
    }

    /// One put per entity key: its slots of all views together.
    fn puts(&self, definitions: &Definitions) -> Vec<Put> {
        let mut puts: Vec<Put> = Vec::new();
        let mut of_entity: FxHashMap<(usize, &str), usize> = FxHashMap::default();
        for (_, (view, key), slot) in self.fold.dirty() {
            let view = &definitions.views[*view];
            let at = *of_entity.entry((view.entity, key.as_str())).or_insert_with(|| {
                let (key, expire_ms) = (self.hash(definitions, view, key), expiry(definitions, view.entity));
                puts.push(Put { key, expire_ms, slots: Vec::with_capacity(2) });
                puts.len() - 1
            });
            puts[at].slots.push((self.field(view), codec::encode(slot)));
        }
        puts
    }

    fn hash(&self, definitions: &Definitions, view: &View, key: &KeyText) -> String {
        self.names.entity(&definitions.entities[view.entity].name, key.as_str())
    }

    fn field(&self, view: &View) -> String {
        format!("{}|{}", view.id(), self.partition)
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
        self.fold.begin(batch);
        let mut dead = Vec::new();
        for events in batch.events.chunks(PREPARED) {
            let prepared = self.fold.prepare(&batch.definitions, events);
            let missing = self.fold.missing(&prepared);
            self.load(&batch.definitions, missing).await?;
            dead.extend(self.fold.absorb(&prepared));
            dead.extend(prepared.dead);
        }
        let puts = self.puts(&batch.definitions);
        let outcomes = self.store.put(&puts).await.map_err(away)?;
        for outcome in outcomes.iter().flatten() {
            match outcome {
                PutOutcome::Written | PutOutcome::Already => {}
                // Whatever is there instead is met again when it is loaded: there it costs its own entries only.
                PutOutcome::Stale | PutOutcome::Undecodable | PutOutcome::WrongType => return Err(SinkError::Stale),
            }
        }
        self.fold.clean();
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

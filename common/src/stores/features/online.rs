//! The feature state as an online store: which hash and field each slot is in, and when a hash expires.

use millrace_core::batch::SLOT;
use millrace_core::codec;
use millrace_core::definitions::{Definitions, Store, View};
use rustc_hash::FxHashMap;

use super::error::FeatureStoreError;
use super::put::{Put, PutOutcome};
use super::store::{FeatureStore, FoundFields};
use crate::names::Names;
use crate::stores::online::{OnlineStore, SlotAddress, SlotOutcome, SlotPut, SlotWriter, StoreFault, StoredSlot};

/// How long a hash without lifetime features is kept beyond its longest window, after the last put.
const RETENTION_MS: u64 = 3_600_000;

/// The slots of one namespace in Redis.
#[derive(Clone)]
pub struct FeatureSlots {
    store: FeatureStore,
    names: Names,
}

impl FeatureSlots {
    /// The slots under these names.
    pub fn new(store: FeatureStore, names: Names) -> Self {
        Self { store, names }
    }

    fn hash(&self, definitions: &Definitions, slot: SlotAddress<'_>) -> String {
        self.names.entity(&definitions.entities[slot.view.entity].name, slot.key.as_str())
    }
}

impl OnlineStore for FeatureSlots {
    const STORE: Store = Store::Redis;
    const NAME: &'static str = "redis";
    type Error = FeatureStoreError;

    fn fault(error: &FeatureStoreError) -> StoreFault {
        if error.is_refusal() { StoreFault::Call } else { StoreFault::Unavailable }
    }

    /// A hash needs no preparation.
    async fn prepare(&self, _: &View) -> Result<(), FeatureStoreError> {
        Ok(())
    }

    async fn load_slots(
        &self,
        definitions: &Definitions,
        writer: SlotWriter,
        slots: &[SlotAddress<'_>],
    ) -> Result<Vec<StoredSlot>, FeatureStoreError> {
        let read = |slot: &SlotAddress<'_>| (self.hash(definitions, *slot), [field(slot.view, writer)]);
        let found = self.store.read(&slots.iter().map(read).collect::<Vec<_>>()).await?;
        let value = |fields: FoundFields| match fields {
            Ok(fields) => Ok(fields.into_iter().next().flatten()),
            Err(wrong) => Err(wrong.to_string()),
        };
        Ok(found.into_iter().map(value).collect())
    }

    /// One put per entity key: its slots of all views together.
    async fn put_slots(
        &self,
        definitions: &Definitions,
        writer: SlotWriter,
        slots: &[SlotPut<'_>],
    ) -> Result<Vec<SlotOutcome>, FeatureStoreError> {
        let mut puts: Vec<Put> = Vec::new();
        let mut of_entity: FxHashMap<(usize, &str), usize> = FxHashMap::default();
        // For each slot, its put and its place in the put.
        let mut places = Vec::with_capacity(slots.len());
        for SlotPut { address, slot } in slots {
            let entity = address.view.entity;
            let put = *of_entity.entry((entity, address.key.as_str())).or_insert_with(|| {
                let expire_ms = expiry(definitions, entity, writer);
                puts.push(Put { key: self.hash(definitions, *address), expire_ms, slots: Vec::with_capacity(2) });
                puts.len() - 1
            });
            places.push((put, puts[put].slots.len()));
            puts[put].slots.push((field(address.view, writer), codec::encode(slot)));
        }
        let outcomes = self.store.put(&puts).await?;
        let missing = || FeatureStoreError::Unexpected("a put without an outcome".to_owned());
        let outcome = |(put, slot): (usize, usize)| outcomes.get(put)?.get(slot).map(outcome_of);
        places.into_iter().map(|place| outcome(place).ok_or_else(missing)).collect()
    }
}

fn field(view: &View, writer: SlotWriter) -> String {
    match writer {
        SlotWriter::Partition(partition) => format!("{}|{partition}", view.id()),
        SlotWriter::Batch => format!("{}|{SLOT}", view.id()),
    }
}

/// The time after which a hash of that entity expires. None: never, because a lifetime value or a batch view's is in it.
fn expiry(definitions: &Definitions, entity: usize, writer: SlotWriter) -> Option<u64> {
    match writer {
        SlotWriter::Batch => None,
        SlotWriter::Partition(_) => {
            let views = definitions.views.iter().filter(|view| view.entity == entity && view.store == Store::Redis);
            let longest = views.map(View::horizon).try_fold(0, |longest, horizon| Some(longest.max(horizon?)))?;
            Some(u64::try_from(longest).unwrap_or(0) + RETENTION_MS)
        }
    }
}

fn outcome_of(outcome: &PutOutcome) -> SlotOutcome {
    match outcome {
        PutOutcome::Written => SlotOutcome::Written,
        PutOutcome::Already => SlotOutcome::Already,
        PutOutcome::Stale => SlotOutcome::Stale,
        PutOutcome::WrongType => {
            SlotOutcome::NotASlot("the key holds no hash (WRONGTYPE); it was left as it is".to_owned())
        }
        PutOutcome::Undecodable => {
            SlotOutcome::NotASlot("the stored value is not a slot that this version reads; it was left as it is".into())
        }
    }
}

//! Profiles as an online store: slots are loaded from and put into the collections of their views.

use std::collections::BTreeMap;

use millrace_core::definitions::{Definitions, Store, View};
use millrace_core::partition::Partition;

use super::error::ProfileError;
use super::put::{ProfilePut, ProfileWritten};
use super::store::ProfileStore;
use crate::stores::online::{OnlineStore, SlotAddress, SlotOutcome, SlotPut, SlotWriter, StoreFault, StoredSlot};

/// The most documents that are loaded at once.
const KEYS_PER_LOAD: usize = 1_000;

impl OnlineStore for ProfileStore {
    const STORE: Store = Store::MongoDb;
    const NAME: &'static str = "mongodb";
    type Error = ProfileError;

    fn fault(error: &ProfileError) -> StoreFault {
        if error.is_passing() { StoreFault::Unavailable } else { StoreFault::Lasting }
    }

    async fn prepare(&self, view: &View) -> Result<(), ProfileError> {
        self.ensure(view).await
    }

    /// A view has one document per key, whoever writes it.
    async fn load_slots(
        &self,
        _: &Definitions,
        _: SlotWriter,
        slots: &[SlotAddress<'_>],
    ) -> Result<Vec<StoredSlot>, ProfileError> {
        let mut by_view: BTreeMap<(&str, u32), Vec<usize>> = BTreeMap::new();
        for (index, slot) in slots.iter().enumerate() {
            by_view.entry((&slot.view.name, slot.view.version)).or_default().push(index);
        }
        let mut found: Vec<StoredSlot> = slots.iter().map(|_| Ok(None)).collect();
        for indices in by_view.into_values() {
            for chunk in indices.chunks(KEYS_PER_LOAD) {
                let keys: Vec<&str> = chunk.iter().map(|index| slots[*index].key.as_str()).collect();
                let mut stored = self.load(slots[chunk[0]].view, &keys).await?;
                for (index, key) in chunk.iter().zip(keys) {
                    found[*index] = Ok(stored.remove(key));
                }
            }
        }
        Ok(found)
    }

    async fn put_slots(
        &self,
        _: &Definitions,
        writer: SlotWriter,
        slots: &[SlotPut<'_>],
    ) -> Result<Vec<SlotOutcome>, ProfileError> {
        let partition = match writer {
            SlotWriter::Partition(partition) => partition,
            // A run belongs to no partition.
            SlotWriter::Batch => Partition(0),
        };
        let puts: Vec<ProfilePut<'_>> = slots
            .iter()
            .map(|SlotPut { address, slot }| ProfilePut { view: address.view, key: address.key, slot, partition })
            .collect();
        Ok(self.put(&puts).await?.into_iter().map(outcome_of).collect())
    }
}

fn outcome_of(written: ProfileWritten) -> SlotOutcome {
    match written {
        ProfileWritten::Written => SlotOutcome::Written,
        ProfileWritten::Already => SlotOutcome::Already,
        ProfileWritten::Stale => SlotOutcome::Stale,
        ProfileWritten::Refused(reason) => SlotOutcome::Refused(reason),
    }
}

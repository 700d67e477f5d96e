//! The slots of one partition that are held in memory, and absorbing events into them. Knows no store: a sink loads the
//! slots that are missing, writes the ones that have changed, and says when they are durable.

use std::collections::BTreeMap;

use millrace_common::log::DeadLetter;
use millrace_common::worker::Batch;
use millrace_core::definitions::{Definitions, Store};
use millrace_core::event::Event;
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::slot::{Absorbed, Slot};
use rustc_hash::FxHashMap;

use crate::extract::{Extracted, Extractor, SlotIndex, Touch, dead_letter};

/// The index of the view, and the key.
pub type SlotKey = (usize, KeyText);

/// The slots of one partition, for as long as one owner has it.
pub struct Fold {
    extractor: Extractor,
    capacity: usize,
    version: Option<u32>,
    slots: Vec<HeldSlot>,
    /// For each view the slots of its keys: an event looks up each of its slots once.
    by_key: Vec<FxHashMap<KeyText, SlotIndex>>,
    dirty: Vec<SlotIndex>,
}

struct HeldSlot {
    key: SlotKey,
    state: HeldState,
    dirty: bool,
}

enum HeldState {
    /// To be loaded before anything is absorbed.
    Missing,
    Loaded(Slot),
    /// The stored value cannot be read: it is left as it is, and its entries are dead-lettered.
    Unreadable(String),
}

impl Fold {
    /// Folds for the views of `store`. About `capacity` slots at most stay in memory between batches.
    pub fn new(partition: Partition, store: Store, sink: &'static str, capacity: usize) -> Self {
        let (slots, by_key, dirty) = (Vec::new(), Vec::new(), Vec::new());
        Self { extractor: Extractor { partition, store, sink }, capacity, version: None, slots, by_key, dirty }
    }

    /// Forgets everything: the stored slots may be newer.
    pub fn reset(&mut self) {
        self.slots.clear();
        self.by_key.clear();
        self.dirty.clear();
    }

    /// Makes room for a batch.
    pub fn begin(&mut self, batch: &Batch) {
        // Another version gives the index of a view to another view.
        let is_other_version = self.version.replace(batch.version).is_some_and(|version| version != batch.version);
        if is_other_version || self.slots.len() > self.capacity {
            self.reset();
        }
        self.by_key.resize_with(batch.definitions.views.len(), FxHashMap::default);
    }

    /// Takes events of the batch apart. The dead letters are a function of the events alone, so a commit that is repeated
    /// finds the same ones.
    pub fn extract<'b>(&mut self, definitions: &'b Definitions, events: &'b [(Position, Event)]) -> Extracted<'b> {
        let extractor = self.extractor;
        extractor.extract(definitions, events, |view, key| self.index(view, key))
    }

    /// The slots that must be loaded before these events can be absorbed.
    pub fn missing(&self, extracted: &Extracted<'_>) -> Vec<SlotIndex> {
        let touched = extracted.touches.iter().map(|touch| touch.slot);
        let mut missing: Vec<SlotIndex> =
            touched.filter(|slot| matches!(self.slots[*slot].state, HeldState::Missing)).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// The view and key of a slot.
    pub fn key(&self, slot: SlotIndex) -> &SlotKey {
        &self.slots[slot].key
    }

    /// Takes in a slot as it is stored.
    pub fn load(&mut self, slot: SlotIndex, stored: Slot) {
        self.slots[slot].state = HeldState::Loaded(stored);
    }

    /// Notes that a stored slot cannot be read. It is never begun again from nothing.
    pub fn set_unreadable(&mut self, slot: SlotIndex, reason: String) {
        let HeldSlot { key: (view, key), state, .. } = &mut self.slots[slot];
        tracing::error!(sink = self.extractor.sink, view, key = key.as_str(), reason, "slot undecodable");
        metrics::counter!("millrace_slots_undecodable_total", "sink" => self.extractor.sink).increment(1);
        *state = HeldState::Unreadable(reason);
    }

    /// Absorbs events, whose slots are all loaded or unreadable. A slot skips the entries that it has absorbed before.
    /// Returns the events that could not be absorbed.
    pub fn absorb(&mut self, extracted: &Extracted<'_>) -> Vec<DeadLetter> {
        let (mut late, mut counted) = (0, 0);
        let mut dead = Vec::new();
        for Touch { slot: index, stamp, inputs } in &extracted.touches {
            let HeldSlot { key: (view, key), state, dirty } = &mut self.slots[*index];
            let view = &extracted.definitions.views[*view];
            let mut leave_out = |reason| dead.push(dead_letter(self.extractor.sink, view, key, *stamp, reason));
            let slot = match state {
                HeldState::Loaded(slot) => slot,
                HeldState::Missing => {
                    leave_out("the slot is not loaded".to_owned());
                    continue;
                }
                HeldState::Unreadable(reason) => {
                    leave_out(reason.clone());
                    continue;
                }
            };
            match slot.absorb(view, *stamp, &extracted.inputs[inputs.clone()]) {
                Ok(Absorbed::Already) => continue,
                Ok(Absorbed::Late) => late += 1,
                Ok(Absorbed::Counted) => counted += 1,
                Err(error) => {
                    leave_out(error.to_string());
                    *state = HeldState::Unreadable(error.to_string());
                    continue;
                }
            }
            if !*dirty {
                *dirty = true;
                self.dirty.push(*index);
            }
        }
        metrics::counter!("millrace_events_absorbed_total", "sink" => self.extractor.sink).increment(counted);
        metrics::counter!("millrace_events_late_total", "sink" => self.extractor.sink).increment(late);
        dead
    }

    /// The slots that have changed since they were last durable.
    pub fn dirty(&self) -> impl Iterator<Item = (SlotIndex, &SlotKey, &Slot)> {
        self.dirty.iter().filter_map(|index| match &self.slots[*index] {
            HeldSlot { key, state: HeldState::Loaded(slot), .. } => Some((*index, key, slot)),
            HeldSlot { state: HeldState::Missing | HeldState::Unreadable(_), .. } => None,
        })
    }

    /// Notes that every slot that was dirty is durable.
    pub fn clean(&mut self) {
        for index in self.dirty.drain(..) {
            self.slots[index].dirty = false;
        }
    }

    /// Dead-letters everything that the batch means for slots that the store will never take. Their states are dropped:
    /// the stored ones count.
    pub fn dead_letter(&mut self, batch: &Batch, refused: &BTreeMap<SlotIndex, String>) -> Vec<DeadLetter> {
        for slot in refused.keys() {
            self.slots[*slot].state = HeldState::Missing;
        }
        let extracted = self.extract(&batch.definitions, &batch.events);
        let missed = extracted.touches.iter().filter_map(|touch| Some((touch, refused.get(&touch.slot)?)));
        let letter = |(touch, reason): (&Touch<'_>, &String)| {
            let (view, key) = self.key(touch.slot);
            dead_letter(self.extractor.sink, &extracted.definitions.views[*view], key, touch.stamp, reason.clone())
        };
        missed.map(letter).collect()
    }

    fn index(&mut self, view: usize, key: &KeyText) -> SlotIndex {
        if let Some(index) = self.by_key[view].get(key) {
            return *index;
        }
        let index = self.slots.len();
        self.slots.push(HeldSlot { key: (view, key.clone()), state: HeldState::Missing, dirty: false });
        self.by_key[view].insert(key.clone(), index);
        index
    }
}

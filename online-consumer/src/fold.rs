//! Absorbs batches into slots held in memory: the part that both sinks of the group `online` share. Knows no store:
//! a sink loads what is missing, takes what has changed, and says when it is durable.

use std::sync::Arc;

use millrace_common::log::DeadLetter;
use millrace_common::worker::Batch;
use millrace_core::aggregate::Stamp;
use millrace_core::definitions::{Definitions, Route, RouteInput, Store, ValueType, View};
use millrace_core::event::Event;
use millrace_core::extract;
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::{Absorbed, Slot};
use rustc_hash::FxHashMap;
use serde_json::value::RawValue;

/// Which slot: index of the view, and the key.
pub type SlotKey = (usize, KeyText);

/// The slots of one partition, one epoch long.
pub struct Fold {
    partition: Partition,
    store: Store,
    sink: &'static str,
    capacity: usize,
    version: Option<u32>,
    slots: FxHashMap<SlotKey, Hot>,
    /// Slots whose stored value is none that this engine reads: left alone, and their entries are dead letters.
    refused: FxHashMap<SlotKey, String>,
    dirty: Vec<SlotKey>,
}

struct Hot {
    slot: Slot,
    dirty: bool,
}

/// A batch taken apart: what each event means to each view, and what it could not mean.
pub struct Prepared<'b> {
    definitions: Arc<Definitions>,
    touches: Vec<Touch<'b>>,
    /// Events that a view leaves out, and why.
    pub dead: Vec<DeadLetter>,
}

/// One event in one view.
struct Touch<'b> {
    slot: SlotKey,
    stamp: Stamp<'b>,
    inputs: Vec<Option<Scalar<'b>>>,
}

impl Fold {
    /// Folds for the views of `store`. At most about `capacity` slots stay in memory between batches.
    pub fn new(partition: Partition, store: Store, sink: &'static str, capacity: usize) -> Self {
        let (slots, refused) = (FxHashMap::default(), FxHashMap::default());
        Self { partition, store, sink, capacity, version: None, slots, refused, dirty: Vec::new() }
    }

    /// Forgets everything: what is stored may have moved on.
    pub fn reset(&mut self) {
        self.slots.clear();
        self.refused.clear();
        self.dirty.clear();
    }

    /// Takes a batch apart. A function of the batch alone, so that a repeated commit finds the same dead letters.
    pub fn prepare<'b>(&self, batch: &'b Batch) -> Prepared<'b> {
        let mut prepared = Prepared { definitions: batch.definitions.clone(), touches: Vec::new(), dead: Vec::new() };
        for (position, event) in &batch.events {
            self.prepare_event(&batch.definitions, *position, event, &mut prepared);
        }
        prepared
    }

    /// The slots that must be loaded before the batch can be absorbed.
    pub fn missing(&mut self, batch: &Batch, prepared: &Prepared<'_>) -> Vec<SlotKey> {
        // Views are known by index, which another version gives to another view.
        if self.version.replace(batch.version).is_some_and(|version| version != batch.version)
            || self.slots.len() > self.capacity
        {
            self.reset();
        }
        let mut missing: FxHashMap<&SlotKey, ()> = FxHashMap::default();
        for touch in &prepared.touches {
            if !self.slots.contains_key(&touch.slot) && !self.refused.contains_key(&touch.slot) {
                missing.insert(&touch.slot, ());
            }
        }
        missing.into_keys().cloned().collect()
    }

    /// Takes in a slot as it is stored.
    pub fn load(&mut self, key: SlotKey, slot: Slot) {
        self.slots.insert(key, Hot { slot, dirty: false });
    }

    /// Takes in that a stored slot cannot be read: it is never begun again from nothing.
    pub fn refuse(&mut self, key: SlotKey, reason: String) {
        tracing::error!(sink = self.sink, view = key.0, key = key.1.as_str(), reason, "slot undecodable");
        metrics::counter!("millrace_slots_undecodable_total", "sink" => self.sink).increment(1);
        self.refused.insert(key, reason);
    }

    /// Absorbs the batch; every slot it touches is loaded or refused. Entries that a slot has already are skipped.
    /// Answers what could not be absorbed.
    pub fn absorb(&mut self, prepared: &Prepared<'_>) -> Vec<DeadLetter> {
        let (mut late, mut counted) = (0, 0);
        let mut dead = Vec::new();
        for Touch { slot: key, stamp, inputs } in &prepared.touches {
            let Some(hot) = self.slots.get_mut(key) else {
                let view = &prepared.definitions.views[key.0];
                let reason = self.refused.get(key).map_or_else(|| "the slot is not loaded".to_owned(), Clone::clone);
                dead.push(self.dead(view, &key.1, *stamp, reason));
                continue;
            };
            match hot.slot.absorb(&prepared.definitions.views[key.0], *stamp, inputs) {
                Absorbed::Already => continue,
                Absorbed::Late => late += 1,
                Absorbed::Counted => counted += 1,
            }
            if !hot.dirty {
                hot.dirty = true;
                self.dirty.push(key.clone());
            }
        }
        metrics::counter!("millrace_events_absorbed_total", "sink" => self.sink).increment(counted);
        metrics::counter!("millrace_events_late_total", "sink" => self.sink).increment(late);
        dead
    }

    /// Dead letters for everything that the batch meant for one slot, whose store will never take it. Its state is
    /// dropped: what is stored is what counts.
    pub fn bury(&mut self, prepared: &Prepared<'_>, key: &SlotKey, reason: &str) -> Vec<DeadLetter> {
        self.slots.remove(key);
        let view = &prepared.definitions.views[key.0];
        let missed = prepared.touches.iter().filter(|touch| touch.slot == *key);
        missed.map(|touch| self.dead(view, &key.1, touch.stamp, reason.to_owned())).collect()
    }

    /// What has changed since it was last durable.
    pub fn dirty(&self) -> impl Iterator<Item = (&SlotKey, &Slot)> {
        self.dirty.iter().filter_map(|key| self.slots.get(key).map(|hot| (key, &hot.slot)))
    }

    /// Everything that was dirty is durable.
    pub fn clean(&mut self) {
        for key in self.dirty.drain(..) {
            if let Some(hot) = self.slots.get_mut(&key) {
                hot.dirty = false;
            }
        }
    }

    fn prepare_event<'b>(
        &self,
        definitions: &Definitions,
        position: Position,
        event: &'b Event,
        prepared: &mut Prepared<'b>,
    ) {
        let Some((_, event_type)) = definitions.event(&event.event_type) else { return };
        let routes = event_type.routes.iter().filter(|route| definitions.views[route.view].store == self.store);
        let mut properties = None;
        for route in routes {
            let view = &definitions.views[route.view];
            let key_of = |index: usize| {
                let entity = event_type.entities.get(index)?;
                event.key(&definitions.entities[*entity].name)
            };
            let Some(key) = key_of(route.key) else { continue };
            let found = properties.get_or_insert_with(|| extract::properties(event_type, &event.properties));
            let inputs = match found {
                Ok(found) => read_inputs(view, route, found, key_of),
                Err(error) => Err(format!("properties: {error}")),
            };
            let stamp = Stamp {
                feature_time: event.feature_time(position),
                event_id: event.id.as_str(),
                position,
                partition: self.partition,
            };
            match inputs {
                Ok(inputs) => prepared.touches.push(Touch { slot: (route.view, key.clone()), stamp, inputs }),
                Err(reason) => prepared.dead.push(self.dead(view, key, stamp, reason)),
            }
        }
    }

    fn dead(&self, view: &View, key: &KeyText, stamp: Stamp<'_>, reason: String) -> DeadLetter {
        DeadLetter {
            group: "online".to_owned(),
            sink: self.sink.to_owned(),
            view: Some(view.id()),
            key: Some(key.to_string()),
            position: stamp.position,
            event_id: Some(stamp.event_id.to_owned()),
            reason,
            raw: String::new(),
        }
    }
}

fn read_inputs<'b>(
    view: &View,
    route: &Route,
    properties: &[Option<&'b RawValue>],
    key_of: impl Fn(usize) -> Option<&'b KeyText>,
) -> Result<Vec<Option<Scalar<'b>>>, String> {
    let read = |(input, (_, kind)): (&RouteInput, &(_, ValueType))| match input {
        RouteInput::Property(index) => match properties[*index] {
            Some(raw) => Scalar::read(raw.get(), kind).map_err(|error| error.to_string()),
            None => Ok(None),
        },
        RouteInput::Key(index) => Ok(match key_of(*index) {
            Some(key) if *kind == ValueType::Int64 => key.as_str().parse().ok().map(Scalar::Int),
            Some(key) => key.parts().into_iter().next().map(|part| Scalar::Text(part.into())),
            None => None,
        }),
    };
    route.inputs.iter().zip(&view.inputs).map(read).collect()
}

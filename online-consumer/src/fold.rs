//! Absorbs batches into slots held in memory: the part that both sinks of the group `online` share. Knows no store:
//! a sink loads what is missing, takes what has changed, and says when it is durable.

use std::ops::Range;

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

/// Where a slot is held until the fold forgets everything.
pub type Place = usize;

/// The slots of one partition, one epoch long.
pub struct Fold {
    partition: Partition,
    store: Store,
    sink: &'static str,
    capacity: usize,
    version: Option<u32>,
    slots: Vec<Held>,
    /// For each view, where the slots of its keys are: an event looks each of its slots up once.
    places: Vec<FxHashMap<KeyText, Place>>,
    dirty: Vec<Place>,
}

struct Held {
    key: SlotKey,
    state: State,
    dirty: bool,
}

enum State {
    /// To be loaded before anything is absorbed.
    Missing,
    Loaded(Slot),
    /// Its stored value is none that this engine reads: left alone, and its entries are dead letters.
    Refused(String),
}

/// Events taken apart: what each means to each view, and what it could not mean.
pub struct Prepared<'b> {
    definitions: &'b Definitions,
    touches: Vec<Touch<'b>>,
    /// Of all touches, one after the other.
    inputs: Vec<Option<Scalar<'b>>>,
    /// Events that a view leaves out, and why.
    pub dead: Vec<DeadLetter>,
}

/// One event in one view.
struct Touch<'b> {
    place: Place,
    stamp: Stamp<'b>,
    inputs: Range<usize>,
}

impl Fold {
    /// Folds for the views of `store`. At most about `capacity` slots stay in memory between batches.
    pub fn new(partition: Partition, store: Store, sink: &'static str, capacity: usize) -> Self {
        let (slots, places, dirty) = (Vec::new(), Vec::new(), Vec::new());
        Self { partition, store, sink, capacity, version: None, slots, places, dirty }
    }

    /// Forgets everything: what is stored may have moved on.
    pub fn reset(&mut self) {
        self.slots.clear();
        self.places.clear();
        self.dirty.clear();
    }

    /// Makes room for a batch.
    pub fn begin(&mut self, batch: &Batch) {
        // Views are known by index, which another version gives to another view.
        if self.version.replace(batch.version).is_some_and(|version| version != batch.version)
            || self.slots.len() > self.capacity
        {
            self.reset();
        }
        self.places.resize_with(batch.definitions.views.len(), FxHashMap::default);
    }

    /// Takes events of the batch apart. What is dead is a function of the events alone, so that a repeated commit finds
    /// the same.
    pub fn prepare<'b>(&mut self, definitions: &'b Definitions, events: &'b [(Position, Event)]) -> Prepared<'b> {
        let mut prepared = Prepared { definitions, touches: Vec::new(), inputs: Vec::new(), dead: Vec::new() };
        for (position, event) in events {
            self.prepare_event(*position, event, &mut prepared);
        }
        prepared
    }

    /// The slots that must be loaded before those events can be absorbed, and their keys.
    pub fn missing(&self, prepared: &Prepared<'_>) -> Vec<(Place, SlotKey)> {
        let touched = prepared.touches.iter().map(|touch| touch.place);
        let mut missing: Vec<Place> =
            touched.filter(|place| matches!(self.slots[*place].state, State::Missing)).collect();
        missing.sort_unstable();
        missing.dedup();
        missing.into_iter().map(|place| (place, self.slots[place].key.clone())).collect()
    }

    /// Takes in a slot as it is stored.
    pub fn load(&mut self, place: Place, slot: Slot) {
        self.slots[place].state = State::Loaded(slot);
    }

    /// Takes in that a stored slot cannot be read: it is never begun again from nothing.
    pub fn refuse(&mut self, place: Place, reason: String) {
        let Held { key: (view, key), state, .. } = &mut self.slots[place];
        tracing::error!(sink = self.sink, view, key = key.as_str(), reason, "slot undecodable");
        metrics::counter!("millrace_slots_undecodable_total", "sink" => self.sink).increment(1);
        *state = State::Refused(reason);
    }

    /// Absorbs events; every slot they touch is loaded or refused. Entries that a slot has already are skipped.
    /// Answers what could not be absorbed.
    pub fn absorb(&mut self, prepared: &Prepared<'_>) -> Vec<DeadLetter> {
        let (mut late, mut counted) = (0, 0);
        let mut dead = Vec::new();
        for Touch { place, stamp, inputs } in &prepared.touches {
            let Held { key: (view, key), state, dirty } = &mut self.slots[*place];
            let view = &prepared.definitions.views[*view];
            let slot = match state {
                State::Loaded(slot) => slot,
                State::Missing => {
                    dead.push(dead_letter(self.sink, view, key, *stamp, "the slot is not loaded".to_owned()));
                    continue;
                }
                State::Refused(reason) => {
                    dead.push(dead_letter(self.sink, view, key, *stamp, reason.clone()));
                    continue;
                }
            };
            match slot.absorb(view, *stamp, &prepared.inputs[inputs.clone()]) {
                Absorbed::Already => continue,
                Absorbed::Late => late += 1,
                Absorbed::Counted => counted += 1,
            }
            if !*dirty {
                *dirty = true;
                self.dirty.push(*place);
            }
        }
        metrics::counter!("millrace_events_absorbed_total", "sink" => self.sink).increment(counted);
        metrics::counter!("millrace_events_late_total", "sink" => self.sink).increment(late);
        dead
    }

    /// Dead letters for everything that those events meant for one slot, whose store will never take it. Its state is
    /// dropped: what is stored is what counts.
    pub fn bury(&mut self, prepared: &Prepared<'_>, place: Place, reason: &str) -> Vec<DeadLetter> {
        let Held { key: (view, key), state, .. } = &mut self.slots[place];
        *state = State::Missing;
        let view = &prepared.definitions.views[*view];
        let missed = prepared.touches.iter().filter(|touch| touch.place == place);
        missed.map(|touch| dead_letter(self.sink, view, key, touch.stamp, reason.to_owned())).collect()
    }

    /// What has changed since it was last durable.
    pub fn dirty(&self) -> impl Iterator<Item = (Place, &SlotKey, &Slot)> {
        self.dirty.iter().filter_map(|place| match &self.slots[*place] {
            Held { key, state: State::Loaded(slot), .. } => Some((*place, key, slot)),
            _ => None,
        })
    }

    /// Everything that was dirty is durable.
    pub fn clean(&mut self) {
        for place in self.dirty.drain(..) {
            self.slots[place].dirty = false;
        }
    }

    fn prepare_event<'b>(&mut self, position: Position, event: &'b Event, prepared: &mut Prepared<'b>) {
        let definitions = prepared.definitions;
        let Some((_, event_type)) = definitions.event(&event.event_type) else { return };
        let store = self.store;
        let routes = event_type.routes.iter().filter(|route| definitions.views[route.view].store == store);
        let stamp = Stamp {
            feature_time: event.feature_time(position),
            event_id: event.id.as_str(),
            position,
            partition: self.partition,
        };
        let key_of = |index: usize| {
            let entity = event_type.entities.get(index)?;
            event.key(&definitions.entities[*entity].name)
        };
        let mut properties = None;
        for route in routes {
            let view = &definitions.views[route.view];
            let Some(key) = key_of(route.key) else { continue };
            let start = prepared.inputs.len();
            let found = properties.get_or_insert_with(|| extract::properties(event_type, &event.properties));
            let read = match found {
                Ok(found) => read_inputs(view, route, found, key_of, &mut prepared.inputs),
                Err(error) => Err(format!("properties: {error}")),
            };
            match read {
                Ok(()) => {
                    let inputs = start..prepared.inputs.len();
                    prepared.touches.push(Touch { place: self.place(route.view, key), stamp, inputs });
                }
                Err(reason) => {
                    prepared.inputs.truncate(start);
                    prepared.dead.push(dead_letter(self.sink, view, key, stamp, reason));
                }
            }
        }
    }

    fn place(&mut self, view: usize, key: &KeyText) -> Place {
        if let Some(place) = self.places[view].get(key) {
            return *place;
        }
        let place = self.slots.len();
        self.slots.push(Held { key: (view, key.clone()), state: State::Missing, dirty: false });
        self.places[view].insert(key.clone(), place);
        place
    }
}

fn dead_letter(sink: &str, view: &View, key: &KeyText, stamp: Stamp<'_>, reason: String) -> DeadLetter {
    DeadLetter {
        group: "online".to_owned(),
        sink: sink.to_owned(),
        view: Some(view.id()),
        key: Some(key.to_string()),
        position: stamp.position,
        event_id: Some(stamp.event_id.to_owned()),
        reason,
        raw: String::new(),
    }
}

/// Adds the view's inputs to `inputs`, in its order.
fn read_inputs<'b>(
    view: &View,
    route: &Route,
    properties: &[Option<&'b RawValue>],
    key_of: impl Fn(usize) -> Option<&'b KeyText>,
    inputs: &mut Vec<Option<Scalar<'b>>>,
) -> Result<(), String> {
    for (input, (_, kind)) in route.inputs.iter().zip(&view.inputs) {
        inputs.push(match input {
            RouteInput::Property(index) => match properties[*index] {
                Some(raw) => Scalar::read(raw.get(), kind).map_err(|error| error.to_string())?,
                None => None,
            },
            RouteInput::Key(index) => match key_of(*index) {
                Some(key) if *kind == ValueType::Int64 => key.as_str().parse().ok().map(Scalar::Int),
                Some(key) => key.parts().into_iter().next().map(|part| Scalar::Text(part.into())),
                None => None,
            },
        });
    }
    Ok(())
}

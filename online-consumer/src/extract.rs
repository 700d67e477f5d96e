//! Takes events apart: which slots each event touches, and the inputs of each. An event's properties are found once, and
//! each property is read once per type, however many views read it.

use std::ops::Range;

use millrace_common::log::DeadLetter;
use millrace_core::aggregate::Stamp;
use millrace_core::definitions::{Definitions, EventType, Route, RouteInput, Store, ValueType, View};
use millrace_core::event::Event;
use millrace_core::extract;
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use serde_json::value::RawValue;

/// The index of a slot in the fold.
pub type SlotIndex = usize;

/// Events taken apart.
pub struct Extracted<'b> {
    /// The definitions that they were read by.
    pub definitions: &'b Definitions,
    /// Each event in each of its views, in log order.
    pub touches: Vec<Touch<'b>>,
    /// The inputs of all touches, one after the other.
    pub inputs: Vec<Option<Scalar<'b>>>,
    /// The events that a view leaves out, and why. A function of the events alone.
    pub dead: Vec<DeadLetter>,
}

/// One event in one view.
pub struct Touch<'b> {
    /// The slot that absorbs it.
    pub slot: SlotIndex,
    /// The time and the position of the event.
    pub stamp: Stamp<'b>,
    /// Its inputs, as a range of [`Extracted::inputs`].
    pub inputs: Range<usize>,
}

/// Takes events apart for the views of one store.
#[derive(Clone, Copy)]
pub struct Extractor {
    /// The partition of the events.
    pub partition: Partition,
    /// The store whose views read them.
    pub store: Store,
    /// The sink that dead letters name.
    pub sink: &'static str,
}

impl Extractor {
    /// Takes the events apart. `slot_of` gives the slot of a view (by its index) for a key.
    pub fn extract<'b>(
        &self,
        definitions: &'b Definitions,
        events: &'b [(Position, Event)],
        mut slot_of: impl FnMut(usize, &'b KeyText) -> SlotIndex,
    ) -> Extracted<'b> {
        let mut extracted = Extracted { definitions, touches: Vec::new(), inputs: Vec::new(), dead: Vec::new() };
        let mut reads = Vec::new();
        for (position, event) in events {
            let Some((_, event_type)) = definitions.event(&event.event_type) else { continue };
            reads.clear();
            let keys = EventKeys { definitions, event_type, event };
            let mut properties = None;
            let stamp = Stamp {
                feature_time: event.feature_time(*position),
                event_id: event.id.as_str(),
                position: *position,
                partition: self.partition,
            };
            for route in event_type.routes.iter().filter(|route| definitions.views[route.view].store == self.store) {
                let view = &definitions.views[route.view];
                let Some(key) = keys.at(route.key) else { continue };
                let start = extracted.inputs.len();
                let found = properties.get_or_insert_with(|| extract::properties(event_type, &event.properties));
                let read = match found {
                    Ok(found) => read_inputs(view, route, found, keys, &mut reads, &mut extracted.inputs),
                    Err(error) => Err(format!("properties: {error}")),
                };
                match read {
                    Ok(()) => {
                        let (slot, inputs) = (slot_of(route.view, key), start..extracted.inputs.len());
                        extracted.touches.push(Touch { slot, stamp, inputs });
                    }
                    Err(reason) => extracted.dead.push(dead_letter(self.sink, view, key, stamp, reason)),
                }
            }
        }
        extracted
    }
}

/// The record of an event that a view has missed.
pub fn dead_letter(sink: &str, view: &View, key: &KeyText, stamp: Stamp<'_>, reason: String) -> DeadLetter {
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

/// The entity keys of one event.
#[derive(Clone, Copy)]
struct EventKeys<'b> {
    definitions: &'b Definitions,
    event_type: &'b EventType,
    event: &'b Event,
}

impl<'b> EventKeys<'b> {
    /// The key of the entity at `index` of the type's entities.
    fn at(&self, index: usize) -> Option<&'b KeyText> {
        let entity = self.event_type.entities.get(index)?;
        self.event.key(&self.definitions.entities[*entity].name)
    }
}

/// One property of the event at hand that was read as one type.
struct PropertyRead<'b> {
    property: usize,
    kind: &'b ValueType,
    /// The index of the value among the inputs, or the reason why it could not be read.
    value: Result<usize, String>,
}

/// Adds the view's inputs to `inputs`, in its order. Values that an earlier view has read are taken over.
fn read_inputs<'b>(
    view: &'b View,
    route: &Route,
    properties: &[Option<&'b RawValue>],
    keys: EventKeys<'b>,
    reads: &mut Vec<PropertyRead<'b>>,
    inputs: &mut Vec<Option<Scalar<'b>>>,
) -> Result<(), String> {
    for (input, (_, kind)) in route.inputs.iter().zip(&view.inputs) {
        let value = match input {
            RouteInput::Absent => None,
            RouteInput::Key(index) => keys.at(*index).and_then(|key| key_input(key, kind)),
            RouteInput::Property(property) => {
                let known = reads.iter().find(|read| read.property == *property && read.kind == kind);
                match known.map(|read| &read.value) {
                    Some(Ok(at)) => inputs[*at].clone(),
                    Some(Err(reason)) => return Err(reason.clone()),
                    None => {
                        let read = read_property(properties[*property], kind);
                        let value = read.as_ref().map(|_| inputs.len()).map_err(Clone::clone);
                        reads.push(PropertyRead { property: *property, kind, value });
                        read?
                    }
                }
            }
        };
        inputs.push(value);
    }
    Ok(())
}

fn read_property<'b>(raw: Option<&'b RawValue>, kind: &ValueType) -> Result<Option<Scalar<'b>>, String> {
    raw.map_or(Ok(None), |raw| Scalar::read(raw.get(), kind).map_err(|error| error.to_string()))
}

/// A key as an input. A composite key has no input type of its own: its first part counts.
fn key_input<'b>(key: &'b KeyText, kind: &ValueType) -> Option<Scalar<'b>> {
    if *kind == ValueType::Int64 {
        return key.as_str().parse().ok().map(Scalar::Int);
    }
    key.parts().into_iter().next().map(|part| Scalar::Text(part.into()))
}

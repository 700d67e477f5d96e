//! How an event reaches a view: which key it is folded under and where each input is found. Computed once, so that
//! absorbing an entry looks nothing up by name.

use super::ValueType;
use super::model::{EventType, InputSource, Store, View};
use crate::decimal::DecimalType;

/// A property that some view reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyPath {
    /// Path segments below `properties`.
    pub segments: Vec<String>,
    /// The finest decimal that any view reads it as; such a property is kept as a string everywhere.
    pub decimal: Option<DecimalType>,
}

impl PropertyPath {
    /// `properties.a.b`, for messages.
    pub fn text(&self) -> String {
        format!("properties.{}", self.segments.join("."))
    }
}

/// One event type's way into one view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the view.
    pub view: usize,
    /// Which of the event's keys (index into its type's `entities`) the entry is folded under.
    pub key: usize,
    /// For each of the view's inputs, where it is.
    pub inputs: Vec<RouteInput>,
}

/// Where one input is found in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteInput {
    /// The event's key at this index of its type's `entities`.
    Key(usize),
    /// The value at this index of its type's `paths`.
    Property(usize),
}

/// Gives each event type the paths that its views read and the way to each input.
pub(super) fn route(views: &[View], events: &mut [EventType]) {
    for (event_index, event) in events.iter_mut().enumerate() {
        for (view_index, view) in views.iter().enumerate() {
            let Some(key) = event.entities.iter().position(|entity| *entity == view.entity) else { continue };
            if !view.from.contains(&event_index) {
                continue;
            }
            let inputs = view.inputs.iter().map(|(source, kind)| route_input(event, source, kind)).collect();
            if view.store != Store::ClickHouse {
                event.routes.push(Route { view: view_index, key, inputs });
            }
        }
    }
}

fn route_input(event: &mut EventType, source: &InputSource, kind: &ValueType) -> RouteInput {
    match source {
        // A key that this type does not carry reads as absent: a property that cannot exist.
        InputSource::Key(entity) => match event.entities.iter().position(|carried| carried == entity) {
            Some(index) => RouteInput::Key(index),
            None => RouteInput::Key(usize::MAX),
        },
        // No event reaches a batch view, so nothing is looked for.
        InputSource::Column(_) => RouteInput::Key(usize::MAX),
        InputSource::Property(segments) => {
            let index = match event.paths.iter().position(|path| path.segments == *segments) {
                Some(index) => index,
                None => {
                    event.paths.push(PropertyPath { segments: segments.clone(), decimal: None });
                    event.paths.len() - 1
                }
            };
            if let ValueType::Decimal(shape) = kind {
                let finest = &mut event.paths[index].decimal;
                *finest = Some(finest.map_or(*shape, |other| DecimalType {
                    precision: other.precision.max(shape.precision),
                    scale: other.scale.max(shape.scale),
                }));
            }
            let read = (index, kind.clone());
            if *kind != ValueType::Any && !event.reads.contains(&read) {
                event.reads.push(read);
            }
            RouteInput::Property(index)
        }
    }
}

//! Computes how each event reaches each view: which key it is folded under and where each input is found. Absorbing an
//! entry then looks nothing up by name.

use super::ValueType;
use super::event_type::{EventType, PropertyPath, Route, RouteInput};
use super::view::{InputSource, Store, View};
use crate::decimal::DecimalType;

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
        InputSource::Key(entity) => {
            let carried = event.entities.iter().position(|carried| carried == entity);
            carried.map_or(RouteInput::Absent, RouteInput::Key)
        }
        // No event reaches a batch view.
        InputSource::Column(_) => RouteInput::Absent,
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

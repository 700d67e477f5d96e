//! The declarations of a team: entities, event types, feature views and services. `source` is the YAML as written, `check`
//! turns it into the compiled model and reports every mistake with its line, and `model` is what all parts read.

mod check;
mod duration;
mod entity;
mod event_type;
mod evolve;
mod model;
mod reference;
mod route;
mod schedule;
mod service;
mod source;
mod types;
mod view;

pub use crate::window::Window;
pub use check::{DefinitionErrors, EVENT_TIME};
pub use duration::{format_duration, parse_duration};
pub use entity::Entity;
pub use event_type::{EventType, PropertyPath, Route, RouteInput};
pub use model::Definitions;
pub use reference::VersionedName;
pub use schedule::{InvalidSchedule, Schedule};
pub use service::{Service, ServiceVersion};
pub use source::{DefinitionsSource, SchemaFile};
pub use types::{InvalidType, ValueType};
pub use view::{BatchQuery, Feature, InputSource, Slots, Store, View, WindowSpec};

#[cfg(test)]
mod tests;

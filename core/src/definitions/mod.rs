//! What a team declares once: entities, event types, feature views, services. `source` is the YAML as written,
//! `check` turns it into the compiled model and reports every mistake with its line, `model` is what all parts read.

mod check;
mod duration;
mod evolve;
mod model;
mod route;
mod schedule;
mod source;
mod types;

pub use check::{DefinitionErrors, EVENT_TIME};
pub use duration::{format_duration, parse_duration};
pub use model::{
    Aggregation, BatchQuery, Definitions, Entity, EventType, Feature, InputSource, Service, ServiceVersion, Slots,
    Store, View, Window, WindowSpec,
};
pub use route::{PropertyPath, Route, RouteInput};
pub use schedule::{InvalidSchedule, Schedule};
pub use source::{DefinitionsSource, SchemaFile};
pub use types::{InvalidType, ValueType};

#[cfg(test)]
mod tests;

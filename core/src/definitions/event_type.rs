//! Event types: which keys and properties an event carries, and how it reaches the views that read it.

use super::ValueType;
use crate::decimal::DecimalType;
use crate::schema::Schema;

/// A type of event.
#[derive(Debug)]
pub struct EventType {
    /// Its name.
    pub name: String,
    /// Index of the entity whose key decides the partition; one of `entities`.
    pub partition_by: usize,
    /// Indices of the entities whose keys an event carries. Only the partitioning one is required.
    pub entities: Vec<usize>,
    /// The schema of `properties`, if any.
    pub schema: Option<Schema>,
    /// The properties that any view reads, each once.
    pub paths: Vec<PropertyPath>,
    /// As which types those properties are read, by any view: what a valid event must be readable as.
    pub reads: Vec<(usize, ValueType)>,
    /// The streaming views that absorb this type, and where they find their inputs.
    pub routes: Vec<Route>,
    /// For people.
    pub description: String,
}

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
    /// Nowhere: the event cannot carry it, so it reads as null.
    Absent,
}

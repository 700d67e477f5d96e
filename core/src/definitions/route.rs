//! How an event reaches a view: which key it is folded under and where each input is found. Computed once, so that
//! absorbing an entry looks nothing up by name.

/// A property that some view reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyPath {
    /// Path segments below `properties`.
    pub segments: Vec<String>,
    /// The finest decimal that any view reads it as; such a property is kept as a string everywhere.
    pub decimal: Option<crate::decimal::DecimalType>,
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

//! An event from the outside until it is known to be valid: `RawEvent ─validate→ Event`, or `Rejected`. The form of a
//! valid event in the log is left to [`crate::entry`], the fast path to [`crate::fast_path`].

mod model;
mod properties;
mod raw;
#[cfg(test)]
mod tests;
mod validate;

pub use model::{Event, EventId, MAX_EVENT_BYTES, MAX_FUTURE_MS, MAX_NAME_BYTES, Rejected};
pub use raw::{EventForm, Fields, RawEvent};
pub(crate) use validate::{event_time, name_field};

//! One typed value: how a feature reads it from an event's JSON, and how a finished value is written for readers.

mod read;
mod value;

pub use read::{InvalidValue, MAX_NESTED_BYTES, MAX_TEXT_BYTES};
pub use value::{Scalar, int_json};

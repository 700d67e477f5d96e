//! Feature state in Redis: one hash per entity key, one field per slot. Reads ask for exact fields in one round trip;
//! writes are monotonic puts.
//!
//! `store` has the connections, `put` the form of a put, `online` the interface that all online stores have.

mod error;
mod online;
mod put;
mod store;

pub use error::FeatureStoreError;
pub use online::FeatureSlots;
pub use put::{Put, PutOutcome};
pub use store::{FeatureStore, FoundFields, WrongType};

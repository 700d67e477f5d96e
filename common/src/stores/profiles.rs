//! Profiles in MongoDB: one collection per view, one readable document per key, put monotonically.
//!
//! `document` knows the shape of a document, `store` loads and reads them, `put` writes one, `search` finds entities,
//! `migrate` makes the indexes, `online` is the interface that all online stores have. The meaning of a state is left to
//! `core`.

mod document;
mod error;
mod migrate;
mod online;
mod put;
mod search;
mod store;

pub use error::ProfileError;
pub use migrate::migrate;
pub use put::{ProfilePut, ProfileWritten};
pub use search::{Condition, Search, Test};
pub use store::ProfileStore;

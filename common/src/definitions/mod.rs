//! Definitions as services use them: compiled once per process (`cache`), and followed as `millrace apply` puts new
//! ones in force (`follower`). Where they are stored and since when they are in force is `crate::log::registry`'s.

mod cache;
mod follower;

pub use cache::{DefinitionsCache, DefinitionsError};
pub use follower::{CurrentDefinitions, DefinitionsFollower};

//! Follows the definitions that are in force in every partition: the ones that a service may go by.

use std::sync::Arc;

use millrace_core::definitions::Definitions;

use super::{DefinitionsCache, DefinitionsError};
use crate::log::{Log, registry};

/// Looks for the definitions in force, as often as its owner asks.
#[derive(Clone)]
pub struct DefinitionsFollower {
    log: Log,
    cache: DefinitionsCache,
}

/// The newest definitions that are in force in every partition.
#[derive(Clone)]
pub struct CurrentDefinitions {
    /// Their number.
    pub version: u32,
    /// The compiled definitions; the same `Arc` as long as the version stays the same.
    pub definitions: Arc<Definitions>,
}

impl DefinitionsFollower {
    /// Follows the definitions of that log.
    pub fn new(log: Log) -> Self {
        Self { cache: DefinitionsCache::new(log.clone()), log }
    }

    /// The log that it follows.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Looks once. Returns None before the first `millrace apply`.
    pub async fn current(&self) -> Result<Option<CurrentDefinitions>, DefinitionsError> {
        let Some(version) = registry::everywhere(&self.log).await? else { return Ok(None) };
        let definitions = self.cache.get(version).await?;
        Ok(Some(CurrentDefinitions { version, definitions }))
    }
}

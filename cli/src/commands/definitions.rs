//! The definitions in force, and batch views by the names that people write.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use millrace_common::config::StoreConfig;
use millrace_common::definitions::DefinitionsFollower;
use millrace_common::jobs::batch_views;
use millrace_common::log::{Log, LogError};
use millrace_common::names::Names;
use millrace_core::definitions::Definitions;

/// Opens the log of an installation.
pub async fn open_log(stores: &StoreConfig) -> Result<Log, LogError> {
    Log::open(&stores.redis_url, Names::new(&stores.namespace)).await
}

/// The version that every partition has reached.
pub async fn in_force(follower: &DefinitionsFollower) -> anyhow::Result<Arc<Definitions>> {
    let current = follower.current().await?.context("no definitions are in force; run `millrace apply` first")?;
    Ok(current.definitions)
}

/// The error for a reference to a batch view that is not in force.
pub fn unknown_batch_view(definitions: &Definitions, reference: &str) -> anyhow::Error {
    let known: Vec<String> = batch_views(definitions).into_iter().map(|(_, view)| view.id()).collect();
    anyhow!("no batch view `{reference}` is in force; write one of: {}", known.join(", "))
}

//! Compiled definitions by their version. A version never changes, so each is loaded and compiled once per process.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_core::definitions::{Definitions, DefinitionsSource};
use tokio::sync::Mutex;

use crate::log::{Log, LogError, registry};

/// The versions that this process has used so far.
#[derive(Clone)]
pub struct DefinitionsCache {
    log: Log,
    versions: Arc<Mutex<BTreeMap<u32, Arc<Definitions>>>>,
}

/// Why a version cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionsError {
    /// The log did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It does not compile in this binary: a newer one wrote it.
    #[error("definitions version {version} do not compile in this binary; run a newer one: {errors}")]
    Uncompilable {
        /// Its number.
        version: u32,
        /// The compiler's errors.
        errors: String,
    },
    /// The log names a version that is not stored.
    #[error("definitions version {0} are not stored beside the log")]
    Unknown(u32),
}

impl DefinitionsCache {
    /// An empty cache. It knows version 0, which defines nothing and is in force before the first `apply`.
    pub fn new(log: Log) -> Self {
        Self { log, versions: Arc::default() }
    }

    /// The compiled definitions of that version.
    pub async fn get(&self, version: u32) -> Result<Arc<Definitions>, DefinitionsError> {
        let mut versions = self.versions.lock().await;
        if let Some(known) = versions.get(&version) {
            return Ok(known.clone());
        }
        let source = match version {
            0 => DefinitionsSource { yaml: "{}".to_owned(), schemas: BTreeMap::new() },
            _ => registry::definitions(&self.log, version).await?.ok_or(DefinitionsError::Unknown(version))?,
        };
        let compiled = Definitions::compile(source)
            .map_err(|errors| DefinitionsError::Uncompilable { version, errors: errors.to_string() })?;
        let compiled = Arc::new(compiled);
        versions.insert(version, compiled.clone());
        Ok(compiled)
    }
}

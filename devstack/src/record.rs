//! `stack.json`: which processes serve a folder, so that another process can find, use and stop them.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::DevstackError;
use crate::kind::StoreKind;
use crate::launch::StoreLaunch;
use crate::process::ProcessIdentity;
use crate::wait;

const FILE: &str = "stack.json";
/// How long to wait for the folder's lock: its holder may be fetching the tools for the first time.
pub(crate) const LOCK: Duration = Duration::from_secs(15 * 60);

/// All native stores of a detached stack.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StackRecord {
    /// At most one of each kind.
    pub(crate) stores: Vec<StoreRecord>,
}

/// One native store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoreRecord {
    /// Which store.
    pub(crate) kind: StoreKind,
    /// Where a client finds it. People read it; devstack does not.
    pub(crate) url: String,
    /// How it was started.
    pub(crate) launch: StoreLaunch,
    /// The process.
    pub(crate) process: ProcessIdentity,
}

impl StackRecord {
    /// Reads the folder's file. The record is empty when there is no file, or when an older version wrote it.
    pub(crate) fn read(dir: &Path) -> Self {
        let text = fs::read(dir.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Replaces the file in one step.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), DevstackError> {
        let path = dir.join(FILE);
        let text = serde_json::to_vec_pretty(self).map_err(|error| DevstackError::file(&path)(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(DevstackError::file(dir))?;
        std::io::Write::write_all(&mut file, &text).map_err(DevstackError::file(&path))?;
        file.persist(&path).map(drop).map_err(|error| DevstackError::file(&path)(error.error))
    }

    /// Removes the file.
    pub(crate) fn remove(dir: &Path) -> Result<(), DevstackError> {
        let path = dir.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DevstackError::file(path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The record of one store.
    pub(crate) fn store(&self, kind: StoreKind) -> Option<&StoreRecord> {
        self.stores.iter().find(|store| store.kind == kind)
    }

    /// Puts a store's record in place of the one of its kind.
    pub(crate) fn set(&mut self, store: StoreRecord) {
        self.stores.retain(|other| other.kind != store.kind);
        self.stores.push(store);
    }
}

/// Waits for the folder's lock. A stack that is not detached holds the lock as long as it lives.
pub(crate) fn lock(dir: &Path, limit: Duration) -> Result<File, DevstackError> {
    fs::create_dir_all(dir).map_err(DevstackError::file(dir))?;
    let path = dir.join("stack.lock");
    let file = File::create(&path).map_err(DevstackError::file(&path))?;
    let locked = wait::until(limit, || file.try_lock().is_ok());
    if locked { Ok(file) } else { Err(DevstackError::InUse(dir.to_owned())) }
}

//! The stores' programs: found on this machine, or fetched once into a cache that all checkouts share.
//!
//! A tool is written to the cache under a file lock and marked complete last, so that neither a second process nor a broken
//! download leaves an incomplete tool. Every function here blocks.

pub mod chdb;
pub mod chdb_http;
pub mod chromium;
pub(crate) mod command;
pub mod mongodb;
pub mod python;
pub mod redis;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::DevstackError;

const COMPLETE: &str = ".complete";

/// The folder `$MILLRACE_TOOLS`, or else `millrace` in the user's cache folder.
pub fn cache_dir() -> Result<PathBuf, DevstackError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("MILLRACE_TOOLS")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("millrace")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/millrace")))
        .ok_or_else(|| DevstackError::Missing {
            tool: "cache folder",
            advice: "set MILLRACE_TOOLS to a folder for fetched programs".to_owned(),
        })
}

/// The folder `name` of the cache, made by `make` if it is not there yet or no longer `works`.
fn cached(
    name: &str,
    works: impl Fn(&Path) -> bool,
    make: impl FnOnce(&Path) -> Result<(), DevstackError>,
) -> Result<PathBuf, DevstackError> {
    let folder = cache_dir()?.join(name);
    let _lock = lock(&folder.with_file_name(format!("{name}.lock")))?;
    if folder.join(COMPLETE).exists() && works(&folder) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(DevstackError::file(&folder))?;
    }
    fs::create_dir_all(&folder).map_err(DevstackError::file(&folder))?;
    make(&folder)?;
    fs::write(folder.join(COMPLETE), "").map_err(DevstackError::file(&folder))?;
    Ok(folder)
}

/// Waits for a file lock, held until dropped.
pub(crate) fn lock(path: &Path) -> Result<File, DevstackError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(DevstackError::file(parent))?;
    }
    let file = File::create(path).map_err(DevstackError::file(path))?;
    file.lock().map_err(DevstackError::file(path))?;
    Ok(file)
}

/// Prints why a caller has to wait.
fn say(what: &str) {
    eprintln!("devstack: {what}");
}

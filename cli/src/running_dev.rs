//! The addresses of a running `millrace dev`, in a file of its folder, so that commands in another terminal find them.

use std::fmt::{self, Display};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use millrace_devstack::process::ProcessIdentity;
use serde::{Deserialize, Serialize};

/// The default folder of `millrace dev`.
pub const DEFAULT_DIR: &str = ".millrace/dev";
/// The setting of that folder.
pub const DIR_VARIABLE: &str = "MILLRACE_DEV_DIR";

const FILE: &str = "dev.json";

/// Where a running `millrace dev` can be reached. The URLs of given stores may hold passwords.
#[derive(Clone, Deserialize, Serialize)]
pub struct RunningDev {
    /// The process that keeps the stores and services running.
    pub process: ProcessIdentity,
    /// The log.
    pub redis_url: String,
    /// The feature state, if it is elsewhere.
    pub redis_features_url: Option<String>,
    /// Profiles.
    pub mongodb_url: String,
    /// The offline store.
    pub clickhouse_url: String,
    /// The installation's namespace.
    pub namespace: String,
    /// Where events go.
    pub ingest_url: String,
    /// Where features come from.
    pub server_url: String,
}

impl RunningDev {
    /// Reads a folder's file. Returns None if there is no such file, or if the process that wrote it has ended.
    pub fn find(dir: &Path) -> Option<Self> {
        let text = std::fs::read(path(dir)).ok()?;
        let dev: Self = serde_json::from_slice(&text).ok()?;
        dev.process.is_alive().then_some(dev)
    }

    /// Writes the file in one step. Only this user can read it.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            anyhow::Ok(file.persist(path(dir))?)
        };
        write().map(drop).with_context(|| format!("failed to write {}", path(dir).display()))
    }

    /// Removes the file of a folder.
    pub fn remove(dir: &Path) -> anyhow::Result<()> {
        match std::fs::remove_file(path(dir)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", path(dir).display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Display for RunningDev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stores = [&self.redis_url, &self.mongodb_url, &self.clickhouse_url].map(|url| without_credentials(url));
        write!(f, "{}, namespace {}", stores.join(", "), self.namespace)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// A URL without user, password and parameters, to be printed.
pub fn without_credentials(url: &str) -> String {
    let url = url.split('?').next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_url_has_no_credentials() {
        assert_eq!(without_credentials("redis://127.0.0.1:6379"), "redis://127.0.0.1:6379");
        assert_eq!(without_credentials("redis://:secret@store:6379/1"), "redis://store:6379/1");
        assert_eq!(without_credentials("mongodb://u:p%2F@a:1,b:2/db?authSource=x"), "mongodb://a:1,b:2/db");
        assert_eq!(without_credentials("http://host/?user=u&password=p"), "http://host/");
    }
}

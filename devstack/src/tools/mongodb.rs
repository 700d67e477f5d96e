//! MongoDB: `mongod` where it is installed, otherwise SecantusDB in a virtualenv of the cache.
//!
//! SecantusDB speaks MongoDB's wire protocol over MongoDB's storage engine, WiredTiger. It is GPL-2.0: a program of its own
//! that is fetched and run, never linked or shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::DevstackError;
use crate::tools::command::{on_path, run};
use crate::tools::{cached, python, say};

/// SecantusDB's version on PyPI.
pub const SECANTUS_VERSION: &str = "0.7.0b3";

/// A program that serves MongoDB's protocol.
#[derive(Debug, Clone)]
pub enum Server {
    /// The real one, and its version.
    Mongod(PathBuf, String),
    /// SecantusDB, and an empty configuration that keeps it from reading one of the user's.
    Secantus(PathBuf, PathBuf),
}

impl Server {
    /// Name and version, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Mongod(_, version) => format!("mongod {version}"),
            Self::Secantus(..) => {
                format!("SecantusDB {SECANTUS_VERSION} (WiredTiger, wire protocol 8.2)")
            }
        }
    }
}

/// `mongod` from PATH, or SecantusDB, fetched if it is not in the cache (60 MB).
pub fn server() -> Result<Server, DevstackError> {
    if let Some(program) = on_path("mongod") {
        let text = run(Command::new(&program).arg("--version"))?;
        // `db version v7.0.5`
        let version = text.lines().next().and_then(|line| line.rsplit(" v").next()).unwrap_or("?");
        return Ok(Server::Mongod(program, version.to_owned()));
    }
    let works = |folder: &Path| {
        launcher(folder).is_file() && configuration(folder).is_file() && folder.join("bin/python3").exists()
    };
    let folder = cached(&format!("secantusdb-{SECANTUS_VERSION}"), works, fetch)?;
    Ok(Server::Secantus(launcher(&folder), configuration(&folder)))
}

fn launcher(folder: &Path) -> PathBuf {
    folder.join("bin/secantusd-py")
}

fn configuration(folder: &Path) -> PathBuf {
    folder.join("empty.toml")
}

fn fetch(folder: &Path) -> Result<(), DevstackError> {
    say(&format!("fetching SecantusDB {SECANTUS_VERSION} (60 MB)"));
    python::install(folder, &[format!("secantusdb=={SECANTUS_VERSION}")])?;
    let configuration = configuration(folder);
    std::fs::write(&configuration, "").map_err(DevstackError::file(configuration))
}

//! Why a store could not be fetched, started or stopped, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Anything that goes wrong with the stores.
#[derive(Debug, thiserror::Error)]
pub enum DevstackError {
    /// A file or folder of ours cannot be used.
    #[error("failed to use {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program that we need is not there.
    #[error("failed to run {program}: {source}")]
    Program {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program that we ran said no.
    #[error("{command} failed:\n{output}")]
    Command {
        /// What was run.
        command: String,
        /// The end of what it printed.
        output: String,
    },
    /// A setting that is no address.
    #[error("{variable} is `{text}`, which is no address; write for example 127.0.0.1:8080")]
    Address {
        /// Its name.
        variable: &'static str,
        /// What it says.
        text: String,
    },
    /// A service's port is not free.
    #[error("{service} cannot listen on {address}: {source}; stop what holds it")]
    Port {
        /// Which service.
        service: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A tool is missing and cannot be fetched here.
    #[error("{tool} is missing: {advice}")]
    Missing {
        /// What is missing.
        tool: &'static str,
        /// What a person can do.
        advice: String,
    },
    /// A store ended, or did not answer in time.
    #[error("{store} {what}; the end of {log}:\n{tail}")]
    NotReady {
        /// Which store.
        store: &'static str,
        /// What happened.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The store was given by its URL, so it is not ours to start or stop.
    #[error("{0} is given by its URL: it is not ours to start or stop")]
    NotOurs(&'static str),
    /// Two stacks cannot share a folder.
    #[error("{0} is in use by another stack; end that one or choose another folder")]
    InUse(PathBuf),
    /// A started store's process does not do what it was told.
    #[error("failed to signal process {pid}: {source}")]
    Signal {
        /// The process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// Something of ours broke off.
    #[error("devstack task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl DevstackError {
    /// For `map_err` where a file is concerned.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

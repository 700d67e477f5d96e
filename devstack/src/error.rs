//! Why a store or a service could not be fetched, started or stopped, and what a person can do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum DevstackError {
    /// A file or folder cannot be used.
    #[error("failed to use {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("failed to run {program}: {source}")]
    Program {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{command} failed:\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// The end of its output.
        output: String,
    },
    /// A setting is not an address.
    #[error("{variable} is `{text}`, which is not an address; write for example 127.0.0.1:8080")]
    Address {
        /// The setting's name.
        variable: &'static str,
        /// Its text.
        text: String,
    },
    /// A service's port is not free.
    #[error("port {port} of {ip} is not free for {service} ({source}); stop the program that holds it, or {advice}",
        port = address.port(), ip = address.ip())]
    Port {
        /// Which service.
        service: &'static str,
        /// Where it would listen.
        address: SocketAddr,
        /// Which setting moves it.
        advice: String,
        /// Why.
        source: io::Error,
    },
    /// A tool is missing and cannot be fetched here.
    #[error("{tool} is missing: {advice}")]
    Missing {
        /// The missing tool.
        tool: &'static str,
        /// The remedy.
        advice: String,
    },
    /// A store or service ended, or did not answer in time.
    #[error("{program} {what}; the end of {log}:\n{tail}")]
    NotReady {
        /// The name of the store or service.
        program: &'static str,
        /// The rest of a sentence about it, such as `ended before it answered`.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The store was given by its URL, so devstack does not start or stop it.
    #[error("{0} is given by its URL; devstack starts and stops only the stores that it runs itself")]
    GivenByUrl(&'static str),
    /// Two stacks cannot share a folder.
    #[error("{0} is in use by another stack; stop that one or choose another folder")]
    InUse(PathBuf),
    /// A process cannot be signalled, or does not end.
    #[error("failed to signal process {pid}: {source}")]
    Signal {
        /// The process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// A task of devstack was cancelled or panicked.
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

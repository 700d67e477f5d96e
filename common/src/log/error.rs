//! Errors of the log, and whether the same call may succeed later.

use millrace_core::position::InvalidPosition;
use redis::RedisError;

/// Why the log did not do a call.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Redis was not reached, did not answer in time, or answered with an error.
    #[error("failed to {doing}: {source}")]
    Redis {
        /// The work of the call, as a verb and its object: "read the log's memory".
        doing: &'static str,
        /// Redis's or the driver's error.
        source: RedisError,
    },
    /// An answer that no version of Millrace gives.
    #[error("unexpected answer when asked to {doing}: {reply}")]
    Unexpected {
        /// The work of the call, as a verb and its object: "read the log's memory".
        doing: &'static str,
        /// The beginning of the answer.
        reply: String,
    },
    /// This namespace has no log.
    #[error("there is no log under `{0}`; run `millrace migrate`")]
    NotCreated(String),
    /// The function library of this binary is not loaded.
    #[error("the function library {library} lacks {missing}; run `millrace migrate`")]
    LibraryMissing {
        /// Its name.
        library: &'static str,
        /// The first function that is missing.
        missing: String,
    },
    /// The log exists with other properties, which never change.
    #[error("the log has {what} {stored}, not {wanted}; a log keeps the properties that it was created with")]
    Different {
        /// The property.
        what: &'static str,
        /// The log's value.
        stored: String,
        /// The value that was asked for.
        wanted: String,
    },
    /// A newer binary made the log.
    #[error("the log's {what} `{stored}` is not known to this binary; run a newer one")]
    Unknown {
        /// The property.
        what: &'static str,
        /// The log's value.
        stored: String,
    },
    /// Redis may evict entries.
    #[error("redis has maxmemory-policy `{0}` and may drop the log; set it to noeviction")]
    Evicts(String),
    /// The log holds a text that is not a position.
    #[error(transparent)]
    Position(#[from] InvalidPosition),
    /// The stored definitions cannot be parsed.
    #[error("definitions version {version} cannot be read: {source}")]
    Definitions {
        /// Their version.
        version: u32,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// Another process applied other definitions at the same time.
    #[error("another process has just stored definitions version {0}; read them and apply again")]
    Overtaken(u32),
}

/// Why an event is not in the log, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Not appended: the log's memory is filling up. It will have room again when consumers have caught up.
    #[error("the log is under memory pressure")]
    Pressure,
    /// Not appended: the log was not reached, or refused the event.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// Sent, and no answer came: the event may be in the log. It is safe to send it again with the same id.
    #[error("the log did not answer: {0}")]
    Unknown(String),
}

/// Redis's codes for a call that may succeed later: it is loading, runs a long script, fails over, or has no memory (which
/// draining frees).
pub(crate) const NOT_NOW: [&str; 9] =
    ["LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "MISCONF", "OOM"];

impl LogError {
    /// Whether the same call may succeed later, without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Redis { source, .. } => {
                source.is_io_error() || source.code().is_some_and(|code| NOT_NOW.contains(&code))
            }
            Self::Unexpected { .. }
            | Self::NotCreated(_)
            | Self::LibraryMissing { .. }
            | Self::Different { .. }
            | Self::Unknown { .. }
            | Self::Evicts(_)
            | Self::Position(_)
            | Self::Definitions { .. }
            | Self::Overtaken(_) => false,
        }
    }

    /// Whether Redis refused because it is full.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Redis { source, .. } if source.code() == Some("OOM"))
    }
}

/// For `map_err`: names the call.
pub(super) fn failed(doing: &'static str) -> impl Fn(RedisError) -> LogError {
    move |source| LogError::Redis { doing, source }
}

/// The error for an answer of another shape.
pub(super) fn unexpected(doing: &'static str, reply: &impl std::fmt::Debug) -> LogError {
    LogError::Unexpected { doing, reply: format!("{reply:?}").chars().take(200).collect() }
}

/// The outcome of an event that Redis refused.
pub(super) fn refused(error: &RedisError) -> AppendError {
    if error.code() == Some("OOM") { AppendError::Pressure } else { AppendError::Unavailable(error.to_string()) }
}

/// The outcome of an event whose partition has no stream.
pub(super) fn stream_gone() -> AppendError {
    AppendError::Unavailable("the partition's stream is gone; run `millrace migrate`".to_owned())
}

//! What can go wrong at the log, and whether trying again can help.

use millrace_core::position::InvalidPosition;
use redis::RedisError;

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Redis was not reached, did not answer in time, or answered with an error.
    #[error("failed to {doing}: {source}")]
    Redis {
        /// What was asked.
        doing: &'static str,
        /// Redis's or the driver's word.
        source: RedisError,
    },
    /// An answer of another shape than every version of ours gives.
    #[error("unexpected answer when asked to {doing}: {reply}")]
    Unexpected {
        /// What was asked.
        doing: &'static str,
        /// The beginning of what came.
        reply: String,
    },
    /// There is no log under this namespace.
    #[error("there is no log under `{0}`; run `millrace migrate`")]
    NotCreated(String),
    /// The function library of this binary is not loaded.
    #[error("the function library {library} lacks {missing}; run `millrace migrate`")]
    LibraryMissing {
        /// Its name.
        library: &'static str,
        /// The first function that is not there.
        missing: String,
    },
    /// The log exists and is another one: what it was created with never changes.
    #[error("the log has {what} {stored}, not {wanted}; a log keeps what it was created with")]
    Different {
        /// Which of its properties.
        what: &'static str,
        /// As created.
        stored: String,
        /// As asked for.
        wanted: String,
    },
    /// The log was made by a binary that knows more.
    #[error("the log's {what} `{stored}` is not known to this binary; run a newer one")]
    Unknown {
        /// Which of its properties.
        what: &'static str,
        /// As created.
        stored: String,
    },
    /// Redis may throw entries away.
    #[error("redis has maxmemory-policy `{0}` and may drop the log; set it to noeviction")]
    Evicts(String),
    /// What the log holds where a position belongs.
    #[error(transparent)]
    Position(#[from] InvalidPosition),
    /// Stored definitions that are no JSON of ours.
    #[error("definitions version {version} cannot be read: {source}")]
    Definitions {
        /// Their number.
        version: u32,
        /// The parser's word.
        source: serde_json::Error,
    },
    /// Somebody else applied other definitions at the same time.
    #[error("definitions version {0} were stored by somebody else just now; look at them and apply again")]
    Overtaken(u32),
}

/// Codes with which Redis says "not now": loading, a long script, a failover, or no memory (which draining frees).
pub(crate) const NOT_NOW: [&str; 9] =
    ["LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "MISCONF", "OOM"];

impl LogError {
    /// Whether the same call may succeed later, without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Redis { source, .. } => {
                source.is_io_error() || source.code().is_some_and(|code| NOT_NOW.contains(&code))
            }
            _ => false,
        }
    }

    /// Whether Redis refused because it is full.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Redis { source, .. } if source.code() == Some("OOM"))
    }
}

/// For `map_err`: says what was being done.
pub(super) fn failed(doing: &'static str) -> impl Fn(RedisError) -> LogError {
    move |source| LogError::Redis { doing, source }
}

/// An answer that makes no sense.
pub(super) fn unexpected(doing: &'static str, reply: &impl std::fmt::Debug) -> LogError {
    LogError::Unexpected { doing, reply: format!("{reply:?}").chars().take(200).collect() }
}

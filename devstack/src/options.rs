//! The options of a stack.

use std::path::PathBuf;

/// How a stack runs.
#[derive(Debug, Clone, Default)]
pub struct StackOptions {
    /// The folder of data and logs. It is made if it is missing, and data in it is used again.
    pub dir: PathBuf,
    /// A Redis to use instead of starting one.
    pub redis_url: Option<String>,
    /// A MongoDB to use instead of starting one.
    pub mongodb_url: Option<String>,
    /// A ClickHouse to use instead of starting one.
    pub clickhouse_url: Option<String>,
    /// Redis answers a write only after fsync (`appendfsync always`); otherwise a kill can lose the last second.
    pub redis_fsync_always: bool,
    /// Redis's `maxmemory` in bytes; none by default.
    pub redis_maxmemory: Option<u64>,
    /// Whether the stores outlive this process. Otherwise they are killed when it ends, for any reason.
    pub detached: bool,
}

impl StackOptions {
    /// All stores native, in this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }

    /// Like [`Self::new`], but `REDIS_URL`, `MONGODB_URL` and `CLICKHOUSE_URL` each replace their store if they are set.
    pub fn from_env(dir: impl Into<PathBuf>) -> Self {
        let url = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            redis_url: url("REDIS_URL"),
            mongodb_url: url("MONGODB_URL"),
            clickhouse_url: url("CLICKHOUSE_URL"),
            ..Self::new(dir)
        }
    }
}

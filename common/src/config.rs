//! Settings that several binaries share, one documented struct per concern: the doc comment is the help text. Every
//! field can come from the environment; `.env.example` lists them all and a test compares.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

/// The addresses of the stores. Put passwords into the URLs of the environment, not on the command line.
#[derive(Clone, Args)]
#[command(next_help_heading = "Stores")]
pub struct StoreConfig {
    /// The log (Redis). Its `maxmemory-policy` must be `noeviction`.
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    pub redis_url: String,

    /// The feature state (Redis). By default the same Redis as the log.
    #[arg(long, env = "REDIS_FEATURES_URL", hide_env_values = true)]
    pub redis_features_url: Option<String>,

    /// Profiles (MongoDB).
    #[arg(long, env = "MONGODB_URL", default_value = "mongodb://127.0.0.1:27017", hide_env_values = true)]
    pub mongodb_url: String,

    /// The warehouse (ClickHouse, HTTP).
    #[arg(long, env = "CLICKHOUSE_URL", default_value = "http://127.0.0.1:8123", hide_env_values = true)]
    pub clickhouse_url: String,

    /// The prefix of every key, table, database and group name, so that installations can share stores. Small letters,
    /// digits and `_`.
    #[arg(long, env = "MILLRACE_NAMESPACE", default_value = "millrace", value_parser = parse_namespace)]
    pub namespace: String,
}

impl StoreConfig {
    /// The URL of the feature state.
    pub fn features_url(&self) -> &str {
        self.redis_features_url.as_deref().unwrap_or(&self.redis_url)
    }
}

impl std::fmt::Debug for StoreConfig {
    /// Leaves the URLs out: they may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreConfig").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// How a process logs, and how long it may take to stop.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessConfig {
    /// The log level, or directives such as `info,millrace_common=debug`.
    #[arg(long, env = "MILLRACE_LOG", default_value = "info")]
    pub log: String,

    /// The format of the log: `text` for people, `json` for machines.
    #[arg(long, env = "MILLRACE_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,

    /// How long work in flight may take to finish after a stop signal. Kubernetes kills after 30 s by default.
    #[arg(long, env = "MILLRACE_GRACE", default_value = "20s", value_parser = parse_duration)]
    pub grace: Duration,

    /// Start nothing. Ask the process that runs with these settings whether it is ready, and exit with 0 or 1.
    #[arg(long)]
    pub healthcheck: bool,
}

/// How a consumer works.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerConfig {
    /// The name of this worker, unique in its group. By default made from the host and the process.
    #[arg(long, env = "MILLRACE_WORKER_ID")]
    pub worker_id: Option<String>,

    /// The entries that are read at once from a partition. A larger number coalesces more writes of hot keys, and costs
    /// memory. Far behind, the Redis sink reads up to five times this number.
    #[arg(long, env = "MILLRACE_BATCH_ENTRIES", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub batch_entries: u32,

    /// How long a lease on a partition lives without renewal. The partitions of a killed worker stand still for this long.
    #[arg(long, env = "MILLRACE_LEASE", default_value = "5s", value_parser = parse_duration)]
    pub lease: Duration,

    /// Where `/healthz`, `/readyz` and `/metrics` are served. A second worker on one machine needs another port:
    /// `127.0.0.1:0` takes a free one, and the worker logs it.
    #[arg(long, env = "MILLRACE_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
}

impl WorkerConfig {
    /// The worker's name.
    pub fn worker_id(&self) -> String {
        self.worker_id.clone().unwrap_or_else(process_name)
    }

    /// The address of the admin routes: the configured one, or else `port` on loopback.
    pub fn admin_listen_or(&self, port: u16) -> SocketAddr {
        self.admin_listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into())
    }
}

/// Reads a duration as `core` does: `500ms`, `30s`, `5m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let ms = millrace_core::definitions::parse_duration(text).and_then(|ms| u64::try_from(ms).ok());
    ms.map(Duration::from_millis).ok_or_else(|| "expected a duration such as 500ms, 30s or 5m".to_owned())
}

fn parse_namespace(text: &str) -> Result<String, String> {
    let valid = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 48
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if valid {
        Ok(text.to_owned())
    } else {
        Err("expected at most 48 of a-z, 0-9 and _, beginning with a letter".into())
    }
}

/// A name for this process, made of the host and a unique number.
pub fn process_name() -> String {
    format!("{}-{}", hostname(), uuid::Uuid::now_v7().simple())
}

fn hostname() -> String {
    std::fs::read_to_string("/etc/hostname").map_or_else(|_| "worker".into(), |name| name.trim().to_owned())
}

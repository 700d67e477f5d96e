//! Settings of the feature server.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser};
use millrace_common::config::{ProcessConfig, StoreConfig, parse_duration};

/// Serves merged feature vectors from Redis, MongoDB and ClickHouse.
#[derive(Clone, Debug, Parser)]
#[command(name = "feature-server", version)]
pub struct Config {
    /// Where features are served. Loopback unless told otherwise.
    #[arg(long, env = "MILLRACE_SERVE_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// Where features are served over gRPC. Loopback unless told otherwise.
    #[arg(long, env = "MILLRACE_SERVE_GRPC_LISTEN", default_value = "127.0.0.1:50051")]
    pub grpc_listen: SocketAddr,

    /// What one request may ask for.
    #[command(flatten)]
    pub limits: Limits,

    /// How long each store may take.
    #[command(flatten)]
    pub budgets: Budgets,

    /// Values that are served again.
    #[command(flatten)]
    pub cache: CacheConfig,

    /// Views that ClickHouse computes at read.
    #[command(flatten)]
    pub on_demand: OnDemandConfig,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,

    /// The process.
    #[command(flatten)]
    pub process: ProcessConfig,
}

/// What one request may ask for; beyond it the answer is a 4xx that says so.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Keys in one request.
    #[arg(long, env = "MILLRACE_SERVE_MAX_KEYS", default_value_t = 1_000)]
    pub max_keys: usize,

    /// Features in one request.
    #[arg(long, env = "MILLRACE_SERVE_MAX_FEATURES", default_value_t = 1_000)]
    pub max_features: usize,

    /// Keys times features in one request: bounds the memory of its answer.
    #[arg(long, env = "MILLRACE_SERVE_MAX_VALUES", default_value_t = 100_000)]
    pub max_values: usize,

    /// The largest request body, or gRPC message, in bytes; a thousand keys of 256 bytes fit in.
    #[arg(long, env = "MILLRACE_SERVE_MAX_BODY", default_value_t = 1024 * 1024)]
    pub max_body: usize,

    /// How long a client may take to send its body.
    #[arg(long, env = "MILLRACE_SERVE_BODY_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    pub body_timeout: Duration,

    /// The most requests in hand at once; beyond it the answer is 503, so that memory stays bounded.
    #[arg(long, env = "MILLRACE_SERVE_MAX_REQUESTS", default_value_t = 2_000)]
    pub max_requests: usize,

    /// Searches for entities in hand at once: they may go through all documents of a view.
    #[arg(long, env = "MILLRACE_SERVE_MAX_SEARCHES", default_value_t = 4)]
    pub max_searches: usize,

    /// gRPC streams at once; each holds its keys in memory, some hundred bytes each.
    #[arg(long, env = "MILLRACE_SERVE_MAX_STREAMS", default_value_t = 4)]
    pub max_streams: usize,

    /// The largest request of a gRPC stream in bytes; some millions of keys fit in.
    #[arg(long, env = "MILLRACE_SERVE_MAX_STREAM_BODY", default_value_t = 64 * 1024 * 1024)]
    pub max_stream_body: usize,

    /// Fields inside each other in one GraphQL query.
    #[arg(long, env = "MILLRACE_SERVE_MAX_DEPTH", default_value_t = 10)]
    pub max_depth: usize,

    /// Fields in one GraphQL query, fragments spelled out; tools that look at the schema select some 300.
    #[arg(long, env = "MILLRACE_SERVE_MAX_SELECTED", default_value_t = 1_000)]
    pub max_selected: usize,
}

/// How long a store may take before its features come back without it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Time budgets")]
pub struct Budgets {
    /// The feature state (Redis).
    #[arg(long = "redis-budget", env = "MILLRACE_SERVE_REDIS_BUDGET", default_value = "100ms", value_parser = parse_duration)]
    pub redis: Duration,

    /// Profiles (MongoDB).
    #[arg(long = "mongodb-budget", env = "MILLRACE_SERVE_MONGODB_BUDGET", default_value = "100ms", value_parser = parse_duration)]
    pub mongodb: Duration,

    /// On-demand views (ClickHouse). A query that takes longer goes on, and its result serves the next request.
    #[arg(long = "clickhouse-budget", env = "MILLRACE_SERVE_CLICKHOUSE_BUDGET", default_value = "100ms", value_parser = parse_duration)]
    pub clickhouse: Duration,

    /// The whole answer: no store's budget reaches beyond it.
    #[arg(long, env = "MILLRACE_SERVE_DEADLINE", default_value = "250ms", value_parser = parse_duration)]
    pub deadline: Duration,

    /// A store's part of some hundred rows of a gRPC stream, for which nobody waits alone: a slow store is waited for.
    #[arg(long = "stream-budget", env = "MILLRACE_SERVE_STREAM_BUDGET", default_value = "10s", value_parser = parse_duration)]
    pub stream: Duration,

    /// A search for entities: people and jobs ask for it, not models.
    #[arg(long = "search-budget", env = "MILLRACE_SERVE_SEARCH_BUDGET", default_value = "2s", value_parser = parse_duration)]
    pub search: Duration,

    /// Connections to the feature state. Requests share them and their pipelines: the fewer, the more requests go out
    /// and come back in one call of the kernel; with two, a large answer does not hold up all others.
    #[arg(long, env = "MILLRACE_SERVE_REDIS_CONNECTIONS", default_value_t = 2)]
    pub redis_connections: usize,

    /// Connections to MongoDB, each of which carries one request at a time.
    #[arg(long, env = "MILLRACE_SERVE_MONGODB_CONNECTIONS", default_value_t = 50)]
    pub mongodb_connections: u32,
}

/// Values of MongoDB and ClickHouse that are served again without asking the store. Those of Redis never are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cache")]
pub struct CacheConfig {
    /// How long a value is served again where its view has no `cache` of its own; never longer than the view's `ttl`.
    #[arg(long = "cache-ttl", env = "MILLRACE_SERVE_CACHE_TTL", default_value = "60s", value_parser = parse_duration)]
    pub ttl: Duration,

    /// How long at most it is served again that a key is not known: new entities shall be seen soon.
    #[arg(long = "cache-absent-ttl", env = "MILLRACE_SERVE_CACHE_ABSENT_TTL", default_value = "5s", value_parser = parse_duration)]
    pub absent_ttl: Duration,

    /// Bytes of values that are kept, roughly.
    #[arg(long = "cache-bytes", env = "MILLRACE_SERVE_CACHE_BYTES", default_value_t = 64 * 1024 * 1024)]
    pub bytes: u64,
}

/// Values that ClickHouse computes at read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "On demand")]
pub struct OnDemandConfig {
    /// Queries that run at once, of one view at most a quarter of them. What is asked meanwhile waits and goes together
    /// in the next.
    #[arg(long, env = "MILLRACE_SERVE_MAX_QUERIES", default_value_t = 8)]
    pub max_queries: usize,

    /// How long one query may run.
    #[arg(long, env = "MILLRACE_SERVE_QUERY_TIMEOUT", default_value = "5s", value_parser = parse_duration)]
    pub query_timeout: Duration,
}

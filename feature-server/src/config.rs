//! The settings of the feature server. The doc comments are the help texts.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser};
use millrace_common::config::{ProcessConfig, StoreConfig, parse_duration};

/// Serves merged feature vectors from Redis, MongoDB and ClickHouse.
#[derive(Clone, Debug, Parser)]
#[command(name = "feature-server", version)]
pub struct Config {
    /// The address of REST and GraphQL. Loopback unless set otherwise.
    #[arg(long, env = "MILLRACE_SERVE_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// The address of gRPC. Loopback unless set otherwise.
    #[arg(long, env = "MILLRACE_SERVE_GRPC_LISTEN", default_value = "127.0.0.1:50051")]
    pub grpc_listen: SocketAddr,

    /// The limits of requests.
    #[command(flatten)]
    pub limits: Limits,

    /// The time budgets, and the connections to the stores.
    #[command(flatten)]
    pub budgets: Budgets,

    /// The cache.
    #[command(flatten)]
    pub cache: CacheConfig,

    /// Views that ClickHouse computes when they are read.
    #[command(flatten)]
    pub on_demand: OnDemandConfig,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,

    /// The process.
    #[command(flatten)]
    pub process: ProcessConfig,
}

/// The limits of requests. A request that exceeds one is refused with an error that names the limit.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// The most keys in one request.
    #[arg(long, env = "MILLRACE_SERVE_MAX_KEYS", default_value_t = 1_000)]
    pub max_keys: usize,

    /// The most features in one request.
    #[arg(long, env = "MILLRACE_SERVE_MAX_FEATURES", default_value_t = 1_000)]
    pub max_features: usize,

    /// The most values in one request, which is its keys times its features. Bounds the memory of its answer.
    #[arg(long, env = "MILLRACE_SERVE_MAX_VALUES", default_value_t = 100_000)]
    pub max_values: usize,

    /// The largest request body or gRPC message, in bytes. A thousand keys of 256 bytes fit into the default.
    #[arg(long, env = "MILLRACE_SERVE_MAX_BODY", default_value_t = 1024 * 1024)]
    pub max_body: usize,

    /// How long a client may take to send its body.
    #[arg(long, env = "MILLRACE_SERVE_BODY_TIMEOUT", default_value = "10s", value_parser = parse_duration)]
    pub body_timeout: Duration,

    /// The most requests in progress at once. Any more are answered with 503, so that memory stays bounded.
    #[arg(long, env = "MILLRACE_SERVE_MAX_REQUESTS", default_value_t = 2_000)]
    pub max_requests: usize,

    /// The most searches for entities in progress at once. A search may read all documents of a view.
    #[arg(long, env = "MILLRACE_SERVE_MAX_SEARCHES", default_value_t = 4)]
    pub max_searches: usize,

    /// The most gRPC streams at once. Each keeps its keys in memory, some hundred bytes per key.
    #[arg(long, env = "MILLRACE_SERVE_MAX_STREAMS", default_value_t = 4)]
    pub max_streams: usize,

    /// The largest request of a gRPC stream, in bytes. Some millions of keys fit into the default.
    #[arg(long, env = "MILLRACE_SERVE_MAX_STREAM_BODY", default_value_t = 64 * 1024 * 1024)]
    pub max_stream_body: usize,

    /// The most nested fields in one GraphQL query.
    #[arg(long, env = "MILLRACE_SERVE_MAX_DEPTH", default_value_t = 10)]
    pub max_depth: usize,

    /// The most fields in one GraphQL query, with each fragment counted where it is used. Tools that read the schema select
    /// some 300.
    #[arg(long, env = "MILLRACE_SERVE_MAX_SELECTED", default_value_t = 1_000)]
    pub max_selected: usize,
}

/// How long each store may take. Features of a store that takes longer are answered with the status ERROR.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Time budgets")]
pub struct Budgets {
    /// For the feature state (Redis).
    #[arg(long = "redis-budget", env = "MILLRACE_SERVE_REDIS_BUDGET", default_value = "100ms", value_parser = parse_duration)]
    pub redis: Duration,

    /// For profiles (MongoDB).
    #[arg(long = "mongodb-budget", env = "MILLRACE_SERVE_MONGODB_BUDGET", default_value = "100ms", value_parser = parse_duration)]
    pub mongodb: Duration,

    /// For on-demand views (ClickHouse). A query that takes longer goes on, and its result serves the next request.
    #[arg(long = "clickhouse-budget", env = "MILLRACE_SERVE_CLICKHOUSE_BUDGET", default_value = "100ms", value_parser = parse_duration)]
    pub clickhouse: Duration,

    /// For the whole answer. It also limits the budget of each store.
    #[arg(long, env = "MILLRACE_SERVE_DEADLINE", default_value = "250ms", value_parser = parse_duration)]
    pub deadline: Duration,

    /// For each store's part of some hundred rows of a gRPC stream. It is longer, because no model waits for a single row.
    #[arg(long = "stream-budget", env = "MILLRACE_SERVE_STREAM_BUDGET", default_value = "10s", value_parser = parse_duration)]
    pub stream: Duration,

    /// For a search for entities. It is longer, because people and jobs search, not models.
    #[arg(long = "search-budget", env = "MILLRACE_SERVE_SEARCH_BUDGET", default_value = "2s", value_parser = parse_duration)]
    pub search: Duration,

    /// Connections to the feature state. Requests share them and their pipelines. With few connections, more requests share
    /// one system call. With two, a large answer does not hold up all others.
    #[arg(long, env = "MILLRACE_SERVE_REDIS_CONNECTIONS", default_value_t = 2)]
    pub redis_connections: usize,

    /// Connections to MongoDB. Each carries one request at a time.
    #[arg(long, env = "MILLRACE_SERVE_MONGODB_CONNECTIONS", default_value_t = 50)]
    pub mongodb_connections: u32,
}

/// The cache of values of MongoDB and ClickHouse. Values of Redis are never cached.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cache")]
pub struct CacheConfig {
    /// How long a cached value is served where its view declares no `cache`. Never longer than the view's `ttl`.
    #[arg(long = "cache-ttl", env = "MILLRACE_SERVE_CACHE_TTL", default_value = "60s", value_parser = parse_duration)]
    pub ttl: Duration,

    /// How long it is served at most that a key is unknown. Short, so that new entities are seen soon.
    #[arg(long = "cache-absent-ttl", env = "MILLRACE_SERVE_CACHE_ABSENT_TTL", default_value = "5s", value_parser = parse_duration)]
    pub absent_ttl: Duration,

    /// The size of the cache in bytes, roughly.
    #[arg(long = "cache-bytes", env = "MILLRACE_SERVE_CACHE_BYTES", default_value_t = 64 * 1024 * 1024)]
    pub bytes: u64,
}

/// Values that ClickHouse computes when they are read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "On demand")]
pub struct OnDemandConfig {
    /// The most queries in flight at once. One view gets at most a quarter of them. Requests that come meanwhile wait, and
    /// share the next query.
    #[arg(long, env = "MILLRACE_SERVE_MAX_QUERIES", default_value_t = 8)]
    pub max_queries: usize,

    /// How long one query may take.
    #[arg(long, env = "MILLRACE_SERVE_QUERY_TIMEOUT", default_value = "5s", value_parser = parse_duration)]
    pub query_timeout: Duration,
}

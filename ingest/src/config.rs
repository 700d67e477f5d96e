//! Settings of ingest.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use millrace_common::config::{ProcessConfig, StoreConfig, parse_duration};

/// Takes events over HTTP, checks them against their definitions and appends them to the log. A 2xx means that
/// Redis has them.
#[derive(Clone, Debug, Parser)]
#[command(name = "ingest", version)]
pub struct Config {
    /// The address that takes events. Loopback by default.
    #[arg(long, env = "MILLRACE_INGEST_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The largest request body, in bytes.
    #[arg(long, env = "MILLRACE_INGEST_MAX_BODY", default_value_t = 16 * 1024 * 1024)]
    pub max_body: usize,

    /// How long a client may take to send its body.
    #[arg(long, env = "MILLRACE_INGEST_BODY_TIMEOUT", default_value = "30s", value_parser = parse_duration)]
    pub body_timeout: Duration,

    /// The most requests in flight at once. More are answered with 503, so that memory stays bounded.
    #[arg(long, env = "MILLRACE_INGEST_MAX_REQUESTS", default_value_t = 1_000)]
    pub max_requests: usize,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,

    /// The process.
    #[command(flatten)]
    pub process: ProcessConfig,
}

//! Settings of the offline consumer.

use clap::Parser;
use millrace_common::config::{ProcessConfig, StoreConfig, WorkerConfig};

/// Copies the log to ClickHouse, each event once. Start another one to scale.
#[derive(Clone, Debug, Parser)]
#[command(name = "offline-consumer", version)]
pub struct Config {
    /// The worker.
    #[command(flatten)]
    pub worker: WorkerConfig,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,

    /// The process.
    #[command(flatten)]
    pub process: ProcessConfig,
}

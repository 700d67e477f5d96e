//! Settings of the online consumer.

use clap::Parser;
use millrace_common::config::{ProcessConfig, StoreConfig, WorkerConfig};

/// Folds the log into feature state: hashes in Redis and profiles in MongoDB. Start another process to scale.
#[derive(Clone, Debug, Parser)]
#[command(name = "online-consumer", version)]
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

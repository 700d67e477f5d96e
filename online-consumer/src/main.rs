//! `online-consumer`: folds the log into Redis and MongoDB.

use clap::Parser;
use millrace_common::{process, telemetry};
use millrace_online_consumer::{Config, run};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let metrics = telemetry::init(&config.process)?;
    let shutdown = process::shutdown_on_signal()?;
    let listener = process::bind_admin(config.worker.admin_listen, 9101).await?;
    tracing::info!(admin = %listener.local_addr()?, "online-consumer");
    run(config, listener, metrics, shutdown).await
}

//! `ingest`: accepts events over HTTP and appends them to the log.

use clap::Parser;
use millrace_common::{healthcheck, listen, process, telemetry};
use millrace_ingest::{Config, run};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    if config.process.healthcheck {
        return healthcheck::ask(config.listen);
    }
    let metrics = telemetry::init(&config.process)?;
    let shutdown = process::shutdown_on_signal()?;
    let listener = listen::bind(config.listen, "MILLRACE_INGEST_LISTEN").await?;
    tracing::info!(listen = %listener.local_addr()?, "ingest");
    run(config, listener, metrics, shutdown).await
}

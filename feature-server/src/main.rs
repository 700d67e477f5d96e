//! `feature-server`: serves feature vectors over REST, gRPC and GraphQL.

use clap::Parser;
use millrace_common::{healthcheck, process, telemetry};
use millrace_feature_server::{Config, Listeners, run};

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
    let listeners = Listeners::bind(&config).await?;
    tracing::info!(http = %listeners.http.local_addr()?, grpc = %listeners.grpc.local_addr()?, "feature-server");
    run(config, listeners, metrics, shutdown).await
}

//! `offline-consumer`: copies the log to ClickHouse.

use clap::Parser;
use millrace_common::{healthcheck, listen, process, telemetry};
use millrace_offline_consumer::{Config, run};

/// Where the admin routes are unless told.
const ADMIN_PORT: u16 = 9102;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let admin = config.worker.admin_listen_or(ADMIN_PORT);
    if config.process.healthcheck {
        return healthcheck::ask(admin);
    }
    let metrics = telemetry::init(&config.process)?;
    let shutdown = process::shutdown_on_signal()?;
    let listener = listen::bind_admin(admin).await?;
    tracing::info!(admin = %listener.local_addr()?, "offline-consumer");
    run(config, listener, metrics, shutdown).await
}

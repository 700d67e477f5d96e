//! `millrace run-jobs`: the scheduler of batch views, as a service.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;
use millrace_common::config::{ProcessConfig, StoreConfig, process_name};
use millrace_common::jobs::{JobStores, SchedulerConfig, run_scheduler};
use millrace_common::process::{Readiness, admin_routes, drain, metrics_upkeep, serve, shutdown_on_signal};
use millrace_common::{healthcheck, listen, telemetry};
use tokio_util::sync::CancellationToken;

/// The default port of `/healthz`, `/readyz` and `/metrics`.
const PORT: u16 = 9103;

/// Runs batch views when they are due. Several can run at once: one leads, the others stand by.
#[derive(Clone, Debug, Args)]
pub struct RunJobsArgs {
    /// Name of this scheduler, unique in the installation. The default is made from host and process.
    #[arg(long, env = "MILLRACE_WORKER_ID")]
    pub worker_id: Option<String>,

    /// How many views are computed at once at most.
    #[arg(long, env = "MILLRACE_JOBS_PARALLEL", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    pub parallel: u8,

    /// The address of `/healthz`, `/readyz` and `/metrics`.
    #[arg(long, env = "MILLRACE_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,

    /// The stores.
    #[command(flatten)]
    pub stores: StoreConfig,

    /// Logging and stopping.
    #[command(flatten)]
    pub process: ProcessConfig,
}

/// Works until a stop signal, then finishes or interrupts the runs in flight.
pub async fn run(args: RunJobsArgs) -> anyhow::Result<()> {
    let admin = args.admin_listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, PORT).into());
    if args.process.healthcheck {
        return healthcheck::ask(admin);
    }
    let metrics = telemetry::init(&args.process)?;
    let shutdown = shutdown_on_signal()?;
    let listener = listen::bind_admin(admin).await?;
    tracing::info!(admin = %listener.local_addr()?, "run-jobs");
    let readiness = Readiness::waiting("the log");
    tokio::spawn(metrics_upkeep(metrics.clone(), shutdown.clone()));
    tokio::spawn(serve(listener, admin_routes(metrics, readiness.clone()), CancellationToken::new()));
    let Some(stores) = JobStores::open(&args.stores, &readiness, &shutdown).await? else { return Ok(()) };
    let config = SchedulerConfig {
        owner: args.worker_id.unwrap_or_else(process_name),
        parallel: usize::from(args.parallel),
        grace: args.process.grace,
    };
    let working = tokio::spawn(run_scheduler(stores, config, readiness, shutdown.clone()));
    shutdown.cancelled().await;
    drain(args.process.grace, async { working.await? }).await
}

//! `millrace dev`: stores, migrations, definitions, the four services and the scheduler in one terminal. Ctrl-C stops all.

use std::path::PathBuf;

use clap::Args;
use millrace_common::config::StoreConfig;
use millrace_common::process::shutdown_on_signal;
use millrace_devstack::services::{Service, ServiceKind, ServiceOptions};
use millrace_devstack::{Stack, StackOptions};
use tokio_util::sync::CancellationToken;

use super::{apply, migrate};

/// What a shell expects of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Runs everything on this machine, on loopback: what is missing of Redis, MongoDB and ClickHouse is fetched and
/// started (a URL in the environment replaces any of them), then the four services and `run-jobs`, each on its usual
/// port unless its `MILLRACE_*_LISTEN` says otherwise (`MILLRACE_ADMIN_LISTEN`, which three of them share, does not count).
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// Definitions to apply.
    #[arg(long, default_value = "examples/journey/millrace.yaml")]
    pub definitions: PathBuf,

    /// Where the stores keep their data and all logs go.
    #[arg(long, default_value = ".millrace/dev")]
    pub dir: PathBuf,
}

/// Runs until Ctrl-C, which may come at any time.
pub async fn run(args: DevArgs, stores: StoreConfig) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let Some(stack) = shutdown.run_until_cancelled(Stack::up(StackOptions::from_env(&args.dir))).await else {
        // Stores are started on threads that cannot be called back, and would be waited for. What they have started is
        // bound to this process and ends with it.
        println!("stopped before the stores were up");
        std::process::exit(INTERRUPTED);
    };
    let stack = stack?;
    if let Some(worked) = shutdown.run_until_cancelled(prepare(&args, &stores, &stack)).await {
        serve(&args, worked?, &stack, &shutdown).await?;
    }
    stack.down().await?;
    Ok(())
}

/// Migrates and applies; answers the stores as the services find them.
async fn prepare(args: &DevArgs, stores: &StoreConfig, stack: &Stack) -> anyhow::Result<StoreConfig> {
    let stores = StoreConfig {
        redis_url: stack.redis_url().to_owned(),
        mongodb_url: stack.mongodb_url().to_owned(),
        clickhouse_url: stack.clickhouse_url().to_owned(),
        ..stores.clone()
    };
    migrate::run(migrate::MigrateArgs { partitions: 8, stores: stores.clone() }).await?;
    let file = args.definitions.clone();
    apply::run(apply::ApplyArgs { file, check: false, remove_all_views: false, stores: stores.clone() }).await?;
    Ok(stores)
}

/// Runs the services until told to stop.
async fn serve(args: &DevArgs, stores: StoreConfig, stack: &Stack, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut env = stack.env();
    env.push(("MILLRACE_NAMESPACE".into(), stores.namespace.clone()));
    let options = ServiceOptions::beside_this_program(env, args.dir.join("logs"))?;
    let mut services = start(&options, shutdown)?;
    if !shutdown.is_cancelled() {
        println!("ready: events to {}, features from {}", services[0].url(), services[3].url());
        println!("logs in {}; Ctrl-C stops all", options.logs.display());
        watch(&mut services, shutdown).await;
    }
    // Consumers before their stores, so that batches in hand finish.
    for mut service in services {
        service.stop()?;
    }
    Ok(())
}

/// Starts all, and waits until they are ready or it is time to stop.
fn start(options: &ServiceOptions, shutdown: &CancellationToken) -> anyhow::Result<Vec<Service>> {
    let setting = |name: &str| std::env::var(name).ok();
    let start = |kind: ServiceKind| Service::start_configured(kind, kind.name(), options, setting);
    let kinds = ServiceKind::ALL.into_iter().chain([ServiceKind::Jobs]);
    let mut services = kinds.map(start).collect::<Result<Vec<_>, _>>()?;
    for service in services.iter_mut().take_while(|_| !shutdown.is_cancelled()) {
        service.wait_ready()?;
        let grpc = service.grpc_address().map_or_else(String::new, |address| format!(", gRPC at {address}"));
        println!("{:<18} {}{grpc}", service.kind().name(), service.url());
    }
    Ok(services)
}

/// Until told to stop; a service that ends by itself is said and started again.
async fn watch(services: &mut [Service], shutdown: &CancellationToken) {
    let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        for service in services.iter_mut().filter(|service| service.pid().is_some()) {
            if !service.is_alive() {
                eprintln!("{} ended; see {}; starting it again", service.kind().name(), service.log().display());
                if let Err(error) = service.restart() {
                    eprintln!("{error}");
                }
            }
        }
    }
}

//! `millrace dev`: stores, migrations, definitions, the four services and the scheduler in one terminal. Ctrl-C stops all.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use millrace_common::config::StoreConfig;
use millrace_common::process::shutdown_on_signal;
use millrace_devstack::process::ProcessIdentity;
use millrace_devstack::services::{Service, ServiceKind, ServiceOptions, check_ports};
use millrace_devstack::{Stack, StackOptions, StoreKind};
use tokio_util::sync::CancellationToken;

use super::{apply, migrate};
use crate::running_dev::{DEFAULT_DIR, DIR_VARIABLE, RunningDev, without_credentials};

/// The exit code that a shell expects of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Runs everything on this machine, on loopback. Stores that are missing (Redis, MongoDB, ClickHouse) are fetched and
/// started; a URL in the environment replaces a store. Then the four services and `run-jobs` start, each on its usual port
/// unless its `MILLRACE_*_LISTEN` says otherwise. Three of them share `MILLRACE_ADMIN_LISTEN`, so it counts only with
/// port 0, which gives each of them a free port.
///
/// While it runs, `apply`, `get`, `jobs`, `materialize`, `migrate`, `replay` and `status` use its stores and services when
/// they are started in the same folder without a store's URL.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// Definitions to apply.
    #[arg(long, default_value = "examples/journey/millrace.yaml")]
    pub definitions: PathBuf,

    /// The folder of the stores' data, of all logs, and of the addresses that other commands read.
    #[arg(long, env = DIR_VARIABLE, default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
}

/// Runs until Ctrl-C, which may come at any time.
pub async fn run(args: DevArgs, stores: StoreConfig) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    check_ports(kinds(), setting)?;
    let Some(stack) = shutdown.run_until_cancelled(Stack::up(StackOptions::from_env(&args.dir))).await else {
        // The stores start on threads that cannot be interrupted, and a normal return would wait for them. The stores
        // that they have started end with this process.
        println!("stopped before the stores were up");
        std::process::exit(INTERRUPTED);
    };
    let stack = stack?;
    for store in StoreKind::ALL.map(|kind| stack.store(kind)) {
        println!("{:<18} {}", store.kind().folder(), without_credentials(store.url()));
    }
    if let Some(prepared) = shutdown.run_until_cancelled(prepare(&args, &stores, &stack)).await {
        let served = serve(&args, &prepared?, &stack, &shutdown).await;
        RunningDev::remove(&args.dir)?;
        served?;
    }
    stack.down().await?;
    Ok(())
}

/// Migrates and applies. Returns the stores as the services find them.
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

/// Runs the services until the stop signal.
async fn serve(
    args: &DevArgs,
    stores: &StoreConfig,
    stack: &Stack,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut env = stack.env();
    env.push(("MILLRACE_NAMESPACE".into(), stores.namespace.clone()));
    let options = ServiceOptions::beside_this_program(env, args.dir.join("logs"))?;
    let mut services = start(&options, shutdown)?;
    if !shutdown.is_cancelled() {
        let dev = addresses(stores, &services)?;
        dev.write(&args.dir)?;
        println!("ready: events to {}, features from {}", dev.ingest_url, dev.server_url);
        println!("`millrace status`, `get`, `apply` and the others use these in this folder");
        println!("logs in {}; Ctrl-C stops all", options.logs.display());
        watch(&mut services, shutdown).await;
    }
    // Consumers stop before their stores, so that batches in flight finish.
    for mut service in services {
        service.stop()?;
    }
    Ok(())
}

/// Starts all services, and waits until they are ready or it is time to stop.
fn start(options: &ServiceOptions, shutdown: &CancellationToken) -> anyhow::Result<Vec<Service>> {
    let start = |kind: ServiceKind| Service::start_configured(kind, kind.name(), options, setting);
    let mut services = kinds().map(start).collect::<Result<Vec<_>, _>>()?;
    for service in services.iter_mut().take_while(|_| !shutdown.is_cancelled()) {
        service.wait_ready()?;
        let grpc = service.grpc_address().map_or_else(String::new, |address| format!(", gRPC at {address}"));
        println!("{:<18} {}{grpc}", service.kind().name(), service.url());
    }
    Ok(services)
}

fn kinds() -> impl Iterator<Item = ServiceKind> {
    ServiceKind::ALL.into_iter().chain([ServiceKind::Jobs])
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn addresses(stores: &StoreConfig, services: &[Service]) -> anyhow::Result<RunningDev> {
    let url = |kind: ServiceKind| {
        let service = services.iter().find(|service| service.kind() == kind);
        service.map(Service::url).with_context(|| format!("{} is not running", kind.name()))
    };
    Ok(RunningDev {
        process: ProcessIdentity::current(),
        redis_url: stores.redis_url.clone(),
        redis_features_url: stores.redis_features_url.clone(),
        mongodb_url: stores.mongodb_url.clone(),
        clickhouse_url: stores.clickhouse_url.clone(),
        namespace: stores.namespace.clone(),
        ingest_url: url(ServiceKind::Ingest)?,
        server_url: url(ServiceKind::FeatureServer)?,
    })
}

/// Reports each service that ends, and starts it again, until the stop signal.
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

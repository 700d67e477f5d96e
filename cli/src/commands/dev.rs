//! `millrace dev`: stores, migrations, definitions, the four services and the scheduler in one terminal. Ctrl-C stops all.

use std::path::PathBuf;

use clap::Args;
use millrace_common::config::StoreConfig;
use millrace_common::process::shutdown_on_signal;
use millrace_devstack::services::{Service, ServiceKind, ServiceOptions};
use millrace_devstack::{Stack, StackOptions};

use super::{apply, migrate};

/// Runs everything on this machine, on loopback: what is missing of Redis, MongoDB and ClickHouse is fetched and
/// started (a URL in the environment replaces any of them), then the four services and `run-jobs` on their usual ports.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// Definitions to apply.
    #[arg(long, default_value = "examples/journey/millrace.yaml")]
    pub definitions: PathBuf,

    /// Where the stores keep their data and all logs go.
    #[arg(long, default_value = ".millrace/dev")]
    pub dir: PathBuf,
}

/// Runs until Ctrl-C.
pub async fn run(args: DevArgs, stores: StoreConfig) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let stack = Stack::up(StackOptions::from_env(&args.dir)).await?;
    let stores = StoreConfig {
        redis_url: stack.redis_url().to_owned(),
        mongodb_url: stack.mongodb_url().to_owned(),
        clickhouse_url: stack.clickhouse_url().to_owned(),
        ..stores
    };
    migrate::run(migrate::MigrateArgs { partitions: 8, stores: stores.clone() }).await?;
    apply::run(apply::ApplyArgs {
        file: args.definitions,
        check: false,
        remove_all_views: false,
        stores: stores.clone(),
    })
    .await?;
    let mut env = stack.env();
    env.push(("MILLRACE_NAMESPACE".into(), stores.namespace.clone()));
    let options = ServiceOptions::beside_this_program(env, args.dir.join("logs"))?;
    let mut services = start(&options)?;
    println!("ready: events to {}, features from {}", services[0].url(), services[3].url());
    println!("logs in {}; Ctrl-C stops all", options.logs.display());
    watch(&mut services, &shutdown).await;
    // Consumers before their stores, so that batches in hand finish.
    for mut service in services {
        service.stop()?;
    }
    stack.down().await?;
    Ok(())
}

fn start(options: &ServiceOptions) -> anyhow::Result<Vec<Service>> {
    let start = |kind: ServiceKind| Service::start_on(kind, kind.name(), options, kind.default_port());
    let kinds = ServiceKind::ALL.into_iter().chain([ServiceKind::Jobs]);
    let mut services = kinds.map(start).collect::<Result<Vec<_>, _>>()?;
    for service in &mut services {
        service.wait_ready()?;
        println!("{:<18} {}", service.kind().name(), service.url());
    }
    Ok(services)
}

/// Until told to stop; a service that ends by itself is said and started again.
async fn watch(services: &mut [Service], shutdown: &tokio_util::sync::CancellationToken) {
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

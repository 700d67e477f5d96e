//! Copies the log to ClickHouse, each event once. A batch is a contiguous range of one partition, recorded in the cursor
//! before it is sent. Dead letters are copied too, so that SQL leaves out the same events.

mod blocks;
mod config;
mod dead_letters;
mod insert;
mod manifest;
mod narrow;
mod sink;

use metrics_exporter_prometheus::PrometheusHandle;
use millrace_common::log::{Group, Log};
use millrace_common::names::Names;
use millrace_common::process::{Readiness, admin_routes, drain, metrics_upkeep, serve, wait_for};
use millrace_common::stores::clickhouse::ClickHouse;
use millrace_common::worker::{DefinitionsCache, GroupConfig, Owned, Sinks, run_group, run_sink};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use sink::ClickHouseSink;

/// Works until `shutdown`, then finishes the batches in flight and gives its partitions back.
pub async fn run(
    config: Config,
    admin: TcpListener,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let readiness = Readiness::waiting("the log");
    tokio::spawn(metrics_upkeep(metrics.clone(), shutdown.clone()));
    tokio::spawn(serve(admin, admin_routes(metrics, readiness.clone()), CancellationToken::new()));
    let stores = &config.stores;
    let names = Names::new(&stores.namespace);
    let opened = wait_for("the log", &readiness, &shutdown, || Log::open(&stores.redis_url, names.clone())).await;
    let Some(log) = opened else { return Ok(()) };
    let clickhouse = ClickHouse::connect(&stores.clickhouse_url, &stores.namespace)?;
    let group = GroupConfig { group: Group::Offline, worker: config.worker.worker_id(), lease: config.worker.lease };
    tracing::info!(worker = group.worker, "working");
    let sinks = OfflineSinks { clickhouse };
    let working = tokio::spawn(run_group(log, group, sinks, readiness, shutdown.clone()));
    shutdown.cancelled().await;
    drain(config.process.grace, async { Ok(working.await??) }).await
}

#[derive(Clone)]
struct OfflineSinks {
    clickhouse: ClickHouse,
}

impl Sinks for OfflineSinks {
    async fn run(&self, owned: Owned, cache: DefinitionsCache, stop: CancellationToken) {
        let sink = ClickHouseSink::new(self.clickhouse.clone(), owned.partition());
        tokio::join!(
            run_sink(sink, owned.clone(), cache, stop.clone()),
            dead_letters::copy(self.clickhouse.clone(), owned, stop),
        );
    }
}

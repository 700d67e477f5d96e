//! Folds the log into feature state. Two sinks, each with its own position, so that a store that is away holds up
//! only itself: Redis hashes at once, MongoDB documents coalesced over a flush interval.

mod config;
mod fold;
mod mongodb_sink;
mod redis_sink;

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use millrace_common::log::{Group, Log};
use millrace_common::names::Names;
use millrace_common::process::{Readiness, admin_routes, drain, metrics_upkeep, serve, wait_for};
use millrace_common::stores::features::FeatureStore;
use millrace_common::stores::profiles::ProfileStore;
use millrace_common::worker::{DefinitionsCache, GroupConfig, Owned, Sinks, run_group, run_pair};
use millrace_core::definitions::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use fold::{Fold, Prepared, SlotKey};
pub use mongodb_sink::MongoSink;
pub use redis_sink::RedisSink;

/// How long a pipeline of puts may take before it is tried again.
const PUT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections to the feature state; partitions share them.
const CONNECTIONS: usize = 8;
/// Connections to MongoDB: one batch of each partition at a time, and as many again for a rebalance.
const MONGODB_CONNECTIONS: u32 = 16;

/// Works until `shutdown`, then finishes the batches in hand and gives its partitions back.
pub async fn run(
    config: Config,
    admin: TcpListener,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let readiness = Readiness::waiting("the log");
    tokio::spawn(metrics_upkeep(metrics.clone(), shutdown.clone()));
    tokio::spawn(serve(admin, admin_routes(metrics, readiness.clone()), CancellationToken::new()));
    let names = Names::new(&config.stores.namespace);
    let Some((log, sinks)) = connect(&config, &names, &readiness, &shutdown).await else { return Ok(()) };
    let group = GroupConfig { group: Group::Online, worker: config.worker.worker_id(), lease: config.worker.lease };
    tracing::info!(worker = group.worker, "working");
    let working = tokio::spawn(run_group(log, group, sinks, readiness, shutdown.clone()));
    shutdown.cancelled().await;
    drain(config.process.grace, async { Ok(working.await??) }).await
}

async fn connect(
    config: &Config,
    names: &Names,
    readiness: &Readiness,
    shutdown: &CancellationToken,
) -> Option<(Log, OnlineSinks)> {
    let stores = &config.stores;
    let log = wait_for("the log", readiness, shutdown, || Log::open(&stores.redis_url, names.clone())).await?;
    let features = wait_for("the feature state", readiness, shutdown, || {
        FeatureStore::connect(stores.features_url(), CONNECTIONS, PUT_TIMEOUT)
    })
    .await?;
    // The driver connects when it is used: MongoDB may be away without holding Redis up.
    let profiles = wait_for("profiles", readiness, shutdown, || {
        ProfileStore::connect(&stores.mongodb_url, &stores.namespace, MONGODB_CONNECTIONS, PUT_TIMEOUT)
    })
    .await?;
    let batch_entries = usize::try_from(config.worker.batch_entries).unwrap_or(usize::MAX);
    Some((log, OnlineSinks { names: names.clone(), features, profiles, batch_entries }))
}

#[derive(Clone)]
struct OnlineSinks {
    names: Names,
    features: FeatureStore,
    profiles: ProfileStore,
    batch_entries: usize,
}

impl Sinks for OnlineSinks {
    async fn run(&self, owned: Owned, cache: DefinitionsCache, stop: CancellationToken) {
        let partition = owned.partition();
        let redis = RedisSink::new(self.features.clone(), self.names.clone(), partition, self.batch_entries);
        let mongodb = MongoSink::new(self.profiles.clone(), partition, self.batch_entries);
        // Most events are for Redis, few or none for MongoDB: the one reads for both.
        run_pair(redis, (mongodb, Store::MongoDb), owned, cache, stop).await;
    }
}

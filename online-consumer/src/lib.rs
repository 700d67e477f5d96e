//! Folds the log into feature state. There are two sinks, each with a position of its own, so that a store that is
//! unavailable holds up only its own views: Redis hashes are written at once, MongoDB documents once per flush interval.

mod config;
mod extract;
mod fold;
mod sink;

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
pub use sink::{MongoSink, OnlineSink, RedisSink};

/// How long a pipeline of puts may take before it is sent again.
const PUT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections to the feature state; partitions share them.
const CONNECTIONS: usize = 8;
/// Connections to MongoDB: one batch of each partition at a time, and the same number again for a rebalance.
const MONGODB_CONNECTIONS: u32 = 16;

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
    // The driver connects at the first call, so MongoDB may be unavailable without holding up the views in Redis.
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
        // Most events are for Redis, few or none for MongoDB: the Redis sink reads for both.
        run_pair(redis, (mongodb, Store::MongoDb), owned, cache, stop).await;
    }
}

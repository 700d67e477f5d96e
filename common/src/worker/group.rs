//! Which partitions this process works on. Workers find each other by heartbeat and divide the partitions by
//! rendezvous hashing; a lease per partition makes sure that two never write, whatever they believe.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_core::partition::Partition;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::definitions::DefinitionsCache;
use super::lag;
use super::lease::Owned;
use crate::log::{Group, Log, LogError, cursor, members};
use crate::process::Readiness;

/// How often a worker shows that it lives, looks for others, and takes what is its.
const BEAT: Duration = Duration::from_millis(500);

/// A worker's part in its group.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Which group.
    pub group: Group,
    /// Unique in the group.
    pub worker: String,
    /// How long a lease lives without renewal.
    pub lease: Duration,
}

/// The sinks that work on one partition: runs them all until `stop`.
pub trait Sinks: Clone + Send + Sync + 'static {
    /// Works on `owned` until `stop` is cancelled or the lease is lost.
    fn run(&self, owned: Owned, cache: DefinitionsCache, stop: CancellationToken) -> impl Future<Output = ()> + Send;
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Works on this process's share of the partitions until `shutdown`, then gives all leases back.
pub async fn run_group<S: Sinks>(
    log: Log,
    config: GroupConfig,
    sinks: S,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), LogError> {
    tokio::spawn(lag::watch(log.clone(), config.group, readiness.clone(), shutdown.clone()));
    let cache = DefinitionsCache::new(log.clone());
    let mut running: BTreeMap<u16, Running> = BTreeMap::new();
    let mut every = tokio::time::interval(BEAT);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        running.retain(|_, partition| !partition.task.is_finished());
        match members::heartbeat(&log, config.group, &config.worker, config.lease).await {
            Ok(workers) => {
                readiness.set_ready();
                rebalance(&log, &config, &sinks, &cache, &workers, &mut running).await;
            }
            Err(error) => readiness.set_waiting(&format!("the log: {error}")),
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("millrace_partitions_owned", "group" => config.group.name()).set(running.len() as f64);
    }
    running.values().for_each(|partition| partition.stop.cancel());
    for (_, partition) in running {
        let _ = partition.task.await;
    }
    members::leave(&log, config.group, &config.worker).await
}

async fn rebalance<S: Sinks>(
    log: &Log,
    config: &GroupConfig,
    sinks: &S,
    cache: &DefinitionsCache,
    workers: &[String],
    running: &mut BTreeMap<u16, Running>,
) {
    for number in 0..log.meta().partitions {
        let partition = Partition(number);
        let mine = members::assigned(workers, log.meta().partitions, partition) == Some(config.worker.as_str());
        match running.get(&number) {
            Some(partition) if !mine => partition.stop.cancel(),
            None if mine => {
                if let Some(owned) = take(log, config, partition).await {
                    running.insert(number, start(owned, config.lease, sinks.clone(), cache.clone()));
                }
            }
            _ => {}
        }
    }
}

async fn take(log: &Log, config: &GroupConfig, partition: Partition) -> Option<Owned> {
    match cursor::acquire(log, partition, config.group, &config.worker, config.lease).await {
        Ok(Some(lease)) => {
            tracing::info!(
                partition = partition.0,
                group = config.group.name(),
                epoch = lease.token.epoch,
                "partition taken"
            );
            Some(Owned::new(log.clone(), partition, config.group, lease.token, lease.expires))
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(partition = partition.0, %error, "lease not taken");
            None
        }
    }
}

fn start<S: Sinks>(owned: Owned, lease: Duration, sinks: S, cache: DefinitionsCache) -> Running {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let task = tokio::spawn(async move {
        let done = CancellationToken::new();
        let keeper = owned.clone();
        let keeping = tokio::spawn({
            let done = done.clone();
            async move { keeper.keep(lease, done).await }
        });
        sinks.run(owned.clone(), cache, told).await;
        done.cancel();
        let _ = keeping.await;
        let released = cursor::release(&owned.log, owned.partition, owned.group, &owned.token).await;
        tracing::info!(partition = owned.partition.0, released = released.is_ok(), "partition left");
    });
    Running { stop, task }
}

//! Decides which partitions this process works on. Workers find each other by heartbeat and divide the partitions by
//! rendezvous hashing. A lease per partition makes sure that two workers that disagree never both advance its cursors.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_core::partition::Partition;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lag;
use super::owned::Owned;
use crate::definitions::DefinitionsCache;
use crate::log::{Acquisition, Group, Lease, Log, LogError, OnExpiry, members};
use crate::process::Readiness;

/// How often a worker sends a heartbeat, finds the others, and takes the partitions of its share.
const BEAT: Duration = Duration::from_millis(500);

/// One worker of a group.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group: Group,
    /// The worker's name, unique in the group.
    pub worker: String,
    /// How long a lease lives without renewal.
    pub lease: Duration,
}

/// The sinks that work on one partition.
pub trait Sinks: Clone + Send + Sync + 'static {
    /// Works on `owned` until `stop` is cancelled or the lease is lost.
    fn run(&self, owned: Owned, cache: DefinitionsCache, stop: CancellationToken) -> impl Future<Output = ()> + Send;
}

struct RunningPartition {
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
    let mut running: BTreeMap<u16, RunningPartition> = BTreeMap::new();
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
    running: &mut BTreeMap<u16, RunningPartition>,
) {
    for number in 0..log.meta().partitions {
        let partition = Partition(number);
        let mine = members::assigned(workers, log.meta().partitions, partition) == Some(config.worker.as_str());
        match running.get(&number) {
            Some(partition) if !mine => partition.stop.cancel(),
            None if mine => {
                if let Some(owned) = take(log, config, partition).await {
                    running.insert(number, start(owned, sinks.clone(), cache.clone()));
                }
            }
            Some(_) | None => {}
        }
    }
}

async fn take(log: &Log, config: &GroupConfig, partition: Partition) -> Option<Owned> {
    let (group, key) = (config.group, log.names().cursor(partition, config.group));
    match Lease::acquire(log, key, &config.worker, config.lease, OnExpiry::Lost).await {
        Ok(Acquisition::Acquired(lease)) => {
            let epoch = lease.token().epoch;
            tracing::info!(partition = partition.0, group = group.name(), epoch, "partition taken");
            Some(Owned::new(log.clone(), partition, group, lease))
        }
        Ok(Acquisition::Held(_)) => None,
        Err(error) => {
            tracing::warn!(partition = partition.0, %error, "lease not taken");
            None
        }
    }
}

fn start<S: Sinks>(owned: Owned, sinks: S, cache: DefinitionsCache) -> RunningPartition {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let task = tokio::spawn(async move {
        sinks.run(owned.clone(), cache, told).await;
        let released = owned.release().await;
        tracing::info!(partition = owned.partition().0, released = released.is_ok(), "partition left");
    });
    RunningPartition { stop, task }
}

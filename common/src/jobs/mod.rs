//! Batch views: their queries run as of an instant, what they return is written into the online stores, and how that
//! went is recorded. `run` is one run, `write` puts its rows, `scheduler` runs what is due, `in_hand` knows its runs,
//! `progress` is for looking at one. Leases and records are `crate::log::job`'s, what a row means is `millrace_core::batch`'s.

mod in_hand;
mod progress;
mod run;
mod scheduler;
mod write;

use std::time::Duration;

use crate::backoff::BackOff;
use crate::config::StoreConfig;
use crate::log::Log;
use crate::names::Names;
use crate::process::{Readiness, wait_for};
use crate::stores::clickhouse::ClickHouse;
use crate::stores::features::FeatureStore;
use crate::stores::profiles::ProfileStore;
use tokio_util::sync::CancellationToken;

pub use progress::Progress;
pub use run::{Job, JobError, Report, run};
pub use scheduler::{SchedulerConfig, batch_views, run_scheduler, show_age};

/// How long a chunk of puts may take before it is sent again.
const PUT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for MongoDB, which syncs each.
const PROFILE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to the online stores: as many as chunks are in flight.
const CONNECTIONS: usize = write::IN_FLIGHT;
/// How long a lease lives without renewal: how long a killed run holds up the next.
const LEASE: Duration = Duration::from_secs(5);
/// The delays between attempts at a store that is unavailable.
const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(100), Duration::from_secs(5));

/// What jobs read and write.
#[derive(Clone)]
pub struct Stores {
    /// Leases, records and definitions.
    pub log: Log,
    /// Where queries run.
    pub clickhouse: ClickHouse,
    /// Views in Redis.
    pub features: FeatureStore,
    /// Views in MongoDB.
    pub profiles: ProfileStore,
}

impl Stores {
    /// Connects, waiting for stores that are away. None: told to stop meanwhile.
    pub async fn open(
        config: &StoreConfig,
        readiness: &Readiness,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let names = Names::new(&config.namespace);
        // Both connect when they are used; only a URL that is none fails here.
        let clickhouse = ClickHouse::connect(&config.clickhouse_url, &config.namespace)?;
        let pool = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        let profiles = ProfileStore::connect(&config.mongodb_url, &config.namespace, pool, PROFILE_TIMEOUT).await?;
        let log = || Log::open(&config.redis_url, names.clone());
        let Some(log) = wait_for("the log", readiness, shutdown, log).await else { return Ok(None) };
        let features = || FeatureStore::connect(config.features_url(), CONNECTIONS, PUT_TIMEOUT);
        let features = wait_for("the feature state", readiness, shutdown, features).await;
        Ok(features.map(|features| Self { log, clickhouse, features, profiles }))
    }
}

//! The stores that jobs read and write.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::write::IN_FLIGHT;
use crate::config::StoreConfig;
use crate::log::Log;
use crate::names::Names;
use crate::process::{Readiness, wait_for};
use crate::stores::clickhouse::ClickHouse;
use crate::stores::features::{FeatureSlots, FeatureStore};
use crate::stores::profiles::ProfileStore;

/// How long a chunk of puts may take before it is sent again.
const PUT_TIMEOUT: Duration = Duration::from_secs(10);
/// As above, for MongoDB, which syncs each chunk.
const PROFILE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to each online store: one for each chunk in flight.
const CONNECTIONS: usize = IN_FLIGHT;
/// The stores that jobs read and write.
#[derive(Clone)]
pub struct JobStores {
    /// The log, with leases, records and definitions.
    pub log: Log,
    /// ClickHouse, where queries run.
    pub clickhouse: ClickHouse,
    /// The views in Redis.
    pub features: FeatureStore,
    /// The views in MongoDB.
    pub profiles: ProfileStore,
}

impl JobStores {
    /// Connects, and waits for stores that are unavailable. Returns None if it was told to stop meanwhile.
    pub async fn open(
        config: &StoreConfig,
        readiness: &Readiness,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let names = Names::new(&config.namespace);
        // Both drivers connect at the first call; only a malformed URL fails here.
        let clickhouse = ClickHouse::connect(&config.clickhouse_url, &config.namespace)?;
        let pool = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        let profiles = ProfileStore::connect(&config.mongodb_url, &config.namespace, pool, PROFILE_TIMEOUT).await?;
        let log = || Log::open(&config.redis_url, names.clone());
        let Some(log) = wait_for("the log", readiness, shutdown, log).await else { return Ok(None) };
        let features = || FeatureStore::connect(config.features_url(), CONNECTIONS, PUT_TIMEOUT);
        let features = wait_for("the feature state", readiness, shutdown, features).await;
        Ok(features.map(|features| Self { log, clickhouse, features, profiles }))
    }

    /// The slots in Redis.
    pub(super) fn slots(&self) -> FeatureSlots {
        FeatureSlots::new(self.features.clone(), self.log.names().clone())
    }
}

//! The one layer that reads the stores, for every API. A plan says what each store is asked. The three stores are asked
//! at the same time, each within its own time budget, and a store that is unavailable or late costs its own features
//! only. The meaning of values is left to `core`.

mod answer;
mod cached;
mod circuit_breaker;
mod clickhouse;
mod completed_runs;
mod finished_views;
mod merge;
mod mongodb;
mod plan;
mod redis;
mod request;
mod search;
mod status_counters;
mod store_part;
mod time;
mod values;
mod view_reads;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_common::clock::now_ms;
use millrace_common::stores::features::FeatureStore;
use millrace_common::stores::profiles::ProfileStore;
use millrace_core::definitions::Store;
use parking_lot::RwLock;

use self::cached::{CachedReader, Coalescer, ResultCache};
use self::circuit_breaker::TimeBudget;
use self::completed_runs::CompletedRuns;
use self::merge::merge;
use self::mongodb::ProfileSource;
use self::redis::RedisReader;
use crate::config::{Budgets, CacheConfig, OnDemandConfig};

pub use self::answer::{EntityRow, FeatureAnswer};
pub use self::clickhouse::ClickHouseSource;
pub use self::plan::{Plan, ViewPlan};
pub use self::request::{FeatureRequest, Patience};
pub use self::search::{EntityPage, EntitySearch};

/// The most finds of one MongoDB view in flight. With few, more readers share each, which costs MongoDB and this process
/// a third of what 32 at once cost. With 4, a large find does not hold up all others.
const FINDS_OF_VIEW: usize = 4;
/// One view gets at most this part of ClickHouse's queries, so that a slow view does not hold up all others.
const QUERIES_PART_OF_VIEW: usize = 4;

/// The stores of features.
pub struct Repository {
    redis: RedisReader,
    mongodb: CachedReader<ProfileSource>,
    clickhouse: CachedReader<ClickHouseSource>,
    budgets: Budgets,
    completed_runs: RwLock<Arc<CompletedRuns>>,
}

impl Repository {
    /// A repository over stores that may be unavailable now. Redis is given later (`set_features`), once it was reached.
    pub fn new(
        profiles: ProfileStore,
        clickhouse: ClickHouseSource,
        budgets: Budgets,
        cache: CacheConfig,
        on_demand: &OnDemandConfig,
    ) -> Self {
        let cache = Arc::new(ResultCache::new(cache));
        let profiles = ProfileSource::new(profiles, budgets.mongodb);
        // More finds at once would wait for a connection, where no other request can join them.
        let finds = Coalescer::new(budgets.mongodb_connections as usize, FINDS_OF_VIEW);
        let queries = Coalescer::new(on_demand.max_queries, on_demand.max_queries / QUERIES_PART_OF_VIEW);
        Self {
            redis: RedisReader::new(),
            mongodb: CachedReader::new(profiles, cache.clone(), finds),
            clickhouse: CachedReader::new(clickhouse, cache, queries),
            budgets,
            completed_runs: RwLock::default(),
        }
    }

    /// Sets the last completed run of each batch view, by `view@version`. Values of older runs do not count from now on.
    pub fn set_completed_runs(&self, runs: HashMap<String, u32>) {
        *self.completed_runs.write() = Arc::new(CompletedRuns::new(runs));
    }

    /// Reads the feature state from this store from now on.
    pub fn set_features(&self, features: FeatureStore) {
        self.redis.set_store(features);
    }

    /// Fails where MongoDB does not answer.
    pub async fn ping_mongodb(&self) -> Result<(), String> {
        self.mongodb.source().ping().await.map_err(|error| error.to_string())
    }

    /// Fails where ClickHouse does not answer.
    pub async fn ping_clickhouse(&self) -> Result<(), String> {
        self.clickhouse.source().ping().await.map_err(|error| error.to_string())
    }

    /// Reads everything that the request asks for. Always answers, and within the deadline.
    pub async fn read(&self, request: &FeatureRequest) -> FeatureAnswer {
        self.read_all(std::slice::from_ref(request)).await.remove(0)
    }

    /// Reads for several requests under the same definitions, and gives one answer each. The stores are not asked more
    /// often than for one request: one round trip to Redis, one query for each MongoDB view, and one for each ClickHouse
    /// view and instant.
    pub async fn read_all(&self, requests: &[FeatureRequest]) -> Vec<FeatureAnswer> {
        let now = now_ms();
        // Taken before anything is read: values of a run that completes later may not have been seen.
        let runs = self.completed_runs();
        let [redis, mongodb, clickhouse] = self.time_budgets(requests);
        let (redis, mongodb, clickhouse) = tokio::join!(
            self.redis.read(requests, &runs, now, redis),
            finished_views::read(&self.mongodb, Store::MongoDb, requests, &runs, now, mongodb.time),
            finished_views::read(&self.clickhouse, Store::ClickHouse, requests, &runs, now, clickhouse.time),
        );
        let parts = redis.into_iter().zip(mongodb).zip(clickhouse);
        let answer = |(request, ((redis, mongodb), clickhouse))| {
            let parts = [(Store::Redis, redis), (Store::MongoDb, mongodb), (Store::ClickHouse, clickhouse)];
            merge(request, now, parts)
        };
        requests.iter().zip(parts).map(answer).collect()
    }

    /// Finds entities by their values in MongoDB.
    pub async fn search(&self, search: &EntitySearch) -> Result<EntityPage, String> {
        search.page(self.mongodb.source(), &self.completed_runs(), now_ms()).await
    }

    /// The time that Redis, MongoDB and ClickHouse have for some requests.
    fn time_budgets(&self, requests: &[FeatureRequest]) -> [TimeBudget; 3] {
        let left = requests.iter().filter_map(|request| request.deadline).min();
        let is_stream = requests.iter().all(|request| request.patience == Patience::Stream);
        let own = |store: Duration| if is_stream { self.budgets.stream } else { store.min(self.budgets.deadline) };
        let Budgets { redis, mongodb, clickhouse, .. } = self.budgets;
        [redis, mongodb, clickhouse].map(|store| TimeBudget::new(own(store), left))
    }

    fn completed_runs(&self) -> Arc<CompletedRuns> {
        self.completed_runs.read().clone()
    }
}

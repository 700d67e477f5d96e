//! What the routes need, and keeping it current: the definitions that every partition has, the plans made of them,
//! and whether the stores have been reached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_common::clock::now_ms;
use millrace_common::config::StoreConfig;
use millrace_common::jobs::{batch_views, show_age};
use millrace_common::log::job::{self, JobState};
use millrace_common::log::{Log, LogError, registry};
use millrace_common::names::Names;
use millrace_common::process::Readiness;
use millrace_common::stores::features::FeatureStore;
use millrace_common::stores::profiles::ProfileStore;
use millrace_common::worker::DefinitionsCache;
use millrace_core::definitions::{Definitions, Store, View};
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::config::{Budgets, Config, Limits};
use crate::doors::{Door, Doors};
use crate::error::RequestError;
use crate::names::Named;
use crate::repository::{Answer, Plan, Repository, Request, Warehouse};

/// How often new definitions, completed runs, and a store that is away are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Lists of features whose plans are kept.
const PLANS: usize = 1_000;

/// Shared by all requests.
pub struct Shared {
    /// The stores.
    pub repository: Repository,
    /// What one request may ask for.
    pub limits: Limits,
    /// Requests in hand.
    pub permits: Semaphore,
    /// Searches in hand.
    pub searches: Semaphore,
    /// What is counted.
    pub doors: Doors,
    budgets: Budgets,
    serving: RwLock<Option<Arc<Serving>>>,
    readiness: Readiness,
}

/// Everything that follows from one version of the definitions.
pub struct Serving {
    /// What is in force in all partitions.
    pub definitions: Arc<Definitions>,
    /// How keys in Redis are called.
    pub names: Names,
    /// How many partitions the log has.
    pub partitions: u16,
    /// The answer of `GET /v1/catalog`.
    pub catalog: Bytes,
    /// Plans by the text that asked for them.
    pub plans: Cache<String, Arc<Plan>>,
    /// Plans by the list of names that asked for them.
    pub named: Cache<Vec<String>, Arc<Named>>,
}

impl Shared {
    /// Nothing is served yet; fails only where a URL is none.
    pub async fn new(config: &Config, readiness: Readiness) -> anyhow::Result<Self> {
        let (stores, budgets) = (&config.stores, config.budgets.clone());
        let pool = budgets.mongodb_connections;
        let longest = budgets.stream.max(budgets.search);
        let profiles = ProfileStore::connect(&stores.mongodb_url, &stores.namespace, pool, longest).await?;
        let warehouse = Warehouse::new(&stores.clickhouse_url, &stores.namespace, config.on_demand.query_timeout)?;
        Ok(Self {
            repository: Repository::new(profiles, warehouse, budgets.clone(), config.cache.clone(), &config.on_demand),
            limits: config.limits.clone(),
            permits: Semaphore::new(config.limits.max_requests),
            searches: Semaphore::new(config.limits.max_searches),
            doors: Doors::new(),
            budgets,
            serving: RwLock::new(None),
            readiness,
        })
    }

    /// When an answer must be there.
    pub fn deadline(&self) -> Duration {
        self.budgets.deadline
    }

    /// How long a search may take.
    pub fn search_budget(&self) -> Duration {
        self.budgets.search
    }

    /// What is served now, or why nothing is.
    pub fn serving(&self) -> Result<Arc<Serving>, RequestError> {
        let serving = self.serving.read().clone();
        serving.ok_or_else(|| RequestError::Unavailable(format!("waiting for {}", self.readiness.waiting_for())))
    }

    /// Reads for a door, unless there are as many requests in hand as may be.
    pub async fn read(&self, door: &Door, request: &Request) -> Result<Answer, RequestError> {
        let permit = self.permits.try_acquire().map_err(|_| RequestError::Busy)?;
        self.read_with(permit, door, request).await
    }

    /// The same in turn, for one part of a long answer: it waits where others are told to come again.
    pub async fn read_in_turn(&self, door: &Door, request: &Request) -> Result<Answer, RequestError> {
        let permit = self.permits.acquire().await.map_err(|_| RequestError::Busy)?;
        self.read_with(permit, door, request).await
    }

    async fn read_with(
        &self,
        _permit: SemaphorePermit<'_>,
        door: &Door,
        request: &Request,
    ) -> Result<Answer, RequestError> {
        let values = request.keys.len().saturating_mul(request.plan.features.len());
        let most = self.limits.max_values;
        if values > most {
            return Err(RequestError::invalid("keys", format!("{values} values in one request; the most is {most}")));
        }
        let begun = Instant::now();
        let answer = self.repository.read(request).await;
        door.read(begun.elapsed());
        Ok(answer)
    }
}

impl Serving {
    fn new(definitions: Arc<Definitions>, version: u32, log: &Log) -> Self {
        let catalog = catalog::catalog(&definitions, version).to_string().into();
        let (names, partitions) = (log.names().clone(), log.meta().partitions);
        Self { definitions, names, partitions, catalog, plans: Cache::new(PLANS), named: Cache::new(PLANS) }
    }
}

/// Follows the definitions until `shutdown`. Ready once the log, the definitions and each store that they use were
/// reached; a store that goes away later costs its own features, not the whole service.
pub async fn keep_current(shared: Arc<Shared>, stores: StoreConfig, shutdown: CancellationToken) {
    let mut keeper =
        Keeper { shared, stores, opened: None, version: 0, features: false, profiles: false, clickhouse: false };
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        let looked = shutdown.run_until_cancelled(keeper.look()).await;
        let readiness = &keeper.shared.readiness;
        match looked {
            Some(Ok(())) => readiness.set_ready(),
            Some(Err(missing)) if !readiness.is_ready() => keeper.say(&missing),
            Some(Err(missing)) => tracing::debug!(missing, "definitions not followed"),
            None => return,
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    stores: StoreConfig,
    opened: Option<(Log, DefinitionsCache)>,
    version: u32,
    features: bool,
    profiles: bool,
    clickhouse: bool,
}

impl Keeper {
    /// One look at everything; the error names what is missing.
    async fn look(&mut self) -> Result<(), String> {
        self.reach_features().await?;
        let followed = self.follow().await;
        let serving = self.shared.serving.read().clone();
        let Some(serving) = serving else { return followed };
        let uses = |store| serving.definitions.views.iter().any(|view| view.store == store);
        if !self.profiles && uses(Store::MongoDb) {
            self.shared.repository.ping_profiles().await.map_err(|error| format!("mongodb: {error}"))?;
            self.profiles = true;
        }
        if !self.clickhouse && uses(Store::ClickHouse) {
            self.shared.repository.ping_clickhouse().await.map_err(|error| format!("clickhouse: {error}"))?;
            self.clickhouse = true;
        }
        followed
    }

    async fn reach_features(&mut self) -> Result<(), String> {
        if self.features {
            return Ok(());
        }
        let Budgets { redis_connections, redis, stream, .. } = self.shared.budgets;
        let longest = redis.max(stream);
        let connecting = FeatureStore::connect(self.stores.features_url(), redis_connections, longest);
        let features = connecting.await.map_err(|error| format!("the feature state: {error}"))?;
        self.shared.repository.set_features(features);
        self.features = true;
        Ok(())
    }

    async fn follow(&mut self) -> Result<(), String> {
        let log_error = |error: &dyn std::fmt::Display| format!("the log: {error}");
        if self.opened.is_none() {
            let names = Names::new(&self.stores.namespace);
            let log = Log::open(&self.stores.redis_url, names).await.map_err(|error| log_error(&error))?;
            self.opened = Some((log.clone(), DefinitionsCache::new(log)));
        }
        let Some((log, cache)) = &self.opened else { return Ok(()) };
        let newest = registry::everywhere(log).await.map_err(|error| log_error(&error))?;
        let newest = newest.ok_or("definitions; run `millrace apply`")?;
        let definitions = cache.get(newest).await.map_err(|error| error.to_string())?;
        // Before new definitions are served: what an older run of a view of theirs wrote must not be.
        self.follow_runs(log, &definitions).await.map_err(|error| log_error(&error))?;
        if newest != self.version {
            *self.shared.serving.write() = Some(Arc::new(Serving::new(definitions, newest, log)));
            self.version = newest;
            tracing::info!(version = newest, "definitions in force");
        }
        Ok(())
    }

    /// Learns which runs of batch views have completed, and says how old what they wrote is: here too, so that a
    /// scheduler that is dead is seen.
    async fn follow_runs(&self, log: &Log, definitions: &Definitions) -> Result<(), LogError> {
        let views: Vec<&View> = batch_views(definitions).into_iter().map(|(_, view)| view).collect();
        let names: Vec<String> = views.iter().map(|view| view.id()).collect();
        let states = job::states(log, &names).await?;
        let now = now_ms();
        views.iter().zip(&states).for_each(|(view, state)| show_age(view, state, now));
        let completed = |(name, state): (String, JobState)| Some((name, state.completed?.run.number));
        let runs = names.into_iter().zip(states).filter_map(completed).collect();
        self.shared.repository.set_completed_runs(runs);
        Ok(())
    }

    fn say(&self, missing: &str) {
        let readiness = &self.shared.readiness;
        if readiness.waiting_for() != missing {
            tracing::warn!(waiting_for = missing, "not ready");
            readiness.set_waiting(missing);
        }
    }
}

//! Keeps what is served current: every half second it looks for new definitions, for completed runs of batch views, and
//! for stores that have not been reached yet.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use millrace_common::clock::now_ms;
use millrace_common::config::StoreConfig;
use millrace_common::definitions::{CurrentDefinitions, DefinitionsError, DefinitionsFollower};
use millrace_common::jobs::{batch_views, show_age};
use millrace_common::log::job::{self, JobState};
use millrace_common::log::{Log, LogError};
use millrace_common::names::Names;
use millrace_common::stores::features::FeatureStore;
use millrace_core::definitions::{Definitions, Store, View};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::Budgets;
use crate::served::ServedDefinitions;
use crate::server::FeatureServer;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Refreshes until `shutdown`. The server is ready once the log, the definitions, and each store that they use were
/// reached. A store that becomes unavailable later costs its own features, not the whole service.
pub async fn refresh(server: Arc<FeatureServer>, stores: StoreConfig, shutdown: CancellationToken) {
    let mut refresher = Refresher::new(server, stores);
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        match shutdown.run_until_cancelled(refresher.look()).await {
            Some(looked) => refresher.report(looked),
            None => return,
        }
    }
}

struct Refresher {
    server: Arc<FeatureServer>,
    stores: StoreConfig,
    follower: Option<DefinitionsFollower>,
    /// The version of the definitions that are served.
    version: Option<u32>,
    reached: ReachedStores,
}

/// The stores that have answered at least once.
#[derive(Default)]
struct ReachedStores {
    redis: bool,
    mongodb: bool,
    clickhouse: bool,
}

impl Refresher {
    fn new(server: Arc<FeatureServer>, stores: StoreConfig) -> Self {
        Self { server, stores, follower: None, version: None, reached: ReachedStores::default() }
    }

    /// Looks at everything once. The error names what is missing.
    async fn look(&mut self) -> Result<(), String> {
        self.reach_redis().await?;
        let followed = self.follow_definitions().await;
        let Some(served) = self.server.served_yet() else { return followed };
        let uses = |store| served.definitions.views.iter().any(|view| view.store == store);
        let repository = &self.server.repository;
        if !self.reached.mongodb && uses(Store::MongoDb) {
            repository.ping_mongodb().await.map_err(|error| format!("mongodb: {error}"))?;
            self.reached.mongodb = true;
        }
        if !self.reached.clickhouse && uses(Store::ClickHouse) {
            repository.ping_clickhouse().await.map_err(|error| format!("clickhouse: {error}"))?;
            self.reached.clickhouse = true;
        }
        followed
    }

    async fn reach_redis(&mut self) -> Result<(), String> {
        if self.reached.redis {
            return Ok(());
        }
        let Budgets { redis_connections, redis, stream, .. } = self.server.budgets;
        let connecting = FeatureStore::connect(self.stores.features_url(), redis_connections, redis.max(stream));
        let features = connecting.await.map_err(|error| format!("the feature state: {error}"))?;
        self.server.repository.set_features(features);
        self.reached.redis = true;
        Ok(())
    }

    async fn follow_definitions(&mut self) -> Result<(), String> {
        let follower = match &self.follower {
            Some(follower) => follower.clone(),
            None => self.open_log().await.map_err(log_error)?,
        };
        let current = follower.current().await.map_err(definitions_error)?;
        let CurrentDefinitions { version, definitions } = current.ok_or("definitions; run `millrace apply`")?;
        let log = follower.log();
        // Runs come before new definitions: values that an older run of a new view wrote must not be served.
        self.follow_runs(log, &definitions).await.map_err(log_error)?;
        if self.version != Some(version) {
            let max_features = self.server.limits.max_features;
            self.server.serve(ServedDefinitions::new(definitions, version, log, max_features));
            self.version = Some(version);
            tracing::info!(version, "definitions in force");
        }
        Ok(())
    }

    async fn open_log(&mut self) -> Result<DefinitionsFollower, LogError> {
        let log = Log::open(&self.stores.redis_url, Names::new(&self.stores.namespace)).await?;
        let follower = DefinitionsFollower::new(log);
        self.follower = Some(follower.clone());
        Ok(follower)
    }

    /// Learns which runs of batch views have completed. Shows the age of their values in this process too, so that a dead
    /// scheduler is noticed.
    async fn follow_runs(&self, log: &Log, definitions: &Definitions) -> Result<(), LogError> {
        let views: Vec<&View> = batch_views(definitions).into_iter().map(|(_, view)| view).collect();
        let names: Vec<String> = views.iter().map(|view| view.id()).collect();
        let states = job::states(log, &names).await?;
        let now = now_ms();
        views.iter().zip(&states).for_each(|(view, state)| show_age(view, state, now));
        let completed = |(name, state): (String, JobState)| Some((name, state.completed?.run.number));
        let runs = names.into_iter().zip(states).filter_map(completed).collect();
        self.server.repository.set_completed_runs(runs);
        Ok(())
    }

    /// Sets the readiness, and logs what is missing when it changes. A server that was ready stays ready.
    fn report(&self, looked: Result<(), String>) {
        let readiness = &self.server.readiness;
        match looked {
            Ok(()) => readiness.set_ready(),
            Err(missing) if readiness.is_ready() => tracing::debug!(missing, "definitions not followed"),
            Err(missing) if readiness.waiting_for() != missing => {
                tracing::warn!(waiting_for = missing, "not ready");
                readiness.set_waiting(&missing);
            }
            Err(_) => {}
        }
    }
}

fn log_error(error: impl Display) -> String {
    format!("the log: {error}")
}

fn definitions_error(error: DefinitionsError) -> String {
    match error {
        DefinitionsError::Log(error) => log_error(error),
        DefinitionsError::Uncompilable { .. } | DefinitionsError::Unknown(_) => error.to_string(),
    }
}

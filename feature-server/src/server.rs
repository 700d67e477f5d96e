//! The parts that all requests share: the repository, the definitions that are served, the limits, and the metrics. Keeping the
//! definitions current is left to `refresh`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_common::process::Readiness;
use millrace_common::stores::profiles::ProfileStore;
use parking_lot::RwLock;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::{Budgets, Config, Limits};
use crate::endpoints::{Endpoint, Endpoints};
use crate::error::RequestError;
use crate::repository::{ClickHouseSource, FeatureAnswer, FeatureRequest, Repository};
use crate::served::ServedDefinitions;

/// The server as its requests see it.
pub struct FeatureServer {
    /// The stores.
    pub repository: Repository,
    /// The limits of one request.
    pub limits: Limits,
    /// Permits for requests in progress.
    pub request_permits: Semaphore,
    /// Permits for searches in progress.
    pub search_permits: Semaphore,
    /// The metrics of each endpoint.
    pub endpoints: Endpoints,
    /// The time budgets, and the connections to the stores.
    pub budgets: Budgets,
    /// Whether the server is ready, and what it waits for.
    pub readiness: Readiness,
    served: RwLock<Option<Arc<ServedDefinitions>>>,
}

impl FeatureServer {
    /// A server that serves no definitions yet. Fails only where a URL is invalid.
    pub async fn new(config: &Config, readiness: Readiness) -> anyhow::Result<Self> {
        let (stores, budgets) = (&config.stores, config.budgets.clone());
        let longest = budgets.stream.max(budgets.search);
        let connections = budgets.mongodb_connections;
        let profiles = ProfileStore::connect(&stores.mongodb_url, &stores.namespace, connections, longest).await?;
        let timeout = config.on_demand.query_timeout;
        let clickhouse = ClickHouseSource::new(&stores.clickhouse_url, &stores.namespace, timeout)?;
        let cache = config.cache.clone();
        Ok(Self {
            repository: Repository::new(profiles, clickhouse, budgets.clone(), cache, &config.on_demand),
            limits: config.limits.clone(),
            request_permits: Semaphore::new(config.limits.max_requests),
            search_permits: Semaphore::new(config.limits.max_searches),
            endpoints: Endpoints::new(),
            budgets,
            readiness,
            served: RwLock::new(None),
        })
    }

    /// The definitions that are served now. An error says what the server waits for.
    pub fn served(&self) -> Result<Arc<ServedDefinitions>, RequestError> {
        let waiting = || RequestError::Unavailable(format!("waiting for {}", self.readiness.waiting_for()));
        self.served_yet().ok_or_else(waiting)
    }

    /// The definitions that are served now. None before the first were found.
    pub fn served_yet(&self) -> Option<Arc<ServedDefinitions>> {
        self.served.read().clone()
    }

    /// Serves these definitions from now on.
    pub fn serve(&self, definitions: ServedDefinitions) {
        *self.served.write() = Some(Arc::new(definitions));
    }

    /// Reads the repository, unless too many requests are in progress.
    pub async fn read(&self, endpoint: &Endpoint, request: &FeatureRequest) -> Result<FeatureAnswer, RequestError> {
        let permit = self.request_permits.try_acquire().map_err(|_| RequestError::Busy)?;
        self.read_with(permit, endpoint, request).await
    }

    /// Reads the repository for one part of a stream. It waits for a permit where a single request is refused.
    pub async fn read_in_turn(
        &self,
        endpoint: &Endpoint,
        request: &FeatureRequest,
    ) -> Result<FeatureAnswer, RequestError> {
        let permit = self.request_permits.acquire().await.map_err(|_| RequestError::Busy)?;
        self.read_with(permit, endpoint, request).await
    }

    async fn read_with(
        &self,
        _permit: SemaphorePermit<'_>,
        endpoint: &Endpoint,
        request: &FeatureRequest,
    ) -> Result<FeatureAnswer, RequestError> {
        let values = request.keys.len().saturating_mul(request.plan.features.len());
        let most = self.limits.max_values;
        if values > most {
            return Err(RequestError::invalid("keys", format!("{values} values in one request; the most is {most}")));
        }
        let begun = Instant::now();
        let answer = self.repository.read(request).await;
        endpoint.record_read(begun.elapsed());
        Ok(answer)
    }

    /// The time within which an answer must be ready.
    pub fn deadline(&self) -> Duration {
        self.budgets.deadline
    }
}

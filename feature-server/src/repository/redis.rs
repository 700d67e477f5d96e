//! Redis as the repository reads it: one round trip, whatever the number of requests, keys and views. `hash_reads` says
//! which fields are read.

mod hash_reads;

use std::sync::Arc;

use millrace_common::stores::features::{FeatureStore, FoundFields};
use millrace_core::assemble::FeatureValue;
use millrace_core::definitions::Store;
use parking_lot::RwLock;

use self::hash_reads::HashReads;
use super::circuit_breaker::{CircuitBreaker, TimeBudget};
use super::completed_runs::CompletedRuns;
use super::plan::ViewPlan;
use super::request::FeatureRequest;
use super::store_part::{StorePart, count_error, nothing};
use super::time::ReadTime;
use super::values::{from_batch_slot, from_slots, undecodable};

/// The feature state, behind its circuit breaker.
pub struct RedisReader {
    store: RwLock<Option<Arc<FeatureStore>>>,
    breaker: CircuitBreaker,
}

impl RedisReader {
    /// A reader that has no store yet.
    pub fn new() -> Self {
        Self { store: RwLock::new(None), breaker: CircuitBreaker::new() }
    }

    /// Reads from this store from now on.
    pub fn set_store(&self, store: FeatureStore) {
        *self.store.write() = Some(Arc::new(store));
    }

    /// Reads what the requests want of Redis.
    pub async fn read(
        &self,
        requests: &[FeatureRequest],
        runs: &CompletedRuns,
        now: i64,
        budget: TimeBudget,
    ) -> Vec<StorePart> {
        let reads = HashReads::new(requests);
        if reads.is_empty() {
            return nothing(requests);
        }
        match self.fetch(&reads, budget).await {
            Ok(found) => {
                let fetched = FetchedHashes { reads: &reads, found: &found, runs, now };
                requests.iter().enumerate().map(|(number, request)| fetched.part(number, request)).collect()
            }
            Err(reason) => {
                count_error(Store::Redis);
                let reason = format!("redis: {reason}");
                requests.iter().map(|request| StorePart::failed(request, &request.plan.redis, &reason)).collect()
            }
        }
    }

    async fn fetch(&self, reads: &HashReads<'_>, budget: TimeBudget) -> Result<Vec<FoundFields>, String> {
        let store = self.store.read().clone();
        let reading = async {
            let Some(store) = store else { return Err("the feature state has not been reached yet".to_owned()) };
            store.read(reads.reads()).await.map_err(|error| error.to_string())
        };
        self.breaker.call(budget, reading).await
    }
}

/// The answer of Redis, and everything that turns it into values.
struct FetchedHashes<'a> {
    reads: &'a HashReads<'a>,
    found: &'a [FoundFields],
    runs: &'a CompletedRuns,
    now: i64,
}

impl FetchedHashes<'_> {
    /// The values of one request.
    fn part(&self, number: usize, request: &FeatureRequest) -> StorePart {
        let of_view = |(place, part): (usize, &ViewPlan)| {
            let completed = self.runs.of(request.plan.view(part));
            (0..request.keys.len()).map(|key| self.values(number, request, key, (place, part), completed)).collect()
        };
        StorePart { views: request.plan.redis.iter().enumerate().map(of_view).collect(), unavailable: None }
    }

    /// The values of one view for one key.
    fn values(
        &self,
        number: usize,
        request: &FeatureRequest,
        key: usize,
        (place, part): (usize, &ViewPlan),
        completed: Option<u32>,
    ) -> Vec<FeatureValue> {
        let view = request.plan.view(part);
        let at: ReadTime = request.time(self.now);
        let (hash, fields) = self.reads.slots(number, key, (place, part));
        let stored = match self.found.get(hash) {
            Some(Ok(stored)) => stored.get(fields).unwrap_or_default(),
            Some(Err(broken)) => return undecodable(view, part.wanted.features(), broken),
            None => &[],
        };
        match completed {
            Some(completed) => from_batch_slot(view, &part.wanted, stored, completed, at),
            None => from_slots(view, &part.wanted, stored, at),
        }
    }
}

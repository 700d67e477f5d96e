//! MongoDB as the repository reads it: the documents that the sink wrote, with finished values.

use std::time::Duration;

use millrace_common::stores::profiles::{ProfileError, ProfileStore, Search};
use millrace_core::finished::{Finished, Found};
use millrace_core::key::KeyText;

use super::cached::{ViewQuery, ViewSource};
use super::circuit_breaker::{CircuitBreaker, TimeBudget};

/// A read may take its budget once more for each additional group of this many keys.
const KEYS_PER_BUDGET: usize = 20;

/// The profiles, behind their circuit breaker.
pub struct ProfileSource {
    store: ProfileStore,
    breaker: CircuitBreaker,
    budget: Duration,
}

impl ProfileSource {
    /// A read of one key may take `budget`.
    pub fn new(store: ProfileStore, budget: Duration) -> Self {
        Self { store, breaker: CircuitBreaker::new(), budget }
    }

    /// Fails where MongoDB does not answer.
    pub async fn ping(&self) -> Result<(), ProfileError> {
        let ping = tokio::time::timeout(self.budget, self.store.ping());
        ping.await.unwrap_or(Err(ProfileError::Late(self.budget)))
    }

    /// Finds entities by their values. The breaker does not count it: a slow search says nothing about reads by key.
    pub async fn search(&self, search: &Search<'_>) -> Result<Vec<(String, Found<Finished>)>, String> {
        self.store.search(search).await.map_err(|error| error.to_string())
    }
}

impl ViewSource for ProfileSource {
    async fn read(&self, query: &ViewQuery, keys: &[KeyText]) -> Result<Vec<Found<Finished>>, String> {
        let texts: Vec<&str> = keys.iter().map(KeyText::as_str).collect();
        let reading = async {
            let found = self.store.read(query.view(), &query.features, &texts).await;
            found.map_err(|error| error.to_string())
        };
        // More keys take longer, which is not a failure of the store.
        let time = self.budget * u32::try_from(1 + keys.len() / KEYS_PER_BUDGET).unwrap_or(u32::MAX);
        self.breaker.call(TimeBudget::new(time, None), reading).await
    }
}

//! MongoDB as the repository sees it: a view's features, as the sink has written them.

use std::time::Duration;

use millrace_common::stores::profiles::{FoundProfile, Profile, ProfileError, ProfileStore, Search};
use millrace_core::key::KeyText;

use super::breaker::{Breaker, Budget};
use super::cached::{Ask, FoundFinished, Source};
use super::merge::Finished;

/// A read may take its budget once more for so many keys.
const KEYS_PER_BUDGET: usize = 20;

/// The profiles.
pub struct Profiles {
    store: ProfileStore,
    breaker: Breaker,
    budget: Duration,
}

impl Profiles {
    /// A read of one key has `budget` to answer.
    pub fn new(store: ProfileStore, budget: Duration) -> Self {
        Self { store, breaker: Breaker::new(), budget }
    }

    /// Whether they answer.
    pub async fn ping(&self) -> Result<(), ProfileError> {
        let ping = tokio::time::timeout(self.budget, self.store.ping());
        ping.await.unwrap_or(Err(ProfileError::Late(self.budget)))
    }

    /// Finds entities. A search that is slow says nothing of reads by key.
    pub async fn search(&self, search: &Search<'_>) -> Result<Vec<(String, FoundProfile)>, String> {
        self.store.search(search).await.map_err(|error| error.to_string())
    }
}

impl Source for Profiles {
    async fn read(&self, ask: &Ask, keys: &[KeyText]) -> Result<Vec<FoundFinished>, String> {
        let texts: Vec<&str> = keys.iter().map(KeyText::as_str).collect();
        let reading = async {
            let found = self.store.read(ask.view(), &ask.features, &texts).await;
            found.map_err(|error| error.to_string())
        };
        // More keys take longer, and that is not the store's fault.
        let time = self.budget * u32::try_from(1 + keys.len() / KEYS_PER_BUDGET).unwrap_or(u32::MAX);
        let found = self.breaker.ask(Budget::of(time, None), reading).await?;
        Ok(found.into_iter().map(|profile| Ok(profile?.map(Finished::from))).collect())
    }
}

impl From<Profile> for Finished {
    fn from(Profile { newest, run, values }: Profile) -> Self {
        Self { newest, run, values }
    }
}

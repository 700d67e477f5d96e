//! A request to the repository, as every API makes it.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::key::KeyText;

use super::plan::Plan;
use super::time::ReadTime;

/// Which features of which keys are read, and when.
pub struct FeatureRequest {
    /// The features, and where they are stored.
    pub plan: Arc<Plan>,
    /// The keys.
    pub keys: Vec<KeyText>,
    /// The instant that values are of, epoch ms. None means now.
    pub as_of: Option<i64>,
    /// The time that the reader has. None means as much as is configured. It never extends the configured time.
    pub deadline: Option<Duration>,
    /// How long a slow store is waited for.
    pub patience: Patience,
}

/// How long a slow store is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// For its budget: a model waits for the answer.
    Online,
    /// For the budget of streams: nobody waits for a single row.
    Stream,
}

impl FeatureRequest {
    /// A request of a reader who waits for as long as is configured.
    pub fn new(plan: Arc<Plan>, keys: Vec<KeyText>, as_of: Option<i64>) -> Self {
        Self { plan, keys, as_of, deadline: None, patience: Patience::Online }
    }

    /// The instant at which the request reads.
    pub fn time(&self, now: i64) -> ReadTime {
        ReadTime { as_of: self.as_of, now }
    }
}

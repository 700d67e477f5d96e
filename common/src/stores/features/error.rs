//! Errors of the feature state, and whether the same call may succeed later.

use redis::RedisError;

use crate::log::NOT_NOW;

/// Why the feature state did not do a call.
#[derive(Debug, thiserror::Error)]
pub enum FeatureStoreError {
    /// It was not reached, did not answer in time, or answered with an error.
    #[error("failed to reach the feature state: {0}")]
    Unavailable(#[source] RedisError),
    /// An answer that no version of the function library gives.
    #[error("unexpected answer from the feature state: {0}")]
    Unexpected(String),
}

impl FeatureStoreError {
    /// Whether the server refused the call itself and would refuse it again: it is not unavailable, late, loading or full.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unavailable(error) => {
                let errors = error.clone().into_server_errors();
                errors.is_some_and(|errors| errors.iter().any(|(_, error)| !NOT_NOW.contains(&error.code())))
            }
            Self::Unexpected(_) => true,
        }
    }
}

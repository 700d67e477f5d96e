//! Whole-system tests: the real binaries on the real stores. This library is what the tests share: a world with its
//! own namespace, its services, and words for what a test does with them.

pub mod compose;
mod http;
pub mod purchases;
mod world;

pub use http::{get, post, post_json};
pub use world::{DEFINITIONS, World};

use std::time::Duration;

use tokio::time::Instant;

/// Looks until `condition` answers something, or fails with `what` after `limit`.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

//! Whole-system tests: the real binaries on the real stores. This library is what the tests share: a world with a
//! namespace and services, HTTP requests, and numbered purchases. Assertions are left to the tests.

pub mod compose;
mod effort;
mod http;
pub mod purchases;
mod world;

pub use effort::effort;
pub use http::{get, post, post_json};
pub use world::{DEFINITIONS, World, own_stores};

use std::time::Duration;

use tokio::time::Instant;

/// Asks again until `condition` returns something. Fails with `what` after `limit`.
pub async fn eventually<T, F>(what: &str, limit: Duration, condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    eventually_every(Duration::from_millis(50), what, limit, condition).await
}

/// As [`eventually`], at a pace of its own: for a condition that is dear to ask.
pub async fn eventually_every<T, F>(pace: Duration, what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(pace).await;
    }
}

//! What is counted of each door. Made once: to find a metric by its labels costs more than to count.

use std::time::Duration;

use axum::http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

/// Every door's metrics.
pub struct Doors {
    /// `GET /v1/features/{entity}/{key}`.
    pub features_get: Door,
    /// `POST /v1/features`.
    pub features_post: Door,
    /// `GET /api/v1/features/{entity}/{key}`.
    pub flat: Door,
    /// `POST /v1/vectors/{entity}`.
    pub vectors: Door,
    /// `GET /v1/entities`.
    pub entities: Door,
    /// `/graphql` and `/query`.
    pub graphql: Door,
}

/// How long its reads take and how its requests end.
pub struct Door {
    seconds: Histogram,
    ok: Counter,
    refused: Counter,
    unavailable: Counter,
}

impl Doors {
    /// All at zero.
    pub fn new() -> Self {
        Self {
            features_get: Door::new("features_get"),
            features_post: Door::new("features_post"),
            flat: Door::new("flat"),
            vectors: Door::new("vectors"),
            entities: Door::new("entities"),
            graphql: Door::new("graphql"),
        }
    }
}

impl Door {
    fn new(door: &'static str) -> Self {
        let ended =
            |outcome: &'static str| counter!("millrace_read_requests_total", "door" => door, "outcome" => outcome);
        Self {
            seconds: histogram!("millrace_read_seconds", "door" => door),
            ok: ended("ok"),
            refused: ended("refused"),
            unavailable: ended("unavailable"),
        }
    }

    /// The repository was read for a request.
    pub fn read(&self, took: Duration) {
        self.seconds.record(took.as_secs_f64());
    }

    /// A request was answered.
    pub fn ended(&self, status: StatusCode) {
        let outcome = match status.as_u16() {
            200..300 => &self.ok,
            400..500 => &self.refused,
            _ => &self.unavailable,
        };
        outcome.increment(1);
    }
}

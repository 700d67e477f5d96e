//! What is counted of each door. Made once: to find a metric by its labels costs more than to count.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Every door's metrics.
pub struct Doors {
    /// `GET /v1/features/{entity}/{key}`.
    pub features_get: Arc<Door>,
    /// `POST /v1/features`.
    pub features_post: Arc<Door>,
    /// `GET /api/v1/features/{entity}/{key}`.
    pub flat: Arc<Door>,
    /// `POST /v1/vectors/{entity}`.
    pub vectors: Arc<Door>,
    /// `GET /v1/entities`.
    pub entities: Arc<Door>,
    /// `/graphql` and `/query`.
    pub graphql: Arc<Door>,
    /// `feature_store.v1.FeatureStoreService/GetRealtimeFeatures`.
    pub grpc_realtime: Arc<Door>,
    /// `millrace.v1.FeatureService/GetFeatures`.
    pub grpc_get: Arc<Door>,
    /// `millrace.v1.FeatureService/BatchGetFeatures`.
    pub grpc_batch: Arc<Door>,
    /// `millrace.v1.FeatureService/StreamFeatures`.
    pub grpc_stream: Arc<Door>,
}

/// A request in hand.
pub struct Call {
    door: Arc<Door>,
    outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Something is wrong with it.
    Refused,
    /// Not now.
    Unavailable,
    /// Who asked went away.
    Cancelled,
}

/// How many requests it has in hand, how long its reads take, and how its requests end.
pub struct Door {
    in_hand: Gauge,
    seconds: Histogram,
    ok: Counter,
    refused: Counter,
    unavailable: Counter,
    cancelled: Counter,
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
            grpc_realtime: Door::new("grpc_realtime"),
            grpc_get: Door::new("grpc_get"),
            grpc_batch: Door::new("grpc_batch"),
            grpc_stream: Door::new("grpc_stream"),
        }
    }
}

impl Outcome {
    /// Of a request that was answered over HTTP.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..300 => Self::Ok,
            400..500 => Self::Refused,
            _ => Self::Unavailable,
        }
    }
}

impl Door {
    fn new(door: &'static str) -> Arc<Self> {
        let ended =
            |outcome: &'static str| counter!("millrace_read_requests_total", "door" => door, "outcome" => outcome);
        Arc::new(Self {
            in_hand: gauge!("millrace_read_requests_in_hand", "door" => door),
            seconds: histogram!("millrace_read_seconds", "door" => door),
            ok: ended("ok"),
            refused: ended("refused"),
            unavailable: ended("unavailable"),
            cancelled: ended("cancelled"),
        })
    }

    /// The repository was read for a request.
    pub fn read(&self, took: Duration) {
        self.seconds.record(took.as_secs_f64());
    }

    /// A request has come. It counts as cancelled when this is dropped before it is told how the request ended.
    pub fn call(self: &Arc<Self>) -> Call {
        self.in_hand.increment(1);
        Call { door: self.clone(), outcome: Outcome::Cancelled }
    }
}

impl Call {
    /// The request has ended.
    pub fn ended(mut self, outcome: Outcome) {
        self.ends(outcome);
    }

    /// How the request will have ended when this is dropped.
    pub fn ends(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let counter = match self.outcome {
            Outcome::Ok => &self.door.ok,
            Outcome::Refused => &self.door.refused,
            Outcome::Unavailable => &self.door.unavailable,
            Outcome::Cancelled => &self.door.cancelled,
        };
        counter.increment(1);
        self.door.in_hand.decrement(1);
    }
}

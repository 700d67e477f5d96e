//! The metrics of each endpoint of each API. They are made once, because looking up a metric by its labels costs more than
//! counting.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The metrics of all endpoints.
pub struct Endpoints {
    /// `GET /v1/features/{entity}/{key}`.
    pub features_get: Arc<Endpoint>,
    /// `POST /v1/features`.
    pub features_post: Arc<Endpoint>,
    /// `GET /api/v1/features/{entity}/{key}`.
    pub flat: Arc<Endpoint>,
    /// `POST /v1/vectors/{entity}`.
    pub vectors: Arc<Endpoint>,
    /// `GET /v1/entities`.
    pub entities: Arc<Endpoint>,
    /// `/graphql` and `/query`.
    pub graphql: Arc<Endpoint>,
    /// `feature_store.v1.FeatureStoreService/GetRealtimeFeatures`.
    pub grpc_realtime: Arc<Endpoint>,
    /// `millrace.v1.FeatureService/GetFeatures`.
    pub grpc_get: Arc<Endpoint>,
    /// `millrace.v1.FeatureService/BatchGetFeatures`.
    pub grpc_batch: Arc<Endpoint>,
    /// `millrace.v1.FeatureService/StreamFeatures`.
    pub grpc_stream: Arc<Endpoint>,
}

/// The metrics of one endpoint: its requests in progress, the time its reads take, and how its requests end.
pub struct Endpoint {
    in_progress: Gauge,
    seconds: Histogram,
    ok: Counter,
    refused: Counter,
    unavailable: Counter,
    cancelled: Counter,
}

/// A request in progress. It counts as cancelled if it is dropped without another outcome.
pub struct RequestGuard {
    endpoint: Arc<Endpoint>,
    outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// The request is wrong.
    Refused,
    /// The server could not answer it now.
    Unavailable,
    /// The client went away.
    Cancelled,
}

impl Endpoints {
    /// All metrics, at zero.
    pub fn new() -> Self {
        Self {
            features_get: Endpoint::new("features_get"),
            features_post: Endpoint::new("features_post"),
            flat: Endpoint::new("flat"),
            vectors: Endpoint::new("vectors"),
            entities: Endpoint::new("entities"),
            graphql: Endpoint::new("graphql"),
            grpc_realtime: Endpoint::new("grpc_realtime"),
            grpc_get: Endpoint::new("grpc_get"),
            grpc_batch: Endpoint::new("grpc_batch"),
            grpc_stream: Endpoint::new("grpc_stream"),
        }
    }
}

impl Endpoint {
    /// Metrics name the endpoint in the label `endpoint`.
    fn new(name: &'static str) -> Arc<Self> {
        let ended =
            |outcome: &'static str| counter!("millrace_read_requests_total", "endpoint" => name, "outcome" => outcome);
        Arc::new(Self {
            in_progress: gauge!("millrace_read_requests_in_progress", "endpoint" => name),
            seconds: histogram!("millrace_read_seconds", "endpoint" => name),
            ok: ended("ok"),
            refused: ended("refused"),
            unavailable: ended("unavailable"),
            cancelled: ended("cancelled"),
        })
    }

    /// Records the time that the repository took for a request.
    pub fn record_read(&self, took: Duration) {
        self.seconds.record(took.as_secs_f64());
    }

    /// Counts a request as in progress until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> RequestGuard {
        self.in_progress.increment(1);
        RequestGuard { endpoint: self.clone(), outcome: Outcome::Cancelled }
    }
}

impl RequestGuard {
    /// Ends the request.
    pub fn end(mut self, outcome: Outcome) {
        self.set_outcome(outcome);
    }

    /// Sets the outcome that counts when the guard is dropped.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let counter = match self.outcome {
            Outcome::Ok => &self.endpoint.ok,
            Outcome::Refused => &self.endpoint.refused,
            Outcome::Unavailable => &self.endpoint.unavailable,
            Outcome::Cancelled => &self.endpoint.cancelled,
        };
        counter.increment(1);
        self.endpoint.in_progress.decrement(1);
    }
}

impl From<StatusCode> for Outcome {
    fn from(status: StatusCode) -> Self {
        match status.as_u16() {
            200..300 => Self::Ok,
            400..500 => Self::Refused,
            _ => Self::Unavailable,
        }
    }
}

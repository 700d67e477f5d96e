//! Serves `grpc.health.v1.Health`: all services have the status SERVING while the process is ready, and NOT_SERVING
//! otherwise. `refresh` decides when the process is ready.

use millrace_common::process::Readiness;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::features::FeatureApi;
use super::realtime::RealtimeApi;
use super::service::feature_service_server::FeatureServiceServer;
use crate::proto::feature_store_v1::feature_store_service_server::FeatureStoreServiceServer;

/// The services that have a status. The empty name stands for the server as a whole.
const SERVICES: [&str; 3] = [
    "",
    <FeatureStoreServiceServer<RealtimeApi> as NamedService>::NAME,
    <FeatureServiceServer<FeatureApi> as NamedService>::NAME,
];

/// Reports the statuses of the services.
pub(super) struct Health(HealthReporter);

impl Health {
    /// The reporter, and the gRPC service that shows its statuses.
    pub(super) fn new() -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        (Self(reporter), service)
    }

    /// Reports each change of the readiness until `shutdown`. Then reports NOT_SERVING and ends the streams of all
    /// `Watch` calls: a stream that stays open would hold up the shutdown.
    pub(super) async fn follow(mut self, readiness: Readiness, shutdown: CancellationToken) {
        let mut ready = readiness.watch();
        loop {
            let is_ready = *ready.borrow_and_update();
            self.set(if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
            if !matches!(shutdown.run_until_cancelled(ready.changed()).await, Some(Ok(()))) {
                break;
            }
        }
        shutdown.cancelled().await;
        self.set(ServingStatus::NotServing).await;
        for service in SERVICES {
            self.0.clear_service_status(service).await;
        }
    }

    async fn set(&self, status: ServingStatus) {
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }
}

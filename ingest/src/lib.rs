//! HTTP events in, log entries out. Checks each event against its type and appends it; a 2xx means that Redis has it.
//! Leaves duplicates, features and everything after the log to the consumers.

mod admit;
mod cloudevents;
mod config;
mod error;
mod http;
mod service;
mod split;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use millrace_common::names::Names;
use millrace_common::process::{Readiness, admin_routes, drain, metrics_upkeep, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// Serves until `shutdown`, then finishes the requests in flight.
pub async fn run(
    config: Config,
    listener: TcpListener,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let readiness = Readiness::waiting("the log");
    let service = Arc::new(service::IngestService::new(&config, readiness.clone()));
    let names = Names::new(&config.stores.namespace);
    tokio::spawn(service::keep_current(service.clone(), config.stores.redis_url.clone(), names, shutdown.clone()));
    tokio::spawn(metrics_upkeep(metrics.clone(), shutdown.clone()));
    let routes = http::with_fallbacks(http::routes(service).merge(admin_routes(metrics, readiness)));
    let serving = tokio::spawn(serve(listener, routes, shutdown.clone()));
    shutdown.cancelled().await;
    drain(config.process.grace, async { Ok(serving.await??) }).await
}

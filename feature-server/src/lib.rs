//! Serves merged feature vectors. `repository` is the one layer that reads the stores; each door (REST here, others
//! beside it) turns its request into a repository request and the answer into its own form. Writes nothing.

mod ask;
mod catalog;
mod config;
mod doors;
mod error;
mod filter;
mod graphql;
mod http;
mod names;
pub mod repository;
mod state;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use millrace_common::process::{Readiness, admin_routes, drain, metrics_upkeep, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// Serves until `shutdown`, then finishes the requests in hand.
pub async fn run(
    config: Config,
    listener: TcpListener,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let readiness = Readiness::waiting("the log");
    let shared = Arc::new(state::Shared::new(&config, readiness.clone()).await?);
    tokio::spawn(state::keep_current(shared.clone(), config.stores.clone(), shutdown.clone()));
    tokio::spawn(metrics_upkeep(metrics.clone(), shutdown.clone()));
    let routes = http::routes(shared).merge(admin_routes(metrics, readiness));
    let serving = tokio::spawn(serve(listener, routes, shutdown.clone()));
    shutdown.cancelled().await;
    drain(config.process.grace, async { Ok(serving.await??) }).await
}

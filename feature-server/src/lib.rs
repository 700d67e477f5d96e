//! Serves merged feature vectors. `repository` is the one layer that reads the stores; each door (REST, gRPC, GraphQL)
//! turns its request into a repository request and the answer into its own form. Writes nothing.

mod ask;
mod catalog;
mod config;
mod doors;
mod error;
mod filter;
mod graphql;
mod grpc;
mod http;
mod names;
pub mod proto;
pub mod repository;
mod state;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use millrace_common::process::{Readiness, admin_routes, drain, metrics_upkeep, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// Where the doors are.
pub struct Listeners {
    /// REST and the admin routes.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: TcpListener,
}

impl Listeners {
    /// Where the settings say.
    pub async fn bind(config: &Config) -> std::io::Result<Self> {
        let (http, grpc) = tokio::try_join!(TcpListener::bind(config.listen), TcpListener::bind(config.grpc_listen))?;
        Ok(Self { http, grpc })
    }
}

/// Serves until `shutdown`, then finishes the requests in hand, whatever door they came through.
pub async fn run(
    config: Config,
    listeners: Listeners,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let readiness = Readiness::waiting("the log");
    let shared = Arc::new(state::Shared::new(&config, readiness.clone()).await?);
    let grace = config.process.grace;
    tokio::spawn(state::keep_current(shared.clone(), config.stores, shutdown.clone()));
    tokio::spawn(metrics_upkeep(metrics.clone(), shutdown.clone()));
    let routes = http::routes(shared.clone()).merge(admin_routes(metrics, readiness.clone()));
    let http = tokio::spawn(serve(listeners.http, routes, shutdown.clone()));
    let grpc = tokio::spawn(grpc::serve(listeners.grpc, shared, readiness, grace, shutdown.clone()));
    shutdown.cancelled().await;
    drain(grace, async {
        http.await??;
        grpc.await?
    })
    .await
}

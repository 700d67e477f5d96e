//! Serves feature vectors over REST, gRPC and GraphQL. `repository` is the one layer that reads the stores. Each API turns
//! its request into a repository request, and the answer into its own form. The server writes to no store.

mod catalog;
mod config;
mod endpoints;
mod error;
pub mod fast_path;
mod filter;
mod graphql;
mod grpc;
mod http;
mod instant;
mod json_body;
mod parse;
pub mod proto;
mod refresh;
pub mod repository;
mod rest;
mod served;
mod server;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use millrace_common::listen::{self, ListenError};
use millrace_common::process::{Readiness, admin_routes, drain, metrics_upkeep, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use self::server::FeatureServer;

/// The sockets on which the server listens.
pub struct Listeners {
    /// REST, GraphQL and the admin routes.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: TcpListener,
}

impl Listeners {
    /// Binds both at their configured addresses.
    pub async fn bind(config: &Config) -> Result<Self, ListenError> {
        let http = listen::bind(config.listen, "MILLRACE_SERVE_LISTEN").await?;
        let grpc = listen::bind(config.grpc_listen, "MILLRACE_SERVE_GRPC_LISTEN").await?;
        Ok(Self { http, grpc })
    }
}

/// Serves until `shutdown`, then finishes the requests that are in progress on both listeners.
pub async fn run(
    config: Config,
    listeners: Listeners,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let readiness = Readiness::waiting("the log");
    let server = Arc::new(FeatureServer::new(&config, readiness.clone()).await?);
    let grace = config.process.grace;
    tokio::spawn(refresh::refresh(server.clone(), config.stores, shutdown.clone()));
    tokio::spawn(metrics_upkeep(metrics.clone(), shutdown.clone()));
    let routes = http::routes(server.clone()).merge(admin_routes(metrics, readiness.clone()));
    let http = tokio::spawn(serve(listeners.http, routes, shutdown.clone()));
    let grpc = tokio::spawn(grpc::serve(listeners.grpc, server, readiness, grace, shutdown.clone()));
    shutdown.cancelled().await;
    drain(grace, async {
        http.await??;
        grpc.await?
    })
    .await
}

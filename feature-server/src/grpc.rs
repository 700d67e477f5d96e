//! The gRPC API on its own port: `feature_store.v1`, Millrace's own typed `millrace.v1`, health and reflection. It turns
//! messages into repository requests, and answers into messages. Reading is left to the repository.

mod call;
mod connection;
mod features;
mod health;
mod realtime;
mod service;
mod stream;
mod value;

use std::sync::Arc;
use std::time::Duration;

use axum::routing::any_service;
use futures::TryStreamExt;
use millrace_common::process::Readiness;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::ServiceExt;

use crate::proto::DESCRIPTORS;
use crate::proto::feature_store_v1::feature_store_service_server::FeatureStoreServiceServer;
use crate::server::FeatureServer;
use connection::BufferedConnection;
use features::FeatureApi;
use health::Health;
use realtime::RealtimeApi;
use service::feature_service_server::FeatureServiceServer;

pub(crate) use crate::fast_path::protobuf::{WrittenCodec, WrittenMessage};

/// How often a silent connection is pinged, and how long the client may take to answer. Without pings, a client that has
/// vanished would hold its stream forever.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then finishes the calls in progress. A stream that needs more than half of `grace` ends with
/// UNAVAILABLE, so that its client can ask another server for the rest.
pub async fn serve(
    listener: TcpListener,
    server: Arc<FeatureServer>,
    readiness: Readiness,
    grace: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let closing = CancellationToken::new();
    let (health, health_service) = Health::new();
    tokio::spawn(health.follow(readiness, shutdown.clone()));
    let close = closing.clone().drop_guard();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        tokio::time::sleep(grace / 2).await;
        drop(close);
    });
    let most = u32::try_from(server.limits.max_requests).unwrap_or(u32::MAX);
    let routes = routes(server, closing)?.add_service(health_service);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).map_ok(BufferedConnection::new);
    let server = Server::builder()
        .max_concurrent_streams(most)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_WITHIN))
        .add_routes(routes);
    Ok(server.serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned()).await?)
}

/// The routes of every service except health.
fn routes(server: Arc<FeatureServer>, closing: CancellationToken) -> anyhow::Result<Routes> {
    let features = Arc::new(FeatureApi::new(server.clone(), closing));
    let service = |most| FeatureServiceServer::from_arc(features.clone()).max_decoding_message_size(most);
    let (most, most_streamed) = (server.limits.max_body, server.limits.max_stream_body);
    let realtime = FeatureStoreServiceServer::new(RealtimeApi::new(server.clone())).max_decoding_message_size(most);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::new(realtime)
        .add_service(service(most))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    // Only this method takes millions of keys, so only a few calls run at once: each needs a permit before its body is
    // read.
    let path = format!("/{}/StreamFeatures", <FeatureServiceServer<FeatureApi> as NamedService>::NAME);
    let streamed =
        service(most_streamed).map_request(|request: axum::extract::Request| request.map(tonic::body::Body::new));
    let streams = stream::StreamPermits::new(server);
    let streamed = any_service(streamed).layer(axum::middleware::from_fn_with_state(streams, stream::admit));
    *routes.axum_router_mut() = std::mem::take(routes.axum_router_mut()).route(&path, streamed);
    Ok(routes)
}

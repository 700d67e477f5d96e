//! Both listeners stop together: no new requests, and requests in progress are finished. A stream that is not finished is
//! tested in `grpc_flow`.

use crate::support;

use std::time::Duration;

use millrace_common::stores::clickhouse;
use millrace_feature_server::proto::millrace_v1::selection::By;
use millrace_feature_server::proto::millrace_v1::{GetFeaturesRequest, Selection, Status, StreamFeaturesRequest};
use support::World;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const LIMIT: Duration = Duration::from_secs(60);

fn basket() -> Option<Selection> {
    Some(Selection { by: Some(By::Service("basket".into())) })
}

fn get() -> GetFeaturesRequest {
    let (entity, key) = ("household".to_owned(), "7".to_owned());
    GetFeaturesRequest { entity, key, selection: basket(), ..Default::default() }
}

fn stream(keys: u32) -> StreamFeaturesRequest {
    let keys = (0..keys).map(|key| key.to_string()).collect();
    StreamFeaturesRequest { entity: "household".into(), keys, selection: basket(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_streams_in_progress_are_finished_and_watches_end() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with_own_redis("shutdown", dir.path()).await;
    world.purchases("7", &[115]).await;
    clickhouse::migrate(&world.urls.clickhouse, &world.namespace).await.unwrap();
    let patient = ["--redis-budget", "60s", "--mongodb-budget", "60s", "--deadline", "60s", "--grace", "60s"];
    let mut server = world.serve(&patient).await;
    server.until_ready().await;

    let mut rows = server.features().stream_features(stream(100_000)).await.unwrap().into_inner();
    let mut read = rows.message().await.unwrap().unwrap().rows.len();
    let mut watch = HealthClient::new(server.channel.clone());
    let mut watch = watch.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    // Redis hangs, so that a request is in progress on each listener.
    let redis = world.stack.redis();
    redis.pause().unwrap();
    let reading = tokio::spawn(async move {
        while let Some(part) = rows.message().await.unwrap() {
            read += part.rows.len();
        }
        read
    });
    let (http, base, mut features) = (server.http.clone(), server.base.clone(), server.features());
    let rest = tokio::spawn(async move {
        let path = "/v1/features/household/7?service=basket";
        http.get(format!("{base}{path}")).send().await.unwrap().status().as_u16()
    });
    let grpc = tokio::spawn(async move { features.get_features(get()).await });
    for endpoint in ["features_get", "grpc_get"] {
        let in_progress = format!("millrace_read_requests_in_progress{{endpoint=\"{endpoint}\"}} 1");
        server.until("/metrics", |_, metrics| metrics.contains(&in_progress)).await;
    }

    server.stop();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watch.message().await.unwrap().is_none(), "watches end");
    let refused = async {
        while server.http.get(format!("{}/healthz", server.base)).send().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, refused).await.unwrap();
    redis.resume().unwrap();

    assert_eq!(rest.await.unwrap(), 200);
    assert_eq!(grpc.await.unwrap().unwrap().into_inner().status(), Status::Present);
    assert_eq!(reading.await.unwrap(), 100_000);
    tokio::time::timeout(LIMIT, server.ended()).await.unwrap().unwrap();
}

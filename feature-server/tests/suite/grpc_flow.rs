//! `StreamFeatures` with a client that stops reading.

use crate::support;

use std::time::Duration;

use millrace_common::stores::clickhouse;
use millrace_feature_server::proto::millrace_v1::StreamFeaturesRequest;
use support::{Server, World};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(60);

fn keys(count: u32) -> StreamFeaturesRequest {
    let keys = (0..count).map(|key| key.to_string()).collect();
    StreamFeaturesRequest { entity: "household".into(), keys, ..Default::default() }
}

/// The parts that were read for streams, each of 500 keys.
async fn parts(server: &Server) -> u64 {
    let (_, metrics) = server.text("/metrics").await;
    let name = r#"millrace_read_seconds_count{endpoint="grpc_stream"}"#;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// Waits until the server has read as much as the buffers between both sides hold, and reads no more.
async fn until_stalled(server: &Server) -> u64 {
    let stalled = async {
        let mut last = parts(server).await;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = parts(server).await;
            if now == last {
                return now;
            }
            last = now;
        }
    };
    tokio::time::timeout(LIMIT, stalled).await.unwrap()
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_reads_and_one_that_leaves_frees_its_permit() {
    let world = World::new("grpc_flow").await;
    clickhouse::migrate(&world.urls.clickhouse, &world.namespace).await.unwrap();
    let server = world.serve(&["--max-streams", "1"]).await;
    server.until_ready().await;
    let mut client = server.features();
    let mut first = client.stream_features(keys(1_000_000)).await.unwrap().into_inner();
    first.message().await.unwrap().unwrap();

    let read = until_stalled(&server).await;
    assert!((1..1_000).contains(&read), "{read} of 2000 parts were read for a reader that took one");

    let busy = client.stream_features(keys(10)).await.unwrap_err();
    assert_eq!(busy.code(), Code::ResourceExhausted, "{busy}");
    drop(first);
    let again = async {
        while client.stream_features(keys(10)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, again).await.unwrap();
    let cancelled = r#"millrace_read_requests_total{endpoint="grpc_stream",outcome="cancelled"} "#;
    server.until("/metrics", |_, metrics| metrics.contains(&format!("{cancelled}1"))).await;
    assert!(parts(&server).await < 1_000, "the work stopped with its client");
}

#[tokio::test]
async fn a_stream_that_takes_longer_than_the_grace_period_is_told_so() {
    let world = World::new("grpc_stall").await;
    clickhouse::migrate(&world.urls.clickhouse, &world.namespace).await.unwrap();
    let mut server = world.serve(&["--grace", "1s"]).await;
    server.until_ready().await;
    let mut rows = server.features().stream_features(keys(1_000_000)).await.unwrap().into_inner();
    rows.message().await.unwrap().unwrap();
    until_stalled(&server).await;
    server.stop();
    // The client does not read, so the stream cannot end within the grace period, and the process does not wait for it.
    let ended = tokio::time::timeout(LIMIT, server.ended()).await.unwrap();
    assert!(ended.unwrap_err().to_string().contains("did not finish within 1 s"));
    let told = async {
        loop {
            if let Err(status) = rows.message().await {
                return status;
            }
        }
    };
    let told = tokio::time::timeout(LIMIT, told).await.unwrap();
    assert_eq!(told.code(), Code::Unavailable, "{told}");
}

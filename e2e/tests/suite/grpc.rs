//! The gRPC API of the real binary: asked by Python's grpcio, and stopped by signals while a stream is open.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use millrace_devstack::services::{Service, ServiceKind};
use millrace_devstack::tools::python::virtualenv;
use millrace_e2e::{World, get, post_json};
use millrace_feature_server::proto::millrace_v1::feature_service_client::FeatureServiceClient;
use millrace_feature_server::proto::millrace_v1::{StreamFeaturesRequest, StreamFeaturesResponse};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const LIMIT: Duration = Duration::from_secs(60);
const PACKAGES: [&str; 4] =
    ["grpcio==1.85.1", "grpcio-health-checking==1.85.1", "grpcio-reflection==1.85.1", "grpcio-tools==1.85.1"];

fn purchase(id: &str, household: i64, product: i64, money: &str) -> Value {
    json!({
        "type": "purchase", "id": id, "household_id": household, "product_id": product,
        "properties": { "sales_value": money },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client_gets_what_the_protos_promise() {
    let world = World::shared().await.patient();
    let services = world.start_all().await;
    let events = json!([
        purchase("p1", 1, 10, "1.15"),
        purchase("p2", 1, 11, "2.50"),
        purchase("p3", 2, 10, "0.05"),
        { "type": "demographics", "id": "d1", "household_id": 1, "properties": { "income": "50-74K" } },
    ]);
    let (status, answer) = post_json(&format!("{}/v1/events", services[0].url()), &events).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(4)), "{answer}");
    world.drained(LIMIT).await;

    let packages = PACKAGES.map(str::to_owned);
    let python = virtualenv("grpcio-1.85.1", &packages).expect("grpcio is installed");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(root.join("tests/clients/grpc_apis.py"))
        .arg(services[3].grpc_address().expect("a gRPC port"))
        .arg(root.with_file_name("feature-server").join("proto"))
        .output()
        .await
        .expect("python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Two addresses that are free: a server has had them, and has given them back.
async fn free_addresses(world: &World) -> (String, String) {
    let mut first = world.start(ServiceKind::FeatureServer, "feature-server").await;
    let addresses = (first.url(), first.grpc_address().expect("a gRPC port"));
    Service::stop(&mut first).expect("it stops");
    addresses
}

/// A feature server as a child of this test, so that the test sees its exit status.
async fn server(world: &World, http: &str, grpc: &str) -> Child {
    let child = world
        .command("feature-server")
        .args(["--listen", http.trim_start_matches("http://"), "--grpc-listen", grpc, "--grace", "60s"])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    millrace_e2e::eventually("the server is ready", LIMIT, || async {
        let answer = reqwest::get(format!("{http}/readyz")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    child
}

async fn channel(grpc: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{grpc}")).expect("a url").connect().await
}

/// A stream of a number of keys of which the first rows have arrived.
async fn begun(grpc: &str, keys: u32) -> (Streaming<StreamFeaturesResponse>, usize) {
    let keys = (0..keys).map(|key| key.to_string()).collect();
    let request = StreamFeaturesRequest { entity: "household".into(), keys, ..Default::default() };
    let channel = channel(grpc).await.expect("the server answers");
    let mut rows =
        FeatureServiceClient::new(channel).stream_features(request).await.expect("the stream begins").into_inner();
    let first = rows.message().await.expect("a part").expect("rows");
    (rows, first.rows.len())
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("it runs").to_string();
    Command::new("kill").args([name, &pid]).status().await.expect("kill runs");
}

async fn ended(child: &mut Child) -> ExitStatus {
    tokio::time::timeout(LIMIT, child.wait()).await.expect("it ends").expect("it is a child")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_signal_lets_a_stream_finish_and_a_second_one_does_not() {
    let world = World::shared().await;
    let (http, grpc) = free_addresses(&world).await;
    let mut child = server(&world, &http, &grpc).await;
    let (mut rows, mut read) = begun(&grpc, 50_000).await;
    signal(&child, "-TERM").await;
    millrace_e2e::eventually("the server takes no more requests", LIMIT, || async {
        (get(&format!("{http}/healthz")).await.0 == 0).then_some(())
    })
    .await;
    assert!(channel(&grpc).await.is_err(), "no new connection");
    while let Some(part) = rows.message().await.expect("the stream goes on") {
        read += part.rows.len();
    }
    assert_eq!(read, 50_000);
    assert_eq!(ended(&mut child).await.code(), Some(0));

    let mut child = server(&world, &http, &grpc).await;
    let _held = begun(&grpc, 1_000_000).await;
    signal(&child, "-TERM").await;
    millrace_e2e::eventually("the server takes no more requests", LIMIT, || async {
        (get(&format!("{http}/healthz")).await.0 == 0).then_some(())
    })
    .await;
    assert!(child.try_wait().expect("it is a child").is_none(), "the stream holds it up");
    signal(&child, "-TERM").await;
    assert_eq!(ended(&mut child).await.code(), Some(130));
}

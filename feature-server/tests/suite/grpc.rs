//! The gRPC API over the real stores, called by tonic's client.

use crate::support;

use std::collections::HashMap;
use std::time::Duration;

use millrace_common::clock::now_ms;
use millrace_common::stores::clickhouse::migrate;
use millrace_core::partition::partition_of;
use millrace_core::scalar::Scalar;
use millrace_feature_server::proto::feature_store_v1::{GetRealtimeFeaturesRequest, GetRealtimeFeaturesResponse};
use millrace_feature_server::proto::millrace_v1::selection::By;
use millrace_feature_server::proto::millrace_v1::value::Kind;
use millrace_feature_server::proto::millrace_v1::{
    BatchGetFeaturesRequest, FeatureList, GetFeaturesRequest, Row, Selection, Status, StreamFeaturesRequest,
    StreamFeaturesResponse,
};
use prost_types::value::Kind as JsonKind;
use support::{NOWHERE, PARTITIONS, Server, World};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

fn realtime(entity_id: &str, names: &[&str]) -> GetRealtimeFeaturesRequest {
    let feature_names = names.iter().map(|name| (*name).to_owned()).collect();
    GetRealtimeFeaturesRequest { entity_id: entity_id.into(), feature_names }
}

async fn asked(server: &Server, entity_id: &str, names: &[&str]) -> Result<GetRealtimeFeaturesResponse, tonic::Status> {
    server.store().get_realtime_features(realtime(entity_id, names)).await.map(tonic::Response::into_inner)
}

fn of_features(names: &[&str]) -> Option<Selection> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Some(Selection { by: Some(By::Features(FeatureList { names })) })
}

fn of_service(service: &str) -> Option<Selection> {
    Some(Selection { by: Some(By::Service(service.into())) })
}

fn get(key: &str, selection: Option<Selection>) -> GetFeaturesRequest {
    GetFeaturesRequest { entity: "household".into(), key: key.into(), selection, include_metadata: true, as_of: None }
}

fn stream(keys: impl IntoIterator<Item = u32>, selection: Option<Selection>) -> StreamFeaturesRequest {
    StreamFeaturesRequest {
        entity: "household".into(),
        keys: keys.into_iter().map(|key| key.to_string()).collect(),
        selection,
        ..Default::default()
    }
}

fn kinds(row: &Row) -> Vec<Option<Kind>> {
    row.values.iter().map(|value| value.kind.clone()).collect()
}

fn decimal(text: &str) -> Option<Kind> {
    Some(Kind::DecimalValue(text.into()))
}

#[tokio::test]
async fn realtime_features_have_the_names_that_were_asked() {
    let world = World::new("grpc_realtime").await;
    world.purchases("7", &[115, 250]).await;
    world.survey("7", "50-75K").await;
    world.warehouse(&["7"], now_ms() - 1_000).await;
    let server = world.ready_server().await;
    let names = ["income", "spend:total_1h", "total_1h", "spend@1:largest_1m", "history:purchases_90d"];
    let answer = asked(&server, "7", &names).await.unwrap();
    assert_eq!(answer.entity_id, "7");
    let text = |text: &str| Some(JsonKind::StringValue(text.into()));
    let values: HashMap<&str, Option<JsonKind>> =
        answer.features.iter().map(|(name, value)| (name.as_str(), value.kind.clone())).collect();
    let expected = HashMap::from([
        ("income", text("50-75K")),
        ("spend:total_1h", text("3.65")),
        ("total_1h", text("3.65")),
        ("spend@1:largest_1m", text("2.50")),
        ("history:purchases_90d", Some(JsonKind::NumberValue(1.0))),
    ]);
    assert_eq!(values, expected);
    world.purchases("8", &[100]).await;
    let answer = asked(&server, "8", &["surveys", "total_1h"]).await.unwrap();
    assert_eq!(answer.features["surveys"].kind, Some(JsonKind::NullValue(0)));
}

#[tokio::test]
async fn each_error_of_a_call_has_its_code() {
    let world = World::new("grpc_errors").await;
    let server = world.ready_server().await;
    for (key, names, code, part) in [
        ("7", vec![], Code::InvalidArgument, "at least one feature"),
        ("x7", vec!["total_1h"], Code::InvalidArgument, "entity_id: not a key of household"),
        ("7", vec!["total_1h", "lines"], Code::InvalidArgument, "one entity at a time"),
        ("7", vec!["totals"], Code::NotFound, "`totals` is not a feature"),
        ("7", vec!["spend:totals"], Code::NotFound, "there is total_1h, total_lifetime, largest_1m"),
        ("7", vec!["spending:total"], Code::NotFound, "spend@1, profile@1, history@1, popularity@1"),
        ("7", vec!["total_1h"], Code::NotFound, "features not found for household"),
    ] {
        let status = asked(&server, key, &names).await.unwrap_err();
        assert_eq!(status.code(), code, "{names:?}: {status}");
        assert!(status.message().contains(part), "{names:?}: {status}");
    }
    for (request, code, part) in [
        (
            GetFeaturesRequest { entity: "house".into(), ..get("7", None) },
            Code::NotFound,
            "there is household, product",
        ),
        (get("7", of_service("basket@9")), Code::NotFound, "basket@1, basket@2"),
        (get("7", of_features(&["spend:x"])), Code::NotFound, "total_1h"),
        (get("7", of_features(&["popularity:lines"])), Code::InvalidArgument, "describes product"),
        (get("7.5", None), Code::InvalidArgument, "household_id"),
    ] {
        let status = server.features().get_features(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(part), "{status}");
    }
    let batch = |keys: usize| BatchGetFeaturesRequest {
        entity: "household".into(),
        keys: (0..keys).map(|key| key.to_string()).collect(),
        ..Default::default()
    };
    for (keys, code) in [(0, Code::InvalidArgument), (1_001, Code::InvalidArgument), (500_000, Code::OutOfRange)] {
        assert_eq!(server.features().batch_get_features(batch(keys)).await.unwrap_err().code(), code, "{keys} keys");
    }
    let status = server.features().stream_features(stream([], None)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // A state that cannot be decoded is a failure of the server.
    let writer = partition_of("3", PARTITIONS).0;
    let junk = [&[1][..], &[0; 20], b"junk"].concat();
    world.put_bytes(0, "spend@1", "3", writer, junk).await;
    let status = asked(&server, "3", &["total_1h"]).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("cannot be read"), "{status}");
}

#[tokio::test]
async fn typed_features_stand_in_declared_order_with_status_source_and_version() {
    let world = World::new("grpc_typed").await;
    world.purchases("7", &[115, 250]).await;
    let server = world.ready_server().await;
    let before = now_ms();
    let answer = server.features().get_features(get("007", of_service("basket@2"))).await.unwrap().into_inner();
    assert_eq!((answer.entity.as_str(), answer.key.as_str(), answer.status()), ("household", "7", Status::Present));
    assert!(answer.as_of.unwrap().seconds >= before / 1_000);
    let about = |at: usize| {
        let feature = &answer.features[at];
        let kind = feature.value.as_ref().unwrap().kind.clone();
        (feature.name.as_str(), kind, feature.status(), feature.source.as_str(), feature.version)
    };
    assert_eq!(about(0), ("spend:total_1h", decimal("3.65"), Status::Present, "redis", 1));
    assert_eq!(about(1), ("spend:largest_1m", decimal("2.50"), Status::Present, "redis", 1));
    let unknown = Some(Kind::StringValue("unknown".into()));
    assert_eq!(about(2), ("profile:income", unknown, Status::NotFound, "mongodb", 1));
    assert!(answer.features[0].event_time.unwrap().seconds > 0 && answer.features[2].event_time.is_none());
    let plain = GetFeaturesRequest { include_metadata: false, ..get("7", None) };
    let answer = server.features().get_features(plain).await.unwrap().into_inner();
    assert_eq!(answer.features.len(), 5, "every streamed feature");
    assert!(answer.features.iter().all(|feature| feature.event_time.is_none() && feature.source.is_empty()));
    let unknown = server.features().get_features(get("8", None)).await.unwrap().into_inner();
    assert_eq!(unknown.status(), Status::NotFound);
    let as_of = prost_types::Timestamp { seconds: 1, nanos: 0 };
    let early = GetFeaturesRequest { as_of: Some(as_of), ..get("7", of_service("basket")) };
    let early = server.features().get_features(early).await.unwrap().into_inner();
    assert_eq!((early.status(), early.as_of), (Status::Error, Some(as_of)));
    assert!(early.features[0].reason.contains("before the newest event"));
}

#[tokio::test]
async fn a_batch_has_its_columns_once_and_rows_in_request_order() {
    let world = World::new("grpc_batch").await;
    world.purchases("1", &[100]).await;
    world.purchases("2", &[200]).await;
    world.put("popularity", "tea%2Fgreen", 0, &world.slot("popularity", 0, &[(now_ms(), Vec::new())])).await;
    let server = world.ready_server().await;
    let request = |entity: &str, keys: &[&str], selection| BatchGetFeaturesRequest {
        entity: entity.into(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        selection,
        ..Default::default()
    };
    let batch = request("household", &["2", "3", "1", "2"], of_features(&["spend:total_1h", "profile:surveys"]));
    let answer = server.features().batch_get_features(batch.clone()).await.unwrap().into_inner();
    let columns: Vec<_> = answer.columns.iter().map(|column| (column.name.as_str(), column.source.as_str())).collect();
    assert_eq!(columns, [("spend:total_1h", "redis"), ("profile:surveys", "mongodb")]);
    let keys: Vec<_> = answer.rows.iter().map(|row| (row.key.as_str(), row.status())).collect();
    let (present, missing) = (Status::Present, Status::NotFound);
    assert_eq!(keys, [("2", present), ("3", missing), ("1", present), ("2", present)]);
    let values: Vec<_> = answer.rows.iter().map(kinds).collect();
    let row = |text| vec![decimal(text), None];
    assert_eq!(values, [row("2.00"), vec![None, None], row("1.00"), row("2.00")]);
    assert_eq!(answer.rows[0].statuses().collect::<Vec<_>>(), [present, missing]);
    assert!(answer.rows[0].metadata.is_empty());
    let batch = BatchGetFeaturesRequest { include_metadata: true, ..batch };
    let answer = server.features().batch_get_features(batch).await.unwrap().into_inner();
    assert!(answer.rows[0].metadata[0].event_time.is_some() && answer.rows[0].metadata[1].event_time.is_none());
    // A text key is literal: nothing in it is decoded.
    let answer =
        server.features().batch_get_features(request("product", &["tea/green"], None)).await.unwrap().into_inner();
    assert_eq!((answer.rows[0].key.as_str(), kinds(&answer.rows[0])), ("tea/green", vec![Some(Kind::Int64Value(1))]));
}

#[tokio::test]
async fn a_stream_answers_far_more_keys_than_a_batch() {
    let world = World::new("grpc_stream").await;
    world.purchases("77777", &[115]).await;
    let server = world.ready_server().await;
    let request = stream(0..200_000, of_service("basket@1"));
    let mut rows = server.features().stream_features(request).await.unwrap().into_inner();
    let (mut next, mut parts) = (0, 0);
    while let Some(StreamFeaturesResponse { columns, rows, as_of }) = rows.message().await.unwrap() {
        assert_eq!(columns.len(), usize::from(parts == 0), "columns come once");
        assert!(as_of.is_some());
        for row in rows {
            assert_eq!(row.key, next.to_string());
            let known = next == 77_777;
            assert_eq!(row.status(), if known { Status::Present } else { Status::NotFound });
            assert_eq!(kinds(&row), [if known { decimal("1.15") } else { None }]);
            next += 1;
        }
        parts += 1;
    }
    assert_eq!((next, parts), (200_000, 400));
    let ended = r#"millrace_read_requests_total{endpoint="grpc_stream",outcome="ok"}"#;
    server.until("/metrics", |_, metrics| counted(metrics, ended) >= 1).await;
}

const NOTES: &str = r#"
entities: { household: { key: household_id, type: int64 } }
events: { note: { partition_by: household } }
views: [{ name: notes, entity: household, from: [note], features: [{ name: text, agg: last, value: properties.text, type: string }] }]
"#;

#[tokio::test]
async fn a_stream_of_long_rows_comes_in_messages_that_clients_take() {
    let world = World::with("grpc_long_rows", NOTES).await;
    world.apply().await;
    let view = &world.definitions.views[0];
    for key in (0..600).map(|key: u32| key.to_string()) {
        let writer = partition_of(&key, PARTITIONS).0;
        let text = Scalar::Text(format!("{key:x>15000}").into());
        world.put_view(view, &key, writer, &world.slot_of(view, writer, &[(now_ms(), vec![Some(text)])])).await;
    }
    let server = world.ready_server().await;
    let mut rows = server.features().stream_features(stream(0..600, None)).await.unwrap().into_inner();
    let (mut next, mut messages) = (0, 0);
    while let Some(message) = rows.message().await.unwrap() {
        assert_eq!(message.columns.len(), usize::from(messages == 0), "columns come once");
        for row in message.rows {
            assert_eq!(kinds(&row), [Some(Kind::StringValue(format!("{next:x>15000}")))]);
            next += 1;
        }
        messages += 1;
    }
    assert_eq!(next, 600);
    assert!(messages >= 9, "9 MB in {messages} messages");
}

#[tokio::test]
async fn a_stream_waits_for_a_slow_store() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with_own_redis("grpc_patience", dir.path()).await;
    world.purchases("7", &[115]).await;
    migrate(&world.urls.clickhouse, &world.namespace).await.unwrap();
    let server = world.serve(&["--deadline", "100ms", "--redis-budget", "100ms"]).await;
    server.until_ready().await;
    let redis = world.stack.redis();
    redis.pause().unwrap();
    let one = server.features().get_features(get("7", of_service("basket@1"))).await.unwrap().into_inner();
    assert_eq!(one.status(), Status::Error, "a model does not wait");
    let mut rows = server.features().stream_features(stream(0..10, of_service("basket@1"))).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.resume().unwrap();
    let rows = rows.message().await.unwrap().unwrap().rows;
    assert_eq!(rows[7].status(), Status::Present, "{rows:?}");
}

/// Reads a counter of this process. All its tests share the counters.
fn counted(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn an_unavailable_store_costs_typed_calls_its_values_and_fails_realtime_calls() {
    let mut world = World::new("grpc_away").await;
    world.purchases("7", &[115]).await;
    world.urls.mongodb = format!("mongodb://{NOWHERE}");
    let server = world.serve(&["--redis-budget", "5s", "--deadline", "5s"]).await;
    server.until("/readyz", |status, text| status == 503 && text.contains("mongodb")).await;
    let answer = server.features().get_features(get("7", of_service("basket@2"))).await.unwrap().into_inner();
    assert_eq!(answer.status(), Status::Error);
    assert_eq!(answer.features[0].value.as_ref().unwrap().kind, decimal("1.15"));
    assert_eq!(answer.features[2].status(), Status::Error);
    assert!(answer.features[2].reason.contains("mongodb"), "{answer:?}");
    assert!(asked(&server, "7", &["total_1h"]).await.is_ok());
    let status = asked(&server, "7", &["total_1h", "income"]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test]
async fn a_server_without_its_log_is_unavailable_and_not_serving() {
    let mut world = World::new("grpc_no_log").await;
    let redis = std::mem::replace(&mut world.urls.redis, format!("redis://{NOWHERE}"));
    let server = world.serve(&[]).await;
    let status = asked(&server, "7", &["total_1h"]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(health(&server, "millrace.v1.FeatureService").await, Ok(ServingStatus::NotServing));
    world.urls.redis = redis;
    let server = world.ready_server().await;
    for service in ["", "feature_store.v1.FeatureStoreService", "millrace.v1.FeatureService"] {
        while health(&server, service).await != Ok(ServingStatus::Serving) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(health(&server, "millrace.v1.Nothing").await, Err(Code::NotFound));
}

async fn health(server: &Server, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.into() };
    let answer = HealthClient::new(server.channel.clone()).check(request).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

/// The status that the server gives. On a busy machine the client's own clock may end a call first; such a call is
/// repeated.
async fn status_of_the_server(call: impl AsyncFn() -> tonic::Status) -> tonic::Status {
    for _ in 0..100 {
        let status = call().await;
        if status.code() != Code::Cancelled {
            return status;
        }
    }
    panic!("the client gave up first a hundred times");
}

#[tokio::test]
async fn the_clients_deadline_is_kept_and_does_not_open_the_circuit_breaker() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with_own_redis("grpc_deadline", dir.path()).await;
    world.purchases("7", &[115]).await;
    world.survey("7", "50-75K").await;
    let server = world.ready_server().await;
    let redis = world.stack.redis();
    redis.pause().unwrap();
    let within = |time| {
        let mut request = Request::new(get("7", of_service("basket@2")));
        request.set_timeout(time);
        request
    };
    // Redis hangs: what only Redis has is late; what MongoDB has arrives.
    for _ in 0..8 {
        let status = status_of_the_server(async || {
            let mut request = Request::new(realtime("7", &["total_1h", "income"]));
            request.set_timeout(Duration::from_millis(100));
            server.store().get_realtime_features(request).await.unwrap_err()
        });
        assert_eq!(status.await.code(), Code::DeadlineExceeded);
    }
    let status = status_of_the_server(async || {
        let mut request = Request::new(get("7", of_service("basket@1")));
        request.set_timeout(Duration::from_millis(100));
        server.features().get_features(request).await.unwrap_err()
    });
    assert_eq!(status.await.code(), Code::DeadlineExceeded);
    let mut rows = Request::new(stream(0..10, of_service("basket@1")));
    rows.set_timeout(Duration::from_millis(500));
    let mut rows = server.features().stream_features(rows).await.unwrap().into_inner();
    assert_eq!(rows.message().await.unwrap_err().code(), Code::DeadlineExceeded);
    let answer = server.features().get_features(within(Duration::from_secs(2))).await.unwrap().into_inner();
    assert_eq!(answer.features[0].status(), Status::Error);
    assert_eq!(answer.features[2].status(), Status::Present, "{answer:?}");
    // All these calls were too late, but the circuit breaker is still closed: the first call after the store resumed is
    // answered.
    redis.resume().unwrap();
    let answer = server.features().get_features(within(Duration::from_secs(30))).await.unwrap().into_inner();
    assert_eq!(answer.status(), Status::Present, "{answer:?}");
}

#[tokio::test]
async fn reflection_shows_services_and_their_files() {
    let world = World::new("grpc_reflection").await;
    let server = world.serve(&[]).await;
    let ask = |message_request| ServerReflectionRequest { host: String::new(), message_request: Some(message_request) };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("millrace.v1.FeatureService".into())),
    ];
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let answers = client.server_reflection_info(futures::stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<ServerReflectionResponse> = futures::TryStreamExt::try_collect(answers).await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = &answers[0].message_response else { panic!("{answers:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["feature_store.v1.FeatureStoreService", "millrace.v1.FeatureService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(matches!(answers[1].message_response, Some(MessageResponse::FileDescriptorResponse(_))), "{answers:?}");
}

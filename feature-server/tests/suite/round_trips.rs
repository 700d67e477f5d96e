//! How often one request makes the server ask each store, for every API. Redis counts its reads itself, and a wire-tap
//! counts those of the other two.

use crate::support;

use millrace_common::clock::now_ms;
use millrace_core::definitions::Store;
use millrace_core::partition::partition_of;
use millrace_devstack::{Stack, StackOptions};
use millrace_feature_server::proto::feature_store_v1::GetRealtimeFeaturesRequest;
use millrace_feature_server::proto::millrace_v1::selection::By;
use millrace_feature_server::proto::millrace_v1::{
    BatchGetFeaturesRequest, FeatureList, GetFeaturesRequest, Selection, StreamFeaturesRequest,
};
use serde_json::{Value as Json, json};
use support::tap::bare;
use support::{PARTITIONS, Server, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VIEWS: usize = 25;
const FEATURES: usize = 10;

/// 25 views of 10 features in Redis, two in MongoDB and two in ClickHouse.
fn yaml() -> String {
    let features: Vec<String> =
        (0..FEATURES).map(|n| format!("{{ name: f{n}, agg: count, window: {}d }}", n + 1)).collect();
    let lifetime = "{ name: g0, agg: count }, { name: g1, agg: count }";
    let mut text =
        "entities: { user: { key: user_id, type: int64 } }\nevents: { click: { partition_by: user } }\nviews:\n"
            .to_owned();
    let mut view = |name: &str, store: &str, features: &str| {
        text.push_str(&format!(
            "  - {{ name: {name}, entity: user, store: {store}, from: [click], features: [{features}] }}\n"
        ));
    };
    (0..VIEWS).for_each(|number| view(&format!("v{number}"), "redis", &features.join(", ")));
    ["m0", "m1"].iter().for_each(|name| view(name, "mongodb", lifetime));
    ["c0", "c1"].iter().for_each(|name| view(name, "clickhouse", lifetime));
    let all: Vec<String> = names().iter().map(|name| format!("\"{name}\"")).collect();
    format!("{text}services: {{ all: {{ v1: [{}] }} }}\n", all.join(", "))
}

/// All features in Redis.
fn names() -> Vec<String> {
    (0..VIEWS).flat_map(|view| (0..FEATURES).map(move |feature| format!("v{view}:f{feature}"))).collect()
}

/// A Redis that only the server under test reads its features from.
struct Redis {
    _stack: Stack,
    connection: TcpStream,
}

impl Redis {
    /// The reads from clients that Redis has counted.
    async fn reads(&mut self) -> usize {
        self.connection.write_all(b"INFO stats\r\n").await.unwrap();
        let mut text = String::new();
        let mut buffer = [0; 16 * 1024];
        while !text.ends_with("\r\n") || !text.contains("total_reads_processed") {
            let read = self.connection.read(&mut buffer).await.unwrap();
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let line = text.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.unwrap().trim().parse().unwrap()
    }

    /// The reads that Redis counts during `work`.
    async fn during(&mut self, work: impl Future<Output = ()>) -> usize {
        let before = self.reads().await;
        work.await;
        // Reading the counter is a read too.
        self.reads().await - before - 1
    }
}

/// A server that reads its features from its own Redis, with features of the users 7 and 8.
async fn served_from_own_redis(dir: &std::path::Path) -> (World, Server, Redis) {
    let mut world = world("round_trips").await;
    let options = StackOptions {
        mongodb_url: Some(world.urls.mongodb.clone()),
        clickhouse_url: Some(world.urls.clickhouse.clone()),
        ..StackOptions::new(dir)
    };
    let stack = Stack::up(options).await.unwrap();
    let log = std::mem::replace(&mut world.urls.redis, stack.redis_url().to_owned());
    // `put` needs the function library, which comes with a log.
    let meta = millrace_common::log::LogMeta::new(PARTITIONS, 300_000);
    millrace_common::log::Log::create(&world.urls.redis, world.names.clone(), meta).await.unwrap();
    write_features(&world).await;
    let features = std::mem::replace(&mut world.urls.redis, log);
    let server = world.serve(&["--redis-features-url", &features]).await;
    server.until_ready().await;
    let connection = TcpStream::connect(bare(&features)).await.unwrap();
    (world, server, Redis { _stack: stack, connection })
}

/// A namespace in which the definitions are in force.
async fn world(name: &str) -> World {
    let world = World::with(name, &yaml()).await;
    world.apply().await;
    world.warehouse(&[], 0).await;
    world
}

/// Writes features of the users 7 and 8 to Redis and MongoDB.
async fn write_features(world: &World) {
    for key in ["7", "8"] {
        let writer = partition_of(key, PARTITIONS).0;
        for view in world.definitions.views.iter().filter(|view| view.store != Store::ClickHouse) {
            let slot = world.slot(&view.name, writer, &[(now_ms(), vec![None; view.inputs.len()])]);
            world.put(&view.name, key, writer, &slot).await;
        }
    }
}

const GET: &str = "query($names: [String!]!) { getFeatures(entityIds: [7, 8], featureNames: $names) { features } }";

#[tokio::test]
async fn one_request_is_one_round_trip_to_redis_in_every_api() {
    let dir = tempfile::tempdir().unwrap();
    let (_world, server, mut redis) = served_from_own_redis(dir.path()).await;
    let names = names();
    assert_eq!(redis.during(async {}).await, 0, "no other client uses it");

    let path = format!("/v1/features/user/7?features={}", names.join(","));
    let one = async { assert_eq!(server.get(&path).await.1["results"][0]["values"]["v24:f9"], 1) };
    assert_eq!(redis.during(one).await, 1, "GET /v1/features");
    let body = json!({ "entity": "user", "keys": [7, 8], "features": names });
    let many = async { assert_eq!(server.post("/v1/features", &body).await.1["results"][1]["values"]["v24:f9"], 1) };
    assert_eq!(redis.during(many).await, 1, "POST /v1/features");
    let flat = async { assert_eq!(server.get("/api/v1/features/user/7").await.1["f9"], 1) };
    assert_eq!(redis.during(flat).await, 1, "GET /api/v1/features");
    let body = json!({ "entity_ids": [7, 8], "feature_version": "all" });
    let vectors = async { assert_eq!(server.post("/v1/vectors/user", &body).await.1["features"][1]["f9"], 1) };
    assert_eq!(redis.during(vectors).await, 1, "POST /v1/vectors");

    let request = GetRealtimeFeaturesRequest { entity_id: "7".into(), feature_names: names.clone() };
    let realtime = async {
        let answer = server.store().get_realtime_features(request).await.unwrap().into_inner();
        assert_eq!(answer.features.len(), VIEWS * FEATURES);
    };
    assert_eq!(redis.during(realtime).await, 1, "GetRealtimeFeatures");
    let selection = Some(Selection { by: Some(By::Features(FeatureList { names: names.clone() })) });
    let (entity, keys) = ("user".to_owned(), vec!["7".to_owned(), "8".to_owned()]);
    let request = GetFeaturesRequest {
        entity: entity.clone(),
        key: "7".into(),
        selection: selection.clone(),
        ..Default::default()
    };
    let typed = async {
        let answer = server.features().get_features(request).await.unwrap().into_inner();
        assert_eq!(answer.features.len(), VIEWS * FEATURES);
    };
    assert_eq!(redis.during(typed).await, 1, "GetFeatures");
    let request = BatchGetFeaturesRequest {
        entity: entity.clone(),
        keys: keys.clone(),
        selection: selection.clone(),
        ..Default::default()
    };
    let batch = async {
        let answer = server.features().batch_get_features(request).await.unwrap().into_inner();
        assert_eq!(answer.rows[1].values.len(), VIEWS * FEATURES);
    };
    assert_eq!(redis.during(batch).await, 1, "BatchGetFeatures");
    let request = StreamFeaturesRequest { entity, keys, selection, ..Default::default() };
    let stream = async {
        let mut parts = server.features().stream_features(request).await.unwrap().into_inner();
        let mut rows = 0;
        while let Some(part) = parts.message().await.unwrap() {
            rows += part.rows.len();
        }
        assert_eq!(rows, 2);
    };
    assert_eq!(redis.during(stream).await, 1, "StreamFeatures, of keys that are one part");

    let variables = json!({ "names": names });
    let sets = async {
        let body = server.query(GET, variables).await;
        assert_eq!(body["data"]["getFeatures"][1]["features"]["v24:f9"], 1, "{body}");
    };
    assert_eq!(redis.during(sets).await, 1, "getFeatures");
    let five = async {
        let query = r#"{
            a: getFeatures(entityIds: [7], featureNames: ["v0:f0", "v1:f1"]) { features }
            b: getFeatures(entityIds: [8, 7], featureNames: ["v0:f1", "v2:f0"]) { features entityId }
            c: features(entity: "user", keys: [7], features: ["v3:f0"]) { values { value } }
            d: features(entity: "user", keys: [8], service: "all") { status features }
            e: features(entity: "user", keys: [9], features: ["v1:f1"]) { status features }
            ...more
            views { name } }
            fragment more on Query { f: features(entity: "user", keys: [8], features: ["m0:g0", "v4:f4"]) { features } }"#;
        let body = server.query(query, Json::Null).await;
        let data = &body["data"];
        assert_eq!(data["a"], json!([{ "features": { "v0:f0": 1, "v1:f1": 1 } }]), "{body}");
        assert_eq!(data["b"][1], json!({ "entityId": "7", "features": { "v0:f1": 1, "v2:f0": 1 } }));
        assert_eq!(data["c"], json!([{ "values": [{ "value": 1 }] }]));
        assert_eq!(data["d"][0]["features"]["v24:f9"], 1);
        assert_eq!(data["e"], json!([{ "status": "NOT_FOUND", "features": null }]));
        assert_eq!(data["f"], json!([{ "features": { "m0:g0": 1, "v4:f4": 1 } }]));
    };
    assert_eq!(redis.during(five).await, 1, "aliases and fragments");
    let forty = async {
        let fields: String = (0..40)
            .map(|n| {
                format!("a{n}: getFeatures(entityIds: [7], featureNames: [\"v{}:f0\"]) {{ features }} ", n % VIEWS)
            })
            .collect();
        let body = server.query(&format!("{{ {fields} }}"), Json::Null).await;
        assert_eq!(body["data"]["a39"], json!([{ "features": { "v14:f0": 1 } }]), "{body}");
    };
    assert_eq!(redis.during(forty).await, 1, "more fields than are polled one by one");
    let catalogue = async { assert!(server.query("{ views { name } }", Json::Null).await.get("errors").is_none()) };
    assert_eq!(redis.during(catalogue).await, 0, "the catalogue needs no store");
}

#[tokio::test]
async fn each_view_is_read_once_in_the_other_stores() {
    let mut world = world("view_reads").await;
    write_features(&world).await;
    let [mongodb, clickhouse] = world.tapped().await;
    let server = world.ready_server().await;
    let (finds, queries) = (mongodb.finds(), clickhouse.queries());
    let query = r#"{
        a: getFeatures(entityIds: [7], featureNames: ["m0:g0", "c0:g0"]) { features }
        b: getFeatures(entityIds: [8, 7], featureNames: ["c0:g1", "m0:g1", "v0:f0"]) { features }
        c: features(entity: "user", keys: [8], features: ["m1:g1", "m0:g0", "c1:g1"]) { features }
        d: features(entity: "user", keys: [8, 9]) { status } }"#;
    let body = server.query(query, Json::Null).await;
    let data = &body["data"];
    assert!(body.get("errors").is_none(), "{body}");
    assert_eq!(data["a"], json!([{ "features": { "m0:g0": 1, "c0:g0": null } }]));
    assert_eq!(data["b"][1]["features"], json!({ "c0:g1": null, "m0:g1": 1, "v0:f0": 1 }));
    assert_eq!(data["c"][0]["features"], json!({ "m1:g1": 1, "m0:g0": 1, "c1:g1": null }));
    assert_eq!(data["d"], json!([{ "status": "PRESENT" }, { "status": "NOT_FOUND" }]));
    assert_eq!(mongodb.finds() - finds, 2, "one find for each collection");
    assert_eq!(clickhouse.queries() - queries, 2, "one query for each view");
}

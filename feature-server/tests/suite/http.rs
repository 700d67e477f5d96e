//! The REST API over the real stores.

use crate::support;

use millrace_common::clock::now_ms;
use millrace_core::partition::partition_of;
use serde_json::{Value as Json, json};
use support::{NOWHERE, PARTITIONS, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn features_of_all_stores_are_one_answer() {
    let world = World::new("merge").await;
    world.purchases("7", &[115, 250]).await;
    world.survey("7", "50-75K").await;
    world.warehouse(&["7"], now_ms() - 1_000).await;
    let server = world.ready_server().await;
    let path = "/v1/features/household/7?features=profile:income,spend:total_1h,history:purchases_90d&metadata=true";
    let (status, body) = server.get(path).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["entity"], "household");
    let row = &body["results"][0];
    assert_eq!((&row["key"], &row["status"]), (&json!(7), &json!("PRESENT")), "{body}");
    let values = json!({ "profile:income": "50-75K", "spend:total_1h": "3.65", "history:purchases_90d": 1 });
    assert_eq!(row["values"], values);
    let names: Vec<&String> = row["values"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 3);
    for (name, source) in
        [("profile:income", "mongodb"), ("spend:total_1h", "redis"), ("history:purchases_90d", "clickhouse")]
    {
        let about = &row["metadata"][name];
        assert_eq!((&about["source"], &about["status"]), (&json!(source), &json!("PRESENT")), "{body}");
        assert_eq!(about["version"], 1);
        assert!(about["event_time"].as_str().unwrap().ends_with('Z'));
    }
    assert!(body["as_of"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn many_keys_are_answered_in_request_order() {
    let world = World::new("many").await;
    world.purchases("1", &[100]).await;
    world.purchases("2", &[200]).await;
    let server = world.ready_server().await;
    let body = json!({ "entity": "household", "keys": [2, "3", 1, 2], "service": "basket" });
    let (status, body) = server.post("/v1/features", &body).await;
    assert_eq!(status, 200, "{body}");
    let rows = body["results"].as_array().unwrap();
    let values: Vec<&Json> = rows.iter().map(|row| &row["values"]["spend:total_1h"]).collect();
    assert_eq!(values, [&json!("2.00"), &Json::Null, &json!("1.00"), &json!("2.00")]);
    let statuses: Vec<&Json> = rows.iter().map(|row| &row["status"]).collect();
    assert_eq!(statuses, ["PRESENT", "NOT_FOUND", "PRESENT", "PRESENT"]);
    assert!(rows[0].get("metadata").is_none());
}

#[tokio::test]
async fn an_entity_that_is_not_the_partition_key_is_merged_from_all_partitions() {
    let world = World::new("merge_slots").await;
    for writer in 0..PARTITIONS {
        let events = vec![(now_ms(), Vec::new()); usize::from(writer) + 1];
        world.put("popularity", "tea%2Fgreen", writer, &world.slot("popularity", writer, &events)).await;
    }
    let server = world.ready_server().await;
    let (_, body) = server.get("/v1/features/product/tea%2Fgreen?features=popularity:lines").await;
    assert_eq!(
        body["results"][0],
        json!({ "key": "tea/green", "status": "PRESENT", "values": { "popularity:lines": 10 } })
    );
}

#[tokio::test]
async fn every_value_has_its_true_status() {
    let world = World::new("statuses").await;
    let (two_minutes, two_hours) = (now_ms() - 120_000, now_ms() - 7_200_000);
    for (key, time) in [("1", two_minutes), ("2", two_hours)] {
        let writer = partition_of(key, PARTITIONS).0;
        let events = [(time, vec![Some(millrace_core::scalar::Scalar::Decimal(100))])];
        world.put("spend", key, writer, &world.slot("spend", writer, &events)).await;
    }
    world.put_bytes(0, "spend@1", "3", partition_of("3", PARTITIONS).0, junk()).await;
    let server = world.ready_server().await;
    let body = json!({ "entity": "household", "keys": [1, 2, 3, 4], "features": ["spend:largest_1m", "spend:total_lifetime"], "metadata": true });
    let (_, body) = server.post("/v1/features", &body).await;
    let of = |row: usize, name: &str| {
        let row = &body["results"][row];
        (row["values"][name].clone(), row["metadata"][name]["status"].clone())
    };
    assert_eq!(of(0, "spend:largest_1m"), (json!("0.00"), json!("NULL_VALUE")), "{body}");
    assert_eq!(of(0, "spend:total_lifetime"), (json!("1.00"), json!("PRESENT")));
    assert_eq!(of(1, "spend:total_lifetime"), (Json::Null, json!("OUTSIDE_MAX_AGE")));
    assert_eq!(of(2, "spend:largest_1m"), (json!("0.00"), json!("ERROR")));
    assert!(body["results"][2]["metadata"]["spend:largest_1m"]["reason"].as_str().unwrap().contains("cannot be read"));
    assert_eq!(of(3, "spend:largest_1m"), (json!("0.00"), json!("NOT_FOUND")));
}

#[tokio::test]
async fn a_key_that_is_not_a_hash_costs_its_own_values_however_often_it_is_read() {
    let world = World::new("wrong_type").await;
    world.purchases("1", &[115]).await;
    let mut redis = TcpStream::connect(world.urls.redis.trim_start_matches("redis://")).await.unwrap();
    let set = format!("SET {} x\r\n", world.names.entity("household", "2"));
    redis.write_all(set.as_bytes()).await.unwrap();
    let mut answer = [0; 5];
    redis.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    let server = world.ready_server().await;
    let body = json!({ "entity": "household", "keys": [1, 2], "features": ["spend:total_lifetime"], "metadata": true });
    // More reads than the failures after which the circuit breaker opens.
    for _ in 0..10 {
        let (status, body) = server.post("/v1/features", &body).await;
        let of = |row: usize| &body["results"][row]["metadata"]["spend:total_lifetime"];
        assert_eq!((status, &of(0)["status"], &of(1)["status"]), (200, &json!("PRESENT"), &json!("ERROR")), "{body}");
        assert_eq!(body["results"][0]["values"]["spend:total_lifetime"], "1.15");
        assert!(of(1)["reason"].as_str().unwrap().contains("holds no hash"), "{body}");
    }
    // Forms without statuses do not show a default as if it were the value.
    let (status, body) = server.get("/api/v1/features/household/2").await;
    assert_eq!((status, body["error"].as_str().unwrap().contains("holds no hash")), (503, true), "{body}");
    let vector = |metadata: bool| json!({ "entity_ids": [1, 2], "feature_version": "basket", "metadata": metadata });
    let (status, body) = server.post("/v1/vectors/household", &vector(false)).await;
    assert_eq!((status, body["error"].as_str().unwrap().contains("holds no hash")), (503, true), "{body}");
    let (status, body) = server.post("/v1/vectors/household", &vector(true)).await;
    assert_eq!((status, &body["features"][1]["total_1h"]["status"]), (200, &json!("ERROR")), "{body}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let world = World::new("slow_body").await;
    let server = world.serve(&["--body-timeout", "200ms"]).await;
    let address = server.base.trim_start_matches("http://");
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"POST /v1/features HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("did not arrive in time"), "{answer}");
}

#[tokio::test]
async fn a_list_of_features_has_one_per_item() {
    let world = World::new("lists").await;
    let server = world.ready_server().await;
    for (features, says) in
        [(json!([]), "at least one"), (json!(["spend:total_1h,spend:largest_1m"]), "one feature per item")]
    {
        let body = json!({ "entity": "household", "keys": [1], "features": features });
        let (status, body) = server.post("/v1/features", &body).await;
        assert_eq!((status, &body["field"]), (400, &json!("features")), "{body}");
        assert!(body["error"].as_str().unwrap().contains(says), "{body}");
    }
}

/// A valid header, which `put` compares, followed by bytes that are not a state.
fn junk() -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend([0; 20]);
    bytes.extend(b"junk");
    bytes
}

#[tokio::test]
async fn an_instant_before_a_views_newest_event_costs_that_view_alone() {
    let world = World::new("as_of").await;
    world.survey("7", "50-75K").await;
    let between = now_ms() + 50;
    let writer = partition_of("7", PARTITIONS).0;
    let events = [(between + 60_000, vec![Some(millrace_core::scalar::Scalar::Decimal(100))])];
    world.put("spend", "7", writer, &world.slot("spend", writer, &events)).await;
    let server = world.ready_server().await;
    let path = format!("/v1/features/household/7?service=basket@2&metadata=true&as_of={between}");
    let (_, body) = server.get(&path).await;
    let metadata = &body["results"][0]["metadata"];
    assert_eq!(metadata["spend:total_1h"]["status"], "ERROR", "{body}");
    assert_eq!(metadata["profile:income"]["status"], "PRESENT");
    assert_eq!(body["results"][0]["status"], "ERROR");
    // Without an instant, a view whose newest event lies ahead of this clock is read at that event.
    let (_, body) = server.get("/v1/features/household/7?features=spend:total_1h").await;
    assert_eq!(body["results"][0]["values"]["spend:total_1h"], "1.00", "{body}");
}

#[tokio::test]
async fn the_flat_form_has_every_streamed_feature() {
    let world = World::new("flat").await;
    world.purchases("7", &[115]).await;
    let server = world.ready_server().await;
    let (status, body) = server.get("/api/v1/features/household/7").await;
    let expected = json!({
        "household_id": 7, "total_1h": "1.15", "total_lifetime": "1.15", "largest_1m": "1.15", "income": "unknown",
        "surveys": null,
    });
    assert_eq!((status, body), (200, expected));
    let (status, body) = server.get("/api/v1/features/household/8").await;
    assert_eq!((status, body), (404, json!({ "error": "features not found for household" })));
    let (status, body) = server.get("/api/v1/features/household/x8").await;
    assert_eq!((status, &body["field"]), (400, &json!("key")));
}

#[tokio::test]
async fn vectors_have_null_for_an_entity_that_no_view_knows() {
    let world = World::new("vectors").await;
    world.purchases("7", &[115]).await;
    let server = world.ready_server().await;
    let body = json!({ "entity_ids": ["8", "7"], "feature_version": "basket@2" });
    let (status, body) = server.post("/v1/vectors/household", &body).await;
    let row = json!({ "total_1h": "1.15", "largest_1m": "1.15", "income": "unknown" });
    assert_eq!((status, body), (200, json!({ "features": [null, row] })));
    for bad in [json!({}), json!({ "entity_ids": [] }), json!({ "entity_ids": "7" })] {
        let (status, body) = server.post("/v1/vectors/household", &bad).await;
        assert_eq!((status, body), (400, json!({ "error": "'entity_ids' must be a non-empty list." })));
    }
    let body = json!({ "entity_ids": ["7"], "feature_version": "basket@2", "meta": true });
    let (status, body) = server.post("/v1/vectors/household", &body).await;
    assert_eq!(status, 400, "{body}");
    assert!(body["error"].as_str().unwrap().contains("unknown field `meta`"), "{body}");
}

#[tokio::test]
async fn versions_of_a_service_stand_side_by_side_in_declared_order() {
    let world = World::new("versions").await;
    world.purchases("7", &[115]).await;
    world.survey("7", "50-75K").await;
    let server = world.ready_server().await;
    for (version, expected) in [
        ("basket", r#"{"features":[{"total_1h":"1.15"},null]}"#),
        ("basket@1", r#"{"features":[{"total_1h":"1.15"},null]}"#),
        ("basket@2", r#"{"features":[{"total_1h":"1.15","largest_1m":"1.15","income":"50-75K"},null]}"#),
        ("basket@3", r#"{"features":[{"income":"50-75K","total_1h":"1.15"},null]}"#),
    ] {
        let body = json!({ "entity_ids": [7, 8], "feature_version": version });
        let response = server.http.post(format!("{}/v1/vectors/household", server.base)).json(&body).send().await;
        assert_eq!(response.unwrap().text().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn each_value_of_a_vector_can_have_its_status_and_source() {
    let world = World::new("described").await;
    let before = now_ms();
    world.purchases("7", &[115]).await;
    let server = world.ready_server().await;
    let body = json!({ "entity_ids": [7, 8], "feature_version": "basket@2", "metadata": true });
    let (status, body) = server.post("/v1/vectors/household", &body).await;
    assert_eq!((status, &body["features"][1]), (200, &Json::Null), "{body}");
    let row = &body["features"][0];
    assert_eq!(row.as_object().unwrap().len(), 3);
    let total = &row["total_1h"];
    let time = chrono::DateTime::parse_from_rfc3339(total["timestamp"].as_str().unwrap()).unwrap();
    assert!((before..=now_ms()).contains(&time.timestamp_millis()), "{total}");
    let expected = json!({
        "value": "1.15", "timestamp": total["timestamp"], "version": 1, "source": "redis", "status": "PRESENT",
    });
    assert_eq!(total, &expected);
    let expected = json!({
        "value": "unknown", "timestamp": null, "version": 1, "source": "mongodb", "status": "NOT_FOUND",
    });
    assert_eq!(row["income"], expected);
}

#[tokio::test]
async fn an_error_names_the_field_and_what_is_wrong() {
    let world = World::new("errors").await;
    let server = world.ready_server().await;
    for (path, status, field, part) in [
        ("/v1/features/house/7", 404, "entity", "there is household, product"),
        ("/v1/features/household/7.5", 400, "key", "household_id"),
        ("/v1/features/household/7?service=basket@9", 400, "service", "basket@1, basket@2, basket@3"),
        ("/v1/features/household/7?features=spend:x", 400, "features", "total_1h, total_lifetime, largest_1m"),
        ("/v1/features/household/7?features=popularity:lines", 400, "features", "describes product, not household"),
        ("/v1/features/household/7?service=basket&features=spend:total_1h", 400, "service", "not both"),
        ("/v1/features/household/7?as_of=yesterday", 400, "as_of", "RFC 3339"),
        ("/v1/features/household/7?as_of=99999999999999999", 400, "as_of", "years 0000 to 9999"),
        ("/v1/features/household/7?asof=1", 400, "query", "asof"),
    ] {
        let (got, body) = server.get(path).await;
        assert_eq!((got, &body["field"]), (status, &json!(field)), "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains(part), "{path}: {body}");
    }
    let keys: Vec<u32> = (0..1_001).collect();
    let (status, body) = server.post("/v1/features", &json!({ "entity": "household", "keys": keys })).await;
    assert_eq!((status, body["error"].as_str().unwrap()), (400, "1001 keys in one request; the most is 1000"));
    let (status, body) = server.post("/v1/features", &json!({ "entity": "household", "keys": [1, true] })).await;
    assert_eq!((status, &body["field"]), (400, &json!("keys[1]")));
    let (status, body) = server.post("/v1/features", &json!({ "entity": "x".repeat(2 << 20), "keys": [] })).await;
    assert_eq!(status, 413, "{body}");
    assert_eq!(server.get("/v2/features").await.0, 404);
    assert_eq!(server.post("/v1/catalog", &json!({})).await.0, 405);
}

/// The body is larger than a connection's buffers, so the client is still sending when it is refused. It gets the answer
/// and not a reset.
#[tokio::test]
async fn a_body_over_the_limit_is_read_on_and_its_connection_closed() {
    let world = World::new("too_large").await;
    let server = world.ready_server().await;
    let mut client = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let body = vec![b' '; 32 << 20];
    let head = format!("POST /v1/features HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&body).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"error":"the body is larger than 1048576 bytes"}"#), "{answer}");
}

#[tokio::test]
async fn an_unavailable_store_costs_its_own_features_only() {
    let mut world = World::new("away").await;
    world.purchases("7", &[115]).await;
    world.urls.mongodb = format!("mongodb://{NOWHERE}");
    world.urls.clickhouse = format!("http://{NOWHERE}");
    let server = world.serve(&["--redis-budget", "5s", "--deadline", "5s"]).await;
    server.until("/readyz", |status, text| status == 503 && text.contains("mongodb")).await;
    let path = "/v1/features/household/7?features=spend:total_1h,profile:income,history:purchases_90d&metadata=true";
    let (status, body) = server.get(path).await;
    let row = &body["results"][0];
    assert_eq!((status, &row["status"]), (200, &json!("ERROR")), "{body}");
    let values = json!({ "spend:total_1h": "1.15", "profile:income": "unknown", "history:purchases_90d": null });
    assert_eq!(row["values"], values);
    for name in ["profile:income", "history:purchases_90d"] {
        assert_eq!(row["metadata"][name]["status"], "ERROR");
        assert!(row["metadata"][name]["reason"].is_string());
    }
    let body = json!({ "entity_ids": ["7"], "feature_version": "basket@2" });
    assert_eq!(server.post("/v1/vectors/household", &body).await.0, 503);
    let body = json!({ "entity_ids": ["7"], "feature_version": "basket@1" });
    assert_eq!(server.post("/v1/vectors/household", &body).await.0, 200);
    assert_eq!(server.get("/api/v1/features/household/7").await.0, 200);
    assert_eq!(server.get("/api/v1/features/household/8").await.0, 503);
    let (_, metrics) = server.text("/metrics").await;
    assert!(metrics.contains("millrace_values_served_total{view=\"profile@1\",status=\"ERROR\"}"), "{metrics}");
    assert!(metrics.contains("millrace_read_store_errors_total{store=\"mongodb\"}"));
}

#[tokio::test]
async fn redis_may_hang_or_die_and_its_features_come_back_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with_own_redis("own_redis", dir.path()).await;
    world.purchases("7", &[115]).await;
    world.survey("7", "50-75K").await;
    migrate_warehouse(&world).await;
    let server = world.serve(&["--mongodb-budget", "5s", "--deadline", "5s"]).await;
    server.until_ready().await;
    let path = "/v1/features/household/7?service=basket@2&metadata=true";
    let with_redis = |body: &str| body.contains(r#""values":{"spend:total_1h":"1.15","spend:largest_1m":"#);
    server.until(path, |status, body| status == 200 && with_redis(body)).await;
    let redis = world.stack.redis();
    for hangs in [true, false] {
        let stopped = if hangs { redis.pause() } else { redis.kill() };
        stopped.unwrap();
        let without = |status: u16, body: &str| {
            status == 200 && body.contains(r#""spend:total_1h":null"#) && body.contains(r#""profile:income":"50-75K""#)
        };
        server.until(path, without).await;
        assert_eq!(server.text("/readyz").await.0, 200);
        let back = if hangs { redis.resume() } else { redis.start().await };
        back.unwrap();
        server.until(path, |status, body| status == 200 && with_redis(body)).await;
    }
}

async fn migrate_warehouse(world: &World) {
    let stores = &world.urls;
    millrace_common::stores::clickhouse::migrate(&stores.clickhouse, &world.namespace).await.unwrap();
}

#[tokio::test]
async fn a_server_without_its_log_waits_and_its_readiness_says_so() {
    let mut world = World::new("no_log").await;
    world.urls.redis = format!("redis://{NOWHERE}");
    let server = world.serve(&[]).await;
    server.until("/readyz", |status, text| status == 503 && text.contains("feature state")).await;
    assert_eq!(server.text("/healthz").await.0, 200);
    assert_eq!(server.get("/v1/catalog").await.0, 503);
}

#[tokio::test]
async fn new_definitions_are_served_without_a_restart() {
    let world = World::unapplied("definitions").await;
    world.warehouse(&[], 0).await;
    let server = world.serve(&[]).await;
    server.until("/readyz", |status, text| status == 503 && text.contains("millrace apply")).await;
    world.apply().await;
    server.until_ready().await;
    let (status, catalog) = server.get("/v1/catalog").await;
    assert_eq!((status, &catalog["version"]), (200, &json!(1)));
    assert_eq!(catalog["entities"][0]["key"], json!([{ "name": "household_id", "type": "int64" }]));
    let feature = &catalog["views"][0]["features"][0];
    assert_eq!((&feature["reference"], &feature["type"]), (&json!("spend:total_1h"), &json!("decimal(18,2)")));
    assert_eq!(feature["window"], json!({ "sliding": "1h", "hop": "1m" }));
    assert_eq!(catalog["services"][0]["versions"][1]["features"][2], "profile:income");
}

//! Events go in, merged features come out: through the real binaries and the three stores.

use std::time::Duration;

use millrace_devstack::services::ServiceKind;
use millrace_e2e::{World, eventually, get, post, post_json};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn purchase(id: &str, household: i64, product: i64, cents: i64) -> Value {
    let money = format!("{}.{:02}", cents / 100, cents % 100);
    json!({
        "type": "purchase", "id": id, "household_id": household, "product_id": product,
        "properties": { "sales_value": money },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn events_become_features_in_all_three_stores() {
    let world = World::shared().await.patient();
    let services = world.start_all().await;
    let (ingest, server) = (services[0].url(), services[3].url());

    let (status, one) = post_json(&format!("{ingest}/v1/events"), &purchase("p1", 1, 10, 115)).await;
    assert_eq!((status, &one["status"], &one["event_id"]), (202, &json!("accepted"), &json!("p1")), "{one}");
    let batch = json!([purchase("p2", 1, 11, 250), purchase("p2", 1, 11, 250), purchase("p3", 2, 10, 5)]);
    let (status, many) = post_json(&format!("{ingest}/v1/events"), &batch).await;
    assert_eq!((status, &many["accepted"]), (202, &json!(3)), "{many}");
    let lines = "{\"type\":\"demographics\",\"id\":\"d1\",\"household_id\":1,\"properties\":{\"income\":\"50-74K\"}}\n";
    let (status, _) = post(&format!("{ingest}/v1/events"), "application/x-ndjson", lines).await;
    assert_eq!(status, 202);
    let flat = json!({ "type": "purchase", "id": "p4", "household_id": 2, "product_id": 10, "sales_value": 1.15 });
    assert_eq!(post_json(&format!("{ingest}/event"), &flat).await.0, 202);
    world.drained(LIMIT).await;

    let (status, flat) = get(&format!("{server}/api/v1/features/household/1")).await;
    assert_eq!(status, 200);
    assert_eq!(flat["household_id"], 1);
    assert_eq!(flat["spend_7d"], "3.65", "a resend counts once: {flat}");
    assert_eq!(flat["lines_lifetime"], 2);
    assert_eq!(flat["recent_products"], json!([11, 10]));
    assert_eq!(flat["session_lines"], 2);
    assert_eq!(flat["income"], "50-74K");

    let body = json!({
        "entity": "household", "keys": ["1", "2", "3"], "metadata": true,
        "features": ["household_spend:spend_1h", "household_profile:income", "household_frequency:spend_90d"],
    });
    let (status, answer) = post_json(&format!("{server}/v1/features"), &body).await;
    assert_eq!(status, 200, "{answer}");
    let value = |row: usize, name: &str| answer["results"][row]["values"][name].clone();
    assert_eq!(value(0, "household_spend:spend_1h"), "3.65");
    assert_eq!(value(1, "household_spend:spend_1h"), "1.20");
    assert_eq!(value(1, "household_frequency:spend_90d"), "1.20");
    let about = |row: usize, name: &str| answer["results"][row]["metadata"][name].clone();
    assert_eq!(about(1, "household_profile:income")["status"], "NOT_FOUND");
    assert_eq!(about(0, "household_spend:spend_1h")["source"], "redis");
    assert_eq!(about(0, "household_profile:income")["source"], "mongodb");
    assert_eq!(about(0, "household_frequency:spend_90d")["source"], "clickhouse");
    assert_eq!(about(2, "household_spend:spend_1h")["status"], "NOT_FOUND");

    // A product is not the partition key: its slots of several partitions are merged.
    let (_, product) = get(&format!("{server}/api/v1/features/product/10")).await;
    assert_eq!((&product["lines_lifetime"], &product["households_7d"]), (&json!(3), &json!(2)), "{product}");

    let vectors = json!({ "entity_ids": ["2", "99"], "feature_version": "basket" });
    let (status, vectors) = post_json(&format!("{server}/v1/vectors/household"), &vectors).await;
    assert_eq!((status, &vectors["features"][1]), (200, &Value::Null), "{vectors}");
    assert_eq!(world.clickhouse("SELECT count() FROM events").await, 5);
    assert_eq!(world.clickhouse("SELECT count() FROM purchase").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_a_precise_answer_and_costs_nothing_else() {
    let world = World::shared().await;
    let ingest = world.start(ServiceKind::Ingest, "ingest").await;
    let url = format!("{}/v1/events", ingest.url());
    let field = |body: Value| {
        let url = url.clone();
        async move {
            let (status, answer) = post_json(&url, &body).await;
            (status, answer["field"].as_str().unwrap_or_default().to_owned())
        }
    };
    assert_eq!(field(json!({ "household_id": 1 })).await, (422, "type".into()));
    assert_eq!(field(json!({ "type": "nothing", "household_id": 1 })).await, (422, "type".into()));
    assert_eq!(field(json!({ "type": "purchase" })).await, (422, "household_id".into()));
    assert_eq!(field(json!({ "type": "purchase", "household_id": "x" })).await, (422, "household_id".into()));
    assert_eq!(field(json!({ "type": "purchase", "household_id": 1, "foo": 2 })).await, (422, "foo".into()));
    let future = json!({ "type": "purchase", "household_id": 1, "time": "2099-01-01T00:00:00Z" });
    assert_eq!(field(future).await, (422, "time".into()));
    let fine = json!({ "type": "purchase", "household_id": 1, "properties": { "sales_value": 1.155 } });
    assert_eq!(field(fine).await, (422, "properties.sales_value".into()));
    assert_eq!(post(&url, "application/json", "{").await.0, 400);
    assert_eq!(post(&url, "application/json", "a".repeat(17 << 20)).await.0, 413);
    let mixed = json!([{ "type": "purchase", "household_id": 1 }, { "type": "x" }]);
    let (status, answer) = post_json(&url, &mixed).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"][0]["index"]), (202, &json!(1), &json!(1)));
    let (status, _) = post_json(&url, &json!([{ "type": "x" }])).await;
    assert_eq!(status, 422);
}

/// An entry that Millrace did not write, one with a value that no view can read, one that ClickHouse refuses, and events
/// dated 1970 and 2099: their neighbours are unharmed, and each is accounted for.
#[tokio::test(flavor = "multi_thread")]
async fn poison_harms_no_neighbour_and_is_accounted_for() {
    let world = World::shared().await;
    let services = world.start_all().await;
    let url = format!("{}/v1/events", services[0].url());
    let mut dated = purchase("old", 1, 10, 100);
    dated["time"] = json!("1970-01-02T00:00:00Z");
    let (status, first) = post_json(&url, &dated).await;
    assert_eq!(status, 202, "{first}");
    let stream = format!("{}:events:{{{}}}", world.namespace, first["partition"]);
    let mut redis = world.redis().await;
    let mut poison = async |fields: &[(&str, &str)]| {
        let mut command = redis::cmd("XADD");
        command.arg(&stream).arg("*").arg(fields);
        let id: String = command.query_async(&mut redis).await.unwrap();
        id
    };
    poison(&[("foo", "bar")]).await;
    let entry = |id: &'static str, time: &'static str, properties: &'static str| {
        [
            ("type", "purchase"),
            ("source", ""),
            ("id", id),
            ("time", time),
            ("key:household", "1"),
            ("properties", properties),
        ]
    };
    poison(&entry("unreadable", "1000", r#"{"sales_value":"much"}"#)).await;
    poison(&entry("refused", "99999999999999999", r#"{"sales_value":"1.00"}"#)).await;
    poison(&entry("far", "4070908800000", r#"{"sales_value":"2.00"}"#)).await;
    // Control entries that nobody applied: a version that does not exist, an engine that no binary has.
    poison(&[("control", "definitions"), ("version", "99"), ("engine", "1")]).await;
    poison(&[("control", "definitions"), ("version", "1"), ("engine", "99")]).await;
    assert_eq!(post_json(&url, &purchase("new", 1, 11, 300)).await.0, 202);
    world.drained(LIMIT).await;

    let (_, flat) = get(&format!("{}/api/v1/features/household/1", services[3].url())).await;
    assert_eq!(flat["lines_lifetime"], 4, "1970, 2099, what ClickHouse refuses and the last: {flat}");
    assert_eq!(flat["spend_lifetime"], "7.00");
    assert_eq!(flat["lines_1h"], 3, "1970 is out of the window: {flat}");
    let ids = "SELECT countIf(event_id IN ('old', 'far', 'new')) * 100 + count() FROM events";
    let in_clickhouse = world.clickhouse(ids).await;
    assert!(in_clickhouse >= 303, "neighbours are there: {in_clickhouse}");
    let letters = eventually("dead letters are copied", LIMIT, || async {
        let letters = world.clickhouse("SELECT uniqExact(`group`, sink, event_id) FROM dead_letters FINAL").await;
        (letters >= 4).then_some(letters)
    })
    .await;
    assert!(letters >= 4, "{letters}");
    let named = "SELECT count() FROM dead_letters FINAL WHERE view = 'household_spend@1' AND event_id = 'unreadable'";
    assert_eq!(world.clickhouse(named).await, 1);
    let control = "SELECT uniqExact(stream_ms, stream_seq) FROM dead_letters FINAL WHERE reason LIKE '%control entry%'";
    assert_eq!(world.clickhouse(control).await, 2);
}

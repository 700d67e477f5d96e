//! The reads of MongoDB and ClickHouse: only the requested features, and not again before the
//! cached value expires.

use crate::support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use millrace_common::clock::now_ms;
use millrace_common::stores::profiles::{ProfilePut, ProfileStore};
use millrace_core::batch::{RowReader, Run};
use millrace_core::key::KeyText;
use millrace_core::partition::{Partition, partition_of};
use millrace_core::scalar::Scalar;
use millrace_core::sql::BatchColumns;
use millrace_feature_server::Config;
use millrace_feature_server::repository::{ClickHouseSource, FeatureRequest, Plan, Repository};
use serde_json::json;
use support::{PARTITIONS, World};

const YAML: &str = r#"
entities: { household: { key: household_id, type: int64 } }
events: { purchase: { partition_by: household }, survey: { partition_by: household } }
views:
  - name: profile
    entity: household
    store: mongodb
    from: [survey]
    features:
      - { name: income, agg: last, value: properties.income, type: string }
      - { name: surveys, agg: count }
  - name: live_profile
    entity: household
    store: mongodb
    cache: 0s
    from: [survey]
    features: [{ name: income, agg: last, value: properties.income, type: string }]
  - name: history
    entity: household
    store: clickhouse
    from: [purchase]
    features:
      - { name: purchases, agg: count }
      - { name: largest, agg: max, value: properties.amount, type: "decimal(18,2)" }
services:
  narrow: { v1: ["history:purchases", "profile:income"] }
"#;

async fn survey(world: &World, view: &str, income: &str) {
    let writer = partition_of("7", PARTITIONS).0;
    let slot = world.slot(view, writer, &[(now_ms(), vec![Some(Scalar::Text(income.into()))])]);
    world.put(view, "7", writer, &slot).await;
}

#[tokio::test]
async fn only_the_requested_features_leave_the_stores() {
    let mut world = World::with("projection", YAML).await;
    world.apply().await;
    world.warehouse(&["7"], now_ms() - 1_000).await;
    survey(&world, "profile", "50-75K").await;
    let [mongodb, clickhouse] = world.tapped().await;
    let server = world.ready_server().await;
    let asked = || (mongodb.count(b"features.income\0"), clickhouse.count(b"countIf("));
    let others = || (mongodb.count(b"features.surveys\0"), clickhouse.count(b"maxOrNullIf("));

    // A request that names an instant is not answered from the cache.
    let at = now_ms();
    let path = format!("/v1/features/household/7?features=profile:income,history:purchases&as_of={at}");
    let (_, body) = server.get(&path).await;
    assert_eq!(body["results"][0]["values"], json!({ "profile:income": "50-75K", "history:purchases": 1 }), "{body}");
    assert_eq!(asked(), (1, 1));
    let body = json!({ "entity": "household", "keys": [7], "service": "narrow", "as_of": at + 1 });
    assert_eq!(server.post("/v1/features", &body).await.1["results"][0]["values"]["history:purchases"], 1);
    assert_eq!(asked(), (2, 2));
    let body = server
        .query(
            r#"query($at: Instant) { features(entity: "household", keys: [7], service: "narrow", asOf: $at) { features } }"#,
            json!({ "at": at + 2 }),
        )
        .await;
    assert_eq!(body["data"]["features"][0]["features"]["profile:income"], "50-75K", "{body}");
    assert_eq!(asked(), (3, 3));
    let body = json!({ "entity_ids": [7], "feature_version": "narrow" });
    assert_eq!(server.post("/v1/vectors/household", &body).await.1["features"][0]["purchases"], 1);
    assert_eq!(others(), (0, 0));

    let (_, body) = server.get("/v1/features/household/7?features=profile:surveys,history:largest").await;
    assert_eq!(body["results"][0]["values"], json!({ "profile:surveys": 1, "history:largest": "1.15" }), "{body}");
    assert_eq!(others(), (1, 1));
}

#[tokio::test]
async fn a_value_is_served_again_unless_its_view_or_the_reader_says_otherwise() {
    let mut world = World::with("cache", YAML).await;
    world.apply().await;
    world.warehouse(&["7"], now_ms() - 1_000).await;
    for view in ["profile", "live_profile"] {
        survey(&world, view, "50-75K").await;
    }
    let [mongodb, clickhouse] = world.tapped().await;
    let server = world.ready_server().await;
    let path = "/v1/features/household/7?features=profile:income,live_profile:income,history:purchases";
    let incomes = async |more: &str| {
        let (_, body) = server.get(&format!("{path}{more}")).await;
        let values = body["results"][0]["values"].clone();
        (
            values["profile:income"].as_str().unwrap().to_owned(),
            values["live_profile:income"].as_str().unwrap().to_owned(),
        )
    };
    let both = |one: &str, two: &str| (one.to_owned(), two.to_owned());
    assert_eq!(incomes("").await, both("50-75K", "50-75K"));
    let (finds, queries) = (mongodb.finds(), clickhouse.queries());
    for view in ["profile", "live_profile"] {
        survey(&world, view, "75-99K").await;
    }
    assert_eq!(incomes("").await, both("50-75K", "75-99K"));
    assert_eq!(
        (mongodb.finds() - finds, clickhouse.queries() - queries),
        (1, 0),
        "only the view without a cache is read"
    );
    assert_eq!(incomes(&format!("&as_of={}", now_ms() + 1_000)).await, both("75-99K", "75-99K"));
    assert_eq!(incomes("").await, both("75-99K", "75-99K"), "the fresh value is cached");
    let (_, metrics) = server.text("/metrics").await;
    for name in ["hits", "misses", "evictions"] {
        assert!(metrics.contains(&format!("millrace_cache_{name}_total{{view=\"profile@1\"}}")), "{metrics}");
    }
    let hits =
        metrics.lines().find_map(|line| line.strip_prefix("millrace_cache_hits_total{view=\"live_profile@1\"} "));
    assert!(hits.is_none_or(|hits| hits == "0"), "{metrics}");
    assert!(metrics.contains("millrace_cache_bytes "), "{metrics}");
}

#[tokio::test]
async fn requests_for_different_keys_share_queries_and_none_is_refused() {
    let mut world = World::with("shared_query", YAML).await;
    world.apply().await;
    world.warehouse(&["1", "20", "40"], now_ms() - 1_000).await;
    let [_, clickhouse] = world.tapped().await;
    let server = world.ready_server().await;
    let before = clickhouse.queries();
    let asked = (1..=40).map(async |key| {
        let (_, body) = server.get(&format!("/v1/features/household/{key}?features=history:purchases")).await;
        (body["results"][0]["status"].clone(), body["results"][0]["values"]["history:purchases"].clone())
    });
    let answers = futures::future::join_all(asked).await;
    for (number, answer) in answers.into_iter().enumerate() {
        let known = [1, 20, 40].contains(&(number + 1));
        assert_eq!(answer, if known { (json!("PRESENT"), json!(1)) } else { (json!("NOT_FOUND"), json!(null)) });
    }
    assert!(clickhouse.queries() - before < 40, "queries are shared");
}

#[tokio::test]
async fn a_completed_run_replaces_cached_values_of_the_run_before() {
    let world = World::with(
        "cache_run",
        "entities: { household: { key: household_id, type: int64 } }\nevents: { visit: { partition_by: household } }\n\
         views: [{ name: orders, entity: household, store: mongodb, query: SELECT 1, features: [{ name: n, type: int64 }] }]",
    )
    .await;
    let view = &world.definitions.views[0];
    let config = Config::parse_from(["feature-server", "--mongodb-budget", "5s", "--deadline", "5s"]);
    let profiles =
        async || ProfileStore::connect(&world.urls.mongodb, &world.namespace, 2, Duration::from_secs(5)).await.unwrap();
    let warehouse = ClickHouseSource::new(&world.urls.clickhouse, &world.namespace, Duration::from_secs(5)).unwrap();
    let repository = Repository::new(profiles().await, warehouse, config.budgets, config.cache, &config.on_demand);
    let plan = Arc::new(Plan::new(world.definitions.clone(), &world.names, PARTITIONS, 0, &[(0, 0)]));
    let writes = async |number: u32, row: &str| {
        let run = Run { number, as_of: now_ms() };
        let reader = RowReader::new(&world.definitions, view, BatchColumns { event_time: false }, run, 0);
        let (key, slot) = reader.read(row).unwrap();
        let put = ProfilePut { view, key: &key, slot: &slot, partition: Partition(0) };
        profiles().await.put(&[put]).await.unwrap();
    };
    let reads = async || {
        let keys = ["7", "8"].map(KeyText::from_canonical).to_vec();
        let answer = repository.read(&FeatureRequest::new(plan.clone(), keys, None)).await;
        answer.rows.into_iter().map(|row| (row.values[0].value.clone(), row.values[0].run)).collect::<Vec<_>>()
    };
    let completes = |number: u32| repository.set_completed_runs(HashMap::from([(view.id(), number)]));
    writes(3, "[7, 1]").await;
    writes(3, "[8, 1]").await;
    completes(3);
    assert_eq!(reads().await, [(json!(1), Some(3)), (json!(1), Some(3))]);
    writes(4, "[7, 2]").await;
    assert_eq!(reads().await, [(json!(1), Some(3)), (json!(1), Some(3))], "cached while the run is in progress");
    completes(4);
    assert_eq!(reads().await, [(json!(2), Some(4)), (json!(null), None)], "the run did not find household 8");
}

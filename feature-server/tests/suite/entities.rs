//! Finding entities by their values in MongoDB.

use crate::support;

use millrace_common::clock::now_ms;
use millrace_core::partition::partition_of;
use millrace_core::scalar::Scalar;
use serde_json::{Value as Json, json};
use support::{NOWHERE, PARTITIONS, Server, World};

const YAML: &str = r#"
entities: { household: { key: household_id, type: int64 }, pair: { key: [left, right], type: [string, int64] } }
events: { survey: { partition_by: household }, meeting: { partition_by: pair } }
views:
  - name: profile
    entity: household
    store: mongodb
    from: [survey]
    features:
      - { name: income, agg: last, value: properties.income, type: string, index: true }
      - { name: surveys, agg: count }
  - name: profile
    version: 2
    entity: household
    store: mongodb
    ttl: 1h
    from: [survey]
    features: [{ name: income, agg: last, value: properties.income, type: string }]
  - { name: met, entity: pair, store: mongodb, from: [meeting], features: [{ name: times, agg: count }] }
  - { name: surveys, entity: household, from: [survey], features: [{ name: n, agg: count }] }
  - name: pets
    entity: household
    store: mongodb
    from: [survey]
    features: [{ name: names, agg: last, value: properties.pets, type: list<string> }]
"#;

async fn survey(world: &World, version: u32, household: u32, time: i64, income: Option<&str>) {
    let view = world.definitions.view("profile", Some(version)).unwrap().1;
    let key = household.to_string();
    let writer = partition_of(&key, PARTITIONS).0;
    let inputs = vec![income.map(|income| Scalar::Text(income.to_owned().into()))];
    world.put_view(view, &key, writer, &world.slot_of(view, writer, &[(time, inputs)])).await;
}

async fn pets(world: &World, household: &str, names: Option<&str>) {
    let view = world.definitions.view("pets", None).unwrap().1;
    let writer = partition_of(household, PARTITIONS).0;
    let inputs = vec![names.map(|names| Scalar::Json(names.to_owned().into()))];
    world.put_view(view, household, writer, &world.slot_of(view, writer, &[(now_ms(), inputs)])).await;
}

/// Keys and the next cursor.
async fn found(server: &Server, query: &str) -> (Vec<Json>, Json) {
    let (status, body) = server.get(&format!("/v1/entities?{query}")).await;
    assert_eq!(status, 200, "{query}: {body}");
    let keys = body["entities"].as_array().unwrap().iter().map(|entity| entity["key"].clone());
    (keys.collect(), body["next"].clone())
}

#[tokio::test]
async fn entities_are_found_by_their_values() {
    let world = World::with("entities", YAML).await;
    world.apply().await;
    for (household, income) in [(1, Some("50-74K")), (2, Some("under 15K")), (10, Some("50-74K")), (3, None)] {
        survey(&world, 1, household, now_ms(), income).await;
    }
    let server = world.ready_server().await;
    assert_eq!(found(&server, "view=profile").await, (vec![json!(1), json!(10), json!(2), json!(3)], Json::Null));
    for (query, keys) in [
        ("where=income%3D50-74K", json!([1, 10])),
        ("where=income!=50-74K", json!([2])),
        ("where=income+in+50-74K,under+15K&where=surveys%3E=1", json!([1, 10, 2])),
        ("where=income%3C60", json!([1, 10])),
        ("where=income+exists", json!([1, 10, 2])),
        ("where=income=50-74K&where=surveys%3E1", json!([])),
        ("where=income={\"$ne\":null}", json!([])),
    ] {
        let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        assert_eq!(Json::from(found(&server, &format!("view=profile&{query}")).await.0), keys, "{query}");
    }
    let (_, body) = server.get("/v1/entities?view=profile&where=income=50-74K&features=surveys,profile:income").await;
    let expected = json!({ "view": "profile", "version": 1, "next": null, "entities": [
        { "key": 1, "values": { "profile:surveys": 1, "profile:income": "50-74K" } },
        { "key": 10, "values": { "profile:surveys": 1, "profile:income": "50-74K" } },
    ] });
    assert_eq!(body, expected);
    assert_eq!(found(&server, "view=profile&version=2").await.0, Vec::<Json>::new(), "no document has version 2 yet");
    assert_eq!(found(&server, "view=met").await.0, Vec::<Json>::new(), "a view without documents");
    let (_, metrics) = server.text("/metrics").await;
    assert!(metrics.contains("millrace_read_requests_total{endpoint=\"entities\",outcome=\"ok\"}"), "{metrics}");
}

#[tokio::test]
async fn a_list_exists_even_if_it_is_empty() {
    let world = World::with("entities_lists", YAML).await;
    world.apply().await;
    for (household, names) in
        [("1", Some(r#"["Tom",null]"#)), ("2", Some("[]")), ("3", None), ("4", Some(r#"["Tom"]"#))]
    {
        pets(&world, household, names).await;
    }
    let server = world.ready_server().await;
    assert_eq!(found(&server, "view=pets&where=names+exists").await.0, [1, 2, 4]);
}

#[tokio::test]
async fn pages_follow_the_keys_while_others_write() {
    let world = World::with("entities_pages", YAML).await;
    world.apply().await;
    for household in [1, 2, 3, 5] {
        survey(&world, 1, household, now_ms(), Some("x")).await;
    }
    let met = world.definitions.view("met", None).unwrap().1;
    for key in ["a%2Fb,7", "a%2Fb,8"] {
        world.put_view(met, key, 0, &world.slot_of(met, 0, &[(now_ms(), Vec::new())])).await;
    }
    let server = world.ready_server().await;
    let (first, next) = found(&server, "view=profile&limit=2").await;
    assert_eq!((first, &next), (vec![json!(1), json!(2)], &json!("2")));
    // One write before the cursor, and one after it.
    survey(&world, 1, 1, now_ms() + 1, Some("y")).await;
    survey(&world, 1, 4, now_ms(), Some("x")).await;
    let (second, next) = found(&server, "view=profile&limit=2&cursor=2").await;
    assert_eq!((second, &next), (vec![json!(3), json!(4)], &json!("4")));
    assert_eq!(found(&server, "view=profile&limit=2&cursor=4").await, (vec![json!(5)], Json::Null));
    let (first, next) = found(&server, "view=met&limit=1").await;
    assert_eq!((first, &next), (vec![json!("a%2Fb,7")], &json!("a%2Fb,7")));
    assert_eq!(found(&server, "view=met&limit=1&cursor=a%252Fb,7").await, (vec![json!("a%2Fb,8")], Json::Null));
}

#[tokio::test]
async fn who_is_past_the_ttl_is_not_found() {
    let world = World::with("entities_ttl", YAML).await;
    world.apply().await;
    survey(&world, 2, 1, now_ms() - 7_200_000, Some("x")).await;
    survey(&world, 2, 2, now_ms() - 1_800_000, Some("x")).await;
    let server = world.ready_server().await;
    assert_eq!(found(&server, "view=profile&version=2&where=income=x").await.0, [json!(2)]);
}

#[tokio::test]
async fn what_is_wrong_with_a_search_is_said_precisely() {
    let world = World::with("entities_errors", YAML).await;
    world.apply().await;
    let server = world.ready_server().await;
    let many = "&where=income=x".repeat(17);
    for (query, field, part) in [
        ("", "view", "there is profile@1, profile@2, met@1"),
        ("view=profil", "view", "no view `profil@1`; in mongodb there is profile@1"),
        ("view=profile&version=3", "view", "no view `profile@3`"),
        ("view=profile&version=two", "version", "a whole number"),
        (
            "view=surveys",
            "view",
            "`surveys@1` is in redis, and only views in mongodb can be searched; there is profile@1",
        ),
        ("view=profile&where=incom=1", "where", "no feature `incom` in view `profile@1`; there is income, surveys"),
        ("view=profile&where=surveys=many", "where", "`many` is not of type int64"),
        ("view=profile&features=incom", "features", "there is income, surveys"),
        ("view=profile&limit=0", "limit", "from 1 to 1000"),
        ("view=profile&limit=1001", "limit", "from 1 to 1000"),
        ("view=profile&cursor=x", "cursor", "`next` of the page before"),
        ("view=profile&view=profile", "view", "given twice"),
        ("view=profile&filter=x", "query", "there is view, version, where"),
        (&format!("view=profile{many}"), "where", "17 conditions; the most is 16"),
    ] {
        let (status, body) = server.get(&format!("/v1/entities?{query}")).await;
        assert_eq!((status, &body["field"]), (400, &json!(field)), "{query}: {body}");
        assert!(body["error"].as_str().unwrap().contains(part), "{query}: {body}");
    }
}

#[tokio::test]
async fn a_search_without_its_store_is_a_503() {
    let mut world = World::with("entities_away", YAML).await;
    world.apply().await;
    world.urls.mongodb = format!("mongodb://{NOWHERE}");
    let server = world.serve(&["--search-budget", "200ms"]).await;
    server.until("/readyz", |status, text| status == 503 && text.contains("mongodb")).await;
    let (status, body) = server.get("/v1/entities?view=profile").await;
    assert!(status == 503 && body["error"].as_str().unwrap().starts_with("mongodb: "), "{status} {body}");
}

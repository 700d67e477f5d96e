//! The GraphQL API over the real stores.

use crate::support;

use millrace_common::clock::now_ms;
use serde_json::{Value as Json, json};
use support::{NOWHERE, World};

const GET: &str = "query($ids: [ID!]!, $names: [String!]!) {
    getFeatures(entityIds: $ids, featureNames: $names) { entityId features }
}";

#[tokio::test]
async fn feature_sets_stand_in_request_order_and_are_null_for_unknown_entities() {
    let world = World::new("ql_sets").await;
    world.purchases("1", &[100]).await;
    world.survey("2", "50-75K").await;
    let server = world.ready_server().await;
    let variables = json!({ "ids": ["2", 3, "1", "2"], "names": ["income", "spend:total_1h", "profile:income"] });
    for path in ["/graphql", "/query"] {
        let (status, body) = server.post(path, &json!({ "query": GET, "variables": variables })).await;
        let two = json!({ "income": "50-75K", "spend:total_1h": null, "profile:income": "50-75K" });
        let one = json!({ "income": "unknown", "spend:total_1h": "1.00", "profile:income": "unknown" });
        let sets = json!([
            { "entityId": "2", "features": two }, { "entityId": "3", "features": null },
            { "entityId": "1", "features": one }, { "entityId": "2", "features": two },
        ]);
        assert_eq!((status, body), (200, json!({ "data": { "getFeatures": sets } })));
    }
}

#[tokio::test]
async fn every_value_has_its_status_time_and_source() {
    let world = World::new("ql_values").await;
    world.purchases("7", &[115, 250]).await;
    world.warehouse(&["7"], now_ms() - 1_000).await;
    let server = world.ready_server().await;
    let query = r#"{ features(entity: "household", keys: [7], features: ["spend:total_1h", "profile:income", "history:purchases_90d"]) {
        key status asOf features values { name value status eventTime source version jobId reason } } }"#;
    let body = server.query(query, Json::Null).await;
    let row = &body["data"]["features"][0];
    assert_eq!((&row["key"], &row["status"]), (&json!("7"), &json!("PRESENT")), "{body}");
    let features = json!({ "spend:total_1h": "3.65", "profile:income": "unknown", "history:purchases_90d": 1 });
    assert_eq!(row["features"], features);
    assert!(row["asOf"].as_str().unwrap().ends_with('Z'));
    let values = row["values"].as_array().unwrap();
    for (value, (name, shown, status, source)) in values.iter().zip([
        ("spend:total_1h", json!("3.65"), "PRESENT", "redis"),
        ("profile:income", json!("unknown"), "NOT_FOUND", "mongodb"),
        ("history:purchases_90d", json!(1), "PRESENT", "clickhouse"),
    ]) {
        assert_eq!((&value["name"], &value["value"], &value["status"]), (&json!(name), &shown, &json!(status)));
        assert_eq!((&value["source"], &value["version"], &value["jobId"]), (&json!(source), &json!(1), &Json::Null));
        assert_eq!(value["eventTime"].is_string(), status == "PRESENT", "{value}");
    }
    let query = "query($at: Instant) { features(entity: \"household\", keys: [\"7\"], service: \"basket@2\", asOf: $at) \
                 { asOf status values { name value } } }";
    for at in [json!(253_402_300_799_000_i64), json!("9999-12-31T23:59:59Z")] {
        let body = server.query(query, json!({ "at": at })).await;
        let row = &body["data"]["features"][0];
        assert_eq!(row["asOf"], "9999-12-31T23:59:59.000Z", "{body}");
        assert_eq!(row["values"][0], json!({ "name": "spend:total_1h", "value": null }), "outside its ttl");
    }
}

#[tokio::test]
async fn an_unavailable_store_costs_its_own_values_and_is_reported() {
    let mut world = World::new("ql_away").await;
    world.purchases("7", &[115]).await;
    world.urls.mongodb = format!("mongodb://{NOWHERE}");
    world.urls.clickhouse = format!("http://{NOWHERE}");
    let server = world.serve(&["--redis-budget", "5s", "--deadline", "5s"]).await;
    server.until("/readyz", |status, text| status == 503 && text.contains("mongodb")).await;
    let query = r#"{
        all: features(entity: "household", keys: [7], features: ["spend:total_1h", "profile:income", "history:purchases_90d"]) {
            status values { value status reason } }
        redis: getFeatures(entityIds: [7], featureNames: ["spend:total_1h"]) { features } }"#;
    let body = server.query(query, Json::Null).await;
    let data = &body["data"];
    assert_eq!(data["redis"], json!([{ "features": { "spend:total_1h": "1.15" } }]), "{body}");
    assert_eq!(data["all"][0]["status"], "ERROR");
    let values = data["all"][0]["values"].as_array().unwrap();
    let shown: Vec<_> = values.iter().map(|value| (&value["value"], &value["status"])).collect();
    let (present, error) = (json!("PRESENT"), json!("ERROR"));
    let expected = [(&json!("1.15"), &present), (&json!("unknown"), &error), (&Json::Null, &error)];
    assert_eq!(shown, expected);
    assert!(values[1]["reason"].as_str().unwrap().starts_with("mongodb"));
    let errors = body["errors"].as_array().unwrap();
    let about = |error: &Json| {
        (error["path"].clone(), error["extensions"]["code"].clone(), error["extensions"]["view"].clone())
    };
    let told: Vec<_> = errors.iter().map(about).collect();
    let away = |view: &str| (json!(["all"]), json!("UNAVAILABLE"), json!(view));
    assert_eq!(told, [away("profile@1"), away("history@1")], "{body}");
    assert_eq!(errors[0]["extensions"]["features"], json!(["profile:income"]));
    let (_, metrics) = server.text("/metrics").await;
    let counted = "millrace_read_requests_total{endpoint=\"graphql\",outcome=\"ok\"}";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_reported_with_its_own_code() {
    let world = World::new("ql_value_error").await;
    world.purchases("7", &[115]).await;
    let server = world.ready_server().await;
    let query = r#"{ features(entity: "household", keys: [7], service: "basket", asOf: 1000) { values { status } } }"#;
    let body = server.query(query, Json::Null).await;
    assert_eq!(body["data"]["features"][0]["values"], json!([{ "status": "ERROR" }]), "{body}");
    let error = &body["errors"][0];
    assert_eq!((&error["extensions"]["code"], &error["path"]), (&json!("VALUE_ERROR"), &json!(["features"])));
    assert!(error["message"].as_str().unwrap().contains("as_of is before"), "{error}");
}

#[tokio::test]
async fn the_definitions_can_be_queried_by_type() {
    let world = World::new("ql_catalogue").await;
    let server = world.ready_server().await;
    let body = server
        .query(
            r#"{
        entities { name key { name type } views }
        entity(name: "household") { description }
        nobody: entity(name: "nobody") { name }
        views(entity: "household", store: REDIS) { name version entity from store ttl
            features { reference type agg value default window { kind length hop } } }
        view(name: "profile") { store features { name } }
        later: view(name: "profile", version: 2) { name }
        services { name versions { version reference entity } }
        service(name: "basket", version: 2) { features }
    }"#,
            Json::Null,
        )
        .await;
    let data = &body["data"];
    assert!(body.get("errors").is_none(), "{body}");
    assert_eq!(data["entities"][0]["key"], json!([{ "name": "household_id", "type": "int64" }]));
    assert_eq!(data["entities"][0]["views"], json!(["spend@1", "profile@1", "history@1"]));
    assert_eq!(data["entity"], json!({ "description": "A loyalty-card household" }));
    assert_eq!((&data["nobody"], &data["later"]), (&Json::Null, &Json::Null));
    let spend = &data["views"][0];
    assert_eq!((&spend["store"], &spend["ttl"], &spend["from"]), (&json!("REDIS"), &json!("1h"), &json!(["purchase"])));
    let largest = json!({
        "reference": "spend:largest_1m", "type": "decimal(18,2)", "agg": "max", "value": "properties.amount",
        "default": "0.00", "window": { "kind": "SLIDING", "length": "1m", "hop": "1s" },
    });
    assert_eq!((data["views"].as_array().unwrap().len(), &spend["features"][2]), (1, &largest));
    assert_eq!(data["view"]["store"], "MONGODB");
    assert_eq!(data["services"][0]["versions"][1]["reference"], "basket@2");
    assert_eq!(data["service"]["features"], json!(["spend:total_1h", "spend:largest_1m", "profile:income"]));
}

#[tokio::test]
async fn an_error_says_what_is_wrong_with_the_query() {
    let world = World::new("ql_errors").await;
    let server = world.ready_server().await;
    let household = |rest: &str| format!(r#"{{ features(entity: "household", {rest}) {{ key }} }}"#);
    let names = |names: &str| format!("{{ getFeatures(entityIds: [1], featureNames: [{names}]) {{ features }} }}");
    for (query, code, part) in [
        ("{ features", "INVALID_ARGUMENT", "expected"),
        ("{ nothing }", "INVALID_ARGUMENT", "nothing"),
        (r#"{ features(entity: "house", keys: [1]) { key } }"#, "NOT_FOUND", "there is household, product"),
        (&household("keys: [1, \"x\"]"), "INVALID_ARGUMENT", "not a key of household (household_id)"),
        (&household("keys: [1], service: \"basket@9\""), "NOT_FOUND", "basket@1, basket@2"),
        (&household("keys: [1], features: [\"spend:x\"]"), "NOT_FOUND", "total_1h"),
        (&household("keys: [1], features: [\"spend:total_1h\"], service: \"basket\""), "INVALID_ARGUMENT", "not both"),
        (&household("keys: [1], asOf: \"yesterday\""), "INVALID_ARGUMENT", "RFC 3339"),
        (&household("keys: [1], asOf: 99999999999999999"), "INVALID_ARGUMENT", "years 0000 to 9999"),
        (&names(r#""spend:total_1h", "popularity:lines""#), "INVALID_ARGUMENT", "describes product"),
        (&names(r#""nothing""#), "NOT_FOUND", "nothing"),
        (&names(""), "INVALID_ARGUMENT", "at least one"),
        ("mutation { write }", "INVALID_ARGUMENT", "mutation"),
        ("query A { views { name } } query B { views { name } }", "INVALID_ARGUMENT", "peration name"),
    ] {
        let body = server.query(query, Json::Null).await;
        let error = &body["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{query}: {body}");
        assert!(error["message"].as_str().unwrap().contains(part), "{query}: {body}");
        assert_eq!(body["data"], Json::Null, "{query}");
        assert_eq!(body["errors"].as_array().unwrap().len(), 1, "{query}: {body}");
        assert!(!body.to_string().contains("\"line\":0"), "{body}");
    }
    let body = server.query(&"{a".repeat(100), Json::Null).await;
    assert!(body["errors"][0].get("locations").is_none(), "it stands nowhere: {body}");
    let (status, answer) = server.post("/graphql", &json!({ "query": "{ __typename }", "variables": [1] })).await;
    assert_eq!((status, &answer["field"]), (400, &json!("variables")), "{answer}");
    // A request that is not GraphQL is answered in the form of the other APIs.
    for (body, part) in
        [(json!([{ "query": "{ views { name } }" }]), "one request"), (json!({ "query": 1 }), "a string")]
    {
        let (status, answer) = server.post("/graphql", &body).await;
        assert_eq!((status, &answer["field"]), (400, &json!("body")), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
    }
    assert_eq!(server.post("/graphql", &json!({ "query": "x".repeat(2 << 20) })).await.0, 413);
    assert_eq!(server.get("/graphql").await.0, 400);
}

#[tokio::test]
async fn a_field_that_fails_leaves_null_where_the_schema_allows_it() {
    let world = World::new("ql_failed_field").await;
    world.purchases("1", &[100]).await;
    world.ready_server().await;
    let server = world.serve(&["--max-values", "2"]).await;
    server.until_ready().await;
    let sets = |name: &str, feature: &str| {
        format!("{name}: getFeatures(entityIds: [1], featureNames: [\"{feature}\"]) {{ features }}")
    };
    let (good, bad) = (sets("a", "spend:total_1h"), sets("b", "nothing"));
    for query in [format!("{{ {good} {bad} }}"), format!("{{ {bad} ...f }} fragment f on Query {{ {good} }}")] {
        let body = server.query(&query, Json::Null).await;
        assert_eq!((&body["data"], body["errors"].as_array().unwrap().len()), (&Json::Null, 1), "{body}");
        let at = query.find("b:").unwrap() + 1;
        let error = &body["errors"][0];
        assert_eq!((&error["path"], &error["locations"]), (&json!(["b"]), &json!([{ "line": 1, "column": at }])));
    }
    let body = server.query(&format!("{{ {good} v: view(name: \"spend\") {{ name }} }}"), Json::Null).await;
    let sets = json!([{ "features": { "spend:total_1h": "1.00" } }]);
    assert_eq!(body["data"], json!({ "a": sets, "v": null }), "a view may be null: {body}");
    assert_eq!((&body["errors"][0]["path"], body["errors"].as_array().unwrap().len()), (&json!(["v"]), 1), "{body}");
}

#[tokio::test]
async fn fields_are_answered_in_the_order_of_the_query() {
    let world = World::new("ql_order").await;
    let server = world.ready_server().await;
    let sets = |name: &str, feature: &str| {
        format!("{name}: getFeatures(entityIds: [1], featureNames: [\"{feature}\"]) {{ features entityId }}")
    };
    let (z, b) = (sets("z", "income"), sets("b", "spend:total_1h"));
    let rest = format!("fragment f on Query {{ {b} y: views {{ version name }} c: __typename }}");
    let query = format!("query Q {{ {z} a: __typename ...f }} {rest}");
    let asked = [("query", query.as_str()), ("operationName", "Q")];
    let response = server.http.get(format!("{}/graphql", server.base)).query(&asked).send().await.unwrap();
    let text = response.text().await.unwrap();
    let places: Vec<_> = ["z", "a", "b", "y", "c"].map(|name| text.find(&format!("\"{name}\":"))).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}

#[tokio::test]
async fn a_query_may_come_in_the_url() {
    let world = World::new("ql_get").await;
    let server = world.ready_server().await;
    let query = "query A($name: String!) { view(name: $name) { name } } query B { services { name } }";
    let asked = [("query", query), ("operationName", "A"), ("variables", r#"{"name":"spend"}"#)];
    let response = server.http.get(format!("{}/graphql", server.base)).query(&asked).send().await.unwrap();
    let body: Json = response.json().await.unwrap();
    assert_eq!(body, json!({ "data": { "view": { "name": "spend" } } }));
    let asked = [("query", query), ("variables", "{")];
    let response = server.http.get(format!("{}/graphql", server.base)).query(&asked).send().await.unwrap();
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn one_request_is_limited() {
    let world = World::new("ql_limits").await;
    let server = world.ready_server().await;
    let refused = async |query: String, variables: Json| {
        let body = server.query(&query, variables).await;
        assert_eq!(body["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT", "{body}");
        body["errors"][0]["message"].as_str().unwrap().to_owned()
    };
    let ids = |count: usize| Json::from_iter(0..count);
    let message = refused(GET.to_owned(), json!({ "ids": ids(1_001), "names": ["income"] })).await;
    assert_eq!(message, "1001 keys in one request; the most is 1000");
    // All fields of a request count together.
    let two = "query($ids: [ID!]!) { a: getFeatures(entityIds: $ids, featureNames: [\"income\"]) { features }
        b: getFeatures(entityIds: $ids, featureNames: [\"income\"]) { features } }";
    let message = refused(two.to_owned(), json!({ "ids": ids(501) })).await;
    assert_eq!(message, "1002 keys in one request; the most is 1000");
    // Aliases do not read more, but make the answer longer.
    let aliases: String = (0..900).map(|number| format!("v{number}: value ")).collect();
    let many = format!(
        "query($ids: [ID!]!) {{ features(entity: \"household\", keys: $ids, service: \"basket\") {{ values {{ {aliases} }} }} }}"
    );
    let message = refused(many, json!({ "ids": ids(1_000) })).await;
    assert_eq!(message, "113000 values in one request; the most is 100000");
    let fields: String = (0..1_001).map(|number| format!("a{number}: __typename ")).collect();
    assert!(refused(format!("{{ {fields} }}"), Json::Null).await.starts_with("1001 fields"));
    let deep = "{ views { features { window { kind } } } }";
    assert!(server.query(deep, Json::Null).await.get("errors").is_none());
    let server = world.serve(&["--max-depth", "3"]).await;
    server.until_ready().await;
    let body = server.query(deep, Json::Null).await;
    assert_eq!(body["errors"][0]["message"], "4 fields inside each other; the most is 3");
}

#[tokio::test]
async fn the_playground_loads_nothing_from_other_servers() {
    let world = World::new("ql_page").await;
    let server = world.serve(&[]).await;
    for (path, kind) in [
        ("/playground", "text/html"),
        ("/playground/playground.js", "text/javascript"),
        ("/playground/playground.css", "text/css"),
    ] {
        let response = server.http.get(format!("{}{path}", server.base)).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind));
        assert!(header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
        let text = response.text().await.unwrap();
        assert!(!text.contains("//unpkg") && !text.contains("https://") && !text.contains("http://"), "{path}");
    }
}

//! Clients that are not part of Millrace: a GraphQL library of Python, and a browser on the playground.

use crate::support;

use std::path::Path;

use millrace_devstack::tools::{chromium, python};
use serde_json::{Value as Json, json};
use support::World;
use tokio::process::Command;

const PACKAGES: [&str; 2] = ["gql[requests]==4.4.0", "playwright==1.65.2"];

/// Runs a script of `tests/clients` and reads the JSON that it prints.
async fn run(script: &str, arguments: &[&str]) -> Json {
    let packages = PACKAGES.map(str::to_owned);
    let python = tokio::task::spawn_blocking(move || python::virtualenv("graphql-clients-4.4.0-1.65.2", &packages));
    let python = python.await.unwrap().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let output = Command::new(python).arg(script).args(arguments).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_library_reads_the_schema_and_runs_queries() {
    let world = World::new("ql_client").await;
    world.purchases("7", &[115]).await;
    let server = world.ready_server().await;
    let found = run("gql_client.py", &[&server.base]).await;
    assert_eq!(found["types"], json!(["FeatureSet", "Map", "EntityFeatures", "Status"]));
    assert_eq!((&found["get_features"], &found["entity_id"]), (&json!("[FeatureSet!]!"), &json!("ID!")));
    let features = json!({ "spend:total_1h": "1.15", "income": "unknown" });
    let sets = json!([{ "entityId": "7", "features": features }, { "entityId": "8", "features": null }]);
    assert_eq!(found["sets"], sets);
    let first = json!({ "name": "spend:total_1h", "value": "1.15", "status": "PRESENT" });
    assert_eq!((&found["values"]["status"], &found["values"]["values"][0]), (&json!("PRESENT"), &first));
    assert!(found["refused_here"].as_str().unwrap().contains("nothing"), "{found}");
    assert_eq!(found["refused_there"], "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_playground_runs_queries_in_a_browser_and_loads_nothing_from_other_servers() {
    let world = World::new("ql_browser").await;
    world.purchases("7", &[115]).await;
    let server = world.ready_server().await;
    let browser = tokio::task::spawn_blocking(chromium::browser).await.unwrap().unwrap();
    let browser = browser.to_string_lossy().into_owned();
    let arguments = [server.base.as_str(), &browser].into_iter().chain(chromium::HEADLESS);
    let found = run("playground.py", &arguments.collect::<Vec<_>>()).await;
    let sets = json!([{ "entityId": "7", "features": { "spend:total_1h": "1.15" } }]);
    assert_eq!(found["result"], json!({ "data": { "getFeatures": sets } }), "{found}");
    assert!(found["status"].as_str().unwrap().starts_with("200 in "), "{found}");
    assert_eq!(found["error"], "INVALID_ARGUMENT");
    assert!(found["examples"].as_array().unwrap().contains(&json!("Service basket@2")), "{found}");
    assert_eq!((&found["types"], &found["again"]), (&json!(["type-FeatureValue"]), &json!(true)));
    assert_eq!((&found["elsewhere"], &found["complaints"]), (&json!([]), &json!([])), "{found}");
}

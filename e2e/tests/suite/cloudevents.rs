//! CloudEvents from the official SDK, as they are stored in the log.

use std::collections::BTreeMap;
use std::path::Path;

use millrace_devstack::services::ServiceKind;
use millrace_devstack::tools::python;
use millrace_e2e::{World, post};
use serde_json::{Value, json};
use tokio::process::Command;

const SDK: &str = "cloudevents==2.2.0";
const DOCS: &str = include_str!("../../../docs/ingest.md");
/// The source of the script's events: a text that a header can only carry encoded.
const WEIRD: &str = "till \"7\" / 100% \\ Käse €😀";

/// Runs the SDK's script and returns the answers that it got.
async fn send(ingest: &str) -> Value {
    let python = tokio::task::spawn_blocking(|| python::virtualenv("cloudevents-2.2.0", &[SDK.to_owned()]));
    let python = python.await.unwrap().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/cloudevents_sdk.py");
    let output = Command::new(python).arg(script).arg(ingest).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All entries of events, their fields by event id.
async fn entries(world: &World) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut redis = world.redis().await;
    let mut entries = BTreeMap::new();
    for partition in 0..8 {
        let stream = format!("{}:events:{{{partition}}}", world.namespace);
        let mut command = redis::cmd("XRANGE");
        command.arg(&stream).arg("-").arg("+");
        let found: Vec<(String, Vec<(String, String)>)> = command.query_async(&mut redis).await.unwrap();
        for (_, fields) in found {
            let fields: BTreeMap<_, _> = fields.into_iter().collect();
            if let Some(id) = fields.get("id") {
                assert!(entries.insert(id.clone(), fields).is_none());
            }
        }
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_sends_is_in_the_log_as_it_was_meant() {
    let world = World::shared().await;
    let ingest = world.start(ServiceKind::Ingest, "ingest").await;
    let found = send(&ingest.url()).await;

    let weird = |mode: &str| format!("{mode} {WEIRD}");
    let one = [
        ("binary", weird("binary")),
        ("binary without a content type", "bare".to_owned()),
        ("structured", weird("structured")),
        ("structured with bytes", "bytes".to_owned()),
        ("first binary", "first binary".to_owned()),
        ("first structured", "first structured".to_owned()),
    ];
    for (case, id) in &one {
        let (status, answer) = (&found[case]["status"], &found[case]["answer"]);
        let said = (status, &answer["status"], &answer["event_id"]);
        assert_eq!(said, (&json!(202), &json!("accepted"), &json!(id)), "{case}: {found}");
    }
    let batch = &found["batch"]["answer"];
    assert_eq!((&found["batch"]["status"], &batch["accepted"]), (&json!(202), &json!(2)), "{found}");
    let rejected: Vec<_> =
        batch["rejected"].as_array().unwrap().iter().map(|one| (&one["index"], &one["field"])).collect();
    let expected = [(json!(1), json!("type")), (json!(3), json!("household_id")), (json!(4), json!("datacontenttype"))];
    assert_eq!(rejected, expected.iter().map(|(index, field)| (index, field)).collect::<Vec<_>>(), "{found}");
    assert_eq!(found["empty batch"], json!({ "status": 202, "answer": { "accepted": 0, "rejected": [] } }));
    assert_eq!(found["text"]["status"], 400, "{found}");
    let unknown = &found["unknown type"];
    assert_eq!((&unknown["status"], &unknown["answer"]["field"]), (&json!(422), &json!("type")), "{found}");
    assert_eq!(unknown["answer"]["error"], "unknown event type `nothing`; the known types are demographics, purchase");

    let entries = entries(&world).await;
    let batched = ["batch 0", "batch 2"].map(str::to_owned);
    let ids: Vec<&String> = one.iter().map(|(_, id)| id).chain(&batched).collect();
    assert_eq!(entries.len(), ids.len(), "{entries:?}");
    for id in ids {
        let entry = &entries[id];
        let properties: Value = serde_json::from_str(&entry["properties"]).unwrap();
        assert_eq!(properties, json!({ "sales_value": "1.15", "note": WEIRD }), "{id}");
        let field = |name: &str| entry.get(name).map_or("", String::as_str);
        let source = if id.starts_with("first") { "till-8" } else { WEIRD };
        assert_eq!((field("type"), field("source")), ("purchase", source), "{id}");
        assert_eq!((field("key:household"), field("key:product")), ("1", "10"), "{id}");
        assert_eq!(field("time"), "1769862615250", "{id}");
        assert_eq!(field("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_in_the_docs_are_accepted_and_others_are_told_why_not() {
    let world = World::shared().await;
    let ingest = world.start(ServiceKind::Ingest, "ingest").await;
    let mut sent = 0;
    for block in DOCS.split("```sh\n").skip(1) {
        let block = block.split("\n```").next().unwrap().replace("http://localhost:8080", &ingest.url());
        for command in block.split("\n\n") {
            let output = Command::new("bash").args(["-c", command]).output().await.unwrap();
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{command}"));
            let accepted = answer["status"] == "accepted"
                || answer["accepted"].as_u64() > Some(0) && answer["rejected"] == json!([]);
            assert!(accepted, "`{command}` answered {answer}");
            sent += 1;
        }
    }
    assert_eq!(sent, 7);

    let url = format!("{}/v1/events", ingest.url());
    for (content_type, body, status) in [
        ("application/cloudevents+json", "{", 400),
        ("application/cloudevents+json", "", 400),
        ("application/cloudevents-batch+json", r#"{"specversion":"1.0"}"#, 400),
        ("application/cloudevents+avro", "{}", 400),
        ("application/cloudevents+json", "[]", 422),
        ("application/cloudevents-batch+json", r#"[{"specversion":"0.3"}]"#, 422),
    ] {
        assert_eq!(post(&url, content_type, body).await.0, status, "{content_type}: {body}");
    }
    let large = format!(r#"{{"specversion":"1.0","data":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(post(&url, "application/cloudevents+json", large).await.0, 413);
    let (status, answer) = post(&format!("{}/event", ingest.url()), "application/cloudevents+json", "{}").await;
    assert_eq!(status, 400, "{answer}");
}

//! Answers to unusual requests: always a JSON error, about exactly what is wrong.

use std::time::Duration;

use clap::Parser;
use millrace_common::log::{Log, LogMeta, registry};
use millrace_common::names::Names;
use millrace_core::codec::ENGINE;
use millrace_core::definitions::DefinitionsSource;
use millrace_ingest::{Config, run};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::METRICS;

const YAML: &str = "entities: { user: { key: user_id, type: int64 } }
events: { click: { partition_by: user } }
views: [{ name: v, entity: user, from: [click], features: [{ name: x, agg: last, value: properties.x, type: string }] }]";

struct Ingest {
    url: String,
    client: Client,
    _running: DropGuard,
    _stack: millrace_devstack::Stack,
}

impl Ingest {
    /// Starts ingest with a log of its own and waits until it is ready.
    async fn start(name: &str) -> Self {
        let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
        let redis = std::env::var("REDIS_URL").unwrap_or_else(|_| stack.redis_url().to_owned());
        let namespace = format!("test_{name}_{}", millrace_common::clock::now_ms());
        let log = Log::create(&redis, Names::new(&namespace), LogMeta::new(2, 300_000)).await.unwrap();
        let source = DefinitionsSource { yaml: YAML.to_owned(), schemas: Default::default() };
        registry::apply(&log, &source, ENGINE).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = Config::parse_from(["ingest", "--redis-url", &redis, "--namespace", &namespace]);
        let shutdown = CancellationToken::new();
        tokio::spawn(run(config, listener, METRICS.clone(), shutdown.clone()));
        let ingest = Self { url, client: Client::new(), _running: shutdown.drop_guard(), _stack: stack };
        let deadline = Instant::now() + Duration::from_secs(20);
        while ingest.client.get(format!("{}/readyz", ingest.url)).send().await.unwrap().status() != 200 {
            assert!(Instant::now() < deadline, "not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ingest
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/v1/events").body(body)
    }
}

/// Status and body of the answer. Every body is JSON.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status}, {error}: {text:?}")))
}

#[tokio::test]
async fn requests_that_match_no_route_get_a_json_error() {
    let ingest = Ingest::start("routes").await;
    let unknown = answer(ingest.request(Method::POST, "/v1/event")).await;
    assert_eq!(
        unknown,
        (404, json!({ "error": "this route does not exist; send events to POST /v1/events or /event" }))
    );
    for (method, path) in [(Method::GET, "/v1/events"), (Method::PUT, "/event"), (Method::POST, "/metrics")] {
        let wrong = answer(ingest.request(method, path)).await;
        assert_eq!(wrong, (405, json!({ "error": "this route does not take this method" })), "{path}");
    }
}

#[tokio::test]
async fn an_encoded_body_is_refused_by_its_header() {
    let ingest = Ingest::start("encoded").await;
    let good = json!({ "type": "click", "user_id": 1 }).to_string();
    let (status, body) = answer(ingest.post(&b"\x1f\x8b\x08"[..]).header("content-encoding", "gzip")).await;
    let said = "`Content-Encoding: gzip` is not supported; send the body unencoded";
    assert_eq!((status, body), (415, json!({ "error": said })));
    assert_eq!(answer(ingest.post(good.clone()).header("content-encoding", "identity")).await.0, 202);
    assert_eq!(answer(ingest.post(good)).await.0, 202);
}

#[tokio::test]
async fn an_empty_batch_accepts_nothing() {
    let ingest = Ingest::start("nothing").await;
    let (status, body) = answer(ingest.post("[]")).await;
    let said = json!({ "accepted": 0, "rejected": [], "error": "the request has no event" });
    assert_eq!((status, body), (422, said));
}

#[tokio::test]
async fn a_line_that_is_not_text_is_rejected_alone() {
    let ingest = Ingest::start("lines").await;
    let mut body = Vec::new();
    for line in [
        &br#"{"type":"click","user_id":1}"#[..],
        b"{\"type\":\"cl\xffick\"}",
        b"",
        b"{\"type\":\"click\",\"user_id\":2}",
    ] {
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    let (status, said) = answer(ingest.post(body.clone()).header("content-type", "application/x-ndjson")).await;
    let rejected = json!([{ "index": 1, "field": "", "error": "the line is not UTF-8" }]);
    assert_eq!((status, said), (202, json!({ "accepted": 2, "rejected": rejected })));
    // A body that is not lines is refused whole.
    assert_eq!(answer(ingest.post(body)).await.0, 400);
}

#[tokio::test]
async fn an_error_about_the_event_as_a_whole_names_no_field() {
    let ingest = Ingest::start("whole").await;
    for (content_type, body) in [("application/json", "1"), ("application/cloudevents+json", "[]")] {
        let (status, body) = answer(ingest.post(body).header("content-type", content_type)).await;
        assert_eq!((status, body.get("field")), (422, None), "{body}");
        assert!(body["error"].as_str().unwrap().contains("JSON object"), "{body}");
    }
    let large = json!({ "type": "click", "user_id": 1, "properties": { "x": "x".repeat(1 << 20) } });
    let (status, body) = answer(ingest.post(large.to_string())).await;
    assert_eq!((status, body), (413, json!({ "error": "an event must not be larger than 1048576 bytes" })));
}

#[tokio::test]
async fn a_text_that_is_too_long_for_a_view_is_refused_by_its_property() {
    let ingest = Ingest::start("long").await;
    let event = |bytes: usize| json!({ "type": "click", "user_id": 1, "properties": { "x": "x".repeat(bytes) } });
    assert_eq!(answer(ingest.post(event(16 * 1024).to_string())).await.0, 202);
    let (status, body) = answer(ingest.post(event(16 * 1024 + 1).to_string())).await;
    assert_eq!((status, &body["field"]), (422, &json!("properties.x")));
    assert_eq!(body["error"], "16385 bytes; a view reads a string of at most 16384");
}

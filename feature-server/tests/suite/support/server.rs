//! A feature server in this process, and its clients.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::Parser;
use metrics_exporter_prometheus::PrometheusHandle;
use millrace_common::stores::clickhouse::migrate;
use millrace_common::telemetry;
use millrace_feature_server::proto::feature_store_v1::feature_store_service_client::FeatureStoreServiceClient;
use millrace_feature_server::proto::millrace_v1::feature_service_client::FeatureServiceClient;
use millrace_feature_server::{Config, Listeners, run};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{Urls, World};

/// A running server.
pub struct Server {
    pub base: String,
    pub http: reqwest::Client,
    pub channel: Channel,
    stop: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

impl World {
    /// Starts a server over these stores, with additional arguments. It is not ready yet.
    pub async fn serve(&self, more: &[&str]) -> Server {
        let Urls { redis, mongodb, clickhouse } = &self.urls;
        let arguments = [
            "feature-server",
            "--redis-url",
            redis,
            "--mongodb-url",
            mongodb,
            "--clickhouse-url",
            clickhouse,
            "--namespace",
            &self.namespace,
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
        ];
        // The default budgets are too short for a machine that compiles and tests at the same time.
        let slow = ["--redis-budget", "5s", "--mongodb-budget", "5s", "--clickhouse-budget", "5s", "--deadline", "5s"];
        let slow = slow.iter().filter(|_| !more.contains(&"--deadline"));
        let config = Config::parse_from(arguments.iter().chain(slow).chain(more));
        let listeners = Listeners::bind(&config).await.unwrap();
        let base = format!("http://{}", listeners.http.local_addr().unwrap());
        let grpc = format!("http://{}", listeners.grpc.local_addr().unwrap());
        let channel = Endpoint::from_shared(grpc).unwrap().connect_lazy();
        let stop = CancellationToken::new();
        let running = Some(tokio::spawn(run(config, listeners, metrics(), stop.clone())));
        Server { base, http: reqwest::Client::new(), channel, stop, running }
    }

    /// Starts a server and waits until it is ready.
    pub async fn ready_server(&self) -> Server {
        migrate(&self.urls.clickhouse, &self.namespace).await.unwrap();
        let server = self.serve(&[]).await;
        server.until_ready().await;
        server
    }
}

impl Server {
    pub async fn get(&self, path: &str) -> (u16, Json) {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub async fn post(&self, path: &str, body: &Json) -> (u16, Json) {
        let response = self.http.post(format!("{}{path}", self.base)).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Sends a GraphQL query. The status of the answer must be 200.
    pub async fn query(&self, query: &str, variables: Json) -> Json {
        let (status, body) = self.post("/graphql", &json!({ "query": query, "variables": variables })).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub async fn text(&self, path: &str) -> (u16, String) {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A client of `feature_store.v1`.
    pub fn store(&self) -> FeatureStoreServiceClient<Channel> {
        FeatureStoreServiceClient::new(self.channel.clone())
    }

    /// A client of `millrace.v1`.
    pub fn features(&self) -> FeatureServiceClient<Channel> {
        FeatureServiceClient::new(self.channel.clone())
    }

    /// Stops the server as a signal does.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the server has ended.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        self.running.take().expect("asked once").await.unwrap()
    }

    pub async fn until_ready(&self) {
        self.until("/readyz", |status, _| status == 200).await;
    }

    /// Repeats a request until the answer is as wanted. Panics after 30 seconds.
    pub async fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (status, text) = self.text(path).await;
            if wanted(status, &text) {
                return;
            }
            assert!(Instant::now() < deadline, "{path} still answers {status}: {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| telemetry::metrics().unwrap()).clone()
}

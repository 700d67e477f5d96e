//! One installation: stores (shared by tests, apart by namespace; or the test's own), definitions, services.

use std::path::PathBuf;
use std::time::Duration;

use millrace_devstack::services::{Service, ServiceKind, ServiceOptions};
use millrace_devstack::{Stack, StackOptions, shared_for_tests, test_dir};
use serde_json::Value;
use tempfile::TempDir;

use crate::eventually;

/// Definitions that most tests use: one streamed view per kind of store and window.
pub const DEFINITIONS: &str = include_str!("definitions.yaml");

/// One installation.
pub struct World {
    /// Its stores.
    pub stack: Stack,
    /// What all names begin with.
    pub namespace: String,
    /// How its services are started.
    pub options: ServiceOptions,
    dir: TempDir,
}

impl World {
    /// A world of its own on the shared stores, with [`DEFINITIONS`] in force.
    pub async fn shared() -> Self {
        Self::on(shared_for_tests(test_dir()).await.expect("the shared stores start")).await
    }

    /// A world with stores of its own, which the test may stop.
    pub async fn own() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut options = StackOptions::new(dir.keep());
        options.redis_fsync_always = true;
        Self::on(Stack::up(options).await.expect("the stores start")).await
    }

    async fn on(stack: Stack) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let namespace = format!("e2e_{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
        let mut env = stack.env();
        env.push(("MILLRACE_NAMESPACE".to_owned(), namespace.clone()));
        let options = ServiceOptions::beside_this_program(env, dir.path().join("logs")).expect("binaries");
        let world = Self { stack, namespace, options, dir };
        world.millrace(&["migrate"]).await;
        world.apply(DEFINITIONS).await;
        world
    }

    /// A file of this world.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts definitions in force.
    pub async fn apply(&self, yaml: &str) {
        let file = self.file("definitions.yaml");
        std::fs::write(&file, yaml).expect("the file is written");
        self.millrace(&["apply", &file.to_string_lossy()]).await;
    }

    /// Runs the `millrace` command to its end; anything but success fails the test. Answers what it prints.
    pub async fn millrace(&self, arguments: &[&str]) -> String {
        let ended = self.try_millrace(arguments).await;
        ended.unwrap_or_else(|said| panic!("millrace {arguments:?} failed: {said}"))
    }

    /// Runs the `millrace` command to its end. Answers what it prints, or what it says of its failure.
    pub async fn try_millrace(&self, arguments: &[&str]) -> Result<String, String> {
        let output = tokio::process::Command::new(self.options.bin.join("millrace"))
            .args(arguments)
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .output()
            .await
            .expect("millrace runs; build all binaries first");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Starts a service and waits until it is ready.
    pub async fn start(&self, kind: ServiceKind, label: &str) -> Service {
        let mut service = Service::start(kind, label, &self.options).expect("the service starts");
        service.wait_ready().expect("the service is ready");
        service
    }

    /// Starts all four, in the order of [`ServiceKind::ALL`].
    pub async fn start_all(&self) -> Vec<Service> {
        let mut services = Vec::new();
        for kind in ServiceKind::ALL {
            services.push(self.start(kind, kind.name()).await);
        }
        services
    }

    /// `millrace status --json`.
    pub async fn status(&self) -> Value {
        serde_json::from_str(&self.millrace(&["status", "--json"]).await).expect("status is JSON")
    }

    /// Waits until every sink has done everything that the log holds.
    pub async fn drained(&self, limit: Duration) {
        eventually("the log is drained", limit, || async {
            self.status().await["drained"].as_bool().filter(|drained| *drained)
        })
        .await;
    }

    /// One number out of ClickHouse, from this world's database.
    pub async fn clickhouse(&self, query: &str) -> i64 {
        let url = format!("{}/?database={}", self.stack.clickhouse_url(), self.namespace);
        let answer = reqwest::Client::new().post(url).body(query.to_owned()).send().await.expect("clickhouse answers");
        let text = answer.text().await.expect("clickhouse answers text");
        text.trim().parse().unwrap_or_else(|_| panic!("`{query}` is no number: {text}"))
    }

    /// A connection to the log's Redis, to look from outside.
    pub async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.stack.redis_url()).expect("a url");
        client.get_multiplexed_async_connection().await.expect("redis answers")
    }
}

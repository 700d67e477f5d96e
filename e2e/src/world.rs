//! One installation: its stores, a namespace, definitions in force, and the services that the test starts.
//!
//! All tests share one set of stores, apart by namespace. A test that stops a store has that store alone to itself.

use std::path::PathBuf;
use std::time::Duration;

use millrace_devstack::services::{Service, ServiceKind, ServiceOptions};
use millrace_devstack::{Stack, StackOptions, StoreKind, shared_for_tests, test_dir};
use serde_json::Value;
use tempfile::TempDir;

use crate::eventually_every;

/// The definitions that most tests use: one streamed view per kind of store and window.
pub const DEFINITIONS: &str = include_str!("definitions.yaml");
/// A look at the log's progress is a process of its own, which would otherwise take the time of those it waits for.
const STATUS_PACE: Duration = Duration::from_millis(200);

/// One installation.
pub struct World {
    /// Its stores.
    pub stack: Stack,
    /// The prefix of all its names.
    pub namespace: String,
    /// How its services are started.
    pub options: ServiceOptions,
    dir: TempDir,
}

impl World {
    /// A namespace on the shared stores, with [`DEFINITIONS`] in force.
    pub async fn shared() -> Self {
        Self::on(shared_stores().await).await
    }

    /// As [`World::shared`], but the stores of these kinds belong to the test, which may stop them.
    pub async fn with_own(kinds: &[StoreKind]) -> Self {
        Self::on(own_stores(kinds).await).await
    }

    /// Lets feature servers wait longer for the stores. Budgets of production are for machines that do not compile beside
    /// their tests.
    pub fn patient(mut self) -> Self {
        let settings = ["REDIS_BUDGET", "MONGODB_BUDGET", "CLICKHOUSE_BUDGET", "DEADLINE"];
        self.options.env.extend(settings.map(|name| (format!("MILLRACE_SERVE_{name}"), "20s".to_owned())));
        self
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

    /// The path of a file in this world's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts definitions in force.
    pub async fn apply(&self, yaml: &str) {
        let file = self.file("definitions.yaml");
        std::fs::write(&file, yaml).expect("the file is written");
        self.millrace(&["apply", &file.to_string_lossy()]).await;
    }

    /// Runs the `millrace` command to its end and returns its output. A failure fails the test.
    pub async fn millrace(&self, arguments: &[&str]) -> String {
        let ended = self.try_millrace(arguments).await;
        ended.unwrap_or_else(|said| panic!("millrace {arguments:?} failed: {said}"))
    }

    /// Runs the `millrace` command to its end. Returns its output, or after a failure its error output.
    pub async fn try_millrace(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command("millrace").args(arguments).output().await;
        let output = output.expect("millrace runs; build all binaries first");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// One of the binaries, in this world's environment.
    pub fn command(&self, binary: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.options.bin.join(binary));
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a service and waits until it is ready.
    pub async fn start(&self, kind: ServiceKind, label: &str) -> Service {
        let mut service = Service::start(kind, label, &self.options).expect("the service starts");
        service.wait_ready().expect("the service is ready");
        service
    }

    /// Starts all four side by side, and waits until they are ready. Their order is that of [`ServiceKind::ALL`].
    pub async fn start_all(&self) -> Vec<Service> {
        let start = |kind: ServiceKind| Service::start(kind, kind.name(), &self.options).expect("the service starts");
        let mut services: Vec<Service> = ServiceKind::ALL.into_iter().map(start).collect();
        for service in &mut services {
            service.wait_ready().expect("the service is ready");
        }
        services
    }

    /// The output of `millrace status --json`.
    pub async fn status(&self) -> Value {
        serde_json::from_str(&self.millrace(&["status", "--json"]).await).expect("status is JSON")
    }

    /// Waits until every sink has done everything that the log holds.
    pub async fn drained(&self, limit: Duration) {
        eventually_every(STATUS_PACE, "the log is drained", limit, || async {
            self.status().await["drained"].as_bool().filter(|drained| *drained)
        })
        .await;
    }

    /// Asks ClickHouse for one number, in this world's database.
    pub async fn clickhouse(&self, query: &str) -> i64 {
        let url = format!("{}/?database={}", self.stack.clickhouse_url(), self.namespace);
        let answer = reqwest::Client::new().post(url).body(query.to_owned()).send().await.expect("clickhouse answers");
        let text = answer.text().await.expect("clickhouse answers text");
        text.trim().parse().unwrap_or_else(|_| panic!("`{query}` returned something that is not a number: {text}"))
    }

    /// A connection to the log's Redis, which shows what the log really holds.
    pub async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.stack.redis_url()).expect("a url");
        client.get_multiplexed_async_connection().await.expect("redis answers")
    }
}

/// The shared stores, but new ones of these kinds, which die with this process. Their Redis writes to disk before it
/// answers, so that it loses nothing when it is killed.
pub async fn own_stores(kinds: &[StoreKind]) -> Stack {
    let shared = shared_stores().await;
    let given = |kind| (!kinds.contains(&kind)).then(|| shared.store(kind).url().to_owned());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = StackOptions {
        redis_url: given(StoreKind::Redis),
        mongodb_url: given(StoreKind::MongoDb),
        clickhouse_url: given(StoreKind::ClickHouse),
        redis_fsync_always: true,
        ..StackOptions::new(dir.keep())
    };
    Stack::up(options).await.expect("the stores start")
}

async fn shared_stores() -> Stack {
    shared_for_tests(test_dir()).await.expect("the shared stores start")
}

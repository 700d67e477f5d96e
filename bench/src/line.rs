//! The stores and services that are measured: a stack of our own in a temporary folder, and installations on it, each
//! with a namespace of its own so that no round finds what another left.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use millrace_common::clock::now_ms;
use millrace_common::log::status::{PartitionStatus, status};
use millrace_common::log::{Group, Log};
use millrace_common::names::Names;
use millrace_core::event::Event;
use millrace_devstack::services::{Service, ServiceKind, ServiceOptions};
use millrace_devstack::{Stack, StackOptions};
use redis::Pipeline;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::cpu::Processes;
use crate::journey::{Purchases, profiles};

/// What is in force in every installation.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/journey/millrace.yaml");
/// How long a full log may take to be worked off, and a rewrite of Redis's file.
const LONG: Duration = Duration::from_secs(600);
/// How often is looked whether something is done.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Entries that are appended in one pipeline.
const APPENDED_AT_ONCE: usize = 2_000;

/// The stores.
pub struct Line {
    /// They die with this.
    pub stack: Stack,
    dir: TempDir,
}

/// One namespace: a log, its definitions, its state.
pub struct Installation<'l> {
    /// On these stores.
    pub line: &'l Line,
    /// The log, from outside.
    pub log: Log,
    namespace: String,
    options: ServiceOptions,
}

impl Line {
    /// Starts the stores. Whatever the environment says, they are ours: what is measured must not share them.
    pub async fn up() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("millrace-bench-").tempdir()?;
        let stack = Stack::up(StackOptions::new(dir.path().join("stores"))).await?;
        let line = Self { stack, dir };
        // A rewrite forks, and would fall into the one round or the other: it is done between them, in `settle`.
        let set: redis::RedisResult<()> = redis::cmd("CONFIG")
            .arg(&["SET", "auto-aof-rewrite-percentage", "0"])
            .query_async(&mut line.redis().await?)
            .await;
        set?;
        Ok(line)
    }

    /// Stops them in good order.
    pub async fn down(self) -> anyhow::Result<()> {
        Ok(self.stack.down().await?)
    }

    /// A connection to Redis, to look from outside.
    pub async fn redis(&self) -> anyhow::Result<MultiplexedConnection> {
        let client = redis::Client::open(self.stack.redis_url())?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(LONG));
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }

    /// Where Redis listens.
    pub fn redis_address(&self) -> anyhow::Result<SocketAddr> {
        address(self.stack.redis_url())
    }

    /// This process, a service and the stores, for their CPU time.
    pub fn processes(&self, service: Option<u32>) -> Processes {
        let stack = &self.stack;
        let processes = Processes::with_load().and("service", service).and("redis", stack.redis().pid().ok());
        processes.and("mongodb", stack.mongodb().pid().ok()).and("clickhouse", stack.clickhouse().pid().ok())
    }

    /// A new namespace with the journey's definitions in force.
    pub async fn install(&self, name: &str) -> anyhow::Result<Installation<'_>> {
        let namespace = format!("bench_{name}_{}", now_ms());
        let mut env = self.stack.env();
        env.push(("MILLRACE_NAMESPACE".to_owned(), namespace.clone()));
        let options = ServiceOptions::beside_this_program(env, self.dir.path().join("logs"))?;
        millrace(&options, &["migrate"])?;
        millrace(&options, &["apply", DEFINITIONS])?;
        let log = Log::open(self.stack.redis_url(), Names::new(&namespace)).await?;
        Ok(Installation { line: self, log, namespace, options })
    }

    /// Waits until Redis has rewritten its file and has nothing left to do.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let mut redis = self.redis().await?;
        let _: redis::Value = redis::cmd("BGREWRITEAOF").query_async(&mut redis).await?;
        until("Redis has rewritten its file", async || {
            let info: String = redis::cmd("INFO").arg("persistence").query_async(&mut redis.clone()).await?;
            Ok(!info.contains("aof_rewrite_in_progress:1") && !info.contains("aof_rewrite_scheduled:1"))
        })
        .await
    }

    /// Deletes every key that begins so.
    pub async fn delete(&self, prefix: &str) -> anyhow::Result<()> {
        let mut redis = self.redis().await?;
        for key in self.keys(prefix).await?.chunks(1_000) {
            redis::cmd("DEL").arg(key).exec_async(&mut redis).await?;
        }
        Ok(())
    }

    /// Every key that begins so.
    pub async fn keys(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        let mut redis = self.redis().await?;
        let (mut keys, mut cursor) = (Vec::new(), 0u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(1_000);
            let (next, found): (u64, Vec<String>) = scan.query_async(&mut redis).await?;
            keys.extend(found);
            cursor = next;
            if cursor == 0 {
                return Ok(keys);
            }
        }
    }

    /// Bytes that Redis uses.
    pub async fn used_memory(&self) -> anyhow::Result<u64> {
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.redis().await?).await?;
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        line.and_then(|bytes| bytes.trim().parse().ok()).context("INFO has no used_memory")
    }

    /// What ClickHouse answers, as text.
    pub async fn clickhouse(&self, query: String) -> anyhow::Result<String> {
        let answer = reqwest::Client::new().post(self.stack.clickhouse_url()).body(query).send().await?;
        let ok = answer.status().is_success();
        let text = answer.text().await?;
        if ok { Ok(text) } else { bail!("clickhouse: {text}") }
    }
}

impl Installation<'_> {
    /// What all its names begin with.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// How many partitions its log has.
    pub fn partitions(&self) -> u16 {
        self.log.meta().partitions
    }

    /// Puts other definitions in force.
    pub fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        let file = self.line.dir.path().join(format!("{}.yaml", self.namespace));
        std::fs::write(&file, yaml)?;
        millrace(&self.options, &["apply", &file.to_string_lossy()])
    }

    /// The `millrace` command on this installation.
    pub fn command(&self, arguments: &[&str]) -> Command {
        millrace_command(&self.options, arguments)
    }

    /// Starts a service; it may not be ready yet.
    pub fn start(&self, kind: ServiceKind) -> anyhow::Result<Service> {
        Ok(Service::start(kind, &format!("{}-{}", self.namespace, kind.name()), &self.options)?)
    }

    /// Starts a service and waits until it is ready.
    pub fn start_ready(&self, kind: ServiceKind) -> anyhow::Result<Service> {
        let mut service = self.start(kind)?;
        service.wait_ready()?;
        Ok(service)
    }

    /// Writes purchases straight into the log, as ingest would; the last of them is now.
    pub async fn append(&self, count: usize) -> anyhow::Result<()> {
        self.append_all(Purchases::new(count, 0, now_ms()).map(|purchase| purchase.event())).await
    }

    /// The same of a profile for each household.
    pub async fn append_profiles(&self) -> anyhow::Result<()> {
        self.append_all(profiles(now_ms())).await
    }

    async fn append_all(&self, events: impl Iterator<Item = Event>) -> anyhow::Result<()> {
        let mut redis = self.line.redis().await?;
        let streams: Vec<String> = self.log.partitions().map(|partition| self.log.names().events(partition)).collect();
        let mut events = events.peekable();
        while events.peek().is_some() {
            let mut pipeline = Pipeline::with_capacity(APPENDED_AT_ONCE);
            for event in events.by_ref().take(APPENDED_AT_ONCE) {
                let stream = &streams[usize::from(event.partition(self.partitions()).0)];
                let command = pipeline.cmd("XADD").arg(stream).arg("*");
                for (name, value) in &event.fields() {
                    command.arg(name.as_ref()).arg(value.as_ref());
                }
                command.ignore();
            }
            pipeline.exec_async(&mut redis).await?;
        }
        Ok(())
    }

    /// Waits until every sink of a group stands at the end of the log; what each has done since `begun`.
    pub async fn drained(&self, group: Group, begun: Instant) -> anyhow::Result<Vec<SinkProgress>> {
        let mut sinks: Vec<SinkProgress> = group.event_sinks().map(SinkProgress::new).collect();
        while sinks.iter().any(|sink| !sink.done) {
            let partitions = status(&self.log).await?;
            let seconds = begun.elapsed().as_secs_f64();
            sinks.iter_mut().filter(|sink| !sink.done).for_each(|sink| sink.look(group, &partitions, seconds));
            if begun.elapsed() > LONG {
                bail!("{group} has not drained the log within {LONG:?}: {sinks:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(sinks)
    }

    /// Empties the log; its groups and what was read of it stay.
    pub async fn empty_log(&self) -> anyhow::Result<()> {
        let mut redis = self.line.redis().await?;
        for partition in self.log.partitions() {
            let stream = self.log.names().events(partition);
            redis::cmd("XTRIM").arg(stream).arg(&["MAXLEN", "0"]).exec_async(&mut redis).await?;
        }
        Ok(())
    }

    /// Deletes all that it has in Redis and ClickHouse.
    pub async fn remove(self) -> anyhow::Result<()> {
        self.line.delete(&self.namespace).await?;
        self.line.clickhouse(format!("DROP DATABASE IF EXISTS `{}`", self.namespace)).await.map(drop)
    }
}

/// How far a sink was when.
#[derive(Clone, Debug)]
pub struct SinkProgress {
    /// Its name.
    pub sink: &'static str,
    done: bool,
    /// Seconds, and entries done by then.
    seen: Vec<(f64, f64)>,
}

impl SinkProgress {
    fn new(sink: &'static str) -> Self {
        Self { sink, done: false, seen: Vec::new() }
    }

    #[expect(clippy::cast_precision_loss, reason = "entries of a run")]
    fn look(&mut self, group: Group, partitions: &[PartitionStatus], seconds: f64) {
        let cursor = |partition: &PartitionStatus| {
            let of_group = partition.groups.iter().find(|status| status.group == group);
            of_group.and_then(|status| status.sinks.get(self.sink).cloned()).unwrap_or_default()
        };
        let entries: u64 = partitions.iter().map(|partition| cursor(partition).entries_read).sum();
        self.done = partitions.iter().all(|partition| cursor(partition).position >= partition.last);
        self.seen.push((seconds, entries as f64));
    }

    /// Seconds until it stood at the end.
    pub fn seconds(&self) -> f64 {
        self.seen.last().map_or(f64::NAN, |(seconds, _)| *seconds)
    }

    /// Entries per second between a tenth and four fifths of the log: without the start of the process, and without
    /// the last batches, which a sink may hold back until they are old. None where it took a single step.
    pub fn steady(&self) -> Option<f64> {
        let all = self.seen.last()?.1;
        let past = |part: f64| self.seen.iter().find(|(_, entries)| *entries >= all * part);
        let ((from, first), (to, last)) = (past(0.1)?, past(0.8)?);
        (to > from).then(|| (last - first) / (to - from))
    }
}

/// The host and port of a URL.
pub fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/').parse().with_context(|| format!("`{url}` has no address"))
}

fn millrace(options: &ServiceOptions, arguments: &[&str]) -> anyhow::Result<()> {
    let output = millrace_command(options, arguments).output().context("failed to run millrace")?;
    if !output.status.success() {
        bail!("millrace {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn millrace_command(options: &ServiceOptions, arguments: &[&str]) -> Command {
    let mut command = Command::new(options.bin.join("millrace"));
    command.args(arguments).envs(options.env.iter().map(|(name, value)| (name, value)));
    command
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !done().await? {
        if begun.elapsed() > LONG {
            bail!("not within {LONG:?}: {what}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

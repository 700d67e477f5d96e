//! Installations on the stores that are measured. Each has a namespace of its own, so that no round finds the data of another.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use millrace_common::clock::now_ms;
use millrace_common::log::status::status;
use millrace_common::log::{Group, Log};
use millrace_common::names::Names;
use millrace_core::event::Event;
use millrace_devstack::services::{Service, ServiceKind, ServiceOptions};
use redis::Pipeline;

use crate::journey::{Purchases, profiles};
use crate::sink_progress::SinkProgress;
use crate::stores::BenchStores;

/// The definitions of every installation.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/journey/millrace.yaml");
/// How long draining a full log may take.
const LONG: Duration = Duration::from_secs(600);
/// The pause between two looks at the cursors.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Entries that are appended in one pipeline.
const APPENDED_AT_ONCE: usize = 2_000;

/// One namespace: a log, its definitions, its state.
pub struct Installation<'s> {
    /// The stores that it is on.
    pub stores: &'s BenchStores,
    /// The log, to look at it from outside.
    pub log: Log,
    namespace: String,
    options: ServiceOptions,
}

impl<'s> Installation<'s> {
    /// A new namespace with the journey's definitions in force.
    pub async fn create(stores: &'s BenchStores, name: &str) -> anyhow::Result<Self> {
        let namespace = format!("bench_{name}_{}", now_ms());
        let mut env = stores.stack.env();
        env.push(("MILLRACE_NAMESPACE".to_owned(), namespace.clone()));
        let options = ServiceOptions::beside_this_program(env, stores.dir().join("logs"))?;
        millrace(&options, &["migrate"])?;
        millrace(&options, &["apply", DEFINITIONS])?;
        let log = Log::open(stores.stack.redis_url(), Names::new(&namespace)).await?;
        Ok(Self { stores, log, namespace, options })
    }

    /// The prefix of all its names.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// How many partitions its log has.
    pub fn partitions(&self) -> u16 {
        self.log.meta().partitions
    }

    /// Puts other definitions in force.
    pub fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        let file = self.stores.dir().join(format!("{}.yaml", self.namespace));
        std::fs::write(&file, yaml)?;
        millrace(&self.options, &["apply", &file.to_string_lossy()])
    }

    /// The `millrace` command on this installation.
    pub fn command(&self, arguments: &[&str]) -> Command {
        millrace_command(&self.options, arguments)
    }

    /// Starts a service, which may not be ready yet.
    pub fn start(&self, kind: ServiceKind) -> anyhow::Result<Service> {
        Ok(Service::start(kind, &format!("{}-{}", self.namespace, kind.name()), &self.options)?)
    }

    /// Starts a service and waits until it is ready.
    pub fn start_ready(&self, kind: ServiceKind) -> anyhow::Result<Service> {
        let mut service = self.start(kind)?;
        service.wait_ready()?;
        Ok(service)
    }

    /// Writes purchases directly into the log, as ingest would. The last of them happens now.
    pub async fn append(&self, count: usize) -> anyhow::Result<()> {
        self.append_all(Purchases::new(count, 0, now_ms()).map(|purchase| purchase.event())).await
    }

    /// Writes a profile for each household into the log.
    pub async fn append_profiles(&self) -> anyhow::Result<()> {
        self.append_all(profiles(now_ms())).await
    }

    async fn append_all(&self, events: impl Iterator<Item = Event>) -> anyhow::Result<()> {
        let mut redis = self.stores.redis().await?;
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

    /// Waits until every sink of a group has reached the end of the log. Returns the progress of each since `begun`.
    pub async fn drained(&self, group: Group, begun: Instant) -> anyhow::Result<Vec<SinkProgress>> {
        let mut sinks: Vec<SinkProgress> = group.event_sinks().map(SinkProgress::new).collect();
        while sinks.iter().any(|sink| !sink.is_done()) {
            let partitions = status(&self.log).await?;
            let seconds = begun.elapsed().as_secs_f64();
            sinks.iter_mut().filter(|sink| !sink.is_done()).for_each(|sink| sink.look(group, &partitions, seconds));
            if begun.elapsed() > LONG {
                bail!("{group} has not drained the log within {LONG:?}: {sinks:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(sinks)
    }

    /// Empties the log. Its consumer groups and their positions stay.
    pub async fn empty_log(&self) -> anyhow::Result<()> {
        let mut redis = self.stores.redis().await?;
        for partition in self.log.partitions() {
            let stream = self.log.names().events(partition);
            redis::cmd("XTRIM").arg(stream).arg(&["MAXLEN", "0"]).exec_async(&mut redis).await?;
        }
        Ok(())
    }

    /// Deletes its data in Redis and ClickHouse.
    pub async fn remove(self) -> anyhow::Result<()> {
        self.stores.delete(&self.namespace).await?;
        self.stores.clickhouse(format!("DROP DATABASE IF EXISTS `{}`", self.namespace)).await.map(drop)
    }
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

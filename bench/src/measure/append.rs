//! Appending to the log: the hand-written connection that ingest uses (`log/append` in `common`), beside pipelines of the
//! Redis driver for the same entries. Both run in this process, so "load" is the CPU time that they cost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use millrace_common::clock::now_ms;
use millrace_common::log::Appender;
use millrace_core::event::Event;
use millrace_core::partition::Partition;
use redis::Pipeline;
use redis::aio::MultiplexedConnection;

use crate::config::Scale;
use crate::installation::Installation;
use crate::journey::Purchases;
use crate::latencies::{Latencies, micros};
use crate::report::{Report, Round, Row};
use crate::stores::BenchStores;

/// As many connections as ingest has.
const CONNECTIONS: usize = 4;

/// The calls of one measurement.
#[derive(Clone, Copy)]
struct Calls {
    /// Callers at once.
    callers: usize,
    /// Events of each call.
    batch: usize,
}

/// One event per call, then batches of 500.
pub async fn run(stores: &BenchStores, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let installation = Installation::create(stores, "append").await?;
    let partitions = installation.partitions();
    let entries = Purchases::new(scale.bodies, 0, now_ms()).map(|purchase| purchase.event());
    let entries: Arc<Vec<_>> = Arc::new(entries.map(|event| (event.partition(partitions), event)).collect());
    let fast = Arc::new(Appender::open(&installation.log, CONNECTIONS).await?);
    let driver = Arc::new(DriverAppender::open(&installation).await?);
    for (what, calls) in [
        ("append, one event per call", Calls { callers: 64, batch: 1 }),
        ("append, batches of 500", Calls { callers: 8, batch: 500 }),
    ] {
        let mut row = Row::new(what, "events/s", "pipelines of the Redis driver", None);
        for _ in 0..scale.rounds {
            row.ours.push(round(&installation, scale, &fast, &entries, calls).await?);
            row.bare.push(round(&installation, scale, &driver, &entries, calls).await?);
            row.progress();
        }
        report.add(row);
    }
    installation.remove().await
}

/// Appends entries, in order.
trait Append: Send + Sync + 'static {
    fn append(&self, entries: &[(Partition, Event)]) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl Append for Appender {
    async fn append(&self, entries: &[(Partition, Event)]) -> anyhow::Result<()> {
        let entries: Vec<_> = entries.iter().map(|(partition, event)| (*partition, event)).collect();
        self.append_batch(&entries).await.into_iter().try_for_each(|appended| Ok(appended.map(drop)?))
    }
}

/// The same through the driver: one pipeline per call, on connections that take turns.
struct DriverAppender {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    streams: Vec<String>,
}

impl DriverAppender {
    async fn open(installation: &Installation<'_>) -> anyhow::Result<Self> {
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            connections.push(installation.stores.redis().await?);
        }
        let log = &installation.log;
        let streams = log.partitions().map(|partition| log.names().events(partition)).collect();
        Ok(Self { connections, next: AtomicUsize::new(0), streams })
    }
}

impl Append for DriverAppender {
    async fn append(&self, entries: &[(Partition, Event)]) -> anyhow::Result<()> {
        let mut pipeline = Pipeline::with_capacity(entries.len());
        for (partition, event) in entries {
            let command = pipeline.cmd("XADD").arg(&self.streams[usize::from(partition.0)]).arg(&["NOMKSTREAM", "*"]);
            for (name, value) in &event.fields() {
                command.arg(name.as_ref()).arg(value.as_ref());
            }
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut connection = self.connections[turn % self.connections.len()].clone();
        let ids: Vec<String> = pipeline.query_async(&mut connection).await?;
        (ids.len() == entries.len()).then_some(()).context("an event has no id")
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
async fn round<A: Append>(
    installation: &Installation<'_>,
    scale: &Scale,
    appender: &Arc<A>,
    entries: &Arc<Vec<(Partition, Event)>>,
    calls: Calls,
) -> anyhow::Result<Round> {
    call_for(scale.warm, appender, entries, calls).await?;
    let processes = installation.stores.processes(None);
    let (before, begun) = (processes.read(), Instant::now());
    let took = call_for(scale.measured, appender, entries, calls).await?;
    let events = took.len() as f64 * calls.batch as f64;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), processes.per_million(&before, events));
    installation.empty_log().await?;
    installation.stores.settle().await?;
    Ok(Round::of(events / seconds, cpu).with(&took))
}

/// A closed loop: each caller appends its next events when the ones before are in the log.
async fn call_for<A: Append>(
    time: Duration,
    appender: &Arc<A>,
    entries: &Arc<Vec<(Partition, Event)>>,
    calls: Calls,
) -> anyhow::Result<Latencies> {
    let until = Instant::now() + time;
    let one = |first| {
        let (appender, entries) = (Arc::clone(appender), Arc::clone(entries));
        tokio::spawn(async move {
            let mut took = Vec::new();
            let mut batches = entries.chunks_exact(calls.batch).cycle().skip(first).step_by(calls.callers);
            while let (Some(batch), sent) = (batches.next(), Instant::now())
                && sent < until
            {
                appender.append(batch).await?;
                took.push(micros(sent.elapsed()));
            }
            anyhow::Ok(took)
        })
    };
    let mut took = Vec::new();
    for caller in (0..calls.callers).map(one).collect::<Vec<_>>() {
        took.extend(caller.await??);
    }
    Ok(Latencies::of(took))
}

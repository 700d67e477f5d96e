//! Two sinks that share the reading of a partition: each gets every one of its events once and in order, whichever of
//! the two stores is away, and neither waits for the other's.

use crate::support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_common::log::{Appender, DeadLetter, Group, SinkCursor, registry};
use millrace_common::process::Readiness;
use millrace_common::worker::{
    Batch, BatchLimits, DefinitionsCache, Fence, GroupConfig, Owned, Sink, SinkError, Sinks, run_group, run_pair,
};
use millrace_core::definitions::{DefinitionsSource, Store};
use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use parking_lot::Mutex;
use support::{Fixture, eventually};
use tokio_util::sync::CancellationToken;

const YAML: &str = "entities: { user: { key: user_id, type: int64 } }
events: { click: { partition_by: user }, move: { partition_by: user } }
views:
  - { name: clicks, entity: user, from: [click], features: [{ name: clicks, agg: count }] }
  - { name: moves, entity: user, from: [move], store: mongodb, features: [{ name: moves, agg: count }] }";

/// A store that remembers what it was given, and may be away.
#[derive(Clone)]
struct Recorder {
    name: &'static str,
    event_type: &'static str,
    away: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<Partition, Vec<Position>>>>,
    read: Arc<Mutex<u64>>,
}

impl Recorder {
    fn new(name: &'static str, event_type: &'static str) -> Self {
        Self { name, event_type, away: Arc::default(), seen: Arc::default(), read: Arc::default() }
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    async fn has(&self, wanted: &BTreeMap<Partition, Vec<Position>>) {
        eventually(self.name, async || *self.seen.lock() == *wanted).await;
    }
}

impl Sink for Recorder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits::new(50, Duration::ZERO)
    }

    async fn begin<F: Fence>(&mut self, _: &SinkCursor, _: &F) -> Result<(), SinkError> {
        Ok(())
    }

    async fn commit<F: Fence>(&mut self, batch: &Batch, _: &F) -> Result<Vec<DeadLetter>, SinkError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(SinkError::Transient { store: self.name, reason: "away".into() });
        }
        let own = batch.events.iter().filter(|(_, event)| event.event_type == self.event_type);
        self.seen.lock().entry(batch.partition).or_default().extend(own.map(|(position, _)| *position));
        *self.read.lock() += batch.read;
        Ok(Vec::new())
    }
}

#[derive(Clone)]
struct Pair {
    leader: Recorder,
    follower: Recorder,
}

impl Sinks for Pair {
    async fn run(&self, owned: Owned, cache: DefinitionsCache, stop: CancellationToken) {
        run_pair(self.leader.clone(), (self.follower.clone(), Store::MongoDb), owned, cache, stop).await;
    }
}

/// The events appended so far: their number, and their positions by event type and partition.
#[derive(Default)]
struct Appended {
    count: u64,
    by_type: BTreeMap<&'static str, BTreeMap<Partition, Vec<Position>>>,
}

impl Appended {
    async fn more(&mut self, appender: &Appender, events: u64) {
        for number in self.count..self.count + events {
            let event_type = if number.is_multiple_of(3) { "move" } else { "click" };
            let event = Event {
                event_type: event_type.into(),
                source: String::new(),
                id: EventId::Given(number.to_string()),
                time: None,
                keys: vec![("user".into(), KeyText::from_canonical(&(number % 17).to_string()))],
                properties: "{}".into(),
                traceparent: None,
            };
            let partition = event.partition(2);
            let position = appender.append_batch(&[(partition, &event)]).await.remove(0).unwrap();
            self.by_type.entry(event_type).or_default().entry(partition).or_default().push(position);
        }
        self.count += events;
    }
}

#[tokio::test]
async fn each_sink_gets_its_events_once_whichever_store_is_away() {
    let fixture = Fixture::new("pair").await;
    let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
    registry::apply(&fixture.log, &source, 1).await.unwrap();
    let pair = Pair { leader: Recorder::new("redis", "click"), follower: Recorder::new("mongodb", "move") };
    let shutdown = CancellationToken::new();
    let config = GroupConfig { group: Group::Online, worker: "w".into(), lease: Duration::from_secs(5) };
    let readiness = Readiness::waiting("the log");
    let working = tokio::spawn(run_group(fixture.log.clone(), config, pair.clone(), readiness, shutdown.clone()));

    let appender = Appender::open(&fixture.log, 1).await.unwrap();
    let mut appended = Appended::default();
    appended.more(&appender, 300).await;
    pair.leader.has(&appended.by_type["click"]).await;
    pair.follower.has(&appended.by_type["move"]).await;

    // The follower goes on without its leader,
    pair.leader.set_away(true);
    appended.more(&appender, 300).await;
    pair.follower.has(&appended.by_type["move"]).await;
    // the leader comes back, and goes on without its follower,
    pair.leader.set_away(false);
    pair.follower.set_away(true);
    appended.more(&appender, 300).await;
    pair.leader.has(&appended.by_type["click"]).await;
    // and they meet again.
    pair.follower.set_away(false);
    appended.more(&appender, 300).await;
    pair.leader.has(&appended.by_type["click"]).await;
    pair.follower.has(&appended.by_type["move"]).await;

    shutdown.cancel();
    working.await.unwrap().unwrap();
    // Every event, and one control entry in each of the two partitions.
    let read = [*pair.leader.read.lock(), *pair.follower.read.lock()];
    assert_eq!(read, [appended.count + 2; 2], "a cursor counts each entry once");
}

/// Nothing else tells of a store that takes no writes: nothing commits.
#[tokio::test]
async fn lag_is_told_while_nothing_commits() {
    let metrics = millrace_common::telemetry::metrics().unwrap();
    let fixture = Fixture::new("lag").await;
    let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
    registry::apply(&fixture.log, &source, 1).await.unwrap();
    let pair = Pair { leader: Recorder::new("redis", "click"), follower: Recorder::new("mongodb", "move") };
    pair.follower.set_away(true);
    let shutdown = CancellationToken::new();
    let config = GroupConfig { group: Group::Online, worker: "w".into(), lease: Duration::from_secs(5) };
    let readiness = Readiness::waiting("the log");
    let working = tokio::spawn(run_group(fixture.log.clone(), config, pair.clone(), readiness, shutdown.clone()));
    let appender = Appender::open(&fixture.log, 1).await.unwrap();
    let mut appended = Appended::default();
    appended.more(&appender, 100).await;
    pair.leader.has(&appended.by_type["click"]).await;

    let gauge = |what: &str, sink: &str, partition: u16| -> Option<f64> {
        let labels = format!("{{group=\"online\",sink=\"{sink}\",partition=\"{partition}\"}} ");
        let name = format!("millrace_partition_lag_{what}{labels}");
        metrics.render().lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
    };
    // Every event, and one control entry in each of the two partitions; of the leader none.
    let entries = |sink: &'static str| move || Some(gauge("entries", sink, 0)? + gauge("entries", sink, 1)?);
    eventually("the follower's lag", async || entries("mongodb")() == Some(102.0)).await;
    eventually("the leader has none", async || entries("redis")() == Some(0.0)).await;
    assert_eq!(gauge("seconds", "redis", 0), Some(0.0));
    let before = gauge("seconds", "mongodb", 0).unwrap();
    eventually("it grows", async || gauge("seconds", "mongodb", 0).unwrap() > before + 1.0).await;
    pair.follower.set_away(false);
    eventually("it is gone", async || entries("mongodb")() == Some(0.0) && gauge("seconds", "mongodb", 0) == Some(0.0))
        .await;
    shutdown.cancel();
    working.await.unwrap().unwrap();
}

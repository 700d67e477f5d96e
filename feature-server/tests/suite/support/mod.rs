//! Shared by the tests: a namespace on the stores that all tests of a checkout share (`World`), a feature server in this
//! process (`server`), and a wire-tap in front of a store (`tap`). The helpers write what the consumers would have written.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;
pub mod tap;

use std::sync::Arc;
use std::time::Duration;

use millrace_common::clock;
use millrace_common::log::{Log, LogMeta, registry};
use millrace_common::names::Names;
use millrace_common::stores::clickhouse::{ClickHouse, Layout, Rows, migrate};
use millrace_common::stores::features::{FeatureStore, Put};
use millrace_common::stores::profiles::{ProfilePut, ProfileStore};
use millrace_core::aggregate::Stamp;
use millrace_core::codec;
use millrace_core::definitions::{Definitions, DefinitionsSource, Store, View};
use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;
use millrace_core::partition::{Partition, partition_of};
use millrace_core::position::Position;
use millrace_core::scalar::Scalar;
use millrace_core::slot::Slot;
use millrace_devstack::{Stack, StackOptions};

pub use server::Server;

/// Partitions of the tests' logs.
pub const PARTITIONS: u16 = 4;
/// An address on which nothing listens.
pub const NOWHERE: &str = "127.0.0.1:1";

pub const YAML: &str = r#"
entities:
  household: { key: household_id, type: int64, description: A loyalty-card household }
  product: { key: product_id, type: string }
events:
  purchase: { partition_by: household, entities: [household, product] }
  survey: { partition_by: household }
views:
  - name: spend
    entity: household
    from: [purchase]
    ttl: 1h
    features:
      - { name: total, agg: sum, value: properties.amount, type: "decimal(18,2)", windows: [1h, lifetime] }
      - { name: largest, agg: max, value: properties.amount, type: "decimal(18,2)", windows: [1m], default: "0.00" }
  - name: profile
    entity: household
    store: mongodb
    from: [survey]
    features:
      - { name: income, agg: last, value: properties.income, type: string, default: unknown }
      - { name: surveys, agg: count }
  - name: history
    entity: household
    store: clickhouse
    from: [purchase]
    features:
      - { name: purchases_90d, agg: count, window: 90d }
  - name: popularity
    entity: product
    from: [purchase]
    features:
      - { name: lines, agg: count }
services:
  basket: { v1: ["spend:total_1h"], v2: ["spend:total_1h", "spend:largest_1m", "profile:income"], v3: ["profile:income", "spend:total_1h"] }
"#;

/// The URLs of a server's stores. A test replaces the URL of a store that is to be unavailable.
pub struct Urls {
    pub redis: String,
    pub mongodb: String,
    pub clickhouse: String,
}

/// A namespace in which the definitions are in force.
pub struct World {
    pub urls: Urls,
    pub namespace: String,
    pub names: Names,
    pub log: Log,
    pub definitions: Arc<Definitions>,
    pub stack: Stack,
    source: DefinitionsSource,
}

impl World {
    /// A namespace in which the definitions `YAML` are in force. It is new for each run.
    pub async fn new(name: &str) -> Self {
        let world = Self::unapplied(name).await;
        world.apply().await;
        world
    }

    /// The same, with its own Redis, which the test may stop.
    pub async fn with_own_redis(name: &str, dir: &std::path::Path) -> Self {
        let shared = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
        let options = StackOptions {
            mongodb_url: Some(shared.mongodb_url().to_owned()),
            clickhouse_url: Some(shared.clickhouse_url().to_owned()),
            ..StackOptions::new(dir)
        };
        let world = Self::on(Stack::up(options).await.unwrap(), name, source(YAML)).await;
        world.apply().await;
        world
    }

    /// A namespace for the definitions `YAML` before the first `apply`.
    pub async fn unapplied(name: &str) -> Self {
        Self::with(name, YAML).await
    }

    /// A namespace for other definitions, before the first `apply`.
    pub async fn with(name: &str, yaml: &str) -> Self {
        let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
        Self::on(stack, name, source(yaml)).await
    }

    async fn on(stack: Stack, name: &str, source: DefinitionsSource) -> Self {
        let namespace = format!("test_serve_{name}_{}", clock::now_ms());
        let urls = Urls {
            redis: stack.redis_url().to_owned(),
            mongodb: stack.mongodb_url().to_owned(),
            clickhouse: stack.clickhouse_url().to_owned(),
        };
        let names = Names::new(&namespace);
        let log = Log::create(&urls.redis, names.clone(), LogMeta::new(PARTITIONS, 300_000)).await.unwrap();
        let definitions = Arc::new(Definitions::compile(source.clone()).unwrap());
        Self { urls, namespace, names, log, definitions, stack, source }
    }

    pub async fn apply(&self) {
        registry::apply(&self.log, &self.source, codec::ENGINE).await.unwrap();
    }

    /// Creates the tables in ClickHouse and inserts one purchase of each household.
    pub async fn warehouse(&self, households: &[&str], time: i64) {
        migrate(&self.urls.clickhouse, &self.namespace).await.unwrap();
        let store = ClickHouse::connect(&self.urls.clickhouse, &self.namespace).unwrap();
        store.apply_definitions(&self.definitions).await.unwrap();
        let layout = Layout::new(&self.definitions);
        for (number, key) in households.iter().enumerate() {
            let event = Event {
                event_type: "purchase".into(),
                source: "test".into(),
                id: EventId::Given(format!("e{number}")),
                time: Some(time),
                keys: vec![("household".into(), KeyText::from_canonical(key))],
                properties: r#"{"amount":"1.15"}"#.into(),
                traceparent: None,
            };
            let partition = partition_of(key, PARTITIONS);
            let mut rows = Rows::default();
            let position = Position::new(u64::try_from(time).unwrap(), number as u64 + 1);
            layout.push(&mut rows, partition, position, &event);
            store.insert(&layout, rows, &format!("t{number}")).await.unwrap();
        }
    }

    /// A slot of `view` that has absorbed these (feature time, inputs), as the owner of partition `writer` writes it.
    pub fn slot(&self, view: &str, writer: u16, events: &[(i64, Vec<Option<Scalar<'_>>>)]) -> Slot {
        self.slot_of(self.definitions.view(view, None).unwrap().1, writer, events)
    }

    /// The same for any version of a view.
    pub fn slot_of(&self, view: &View, writer: u16, events: &[(i64, Vec<Option<Scalar<'_>>>)]) -> Slot {
        let mut slot = Slot::empty(view);
        for (seq, (time, inputs)) in events.iter().enumerate() {
            let position = Position::new(u64::try_from(clock::now_ms()).unwrap(), seq as u64 + 1);
            let stamp = Stamp { feature_time: *time, event_id: "e", position, partition: Partition(writer) };
            slot.absorb(view, stamp, inputs).unwrap();
        }
        slot
    }

    /// Writes a slot to the store of its view.
    pub async fn put(&self, view: &str, key: &str, writer: u16, slot: &Slot) {
        self.put_view(self.definitions.view(view, None).unwrap().1, key, writer, slot).await;
    }

    /// The same for any version of a view.
    pub async fn put_view(&self, view: &View, key: &str, writer: u16, slot: &Slot) {
        let text = KeyText::from_canonical(key);
        if view.store == Store::MongoDb {
            let store = ProfileStore::connect(&self.urls.mongodb, &self.namespace, 1, Duration::from_secs(10));
            let put = ProfilePut { view, key: &text, slot, partition: Partition(writer) };
            store.await.unwrap().put(&[put]).await.unwrap();
            return;
        }
        self.put_bytes(view.entity, &view.id(), key, writer, codec::encode(slot)).await;
    }

    pub async fn put_bytes(&self, entity: usize, view: &str, key: &str, writer: u16, bytes: Vec<u8>) {
        let store = FeatureStore::connect(&self.urls.redis, 1, Duration::from_secs(10)).await.unwrap();
        let hash = self.names.entity(&self.definitions.entities[entity].name, key);
        let put = Put { key: hash, expire_ms: None, slots: vec![(format!("{view}|{writer}"), bytes)] };
        store.put(&[put]).await.unwrap();
    }

    /// Writes purchases that a household makes now, with these amounts in cents.
    pub async fn purchases(&self, household: &str, cents: &[i128]) {
        let writer = partition_of(household, PARTITIONS).0;
        let events: Vec<_> = cents.iter().map(|c| (clock::now_ms(), vec![Some(Scalar::Decimal(*c))])).collect();
        self.put("spend", household, writer, &self.slot("spend", writer, &events)).await;
    }

    pub async fn survey(&self, household: &str, income: &str) {
        let writer = partition_of(household, PARTITIONS).0;
        let slot = self.slot("profile", writer, &[(clock::now_ms(), vec![Some(Scalar::Text(income.into()))])]);
        self.put("profile", household, writer, &slot).await;
    }

    /// Puts wire-taps in front of MongoDB and ClickHouse, for servers that start later.
    pub async fn tapped(&mut self) -> [tap::Tap; 2] {
        let taps = [tap::Tap::before(&self.urls.mongodb).await, tap::Tap::before(&self.urls.clickhouse).await];
        self.urls.mongodb = format!("mongodb://{}/?directConnection=true", taps[0].address);
        self.urls.clickhouse = format!("http://{}", taps[1].address);
        taps
    }
}

fn source(yaml: &str) -> DefinitionsSource {
    DefinitionsSource { yaml: yaml.into(), schemas: Default::default() }
}

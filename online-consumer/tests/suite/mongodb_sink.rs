//! The MongoDB sink on the real server: exact after any repetition, coalesced, and refused where it is stale.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_common::clock;
use millrace_common::stores::profiles::ProfileStore;
use millrace_common::worker::{Batch, Fence, Sink, SinkError};
use millrace_core::definitions::{Definitions, DefinitionsSource};
use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_online_consumer::MongoSink;
use serde_json::{Value as Json, json};

const YAML: &str = r#"
entities: { user: { key: user_id, type: string } }
events: { update: { partition_by: user } }
views:
  - name: profile
    entity: user
    store: mongodb
    from: [update]
    features:
      - { name: updates, agg: count }
      - { name: total, agg: sum, value: properties.amount, type: "decimal(18,2)" }
  - name: clicks
    entity: user
    from: [update]
    features: [{ name: n, agg: count }]
"#;

/// A lease that never ends.
struct Held;

impl Fence for Held {
    fn remaining(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn intend(&self, _: Position, _: String) -> Result<(), SinkError> {
        Ok(())
    }
}

struct Fixture {
    store: ProfileStore,
    definitions: Arc<Definitions>,
    _stack: Option<millrace_devstack::Stack>,
}

impl Fixture {
    async fn new(name: &str) -> Self {
        let (url, stack) = match std::env::var("MONGODB_URL") {
            Ok(url) => (url, None),
            Err(_) => {
                let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
                (stack.mongodb_url().to_owned(), Some(stack))
            }
        };
        let namespace = format!("test_{name}_{}", clock::now_ms());
        let store = ProfileStore::connect(&url, &namespace, 4, Duration::from_secs(30)).await.unwrap();
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        Self { store, definitions: Arc::new(Definitions::compile(source).unwrap()), _stack: stack }
    }

    fn sink(&self) -> MongoSink {
        MongoSink::new(self.store.clone(), Partition(0), 10_000)
    }

    /// Entries `from..upto`, of the users `a`, `b` and `c` in turn, a cent more each.
    fn batch(&self, from: u64, upto: u64) -> Batch {
        let position = |number| Position::new(1_700_000_000_000, number);
        let event = |number: u64| Event {
            event_type: "update".into(),
            source: String::new(),
            id: EventId::Given(format!("e{number}")),
            time: None,
            keys: vec![("user".into(), KeyText::from_canonical(["a", "b", "c"][usize::try_from(number % 3).unwrap()]))],
            properties: json!({ "amount": format!("0.{number:02}") }).to_string(),
            traceparent: None,
        };
        Batch {
            partition: Partition(0),
            after: position(from - 1),
            upto: position(upto - 1),
            read: upto - from,
            definitions: self.definitions.clone(),
            version: 1,
            events: (from..upto).map(|number| (position(number), event(number))).collect(),
            dead: Vec::new(),
        }
    }

    async fn values(&self, key: &str) -> Vec<Option<Json>> {
        let rows = self.store.read(&self.definitions.views[0], &[0, 1], &[key]).await.unwrap();
        rows[0].clone().known().unwrap().values.into_iter().map(Result::unwrap).collect()
    }

    /// The answer of `values` after entries `1..upto`: the number of the key's entries, and the sum of their amounts.
    fn expected(upto: u64, key: usize) -> Vec<Option<Json>> {
        let numbers: Vec<u64> = (1..upto).filter(|number| number % 3 == key as u64).collect();
        let cents: u64 = numbers.iter().sum();
        vec![Some(json!(numbers.len())), Some(json!(format!("{}.{:02}", cents / 100, cents % 100)))]
    }

    async fn assert_exact(&self, upto: u64) {
        for (index, key) in ["a", "b", "c"].into_iter().enumerate() {
            assert_eq!(self.values(key).await, Self::expected(upto, index), "{key}");
        }
    }
}

#[tokio::test]
async fn a_batch_committed_twice_and_by_two_owners_counts_once() {
    let fixture = Fixture::new("sink_exact").await;
    let mut first = fixture.sink();
    assert!(first.commit(&fixture.batch(1, 20), &Held).await.unwrap().is_empty());
    assert!(first.commit(&fixture.batch(1, 20), &Held).await.unwrap().is_empty());
    fixture.assert_exact(20).await;
    // A new owner begins at an older position, and in other batches.
    let mut second = fixture.sink();
    second.commit(&fixture.batch(7, 31), &Held).await.unwrap();
    second.commit(&fixture.batch(31, 61), &Held).await.unwrap();
    fixture.assert_exact(61).await;
}

#[tokio::test]
async fn a_paused_owner_is_refused_and_reads_again() {
    let fixture = Fixture::new("sink_stale").await;
    let (mut paused, mut owner) = (fixture.sink(), fixture.sink());
    paused.commit(&fixture.batch(1, 10), &Held).await.unwrap();
    owner.commit(&fixture.batch(10, 40), &Held).await.unwrap();
    assert!(matches!(paused.commit(&fixture.batch(10, 20), &Held).await, Err(SinkError::Stale)));
    fixture.assert_exact(40).await;
    let mut again = fixture.sink();
    again.commit(&fixture.batch(10, 50), &Held).await.unwrap();
    fixture.assert_exact(50).await;
}

#[tokio::test]
async fn two_owners_at_once_agree() {
    let fixture = Fixture::new("sink_race").await;
    let work = |step: u64| {
        let fixture = &fixture;
        async move {
            let (mut sink, mut at) = (fixture.sink(), 1);
            while at < 91 {
                let upto = (at + step).min(91);
                match sink.commit(&fixture.batch(at, upto), &Held).await {
                    Ok(_) => at = upto,
                    // As the worker does: begin again at the cursor, here at the start.
                    Err(SinkError::Stale) => (sink, at) = (fixture.sink(), 1),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    tokio::join!(work(7), work(11), work(30));
    fixture.assert_exact(91).await;
}

#[tokio::test]
async fn an_event_that_a_view_cannot_read_is_a_dead_letter_of_that_view() {
    let fixture = Fixture::new("sink_dead").await;
    let mut batch = fixture.batch(1, 4);
    batch.events[0].1.properties = r#"{"amount":"much"}"#.into();
    let mut sink = fixture.sink();
    let dead = sink.commit(&batch, &Held).await.unwrap();
    let named: HashMap<_, _> = dead.iter().map(|letter| (letter.position, letter.view.as_deref())).collect();
    assert_eq!(named, HashMap::from([(batch.events[0].0, Some("profile@1"))]));
    assert_eq!(sink.commit(&batch, &Held).await.unwrap().len(), 1);
    assert_eq!(fixture.values("c").await, [Some(json!(1)), Some(json!("0.02"))]);
}

#[tokio::test]
async fn a_store_that_is_away_is_tried_again_with_the_same_batch() {
    let fixture = Fixture::new("sink_away").await;
    let away =
        ProfileStore::connect("mongodb://127.0.0.1:1", "test_away", 1, Duration::from_millis(200)).await.unwrap();
    let mut sink = MongoSink::new(away, Partition(0), 10_000);
    assert!(matches!(sink.commit(&fixture.batch(1, 4), &Held).await, Err(SinkError::Transient { .. })));
    let nothing = Batch { events: Vec::new(), ..fixture.batch(1, 4) };
    assert!(sink.commit(&nothing, &Held).await.unwrap().is_empty());
}

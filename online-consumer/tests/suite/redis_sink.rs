//! The Redis sink on the real server: what it cannot write costs its own entries and holds up no neighbour.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_common::clock;
use millrace_common::log::{DeadLetter, Log, LogMeta};
use millrace_common::names::Names;
use millrace_common::stores::features::FeatureStore;
use millrace_common::worker::{Batch, Fence, Sink, SinkError};
use millrace_core::assemble::assemble;
use millrace_core::codec;
use millrace_core::definitions::{Definitions, DefinitionsSource};
use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::scalar::MAX_TEXT_BYTES;
use millrace_online_consumer::RedisSink;
use redis::aio::MultiplexedConnection;
use serde_json::{Value as Json, json};

const YAML: &str = r#"
entities: { user: { key: user_id, type: string } }
events: { update: { partition_by: user } }
views:
  - name: notes
    entity: user
    from: [update]
    features:
      - { name: updates, agg: count }
      - { name: recent, agg: last_n, n: 1000, value: properties.note, type: string }
  - { name: clicks, entity: user, from: [update], features: [{ name: n, agg: count }] }
"#;
const USERS: [&str; 3] = ["a", "b", "c"];

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
    store: FeatureStore,
    names: Names,
    definitions: Arc<Definitions>,
    redis: MultiplexedConnection,
    _stack: Option<millrace_devstack::Stack>,
}

impl Fixture {
    async fn new(name: &str) -> Self {
        let (url, stack) = match std::env::var("REDIS_URL") {
            Ok(url) => (url, None),
            Err(_) => {
                let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
                (stack.redis_url().to_owned(), Some(stack))
            }
        };
        let names = Names::new(format!("test_{name}_{}", clock::now_ms()));
        // The functions are loaded with it.
        Log::create(&url, names.clone(), LogMeta::new(2, 300_000)).await.unwrap();
        let store = FeatureStore::connect(&url, 1, Duration::from_secs(30)).await.unwrap();
        let redis = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        Self { store, names, definitions: Arc::new(Definitions::compile(source).unwrap()), redis, _stack: stack }
    }

    fn sink(&self) -> RedisSink {
        RedisSink::new(self.store.clone(), self.names.clone(), Partition(0), 10_000)
    }

    /// Entries `from..upto`, of the three users in turn, with what `note` says of each.
    fn batch(&self, from: u64, upto: u64, note: impl Fn(u64) -> String) -> Batch {
        let position = |number| Position::new(1_700_000_000_000, number);
        let event = |number: u64| Event {
            event_type: "update".into(),
            source: String::new(),
            id: EventId::Given(format!("e{number}")),
            time: None,
            keys: vec![("user".into(), KeyText::from_canonical(USERS[usize::try_from(number % 3).unwrap()]))],
            properties: json!({ "note": note(number) }).to_string(),
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

    /// The values of a view, none where nothing is known of the key.
    async fn values(&self, view: usize, user: &str) -> Option<Vec<Json>> {
        let view = &self.definitions.views[view];
        let read = (self.names.entity("user", user), [format!("{}|0", view.id())]);
        let found = self.store.read(&[read]).await.unwrap();
        let slot = codec::decode_for(view, found[0].as_ref().unwrap()[0].as_deref()?).unwrap();
        let t = slot.newest.unwrap();
        let all: Vec<usize> = (0..view.features.len()).collect();
        Some(assemble(view, &[slot], &all, t).into_iter().map(|value| value.value).collect())
    }

    async fn tell(&self, command: &[&str]) {
        let mut connection = self.redis.clone();
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]).exec_async(&mut connection).await.unwrap();
    }
}

fn named(dead: &[DeadLetter]) -> BTreeSet<(u64, &str, &str)> {
    let view = |letter: &DeadLetter| letter.view.as_deref().unwrap_or_default().to_owned();
    assert!(dead.iter().all(|letter| ["notes@1", "clicks@1"].contains(&view(letter).as_str())));
    dead.iter()
        .map(|letter| (letter.position.seq, letter.view.as_deref().unwrap(), letter.key.as_deref().unwrap()))
        .collect()
}

fn short(number: u64) -> String {
    number.to_string()
}

#[tokio::test]
async fn a_key_of_another_type_costs_its_own_entries_and_no_others() {
    let fixture = Fixture::new("redis_wrong_type").await;
    let wrong = fixture.names.entity("user", "b");
    fixture.tell(&["SET", &wrong, "not a hash"]).await;
    let mut sink = fixture.sink();
    let dead = sink.commit(&fixture.batch(1, 7, short), &Held).await.unwrap();
    let expected = [(1, "clicks@1", "b"), (1, "notes@1", "b"), (4, "clicks@1", "b"), (4, "notes@1", "b")];
    assert_eq!(named(&dead), BTreeSet::from(expected));
    assert!(dead[0].reason.contains("holds no hash") && dead[0].reason.contains(&wrong), "{}", dead[0].reason);
    assert_eq!(fixture.values(0, "a").await.unwrap()[0], 2);
    assert_eq!(fixture.values(0, "c").await.unwrap()[0], 2);
    // The same batch again finds the same; so does another owner, in other batches.
    assert_eq!(named(&sink.commit(&fixture.batch(1, 7, short), &Held).await.unwrap()), BTreeSet::from(expected));
    let mut other = fixture.sink();
    let mut dead = other.commit(&fixture.batch(1, 3, short), &Held).await.unwrap();
    dead.extend(other.commit(&fixture.batch(3, 7, short), &Held).await.unwrap());
    assert_eq!(named(&dead), BTreeSet::from(expected));
}

#[tokio::test]
async fn a_key_that_becomes_another_type_is_met_when_it_is_read_again() {
    let fixture = Fixture::new("redis_becomes").await;
    let mut sink = fixture.sink();
    assert!(sink.commit(&fixture.batch(1, 4, short), &Held).await.unwrap().is_empty());
    let wrong = fixture.names.entity("user", "b");
    fixture.tell(&["DEL", &wrong]).await;
    fixture.tell(&["RPUSH", &wrong, "x"]).await;
    assert!(matches!(sink.commit(&fixture.batch(4, 7, short), &Held).await, Err(SinkError::Stale)));
    // As the worker does: begin again at the cursor.
    let mut again = fixture.sink();
    let dead = again.commit(&fixture.batch(4, 7, short), &Held).await.unwrap();
    assert_eq!(named(&dead), BTreeSet::from([(4, "clicks@1", "b"), (4, "notes@1", "b")]));
    assert_eq!(fixture.values(0, "a").await.unwrap()[0], 2);
    assert_eq!(fixture.values(1, "c").await.unwrap()[0], 2);
}

#[tokio::test]
async fn a_text_too_long_for_a_view_is_its_dead_letter_wherever_a_batch_ends() {
    let fixture = Fixture::new("redis_long").await;
    // Every third one is a byte too long, whoever's it is; ingest refuses such, but the view may be younger.
    let note = |number: u64| "x".repeat(if number.is_multiple_of(4) { MAX_TEXT_BYTES + 1 } else { MAX_TEXT_BYTES });
    let expected: BTreeSet<u64> = (1..13u64).filter(|number| number.is_multiple_of(4)).collect();
    let mut answers = Vec::new();
    for step in [1, 5, 12] {
        let mut sink = RedisSink::new(
            fixture.store.clone(),
            Names::new(format!("{}_{step}", fixture.names.namespace())),
            Partition(0),
            10_000,
        );
        let mut dead = Vec::new();
        for from in (1..13).step_by(step) {
            let batch = fixture.batch(from, (from + step as u64).min(13), note);
            dead.extend(sink.commit(&batch, &Held).await.unwrap());
        }
        assert!(dead.iter().all(|letter| letter.view.as_deref() == Some("notes@1")), "{dead:?}");
        assert!(dead[0].reason.contains("16385 bytes; a view reads a string of at most 16384"), "{}", dead[0].reason);
        assert_eq!(dead.iter().map(|letter| letter.position.seq).collect::<BTreeSet<_>>(), expected);
        answers.push(dead.len());
    }
    assert_eq!(answers, [3, 3, 3]);
}

//! The ClickHouse sink on the real engine: whatever becomes of an INSERT, each event ends up as one row, counted
//! without FINAL, and the roll-up says the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_common::log::{DeadLetter, SinkCursor};
use millrace_common::stores::clickhouse::{ClickHouse, Layout, Rows, migrate};
use millrace_common::worker::{Batch, Fence, Sink, SinkError};
use millrace_core::definitions::{Definitions, DefinitionsSource};
use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_devstack::{Stack, StackOptions};
use millrace_offline_consumer::ClickHouseSink;

const PARTITION: Partition = Partition(3);
const START: u64 = 1_790_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// The cursor as Redis would keep it.
#[derive(Clone, Default)]
struct Cursor(Arc<Mutex<SinkCursor>>);

impl Fence for Cursor {
    fn remaining(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn intend(&self, after: Position, payload: String) -> Result<(), SinkError> {
        let mut cursor = self.0.lock().unwrap();
        assert_eq!(cursor.position, after, "an intent names the place where the cursor stands");
        cursor.in_flight = Some(payload);
        Ok(())
    }
}

impl Cursor {
    fn get(&self) -> SinkCursor {
        self.0.lock().unwrap().clone()
    }

    fn advance(&self, batch: &Batch) {
        *self.0.lock().unwrap() = SinkCursor { position: batch.upto, entries_read: 0, in_flight: None };
    }
}

struct World {
    store: ClickHouse,
    definitions: Arc<Definitions>,
    cursor: Cursor,
    stack: Option<Stack>,
}

impl World {
    /// A database of its own on the server that tests share.
    async fn new(name: &str) -> Self {
        if let Ok(url) = std::env::var("CLICKHOUSE_URL") {
            return Self::on(url, name, None).await;
        }
        let stack = millrace_devstack::shared_for_tests(millrace_devstack::test_dir()).await.unwrap();
        let url = stack.clickhouse_url().to_owned();
        Self::on(url, name, Some(stack)).await
    }

    /// A server of its own, to be killed.
    async fn alone(dir: &std::path::Path) -> Self {
        let unused = || Some("http://127.0.0.1:1".to_owned());
        let options = StackOptions { redis_url: unused(), mongodb_url: unused(), ..StackOptions::new(dir) };
        let stack = Stack::up(options).await.unwrap();
        let url = stack.clickhouse_url().to_owned();
        Self::on(url, "alone", Some(stack)).await
    }

    async fn on(url: String, name: &str, stack: Option<Stack>) -> Self {
        let namespace = format!("sink_{name}_{}", std::process::id());
        migrate(&url, &namespace).await.unwrap();
        let store = ClickHouse::connect(&url, &namespace).unwrap();
        let yaml = "entities: { user: { key: user_id, type: int64 } }\nevents: { click: { partition_by: user } }";
        let source = DefinitionsSource { yaml: yaml.into(), schemas: BTreeMap::new() };
        let definitions = Arc::new(Definitions::compile(source).unwrap());
        store.apply_definitions(&definitions).await.unwrap();
        Self { store, definitions, cursor: Cursor::default(), stack }
    }

    /// A new owner's sink.
    async fn sink(&self) -> ClickHouseSink {
        let mut sink = ClickHouseSink::new(self.store.clone(), PARTITION);
        sink.begin(&self.cursor.get(), &self.cursor).await.unwrap();
        sink
    }

    fn batch(&self, from: u64, to: u64) -> Batch {
        let event = |number: u64| Event {
            event_type: "click".into(),
            source: "test".into(),
            id: EventId::Given(format!("e{number}")),
            // Over three days of feature time.
            time: Some(i64::try_from(START).unwrap() - i64::try_from(number % 3).unwrap() * DAY_MS),
            keys: vec![("user".into(), KeyText::from_canonical(&(number % 50).to_string()))],
            properties: format!("{{\"n\":{number}}}"),
            traceparent: None,
        };
        Batch {
            partition: PARTITION,
            after: position(from),
            upto: position(to),
            read: to - from,
            definitions: self.definitions.clone(),
            version: 1,
            events: (from + 1..=to).map(|number| (position(number), event(number))).collect(),
            dead: Vec::new(),
        }
    }

    async fn count(&self, sql: &str) -> i64 {
        self.store.client().query_raw(sql).fetch_one::<i64>().await.unwrap()
    }

    /// Rows without FINAL are distinct events are `wanted`; the roll-up says the same for each day.
    async fn holds_exactly(&self, wanted: u64) {
        let wanted = i64::try_from(wanted).unwrap();
        assert_eq!(self.count("SELECT toInt64(count()) FROM events").await, wanted, "rows");
        assert_eq!(self.count("SELECT toInt64(uniqExact(event_id)) FROM events").await, wanted, "distinct events");
        let days = "SELECT toInt64(count()) FROM (SELECT toDate32(feature_time) AS day, toInt64(count()) AS n FROM events \
             GROUP BY day) AS e FULL OUTER JOIN (SELECT day, sum(events) AS n FROM events_daily GROUP BY day) AS d \
             USING day WHERE e.n != d.n";
        assert_eq!(self.count(days).await, 0, "days whose roll-up differs");
        assert_eq!(self.count("SELECT sum(events) FROM events_daily").await, wanted, "roll-up");
    }

    async fn send_past_the_sink(&self, batch: &Batch, token: &str) {
        let layout = Layout::new(&self.definitions);
        let mut rows = Rows::default();
        batch.events.iter().for_each(|(position, event)| layout.push(&mut rows, PARTITION, *position, event));
        self.store.insert(&layout, rows, token).await.unwrap();
    }
}

fn position(number: u64) -> Position {
    if number == 0 { Position::ZERO } else { Position::new(START + number / 10, number % 10) }
}

/// Commits until it is durable, as the loop does.
async fn commit(sink: &mut ClickHouseSink, batch: &Batch, cursor: &Cursor) -> Vec<DeadLetter> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match sink.commit(batch, cursor).await {
            Ok(dead) => return dead,
            Err(error) => assert!(Instant::now() < deadline, "not durable: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_batch_sent_by_two_owners_is_there_once() {
    let world = World::new("owners").await;
    let batch = world.batch(0, 1_000);
    assert_eq!(commit(&mut world.sink().await, &batch, &world.cursor).await, []);
    // The first owner died before it could advance; the second reads the same and more.
    let longer = world.batch(0, 1_700);
    let mut second = world.sink().await;
    assert_eq!(commit(&mut second, &longer, &world.cursor).await, []);
    assert_eq!(commit(&mut second, &longer, &world.cursor).await, []);
    world.cursor.advance(&longer);
    assert_eq!(commit(&mut second, &world.batch(1_700, 1_800), &world.cursor).await, []);
    world.holds_exactly(1_800).await;
}

#[tokio::test]
async fn rows_that_nobody_wrote_down_are_found_by_reading_back() {
    let world = World::new("unwritten").await;
    world.send_past_the_sink(&world.batch(100, 300), "another owner's").await;
    let batch = world.batch(0, 500);
    assert_eq!(commit(&mut world.sink().await, &batch, &world.cursor).await, []);
    world.holds_exactly(500).await;
}

#[tokio::test]
async fn an_insert_whose_answer_never_came_is_settled() {
    let world = World::new("unknown").await;
    let mut sent = 0;
    // Given up before, while and after the server works on it; it may go on working beside the next owner's.
    for millis in [1, 5, 15, 40, 80, 120] {
        let hasty = world.store.clone().with_insert_timeout(Duration::from_millis(millis));
        let mut sink = ClickHouseSink::new(hasty, PARTITION);
        sink.begin(&world.cursor.get(), &world.cursor).await.unwrap();
        for _ in 0..3 {
            let _ = sink.commit(&world.batch(sent, sent + 10_000), &world.cursor).await;
        }
        assert!(world.cursor.get().in_flight.is_some());
        let longer = world.batch(sent, sent + 10_100);
        assert_eq!(commit(&mut world.sink().await, &longer, &world.cursor).await, []);
        world.cursor.advance(&longer);
        sent += 10_100;
    }
    world.holds_exactly(sent).await;
}

#[tokio::test]
async fn the_roll_up_is_right_after_it_was_wrong() {
    let world = World::new("rollup").await;
    let batch = world.batch(0, 300);
    let mut sink = world.sink().await;
    commit(&mut sink, &batch, &world.cursor).await;
    // As if the engine had lost the answer between the table and the view of an earlier attempt.
    let sql = "INSERT INTO events_daily_counts SELECT day, type, partition, 40 FROM events_daily_counts";
    world.store.client().query_raw(sql).execute().await.unwrap();
    commit(&mut world.sink().await, &batch, &world.cursor).await;
    world.holds_exactly(300).await;
}

#[tokio::test]
async fn a_refused_row_is_left_out_with_its_reason_and_its_neighbours_are_not() {
    let world = World::new("refused").await;
    let sql = "ALTER TABLE events ADD CONSTRAINT not_these CHECK event_id NOT IN ('e7', 'e500', 'e1000')";
    world.store.client().query_raw(sql).execute().await.unwrap();
    let batch = world.batch(0, 1_000);
    let dead = commit(&mut world.sink().await, &batch, &world.cursor).await;
    let ids: Vec<Option<&str>> = dead.iter().map(|letter| letter.event_id.as_deref()).collect();
    assert_eq!(ids, [Some("e7"), Some("e500"), Some("e1000")]);
    assert_eq!(dead[1].position, position(500));
    assert!(dead[0].reason.contains("not_these"), "{}", dead[0].reason);
    world.holds_exactly(997).await;
    // Another owner judges the same, and sends nothing twice.
    assert_eq!(commit(&mut world.sink().await, &batch, &world.cursor).await.len(), 3);
    world.holds_exactly(997).await;
    world.store.insert_dead_letters(PARTITION, &[(Position::new(1, 0), dead[0].clone())]).await.unwrap();
    world.store.insert_dead_letters(PARTITION, &[(Position::new(1, 0), dead[0].clone())]).await.unwrap();
    assert_eq!(world.count("SELECT toInt64(count()) FROM dead_letters").await, 1);
}

#[tokio::test]
async fn a_server_that_is_not_set_up_makes_the_sink_wait_and_loses_nothing() {
    let world = World::new("waits").await;
    let batch = world.batch(0, 100);
    world.store.client().query_raw("RENAME TABLE events TO elsewhere").execute().await.unwrap();
    let mut sink = ClickHouseSink::new(world.store.clone(), PARTITION);
    assert!(matches!(sink.begin(&world.cursor.get(), &world.cursor).await, Err(SinkError::Transient { .. })));
    world.store.client().query_raw("RENAME TABLE elsewhere TO events").execute().await.unwrap();
    let mut sink = world.sink().await;
    world.store.client().query_raw("RENAME TABLE events TO elsewhere").execute().await.unwrap();
    assert!(matches!(sink.commit(&batch, &world.cursor).await, Err(SinkError::Transient { .. })));
    world.store.client().query_raw("RENAME TABLE elsewhere TO events").execute().await.unwrap();
    assert_eq!(commit(&mut sink, &batch, &world.cursor).await, []);
    world.holds_exactly(100).await;
}

#[tokio::test]
async fn a_table_that_takes_no_row_is_at_fault_itself_and_no_event_is_left_out() {
    let world = World::new("notable").await;
    let run = async |sql: &str| world.store.client().query_raw(sql).execute().await.unwrap();
    let batch = world.batch(0, 1_000);
    let mut sink = world.sink().await;
    // Each row is refused with an error about values; then one with an error that is about none; then the table goes.
    for (break_it, mend_it) in [
        ("ALTER TABLE events ADD CONSTRAINT none CHECK event_id = ''", "ALTER TABLE events DROP CONSTRAINT none"),
        (
            "ALTER TABLE events RENAME COLUMN traceparent TO trace",
            "ALTER TABLE events RENAME COLUMN trace TO traceparent",
        ),
        ("RENAME TABLE events TO elsewhere", "RENAME TABLE elsewhere TO events"),
    ] {
        run(break_it).await;
        for _ in 0..4 {
            let refused = sink.commit(&batch, &world.cursor).await;
            assert!(matches!(refused, Err(SinkError::Transient { .. })), "{break_it}: {refused:?}");
        }
        run(mend_it).await;
    }
    assert_eq!(commit(&mut sink, &batch, &world.cursor).await, []);
    world.cursor.advance(&batch);
    assert_eq!(commit(&mut sink, &world.batch(1_000, 1_100), &world.cursor).await, []);
    world.holds_exactly(1_100).await;
}

#[tokio::test]
async fn a_good_row_among_many_refused_ones_is_found_and_sent_once() {
    let world = World::new("few").await;
    let sql = "ALTER TABLE events ADD CONSTRAINT few CHECK toUInt64(substring(event_id, 2)) % 40 = 1";
    world.store.client().query_raw(sql).execute().await.unwrap();
    let batch = world.batch(0, 120);
    // Until it has found one, nobody knows whether rows are at fault or the table.
    let dead = commit(&mut world.sink().await, &batch, &world.cursor).await;
    assert_eq!(dead.len(), 117);
    world.holds_exactly(3).await;
    // Another owner dies in the middle of it: what its pieces have brought in is not sent again.
    let longer = world.batch(0, 130);
    assert_eq!(commit(&mut world.sink().await, &longer, &world.cursor).await.len(), 126);
    world.holds_exactly(4).await;
}

#[tokio::test]
async fn a_row_without_neighbours_is_left_out_when_its_values_are_refused() {
    let world = World::new("lone").await;
    let sql = "ALTER TABLE events ADD CONSTRAINT not_this CHECK event_id != 'e1'";
    world.store.client().query_raw(sql).execute().await.unwrap();
    let batch = world.batch(0, 1);
    let dead = commit(&mut world.sink().await, &batch, &world.cursor).await;
    assert_eq!(dead.iter().map(|letter| letter.position).collect::<Vec<_>>(), [position(1)]);
    world.holds_exactly(0).await;
}

/// Written past ingest, in a row: no neighbour goes in before them, and they hold nobody up.
#[tokio::test]
async fn rows_that_nobody_can_read_need_no_neighbour_to_be_left_out() {
    let world = World::new("unreadable").await;
    let mut batch = world.batch(0, 4);
    for ((_, event), text) in batch.events.iter_mut().zip(["{\"n\":", "no json", "[1]", "{\"n\":1,\"n\":{}}"]) {
        event.properties = text.to_owned();
    }
    let mut sink = world.sink().await;
    let dead = commit(&mut sink, &batch, &world.cursor).await;
    assert_eq!(dead.iter().map(|letter| letter.position).collect::<Vec<_>>(), [1, 2, 3, 4].map(position));
    assert!(dead[0].reason.contains("properties"), "{}", dead[0].reason);
    world.cursor.advance(&batch);
    let mut batch = world.batch(4, 10);
    batch.events[2].1.properties = "{".to_owned();
    assert_eq!(commit(&mut sink, &batch, &world.cursor).await.len(), 1);
    world.holds_exactly(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_neither_loses_nor_doubles_rows() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::alone(dir.path()).await;
    let server = world.stack.as_ref().unwrap().clickhouse();
    let mut sink = world.sink().await;
    let mut sent = 0;
    for round in 0..6u64 {
        let batch = world.batch(sent, sent + 8_000);
        let killer = async {
            tokio::time::sleep(Duration::from_millis(10 + round * 25)).await;
            server.kill().unwrap();
            server.start().await.unwrap();
        };
        let (dead, ()) = tokio::join!(commit(&mut sink, &batch, &world.cursor), killer);
        assert_eq!(dead, []);
        // Every other owner dies before it advances.
        if round % 2 == 0 {
            sink = world.sink().await;
            assert_eq!(commit(&mut sink, &batch, &world.cursor).await, []);
        }
        world.cursor.advance(&batch);
        sent += 8_000;
    }
    world.holds_exactly(sent).await;
}

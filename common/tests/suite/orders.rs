//! Rust, Lua and MongoDB each compare positions and checkpoints in a way of their own: numbers, four numbers of ten
//! digits, bytes of a header, text. Generated values show that the orders agree, on the real stores.

use std::cmp::Ordering;
use std::time::Duration;

use millrace_common::log::{Advance, Advanced, Group, LogError, cursor, functions};
use millrace_common::stores::profiles::{ProfilePut, ProfileStore, ProfileWritten};
use millrace_core::codec;
use millrace_core::definitions::{Definitions, DefinitionsSource, View};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use millrace_core::slot::{Checkpoint, Slot};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::{self, Fixture};

const P: Partition = Partition(0);
const LEASE: Duration = Duration::from_secs(600);
const VIEW: &str = "entities: { user: { key: user_id, type: string } }
events: { click: { partition_by: user } }
views:
  - { name: orders, entity: user, store: mongodb, from: [click], features: [{ name: n, agg: count }] }";

/// Numbers around the places where an order goes wrong: a text becomes longer (in decimal or hexadecimal), a double
/// loses a bit, a signed number ends.
fn number() -> impl Strategy<Value = u64> {
    let powers = |base: u64| (0..=u64::MAX.ilog(base)).map(move |power| base.pow(power));
    let edges = powers(10).chain(powers(16)).chain([1 << 31, 1 << 53, 1 << 63, u64::MAX]);
    let near = |edge: u64| [edge.wrapping_sub(1), edge, edge.wrapping_add(1)];
    prop_oneof![3 => select(edges.flat_map(near).collect::<Vec<_>>()), 1 => any::<u64>(), 1 => 0..1_000u64]
}

fn position() -> impl Strategy<Value = Position> {
    (number(), number()).prop_map(|(ms, seq)| Position::new(ms, seq))
}

/// Two positions: any, of the same millisecond, one after the other, or the same.
fn positions() -> impl Strategy<Value = (Position, Position)> {
    let any_two = (position(), position());
    let same_ms = (position(), number()).prop_map(|(one, seq)| (one, Position::new(one.ms, seq)));
    let neighbours = position().prop_map(|one| (one, one.next()));
    let equal = position().prop_map(|one| (one, one));
    prop_oneof![3 => any_two, 3 => same_ms, 1 => neighbours, 1 => equal]
}

/// Two checkpoints, half of them of the same generation.
fn checkpoints() -> impl Strategy<Value = (Checkpoint, Checkpoint)> {
    let generation = || number().prop_map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let generations = prop_oneof![generation().prop_map(|one| (one, one)), (generation(), generation())];
    (generations, positions()).prop_map(|((old, new), (before, after))| {
        (Checkpoint { generation: old, position: before }, Checkpoint { generation: new, position: after })
    })
}

/// The same values in every run.
fn generated<S: Strategy>(strategy: S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn slot(checkpoint: Checkpoint) -> Vec<u8> {
    codec::encode(&Slot { checkpoint, newest: Some(5), windows: Vec::new() })
}

/// The answer to a put of `new` over `old`: 1 written, 0 already there, -1 stale.
fn code(old: Checkpoint, new: Checkpoint) -> i64 {
    match new.cmp(&old) {
        Ordering::Greater => 1,
        Ordering::Equal => 0,
        Ordering::Less => -1,
    }
}

#[tokio::test]
async fn lua_orders_positions_as_rust_does() {
    let mut fixture = Fixture::new("orders_lua").await;
    let group = Group::Online;
    let key = fixture.log.names().cursor(P, group);
    let token = support::acquire(&fixture.log, &key, "a", LEASE).await.unwrap().token;
    for (at, to) in generated(positions(), 400) {
        let () = fixture.ask(&["HSET", &key, "redis:position", &at.to_string()]).await;
        let intended = cursor::intend(&fixture.log, P, group, &token, "redis", to, "range").await.unwrap();
        assert_eq!(intended, at == to, "{at} is where {to} is");
        let step = Advance {
            partition: P,
            group,
            token: &token,
            sink: "redis",
            from: at,
            to,
            entries: 1,
            trim_to: None,
            dead: &[],
        };
        match cursor::advance(&fixture.log, &step).await {
            Ok(Advanced::Done) => assert!(to > at, "from {at} to {to}"),
            Ok(other) => panic!("from {at} to {to}: {other:?}"),
            Err(LogError::Redis { .. }) => assert!(to <= at, "from {at} to {to}"),
            Err(error) => panic!("from {at} to {to}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_group_is_where_rust_says_that_the_least_of_its_sinks_is() {
    let mut fixture = Fixture::new("orders_least").await;
    let group = Group::Online;
    let (key, events) = (fixture.log.names().cursor(P, group), fixture.log.names().events(P));
    let token = support::acquire(&fixture.log, &key, "a", LEASE).await.unwrap().token;
    for (other, to) in generated(positions(), 200).into_iter().filter(|(_, to)| *to > Position::ZERO) {
        let others = ["HSET", &key, "redis:position", "0-0", "mongodb:position", &other.to_string()];
        let () = fixture.ask(&others).await;
        let (from, sink) = (Position::ZERO, "redis");
        let step = Advance { partition: P, group, token: &token, sink, from, to, entries: 1, trim_to: None, dead: &[] };
        assert_eq!(cursor::advance(&fixture.log, &step).await.unwrap(), Advanced::Done);
        let groups: redis::streams::StreamInfoGroupsReply = fixture.ask(&["XINFO", "GROUPS", &events]).await;
        let online = groups.groups.iter().find(|found| found.name == fixture.log.names().group(group)).unwrap();
        assert_eq!(online.last_delivered_id, other.min(to).to_string(), "of {other} and {to}");
    }
}

#[tokio::test]
async fn lua_orders_checkpoints_as_rust_does() {
    let mut fixture = Fixture::new("orders_slots").await;
    let pairs = generated(checkpoints(), 1_500);
    let wanted: Vec<i64> = pairs.iter().map(|(old, new)| code(*old, *new)).collect();
    for (first, expected) in [(true, vec![1; pairs.len()]), (false, wanted)] {
        let values = pairs.iter().map(|(old, new)| slot(if first { *old } else { *new }));
        let values: Vec<Vec<u8>> = values.collect();

        let mut put = functions::call(functions::PUT, &["orders_slots:one"]);
        put.arg(0).arg(values.len());
        values.iter().enumerate().for_each(|(field, value)| {
            put.arg(field).arg(value.as_slice());
        });
        assert_eq!(put.query_async::<Vec<i64>>(&mut fixture.redis).await.unwrap(), expected);

        let keys: Vec<String> = (0..values.len()).map(|key| format!("orders_slots:{key}")).collect();
        let mut each = functions::call(functions::PUT_EACH, &keys.iter().map(String::as_str).collect::<Vec<_>>());
        each.arg(0).arg("f");
        values.iter().for_each(|value| {
            each.arg(value.as_slice());
        });
        assert_eq!(each.query_async::<Vec<i64>>(&mut fixture.redis).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn mongodb_orders_the_text_of_checkpoints_as_rust_orders_checkpoints() {
    let (url, _stack) = support::mongodb().await;
    let namespace = "test_profiles_orders";
    mongodb::Client::with_uri_str(&url).await.unwrap().database(namespace).drop().await.unwrap();
    let store = ProfileStore::connect(&url, namespace, 2, Duration::from_secs(60)).await.unwrap();
    let source = DefinitionsSource { yaml: VIEW.into(), schemas: Default::default() };
    let view = Definitions::compile(source).unwrap().views.remove(0);
    let pairs = generated(checkpoints(), 600);
    let wanted: Vec<ProfileWritten> = pairs.iter().map(|(old, new)| written(code(*old, *new))).collect();
    let old: Vec<Checkpoint> = pairs.iter().map(|(old, _)| *old).collect();
    let new: Vec<Checkpoint> = pairs.iter().map(|(_, new)| *new).collect();
    assert_eq!(put_profiles(&store, &view, &old).await, vec![ProfileWritten::Written; pairs.len()]);
    let found = put_profiles(&store, &view, &new).await;
    for ((pair, found), wanted) in pairs.iter().zip(found).zip(wanted) {
        assert_eq!(found, wanted, "{pair:?}");
    }
}

fn written(code: i64) -> ProfileWritten {
    match code {
        1 => ProfileWritten::Written,
        0 => ProfileWritten::Already,
        _ => ProfileWritten::Stale,
    }
}

/// Puts an empty state at each checkpoint, under a key of its own.
async fn put_profiles(store: &ProfileStore, view: &View, checkpoints: &[Checkpoint]) -> Vec<ProfileWritten> {
    let states: Vec<(KeyText, Slot)> = checkpoints
        .iter()
        .enumerate()
        .map(|(key, checkpoint)| {
            (KeyText::from_canonical(&format!("k{key}")), Slot { checkpoint: *checkpoint, ..Slot::empty(view) })
        })
        .collect();
    let puts: Vec<ProfilePut<'_>> =
        states.iter().map(|(key, slot)| ProfilePut { view, key, slot, partition: P }).collect();
    store.put(&puts).await.unwrap()
}

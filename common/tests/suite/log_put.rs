//! The monotonic put, on the real server: a slot is replaced by a later checkpoint and by nothing else.

use crate::support;

use millrace_common::log::functions;
use millrace_core::codec;
use millrace_core::position::Position;
use millrace_core::slot::{Checkpoint, Slot};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use support::Fixture;

fn slot(generation: u32, ms: u64, seq: u64) -> Vec<u8> {
    let checkpoint = Checkpoint { generation, position: Position::new(ms, seq) };
    codec::encode(&Slot { checkpoint, newest: Some(5), windows: Vec::new() })
}

async fn try_put(
    connection: &mut MultiplexedConnection,
    key: &str,
    expire_ms: u64,
    slots: &[(String, Vec<u8>)],
) -> RedisResult<Vec<i64>> {
    let mut command = functions::call(functions::PUT, &[key]);
    command.arg(expire_ms).arg(slots.len());
    for (field, value) in slots {
        command.arg(field).arg(value.as_slice());
    }
    command.query_async(connection).await
}

async fn put(fixture: &mut Fixture, key: &str, slots: &[(&str, Vec<u8>)]) -> Vec<i64> {
    let slots: Vec<_> = slots.iter().map(|(field, value)| ((*field).to_owned(), value.clone())).collect();
    try_put(&mut fixture.redis, key, 0, &slots).await.unwrap()
}

#[tokio::test]
async fn a_slot_is_replaced_only_by_a_later_checkpoint_whatever_its_size() {
    let mut fixture = Fixture::new("put_order").await;
    let big = 1u64 << 53;
    let ascending = [
        (0, 0, 0),
        (0, 0, 1),
        (0, 9, 10),
        (0, 10, 9),
        (0, u64::from(u32::MAX), u64::MAX),
        (0, 1 << 32, 0),
        (0, 1 << 32, u64::from(u32::MAX)),
        (0, 1 << 32, 1 << 32),
        (0, big, big),
        (0, big, big + 1),
        (0, big + 1, 0),
        (0, u64::MAX - 1, u64::MAX),
        (0, u64::MAX, u64::MAX - 1),
        (0, u64::MAX, u64::MAX),
        (1, 0, 0),
        (u32::MAX, 0, 0),
    ];
    for (new_at, new) in ascending.iter().enumerate() {
        for (old_at, old) in ascending.iter().enumerate() {
            let key = format!("put_order:{old_at}:{new_at}");
            let (old, new) = (slot(old.0, old.1, old.2), slot(new.0, new.1, new.2));
            assert_eq!(put(&mut fixture, &key, &[("f", old.clone())]).await, [1]);
            let wanted = match new_at.cmp(&old_at) {
                std::cmp::Ordering::Greater => 1,
                std::cmp::Ordering::Equal => 0,
                std::cmp::Ordering::Less => -1,
            };
            assert_eq!(put(&mut fixture, &key, &[("f", new.clone())]).await, [wanted], "{old_at} then {new_at}");
            let stored: Vec<u8> = fixture.ask(&["HGET", &key, "f"]).await;
            assert_eq!(stored, if wanted == 1 { new } else { old });
        }
    }
}

#[tokio::test]
async fn racing_writers_never_step_back() {
    let fixture = Fixture::new("put_race").await;
    let writers: Vec<_> = (0..8u64)
        .map(|writer| {
            let server = fixture.server.clone();
            tokio::spawn(async move {
                let mut connection = server.connect().await;
                // Each goes through all checkpoints in an order of its own.
                for n in 0..500u64 {
                    let seq = (n * 211 + writer * 97) % 500;
                    let slots = [("a".to_owned(), slot(0, 7, seq)), ("b".to_owned(), slot(0, 7, 499 - seq))];
                    try_put(&mut connection, "put_race:key", 0, &slots).await.unwrap();
                    let stored: Vec<Vec<u8>> = redis::cmd("HMGET")
                        .arg("put_race:key")
                        .arg("a")
                        .arg("b")
                        .query_async(&mut connection)
                        .await
                        .unwrap();
                    assert!(codec::checkpoint(&stored[0]).unwrap().position.seq >= seq);
                    assert!(codec::checkpoint(&stored[1]).unwrap().position.seq >= 499 - seq);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut fixture = fixture;
    let stored: Vec<u8> = fixture.ask(&["HGET", "put_race:key", "a"]).await;
    assert_eq!(codec::checkpoint(&stored).unwrap().position.seq, 499);
}

#[tokio::test]
async fn each_field_has_its_own_fate_and_what_is_no_slot_stays() {
    let mut fixture = Fixture::new("put_fates").await;
    let key = "put_fates:key";
    assert_eq!(
        put(&mut fixture, key, &[("older", slot(0, 1, 0)), ("same", slot(0, 5, 0)), ("newer", slot(0, 9, 0))]).await,
        [1, 1, 1]
    );
    let mut foreign = slot(0, 1, 0);
    foreign[0] = 200;
    let () = redis::cmd("HSET")
        .arg(key)
        .arg("short")
        .arg("x")
        .arg("foreign")
        .arg(&foreign)
        .query_async(&mut fixture.redis)
        .await
        .unwrap();
    let now = slot(0, 5, 0);
    let fields = ["older", "same", "newer", "short", "foreign", "absent"].map(|field| (field, now.clone()));
    assert_eq!(put(&mut fixture, key, &fields).await, [1, 0, -1, -2, -2, 1]);
    assert_eq!(put(&mut fixture, key, &[("short", now.clone())]).await, [-2]);
    let stored: Vec<Vec<u8>> = fixture.ask(&["HMGET", key, "short", "foreign", "newer"]).await;
    assert_eq!(stored, [b"x".to_vec(), foreign, slot(0, 9, 0)]);
}

#[tokio::test]
async fn thousands_of_fields_fit_into_one_put() {
    let mut fixture = Fixture::new("put_many").await;
    let slots = |ms| -> Vec<(String, Vec<u8>)> { (0..9_001).map(|n| (format!("f{n}"), slot(0, ms, n))).collect() };
    assert_eq!(try_put(&mut fixture.redis, "put_many:key", 0, &slots(1)).await.unwrap(), vec![1; 9_001]);
    assert_eq!(try_put(&mut fixture.redis, "put_many:key", 0, &slots(1)).await.unwrap(), vec![0; 9_001]);
    assert_eq!(try_put(&mut fixture.redis, "put_many:key", 0, &slots(2)).await.unwrap(), vec![1; 9_001]);
    let last: Vec<u8> = fixture.ask(&["HGET", "put_many:key", "f9000"]).await;
    assert_eq!(last, slot(0, 2, 9_000));
}

#[tokio::test]
async fn a_malformed_put_writes_nothing() {
    let mut fixture = Fixture::new("put_bad").await;
    let good = ("a".to_owned(), slot(0, 1, 0));
    for bad in [Vec::new(), vec![1; 20], vec![9; 40]] {
        let slots = [good.clone(), ("b".to_owned(), bad)];
        try_put(&mut fixture.redis, "put_bad:key", 0, &slots).await.unwrap_err();
    }
    try_put(&mut fixture.redis, "put_bad:key", 0, &[]).await.unwrap_err();
    let exists: u64 = fixture.ask(&["EXISTS", "put_bad:key"]).await;
    assert_eq!(exists, 0);
}

#[tokio::test]
async fn only_what_was_written_moves_the_expiry() {
    let mut fixture = Fixture::new("put_expiry").await;
    let key = "put_expiry:key";
    let one = |ms| [("f".to_owned(), slot(0, ms, 0))];
    try_put(&mut fixture.redis, key, 60_000, &one(5)).await.unwrap();
    let first: i64 = fixture.ask(&["PTTL", key]).await;
    assert!((1..=60_000).contains(&first), "{first}");
    for ms in [5, 4] {
        try_put(&mut fixture.redis, key, 900_000, &one(ms)).await.unwrap();
        try_put(&mut fixture.redis, key, 0, &one(ms)).await.unwrap();
    }
    let second: i64 = fixture.ask(&["PTTL", key]).await;
    assert!((1..=first).contains(&second), "{second}");
    try_put(&mut fixture.redis, key, 0, &one(6)).await.unwrap();
    assert_eq!(fixture.ask::<i64>(&["PTTL", key]).await, -1);
}

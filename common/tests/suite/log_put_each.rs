//! One field of many keys in one call, on the real server: each key has the fate that a put of its own would have.

use crate::support;

use std::time::Duration;

use millrace_common::log::functions;
use millrace_common::stores::features::{FeatureStore, Put, PutOutcome};
use millrace_core::codec;
use millrace_core::position::Position;
use millrace_core::slot::{Checkpoint, Slot};
use redis::RedisResult;
use support::Fixture;

fn slot(generation: u32, ms: u64, seq: u64) -> Vec<u8> {
    let checkpoint = Checkpoint { generation, position: Position::new(ms, seq) };
    codec::encode(&Slot { checkpoint, newest: Some(5), windows: Vec::new() })
}

async fn try_put_each(fixture: &mut Fixture, expire_ms: u64, puts: &[(String, Vec<u8>)]) -> RedisResult<Vec<i64>> {
    let keys: Vec<&str> = puts.iter().map(|(key, _)| key.as_str()).collect();
    let mut command = functions::call(functions::PUT_EACH, &keys);
    command.arg(expire_ms).arg("f");
    for (_, value) in puts {
        command.arg(value.as_slice());
    }
    command.query_async(&mut fixture.redis).await
}

async fn put_each(fixture: &mut Fixture, expire_ms: u64, puts: &[(&str, Vec<u8>)]) -> Vec<i64> {
    let puts: Vec<_> = puts.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    try_put_each(fixture, expire_ms, &puts).await.unwrap()
}

/// Reads the bytes of the field `f`. None where the key or the field does not exist.
async fn stored(fixture: &mut Fixture, key: &str) -> Option<Vec<u8>> {
    fixture.ask(&["HGET", key, "f"]).await
}

async fn ttl(fixture: &mut Fixture, key: &str) -> i64 {
    fixture.ask(&["PTTL", key]).await
}

#[tokio::test]
async fn a_slot_is_replaced_only_by_a_later_checkpoint_whatever_stands_beside_it() {
    let mut fixture = Fixture::new("each_order").await;
    let big = 1u64 << 53;
    let ascending = [
        (0, 0, 0),
        (0, 9, 10),
        (0, 10, 9),
        (0, u64::from(u32::MAX), u64::MAX),
        (0, 1 << 32, 0),
        (0, big, big),
        (0, big, big + 1),
        (0, big + 1, 0),
        (0, u64::MAX, u64::MAX - 1),
        (0, u64::MAX, u64::MAX),
        (1, 0, 0),
        (1, 0, 1),
        (u32::MAX, 0, 0),
    ]
    .map(|(generation, ms, seq)| slot(generation, ms, seq));
    let (mut olds, mut news, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    for (old_at, old) in ascending.iter().enumerate() {
        for (new_at, new) in ascending.iter().enumerate() {
            let key = format!("each_order:{old_at}:{new_at}");
            olds.push((key.clone(), old.clone()));
            news.push((key, new.clone()));
            wanted.push(match new_at.cmp(&old_at) {
                std::cmp::Ordering::Greater => 1,
                std::cmp::Ordering::Equal => 0,
                std::cmp::Ordering::Less => -1,
            });
        }
    }
    assert_eq!(try_put_each(&mut fixture, 0, &olds).await.unwrap(), vec![1; olds.len()]);
    assert_eq!(try_put_each(&mut fixture, 0, &news).await.unwrap(), wanted);
    for ((old, new), code) in olds.into_iter().zip(news).zip(wanted) {
        let value = stored(&mut fixture, &old.0).await.unwrap();
        assert_eq!(value, if code == 1 { new.1 } else { old.1 }, "{}", old.0);
    }
}

#[tokio::test]
async fn each_key_has_its_own_fate_and_what_is_no_slot_or_no_hash_stays() {
    let mut fixture = Fixture::new("each_fates").await;
    let mut foreign = slot(7, 1, 0);
    foreign[0] = 200;
    let keys = ["older", "same", "newer", "short", "foreign", "text", "absent", "beside", "absent"]
        .map(|name| format!("each_fates:{name}"));
    let [older, same, newer, short, foreign_key, text, absent, beside, _] = &keys;
    for (key, field, value) in [
        (older, "f", slot(6, 9, 9)),
        (same, "f", slot(7, 5, 0)),
        (newer, "f", slot(8, 1, 0)),
        (short, "f", b"x".to_vec()),
        (foreign_key, "f", foreign.clone()),
        (beside, "other", slot(9, 9, 9)),
    ] {
        let mut set = redis::cmd("HSET");
        let () = set.arg(key).arg(field).arg(value).query_async(&mut fixture.redis).await.unwrap();
    }
    let () = fixture.ask(&["SET", text, "x"]).await;
    let now = slot(7, 5, 0);
    let puts: Vec<_> = keys.iter().map(|key| (key.clone(), now.clone())).collect();
    assert_eq!(try_put_each(&mut fixture, 0, &puts).await.unwrap(), [1, 0, -1, -2, -2, -3, 1, 1, 0]);
    for (key, value) in [
        (older, now.clone()),
        (same, now.clone()),
        (newer, slot(8, 1, 0)),
        (short, b"x".to_vec()),
        (foreign_key, foreign),
        (absent, now.clone()),
        (beside, now),
    ] {
        assert_eq!(stored(&mut fixture, key).await, Some(value), "{key}");
    }
    assert_eq!(fixture.ask::<String>(&["GET", text]).await, "x");
}

#[tokio::test]
async fn where_no_key_is_there_yet_the_first_of_two_wins_unless_the_second_is_later() {
    let mut fixture = Fixture::new("each_twice").await;
    let (early, late) = (slot(1, 1, 0), slot(2, 1, 0));
    let puts = [
        ("each_twice:a", early.clone()),
        ("each_twice:b", late.clone()),
        ("each_twice:a", late.clone()),
        ("each_twice:b", early),
        ("each_twice:b", late.clone()),
    ];
    assert_eq!(put_each(&mut fixture, 0, &puts).await, [1, 1, 1, -1, 0]);
    assert_eq!(stored(&mut fixture, "each_twice:a").await.as_ref(), Some(&late));
    assert_eq!(stored(&mut fixture, "each_twice:b").await, Some(late));
}

#[tokio::test]
async fn only_what_was_written_moves_its_expiry() {
    let mut fixture = Fixture::new("each_expiry").await;
    let [streamed, same, new] = ["each_expiry:streamed", "each_expiry:same", "each_expiry:new"];
    // A hash that a streamed view lets go has no such field; another has it already.
    for (key, field) in [(streamed, "other"), (same, "f")] {
        let mut put = functions::call(functions::PUT, &[key]);
        put.arg(60_000).arg(1).arg(field).arg(slot(1, 1, 0));
        assert_eq!(put.query_async::<Vec<i64>>(&mut fixture.redis).await.unwrap(), [1]);
    }
    let all = |generation| [streamed, same, new].map(|key| (key, slot(generation, 1, 0)));
    assert_eq!(put_each(&mut fixture, 0, &all(1)).await, [1, 0, 1]);
    assert_eq!(ttl(&mut fixture, streamed).await, -1, "it never goes, with a lifetime value in it");
    assert!((1..=60_000).contains(&ttl(&mut fixture, same).await), "nothing was written");
    assert_eq!(ttl(&mut fixture, new).await, -1);
    assert_eq!(put_each(&mut fixture, 0, &all(2)).await, [1, 1, 1]);
    assert_eq!(ttl(&mut fixture, same).await, -1);

    assert_eq!(put_each(&mut fixture, 60_000, &all(2)).await, [0, 0, 0]);
    assert_eq!(ttl(&mut fixture, new).await, -1);
    assert_eq!(put_each(&mut fixture, 60_000, &all(3)).await, [1, 1, 1]);
    assert_eq!(put_each(&mut fixture, 60_000, &[("each_expiry:later", slot(1, 1, 0))]).await, [1]);
    for key in [streamed, same, new, "each_expiry:later"] {
        assert!((1..=60_000).contains(&ttl(&mut fixture, key).await), "{key}");
    }
}

#[tokio::test]
async fn a_malformed_call_writes_nothing() {
    let mut fixture = Fixture::new("each_bad").await;
    let good = ("each_bad:a".to_owned(), slot(0, 1, 0));
    for bad in [Vec::new(), vec![1; 20], vec![9; 40]] {
        let puts = [good.clone(), ("each_bad:b".to_owned(), bad)];
        try_put_each(&mut fixture, 0, &puts).await.unwrap_err();
    }
    try_put_each(&mut fixture, 0, &[]).await.unwrap_err();
    let too_many: Vec<_> = (0..4_001).map(|n| (format!("each_bad:{n}"), slot(0, 1, 0))).collect();
    let refused = try_put_each(&mut fixture, 0, &too_many).await.unwrap_err();
    assert!(refused.to_string().contains("put_each needs"), "{refused}");
    for arguments in [vec!["0", "f"], vec!["-1", "f", "x"], vec!["", "f", "x"], vec![]] {
        let mut command = functions::call(functions::PUT_EACH, &["each_bad:a"]);
        command.arg(&arguments);
        command.exec_async(&mut fixture.redis).await.unwrap_err();
    }
    let left: Vec<String> = fixture.ask(&["KEYS", "each_bad:a"]).await;
    assert_eq!((left.len(), fixture.ask::<u64>(&["EXISTS", "each_bad:b", "each_bad:0"]).await), (0, 0));
    assert_eq!(try_put_each(&mut fixture, 0, &too_many[1..]).await.unwrap(), vec![1; 4_000]);
}

/// Some puts share a call and some do not. The 304 puts take several calls.
#[tokio::test]
async fn outcomes_stand_in_the_order_of_the_puts_whichever_calls_they_went_in() {
    let mut fixture = Fixture::new("each_store").await;
    let store = FeatureStore::connect(&fixture.server.url(), 1, Duration::from_secs(10)).await.unwrap();
    let () = fixture.ask(&["SET", "each_store:3", "x"]).await;
    let () = fixture.ask(&["SET", "each_store:170", "x"]).await;
    let () = fixture.ask(&["HSET", "each_store:70", "f", "x"]).await;
    let put = |n: usize, generation| {
        let fields: &[&str] = if n % 50 == 20 { &["f", "g"] } else { &["f"] };
        let slots = fields.iter().map(|field| ((*field).to_owned(), slot(generation, 1, 0)));
        Put { key: format!("each_store:{n}"), expire_ms: (n >= 160).then_some(60_000), slots: slots.collect() }
    };
    let mut puts: Vec<Put> = (0..300).map(|n| put(n, 2)).collect();
    puts.extend([put(5, 2), put(6, 1), put(7, 3), put(170, 3)]);
    let outcomes = store.put(&puts).await.unwrap();
    for (n, (put, outcomes)) in puts.iter().zip(&outcomes).enumerate() {
        let expected = match n {
            3 | 170 | 303 => vec![PutOutcome::WrongType; put.slots.len()],
            70 => vec![PutOutcome::Undecodable, PutOutcome::Written],
            300 => vec![PutOutcome::Already],
            301 => vec![PutOutcome::Stale],
            _ => vec![PutOutcome::Written; put.slots.len()],
        };
        assert_eq!(outcomes, &expected, "{n}");
    }
    assert_eq!(outcomes.len(), puts.len());
    assert_eq!((ttl(&mut fixture, "each_store:159").await, ttl(&mut fixture, "each_store:160").await > 0), (-1, true));
    assert_eq!(stored(&mut fixture, "each_store:7").await, Some(slot(3, 1, 0)));
    let again = store.put(&puts[100..150]).await.unwrap();
    assert!(again.iter().flatten().all(|outcome| *outcome == PutOutcome::Already), "{again:?}");
}

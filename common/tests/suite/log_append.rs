//! Appending and reading, on the real server, also while it goes away and comes back.

use crate::support;

use std::time::Duration;

use millrace_common::log::{AppendError, Appender, Log, LogMeta, Reader};
use millrace_common::names::Names;
use millrace_core::entry::Entry;
use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use support::{Fixture, Redis, eventually};

const P: Partition = Partition(0);
const LONG: Duration = Duration::from_secs(30);

fn event(n: u64) -> Event {
    Event {
        event_type: "click".into(),
        source: "till".into(),
        id: EventId::Given(n.to_string()),
        time: Some(1_000),
        keys: vec![("user".into(), KeyText::from_canonical(&n.to_string()))],
        properties: format!(r#"{{"n":{n}}}"#),
        traceparent: None,
    }
}

async fn append(appender: &Appender, partition: Partition, events: &[Event]) -> Vec<Position> {
    let batch: Vec<_> = events.iter().map(|event| (partition, event)).collect();
    appender.append_batch(&batch).await.into_iter().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn what_is_appended_is_read_in_order_as_it_was() {
    let fixture = Fixture::new("append").await;
    let appender = Appender::open(&fixture.log, 2).await.unwrap();
    let events: Vec<Event> = (0..1_000).map(event).collect();
    let batch: Vec<_> = events.iter().enumerate().map(|(n, event)| (Partition((n % 2) as u16), event)).collect();
    let positions: Vec<_> = appender.append_batch(&batch).await.into_iter().map(Result::unwrap).collect();
    for partition in [0u16, 1] {
        let mut reader = Reader::open(&fixture.log, Partition(partition)).await.unwrap();
        let mut after = Position::ZERO;
        let mut read = Vec::new();
        loop {
            let entries = reader.read(after, 300, Duration::ZERO).await.unwrap();
            let Some(last) = entries.last() else { break };
            after = last.position;
            read.extend(entries);
        }
        let wanted: Vec<_> = batch.iter().zip(&positions).filter(|((p, _), _)| p.0 == partition).collect();
        assert_eq!(read.len(), wanted.len());
        for (entry, ((_, event), position)) in read.into_iter().zip(wanted) {
            assert_eq!(entry.position, *position);
            assert_eq!(Entry::decode(entry.fields().unwrap()), Ok(Entry::Event((*event).clone())));
        }
    }
}

#[tokio::test]
async fn a_waiting_read_is_woken_and_a_dropped_one_leaves_no_answer_behind() {
    let fixture = Fixture::new("waiting").await;
    let appender = Appender::open(&fixture.log, 1).await.unwrap();
    let mut reader = Reader::open(&fixture.log, P).await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(20), reader.read(Position::ZERO, 10, LONG)).await;
    assert!(dropped.is_err());
    let first = append(&appender, P, &[event(1)]).await[0];
    assert_eq!(reader.read(Position::ZERO, 10, LONG).await.unwrap()[0].position, first);
    let waiting = tokio::spawn(async move { reader.read(first, 10, LONG).await.unwrap() });
    let second = append(&appender, P, &[event(2)]).await[0];
    let woken = waiting.await.unwrap();
    assert_eq!(woken.iter().map(|entry| entry.position).collect::<Vec<_>>(), [second]);
}

#[tokio::test]
async fn a_read_that_waits_longer_than_the_drivers_default_is_no_error() {
    let fixture = Fixture::new("patient").await;
    let mut reader = Reader::open(&fixture.log, P).await.unwrap();
    assert_eq!(reader.read(Position::ZERO, 10, Duration::from_millis(700)).await.unwrap(), []);
    assert_eq!(reader.read(Position::ZERO, 10, Duration::from_micros(10)).await.unwrap(), [], "under 1 ms: no wait");
}

#[tokio::test]
async fn what_lies_before_a_position_is_read_newest_first() {
    let fixture = Fixture::new("backwards").await;
    let appender = Appender::open(&fixture.log, 1).await.unwrap();
    let mut reader = Reader::open(&fixture.log, P).await.unwrap();
    assert_eq!((reader.first_position().await.unwrap(), reader.last_position().await.unwrap()), (None, None));
    let positions = append(&appender, P, &(0..10).map(event).collect::<Vec<_>>()).await;
    let back: Vec<_> = reader.range_back(positions[6], 3).await.unwrap().iter().map(|entry| entry.position).collect();
    assert_eq!(back, [positions[6], positions[5], positions[4]]);
    assert_eq!(reader.range_back(positions[0].previous(), 3).await.unwrap(), []);
    assert_eq!(reader.first_position().await.unwrap(), Some(positions[0]));
    assert_eq!(reader.last_position().await.unwrap(), Some(positions[9]));
}

#[tokio::test]
async fn an_entry_that_is_no_text_does_not_hold_up_its_neighbours() {
    let mut fixture = Fixture::new("no_text").await;
    let key = fixture.log.names().events(P);
    for value in [&b"good"[..], &[0xff, 0xfe], b"good"] {
        let () =
            redis::cmd("XADD").arg(&key).arg("*").arg("f").arg(value).query_async(&mut fixture.redis).await.unwrap();
    }
    let mut reader = Reader::open(&fixture.log, P).await.unwrap();
    let entries = reader.read(Position::ZERO, 10, Duration::ZERO).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.fields().is_ok()).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn nothing_is_appended_to_a_stream_that_nobody_made() {
    let mut fixture = Fixture::new("unmade").await;
    let appender = Appender::open(&fixture.log, 1).await.unwrap();
    let key = fixture.log.names().events(P);
    let () = fixture.ask(&["DEL", &key]).await;
    let (one, two, elsewhere) = (event(1), event(2), event(3));
    let answers = appender.append_batch(&[(P, &one), (Partition(1), &two)]).await;
    assert!(matches!(answers[..], [Err(AppendError::Unavailable(_)), Ok(_)]), "{answers:?}");
    let answers = appender.append_batch(&[(Partition(7), &elsewhere)]).await;
    assert!(matches!(answers[..], [Err(AppendError::Unavailable(_))]), "{answers:?}");
    let exists: u64 = fixture.ask(&["EXISTS", &key]).await;
    assert_eq!(exists, 0);
}

#[tokio::test]
async fn a_redis_that_went_away_is_found_again_and_nothing_accepted_is_lost() {
    let mut server = Redis::start();
    let log = Log::create(&server.url(), Names::new("away"), LogMeta::new(1, 300_000)).await.unwrap();
    let appender = Appender::open(&log, 2).await.unwrap();
    let mut reader = Reader::open(&log, P).await.unwrap();
    let mut accepted = append(&appender, P, &(0..100).map(event).collect::<Vec<_>>()).await;
    server.kill();
    let lost = event(100);
    eventually("the loss is noticed as such", async || {
        let answers = appender.append_batch(&[(P, &lost)]).await;
        assert!(matches!(answers[..], [Err(AppendError::Unavailable(_) | AppendError::Unknown(_))]), "{answers:?}");
        matches!(answers[..], [Err(AppendError::Unavailable(_))])
    })
    .await;
    assert!(log.ping().await.unwrap_err().is_transient());
    assert!(reader.read(Position::ZERO, 10, Duration::ZERO).await.unwrap_err().is_transient());
    server.restart();
    let next = event(101);
    eventually("it is found again", async || {
        let answers = appender.append_batch(&[(P, &next)]).await;
        accepted.extend(answers.iter().flatten());
        answers[0].is_ok()
    })
    .await;
    eventually("a ping gets through", async || log.ping().await.is_ok()).await;
    let read = reader.read(Position::ZERO, 1_000, Duration::ZERO).await.unwrap();
    let read: Vec<Position> = read.iter().map(|entry| entry.position).collect();
    assert!(accepted.iter().all(|position| read.contains(position)));
}

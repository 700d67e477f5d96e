//! A full Redis: events are refused, and everything that drains the log goes on. Each test fills a server of its own.

use crate::support;

use std::sync::Arc;
use std::time::Duration;

use millrace_common::log::{
    Advance, Advanced, AppendError, Appender, DeadLetter, Group, Log, LogError, LogMeta, cursor, functions, lease,
    members, registry,
};
use millrace_common::names::Names;
use millrace_core::definitions::DefinitionsSource;
use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use support::{Fixture, Redis, eventually};

const P: Partition = Partition(0);
const LEASE: Duration = Duration::from_secs(60);

fn event() -> Event {
    Event {
        event_type: "click".into(),
        source: String::new(),
        id: EventId::Given("1".into()),
        time: None,
        keys: vec![("user".into(), KeyText::from_canonical("7"))],
        properties: "{}".into(),
        traceparent: None,
    }
}

#[tokio::test]
async fn at_the_limit_consumers_work_on_while_appends_are_refused() {
    let mut fixture = Fixture::on(Arc::new(Redis::start()), "full").await;
    let appender = Appender::open_refusing_above(&fixture.log, 1, f64::INFINITY).await.unwrap();
    let position = appender.append_batch(&[(P, &event())]).await.remove(0).unwrap();
    let () = fixture.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(appender.append_batch(&[(P, &event())]).await, [Err(AppendError::Pressure)]);
    let control =
        registry::apply(&fixture.log, &DefinitionsSource { yaml: "{}".into(), schemas: Default::default() }, 1)
            .await
            .unwrap_err();
    assert!(control.is_out_of_memory() && control.is_transient());

    let log = fixture.log.clone();
    assert_eq!(members::heartbeat(&log, Group::Online, "a", LEASE).await.unwrap(), ["a"]);
    let key = log.names().cursor(P, Group::Online);
    let token = support::acquire(&log, &key, "a", LEASE).await.unwrap().token;
    assert!(lease::renew(&log, &key, &token, LEASE).await.unwrap().is_some());
    assert!(cursor::intend(&log, P, Group::Online, &token, "redis", Position::ZERO, "all").await.unwrap());
    let mut reader = millrace_common::log::Reader::open(&log, P).await.unwrap();
    assert_eq!(reader.read(Position::ZERO, 10, Duration::ZERO).await.unwrap().len(), 1);
    let mut value = vec![0u8; 21];
    value[0] = 1;
    let mut put = functions::call(functions::PUT, &["full:f:{user:7}"]);
    put.arg(60_000).arg(1).arg("f").arg(&value);
    assert_eq!(put.query_async::<Vec<i64>>(&mut fixture.redis).await.unwrap(), [1]);
    let mut put_each = functions::call(functions::PUT_EACH, &["full:f:{user:8}", "full:f:{user:9}"]);
    put_each.arg(0).arg("f").arg(&value).arg(&value);
    assert_eq!(put_each.query_async::<Vec<i64>>(&mut fixture.redis).await.unwrap(), [1, 1]);
    let dead = [DeadLetter { position, reason: "full".into(), ..DeadLetter::default() }];
    let advance = Advance {
        partition: P,
        group: Group::Online,
        token: &token,
        sink: "redis",
        from: Position::ZERO,
        to: position,
        entries: 1,
        trim_to: Some(position),
        dead: &dead,
    };
    assert_eq!(cursor::advance(&log, &advance).await.unwrap(), Advanced::Done);
    assert!(lease::release(&log, &key, &token).await.unwrap());
    members::leave(&log, Group::Online, "a").await.unwrap();
    log.connect().await.unwrap();
}

#[tokio::test]
async fn events_are_refused_well_below_the_limit_and_taken_again_with_room() {
    let mut fixture = Fixture::on(Arc::new(Redis::start()), "pressure").await;
    let appender = Appender::open(&fixture.log, 1).await.unwrap();
    assert_eq!((appender.pressure().limit, appender.is_refusing()), (0, false));
    let used = appender.pressure().used;
    let () = fixture.ask(&["CONFIG", "SET", "maxmemory", &(used * 10 / 9).to_string()]).await;
    eventually("the pressure is seen", async || appender.is_refusing()).await;
    assert_eq!(appender.append_batch(&[(P, &event())]).await, [Err(AppendError::Pressure)]);
    let () = fixture.ask(&["XADD", "pressure:still-room", "*", "a", "b"]).await;
    let () = fixture.ask(&["CONFIG", "SET", "maxmemory", &(used * 10).to_string()]).await;
    eventually("the room is seen", async || !appender.is_refusing()).await;
    assert!(appender.append_batch(&[(P, &event())]).await[0].is_ok());
}

#[tokio::test]
async fn a_redis_that_may_evict_is_refused() {
    let mut fixture = Fixture::on(Arc::new(Redis::start()), "evict").await;
    let () = fixture.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let url = fixture.server.url();
    let opened = Log::open(&url, Names::new("evict")).await.err();
    assert!(matches!(opened, Some(LogError::Evicts(policy)) if policy == "allkeys-lru"));
    let created = Log::create(&url, Names::new("other"), LogMeta::default()).await.err();
    assert!(matches!(created, Some(LogError::Evicts(_))));
}

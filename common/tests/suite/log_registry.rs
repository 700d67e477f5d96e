//! Making the log, putting definitions in force, and who works in a group, on the real server.

use crate::support;

use std::sync::Arc;
use std::time::Duration;

use millrace_common::log::{Group, Log, LogError, LogMeta, Reader, functions, members, registry, status};
use millrace_common::names::Names;
use millrace_core::definitions::DefinitionsSource;
use millrace_core::entry::{Control, Entry};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use support::{Fixture, Redis, eventually, shared};

fn source(text: &str) -> DefinitionsSource {
    let schemas = [("a.json".to_owned(), serde_json::json!({"type": "object"}))].into();
    DefinitionsSource { yaml: text.to_owned(), schemas }
}

async fn controls(log: &Log, partition: Partition) -> Vec<Control> {
    let mut reader = Reader::open(log, partition).await.unwrap();
    let entries = reader.read(Position::ZERO, 100, Duration::ZERO).await.unwrap();
    let decoded = entries.into_iter().map(|entry| Entry::decode(entry.fields().unwrap()).unwrap());
    decoded.map(|entry| if let Entry::Control(control) = entry { control } else { panic!("{entry:?}") }).collect()
}

async fn control(
    fixture: &mut Fixture,
    partition: u16,
    version: &str,
    engine: &str,
) -> redis::RedisResult<(String, String)> {
    let names = fixture.log.names();
    let (events, versions) = (names.events(Partition(partition)), names.versions(Partition(partition)));
    let fields = ["control", "definitions", "version", version, "engine", engine];
    let call = ["FCALL", functions::CONTROL, "2", &events, &versions, version, engine];
    fixture.try_ask(&call.into_iter().chain(fields).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn a_log_is_made_once_and_keeps_what_it_was_made_with() {
    let server = shared();
    let names = || Names::new("create");
    assert!(matches!(Log::open(&server.url(), names()).await.err(), Some(LogError::NotCreated(ns)) if ns == "create"));
    let meta = LogMeta::new(3, 300_000);
    Log::create(&server.url(), names(), meta.clone()).await.unwrap();
    Log::create(&server.url(), names(), meta.clone()).await.unwrap();
    let log = Log::open(&server.url(), names()).await.unwrap();
    assert_eq!((log.meta(), log.partitions().count()), (&meta, 3));
    let others = [
        LogMeta::new(4, 300_000),
        LogMeta::new(3, 1),
        LogMeta { hash: "md5".into(), ..meta.clone() },
        LogMeta { format: 9, ..meta },
    ];
    for other in others {
        let refused = Log::create(&server.url(), names(), other).await.err().unwrap();
        assert!(matches!(refused, LogError::Different { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_log_without_its_library_or_from_a_newer_binary_says_what_to_do() {
    let mut fixture = Fixture::on(Arc::new(Redis::start()), "library").await;
    let url = fixture.server.url();
    let () = fixture.ask(&["HSET", "library:log", "format", "2"]).await;
    let newer = Log::open(&url, Names::new("library")).await.err().unwrap();
    assert_eq!(newer.to_string(), "the log's format `2` is not known to this binary; run a newer one");
    let () = fixture.ask(&["HSET", "library:log", "format", "1"]).await;
    let () = fixture.ask(&["FUNCTION", "FLUSH"]).await;
    let missing = Log::open(&url, Names::new("library")).await.err().unwrap();
    assert!(matches!(missing, LogError::LibraryMissing { .. }) && !missing.is_transient());
    assert!(matches!(fixture.log.connect().await.err(), Some(LogError::LibraryMissing { .. })));
}

#[tokio::test]
async fn an_earlier_text_of_the_library_is_noticed_and_replaced() {
    let mut fixture = Fixture::on(Arc::new(Redis::start()), "earlier").await;
    let url = fixture.server.url();
    let without = |line: &&str| !line.starts_with("register('put_each'");
    let earlier: Vec<&str> = functions::TEXT.lines().filter(without).collect();
    let () = fixture.ask(&["FUNCTION", "LOAD", "REPLACE", &earlier.join("\n")]).await;
    let missing = Log::open(&url, Names::new("earlier")).await.err().unwrap();
    assert!(matches!(missing, LogError::LibraryMissing { missing, .. } if missing == functions::PUT_EACH));
    // A log that was open already still works, before and after the replacement: its functions keep their names.
    fixture.log.connect().await.unwrap();
    Log::create(&url, Names::new("earlier"), LogMeta::new(2, 300_000)).await.unwrap();
    Log::open(&url, Names::new("earlier")).await.unwrap();
    fixture.log.connect().await.unwrap();
}

#[tokio::test]
async fn control_refuses_a_gap_and_is_idempotent() {
    let mut fixture = Fixture::new("control").await;
    assert_eq!(control(&mut fixture, 0, "2", "1").await.unwrap(), ("gap".into(), "0".into()));
    let first = control(&mut fixture, 0, "1", "1").await.unwrap();
    assert_eq!(first.0, "ok");
    assert_eq!(control(&mut fixture, 0, "1", "1").await.unwrap(), first);
    assert_eq!(control(&mut fixture, 0, "3", "1").await.unwrap(), ("gap".into(), "1".into()));
    control(&mut fixture, 0, "1", "2").await.unwrap_err();
    assert_eq!(control(&mut fixture, 0, "2", "2").await.unwrap().0, "ok");
    assert_eq!(
        controls(&fixture.log, Partition(0)).await,
        [Control { version: 1, engine: 1 }, Control { version: 2, engine: 2 }]
    );
    let rows = registry::in_force(&fixture.log, Partition(0)).await.unwrap();
    assert_eq!((rows[0].position.to_string(), rows[1].version, rows[1].engine), (first.1, 2, 2));
}

#[tokio::test]
async fn applying_the_same_again_changes_nothing_and_something_else_is_the_next_version() {
    let fixture = Fixture::new("apply").await;
    let log = &fixture.log;
    assert_eq!((registry::latest(log).await.unwrap(), registry::everywhere(log).await.unwrap()), (0, None));
    assert_eq!(registry::apply(log, &source("a"), 1).await.unwrap(), 1);
    assert_eq!(registry::apply(log, &source("a"), 1).await.unwrap(), 1);
    assert_eq!(registry::apply(log, &source("b"), 2).await.unwrap(), 2);
    assert_eq!(registry::apply(log, &source("a"), 1).await.unwrap(), 3, "going back is a version too");
    assert_eq!(registry::definitions(log, 2).await.unwrap(), Some(source("b")));
    assert_eq!(registry::definitions(log, 4).await.unwrap(), None);
    assert_eq!(registry::everywhere(log).await.unwrap(), Some(3));
    for partition in log.partitions() {
        let wanted = [(1, 1), (2, 2), (3, 1)].map(|(version, engine)| Control { version, engine });
        assert_eq!(controls(log, partition).await, wanted);
    }
}

#[tokio::test]
async fn an_apply_that_was_interrupted_is_completed_by_the_next() {
    let mut fixture = Fixture::new("resume").await;
    let log = fixture.log.clone();
    registry::apply(&log, &source("a"), 1).await.unwrap();
    // Stored and in force in one partition only, not yet noted as the latest.
    let json = r#"{"engine":1,"yaml":"b","schemas":{"a.json":{"type":"object"}}}"#;
    let () = fixture.ask(&["SET", &log.names().definitions_version(2), json]).await;
    control(&mut fixture, 0, "2", "1").await.unwrap();
    assert_eq!(registry::everywhere(&log).await.unwrap(), Some(1));
    assert_eq!(registry::apply(&log, &source("b"), 1).await.unwrap(), 2);
    assert_eq!(registry::everywhere(&log).await.unwrap(), Some(2));
    assert_eq!(controls(&log, Partition(0)).await.len(), 2);

    let () = fixture.ask(&["SET", &log.names().definitions_version(3), &json.replace('b', "c")]).await;
    assert_eq!(registry::apply(&log, &source("d"), 1).await.unwrap(), 4, "what was left undone comes first");
    assert_eq!(registry::everywhere(&log).await.unwrap(), Some(4));
}

#[tokio::test]
async fn workers_find_each_other_and_forget_the_dead() {
    let fixture = Fixture::new("members").await;
    let log = &fixture.log;
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(1));
    assert_eq!(members::heartbeat(log, Group::Online, "b", long).await.unwrap(), ["b"]);
    assert_eq!(members::heartbeat(log, Group::Online, "a", long).await.unwrap(), ["a", "b"]);
    assert_eq!(members::heartbeat(log, Group::Offline, "c", long).await.unwrap(), ["c"]);
    members::leave(log, Group::Online, "b").await.unwrap();
    members::heartbeat(log, Group::Online, "d", short).await.unwrap();
    eventually("the dead are forgotten", async || {
        members::heartbeat(log, Group::Online, "a", long).await.unwrap() == ["a"]
    })
    .await;
}

#[tokio::test]
async fn the_status_shows_owners_positions_and_lag() {
    let fixture = Fixture::new("status").await;
    let log = &fixture.log;
    registry::apply(log, &source("a"), 1).await.unwrap();
    let p = Partition(1);
    let lease =
        support::acquire(log, &log.names().cursor(p, Group::Online), "w1", Duration::from_secs(60)).await.unwrap();
    let shown = status::status(log).await.unwrap();
    assert_eq!(shown.len(), 2);
    let shown = &shown[1];
    assert_eq!((shown.partition, shown.length, shown.appended, shown.dead, shown.version), (p, 1, 1, 0, 1));
    assert_eq!(shown.last, registry::in_force(log, p).await.unwrap()[0].position);
    let online = &shown.groups[0];
    assert_eq!((online.owner.as_deref(), online.epoch, online.lag), (Some("w1"), lease.token.epoch, Some(1)));
    assert!(online.lease_left > Duration::from_secs(30) && online.sinks.len() == 2);
    let offline = &shown.groups[1];
    assert_eq!((offline.owner.as_deref(), offline.epoch, offline.lag), (None, 0, Some(1)));
}

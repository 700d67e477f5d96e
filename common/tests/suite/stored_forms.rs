//! Goldens of what stands in Redis: the fields of an entry, a cursor, a dead letter, a job, a run and a version. Binaries
//! of different versions work on them side by side, so a change here is a new format.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_common::log::job::{self, RunCounts, RunEnding, RunOutcome};
use millrace_common::log::{Advance, Advanced, Appender, DeadLetter, Group, LeaseToken, cursor, lease, registry};
use millrace_core::definitions::DefinitionsSource;
use millrace_core::event::{Event, EventId};
use millrace_core::key::KeyText;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use crate::support::{Fixture, acquire};

const P: Partition = Partition(1);
const LEASE: Duration = Duration::from_secs(60);

/// A hash without the fields that hold a clock's time.
async fn hash(fixture: &mut Fixture, key: &str, clocks: &[&str]) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = fixture.ask(&["HGETALL", key]).await;
    for clock in clocks {
        let time = fields.remove(*clock);
        assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{clock} is a time");
    }
    fields
}

/// The fields of the first entry of a stream, in order.
async fn first_entry(fixture: &mut Fixture, stream: &str) -> Vec<String> {
    let entries: Vec<(String, Vec<String>)> = fixture.ask(&["XRANGE", stream, "-", "+", "COUNT", "1"]).await;
    entries.into_iter().next().unwrap().1
}

fn fields<const N: usize>(fields: [(&str, &str); N]) -> BTreeMap<String, String> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn an_entry() {
    let mut fixture = Fixture::new("form_entry").await;
    let event = Event {
        event_type: "click".into(),
        source: "till".into(),
        id: EventId::Given("e-1".into()),
        time: Some(1_700_000_000_123),
        keys: vec![("user".into(), KeyText::from_canonical("7")), ("item".into(), KeyText::from_canonical("a%2Cb"))],
        properties: r#"{"n":1.50}"#.into(),
        traceparent: Some("00-1-2-01".into()),
    };
    let appender = Appender::open(&fixture.log, 1).await.unwrap();
    appender.append_batch(&[(P, &event)]).await.remove(0).unwrap();
    let events = fixture.log.names().events(P);
    let wanted = [
        "type",
        "click",
        "source",
        "till",
        "id",
        "e-1",
        "time",
        "1700000000123",
        "key:user",
        "7",
        "key:item",
        "a%2Cb",
        "properties",
        r#"{"n":1.50}"#,
        "traceparent",
        "00-1-2-01",
    ];
    assert_eq!(first_entry(&mut fixture, &events).await, wanted);
}

#[tokio::test]
async fn a_cursor_and_a_dead_letter() {
    let mut fixture = Fixture::new("form_cursor").await;
    let (group, to) = (Group::Online, Position::new(5, 1));
    let key = fixture.log.names().cursor(P, group);
    let token = acquire(&fixture.log, &key, "host-1", LEASE).await.unwrap().token;
    assert_eq!(hash(&mut fixture, &key, &["expires"]).await, fields([("owner", "host-1"), ("epoch", "1")]));
    assert!(cursor::intend(&fixture.log, P, group, &token, "redis", Position::ZERO, "range").await.unwrap());
    let intended = fields([("owner", "host-1"), ("epoch", "1"), ("redis:in_flight", "range")]);
    assert_eq!(hash(&mut fixture, &key, &["expires"]).await, intended);

    let letter = DeadLetter {
        group: "online".into(),
        sink: "redis".into(),
        view: Some("spend@1".into()),
        key: Some("7".into()),
        position: to,
        event_id: Some("e-1".into()),
        reason: "too large".into(),
        raw: "{}".into(),
    };
    let (from, dead) = (Position::ZERO, [letter]);
    let step =
        Advance { partition: P, group, token: &token, sink: "redis", from, to, entries: 3, trim_to: None, dead: &dead };
    assert_eq!(cursor::advance(&fixture.log, &step).await.unwrap(), Advanced::Done);
    let moved = [("owner", "host-1"), ("epoch", "1"), ("redis:position", "5-1"), ("redis:entries", "3")];
    assert_eq!(hash(&mut fixture, &key, &["expires"]).await, fields(moved));
    let dead = fixture.log.names().dead(P);
    let wanted = ["group", "online", "sink", "redis", "view", "spend@1", "key", "7", "event_id", "e-1"];
    let wanted = wanted.into_iter().chain(["position", "5-1", "reason", "too large", "raw", "{}"]);
    assert_eq!(first_entry(&mut fixture, &dead).await, wanted.collect::<Vec<_>>());

    assert!(lease::release(&fixture.log, &key, &token).await.unwrap());
    let released = [("owner", ""), ("epoch", "1"), ("redis:position", "5-1"), ("redis:entries", "3")];
    assert_eq!(hash(&mut fixture, &key, &["expires"]).await, fields(released));
}

#[tokio::test]
async fn a_job_and_its_runs() {
    const VIEW: &str = "nightly@1";
    let mut fixture = Fixture::new("form_job").await;
    let (log, names) = (fixture.log.clone(), fixture.log.names().clone());
    let token = acquire(&log, &names.job(VIEW), "host-1", LEASE).await.unwrap().token;
    assert_eq!(token, LeaseToken { owner: "host-1".into(), epoch: 1 });
    assert!(job::begin(&log, VIEW, &token, 1_000).await.unwrap());
    let begun = fields([
        ("owner", "host-1"),
        ("epoch", "1"),
        ("running", "1"),
        ("running_as_of", "1000"),
        ("first_as_of", "1000"),
    ]);
    assert_eq!(hash(&mut fixture, &names.job(VIEW), &["expires", "running_since"]).await, begun);

    let counts = RunCounts { rows: 9, written: 5, already: 3, failed: 1 };
    let failed_keys = [("7".to_owned(), "too large".to_owned())];
    let ending =
        RunEnding { outcome: RunOutcome::Succeeded, counts: &counts, reason: "why", failed_keys: &failed_keys };
    assert!(job::finish(&log, VIEW, &token, 1, &ending).await.unwrap());
    let ended = fields([
        ("owner", "host-1"),
        ("epoch", "1"),
        ("first_as_of", "1000"),
        ("finished", "1"),
        ("completed", "1"),
        ("completed_as_of", "1000"),
        ("completed_rows", "9"),
        ("outcome", "succeeded"),
        ("settled", "1000"),
    ]);
    assert_eq!(hash(&mut fixture, &names.job(VIEW), &["expires", "completed_at"]).await, ended);
    let mut record = first_entry(&mut fixture, &names.job_runs(VIEW)).await;
    for time in [7, 5] {
        assert!(record.remove(time).parse::<u64>().is_ok());
    }
    let wanted = ["run", "1", "as_of", "1000", "started", "ended", "outcome", "succeeded", "rows", "9"];
    let wanted = wanted.into_iter().chain(["written", "5", "already", "3", "failed", "1", "reason", "why"]);
    assert_eq!(record, wanted.collect::<Vec<_>>());
    assert_eq!(hash(&mut fixture, &names.job_failed(VIEW, 1), &[]).await, fields([("7", "too large")]));
}

#[tokio::test]
async fn a_version_of_the_definitions() {
    let mut fixture = Fixture::new("form_versions").await;
    let schemas = [("a.json".to_owned(), serde_json::json!({ "type": "object" }))].into();
    let source = DefinitionsSource { yaml: "entities: {}".into(), schemas };
    assert_eq!(registry::apply(&fixture.log, &source, 3).await.unwrap(), 1);
    let names = fixture.log.names().clone();
    let stored: String = fixture.ask(&["GET", &names.definitions_version(1)]).await;
    assert_eq!(stored, r#"{"engine":3,"yaml":"entities: {}","schemas":{"a.json":{"type":"object"}}}"#);
    assert_eq!(hash(&mut fixture, &names.definitions(), &["applied_at_ms"]).await, fields([("latest", "1")]));
    let control = first_entry(&mut fixture, &names.events(P)).await;
    assert_eq!(control, ["control", "definitions", "version", "1", "engine", "3"]);
    let entries: Vec<(String, Vec<String>)> = fixture.ask(&["XRANGE", &names.events(P), "-", "+"]).await;
    let row = format!("{} 3", entries[0].0);
    assert_eq!(hash(&mut fixture, &names.versions(P), &[]).await, fields([("1", &row)]));
    let log = [("partitions", "2"), ("dedupe_ms", "300000"), ("hash", "xxh3_64"), ("format", "1")];
    assert_eq!(hash(&mut fixture, &names.log(), &[]).await, fields(log));
}

//! Leases, progress, lag and trimming, on the real server.

use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_common::log::{
    Advance, Advanced, DeadLetter, Group, LeaseGrant, LeaseToken, SinkCursor, cursor, dead, lease,
};
use millrace_core::partition::Partition;
use millrace_core::position::Position;
use support::{Fixture, eventually};

const P: Partition = Partition(1);
const LEASE: Duration = Duration::from_secs(60);

async fn acquire(fixture: &Fixture, group: Group, owner: &str) -> Option<LeaseGrant> {
    support::acquire(&fixture.log, &key(fixture, group), owner, LEASE).await
}

fn key(fixture: &Fixture, group: Group) -> String {
    fixture.log.names().cursor(P, group)
}

/// A step of one sink, with nothing dead and nothing to trim.
fn step<'a>(
    group: Group,
    token: &'a LeaseToken,
    sink: &'a str,
    from: Position,
    to: Position,
    entries: u64,
) -> Advance<'a> {
    Advance { partition: P, group, token, sink, from, to, entries, trim_to: None, dead: &[] }
}

async fn advance(fixture: &Fixture, step: &Advance<'_>) -> Advanced {
    cursor::advance(&fixture.log, step).await.unwrap()
}

fn letter(position: Position) -> DeadLetter {
    let (group, sink) = ("online".to_owned(), "redis".to_owned());
    DeadLetter { group, sink, position, reason: "no good".into(), raw: "{}".into(), ..DeadLetter::default() }
}

/// Appends entries at those positions.
async fn fill(fixture: &mut Fixture, positions: impl Iterator<Item = Position>) -> Vec<Position> {
    let events = fixture.log.names().events(P);
    let mut pipeline = redis::pipe();
    let positions: Vec<Position> = positions.collect();
    for position in &positions {
        pipeline.cmd("XADD").arg(&events).arg(position.to_string()).arg("a").arg("b").ignore();
    }
    pipeline.exec_async(&mut fixture.redis).await.unwrap();
    positions
}

fn at(ms: u64) -> Position {
    Position::new(ms, 0)
}

/// Everything that a refused call must leave alone.
async fn all_of(fixture: &mut Fixture) -> (BTreeMap<String, String>, u64, u64, String) {
    let names = fixture.log.names().clone();
    let cursor = fixture.ask(&["HGETALL", &names.cursor(P, Group::Online)]).await;
    let events = fixture.ask(&["XLEN", &names.events(P)]).await;
    let dead = fixture.ask(&["XLEN", &names.dead(P)]).await;
    let groups: redis::Value = fixture.ask(&["XINFO", "GROUPS", &names.events(P)]).await;
    (cursor, events, dead, format!("{groups:?}"))
}

async fn lag(fixture: &Fixture, group: Group) -> Option<u64> {
    let status = millrace_common::log::status::status(&fixture.log).await.unwrap();
    status[usize::from(P.0)].groups.iter().find(|status| status.group == group).unwrap().lag
}

#[tokio::test]
async fn a_lease_is_one_owners_until_it_is_given_back() {
    let fixture = Fixture::new("lease").await;
    let lease = acquire(&fixture, Group::Online, "a").await.unwrap();
    assert_eq!(lease.token, LeaseToken { owner: "a".into(), epoch: 1 });
    let cursors = cursor::positions(&fixture.log, P, Group::Online).await.unwrap();
    assert_eq!(cursors["mongodb"], SinkCursor::default());
    assert_eq!(cursors.len(), 2);
    assert!(acquire(&fixture, Group::Online, "b").await.is_none());
    assert!(acquire(&fixture, Group::Offline, "b").await.is_some(), "the other group is another lease");
    assert!(lease::release(&fixture.log, &key(&fixture, Group::Online), &lease.token).await.unwrap());
    assert_eq!(acquire(&fixture, Group::Online, "b").await.unwrap().token.epoch, 2);
}

#[tokio::test]
async fn a_restarted_owner_takes_its_own_lease_at_once_and_fences_its_former_self() {
    let fixture = Fixture::new("restart").await;
    let before = acquire(&fixture, Group::Online, "a").await.unwrap();
    let after = acquire(&fixture, Group::Online, "a").await.unwrap();
    assert_eq!((before.token.epoch, after.token.epoch), (1, 2));
    assert!(lease::renew(&fixture.log, &key(&fixture, Group::Online), &before.token, LEASE).await.unwrap().is_none());
    assert!(lease::renew(&fixture.log, &key(&fixture, Group::Online), &after.token, LEASE).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lease_that_ran_out_is_still_good_until_somebody_takes_it() {
    let fixture = Fixture::new("run_out").await;
    let short = Duration::from_millis(1);
    let old = support::acquire(&fixture.log, &key(&fixture, Group::Online), "a", short).await.unwrap();
    assert!(lease::renew(&fixture.log, &key(&fixture, Group::Online), &old.token, short).await.unwrap().is_some());
    let to = at(1);
    let moved = advance(&fixture, &step(Group::Online, &old.token, "redis", Position::ZERO, to, 1)).await;
    assert_eq!(moved, Advanced::Done);
    let mut new = None;
    eventually("the lease has run out", async || {
        new = acquire(&fixture, Group::Online, "b").await;
        new.is_some()
    })
    .await;
    assert_eq!(new.unwrap().token.epoch, 2);
    assert_eq!(cursor::positions(&fixture.log, P, Group::Online).await.unwrap()["redis"].position, to);
    assert_eq!(advance(&fixture, &step(Group::Online, &old.token, "redis", to, at(2), 1)).await, Advanced::Fenced);
}

#[tokio::test]
async fn a_stale_epoch_is_refused_everywhere_and_changes_nothing() {
    let mut fixture = Fixture::new("stale").await;
    fill(&mut fixture, (1..=300).map(|n| at(n * 10_000))).await;
    let stale = acquire(&fixture, Group::Online, "a").await.unwrap().token;
    acquire(&fixture, Group::Online, "a").await.unwrap();
    let other_owner = LeaseToken { owner: "b".into(), epoch: 2 };
    let before = all_of(&mut fixture).await;
    for token in [stale, other_owner] {
        let (log, group) = (&fixture.log, Group::Online);
        assert!(lease::renew(log, &key(&fixture, group), &token, LEASE).await.unwrap().is_none());
        assert!(!cursor::intend(log, P, group, &token, "redis", Position::ZERO, "range").await.unwrap());
        let dead = [letter(at(1))];
        let advance = Advance {
            trim_to: Some(at(3_000_000)),
            dead: &dead,
            ..step(group, &token, "redis", Position::ZERO, at(3_000_000), 300)
        };
        assert_eq!(cursor::advance(log, &advance).await.unwrap(), Advanced::Fenced);
        assert!(!lease::release(log, &key(&fixture, group), &token).await.unwrap());
    }
    assert_eq!(all_of(&mut fixture).await, before);
}

#[tokio::test]
async fn an_advance_from_the_wrong_position_says_where_it_is_and_changes_nothing() {
    let mut fixture = Fixture::new("wrong_position").await;
    fill(&mut fixture, (1..=300).map(|n| at(n * 10_000))).await;
    let token = acquire(&fixture, Group::Online, "a").await.unwrap().token;
    let first = step(Group::Online, &token, "redis", Position::ZERO, at(2_000_000), 200);
    assert_eq!(advance(&fixture, &first).await, Advanced::Done);
    let before = all_of(&mut fixture).await;
    let dead = [letter(at(1))];
    for from in [Position::ZERO, at(1_990_000), at(2_000_001)] {
        let wrong = Advance {
            trim_to: Some(at(3_000_000)),
            dead: &dead,
            ..step(Group::Online, &token, "redis", from, at(3_000_000), 100)
        };
        assert_eq!(advance(&fixture, &wrong).await, Advanced::Moved(at(2_000_000)));
        let intended = cursor::intend(&fixture.log, P, Group::Online, &token, "redis", from, "x").await.unwrap();
        assert!(!intended);
    }
    assert_eq!(all_of(&mut fixture).await, before);
}

#[tokio::test]
async fn an_advance_moves_the_cursor_keeps_dead_letters_and_clears_what_was_in_flight() {
    let mut fixture = Fixture::new("advance").await;
    fill(&mut fixture, (1..=10).map(at)).await;
    let token = acquire(&fixture, Group::Online, "a").await.unwrap().token;
    let log = &fixture.log;
    assert!(cursor::intend(log, P, Group::Online, &token, "redis", Position::ZERO, "0-0..7-0").await.unwrap());
    assert!(cursor::intend(log, P, Group::Online, &token, "mongodb", Position::ZERO, "mine").await.unwrap());
    let cursors = cursor::positions(log, P, Group::Online).await.unwrap();
    assert_eq!(cursors["redis"].in_flight.as_deref(), Some("0-0..7-0"));
    let dead = [letter(at(3)), DeadLetter { view: Some("v@1".into()), key: Some("7".into()), ..letter(at(5)) }];
    let step = Advance { dead: &dead, ..step(Group::Online, &token, "redis", Position::ZERO, at(7), 7) };
    assert_eq!(advance(&fixture, &step).await, Advanced::Done);
    assert_eq!(
        advance(&fixture, &step).await,
        Advanced::Moved(at(7)),
        "a lost answer shows as moved to the same place"
    );

    let cursors = cursor::positions(log, P, Group::Online).await.unwrap();
    assert_eq!(cursors["redis"], SinkCursor { position: at(7), entries_read: 7, in_flight: None });
    assert_eq!(cursors["mongodb"].in_flight.as_deref(), Some("mine"));
    let letters = dead::read(log, P, Position::ZERO, 10).await.unwrap();
    assert_eq!(letters.iter().map(|(_, letter)| letter.clone()).collect::<Vec<_>>(), dead);
    assert_eq!(dead::read(log, P, letters[0].0, 10).await.unwrap(), letters[1..]);
}

#[tokio::test]
async fn dead_letters_are_bounded_and_the_newest_stay() {
    const MOST: u64 = 100_000;
    let mut fixture = Fixture::new("bounded").await;
    fill(&mut fixture, (1..=10).map(at)).await;
    let dead_key = fixture.log.names().dead(P);
    let many = "for _ = 1, 5000 do redis.call('XADD', KEYS[1], '*', 'reason', 'old') end";
    for _ in 0..=MOST / 5_000 {
        let () = fixture.ask(&["EVAL", many, "1", &dead_key]).await;
    }
    let token = acquire(&fixture, Group::Online, "a").await.unwrap().token;
    let dead = [letter(at(3))];
    let step = Advance { dead: &dead, ..step(Group::Online, &token, "redis", Position::ZERO, at(7), 7) };
    assert_eq!(advance(&fixture, &step).await, Advanced::Done);
    let kept: u64 = fixture.ask(&["XLEN", &dead_key]).await;
    assert!((MOST..MOST + 1_000).contains(&kept), "{kept} letters are kept");
    let newest: redis::Value = fixture.ask(&["XREVRANGE", &dead_key, "+", "-", "COUNT", "1"]).await;
    assert!(format!("{newest:?}").contains("no good"));
}

#[tokio::test]
async fn an_advance_that_fails_leaves_the_cursor_where_it_was() {
    let mut fixture = Fixture::new("fails").await;
    fill(&mut fixture, (1..=10).map(at)).await;
    let token = acquire(&fixture, Group::Online, "a").await.unwrap().token;
    let back = step(Group::Online, &token, "redis", at(7), at(3), 1);
    assert!(!cursor::advance(&fixture.log, &back).await.unwrap_err().is_transient());
    let dead_key = fixture.log.names().dead(P);
    let () = fixture.ask(&["SET", &dead_key, "no stream"]).await;
    let dead = [letter(at(1))];
    let step = Advance { dead: &dead, ..step(Group::Online, &token, "redis", Position::ZERO, at(5), 5) };
    cursor::advance(&fixture.log, &step).await.unwrap_err();
    let cursors = cursor::positions(&fixture.log, P, Group::Online).await.unwrap();
    assert_eq!(cursors["redis"], SinkCursor::default());
    let () = fixture.ask(&["DEL", &dead_key]).await;
    assert_eq!(advance(&fixture, &step).await, Advanced::Done);
}

#[tokio::test]
async fn the_lag_that_redis_shows_is_that_of_the_slowest_sink() {
    let mut fixture = Fixture::new("lag").await;
    let token = acquire(&fixture, Group::Online, "a").await.unwrap().token;
    assert_eq!(lag(&fixture, Group::Online).await, Some(0));
    fill(&mut fixture, (1..=1_000).map(at)).await;
    assert_eq!(lag(&fixture, Group::Online).await, Some(1_000));
    let go = async |sink, from: u64, to: u64| {
        let step = step(Group::Online, &token, sink, at(from), at(to), to - from);
        assert_eq!(advance(&fixture, &step).await, Advanced::Done);
        lag(&fixture, Group::Online).await
    };
    assert_eq!(go("redis", 0, 900).await, Some(1_000));
    assert_eq!(go("mongodb", 0, 300).await, Some(700));
    assert_eq!(go("redis", 900, 1_000).await, Some(700));
    assert_eq!(go("mongodb", 300, 1_000).await, Some(0));
    assert_eq!(lag(&fixture, Group::Offline).await, Some(1_000));
    fill(&mut fixture, (1_001..=1_005).map(at)).await;
    assert_eq!(lag(&fixture, Group::Online).await, Some(5));
}

#[tokio::test]
async fn trimming_never_passes_a_slow_sink_less_what_a_resend_may_need() {
    let mut fixture = Fixture::new("trim").await;
    // One entry a second for 4,000 s; the guard is 60 s of loss window and 300 s of duplicates.
    let end = at(4_000_000);
    fill(&mut fixture, (1..=4_000).map(|n| at(n * 1_000))).await;
    let online = acquire(&fixture, Group::Online, "a").await.unwrap().token;
    let offline = acquire(&fixture, Group::Offline, "a").await.unwrap().token;
    let events = fixture.log.names().events(P);
    let mut reader = millrace_common::log::Reader::open(&fixture.log, P).await.unwrap();
    let mut go = async |group, token, sink, from: u64, to: u64| {
        let advance =
            Advance { trim_to: Some(end), ..step(group, token, sink, at(from * 1_000), at(to * 1_000), to - from) };
        assert_eq!(cursor::advance(&fixture.log, &advance).await.unwrap(), Advanced::Done);
        reader.first_position().await.unwrap().unwrap().ms / 1_000
    };
    assert_eq!(go(Group::Online, &online, "redis", 0, 3_990).await, 1);
    assert_eq!(go(Group::Online, &online, "mongodb", 0, 3_990).await, 1);
    assert_eq!(go(Group::Online, &online, "redis", 3_990, 3_991).await, 1, "offline has not begun");
    assert_eq!(go(Group::Offline, &offline, "clickhouse", 0, 1_500).await, 1, "it stood at 0 before the call");
    let first = go(Group::Online, &online, "redis", 3_991, 3_992).await;
    assert!((900..=1_500 - 360).contains(&first), "{first}");
    assert_eq!(go(Group::Offline, &offline, "dead_letters", 0, 5_000).await, first, "it reads no events");
    let first = go(Group::Offline, &offline, "clickhouse", 1_500, 3_990).await;
    assert!(first <= 1_500 - 360, "{first}");
    let first = go(Group::Offline, &offline, "clickhouse", 3_990, 4_000).await;
    assert!((3_400..=3_990 - 360).contains(&first), "{first}");
    let left: u64 = fixture.ask(&["XLEN", &events]).await;
    assert_eq!(left, 4_000 - first + 1, "nothing behind the bound is gone");
    assert_eq!(lag(&fixture, Group::Online).await, Some(10), "trimming does not bend the lag");
}

#[tokio::test]
async fn trimming_never_passes_what_was_asked_for() {
    let mut fixture = Fixture::new("trim_asked").await;
    fill(&mut fixture, (1..=4_000).map(|n| at(n * 1_000))).await;
    for group in Group::ALL {
        let token = acquire(&fixture, group, "a").await.unwrap().token;
        for sink in group.event_sinks() {
            let to = at(4_000_000);
            assert_eq!(advance(&fixture, &step(group, &token, sink, Position::ZERO, to, 4_000)).await, Advanced::Done);
        }
        if group == Group::Offline {
            let trim_to = Some(at(1_000_000));
            let last = Advance { trim_to, ..step(group, &token, "clickhouse", at(4_000_000), at(4_000_001), 0) };
            assert_eq!(advance(&fixture, &last).await, Advanced::Done);
        }
    }
    let mut reader = millrace_common::log::Reader::open(&fixture.log, P).await.unwrap();
    let first = reader.first_position().await.unwrap().unwrap().ms / 1_000;
    assert!((800..=1_000).contains(&first), "{first}");
}

#[tokio::test]
async fn positions_are_compared_to_their_last_bit() {
    let fixture = Fixture::new("last_bit").await;
    let token = acquire(&fixture, Group::Online, "a").await.unwrap().token;
    // Two positions that are one number in a double, and that a comparison of texts would put the other way round.
    let (low, high) = (Position::new(9, (1 << 53) + 1), Position::new(10, (1 << 53) + 1));
    let next = Position::new(10, (1 << 53) + 2);
    let last = Position::new(u64::MAX, u64::MAX);
    let mut from = Position::ZERO;
    for to in [low, high, next, last.previous(), last] {
        let wrong = step(Group::Online, &token, "redis", from.next(), last, 1);
        if from.next() < last {
            assert_eq!(advance(&fixture, &wrong).await, Advanced::Moved(from));
        }
        assert_eq!(advance(&fixture, &step(Group::Online, &token, "redis", from, to, 1)).await, Advanced::Done);
        from = to;
    }
}

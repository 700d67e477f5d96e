//! Tests of reads through the cache, with a store that counts its queries.

use super::*;
use crate::config::CacheConfig;
use crate::repository::cached::query::Edition;
use crate::repository::time::ReadTime;
use millrace_core::definitions::{Definitions, DefinitionsSource};
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Notify;

/// Answers 1, 2, 3, …; waits for `go` where there is one; fails from the `fail_from`th query on, and if it is asked for
/// the key `bad`; crashes if it is asked for `worse`; cannot read `odd`; knows no key that begins with `no`.
struct Fake {
    queries: Arc<AtomicU32>,
    go: Option<Arc<Notify>>,
    fail_from: u32,
}

impl ViewSource for Fake {
    async fn read(&self, query: &ViewQuery, keys: &[KeyText]) -> Result<Vec<Found<Finished>>, String> {
        let number = self.queries.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(go) = &self.go {
            go.notified().await;
        }
        let asked_for = |text: &str| keys.iter().any(|key| key.as_str() == text);
        assert!(!asked_for("worse"), "the test wants a crash");
        if number >= self.fail_from || asked_for("bad") {
            return Err("unavailable".to_owned());
        }
        let value = |_: &usize| Ok(Some(json!(number)));
        let finished =
            || Finished { newest: Some(query.at.now), run: None, values: query.features.iter().map(value).collect() };
        let found = |key: &KeyText| match key.as_str() {
            "odd" => Found::Unreadable("odd".to_owned()),
            key if key.starts_with("no") => Found::Unknown,
            _ => Found::Known(finished()),
        };
        Ok(keys.iter().map(found).collect())
    }
}

struct World {
    query: ViewQuery,
    reader: CachedReader<Fake>,
    queries: Arc<AtomicU32>,
}

impl World {
    fn new(cache: &str, config: CacheConfig, go: Option<Arc<Notify>>, fail_from: u32) -> Self {
        let yaml = format!(
            "entities: {{ user: {{ key: user_id, type: string }} }}\nevents: {{ click: {{ partition_by: user }} }}\n\
             views: [{{ name: v, entity: user, store: mongodb, {cache} from: [click], \
             features: [{{ name: n, agg: count }}, {{ name: m, agg: count }}] }}]"
        );
        let source = DefinitionsSource { yaml, schemas: Default::default() };
        let definitions = Arc::new(Definitions::compile(source).unwrap());
        let queries = Arc::new(AtomicU32::new(0));
        let fake = Fake { queries: queries.clone(), go, fail_from };
        let at = ReadTime { as_of: None, now: 1 };
        let (edition, freshness) = (Edition::Current, Freshness::Cached);
        let query = ViewQuery { definitions, view: 0, features: [0].into(), at, edition, freshness };
        Self {
            query,
            reader: CachedReader::new(fake, Arc::new(ResultCache::new(config)), Coalescer::new(1, 1)),
            queries,
        }
    }

    fn simple(go: Option<Arc<Notify>>) -> Self {
        Self::new("", config(), go, u32::MAX)
    }

    async fn get(&self, key: &str, budget: Duration) -> Lookup {
        self.get_as(&self.query, key, budget).await
    }

    async fn get_as(&self, query: &ViewQuery, key: &str, budget: Duration) -> Lookup {
        self.reader.get(query, &[KeyText::from_canonical(key)], budget).await.remove(0)
    }

    /// A query for the first key is in flight, and the other keys wait.
    async fn starts_queries(&self, keys: &[&str]) {
        for key in keys {
            assert!(matches!(self.get(key, Duration::ZERO).await, Lookup::Unavailable(_)));
            self.begins(1).await;
        }
    }

    /// Waits until the store has been asked this many times.
    async fn begins(&self, queries: u32) {
        while self.queries() < queries {
            tokio::task::yield_now().await;
        }
    }

    /// Lets these queries have their answers.
    async fn answer(&self, go: &Notify, queries: std::ops::RangeInclusive<u32>) {
        for query in queries {
            self.begins(query).await;
            go.notify_one();
        }
    }

    /// Caches the answer 0 for a key, as read `age` ago.
    fn caches(&self, key: &str, age: Duration) {
        let (view, query) = (self.reader.cache.view(self.query.view()), &self.query);
        let key = KeyText::from_canonical(key);
        let key = CacheKey { view, features: query.features.clone(), key, edition: query.edition };
        let finished = Finished { newest: Some(1), run: None, values: vec![Ok(Some(json!(0)))] };
        let entry = CacheEntry { found: Found::Known(Arc::new(finished)), asked: Instant::now() - age };
        self.reader.cache.insert(std::iter::once((key, entry)));
    }

    fn queries(&self) -> u32 {
        self.queries.load(Ordering::SeqCst)
    }
}

const LONG: Duration = Duration::from_secs(60);

fn config() -> CacheConfig {
    CacheConfig { ttl: LONG, absent_ttl: LONG, bytes: 1 << 20 }
}

/// Every entry expires at once.
fn expires_at_once() -> CacheConfig {
    CacheConfig { ttl: Duration::from_nanos(1), ..config() }
}

fn value(lookup: &Lookup) -> serde_json::Value {
    match lookup {
        Lookup::Current(Found::Known(finished)) => finished.values[0].clone().unwrap().unwrap(),
        other => panic!("expected a current value, got {other:?}"),
    }
}

#[tokio::test]
async fn requests_for_the_same_key_at_once_share_one_query() {
    let go = Arc::new(Notify::new());
    let world = World::simple(Some(go.clone()));
    let asking = futures::future::join_all((0..10).map(|_| world.get("a", LONG)));
    let (answers, ()) = tokio::join!(asking, async { go.notify_one() });
    assert!(answers.iter().all(|answer| value(answer) == json!(1)));
    assert_eq!(value(&world.get("a", LONG).await), json!(1));
    assert_eq!(world.queries(), 1);
}

#[tokio::test]
async fn an_unreadable_key_costs_no_other_key_and_is_not_cached() {
    let world = World::simple(None);
    let keys = ["odd", "a"].map(KeyText::from_canonical);
    for query in [1, 2] {
        let answers = world.reader.get(&world.query, &keys, LONG).await;
        assert!(matches!(&answers[0], Lookup::Current(Found::Unreadable(why)) if why == "odd"), "{answers:?}");
        assert_eq!((value(&answers[1]), world.queries()), (json!(1), query));
    }
}

#[tokio::test]
async fn a_slow_query_serves_the_next_request() {
    let go = Arc::new(Notify::new());
    let world = World::simple(Some(go.clone()));
    assert!(matches!(world.get("a", Duration::ZERO).await, Lookup::Unavailable(_)));
    go.notify_one();
    assert_eq!(value(&world.get("a", LONG).await), json!(1));
    assert_eq!(world.queries(), 1);
}

#[tokio::test]
async fn the_last_known_value_comes_with_the_reason_why_it_is_not_new() {
    let world = World::new("", expires_at_once(), None, 2);
    assert_eq!(value(&world.get("a", LONG).await), json!(1));
    match world.get("a", LONG).await {
        Lookup::LastKnown(finished, reason) => {
            assert_eq!((finished.values[0].clone(), reason.as_str()), (Ok(Some(json!(1))), "unavailable"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(world.get("b", LONG).await, Lookup::Unavailable(_)));
}

#[tokio::test]
async fn keys_asked_for_during_a_query_share_the_next() {
    let go = Arc::new(Notify::new());
    let world = World::simple(Some(go.clone()));
    world.starts_queries(&["first"]).await;
    let names: Vec<String> = (0..100).map(|number| format!("user{number}")).collect();
    let asking = futures::future::join_all(names.iter().map(|name| world.get(name, LONG)));
    let (answers, ()) = tokio::join!(asking, world.answer(&go, 1..=2));
    assert!(answers.iter().all(|answer| value(answer) == json!(2)));
    assert_eq!(value(&world.get("first", LONG).await), json!(1));
    assert_eq!(world.queries(), 2);
}

#[tokio::test]
async fn a_request_that_waits_for_its_turn_is_answered_within_the_budget() {
    let go = Arc::new(Notify::new());
    let world = World::simple(Some(go.clone()));
    world.starts_queries(&["first", "second"]).await;
    match world.get("second", Duration::from_millis(1)).await {
        Lookup::Unavailable(reason) => assert!(reason.contains("no answer within"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let (answer, ()) = tokio::join!(world.get("second", LONG), world.answer(&go, 1..=2));
    assert_eq!(value(&answer), json!(2), "it is queried all the same");
}

#[tokio::test]
async fn a_query_that_fails_fails_its_own_readers_and_not_those_of_the_next() {
    for (bad, expected) in [("bad", "unavailable"), ("worse", "the query ended without an answer")] {
        let go = Arc::new(Notify::new());
        let world = World::simple(Some(go.clone()));
        world.starts_queries(&["first"]).await;
        let asking = futures::future::join_all(["a", bad, "b"].map(|name| world.get(name, LONG)));
        let (answers, ()) = tokio::join!(asking, world.answer(&go, 1..=2));
        for answer in answers {
            assert!(matches!(&answer, Lookup::Unavailable(reason) if reason == expected), "{answer:?}");
        }
        let asking = futures::future::join_all(["a", "b"].map(|name| world.get(name, LONG)));
        let (answers, ()) = tokio::join!(asking, world.answer(&go, 3..=4));
        assert_eq!(answers.iter().map(value).collect::<Vec<_>>(), [json!(3), json!(4)]);
    }
}

#[tokio::test]
async fn an_entry_that_expires_soon_is_served_while_it_is_read_again_once() {
    let go = Arc::new(Notify::new());
    let world = World::simple(Some(go.clone()));
    world.caches("new", LONG / 2);
    world.caches("expiring", LONG * 4 / 5);
    world.caches("expired", LONG);
    assert_eq!(value(&world.get("new", Duration::ZERO).await), json!(0));
    for _ in 0..3 {
        assert_eq!(value(&world.get("expiring", Duration::ZERO).await), json!(0));
    }
    world.answer(&go, 1..=1).await;
    while value(&world.get("expiring", Duration::ZERO).await) != json!(1) {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.queries(), 1, "one query for the expiring key, none for the new one");
    assert!(
        matches!(world.get("expired", Duration::ZERO).await, Lookup::LastKnown(..)),
        "an expired entry is not served as current"
    );
}

#[tokio::test]
async fn an_answer_serves_the_same_features_of_the_same_edition_only() {
    let world = World::simple(None);
    assert_eq!(value(&world.get("a", LONG).await), json!(1));
    let both = ViewQuery { features: [0, 1].into(), ..world.query.clone() };
    assert_eq!(value(&world.get_as(&both, "a", LONG).await), json!(2));
    let next_run = ViewQuery { edition: Edition::SinceRun(8), ..world.query.clone() };
    assert_eq!(value(&world.get_as(&next_run, "a", LONG).await), json!(3));
    assert_eq!(value(&world.get_as(&both, "a", LONG).await), json!(2));
    assert_eq!(value(&world.get("a", LONG).await), json!(1));
}

#[tokio::test]
async fn a_view_declares_how_long_its_values_are_served_again() {
    let world = World::new("cache: 1h,", expires_at_once(), None, u32::MAX);
    assert_eq!(value(&world.get("a", LONG).await), json!(1));
    assert_eq!(value(&world.get("a", LONG).await), json!(1));
    let never = World::new("cache: 0s,", config(), None, 3);
    assert_eq!(value(&never.get("a", LONG).await), json!(1));
    assert_eq!(value(&never.get("a", LONG).await), json!(2));
    assert!(matches!(never.get("a", LONG).await, Lookup::Unavailable(_)), "nothing is cached");
    let short_lived = World::new("cache: 1h, ttl: 1ms,", config(), None, u32::MAX);
    assert_eq!(short_lived.reader.cache.ttl(short_lived.query.view()), Duration::from_millis(1));
}

#[tokio::test]
async fn that_a_key_is_unknown_is_cached_too_and_for_a_shorter_time() {
    let world = World::simple(None);
    for _ in 0..2 {
        assert!(matches!(world.get("nobody", LONG).await, Lookup::Current(Found::Unknown)));
    }
    assert_eq!(world.queries(), 1);
    let short = CacheConfig { absent_ttl: Duration::from_nanos(1), ..config() };
    let world = World::new("", short, None, u32::MAX);
    for _ in 0..2 {
        assert!(matches!(world.get("nobody", LONG).await, Lookup::Current(Found::Unknown)));
        assert!(matches!(world.get("somebody", LONG).await, Lookup::Current(Found::Known(_))));
    }
    assert_eq!(world.queries(), 3);
}

#[tokio::test]
async fn a_request_for_fresh_values_gets_nothing_older_and_serves_later_requests() {
    let go = Arc::new(Notify::new());
    let mut world = World::simple(Some(go.clone()));
    world.reader.coalescer = Arc::new(Coalescer::new(2, 2));
    assert!(matches!(world.get("a", Duration::ZERO).await, Lookup::Unavailable(_)), "the first query is in flight");
    let fresh = ViewQuery { freshness: Freshness::ReadNow, ..world.query.clone() };
    let asking = world.get_as(&fresh, "a", LONG);
    let (answer, ()) = tokio::join!(asking, async {
        while world.queries() < 2 {
            tokio::task::yield_now().await;
        }
        go.notify_waiters();
    });
    assert_eq!(value(&answer), json!(2));
    go.notify_one();
    assert_eq!(value(&world.get_as(&fresh, "a", LONG).await), json!(3));
    assert_eq!(value(&world.get("a", LONG).await), json!(3));
}

#[tokio::test]
async fn the_cache_is_bounded_in_bytes() {
    let world = World::new("", CacheConfig { bytes: 64 * 1024, ..config() }, None, u32::MAX);
    for number in 0..2_000 {
        world.get(&format!("user{number}"), LONG).await;
    }
    assert!(world.reader.cache.weight() <= 64 * 1024);
    assert_eq!(value(&world.get("user1999", LONG).await), json!(2_000));
}

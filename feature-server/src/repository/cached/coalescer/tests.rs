//! Tests of the coalescer: which keys share a query, and when each query starts.

use super::*;
use crate::config::CacheConfig;
use crate::repository::cached::{Edition, ResultCache};
use crate::repository::time::ReadTime;
use millrace_core::definitions::{Definitions, DefinitionsSource};
use millrace_core::key::KeyText;
use std::time::Duration;

const YAML: &str = r#"
entities: { user: { key: user_id, type: string } }
events: { click: { partition_by: user } }
views:
  - { name: slow, entity: user, store: clickhouse, from: [click], features: [{ name: n, agg: count }, { name: m, agg: count }] }
  - { name: quick, entity: user, store: clickhouse, from: [click], features: [{ name: n, agg: count }] }
"#;

struct World {
    coalescer: Coalescer,
    cache: ResultCache,
    definitions: Arc<Definitions>,
}

impl World {
    fn new(most: usize, most_of_view: usize) -> Self {
        let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
        let definitions = Arc::new(Definitions::compile(source).unwrap());
        let config = CacheConfig { ttl: Duration::ZERO, absent_ttl: Duration::ZERO, bytes: 1 << 20 };
        Self { coalescer: Coalescer::new(most, most_of_view), cache: ResultCache::new(config), definitions }
    }

    /// Asks for a view's first feature.
    fn query(&self, name: &str) -> ViewQuery {
        let view = self.definitions.views.iter().position(|view| view.name == name).unwrap();
        let at = ReadTime { as_of: None, now: 1 };
        let definitions = self.definitions.clone();
        ViewQuery {
            definitions,
            view,
            features: [0].into(),
            at,
            edition: Edition::Current,
            freshness: Freshness::Cached,
        }
    }

    fn join(&self, query: &ViewQuery, keys: &[&str]) -> (HashMap<CacheKey, Flight>, Option<CoalescedQuery>) {
        let view = self.cache.view(query.view());
        let key = |key: &&str| {
            let (view, features) = (view.clone(), query.features.clone());
            CacheKey { view, features, key: KeyText::from_canonical(key), edition: query.edition }
        };
        let keys: Vec<CacheKey> = keys.iter().map(key).collect();
        self.coalescer.join(&view, query, &keys.iter().collect::<Vec<_>>())
    }

    /// The query that starts when a request asks.
    fn starts(&self, query: &ViewQuery, keys: &[&str]) -> Option<CoalescedQuery> {
        self.join(query, keys).1
    }

    /// The query that starts when another has its answer.
    fn complete(&self, query: CoalescedQuery) -> Option<CoalescedQuery> {
        self.coalescer.complete(query, Ok(Arc::default()))
    }
}

fn keys(query: &Option<CoalescedQuery>) -> Vec<&str> {
    query.iter().flat_map(|query| &query.keys).map(|key| key.key.as_str()).collect()
}

fn refusal(flights: &HashMap<CacheKey, Flight>) -> Option<String> {
    flights.values().find_map(|flight| flight.outcome()?.err())
}

#[test]
fn keys_asked_for_while_a_view_is_busy_share_the_next_query() {
    let world = World::new(1, 1);
    let query = world.query("slow");
    let first = world.starts(&query, &["a", "a"]);
    assert_eq!(keys(&first), ["a"], "no query is in flight, so nothing waits");
    let later = ViewQuery { at: ReadTime { as_of: None, now: 7 }, ..query.clone() };
    assert!(world.starts(&query, &["b", "a"]).is_none());
    assert!(world.starts(&later, &["c", "b"]).is_none());
    assert!(world.starts(&query, &["d"]).is_none());
    let second = world.complete(first.unwrap());
    assert_eq!(keys(&second), ["b", "c", "d"]);
    let second = second.unwrap();
    assert_eq!(second.query.at.now, 7, "not earlier than any request");
    assert!(world.complete(second).is_none());
    assert_eq!(keys(&world.starts(&query, &["a"])), ["a"], "a query that has ended is not joined");
}

#[test]
fn other_features_and_another_edition_are_another_query() {
    let world = World::new(1, 1);
    let query = world.query("slow");
    let first = world.starts(&query, &["a"]).unwrap();
    let others = [
        ViewQuery { features: [1].into(), ..query.clone() },
        ViewQuery { edition: Edition::SinceRun(3), ..query.clone() },
        query.clone(),
    ];
    assert!(others.iter().all(|query| world.starts(query, &["b"]).is_none()));
    assert!(others.iter().all(|query| world.starts(query, &["c"]).is_none()));
    let mut next = world.complete(first);
    for query in others {
        let next_query = next.unwrap();
        assert_eq!((&next_query.query.features, next_query.query.edition), (&query.features, query.edition));
        assert_eq!(next_query.keys.len(), 2);
        next = world.complete(next_query);
    }
    assert!(next.is_none());
}

#[test]
fn a_slow_view_does_not_hold_up_the_others() {
    let world = World::new(3, 2);
    let (slow, quick) = (world.query("slow"), world.query("quick"));
    let in_flight = ["a", "b"].map(|key| world.starts(&slow, &[key]).unwrap());
    assert!(world.starts(&slow, &["c"]).is_none(), "one query is left for other views");
    assert_eq!(keys(&world.starts(&quick, &["a"])), ["a"]);
    let [one, _two] = in_flight;
    assert_eq!(keys(&world.complete(one)), ["c"]);
}

#[test]
fn views_take_turns() {
    let world = World::new(1, 1);
    let (slow, quick) = (world.query("slow"), world.query("quick"));
    let first = world.starts(&slow, &["a"]).unwrap();
    let editions =
        |query: &ViewQuery| [1, 2].map(|edition| ViewQuery { edition: Edition::SinceRun(edition), ..query.clone() });
    for query in editions(&slow).iter().chain(&editions(&quick)) {
        assert!(world.starts(query, &["a"]).is_none());
    }
    let mut turns = Vec::new();
    let mut next = world.complete(first);
    while let Some(next_query) = next {
        turns.push((next_query.query.view().name.clone(), next_query.query.edition));
        next = world.complete(next_query);
    }
    let turn = |view: &str, edition| (view.to_owned(), Edition::SinceRun(edition));
    assert_eq!(turns, [turn("slow", 1), turn("quick", 1), turn("slow", 2), turn("quick", 2)]);
}

#[test]
fn a_query_takes_a_bounded_number_of_keys_and_the_rest_go_in_the_next() {
    let world = World::new(1, 1);
    let query = world.query("slow");
    let first = world.starts(&query, &["a"]).unwrap();
    let names: Vec<String> = (0..KEYS + 1).map(|number| number.to_string()).collect();
    assert!(names.iter().all(|name| world.starts(&query, &[name]).is_none()));
    let second = world.complete(first).unwrap();
    assert_eq!(second.keys.len(), KEYS);
    assert_eq!(world.complete(second).unwrap().keys.len(), 1);
    let world = World::new(1, 1);
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(world.starts(&query, &all).unwrap().keys.len(), KEYS + 1, "the keys of one request stay together");
}

#[test]
fn waiting_queries_are_bounded_for_each_view() {
    let world = World::new(1, 1);
    let (slow, quick) = (world.query("slow"), world.query("quick"));
    let first = world.starts(&slow, &["a"]).unwrap();
    let edition = |number: usize| ViewQuery { edition: Edition::AsOf(number as i64), ..slow.clone() };
    for number in 0..WAITING {
        assert_eq!(refusal(&world.join(&edition(number), &["a"]).0), None);
    }
    let refused = refusal(&world.join(&edition(WAITING), &["a"]).0).unwrap();
    assert!(refused.contains("too many"), "{refused}");
    assert_eq!(refusal(&world.join(&edition(0), &["b"]).0), None, "there is room in a query that waits");
    assert_eq!(refusal(&world.join(&quick, &["a"]).0), None);
    let second = world.complete(first);
    assert_eq!(keys(&second), ["a", "b"]);
    assert_eq!(refusal(&world.join(&edition(WAITING), &["a"]).0), None, "a refusal is not remembered");
}

#[test]
fn a_request_for_fresh_values_joins_a_waiting_query_and_none_in_flight() {
    let world = World::new(1, 1);
    let query = world.query("slow");
    let fresh = ViewQuery { freshness: Freshness::ReadNow, ..query.clone() };
    let first = world.starts(&query, &["a"]).unwrap();
    for _ in 0..3 {
        assert!(world.starts(&fresh, &["a"]).is_none());
    }
    let second = world.complete(first);
    assert_eq!(keys(&second), ["a"], "one for all three");
    let (flights, _) = world.join(&query, &["a"]);
    assert!(world.complete(second.unwrap()).is_none());
    assert!(flights.values().all(|flight| flight.outcome().is_some()), "the later request joined that one");
}

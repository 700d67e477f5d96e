//! Reads of MongoDB and ClickHouse through the cache. A store is asked once however many want the same at the same time;
//! when it is asked, and for which keys together, `departures` knows. What is asked outlives the request that began it, so
//! a slow answer serves the next.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use futures::FutureExt;
use millrace_core::definitions::{Definitions, View};
use millrace_core::key::KeyText;

use super::cache::{Age, Entry, Id, InstanceCache};
use super::departures::{Departure, Departures, Flight, Landed};
use super::merge::{Finished, Instant};

/// A store that finishes values itself.
pub trait Source: Send + Sync + 'static {
    /// Reads what is asked for of some keys, and ends in time.
    fn read(&self, ask: &Ask, keys: &[KeyText]) -> impl Future<Output = Result<Vec<FoundFinished>, String>> + Send;
}

/// What a store knows of one key, none where it knows nothing; or why that cannot be read, which says nothing of other
/// keys.
pub type FoundFinished = Result<Option<Finished>, String>;

/// What is asked of a view, whatever the keys.
#[derive(Clone)]
pub struct Ask {
    /// The definitions that the indices mean.
    pub definitions: Arc<Definitions>,
    /// Index of the view.
    pub view: usize,
    /// Indices of the wanted features, in ascending order; nothing else leaves the store.
    pub features: Arc<[usize]>,
    /// The instant.
    pub at: Instant,
    /// What sets the answer apart from others to the same keys and features: the instant, where values are computed for
    /// one; the run from which on values count.
    pub edition: Option<i64>,
    /// Whether the store must be asked after now, whatever it said before.
    pub anew: bool,
}

/// One key's answer: what there is, and why it is not what was asked for.
#[derive(Clone, Debug)]
pub enum Found {
    /// Read for this request, or a while ago that the view allows; none where the store does not know the key.
    Current(Option<Arc<Finished>>),
    /// Read earlier; nothing newer could be had, and why.
    LastKnown(Arc<Finished>, String),
    /// Nothing could be had, and why.
    Failed(String),
    /// What the store answered cannot be read, and why.
    Unreadable(String),
}

/// A store behind the cache.
pub struct Cached<S> {
    source: Arc<S>,
    cache: Arc<InstanceCache>,
    departures: Arc<Departures>,
}

impl Ask {
    /// The view that is asked for.
    pub fn view(&self) -> &View {
        &self.definitions.views[self.view]
    }
}

impl<S: Source> Cached<S> {
    /// Reads `source` through `cache`, as `departures` lets it.
    pub fn new(source: S, cache: Arc<InstanceCache>, departures: Departures) -> Self {
        Self { source: Arc::new(source), cache, departures: Arc::new(departures) }
    }

    /// What is asked for of each key, in order, within `budget`.
    pub async fn get(&self, ask: &Ask, keys: &[KeyText], budget: Duration) -> Vec<Found> {
        let ttl = self.cache.ttl(ask.view());
        let view = self.cache.view(ask.view());
        let id = |key: &KeyText| Id {
            view: view.clone(),
            features: ask.features.clone(),
            key: key.clone(),
            edition: ask.edition,
        };
        let age = |entry: &Option<Entry>| match entry {
            Some(entry) if !ask.anew => self.cache.age(entry, ttl),
            _ => Age::Old,
        };
        let ids: Vec<Id> = keys.iter().map(id).collect();
        let kept: Vec<Option<Entry>> = ids.iter().map(|id| self.cache.get(id)).collect();
        let ages: Vec<Age> = kept.iter().map(age).collect();
        if !ask.anew && !ttl.is_zero() {
            let misses = ages.iter().filter(|age| **age == Age::Old).count();
            view.count(ids.len() - misses, misses);
        }
        // What is about to grow old is asked for too, but not waited for.
        let wanted: Vec<&Id> = ids.iter().zip(&ages).filter(|(_, age)| **age != Age::Fresh).map(|(id, _)| id).collect();
        let (flights, departure) = self.departures.board(&view, ask, &wanted);
        if let Some(departure) = departure {
            tokio::spawn(self.fly(departure));
        }
        let deadline = tokio::time::Instant::now() + budget;
        let mut answers = Vec::with_capacity(ids.len());
        for ((id, entry), age) in ids.iter().zip(kept).zip(ages) {
            answers.push(match (age, entry, flights.get(id)) {
                (Age::Fresh | Age::Ageing, Some(entry), _) => Found::Current(entry.finished),
                (_, last, Some(flight)) => land(flight.clone(), &id.key, last, deadline, budget).await,
                (_, _, None) => Found::Failed("the store was not asked".to_owned()),
            });
        }
        answers
    }

    /// What is read.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Asks the store, and again for what may leave when that has landed.
    fn fly(&self, first: Departure) -> impl Future<Output = ()> + Send + use<S> {
        let (source, cache, departures) = (self.source.clone(), self.cache.clone(), self.departures.clone());
        async move {
            let mut next = Some(first);
            while let Some(departure) = next {
                let asked = Clock::now();
                let landed = read(&*source, &departure).await;
                let is_kept = !cache.ttl(departure.ask.view()).is_zero();
                if let (Ok(landed), true) = (&landed, is_kept) {
                    let entry = |id: &Id| match landed.get(&id.key) {
                        Some(Ok(finished)) => Some((id.clone(), Entry { finished: finished.clone(), asked })),
                        _ => None,
                    };
                    cache.insert(departure.ids.iter().filter_map(entry));
                }
                next = departures.land(departure, landed);
            }
        }
    }
}

/// Asks the store for all keys of a query. One that crashes answers too: others wait for their turn behind it.
async fn read<S: Source>(source: &S, departure: &Departure) -> Result<Landed, String> {
    let keys: Vec<KeyText> = departure.ids.iter().map(|id| id.key.clone()).collect();
    let reading = AssertUnwindSafe(source.read(&departure.ask, &keys)).catch_unwind().await;
    let answers = reading.unwrap_or_else(|_| no_answer())?;
    let shared = answers.into_iter().map(|found| Ok(found?.map(Arc::new)));
    Ok(Arc::new(keys.into_iter().zip(shared).collect()))
}

/// Waits for a flight until the deadline, and says what there is.
async fn land(
    mut flight: Flight,
    key: &KeyText,
    last: Option<Entry>,
    deadline: tokio::time::Instant,
    budget: Duration,
) -> Found {
    let landing = flight.wait_for(|progress| progress.landed().is_some());
    let landed = match tokio::time::timeout_at(deadline, landing).await {
        Err(_) => Err(format!("no answer within {budget:?}")),
        Ok(progress) => progress.ok().and_then(|progress| progress.landed().cloned()).unwrap_or_else(no_answer),
    };
    let reason = match landed.map(|landed| landed.get(key).cloned()) {
        Ok(Some(Ok(finished))) => return Found::Current(finished),
        Ok(Some(Err(reason))) => return Found::Unreadable(reason),
        Ok(None) => "the query left this key out".to_owned(),
        Err(reason) => reason,
    };
    match last.and_then(|entry| entry.finished) {
        Some(finished) => Found::LastKnown(finished, reason),
        None => Found::Failed(reason),
    }
}

fn no_answer<T>() -> Result<T, String> {
    Err("the query ended without an answer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CacheConfig;
    use millrace_core::definitions::DefinitionsSource;
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

    impl Source for Fake {
        async fn read(&self, ask: &Ask, keys: &[KeyText]) -> Result<Vec<FoundFinished>, String> {
            let number = self.queries.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(go) = &self.go {
                go.notified().await;
            }
            let asked_for = |text: &str| keys.iter().any(|key| key.as_str() == text);
            assert!(!asked_for("worse"), "as the test wants it");
            if number >= self.fail_from || asked_for("bad") {
                return Err("away".to_owned());
            }
            let value = |_: &usize| Ok(Some(json!(number)));
            let finished =
                || Finished { newest: Some(ask.at.now), run: None, values: ask.features.iter().map(value).collect() };
            let found = |key: &KeyText| match key.as_str() {
                "odd" => Err("odd".to_owned()),
                key => Ok((!key.starts_with("no")).then(finished)),
            };
            Ok(keys.iter().map(found).collect())
        }
    }

    struct World {
        ask: Ask,
        cached: Cached<Fake>,
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
            let at = Instant { as_of: None, now: 1 };
            let ask = Ask { definitions, view: 0, features: [0].into(), at, edition: None, anew: false };
            Self {
                ask,
                cached: Cached::new(fake, Arc::new(InstanceCache::new(config)), Departures::new(1, 1)),
                queries,
            }
        }

        fn simple(go: Option<Arc<Notify>>) -> Self {
            Self::new("", config(), go, u32::MAX)
        }

        async fn get(&self, key: &str, budget: Duration) -> Found {
            self.get_as(&self.ask, key, budget).await
        }

        async fn get_as(&self, ask: &Ask, key: &str, budget: Duration) -> Found {
            self.cached.get(ask, &[KeyText::from_canonical(key)], budget).await.remove(0)
        }

        /// A query for the first key is under way, and the others wait.
        async fn sends_off(&self, keys: &[&str]) {
            for key in keys {
                assert!(matches!(self.get(key, Duration::ZERO).await, Found::Failed(_)));
                self.begins(1).await;
            }
        }

        /// The store has been asked so often.
        async fn begins(&self, queries: u32) {
            while self.queries() < queries {
                tokio::task::yield_now().await;
            }
        }

        /// These queries have their answers.
        async fn lands(&self, go: &Notify, queries: std::ops::RangeInclusive<u32>) {
            for query in queries {
                self.begins(query).await;
                go.notify_one();
            }
        }

        /// The answer 0 is kept of a key, which was asked for so long ago.
        fn keeps(&self, key: &str, age: Duration) {
            let (view, ask) = (self.cached.cache.view(self.ask.view()), &self.ask);
            let key = KeyText::from_canonical(key);
            let id = Id { view, features: ask.features.clone(), key, edition: ask.edition };
            let finished = Finished { newest: Some(1), run: None, values: vec![Ok(Some(json!(0)))] };
            let entry = Entry { finished: Some(Arc::new(finished)), asked: Clock::now() - age };
            self.cached.cache.insert(std::iter::once((id, entry)));
        }

        fn queries(&self) -> u32 {
            self.queries.load(Ordering::SeqCst)
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn config() -> CacheConfig {
        CacheConfig { ttl: LONG, absent_ttl: LONG, bytes: 1 << 20 }
    }

    /// Whatever is kept is old at once.
    fn old_at_once() -> CacheConfig {
        CacheConfig { ttl: Duration::from_nanos(1), ..config() }
    }

    fn value(found: &Found) -> serde_json::Value {
        match found {
            Found::Current(Some(finished)) => finished.values[0].clone().unwrap().unwrap(),
            other => panic!("expected a current value, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn many_that_ask_at_once_make_one_query() {
        let go = Arc::new(Notify::new());
        let world = World::simple(Some(go.clone()));
        let asking = futures::future::join_all((0..10).map(|_| world.get("a", LONG)));
        let (answers, ()) = tokio::join!(asking, async { go.notify_one() });
        assert!(answers.iter().all(|answer| value(answer) == json!(1)));
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        assert_eq!(world.queries(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_read_of_one_key_costs_no_other_and_is_not_kept() {
        let world = World::simple(None);
        let keys = ["odd", "a"].map(KeyText::from_canonical);
        for query in [1, 2] {
            let answers = world.cached.get(&world.ask, &keys, LONG).await;
            assert!(matches!(&answers[0], Found::Unreadable(why) if why == "odd"), "{answers:?}");
            assert_eq!((value(&answers[1]), world.queries()), (json!(1), query));
        }
    }

    #[tokio::test]
    async fn a_slow_query_serves_the_next_request() {
        let go = Arc::new(Notify::new());
        let world = World::simple(Some(go.clone()));
        assert!(matches!(world.get("a", Duration::ZERO).await, Found::Failed(_)));
        go.notify_one();
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        assert_eq!(world.queries(), 1);
    }

    #[tokio::test]
    async fn the_last_known_value_comes_with_the_reason_why_it_is_not_new() {
        let world = World::new("", old_at_once(), None, 2);
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        match world.get("a", LONG).await {
            Found::LastKnown(finished, reason) => {
                assert_eq!((finished.values[0].clone(), reason.as_str()), (Ok(Some(json!(1))), "away"));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(world.get("b", LONG).await, Found::Failed(_)));
    }

    #[tokio::test]
    async fn what_is_asked_during_a_query_shares_the_next() {
        let go = Arc::new(Notify::new());
        let world = World::simple(Some(go.clone()));
        world.sends_off(&["first"]).await;
        let names: Vec<String> = (0..100).map(|number| format!("user{number}")).collect();
        let asking = futures::future::join_all(names.iter().map(|name| world.get(name, LONG)));
        let (answers, ()) = tokio::join!(asking, world.lands(&go, 1..=2));
        assert!(answers.iter().all(|answer| value(answer) == json!(2)));
        assert_eq!(value(&world.get("first", LONG).await), json!(1));
        assert_eq!(world.queries(), 2);
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_is_answered_within_the_budget() {
        let go = Arc::new(Notify::new());
        let world = World::simple(Some(go.clone()));
        world.sends_off(&["first", "second"]).await;
        match world.get("second", Duration::from_millis(1)).await {
            Found::Failed(reason) => assert!(reason.contains("no answer within"), "{reason}"),
            other => panic!("{other:?}"),
        }
        let (answer, ()) = tokio::join!(world.get("second", LONG), world.lands(&go, 1..=2));
        assert_eq!(value(&answer), json!(2), "it is asked for all the same");
    }

    #[tokio::test]
    async fn a_query_that_fails_tells_all_and_not_those_of_the_next() {
        for (bad, expected) in [("bad", "away"), ("worse", "the query ended without an answer")] {
            let go = Arc::new(Notify::new());
            let world = World::simple(Some(go.clone()));
            world.sends_off(&["first"]).await;
            let asking = futures::future::join_all(["a", bad, "b"].map(|name| world.get(name, LONG)));
            let (answers, ()) = tokio::join!(asking, world.lands(&go, 1..=2));
            for answer in answers {
                assert!(matches!(&answer, Found::Failed(reason) if reason == expected), "{answer:?}");
            }
            let asking = futures::future::join_all(["a", "b"].map(|name| world.get(name, LONG)));
            let (answers, ()) = tokio::join!(asking, world.lands(&go, 3..=4));
            assert_eq!(answers.iter().map(value).collect::<Vec<_>>(), [json!(3), json!(4)]);
        }
    }

    #[tokio::test]
    async fn what_is_about_to_grow_old_is_served_while_it_is_asked_for_once() {
        let go = Arc::new(Notify::new());
        let world = World::simple(Some(go.clone()));
        world.keeps("new", LONG / 2);
        world.keeps("ageing", LONG * 4 / 5);
        world.keeps("old", LONG);
        assert_eq!(value(&world.get("new", Duration::ZERO).await), json!(0));
        for _ in 0..3 {
            assert_eq!(value(&world.get("ageing", Duration::ZERO).await), json!(0));
        }
        world.lands(&go, 1..=1).await;
        while value(&world.get("ageing", Duration::ZERO).await) != json!(1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.queries(), 1, "of the new one and of the ageing one");
        assert!(matches!(world.get("old", Duration::ZERO).await, Found::LastKnown(..)), "it is not served for longer");
    }

    #[tokio::test]
    async fn an_answer_serves_the_same_features_of_the_same_edition_only() {
        let world = World::simple(None);
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        let both = Ask { features: [0, 1].into(), ..world.ask.clone() };
        assert_eq!(value(&world.get_as(&both, "a", LONG).await), json!(2));
        let next_run = Ask { edition: Some(8), ..world.ask.clone() };
        assert_eq!(value(&world.get_as(&next_run, "a", LONG).await), json!(3));
        assert_eq!(value(&world.get_as(&both, "a", LONG).await), json!(2));
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
    }

    #[tokio::test]
    async fn a_view_says_itself_how_long_its_values_are_served_again() {
        let world = World::new("cache: 1h,", old_at_once(), None, u32::MAX);
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        let never = World::new("cache: 0s,", config(), None, 3);
        assert_eq!(value(&never.get("a", LONG).await), json!(1));
        assert_eq!(value(&never.get("a", LONG).await), json!(2));
        assert!(matches!(never.get("a", LONG).await, Found::Failed(_)), "nothing is kept");
        let short_lived = World::new("cache: 1h, ttl: 1ms,", config(), None, u32::MAX);
        assert_eq!(short_lived.cached.cache.ttl(short_lived.ask.view()), Duration::from_millis(1));
    }

    #[tokio::test]
    async fn that_a_key_is_not_known_is_kept_too_and_for_a_shorter_time() {
        let world = World::simple(None);
        for _ in 0..2 {
            assert!(matches!(world.get("nobody", LONG).await, Found::Current(None)));
        }
        assert_eq!(world.queries(), 1);
        let short = CacheConfig { absent_ttl: Duration::from_nanos(1), ..config() };
        let world = World::new("", short, None, u32::MAX);
        for _ in 0..2 {
            assert!(matches!(world.get("nobody", LONG).await, Found::Current(None)));
            assert!(matches!(world.get("somebody", LONG).await, Found::Current(Some(_))));
        }
        assert_eq!(world.queries(), 3);
    }

    #[tokio::test]
    async fn who_asks_anew_gets_nothing_from_before_and_serves_those_who_come_after() {
        let go = Arc::new(Notify::new());
        let mut world = World::simple(Some(go.clone()));
        world.cached.departures = Arc::new(Departures::new(2, 2));
        assert!(matches!(world.get("a", Duration::ZERO).await, Found::Failed(_)), "the first is under way");
        let anew = Ask { anew: true, ..world.ask.clone() };
        let asking = world.get_as(&anew, "a", LONG);
        let (answer, ()) = tokio::join!(asking, async {
            while world.queries() < 2 {
                tokio::task::yield_now().await;
            }
            go.notify_waiters();
        });
        assert_eq!(value(&answer), json!(2));
        go.notify_one();
        assert_eq!(value(&world.get_as(&anew, "a", LONG).await), json!(3));
        assert_eq!(value(&world.get("a", LONG).await), json!(3));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_bytes() {
        let world = World::new("", CacheConfig { bytes: 64 * 1024, ..config() }, None, u32::MAX);
        for number in 0..2_000 {
            world.get(&format!("user{number}"), LONG).await;
        }
        assert!(world.cached.cache.weight() <= 64 * 1024);
        assert_eq!(value(&world.get("user1999", LONG).await), json!(2_000));
    }
}

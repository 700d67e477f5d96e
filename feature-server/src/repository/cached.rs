//! Reads of MongoDB and ClickHouse through the cache. A store is asked once however many want the same at the same time,
//! and a bounded number of times at once. What is asked outlives the request that began it, so a slow answer serves
//! the next.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use millrace_core::definitions::{Definitions, View};
use millrace_core::key::KeyText;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::cache::{Entry, Id, InstanceCache};
use super::merge::{Finished, Instant};

/// A store that finishes values itself.
pub trait Source: Send + Sync + 'static {
    /// Reads what is asked for of some keys, and ends in time.
    fn read(&self, ask: &Ask, keys: &[KeyText]) -> impl Future<Output = Result<Vec<Option<Finished>>, String>> + Send;
}

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
}

/// A store behind the cache.
pub struct Cached<S> {
    source: Arc<S>,
    cache: Arc<InstanceCache>,
    flights: Arc<Mutex<HashMap<Id, Flight>>>,
    permits: Arc<Semaphore>,
}

type Flight = watch::Receiver<Option<Result<Landed, String>>>;
type Landed = Arc<HashMap<KeyText, Option<Arc<Finished>>>>;

impl Ask {
    /// The view that is asked for.
    pub fn view(&self) -> &View {
        &self.definitions.views[self.view]
    }
}

impl<S: Source> Cached<S> {
    /// Reads `source` through `cache`, at most `at_once` times at once.
    pub fn new(source: S, cache: Arc<InstanceCache>, at_once: usize) -> Self {
        Self { source: Arc::new(source), cache, flights: Arc::default(), permits: Arc::new(Semaphore::new(at_once)) }
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
        let ids: Vec<Id> = keys.iter().map(id).collect();
        let kept: Vec<Option<Entry>> = ids.iter().map(|id| self.cache.get(id)).collect();
        let is_fresh =
            |entry: &Option<Entry>| !ask.anew && entry.as_ref().is_some_and(|entry| self.cache.is_fresh(entry, ttl));
        let stale: Vec<&Id> = ids.iter().zip(&kept).filter(|(_, entry)| !is_fresh(entry)).map(|(id, _)| id).collect();
        if !ask.anew && !ttl.is_zero() {
            view.count(ids.len() - stale.len(), stale.len());
        }
        let flights = self.board(ask, &stale, !ttl.is_zero());
        let deadline = tokio::time::Instant::now() + budget;
        let mut answers = Vec::with_capacity(ids.len());
        for (id, entry) in ids.iter().zip(kept) {
            answers.push(match (flights.get(id), entry) {
                (None, Some(entry)) => Found::Current(entry.finished),
                (None, None) => Found::Failed("the store was not asked".to_owned()),
                (Some(flight), last) => land(flight.clone(), &id.key, last, deadline, budget).await,
            });
        }
        answers
    }

    /// What is read.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The flights that bring `ids`: those under way, and one new one for the rest.
    fn board(&self, ask: &Ask, ids: &[&Id], keep: bool) -> HashMap<Id, Flight> {
        let mut boarded = HashMap::with_capacity(ids.len());
        if ids.is_empty() {
            return boarded;
        }
        let (sender, receiver) = watch::channel(None);
        let mut new: Vec<Id> = Vec::new();
        let mut flights = self.flights.lock();
        for id in ids {
            if boarded.contains_key(*id) {
                continue;
            }
            // A flight without a sender has crashed.
            let may_join = |flight: &&Flight| !ask.anew && flight.has_changed().is_ok();
            let under_way = flights.get(*id).filter(may_join).cloned();
            let flight = under_way.unwrap_or_else(|| {
                new.push((*id).clone());
                flights.insert((*id).clone(), receiver.clone());
                receiver.clone()
            });
            boarded.insert((*id).clone(), flight);
        }
        drop(flights);
        if !new.is_empty() {
            tokio::spawn(self.fly(ask.clone(), new, sender, keep));
        }
        boarded
    }

    fn fly(
        &self,
        ask: Ask,
        ids: Vec<Id>,
        sender: watch::Sender<Option<Result<Landed, String>>>,
        keep: bool,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let (source, cache) = (self.source.clone(), self.cache.clone());
        let (flights, permits) = (self.flights.clone(), self.permits.clone());
        async move {
            let asked = Clock::now();
            let keys: Vec<KeyText> = ids.iter().map(|id| id.key.clone()).collect();
            let reading = async {
                let _permit = permits.try_acquire().map_err(|_| "too many queries at once".to_owned())?;
                source.read(&ask, &keys).await
            };
            let landed = reading.await.map(|answers| {
                let shared = answers.into_iter().map(|finished| finished.map(Arc::new));
                keys.iter().cloned().zip(shared).collect::<HashMap<_, _>>()
            });
            if let (Ok(landed), true) = (&landed, keep) {
                let entry = |id: &Id| Some((id.clone(), Entry { finished: landed.get(&id.key)?.clone(), asked }));
                cache.insert(ids.iter().filter_map(entry));
            }
            let ours = sender.subscribe();
            let mut under_way = flights.lock();
            for id in &ids {
                // One that was to ask anew may have taken its place.
                if under_way.get(id).is_some_and(|flight| flight.same_channel(&ours)) {
                    under_way.remove(id);
                }
            }
            drop(under_way);
            sender.send_replace(Some(landed.map(Arc::new)));
        }
    }
}

/// Waits for a flight until the deadline, and says what there is.
async fn land(
    mut flight: Flight,
    key: &KeyText,
    last: Option<Entry>,
    deadline: tokio::time::Instant,
    budget: Duration,
) -> Found {
    let landed = match tokio::time::timeout_at(deadline, flight.wait_for(Option::is_some)).await {
        Err(_) => Err(format!("no answer within {budget:?}")),
        Ok(Err(_)) => Err("the query ended without an answer".to_owned()),
        Ok(Ok(result)) => result.clone().unwrap_or_else(|| Err("the query ended without an answer".to_owned())),
    };
    let reason = match landed.map(|landed| landed.get(key).cloned()) {
        Ok(Some(finished)) => return Found::Current(finished),
        Ok(None) => "the query left this key out".to_owned(),
        Err(reason) => reason,
    };
    match last.and_then(|entry| entry.finished) {
        Some(finished) => Found::LastKnown(finished, reason),
        None => Found::Failed(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CacheConfig;
    use millrace_core::definitions::DefinitionsSource;
    use serde_json::json;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    /// Answers 1, 2, 3, …; waits for `go` where there is one; fails from the `fail_from`th query on; knows no key that
    /// begins with `no`.
    struct Fake {
        queries: Arc<AtomicU32>,
        go: Option<Arc<Notify>>,
        fail_from: u32,
    }

    impl Source for Fake {
        async fn read(&self, ask: &Ask, keys: &[KeyText]) -> Result<Vec<Option<Finished>>, String> {
            let number = self.queries.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(go) = &self.go {
                go.notified().await;
            }
            if number >= self.fail_from {
                return Err("away".to_owned());
            }
            let value = |_: &usize| Ok(Some(json!(number)));
            let finished =
                || Finished { newest: Some(ask.at.now), run: None, values: ask.features.iter().map(value).collect() };
            Ok(keys.iter().map(|key| (!key.as_str().starts_with("no")).then(finished)).collect())
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
            Self { ask, cached: Cached::new(fake, Arc::new(InstanceCache::new(config)), 1), queries }
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
    async fn queries_at_once_are_bounded() {
        let go = Arc::new(Notify::new());
        let world = World::simple(Some(go.clone()));
        assert!(matches!(world.get("a", Duration::from_millis(1)).await, Found::Failed(_)));
        match world.get("b", LONG).await {
            Found::Failed(reason) => assert!(reason.contains("too many"), "{reason}"),
            other => panic!("{other:?}"),
        }
        go.notify_one();
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
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
        world.cached.permits = Arc::new(Semaphore::new(2));
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

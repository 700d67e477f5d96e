//! Values that ClickHouse computes at read: kept for a while, computed once however many ask, and bounded in memory,
//! in queries at once and in time. A query outlives the request that began it, so a slow one serves the next.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use metrics::Counter;
use millrace_core::definitions::{Definitions, View};
use millrace_core::key::KeyText;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::{Semaphore, watch};

use super::merge::{Finished, Instant};
use crate::config::OnDemandConfig;

/// What one value weighs besides its text.
const VALUE_BYTES: u64 = 64;

/// Computes all features of a view, for some keys, at an instant.
pub trait Compute: Send + Sync + 'static {
    /// One answer per key, in order; none where no event names the key.
    fn compute(
        &self,
        definitions: &Definitions,
        view: usize,
        keys: &[KeyText],
        at: Instant,
    ) -> impl Future<Output = Result<Vec<Option<Finished>>, String>> + Send;
}

/// One key's answer: what there is, and why it is not what was asked for.
#[derive(Clone, Debug)]
pub enum Computed {
    /// Computed for this request, or within the cache's time.
    Fresh(Option<Arc<Finished>>),
    /// Computed earlier; nothing newer could be had, and why.
    LastKnown(Arc<Finished>, String),
    /// Nothing could be had, and why.
    Failed(String),
}

/// The cache and its flights.
pub struct OnDemand<C> {
    compute: Arc<C>,
    cache: Arc<Cache<Key, Entry, Bytes>>,
    flights: Arc<Mutex<HashMap<Key, Flight>>>,
    permits: Arc<Semaphore>,
    config: OnDemandConfig,
    hits: Counter,
    misses: Counter,
}

/// View (with its version), key, and the instant if one was asked for.
type Key = (Arc<str>, KeyText, Option<i64>);
type Flight = watch::Receiver<Option<Result<Landed, String>>>;
type Landed = Arc<HashMap<KeyText, Option<Arc<Finished>>>>;

#[derive(Clone)]
struct Entry {
    finished: Option<Arc<Finished>>,
    computed: Clock,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let values = entry.finished.iter().flat_map(|finished| &finished.values);
        let text = |value: &Result<Option<serde_json::Value>, String>| match value {
            Ok(Some(value)) => value.to_string().len(),
            Ok(None) => 0,
            Err(reason) => reason.len(),
        };
        let own = key.0.len() + key.1.as_str().len();
        values.map(|value| text(value) as u64 + VALUE_BYTES).sum::<u64>() + own as u64 + 2 * VALUE_BYTES
    }
}

impl<C: Compute> OnDemand<C> {
    /// An empty cache over `compute`.
    pub fn new(compute: C, config: OnDemandConfig) -> Self {
        let entries = usize::try_from(config.cache_bytes / 512).unwrap_or(usize::MAX).max(16);
        Self {
            compute: Arc::new(compute),
            cache: Arc::new(Cache::with_weighter(entries, config.cache_bytes, Bytes)),
            flights: Arc::default(),
            permits: Arc::new(Semaphore::new(config.max_queries)),
            config,
            hits: metrics::counter!("millrace_on_demand_hits_total"),
            misses: metrics::counter!("millrace_on_demand_misses_total"),
        }
    }

    /// All features of a view for each key, within `budget`. A value that was computed for another instant is only
    /// served where the reader named none.
    pub async fn get(
        &self,
        definitions: &Arc<Definitions>,
        view: usize,
        keys: &[KeyText],
        at: Instant,
        budget: Duration,
    ) -> Vec<Computed> {
        let declared = &definitions.views[view];
        let id: Arc<str> = declared.id().into();
        let wanted: Vec<Key> = keys.iter().map(|key| (id.clone(), key.clone(), at.as_of)).collect();
        let kept: Vec<Option<Entry>> = wanted.iter().map(|key| self.cache.get(key)).collect();
        let ttl = self.ttl(declared);
        let is_fresh = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.computed.elapsed() <= ttl);
        let stale: Vec<&Key> =
            wanted.iter().zip(&kept).filter(|(_, entry)| !is_fresh(entry)).map(|(key, _)| key).collect();
        self.hits.increment((wanted.len() - stale.len()) as u64);
        self.misses.increment(stale.len() as u64);
        let flights = self.board(definitions, view, &stale, at);
        let deadline = tokio::time::Instant::now() + budget;
        let mut answers = Vec::with_capacity(wanted.len());
        for (key, entry) in wanted.iter().zip(kept) {
            answers.push(match (flights.get(key), entry) {
                (None, Some(entry)) => Computed::Fresh(entry.finished),
                (None, None) => Computed::Failed("the query was not begun".to_owned()),
                (Some(flight), last) => land(flight.clone(), &key.1, last, deadline, budget).await,
            });
        }
        answers
    }

    /// What computes.
    pub fn compute(&self) -> &C {
        &self.compute
    }

    fn ttl(&self, view: &View) -> Duration {
        let own = view.ttl.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        own.map_or(self.config.cache_ttl, |own| own.min(self.config.cache_ttl))
    }

    /// The flights that bring `keys`: those under way, and one new one for the rest.
    fn board(&self, definitions: &Arc<Definitions>, view: usize, keys: &[&Key], at: Instant) -> HashMap<Key, Flight> {
        let mut boarded = HashMap::with_capacity(keys.len());
        let mut flights = self.flights.lock();
        let mut new: Vec<Key> = Vec::new();
        let (sender, receiver) = watch::channel(None);
        for key in keys {
            // A flight without a sender has crashed.
            let under_way = flights.get(*key).filter(|flight| flight.has_changed().is_ok()).cloned();
            let flight = under_way.unwrap_or_else(|| {
                new.push((*key).clone());
                flights.insert((*key).clone(), receiver.clone());
                receiver.clone()
            });
            boarded.insert((*key).clone(), flight);
        }
        drop(flights);
        if !new.is_empty() {
            tokio::spawn(self.fly(definitions.clone(), view, new, at, sender));
        }
        boarded
    }

    fn fly(
        &self,
        definitions: Arc<Definitions>,
        view: usize,
        keys: Vec<Key>,
        at: Instant,
        sender: watch::Sender<Option<Result<Landed, String>>>,
    ) -> impl Future<Output = ()> + Send + use<C> {
        let (compute, cache, flights) = (self.compute.clone(), self.cache.clone(), self.flights.clone());
        let (permits, timeout) = (self.permits.clone(), self.config.query_timeout);
        async move {
            let texts: Vec<KeyText> = keys.iter().map(|(_, key, _)| key.clone()).collect();
            let query = async {
                let _permit = permits.try_acquire().map_err(|_| "too many on-demand queries at once".to_owned())?;
                let computing = compute.compute(&definitions, view, &texts, at);
                let answer = tokio::time::timeout(timeout, computing).await;
                answer.unwrap_or_else(|_| Err(format!("the query took longer than {timeout:?}")))
            };
            let landed = query.await.map(|answers| {
                let shared = answers.into_iter().map(|finished| finished.map(Arc::new));
                texts.iter().cloned().zip(shared).collect::<HashMap<_, _>>()
            });
            for key in &keys {
                if let Some(finished) = landed.as_ref().ok().and_then(|landed| landed.get(&key.1)) {
                    cache.insert(key.clone(), Entry { finished: finished.clone(), computed: Clock::now() });
                }
            }
            let mut under_way = flights.lock();
            keys.iter().for_each(|key| {
                under_way.remove(key);
            });
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
) -> Computed {
    let landed = match tokio::time::timeout_at(deadline, flight.wait_for(Option::is_some)).await {
        Err(_) => Err(format!("not computed within {budget:?}")),
        Ok(Err(_)) => Err("the query ended without an answer".to_owned()),
        Ok(Ok(result)) => result.clone().unwrap_or_else(|| Err("the query ended without an answer".to_owned())),
    };
    let reason = match landed.map(|landed| landed.get(key).cloned()) {
        Ok(Some(finished)) => return Computed::Fresh(finished),
        Ok(None) => "the query left this key out".to_owned(),
        Err(reason) => reason,
    };
    match last.and_then(|entry| entry.finished) {
        Some(finished) => Computed::LastKnown(finished, reason),
        None => Computed::Failed(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::definitions::DefinitionsSource;
    use serde_json::json;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    /// Answers 1, 2, 3, …; waits for `go` where there is one; fails from the `fail_from`th query on.
    struct Fake {
        queries: Arc<AtomicU32>,
        go: Option<Arc<Notify>>,
        fail_from: u32,
    }

    impl Compute for Fake {
        async fn compute(
            &self,
            _: &Definitions,
            _: usize,
            keys: &[KeyText],
            at: Instant,
        ) -> Result<Vec<Option<Finished>>, String> {
            let number = self.queries.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(go) = &self.go {
                go.notified().await;
            }
            if number >= self.fail_from {
                return Err("away".to_owned());
            }
            Ok(keys
                .iter()
                .map(|_| Some(Finished { newest: Some(at.now), values: vec![Ok(Some(json!(number)))] }))
                .collect())
        }
    }

    struct World {
        definitions: Arc<Definitions>,
        on_demand: OnDemand<Fake>,
        queries: Arc<AtomicU32>,
    }

    impl World {
        fn new(cache_ttl: Duration, go: Option<Arc<Notify>>, fail_from: u32) -> Self {
            let yaml = "entities: { user: { key: user_id, type: string } }\nevents: { click: { partition_by: user } }\n\
                        views: [{ name: v, entity: user, store: clickhouse, from: [click], features: [{ name: n, agg: count }] }]";
            let source = DefinitionsSource { yaml: yaml.into(), schemas: Default::default() };
            let definitions = Arc::new(Definitions::compile(source).unwrap());
            let queries = Arc::new(AtomicU32::new(0));
            let config = OnDemandConfig {
                cache_ttl,
                cache_bytes: 1 << 20,
                max_queries: 1,
                query_timeout: Duration::from_secs(5),
            };
            let fake = Fake { queries: queries.clone(), go, fail_from };
            Self { definitions, on_demand: OnDemand::new(fake, config), queries }
        }

        async fn get(&self, key: &str, budget: Duration) -> Computed {
            let keys = [KeyText::from_canonical(key)];
            self.on_demand.get(&self.definitions, 0, &keys, Instant { as_of: None, now: 1 }, budget).await.remove(0)
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn value(computed: &Computed) -> serde_json::Value {
        match computed {
            Computed::Fresh(Some(finished)) => finished.values[0].clone().unwrap().unwrap(),
            other => panic!("expected a fresh value, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn many_that_ask_at_once_make_one_query() {
        let go = Arc::new(Notify::new());
        let world = World::new(LONG, Some(go.clone()), u32::MAX);
        let asking = futures::future::join_all((0..10).map(|_| world.get("a", LONG)));
        let (answers, ()) = tokio::join!(asking, async { go.notify_one() });
        assert!(answers.iter().all(|answer| value(answer) == json!(1)));
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        assert_eq!(world.queries.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_slow_query_serves_the_next_request() {
        let go = Arc::new(Notify::new());
        let world = World::new(LONG, Some(go.clone()), u32::MAX);
        assert!(matches!(world.get("a", Duration::ZERO).await, Computed::Failed(_)));
        go.notify_one();
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        assert_eq!(world.queries.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_last_known_value_comes_with_the_reason_why_it_is_not_new() {
        let world = World::new(Duration::ZERO, None, 2);
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
        match world.get("a", LONG).await {
            Computed::LastKnown(finished, reason) => {
                assert_eq!((finished.values[0].clone(), reason.as_str()), (Ok(Some(json!(1))), "away"));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(world.get("b", LONG).await, Computed::Failed(_)));
    }

    #[tokio::test]
    async fn queries_at_once_are_bounded() {
        let go = Arc::new(Notify::new());
        let world = World::new(LONG, Some(go.clone()), u32::MAX);
        assert!(matches!(world.get("a", Duration::from_millis(1)).await, Computed::Failed(_)));
        match world.get("b", LONG).await {
            Computed::Failed(reason) => assert!(reason.contains("too many"), "{reason}"),
            other => panic!("{other:?}"),
        }
        go.notify_one();
        assert_eq!(value(&world.get("a", LONG).await), json!(1));
    }
}

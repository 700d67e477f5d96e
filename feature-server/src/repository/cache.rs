//! What MongoDB and ClickHouse answered a while ago: bounded in bytes over all views, and served again for as long as
//! a view allows. An entry is one key's answer to one list of features, read at one moment: what was read at different
//! moments is never put together.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use metrics::{Counter, Gauge, counter, gauge};
use millrace_core::definitions::View;
use millrace_core::key::KeyText;
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter};

use super::merge::Finished;
use crate::config::CacheConfig;

/// What one value weighs besides its text, and an entry besides its values.
const VALUE_BYTES: u64 = 64;
const ENTRY_BYTES: u64 = 256;
/// The part of an answer's time that is its last: long enough for a slow query, short enough to ask little more often.
const LAST_PART: u32 = 4;

/// The answers that are kept.
pub struct InstanceCache {
    kept: Cache<Id, Entry, Bytes, DefaultHashBuilder, Evictions>,
    views: RwLock<HashMap<String, Arc<CachedView>>>,
    bytes: Gauge,
    config: CacheConfig,
}

/// What is counted of a view, by its `name@version`.
pub struct CachedView {
    id: String,
    hits: Counter,
    misses: Counter,
    evictions: Counter,
}

/// Of what an entry is the answer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Id {
    /// The view; its version says what its features mean.
    pub view: Arc<CachedView>,
    /// Indices of the features, in order.
    pub features: Arc<[usize]>,
    /// Whose.
    pub key: KeyText,
    /// As in [`super::cached::Ask`].
    pub edition: Option<i64>,
}

/// How far an answer is through the time for which it may be served again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It may be served again.
    Fresh,
    /// The same, for the last part of that time: whoever asks now shall not be the last who need not wait.
    Ageing,
    /// It may not.
    Old,
}

/// One answer.
#[derive(Clone)]
pub struct Entry {
    /// The values; none: the store knows nothing of the key.
    pub finished: Option<Arc<Finished>>,
    /// When the store was asked.
    pub asked: Clock,
}

impl InstanceCache {
    /// An empty one.
    pub fn new(config: CacheConfig) -> Self {
        let entries = usize::try_from(config.bytes / 1_024).unwrap_or(usize::MAX).max(16);
        let kept = Cache::with(entries, config.bytes, Bytes, DefaultHashBuilder::default(), Evictions);
        Self { kept, views: RwLock::default(), bytes: gauge!("millrace_cache_bytes"), config }
    }

    /// How long an answer of a view may be served again: never past the view's `ttl`, because the key may have had
    /// newer events meanwhile.
    pub fn ttl(&self, view: &View) -> Duration {
        let ms = |ms: Option<i64>| ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let own = ms(view.cache).unwrap_or(self.config.ttl);
        ms(view.ttl).map_or(own, |ttl| own.min(ttl))
    }

    /// What is kept for a view, under the name of its own.
    pub fn view(&self, view: &View) -> Arc<CachedView> {
        let id = view.id();
        if let Some(known) = self.views.read().get(&id) {
            return known.clone();
        }
        self.views.write().entry(id).or_insert_with_key(|id| Arc::new(CachedView::new(id))).clone()
    }

    /// The last answer, however old.
    pub fn get(&self, id: &Id) -> Option<Entry> {
        self.kept.get(id)
    }

    /// Whether an answer may be served again. That a key is not known is believed for a shorter time: the first event
    /// of an entity shall not wait for long.
    pub fn age(&self, entry: &Entry, ttl: Duration) -> Age {
        let is_known = entry.finished.as_ref().is_some_and(|finished| finished.newest.is_some());
        let ttl = if is_known { ttl } else { ttl.min(self.config.absent_ttl) };
        match entry.asked.elapsed() {
            age if age >= ttl => Age::Old,
            age if age >= ttl - ttl / LAST_PART => Age::Ageing,
            _ => Age::Fresh,
        }
    }

    /// Keeps answers, but for those that were asked for before the ones that are kept.
    pub fn insert(&self, entries: impl Iterator<Item = (Id, Entry)>) {
        for (id, entry) in entries {
            if self.kept.peek(&id).is_none_or(|kept| kept.asked <= entry.asked) {
                self.kept.insert(id, entry);
            }
        }
        self.bytes.set(self.weight() as f64);
    }

    /// Bytes that are kept, roughly.
    pub fn weight(&self) -> u64 {
        self.kept.weight()
    }
}

impl CachedView {
    fn new(id: &str) -> Self {
        let counted = |name: &'static str| counter!(name, "view" => id.to_owned());
        Self {
            id: id.to_owned(),
            hits: counted("millrace_cache_hits_total"),
            misses: counted("millrace_cache_misses_total"),
            evictions: counted("millrace_cache_evictions_total"),
        }
    }

    /// So many keys were answered by what was kept, and so many were not.
    pub fn count(&self, hits: usize, misses: usize) {
        self.hits.increment(hits as u64);
        self.misses.increment(misses as u64);
    }
}

impl PartialEq for CachedView {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for CachedView {}

impl Hash for CachedView {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Id, Entry> for Bytes {
    fn weight(&self, id: &Id, entry: &Entry) -> u64 {
        let text = |value: &Result<Option<serde_json::Value>, String>| match value {
            Ok(Some(value)) => value.to_string().len(),
            Ok(None) => 0,
            Err(reason) => reason.len(),
        };
        let values = entry.finished.iter().flat_map(|finished| &finished.values);
        values.map(|value| text(value) as u64 + VALUE_BYTES).sum::<u64>() + id.key.as_str().len() as u64 + ENTRY_BYTES
    }
}

/// Counts what has to go for lack of room.
#[derive(Clone)]
struct Evictions;

impl Lifecycle<Id, Entry> for Evictions {
    type RequestState = ();

    // `on_evict` would count what is replaced too.
    fn before_evict(&self, (): &mut (), id: &Id, _: &mut Entry) {
        id.view.evictions.increment(1);
    }
}

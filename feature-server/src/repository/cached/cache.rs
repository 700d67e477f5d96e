//! The cache of values that were read from MongoDB and ClickHouse. All views share its limit in bytes. Each view says
//! how long its values may be served again. An entry holds the values of one key for one list of features, read by one
//! query, so values that were read at different moments are never combined. Reading the stores is left to `reader`.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, gauge};
use millrace_core::definitions::View;
use millrace_core::finished::{Finished, Found};
use millrace_core::key::KeyText;
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter};

use super::query::Edition;
use crate::config::CacheConfig;

/// Estimated bytes of one value without its text, and of one entry without its key and values.
const VALUE_BYTES: u64 = 64;
const ENTRY_BYTES: u64 = 256;
/// In the last quarter of its time an entry is `Expiring`. A quarter is long enough for a slow query, and short enough
/// to cost few additional queries.
const EXPIRING_PART: u32 = 4;

/// The cached values of all views.
pub struct ResultCache {
    entries: Cache<CacheKey, CacheEntry, EntryWeight, DefaultHashBuilder, CountEvictions>,
    views: RwLock<HashMap<String, Arc<CachedView>>>,
    bytes: Gauge,
    config: CacheConfig,
}

/// A view in the cache: its `name@version`, and its metrics.
pub struct CachedView {
    id: String,
    hits: Counter,
    misses: Counter,
    evictions: Counter,
}

/// Identifies an entry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// The view at one version, under which an index always means the same feature.
    pub view: Arc<CachedView>,
    /// Indices of the features in the view, in ascending order.
    pub features: Arc<[usize]>,
    /// The entity key.
    pub key: KeyText,
    /// Tells current values, values of an instant, and values since a batch run apart.
    pub edition: Edition,
}

/// The result of a query for one key, as it is cached.
#[derive(Clone)]
pub struct CacheEntry {
    /// The store's values for the key, or that it had none. `Unreadable` is not cached.
    pub found: Found<Arc<Finished>>,
    /// When the query began.
    pub asked: Instant,
}

/// Whether an entry may still be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It may be served.
    Fresh,
    /// It may be served. It should be read again now, so that no later reader has to wait.
    Expiring,
    /// It may not be served.
    Expired,
}

impl ResultCache {
    /// An empty cache.
    pub fn new(config: CacheConfig) -> Self {
        let entries = usize::try_from(config.bytes / 1_024).unwrap_or(usize::MAX).max(16);
        let entries = Cache::with(entries, config.bytes, EntryWeight, DefaultHashBuilder::default(), CountEvictions);
        Self { entries, views: RwLock::default(), bytes: gauge!("millrace_cache_bytes"), config }
    }

    /// How long values of a view may be served again. This is never longer than the view's `ttl`: all values in an
    /// older entry are `OUTSIDE_MAX_AGE`, although the key may have had newer events since.
    pub fn ttl(&self, view: &View) -> Duration {
        let ms = |ms: Option<i64>| ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let own = ms(view.cache).unwrap_or(self.config.ttl);
        ms(view.ttl).map_or(own, |ttl| own.min(ttl))
    }

    /// The view as keys of the cache name it. It is the same for all requests.
    pub fn view(&self, view: &View) -> Arc<CachedView> {
        let id = view.id();
        if let Some(known) = self.views.read().get(&id) {
            return known.clone();
        }
        self.views.write().entry(id).or_insert_with_key(|id| Arc::new(CachedView::new(id))).clone()
    }

    /// The entry, even if it has expired. `age` says whether it may be served.
    pub fn get(&self, key: &CacheKey) -> Option<CacheEntry> {
        self.entries.get(key)
    }

    /// The age of an entry of a view whose values may be served for `ttl`. An entry that says that the key is unknown
    /// expires after `absent_ttl` if that is shorter, so that a new entity is seen soon.
    pub fn age(&self, entry: &CacheEntry, ttl: Duration) -> Age {
        let is_known = match &entry.found {
            // Without any event in the values, the entity is unknown too.
            Found::Known(finished) => finished.newest.is_some(),
            Found::Unknown | Found::Unreadable(_) => false,
        };
        let ttl = if is_known { ttl } else { ttl.min(self.config.absent_ttl) };
        match entry.asked.elapsed() {
            age if age >= ttl => Age::Expired,
            age if age >= ttl - ttl / EXPIRING_PART => Age::Expiring,
            _ => Age::Fresh,
        }
    }

    /// Caches entries. Does not replace an entry whose query began later.
    pub fn insert(&self, entries: impl Iterator<Item = (CacheKey, CacheEntry)>) {
        for (key, entry) in entries {
            if self.entries.peek(&key).is_none_or(|cached| cached.asked <= entry.asked) {
                self.entries.insert(key, entry);
            }
        }
        self.bytes.set(self.weight() as f64);
    }

    /// The estimated bytes of all entries.
    pub fn weight(&self) -> u64 {
        self.entries.weight()
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

    /// Counts keys whose values came from the cache, and keys whose values did not.
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
struct EntryWeight;

impl Weighter<CacheKey, CacheEntry> for EntryWeight {
    fn weight(&self, key: &CacheKey, entry: &CacheEntry) -> u64 {
        let values = match &entry.found {
            Found::Known(finished) => finished.values.iter().map(value_weight).sum(),
            Found::Unknown | Found::Unreadable(_) => 0,
        };
        values + key.key.as_str().len() as u64 + ENTRY_BYTES
    }
}

fn value_weight(value: &Result<Option<serde_json::Value>, String>) -> u64 {
    let text = match value {
        Ok(Some(value)) => value.to_string().len(),
        Ok(None) => 0,
        Err(reason) => reason.len(),
    };
    text as u64 + VALUE_BYTES
}

/// Counts the entries that the cache drops for lack of room.
#[derive(Clone)]
struct CountEvictions;

impl Lifecycle<CacheKey, CacheEntry> for CountEvictions {
    type RequestState = ();

    // `on_evict` would also count entries that are replaced.
    fn before_evict(&self, (): &mut (), key: &CacheKey, _: &mut CacheEntry) {
        key.view.evictions.increment(1);
    }
}

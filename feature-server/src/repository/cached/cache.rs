//! The cache of values read from MongoDB and ClickHouse: bounded in bytes over all views, and served again for as long
//! as a view allows. An entry is one key's answer to one list of features, read at one moment. Values that were read at
//! different moments are never combined.

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

/// Bytes that one value weighs besides its text, and one entry besides its values.
const VALUE_BYTES: u64 = 64;
const ENTRY_BYTES: u64 = 256;
/// An entry expires soon in the last quarter of its time: long enough for a slow query, and short enough to cost few
/// additional queries.
const EXPIRING_PART: u32 = 4;

/// The cached answers.
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

/// Identifies an answer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// The view. Its version says what its features mean.
    pub view: Arc<CachedView>,
    /// Indices of the features, in order.
    pub features: Arc<[usize]>,
    /// The entity key.
    pub key: KeyText,
    /// The edition of the values.
    pub edition: Edition,
}

/// One cached answer.
#[derive(Clone)]
pub struct CacheEntry {
    /// The answer. One that cannot be read is not cached.
    pub found: Found<Arc<Finished>>,
    /// When the store was asked.
    pub asked: Instant,
}

/// How far an entry is through the time for which it may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It may be served.
    Fresh,
    /// It may be served, and should be read again now, so that the next reader need not wait.
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

    /// How long an answer of a view may be served again. Never longer than the view's `ttl`, because the key may have
    /// had newer events since.
    pub fn ttl(&self, view: &View) -> Duration {
        let ms = |ms: Option<i64>| ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        let own = ms(view.cache).unwrap_or(self.config.ttl);
        ms(view.ttl).map_or(own, |ttl| own.min(ttl))
    }

    /// The view's part of the cache.
    pub fn view(&self, view: &View) -> Arc<CachedView> {
        let id = view.id();
        if let Some(known) = self.views.read().get(&id) {
            return known.clone();
        }
        self.views.write().entry(id).or_insert_with_key(|id| Arc::new(CachedView::new(id))).clone()
    }

    /// The last answer, however old.
    pub fn get(&self, key: &CacheKey) -> Option<CacheEntry> {
        self.entries.get(key)
    }

    /// The age of an entry. That a key is unknown may be served for a shorter time, so that a new entity is seen soon.
    pub fn age(&self, entry: &CacheEntry, ttl: Duration) -> Age {
        let is_known = match &entry.found {
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

    /// Caches answers. An entry that was asked for later stays.
    pub fn insert(&self, entries: impl Iterator<Item = (CacheKey, CacheEntry)>) {
        for (key, entry) in entries {
            if self.entries.peek(&key).is_none_or(|cached| cached.asked <= entry.asked) {
                self.entries.insert(key, entry);
            }
        }
        self.bytes.set(self.weight() as f64);
    }

    /// The bytes that are in use, roughly.
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

    /// Counts keys that were answered from the cache, and keys that were not.
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

/// Counts the entries that leave the cache for lack of room.
#[derive(Clone)]
struct CountEvictions;

impl Lifecycle<CacheKey, CacheEntry> for CountEvictions {
    type RequestState = ();

    // `on_evict` would also count entries that are replaced.
    fn before_evict(&self, (): &mut (), key: &CacheKey, _: &mut CacheEntry) {
        key.view.evictions.increment(1);
    }
}

//! Reads one store through the cache. Values that may still be served come from the cache. The store is asked for all
//! others; `coalescer` decides when, and which keys share a query. A query goes on after the requests that wait for it
//! have given up, so that a slow answer serves later requests.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use millrace_core::definitions::View;
use millrace_core::finished::{Finished, Found};
use millrace_core::key::KeyText;

use super::cache::{Age, CacheEntry, CacheKey, CachedView, ResultCache};
use super::coalescer::{CoalescedQuery, Coalescer};
use super::query::{Freshness, ViewQuery, ViewSource};
use super::single_flight::{QueryOutcome, no_answer};

/// A store that is read through the cache.
pub struct CachedReader<S> {
    source: Arc<S>,
    cache: Arc<ResultCache>,
    coalescer: Arc<Coalescer>,
}

/// The result of reading one key.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The store's values now, or from a while ago if the view allows that.
    Current(Found<Arc<Finished>>),
    /// The store could not be read. The values are the last that were read, however old. The text is the reason.
    LastKnown(Arc<Finished>, String),
    /// The store could not be read, and no earlier values are cached. The text is the reason.
    Unavailable(String),
}

/// One key, with its entry in the cache.
struct CachedKey {
    key: CacheKey,
    entry: Option<CacheEntry>,
    age: Age,
}

impl<S: ViewSource> CachedReader<S> {
    /// Reads `source` through `cache`. `coalescer` limits the queries in flight.
    pub fn new(source: S, cache: Arc<ResultCache>, coalescer: Coalescer) -> Self {
        Self { source: Arc::new(source), cache, coalescer: Arc::new(coalescer) }
    }

    /// Looks up the keys: one result for each, in order. Waits for at most `budget`.
    pub async fn get(&self, query: &ViewQuery, keys: &[KeyText], budget: Duration) -> Vec<Lookup> {
        let view = self.cache.view(query.view());
        let cached = self.cached(&view, query, keys);
        // Entries that expire soon are read again too, but no reader waits for that.
        let wanted: Vec<&CacheKey> = cached.iter().filter(|c| c.age != Age::Fresh).map(|c| &c.key).collect();
        let (flights, first) = self.coalescer.join(&view, query, &wanted);
        if let Some(first) = first {
            tokio::spawn(self.make_queries(first));
        }
        let deadline = tokio::time::Instant::now() + budget;
        let mut lookups = Vec::with_capacity(cached.len());
        for CachedKey { key, entry, age } in cached {
            lookups.push(match (age, entry, flights.get(&key)) {
                (Age::Fresh | Age::Expiring, Some(entry), _) => Lookup::Current(entry.found),
                (_, last, Some(flight)) => {
                    let ended = tokio::time::timeout_at(deadline, flight.clone().ended()).await;
                    lookup(ended.unwrap_or_else(|_| Err(format!("no answer within {budget:?}"))), &key.key, last)
                }
                (_, _, None) => Lookup::Unavailable("the store was not asked".to_owned()),
            });
        }
        lookups
    }

    /// How long values of a view may be served again.
    pub fn ttl(&self, view: &View) -> Duration {
        self.cache.ttl(view)
    }

    /// The store itself.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Looks the keys up in the cache. Counts hits and misses where the cache may answer.
    fn cached(&self, view: &Arc<CachedView>, query: &ViewQuery, keys: &[KeyText]) -> Vec<CachedKey> {
        let ttl = self.cache.ttl(query.view());
        let cached = |key: &KeyText| {
            let (view, features, key) = (view.clone(), query.features.clone(), key.clone());
            let key = CacheKey { view, features, key, edition: query.edition };
            let entry = self.cache.get(&key);
            let age = match (&entry, query.freshness) {
                (Some(entry), Freshness::Cached) => self.cache.age(entry, ttl),
                // The entry is kept for `lookup`, in case the store cannot be read.
                (None, _) | (_, Freshness::ReadNow) => Age::Expired,
            };
            CachedKey { key, entry, age }
        };
        let cached: Vec<CachedKey> = keys.iter().map(cached).collect();
        if query.freshness == Freshness::Cached && !ttl.is_zero() {
            let misses = cached.iter().filter(|cached| cached.age == Age::Expired).count();
            view.count(cached.len() - misses, misses);
        }
        cached
    }

    /// Makes a query. When it has ended, makes the query that waited for that, and so on until none waits.
    fn make_queries(&self, first: CoalescedQuery) -> impl Future<Output = ()> + Send + use<S> {
        let (source, cache, coalescer) = (self.source.clone(), self.cache.clone(), self.coalescer.clone());
        async move {
            let mut next = Some(first);
            while let Some(query) = next {
                let asked = Instant::now();
                let outcome = make_query(&*source, &query).await;
                keep(&cache, &query, &outcome, asked);
                next = coalescer.complete(query, outcome);
            }
        }
    }
}

/// Asks the store for all keys of a query. A panic becomes an error here, because other queries wait for this one to
/// end.
async fn make_query<S: ViewSource>(source: &S, query: &CoalescedQuery) -> QueryOutcome {
    let keys: Vec<KeyText> = query.keys.iter().map(|key| key.key.clone()).collect();
    let reading = AssertUnwindSafe(source.read(&query.query, &keys)).catch_unwind().await;
    let answers = reading.unwrap_or_else(|_| no_answer())?;
    let shared = answers.into_iter().map(|found| found.map(Arc::new));
    Ok(Arc::new(keys.into_iter().zip(shared).collect()))
}

/// Caches what a query found, if the view allows it. Does not cache what cannot be read.
fn keep(cache: &ResultCache, query: &CoalescedQuery, outcome: &QueryOutcome, asked: Instant) {
    let Ok(answers) = outcome else { return };
    if cache.ttl(query.query.view()).is_zero() {
        return;
    }
    let entry = |key: &CacheKey| match answers.get(&key.key)? {
        Found::Unreadable(_) => None,
        found @ (Found::Known(_) | Found::Unknown) => Some((key.clone(), CacheEntry { found: found.clone(), asked })),
    };
    cache.insert(query.keys.iter().filter_map(entry));
}

/// The result for a reader: the outcome of the query that it waited for, or else the values of its last cache entry.
fn lookup(outcome: QueryOutcome, key: &KeyText, last: Option<CacheEntry>) -> Lookup {
    let reason = match outcome.map(|answers| answers.get(key).cloned()) {
        Ok(Some(found)) => return Lookup::Current(found),
        Ok(None) => "the query left this key out".to_owned(),
        Err(reason) => reason,
    };
    match last.map(|entry| entry.found) {
        Some(Found::Known(finished)) => Lookup::LastKnown(finished, reason),
        Some(Found::Unknown | Found::Unreadable(_)) | None => Lookup::Unavailable(reason),
    }
}

#[cfg(test)]
mod tests;

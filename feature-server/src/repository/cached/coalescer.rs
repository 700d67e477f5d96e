//! Request coalescing: which keys go together in one query, and when it is made. Few queries for one view are in flight
//! at once. Keys that are asked for meanwhile wait, and go together in the next query, so that a slow store gets larger
//! queries instead of more of them. Where no query is in flight, nothing waits. Querying the store is left to `reader`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::cache::{CacheKey, CachedView};
use super::query::{Freshness, ViewQuery};
use super::single_flight::{Flight, FlightSender, QueryOutcome};

/// The most keys that several requests put together into one query: as many as one query to ClickHouse takes. The keys
/// of one request stay together, even if they are more.
const KEYS: usize = 500;
/// The most queries that wait for one view. Any more would be late for every reader.
const WAITING: usize = 32;

/// The queries that are in flight, and those that wait.
pub struct Coalescer {
    max_in_flight: usize,
    max_in_flight_of_view: usize,
    state: Mutex<QueueState>,
}

/// A query for the keys of one or more requests.
pub struct CoalescedQuery {
    /// The query, which is the same for each key.
    pub query: ViewQuery,
    /// The keys, as the cache knows them.
    pub keys: Vec<CacheKey>,
    view: Arc<CachedView>,
    sender: FlightSender,
}

#[derive(Default)]
struct QueueState {
    /// For each key the newest query that brings its answer.
    flights: HashMap<CacheKey, Flight>,
    views: HashMap<Arc<CachedView>, ViewQueue>,
    /// The views for which queries wait, in the order of their turns.
    turns: VecDeque<Arc<CachedView>>,
    in_flight: usize,
}

/// The queries for one view.
#[derive(Default)]
struct ViewQueue {
    waiting: VecDeque<CoalescedQuery>,
    in_flight: usize,
}

impl Coalescer {
    /// Allows at most `max_in_flight` queries at once, `max_in_flight_of_view` of them for one view. At least one each.
    pub fn new(max_in_flight: usize, max_in_flight_of_view: usize) -> Self {
        Self {
            max_in_flight: max_in_flight.max(1),
            max_in_flight_of_view: max_in_flight_of_view.max(1),
            state: Mutex::default(),
        }
    }

    /// Joins queries that are waiting or in flight, and queues the keys that none of them asks for. Returns the flight
    /// of each key, and a query that is to be made now, if there is one.
    pub fn join(
        &self,
        view: &Arc<CachedView>,
        query: &ViewQuery,
        keys: &[&CacheKey],
    ) -> (HashMap<CacheKey, Flight>, Option<CoalescedQuery>) {
        let mut flights = HashMap::with_capacity(keys.len());
        if keys.is_empty() {
            return (flights, None);
        }
        let mut state = self.state.lock();
        let mut seen = HashSet::with_capacity(keys.len());
        let mut new: Vec<CacheKey> = Vec::new();
        for key in keys.iter().filter(|key| seen.insert(**key)) {
            match state.flight(key, query.freshness) {
                Some(flight) => _ = flights.insert((*key).clone(), flight),
                None => new.push((*key).clone()),
            }
        }
        if new.is_empty() {
            return (flights, None);
        }
        let queued = state.enqueue(view, query, &new);
        flights.extend(new.into_iter().map(|key| (key, queued.clone())));
        (flights, state.start_next(self))
    }

    /// Tells all readers the outcome of a query. Returns the query that is to be made now, if there is one.
    pub fn complete(&self, query: CoalescedQuery, outcome: QueryOutcome) -> Option<CoalescedQuery> {
        let CoalescedQuery { keys, view, sender, .. } = query;
        let mut state = self.state.lock();
        for key in &keys {
            // A later query, for a reader of fresh values, may have taken its place.
            if state.flights.get(key).is_some_and(|flight| flight.is_of(&sender)) {
                state.flights.remove(key);
            }
        }
        state.in_flight -= 1;
        if let Some(queue) = state.views.get_mut(&view) {
            queue.in_flight -= 1;
        }
        // One query has ended, so at most one can start: every query that could start before has started.
        let next = state.start_next(self);
        drop(state);
        sender.end(outcome);
        next
    }
}

impl QueueState {
    /// The query that brings the answer of a key, if a reader of that freshness may share it.
    fn flight(&self, key: &CacheKey, freshness: Freshness) -> Option<Flight> {
        let flight = self.flights.get(key)?;
        let may_share = match freshness {
            Freshness::Cached => true,
            Freshness::ReadNow => flight.is_waiting(),
        };
        may_share.then(|| flight.clone())
    }

    /// Queues new keys.
    fn enqueue(&mut self, view: &Arc<CachedView>, query: &ViewQuery, keys: &[CacheKey]) -> Flight {
        let queue = self.views.entry(view.clone()).or_default();
        let was_empty = queue.waiting.is_empty();
        let Some(queued) = queue.query_with_room(view, query, keys.len()) else {
            return Flight::refused("too many queries for this view are waiting; try again later");
        };
        queued.keys.extend_from_slice(keys);
        // An answer may not be older than any request for it. It may be a little newer: it is still read before it is
        // given.
        queued.query.at.now = queued.query.at.now.max(query.at.now);
        let flight = queued.sender.flight();
        if was_empty {
            self.turns.push_back(view.clone());
        }
        self.flights.extend(keys.iter().map(|key| (key.clone(), flight.clone())));
        flight
    }

    /// Takes the next query out of its queue, if one may be made.
    fn start_next(&mut self, limits: &Coalescer) -> Option<CoalescedQuery> {
        if self.in_flight >= limits.max_in_flight {
            return None;
        }
        let may_start = |view| self.views.get(view).is_some_and(|queue| queue.in_flight < limits.max_in_flight_of_view);
        let turn = self.turns.iter().position(may_start)?;
        let view = self.turns.remove(turn)?;
        let queue = self.views.get_mut(&view)?;
        let query = queue.waiting.pop_front()?;
        queue.in_flight += 1;
        self.in_flight += 1;
        if !queue.waiting.is_empty() {
            self.turns.push_back(view);
        }
        query.sender.start();
        Some(query)
    }
}

impl ViewQueue {
    /// The waiting query that asks the same and has room for as many more keys, or a new one. None where too many
    /// queries wait.
    fn query_with_room(
        &mut self,
        view: &Arc<CachedView>,
        query: &ViewQuery,
        keys: usize,
    ) -> Option<&mut CoalescedQuery> {
        let has_room = |waiting: &CoalescedQuery| waiting.asks_the_same(query) && waiting.keys.len() + keys <= KEYS;
        let place = match self.waiting.iter().position(has_room) {
            None if self.waiting.len() >= WAITING => return None,
            None => {
                self.waiting.push_back(CoalescedQuery::new(view.clone(), query.clone()));
                self.waiting.len() - 1
            }
            Some(place) => place,
        };
        self.waiting.get_mut(place)
    }
}

impl CoalescedQuery {
    fn new(view: Arc<CachedView>, query: ViewQuery) -> Self {
        Self { query, keys: Vec::new(), view, sender: FlightSender::new() }
    }

    /// Whether one query answers both. Their view is the same, and a version of a view means the same features under all
    /// definitions.
    fn asks_the_same(&self, query: &ViewQuery) -> bool {
        self.query.features == query.features && self.query.edition == query.edition
    }
}

#[cfg(test)]
mod tests;

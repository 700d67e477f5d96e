//! Which keys go together in one query, and when it leaves. Few queries for a view are under way at once: what is asked
//! of it meanwhile waits, and leaves together when one of them ends, so that a store that falls behind is asked for more
//! at a time and not more often. Where nothing is under way, nothing waits. Asking is `cached`'s.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use millrace_core::key::KeyText;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::cache::{CachedView, Id};
use super::cached::Ask;
use super::merge::Finished;

/// The most keys that requests put together in one query: as many as one query to ClickHouse takes. A request's own keys
/// stay together, however many.
const KEYS: usize = 500;
/// The most queries that wait for one view. What comes behind them would be late for any reader.
const WAITING: usize = 32;

/// The queries that are under way and those that wait.
pub struct Departures {
    /// The most that are under way at once, and of them for one view.
    most: usize,
    most_of_view: usize,
    state: Mutex<State>,
}

/// A query for some keys, which waits or is under way.
pub struct Departure {
    /// What is asked of each.
    pub ask: Ask,
    /// Whose answers it brings.
    pub ids: Vec<Id>,
    view: Arc<CachedView>,
    progress: watch::Sender<Progress>,
}

/// How those who wait see a query.
pub type Flight = watch::Receiver<Progress>;
/// What a query has brought.
pub type Landed = Arc<HashMap<KeyText, Result<Option<Arc<Finished>>, String>>>;

/// How far a query is.
pub enum Progress {
    /// Keys may still be added, and the store will be asked after now.
    Waiting,
    /// The store has been asked.
    UnderWay,
    /// It has answered, or why not.
    Landed(Result<Landed, String>),
}

#[derive(Default)]
struct State {
    /// What brings an answer; the newest of those that do.
    flights: HashMap<Id, Flight>,
    lines: HashMap<Arc<CachedView>, Line>,
    /// The views for which queries wait, in the order of their turns.
    turns: VecDeque<Arc<CachedView>>,
    under_way: usize,
}

/// The queries for one view.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Departure>,
    under_way: usize,
}

impl Departures {
    /// At most `most` queries at once, `most_of_view` of them for one view; one at least.
    pub fn new(most: usize, most_of_view: usize) -> Self {
        Self { most: most.max(1), most_of_view: most_of_view.max(1), state: Mutex::default() }
    }

    /// The flights that bring `ids`, and the query that leaves now, if one does.
    pub fn board(&self, view: &Arc<CachedView>, ask: &Ask, ids: &[&Id]) -> (HashMap<Id, Flight>, Option<Departure>) {
        let mut flights = HashMap::with_capacity(ids.len());
        if ids.is_empty() {
            return (flights, None);
        }
        let mut state = self.state.lock();
        let mut seen = HashSet::with_capacity(ids.len());
        let mut new: Vec<Id> = Vec::new();
        for id in ids.iter().filter(|id| seen.insert(**id)) {
            match state.flights.get(*id).filter(|flight| !ask.anew || flight.borrow().is_waiting()) {
                Some(flight) => _ = flights.insert((*id).clone(), flight.clone()),
                None => new.push((*id).clone()),
            }
        }
        if new.is_empty() {
            return (flights, None);
        }
        let booked = state.book(view, ask, &new);
        flights.extend(new.into_iter().map(|id| (id, booked.clone())));
        (flights, state.next(self))
    }

    /// Tells all who wait what the query has brought; the query that leaves now, if one does.
    pub fn land(&self, departure: Departure, landed: Result<Landed, String>) -> Option<Departure> {
        let Departure { ids, view, progress, .. } = departure;
        let ours = progress.subscribe();
        let mut state = self.state.lock();
        for id in &ids {
            // One that was to ask anew may have taken its place.
            if state.flights.get(id).is_some_and(|flight| flight.same_channel(&ours)) {
                state.flights.remove(id);
            }
        }
        state.under_way -= 1;
        if let Some(line) = state.lines.get_mut(&view) {
            line.under_way -= 1;
        }
        // One has ended, so at most one can leave: all that may leave has always left.
        let next = state.next(self);
        drop(state);
        progress.send_replace(Progress::Landed(landed));
        next
    }
}

impl State {
    /// Lets new ids wait for their turn.
    fn book(&mut self, view: &Arc<CachedView>, ask: &Ask, ids: &[Id]) -> Flight {
        let line = self.lines.entry(view.clone()).or_default();
        let had_none = line.waiting.is_empty();
        let Some(departure) = line.departure(view, ask, ids.len()) else {
            let reason = "too many queries for this view are waiting".to_owned();
            return watch::channel(Progress::Landed(Err(reason))).1;
        };
        departure.ids.extend_from_slice(ids);
        // No answer shall be older than a request for it. One that is a little newer is still of a moment before it is given.
        departure.ask.at.now = departure.ask.at.now.max(ask.at.now);
        let flight = departure.progress.subscribe();
        if had_none {
            self.turns.push_back(view.clone());
        }
        self.flights.extend(ids.iter().map(|id| (id.clone(), flight.clone())));
        flight
    }

    /// The next query that may leave.
    fn next(&mut self, bounds: &Departures) -> Option<Departure> {
        if self.under_way >= bounds.most {
            return None;
        }
        let may_leave = |view| self.lines.get(view).is_some_and(|line| line.under_way < bounds.most_of_view);
        let turn = self.turns.iter().position(may_leave)?;
        let view = self.turns.remove(turn)?;
        let line = self.lines.get_mut(&view)?;
        let departure = line.waiting.pop_front()?;
        line.under_way += 1;
        self.under_way += 1;
        if !line.waiting.is_empty() {
            self.turns.push_back(view);
        }
        // Nobody waits for this.
        departure.progress.send_if_modified(|progress| {
            *progress = Progress::UnderWay;
            false
        });
        Some(departure)
    }
}

impl Line {
    /// The waiting query for which `ask` says the same and that has room for so many keys, or a new one; none where too
    /// many wait.
    fn departure(&mut self, view: &Arc<CachedView>, ask: &Ask, keys: usize) -> Option<&mut Departure> {
        let has_room = |departure: &Departure| departure.is_for(ask) && departure.ids.len() + keys <= KEYS;
        let place = match self.waiting.iter().position(has_room) {
            None if self.waiting.len() >= WAITING => return None,
            None => {
                self.waiting.push_back(Departure::new(view.clone(), ask.clone()));
                self.waiting.len() - 1
            }
            Some(place) => place,
        };
        self.waiting.get_mut(place)
    }
}

impl Departure {
    fn new(view: Arc<CachedView>, ask: Ask) -> Self {
        Self { ask, ids: Vec::new(), view, progress: watch::channel(Progress::Waiting).0 }
    }

    /// Whether one query answers both, besides that their view is the same. A version of a view means the same features
    /// under all definitions.
    fn is_for(&self, ask: &Ask) -> bool {
        self.ask.features == ask.features && self.ask.edition == ask.edition
    }
}

impl Progress {
    fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting)
    }

    /// What has landed.
    pub fn landed(&self) -> Option<&Result<Landed, String>> {
        match self {
            Self::Landed(landed) => Some(landed),
            Self::Waiting | Self::UnderWay => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CacheConfig;
    use crate::repository::cache::InstanceCache;
    use crate::repository::merge::Instant;
    use millrace_core::definitions::{Definitions, DefinitionsSource};
    use std::time::Duration;

    const YAML: &str = r#"
entities: { user: { key: user_id, type: string } }
events: { click: { partition_by: user } }
views:
  - { name: slow, entity: user, store: clickhouse, from: [click], features: [{ name: n, agg: count }, { name: m, agg: count }] }
  - { name: quick, entity: user, store: clickhouse, from: [click], features: [{ name: n, agg: count }] }
"#;

    struct World {
        departures: Departures,
        cache: InstanceCache,
        definitions: Arc<Definitions>,
    }

    impl World {
        fn new(most: usize, most_of_view: usize) -> Self {
            let source = DefinitionsSource { yaml: YAML.into(), schemas: Default::default() };
            let definitions = Arc::new(Definitions::compile(source).unwrap());
            let config = CacheConfig { ttl: Duration::ZERO, absent_ttl: Duration::ZERO, bytes: 1 << 20 };
            Self { departures: Departures::new(most, most_of_view), cache: InstanceCache::new(config), definitions }
        }

        /// Of a view's first feature.
        fn ask(&self, name: &str) -> Ask {
            let view = self.definitions.views.iter().position(|view| view.name == name).unwrap();
            let at = Instant { as_of: None, now: 1 };
            let definitions = self.definitions.clone();
            Ask { definitions, view, features: [0].into(), at, edition: None, anew: false }
        }

        fn board(&self, ask: &Ask, keys: &[&str]) -> (HashMap<Id, Flight>, Option<Departure>) {
            let view = self.cache.view(ask.view());
            let id = |key: &&str| {
                let (view, features) = (view.clone(), ask.features.clone());
                Id { view, features, key: KeyText::from_canonical(key), edition: ask.edition }
            };
            let ids: Vec<Id> = keys.iter().map(id).collect();
            self.departures.board(&view, ask, &ids.iter().collect::<Vec<_>>())
        }

        /// What leaves when one asks.
        fn leaves(&self, ask: &Ask, keys: &[&str]) -> Option<Departure> {
            self.board(ask, keys).1
        }

        /// What leaves when a query has its answer.
        fn land(&self, departure: Departure) -> Option<Departure> {
            self.departures.land(departure, Ok(Arc::default()))
        }
    }

    fn keys(departure: &Option<Departure>) -> Vec<&str> {
        departure.iter().flat_map(|departure| &departure.ids).map(|id| id.key.as_str()).collect()
    }

    fn refusal(flights: &HashMap<Id, Flight>) -> Option<String> {
        flights.values().find_map(|flight| flight.borrow().landed()?.as_ref().err().cloned())
    }

    #[test]
    fn what_is_asked_while_a_view_is_busy_leaves_together() {
        let world = World::new(1, 1);
        let ask = world.ask("slow");
        let first = world.leaves(&ask, &["a", "a"]);
        assert_eq!(keys(&first), ["a"], "nothing is under way, so nothing waits");
        let later = Ask { at: Instant { as_of: None, now: 7 }, ..ask.clone() };
        assert!(world.leaves(&ask, &["b", "a"]).is_none());
        assert!(world.leaves(&later, &["c", "b"]).is_none());
        assert!(world.leaves(&ask, &["d"]).is_none());
        let second = world.land(first.unwrap());
        assert_eq!(keys(&second), ["b", "c", "d"]);
        let second = second.unwrap();
        assert_eq!(second.ask.at.now, 7, "not earlier than anybody asked");
        assert!(world.land(second).is_none());
        assert_eq!(keys(&world.leaves(&ask, &["a"])), ["a"], "what has landed is over");
    }

    #[test]
    fn other_features_and_another_edition_are_another_query() {
        let world = World::new(1, 1);
        let ask = world.ask("slow");
        let first = world.leaves(&ask, &["a"]).unwrap();
        let others =
            [Ask { features: [1].into(), ..ask.clone() }, Ask { edition: Some(3), ..ask.clone() }, ask.clone()];
        assert!(others.iter().all(|ask| world.leaves(ask, &["b"]).is_none()));
        assert!(others.iter().all(|ask| world.leaves(ask, &["c"]).is_none()));
        let mut next = world.land(first);
        for ask in others {
            let departure = next.unwrap();
            assert_eq!((&departure.ask.features, departure.ask.edition), (&ask.features, ask.edition));
            assert_eq!(departure.ids.len(), 2);
            next = world.land(departure);
        }
        assert!(next.is_none());
    }

    #[test]
    fn a_slow_view_leaves_the_others_their_turns() {
        let world = World::new(3, 2);
        let (slow, quick) = (world.ask("slow"), world.ask("quick"));
        let under_way = ["a", "b"].map(|key| world.leaves(&slow, &[key]).unwrap());
        assert!(world.leaves(&slow, &["c"]).is_none(), "one is left for others");
        assert_eq!(keys(&world.leaves(&quick, &["a"])), ["a"]);
        let [one, _two] = under_way;
        assert_eq!(keys(&world.land(one)), ["c"]);
    }

    #[test]
    fn views_take_turns() {
        let world = World::new(1, 1);
        let (slow, quick) = (world.ask("slow"), world.ask("quick"));
        let first = world.leaves(&slow, &["a"]).unwrap();
        let editions = |ask: &Ask| [1, 2].map(|edition| Ask { edition: Some(edition), ..ask.clone() });
        for ask in editions(&slow).iter().chain(&editions(&quick)) {
            assert!(world.leaves(ask, &["a"]).is_none());
        }
        let mut turns = Vec::new();
        let mut next = world.land(first);
        while let Some(departure) = next {
            turns.push((departure.ask.view().name.clone(), departure.ask.edition));
            next = world.land(departure);
        }
        let turn = |view: &str, edition| (view.to_owned(), Some(edition));
        assert_eq!(turns, [turn("slow", 1), turn("quick", 1), turn("slow", 2), turn("quick", 2)]);
    }

    #[test]
    fn a_query_takes_so_many_keys_and_the_rest_goes_in_the_next() {
        let world = World::new(1, 1);
        let ask = world.ask("slow");
        let first = world.leaves(&ask, &["a"]).unwrap();
        let names: Vec<String> = (0..KEYS + 1).map(|number| number.to_string()).collect();
        assert!(names.iter().all(|name| world.leaves(&ask, &[name]).is_none()));
        let second = world.land(first).unwrap();
        assert_eq!(second.ids.len(), KEYS);
        assert_eq!(world.land(second).unwrap().ids.len(), 1);
        let world = World::new(1, 1);
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(world.leaves(&ask, &all).unwrap().ids.len(), KEYS + 1, "what one reader asks for stays together");
    }

    #[test]
    fn what_waits_is_bounded_for_each_view() {
        let world = World::new(1, 1);
        let (slow, quick) = (world.ask("slow"), world.ask("quick"));
        let first = world.leaves(&slow, &["a"]).unwrap();
        let edition = |number: usize| Ask { edition: Some(number as i64), ..slow.clone() };
        for number in 0..WAITING {
            assert_eq!(refusal(&world.board(&edition(number), &["a"]).0), None);
        }
        let refused = refusal(&world.board(&edition(WAITING), &["a"]).0).unwrap();
        assert!(refused.contains("too many"), "{refused}");
        assert_eq!(refusal(&world.board(&edition(0), &["b"]).0), None, "there is room beside one that waits");
        assert_eq!(refusal(&world.board(&quick, &["a"]).0), None);
        let second = world.land(first);
        assert_eq!(keys(&second), ["a", "b"]);
        assert_eq!(refusal(&world.board(&edition(WAITING), &["a"]).0), None, "a refusal is not remembered");
    }

    #[test]
    fn who_asks_anew_joins_what_waits_but_not_what_is_under_way() {
        let world = World::new(1, 1);
        let ask = world.ask("slow");
        let anew = Ask { anew: true, ..ask.clone() };
        let first = world.leaves(&ask, &["a"]).unwrap();
        for _ in 0..3 {
            assert!(world.leaves(&anew, &["a"]).is_none());
        }
        let second = world.land(first);
        assert_eq!(keys(&second), ["a"], "one for all three");
        let (flights, _) = world.board(&ask, &["a"]);
        assert!(world.land(second.unwrap()).is_none());
        assert!(flights.values().all(|flight| flight.borrow().landed().is_some()), "who came later joined that one");
    }
}

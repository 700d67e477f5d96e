//! The one layer that reads the stores, whatever door a request came through. A plan says what each store is asked;
//! the three are asked at the same time, each within its own budget; a store that is down or late costs its own
//! features only. What a value means is `core`'s.

mod breaker;
mod cache;
mod cached;
mod departures;
mod merge;
mod plan;
mod profiles;
mod search;
mod shared;
mod warehouse;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_common::clock::now_ms;
use millrace_common::stores::features::FeatureStore;
use millrace_common::stores::profiles::ProfileStore;
use millrace_core::assemble::{FeatureValue, Status};
use millrace_core::definitions::{Store, View};
use millrace_core::key::KeyText;
use parking_lot::RwLock;

use crate::catalog::store_name;
use crate::config::{Budgets, CacheConfig, OnDemandConfig};
use breaker::{Breaker, Budget};
use cache::InstanceCache;
use cached::{Ask, Cached, Found, Source};
use departures::Departures;
use merge::{Finished, Instant, failed, from_batch_slot, from_finished, from_slots, unreadable};
use profiles::Profiles;
use shared::{HashReads, Share, ViewRead};

pub use plan::{Plan, ViewPlan};
pub use search::{Page, Search};
pub use warehouse::Warehouse;

/// Finds of one MongoDB view at once. The fewer, the more readers share each, which costs MongoDB and us a third of what
/// 32 at once do; of so few, a large one still does not hold up all others.
const FINDS_OF_VIEW: usize = 4;
/// Slow views that it takes to keep ClickHouse from the others.
const VIEWS: usize = 4;

/// What a door asks for.
pub struct Request {
    /// Which features, and where they are.
    pub plan: Arc<Plan>,
    /// Of which entities.
    pub keys: Vec<KeyText>,
    /// At which instant, epoch ms; none: now.
    pub as_of: Option<i64>,
    /// How soon the answer must be there; none: as configured, and never later than that.
    pub deadline: Option<Duration>,
    /// Whether a slow store is waited for as long as streams wait, rather than answered without.
    pub patient: bool,
}

/// One entity's features, in the plan's order.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityRow {
    /// The values.
    pub values: Vec<FeatureValue>,
}

/// What a door gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// One row per key, in order.
    pub rows: Vec<EntityRow>,
    /// The instant that the values are of, epoch ms.
    pub as_of: i64,
    /// The stores that did not answer, and what each said.
    pub away: Vec<(Store, String)>,
}

/// The stores, behind one door.
pub struct Repository {
    features: RwLock<Option<Arc<FeatureStore>>>,
    profiles: Cached<Profiles>,
    on_demand: Cached<Warehouse>,
    cache: Arc<InstanceCache>,
    budgets: Budgets,
    redis_breaker: Breaker,
    completed_runs: RwLock<Arc<CompletedRuns>>,
}

/// What one store knows: for each of its views in the plan, for each key, the wanted values.
type Part = Vec<Vec<Vec<FeatureValue>>>;
/// The same for each request, and why it is not all that was asked for.
type Parts = Vec<(Part, Option<String>)>;

/// The last completed run of each batch view, by `view@version`.
#[derive(Default)]
struct CompletedRuns(HashMap<String, u32>);

impl CompletedRuns {
    /// The run from which on the values of a batch view count; none of a view that is no such.
    fn of(&self, view: &View) -> Option<u32> {
        view.batch.as_ref()?;
        Some(self.0.get(&view.id()).copied().unwrap_or(0))
    }
}

impl Request {
    /// Of a reader who waits as long as is configured.
    pub fn new(plan: Arc<Plan>, keys: Vec<KeyText>, as_of: Option<i64>) -> Self {
        Self { plan, keys, as_of, deadline: None, patient: false }
    }

    fn at(&self, now: i64) -> Instant {
        Instant { as_of: self.as_of, now }
    }
}

impl EntityRow {
    /// Whether no view knows the entity.
    pub fn is_unknown(&self) -> bool {
        self.values.iter().all(|value| value.status == Status::NotFound)
    }

    /// Why a value could not be had, if one could not.
    pub fn failure(&self) -> Option<&str> {
        let failed = self.values.iter().find(|value| value.status == Status::Error)?;
        Some(failed.reason.as_deref().unwrap_or("a value could not be had"))
    }

    /// What is true of the row as a whole: ERROR if any value could not be had, NOT_FOUND if nothing is known.
    pub fn status(&self) -> Status {
        if self.values.iter().any(|value| value.status == Status::Error) {
            return Status::Error;
        }
        if self.is_unknown() { Status::NotFound } else { Status::Present }
    }
}

impl Repository {
    /// Over stores that may be away now. The feature state is given when it was reached first.
    pub fn new(
        profiles: ProfileStore,
        warehouse: Warehouse,
        budgets: Budgets,
        cache: CacheConfig,
        on_demand: &OnDemandConfig,
    ) -> Self {
        let cache = Arc::new(InstanceCache::new(cache));
        let profiles = Profiles::new(profiles, budgets.mongodb);
        // More at once would wait for a connection, where nothing joins them.
        let finds = budgets.mongodb_connections as usize;
        let queries = on_demand.max_queries;
        Self {
            features: RwLock::new(None),
            profiles: Cached::new(profiles, cache.clone(), Departures::new(finds, FINDS_OF_VIEW)),
            on_demand: Cached::new(warehouse, cache.clone(), Departures::new(queries, queries / VIEWS)),
            cache,
            budgets,
            redis_breaker: Breaker::new(),
            completed_runs: RwLock::default(),
        }
    }

    /// From now on, what older runs of these batch views wrote does not count.
    pub fn set_completed_runs(&self, runs: HashMap<String, u32>) {
        *self.completed_runs.write() = Arc::new(CompletedRuns(runs));
    }

    /// The last completed runs. Taken before anything is read: what a run wrote that completes later may not be seen.
    fn completed_runs(&self) -> Arc<CompletedRuns> {
        self.completed_runs.read().clone()
    }

    /// Begins to use the feature state.
    pub fn set_features(&self, features: FeatureStore) {
        *self.features.write() = Some(Arc::new(features));
    }

    /// Whether the profiles answer.
    pub async fn ping_profiles(&self) -> Result<(), String> {
        self.profiles.source().ping().await.map_err(|error| error.to_string())
    }

    /// Whether ClickHouse answers.
    pub async fn ping_clickhouse(&self) -> Result<(), String> {
        self.on_demand.source().ping().await.map_err(|error| error.to_string())
    }

    /// Reads everything that the request asks for. Always answers, and within the deadline.
    pub async fn read(&self, request: &Request) -> Answer {
        self.read_all(std::slice::from_ref(request)).await.remove(0)
    }

    /// The same for several requests under the same definitions; one answer each. Their number does not make a store be
    /// asked more often: one round trip to Redis, one query for each MongoDB view, one for each ClickHouse view and instant.
    pub async fn read_all(&self, requests: &[Request]) -> Vec<Answer> {
        let now = now_ms();
        let deadline = requests.iter().filter_map(|request| request.deadline).min();
        let patient = requests.iter().all(|request| request.patient);
        let own = |store: Duration| if patient { self.budgets.stream } else { store.min(self.budgets.deadline) };
        let budget = |store| Budget::of(own(store), deadline);
        let (redis, mongodb, clickhouse) = tokio::join!(
            self.read_redis(requests, now, budget(self.budgets.redis)),
            self.read_cached(&self.profiles, Store::MongoDb, requests, now, budget(self.budgets.mongodb).time),
            self.read_cached(&self.on_demand, Store::ClickHouse, requests, now, budget(self.budgets.clickhouse).time),
        );
        let parts = requests.iter().zip(redis).zip(mongodb).zip(clickhouse);
        parts
            .map(|(((request, redis), mongodb), clickhouse)| answer(request, now, [redis, mongodb, clickhouse]))
            .collect()
    }

    /// One round trip, whatever the number of requests, keys and views.
    async fn read_redis(&self, requests: &[Request], now: i64, budget: Budget) -> Parts {
        let reads = HashReads::new(requests);
        if reads.is_empty() {
            return nothing(requests);
        }
        let runs = self.completed_runs();
        let store = self.features.read().clone();
        let reading = async {
            let Some(store) = store else { return Err("the feature state has not been reached yet".to_owned()) };
            store.read(reads.reads()).await.map_err(|error| error.to_string())
        };
        let found = match self.redis_breaker.ask(budget, reading).await {
            Err(reason) => {
                count_error(Store::Redis);
                return all_failed(requests, |plan| &plan.redis, &format!("redis: {reason}"));
            }
            Ok(found) => found,
        };
        let of_request = |(number, request): (usize, &Request)| {
            let of_view = |(place, part): (usize, &ViewPlan)| {
                let view = request.plan.view(part);
                let completed = runs.of(view);
                let one = |key| {
                    let (hash, fields) = reads.slots(number, key, (place, part));
                    let stored = match found.get(hash) {
                        Some(Ok(stored)) => stored.get(fields).unwrap_or_default(),
                        Some(Err(broken)) => return unreadable(view, part.wanted.features(), broken),
                        None => &[],
                    };
                    match completed {
                        Some(completed) => from_batch_slot(view, &part.wanted, stored, completed, request.at(now)),
                        None => from_slots(view, &part.wanted, stored, request.at(now)),
                    }
                };
                (0..request.keys.len()).map(one).collect()
            };
            (request.plan.redis.iter().enumerate().map(of_view).collect(), None)
        };
        requests.iter().enumerate().map(of_request).collect()
    }

    /// One query for each view of a store that finishes values itself, for what is not in the cache.
    async fn read_cached<S: Source>(
        &self,
        through: &Cached<S>,
        store: Store,
        requests: &[Request],
        now: i64,
        budget: Duration,
    ) -> Parts {
        // What is computed is computed for an instant; what is stored is the same for all.
        let instant = |request: &Request| request.as_of.filter(|_| store == Store::ClickHouse);
        let (reads, shares) = shared::views(requests, |request| request.plan.views(store), instant);
        if reads.is_empty() {
            return nothing(requests);
        }
        let runs = self.completed_runs();
        let found = reads.iter().map(async |read| {
            let ask = self.ask(read, runs.of(read.request.plan.view(read.part)), now);
            through.get(&ask, &read.keys, budget).await
        });
        let found = futures::future::join_all(found).await;
        let of_request = |(request, shares): (&Request, Vec<Share>)| {
            let mut away = None;
            let of_view = |(part, (read, start)): (&ViewPlan, Share)| {
                let view = request.plan.view(part);
                let view = Viewed {
                    view,
                    features: &reads[read].features,
                    wanted: part.wanted.features(),
                    completed: runs.of(view),
                    at: request.at(now),
                };
                found[read][start..][..request.keys.len()].iter().map(|found| view.values(found, &mut away)).collect()
            };
            let part = request.plan.views(store).iter().zip(shares).map(of_view).collect();
            (part, away)
        };
        let parts: Parts = requests.iter().zip(shares).map(of_request).collect();
        if parts.iter().any(|(_, away)| away.is_some()) {
            count_error(store);
        }
        parts
    }

    fn ask(&self, read: &ViewRead<'_>, run: Option<u32>, now: i64) -> Ask {
        let view = read.request.plan.view(read.part);
        let (edition, anew) = match view.store {
            Store::ClickHouse => (read.as_of, false),
            // Who names an instant compares what is stored now with something else.
            _ => (run.map(i64::from), read.at_instant || self.cache.ttl(view).is_zero()),
        };
        Ask {
            definitions: read.request.plan.definitions.clone(),
            view: read.part.view,
            features: read.features.as_slice().into(),
            at: read.request.at(now),
            edition,
            anew,
        }
    }
}

/// What was read of a view, and what a request wants of it.
struct Viewed<'a> {
    view: &'a View,
    features: &'a [usize],
    wanted: &'a [usize],
    completed: Option<u32>,
    at: Instant,
}

impl Viewed<'_> {
    /// The values of one key, and why they are not those that were asked for.
    fn values(&self, found: &Found, away: &mut Option<String>) -> Vec<FeatureValue> {
        let Self { view, wanted, completed, at, .. } = *self;
        let known = |finished: &Finished| finished.only(self.features, wanted);
        let mut missed = |reason: &str| {
            let reason = format!("{}: {reason}", store_name(view.store));
            away.get_or_insert_with(|| reason.clone());
            reason
        };
        match found {
            Found::Current(finished) => from_finished(view, wanted, finished.as_deref().map(known), completed, at),
            Found::Failed(reason) => failed(view, wanted, None, &missed(reason)),
            Found::Unreadable(reason) => failed(view, wanted, None, &format!("{}: {reason}", store_name(view.store))),
            Found::LastKnown(finished, reason) => {
                let reason = missed(reason);
                let mut values = from_finished(view, wanted, Some(known(finished)), completed, at);
                for value in &mut values {
                    value.status = Status::Error;
                    value.reason = Some(format!("{reason}; this is the last known value"));
                }
                values
            }
        }
    }
}

/// A store did not answer as asked.
fn count_error(store: Store) {
    metrics::counter!("millrace_read_store_errors_total", "store" => store_name(store)).increment(1);
}

/// No request wants anything of the store.
fn nothing(requests: &[Request]) -> Parts {
    requests.iter().map(|_| (Vec::new(), None)).collect()
}

/// The store did not answer those requests that want something of it.
fn all_failed(requests: &[Request], views: impl Fn(&Plan) -> &[ViewPlan], reason: &str) -> Parts {
    let of_request = |request: &Request| {
        let plan = &*request.plan;
        let of_view = |part: &ViewPlan| {
            request.keys.iter().map(|_| failed(plan.view(part), part.wanted.features(), None, reason)).collect()
        };
        let part: Part = views(plan).iter().map(of_view).collect();
        let away = (!part.is_empty()).then(|| reason.to_owned());
        (part, away)
    };
    requests.iter().map(of_request).collect()
}

/// A request's answer from what Redis, MongoDB and ClickHouse know.
fn answer(request: &Request, now: i64, parts: [(Part, Option<String>); 3]) -> Answer {
    let plan = &*request.plan;
    let mut rows = Rows::new(plan, request.keys.len());
    let mut away = Vec::new();
    let stores = [(Store::Redis, &plan.redis), (Store::MongoDb, &plan.mongodb), (Store::ClickHouse, &plan.clickhouse)];
    for ((store, views), (part, error)) in stores.into_iter().zip(parts) {
        rows.place(views, part);
        away.extend(error.map(|reason| (store, reason)));
    }
    let rows = rows.finish(plan);
    let newest = rows.iter().flat_map(|row| &row.values).filter_map(|value| value.event_time).max();
    Answer { rows, as_of: request.at(now).of(newest), away }
}

/// Rows while the stores' parts are put in their places.
struct Rows(Vec<Vec<Option<FeatureValue>>>);

impl Rows {
    fn new(plan: &Plan, keys: usize) -> Self {
        Self((0..keys).map(|_| (0..plan.features.len()).map(|_| None).collect()).collect())
    }

    fn place(&mut self, views: &[ViewPlan], part: Part) {
        for (view, keys) in views.iter().zip(part) {
            let mut served = [0; 5];
            for (row, values) in self.0.iter_mut().zip(keys) {
                ViewPlan::tally(&values, &mut served);
                for (place, value) in view.places.iter().zip(values) {
                    row[*place] = Some(value);
                }
            }
            view.count(&served);
        }
    }

    fn finish(self, plan: &Plan) -> Vec<EntityRow> {
        let missing = |place: usize| {
            let (view, feature) = plan.features[place];
            failed(&plan.definitions.views[view], &[feature], None, "the store left this out").remove(0)
        };
        let row = |values: Vec<Option<FeatureValue>>| EntityRow {
            values: values.into_iter().enumerate().map(|(place, v)| v.unwrap_or_else(|| missing(place))).collect(),
        };
        self.0.into_iter().map(row).collect()
    }
}

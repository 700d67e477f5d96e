//! The one layer that reads the stores, whatever door a request came through. A plan says what each store is asked;
//! the three are asked at the same time, each within its own budget; a store that is down or late costs its own
//! features only. What a value means is `core`'s.

mod breaker;
mod merge;
mod on_demand;
mod plan;
mod shared;
mod warehouse;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use millrace_common::clock::now_ms;
use millrace_common::stores::features::FeatureStore;
use millrace_common::stores::profiles::{Profile, ProfileStore};
use millrace_core::assemble::{FeatureValue, Status};
use millrace_core::definitions::{Store, View};
use millrace_core::key::KeyText;
use parking_lot::RwLock;

use crate::config::{Budgets, OnDemandConfig};
use breaker::Breaker;
use merge::{Finished, Instant, failed, from_batch_document, from_batch_slot, from_finished, from_slots};
use on_demand::{Computed, OnDemand};
use shared::{HashReads, Share};

pub use plan::{Plan, ViewPlan};
pub use warehouse::Warehouse;

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
    profiles: ProfileStore,
    on_demand: OnDemand<Warehouse>,
    budgets: Budgets,
    redis_breaker: Breaker,
    mongodb_breaker: Breaker,
    /// The last completed run of each batch view, by `view@version`.
    completed_runs: RwLock<HashMap<String, u32>>,
}

/// What one store knows: for each of its views in the plan, for each key, the wanted values.
type Part = Vec<Vec<Vec<FeatureValue>>>;
/// The same for each request, and why it is not all that was asked for.
type Parts = Vec<(Part, Option<String>)>;

impl Request {
    fn at(&self, now: i64) -> Instant {
        Instant { as_of: self.as_of, now }
    }
}

impl EntityRow {
    /// Whether no view knows the entity.
    pub fn is_unknown(&self) -> bool {
        self.values.iter().all(|value| value.status == Status::NotFound)
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
    pub fn new(profiles: ProfileStore, warehouse: Warehouse, budgets: Budgets, on_demand: OnDemandConfig) -> Self {
        Self {
            features: RwLock::new(None),
            profiles,
            on_demand: OnDemand::new(warehouse, on_demand),
            budgets,
            redis_breaker: Breaker::new(),
            mongodb_breaker: Breaker::new(),
            completed_runs: RwLock::default(),
        }
    }

    /// From now on, what older runs of these batch views wrote does not count.
    pub fn set_completed_runs(&self, runs: HashMap<String, u32>) {
        *self.completed_runs.write() = runs;
    }

    /// The run from which on the values of a batch view count; none of a view that is no such.
    fn completed_run(&self, view: &View) -> Option<u32> {
        view.batch.as_ref()?;
        Some(self.completed_runs.read().get(&view.id()).copied().unwrap_or(0))
    }

    /// Begins to use the feature state.
    pub fn set_features(&self, features: FeatureStore) {
        *self.features.write() = Some(Arc::new(features));
    }

    /// Whether the profiles answer.
    pub async fn ping_profiles(&self) -> Result<(), String> {
        self.profiles.ping().await.map_err(|error| error.to_string())
    }

    /// Whether ClickHouse answers.
    pub async fn ping_clickhouse(&self) -> Result<(), String> {
        self.on_demand.compute().ping().await.map_err(|error| error.to_string())
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
        let budget = |store| self.budget(store, deadline);
        let (redis, mongodb, clickhouse) = tokio::join!(
            self.read_redis(requests, now, budget(self.budgets.redis)),
            self.read_mongodb(requests, now, budget(self.budgets.mongodb)),
            self.read_clickhouse(requests, now, budget(self.budgets.clickhouse)),
        );
        let parts = requests.iter().zip(redis).zip(mongodb).zip(clickhouse);
        parts
            .map(|(((request, redis), mongodb), clickhouse)| answer(request, now, [redis, mongodb, clickhouse]))
            .collect()
    }

    /// A store's own time, or what is left of the reader's if that is less.
    fn budget(&self, store: Duration, deadline: Option<Duration>) -> Budget {
        let own = store.min(self.budgets.deadline);
        let time = deadline.map_or(own, |deadline| own.min(deadline));
        Budget { time, cut: time < own }
    }

    /// One round trip, whatever the number of requests, keys and views.
    async fn read_redis(&self, requests: &[Request], now: i64, budget: Budget) -> Parts {
        let reads = HashReads::new(requests);
        if reads.is_empty() {
            return nothing(requests);
        }
        let store = self.features.read().clone();
        let reading = async {
            let Some(store) = store else { return Err("the feature state has not been reached yet".to_owned()) };
            store.read(reads.reads()).await.map_err(|error| error.to_string())
        };
        let found = match ask(&self.redis_breaker, "redis", budget, reading).await {
            Err(reason) => return all_failed(requests, |plan| &plan.redis, &reason),
            Ok(found) => found,
        };
        let of_request = |(number, request): (usize, &Request)| {
            let of_view = |(place, part): (usize, &ViewPlan)| {
                let view = request.plan.view(part);
                let completed = self.completed_run(view);
                let one = |key| {
                    let (hash, fields) = reads.slots(number, key, (place, part));
                    let stored = found.get(hash).and_then(|stored| stored.get(fields)).unwrap_or_default();
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

    async fn read_mongodb(&self, requests: &[Request], now: i64, budget: Budget) -> Parts {
        let (reads, shares) = shared::views(requests, |request| &request.plan.mongodb, |_| None);
        if reads.is_empty() {
            return nothing(requests);
        }
        let reading = async {
            let views = reads.iter().map(|read| async move {
                let texts: Vec<&str> = read.keys.iter().map(KeyText::as_str).collect();
                self.profiles.read(read.request.plan.view(read.part), &read.features, &texts).await
            });
            futures::future::try_join_all(views).await.map_err(|error| error.to_string())
        };
        let mut found = match ask(&self.mongodb_breaker, "mongodb", budget, reading).await {
            Err(reason) => return all_failed(requests, |plan| &plan.mongodb, &reason),
            Ok(found) => found,
        };
        let mut of_request = |(request, shares): (&Request, Vec<Share>)| {
            let of_view = |(part, (read, start)): (&ViewPlan, Share)| {
                let view = request.plan.view(part);
                let (completed, wanted, at) = (self.completed_run(view), part.wanted.features(), request.at(now));
                let finished = |newest, values| Finished { newest, values }.only(&reads[read].features, wanted);
                let one = |profile: &mut Option<Profile>| match (profile.take(), completed) {
                    (Some(Profile { newest, run: Some(run), values }), Some(completed)) => {
                        from_batch_document(view, wanted, finished(newest, values), run, completed, at)
                    }
                    (profile, _) => {
                        from_finished(view, wanted, profile.map(|found| finished(found.newest, found.values)), at)
                    }
                };
                found[read][start..][..request.keys.len()].iter_mut().map(one).collect()
            };
            (request.plan.mongodb.iter().zip(shares).map(of_view).collect(), None)
        };
        requests.iter().zip(shares).map(&mut of_request).collect()
    }

    async fn read_clickhouse(&self, requests: &[Request], now: i64, budget: Budget) -> Parts {
        let (reads, shares) = shared::views(requests, |request| &request.plan.clickhouse, |request| request.as_of);
        if reads.is_empty() {
            return nothing(requests);
        }
        let found = reads.iter().map(|read| {
            let at = read.request.at(now);
            self.on_demand.get(&read.request.plan.definitions, read.part.view, &read.keys, at, budget.time)
        });
        let found = futures::future::join_all(found).await;
        let of_request = |(request, shares): (&Request, Vec<Share>)| {
            let mut away = None;
            let of_view = |(part, (read, start)): (&ViewPlan, Share)| {
                let one =
                    |computed: &Computed| from_computed(&request.plan, part, computed, request.at(now), &mut away);
                found[read][start..][..request.keys.len()].iter().map(one).collect()
            };
            let part = request.plan.clickhouse.iter().zip(shares).map(of_view).collect();
            (part, away)
        };
        let parts: Parts = requests.iter().zip(shares).map(of_request).collect();
        if parts.iter().any(|(_, away)| away.is_some()) {
            metrics::counter!("millrace_read_store_errors_total", "store" => "clickhouse").increment(1);
        }
        parts
    }
}

/// The values of one key of an on-demand view.
fn from_computed(
    plan: &Plan,
    part: &ViewPlan,
    computed: &Computed,
    at: Instant,
    away: &mut Option<String>,
) -> Vec<FeatureValue> {
    let view = plan.view(part);
    // A query answers all features of its view; the wanted ones are taken out.
    let wanted = |finished: &Finished| Finished {
        newest: finished.newest,
        values: part
            .wanted
            .features()
            .iter()
            .map(|index| finished.values.get(*index).cloned().unwrap_or_else(|| Err("the query left this out".into())))
            .collect(),
    };
    match computed {
        Computed::Fresh(finished) => from_finished(view, part.wanted.features(), finished.as_deref().map(wanted), at),
        Computed::Failed(reason) => {
            away.get_or_insert_with(|| reason.clone());
            failed(view, part.wanted.features(), None, &format!("clickhouse: {reason}"))
        }
        Computed::LastKnown(finished, reason) => {
            away.get_or_insert_with(|| reason.clone());
            let mut values = from_finished(view, part.wanted.features(), Some(wanted(finished)), at);
            for value in &mut values {
                value.status = Status::Error;
                value.reason = Some(format!("clickhouse: {reason}; this is the last known value"));
            }
            values
        }
    }
}

/// How long a store may take.
#[derive(Clone, Copy)]
struct Budget {
    time: Duration,
    /// Whether that is less than the store should need: then it is not the store's fault to be late.
    cut: bool,
}

/// Asks a store within its budget, unless it is known to be away.
async fn ask<T>(
    breaker: &Breaker,
    store: &'static str,
    budget: Budget,
    reading: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    breaker.admit(Clock::now()).map_err(|reason| format!("{store} is away: {reason}"))?;
    let late = || format!("no answer within {:?}", budget.time);
    let answer = match tokio::time::timeout(budget.time, reading).await {
        Err(_) if budget.cut => return Err(format!("{store}: {}", late())),
        answer => answer.unwrap_or_else(|_| Err(late())),
    };
    match answer {
        Ok(found) => {
            breaker.succeeded();
            Ok(found)
        }
        Err(reason) => {
            breaker.failed(&reason);
            metrics::counter!("millrace_read_store_errors_total", "store" => store).increment(1);
            tracing::debug!(store, reason, "store did not answer");
            Err(format!("{store}: {reason}"))
        }
    }
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

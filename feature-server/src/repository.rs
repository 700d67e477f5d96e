//! The one layer that reads the stores, whatever door a request came through. A plan says what each store is asked;
//! the three are asked at the same time, each within its own budget; a store that is down or late costs its own
//! features only. What a value means is `core`'s.

mod breaker;
mod merge;
mod on_demand;
mod plan;
mod warehouse;

use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use millrace_common::clock::now_ms;
use millrace_common::stores::features::FeatureStore;
use millrace_common::stores::profiles::{Profile, ProfileStore};
use millrace_core::assemble::{FeatureValue, Status};
use millrace_core::definitions::Store;
use millrace_core::key::KeyText;
use parking_lot::RwLock;

use crate::config::{Budgets, OnDemandConfig};
use breaker::Breaker;
use merge::{Finished, Instant, failed, from_finished, from_slots};
use on_demand::{Computed, OnDemand};

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
    /// A store that did not answer, and what it said.
    pub away: Option<(Store, String)>,
}

/// The stores, behind one door.
pub struct Repository {
    features: RwLock<Option<Arc<FeatureStore>>>,
    profiles: ProfileStore,
    on_demand: OnDemand<Warehouse>,
    budgets: Budgets,
    redis_breaker: Breaker,
    mongodb_breaker: Breaker,
}

/// What one store knows: for each of its views in the plan, for each key, the wanted values.
type Part = Vec<Vec<Vec<FeatureValue>>>;

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
        }
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
        let plan = &*request.plan;
        let at = Instant { as_of: request.as_of, now: now_ms() };
        let budget = |store| self.budget(store, request.deadline);
        let (redis, mongodb, clickhouse) = tokio::join!(
            self.read_redis(plan, &request.keys, at, budget(self.budgets.redis)),
            self.read_mongodb(plan, &request.keys, at, budget(self.budgets.mongodb)),
            self.read_clickhouse(plan, &request.keys, at, budget(self.budgets.clickhouse)),
        );
        let mut rows = Rows::new(plan, request.keys.len());
        let mut away = None;
        for (store, views, (part, error)) in [
            (Store::Redis, &plan.redis, redis),
            (Store::MongoDb, &plan.mongodb, mongodb),
            (Store::ClickHouse, &plan.clickhouse, clickhouse),
        ] {
            rows.place(views, part);
            away = away.or(error.map(|reason| (store, reason)));
        }
        let rows = rows.finish(plan);
        let newest = rows.iter().flat_map(|row| &row.values).filter_map(|value| value.event_time).max();
        Answer { rows, as_of: at.of(newest), away }
    }

    /// A store's own time, or what is left of the reader's if that is less.
    fn budget(&self, store: Duration, deadline: Option<Duration>) -> Budget {
        let own = store.min(self.budgets.deadline);
        let time = deadline.map_or(own, |deadline| own.min(deadline));
        Budget { time, cut: time < own }
    }

    /// One round trip, whatever the number of keys and views.
    async fn read_redis(&self, plan: &Plan, keys: &[KeyText], at: Instant, budget: Budget) -> (Part, Option<String>) {
        if plan.redis.is_empty() {
            return (Vec::new(), None);
        }
        let reads: Vec<(String, &[String])> = keys.iter().map(|key| plan.redis_read(key)).collect();
        let store = self.features.read().clone();
        let reading = async {
            let Some(store) = store else { return Err("the feature state has not been reached yet".to_owned()) };
            store.read(&reads).await.map_err(|error| error.to_string())
        };
        match ask(&self.redis_breaker, "redis", budget, reading).await {
            Err(reason) => (all_failed(plan, &plan.redis, keys, &reason), Some(reason)),
            Ok(found) => {
                let of_view = |part: &ViewPlan| {
                    let view = plan.view(part);
                    let one = |fields: &Vec<Option<Vec<u8>>>| {
                        from_slots(view, &part.wanted, fields.get(part.fields.clone()).unwrap_or_default(), at)
                    };
                    found.iter().map(one).collect()
                };
                (plan.redis.iter().map(of_view).collect(), None)
            }
        }
    }

    async fn read_mongodb(&self, plan: &Plan, keys: &[KeyText], at: Instant, budget: Budget) -> (Part, Option<String>) {
        if plan.mongodb.is_empty() {
            return (Vec::new(), None);
        }
        let texts: Vec<&str> = keys.iter().map(KeyText::as_str).collect();
        let reading = async {
            let views =
                plan.mongodb.iter().map(|part| self.profiles.read(plan.view(part), part.wanted.features(), &texts));
            futures::future::try_join_all(views).await.map_err(|error| error.to_string())
        };
        match ask(&self.mongodb_breaker, "mongodb", budget, reading).await {
            Err(reason) => (all_failed(plan, &plan.mongodb, keys, &reason), Some(reason)),
            Ok(found) => {
                let of_view = |(part, profiles): (&ViewPlan, Vec<Option<Profile>>)| {
                    let view = plan.view(part);
                    let finished = |profile: Profile| Finished { newest: profile.newest, values: profile.values };
                    let one = |profile: Option<Profile>| {
                        from_finished(view, part.wanted.features(), profile.map(finished), at)
                    };
                    profiles.into_iter().map(one).collect()
                };
                (plan.mongodb.iter().zip(found).map(of_view).collect(), None)
            }
        }
    }

    async fn read_clickhouse(
        &self,
        plan: &Plan,
        keys: &[KeyText],
        at: Instant,
        budget: Budget,
    ) -> (Part, Option<String>) {
        if plan.clickhouse.is_empty() {
            return (Vec::new(), None);
        }
        let views = plan.clickhouse.iter();
        let views = views.map(|part| self.on_demand.get(&plan.definitions, part.view, keys, at, budget.time));
        let found = futures::future::join_all(views).await;
        let mut away = None;
        let mut of_view = |(part, computed): (&ViewPlan, Vec<Computed>)| {
            let one = |computed| from_computed(plan, part, computed, at, &mut away);
            computed.into_iter().map(one).collect()
        };
        let part = plan.clickhouse.iter().zip(found).map(&mut of_view).collect();
        if away.is_some() {
            metrics::counter!("millrace_read_store_errors_total", "store" => "clickhouse").increment(1);
        }
        (part, away)
    }
}

/// The values of one key of an on-demand view.
fn from_computed(
    plan: &Plan,
    part: &ViewPlan,
    computed: Computed,
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
            let mut values = from_finished(view, part.wanted.features(), Some(wanted(&finished)), at);
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

fn all_failed(plan: &Plan, views: &[ViewPlan], keys: &[KeyText], reason: &str) -> Part {
    let of_view =
        |part: &ViewPlan| keys.iter().map(|_| failed(plan.view(part), part.wanted.features(), None, reason)).collect();
    views.iter().map(of_view).collect()
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

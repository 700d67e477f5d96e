//! Features of entities, as GraphQL shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_graphql::{Context, Enum, ErrorExtensionValues, ID, Json, Name, Object, ServerError, Value};
use millrace_core::assemble;

use super::error::{UNAVAILABLE, VALUE_ERROR};
use super::scalars::{Instant, Map};
use crate::catalog::store_name;
use crate::repository::{Answer, EntityRow, Plan};

/// Values that cannot be had are told of by view and reason; beyond so many of them the rest is one entry.
const MOST_ERRORS: usize = 20;

/// What is true of a value, or of an entity as a whole.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(remote = "millrace_core::assemble::Status")]
pub enum Status {
    /// Known, and within its view's `ttl`.
    Present,
    /// The entity is known; there is nothing to show in this window.
    NullValue,
    /// The view knows nothing of the entity.
    NotFound,
    /// The view's newest event is older than its `ttl`.
    OutsideMaxAge,
    /// The value could not be had; `reason` says why.
    Error,
}

/// Names as they were asked for, and the places of their values in a row.
pub type Shown = Arc<[(Name, usize)]>;

/// One entity's features by name.
pub struct FeatureSet {
    /// As it was asked for.
    pub id: ID,
    /// What is shown of the row.
    pub names: Shown,
    /// Its values.
    pub row: EntityRow,
}

/// One entity's features by name.
#[Object]
impl FeatureSet {
    /// The entity's key, as it was asked for.
    async fn entity_id(&self) -> &ID {
        &self.id
    }

    /// The values, under the names that were asked for; null for an entity that nothing knows.
    async fn features(&self) -> Option<Map> {
        let value = |(name, place): &(Name, usize)| (name.clone(), &self.row.values[*place].value);
        (!self.row.is_unknown()).then(|| Map::new(self.names.iter().map(value)))
    }
}

/// One entity's features, with what is true of each.
pub struct EntityFeatures {
    /// As it was asked for.
    pub id: ID,
    /// What was asked for.
    pub plan: Arc<Plan>,
    /// Its values.
    pub row: EntityRow,
    /// The instant that the values are of, epoch ms.
    pub as_of: i64,
}

/// One entity's features, with what is true of each.
#[Object]
impl EntityFeatures {
    /// The entity's key, as it was asked for.
    async fn key(&self) -> &ID {
        &self.id
    }

    /// `ERROR` if any value could not be had, `NOT_FOUND` if nothing knows the entity, otherwise `PRESENT`.
    async fn status(&self) -> Status {
        self.row.status().into()
    }

    /// The instant that the values are of.
    async fn as_of(&self) -> Instant {
        Instant(self.as_of)
    }

    /// The values by `view:feature`; null for an entity that nothing knows.
    async fn features(&self) -> Option<Map> {
        let values = self.plan.names.iter().zip(&self.row.values);
        (!self.row.is_unknown()).then(|| Map::new(values.map(|(name, value)| (Name::new(name), &value.value))))
    }

    /// Each value with what is true of it, in the order asked for.
    async fn values(&self) -> Vec<FeatureValue<'_>> {
        let values = self.row.values.iter().enumerate();
        values.map(|(place, value)| FeatureValue { plan: &self.plan, place, value }).collect()
    }
}

/// Fields of a value; one that is selected with more of them counts as several.
pub const FIELDS_OF_A_VALUE: usize = 8;

/// One feature's value, and what is true of it.
pub struct FeatureValue<'a> {
    plan: &'a Plan,
    place: usize,
    value: &'a assemble::FeatureValue,
}

/// One feature's value, and what is true of it.
#[Object]
impl FeatureValue<'_> {
    /// Its reference, `view:feature`.
    async fn name(&self) -> &str {
        &self.plan.names[self.place]
    }

    /// The value; where there is none, the declared default or null, and `status` says why.
    async fn value(&self) -> Option<Json<&serde_json::Value>> {
        (!self.value.value.is_null()).then_some(Json(&self.value.value))
    }

    /// What is true of it.
    async fn status(&self) -> Status {
        self.value.status.into()
    }

    /// Time of the newest event that its view has absorbed of this entity.
    async fn event_time(&self) -> Option<Instant> {
        self.value.event_time.map(Instant)
    }

    /// The store that it comes from.
    async fn source(&self) -> &'static str {
        store_name(self.plan.definitions.views[self.view()].store)
    }

    /// Version of its view.
    async fn version(&self) -> u32 {
        self.plan.definitions.views[self.view()].version
    }

    /// The batch job that wrote it; null for a streamed or computed value.
    async fn job_id(&self) -> Option<String> {
        let view = &self.plan.definitions.views[self.view()];
        self.value.run.map(|run| view.job_id(run))
    }

    /// Why it could not be had.
    async fn reason(&self) -> Option<&str> {
        self.value.reason.as_deref()
    }
}

impl FeatureValue<'_> {
    fn view(&self) -> usize {
        self.plan.features[self.place].0
    }
}

/// Puts an entry into `errors` for each view whose values could not be had, and why; the values are there, with their
/// status.
pub fn report(context: &Context<'_>, plan: &Plan, answer: &Answer) {
    let mut missing: BTreeMap<(usize, &str), (BTreeSet<usize>, usize)> = BTreeMap::new();
    for row in &answer.rows {
        for (place, value) in row.values.iter().enumerate().filter(|(_, v)| v.status == assemble::Status::Error) {
            let reason = value.reason.as_deref().unwrap_or("not to be had");
            let (places, count) = missing.entry((plan.features[place].0, reason)).or_default();
            *count += 1;
            places.insert(place);
        }
    }
    let more = missing.len().saturating_sub(MOST_ERRORS);
    for ((view, reason), (places, count)) in missing.into_iter().take(MOST_ERRORS) {
        let view = &plan.definitions.views[view];
        let away = answer.away.iter().any(|(store, _)| *store == view.store);
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", if away { UNAVAILABLE } else { VALUE_ERROR });
        extensions.set("source", store_name(view.store));
        extensions.set("view", view.id());
        let features = places.into_iter().map(|place| Value::from(plan.names[place].as_str()));
        extensions.set("features", Value::List(features.collect()));
        extensions.set("values", count as u64);
        add(context, format!("{}: {reason}", view.id()), extensions);
    }
    if more > 0 {
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", VALUE_ERROR);
        add(context, format!("{more} more reasons; see each value's"), extensions);
    }
}

fn add(context: &Context<'_>, message: String, extensions: ErrorExtensionValues) {
    let mut error = context.set_error_path(ServerError::new(message, Some(context.item.pos)));
    error.extensions = Some(extensions);
    context.add_error(error);
}

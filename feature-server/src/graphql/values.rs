//! The features of entities, as GraphQL shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_graphql::{Context, Enum, ErrorExtensionValues, ID, Json, Name, Object, ServerError, Value};
use millrace_core::assemble;

use super::error::{UNAVAILABLE, VALUE_ERROR};
use super::scalars::{Instant, Map};
use crate::catalog::store_name;
use crate::repository::{EntityRow, FeatureAnswer, Plan};

/// The most entries in `errors` for values that could not be read. Each has one view and reason. One more entry stands for
/// the rest.
const MOST_ERRORS: usize = 20;

/// The status of a value, or of an entity as a whole.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(remote = "millrace_core::assemble::Status")]
pub enum Status {
    /// The value is known, and within the `ttl` of its view.
    Present,
    /// The entity is known, and the window is empty.
    NullValue,
    /// The view does not know the entity.
    NotFound,
    /// The newest event of the view is older than its `ttl`.
    OutsideMaxAge,
    /// The value could not be read, and `reason` says why.
    Error,
}

/// The requested names, and the places of their values in a row.
pub type Shown = Arc<[(Name, usize)]>;

/// One entity's features by name.
pub struct FeatureSet {
    /// The key, as requested.
    pub id: ID,
    /// The names that are shown.
    pub names: Shown,
    /// The values.
    pub row: EntityRow,
}

/// One entity's features by name.
#[Object]
impl FeatureSet {
    /// The key of the entity, as requested.
    async fn entity_id(&self) -> &ID {
        &self.id
    }

    /// The values, under the requested names. Null where no view knows the entity.
    async fn features(&self) -> Option<Map> {
        let value = |(name, place): &(Name, usize)| (name.clone(), &self.row.values[*place].value);
        (!self.row.is_unknown()).then(|| Map::new(self.names.iter().map(value)))
    }
}

/// One entity's features, with their statuses.
pub struct EntityFeatures {
    /// The key, as requested.
    pub id: ID,
    /// The requested features.
    pub plan: Arc<Plan>,
    /// The values.
    pub row: EntityRow,
    /// The instant of the values, epoch ms.
    pub as_of: i64,
}

/// One entity's features, with their statuses.
#[Object]
impl EntityFeatures {
    /// The key of the entity, as requested.
    async fn key(&self) -> &ID {
        &self.id
    }

    /// `ERROR` if any value could not be read, `NOT_FOUND` if no view knows the entity, otherwise `PRESENT`.
    async fn status(&self) -> Status {
        self.row.status().into()
    }

    /// The instant of the values.
    async fn as_of(&self) -> Instant {
        Instant(self.as_of)
    }

    /// The values by `view:feature`. Null where no view knows the entity.
    async fn features(&self) -> Option<Map> {
        let values = self.plan.names.iter().zip(&self.row.values);
        (!self.row.is_unknown()).then(|| Map::new(values.map(|(name, value)| (Name::new(name), &value.value))))
    }

    /// Each value with its status, in the requested order.
    async fn values(&self) -> Vec<FeatureValue<'_>> {
        let values = self.row.values.iter().enumerate();
        values.map(|(place, value)| FeatureValue { plan: &self.plan, place, value }).collect()
    }
}

/// The fields of a value. A value that is selected with more fields than this counts as several.
pub const FIELDS_OF_A_VALUE: usize = 8;

/// One feature's value, with its status.
pub struct FeatureValue<'a> {
    plan: &'a Plan,
    place: usize,
    value: &'a assemble::FeatureValue,
}

/// One feature's value, with its status.
#[Object]
impl FeatureValue<'_> {
    /// The reference of the feature, `view:feature`.
    async fn name(&self) -> &str {
        &self.plan.names[self.place]
    }

    /// The value. If it is missing: the declared default or null, and `status` says why.
    async fn value(&self) -> Option<Json<&serde_json::Value>> {
        (!self.value.value.is_null()).then_some(Json(&self.value.value))
    }

    /// The status of the value.
    async fn status(&self) -> Status {
        self.value.status.into()
    }

    /// The time of the newest event of this entity that the view has absorbed.
    async fn event_time(&self) -> Option<Instant> {
        self.value.event_time.map(Instant)
    }

    /// The store of the value.
    async fn source(&self) -> &'static str {
        store_name(self.plan.definitions.views[self.view()].store)
    }

    /// The version of the view.
    async fn version(&self) -> u32 {
        self.plan.definitions.views[self.view()].version
    }

    /// The batch job that wrote the value. Null for a streamed or computed value.
    async fn job_id(&self) -> Option<String> {
        let view = &self.plan.definitions.views[self.view()];
        self.value.run.map(|run| view.job_id(run))
    }

    /// Why the value could not be read.
    async fn reason(&self) -> Option<&str> {
        self.value.reason.as_deref()
    }
}

impl FeatureValue<'_> {
    fn view(&self) -> usize {
        self.plan.features[self.place].0
    }
}

/// Adds an entry to `errors` for each view whose values could not be read, with the reason. The values themselves are in the
/// data, with their status.
pub fn report(context: &Context<'_>, plan: &Plan, answer: &FeatureAnswer) {
    let mut missing: BTreeMap<(usize, &str), (BTreeSet<usize>, usize)> = BTreeMap::new();
    for row in &answer.rows {
        for (place, value) in row.values.iter().enumerate().filter(|(_, v)| v.status == assemble::Status::Error) {
            let reason = value.reason.as_deref().unwrap_or("the value could not be read");
            let (places, count) = missing.entry((plan.features[place].0, reason)).or_default();
            *count += 1;
            places.insert(place);
        }
    }
    let more = missing.len().saturating_sub(MOST_ERRORS);
    for ((view, reason), (places, count)) in missing.into_iter().take(MOST_ERRORS) {
        let view = &plan.definitions.views[view];
        let is_unavailable = answer.unavailable.iter().any(|(store, _)| *store == view.store);
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", if is_unavailable { UNAVAILABLE } else { VALUE_ERROR });
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
        add(context, format!("{more} more reasons; see the `reason` of each value"), extensions);
    }
}

fn add(context: &Context<'_>, message: String, extensions: ErrorExtensionValues) {
    let mut error = context.set_error_path(ServerError::new(message, Some(context.item.pos)));
    error.extensions = Some(extensions);
    context.add_error(error);
}

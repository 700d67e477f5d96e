//! The root of the schema: the queries.

use std::sync::Arc;

use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Name, Object, Result, SelectionField};
use millrace_core::definitions;
use serde_json::Value as Json;

use super::batch::Batch;
use super::catalog::{Entity, Service, ServiceVersion, Store, View};
use super::error::refused;
use super::scalars::Instant;
use super::values::{EntityFeatures, FIELDS_OF_A_VALUE, FeatureSet, Shown, report};
use crate::error::RequestError;
use crate::parse::{self, Selection};
use crate::repository::{FeatureAnswer, Plan};
use crate::served::ServedDefinitions;
use crate::server::FeatureServer;

/// The schema. It has no mutations.
pub type Schema = async_graphql::Schema<Query, EmptyMutation, EmptySubscription>;

/// Builds the schema. Limits of documents are left to `limits`.
pub fn schema() -> Schema {
    Schema::build(Query, EmptyMutation, EmptySubscription).finish()
}

/// The data that the resolvers of one request share.
pub struct QueryScope {
    /// The server.
    pub server: Arc<FeatureServer>,
    /// The definitions under which the whole request is answered.
    pub served: Arc<ServedDefinitions>,
    /// The request's read of the stores.
    pub batch: Arc<Batch>,
}

/// The queries. A field that may be null returns `Option<Result<_>>`, so that its error leaves null in its place. The
/// error of any other field leaves no data at all.
pub struct Query;

/// The queries.
#[Object]
impl Query {
    /// Features of many entities by name: `view:feature`, `view@2:feature`, or a feature's own name where only one view has
    /// it. The names tell which entity is meant. One entry for each of `entityIds`, in order.
    async fn get_features(
        &self,
        context: &Context<'_>,
        entity_ids: Vec<ID>,
        feature_names: Vec<String>,
    ) -> Result<Vec<FeatureSet>> {
        let scope = context.data::<QueryScope>()?;
        let (plan, names) = scope.named(&feature_names).map_err(refused)?;
        let answer = scope.read(context, &plan, ("entityIds", &entity_ids), None).await?;
        let rows = entity_ids.into_iter().zip(answer.rows);
        Ok(rows.map(|(id, row)| FeatureSet { id, names: names.clone(), row }).collect())
    }

    /// Features of many entities of one kind, with their statuses: the features of a `service` (`fraud@2`), or `features` by
    /// reference (`view:feature`), or all that are streamed. One entry for each of `keys`, in order.
    async fn features(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The name of the entity.")] entity: String,
        #[graphql(desc = "The keys. A composite key is its parts joined by `,`.")] keys: Vec<ID>,
        #[graphql(desc = "A service, all features of which are read. A name without a version means version 1.")]
        service: Option<String>,
        #[graphql(desc = "The features that are read.")] features: Option<Vec<String>>,
        #[graphql(desc = "The instant of the values. Now unless given.")] as_of: Option<Instant>,
    ) -> Result<Vec<EntityFeatures>> {
        let scope = context.data::<QueryScope>()?;
        let plan = scope.selected(&entity, service.as_deref(), features).map_err(refused)?;
        let answer = scope.read(context, &plan, ("keys", &keys), as_of.map(|Instant(ms)| ms)).await?;
        let as_of = answer.as_of;
        let rows = keys.into_iter().zip(answer.rows);
        Ok(rows.map(|(id, row)| EntityFeatures { id, plan: plan.clone(), row, as_of }).collect())
    }

    /// The entities: things that features describe.
    async fn entities(&self, context: &Context<'_>) -> Result<Vec<Entity>> {
        let definitions = &context.data::<QueryScope>()?.served.definitions;
        Ok((0..definitions.entities.len()).map(|index| Entity::new(definitions, index)).collect())
    }

    /// The entity of that name.
    async fn entity(&self, context: &Context<'_>, name: String) -> Option<Result<Entity>> {
        let found = |scope: &QueryScope| {
            let definitions = &scope.served.definitions;
            Ok(definitions.entity(&name).map(|(index, _)| Entity::new(definitions, index)))
        };
        context.data::<QueryScope>().and_then(found).transpose()
    }

    /// The feature views, in declared order: all, or those of an entity or a store.
    async fn views(&self, context: &Context<'_>, entity: Option<String>, store: Option<Store>) -> Result<Vec<View>> {
        let scope = context.data::<QueryScope>()?;
        let definitions = &scope.served.definitions;
        let of_entity = |view: &definitions::View| {
            entity.as_ref().is_none_or(|name| definitions.entities[view.entity].name == *name)
        };
        let of_store = |view: &definitions::View| store.is_none_or(|store| Store::from(view.store) == store);
        let views: Vec<_> = definitions.views.iter().filter(|view| of_entity(view) && of_store(view)).collect();
        scope.batch.admit(0, views.iter().map(|view| view.features.len()).sum()).map_err(refused)?;
        Ok(views.into_iter().map(|view| View::new(definitions, view)).collect())
    }

    /// The view of that name and version.
    async fn view(
        &self,
        context: &Context<'_>,
        name: String,
        #[graphql(default = 1)] version: u32,
    ) -> Option<Result<View>> {
        let found = |scope: &QueryScope| {
            let definitions = &scope.served.definitions;
            let Some((_, view)) = definitions.view(&name, Some(version)) else { return Ok(None) };
            scope.batch.admit(0, view.features.len()).map_err(refused)?;
            Ok(Some(View::new(definitions, view)))
        };
        context.data::<QueryScope>().and_then(found).transpose()
    }

    /// The feature services, named lists of features that models read: all, or the one of that name.
    async fn services(&self, context: &Context<'_>, name: Option<String>) -> Result<Vec<Service>> {
        let scope = context.data::<QueryScope>()?;
        let definitions = &scope.served.definitions;
        let named = |service: &&definitions::Service| name.as_ref().is_none_or(|name| service.name == *name);
        let services: Vec<_> = definitions.services.iter().filter(named).collect();
        let versions = services.iter().flat_map(|service| service.versions.values());
        scope.batch.admit(0, versions.map(|version| version.features.len()).sum()).map_err(refused)?;
        Ok(services.into_iter().map(|service| Service::new(definitions, service)).collect())
    }

    /// One version of a service.
    async fn service(
        &self,
        context: &Context<'_>,
        name: String,
        #[graphql(default = 1)] version: u32,
    ) -> Option<Result<ServiceVersion>> {
        let found = |scope: &QueryScope| {
            let definitions = &scope.served.definitions;
            let found = definitions.services.iter().find(|service| service.name == name);
            let found = found.and_then(|service| ServiceVersion::new(definitions, service, version));
            scope.batch.admit(0, found.as_ref().map_or(0, ServiceVersion::len)).map_err(refused)?;
            Ok(found)
        };
        context.data::<QueryScope>().and_then(found).transpose()
    }
}

impl QueryScope {
    /// The plan of features that are named without their entity, and the name under which each is shown.
    fn named(&self, names: &[String]) -> Result<(Arc<Plan>, Shown), RequestError> {
        let named = self.served.named_plan(names).map_err(|error| error.of("featureNames"))?;
        let shown = names.iter().zip(&named.places).map(|(name, place)| (Name::new(name), *place));
        Ok((named.plan.clone(), shown.collect()))
    }

    /// The plan of a service, of features, or of all streamed features.
    fn selected(
        &self,
        entity: &str,
        service: Option<&str>,
        features: Option<Vec<String>>,
    ) -> Result<Arc<Plan>, RequestError> {
        let (index, _) = parse::entity(&self.served.definitions, entity)?;
        parse::refuse_both(service.is_some(), features.is_some())?;
        let features = features.map(|features| parse::joined(&features)).transpose()?;
        let selection = Selection::of(service, features.as_deref())?;
        self.served.plan(index, selection)
    }

    /// Reads the features of `ids`, and reports values that could not be read. `argument` is the name of the ids.
    async fn read(
        &self,
        context: &Context<'_>,
        plan: &Arc<Plan>,
        (argument, ids): (&str, &[ID]),
        as_of: Option<i64>,
    ) -> Result<FeatureAnswer> {
        let ids: Vec<Json> = ids.iter().map(|id| Json::String(id.0.clone())).collect();
        let keys = parse::json_keys(plan.entity(), argument, &ids, self.server.limits.max_keys).map_err(refused)?;
        let values = keys.len().saturating_mul(plan.features.len()).saturating_mul(copies(context.field()));
        self.batch.admit(keys.len(), values).map_err(refused)?;
        let answer = self.batch.read(plan.clone(), keys, as_of).await.map_err(refused)?;
        report(context, plan, &answer);
        Ok(answer)
    }
}

/// How often the answer shows each value that a field reads. Aliases make an answer longer without reading more.
fn copies(field: SelectionField<'_>) -> usize {
    let shown = field.selection_set().map(|shown| match shown.name() {
        "features" => 1,
        "values" => shown.selection_set().count().div_ceil(FIELDS_OF_A_VALUE),
        _ => 0,
    });
    shown.sum::<usize>().max(1)
}

//! The root of the schema: what can be asked.

use std::sync::Arc;

use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Name, Object, Result, SelectionField};
use millrace_core::definitions;
use serde_json::Value as Json;

use super::batch::Batch;
use super::catalog::{Entity, Service, ServiceVersion, Store, View};
use super::error::refused;
use super::scalars::Instant;
use super::values::{EntityFeatures, FIELDS_OF_A_VALUE, FeatureSet, Shown, report};
use crate::ask::{self, Selection};
use crate::error::RequestError;
use crate::names;
use crate::repository::{Answer, Plan};
use crate::state::{Serving, Shared};

/// The schema. Nothing can be written.
pub type Schema = async_graphql::Schema<Query, EmptyMutation, EmptySubscription>;

/// Builds it. How large a document may be is for `limits` to say before.
pub fn schema() -> Schema {
    Schema::build(Query, EmptyMutation, EmptySubscription).finish()
}

/// What the resolvers of one request need.
pub struct Scope {
    /// The server.
    pub shared: Arc<Shared>,
    /// The definitions that the whole request is answered under.
    pub serving: Arc<Serving>,
    /// Its one read of the stores.
    pub batch: Arc<Batch>,
}

/// Everything that can be asked. A field that may be null answers `Option<Result<_>>`, so that what goes wrong with it
/// leaves null at its place; an error of any other leaves no data at all.
pub struct Query;

/// Everything that can be asked.
#[Object]
impl Query {
    /// Features of many entities by name: `view:feature`, `view@2:feature`, or a feature's own name where one view alone
    /// has it. The names tell which entity is meant. One entry for each of `entityIds`, in order.
    async fn get_features(
        &self,
        context: &Context<'_>,
        entity_ids: Vec<ID>,
        feature_names: Vec<String>,
    ) -> Result<Vec<FeatureSet>> {
        let scope = context.data::<Scope>()?;
        let (plan, names) = scope.named(&feature_names).map_err(refused)?;
        let answer = scope.read(context, &plan, ("entityIds", &entity_ids), None).await?;
        let rows = entity_ids.into_iter().zip(answer.rows);
        Ok(rows.map(|(id, row)| FeatureSet { id, names: names.clone(), row }).collect())
    }

    /// Features of many entities of one kind, with what is true of each: those of a `service` (`fraud@2`), or `features`
    /// by reference (`view:feature`), or all that are streamed. One entry for each of `keys`, in order.
    async fn features(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its name.")] entity: String,
        #[graphql(desc = "A composite key is its parts joined by `,`.")] keys: Vec<ID>,
        #[graphql(desc = "All features of a version; a bare name means version 1.")] service: Option<String>,
        #[graphql(desc = "These alone.")] features: Option<Vec<String>>,
        #[graphql(desc = "The instant that the values are of; now unless given.")] as_of: Option<Instant>,
    ) -> Result<Vec<EntityFeatures>> {
        let scope = context.data::<Scope>()?;
        let plan = scope.selected(&entity, service.as_deref(), features).map_err(refused)?;
        let answer = scope.read(context, &plan, ("keys", &keys), as_of.map(|Instant(ms)| ms)).await?;
        let as_of = answer.as_of;
        let rows = keys.into_iter().zip(answer.rows);
        Ok(rows.map(|(id, row)| EntityFeatures { id, plan: plan.clone(), row, as_of }).collect())
    }

    /// Things that features describe.
    async fn entities(&self, context: &Context<'_>) -> Result<Vec<Entity>> {
        let definitions = &context.data::<Scope>()?.serving.definitions;
        Ok((0..definitions.entities.len()).map(|index| Entity::new(definitions, index)).collect())
    }

    /// The one of that name.
    async fn entity(&self, context: &Context<'_>, name: String) -> Option<Result<Entity>> {
        let found = |scope: &Scope| {
            let definitions = &scope.serving.definitions;
            Ok(definitions.entity(&name).map(|(index, _)| Entity::new(definitions, index)))
        };
        context.data::<Scope>().and_then(found).transpose()
    }

    /// Feature views, in declared order; all, or those of an entity or a store.
    async fn views(&self, context: &Context<'_>, entity: Option<String>, store: Option<Store>) -> Result<Vec<View>> {
        let scope = context.data::<Scope>()?;
        let definitions = &scope.serving.definitions;
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
        let found = |scope: &Scope| {
            let definitions = &scope.serving.definitions;
            let Some((_, view)) = definitions.view(&name, Some(version)) else { return Ok(None) };
            scope.batch.admit(0, view.features.len()).map_err(refused)?;
            Ok(Some(View::new(definitions, view)))
        };
        context.data::<Scope>().and_then(found).transpose()
    }

    /// Named lists of features that models read; all, or the one of that name.
    async fn services(&self, context: &Context<'_>, name: Option<String>) -> Result<Vec<Service>> {
        let scope = context.data::<Scope>()?;
        let definitions = &scope.serving.definitions;
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
        let found = |scope: &Scope| {
            let definitions = &scope.serving.definitions;
            let found = definitions.services.iter().find(|service| service.name == name);
            let found = found.and_then(|service| ServiceVersion::new(definitions, service, version));
            scope.batch.admit(0, found.as_ref().map_or(0, ServiceVersion::len)).map_err(refused)?;
            Ok(found)
        };
        context.data::<Scope>().and_then(found).transpose()
    }
}

impl Scope {
    /// The plan of features named without their entity, and under which name each is shown.
    fn named(&self, names: &[String]) -> Result<(Arc<Plan>, Shown), RequestError> {
        let named = names::plan(&self.shared, &self.serving, names).map_err(|error| error.of("featureNames"))?;
        let shown = names.iter().zip(&named.places).map(|(name, place)| (Name::new(name), *place));
        Ok((named.plan.clone(), shown.collect()))
    }

    /// The plan of a service, of features, or of all streamed ones.
    fn selected(
        &self,
        entity: &str,
        service: Option<&str>,
        features: Option<Vec<String>>,
    ) -> Result<Arc<Plan>, RequestError> {
        let (index, _) = ask::entity(&self.serving.definitions, entity)?;
        ask::not_both(service.is_some(), features.is_some())?;
        let features = features.map(|features| ask::joined(&features)).transpose()?;
        let selection = Selection::of(service, features.as_deref())?;
        ask::plan(&self.shared, &self.serving, index, selection)
    }

    /// Reads the features of `ids`, the argument of that name, and reports what could not be had.
    async fn read(
        &self,
        context: &Context<'_>,
        plan: &Arc<Plan>,
        (argument, ids): (&str, &[ID]),
        as_of: Option<i64>,
    ) -> Result<Answer> {
        let ids: Vec<Json> = ids.iter().map(|id| Json::String(id.0.clone())).collect();
        let keys = ask::json_keys(&self.shared, plan.entity(), argument, &ids).map_err(refused)?;
        let values = keys.len().saturating_mul(plan.features.len()).saturating_mul(copies(context.field()));
        self.batch.admit(keys.len(), values).map_err(refused)?;
        let answer = self.batch.read(plan.clone(), keys, as_of).await.map_err(refused)?;
        report(context, plan, &answer);
        Ok(answer)
    }
}

/// How many times the answer shows each value that a field reads: aliases multiply answers without reading more.
fn copies(field: SelectionField<'_>) -> usize {
    let shown = field.selection_set().map(|shown| match shown.name() {
        "features" => 1,
        "values" => shown.selection_set().count().div_ceil(FIELDS_OF_A_VALUE),
        _ => 0,
    });
    shown.sum::<usize>().max(1)
}

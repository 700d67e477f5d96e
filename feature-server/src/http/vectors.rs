//! `POST /v1/vectors/{entity}`: a service's features of many entities at once, for models that want rows and nothing
//! else. A row without a value for every reason but "not known" would lie, so what could not be had is a 503.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value as Json;

use super::answer::{job_and_reason, values};
use super::json::{JsonWriter, Written};
use super::{ended, json_body, written};
use crate::ask::{self, Selection};
use crate::catalog::store_name;
use crate::error::RequestError;
use crate::repository::{Answer, EntityRow, Plan, Request};
use crate::state::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorsBody {
    #[serde(default)]
    entity_ids: Json,
    #[serde(default)]
    feature_version: Json,
    #[serde(default)]
    metadata: bool,
}

pub(super) async fn many(State(shared): State<Arc<Shared>>, uri: Uri, body: Body) -> Response {
    ended(&shared.doors.vectors, read_many(&shared, &uri, body)).await
}

async fn read_many(shared: &Shared, uri: &Uri, body: Body) -> Result<Response, RequestError> {
    let body: VectorsBody = json_body(body, &shared.limits).await?;
    let serving = shared.serving()?;
    let entity = uri.path().rsplit('/').next().unwrap_or_default();
    let (index, entity) = ask::entity(&serving.definitions, entity)?;
    let ids = body.entity_ids.as_array().filter(|ids| !ids.is_empty()).ok_or(RequestError::NoEntities)?;
    let keys = ask::json_keys(shared, entity, "entity_ids", ids)?;
    let service = body.feature_version.as_str();
    let service =
        service.ok_or_else(|| RequestError::invalid("feature_version", "expected a service, such as `fraud@2`"))?;
    let plan = ask::plan(shared, &serving, index, Selection::Service(service));
    let plan = plan.map_err(|error| error.of("feature_version"))?;
    let request = Request::new(plan, keys, None);
    let answer = shared.read(&shared.doors.vectors, &request).await?;
    match missing(&answer, body.metadata) {
        Some(reason) => Err(RequestError::Unavailable(reason.to_owned())),
        None => written(vectors(&request.plan, &answer, body.metadata)),
    }
}

/// Why the answer would lie: a store was away, or a value could not be had that has no place for its status.
fn missing(answer: &Answer, statuses: bool) -> Option<&str> {
    let away = answer.away.first().map(|(_, reason)| reason.as_str());
    away.or_else(|| if statuses { None } else { answer.rows.iter().find_map(EntityRow::failure) })
}

fn vectors(plan: &Plan, answer: &Answer, metadata: bool) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = JsonWriter::default();
    json.object(|json| {
        json.name("features").list(|json| {
            answer.rows.iter().try_for_each(|row| {
                if row.is_unknown() {
                    return json.value(&());
                }
                json.object(
                    |json| if metadata { described(json, plan, row) } else { values(json, &plan.flat_names, row) },
                )
            })
        })
    })?;
    Ok(json.finish())
}

/// Each value with what is true of it and where it comes from.
fn described(json: &mut JsonWriter, plan: &Plan, row: &EntityRow) -> Written {
    let features = plan.flat_names.iter().zip(&plan.features);
    features.zip(&row.values).try_for_each(|((name, (view, _)), value)| {
        let view = &plan.definitions.views[*view];
        json.name(name).object(|json| {
            json.name("value").value(&value.value)?;
            json.name("timestamp").maybe_instant(value.event_time)?;
            json.name("version").value(&view.version)?;
            json.name("source").plain(store_name(view.store));
            json.name("status").plain(value.status.as_str());
            job_and_reason(json, view, value)
        })
    })
}

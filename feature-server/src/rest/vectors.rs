//! `POST /v1/vectors/{entity}`: a service's features of many entities at once, for models that want plain rows. A row
//! cannot say that a value could not be read, so such a value makes the whole answer a 503.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value as Json;

use super::counted;
use super::results::{job_and_reason, values};
use crate::catalog::store_name;
use crate::error::RequestError;
use crate::fast_path::json::{JsonResult, JsonWriter};
use crate::json_body::{read_json, written};
use crate::parse::{self, Selection};
use crate::repository::{EntityRow, FeatureAnswer, FeatureRequest, Plan};
use crate::server::FeatureServer;

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

pub(super) async fn many(State(server): State<Arc<FeatureServer>>, uri: Uri, body: Body) -> Response {
    counted(&server.endpoints.vectors, read_many(&server, &uri, body)).await
}

async fn read_many(server: &FeatureServer, uri: &Uri, body: Body) -> Result<Response, RequestError> {
    let body: VectorsBody = read_json(body, &server.limits).await?;
    let served = server.served()?;
    let entity = uri.path().rsplit('/').next().unwrap_or_default();
    let (index, entity) = parse::entity(&served.definitions, entity)?;
    let ids = body.entity_ids.as_array().filter(|ids| !ids.is_empty()).ok_or(RequestError::NoEntities)?;
    let keys = parse::json_keys(entity, "entity_ids", ids, server.limits.max_keys)?;
    let service = body.feature_version.as_str();
    let service =
        service.ok_or_else(|| RequestError::invalid("feature_version", "expected a service, such as `fraud@2`"))?;
    let plan = served.plan(index, Selection::Service(service));
    let plan = plan.map_err(|error| error.of("feature_version"))?;
    let request = FeatureRequest::new(plan, keys, None);
    let answer = server.read(&server.endpoints.vectors, &request).await?;
    match missing(&answer, body.metadata) {
        Some(reason) => Err(RequestError::Unavailable(reason.to_owned())),
        None => written(vectors(&request.plan, &answer, body.metadata)),
    }
}

/// Why the answer would be wrong: a store was unavailable, or a value could not be read and the form has no statuses.
fn missing(answer: &FeatureAnswer, statuses: bool) -> Option<&str> {
    let unavailable = answer.unavailable.first().map(|(_, reason)| reason.as_str());
    unavailable.or_else(|| if statuses { None } else { answer.rows.iter().find_map(EntityRow::failure) })
}

fn vectors(plan: &Plan, answer: &FeatureAnswer, metadata: bool) -> Result<Vec<u8>, serde_json::Error> {
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

/// Writes each value with its status and its source.
fn described(json: &mut JsonWriter, plan: &Plan, row: &EntityRow) -> JsonResult {
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

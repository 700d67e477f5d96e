//! `POST /v1/vectors/{entity}`: a service's features of many entities at once, for models that want rows and nothing
//! else. A row without a value for every reason but "not known" would lie, so a store that is away is a 503.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::Uri;
use axum::response::Response;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value as Json;

use super::answer::Values;
use super::ask::{self, Selection};
use super::{ended, json, read};
use crate::error::RequestError;
use crate::repository::{Answer, Plan, Request};
use crate::state::Shared;

#[derive(Deserialize)]
struct VectorsBody {
    #[serde(default)]
    entity_ids: Json,
    #[serde(default)]
    feature_version: Json,
}

struct Vectors<'a> {
    plan: &'a Plan,
    answer: &'a Answer,
}

pub(super) async fn many(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    bytes: Result<Bytes, BytesRejection>,
) -> Response {
    ended("vectors", read_many(&shared, &uri, bytes).await)
}

async fn read_many(shared: &Shared, uri: &Uri, bytes: Result<Bytes, BytesRejection>) -> Result<Response, RequestError> {
    let body: VectorsBody = ask::body(shared, bytes)?;
    let serving = shared.serving()?;
    let entity = uri.path().rsplit('/').next().unwrap_or_default();
    let (index, entity) = ask::entity(&serving.definitions, entity)?;
    let ids = body.entity_ids.as_array().filter(|ids| !ids.is_empty()).ok_or(RequestError::NoEntities)?;
    let keys = ask::json_keys(shared, entity, "entity_ids", ids)?;
    let service = body.feature_version.as_str();
    let service =
        service.ok_or_else(|| RequestError::invalid("feature_version", "expected a service, such as `fraud@2`"))?;
    let plan = ask::plan(shared, &serving, index, Selection::Service(service)).map_err(|error| match error {
        RequestError::Unknown { error, .. } => RequestError::unknown("feature_version", error),
        RequestError::Invalid { error, .. } => RequestError::invalid("feature_version", error),
        other => other,
    })?;
    let request = Request { plan, keys, as_of: None, deadline: None };
    let answer = read(shared, "vectors", &request).await?;
    match &answer.away {
        Some((_, reason)) => Err(RequestError::Unavailable(reason.clone())),
        None => json(&Vectors { plan: &request.plan, answer: &answer }),
    }
}

impl Serialize for Vectors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.answer.rows.iter();
        let rows: Vec<Option<Values<'_>>> =
            rows.map(|row| (!row.is_unknown()).then_some(Values(&self.plan.flat_names, row))).collect();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("features", &rows)?;
        map.end()
    }
}

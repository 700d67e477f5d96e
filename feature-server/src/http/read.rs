//! `GET /v1/features/{entity}/{key}` and `POST /v1/features`: any features of any keys of one entity, with statuses.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value as Json;

use super::answer::Results;
use super::{ended, json_body, written};
use crate::ask::{self, Selection};
use crate::error::RequestError;
use crate::repository::Request;
use crate::state::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneQuery {
    service: Option<String>,
    features: Option<String>,
    as_of: Option<String>,
    #[serde(default)]
    metadata: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManyBody {
    entity: String,
    keys: Vec<Json>,
    service: Option<String>,
    features: Option<Vec<String>>,
    as_of: Option<Json>,
    #[serde(default)]
    metadata: bool,
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Response {
    ended(&shared.doors.features_get, read_one(&shared, &uri, query)).await
}

async fn read_one(
    shared: &Shared,
    uri: &Uri,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Result<Response, RequestError> {
    let Query(query) = query.map_err(|rejection| RequestError::invalid("query", rejection.body_text()))?;
    let serving = shared.serving()?;
    let (index, _, key) = ask::entity_and_key(&serving.definitions, uri)?;
    let selection = Selection::of(query.service.as_deref(), query.features.as_deref())?;
    let as_of = query.as_of.as_deref().map(ask::instant).transpose()?;
    let plan = ask::plan(shared, &serving, index, selection)?;
    let request = Request::new(plan, vec![key], as_of);
    let answer = shared.read(&shared.doors.features_get, &request).await?;
    let results = Results { plan: &request.plan, keys: &request.keys, answer: &answer, metadata: query.metadata };
    written(results.json())
}

pub(super) async fn many(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    ended(&shared.doors.features_post, read_many(&shared, body)).await
}

async fn read_many(shared: &Shared, body: Body) -> Result<Response, RequestError> {
    let body: ManyBody = json_body(body, &shared.limits).await?;
    let serving = shared.serving()?;
    let (index, entity) = ask::entity(&serving.definitions, &body.entity)?;
    if body.keys.is_empty() {
        return Err(RequestError::invalid("keys", "expected a list of at least one key"));
    }
    let keys = ask::json_keys(shared, entity, "keys", &body.keys)?;
    ask::not_both(body.service.is_some(), body.features.is_some())?;
    let features = body.features.map(|features| ask::joined(&features)).transpose()?;
    let selection = Selection::of(body.service.as_deref(), features.as_deref())?;
    let as_of = body.as_of.as_ref().map(ask::json_instant).transpose()?;
    let request = Request::new(ask::plan(shared, &serving, index, selection)?, keys, as_of);
    let answer = shared.read(&shared.doors.features_post, &request).await?;
    let results = Results { plan: &request.plan, keys: &request.keys, answer: &answer, metadata: body.metadata };
    written(results.json())
}

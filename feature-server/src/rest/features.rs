//! `GET /v1/features/{entity}/{key}` and `POST /v1/features`: any features of one or more keys, with their statuses.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value as Json;

use super::counted;
use super::results::FeatureResults;
use crate::error::RequestError;
use crate::instant;
use crate::json_body::{read_json, written};
use crate::parse::{self, Selection};
use crate::repository::FeatureRequest;
use crate::server::FeatureServer;

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
    State(server): State<Arc<FeatureServer>>,
    uri: Uri,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Response {
    counted(&server.endpoints.features_get, read_one(&server, &uri, query)).await
}

async fn read_one(
    server: &FeatureServer,
    uri: &Uri,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Result<Response, RequestError> {
    let Query(query) = query.map_err(|rejection| RequestError::invalid("query", rejection.body_text()))?;
    let served = server.served()?;
    let (index, _, key) = parse::entity_and_key(&served.definitions, uri)?;
    let selection = Selection::of(query.service.as_deref(), query.features.as_deref())?;
    let as_of = query.as_of.as_deref().map(instant::parse).transpose()?;
    let plan = served.plan(index, selection)?;
    let request = FeatureRequest::new(plan, vec![key], as_of);
    let answer = server.read(&server.endpoints.features_get, &request).await?;
    let results =
        FeatureResults { plan: &request.plan, keys: &request.keys, answer: &answer, metadata: query.metadata };
    written(results.json())
}

pub(super) async fn many(State(server): State<Arc<FeatureServer>>, body: Body) -> Response {
    counted(&server.endpoints.features_post, read_many(&server, body)).await
}

async fn read_many(server: &FeatureServer, body: Body) -> Result<Response, RequestError> {
    let body: ManyBody = read_json(body, &server.limits).await?;
    let served = server.served()?;
    let (index, entity) = parse::entity(&served.definitions, &body.entity)?;
    if body.keys.is_empty() {
        return Err(RequestError::invalid("keys", "expected a list of at least one key"));
    }
    let keys = parse::json_keys(entity, "keys", &body.keys, server.limits.max_keys)?;
    parse::refuse_both(body.service.is_some(), body.features.is_some())?;
    let features = body.features.map(|features| parse::joined(&features)).transpose()?;
    let selection = Selection::of(body.service.as_deref(), features.as_deref())?;
    let as_of = body.as_of.as_ref().map(instant::parse_json).transpose()?;
    let request = FeatureRequest::new(served.plan(index, selection)?, keys, as_of);
    let answer = server.read(&server.endpoints.features_post, &request).await?;
    let results = FeatureResults { plan: &request.plan, keys: &request.keys, answer: &answer, metadata: body.metadata };
    written(results.json())
}

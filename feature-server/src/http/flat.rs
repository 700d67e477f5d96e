//! `GET /api/v1/features/{entity}/{key}`: one flat object, the key and every streamed feature. It has no place for
//! statuses: what could not be had is left out, and where nothing is known the HTTP status says so.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use millrace_core::assemble::{FeatureValue, Status};
use millrace_core::definitions::Entity;
use millrace_core::key::KeyText;
use serde::Deserialize;

use super::json::JsonWriter;
use super::{ended, written};
use crate::ask::{self, Selection};
use crate::error::RequestError;
use crate::repository::{EntityRow, Plan, Request};
use crate::state::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlatQuery {
    features: Option<String>,
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    query: Result<Query<FlatQuery>, QueryRejection>,
) -> Response {
    ended(&shared.doors.flat, read_one(&shared, &uri, query)).await
}

async fn read_one(
    shared: &Shared,
    uri: &Uri,
    query: Result<Query<FlatQuery>, QueryRejection>,
) -> Result<Response, RequestError> {
    let Query(query) = query.map_err(|rejection| RequestError::invalid("query", rejection.body_text()))?;
    let serving = shared.serving()?;
    let (index, entity, key) = ask::entity_and_key(&serving.definitions, uri)?;
    let selection = query.features.as_deref().map_or(Selection::Streamed, Selection::StreamedAnd);
    let plan = ask::plan(shared, &serving, index, selection)?;
    let request = Request::new(plan, vec![key], None);
    let answer = shared.read(&shared.doors.flat, &request).await?;
    let (Some(row), Some(key)) = (answer.rows.first(), request.keys.first()) else {
        return Err(RequestError::NotFound(entity.name.clone()));
    };
    let known = row.values.iter().any(|value| value.event_time.is_some());
    match row.failure() {
        Some(reason) if !known => Err(RequestError::Unavailable(reason.to_owned())),
        _ if row.is_unknown() => Err(RequestError::NotFound(entity.name.clone())),
        _ => written(flat(entity, key, &request.plan, row)),
    }
}

fn flat(entity: &Entity, key: &KeyText, plan: &Plan, row: &EntityRow) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = JsonWriter::default();
    json.object(|json| {
        for ((field, kind), text) in entity.key.iter().zip(key.parts()) {
            json.name(field).key_part(*kind, &text)?;
        }
        let had = |(_, value): &(&String, &FeatureValue)| value.status != Status::Error;
        let mut had = plan.flat_names.iter().zip(&row.values).filter(had);
        had.try_for_each(|(name, value)| json.name(name).value(&value.value))
    })?;
    Ok(json.finish())
}

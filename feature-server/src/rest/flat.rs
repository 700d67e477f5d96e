//! `GET /api/v1/features/{entity}/{key}`: one flat object with the key and every streamed feature. It cannot express
//! statuses: values that could not be read are left out, and the HTTP status says where nothing is known.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use millrace_core::assemble::{FeatureValue, Status};
use millrace_core::definitions::Entity;
use millrace_core::key::KeyText;
use serde::Deserialize;

use super::counted;
use crate::error::RequestError;
use crate::fast_path::json::JsonWriter;
use crate::json_body::written;
use crate::parse::{self, Selection};
use crate::repository::{EntityRow, FeatureRequest, Plan};
use crate::server::FeatureServer;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlatQuery {
    features: Option<String>,
}

pub(super) async fn one(
    State(server): State<Arc<FeatureServer>>,
    uri: Uri,
    query: Result<Query<FlatQuery>, QueryRejection>,
) -> Response {
    counted(&server.endpoints.flat, read_one(&server, &uri, query)).await
}

async fn read_one(
    server: &FeatureServer,
    uri: &Uri,
    query: Result<Query<FlatQuery>, QueryRejection>,
) -> Result<Response, RequestError> {
    let Query(query) = query.map_err(|rejection| RequestError::invalid("query", rejection.body_text()))?;
    let served = server.served()?;
    let (index, entity, key) = parse::entity_and_key(&served.definitions, uri)?;
    let selection = query.features.as_deref().map_or(Selection::Streamed, Selection::StreamedAnd);
    let plan = served.plan(index, selection)?;
    let request = FeatureRequest::new(plan, vec![key], None);
    let answer = server.read(&server.endpoints.flat, &request).await?;
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
        let was_read = |(_, value): &(&String, &FeatureValue)| value.status != Status::Error;
        let mut values = plan.flat_names.iter().zip(&row.values).filter(was_read);
        values.try_for_each(|(name, value)| json.name(name).value(&value.value))
    })?;
    Ok(json.finish())
}

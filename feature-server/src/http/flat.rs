//! `GET /api/v1/features/{entity}/{key}`: one flat object, the key and every streamed feature. It has no place for
//! statuses, so what is not known is said by the HTTP status where nothing is.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use millrace_core::definitions::Entity;
use millrace_core::key::KeyText;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::answer::part_json;
use super::ask::{self, Selection};
use super::{ended, json, read};
use crate::error::RequestError;
use crate::repository::{EntityRow, Plan, Request};
use crate::state::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlatQuery {
    features: Option<String>,
}

struct Flat<'a> {
    entity: &'a Entity,
    key: &'a KeyText,
    plan: &'a Plan,
    row: &'a EntityRow,
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    query: Result<Query<FlatQuery>, QueryRejection>,
) -> Response {
    ended("flat", read_one(&shared, &uri, query).await)
}

async fn read_one(
    shared: &Shared,
    uri: &Uri,
    query: Result<Query<FlatQuery>, QueryRejection>,
) -> Result<Response, RequestError> {
    let Query(query) = query.map_err(|rejection| RequestError::invalid("query", rejection.body_text()))?;
    let serving = shared.serving()?;
    let (entity, key) = ask::entity_and_key(uri);
    let (index, entity) = ask::entity(&serving.definitions, entity)?;
    let keys = vec![ask::url_key(entity, key)?];
    let selection = query.features.as_deref().map_or(Selection::Streamed, Selection::StreamedAnd);
    let request = Request { plan: ask::plan(shared, &serving, index, selection)?, keys, as_of: None, deadline: None };
    let answer = read(shared, "flat", &request).await?;
    let (Some(row), Some(key)) = (answer.rows.first(), request.keys.first()) else {
        return Err(RequestError::NotFound(entity.name.clone()));
    };
    let known = row.values.iter().any(|value| value.event_time.is_some());
    match answer.away {
        Some((_, reason)) if !known => Err(RequestError::Unavailable(reason)),
        _ if row.is_unknown() => Err(RequestError::NotFound(entity.name.clone())),
        _ => json(&Flat { entity, key, plan: &request.plan, row }),
    }
}

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for ((field, kind), text) in self.entity.key.iter().zip(self.key.parts()) {
            map.serialize_entry(field, &part_json(*kind, text))?;
        }
        for (name, value) in self.plan.flat_names.iter().zip(&self.row.values) {
            map.serialize_entry(name, &value.value)?;
        }
        map.end()
    }
}

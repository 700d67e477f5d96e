//! The REST doors: each turns its request into a repository request and the answer into its own form. What is read,
//! and what is true of it, is the repository's.

mod answer;
mod entities;
mod flat;
mod json;
mod read;
mod vectors;

pub(crate) use json::rfc3339;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use millrace_common::body;
use serde::de::DeserializeOwned;

use crate::config::Limits;
use crate::doors::{Door, Outcome};
use crate::error::RequestError;
use crate::state::Shared;

/// The routes that read.
pub fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/features/{entity}/{key}", get(read::one))
        .route("/v1/features", post(read::many))
        .route("/api/v1/features/{entity}/{key}", get(flat::one))
        .route("/v1/vectors/{entity}", post(vectors::many))
        .route("/v1/entities", get(entities::find))
        .route("/v1/catalog", get(catalog))
        .merge(crate::graphql::routes(shared.clone()))
        .method_not_allowed_fallback(|| async {
            RequestError::Route(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method".to_owned())
        })
        .fallback(|| async { RequestError::Route(StatusCode::NOT_FOUND, "there is no such route".to_owned()) })
        .with_state(shared)
}

async fn catalog(State(shared): State<Arc<Shared>>) -> Result<Response, RequestError> {
    let serving = shared.serving()?;
    Ok(json_bytes(serving.catalog.clone()))
}

/// Reads a JSON body, within its limits.
pub(crate) async fn json_body<T: DeserializeOwned>(body: Body, limits: &Limits) -> Result<T, RequestError> {
    let bytes = body::read(body, limits.max_body, limits.body_timeout).await?;
    serde_json::from_slice(&bytes).map_err(|error| RequestError::invalid("body", error.to_string()))
}

/// Counts how a request of a door ends.
async fn ended(door: &Arc<Door>, work: impl Future<Output = Result<Response, RequestError>>) -> Response {
    let call = door.call();
    let response = work.await.into_response();
    call.ended(Outcome::of(response.status()));
    response
}

/// An answer that was written; values that came from JSON go back into it.
pub(crate) fn written(json: Result<Vec<u8>, serde_json::Error>) -> Result<Response, RequestError> {
    json.map(|bytes| json_bytes(bytes.into())).map_err(|error| RequestError::Unavailable(error.to_string()))
}

fn json_bytes(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

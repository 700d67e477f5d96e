//! The REST doors: each turns its request into a repository request and the answer into its own form. What is read,
//! and what is true of it, is the repository's.

mod answer;
mod body;
mod entities;
mod flat;
mod json;
mod read;
mod vectors;

pub(crate) use body::json as json_body;
pub(crate) use json::rfc3339;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};

use crate::doors::Door;
use crate::error::RequestError;
use crate::repository::{Answer, Request};
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

/// Reads for a door: bounds the requests in hand and counts them.
async fn read(shared: &Shared, door: &Door, request: &Request) -> Result<Answer, RequestError> {
    let _permit =
        shared.permits.try_acquire().map_err(|_| RequestError::Unavailable("too many requests in hand".to_owned()))?;
    let values = request.keys.len().saturating_mul(request.plan.features.len());
    if values > shared.limits.max_values {
        let most = shared.limits.max_values;
        return Err(RequestError::invalid("keys", format!("{values} values in one request; the most is {most}")));
    }
    let begun = Instant::now();
    let answer = shared.repository.read(request).await;
    door.read(begun.elapsed());
    Ok(answer)
}

/// Counts how requests of a door end.
fn ended(door: &Door, result: Result<Response, RequestError>) -> Response {
    let response = result.into_response();
    door.ended(response.status());
    response
}

/// An answer that was written; values that came from JSON go back into it.
pub(crate) fn written(json: Result<Vec<u8>, serde_json::Error>) -> Result<Response, RequestError> {
    json.map(|bytes| json_bytes(bytes.into())).map_err(|error| RequestError::Unavailable(error.to_string()))
}

fn json_bytes(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

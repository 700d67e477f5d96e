//! The REST doors: each turns its request into a repository request and the answer into its own form. What is read,
//! and what is true of it, is the repository's.

mod answer;
mod ask;
mod flat;
mod read;
mod vectors;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use serde::Serialize;

use crate::error::RequestError;
use crate::repository::{Answer, Request};
use crate::state::Shared;

/// The routes that read.
pub fn routes(shared: Arc<Shared>) -> Router {
    let limit = DefaultBodyLimit::max(shared.limits.max_body);
    Router::new()
        .route("/v1/features/{entity}/{key}", get(read::one))
        .route("/v1/features", post(read::many).layer(limit))
        .route("/api/v1/features/{entity}/{key}", get(flat::one))
        .route("/v1/vectors/{entity}", post(vectors::many).layer(limit))
        .route("/v1/catalog", get(catalog))
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
async fn read(shared: &Shared, door: &'static str, request: &Request) -> Result<Answer, RequestError> {
    let _permit =
        shared.permits.try_acquire().map_err(|_| RequestError::Unavailable("too many requests in hand".to_owned()))?;
    let values = request.keys.len().saturating_mul(request.plan.features.len());
    if values > shared.limits.max_values {
        let most = shared.limits.max_values;
        return Err(RequestError::invalid("keys", format!("{values} values in one request; the most is {most}")));
    }
    let begun = Instant::now();
    let answer = shared.repository.read(request).await;
    metrics::histogram!("millrace_read_seconds", "door" => door).record(begun.elapsed().as_secs_f64());
    Ok(answer)
}

/// Counts how requests of a door end.
fn ended(door: &'static str, result: Result<Response, RequestError>) -> Response {
    let response = result.into_response();
    let outcome = match response.status().as_u16() {
        200..300 => "ok",
        400..500 => "refused",
        _ => "unavailable",
    };
    metrics::counter!("millrace_read_requests_total", "door" => door, "outcome" => outcome).increment(1);
    response
}

fn json<T: Serialize>(body: &T) -> Result<Response, RequestError> {
    // Names and values that came from JSON go back into it.
    let bytes = serde_json::to_vec(body).map_err(|error| RequestError::Unavailable(error.to_string()))?;
    Ok(json_bytes(bytes.into()))
}

fn json_bytes(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

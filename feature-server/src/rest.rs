//! The REST API. Each endpoint turns its request into a repository request, and the answer into its own form. The
//! reads, and the status of each value, are left to the repository.

mod entities;
mod features;
mod flat;
mod results;
mod vectors;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};

use crate::endpoints::Endpoint;
use crate::error::RequestError;
use crate::json_body::json_response;
use crate::server::FeatureServer;

/// The routes of the REST API.
pub fn routes(server: Arc<FeatureServer>) -> Router {
    Router::new()
        .route("/v1/features/{entity}/{key}", get(features::one))
        .route("/v1/features", post(features::many))
        .route("/api/v1/features/{entity}/{key}", get(flat::one))
        .route("/v1/vectors/{entity}", post(vectors::many))
        .route("/v1/entities", get(entities::find))
        .route("/v1/catalog", get(catalog))
        .with_state(server)
}

async fn catalog(State(server): State<Arc<FeatureServer>>) -> Result<Response, RequestError> {
    let served = server.served()?;
    Ok(json_response(served.catalog.clone()))
}

/// Answers a request of an endpoint, and counts how it ends.
async fn counted(endpoint: &Arc<Endpoint>, work: impl Future<Output = Result<Response, RequestError>>) -> Response {
    let request = endpoint.begin();
    let response = work.await.into_response();
    request.end(response.status().into());
    response
}

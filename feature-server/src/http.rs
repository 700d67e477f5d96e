//! The HTTP listener: the REST API and the GraphQL API on one port.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::Router;

use crate::error::RequestError;
use crate::server::FeatureServer;
use crate::{graphql, rest};

/// The routes of both APIs. A route that does not exist, or does not take a method, is answered in the form of all
/// errors.
pub fn routes(server: Arc<FeatureServer>) -> Router {
    rest::routes(server.clone())
        .merge(graphql::routes(server))
        .method_not_allowed_fallback(|| async {
            RequestError::Route(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method".to_owned())
        })
        .fallback(|| async { RequestError::Route(StatusCode::NOT_FOUND, "this route does not exist".to_owned()) })
}

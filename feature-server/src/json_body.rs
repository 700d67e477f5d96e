//! JSON bodies of requests and responses, for the APIs over HTTP.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use millrace_common::body;
use serde::de::DeserializeOwned;

use crate::config::Limits;
use crate::error::RequestError;

/// Reads a JSON body within the limits of its size and time.
pub(crate) async fn read_json<T: DeserializeOwned>(body: Body, limits: &Limits) -> Result<T, RequestError> {
    let bytes = body::read(body, limits.max_body, limits.body_timeout).await?;
    serde_json::from_slice(&bytes).map_err(|error| RequestError::invalid("body", error.to_string()))
}

/// The response with a document that was written. Writing fails only where a value cannot be expressed as JSON.
pub(crate) fn written(json: Result<Vec<u8>, serde_json::Error>) -> Result<Response, RequestError> {
    json.map(|bytes| json_response(bytes.into())).map_err(|error| RequestError::Unavailable(error.to_string()))
}

/// The response with a JSON document.
pub(crate) fn json_response(json: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

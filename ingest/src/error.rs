//! Errors of requests, and their answers. Every body is `{"error": …, "field"?: …}`.

use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use millrace_common::body::BodyError;
use millrace_core::event::Rejected;
use serde_json::json;

/// Why a request failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The body is not JSON of the expected form.
    #[error("{0}")]
    Unparsable(String),
    /// The body has too many bytes or too many events.
    #[error("{0}")]
    TooLarge(String),
    /// The body is compressed or encoded otherwise.
    #[error("`Content-Encoding: {0}` is not supported; send the body unencoded")]
    Encoded(String),
    /// The route does not exist, or takes another method.
    #[error("{1}")]
    Route(StatusCode, &'static str),
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    Slow,
    /// Too many other requests are in flight.
    #[error("too many requests in flight; try again later")]
    Busy,
    /// The only event of the request is not valid.
    #[error("{}", .0.reason)]
    Rejected(Rejected),
    /// The log is unavailable or under memory pressure.
    #[error("{reason}; try again later")]
    Unavailable {
        /// Why.
        reason: String,
        /// Indexes of the events that are in the log.
        accepted: Vec<usize>,
    },
}

impl RequestError {
    /// Whether the body may not have been read to its end. The connection must then close, because its next request
    /// would be read as the rest of this body.
    fn leaves_body_unread(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::Slow | Self::Busy)
    }
}

impl From<BodyError> for RequestError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => Self::TooLarge(error.to_string()),
            BodyError::Slow => Self::Slow,
            BodyError::Broken(_) => Self::Unparsable(error.to_string()),
        }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let error = self.to_string();
        let closes = self.leaves_body_unread();
        let (status, body) = match self {
            Self::Unparsable(_) => (StatusCode::BAD_REQUEST, json!({ "error": error })),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, json!({ "error": error })),
            Self::Encoded(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, json!({ "error": error })),
            Self::Route(status, _) => (status, json!({ "error": error })),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, json!({ "error": error })),
            // An error about the event as a whole names no field.
            Self::Rejected(Rejected { field, .. }) if field.is_empty() => {
                (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": error }))
            }
            Self::Rejected(rejected) => {
                (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": error, "field": rejected.field }))
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": error, "accepted": [] })),
            Self::Unavailable { accepted, .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": error, "accepted": accepted }))
            }
        };
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if closes {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

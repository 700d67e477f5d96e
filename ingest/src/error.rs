//! What a sender is told when a request cannot be taken. Every body is `{"error": …, "field"?: …}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use millrace_core::event::Rejected;
use serde_json::json;

/// A request that is not taken as a whole.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The body is no JSON of the expected form.
    #[error("{0}")]
    Unparsable(String),
    /// The body, or the number of its events, is over the limit.
    #[error("{0}")]
    TooLarge(String),
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    Slow,
    /// One event, and it is not valid.
    #[error("{}", .0.reason)]
    Rejected(Rejected),
    /// The log is away or under pressure; these events (by index) were accepted before.
    #[error("{reason}; try again later")]
    Unavailable {
        /// What is wrong.
        reason: String,
        /// Indexes of the events that are in the log.
        accepted: Vec<usize>,
    },
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let error = self.to_string();
        match self {
            Self::Unparsable(_) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Json(json!({ "error": error }))).into_response(),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, Json(json!({ "error": error }))).into_response(),
            Self::Rejected(rejected) => {
                let body = json!({ "error": error, "field": rejected.field });
                (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
            }
            Self::Unavailable { accepted, .. } => {
                let body = json!({ "error": error, "accepted": accepted });
                (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], Json(body)).into_response()
            }
        }
    }
}

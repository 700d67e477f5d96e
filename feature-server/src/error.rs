//! What a reader is told when a request cannot be answered. Every body is `{"error": …, "field"?: …}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use millrace_common::body::BodyError;
use serde_json::json;

/// A request that is not answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// Something in it is wrong; `field` names what.
    #[error("{error}")]
    Invalid {
        /// The parameter, path segment or body field.
        field: String,
        /// What is wrong and what would be right.
        error: String,
    },
    /// It asks for something that is not declared.
    #[error("{error}")]
    Unknown {
        /// As above.
        field: String,
        /// What is not there, and what is.
        error: String,
    },
    /// Nothing is known of the entity; the form of `GET /api/v1/features`.
    #[error("features not found for {0}")]
    NotFound(String),
    /// No list of entities; the form of `POST /v1/vectors`.
    #[error("'entity_ids' must be a non-empty list.")]
    NoEntities,
    /// There is no such route, or not with this method.
    #[error("{0}")]
    Route(StatusCode, String),
    /// The body is over the limit.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    Slow,
    /// There are as many requests in hand as may be.
    #[error("too many requests in hand; try again later")]
    Busy,
    /// Not now.
    #[error("{0}; try again later")]
    Unavailable(String),
}

impl RequestError {
    /// Something in the request is wrong.
    pub fn invalid(field: impl Into<String>, error: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), error: error.into() }
    }

    /// A name that is not declared.
    pub fn unknown(field: impl Into<String>, error: impl Into<String>) -> Self {
        Self::Unknown { field: field.into(), error: error.into() }
    }

    /// The same about a parameter that another door calls `field`.
    pub fn of(self, field: &str) -> Self {
        match self {
            Self::Invalid { error, .. } => Self::invalid(field, error),
            Self::Unknown { error, .. } => Self::unknown(field, error),
            other => other,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } | Self::NoEntities => StatusCode::BAD_REQUEST,
            Self::Unknown { field, .. } if field == "entity" => StatusCode::NOT_FOUND,
            Self::Unknown { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Route(status, _) => *status,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<BodyError> for RequestError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(most) => Self::TooLarge(most),
            BodyError::Slow => Self::Slow,
            BodyError::Broken(_) => Self::invalid("body", error.to_string()),
        }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let (status, error) = (self.status(), self.to_string());
        let body = match &self {
            Self::Invalid { field, .. } | Self::Unknown { field, .. } => json!({ "error": error, "field": field }),
            _ => json!({ "error": error }),
        };
        match self {
            Self::Busy | Self::Unavailable(_) => (status, [(RETRY_AFTER, "1")], Json(body)).into_response(),
            // Its body may not be read to the end: a next request would be taken for the rest of it.
            Self::TooLarge(_) | Self::Slow => (status, [(CONNECTION, "close")], Json(body)).into_response(),
            _ => (status, Json(body)).into_response(),
        }
    }
}

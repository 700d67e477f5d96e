//! The errors of requests. Over HTTP every body is `{"error": …, "field"?: …}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use millrace_common::body::BodyError;
use serde_json::json;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// A part of the request is wrong.
    #[error("{error}")]
    Invalid {
        /// The parameter, path segment or body field that is wrong.
        field: String,
        /// The mistake, and what would be right.
        error: String,
    },
    /// The request names something that is not declared.
    #[error("{error}")]
    Unknown {
        /// The parameter, path segment or body field that names it.
        field: String,
        /// The unknown name, and the names that are declared.
        error: String,
    },
    /// No view knows the entity, in APIs that cannot express statuses.
    #[error("features not found for {0}")]
    NotFound(String),
    /// `POST /v1/vectors` without a list of entities.
    #[error("'entity_ids' must be a non-empty list.")]
    NoEntities,
    /// The route does not exist, or does not take this method.
    #[error("{0}")]
    Route(StatusCode, String),
    /// The body is larger than the limit.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    Slow,
    /// Too many requests are in progress.
    #[error("too many requests in progress; try again later")]
    Busy,
    /// The server or a store is unavailable.
    #[error("{0}; try again later")]
    Unavailable(String),
}

impl RequestError {
    /// A part of the request is wrong.
    pub fn invalid(field: impl Into<String>, error: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), error: error.into() }
    }

    /// A name that is not declared.
    pub fn unknown(field: impl Into<String>, error: impl Into<String>) -> Self {
        Self::Unknown { field: field.into(), error: error.into() }
    }

    /// Renames the field, for an API that has another name for the parameter.
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

/// Names for an error message, or `none`.
pub(crate) fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
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
            Self::NotFound(_)
            | Self::NoEntities
            | Self::Route(..)
            | Self::TooLarge(_)
            | Self::Slow
            | Self::Busy
            | Self::Unavailable(_) => json!({ "error": error }),
        };
        match self {
            Self::Busy | Self::Unavailable(_) => (status, [(RETRY_AFTER, "1")], Json(body)).into_response(),
            // The body may not have been read to its end, so the connection cannot carry another request.
            Self::TooLarge(_) | Self::Slow => (status, [(CONNECTION, "close")], Json(body)).into_response(),
            Self::Invalid { .. } | Self::Unknown { .. } | Self::NotFound(_) | Self::NoEntities | Self::Route(..) => {
                (status, Json(body)).into_response()
            }
        }
    }
}

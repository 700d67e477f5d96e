//! Errors as GraphQL writes them: a message, and in `extensions` a code for programs, with the names of gRPC.

use async_graphql::{Error, ErrorExtensions, Response, ServerError};

use crate::endpoints::Outcome;
use crate::error::RequestError;

/// The code where the document or an argument is wrong.
const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";
/// The code where a store is unavailable.
pub const UNAVAILABLE: &str = "UNAVAILABLE";
/// The code where a value could not be read for another reason.
pub const VALUE_ERROR: &str = "VALUE_ERROR";

/// The error of a resolver that refuses its arguments.
pub fn refused(error: RequestError) -> Error {
    let (code, field) = match &error {
        RequestError::Unknown { field, .. } => ("NOT_FOUND", Some(field.clone())),
        RequestError::Invalid { field, .. } => (INVALID_ARGUMENT, Some(field.clone())),
        RequestError::NotFound(_) => ("NOT_FOUND", None),
        RequestError::Unavailable(_) => (UNAVAILABLE, None),
        RequestError::NoEntities
        | RequestError::Route(..)
        | RequestError::TooLarge(_)
        | RequestError::Slow
        | RequestError::Busy => (INVALID_ARGUMENT, None),
    };
    Error::new(error.to_string()).extend_with(|_, extensions| {
        extensions.set("code", code);
        if let Some(field) = field {
            extensions.set("argument", field);
        }
    })
}

/// The answer to a request that is refused before any resolver runs. Its error has no location in the query.
pub fn refusal(error: RequestError) -> Response {
    let Error { message, extensions, .. } = refused(error);
    let mut error = ServerError::new(message, None);
    error.extensions = extensions;
    Response::from_errors(vec![error])
}

/// Gives the library's own errors, those of parsing and validation, a code. An error that it found twice is kept once.
pub fn with_codes(mut response: Response) -> Response {
    response.errors.dedup();
    for error in &mut response.errors {
        let known = |error: &ServerError| error.extensions.as_ref().is_some_and(|known| known.get("code").is_some());
        if !known(error) {
            error.extensions.get_or_insert_default().set("code", INVALID_ARGUMENT);
        }
    }
    response
}

/// The outcome for the metrics. The HTTP status of a GraphQL answer is always 200.
pub fn outcome(response: &Response) -> Outcome {
    let code = |error: &ServerError| error.extensions.as_ref().and_then(|known| known.get("code")).cloned();
    match response.errors.first() {
        None => Outcome::Ok,
        // The values that could be read are there, as in REST.
        Some(_) if response.data != async_graphql::Value::Null => Outcome::Ok,
        Some(error) if code(error) == Some(UNAVAILABLE.into()) => Outcome::Unavailable,
        Some(_) => Outcome::Refused,
    }
}

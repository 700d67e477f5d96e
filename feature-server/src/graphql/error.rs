//! Errors as GraphQL has them: a message, and in `extensions` a code that programs can act upon, named as gRPC names it.

use async_graphql::{Error, ErrorExtensions, Response, ServerError};

use crate::doors::Outcome;
use crate::error::RequestError;

/// The document is not one of ours.
const INVALID_ARGUMENT: &str = "INVALID_ARGUMENT";
/// Something is not there now.
pub const UNAVAILABLE: &str = "UNAVAILABLE";
/// A value could not be had for another reason than a store that is away.
pub const VALUE_ERROR: &str = "VALUE_ERROR";

/// A refusal by a resolver.
pub fn refused(error: RequestError) -> Error {
    let (code, field) = match &error {
        RequestError::Unknown { field, .. } => ("NOT_FOUND", Some(field.clone())),
        RequestError::Invalid { field, .. } => (INVALID_ARGUMENT, Some(field.clone())),
        RequestError::NotFound(_) => ("NOT_FOUND", None),
        RequestError::Unavailable(_) => (UNAVAILABLE, None),
        _ => (INVALID_ARGUMENT, None),
    };
    Error::new(error.to_string()).extend_with(|_, extensions| {
        extensions.set("code", code);
        if let Some(field) = field {
            extensions.set("argument", field);
        }
    })
}

/// The same before any resolver ran: it stands nowhere in the query.
pub fn refusal(error: RequestError) -> Response {
    let Error { message, extensions, .. } = refused(error);
    let mut error = ServerError::new(message, None);
    error.extensions = extensions;
    Response::from_errors(vec![error])
}

/// Gives the library's own errors, those of parsing and validation, a code too. What it finds twice is told once.
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

/// How a request ended, for the metrics; on the wire an answer of GraphQL is 200.
pub fn outcome(response: &Response) -> Outcome {
    let code = |error: &ServerError| error.extensions.as_ref().and_then(|known| known.get("code")).cloned();
    match response.errors.first() {
        None => Outcome::Ok,
        // What could be had is there, as with REST.
        Some(_) if response.data != async_graphql::Value::Null => Outcome::Ok,
        Some(error) if code(error) == Some(UNAVAILABLE.into()) => Outcome::Unavailable,
        Some(_) => Outcome::Refused,
    }
}

//! Parses entity keys: of a path, of a JSON body, and of texts.

use axum::http::Uri;
use millrace_core::definitions::{Definitions, Entity};
use millrace_core::key::{InvalidKey, KeyText};
use serde_json::Value as Json;

use super::entity::entity;
use crate::error::{RequestError, list};

/// The entity and the key at the end of a path. The key is not decoded before it is parsed: its syntax says what its
/// percent signs mean.
pub(crate) fn entity_and_key<'d>(
    definitions: &'d Definitions,
    uri: &Uri,
) -> Result<(usize, &'d Entity, KeyText), RequestError> {
    let mut segments = uri.path().rsplit('/');
    let raw = segments.next().unwrap_or_default();
    let (index, entity) = entity(definitions, segments.next().unwrap_or_default())?;
    let key = entity.parse_key(raw).map_err(|error| invalid_key(entity, "key", &error))?;
    Ok((index, entity, key))
}

/// A list of keys of a JSON body, at most `max_keys` of them.
pub(crate) fn json_keys(
    entity: &Entity,
    field: &str,
    values: &[Json],
    max_keys: usize,
) -> Result<Vec<KeyText>, RequestError> {
    refuse_too_many(field, values.len(), max_keys)?;
    let key = |(index, value)| json_key(entity, || format!("{field}[{index}]"), value);
    values.iter().enumerate().map(key).collect()
}

/// A list of keys as texts: an integer in decimal, a text as it is, a composite key in its canonical text.
pub(crate) fn text_keys(
    entity: &Entity,
    field: &str,
    texts: Vec<String>,
    max_keys: usize,
) -> Result<Vec<KeyText>, RequestError> {
    if texts.is_empty() {
        return Err(RequestError::invalid(field, "expected at least one key"));
    }
    refuse_too_many(field, texts.len(), max_keys)?;
    let key = |(index, text)| json_key(entity, || format!("{field}[{index}]"), &Json::String(text));
    texts.into_iter().enumerate().map(key).collect()
}

/// One key as a text.
pub(crate) fn text_key(entity: &Entity, field: &str, text: String) -> Result<KeyText, RequestError> {
    json_key(entity, || field.to_owned(), &Json::String(text))
}

/// A key of a JSON body: a number or a text, taken literally. A composite key is the list of its parts, or its canonical
/// text.
pub(super) fn json_key(entity: &Entity, field: impl Fn() -> String, value: &Json) -> Result<KeyText, RequestError> {
    let key = match (entity.key.as_slice(), value) {
        ([(_, kind)], value) => KeyText::from_parts(&[(*kind, value)]),
        (parts, Json::Array(values)) if parts.len() == values.len() => {
            let parts: Vec<_> = parts.iter().map(|(_, kind)| *kind).zip(values).collect();
            KeyText::from_parts(&parts)
        }
        (parts, Json::Array(values)) => Err(InvalidKey::WrongParts { expected: parts.len(), got: values.len() }),
        (_, Json::String(text)) => entity.parse_key(text),
        (_, Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) => {
            return Err(RequestError::invalid(field(), "expected the list of the key's parts"));
        }
    };
    key.map_err(|error| invalid_key(entity, &field(), &error))
}

fn invalid_key(entity: &Entity, field: &str, error: &InvalidKey) -> RequestError {
    let parts = list(entity.key.iter().map(|(name, _)| name.as_str()));
    RequestError::invalid(field, format!("not a key of {} ({parts}): {error}", entity.name))
}

fn refuse_too_many(field: &str, got: usize, max_keys: usize) -> Result<(), RequestError> {
    if got > max_keys {
        return Err(RequestError::invalid(field, format!("{got} keys in one request; the most is {max_keys}")));
    }
    Ok(())
}

//! Scalars that GraphQL does not have.

use async_graphql::{InputValueError, InputValueResult, Name, Scalar, ScalarType, Value};
use serde_json::Value as Json;

use crate::ask;
use crate::http::rfc3339;

/// Values by name, in the order in which they were asked for: a JSON object.
pub struct Map(Value);

impl Map {
    /// Of names and values.
    pub fn new<'a>(values: impl Iterator<Item = (Name, &'a Json)>) -> Self {
        // Every JSON value is one of GraphQL's.
        Self(Value::Object(
            values.map(|(name, json)| (name, Value::from_json(json.clone()).unwrap_or_default())).collect(),
        ))
    }
}

/// Values by name, in the order in which they were asked for: a JSON object.
#[Scalar]
impl ScalarType for Map {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::Object(_) => Ok(Self(value)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        self.0.clone()
    }
}

/// A moment, epoch ms.
pub struct Instant(pub i64);

/// A moment: RFC 3339, or epoch milliseconds. Answers are RFC 3339 in UTC.
#[Scalar]
impl ScalarType for Instant {
    fn parse(value: Value) -> InputValueResult<Self> {
        let read = match &value {
            Value::String(text) => ask::instant(text),
            Value::Number(number) => ask::instant(&number.to_string()),
            _ => return Err(InputValueError::expected_type(value)),
        };
        read.map(Self).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::String(rfc3339(self.0))
    }
}

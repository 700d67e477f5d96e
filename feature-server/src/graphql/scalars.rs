//! Scalars that GraphQL itself does not have.

use async_graphql::{InputValueError, InputValueResult, Name, Scalar, ScalarType, Value};
use serde_json::Value as Json;

use crate::instant::{self, rfc3339};

/// Values by name, in the order in which they were requested: a JSON object.
pub struct Map(Value);

impl Map {
    /// Makes a map of names and values.
    pub fn new<'a>(values: impl Iterator<Item = (Name, &'a Json)>) -> Self {
        // Every JSON value is a GraphQL value.
        Self(Value::Object(
            values.map(|(name, json)| (name, Value::from_json(json.clone()).unwrap_or_default())).collect(),
        ))
    }
}

/// Values by name, in the order in which they were requested: a JSON object.
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

/// An instant, epoch ms.
pub struct Instant(pub i64);

/// An instant: RFC 3339, or epoch milliseconds. Answers are RFC 3339 in UTC.
#[Scalar]
impl ScalarType for Instant {
    fn parse(value: Value) -> InputValueResult<Self> {
        let read = match &value {
            Value::String(text) => instant::parse(text),
            Value::Number(number) => instant::parse(&number.to_string()),
            _ => return Err(InputValueError::expected_type(value)),
        };
        read.map(Self).map_err(InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::String(rfc3339(self.0))
    }
}

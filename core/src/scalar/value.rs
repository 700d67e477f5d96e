//! A typed value, its order and its JSON. Reading it is left to `read`.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value as Json;

use crate::definitions::ValueType;

/// A value as an aggregate takes it. Its type is the declared type of the aggregate's input.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `int64`, and `timestamp` in epoch ms.
    Int(i64),
    /// `float64`.
    Float(f64),
    /// `decimal`, in units of its scale.
    Decimal(i128),
    /// `bool`.
    Bool(bool),
    /// `string`.
    Text(Cow<'a, str>),
    /// `list`, `map` and `vector`, as JSON in which each value has the one form of its declared type.
    Json(Cow<'a, str>),
}

impl Scalar<'_> {
    /// The same value, owning its text.
    pub fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Int(v) => Scalar::Int(v),
            Self::Float(v) => Scalar::Float(v),
            Self::Decimal(v) => Scalar::Decimal(v),
            Self::Bool(v) => Scalar::Bool(v),
            Self::Text(v) => Scalar::Text(Cow::Owned(v.into_owned())),
            Self::Json(v) => Scalar::Json(Cow::Owned(v.into_owned())),
        }
    }

    /// A total order among values of one type: by number, or by bytes.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) | (Self::Json(a), Self::Json(b)) => a.as_bytes().cmp(b.as_bytes()),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    /// The value as JSON for readers. Decimals, and integers that a double cannot hold exactly, are strings.
    pub fn to_json(&self, kind: &ValueType) -> Json {
        match (self, kind) {
            (Self::Int(v), _) => int_json(i128::from(*v)),
            (Self::Float(v), _) => serde_json::Number::from_f64(*v).map_or(Json::Null, Json::Number),
            (Self::Decimal(v), ValueType::Decimal(shape)) => Json::String(shape.format(*v)),
            (Self::Decimal(v), _) => int_json(*v),
            (Self::Bool(v), _) => Json::Bool(*v),
            (Self::Text(v), _) => Json::String(v.to_string()),
            (Self::Json(v), _) => serde_json::from_str(v).unwrap_or(Json::Null),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Int(_) => 0,
            Self::Float(_) => 1,
            Self::Decimal(_) => 2,
            Self::Bool(_) => 3,
            Self::Text(_) => 4,
            Self::Json(_) => 5,
        }
    }
}

/// An integer as JSON: a number up to 2^53, a string beyond.
pub fn int_json(value: i128) -> Json {
    const EXACT: i128 = 1 << 53;
    match i64::try_from(value) {
        Ok(small) if (-EXACT..=EXACT).contains(&value) => Json::Number(small.into()),
        Ok(_) | Err(_) => Json::String(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::DecimalType;

    #[test]
    fn numbers_that_a_double_cannot_hold_are_written_as_text() {
        let money = ValueType::Decimal(DecimalType { precision: 18, scale: 2 });
        assert_eq!(Scalar::Decimal(1250).to_json(&money), "12.50");
        assert_eq!(Scalar::Int(1 << 53).to_json(&ValueType::Int64), 1i64 << 53);
        assert_eq!(Scalar::Int((1 << 53) + 1).to_json(&ValueType::Int64), "9007199254740993");
    }
}
